"""What holds of the steps of a match together: accounts, checks, refusals, what a setting reaches, one piece."""

import gzip
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from matches_logs import Match, accounted, beep, button, hit, line, ndjson, put, shot, stop, string, summary
from running import pinned

from sheaf.errors import NotFoundError, RefusedError, StaleError
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import Series
from sheaf.matches import checks, schema
from sheaf.matches.analysis.events_stream import events
from sheaf.matches.domain import ANALYTICS_PARQUET, EVENTS_NDJSON, MATCH_ARCHIVE, MATCHES, RUNS_CSV
from sheaf.matches.settings import Correlation, MatchesSettings
from sheaf.matches.sources.inbox import MatchInbox
from sheaf.report import Report
from sheaf.tables.accounts import Kind
from sheaf.tables.generations import TableFile
from sheaf.tables.parquet import from_rows, write_parquet
from sheaf.tables.pinned import Tables
from sheaf.tables.rejects import Rejects
from sheaf.tables.table import Table


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def export(match: Match, series: Series, **settings: Any) -> Published:
    return publish(match.store, MATCHES, series, Request(match.name), MatchesSettings(**settings))


# Accounts


def test_the_account_holds_every_line_and_every_file(match: Match) -> None:
    put(match.folder, "match.yaml", b"timezone: UTC\nend: 2025-09-14T10:10:00\n")
    good = ndjson(*string(0), shot(700))
    put(match.folder, "logs/a.ndjson", good + b"{oops\n\n" + ndjson({"_type": "schema"}, shot(1)) + b'{"half')
    put(match.folder, "logs/copy.ndjson", ndjson(*string(0)))
    put(match.folder, "notes.txt", b"windy\n")
    put(match.folder, "empty.log", b"")
    report = match.read()
    assert accounted(report)
    events, sources = report.account(), report.account("sources")
    assert (events.seen, events.used, events.rejected) == (26, 11, 1)
    assert events.left_out == {"pending": 1, "blank": 1, "skipped": 1, "outside": 1, "duplicates": 10}
    assert (sources.seen, sources.used, sources.left_out) == (4, 2, {"unknown": 1, "empty": 1})


def test_values_that_were_not_taken_as_they_came_are_changes(match: Match) -> None:
    backup = {"timestamp": "2025-09-14T10:00:30+00:00", "event_type": "shot_detected", "current_shot": "two"}
    other = {"timestamp": "2025-09-14T10:00:40+00:00", "event_type": "shot_detected", "split_time": ""}
    match.log(shot(1, seq="x"), shot(2, seq=2), backup, other)
    report = match.read()
    assert report.codes(kind=Kind.CHANGE) == {"not_a_number": 2}
    assert [(row["kind"], row["line"]) for row in match.rejects()] == [("change", 1), ("change", 3)]
    assert [row["seq"] for row in match.rows(schema.EVENTS)] == [None, 2, None, None]


def test_times_without_a_zone_are_a_fault_only_where_no_zone_is_known(match: Match) -> None:
    naive = [shot(second) | {"timestamp_iso": f"2025-09-14T10:00:0{second}"} for second in range(5)]
    match.log(*naive[:2], *[shot(second) for second in (5, 6, 7)])
    match.log(*naive[2:], name="logs/more.ndjson")
    assert match.read().codes(kind=Kind.FAULT) == {"naive_time": 5}
    assert match.read(timezone="Europe/Berlin").codes(kind=Kind.FAULT) == {}


