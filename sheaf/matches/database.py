"""Events in SQLite databases: runtime database, sample capture, timer backup and site database of the bridge.

A database is read from a snapshot taken through SQLite's backup API, so that what is still in the
write-ahead log counts and the source is never written to. Tables are recognised by their columns:
four incompatible ones are called `timer_events`.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sheaf.errors import InputError
from sheaf.matches import timer_frames
from sheaf.matches.clocks import Clock, Moment
from sheaf.matches.manifest import Device
from sheaf.matches.records import BAD_TIME, backup_values
from sheaf.matches.staging import Batch
from sheaf.matches.vocabulary import TIMER_BACKUP_TYPES, number, shot_number

MAGIC = b"SQLite format 3\0"
WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
PRIVATE_TABLES = ("users", "user_sessions")
_ROWS = 10_000


def snapshot(source: Path, target: Path, timeout_s: float) -> None:
    """Copy a database as it is at this moment, write-ahead log included.

    Raises:
        InputError: it is locked for longer than the timeout, damaged, or no database.
    """
    wal, shm = (source.with_name(source.name + suffix) for suffix in ("-wal", "-shm"))
    uri = source.absolute().as_uri()
    copied = target.with_name(target.name + ".source")
    if not wal.exists() or not wal.stat().st_size:
        with source.open("rb") as file:
            file.seek(18)
            wal_mode = file.read(1) == b"\x02"
        # Nobody is writing to a WAL database without a log; opening it normally would create one beside it.
        uri += "?immutable=1" if wal_mode else "?mode=ro"
    elif shm.exists():
        uri += "?mode=ro"
    else:  # copied together with its log, in use by nobody: opening would write an index beside it
        shutil.copyfile(source, copied)
        shutil.copyfile(wal, copied.with_name(copied.name + "-wal"))
        uri = copied.absolute().as_uri()
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=timeout_s)) as before,
            closing(sqlite3.connect(target)) as after,
        ):
            before.backup(after)
            after.execute("PRAGMA journal_mode=DELETE")
            if (found := after.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                raise InputError(f"the database is damaged: {found.splitlines()[0]}")
    except sqlite3.Error as error:
        raise InputError(f"the database cannot be read: {error}") from error
    finally:
        for path in copied.parent.glob(copied.name + "*"):
            path.unlink()


@dataclass
class Found:
    """What a database holds besides events."""

    devices: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()


def read(path: Path, clock: Clock) -> Iterator[Batch]:
    """All events of a snapshot, in batches; rows count as lines."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        for table, values, moment in _tables(connection, clock):
            yield from _read_table(connection, table, values, moment)


def describe(path: Path) -> Found:
    """Devices the site database knows, and tables that hold no events."""
    with closing(sqlite3.connect(path)) as connection:
        devices: tuple[Device, ...] = ()
        notes: tuple[str, ...] = ()
        if {"hw_addr", "label"} <= _columns(connection, "sensors"):
            rows = connection.execute("SELECT hw_addr, label FROM sensors ORDER BY id").fetchall()
            devices = tuple(
                Device(id=address, label=label) for address, label in rows if isinstance(address, str) and address
            )
        if _columns(connection, "bt50_samples"):
            count = connection.execute("SELECT count(*) FROM bt50_samples").fetchone()[0]
            notes = (f"{count} sensor samples are kept in the database, they are no events",)
    return Found(devices, notes)


Values = Callable[[dict[str, Any]], dict[str, Any]]
When = Callable[[dict[str, Any]], Moment | None]


