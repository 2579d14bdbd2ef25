"""One match folder of the inbox into canonical events, rejects, and what was read.

Every line is accounted for: lines_read = events + rejected + pending + duplicates + blank +
skipped + outside. When the match as a whole cannot be used only its rejects are written: the
tables of the last good input stay.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf import tables
from sheaf.ahead import ahead
from sheaf.errors import InputError
from sheaf.matches import database, devices, manifest, schema, staging
from sheaf.matches.clocks import Clock
from sheaf.matches.lines import LogFile
from sheaf.matches.manifest import Device, Manifest
from sheaf.matches.merge import SAME_US, Merged, Staged, merge
from sheaf.matches.records import JsonLines
from sheaf.matches.rejected_lines import RejectedLines
from sheaf.matches.settings import MatchesSettings
from sheaf.matches.sources import Source, discover
from sheaf.matches.staging import Batch
from sheaf.matches.text_logs import Console, MainCsv
from sheaf.report import Report
from sheaf.scratch import scratch_folder
from sheaf.store import Store

_LATE_US = 2_000_000
_READERS = {"json": JsonLines, "csv": MainCsv, "console": Console}


def ingest(folder: Path, store: Store, match: str, settings: MatchesSettings) -> Report:
    """Read one match folder and write its tables.

    Args:
        folder: holds the logs, databases and, if there is one, `match.yaml`; only read.
        store: where the tables go.
        match: the partition, normally the folder's name.
        settings: zone, limits, and correlation defaults.

    Returns:
        Counts (`lines_read`, `events`, `rejected`, `pending`, `duplicates`, `blank`, `skipped`,
        `outside`, `files`, `unknown_files`, `blocked`), rejects by reason, and warnings. `blocked`
        is 1 when the match could not be used as a whole.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist or is no folder: put the logs of the match there.")
    with scratch_folder(store) as scratch:
        reading = _Reading(scratch, settings)
        try:
            described = manifest.load(folder, match, settings)
            sources = discover(folder, described)
            if not sources:
                raise InputError(
                    f"The folder of match {match!r} holds no logs; were they offloaded? What was published stays."
                )
        except InputError as error:
            return _blocked(store, match, reading, str(error))
        for source in sources:
            reading.read(source, described)
        return _write(store, match, described, reading)


