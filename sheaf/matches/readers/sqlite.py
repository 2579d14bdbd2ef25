"""Events in SQLite databases: runtime database, sample capture, timer backup and site database of the bridge.

Databases are read in a child process (`sqlite_child`), from snapshots. Tables are recognised by their columns: four
incompatible ones are called `timer_events`. Not here: SQLite itself.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from sheaf import sql
from sheaf.errors import InputError
from sheaf.matches import faults
from sheaf.matches.readers import timer_frames
from sheaf.matches.readers.clocks import Clock, Moment
from sheaf.matches.readers.devices import Device
from sheaf.matches.readers.json_lines import backup
from sheaf.matches.readers.records import Records, mapped
from sheaf.matches.readers.staging import Batch
from sheaf.matches.vocabulary import TIMER_BACKUP_TYPES
from sheaf.outside import child

MAGIC = b"SQLite format 3\0"
WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
PRIVATE_TABLES = ("users", "user_sessions")
SECONDS = 120.0
"""What a database may take, and one more for each megabyte of it."""

_MODULE = f"{__package__}.sqlite_child"
_TABLES = ("timer_events", "sensor_events", "impacts", "sensors", "bt50_samples")
_NEEDED = {
    "timer_events": ({"ts_ns", "event_type"}, {"timestamp", "event_type"}, {"ts_utc", "type"}),
    "sensor_events": ({"ts_utc", "sensor_id"},),
    "impacts": ({"sensor_mac", "impact_ts_ns"},),
}
"""By table of events, what its rows are known by, in each of the ways to write it."""
_MOST_SENSORS = 10_000


def snapshot(source: Path, target: Path, timeout_s: float) -> None:
    """Copy a database as it is at this moment, write-ahead log included.

    Raises:
        InputError: it is locked for longer than the timeout, damaged, no database, or takes too long to check.
    """
    asked = {"source": str(source), "target": str(target), "timeout_s": timeout_s}
    for _ in _ask("snapshot", source, SECONDS + timeout_s, **asked):
        pass


def forget(path: Path, tables: Sequence[str]) -> None:
    """Remove tables from a snapshot, and every trace of their rows.

    Raises:
        InputError: that cannot be done, or not in time.
    """
    for _ in _ask("forget", path, path=str(path), tables=list(tables)):
        pass


def _ask(what: str, database: Path, seconds: float | None = None, **asked: Any) -> Iterator[Any]:
    limit = (SECONDS if seconds is None else seconds) + database.stat().st_size / 1e6
    try:
        for piece in child.answers(_MODULE, {"what": what, "seconds": limit, **asked}, seconds=limit):
            yield json.loads(piece)
    except child.ChildError as error:
        raise InputError(f"the database {error}") from error


def _rows(path: Path, query: str) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """Names of columns with some rows, until there are no more."""
    answers = _ask("rows", path, path=str(path), query=query)
    names = next(answers)
    for rows in answers:
        yield names, rows


@dataclass
class Found:
    """What a database holds besides events."""

    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()


def read(path: Path, clock: Clock) -> Iterator[Batch]:
    """All events of a snapshot, in batches; rows count as lines.

    Raises:
        InputError: rows cannot be read, although SQLite finds the database whole.
    """
    for table, columns, moment in _tables(path, clock):
        yield from _read_table(path, table, columns, moment)


def describe(path: Path) -> Found:
    """Devices the site database knows, and tables that hold no events.

    Raises:
        InputError: they cannot be read, although SQLite finds the database whole.
    """
    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()
    tables = _columns(path)
    if {"hw_addr", "label"} <= tables["sensors"].keys():
        query = f"SELECT hw_addr, label FROM sensors ORDER BY id LIMIT {_MOST_SENSORS}"
        devices = tuple(
            Device(id=address, label=None if label is None else str(_plain(label)))
            for _, rows in _rows(path, query)
            for address, label in rows
            if isinstance(address, str) and address
        )
    if tables["bt50_samples"]:
        ((_, ((count,),)),) = _rows(path, "SELECT count(*) FROM bt50_samples")
        notes = (f"{count} sensor samples are kept in the database, they are no events",)
    if not any(tables.values()):
        notes = ("it has no table that is known here, nothing was read from it",)
    notes += tuple(
        f"its table {table} has none of the columns that are known here, nothing was read from it"
        for table, known in _NEEDED.items()
        if tables[table] and not any(columns <= tables[table].keys() for columns in known)
    )
    return Found(devices, notes)


Columns = Callable[[Records], dict[str, pa.Array]]
When = Callable[[dict[str, Any]], Moment | None]


def _columns(path: Path) -> dict[str, Mapping[str, str]]:
    """The types of the columns of each table that may be of interest; none where there is no such ordinary table."""
    (found,) = _ask("columns", path, path=str(path), tables=_TABLES)
    return {table: found.get(table, {}) for table in _TABLES}


def _tables(path: Path, clock: Clock) -> Iterator[tuple[str, Columns, When]]:
    tables = _columns(path)
    timer, sensor, impacts = (tables[name].keys() for name in ("timer_events", "sensor_events", "impacts"))
    if {"ts_ns", "event_type"} <= timer:
        yield "timer_events", _runtime_timer, lambda row: clock.epoch(row["ts_ns"])
    elif {"timestamp", "event_type"} <= timer:
        yield "timer_events", backup, lambda row: clock.iso(row["timestamp"])
    elif {"ts_utc", "type"} <= timer:
        yield "timer_events", _site_timer, lambda row: _utc(clock, row["ts_utc"])
    if {"ts_utc", "sensor_id"} <= sensor:
        if addresses := _sensor_addresses(path, tables):
            yield (
                "sensor_events",
                lambda rows: _hits(rows, [addresses.get(one) for one in rows.values("sensor_id")]),
                lambda row: _utc(clock, row["ts_utc"]),
            )
        else:  # the runtime database: ts_utc is local time in spite of its name
            yield (
                "sensor_events",
                lambda rows: _hits(rows, rows.values("sensor_id")),
                lambda row: clock.iso(row["ts_utc"]),
            )
    if {"sensor_mac", "impact_ts_ns"} <= impacts:
        yield (
            "impacts",
            lambda rows: _hits(rows, rows.values("sensor_mac"), "peak_mag"),
            lambda row: clock.epoch(row["impact_ts_ns"]),
        )


def _read_table(path: Path, table: str, columns: Columns, moment: When) -> Iterator[Batch]:
    for names, rows in _rows(path, f"SELECT rowid AS _row, * FROM {sql.name(table)} ORDER BY rowid"):
        batch = Batch(lines=len(rows))
        lines, moments, raws, items = [], [], [], []
        for row in rows:
            content: dict[str, Any] = {}
            for name, value in zip(names, row, strict=True):
                content.setdefault(name, _plain(value))
            line = content.pop("_row")
            raw = orjson.dumps({"table": table, **content})
            when = moment(content)
            if when is None:
                batch.reject(line, None, faults.BAD_TIME, raw.decode())
                continue
            for values, value in zip((lines, moments, raws, items), (line, when, raw, content), strict=True):
                values.append(value)
        records = Records(items)
        found = columns(records)
        batch.take(
            {
                "line": pa.array(lines, pa.int64()),
                "ts": pa.array([ts for ts, _ in moments], pa.int64()),
                "ambiguous_time": pa.array([ambiguous for _, ambiguous in moments], pa.bool_()),
                "dialect": pa.repeat(f"database:{table}", len(items)),
                "raw": pa.array(raws, pa.string()),
                **found,
            }
        )
        for place in sorted(records.lost):
            batch.change(lines[place], None, faults.NO_NUMBER, raws[place].decode())
        yield batch


def _runtime_timer(rows: Records) -> dict[str, pa.Array]:
    import pyarrow.compute as pc

    named = pa.array([str(value) for value in rows.values("event_type")], pa.string())
    event_type = mapped(named, _type)
    split = rows.numbers(rows.values("split_seconds"))
    stop = pc.equal(event_type, "timer_stop_button")  # there split_seconds is the total time
    totals = zip(stop.to_pylist(), rows.values("string_total_time"), strict=True)
    time = pc.if_else(stop, split, rows.numbers([None if is_stop else total for is_stop, total in totals]))
    return {
        "source_type": named,
        "event_type": event_type,
        "device": pa.repeat("Timer", len(named)),
        "device_id": _texts(rows.values("device_id")),
        "shot_number": rows.shot_numbers("current_shot"),
        "shot_time_s": timer_frames.times(time, rows.values("raw_hex")),
        "split_s": pc.if_else(stop, None, split),
        "timer_shots": rows.shot_numbers("total_shots"),
    }


def _site_timer(rows: Records) -> dict[str, pa.Array]:
    named = pa.array([str(value) for value in rows.values("type")], pa.string())
    timer, device_id = (pa.repeat(text, len(named)) for text in ("Timer", "AMG_TIMER"))
    return {"source_type": named, "event_type": mapped(named, _type), "device": timer, "device_id": device_id}


def _hits(rows: Records, sensors: Sequence[object], magnitude: str = "magnitude") -> dict[str, pa.Array]:
    source_type, event_type, device = (
        pa.repeat(text, len(sensors)) for text in ("sensor_event", "impact_detected", "Sensor")
    )
    return {
        "source_type": source_type,
        "event_type": event_type,
        "device": device,
        "device_id": _texts(sensors),
        "magnitude": rows.numbers(rows.values(magnitude)),
    }


def _type(named: str | None) -> str:
    return TIMER_BACKUP_TYPES.get(named or "", "other")


def _sensor_addresses(path: Path, tables: Mapping[str, Mapping[str, str]]) -> dict[object, str]:
    """Address by key, in the site database, where sensor events refer to sensors by number."""
    if not tables["sensor_events"]["sensor_id"].startswith("INT") or "hw_addr" not in tables["sensors"]:
        return {}
    query = f"SELECT id, hw_addr FROM sensors LIMIT {_MOST_SENSORS}"
    return {_plain(key): address for _, rows in _rows(path, query) for key, address in rows}


def _utc(clock: Clock, text: object) -> Moment | None:
    """A UTC time that SQLite stored without a zone."""
    if not isinstance(text, str):
        return None
    zoned = "+" in text or text.endswith("Z")
    return clock.iso(text if zoned else text + "+00:00")


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: bytes as hexadecimal digits."""
    return value["hex"] if isinstance(value, dict) else value


def _texts(values: Sequence[object]) -> pa.StringArray:
    return pa.array([None if value is None else str(value) for value in values], pa.string())
