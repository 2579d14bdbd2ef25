"""A Delta table over the newest exports of a Parquet series, for Spark, Trino, Polars, DuckDB and others.

Its log names the files of the exports that `latest` names, and nothing is copied. The files of a Delta table lie below
its folder, as readers resolve no other paths. So the table of a series over all partitions lies in its own folder, and
that of a series of single partitions in the folder of the domain, which has room for one: the first one that is there.

A commit is created on the condition that there is none of its number, after log and `latest` were read in this order:
who comes late finds the number taken and looks again, so the log never goes back. It follows `latest` and runs ahead of
deletion. Only what has no filter and lies in no folders of its own is in it. The protocol:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

import io
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from sheaf import __version__, clock
from sheaf.errors import DamagedError, NotFoundError
from sheaf.exports.records import Latest, NoLatest, partitions_of, read_latest, read_manifest
from sheaf.names import CAMPAIGN, ExportId, SeriesId
from sheaf.store.store import Store, Stored

if TYPE_CHECKING:
    import pyarrow as pa

_CHECKPOINT_EVERY = 10
"""Commits, so that readers and writers read few documents."""
_PROTOCOL = {"minReaderVersion": 1, "minWriterVersion": 2}
_TYPES = {
    "string": "string",
    "large_string": "string",
    "bool": "boolean",
    "int8": "byte",
    "int16": "short",
    "int32": "integer",
    "int64": "long",
    "float": "float",
    "double": "double",
    "date32[day]": "date",
    "timestamp[us, tz=UTC]": "timestamp",
    "binary": "binary",
}


_Add = dict[str, Any]
"""What a log says of a file that is in the table."""


@dataclass
class _State:
    """What the log says: its newest version, what it is a table of, and the files that are in it, by path."""

    version: int = -1
    about: dict[str, Any] = field(default_factory=dict)
    files: dict[str, _Add] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in json.loads(self.about["schemaString"])["fields"]} if self.about else {}

    def commit(self, version: int, lines: bytes) -> None:
        """Take over a commit."""
        for line in lines.splitlines():
            self.apply(json.loads(line))
        self.version = version

    def apply(self, action: dict[str, Any]) -> None:
        """Take over one line of a commit, or one row of a checkpoint."""
        if action.get("metaData"):
            self.about = action["metaData"]
        elif action.get("add"):
            self.files[action["add"]["path"]] = action["add"]
        elif action.get("remove"):
            self.files.pop(action["remove"]["path"], None)


def folder(series: SeriesId) -> str:
    """Where the Delta table of a series is."""
    return series.path if series.partition == CAMPAIGN else f"exports/{series.domain}"


def may_hold(pointed: Latest | NoLatest) -> bool:
    """Whether there may be a Delta table of a series, as far as its pointer tells; only then is it worth a look."""
    files = pointed.files if isinstance(pointed, Latest) else []
    return not files or any(file.path.endswith(".parquet") for file in files)


def settle(store: Store, series: SeriesId) -> None:
    """Have the log name the files of the newest canonical export of a series, whoever else writes it.

    Raises:
        StoreError: the store cannot be reached.
    """
    while True:
        try:
            state = _read(store, folder(series))
        except (ValueError, KeyError):  # somebody else's, or damaged: removed, it is made anew by the next export
            return
        if state.about and state.about.get("name") != series.series:
            return
        others = [] if state.about else [one for one in partitions_of(store, series) if one != series]
        actions = _changes(store, state, [series, *others])
        if not actions:
            return
        version = state.version + 1
        if store.create(_commit(series, version), b"".join(json.dumps(one).encode() + b"\n" for one in actions)):
            if version and version % _CHECKPOINT_EVERY == 0:
                _checkpoint(store, folder(series), version)
            return


def prune_logs(store: Store, domain: str, young: timedelta, *, dry_run: bool = False) -> list[Stored]:
    """Remove the pages of logs that tell of versions nobody can read, since exports they name were deleted.

    What stays begins with a checkpoint, so that each later version can be read. A page younger than `young` stays, too:
    somebody may be reading from it.

    Returns:
        What went, or would go.
    """
    of_all = [SeriesId(domain, CAMPAIGN, name).path for name in store.folders(f"exports/{domain}/{CAMPAIGN}")]
    gone = [page for root in (f"exports/{domain}", *of_all) for page in _unreadable(store, root, clock.now() - young)]
    if not dry_run:
        store.delete(page.path for page in gone)
    return gone


def _unreadable(store: Store, root: str, before: datetime) -> list[Stored]:
    """The pages before the last checkpoint before the first version all of whose files are there."""
    pages = sorted((page for page in store.list(f"{root}/_delta_log") if _number(page)), key=lambda page: page.path)
    points = [_number(page) for page in pages if page.path.endswith(".checkpoint.parquet")]
    if not points:
        return []
    there = cache(lambda path: store.size(f"{root}/{unquote(path)}") is not None)
    commits = (page for page in pages if page.path.endswith(".json") and _number(pages[0]) < _number(page) < points[-1])
    try:
        state = _read(store, root, int(_number(pages[0])))
        while not all(map(there, state.files)) and (commit := next(commits, None)):
            state.commit(int(_number(commit)), store.get(commit.path))
        old = (
            point
            for point in reversed(points)
            if int(point) <= state.version and _made_at(store, root, point) < _milliseconds(before)
        )
        first = next(old, "")
    except (ValueError, KeyError, NotFoundError):  # somebody else's, or damaged
        return []
    return [page for page in pages if _number(page) < first]


def _made_at(store: Store, root: str, number: str) -> int:
    """When a commit was made, in milliseconds; its file may be a copy, and younger."""
    return json.loads(store.get(f"{root}/_delta_log/{number}.json").partition(b"\n")[0])["commitInfo"]["timestamp"]


def _number(page: Stored) -> str:
    """The version that a page of a log is of, as it is written; empty for what is no page of one."""
    number = page.path.rpartition("/")[2].partition(".")[0]
    return number if number.isdecimal() else ""


def _commit(series: SeriesId, version: int) -> str:
    return f"{folder(series)}/_delta_log/{version:020d}.json"


def _read(store: Store, root: str, last: int | None = None) -> _State:
    """What the log says, from its newest checkpoint on, up to a version or the newest."""
    names = [name for name in store.names(f"{root}/_delta_log") if last is None or name < f"{last + 1:020d}"]
    state, behind = _State(), ""
    if points := [name for name in names if name.endswith(".checkpoint.parquet")]:
        import pyarrow.parquet as pq

        behind = points[-1].partition(".")[0]
        state.version = int(behind)
        for row in pq.read_table(io.BytesIO(store.get(f"{root}/_delta_log/{points[-1]}"))).to_pylist():
            state.apply(row)
    for name in names:
        number, _, ending = name.partition(".")
        if ending == "json" and number.isdecimal() and number > behind:
            state.commit(int(number), store.get(f"{root}/_delta_log/{name}"))
    return state


def _changes(store: Store, state: _State, wanted: Sequence[SeriesId]) -> list[dict[str, Any]]:
    """What a commit has to say so that these series are as their `latest` says; nothing when they are."""
    adds, removes, columns = dict[str, _Add](), set[str](), state.columns
    for series in wanted:
        found = _files(store, series)
        below = "" if series.partition == CAMPAIGN else f"{quote(f'{series.partition}/{series.series}')}/"
        removes |= {path for path in state.files if path.startswith(below) and path not in found}
        for path, add in found.items():
            own = _columns(store, f"{folder(series)}/{unquote(path)}") if path not in state.files else None
            if own is None:
                continue
            merged = _merged(columns, own)
            if merged is None:  # a column has another type now: what is older than this goes until it is published anew
                kept = {one: there for one, there in (state.files | adds).items() if one not in removes}
                if any(there["modificationTime"] > add["modificationTime"] for there in kept.values()):
                    continue
                merged, gone = _restart(store, folder(series), own, kept)
                removes |= gone
                adds = {one: other for one, other in adds.items() if one not in gone}
            adds[path], columns = add, merged
    removes &= state.files.keys()
    if not adds and not removes:
        return []
    now = _milliseconds(clock.now())
    return [
        {"commitInfo": {"timestamp": now, "operation": "WRITE", "engineInfo": f"sheaf/{__version__}"}},
        *([] if state.about else [{"protocol": _PROTOCOL}]),
        *([] if columns == state.columns else [{"metaData": _about(state, wanted[0], columns, now)}]),
        *({"remove": {"path": one, "deletionTimestamp": now, "dataChange": True}} for one in sorted(removes)),
        *({"add": add} for add in adds.values()),
    ]


def _files(store: Store, series: SeriesId) -> dict[str, _Add]:
    """The table's files in the newest canonical export of a series, by path below the Delta table's folder."""
    try:
        pointed = read_latest(store, series)
        if pointed is None:
            return {}
        made = _milliseconds(read_manifest(store, ExportId(series, pointed.version)).created_at)
    except (DamagedError, NotFoundError):  # it is about to be deleted or set aside, and this is called again then
        return {}
    below, found = pointed.path.removeprefix(f"{folder(series)}/"), dict[str, _Add]()
    for file in pointed.files:
        if file.path.endswith(".parquet") and not file.path.startswith("_") and "/" not in file.path:
            path = quote(f"{below}/{file.path}")
            add: _Add = {"path": path, "partitionValues": {}, "size": file.size, "modificationTime": made}
            add |= {"dataChange": True}
            found[path] = add | ({} if file.rows is None else {"stats": json.dumps({"numRecords": file.rows})})
    return found


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _about(state: _State, series: SeriesId, columns: dict[str, Any], now: int) -> dict[str, Any]:
    before = state.about or {"id": str(uuid.uuid4()), "createdTime": now}
    return before | {
        "name": series.series,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": list(columns.values())}),
        "partitionColumns": [],
        "configuration": {},
    }


def _columns(store: Store, path: str) -> dict[str, Any] | None:
    """The columns of a file in the words of Delta; None when it has one that Delta has not, or cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with store.filesystem(lambda _: None).open_input_file(path) as opened:
            schema = pq.read_schema(opened)
    except (OSError, pa.ArrowException):
        return None
    found = {}
    for column in schema:
        kind = _type(column.type)
        if kind is None:
            return None
        notes = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        said = {"comment": notes["description"]} if "description" in notes else {}
        said |= {"unit": notes["unit"]} if "unit" in notes else {}
        found[column.name] = {"name": column.name, "type": kind, "nullable": True, "metadata": said}
    return found


