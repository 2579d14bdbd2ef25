"""From events to runs: the state machine of each timer.

A button arms a run, the beep starts it, shots and impacts count, the stop button stops it and the
summary completes it. A new start closes what is still open; nothing that happened is dropped: what
belongs to no run is counted as orphan. Not here: which impact belongs to which shot (`correlate`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sheaf.matches import clean_runs
from sheaf.matches.clean_runs import CleanRuns
from sheaf.matches.found import RUN_SCHEMA, Found, extend, in_order
from sheaf.matches.manifest import Device
from sheaf.matches.run_events import IMPACT, KINDS, SHOT, STEP_US, Event, Events, codes
from sheaf.matches.vocabulary import summary

_SAME_BEEP_US = 60_000_000


@dataclass(slots=True)
class _Run:
    number: int
    start: int
    device: str | None
    device_id: str | None
    position: str | None
    beep: int | None = None
    stop: int | None = None
    last: int = 0
    shots: list[tuple[int, int]] = field(default_factory=list)  # event and time
    told: dict[int, tuple[int, int]] = field(default_factory=dict)  # the same, by number in the text
    impacts: int = 0
    last_impact: int | None = None
    flags: set[str] = field(default_factory=set)


class RunBuilder:
    """Takes the events of a match in order and finds its runs.

    Args:
        devices: the match's devices by address; they say which sensor belongs to which timer.
        window_us: impacts this long after the stop still belong to the run.
    """

    def __init__(self, devices: Mapping[str, Device], window_us: int) -> None:
        self.found = Found()
        self._devices = devices
        self._window = window_us
        self._open: dict[str, _Run] = {}
        self._sensors: dict[str, int] = {}
        self._closed: list[tuple[object, ...]] = []
        self._opened = 0

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next events; `batch` has at least `COLUMNS`."""
        events = Events(batch)
        clean = clean_runs.find(events, self._window)
        done = at = 0
        while at < len(clean):
            self._step(events, done, clean.button[at])
            if self._open:  # another run goes on, so this one is not by itself
                done = clean.summary[at] + 1
                self._step(events, clean.button[at], done)
                at += 1
            else:
                stretch = clean.stretch(at)
                self._take(events, stretch)
                done = stretch.summary[-1] + 1
                at += len(stretch)
        self._step(events, done, len(events))

    def _step(self, events: Events, start: int, end: int) -> None:
        for event in events.one_by_one(start, end):
            _STEPS[event.type](self, event)

    def _take(self, events: Events, runs: CleanRuns) -> None:
        """Note clean runs, all at once."""
        taken, first, found = clean_runs.take(events, runs), self._opened, self.found
        self._opened += len(runs)
        opening = pa.array(runs.button)
        device, device_id, position = (
            column.take(opening) for column in (events.device, events.device_id, events.position)
        )
        places = [self._place(*both) for both in zip(device_id.to_pylist(), position.to_pylist(), strict=True)]
        columns = {
            "opened": pa.array(np.arange(first, self._opened, dtype=np.int32)),
            **taken.closed,
            "status": pa.repeat("completed", len(runs)).dictionary_encode(),
            "start_device": device,
            "start_device_id": device_id,
            "stage": pa.array([stage for stage, _ in places], pa.string()).dictionary_encode(),
            "bay": pa.array([bay for _, bay in places], pa.string()).dictionary_encode(),
            "flags": pa.array(np.where(taken.agrees, "", "count_mismatch")).dictionary_encode(),
        }
        self._flush()
        found.runs.append(pa.RecordBatch.from_arrays([columns[name] for name in RUN_SCHEMA.names], schema=RUN_SCHEMA))
        extend(found.shot_event, events.number[taken.shots])
        extend(found.shot_run, taken.shot_run + first)
        extend(found.shot_ts, events.ts[taken.shots])
        extend(found.impact_event, events.number[taken.impacts])
        extend(found.impact_run, taken.impact_run + first)
        extend(found.impact_ts, events.ts[taken.impacts])
        extend(found.impact_sensor, self._sensors_of(events, taken.impacts))
        numbers = events.number[runs.button[0] : runs.summary[-1] + 1]
        known = len(found.run_of_event)
        run_of_event = np.full(numbers[-1] + 1 - known, -1, np.int32)
        run_of_event[numbers - known] = np.where(taken.run_of_event < 0, -1, taken.run_of_event + first)
        extend(found.run_of_event, run_of_event)
        stray = np.bincount(events.kind[runs.button[0] + np.flatnonzero(taken.run_of_event < 0)], minlength=len(KINDS))
        found.orphans.update(shots=int(stray[SHOT]), impacts=int(stray[IMPACT]))

    def _sensors_of(self, events: Events, impacts: np.ndarray) -> np.ndarray:
        """Number of the sensor of each impact; sensors count in the order in which they are first heard."""
        device, position = (codes(column)[impacts] for column in (events.device_id, events.position))
        pair = device.astype(np.int64) * (len(events.position.dictionary) + 1) + position
        _, first, which = np.unique(pair, return_index=True, return_inverse=True)
        number = np.empty(len(first), np.int32)
        for index in np.argsort(first).tolist():
            place = impacts[first[index]]
            name = events.device_id[place].as_py() or events.position[place].as_py() or ""
            number[index] = self._sensors.setdefault(name, len(self._sensors))
        return number[which]

    def finish(self) -> Found:
        """Close what is still open, and return everything."""
        for key in sorted(self._open, key=lambda name: self._open[name].number):
            self._close(key, None, "unfinished")
        self._flush()
        self.found.runs = in_order(self.found.runs)
        self.found.sensors = list(self._sensors)
        return self.found

    def _button(self, event: Event) -> None:
        self._join(self._start(event), event)

    def _beep(self, event: Event) -> None:
        key = self._key(event)
        run = self._open.get(key)
        stale = run and run.beep is not None and event.ts - run.beep > _SAME_BEEP_US
        if run is None or run.shots or run.told or run.stop is not None or stale:
            run = self._start(event)
        if run.beep is None:
            run.beep = event.ts
        self._join(run, event)

    def _shot(self, event: Event) -> None:
        run = self._open.get(self._key(event))
        if run is None or run.stop is not None:
            self.found.orphans["shots"] += 1
            return
        run.shots.append((event.number, event.ts))
        self._join(run, event)

    def _told(self, event: Event) -> None:
        run = self._open.get(self._key(event))
        if run is None:
            return
        if event.shot_number is not None:
            run.told.setdefault(event.shot_number, (event.number, event.ts))
        self._join(run, event)

    def _impact(self, event: Event) -> None:
        run = self._run_of_sensor(event)
        if run is None:
            self.found.orphans["impacts"] += 1
            return
        run.impacts += 1
        run.last_impact = event.ts
        found = self.found
        found.impact_event.append(event.number)
        found.impact_run.append(run.number)
        found.impact_ts.append(event.ts)
        found.impact_sensor.append(self._sensors.setdefault(event.sensor, len(self._sensors)))
        self._join(run, event)

    def _stop(self, event: Event) -> None:
        run = self._open.get(self._key(event))
        if run is None:
            self.found.orphans["stops"] += 1
            return
        if run.stop is None:
            run.stop = event.ts
        self._join(run, event)

    def _summary(self, event: Event) -> None:
        key = self._key_of_summary(event)
        if key is None:
            self.found.orphans["summaries"] += 1
            return
        self._join(self._open[key], event)
        self._close(key, event, None)

    def _start(self, event: Event) -> _Run:
        key = self._key(event)
        if key in self._open:
            self._close(key, None, "restarted")
        run = _Run(self._opened, event.ts, event.device, event.device_id, event.position, last=event.ts)
        self._opened += 1
        # A run is known by the device that opened it, even when that stood in for an unnamed one.
        self._open[event.device_id or ""] = run
        return run

    def _key(self, event: Event) -> str:
        """Under which name the run of a timer event is open; some sources do not name the timer."""
        name = event.device_id or ""
        if name in self._open:
            return name
        if not name and len(self._open) == 1:
            return next(iter(self._open))
        return "" if "" in self._open else name

    def _key_of_summary(self, event: Event) -> str | None:
        candidates = list(self._open)
        if len(candidates) > 1:
            same_bay = [key for key in candidates if self._open[key].position == event.position]
            candidates = same_bay or candidates
        return max(candidates, key=lambda key: (self._open[key].stop or 0, self._open[key].number), default=None)

    def _run_of_sensor(self, event: Event) -> _Run | None:
        candidates = [run for run in self._open.values() if run.stop is None or event.ts <= run.stop + self._window]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        bay = self._bay(event.device_id)
        if bay is not None:
            of_bay = [run for run in candidates if (self._bay(run.device_id) or run.position) == bay]
            return max(of_bay, key=lambda run: run.number, default=None)
        chosen = max(candidates, key=lambda run: run.number)
        chosen.flags.add("bay_guessed")
        return chosen

    def _bay(self, device_id: str | None) -> str | None:
        device = self._devices.get(device_id or "")
        return device.bay if device else None

    def _join(self, run: _Run, event: Event) -> None:
        self._belongs(event.number, run)
        if event.ts < run.last - STEP_US:
            run.flags.add("clock_step")
        if event.ambiguous:
            run.flags.add("ambiguous_time")
        run.last = event.ts

    def _belongs(self, number: int, run: _Run) -> None:
        known = self.found.run_of_event
        if (skipped := number - len(known)) > 0:
            known.extend([-1] * skipped)
        known.append(run.number)

    def _close(self, key: str, summed_up: Event | None, why: str | None) -> None:
        run = self._open.pop(key)
        shots = run.shots or sorted(run.told.values())
        times: tuple[int, ...] = ()
        if shots:
            events, times = zip(*shots, strict=True)
            self.found.shot_event.extend(events)
            self.found.shot_run.extend([run.number] * len(shots))
            self.found.shot_ts.extend(times)
        said = summary(summed_up.details) if summed_up else None
        if said and said[1:] != (len(shots), run.impacts):
            run.flags.add("count_mismatch")
        if run.beep is None:
            run.flags.add("no_beep")
        if run.stop is None:
            run.flags.add("no_stop")
        completed = summed_up is not None or run.stop is not None
        if summed_up is None:
            run.flags.add("no_summary" if completed else why or "unfinished")
        end = summed_up.ts if summed_up else run.stop
        self._closed.append(
            (
                *(run.number, len(shots), run.impacts),
                *(run.start, run.beep, end, max(times, default=None), run.last_impact),
                _duration(run, end, said[0] if said else None),
                *("completed" if completed else "incomplete", run.device, run.device_id),
                *self._place(run.device_id, run.position),
                ";".join(sorted(run.flags)),
            )
        )
        if len(self._closed) >= 10_000:
            self._flush()

    def _place(self, device_id: str | None, position: str | None) -> tuple[str | None, str | None]:
        """Stage and bay of a timer."""
        device = self._devices.get(device_id or "")
        return (device.stage if device else None), (device.bay if device and device.bay else position)

    def _flush(self) -> None:
        if not self._closed:
            return
        columns = list(zip(*self._closed, strict=True))
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, RUN_SCHEMA, strict=True)]
        self.found.runs.append(pa.RecordBatch.from_arrays(arrays, schema=RUN_SCHEMA))
        self._closed = []


_STEPS = {
    "timer_start_button": RunBuilder._button,
    "timer_start_beep": RunBuilder._beep,
    "timer_stop_button": RunBuilder._stop,
    "string_summary": RunBuilder._summary,
    "timer_shot_detail": RunBuilder._told,
    "shot_detected": RunBuilder._shot,
    "impact_detected": RunBuilder._impact,
}


def _duration(run: _Run, end: int | None, string_time: float | None) -> float | None:
    """String Time in seconds, which counts from the button; else end minus start, if no clock was set between."""
    if string_time is not None:
        return string_time
    if end is None or end < run.start or "clock_step" in run.flags:
        return None
    return (end - run.start) / 1e6