@dataclass
class _Reading:
    """Collects what the sources of one match hold, on disk."""

    scratch: Path
    settings: MatchesSettings
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    devices: list[Device] = field(default_factory=list)
    naive: bool = False
    ordered: bool = True
    rising: bool = True
    alike: list[np.ndarray] = field(default_factory=list)
    _next: int = 0
    _latest: int = 0
    _latest_ts: int = 0

    def __post_init__(self) -> None:
        self.rejects = RejectedLines(self.scratch)

    def read(self, source: Source, match: Manifest) -> None:
        """Read one source into a staged file; what is no source of events is noted."""
        clock = Clock(match.zone)
        entry = {"file": source.name, "path": str(source.path), "dialect": source.form, "lines": 0, "pending": 0}
        if source.form == "database":
            self._read_database(source, clock, match, entry)
        elif source.form in _READERS:
            self._read_log(source, clock, match, entry)
        else:
            self._note(source)
            file = LogFile(source.path, self.settings.max_line_bytes)
            for _ in file.blocks():
                pass
            entry |= {"size": file.size, "sha256": file.sha256}
        self.naive = self.naive or clock.naive_seen
        self.files.append(entry)

    def _read_log(self, source: Source, clock: Clock, match: Manifest, entry: dict[str, Any]) -> None:
        file = LogFile(source.path, self.settings.max_line_bytes)
        reader = _READERS[source.form](clock, source.day, self.settings.max_line_bytes)
        dialects = self._stage(source, ahead(map(reader.read, file.blocks())), match, entry)
        entry |= {"size": file.size, "sha256": file.sha256}
        entry["dialect"] = ", ".join(sorted(dialects)) or f"{source.form} without events"
        if file.broken:
            self.warnings.append(f"{source.name}: {file.broken}.")

    def _read_database(self, source: Source, clock: Clock, match: Manifest, entry: dict[str, Any]) -> None:
        file = LogFile(source.path, self.settings.max_line_bytes)
        for _ in file.blocks():
            pass
        entry |= {"size": file.size, "sha256": file.sha256}
        copy = self.scratch / "snapshot.db"
        try:
            database.snapshot(source.path, copy, self.settings.database_timeout_s)
            found = database.describe(copy)
            dialects = self._stage(source, database.read(copy, clock), match, entry)
        except InputError as error:
            entry["dialect"] = "unknown"
            self.warnings.append(f"{source.name}: {error}; its events are missing.")
            return
        finally:
            copy.unlink(missing_ok=True)
        entry["dialect"] = ", ".join(sorted(dialects)) or "database without events"
        self.devices.extend(found.devices)
        self.warnings.extend(f"{source.name}: {note}." for note in found.notes)

    def _note(self, source: Source) -> None:
        """A file that holds no events as it stands."""
        if source.form == "unknown":
            self.counts["unknown_files"] += 1
            self.warnings.append(f"{source.name} is in no format that is known here, nothing was read from it.")
        elif source.form == "wal" and not source.path.with_name(source.path.name.removesuffix("-wal")).exists():
            self.warnings.append(f"{source.name} is a write-ahead log without its database, nothing was read from it.")

    def _stage(self, source: Source, batches: Iterator[Batch], match: Manifest, entry: dict[str, Any]) -> set[str]:
        """Write the events of one source; keep its rejects; count everything."""
        import pyarrow.parquet as pq

        path = self.scratch / f"staged-{len(self.files):06d}.parquet"
        latest: dict[str, int] = {}  # by table of a database; a log has one order for all it holds
        dialects: set[str] = set()
        with pq.ParquetWriter(
            path,
            staging.SCHEMA,
            compression="lz4",
            use_dictionary=staging.REPEATING,  # type: ignore[arg-type]  # names of columns do as well
            write_statistics=False,
        ) as writer:
            for batch in batches:
                entry["lines"] += batch.lines
                entry["pending"] += batch.pending
                arrays = batch.arrow()
                self._count(source, batch, arrays)
                found = arrays["dialect"].unique().to_pylist()
                dialects.update(found)
                stream = found[0] if found and source.form == "database" else ""
                staged, latest[stream] = self._ordering(arrays, latest.get(stream, 0), match)
                if staged.num_rows:
                    writer.write_batch(staged)
        return dialects

    def _count(self, source: Source, batch: Batch, arrays: dict[str, pa.Array]) -> None:
        for name in ("pending", "blank", "skipped"):
            self.counts[name] += getattr(batch, name)
        self.counts["lines_read"] += batch.lines
        self.counts["rejected"] += len(batch.rejected)
        self.reasons.update(rejected.reason for rejected in batch.rejected)
        self.rejects.add(source.name, batch.rejected)
        pairs = pa.table({name: arrays[name] for name in ("device", "device_id")}).group_by(["device", "device_id"])
        for pair in pairs.aggregate([]).to_pylist():
            if pair["device"] and pair["device_id"]:
                self.seen.add((pair["device"], pair["device_id"]))

    def _ordering(self, arrays: dict[str, pa.Array], latest: int, match: Manifest) -> tuple[pa.RecordBatch, int]:
        """Decide the place of each event of a block in the match.

        An event counts at its own time, unless it is more than two seconds behind an earlier one of
        the same source: then the clock was set back or the lines are a replay, and the order of the
        source holds.
        """
        ts = arrays["ts"].to_numpy(zero_copy_only=False).astype(np.int64)
        running = np.maximum.accumulate(np.concatenate([[latest], ts]))[1:]
        order = np.where(running - ts > _LATE_US, running, ts)
        columns = {
            **arrays,
            "n": pa.array(np.arange(self._next, self._next + len(ts))),
            "order_ts": pa.array(order),
            "file_no": pa.array(np.full(len(ts), len(self.files), np.int32)),
        }
        staged = pa.RecordBatch.from_arrays([columns[name] for name in staging.SCHEMA.names], schema=staging.SCHEMA)
        self._next += len(ts)
        if len(ts):
            self.ordered = self.ordered and order[0] >= self._latest and not (np.diff(order) < 0).any()
            self._latest = int(order[-1])
            self._note_alike(ts)
            latest = int(running[-1])
        return self._inside(staged, ts, match), latest

    def _note_alike(self, ts: np.ndarray) -> None:
        """Keep the numbers of events that may be duplicates, as long as times only rise.

        Duplicates agree to 10 ms, so then they are neighbours; `_latest_ts` belongs to the event
        before these, which is noted with the first of them.
        """
        ts = np.concatenate([[self._latest_ts], ts])
        self.rising = self.rising and not (np.diff(ts) < 0).any()
        if self.rising:
            same = np.flatnonzero(np.diff(ts // SAME_US) == 0) + self._next - len(ts)
            self.alike.append(np.union1d(same, same + 1))
        self._latest_ts = int(ts[-1])

    def _inside(self, staged: pa.RecordBatch, ts: np.ndarray, match: Manifest) -> pa.RecordBatch:
        start, end = match.bounds()
        inside = np.ones(len(ts), bool)
        if start is not None:
            inside &= ts >= start
        if end is not None:
            inside &= ts < end
        self.counts["outside"] += int((~inside).sum())
        return staged if inside.all() else staged.filter(pa.array(inside))


def _write(store: Store, match: str, described: Manifest, reading: _Reading) -> Report:
    names = devices.resolve(reading.seen, [*described.devices, *reading.devices])
    alike = np.concatenate(reading.alike) if reading.rising and reading.alike else None
    files = tuple(entry["file"] for entry in reading.files)
    staged = Staged(reading.scratch, files, reading.ordered, names.full, alike)
    merged = _merge(staged, reading)
    span = _Span()
    written = [tables.write(store, schema.EVENTS, match, ahead(span.watch(merged.batches())) if merged else [])]
    if merged:
        merged.close()
    reading.counts["events"] = written[0].rows
    reading.counts["duplicates"] = merged.duplicates if merged else 0
    warnings = _warnings(described, reading, names)
    info = {
        "match_id": match,
        "name": described.name,
        "timezone": described.zone.key,
        "manifest": described.model_dump_json(),
        **{name: reading.counts[name] for name in schema.COUNTS},
        "files": len(reading.files),
        "first_time": manifest.utc(span.first),
        "last_time": manifest.utc(span.last),
        "warnings": warnings,
    }
    written.append(tables.write(store, schema.SOURCES, match, tables.from_rows(schema.SOURCES, reading.files)))
    written.append(tables.write(store, schema.MATCH, match, tables.from_rows(schema.MATCH, [info])))
    # Last, so that a refusal is lifted only when all the tables hold the new input.
    written.append(reading.rejects.write(store, match))
    counts = {name: reading.counts[name] for name in (*schema.COUNTS, "unknown_files")}
    return Report(
        tables=tuple(written),
        counts={**counts, "files": len(reading.files), "blocked": 0},
        rejects=dict(reading.reasons.most_common()),
        warnings=tuple(warnings),
        preview=tuple(
            {key: entry[key] for key in ("file", "dialect", "lines", "pending", "size")} for entry in reading.files[:20]
        ),
    )


def _merge(staged: Staged, reading: _Reading) -> Merged | None:
    return merge(staged, reading.settings.memory_mb) if any(staged.folder.glob("staged-*.parquet")) else None


@dataclass
class _Span:
    """First and last time of the events that pass."""

    first: int | None = None
    last: int | None = None

    def watch(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow.compute as pc

        for batch in batches:
            if batch.num_rows:
                found = pc.min_max(batch.column("ts").cast(pa.int64())).as_py()
                self.first = found["min"] if self.first is None else min(self.first, found["min"])
                self.last = found["max"] if self.last is None else max(self.last, found["max"])
            yield batch


def _warnings(described: Manifest, reading: _Reading, names: devices.Names) -> list[str]:
    warnings = list(reading.warnings)
    if reading.naive and described.timezone is None:
        warnings.append("Some times carry no zone and the match has no timezone: they were read as UTC.")
    if names.unknown:
        listed = ", ".join(names.unknown[:10])
        warnings.append(f"These devices are in no device list and keep their short names: {listed}.")
    if reading.counts["pending"]:
        warnings.append(f"Unfinished last lines, left for the next time: {reading.counts['pending']}.")
    return warnings


def _blocked(store: Store, match: str, reading: _Reading, reason: str) -> Report:
    reading.rejects.refuse(reason)
    written = reading.rejects.write(store, match)
    return Report(
        tables=(written,),
        counts={"blocked": 1},
        rejects={reason: 1},
        warnings=(f"{reason} The tables of the last good input stay.",),
    )
