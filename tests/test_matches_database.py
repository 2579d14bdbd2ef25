"""SQLite databases: four shapes of tables, write-ahead logs, and sources that stay untouched."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from matches_logs import PLATE_1, TIMER, Match, accounted, beep, put, shot

from sheaf.matches import schema

NS = 1_757_844_000_000_000_000  # 2025-09-14T10:00:00Z


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def database(path: Path, *statements: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


RUNTIME = (
    "CREATE TABLE timer_events (id INTEGER PRIMARY KEY, ts_ns INTEGER, device_id TEXT, event_type TEXT, "
    "split_seconds REAL, split_cs INTEGER, raw_hex TEXT)",
    f"INSERT INTO timer_events VALUES (1, {NS}, 'AMG_TIMER', 'START', 0, 0, NULL)",
    f"INSERT INTO timer_events VALUES (2, {NS + 2_630_000_000}, 'AMG_TIMER', 'SHOT', 1.15, 115, "
    "'0103000001070073005700ea0001')",
    f"INSERT INTO timer_events VALUES (3, {NS + 9_000_000_000}, 'AMG_TIMER', 'STOP', 6.5, 650, NULL)",
    "CREATE TABLE sensor_events (id INTEGER PRIMARY KEY, ts_utc TEXT, sensor_id TEXT, magnitude REAL)",
    "INSERT INTO sensor_events VALUES (1, '2025-09-14T05:00:03.150000', 'F8FE923112E3', 42.5)",
    "INSERT INTO sensor_events VALUES (2, 'yesterday', 'F8FE923112E3', 1)",
)


def test_runtime_database_in_two_clocks(match: Match) -> None:
    database(match.folder / "db" / "leadville_runtime.db", *RUNTIME)
    put(match.folder, "match.yaml", f"timezone: America/Chicago\ndevices: [{{id: '{TIMER}', kind: timer}}]".encode())
    report = match.read()
    events = match.rows(schema.EVENTS)
    assert match.types() == ["timer_start_beep", "shot_detected", "impact_detected", "timer_stop_button"]
    assert events[2]["ts"] == datetime(2025, 9, 14, 10, 0, 3, 150_000, tzinfo=UTC)
    assert (events[2]["device_id"], events[2]["magnitude"]) == (PLATE_1, 42.5)
    assert events[1]["device_id"] == TIMER
    assert (events[1]["shot_time_s"], events[1]["split_s"], events[3]["shot_time_s"]) == (2.63, 1.15, 6.5)
    assert report.codes() == {"bad_time": 1}
    assert (report.counts["correlated"], accounted(report)) == (1, True)
    assert match.rejects()[0]["line"] == 2


def test_timer_backup_database_repeats_the_backup_file(match: Match) -> None:
    row = {"timestamp": "2025-09-14T10:00:02+00:00", "device_id": TIMER, "event_type": "shot_detected"}
    more = {"current_shot": 1, "current_time": 2.34, "event_detail": "Shot 1: 2.34s", "session_id": "s1"}
    match.log(row | more, name="logs/backup.jsonl")
    database(
        match.folder / "timer_events.db",
        "CREATE TABLE timer_events (id INTEGER PRIMARY KEY, timestamp TEXT, device_id TEXT, event_type TEXT, "
        'current_shot INTEGER, "current_time" REAL, event_detail TEXT, session_id TEXT)',
        f"INSERT INTO timer_events VALUES (1, '{row['timestamp']}', '{TIMER}', 'shot_detected', 1, 2.34, "
        "'Shot 1: 2.34s', 's1')",
    )
    report = match.read()
    assert (report.counts["events"], report.counts["duplicates"]) == (1, 1)
    assert match.rows(schema.EVENTS)[0]["source_file"] == "logs/backup.jsonl"
    (match.folder / "logs" / "backup.jsonl").unlink()
    match.read()
    assert match.rows(schema.EVENTS)[0]["shot_time_s"] == 2.34


SITE = (
    "CREATE TABLE sensors (id INTEGER PRIMARY KEY, hw_addr VARCHAR(17), label VARCHAR(100))",
    f"INSERT INTO sensors VALUES (7, '{PLATE_1}', 'left plate')",
    "CREATE TABLE timer_events (id INTEGER PRIMARY KEY, ts_utc DATETIME, type VARCHAR(20), raw TEXT)",
    "INSERT INTO timer_events VALUES (1, '2025-09-14 10:00:00.000000', 'START', NULL)",
    "INSERT INTO timer_events VALUES (2, '2025-09-14 10:00:02.000000', 'SHOT', NULL)",
    "CREATE TABLE sensor_events (id INTEGER PRIMARY KEY, ts_utc DATETIME, sensor_id INTEGER, magnitude FLOAT)",
    "INSERT INTO sensor_events VALUES (1, '2025-09-14 10:00:02.500000', 7, 12.5)",
    "CREATE TABLE impacts (sensor_mac TEXT, impact_ts_ns INTEGER, detection_ts_ns INTEGER, peak_mag REAL)",
    f"INSERT INTO impacts VALUES ('{PLATE_1}', {(NS + 2_480_000_000) // 1_000_000}, NULL, 12.5)",
    "CREATE TABLE bt50_samples (ts_ns INTEGER)",
    "CREATE TABLE users (username TEXT, password_hash TEXT)",
    "INSERT INTO users VALUES ('admin', 'secret-hash')",
)


def test_site_database_is_utc_and_knows_its_sensors(match: Match) -> None:
    database(match.folder / "bridge.db", *SITE)
    report = match.read(timezone="America/Chicago")
    events = match.rows(schema.EVENTS)
    assert match.types() == ["timer_start_beep", "shot_detected", "impact_detected"]
    assert events[2]["device_id"] == PLATE_1
    assert report.counts["duplicates"] == 1  # the capture's view of the same hit, whose time is in milliseconds
    assert any("0 sensor samples" in warning for warning in report.warnings)


@pytest.fixture
def live(match: Match) -> Iterator[sqlite3.Connection]:
    """A database in use: its last rows are only in the write-ahead log."""
    path = match.folder / "live.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        for statement in RUNTIME:
            connection.execute(statement)
        connection.commit()
        yield connection


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_the_write_ahead_log_counts_and_the_source_stays_untouched(match: Match, live: sqlite3.Connection) -> None:
    before = state(match.folder)
    assert (match.folder / "live.db").stat().st_size < 10_000
    report = match.read(timezone="America/Chicago")
    assert report.counts["events"] == 4
    assert state(match.folder) == before
    live.execute(f"INSERT INTO timer_events VALUES (4, {NS + 20_000_000_000}, 'AMG_TIMER', 'START', 0, 0, NULL)")
    live.commit()
    assert match.read(timezone="America/Chicago").counts["events"] == 5


def test_a_database_without_tables_that_are_known_is_named(match: Match) -> None:
    match.log(shot(1))
    database(match.folder / "other.db", "CREATE TABLE timer_events (a, b)")
    database(match.folder / "photos.db", "CREATE TABLE photos (a, b)")
    warned = "\n".join(match.read().warnings)
    assert "other.db: its table timer_events has none of the columns that are known here" in warned
    assert "photos.db: it has no table that is known here" in warned


@pytest.mark.parametrize("with_log", [True, False])
def test_a_copied_wal_database_is_read_without_writing_beside_it(
    match: Match, live: sqlite3.Connection, tmp_path: Path, with_log: bool
) -> None:
    copy = Match(tmp_path / "copy")
    shutil.copy(match.folder / "live.db", copy.folder)
    if with_log:
        shutil.copy(match.folder / "live.db-wal", copy.folder)
    before = state(copy.folder)
    report = copy.read(timezone="America/Chicago")
    assert report.counts["events"] == (4 if with_log else 0)
    assert state(copy.folder) == before


def test_a_damaged_database_and_an_orphaned_log_are_told_and_stop_nothing(match: Match) -> None:
    match.log(beep(0), shot(1))
    path = database(match.folder / "broken.db", *RUNTIME)
    data = bytearray(path.read_bytes())
    data[100:8000] = b"\xff" * 7900
    path.write_bytes(data)
    put(match.folder, "gone.db-wal", b"\x37\x7f\x06\x82" + b"\0" * 100)
    report = match.read()
    assert report.counts["events"] == 2
    assert any("broken.db" in warning and "its events are missing" in warning for warning in report.warnings)
    assert any("gone.db-wal" in warning and "without its database" in warning for warning in report.warnings)


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"
HOSTILE = {
    "an endless view of samples": [f"CREATE VIEW bt50_samples AS {ENDLESS} x AS id FROM c"],
    "an endless view of sensors": [f"CREATE VIEW sensors AS {ENDLESS} x AS id, 'a' AS hw_addr, 'b' AS label FROM c"],
    "an endless view of impacts": [f"CREATE VIEW impacts AS {ENDLESS} 'a' AS sensor_mac, x AS impact_ts_ns FROM c"],
    "an endless view of events": [f"CREATE VIEW timer_events AS {ENDLESS} x AS ts_ns, 'START' AS event_type FROM c"],
    "a view of accounts": [f"CREATE VIEW users AS {ENDLESS} x AS id FROM c"],
    "a virtual table": ["CREATE VIRTUAL TABLE timer_events USING fts4(ts_ns, event_type)"],
    "values that unpack": [
        "CREATE TABLE timer_events (ts_ns INTEGER, event_type TEXT, x BLOB AS (zeroblob(900000000)))",
        "INSERT INTO timer_events VALUES (1, 'START')",
    ],
}


@pytest.mark.case("reliability/sqlite-view")
@pytest.mark.parametrize("what", HOSTILE)
def test_only_ordinary_tables_are_read(match: Match, what: str) -> None:
    database(match.folder / "a.db", *HOSTILE[what])
    match.log(beep(0), shot(1))
    started = time.monotonic()
    read = match.read()
    assert read.refused is None
    assert read.counts["events"] == 2
    assert read.codes("sources") == ({"unreadable_database": 1} if "unpack" in what else {})
    assert time.monotonic() - started < 20


def test_a_database_that_takes_too_long_is_ended(match: Match, monkeypatch: pytest.MonkeyPatch) -> None:
    from sheaf.matches.readers import sqlite as reader

    monkeypatch.setattr(reader, "SECONDS", -10.0)
    many = f"CREATE TABLE bt50_samples AS {ENDLESS} x AS id FROM c LIMIT 300000"  # nobody has counted them at once
    database(match.folder / "a.db", *RUNTIME, many)
    match.log(beep(0), shot(1))
    read = match.read()
    assert read.codes("sources") == {"unreadable_database": 1}
    assert any("takes too long" in warning for warning in read.warnings)


def test_a_database_whose_writer_died_is_read_with_its_log_and_stays_as_it_is(
    match: Match, live: sqlite3.Connection, tmp_path: Path
) -> None:
    """Its index lies there and nobody uses it."""
    copy = Match(tmp_path / "copy")
    for path in match.folder.glob("live.db*"):
        shutil.copy(path, copy.folder)
    before = state(copy.folder)
    assert len(before) == 3
    assert copy.read(timezone="America/Chicago").counts["events"] == 4
    assert state(copy.folder) == before
