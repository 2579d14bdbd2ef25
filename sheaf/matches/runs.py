"""From events to runs: the state machine of each timer.

A button arms a run, the beep starts it, shots and impacts count, the stop button stops it and the
summary completes it. A new start closes what is still open; nothing that happened is dropped: what
belongs to no run is counted as orphan. Not here: which impact belongs to which shot (`correlate`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from sheaf.matches.manifest import Device
from sheaf.matches.run_events import COLUMNS, STEP_US, Event, Events
from sheaf.matches.vocabulary import summary

_SAME_BEEP_US = 60_000_000
_AT_ONCE = 8192

RUN_SCHEMA = pa.schema(
    [
        *((name, pa.int32()) for name in ("opened", "shots_detected", "impacts_detected")),
        *((name, pa.int64()) for name in ("start", "beep", "end", "last_shot", "last_impact")),
        ("duration_seconds", pa.float64()),
        *((name, pa.string()) for name in ("status", "start_device", "start_device_id", "stage", "bay", "flags")),
    ]
)


@dataclass
class Found:
    """What the state machine found; runs are numbered from 0 in the order they opened.

    All times are microseconds since 1970 UTC.
    """

    runs: list[pa.RecordBatch] = field(default_factory=list)
    orphans: Counter[str] = field(default_factory=Counter)
    sensors: list[str] = field(default_factory=list)
    run_of_event: "array[int]" = field(default_factory=lambda: array("i"))  # -1 for none; the last ones may be missing
    shot_event: "array[int]" = field(default_factory=lambda: array("q"))
    shot_run: "array[int]" = field(default_factory=lambda: array("i"))
    shot_ts: "array[int]" = field(default_factory=lambda: array("q"))
    shot_timer_s: "array[float]" = field(default_factory=lambda: array("d"))  # NaN where the timer says nothing
    impact_event: "array[int]" = field(default_factory=lambda: array("q"))
    impact_run: "array[int]" = field(default_factory=lambda: array("i"))
    impact_ts: "array[int]" = field(default_factory=lambda: array("q"))
    impact_sensor: "array[int]" = field(default_factory=lambda: array("i"))
    impact_magnitude: "array[float]" = field(default_factory=lambda: array("d"))


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
    shots: list[tuple[int, int, float | None]] = field(default_factory=list)  # event, time, timer's time
    told: dict[int, tuple[int, int, float | None]] = field(default_factory=dict)  # the same, by number in the text
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
        self._steps = {
            "timer_start_button": self._button,
            "timer_start_beep": self._beep,
            "shot_detected": self._shot,
            "timer_shot_detail": self._told,
            "impact_detected": self._impact,
            "timer_stop_button": self._stop,
            "string_summary": self._summary,
        }

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next events; `batch` has at least `COLUMNS`."""
        import pyarrow.compute as pc

        wanted = pc.is_in(batch.column("event_type"), pa.array(list(self._steps)))
        relevant = batch.select(COLUMNS) if pc.all(wanted).as_py() else batch.select(COLUMNS).filter(wanted)
        for start in range(0, relevant.num_rows, _AT_ONCE):
            events = Events(relevant.slice(start, _AT_ONCE))
            done = 0
            for place, event in events.turns:
                self._count(events, done, place)
                self._step(event)
                done = place + 1
            self._count(events, done, len(events))

    def _step(self, event: Event) -> None:
        self._steps[event.type](event)

    def _count(self, events: Events, start: int, end: int) -> None:
        """Take shots and impacts, all at once where it is plain which run they belong to."""
        if start == end:
            return
        run = self._only_run(events.timers)
        if run is None:
            for place in range(start, end):
                self._step(events[place])
            return
        run.shots += events.shots[events.shots_before[start] : events.shots_before[end]]
        hits = slice(events.impacts_before[start], events.impacts_before[end])
        if number := hits.stop - hits.start:
            found, sensors = self.found, self._sensors
            found.impact_event.extend(events.impact_number[hits])
            found.impact_run.extend([run.number] * number)
            found.impact_ts.extend(events.impact_ts[hits])
            found.impact_sensor.extend([sensors.setdefault(name, len(sensors)) for name in events.impact_sensor[hits]])
            found.impact_magnitude.extend(events.impact_magnitude[hits])
            run.impacts += number
            run.last_impact = events.impact_ts[hits.stop - 1]
        first, last = events.number[start], events.number[end - 1]
        if last - first == end - 1 - start:
            self._belongs(first, run, end - start)
        else:
            for number in events.number[start:end]:
                self._belongs(number, run)
        if events.ts[start] < run.last - STEP_US or events.steps_back(start, end):
            run.flags.add("clock_step")
        if events.ambiguous(start, end):
            run.flags.add("ambiguous_time")
        run.last = events.ts[end - 1]

    def _only_run(self, timers: set[str]) -> _Run | None:
        """The one run that is going on, when all shots can only be its own."""
        if len(self._open) != 1:
            return None
        ((key, run),) = self._open.items()
        return run if run.stop is None and (not key or timers <= {key, ""}) else None

    def finish(self) -> Found:
        """Close what is still open, and return everything."""
        for key in sorted(self._open, key=lambda name: self._open[name].number):
            self._close(key, None, "unfinished")
        self._flush()
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
        run.shots.append((event.number, event.ts, event.shot_time))
        self._join(run, event)

    def _told(self, event: Event) -> None:
        run = self._open.get(self._key(event))
        if run is None:
            return
        if event.shot_number is not None:
            run.told.setdefault(event.shot_number, (event.number, event.ts, event.shot_time))
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
        found.impact_magnitude.append(float("nan") if event.magnitude is None else event.magnitude)
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

    def _belongs(self, number: int, run: _Run, count: int = 1) -> None:
        known = self.found.run_of_event
        if (skipped := number - len(known)) > 0:
            known.extend([-1] * skipped)
        known.extend([run.number] * count)

    def _close(self, key: str, summed_up: Event | None, why: str | None) -> None:
        run = self._open.pop(key)
        shots = run.shots or sorted(run.told.values())
        times: tuple[int, ...] = ()
        if shots:
            events, times, timer_times = zip(*shots, strict=True)
            self.found.shot_event.extend(events)
            self.found.shot_run.extend([run.number] * len(shots))
            self.found.shot_ts.extend(times)
            self.found.shot_timer_s.extend(_timer_time(time, run.told, at) for at, time in enumerate(timer_times, 1))
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
                *self._place(run),
                ";".join(sorted(run.flags)),
            )
        )
        if len(self._closed) >= 10_000:
            self._flush()

    def _place(self, run: _Run) -> tuple[str | None, str | None]:
        device = self._devices.get(run.device_id or "")
        return (device.stage if device else None), (device.bay if device and device.bay else run.position)

    def _flush(self) -> None:
        columns = list(zip(*self._closed, strict=True)) or [() for _ in RUN_SCHEMA]
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, RUN_SCHEMA, strict=True)]
        self.found.runs.append(pa.RecordBatch.from_arrays(arrays, schema=RUN_SCHEMA))
        self._closed = []


def _timer_time(said: float | None, told: Mapping[int, tuple[int, int, float | None]], number: int) -> float:
    """The timer's time of a shot, from the shot itself or from the text about it; NaN without either."""
    if said is None and number in told:
        said = told[number][2]
    return float("nan") if said is None else said


def _duration(run: _Run, end: int | None, string_time: float | None) -> float | None:
    """String Time in seconds, which counts from the button; else end minus start, if no clock was set between."""
    if string_time is not None:
        return string_time
    if end is None or end < run.start or "clock_step" in run.flags:
        return None
    return (end - run.start) / 1e6
