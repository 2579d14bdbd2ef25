"""`match_archive`: everything about a match in one zip: logs, databases, exports, metadata.

The sources are the very bytes that `ingest` read; when they are gone or changed the archive is
refused, because it would not belong to the events in it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from sheaf import __version__, memory
from sheaf.errors import InputError, VerificationError
from sheaf.exports.options import Options
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import Zip, confirm_whole, opened
from sheaf.matches import schema
from sheaf.matches.analysis.events_stream import counts, warnings
from sheaf.matches.analysis.runs_tables import load_manifest
from sheaf.matches.readers import sqlite
from sheaf.matches.readers.files import files
from sheaf.matches.sources import inbox
from sheaf.matches.writers import analytics_parquet, events_ndjson, runs_csv
from sheaf.matches.writers.request import EventFilter, NdjsonOptions, ParquetOptions
from sheaf.store.scratch import scratch_folder
from sheaf.tables.accounts import Kind

METADATA = "metadata.json"
READING = "events"
"""The step that read the match."""

_TIMEOUT_S = 10.0


def write(draft: Draft) -> Written:
    """Write `match_<id>_<YYYYMMDD_HHMMSS>.zip`."""
    name = f"match_{draft.partition}_{draft.now:%Y%m%d_%H%M%S}.zip"
    sources = draft.tables.read(schema.SOURCES).to_pylist()
    found, told = counts(draft.tables), warnings(draft.tables)
    if draft.preview:
        return Written(len(sources), {name: len(sources)}, found, told)
    places = _Places(draft, sources)
    rows: dict[str, int] = {}
    with scratch_folder(draft.store) as scratch, Zip(draft.folder / name) as archive:
        names = _member_names(sources)
        for source in sources:
            if source["dialect"] in ("shm", "empty"):
                continue
            if _is_database(source):
                if not draft.options.logs_only:
                    _add_database(archive, names[source["file"]], source, places, scratch)
            elif not (draft.options.logs_only and source["dialect"] == "wal"):
                _add_file(archive, names[source["file"]], source, places)
        base = replace(draft, filter=EventFilter(), folder=scratch)
        formats = [] if draft.options.logs_only else _add_exports(archive, base, rows)
        archive.add_document(
            METADATA, orjson.dumps(_metadata(draft, archive, formats, found, rows), option=orjson.OPT_INDENT_2)
        )
        members = len(archive.members)
    return Written(members, {name: members}, found, told)


def verify(folder: Path, written: Written) -> None:
    """Read every member back and compare its size with the metadata inside the archive, and its CRC-32."""
    ((name, members),) = written.rows.items()
    try:
        with opened(folder / name) as archive:
            files = orjson.loads(archive.read(METADATA))["files"]
    except (KeyError, orjson.JSONDecodeError) as error:
        raise VerificationError(f"{name} is no archive with metadata: {error}.") from error
    expected = {entry["path"]: entry["size"] for entry in files}
    if len(expected) != members:
        raise VerificationError(f"{name} lists {len(expected)} members, but {members} were written.")
    confirm_whole(folder / name, expected, [METADATA])


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


class _Places:
    """Where the sources of a match are today; refuses those that are not as they were read."""

    def __init__(self, draft: Draft, sources: list[dict[str, Any]]) -> None:
        self._match = draft.partition
        self._sha256 = {source["file"]: source["sha256"] for source in sources}
        self._folder = inbox.folder_of(draft.store, draft.partition)
        self._paths = dict(files(self._folder, load_manifest(draft.tables)))

    def of(self, source: dict[str, Any]) -> Path:
        """Where one is; raises `InputError` when it is gone."""
        path = self._paths.get(source["file"])
        if path is None or not path.is_file():
            raise InputError(
                f"{source['file']} is gone from {self._folder} (offloaded?), "
                f"so match {self._match!r} cannot be archived again."
            )
        return path

    def confirm(self, name: str, sha256: str) -> None:
        """Raise `InputError` when what is there is not what was read."""
        if sha256 != self._sha256.get(name):
            raise InputError(
                f"{self._folder / name} changed since it was read: "
                f"run `sheaf run matches {self._match}`, which also archives it."
            )

    def confirm_database(self, source: dict[str, Any]) -> None:
        """As `confirm`, for a database with its log: unlike a text that grew, it cannot be taken as it was."""
        path = self.of(source)
        log = path.with_name(f"{path.name}-wal")
        for name, part in ((source["file"], path), (f"{source['file']}-wal", log)):
            if part == path or (log.is_file() and log.stat().st_size):
                with part.open("rb") as file:
                    self.confirm(name, hashlib.file_digest(file, "sha256").hexdigest())


def _add_file(archive: Zip, name: str, source: dict[str, Any], places: _Places) -> None:
    with places.of(source).open("rb") as file:
        places.confirm(source["file"], archive.add(name, file, source["size"]))


def _add_database(archive: Zip, name: str, source: dict[str, Any], places: _Places, scratch: Path) -> None:
    """Add a consistent copy without accounts: SQLite's backup, then everything private removed."""
    path, copy = places.of(source), scratch / "archive.db"
    places.confirm_database(source)
    try:
        sqlite.snapshot(path, copy, _TIMEOUT_S)
    except InputError:  # damaged or locked: as it is, it is still worth keeping
        _add_file(archive, name, source, places)
        return
    sqlite.forget(copy, sqlite.PRIVATE_TABLES)
    with copy.open("rb") as file:
        archive.add(name, file, copy.stat().st_size)
    copy.unlink()


def _add_exports(archive: Zip, base: Draft, rows: dict[str, int]) -> list[str]:
    _add_files(archive, replace(base, options=Options()), "runs_csv", runs_csv.write, rows)
    name = f"exports/match_{base.partition}_raw.jsonl"
    with archive.member(name) as target:
        rows[name] = events_ndjson.write_to(replace(base, options=NdjsonOptions()), target.write)
    memory.give_back()
    _add_files(archive, replace(base, options=ParquetOptions()), "analytics_parquet", analytics_parquet.write, rows)
    return ["csv", "ndjson", "parquet"]


def _add_files(
    archive: Zip, draft: Draft, series: str, write: Callable[[Draft], Written], rows: dict[str, int]
) -> None:
    """Add the files of a series in which no time is printed: those that were published, where they are the same."""
    for name, count in (draft.copied(series, draft.options, draft.folder) or write(draft).rows).items():
        path = draft.folder / name
        with path.open("rb") as file:
            archive.add(f"exports/{name}", file, path.stat().st_size)
        rows[f"exports/{name}"] = count


def _metadata(
    draft: Draft, archive: Zip, formats: list[str], found: dict[str, int], rows: dict[str, int]
) -> dict[str, Any]:
    match = draft.tables.row(schema.MATCH)
    described = orjson.loads(match["manifest"])
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
        "manifest": described | {"correlation": described["correlation"] or draft.made_with["correlation"]},
        "sensors": draft.tables.read(schema.SENSORS).to_pylist(),
        "files": [
            {"path": name, "size": size, "sha256": sha256} | ({"rows": rows[name]} if name in rows else {})
            for name, (size, sha256) in members.items()
        ],
    }


def _reasons(draft: Draft) -> dict[str, int]:
    """How many lines were rejected, by code."""
    read = draft.tables.generations[READING]
    return {
        reason.code: reason.rows
        for account in read.account
        if account.table == schema.EVENTS.name
        for reason in sorted(account.reasons, key=lambda reason: reason.code)
        if reason.kind is Kind.REJECT
    }
