"""From log files of every dialect to canonical events, each once, with their origin."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from matches_logs import PLATE_1, TIMER, Match, accounted, beep, button, hit, line, ndjson, put, shot, stop, string

from sheaf.matches import schema
from sheaf.matches.readers import log_blocks
from sheaf.tables.accounts import Kind


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def test_events_say_where_they_came_from(match: Match) -> None:
    first, second = shot(1), shot(2)
    match.log(first, second)
    match.read()
    event = match.rows(schema.EVENTS)[1]
    assert event["source_file"] == "logs/main.ndjson"
    assert (event["source_line"], event["byte_offset"]) == (2, len(ndjson(first)))
    assert json.loads(event["raw"]) == second
    assert event["ts"] == datetime(2025, 9, 14, 10, 0, 2, tzinfo=UTC)


def test_dirty_lines_are_rejected_one_by_one_and_the_rest_goes_on(match: Match) -> None:
    good = [shot(1), shot(2), shot(3)]
    dirty = [b"{bad json\n", b"[1,2]\n", b'"text"\n', b'{"a":"\xe9"}\n', b"\0\0\0\n", b'{"strange":1}\n', b"\n"]
    data = b"\xef\xbb\xbf" + ndjson(good[0]) + b"".join(dirty) + ndjson(*good[1:]) + b'{"timestamp_iso":"2025'
    put(match.folder, "logs/main.ndjson", data)
    report = match.read()
    assert report.counts["events"] == 3
    assert report.codes() == {
        "not_an_object": 2,
        "corrupt_json": 1,
        "bad_encoding": 1,
        "nul_bytes": 1,
        "unknown_record": 1,
    }
    assert (report.counts["pending"], report.counts["blank"]) == (1, 1)
    assert accounted(report)
    rejected = match.rejects()[0]
    assert (rejected["line"], rejected["byte_offset"]) == (2, 3 + len(ndjson(good[0])))
    assert rejected["raw"] == "{bad json"


def test_an_object_behind_the_nuls_of_a_power_cut_is_kept(match: Match) -> None:
    put(match.folder, "logs/main.ndjson", ndjson(shot(1)) + b"\0" * 512 + ndjson(shot(2)))
    report = match.read()
    assert (report.counts["events"], report.counts["rejected"]) == (2, 0)
    assert report.codes(kind=Kind.CHANGE) == {"nul_bytes": 1}


def test_a_clean_block_and_a_dirty_one_are_read_alike(tmp_path: Path) -> None:
    records = [*string(0), line(100, "Shot 3: 1.25s"), line(101, "Impact detected: 189.0 (raw: 3)", "Sensor", PLATE_1)]
    clean, dirty = Match(tmp_path / "a"), Match(tmp_path / "b")
    clean.log(*records)
    put(dirty.folder, "logs/main.ndjson", ndjson(*records) + b"not json\n")
    clean.read()
    dirty.read()
    assert clean.rows(schema.EVENTS) == dirty.rows(schema.EVENTS)
    assert clean.rows(schema.EVENTS)[-1]["magnitude"] == 189.0


def test_a_line_that_is_too_long_is_rejected_wherever_it_stands(match: Match) -> None:
    long = b'{"details":"' + b"x" * 5_000_000 + b'"}\n'
    put(match.folder, "logs/main.ndjson", ndjson(shot(1)) + long + ndjson(shot(2)) + long + ndjson(shot(3)))
    report = match.read()
    assert report.codes() == {"line_too_long": 2}
    events = match.rows(schema.EVENTS)
    assert [event["source_line"] for event in events] == [1, 3, 5]
    assert events[2]["byte_offset"] == 2 * len(ndjson(shot(1))) + 2 * len(long)


def test_gzip_and_utf16_are_read_and_a_cut_gzip_is_told(match: Match) -> None:
    put(match.folder, "logs/a.ndjson.gz", gzip.compress(ndjson(shot(1))))
    put(match.folder, "logs/b.txt", ndjson(shot(2)).decode().encode("utf-16"))
    data = gzip.compress(ndjson(*(shot(10 + n / 100) for n in range(5000))))
    put(match.folder, "logs/c.log", data[: len(data) // 2])
    report = match.read()
    assert report.counts["events"] > 100
    assert any("c.log" in warning and "ends early" in warning for warning in report.warnings)
    assert {event["source_file"] for event in match.rows(schema.EVENTS)} == {
        "logs/a.ndjson.gz",
        "logs/b.txt",
        "logs/c.log",
    }


def test_an_unfinished_line_is_pending_and_read_when_it_is_whole(match: Match) -> None:
    path = put(match.folder, "logs/main.ndjson", ndjson(shot(1)) + ndjson(shot(2))[:-30])
    report = match.read()
    assert (report.counts["events"], report.counts["pending"], report.counts["rejected"]) == (1, 1, 0)
    path.write_bytes(ndjson(shot(1), shot(2)))
    report = match.read()
    assert (report.counts["events"], report.counts["pending"]) == (2, 0)


def test_a_first_line_that_is_still_being_written_is_pending(match: Match) -> None:
    put(match.folder, "logs/main.ndjson", ndjson(shot(1))[:40])
    report = match.read()
    assert (report.counts["pending"], report.counts["unknown_files"]) == (1, 0)


def test_an_unknown_file_is_reported_and_stops_nothing(match: Match) -> None:
    match.log(shot(1))
    put(match.folder, "logs/notes.txt", b"cloudy\nwindy\n")
    report = match.read()
    assert report.counts["unknown_files"] == 1
    assert any("logs/notes.txt" in warning for warning in report.warnings)
    assert {row["file"]: row["dialect"] for row in match.rows(schema.SOURCES)}["logs/notes.txt"] == "unknown"


def test_a_match_of_nothing_but_unknown_files_is_refused(match: Match) -> None:
    put(match.folder, "logs/notes.txt", b"cloudy\nwindy\n")
    assert match.read().refused == (
        "No file of match 'm1' is in a format that is known here: logs/notes.txt (it begins with 'cloudy')."
    )


def test_the_dialect_follows_from_content_not_from_the_name(match: Match) -> None:
    put(match.folder, "logs/photo.jpg", ndjson(shot(1)))
    assert match.read().counts["events"] == 1


CSV = b"""Datetime,Type,Device,DeviceID,DevicePosition,Details\r
9/9/25 12:00:01.22am,Status,Bridge,MCU1,Bay 1,"Bridge Initialized (Killed any, reset BLE)"\r
9/9/25 8:44:01.22am,String,Timer,DC:1A,Bay 1,"Timer Start Button pressed, Random countdown: 2.25s"\r
9/9/25 12:44:05.10pm,String,Timer,DC:1A,Bay 1,Shot detected\r
9/9/25 13:44:05.10pm,String,Timer,DC:1A,Bay 1,Shot detected\r
9/9/25 8:44:05.62am,String,Sensor,12:E3\r
"""


def test_main_csv_is_local_time_of_twelve_hours(match: Match) -> None:
    put(match.folder, "logs/main.csv", CSV)
    put(match.folder, "match.yaml", b"timezone: America/Chicago\n")
    report = match.read()
    assert [event["ts"].isoformat() for event in match.rows(schema.EVENTS)] == [
        "2025-09-09T05:00:01.220000+00:00",
        "2025-09-09T13:44:01.220000+00:00",
        "2025-09-09T17:44:05.100000+00:00",
    ]
    assert report.codes() == {"bad_time": 1, "corrupt_csv": 1}
    assert (report.counts["skipped"], accounted(report)) == (1, True)


def test_naive_times_without_a_timezone_count_as_utc_with_a_warning(match: Match) -> None:
    match.log(shot(1) | {"timestamp_iso": "2025-09-14T10:00:00.250000"})
    report = match.read()
    assert match.rows(schema.EVENTS)[0]["ts"] == datetime(2025, 9, 14, 10, 0, 0, 250_000, tzinfo=UTC)
    assert any("read as UTC" in warning for warning in report.warnings)
    assert not any("read as UTC" in warning for warning in match.read(timezone="Europe/Berlin").warnings)
    assert match.rows(schema.EVENTS)[0]["ts"].hour == 8


def test_the_hour_that_exists_twice_keeps_the_order_of_the_file(match: Match) -> None:
    times = ("2025-11-02T01:30:00", "2025-11-02T01:50:00", "2025-11-02T01:10:00", "2025-11-02T02:30:00")
    match.log(*(shot(1) | {"timestamp_iso": time} for time in times))
    match.read(timezone="America/Chicago")
    events = match.rows(schema.EVENTS)
    assert [event["ts"].strftime("%H:%M") for event in events] == ["06:30", "06:50", "07:10", "08:30"]
    assert [event["ambiguous_time"] for event in events] == [True, True, True, False]


def test_timer_backup_debug_modular_and_web_logs(match: Match) -> None:
    backup = {
        "timestamp": "2025-09-13T18:27:17.155100+00:00",
        "device_id": TIMER,
        "event_type": "shot_detected",
        "current_shot": 1,
        "current_time": 2.34,
        "split_time": 0.0,
        "event_detail": "Shot 1: 2.34s",
        "session_id": "session_20250913_182717",
    }
    debug = {"timestamp_iso": "2025-09-13T18:00:00Z", "device": "Sensor", "device_id": PLATE_1, "type": "bt50_raw"}
    modular = {"seq": 1, "type": "event", "ts_ms": 5.0, "msg": "HIT", "hms": "18:30:00.500"}
    web = {"seq": 1, "type": "request_start", "ts_ms": 47.3, "msg": "GET /", "hms": "18:24:20.162", "data": {}}
    match.log(backup, name="logs/backup.jsonl")
    match.log(debug | {"data": {"impact_magnitude": 3.5}}, name="logs/debug.ndjson")
    match.log(modular | {"data": {"sensor_id": PLATE_1, "peak_amplitude": 12.5}}, name="logs/bridge_20250913.ndjson")
    match.log(modular, name="logs/undated.ndjson")
    match.log(web, name="logs/api_20250913.ndjson")
    report = match.read()
    events = {event["source_file"]: event for event in match.rows(schema.EVENTS)}
    assert events["logs/backup.jsonl"]["shot_time_s"] == 2.34
    assert events["logs/backup.jsonl"]["session_id"] == "session_20250913_182717"
    assert events["logs/debug.ndjson"]["event_type"] == "device_signal"
    assert events["logs/bridge_20250913.ndjson"]["ts"] == datetime(2025, 9, 13, 18, 30, 0, 500_000, tzinfo=UTC)
    assert events["logs/bridge_20250913.ndjson"]["magnitude"] == 12.5
    assert report.codes() == {"no_date_in_file_name": 1}
    assert (report.counts["skipped"], report.counts["runs"], report.counts["completed"]) == (1, 1, 0)


def test_a_log_of_several_dialects_is_read_in_the_order_of_its_lines(match: Match) -> None:
    backup = {"timestamp": "2025-09-14T10:00:01Z", "device_id": TIMER, "event_type": "shot_detected"}
    debug = {"timestamp_iso": "2025-09-14T10:00:02Z", "device": "Sensor", "device_id": PLATE_1, "type": "bt50_raw"}
    match.log(
        beep(0),
        backup | {"current_shot": 1, "current_time": "none"},
        debug | {"data": {"impact_magnitude": True}},
        hit(3),
        backup | {"timestamp": "yesterday"},
        debug | {"timestamp_iso": "2025-09-14T10:00:04Z", "data": {"impact_magnitude": "3.5"}},
        stop(5) | {"timestamp_iso": None},
    )
    report = match.read()
    events = match.rows(schema.EVENTS)
    assert [event["source_line"] for event in events] == [1, 2, 3, 4, 6]
    assert [event["shot_number"] for event in events] == [None, 1, None, None, None]
    assert [event["magnitude"] for event in events] == [None, None, None, None, 3.5]
    assert report.codes() == {"bad_time": 2}
    assert report.codes(kind=Kind.CHANGE) == {"not_a_number": 2}


CONSOLE = b"""[2025-09-14 10:00:02] INFO: Start Beep ------- String #1 at 10:00:02.250
[2025-09-14 10:00:03] INFO: String 1, Shot #1 - Time 1.50s, Split 0.00s, First 1.50s
[2025-09-14 10:00:04] INFO: String 1, Impact #1 - Time 2.02s, Shot->Impact 0.52s, Peak 180
[2025-09-14 10:00:04] INFO: String 1, Enhanced Impact #1 - Time 2.02s, Shot->Impact 0.52s, Peak 180
[2025-09-14 10:00:05] INFO: String 1, Shot #2 - Time 1.20s, Split 1.20s, First 1.50s
[2025-09-14 10:00:09] INFO: Stop Beep for String #1 at (10:00:09.100) (total: 6.85s)
[2025-09-14 10:00:10] INFO: something else
[2025-09-14 10:00:11] INFO: Status: Sensor 12:E3 - Connected
not a console line
"""


def test_console_shots_are_placed_by_the_beep_and_the_timer(match: Match) -> None:
    put(match.folder, "logs/console.log", CONSOLE)
    report = match.read()
    events = match.rows(schema.EVENTS)
    assert [(event["event_type"], event["ts"].strftime("%S.%f")[:6]) for event in events] == [
        ("timer_start_beep", "02.250"),
        ("shot_detected", "03.750"),
        ("impact_detected", "04.270"),
        ("shot_detected", "04.950"),
        ("timer_stop_button", "09.100"),
        ("sensor_connected", "11.000"),
    ]
    assert report.codes() == {"not_a_console_line": 1}
    assert (report.counts["skipped"], report.counts["correlated"]) == (2, 1)


def test_twins_copies_and_replays_count_once(match: Match) -> None:
    records = [button(0, seq=0), beep(2.25, seq=1), shot(4.567, seq=2), hit(5.1, seq=3), stop(9, seq=4)]
    whole = ndjson(*records)
    put(match.folder, "logs/main.ndjson", whole + whole)
    put(match.folder, "logs/copy.ndjson", whole)
    rows = [
        '9/14/25 10:00:00.00am,String,Timer,DC:1A,Bay 1,"Timer Start Button pressed, Random countdown: 2.25s"',
        "9/14/25 10:00:04.56am,String,Timer,DC:1A,Bay 1,Shot detected",
        "9/14/25 10:00:05.10am,String,Sensor,12:E3,Plate 1,Sensor Impact detected",
    ]
    put(match.folder, "logs/main.csv", "\n".join([*rows, ""]).encode())
    report = match.read()
    assert (report.counts["events"], report.counts["duplicates"]) == (5, 13)
    assert accounted(report)
    kept = [event["source_file"] for event in match.rows(schema.EVENTS)]
    assert kept == ["logs/copy.ndjson"] * 5


@pytest.mark.parametrize("chunk", [300, 700, 5000, 2_000_000])
def test_a_replayed_line_counts_once_wherever_blocks_and_files_are_cut(
    match: Match, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(log_blocks, "CHUNK", chunk)
    records = [record | {"seq": seq} for seq, record in enumerate(string(0, shots=20))]
    first = [record for record in records[:20] for _ in range(2)]  # each written twice, one right after the other
    put(match.folder, "logs/a.ndjson", ndjson(*first))
    put(match.folder, "logs/b.ndjson", ndjson(records[19], *records[20:]))
    report = match.read()
    assert (report.counts["events"], report.counts["duplicates"]) == (len(records), 21)
    assert (report.counts["shots"], report.counts["impacts"]) == (20, 20)


@pytest.mark.parametrize("chunk", [400, 2000])
def test_a_file_whose_later_blocks_are_dirty_reads_as_a_clean_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(log_blocks, "CHUNK", chunk)
    records = [record for start in range(0, 100, 20) for record in string(start)]
    clean, mixed = Match(tmp_path / "a"), Match(tmp_path / "b")
    clean.log(*records)
    local = [record | {"timestamp_iso": record["timestamp_iso"].rstrip("Z")} for record in records[20:30]]
    dirty = ndjson(*records[:20]) + b"not json\n" + ndjson(*local) + b"\n" + ndjson(*records[30:])
    put(mixed.folder, "logs/main.ndjson", dirty)
    clean.read()
    assert mixed.read().counts["rejected"] == 1
    origin = {"source_line", "byte_offset", "raw"}
    assert [{key: value for key, value in row.items() if key not in origin} for row in mixed.rows(schema.EVENTS)] == [
        {key: value for key, value in row.items() if key not in origin} for row in clean.rows(schema.EVENTS)
    ]
    assert clean.rows(schema.RUNS) == mixed.rows(schema.RUNS)


def test_two_real_events_of_one_file_are_both_kept(match: Match) -> None:
    match.log(shot(1, seq=1), shot(1, seq=2))
    match.log(shot(1, seq=1), shot(1, seq=2), name="logs/copy.ndjson")
    report = match.read()
    assert (report.counts["events"], report.counts["duplicates"]) == (2, 2)


def test_what_two_loggers_say_about_one_shot_counts_once(match: Match) -> None:
    match.log(beep(0), shot(2.0), shot(2.9))
    backup = {"device_id": TIMER, "session_id": "s"}
    rows = [("timer_start", "00.004", 0), ("shot_detected", "02.010", 1), ("shot_detected", "05.500", 3)]
    match.log(
        *(
            backup | {"timestamp": f"2025-09-14T10:00:{at}+00:00", "event_type": kind, "current_shot": number}
            for kind, at, number in rows
        ),
        name="logs/backup.jsonl",
    )
    report = match.read()
    assert (report.counts["events"], report.counts["duplicates"]) == (4, 2)
    assert report.counts["shots"] == 3


def test_an_export_can_be_read_in_again_and_is_the_same_event(match: Match) -> None:
    exported = {"_schema_version": "1.0.0", "timestamp_iso": "2025-09-14T10:00:00Z", "event_type": "shot_detected"}
    match.log({"_type": "schema", "_version": "1.0.0"}, exported | {"device": "Timer"}, name="logs/export.jsonl")
    report = match.read()
    assert match.types() == ["shot_detected"]
    assert report.counts["skipped"] == 1


def test_lines_out_of_order_are_sorted_but_a_clock_set_back_is_not(match: Match) -> None:
    match.log(shot(10), shot(9.5), beep(4000), shot(4001), shot(100), shot(101))
    match.read()
    seconds = [
        (event["ts"] - datetime(2025, 9, 14, 10, tzinfo=UTC)).total_seconds() for event in match.rows(schema.EVENTS)
    ]
    assert seconds == [9.5, 10, 4000, 4001, 100, 101]


def test_short_names_and_labels_become_full_addresses(match: Match) -> None:
    devices = f"devices:\n  - {{id: '{PLATE_1.replace(':', '')}', label: Sensor_left, target: Plate 1}}\n"
    put(match.folder, "match.yaml", devices.encode())
    names = ("12:E3", "2:E3", "WTVB01-BT50-12:E3", "Sensor_left", "f8fe923112e3", "99:99")
    match.log(*(hit(number, sensor) for number, sensor in enumerate(names)), shot(50))
    report = match.read()
    found = [event["device_id"] for event in match.rows(schema.EVENTS) if event["event_type"] == "impact_detected"]
    assert found == [PLATE_1] * 5 + ["99:99"]
    assert any("99:99" in warning for warning in report.warnings)


def test_events_outside_the_match_are_counted_not_kept(match: Match) -> None:
    put(match.folder, "match.yaml", b"timezone: UTC\nstart: 2025-09-14T10:00:05\nend: 2025-09-14T10:00:08\n")
    match.log(shot(4), shot(5), shot(7.9), shot(8))
    report = match.read()
    assert (report.counts["events"], report.counts["outside"]) == (2, 2)
    assert accounted(report)


def test_two_matches_may_share_a_log(tmp_path: Path) -> None:
    match = Match(tmp_path)
    put(match.folder.parent, "shared/main.ndjson", ndjson(shot(1)))
    put(match.folder, "match.yaml", b"logs: ['../shared/*.ndjson']\n")
    match.read()
    assert match.rows(schema.EVENTS)[0]["source_file"] == "../shared/main.ndjson"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"nmae: x\n", "unknown key 'nmae'"),
        (b"timezone: Mars/Olympus\n", "no IANA time zone"),
        (b"a: [\n", "not valid YAML"),
        (b"id: another\n", "says id 'another'"),
        (b"logs: ['../../../etc/*']\n", "outside"),
        (b"database: gone.db\n", "does not exist"),
    ],
)
def test_a_wrong_manifest_blocks_the_match_in_one_sentence(match: Match, text: bytes, said: str) -> None:
    match.log(shot(1))
    put(match.folder, "match.yaml", text)
    (match.folder.parent.parent.parent / "etc").mkdir()
    put(match.folder.parent.parent.parent, "etc/secret", b"x")
    report = match.read()
    assert said in str(report.refused)
    assert list(report.made) == ["events"]
    assert not report.checks["readable"].passed
    assert not report.checks["open"].passed


def test_a_match_whose_logs_are_gone_keeps_its_tables(match: Match) -> None:
    path = match.log(*string(0))
    match.read()
    path.unlink()
    assert "holds no logs" in str(match.read().refused)
    assert len(match.rows(schema.RUNS)) == 1


def test_equal_input_gives_equal_tables(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        match = Match(tmp_path / name)
        match.log(*string(0), *string(60))
        match.log(*string(0), name="logs/copy.ndjson")
        generations = [made.generation for made in match.read().made.values()]
        found.append([{table: file.sha256 for table, file in generation.tables.items()} for generation in generations])
    assert found[0] == found[1]
    assert len(found[0][1]) == 4


def test_long_logs_that_interleave_are_put_in_order_in_little_memory(match: Match) -> None:
    record = b'{"timestamp_iso":"2025-09-14T%02d:%02d:%02d.%06dZ","type":"String","device":"Sensor","device_id":"%s"'
    record += b',"device_position":"Plate 1","details":"Sensor Impact detected %s","seq":%d}\n'
    for second in range(2):
        times = ((i // 36000, i // 600 % 60, i // 10 % 60, i % 10 * 100_000 + second * 50_000) for i in range(50_000))
        lines = (record % (*time, PLATE_1.encode(), b"x" * 100, seq) for seq, time in enumerate(times))
        put(match.folder, f"logs/{second}.ndjson", b"".join(lines))
    assert match.read(only=("events",), memory_mb=64).counts["events"] == 100_000
    read = match.tables.read(schema.EVENTS, ["ts", "source_file"])
    assert read["ts"].to_numpy().tolist() == sorted(read["ts"].to_numpy().tolist())
    assert read["source_file"].to_pylist()[:4] == ["logs/0.ndjson", "logs/1.ndjson"] * 2
