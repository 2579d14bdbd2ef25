"""Runs as they should be, many at once: button, beep, shots and impacts, stop, summary, of one timer.

Finds only what `runs` would find step by step; a run with anything unusual about it is left to
`runs`. Not here: what a run is.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sheaf.matches.analysis.run_clock import NOT_SET_US
from sheaf.matches.analysis.run_events import (
    BEEP,
    BUTTON,
    IMPACT,
    LONGEST_US,
    SHOT,
    STEP_US,
    STOP,
    SUMMARY,
    TOLD,
    Events,
    codes,
)
from sheaf.matches.readers.clocks import BEYOND_US
from sheaf.matches.vocabulary import summary


@dataclass(frozen=True)
class CleanRuns:
    """Places of the clean runs among some events.

    Attributes:
        button, beep, stop, summary: places of their turns, an array for each.
        said: what its summary says: seconds, shots, impacts; NaN where it cannot be read.
        follows: whether nothing but stray shots and impacts lies between a run and the one before.
    """

    button: np.ndarray
    beep: np.ndarray
    stop: np.ndarray
    summary: np.ndarray
    said: np.ndarray
    follows: np.ndarray

    def __len__(self) -> int:
        return len(self.button)

    def __getitem__(self, some: slice) -> "CleanRuns":
        return CleanRuns(*(column[some] for column in vars(self).values()))

    def stretch(self, at: int) -> "CleanRuns":
        """The runs from the `at`-th that follow each other."""
        breaks = np.flatnonzero(~self.follows[at + 1 :])
        return self[at : at + 1 + breaks[0]] if len(breaks) else self[at:]


def find(events: Events, window_us: int, min_split_us: int) -> CleanRuns:
    """The clean runs that begin and end among the events.

    Args:
        window_us: impacts this long after the stop belong to a run; with a later one it is not clean.
        min_split_us: with shots that follow each other sooner it is not clean.
    """
    kind, ts, timer = events.kind, events.ts, codes(events.device_id)
    turns = np.flatnonzero(kind <= TOLD)
    four = np.lib.stride_tricks.sliding_window_view(turns, 4).T if len(turns) >= 4 else np.empty((4, 0), np.int64)
    clean = (kind[four] == np.array([[BUTTON], [BEEP], [STOP], [SUMMARY]])).all(axis=0)
    clean &= (timer[four[1:3]] == timer[four[0]]).all(axis=0)
    shot, impact = kind == SHOT, kind == IMPACT
    turn = np.maximum.accumulate(np.where(kind <= TOLD, np.arange(len(kind)), -1))  # the last one before each event
    known = turn >= 0
    gap = np.diff(ts, prepend=ts[:1])
    odd = events.ambiguous | (shot & events.numbered) | (ts < NOT_SET_US) | (ts >= BEYOND_US)
    odd |= shot & known & ((kind[turn] != BEEP) | ((timer != timer[turn]) & (timer >= 0)))
    odd |= impact & known & (kind[turn] == STOP) & (ts > ts[turn] + window_us)
    shots = np.flatnonzero(shot)
    odd[shots[1:]] |= np.abs(np.diff(ts[shots])) < min_split_us
    odd_before = np.concatenate([[0], np.cumsum(odd)])
    set_before = np.concatenate([[0], np.cumsum((gap < -STEP_US) | (gap > LONGEST_US))])  # within a run, not before it
    clean &= odd_before[four[3] + 1] == odd_before[four[0]]
    clean &= set_before[four[3] + 1] == set_before[four[0] + 1]
    place = np.flatnonzero(clean)
    said = _said(events, four[3, place])
    place, said = _lasted(events, four[:, place], place, said)
    return CleanRuns(*four[:, place], said=said, follows=np.diff(place, prepend=-4) == 4)


def _said(events: Events, summaries: np.ndarray) -> np.ndarray:
    """Seconds, shots and impacts of each summary; NaN where it cannot be read."""
    texts = events.details.take(pa.array(summaries)).to_pylist()
    said = (summary(text) or (None, None, None) for text in texts)
    return np.array(list(said), float).reshape(-1, 3)


def _lasted(events: Events, four: np.ndarray, place: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs that lasted as long as their summary says, by the same rule as `run_clock.steps`."""
    button, beep, _, end = events.ts[four] if len(place) else np.empty((4, 0), np.int64)
    shots = np.flatnonzero(events.kind == SHOT)
    last = np.searchsorted(shots, four[3]) - 1
    some = (last >= 0) & (shots[np.maximum(last, 0)] > four[0]) if len(shots) else np.zeros(len(place), bool)
    least = np.where(some, events.ts[shots[np.maximum(last, 0)]] - beep, 0) if len(shots) else np.zeros(len(place))
    seconds = said[:, 0] * 1e6
    with np.errstate(invalid="ignore"):
        wrong = (seconds < least - STEP_US) | (seconds > end - button + STEP_US)
        wrong |= ~(seconds <= LONGEST_US)
    return place[~wrong], said[~wrong]


