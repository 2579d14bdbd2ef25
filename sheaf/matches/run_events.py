"""Some events of a match in the form the state machine takes: one by one, or many between two turns.

A turn is an event that can start or end a run; between turns only shots and impacts are counted.
Not here: what becomes of them (`runs`).
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

COLUMNS = (
    *("event_no", "ts", "event_type", "device", "device_id", "device_position", "details"),
    *("shot_number", "shot_time_s", "magnitude", "ambiguous_time"),
)
STEP_US = 2_000_000


@dataclass(slots=True)
class Event:
    """One event; `ts` in microseconds since 1970 UTC."""

    number: int
    ts: int
    type: str
    device: str | None
    device_id: str | None
    position: str | None
    details: str | None
    shot_number: int | None
    shot_time: float | None
    magnitude: float | None
    ambiguous: bool

    @property
    def sensor(self) -> str:
        """What an impact's sensor is known by."""
        return self.device_id or self.position or ""


class Events:
    """Consecutive events.

    Attributes:
        turns: the events that are neither shot nor impact, each with its place.
        timers: names of the timers that heard the shots; empty for a shot without a name.
        shots: number, time and timer's time of each shot.
        impact_number, impact_ts, impact_magnitude, impact_sensor: of each impact.
        shots_before, impacts_before: how many there are before each place.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        columns = [column.cast(pa.int64()) if name == "ts" else column for name, column in _columns(batch).items()]
        self._columns: list[list[Any]] = [column.to_pylist() for column in columns]
        self.number, self.ts, types, _, names, positions, *_ = self._columns
        times, magnitudes = self._columns[8:10]
        type_ = np.array(types, dtype=object)
        shot, impact = type_ == "shot_detected", type_ == "impact_detected"
        places = np.flatnonzero(~(shot | impact)).tolist()
        rows = zip(*([column[place] for place in places] for column in self._columns), strict=True)
        self.turns = [(place, Event(*row)) for place, row in zip(places, rows, strict=True)]
        shots, impacts = np.flatnonzero(shot).tolist(), np.flatnonzero(impact).tolist()
        self.timers = {names[place] or "" for place in shots}
        self.shots = [(self.number[place], self.ts[place], times[place]) for place in shots]
        self.impact_number = array("q", [self.number[place] for place in impacts])
        self.impact_ts = array("q", [self.ts[place] for place in impacts])
        self.impact_magnitude = array("d", [_number(magnitudes[place]) for place in impacts])
        self.impact_sensor = [names[place] or positions[place] or "" for place in impacts]
        self.shots_before, self.impacts_before = _before(shot), _before(impact)
        back = np.diff(np.array(self.ts, np.int64), prepend=self.ts[:1]) < -STEP_US
        self._steps_before, self._ambiguous_before = _before(back), _before(np.array(self._columns[10], bool))

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, place: int) -> Event:
        return Event(*(column[place] for column in self._columns))

    def steps_back(self, start: int, end: int) -> bool:
        """Whether the clock was set back between the first and the last of some events."""
        return self._steps_before[end] > self._steps_before[start + 1]

    def ambiguous(self, start: int, end: int) -> bool:
        """Whether the time of one of some events existed twice."""
        return self._ambiguous_before[end] > self._ambiguous_before[start]


def _columns(batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
    return {name: batch.column(name) for name in COLUMNS}


def _before(which: np.ndarray) -> list[int]:
    return np.concatenate([[0], np.cumsum(which)]).tolist()


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
