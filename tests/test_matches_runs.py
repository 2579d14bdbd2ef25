"""The state machine that finds runs, and the tables that come of it."""

from datetime import timedelta
from pathlib import Path

import pytest
from matches_logs import (
    PLATE_1,
    PLATE_2,
    START,
    TIMER,
    Match,
    beep,
    button,
    hit,
    line,
    put,
    shot,
    stop,
    string,
    summary,
)

from sheaf.errors import NotFoundError
from sheaf.matches import schema

OTHER = "60:09:C3:1F:00:02"


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def runs(match: Match, *records: dict) -> list[dict]:
    match.log(*records)
    match.read(accept_loss=True)  # a test may replace the log by a shorter one
    return match.rows(schema.RUNS)


def test_a_string_is_one_run_from_button_to_summary(match: Match) -> None:
    (run,) = runs(match, *string(0))
    assert (run["start_time"] - START).total_seconds() == 0
    assert (run["beep_time"] - START).total_seconds() == 2.25
    assert (run["end_time"] - START).total_seconds() == 11.01
    assert run["duration_seconds"] == 11.01
    assert (run["status"], run["flags"], run["first_shot_s"]) == ("completed", "", 1.75)
    assert (run["shots_detected"], run["impacts_detected"], run["correlation_success_rate"]) == (3, 3, 1.0)


def test_the_beep_starts_a_run_only_where_no_button_did(match: Match) -> None:
    found = runs(match, *string(0), beep(60), shot(62), beep(70), shot(72), stop(75), beep(80))
    assert [(run["start_time"] - START).total_seconds() for run in found] == [0, 60, 70, 80]
    assert [run["status"] for run in found] == ["completed", "incomplete", "completed", "incomplete"]
    assert [run["flags"] for run in found] == [
        "",
        "no_stop;restarted",
        "no_summary",
        "no_stop;unfinished",
    ]


def test_a_second_start_keeps_the_first_run_as_incomplete(match: Match) -> None:
    found = runs(match, button(0), beep(2), shot(3), *string(20))
    assert [(run["run_id"], run["status"], run["shots_detected"]) for run in found] == [
        ("run_1", "incomplete", 1),
        ("run_2", "completed", 3),
    ]
    assert found[0]["end_time"] is None
    assert found[0]["duration_seconds"] is None


def test_start_stop_and_summary_that_are_told_twice_are_the_same(match: Match) -> None:
    records = string(0)
    ends = [stop(11), stop(11.025), records[-1], summary(11.04, 11.01, 3, 3)]
    match.log(button(0), button(0.025), *records[1:-2], *ends, *string(20), stop(31.03), summary(31.04, 11.01, 3, 3))
    report = match.read()
    assert [(run["start_time"], run["shots_detected"], run["flags"]) for run in match.rows(schema.RUNS)] == [
        (START, 3, ""),
        (START + timedelta(seconds=20), 3, ""),
    ]
    assert [row["run_no"] for row in match.rows(schema.EVENT_RUNS)] == [1] * 13 + [2] * 12
    assert not report.warnings


def test_a_false_start_is_a_run_but_no_string_and_a_silent_string_is_said(match: Match) -> None:
    put(match.folder, "squad.csv", b"string,shooter\n1,Ada\n2,Bob\n3,Cy\n")
    silent = [button(60), beep(62), stop(70), summary(70.01, 10.01, 0, 0)]
    match.log(button(0), *string(15), *silent, button(80), beep(82), *string(100))
    report = match.read()
    found = [(run["string"], run["shooter"]) for run in match.rows(schema.RUNS)]
    assert found == [(None, None), (1, "Ada"), (2, "Bob"), (None, None), (3, "Cy")]
    assert any("nothing was heard in them: run_3." in warning for warning in report.warnings)


def test_a_stop_without_summary_ends_the_run(match: Match) -> None:
    (run,) = runs(match, button(0), beep(2), shot(3), stop(8))
    assert (run["status"], run["duration_seconds"], run["flags"]) == ("completed", 8.0, "no_summary")


def test_what_belongs_to_no_run_is_counted_as_orphan(match: Match) -> None:
    match.log(hit(1), stop(2), summary(3, 3, 0, 1), shot(10), *string(20), shot(60), hit(60.5))
    report = match.read()
    found = {name: report.counts[f"orphan_{name}"] for name in ("shots", "impacts", "stops", "summaries")}
    assert found == {"shots": 2, "impacts": 2, "stops": 1, "summaries": 1}
    assert any("without a start" in warning for warning in report.warnings)
    assert any("Shots that belong to no run: 2" in warning for warning in report.warnings)
    assert any("Impacts that belong to no run: 2" in warning for warning in report.warnings)


