"""Which impact belongs to which shot: against trying everything, and for each sensor's delay."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sheaf.matches.analysis.correlate import Impacts, Shots, correlate
from sheaf.matches.settings import Correlation

FIXED = Correlation(estimate_offsets=False, expected_delay_ms=500, delay_tolerance_ms=300, window_ms=1500)


def of_one_run(shots_ms: list[int], impacts_ms: list[int], sensors: list[int] | None = None) -> tuple[Shots, Impacts]:
    shots, impacts = np.array(shots_ms, np.int64) * 1000, np.array(impacts_ms, np.int64) * 1000
    sensor = np.array(sensors if sensors is not None else [0] * len(impacts), np.int64)
    return (
        Shots(np.zeros(len(shots), np.int64), shots),
        Impacts(np.zeros(len(impacts), np.int64), impacts, sensor),
    )


def best(shots_ms: list[int], impacts_ms: list[int]) -> tuple[int, int]:
    """Most pairs and least deviation by trying everything."""
    found = (0, 0)
    slots = [*range(len(impacts_ms)), *([-1] * len(shots_ms))]
    for choice in set(permutations(slots, len(shots_ms))):
        deviations = [
            abs(impacts_ms[impact] - shot - 500)
            for shot, impact in zip(shots_ms, choice, strict=True)
            if impact >= 0 and abs(impacts_ms[impact] - shot - 500) <= 300
        ]
        found = max(found, (len(deviations), -sum(deviations)))
    return found


times = st.lists(st.integers(0, 3000), max_size=4)


@settings(deadline=None)
@given(times, times)
def test_the_assignment_is_the_best_there_is(shots: list[int], impacts: list[int]) -> None:
    (result,) = correlate([of_one_run(shots, impacts)], 1, FIXED).assigned
    hits = result.shot_of_impact[result.hit]
    assert len(set(hits.tolist())) == len(hits)
    deviation = sum(
        abs(impacts[index] - shots[shot] - 500)
        for index, shot in enumerate(result.shot_of_impact.tolist())
        if shot >= 0
    )
    assert (len(hits), -deviation) == best(shots, impacts)


def test_more_impacts_than_shots_never_make_more_than_one_pair_per_shot() -> None:
    result = correlate([of_one_run([0, 2000, 4000], [500, 2500, 4500, 4560])], 1, Correlation())
    assert result.assigned[0].shot_of_impact.tolist() == [0, 1, 2, -1]
    assert result.assigned[0].delay_us[:3].tolist() == [500_000] * 3


def test_each_sensor_has_its_own_delay() -> None:
    rng = np.random.default_rng(3)
    shots = np.cumsum(rng.integers(700, 2500, 60))
    sensor = rng.integers(0, 2, 60)
    delay = np.where(sensor == 0, 300, 610) + rng.integers(-15, 16, 60)
    hit = rng.random(60) > 0.15
    result = correlate(
        [of_one_run(shots.tolist(), (shots + delay)[hit].tolist(), sensor[hit].tolist())], 2, Correlation()
    )
    assert [round(found.offset_ms / 10) for found in result.sensors] == [30, 61]
    assert all(found.estimated and not found.flags for found in result.sensors)
    assert result.assigned[0].shot_of_impact.tolist() == np.flatnonzero(hit).tolist()
    assert all(found.mad_ms < 15 for found in result.sensors if found.mad_ms is not None)


def test_runs_may_come_some_at_a_time() -> None:
    rng = np.random.default_rng(4)
    run, ts = np.arange(60) // 6, np.cumsum(rng.integers(400_000, 2_500_000, 60))
    at, sensor = ts + 300_000 + rng.integers(-30_000, 30_000, 60), rng.integers(0, 2, 60)
    parts = [
        (Shots(run[some], ts[some]), Impacts(run[some], at[some], sensor[some]))
        for some in (slice(0, 12), slice(12, 12), slice(12, 60))
    ]
    whole, cut = (correlate(some, 2, Correlation()) for some in ([(Shots(run, ts), Impacts(run, at, sensor))], parts))
    assert whole.sensors == cut.sensors
    assert whole.contested.tolist() == cut.contested.tolist()
    assert np.concatenate([one.delay_us for one in cut.assigned]).tolist() == whole.assigned[0].delay_us.tolist()


def test_an_impact_never_belongs_to_a_shot_of_another_run() -> None:
    shots = Shots(np.array([0, 1]), np.array([0, 400_000]))
    impacts = Impacts(np.array([1]), np.array([500_000]), np.array([0]))
    assert correlate([(shots, impacts)], 1, FIXED).assigned[0].shot_of_impact.tolist() == [-1]
    assert correlate([(shots, Impacts(np.array([0]), impacts.ts, impacts.sensor))], 1, FIXED).assigned[
        0
    ].shot_of_impact.tolist() == [0]


def test_regular_splits_that_allow_two_delays_fall_back_to_the_expected_one() -> None:
    shots = list(range(0, 60_000, 600))
    result = correlate([of_one_run(shots, [time + 420 for time in shots])], 1, Correlation())
    assert result.sensors[0].flags == ("offset_fallback",)
    assert not result.sensors[0].estimated
    assert result.assigned[0].shot_of_impact.tolist() == list(range(len(shots)))


def test_too_few_pairs_use_the_expected_delay() -> None:
    result = correlate([of_one_run([0, 3000], [900, 3900])], 1, Correlation())
    assert result.sensors[0].offset_ms == 526
    assert result.assigned[0].shot_of_impact.tolist() == [0, 1]


def test_a_delay_that_drifts_over_a_long_match_is_told() -> None:
    shots = np.arange(0, 7_200_000, 4_100)
    delays = 400 + shots // 72_000
    result = correlate([of_one_run(shots.tolist(), (shots + delays).tolist())], 1, Correlation())
    assert result.sensors[0].drift_ms_per_h == pytest.approx(50, abs=1)
    assert "drift" in result.sensors[0].flags


def test_a_crowd_of_impacts_at_one_moment_is_solved_without_a_huge_matrix() -> None:
    shots, impacts = of_one_run([0] * 150, [500] * 7_000)
    result = correlate([(shots, impacts)], 1, FIXED)
    assert (result.assigned[0].shot_of_impact >= 0).sum() == 150


def test_nothing_to_correlate() -> None:
    assert correlate([of_one_run([], [500])], 1, Correlation()).assigned[0].shot_of_impact.tolist() == [-1]
    assert correlate([of_one_run([0], [])], 0, Correlation()).sensors == ()


@pytest.mark.parametrize(
    ("shots", "impacts", "contested"),
    [
        ([0], [500], False),
        ([0], [500, 520], True),
        ([0, 100], [550], True),
        ([0], [500, 2000], False),
    ],
    ids=["one and one", "two impacts of one shot", "two shots of one impact", "another that fits nothing"],
)
def test_what_fits_as_well_as_what_was_chosen_is_told(shots: list[int], impacts: list[int], contested: bool) -> None:
    assert (correlate([of_one_run(shots, impacts)], 1, FIXED).contested.tolist() == [0]) is contested


@pytest.mark.parametrize(("late_ms", "unsure"), [(0, False), (25, False), (70, True)])
def test_the_only_impact_of_a_shot_is_doubted_where_its_sensor_is_never_so_late(late_ms: int, unsure: bool) -> None:
    rng = np.random.default_rng(5)
    shots, impacts = Shots(np.arange(60) // 6, np.arange(60) * 2_000_000), np.arange(60) * 2_000_000 + 400_000
    impacts = impacts + rng.normal(0, 15_000, 60).astype(np.int64)
    impacts[20] = shots.ts[20] + 400_000 + late_ms * 1000
    heard = (np.arange(60) % 10 != 9) | (np.arange(60) == 20)
    result = correlate(
        [(shots, Impacts(shots.run[heard], impacts[heard], np.zeros(heard.sum(), int)))], 1, Correlation()
    )
    assert (result.assigned[0].shot_of_impact >= 0).all()
    assert result.contested.tolist() == [3] * unsure
