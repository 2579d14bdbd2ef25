"""`match_archive`: everything about a match in one zip: logs, databases, exports, metadata.

The sources are the very bytes that `ingest` read; when they are gone or changed the archive is
refused, because it would not belong to the events in it.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import sqlite3
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from sheaf import __version__, tables
from sheaf.errors import InputError, VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches import database, schema, write_analytics_parquet, write_events_ndjson, write_runs_csv
from sheaf.matches.events_stream import EventFilter, counts, warnings
from sheaf.matches.zips import Zip, confirm
from sheaf.options import Options
from sheaf.scratch import scratch_folder

METADATA = "metadata.json"
_TIMEOUT_S = 10.0


class ArchiveOptions(Options):
    """What goes in.

    Attributes:
        logs_only: leave out databases and exports.
    """

    logs_only: bool = False


def write(draft: Draft) -> Written:
    """Write `match_<id>_<YYYYMMDD_HHMMSS>.zip`."""
    name = f"match_{draft.partition}_{draft.now:%Y%m%d_%H%M%S}.zip"
    sources = tables.read(draft.store, schema.SOURCES, draft.partition).to_pylist()
    found = counts(draft.store, draft.partition)
    told = warnings(draft.store, draft.partition)
    if draft.preview:
        return Written(len(sources), {name: len(sources)}, found, told)
    rows: dict[str, int] = {}
    with (
        scratch_folder(draft.store) as scratch,
        Zip(draft.folder / name) as archive,
        ThreadPoolExecutor(1, "parquet") as beside,
    ):
        base = replace(draft, filter=EventFilter(), folder=scratch)
        parquet = None if draft.options.logs_only else beside.submit(_write_parquet, base)  # while logs are packed
        names = _member_names(sources)
        for source in sources:
            if source["dialect"] in ("shm", "empty"):
                continue
            if _is_database(source):
                if not draft.options.logs_only:
                    _add_database(archive, names[source["file"]], source, scratch)
            elif not (draft.options.logs_only and source["dialect"] == "wal"):
                _add_file(archive, names[source["file"]], source)
        formats = _add_exports(archive, base, rows, parquet) if parquet else []
        archive.add_bytes(
            METADATA, orjson.dumps(_metadata(draft, archive, formats, found, rows), option=orjson.OPT_INDENT_2)
        )
        members = len(archive.members)
    return Written(members, {name: members}, found, told)


def verify(folder: Path, written: Written) -> None:
    """Read every member back and compare size and sha256 with the metadata inside the archive."""
    ((name, members),) = written.rows.items()
    try:
        with zipfile.ZipFile(folder / name) as archive:
            files = orjson.loads(archive.read(METADATA))["files"]
    except (zipfile.BadZipFile, KeyError, orjson.JSONDecodeError) as error:
        raise VerificationError(f"{name} is no archive with metadata: {error}.") from error
    expected = {entry["path"]: (entry["size"], entry["sha256"]) for entry in files}
    if len(expected) != members:
        raise VerificationError(f"{name} lists {len(expected)} members, but {members} were written.")
    confirm(folder / name, expected, [METADATA])


def _is_database(source: dict[str, Any]) -> bool:
    return source["dialect"].startswith("database")


def _member_names(sources: list[dict[str, Any]]) -> dict[str, str]:
    """Where each source goes: its path below `logs/` or `database/`, never the same place twice."""
    names: dict[str, str] = {}
    for source in sources:
        path = source["file"].replace("../", "").lstrip("/")
        if _is_database(source) or source["dialect"] == "wal":
            wanted = f"database/{path.removeprefix('database/').removeprefix('db/')}"
        else:
            wanted = path if path.startswith("logs/") else f"logs/{path}"
        number, name = 2, wanted
        while name in names.values():
            name, number = f"{wanted}.{number}", number + 1
        names[source["file"]] = name
    return names


def _add_file(archive: Zip, name: str, source: dict[str, Any]) -> None:
    path = Path(source["path"])
    try:
        with path.open("rb") as file:
            digest = archive.add(name, file, source["size"])
    except FileNotFoundError as error:
        raise InputError(f"{path} is gone (offloaded?), so the match cannot be archived again.") from error
    if digest != source["sha256"]:
        raise InputError(f"{path} changed since it was read: ingest the match again, then archive it.")


def _add_database(archive: Zip, name: str, source: dict[str, Any], scratch: Path) -> None:
    """Add a consistent copy without accounts: SQLite's backup, then everything private removed."""
    path, copy = Path(source["path"]), scratch / "archive.db"
    if not path.is_file():
        raise InputError(f"{path} is gone (offloaded?), so the match cannot be archived again.")
    try:
        database.snapshot(path, copy, _TIMEOUT_S)
    except InputError:  # damaged or locked: as it is, it is still worth keeping
        _add_file(archive, name, source)
        return
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        for table in database.PRIVATE_TABLES:
            connection.execute(f'DROP TABLE IF EXISTS "{table}"')
        connection.execute("VACUUM")
    with copy.open("rb") as file:
        archive.add(name, file, copy.stat().st_size)
    copy.unlink()


def _write_parquet(base: Draft) -> Written:
    return write_analytics_parquet.write(replace(base, options=write_analytics_parquet.ParquetOptions()))


def _add_exports(archive: Zip, base: Draft, rows: dict[str, int], parquet: Future[Written]) -> list[str]:
    name = f"exports/match_{base.partition}_runs.csv"
    with archive.member(name) as target:
        rows[name] = write_runs_csv.write_to(base, target.write)
    name = f"exports/match_{base.partition}_raw.jsonl"
    with archive.member(name) as target:
        rows[name] = write_events_ndjson.write_to(
            replace(base, options=write_events_ndjson.NdjsonOptions()), target.write
        )
    for name, count in parquet.result().rows.items():
        path = base.folder / name
        with path.open("rb") as file:
            archive.add(f"exports/{name}", file, path.stat().st_size)
        rows[f"exports/{name}"] = count
    return ["csv", "ndjson", "parquet"]


def _metadata(
    draft: Draft, archive: Zip, formats: list[str], found: dict[str, int], rows: dict[str, int]
) -> dict[str, Any]:
    match = tables.read(draft.store, schema.MATCH, draft.partition).to_pylist()[0]
    members = archive.members
    return {
        "match_id": draft.partition,
        "created_at": draft.now.isoformat(),
        "schema_version": "1.0.0",
        "tool": f"sheaf {__version__}",
        "log_files": [name for name in members if name.startswith("logs/")],
        "database_included": any(name.startswith("database/") for name in members),
        "formats_included": formats,
        "counts": found,
        "rejected_by_reason": _reasons(draft),
        "first_time": match["first_time"],
        "last_time": match["last_time"],
        "manifest": orjson.loads(match["manifest"]),
        "sensors": tables.read(draft.store, schema.SENSORS, draft.partition).to_pylist(),
        "files": [
            {"path": name, "size": size, "sha256": sha256} | ({"rows": rows[name]} if name in rows else {})
            for name, (size, sha256) in members.items()
        ],
    }


def _reasons(draft: Draft) -> dict[str, int]:
    import pyarrow.compute as pc

    found: dict[str, int] = {}
    for batch in tables.batches(draft.store, schema.REJECTS, draft.partition, ["reason"]):
        for entry in pc.value_counts(batch.column("reason")).to_pylist():
            found[entry["values"]] = found.get(entry["values"], 0) + entry["counts"]
    return dict(sorted(found.items()))