def test_impacts_of_another_clock_are_said_to_be_far_from_any_run(match: Match) -> None:
    match.log(*(record for at in range(0, 80, 20) for record in string(at) if record["device"] != "Sensor"))
    match.log(*(hit(at + 10_804.3) for at in range(0, 80, 20)), *(hit(at + 10_807) for at in (0, 20)), name="s.ndjson")
    report = match.read()
    (said,) = (warning for warning in report.warnings if PLATE_1 in warning)
    assert "None of the 6 impacts" in said
    assert "2:59:26 (h:mm:ss) after the nearest start" in said
    assert "none of 6 impacts lies in a run" in report.checks["uncorrelated"].detail


def test_impacts_after_the_stop_belong_within_the_window(match: Match) -> None:
    (run,) = runs(match, button(0), beep(2), shot(5), stop(5.2), hit(5.5), hit(9))
    assert run["impacts_detected"] == 1


def test_shots_told_only_as_text_count_when_there_are_no_others(match: Match) -> None:
    told = [line(4, "Shot 1: 2.00s"), line(6, "Shot 2: 4.00s"), line(6.01, "Shot 2: 4.00s")]
    (run,) = runs(match, button(0), beep(2), shot(4), *told, stop(8))
    assert run["shots_detected"] == 1
    (run,) = runs(match, button(0), beep(2), *told, stop(8))
    assert run["shots_detected"] == 2
    assert [row["timer_time_s"] for row in match.rows(schema.SHOTS)] == [2.0, 4.0]


def test_a_summary_that_counted_otherwise_is_flagged(match: Match) -> None:
    (run,) = runs(match, button(0), beep(2), shot(4), stop(8), summary(8.01, 8.01, 3, 2))
    assert (run["flags"], run["shots_detected"]) == ("count_mismatch", 1)


def test_a_string_time_that_no_timer_shows_is_not_taken(match: Match) -> None:
    (run,) = runs(match, button(0), beep(2), shot(4), stop(8), summary(8.01, 999_999, 1, 0))
    assert (run["flags"], run["duration_seconds"]) == ("count_mismatch", 8.01)


def test_a_run_over_midnight_in_two_daily_files_is_one(match: Match) -> None:
    match.log(button(50_395), beep(50_398), shot(50_399.5), name="logs/bridge_main_20250914.ndjson")
    match.log(shot(50_401), stop(50_405), summary(50_405.01, 10.01, 2, 0), name="logs/bridge_main_20250915.ndjson")
    match.read()
    (run,) = match.rows(schema.RUNS)
    assert (run["shots_detected"], run["status"], run["flags"]) == (2, "completed", "")


def test_two_timers_interleaved_keep_their_runs_and_sensors_apart(match: Match) -> None:
    devices = [(TIMER, "timer", 1), (OTHER, "timer", 2), (PLATE_1, "sensor", 1), (PLATE_2, "sensor", 2)]
    listed = "".join(f"  - {{id: '{id_}', kind: {kind}, bay: {bay}, stage: S{bay}}}\n" for id_, kind, bay in devices)
    put(match.folder, "match.yaml", f"devices:\n{listed}".encode())
    other = {"device_id": OTHER, "device_position": "Bay 2"}
    found = runs(
        match,
        *(button(0), button(1) | other, beep(2), beep(3) | other),
        *(shot(4), shot(4.2) | other, hit(4.5, PLATE_1), hit(4.7, PLATE_2), shot(6) | other, hit(6.5, PLATE_2)),
        *(stop(8), stop(9) | other, summary(9.01, 8, 2, 2) | {"device_position": "Bay 2"}, summary(9.02, 9, 1, 1)),
    )
    assert [(run["start_device_id"], run["shots_detected"], run["impacts_detected"]) for run in found] == [
        (TIMER, 1, 1),
        (OTHER, 2, 2),
    ]
    assert [(run["stage"], run["bay"], run["flags"]) for run in found] == [("S1", "1", ""), ("S2", "2", "")]
    # The run that opened first closed last.
    assert [(row["run_id"], row["since_beep_s"], row["sensor"]) for row in match.rows(schema.SHOTS)] == [
        ("run_1", 2.0, PLATE_1),
        ("run_2", pytest.approx(1.2), PLATE_2),
        ("run_2", 3.0, PLATE_2),
    ]
    assert [row["run_id"] for row in match.rows(schema.IMPACTS)] == ["run_1", "run_2", "run_2"]


def test_a_clock_set_back_within_a_run_is_flagged_and_the_string_time_holds(match: Match) -> None:
    (run,) = runs(match, button(5000), beep(5002), shot(5004), shot(104), stop(108), summary(108.01, 9.5, 2, 0))
    assert (run["flags"], run["duration_seconds"], run["shots_detected"]) == ("clock_step", 9.5, 2)