def _tables(connection: sqlite3.Connection, clock: Clock) -> Iterator[tuple[str, Values, When]]:
    timer, sensor, impacts = (_columns(connection, name) for name in ("timer_events", "sensor_events", "impacts"))
    if {"ts_ns", "event_type"} <= timer:
        yield "timer_events", _runtime_timer, lambda row: clock.epoch(row["ts_ns"])
    elif {"timestamp", "event_type"} <= timer:
        yield "timer_events", backup_values, lambda row: clock.iso(row["timestamp"])
    elif {"ts_utc", "type"} <= timer:
        yield "timer_events", _site_timer, lambda row: _utc(clock, row["ts_utc"])
    if {"ts_utc", "sensor_id"} <= sensor:
        if addresses := _sensor_addresses(connection):
            yield (
                "sensor_events",
                lambda row: _hit(row, addresses.get(row["sensor_id"])),
                lambda row: _utc(clock, row["ts_utc"]),
            )
        else:  # the runtime database: ts_utc is local time in spite of its name
            yield "sensor_events", lambda row: _hit(row, row["sensor_id"]), lambda row: clock.iso(row["ts_utc"])
    if {"sensor_mac", "impact_ts_ns"} <= impacts:
        yield "impacts", _captured_impact, lambda row: clock.epoch(row["impact_ts_ns"])


def _read_table(connection: sqlite3.Connection, table: str, values: Values, moment: When) -> Iterator[Batch]:
    cursor = connection.execute(f'SELECT rowid AS _row, * FROM "{table}" ORDER BY rowid')  # a constant
    while rows := cursor.fetchmany(_ROWS):
        batch = Batch(lines=len(rows))
        for row in rows:
            content = {key: row[key] for key in row.keys()}  # noqa: SIM118  # Row iterates over values
            line = content.pop("_row")
            raw = orjson.dumps({"table": table, **{key: _plain(value) for key, value in content.items()}}).decode()
            when = moment(content)
            if when is None:
                batch.reject(line, None, BAD_TIME, raw)
            else:
                batch.add(f"database:{table}", when, line=line, **values(content), raw=raw)
        yield batch


def _runtime_timer(row: dict[str, Any]) -> dict[str, Any]:
    frame = timer_frames.decode(row.get("raw_hex"))
    event_type = TIMER_BACKUP_TYPES.get(str(row["event_type"]), "other")
    split = number(row.get("split_seconds"))
    stop = event_type == "timer_stop_button"  # there split_seconds is the total time
    time = split if stop else number(row.get("string_total_time"))
    return {
        "source_type": str(row["event_type"]),
        "event_type": event_type,
        "device": "Timer",
        "device_id": _text(row.get("device_id")),
        "shot_number": shot_number(row.get("current_shot")),
        "shot_time_s": frame.time_s if time is None and frame else time,
        "split_s": None if stop else split,
    }


def _site_timer(row: dict[str, Any]) -> dict[str, Any]:
    event_type = TIMER_BACKUP_TYPES.get(str(row["type"]), "other")
    return {"source_type": str(row["type"]), "event_type": event_type, "device": "Timer", "device_id": "AMG_TIMER"}


def _hit(row: dict[str, Any], sensor: object) -> dict[str, Any]:
    return {
        "source_type": "sensor_event",
        "event_type": "impact_detected",
        "device": "Sensor",
        "device_id": _text(sensor),
        "magnitude": number(row.get("magnitude")),
    }


def _captured_impact(row: dict[str, Any]) -> dict[str, Any]:
    return _hit({"magnitude": row.get("peak_mag")}, row["sensor_mac"])


def _sensor_addresses(connection: sqlite3.Connection) -> dict[object, str]:
    """Address by key, in the site database, where sensor events refer to sensors by number."""
    types = {row[1]: str(row[2]).upper() for row in connection.execute("PRAGMA table_info(sensor_events)")}
    if not types["sensor_id"].startswith("INT") or "hw_addr" not in _columns(connection, "sensors"):
        return {}
    return dict(connection.execute("SELECT id, hw_addr FROM sensors"))


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _utc(clock: Clock, text: object) -> Moment | None:
    """A UTC time that SQLite stored without a zone."""
    if not isinstance(text, str):
        return None
    zoned = "+" in text or text.endswith("Z")
    return clock.iso(text if zoned else text + "+00:00")


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


def _text(value: object) -> str | None:
    return None if value is None else str(value)