@dataclass(frozen=True)
class Taken:
    """What a stretch of clean runs holds; `run` counts from 0 within it.

    Attributes:
        closed: times, counts and duration of each run, as `runs.RUN_SCHEMA` names them.
        agrees: whether its summary counted the same, or could not be read.
        run_of_event: run of each event from the first button to the last summary; -1 for a stray one.
        shots, shot_run, impacts, impact_run: places of those that belong to a run, and that run.
    """

    closed: dict[str, pa.Array]
    agrees: np.ndarray
    run_of_event: np.ndarray
    shots: np.ndarray
    shot_run: np.ndarray
    impacts: np.ndarray
    impact_run: np.ndarray


def take(events: Events, runs: CleanRuns) -> Taken:
    """All there is to know of a stretch of clean runs."""
    places = np.arange(runs.button[0], runs.summary[-1] + 1)
    run = np.searchsorted(runs.button, places, "right") - 1
    run = np.where(places <= runs.summary[run], run, -1)
    kind = events.kind[places]
    shot, impact = ((run >= 0) & (kind == wanted) for wanted in (SHOT, IMPACT))
    shots, impacts = places[shot], places[impact]
    counts = np.stack([np.bincount(run[which], minlength=len(runs)) for which in (shot, impact)])
    string_time, counted = runs.said[:, 0], runs.said[:, 1:].T
    began, ended, latest = events.ts[runs.button], events.ts[runs.summary], events.latest[runs.button]
    return Taken(
        closed={
            "shots_detected": pa.array(counts[0].astype(np.int32)),
            "impacts_detected": pa.array(counts[1].astype(np.int32)),
            "order": pa.array(np.where(latest - began > STEP_US, latest, began)),
            "start": pa.array(began),
            "beep": pa.array(events.ts[runs.beep]),
            "end": pa.array(ended),
            # Within a run, the clock may tick back by as much as `STEP_US`.
            "last_shot": _of_each(np.maximum.reduceat, events.ts[shots], counts[0]),
            "last_impact": _of_each(np.maximum.reduceat, events.ts[impacts], counts[1]),
            "duration_seconds": pa.array(string_time),
        },
        agrees=(counted == counts).all(axis=0),
        run_of_event=run,
        shots=shots,
        shot_run=run[shot],
        impacts=impacts,
        impact_run=run[impact],
    )


def _of_each(what: Callable[[np.ndarray, np.ndarray], np.ndarray], values: np.ndarray, count: np.ndarray) -> pa.Array:
    """One value for each run from those of its events, which lie together; null where it has none."""
    found, some = np.zeros(len(count), np.int64), count > 0
    if len(values):
        found[some] = what(values, (np.cumsum(count) - count)[some])
    return pa.array(found, mask=~some)
