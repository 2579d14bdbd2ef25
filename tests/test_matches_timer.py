"""What a timer says about its own strings, against what a radio lost, repeated or delayed, and clocks that were set."""

from datetime import timedelta
from pathlib import Path
from typing import Any

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

from sheaf.matches import schema

BAY_2 = {"device_id": "60:09:C3:1F:00:02", "device_position": "Bay 2"}


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def told(
    seconds: float, kind: str, number: int = 0, time: float = 0, split: float = 0, total: int = 0
) -> dict[str, Any]:
    """One record of a timer's backup."""
    when = (START + timedelta(seconds=seconds)).isoformat()
    return {
        **{"timestamp": when, "device_id": TIMER, "event_type": kind, "current_shot": number, "total_shots": total},
        **{"current_time": time, "split_time": split, "raw_hex": "", "session_id": "session_20250914_100000"},
    }


def backup(start: float, times: list[float], *, late: float = 0.0) -> list[dict[str, Any]]:
    """A string as a timer tells it: start, numbered shots, stop."""
    splits = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    shots = [
        told(start + time + late, "shot_detected", number, time, round(split, 2), len(times))
        for number, (time, split) in enumerate(zip(times, splits, strict=True), 1)
    ]
    return [
        told(start, "timer_start", total=len(times)),
        *shots,
        told(start + times[-1] + 1 + late, "timer_stop", len(times), times[-1], total=len(times)),
    ]


def runs(match: Match, *records: dict[str, Any], name: str = "logs/log.jsonl") -> list[dict[str, Any]]:
    match.log(*records, name=name)
    match.read()
    return match.rows(schema.RUNS)


def brief(found: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(run["shots_detected"], run["flags"]) for run in found]


@pytest.mark.case("matches/timer-numbers-are-ignored")
def test_a_lost_stop_and_start_do_not_join_two_strings(match: Match) -> None:
    found = runs(match, *backup(0, [1.5, 2.6, 3.9])[:-1], *backup(40, [1.5, 2.7, 3.8])[1:])
    assert brief(found) == [(3, "no_stop;restarted"), (3, "no_start;no_summary")]
    assert found[1]["beep_time"] == START + timedelta(seconds=40)
    assert found[1]["duration_seconds"] == pytest.approx(4.8)


@pytest.mark.case("matches/timer-numbers-are-ignored")
def test_a_string_without_its_start_is_a_run(match: Match) -> None:
    found = runs(match, *backup(0, [1.5, 2.6]), *backup(60, [1.9, 2.8, 3.0])[1:], *backup(120, [1.2, 2.4]))
    assert brief(found) == [(2, "no_summary"), (3, "no_start;no_summary"), (2, "no_summary")]


@pytest.mark.case("matches/timer-numbers-are-ignored")
@pytest.mark.parametrize("lost", [0, 2, 4])
def test_shots_that_no_record_reports_are_lost(match: Match, lost: int) -> None:
    records = backup(0, [1.0, 2.0, 3.0, 4.0, 5.0])
    del records[1 + lost]
    (run,) = runs(match, *records)
    assert (run["shots_detected"], run["shots_lost"], run["flags"]) == (4, 1, "count_mismatch;lost_shots;no_summary")


def test_shots_may_be_numbered_from_0_or_all_be_0(match: Match) -> None:
    records = [*backup(0, [1.0, 2.0, 3.0]), *backup(60, [1.0, 2.0, 3.0]), *backup(120, [1.0, 2.0, 3.0])]
    again = records[6] | {"timestamp": (START + timedelta(seconds=61.4)).isoformat()}
    log = [*records[:2], *records[3:7], again, *records[7:11], *records[12:]]
    from_0 = [
        record | {"current_shot": record["current_shot"] - (record["event_type"] != "timer_start")} for record in log
    ]
    flags = ["count_mismatch;lost_shots;no_summary", "double_shots;no_summary", "count_mismatch;lost_shots;no_summary"]
    assert brief(runs(match, *from_0)) == [*zip([2, 3, 2], flags, strict=True)]
    none = [record | {"current_shot": 0} for record in log]
    assert brief(runs(match, *none)) == [(shots, "no_summary") for shots in (2, 4, 2)]


