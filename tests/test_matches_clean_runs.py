"""Runs found many at once are the runs found event by event, whatever the events and wherever batches are cut."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from matches_logs import PLATE_1, PLATE_2, TIMER

from sheaf.matches import schema
from sheaf.matches.analysis import run_search_clean
from sheaf.matches.analysis.run_events import COLUMNS, Events
from sheaf.matches.analysis.run_search import RunBuilder

OTHER = "60:09:C3:1F:00:02"
WINDOW_US = 1_520_000
MIN_SPLIT_US = 60_000
START = datetime(2025, 9, 14, 10, tzinfo=UTC)
SCHEMA = pa.schema([schema.EVENTS.schema.field(name) for name in COLUMNS])

timers = st.sampled_from([TIMER, TIMER, TIMER, OTHER, None])
sensors = st.sampled_from([PLATE_1, PLATE_2, None])
gaps = st.sampled_from([0.0, 0.03, 0.5, 2.0, 30.0, 70.0, 700.0, 1e4, -0.5, -3.0, -3.0])
stray = st.sampled_from(
    [
        *(
            "shot_detected",
            "shot_detected",
            "impact_detected",
            "impact_detected",
            "timer_start_button",
            "timer_start_beep",
        ),
        *("timer_stop_button", "string_summary", "timer_shot_detail", "sensor_connected"),
    ]
)


@st.composite
def strings(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """A string as it should be: type, device, and seconds since the event before."""
    timer = draw(timers)
    middle = draw(st.lists(st.sampled_from(["shot_detected", "impact_detected"]), max_size=4))
    hits = sum(name == "impact_detected" for name in middle)
    counted = draw(st.sampled_from([(len(middle) - hits, hits), (9, 9), None]))
    seconds = draw(
        st.sampled_from([f"{4.1 + 0.5 * len(middle):.2f}", f"{3 + 0.5 * len(middle):.2f}", "40.00", "1.2.3"])
    )
    told = f"String Time: {seconds}s; Shots Detected: {counted[0]}; Impacts Detected: {counted[1]}" if counted else "?"
    return [
        ("timer_start_button", timer, "pressed", 5.0),
        ("timer_start_beep", timer, "beep", 2.0),
        *((name, timer if name == "shot_detected" else draw(sensors), "", 0.5) for name in middle),
        ("timer_stop_button", timer, "stop", 1.0),
        *[("impact_detected", draw(sensors), "", draw(st.sampled_from([0.2, 2.0])))] * draw(st.integers(0, 1)),
        ("string_summary", "MCU1", told, 0.1),
    ]


odd = st.tuples(stray, timers | sensors, st.just("Shot 1: 2.00s"), gaps)
disturbed = st.builds(lambda string, event, at: [*string[:at], event, *string[at:]], strings(), odd, st.integers(1, 9))
logs = st.lists(strings() | disturbed | odd.map(lambda event: [event]), max_size=8).map(
    lambda parts: [event for part in parts for event in part]
)


def batch(events: list[tuple[Any, ...]], ambiguous: set[int]) -> pa.RecordBatch:
    at, rows = START, []
    for number, (type_, device, details, gap) in enumerate(events):
        at += timedelta(seconds=gap)
        rows.append(
            {
                "event_no": number,
                "ts": at,
                "event_type": type_,
                "device": "Timer",
                "device_id": device,
                "device_position": "Plate 9" if type_ == "impact_detected" else "Bay 1",
                "details": details,
                "shot_number": 1 if type_ == "timer_shot_detail" else None,
                "ambiguous_time": number in ambiguous,
            }
        )
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def found(*batches: pa.RecordBatch) -> list[list[str]]:
    with TemporaryDirectory() as scratch:
        builder = RunBuilder(Path(scratch), {}, WINDOW_US)
        for one in batches:
            builder.feed(one)
        result = builder.finish()
        columns = (result.runs, result.shots, result.impacts)
        rows = [[row for part in column for row in part.to_pylist()] for column in columns]
    orphans = sorted(result.orphans.elements()), sorted(result.orphan_impacts.elements())
    others = *orphans, result.sensors, result.run_of_event, sorted(result.moved.items())
    return [list(map(repr, values)) for values in (*rows, *others)]  # texts, so that NaN equals NaN


@settings(max_examples=60)
@given(logs, st.integers(0, 40), st.sets(st.integers(0, 40), max_size=1))
def test_many_at_once_or_one_by_one_is_the_same(log: list[Any], cut: int, ambiguous: set[int]) -> None:
    whole = batch(log, ambiguous)
    one_by_one = found(*(whole.slice(place, 1) for place in range(whole.num_rows)))
    assert found(whole) == one_by_one
    assert found(whole.slice(0, cut), whole.slice(cut)) == one_by_one


@given(st.lists(strings(), min_size=1, max_size=5))
def test_strings_as_they_should_be_are_taken_at_once(log: list[Any]) -> None:
    flat = [event for part in log for event in part]
    told = [event[2] for event in flat if event[0] == "string_summary"]
    unclear = sum("40.00" in text or not text.startswith("String Time") or "1.2.3" in text for text in told)
    late = {place for place, event in enumerate(flat) if event[0] == "impact_detected" and event[3] == 2.0}
    runs = run_search_clean.find(Events(batch(flat, set())), WINDOW_US, MIN_SPLIT_US)
    assert len(log) - len(late) - unclear <= len(runs) <= len(log) - max(len(late), unclear)
    assert np.all(np.diff(runs.button) > 0)
