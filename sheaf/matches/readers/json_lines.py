"""Lines that are JSON objects.

The bridge's main and debug logs, the timer backup, the modular bridge, and the project's own event
exports, so that an export can be read in again. What a record is follows from its keys, record by
record, never from the file's name.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson

from sheaf.matches import faults
from sheaf.matches.readers import timer_frames
from sheaf.matches.readers.clocks import Clock, Moment
from sheaf.matches.readers.dialects import dialect_of
from sheaf.matches.readers.json_blocks import bridge_columns
from sheaf.matches.readers.log_blocks import Block, Line
from sheaf.matches.readers.staging import Batch
from sheaf.matches.vocabulary import EVENT_TYPES, TIMER_BACKUP_TYPES, Numbers, classify

_FEW = 128
"""Lines that are read one by one as soon as they are found not to be alike."""
_LOOKED_AT = 8


@dataclass(slots=True)
class _Record:
    line: int
    offset: int
    bytes: bytes
    object: dict[str, Any]

    @property
    def raw(self) -> str:
        return self.bytes.decode().strip()


class JsonLines:
    """Reads the blocks of one file.

    Args:
        clock: the file's clock.
        day: date in the file's name, for records that carry only a time of day.
        max_line: longer lines are rejected.
    """

    def __init__(self, clock: Clock, day: date | None, max_line: int) -> None:
        self.clock = clock
        self.day = day
        self.max_line = max_line
        self._readers: dict[str, Callable[[_Record, Batch], None]] = {
            "bridge_log": self._bridge,
            "event_export": self._export,
            "timer_backup": self._backup,
            "debug_log": self._debug,
            "modular_log": self._modular,
        }

    def read(self, block: Block) -> Batch:
        """All lines of a block, each accounted for."""
        batch = Batch(lines=block.count)
        self._read(block, batch)
        return batch

    def _read(self, block: Block, batch: Batch) -> None:
        """Many lines at once where all are as the bridge writes them; those around one that is not, one by one."""
        if _looks_plain(block):
            if columns := bridge_columns(block, self.clock, self.max_line):
                batch.take(columns)
                return
            if block.count > _FEW and (halves := block.halves()):
                for half in halves:
                    self._read(half, batch)
                return
        self._read_lines(block, batch)

    def _read_lines(self, block: Block, batch: Batch) -> None:
        for line in block.lines(self.max_line):
            content = None if line.too_long else parse(line.raw)
            if content is not None:
                self._take(_Record(line.number, line.offset, line.raw, content), batch)
            elif found := _salvage(line):
                self._take_mended(line, *found, batch)
            elif reason := fault(line):
                batch.reject(line.number, line.offset, reason, line.raw)
            else:
                batch.blank += 1
        if line := block.tail:
            # A whole object needs no line end to be whole; anything less is still being written.
            content = None if line.too_long else parse(line.raw)
            if content is not None:
                self._take(_Record(line.number, line.offset, line.raw, content), batch)
            elif found := _salvage(line):
                self._take_mended(line, *found, batch)
            else:
                batch.pending += 1

    def _take_mended(self, line: Line, record: _Record, codes: Sequence[str], batch: Batch) -> None:
        """Take what is left of a line, and note what was changed if it is an event."""
        known = len(batch.rows)
        self._take(record, batch)
        if len(batch.rows) > known:
            for code in codes:
                batch.change(line.number, line.offset, code, line.raw.lstrip(b"\0"))

    def _take(self, record: _Record, batch: Batch) -> None:
        kind = dialect_of(record.object)
        if kind in self._readers:
            self._readers[kind](record, batch)
        elif kind == "schema":
            batch.skipped += 1
        else:
            batch.reject(record.line, record.offset, faults.UNKNOWN, record.bytes)

    def _bridge(self, record: _Record, batch: Batch) -> None:
        item = record.object
        moment = self.clock.iso(item.get("timestamp_iso")) or self.clock.twelve_hours(item.get("datetime"))
        if moment is None:
            batch.reject(record.line, record.offset, faults.BAD_TIME, record.raw)
            return
        device, details = _text(item.get("device")), _text(item.get("details"))
        event_type, shot, time, magnitude = classify(device, details)
        numbers = Numbers()
        _add(
            batch,
            "bridge_log",
            moment,
            record,
            numbers,
            source_type=_text(item.get("type")),
            event_type=event_type,
            device=device,
            device_id=_text(item.get("device_id")),
            device_position=_text(item.get("device_position")),
            details=details,
            session_id=_text(item.get("session_id")),
            seq=numbers.integer(item.get("seq")),
            shot_number=shot,
            shot_time_s=time,
            magnitude=magnitude,
            raw=record.raw,
        )

    def _export(self, record: _Record, batch: Batch) -> None:
        item = record.object
        moment = self.clock.iso(item["timestamp_iso"])
        if moment is None:
            batch.reject(record.line, record.offset, faults.BAD_TIME, record.raw)
            return
        named = _text(item["event_type"])
        source = item.get("raw_data")
        numbers = Numbers()
        _add(
            batch,
            "event_export",
            moment,
            record,
            numbers,
            **{key: _text(item.get(key)) for key in ("device", "device_id", "device_position", "details")},
            source_type=_text(source.get("type")) if isinstance(source, dict) else named,
            event_type=named if named in EVENT_TYPES else TIMER_BACKUP_TYPES.get(named or "", "other"),
            session_id=_text(item.get("session_id")),
            seq=numbers.integer(item.get("seq")),
            shot_number=numbers.shot_number(item.get("shot_number")),
            shot_time_s=numbers.number(item.get("shot_time_s")),
            split_s=numbers.number(item.get("split_s")),
            timer_shots=numbers.shot_number(item.get("timer_shots")),
            magnitude=numbers.number(item.get("magnitude")),
            raw=orjson.dumps(source).decode() if isinstance(source, dict) else record.raw,
        )

    def _backup(self, record: _Record, batch: Batch) -> None:
        moment = self.clock.iso(record.object["timestamp"])
        if moment is None:
            batch.reject(record.line, record.offset, faults.BAD_TIME, record.raw)
        else:
            numbers = Numbers()
            values = backup_values(record.object, numbers)
            _add(batch, "timer_backup", moment, record, numbers, **values, raw=record.raw)

    def _debug(self, record: _Record, batch: Batch) -> None:
        item = record.object
        moment = self.clock.iso(item["timestamp_iso"])
        if moment is None:
            batch.reject(record.line, record.offset, faults.BAD_TIME, record.raw)
            return
        numbers = Numbers()
        _add(
            batch,
            "debug_log",
            moment,
            record,
            numbers,
            source_type=_text(item.get("type")),
            event_type="device_signal",
            device=_text(item.get("device")),
            device_id=_text(item.get("device_id")),
            seq=numbers.integer(item.get("seq")),
            magnitude=numbers.number(item["data"].get("impact_magnitude")),
            raw=record.raw,
        )

    def _modular(self, record: _Record, batch: Batch) -> None:
        """Start signals and hits; the same shape also carries web server logs, which hold no events."""
        item, data = record.object, record.object.get("data")
        if item.get("type") != "event" or item["msg"] not in ("T0", "HIT"):
            batch.skipped += 1
            return
        moment = self.clock.time_of_day(self.day, item.get("hms")) if self.day else None
        if moment is None:
            batch.reject(record.line, record.offset, faults.BAD_TIME if self.day else faults.NO_DATE, record.raw)
            return
        values = data if isinstance(data, dict) else {}
        hit = item["msg"] == "HIT"
        numbers = Numbers()
        _add(
            batch,
            "modular_log",
            moment,
            record,
            numbers,
            source_type=item["msg"],
            event_type="impact_detected" if hit else "timer_start_beep",
            device="Sensor" if hit else "Timer",
            device_id=_text(values.get("sensor_id")) if hit else None,
            device_position=_text(item.get("plate")),
            details=None,
            seq=numbers.integer(item.get("seq")),
            magnitude=numbers.number(values.get("peak_amplitude")),
            raw=record.raw,
        )


def _looks_plain(block: Block) -> bool:
    """Whether most of some lines of a block are of the bridge's main log, so that it is worth trying many at once."""
    found = [parse(line) for line in block.some(_LOOKED_AT)]
    plain = [item for item in found if item and "details" in item and dialect_of(item) == "bridge_log"]
    return 2 * len(plain) > len(found)


