"""Lines that are JSON objects.

The bridge's main and debug logs, the timer backup, the modular bridge, and the project's own event
exports, so that an export can be read in again. What a record is follows from its keys, record by
record, never from the file's name. Those of one dialect in a block become columns together.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, compress
from typing import Any

import orjson
import pyarrow as pa

from sheaf.matches import faults
from sheaf.matches.readers import timer_frames
from sheaf.matches.readers.clocks import Clock, Moment
from sheaf.matches.readers.dialects import dialect_of
from sheaf.matches.readers.json_blocks import bridge_columns
from sheaf.matches.readers.log_blocks import Block, Line
from sheaf.matches.readers.records import Records, mapped, meanings, texts
from sheaf.matches.readers.staging import Batch
from sheaf.matches.vocabulary import EVENT_TYPES, TIMER_BACKUP_TYPES

_FEW = 512
"""Lines that are read one by one as soon as they are found not to be alike."""
_LOOKED_AT = 8


@dataclass
class _Lines:
    """Lines that are objects of one dialect."""

    numbers: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)

    def only(self, which: Sequence[bool]) -> "_Lines":
        """Some of them."""
        return _Lines(*(list(compress(column, which)) for column in vars(self).values()))


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

    def read(self, block: Block) -> Batch:
        """All lines of a block, each accounted for."""
        batch = Batch(lines=block.count)
        self._read(block, batch)
        batch.in_order()
        return batch

    def _read(self, block: Block, batch: Batch) -> None:
        """Through Arrow where all lines are as the bridge writes them; as objects those around one that is not."""
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
        found: dict[str, _Lines] = defaultdict(_Lines)
        mended: dict[int, tuple[Line, Sequence[str]]] = {}
        for line in chain(block.lines(self.max_line), [block.tail] if block.tail else []):
            number, offset, raw, too_long = line
            content = None if too_long else parse(raw)
            if content is None and (salvaged := _salvage(line)):
                raw, content, codes = salvaged
                mended[number] = line, codes
            if content is None:
                self._without_object(line, block, batch)
                continue
            kind = _kind(content)
            if kind is not None and kind in _COLUMNS:
                lines = found[kind]
                lines.numbers.append(number)
                lines.offsets.append(offset)
                lines.raw.append(raw)
                lines.items.append(content)
            elif kind:
                batch.skipped += 1
            else:
                batch.reject(number, offset, faults.UNKNOWN, raw)
        used = self._events(found, batch) if found else ()
        for number, (line, codes) in mended.items():
            for code in codes if number in used else ():
                batch.change(number, line.offset, code, line.raw.lstrip(b"\0"))

    def _without_object(self, line: Line, block: Block, batch: Batch) -> None:
        if line is block.tail:
            batch.pending += 1  # a whole object needs no line end to be whole; anything less is still being written
        elif reason := fault(line):
            batch.reject(line.number, line.offset, reason, line.raw)
        else:
            batch.blank += 1

    def _events(self, found: dict[str, _Lines], batch: Batch) -> set[int]:
        """Take the events among some lines, dialect by dialect, and return which lines those are."""
        times = self._times(*next(iter(found.items()))) if len(found) == 1 else None
        moments = self._moments(found) if times is None else {}
        pieces, used = [], set[int]()
        for name, lines in found.items():
            if times is None:
                lines, when = self._timed(name, lines, moments[name], batch)
            else:
                when = {"ts": times, "ambiguous_time": pa.repeat(False, len(times))}
            records = Records(lines.items)
            columns = _COLUMNS[name](records)
            for place in sorted(records.lost):
                batch.change(lines.numbers[place], lines.offsets[place], faults.NO_NUMBER, lines.raw[place])
            used.update(lines.numbers)
            pieces.append(
                {
                    "line": pa.array(lines.numbers, pa.int64()),
                    "byte_offset": pa.array(lines.offsets, pa.int64()),
                    "dialect": pa.repeat(name, len(lines.items)),
                    "raw": pa.array(_raw(name, lines), pa.string()),
                    **when,
                    **columns,
                }
            )
        batch.take(*pieces)
        return used

    def _times(self, name: str, lines: _Lines) -> pa.Int64Array | None:
        """The times of some lines of one dialect; None where they need to be looked at one by one."""
        try:
            when = pa.array([item.get(_TIME[name]) for item in lines.items], pa.string())
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return None
        if _TIME[name] != "hms":
            return self.clock.iso_column(when)
        return self.clock.time_of_day_column(self.day, when) if self.day else None

    def _moments(self, found: Mapping[str, _Lines]) -> dict[str, list[Moment | None]]:
        """The times one by one, as the lines come: of a local time that was twice, the one before tells which it is."""
        places = [(line, name, place) for name, lines in found.items() for place, line in enumerate(lines.numbers)]
        moments: dict[str, list[Moment | None]] = {name: [None] * len(lines.items) for name, lines in found.items()}
        for _, name, place in sorted(places):
            moments[name][place] = self._moment(name, found[name].items[place])
        return moments

    def _moment(self, name: str, item: dict[str, Any]) -> Moment | None:
        when = item.get(_TIME[name])
        if _TIME[name] == "hms":
            return self.clock.time_of_day(self.day, when) if self.day else None
        return self.clock.iso(when) or (self.clock.twelve_hours(item.get("datetime")) if name == "bridge_log" else None)

    def _timed(
        self, name: str, lines: _Lines, moments: list[Moment | None], batch: Batch
    ) -> tuple[_Lines, dict[str, pa.Array]]:
        """The lines that have a time, and it; the others are rejected."""
        reason = faults.NO_DATE if _TIME[name] == "hms" and not self.day else faults.BAD_TIME
        for place, moment in enumerate(moments):
            if moment is None:
                batch.reject(lines.numbers[place], lines.offsets[place], reason, lines.raw[place].decode().strip())
        known = [moment for moment in moments if moment is not None]
        ts, ambiguous = zip(*known, strict=True) if known else ((), ())
        lines = lines.only([moment is not None for moment in moments])
        return lines, {"ts": pa.array(ts, pa.int64()), "ambiguous_time": pa.array(ambiguous, pa.bool_())}


def _kind(item: dict[str, Any]) -> str | None:
    """The dialect of an object; `schema` or `web` for those that hold no events."""
    kind = dialect_of(item)
    if kind == "modular_log" and (item.get("type") != "event" or item["msg"] not in ("T0", "HIT")):
        return "web"
    return kind


def _raw(name: str, lines: _Lines) -> list[bytes]:
    """What stands for the lines: of an export, the records that it was made of."""
    if name != "event_export":
        return [raw.strip() for raw in lines.raw]
    return [
        orjson.dumps(source) if isinstance(source := item.get("raw_data"), dict) else raw.strip()
        for raw, item in zip(lines.raw, lines.items, strict=True)
    ]


def _bridge(records: Records) -> dict[str, pa.Array]:
    names = ("device", "device_id", "device_position", "details", "session_id")
    found = {name: records.texts(name) for name in names}
    return {
        **found,
        "source_type": records.texts("type"),
        "seq": records.integers("seq"),
        **meanings(found["device"], found["details"]),
    }


def _export(records: Records) -> dict[str, pa.Array]:
    names = ("device", "device_id", "device_position", "details", "session_id")
    sources = [
        source.get("type") if isinstance(source := item.get("raw_data"), dict) else item["event_type"]
        for item in records.items
    ]
    return {
        **{name: records.texts(name) for name in names},
        "source_type": texts(sources),
        "event_type": mapped(
            records.texts("event_type"),
            lambda named: named if named in EVENT_TYPES else TIMER_BACKUP_TYPES.get(named or "", "other"),
        ),
        "seq": records.integers("seq"),
        **{name: records.shot_numbers(name) for name in ("shot_number", "timer_shots")},
        **{name: records.numbers(records.values(name)) for name in ("shot_time_s", "split_s", "magnitude")},
    }


def _debug(records: Records) -> dict[str, pa.Array]:
    return {
        "source_type": records.texts("type"),
        "event_type": pa.repeat("device_signal", len(records.items)),
        **{name: records.texts(name) for name in ("device", "device_id")},
        "seq": records.integers("seq"),
        "magnitude": records.numbers([item["data"].get("impact_magnitude") for item in records.items]),
    }


def _modular(records: Records) -> dict[str, pa.Array]:
    """Start signals and hits; the same shape also carries web server logs, which hold no events."""
    data = [data if isinstance(data := item.get("data"), dict) else {} for item in records.items]
    hits = [item["msg"] == "HIT" for item in records.items]
    return {
        "source_type": records.texts("msg"),
        "event_type": pa.array(["impact_detected" if hit else "timer_start_beep" for hit in hits], pa.string()),
        "device": pa.array(["Sensor" if hit else "Timer" for hit in hits], pa.string()),
        "device_id": texts([one.get("sensor_id") if hit else None for one, hit in zip(data, hits, strict=True)]),
        "device_position": records.texts("plate"),
        "seq": records.integers("seq"),
        "magnitude": records.numbers([one.get("peak_amplitude") for one in data]),
    }


def backup(records: Records) -> dict[str, pa.Array]:
    """Columns of timer backup records, which are lines in a file or rows in a database."""
    times = records.numbers(records.values("current_time"))
    return {
        "source_type": (named := records.texts("event_type")),
        "event_type": mapped(named, _backup_type),
        "device": pa.repeat("Timer", len(records.items)),
        "device_id": records.texts("device_id"),
        "details": records.texts("event_detail"),
        "session_id": records.texts("session_id"),
        "shot_number": records.shot_numbers("current_shot"),
        "shot_time_s": timer_frames.times(times, records.values("raw_hex")),
        "split_s": records.numbers(records.values("split_time")),
        "timer_shots": records.shot_numbers("total_shots"),
    }


def _backup_type(named: str | None) -> str:
    usual = "timer_shot_detail" if named == "timer_active" else "other"
    return TIMER_BACKUP_TYPES.get(named or "", usual)


_COLUMNS: Mapping[str, Callable[[Records], dict[str, pa.Array]]] = {
    "bridge_log": _bridge,
    "event_export": _export,
    "timer_backup": backup,
    "debug_log": _debug,
    "modular_log": _modular,
}
"""What the records of each dialect mean, in columns of `staging.SCHEMA`."""
_TIME = {**dict.fromkeys(_COLUMNS, "timestamp_iso"), "timer_backup": "timestamp", "modular_log": "hms"}
"""Under which key they have their time."""


def _looks_plain(block: Block) -> bool:
    """Whether most of some lines of a block are of the bridge's main log, so that it is worth trying many at once."""
    found = [parse(line) for line in block.some(_LOOKED_AT)]
    plain = [item for item in found if item and "details" in item and dialect_of(item) == "bridge_log"]
    return 2 * len(plain) > len(found)


def parse(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, if it is one."""
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _salvage(line: Line) -> tuple[bytes, dict[str, Any], tuple[str, ...]] | None:
    """The object behind the NULs of a power cut, or with null for the values that are none, and what was changed.

    Returns:
        What stands for the line, the object in it, and the codes of what was changed.
    """
    if line.too_long:
        return None
    rest = line.raw.lstrip(b"\0")
    if rest != line.raw and (content := parse(rest)) is not None:
        return rest, content, (faults.NULS,)
    if found := _without_bad_values(rest):
        content, codes = found
        return orjson.dumps(content), content, codes
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