def test_what_a_file_may_have_lost_is_in_the_account(match: Match) -> None:
    match.log(*string(0))
    data = gzip.compress(ndjson(*(shot(10 + n / 100) for n in range(5000))))
    put(match.folder, "logs/cut.log.gz", data[: len(data) // 2])
    put(match.folder, "gone.db-wal", b"\x37\x7f\x06\x82" + b"\0" * 100)
    put(match.folder, "broken.db", b"SQLite format 3\0" + b"\xff" * 5000)
    report = match.read()
    assert report.codes("sources", Kind.FAULT) == {"broken_gzip": 1}
    assert report.codes("sources") == {"unreadable_database": 1, "write_ahead_log_alone": 1}
    assert not report.checks["rejects"].passed
    assert accounted(report)
    assert any("2 of 4 sources rejected" in warning for warning in export(match, RUNS_CSV).manifest.warnings)


def test_rows_behind_a_fault_in_a_database_are_lost_and_told(match: Match) -> None:
    with closing(sqlite3.connect(match.folder / "x.db")) as connection:
        connection.execute("CREATE TABLE timer_events (ts_ns INTEGER, event_type TEXT, device_id TEXT)")
        connection.executemany(
            "INSERT INTO timer_events VALUES (?, 'SHOT', 'AMG_TIMER')",
            [(1_757_844_000_000_000_000 + n * 10**9,) for n in range(10_000)],
        )
        connection.execute(
            "INSERT INTO timer_events VALUES (1757860000000000000, 'SHOT', CAST(x'ff' AS TEXT))"
        )  # no UTF-8, which no integrity check looks for
        connection.commit()
    report = match.read()
    assert (report.counts["events"], accounted(report)) == (10_000, True)
    assert report.codes("sources", Kind.FAULT) == {"unreadable_database": 1}


def test_lines_noted_at_once_are_as_lines_noted_one_by_one(tmp_path: Path) -> None:
    found = [("corrupt_json", "It is none.", n, n * 9, "x" * 3000 if n else "") for n in range(25_000)]
    found[5] = ("bad_time", "It has none.", 5, 45, "y")
    at_once, each = (Rejects(tmp_path / name) for name in ("a", "b"))
    for folder in (at_once.folder, each.folder):
        folder.mkdir()
    at_once.note_lines(Kind.REJECT, "events", "a.log", found)
    at_once.note_lines(Kind.REJECT, "events", "a.log", [])
    for code, reason, number, offset, raw in found:
        each.add("events", code, reason, file="a.log", line=number, byte_offset=offset, raw=raw)
    assert pa.Table.from_batches(at_once.batches()).equals(pa.Table.from_batches(each.batches()))
    assert at_once.accounts({}) == each.accounts({})


# Refusals


@pytest.mark.case("matches/every-line-rejected-in-silence")
@pytest.mark.parametrize("time", [-5, "yesterday", "2026-03-14T15:00:00.000 CEST"])
def test_a_match_of_which_no_line_can_be_used_is_refused_and_its_tables_stay(match: Match, time: Any) -> None:
    match.log(*string(0))
    match.read()
    first = export(match, RUNS_CSV)
    match.log(*(record | {"timestamp_iso": time} for record in string(0)))
    report = match.read()
    assert "All 10 lines and rows were rejected: The time cannot be read" in str(report.refused)
    assert report.codes() == {"bad_time": 10}
    assert not any(verdict.passed for verdict in report.checks.values())
    assert len(match.rows(schema.RUNS)) == 1
    with pytest.raises(RefusedError, match="were rejected"):
        export(match, RUNS_CSV)
    assert match.store.get(f"{first.export.path}/match_m1_runs.csv")


def test_many_rejected_lines_are_told_and_fail_a_check(match: Match) -> None:
    put(match.folder, "logs/x.json", ndjson(*string(0)[:1]) + b"{oops\n" * 11)
    report = match.read()
    assert (report.counts["events"], report.codes()) == (1, {"corrupt_json": 11})
    assert not report.checks["rejects"].passed
    assert "of events 11 of 12" in report.checks["rejects"].detail
    (told,) = [warning for warning in export(match, RUNS_CSV).manifest.warnings if "rejected" in warning]
    assert told == "11 of 12 events rejected: corrupt json (11): sheaf rejects matches m1"


def test_fewer_events_than_before_need_a_yes(match: Match) -> None:
    match.log(*string(0))
    match.log(*string(60), name="logs/later.ndjson")
    match.read()
    (match.folder / "logs" / "later.ndjson").unlink()
    report = match.read()
    assert "events: 20 → 10" in str(report.refused)
    assert match.read().refused == report.refused  # said again, not done
    assert len(match.rows(schema.EVENTS)) == 20
    assert match.read(accept_loss=True).refused is None
    assert (len(match.rows(schema.EVENTS)), len(match.rows(schema.RUNS))) == (10, 1)


# The same again


def test_what_is_unchanged_is_not_made_again_whatever_the_file_times_say(match: Match) -> None:
    log = match.log(*string(0))
    match.read()
    os.utime(log, (1, 1))
    assert all(made.unchanged for made in match.read(memory_mb=128).made.values())
    log.write_bytes(log.read_bytes() + ndjson(*string(60)))
    assert not any(made.unchanged for made in match.read().made.values())


@pytest.mark.parametrize(
    ("settings", "made_again"),
    [
        ({"timezone": "America/Chicago"}, ["events", "runs", "shots"]),
        ({"max_line_bytes": 1024}, ["events", "runs", "shots"]),
        ({"correlation": Correlation(expected_delay_ms=1000, delay_tolerance_ms=100)}, ["runs", "shots"]),
        ({"memory_mb": 100, "database_timeout_s": 1}, []),
    ],
)
def test_a_changed_setting_reaches_the_exports(match: Match, settings: dict, made_again: list[str]) -> None:
    records = string(0, shots=4, gap=3)
    records[0]["timestamp_iso"] = records[0]["timestamp_iso"].rstrip("Z")
    records[2]["session_id"] = "s" * 2000
    match.log(*records)
    match.read()
    before = export(match, RUNS_CSV)
    if made_again:
        with pytest.raises(StaleError, match=f"{made_again[0]} has to be made again"):
            export(match, RUNS_CSV, **settings)
    report = match.read(accept_loss=True, **settings)
    assert [name for name, made in report.made.items() if not made.unchanged] == made_again
    after = export(match, RUNS_CSV, **settings)
    assert after.unchanged == (not made_again)
    if made_again:
        assert after.manifest.files[0].sha256 != before.manifest.files[0].sha256


def test_match_yaml_goes_before_the_settings(match: Match) -> None:
    match.log(*string(0))
    put(match.folder, "match.yaml", b"correlation: {expected_delay_ms: 500, delay_tolerance_ms: 50}\n")
    match.read(correlation=Correlation(expected_delay_ms=5000, delay_tolerance_ms=50))
    assert match.rows(schema.RUNS)[0]["impacts_correlated"] == 3


# One piece


@pytest.mark.case("core/events-joined-by-position")
@pytest.mark.parametrize("series", MATCHES.series, ids=lambda series: series.name)
def test_nothing_is_published_from_new_events_and_an_old_analysis(match: Match, series: Series) -> None:
    log = match.log(*string(20))
    match.read()
    log.write_bytes(ndjson(shot(0)) + log.read_bytes())
    match.read(only=("events",))
    with pytest.raises(StaleError, match="runs has to be made again"):
        export(match, series)


EVENT = {"ts": 0, "event_type": "shot_detected", "ambiguous_time": False, "dialect": "x", "source_file": "x"}


def joined(match: Match, folder: Path, left: list[int], right: list[int]) -> list[dict[str, Any]]:
    tables = Tables(match.store, match.name, {})
    counted = dict.fromkeys(schema.COUNTS, 0)
    for table, rows in (
        (schema.EVENTS, [EVENT | {"event_no": number} for number in left]),
        (schema.EVENT_RUNS, [{"event_no": number, "run_no": number + 1} for number in right]),
        (schema.RUNS, [RUN | {"run_no": 1, "run_id": "", "status": "", "flags": ""}] * (len(right) + 1)),
        (schema.MATCH, [counted | {"match_id": "m1", "timezone": "UTC", "manifest": "{}", "files": 1, "warnings": []}]),
    ):
        path = folder / f"{table.name}.parquet"
        write_parquet(path, table.schema, from_rows(table, rows))
        tables.add(table, TableFile(path="", rows=len(rows), size=0, sha256=""), {"": path})
    return [row for batch in events(tables) for row in batch.to_pylist()]


def test_events_are_joined_with_their_runs_by_number(match: Match, tmp_path: Path) -> None:
    rows = joined(match, tmp_path, list(range(40_000)), list(range(40_000)))
    assert [(row["event_no"], row["run_id"]) for row in rows[::13_000]] == [
        (number, f"run_{number + 1}") for number in range(0, 40_000, 13_000)
    ]
    for left, right in (([0, 1, 2], [0, 2, 1]), ([0, 1], [0, 1, 2]), ([0, 1, 2], [0, 1]), ([], [0]), ([0], [])):
        with pytest.raises(StaleError, match="do not belong together"):
            joined(match, tmp_path, left, right)


# The inbox


def test_a_log_beside_the_folder_belongs_to_the_match(match: Match) -> None:
    shared = put(match.folder.parent, "shared/main.ndjson", ndjson(*string(0)))
    put(match.folder, "match.yaml", b"logs: ['../shared/*.ndjson']\n")
    inbox = MatchInbox(match.inbox, MatchesSettings())
    match.read()
    export(match, MATCH_ARCHIVE)
    (before,) = inbox.states([match.name])
    shared.write_bytes(shared.read_bytes() + ndjson(*string(60)))
    (after,) = inbox.states([match.name])
    assert before.token != after.token
    assert match.read().counts["runs"] == 2
    put(match.folder, "match.yaml", b"nope: 1\n")
    (broken,) = inbox.states([match.name])
    assert broken.token
    assert "unknown key" in str(match.read().refused)


def test_an_inbox_that_was_moved_is_found_again(match: Match) -> None:
    match.log(*string(0))
    match.read()
    first = export(match, MATCH_ARCHIVE)
    elsewhere = match.inbox.with_name("elsewhere")
    shutil.move(match.inbox, elsewhere)
    match.inbox, match.folder = elsewhere, elsewhere / "matches" / match.name
    assert all(made.unchanged for made in match.read().made.values())
    again = publish(match.store, MATCHES, MATCH_ARCHIVE, Request(match.name, always=True), MatchesSettings())
    assert again.export.version == first.export.version + 1


def test_a_match_that_is_not_there(match: Match) -> None:
    match.folder.rmdir()
    with pytest.raises(NotFoundError, match="no matches 'm1'"):
        match.read()


# Checks


def judged(judge: Any, table: Table, rows: list[dict[str, Any]], folder: Path) -> tuple[bool, str]:
    path = folder / "table.parquet"
    write_parquet(path, table.schema, from_rows(table, rows))
    tables = Tables(None, "m1", {})  # type: ignore[arg-type]  # nothing is read from a store
    tables.add(table, TableFile(path="", rows=len(rows), size=0, sha256=""), {"": path})
    verdict = judge(tables, Report(), MatchesSettings())
    return verdict.passed, verdict.detail


SOURCE = {"dialect": "bridge_log", "size": 1, "sha256": "", "lines": 1}


@pytest.mark.parametrize(
    ("pending", "passed", "detail"),
    [
        ([0, 0], True, "2 files end as they should"),
        ([0, 1, 0, 1], False, "2 last lines are not finished yet: 1.log, 3.log"),
        ([], False, "Not checked: no file was read."),
    ],
)
def test_open(pending: list[int], passed: bool, detail: str, tmp_path: Path) -> None:
    rows = [SOURCE | {"file": f"{number}.log", "pending": of} for number, of in enumerate(pending)]
    assert judged(checks.is_closed, schema.SOURCES, rows, tmp_path) == (passed, detail)


RUN = {
    "start_time": 0,
    "shots_detected": 1,
    "shots_doubled": 0,
    "shots_lost": 0,
    "string": 1,
    "impacts_detected": 1,
    "impacts_correlated": 1,
    "uncorrelated_impacts": 0,
}


@pytest.mark.parametrize(
    ("runs", "passed", "detail"),
    [
        (
            [("completed", ""), ("incomplete", "no_stop;unfinished")],
            True,
            "1 of 2 runs have a summary, and agree with it",
        ),
        (
            [("completed", "count_mismatch;no_beep"), ("completed", "")],
            False,
            "1 of 2 runs differ from their timer or summary: run_1",
        ),
        (
            [("completed", "count_mismatch")] * 7,
            False,
            "7 of 7 runs differ from their timer or summary: run_1, run_2, run_3, run_4, run_5, …",
        ),
        ([("completed", "no_summary")], False, "Not checked: none of 1 runs has a summary."),
        ([], False, "Not checked: none of 0 runs has a summary."),
    ],
)
def test_count_mismatch(runs: list[tuple[str, str]], passed: bool, detail: str, tmp_path: Path) -> None:
    rows = [
        RUN | {"run_no": number, "run_id": f"run_{number}", "status": status, "flags": flags}
        for number, (status, flags) in enumerate(runs, 1)
    ]
    assert judged(checks.summaries_agree, schema.RUNS, rows, tmp_path) == (passed, detail)


@pytest.mark.parametrize(
    ("shots", "impacts", "correlated", "passed", "detail"),
    [
        (10, 9, 8, True, "2 of 10 shots without an impact (20%)"),
        (10, 9, 5, True, "5 of 10 shots without an impact (50%)"),
        (10, 9, 4, False, "6 of 10 shots without an impact (60%)"),
        (10, 0, 0, False, "10 of 10 shots without an impact (100%): no sensor reported any"),
        (0, 9, 0, False, "Not checked: there are no shots."),
    ],
)
def test_uncorrelated(shots: int, impacts: int, correlated: int, passed: bool, detail: str, tmp_path: Path) -> None:
    row: dict[str, Any] = dict.fromkeys(schema.TOTALS.schema.names, 0) | {"warnings": []}
    row |= {"shots": shots, "impacts": impacts, "correlated": correlated}
    assert judged(checks.shots_have_impacts, schema.TOTALS, [row], tmp_path) == (passed, detail)


def test_the_checks_of_a_match_that_is_as_it_should_be_and_of_one_that_is_not(match: Match) -> None:
    match.log(*string(0))
    assert {name for name, verdict in match.read().checks.items() if verdict.passed} == {
        *("readable", "rejects", "open", "count_mismatch", "uncorrelated")
    }
    match.log(*string(0), button(60), beep(62), shot(65), shot(66), shot(67), shot(68), stop(70), summary(71, 11, 3, 0))
    put(match.folder, "logs/more.ndjson", ndjson(line(80, "Connected"))[:-20])
    report = match.read()
    assert {name: verdict.detail for name, verdict in report.checks.items() if not verdict.passed} == {
        "open": "1 last lines are not finished yet: logs/more.ndjson",
        "count_mismatch": "1 of 2 runs differ from their timer or summary: run_2",
        "uncorrelated": "4 of 7 shots without an impact (57%)",
    }
    problems = export(match, EVENTS_NDJSON).manifest.problems
    assert {problem.check for problem in problems} == {"open", "count_mismatch", "uncorrelated"}


def test_a_match_without_sensors_is_no_match_in_which_all_is_well(match: Match) -> None:
    match.log(button(0), beep(2), shot(4), stop(6))
    assert match.read().checks["uncorrelated"].detail.endswith("no sensor reported any")


def test_an_export_reads_what_it_says_and_no_more(match: Match) -> None:
    match.log(*string(0), hit(30))
    match.read()
    assert export(match, ANALYTICS_PARQUET).manifest.record_count == 11
    assert set(pinned(match.store, MATCHES, match.name, MatchesSettings()).generations) == {"events", "runs", "shots"}
