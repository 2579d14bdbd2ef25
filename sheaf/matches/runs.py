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
from sheaf.matches.vocabulary import summary

COLUMNS = (
    *("event_no", "ts", "event_type", "device", "device_id", "device_position", "details"),
    *("shot_number", "shot_time_s", "magnitude", "ambiguous_time"),
)
_STEP_US = 2_000_000
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


@dataclass(slots=True)
class _Event:
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
        self._count = 0
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

        relevant = batch.select(COLUMNS).filter(pc.is_in(batch.column("event_type"), pa.array(list(self._steps))))
        for start in range(0, relevant.num_rows, _AT_ONCE):
            columns = relevant.slice(start, _AT_ONCE).columns
            columns[1] = columns[1].cast(pa.int64())
            for values in zip(*(column.to_pylist() for column in columns), strict=True):
                event = _Event(*values)
                self._steps[event.type](event)

    def finish(self) -> Found:
        """Close what is still open, and return everything."""
        for key in sorted(self._open, key=lambda name: self._open[name].number):
            self._close(key, None, "unfinished")
        self._flush()
        self.found.sensors = list(self._sensors)
        return self.found

    def _button(self, event: _Event) -> None:
        self._join(self._start(event), event)

    def _beep(self, event: _Event) -> None:
        key = self._key(event)
        run = self._open.get(key)
        stale = run and run.beep is not None and event.ts - run.beep > _SAME_BEEP_US
        if run is None or run.shots or run.told or run.stop is not None or stale:
            run = self._start(event)
        if run.beep is None:
            run.beep = event.ts
        self._join(run, event)

    def _shot(self, event: _Event) -> None:
        run = self._open.get(self._key(event))
        if run is None or run.stop is not None:
            self.found.orphans["shots"] += 1
            return
        run.shots.append((event.number, event.ts, event.shot_time))
        self._join(run, event)

    def _told(self, event: _Event) -> None:
        run = self._open.get(self._key(event))
        if run is None:
            return
        if event.shot_number is not None:
            run.told.setdefault(event.shot_number, (event.number, event.ts, event.shot_time))
        self._join(run, event)

    def _impact(self, event: _Event) -> None:
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
        sensor = event.device_id or event.position or ""
        found.impact_sensor.append(self._sensors.setdefault(sensor, len(self._sensors)))
        found.impact_magnitude.append(float("nan") if event.magnitude is None else event.magnitude)
        self._join(run, event)

    def _stop(self, event: _Event) -> None:
        run = self._open.get(self._key(event))
        if run is None:
            self.found.orphans["stops"] += 1
            return
        if run.stop is None:
            run.stop = event.ts
        self._join(run, event)

    def _summary(self, event: _Event) -> None:
        key = self._key_of_summary(event)
        if key is None:
            self.found.orphans["summaries"] += 1
            return
        self._join(self._open[key], event)
        self._close(key, event, None)

    def _start(self, event: _Event) -> _Run:
        key = self._key(event)
        if key in self._open:
            self._close(key, None, "restarted")
        run = _Run(self._count, event.ts, event.device, event.device_id, event.position, last=event.ts)
        self._count += 1
        # A run is known by the device that opened it, even when that stood in for an unnamed one.
        self._open[event.device_id or ""] = run
        return run

    def _key(self, event: _Event) -> str:
        """Under which name the run of a timer event is open; some sources do not name the timer."""
        name = event.device_id or ""
        if name in self._open:
            return name
        if not name and len(self._open) == 1:
            return next(iter(self._open))
        return "" if "" in self._open else name

    def _key_of_summary(self, event: _Event) -> str | None:
        candidates = list(self._open)
        if len(candidates) > 1:
            same_bay = [key for key in candidates if self._open[key].position == event.position]
            candidates = same_bay or candidates
        return max(candidates, key=lambda key: (self._open[key].stop or 0, self._open[key].number), default=None)

    def _run_of_sensor(self, event: _Event) -> _Run | None:
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

    def _join(self, run: _Run, event: _Event) -> None:
        known = self.found.run_of_event
        if (skipped := event.number - len(known)) > 0:
            known.extend([-1] * skipped)
        known.append(run.number)
        if event.ts < run.last - _STEP_US:
            run.flags.add("clock_step")
        if event.ambiguous:
            run.flags.add("ambiguous_time")
        run.last = event.ts

    def _close(self, key: str, summed_up: _Event | None, why: str | None) -> None:
        run = self._open.pop(key)
        shots = run.shots or sorted(run.told.values())
        for index, (number, ts, timer_time) in enumerate(shots):
            told = run.told.get(index + 1)
            time = timer_time if timer_time is not None else told[2] if told else None
            self.found.shot_event.append(number)
            self.found.shot_run.append(run.number)
            self.found.shot_ts.append(ts)
            self.found.shot_timer_s.append(float("nan") if time is None else time)
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
                *(run.start, run.beep, end, max((ts for _, ts, _ in shots), default=None), run.last_impact),
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


def _duration(run: _Run, end: int | None, string_time: float | None) -> float | None:
    """String Time in seconds, which counts from the button; else end minus start, if no clock was set between."""
    if string_time is not None:
        return string_time
    if end is None or end < run.start or "clock_step" in run.flags:
        return None
    return (end - run.start) / 1e6