def _type(kind: "pa.DataType") -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _type(kind.value_type)
    if pa.types.is_list(kind) and (of := _type(kind.value_type)):
        return {"type": "array", "elementType": of, "containsNull": True}
    return _TYPES.get(str(kind))


def _merged(columns: dict[str, Any], more: dict[str, Any]) -> dict[str, Any] | None:
    """The columns of both; None where one column has two types."""
    if any(one["type"] != columns[name]["type"] for name, one in more.items() if name in columns):
        return None
    return columns | more


def _restart(store: Store, root: str, columns: dict[str, Any], paths: Iterable[str]) -> tuple[dict[str, Any], set[str]]:
    """The columns of what fits these, and which of the files do not."""
    gone = set()
    for path in sorted(paths):
        own = _columns(store, f"{root}/{unquote(path)}")
        merged = _merged(columns, own) if own is not None else None
        if merged is None:
            gone.add(path)
        else:
            columns = merged
    return columns, gone


def _checkpoint(store: Store, root: str, version: int) -> None:
    """Write what the log says at a version as one file; the same whoever writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = _read(store, root, version)
    texts, text, whole = pa.map_(pa.string(), pa.string()), pa.string(), pa.int64()
    added = {"path": text, "partitionValues": texts, "size": whole, "modificationTime": whole, "dataChange": pa.bool_()}
    about = {"id": text, "name": text, "format": pa.struct({"provider": text, "options": texts}), "schemaString": text}
    about |= {"partitionColumns": pa.list_(text), "configuration": texts, "createdTime": whole}
    schema = pa.schema(
        {
            "protocol": pa.struct({"minReaderVersion": pa.int32(), "minWriterVersion": pa.int32()}),
            "metaData": pa.struct(about),
            "add": pa.struct(added | {"stats": text}),
            "remove": pa.struct({"path": text, "deletionTimestamp": whole, "dataChange": pa.bool_()}),
        }
    )
    rows = [{"protocol": _PROTOCOL}, {"metaData": state.about}, *({"add": add} for add in state.files.values())]
    pq.write_table(pa.Table.from_pylist(rows, schema), made := io.BytesIO())
    store.put(f"{root}/_delta_log/{version:020d}.checkpoint.parquet", made.getvalue())
    store.put(f"{root}/_delta_log/_last_checkpoint", json.dumps({"version": version, "size": len(rows)}).encode())