def test_shots_have_splits_and_the_impact_they_made(match: Match) -> None:
    put(match.folder, "match.yaml", f"devices: [{{id: '{PLATE_1}', target: Plate 1}}]\n".encode())
    match.log(button(0), beep(2), shot(4), hit(4.5), shot(5.5), shot(7), hit(7.52), hit(7.9), stop(9))
    match.read()
    shots = match.rows(schema.SHOTS)
    assert [row["shot_no"] for row in shots] == [1, 2, 3]
    assert [row["since_beep_s"] for row in shots] == [2.0, 3.5, 5.0]
    assert [row["split_s"] for row in shots] == [None, 1.5, 1.5]
    assert [(row["sensor"], row["target"]) for row in shots] == [
        (PLATE_1, "Plate 1"),
        (None, None),
        (PLATE_1, "Plate 1"),
    ]
    assert [row["delay_ms"] for row in shots] == [500.0, None, 520.0]
    impacts = match.rows(schema.IMPACTS)
    assert [row["shot_no"] for row in impacts] == [1, 3, None]


def test_every_event_says_which_run_it_belongs_to(match: Match) -> None:
    match.log(shot(-10), *string(0, shots=1), line(15, "Connected"), *string(20, shots=1))
    match.read()
    rows = match.rows(schema.EVENT_RUNS)
    assert [row["event_no"] for row in rows] == list(range(14))
    assert [row["run_no"] for row in rows] == [None, 1, 1, 1, 1, 1, 1, None, 2, 2, 2, 2, 2, 2]
    assert [row["matched"] for row in rows[:5]] == [None, None, None, True, True]
    assert [row["delay_ms"] for row in rows[3:5]] == [500.0, 500.0]


def test_numbers_follow_start_times_not_the_order_of_files(match: Match) -> None:
    match.log(*string(5000), name="logs/a.ndjson")
    match.log(*string(0, shots=1), name="logs/b.ndjson")
    match.read()
    assert [run["shots_detected"] for run in match.rows(schema.RUNS)] == [1, 3]
    assert [row["run_id"] for row in match.rows(schema.SHOTS)] == ["run_1", "run_2", "run_2", "run_2"]


@pytest.mark.parametrize("by", [-65.0, -5400.0, -1e9])
def test_runs_after_a_clock_was_set_back_come_after_those_before_and_are_flagged(match: Match, by: float) -> None:
    put(match.folder, "squad.csv", b"string,shooter\n1,Ada\n2,Bob\n3,Cy\n")
    strings = [string(0, shots=1), string(30, shots=2), string(60 + by, shots=3), string(90 + by, shots=4)]
    match.log(*(record for records in strings for record in records))
    report = match.read()
    found = match.rows(schema.RUNS)
    assert [(run["shots_detected"], run["shooter"]) for run in found] == [(1, "Ada"), (2, "Bob"), (3, "Cy"), (4, None)]
    assert ["clock_step" in run["flags"] for run in found] == [False, False, True, True]
    assert any("clock_step" in warning for warning in report.warnings)


def test_sources_whose_clock_was_set_back_together_stay_beside_each_other(match: Match) -> None:
    records = [
        record for number in range(6) for record in string(number * 30 - 5400 * (number > 2), shots=number % 3 + 1)
    ]
    match.log(*(record for record in records if record["device"] != "Sensor"), name="logs/a.ndjson")
    match.log(*(record for record in records if record["device"] == "Sensor"), name="logs/b.ndjson")
    match.read()
    found = [(run["shots_detected"], run["impacts_correlated"], run["flags"]) for run in match.rows(schema.RUNS)]
    assert found == [(shots, shots, flags) for flags in ("", "clock_step") for shots in (1, 2, 3)]


def test_a_match_without_events_has_empty_tables(match: Match) -> None:
    put(match.folder, "logs/empty.ndjson", b"")
    report = match.read()
    assert (report.counts["runs"], report.counts["events"]) == (0, 0)
    assert report.plots == {}
    for table in (schema.RUNS, schema.SHOTS, schema.IMPACTS, schema.SENSORS, schema.EVENT_RUNS):
        assert match.rows(table) == []


def test_plots_are_small_pictures(match: Match) -> None:
    match.log(*(record for start in range(0, 2000, 20) for record in string(start)))
    plots = match.read().plots
    assert set(plots) == {"splits", "delays"}
    assert all(picture.startswith(b"\x89PNG") and len(picture) < 50_000 for picture in plots.values())


def test_a_refused_or_unknown_match_is_not_analysed(match: Match) -> None:
    with pytest.raises(NotFoundError):
        match.read(only=("runs",))
    match.log(*string(0))
    match.read()
    put(match.folder, "match.yaml", b"nope: 1\n")
    report = match.read()
    assert list(report.made) == ["events"]
    assert "unknown key" in str(report.refused)
    assert len(match.rows(schema.RUNS)) == 1