def backup_values(item: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    """Columns of a timer backup record, which is a line in a file or a row in a database."""
    named = _text(item["event_type"])
    frame = timer_frames.decode(item.get("raw_hex"))
    event_type = TIMER_BACKUP_TYPES.get(named or "", "timer_shot_detail" if named == "timer_active" else "other")
    time = numbers.number(item.get("current_time"))
    return {
        "source_type": named,
        "event_type": event_type,
        "device": "Timer",
        "device_id": _text(item.get("device_id")),
        "details": _text(item.get("event_detail")),
        "session_id": _text(item.get("session_id")),
        "shot_number": numbers.shot_number(item.get("current_shot")),
        "shot_time_s": frame.time_s if time is None and frame else time,
        "split_s": numbers.number(item.get("split_time")),
        "timer_shots": numbers.shot_number(item.get("total_shots")),
    }


def parse(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, if it is one."""
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _salvage(line: Line) -> tuple[_Record, tuple[str, ...]] | None:
    """The object behind the NULs of a power cut, or with null for the values that are none, and what was changed."""
    if line.too_long:
        return None
    rest = line.raw.lstrip(b"\0")
    if rest != line.raw and (content := parse(rest)) is not None:
        return _Record(line.number, line.offset, rest, content), (faults.NULS,)
    if found := _without_bad_values(rest):
        content, codes = found
        return _Record(line.number, line.offset, orjson.dumps(content), content), codes
    return None


def _without_bad_values(raw: bytes) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """The object in a line of which only values are wrong: NaN, Infinity, numbers too large, halves of characters.

    They become null. Anything else that Python reads and JSON has not, such as digits without end, is no object.
    """
    codes: dict[str, None] = {}

    def number(text: str) -> float | None:
        value = float(text)
        return value if math.isfinite(value) else none(faults.NOT_FINITE)

    def integer(text: str) -> int | float | None:
        value = int(text) if len(text) <= 20 else None
        return value if value is not None and -(2**63) <= value < 2**64 else number(text)  # as orjson reads it

    def none(code: str) -> None:
        codes[code] = None

    def whole(value: Any) -> Any:
        if isinstance(value, str):
            return none(faults.HALF_CHARACTER) if _SURROGATE.search(value) else value
        if isinstance(value, list):
            return [whole(each) for each in value]
        return {key: whole(each) for key, each in value.items()} if isinstance(value, dict) else value

    try:
        content = json.loads(
            raw.decode(), parse_constant=lambda _: none(faults.NOT_FINITE), parse_float=number, parse_int=integer
        )
        content = whole(content)
        same = isinstance(content, dict) and codes and orjson.loads(orjson.dumps(content)) == content
    except (ValueError, RecursionError, orjson.JSONEncodeError):
        return None
    return (content, tuple(codes)) if same else None


_SURROGATE = re.compile("[\ud800-\udfff]")


def fault(line: Line) -> str | None:
    """Why a line is no JSON object, by its code; None when it is blank."""
    raw = line.raw.strip()
    if line.too_long:
        return faults.TOO_LONG
    if not raw:
        return None
    if b"\0" in raw:
        return faults.NULS
    try:
        raw.decode()
    except UnicodeDecodeError:
        return faults.BAD_ENCODING
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return faults.CORRUPT_JSON
    return faults.NO_OBJECT


def _add(batch: Batch, dialect: str, moment: Moment, record: _Record, numbers: Numbers, /, **values: Any) -> None:
    batch.add(dialect, moment, line=record.line, byte_offset=record.offset, **values)
    if numbers.lost:
        batch.change(record.line, record.offset, faults.NO_NUMBER, record.bytes)


def _text(value: object) -> str | None:
    return value if value is None or type(value) is str else orjson.dumps(value).decode()
