"""Lines that are no JSON: the bridge's main log as CSV, and its console log."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from itertools import compress

import orjson
import pyarrow as pa

from sheaf.matches import faults
from sheaf.matches.readers.clocks import Clock, Moment
from sheaf.matches.readers.log_blocks import Block, Line
from sheaf.matches.readers.records import mapped, meanings
from sheaf.matches.readers.staging import Batch
from sheaf.matches.vocabulary import number, shot_number

CSV_COLUMNS = ("Datetime", "Type", "Device", "DeviceID", "DevicePosition", "Details")
_HEADER = list(CSV_COLUMNS)
_CONSOLE = re.compile(r"\[(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\] \w+: ?(.*)")
_BEEP = re.compile(r"Start Beep -+ String #(\d+) at \(?(\d\d:\d\d:\d\d\.\d{3})\)?")
_STOP = re.compile(r"Stop Beep for String #(\d+) at \(?(\d\d:\d\d:\d\d\.\d{3})\)?(?: \(total: ([\d.]+)s\))?")
_SHOT = re.compile(r"String (\d+), Shot #(\d+) - Time ([\d.]+)s, Split ([\d.]+)s, First ([\d.]+)s")
_IMPACT = re.compile(r"String (\d+), Impact #(\d+) - Time ([\d.]+)s, Shot->Impact ([\d.]+)s, Peak ([\d.]+)")
_CONNECTED = re.compile(r"Status: (Timer|Sensor|Bridge) (\S+) - Connected")
_SECOND = 1_000_000


def looks_like_csv(line: bytes) -> bool:
    """Whether a line is the header or a row of the main log as CSV."""
    text = line.decode("utf-8", "replace").strip()
    return text.startswith("Datetime,Type,Device,") or bool(re.match(r"\d{1,2}/\d{1,2}/\d{2,4} [\d:.]+ ?[ap]m,", text))


def looks_like_console(line: bytes) -> bool:
    """Whether a line is one of the console log."""
    return bool(_CONSOLE.match(line.decode("utf-8", "replace")))


class MainCsv:
    """Reads the blocks of a main log in CSV.

    Rows are taken from their lines one by one, so that an open quote spoils only its own, and become columns together.
    """

    def __init__(self, clock: Clock, _day: date | None, max_line: int) -> None:
        self.clock = clock
        self.max_line = max_line

    def read(self, block: Block) -> Batch:
        """All lines of a block, each accounted for."""
        batch = Batch(lines=block.count, pending=int(block.tail is not None))
        lines: list[Line] = []
        rows: list[list[str]] = []
        for line, text in _texts(block, batch, self.max_line):
            row = _row(text)
            if row == _HEADER:
                batch.skipped += 1
            elif row is None or len(row) != len(CSV_COLUMNS):
                batch.reject(line.number, line.offset, faults.CORRUPT_CSV, line.raw)
            else:
                lines.append(line)
                rows.append(row)
        times, ambiguous = self._times(lines, rows, batch)
        if times.null_count:
            known = times.is_valid().to_pylist()
            lines, rows = list(compress(lines, known)), list(compress(rows, known))
            times, ambiguous = times.drop_null(), ambiguous.drop_null()
        if rows:
            _, type_, device, device_id, position, details = (pa.array(column) for column in zip(*rows, strict=True))
            batch.take(
                {
                    "line": pa.array([line.number for line in lines]),
                    "byte_offset": pa.array([line.offset for line in lines]),
                    "ts": times,
                    "ambiguous_time": ambiguous,
                    "dialect": pa.repeat("bridge_csv", len(rows)),
                    "source_type": type_,
                    "device": device,
                    "device_id": mapped(device_id, lambda name: name or None),
                    "device_position": position,
                    "details": details,
                    **meanings(device, details),
                    "raw": pa.array(
                        [orjson.dumps(dict(zip(CSV_COLUMNS, row, strict=True))) for row in rows], pa.string()
                    ),
                }
            )
        batch.in_order()
        return batch

    def _times(self, lines: list[Line], rows: list[list[str]], batch: Batch) -> tuple[pa.Int64Array, pa.BooleanArray]:
        """When rows happened, and whether that was twice; null for those that are rejected since nobody can tell."""
        found = self.clock.twelve_hours_column(pa.array([row[0] for row in rows], pa.string()))
        if found is not None:
            return found, pa.repeat(False, len(rows))
        moments = [self.clock.twelve_hours(row[0]) or self.clock.iso(row[0]) for row in rows]
        for line, moment in zip(lines, moments, strict=True):
            if moment is None:
                batch.reject(line.number, line.offset, faults.BAD_TIME, line.raw)
        ts, ambiguous = zip(*(moment or (None, None) for moment in moments), strict=True) if moments else ((), ())
        return pa.array(ts, pa.int64()), pa.array(ambiguous, pa.bool_())


class Console:
    """Reads the blocks of a console log.

    Its lines are stamped to the second only; shots and impacts are placed by the beep's exact time
    and the timer's own numbers, where these agree with the line's stamp.
    """

    def __init__(self, clock: Clock, _day: date | None, max_line: int) -> None:
        self.clock = clock
        self.max_line = max_line
        self._beep: int | None = None
        self._since_beep = 0.0

    def read(self, block: Block) -> Batch:
        """All lines of a block, each accounted for; lines that report no event are skipped."""
        batch = Batch(lines=block.count, pending=int(block.tail is not None))
        lines: list[tuple[Line, str, re.Match[str]]] = []
        for line, text in _texts(block, batch, self.max_line):
            if found := _CONSOLE.match(text):
                lines.append((line, text, found))
            else:
                batch.reject(line.number, line.offset, faults.NO_CONSOLE_LINE, line.raw)
        for (line, text, found), stamp in zip(lines, self._stamps(lines), strict=True):
            if stamp is None:
                batch.reject(line.number, line.offset, faults.BAD_TIME, line.raw)
            elif not self._event(batch, line, text, found, stamp):
                batch.skipped += 1
        batch.in_order()
        return batch

    def _stamps(self, lines: Sequence[tuple[Line, str, re.Match[str]]]) -> Iterable[Moment | None]:
        """What the lines are stamped with; None where it is no time."""
        texts = pa.array([f"{found[1]}T{found[2]}" for _, _, found in lines], pa.string())
        if (times := self.clock.iso_column(texts)) is not None:
            return ((time, False) for time in times.to_pylist())
        return (self.clock.time_of_day(day, found[2]) if (day := _day(found[1])) else None for _, _, found in lines)

    def _event(self, batch: Batch, line: Line, text: str, stamped: re.Match[str], stamp: Moment) -> bool:
        values: dict[str, object] = {"device": "Timer"}
        moment, message = stamp, stamped[3]
        if found := _BEEP.search(message):
            moment = self._near(stamp, self._exact(stamped, found[2]))
            self._beep, self._since_beep = moment[0], 0.0
            values["event_type"] = "timer_start_beep"
        elif found := _STOP.search(message):
            moment = self._near(stamp, self._exact(stamped, found[2]))
            values |= {"event_type": "timer_stop_button", "shot_time_s": number(found[3])}
        elif found := _SHOT.search(message):
            split, first = number(found[3]) or 0.0, number(found[5]) or 0.0  # what it calls Time is the split
            self._since_beep = first if found[2] == "1" else self._since_beep + split
            moment = self._after_beep(stamp, self._since_beep)
            values |= {"event_type": "shot_detected", "shot_number": shot_number(found[2])}
            values |= {"split_s": split, "shot_time_s": round(self._since_beep, 3)}
        elif "Enhanced" not in message and (found := _IMPACT.search(message)):
            moment = self._after_beep(stamp, number(found[3]) or 0.0)
            values |= {"event_type": "impact_detected", "device": "Sensor", "magnitude": number(found[5])}
        elif found := _CONNECTED.search(message):
            device = found[1]
            event_type = {"Timer": "timer_connected", "Sensor": "sensor_connected"}.get(device, "other")
            values = {"event_type": event_type, "device": device, "device_id": found[2]}
        else:
            return False
        raw = orjson.dumps({"line": text}).decode()
        batch.add("console", moment, line=line.number, byte_offset=line.offset, details=message, raw=raw, **values)
        return True

    def _exact(self, stamped: re.Match[str], time: str) -> Moment | None:
        day = _day(stamped[1])
        return self.clock.time_of_day(day, time) if day else None

    def _near(self, stamp: Moment, exact: Moment | None) -> Moment:
        """The exact time, unless it is of another second than the stamp (midnight, a stale text)."""
        return exact if exact and abs(exact[0] - stamp[0]) <= 2 * _SECOND else stamp

    def _after_beep(self, stamp: Moment, seconds: float) -> Moment:
        if self._beep is None or seconds > 1e6:
            return stamp
        return self._near(stamp, (self._beep + round(seconds * _SECOND), stamp[1]))


FORMS: dict[str, tuple[Callable[[bytes], bool], type[MainCsv] | type[Console]]] = {
    "csv": (looks_like_csv, MainCsv),
    "console": (looks_like_console, Console),
}
"""By the form of a file, what tells it by one of its lines, and who reads it."""


def _texts(block: Block, batch: Batch, max_line: int) -> Iterator[tuple[Line, str]]:
    """The lines that are text; the others are rejected or counted as blank."""
    for line in block.lines(max_line):
        raw = line.raw
        if line.too_long:
            batch.reject(line.number, line.offset, faults.TOO_LONG, raw)
        elif not raw.strip():
            batch.blank += 1
        elif b"\0" in raw:
            batch.reject(line.number, line.offset, faults.NULS, raw)
        else:
            try:
                yield line, raw.decode().rstrip("\r")
            except UnicodeDecodeError:
                batch.reject(line.number, line.offset, faults.BAD_ENCODING, raw)


@lru_cache
def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _row(text: str) -> list[str] | None:
    if '"' not in text and "\r" not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True), None)
    except csv.Error:
        return None
