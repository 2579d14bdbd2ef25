"""One match folder of the inbox into canonical events and what was read.

Every line is accounted for: lines_read = events + rejected + pending + duplicates + blank +
skipped + outside.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.ahead import ahead
from sheaf.errors import InputError
from sheaf.matches import faults, schema
from sheaf.matches.readers import devices, match_yaml, progress, sqlite, squad, staging
from sheaf.matches.readers.clocks import BEYOND_US, Clock
from sheaf.matches.readers.devices import Device
from sheaf.matches.readers.files import BY_LINE, READERS, Source, discover
from sheaf.matches.readers.log_blocks import LogFile, NotOnlyGrownError
from sheaf.matches.readers.match_yaml import Manifest
from sheaf.matches.readers.merge import SAME_US, Merged, Staged, merge
from sheaf.matches.readers.progress import APART_US, Position, Progress
from sheaf.matches.readers.set_back import SetBack
from sheaf.matches.readers.staging import Batch, Remark
from sheaf.outside.files import open_file
from sheaf.report import Report
from sheaf.tables.accounts import Kind
from sheaf.tables.parquet import from_rows
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

_LATE_US = 2_000_000
_SHOWN = 2000
_BEGINNING = 60


def ingest(folder: Path, work: Work) -> Report:
    """Read one match folder and write its tables; of logs that only grew since the last time, what is new.

    Args:
        folder: holds the logs, databases and, if there is one, `match.yaml`; only read.
        work: with the zone and the limits among its settings.

    Returns:
        Counts (`lines_read`, `events`, `rejected`, `pending`, `duplicates`, `blank`, `skipped`,
        `outside`, `files`, `unknown_files`), warnings, and the files that were read.

    Raises:
        InputError: `match.yaml` cannot be used, or there are no logs.
    """
    described = match_yaml.load(folder, work.partition, work.settings.timezone)
    described = described.model_copy(update={"squad": squad.read(folder, described.squad, work.rejects)})
    sources = discover(folder, described)
    if not sources:
        raise InputError(
            f"The folder of match {work.partition!r} holds no logs; were they offloaded? What was published stays."
        )
    if before := progress.known(work.before, described, sources):
        grown = replace(work, scratch=work.scratch / "grown", rejects=Rejects(work.scratch / "grown"))
        grown.scratch.mkdir()
        with suppress(NotOnlyGrownError, InputError):
            report = _read(grown, described, sources, before)
            work.rejects.take(grown.rejects.accounts({}), grown.rejects.batches())
            return report
    return _read(work, described, sources)


def _read(work: Work, described: Manifest, sources: Sequence[Source], before: Progress | None = None) -> Report:
    """Read the sources and write the tables; raises `NotOnlyGrownError` where what is new does not follow `before`."""
    reading = _Reading(work, described, before)
    work.rejects.saw("events", 0)  # none is a number, too
    for source in sources:
        reading.read(source)
    if all(source.form in ("unknown", "configuration") for source in sources):
        shown = ", ".join(_beginning(source) for source in sources[:3]) + (", …" if len(sources) > 3 else "")
        raise InputError(f"No file of match {work.partition!r} is in a format that is known here: {shown}.")
    memory.give_back()
    return _write(work, described, reading)


def _beginning(source: Source) -> str:
    """The name of a file and how it begins, so that people see what is in it."""
    with open_file(source.path) as file:
        text = file.read(_BEGINNING).decode("utf-8", "backslashreplace").splitlines() or [""]
    return f"{source.name} (it begins with {text[0]!r})"


@dataclass
class _Reading:
    """Collects what the sources of one match hold, on disk; what they held `before` is not read again."""

    work: Work
    match: Manifest
    before: Progress | None = None
    counts: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    devices: list[Device] = field(default_factory=list)
    naive: bool = False
    ordered: bool = True
    rising: bool = True
    alike: list[np.ndarray] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    latest_us: int = 0
    set_back: list[SetBack] = field(default_factory=list)
    _next: int = 0
    _latest: int = 0
    _latest_ts: int = 0

    def __post_init__(self) -> None:
        """Take what was counted before."""
        if (before := self.before) and self.work.before:
            self.counts.update(before.counts)
            self.seen.update(before.seen)
            self.latest_us = self._latest = before.latest_us
            self.work.rejects.take(*progress.of_events(self.work.before))

    def read(self, source: Source) -> None:
        """Read one source into a staged file; what is no source of events is noted."""
        self.work.rejects.saw("sources", 1)
        before = self.before.positions.get(source.name) if self.before else None
        if before and (before.whole or before.form != source.form):
            raise NotOnlyGrownError
        position = self._unchanged(source, before) if before and not before.mark else self._changed(source, before)
        self.naive = self.naive or (position.naive and self.match.timezone is None)
        self.positions[source.name] = position
        self.files.append(position.entry)

    def _changed(self, source: Source, before: Position | None) -> Position:
        """Read a source, as a whole or what comes after how far it was read."""
        clock = Clock(self.match.zone, before.last_us if before else None)
        entry = {"file": source.name, "dialect": source.form, "lines": 0, "pending": 0}
        if source.form == "database":
            found = self._read_database(source, clock, entry)
        elif source.form in READERS:
            found = self._read_log(source, clock, entry, before)
        else:
            self._note(source)
            self._only_hash(source, entry)
            found = {}
        if clock.naive and self.match.timezone is None:
            self.work.rejects.fault("events", faults.NAIVE_TIME, faults.READ_AS_UTC, rows=clock.naive, file=source.name)
        naive = bool(clock.naive) or (before is not None and before.naive)
        return Position(form=source.form, entry=entry, naive=naive, last_us=clock.last, **found)

    def _unchanged(self, source: Source, before: Position) -> Position:
        """A source that cannot be gone on with, if it is as it was; what is no source of events is noted again."""
        entry: dict[str, Any] = {}
        self._only_hash(source, entry)
        if entry["sha256"] != before.entry["sha256"]:
            raise NotOnlyGrownError
        if source.form == "database" or source.form in READERS:
            self.counts["sources"] += 1
            self.devices.extend(before.devices)
            self.warnings.extend(before.warnings)
        else:
            self._note(source)
        return before

    def _read_log(self, source: Source, clock: Clock, entry: dict[str, Any], before: Position | None) -> dict[str, Any]:
        most, latest, dialects = self.work.settings.max_line_bytes, _Latest(), set[str]()
        file = LogFile(source.path, most, elements=source.form == "array", after=before.mark if before else None)
        if before and before.mark:
            entry["lines"], latest, dialects = before.mark.lines, _Latest(before.latest_us), set(before.dialects)
            self._uncount_pending(before.entry["pending"])
        reader = READERS[source.form](clock, source.day, most)
        latest = self._stage(source, ahead(map(reader.read, file.blocks())), entry, dialects, latest)
        entry |= {"size": file.size, "sha256": file.sha256}
        entry["dialect"] = ", ".join(sorted(dialects)) or f"{source.form} without events"
        self.counts["sources"] += 1
        if file.broken:
            said = f"{source.name}: {file.broken}."
            self.warnings.append(said)
            self.work.rejects.fault("sources", faults.BROKEN_GZIP, said, file=source.name)
        # An event without a line end is none to go on after: its end would count as another line.
        goes_on = source.form in BY_LINE and not latest.set_back and (entry["pending"] or file.ended)
        return {
            "mark": file.mark if goes_on else None,
            "whole": file.broken is not None,
            "dialects": sorted(dialects),
            "latest_us": latest.ts,
        }

    def _uncount_pending(self, lines: int) -> None:
        """Lines that had no end are read once more."""
        self.counts.update({"lines_read": -lines, "pending": -lines})
        self.work.rejects.saw("events", -lines)
        self.work.rejects.left_out("events", "pending", -lines)

    def _read_database(self, source: Source, clock: Clock, entry: dict[str, Any]) -> dict[str, Any]:
        self._only_hash(source, entry)
        copy = self.work.scratch / "snapshot.db"
        dialects = set[str]()
        try:
            sqlite.snapshot(source.path, copy, self.work.settings.database_timeout_s)
            found = sqlite.describe(copy)
            self._stage(source, sqlite.read(copy, clock), entry, dialects)
        except InputError as error:
            entry["dialect"] = "database that cannot be read"
            said = f"{source.name}: {error}; its events are missing."
            self.warnings.append(said)
            # What was read before the fault showed is kept.
            kind = Kind.FAULT if entry["lines"] else Kind.REJECT
            self.work.rejects.note(kind, "sources", faults.UNREADABLE_DATABASE, said, file=source.name)
            self.counts["sources"] += kind is Kind.FAULT
            return {"whole": True}
        finally:
            copy.unlink(missing_ok=True)
        entry["dialect"] = ", ".join(sorted(dialects)) or "database without events"
        self.counts["sources"] += 1
        notes = [f"{source.name}: {note}." for note in found.notes]
        self.devices.extend(found.devices)
        self.warnings.extend(notes)
        return {"devices": found.devices, "warnings": notes}

    def _only_hash(self, source: Source, entry: dict[str, Any]) -> None:
        file = LogFile(source.path, self.work.settings.max_line_bytes)
        for _ in file.blocks():
            pass
        entry |= {"size": file.size, "sha256": file.sha256}

    def _note(self, source: Source) -> None:
        """A file that holds no events as it stands."""
        if source.form == "wal" and not source.path.with_name(source.path.name.removesuffix("-wal")).exists():
            said = f"{source.name} is a write-ahead log without its database, nothing was read from it."
            self.warnings.append(said)
            self.work.rejects.add("sources", faults.ORPHANED_LOG, said, file=source.name)
            return
        self.work.rejects.left_out("sources", source.form, 1)
        if source.form == "configuration":
            self.warnings.append(f"{source.name} has no key {match_yaml.BLOCK}, nothing of it holds for this match.")
        if source.form == "unknown":
            self.counts["unknown_files"] += 1
            self.warnings.append(f"{source.name} is in no format that is known here, nothing was read from it.")

    def _stage(
        self,
        source: Source,
        batches: Iterator[Batch],
        entry: dict[str, Any],
        dialects: set[str],
        before: "_Latest | None" = None,
    ) -> "_Latest":
        """Write the events of one source; keep its rejects; count everything; note in `dialects` which there are."""
        import pyarrow.parquet as pq

        path = self.work.scratch / f"staged-{len(self.files):06d}.parquet"
        # By table of a database; a log has one order for all it holds.
        latest: dict[str, _Latest] = {"": before or _Latest()}
        with pq.ParquetWriter(
            path,
            staging.SCHEMA,
            compression="lz4",
            use_dictionary=staging.REPEATING,  # type: ignore[arg-type]  # names of columns do as well
            write_statistics=["order_ts"],  # type: ignore[arg-type]  # as above
        ) as writer:
            for batch in batches:
                entry["lines"] += batch.lines
                entry["pending"] += batch.pending
                arrays = batch.arrow()
                self._count(source, batch, arrays)
                found = arrays["dialect"].unique().to_pylist()
                dialects.update(found)
                stream = found[0] if found and source.form == "database" else ""
                staged, latest[stream] = self._ordering(arrays, latest.get(stream, _Latest()), stream)
                if staged.num_rows:
                    writer.write_batch(staged)
        return latest[""]

    def _count(self, source: Source, batch: Batch, arrays: dict[str, pa.Array]) -> None:
        rejects = self.work.rejects
        rejects.saw("events", batch.lines)
        for name in ("pending", "blank", "skipped"):
            self.counts[name] += getattr(batch, name)
            rejects.left_out("events", name, getattr(batch, name))
        self.counts["lines_read"] += batch.lines
        self.counts["rejected"] += len(batch.rejected)
        for kind, remarks in ((Kind.REJECT, batch.rejected), (Kind.CHANGE, batch.changed)):
            rejects.note_lines(kind, "events", source.name, [_as_row(kind, remark) for remark in remarks])
        pairs = pa.table({name: arrays[name] for name in ("device", "device_id")}).group_by(["device", "device_id"])
        for pair in pairs.aggregate([]).to_pylist():
            if pair["device"] and pair["device_id"]:
                self.seen.add((pair["device"], pair["device_id"]))

    def _ordering(
        self, arrays: dict[str, pa.Array], latest: "_Latest", stream: str
    ) -> tuple[pa.RecordBatch, "_Latest"]:
        """Decide the place of each event of a block in the match.

        An event counts at its own time, unless it is more than two seconds behind an earlier one of
        the same source: then the clock was set back or the lines are a replay, and the order of the
        source holds until its times are where they were before. So it does for times of a clock that was not set.
        """
        ts = arrays["ts"].to_numpy(zero_copy_only=False).astype(np.int64)
        beyond = ts >= BEYOND_US
        running = np.maximum.accumulate(np.concatenate([[latest.ts], np.where(beyond, 0, ts)]))[1:]
        places = np.arange(1, len(ts) + 1)
        back = np.maximum.accumulate(np.where(running - ts > _LATE_US, places, 0 if latest.set_back else -1))
        behind = back > np.maximum.accumulate(np.where(running == ts, places, -1))
        order = np.where(behind | beyond, running, ts)
        times = latest.times + np.cumsum(np.diff(ts, prepend=latest.last_us or ts[:1]) < -_LATE_US)
        since = times - np.maximum.accumulate(np.concatenate([[latest.before], np.where(behind, 0, times)]))[1:]
        columns = {
            **arrays,
            "n": pa.array(np.arange(self._next, self._next + len(ts))),
            "order_ts": pa.array(order),
            "set_back": pa.array(since.astype(np.int32)),
            "file_no": pa.array(np.full(len(ts), len(self.files), np.int32)),
        }
        staged = pa.RecordBatch.from_arrays([columns[name] for name in staging.SCHEMA.names], schema=staging.SCHEMA)
        self._next += len(ts)
        if len(ts):
            if self.before and min(ts.min(), order.min()) <= self.before.latest_us + APART_US:
                raise NotOnlyGrownError
            self.latest_us = max(self.latest_us, int(ts.max()), int(order.max()))
            self.ordered = self.ordered and order[0] >= self._latest and not (np.diff(order) < 0).any()
            self._latest = int(order[-1])
            self._note_alike(ts)
            for at in np.flatnonzero(behind & ~np.concatenate([[latest.set_back], behind[:-1]])).tolist():
                first = self._next - len(ts) + at
                self.set_back.append(SetBack(len(self.files), stream, first, int(running[at]), int(ts[at])))
            at_last = int(times[-1]), int(times[-1] - since[-1]), int(ts[-1])
            latest = _Latest(int(running[-1]), bool(behind[-1]), *at_last)
        return self._inside(staged, ts), latest

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

    def _inside(self, staged: pa.RecordBatch, ts: np.ndarray) -> pa.RecordBatch:
        start, end = self.match.bounds()
        inside = np.ones(len(ts), bool)
        if start is not None:
            inside &= ts >= start
        if end is not None:
            inside &= ts < end
        outside = int((~inside).sum())
        self.counts["outside"] += outside
        self.work.rejects.left_out("events", "outside", outside)
        return staged if inside.all() else staged.filter(pa.array(inside))


@dataclass(frozen=True)
class _Latest:
    """The latest time of a source so far, and whether its clock was set back and has not been there again.

    Attributes:
        times: how often the clock was set back; `before` the latest time was shown.
        last_us: time of the last event.
    """

    ts: int = 0
    set_back: bool = False
    times: int = 0
    before: int = 0
    last_us: int = 0


def _as_row(kind: Kind, remark: Remark) -> tuple[str, str, int | None, int | None, str]:
    """A remark as `Rejects.note_lines` takes it."""
    raw = remark.raw[:_SHOWN]
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    sentence = faults.SALVAGED if (kind, remark.code) == (Kind.CHANGE, faults.NULS) else faults.SENTENCES[remark.code]
    return remark.code, sentence, remark.line, remark.byte_offset, text


def _write(work: Work, described: Manifest, reading: _Reading) -> Report:
    names = devices.resolve(reading.seen, [*described.devices, *reading.devices])
    before = reading.before
    if before and any(names.full.get(name) != before.names.get(name) for _, name in before.seen):
        raise NotOnlyGrownError
    alike = np.concatenate(reading.alike) if reading.rising and reading.alike else None
    files = tuple(entry["file"] for entry in reading.files)
    staged = Staged(work.scratch, files, reading.ordered, names.full, alike, reading.set_back)
    merged = _merge(staged, work.settings.memory_mb)
    span = _Span(before.first_us, before.last_us) if before else _Span()
    write = work.append if before else work.write
    batches = merged.batches(before.events if before else 0) if merged else iter(())
    events = write(schema.EVENTS, ahead(span.watch(batches)))
    if merged:
        merged.close()
    duplicates = merged.duplicates if merged else 0
    work.rejects.left_out("events", "duplicates", duplicates)
    work.rejects.used("sources", reading.counts["sources"])
    reading.counts["events"] = events.rows
    reading.counts["duplicates"] += duplicates
    if not events.rows and (outside := reading.counts["outside"]):
        raise InputError(f"All {outside} events lie outside of start and end in {match_yaml.FILE_NAME}: correct them.")
    warnings = _warnings(reading, names)
    bridge = described.data_export
    warnings += bridge.without_meaning(work.partition) if bridge else ()
    holds = ", ".join(bridge.holds()) if bridge else ""
    info = {
        "match_id": work.partition,
        "name": described.name,
        "timezone": described.zone.key,
        "manifest": described.model_copy(
            update={"devices": devices.in_full(described.devices, reading.seen)}
        ).model_dump_json(),
        **{name: reading.counts[name] for name in schema.COUNTS},
        "files": len(reading.files),
        "first_time": match_yaml.utc(span.first),
        "last_time": match_yaml.utc(span.last),
        "warnings": warnings,
    }
    work.write(schema.SOURCES, from_rows(schema.SOURCES, reading.files))
    work.write(schema.MATCH, from_rows(schema.MATCH, [info]))
    read = Progress(
        described=described.model_dump_json(),
        positions=reading.positions,
        seen=sorted(reading.seen),
        names=dict(names.full),
        counts={name: reading.counts[name] for name in schema.COUNTS},
        events=events.rows,
        latest_us=reading.latest_us,
        first_us=span.first,
        last_us=span.last,
    )
    work.write(schema.PROGRESS, from_rows(schema.PROGRESS, [{"state": read.model_dump_json()}]))
    return Report(
        counts={
            **{name: reading.counts[name] for name in (*schema.COUNTS, "unknown_files")},
            "files": len(reading.files),
        },
        warnings=(
            *warnings,
            *([f"Of the data_export block these keys hold for this match: {holds}."] if holds else ()),
        ),
        preview=tuple(
            {key: entry[key] for key in ("file", "dialect", "lines", "pending", "size")} for entry in reading.files[:20]
        ),
    )


def _merge(staged: Staged, memory_mb: int) -> Merged | None:
    return merge(staged, memory_mb) if any(staged.folder.glob("staged-*.parquet")) else None


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


def _warnings(reading: _Reading, names: devices.Names) -> list[str]:
    warnings = list(reading.warnings)
    if reading.naive:
        warnings.append("Some times carry no zone and the match has no timezone: they were read as UTC.")
    if names.unknown:
        listed = ", ".join(names.unknown[:10])
        warnings.append(f"These devices are in no device list and keep their short names: {listed}.")
    heard = {names.full.get(name, name) for _, name in reading.seen}
    listed = devices.in_full(reading.match.devices, reading.seen)
    if silent := [device.id for device in listed if (devices.mac(device.id) or device.id) not in heard]:
        named = ", ".join(silent[:10])
        warnings.append(f"Devices of {match_yaml.FILE_NAME} that were never heard (is an address mistyped?): {named}.")
    if outside := reading.counts["outside"]:
        warnings.append(f"Events outside of start and end in {match_yaml.FILE_NAME}, which are left out: {outside}.")
    if reading.counts["pending"]:
        warnings.append(f"Unfinished last lines, left for the next time: {reading.counts['pending']}.")
    return warnings