@pytest.mark.case("matches/one-shot-noted-twice")
@pytest.mark.parametrize("later", [0.01, 0.05, 1.5])
def test_a_shot_that_is_told_again_counts_once(match: Match, later: float) -> None:
    records = backup(0, [1.5, 2.6, 3.9])
    again = told(2.6 + later, "shot_detected", 2, 2.6, 1.1, 3)
    (run,) = runs(match, *sorted([*records, again], key=lambda record: record["timestamp"]))
    assert (run["shots_detected"], run["shots_doubled"], run["shots_lost"]) == (3, 1, 0)
    assert run["flags"] == "double_shots;no_summary"
    assert len(match.rows(schema.SHOTS)) == 3


def test_a_late_radio_neither_loses_nor_opens_anything(match: Match) -> None:
    records = backup(0, [1.5, 2.6, 3.9])
    records[2:4] = [told(3.95, "shot_detected", 3, 3.9, 1.3, 3), told(3.96, "shot_detected", 2, 2.6, 1.1, 3)]
    assert brief(runs(match, *records)) == [(3, "no_summary")]
    assert [row["since_beep_s"] for row in match.rows(schema.SHOTS)] == pytest.approx([1.5, 2.6, 3.9], abs=0.1)


@pytest.mark.case("matches/one-shot-noted-twice")
@pytest.mark.parametrize("apart", [0.0, 0.02, 0.05])
def test_an_echo_without_a_number_counts_once(match: Match, apart: float) -> None:
    records = string(0)
    for place, record in list(enumerate(records))[::-1]:
        if record["details"] == "Shot detected":
            records.insert(place + 1, shot(4 + 2 * (place // 2 - 1) + apart, seq=place))
    (run,) = runs(match, *records)
    assert (run["shots_detected"], run["shots_doubled"], run["correlation_success_rate"]) == (3, 3, 1.0)
    assert run["flags"] == "double_shots"


def test_how_soon_an_echo_is_can_be_set_for_a_match(match: Match) -> None:
    put(match.folder, "match.yaml", b"min_split_ms: 10\n")
    (run,) = runs(match, button(0), beep(2.25), shot(4), shot(4.04), stop(6))
    assert (run["shots_detected"], run["shots_doubled"]) == (2, 0)


def test_a_string_without_its_start_is_a_run_where_a_stop_or_summary_says_that_it_was(match: Match) -> None:
    unheard = string(100)[2:]
    found = runs(match, *string(0), *unheard, *string(200))
    assert brief(found) == [(3, ""), (3, "no_beep;no_start"), (3, "")]
    assert found[1]["start_time"] == START + timedelta(seconds=100)
    assert (found[1]["duration_seconds"], found[1]["correlation_success_rate"]) == (11.01, 1.0)


def test_a_summary_tells_two_strings_apart_that_lost_end_and_start(match: Match) -> None:
    found = runs(match, *string(0, shots=2)[:-2], *string(100)[2:])
    assert brief(found) == [(2, "no_stop;restarted"), (3, "no_beep;no_start")]
    assert [run["impacts_detected"] for run in found] == [2, 3]
    assert [row["run_id"] for row in match.rows(schema.SHOTS)] == ["run_1"] * 2 + ["run_2"] * 3
    assert [row["run_id"] for row in match.rows(schema.IMPACTS)] == ["run_1"] * 2 + ["run_2"] * 3


# Clocks


def shifted(records: list[dict[str, Any]], first: int, by: float) -> list[dict[str, Any]]:
    """As a log whose clock was set `by` seconds before the `first` record."""
    from datetime import datetime

    result = []
    for place, record in enumerate(records):
        key = "timestamp_iso" if "timestamp_iso" in record else "timestamp"
        when = datetime.fromisoformat(record[key]) + timedelta(seconds=by if place >= first else 0)
        result.append(record | {key: when.isoformat()})
    return result


@pytest.mark.case("matches/clock-set-forward-in-a-run")
@pytest.mark.parametrize("by", [30.0, 3600.0, 5e8, -3600.0])
@pytest.mark.parametrize("first", [2, 4, 5])
def test_a_clock_set_within_a_run_is_flagged_and_repaired_by_the_summary(match: Match, by: float, first: int) -> None:
    (run,) = runs(match, *shifted(string(0), first, by))
    assert (run["flags"], run["duration_seconds"]) == ("clock_step", 11.01)
    assert (run["end_time"] - run["start_time"]).total_seconds() == pytest.approx(11.01, abs=0.02)
    shots = match.rows(schema.SHOTS)
    assert [row["since_beep_s"] for row in shots] == pytest.approx([1.75, 3.75, 5.75], abs=0.02)
    assert [row["split_s"] for row in shots[1:]] == pytest.approx([2.0, 2.0], abs=0.02)
    assert [row["delay_ms"] for row in shots] == pytest.approx([500.0] * 3, abs=20)


@pytest.mark.parametrize(("first", "by"), [(1, 7200.0), (1, -30.0), (2, 30.0), (2, -30.0), (3, 7200.0), (3, 30.0)])
def test_a_clock_set_within_a_run_is_repaired_by_the_timers_own_time(match: Match, first: int, by: float) -> None:
    (run,) = runs(match, *shifted(backup(0, [1.5, 2.6, 3.9]), first, by))
    assert (run["shots_detected"], run["flags"]) == (3, "clock_step;no_summary")
    assert run["duration_seconds"] == pytest.approx(4.9, abs=0.01)
    assert [row["split_s"] for row in match.rows(schema.SHOTS)[1:]] == pytest.approx([1.1, 1.3])


@pytest.mark.parametrize("by", [10_000.0, 1.7e9, -10_000.0])
def test_a_clock_set_by_nobody_knows_how_much_leaves_times_empty(match: Match, by: float) -> None:
    match.log(*shifted([button(0), beep(2.25), shot(4), hit(4.5), shot(6), hit(6.5), stop(8)], 4, by))
    report = match.read()
    (run,) = match.rows(schema.RUNS)
    assert (run["flags"], run["duration_seconds"], run["correlation_success_rate"]) == (
        "clock_step;no_summary",
        None,
        1.0,
    )
    assert [(row["since_beep_s"], row["split_s"]) for row in match.rows(schema.SHOTS)] == [(1.75, None), (None, None)]
    assert any("clock_step" in warning for warning in report.warnings)


@pytest.mark.parametrize(("gap", "flags"), [(50, "no_summary"), (90, "long_pause;no_summary")])
def test_a_clock_that_may_have_been_set_forward_between_shots_is_said(match: Match, gap: float, flags: str) -> None:
    assert brief(runs(match, button(0), beep(2), shot(4), shot(4 + gap), stop(6 + gap))) == [(2, flags)]


@pytest.mark.case("matches/clock-set-forward-in-a-run")
@pytest.mark.parametrize("year", [1970, 2000])
def test_a_run_before_any_clock_was_set_is_flagged(match: Match, year: int) -> None:
    by = (START.replace(year=year) - START).total_seconds()
    assert brief(runs(match, *shifted(string(0), 0, by), *string(100))) == [(3, "clock_not_set;clock_step"), (3, "")]


@pytest.mark.parametrize("years", [81, 6, -6])
def test_a_run_years_from_the_others_or_after_2099_is_flagged(match: Match, years: int) -> None:
    by = (START.replace(year=START.year + years) - START).total_seconds()
    match.log(*string(0), *shifted(string(100), 0, by), *string(200))
    report = match.read()
    found = sorted(match.rows(schema.RUNS), key=lambda run: run["start_time"])
    assert sorted(brief(found)) == [(3, ""), (3, ""), (3, "clock_not_set;clock_step")]
    assert found[-1 if years > 0 else 0]["flags"] == "clock_not_set;clock_step"
    assert report.counts["clock_steps"] == 1


def test_a_match_of_one_run_after_2099_is_flagged(match: Match) -> None:
    by = (START.replace(year=2106) - START).total_seconds()
    assert brief(runs(match, *shifted(string(0), 0, by))) == [(3, "clock_not_set;clock_step")]


def test_a_clock_that_was_set_from_2106_within_a_run_gives_the_dates_of_the_later_one(match: Match) -> None:
    by = (START.replace(year=2106) - START).total_seconds()
    records = string(0)
    (run,) = runs(match, *shifted(records[:4], 0, by), *records[4:])
    assert (run["flags"], run["start_time"], run["duration_seconds"]) == ("clock_step", START, 11.01)


def test_a_clock_in_2106_does_not_move_what_another_log_holds(match: Match) -> None:
    by = (START.replace(year=2106) - START).total_seconds()
    match.log(*string(0), *shifted(string(100), 0, by), *string(200))
    found = runs(match, *string(50, gap=1.5), *string(150, gap=1.5), name="logs/other.ndjson")
    assert sorted(brief(found)) == [*[(3, "")] * 4, (3, "clock_not_set;clock_step")]


@pytest.mark.parametrize("counted_from", [0.0, 2.25])
def test_a_string_time_may_count_from_the_button_or_the_beep_to_any_end(match: Match, counted_from: float) -> None:
    records = [*string(0)[:-1], summary(12.5, 9.75 - counted_from, 3, 3)]
    assert brief(runs(match, *records)) == [(3, "")]


# Sensors


@pytest.mark.case("matches/impact-before-shot")
def test_impacts_may_be_heard_before_their_shots(match: Match) -> None:
    found = runs(match, *(record for start in range(0, 100, 20) for record in string(start, delay=-0.06, gap=1.1)))
    assert [run["correlation_success_rate"] for run in found] == [1.0] * 5
    assert {round(row["delay_ms"]) for row in match.rows(schema.SHOTS)} == {-60}


def test_a_delay_beyond_the_window_is_said(match: Match) -> None:
    gaps = [2.9, 3.7, 4.6, 3.2, 4.1]
    match.log(*(record for place, gap in enumerate(gaps) for record in string(place * 40, delay=2.4, gap=gap)))
    report = match.read()
    (sensor,) = match.rows(schema.SENSORS)
    assert "beyond_window" in sensor["flags"]
    assert any("beyond correlation.window_ms" in warning for warning in report.warnings)


def test_a_match_without_sensors_has_no_rate(match: Match) -> None:
    (run,) = runs(match, *backup(0, [1.5, 2.6]))
    assert run["correlation_success_rate"] is None
    assert {row["status"] for row in match.rows(schema.SHOTS)} == {"unknown"}


def test_a_sensor_that_fails_is_seen(match: Match) -> None:
    records = []
    for number in range(20):
        at = number * 30
        end = [stop(at + 8), summary(at + 8.01, 8.01, 2, 2)]
        records += [button(at), beep(at + 2.25), shot(at + 4), hit(at + 4.3), shot(at + 6)]
        records += [hit(at + 6.3, PLATE_2)] if number % 2 else [hit(at + 6.9, PLATE_2)] if number < 4 else []
        records += end
    match.log(*records)
    report = match.read()
    good, bad = sorted(match.rows(schema.SENSORS), key=lambda row: row["sensor"] != PLATE_1)
    assert (good["silent_share"], good["false_share"], good["flags"]) == (0.0, 0.0, "")
    assert good["silent_high"] < 0.2
    assert (bad["runs"], bad["silent_share"], bad["flags"]) == (20, 0.5, "often_silent")
    assert bad["silent_low"] < 0.5 < bad["silent_high"]
    assert bad["median_low_ms"] <= bad["median_delay_ms"] <= bad["median_high_ms"]
    assert any(f"{PLATE_2} was silent in 50% of the runs" in warning for warning in report.warnings)


def two_bays(sensors: tuple[str, str]) -> list[dict[str, Any]]:
    """Two timers at once; the impacts of each follow its own shots by 300 ms."""
    records = []
    for number in range(12):
        for bay, (apart, sensor) in enumerate(zip((0.0, 1.9), sensors, strict=True)):
            at, more = number * 40 + apart, BAY_2 if bay else {}
            gap = 1.3 + 0.07 * ((number * (bay + 3)) % 5) + 0.4 * bay
            times = [at + 4 + gap * shot_no for shot_no in range(4)]
            records += [button(at, **more), beep(at + 2.25, **more), stop(times[-1] + 1, **more)]
            records += [shot(time, **more) for time in times] + [hit(time + 0.3, sensor) for time in times]
    return sorted(records, key=lambda record: record["timestamp_iso"])


def test_two_bays_without_a_device_list_are_told_apart_by_their_delays(match: Match) -> None:
    found = runs(match, *two_bays((PLATE_1, PLATE_2)))
    assert len(found) == 24
    assert {(run["impacts_detected"], run["correlation_success_rate"], run["flags"]) for run in found} == {
        (4, 1.0, "no_summary")
    }


def test_a_sensor_goes_on_with_the_timer_that_replaced_its_own(match: Match) -> None:
    records = [record for at in range(0, 400, 40) for record in string(at)]
    replaced = [
        record | ({"device_id": BAY_2["device_id"]} if place >= 70 and record["device"] == "Timer" else {})
        for place, record in enumerate(records)
    ]
    found = runs(match, *replaced[:68], *replaced[70:])  # the last stop and summary are lost
    assert len({run["start_device_id"] for run in found}) == 2
    assert [(run["impacts_detected"], run["flags"]) for run in found if run["flags"]] == [(3, "no_stop;unfinished")]
    assert {run["impacts_correlated"] for run in found} == {3}


def test_kinds_of_device_may_be_spelt_in_any_case(match: Match) -> None:
    found = runs(match, *(record | {"device": record["device"].upper()} for record in two_bays((PLATE_1, PLATE_2))))
    assert {(run["start_device"], run["impacts_correlated"]) for run in found} == {("Timer", 4)}


def test_impacts_that_may_be_of_either_bay_are_of_none_and_that_is_said(match: Match) -> None:
    match.log(*two_bays((PLATE_1, PLATE_1)))
    report = match.read()
    assert any("bay in match.yaml" in warning for warning in report.warnings)
    assert report.counts["orphan_impacts"] > 0
    assert all("bay_unknown" in run["flags"] for run in match.rows(schema.RUNS))


# Shooters


def test_runs_have_shooters_from_a_squad_list(match: Match) -> None:
    put(match.folder, "squad.csv", b"Stage,String,Shooter\n,1,Ada\n,2,Bob\n,2,Cy\n,x,Dee\n,9,Eve\n")
    match.log(*string(0), *string(30), *string(60))
    report = match.read()
    assert [(run["string"], run["shooter"]) for run in match.rows(schema.RUNS)] == [(1, "Ada"), (2, "Bob"), (3, None)]
    assert report.codes("squad") == {"bad_squad_row": 2}
    assert [(row["file"], row["line"]) for row in match.rejects()] == [("squad.csv", 4), ("squad.csv", 5)]
    assert any("fit no run: 1 of 3" in warning for warning in report.warnings)


def test_strings_count_for_each_stage_and_match_yaml_may_name_the_shooters(match: Match) -> None:
    put(
        match.folder,
        "match.yaml",
        b"squad:\n- {run: 1, stage: S1, shooter: Ada}\n- {run: run_2, stage: S2, shooter: Bob}\n"
        b"- {stage: S1, string: 2, shooter: Cy}\n- {run: 3, stage: S1, shooter: Dee}\n",
    )
    found = runs(match, *string(0), *string(30), *string(60))
    assert [(run["stage"], run["string"], run["shooter"]) for run in found] == [
        ("S1", 1, "Ada"),
        ("S2", 1, "Bob"),
        ("S1", 2, "Dee"),
    ]


def test_the_first_of_two_who_shot_the_same_is_taken_wherever_it_stands(match: Match) -> None:
    put(match.folder, "match.yaml", b"squad:\n- {run: 1, shooter: Ada}\n- {run: run_1, shooter: Bob}\n")
    put(match.folder, "squad.csv", b"run,shooter\n1,Cy\n2,Dee\n")
    match.log(*string(0), *string(30))
    report = match.read()
    assert [run["shooter"] for run in match.rows(schema.RUNS)] == ["Ada", "Dee"]
    assert [(row["file"], row["line"]) for row in match.rejects()] == [("match.yaml", None), ("squad.csv", 2)]
    assert (report.account("squad").seen, report.account("squad").used) == (4, 2)


def test_a_squad_list_with_another_header_is_refused(match: Match) -> None:
    put(match.folder, "squad.csv", b"name,string\nAda,1\n")
    match.log(*string(0), line(15, "Connected"))
    assert "'name' is not known" in str(match.read().refused)
