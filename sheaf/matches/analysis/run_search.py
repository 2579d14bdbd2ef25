"""From events to runs: the state machine of each timer.

A button arms a run, the beep starts it, shots and impacts count, the stop button stops it and the
summary completes it. A new start closes what is still open, and so does a shot whose number or time can only be of
another string (`run_shots`). Shots without a start are a run of their own when a stop or a summary says that there was
one; what belongs to no run is counted as orphan. Not here: clocks that were set (`run_clock`), which impact belongs to
which shot (`correlate`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from sheaf.matches.analysis import run_search_clean
from sheaf.matches.analysis.bays import Owner
from sheaf.matches.analysis.run_clock import Repair, is_set, steps
from sheaf.matches.analysis.run_columns import RUN_SCHEMA, Found, extend
from sheaf.matches.analysis.run_events import IMPACT, LONGEST_US, SHOT, Event, Events, codes
from sheaf.matches.analysis.run_search_clean import CleanRuns
from sheaf.matches.analysis.run_shots import Fit, Shot, Shots
from sheaf.matches.readers.devices import Device
from sheaf.matches.vocabulary import number, summary

_SAME_BEEP_US = 60_000_000
_SAME_STRING_US = 60_000_000
"""Shots without a start that are further apart than this are not of one string."""
_GOES_ON_US = 20_000_000
"""Of two runs the one without a shot for so long is over, although no stop was heard."""
_SLACK_US = 3_000_000
_MOST_STRAYS = 10_000
_COUNTDOWN = re.compile(r"countdown: *([\d.]+) *s", re.IGNORECASE)


@dataclass(slots=True)
class _Run:
    number: int
    start: int
    device: str | None
    device_id: str | None
    position: str | None
    behind: int | None = None  # as its first event has it
    beep: tuple[int, int] | None = None  # event and time
    stop: int | None = None
    summed_up: tuple[int, str | None] | None = None  # time and text of its summary
    countdown: int | None = None
    shots: Shots = field(default_factory=Shots)
    told: Shots = field(default_factory=Shots)  # the same, by the numbers in the text
    impacts: list[tuple[int, int, int]] = field(default_factory=list)  # event, time and sensor
    joined: list[tuple[int, int]] = field(default_factory=list)  # all its events: number and time
    flags: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Stray:
    """A shot or an impact outside of any run, which may turn out to be of one whose start was lost."""

    event: Event
    impact: bool = False


class RunBuilder:
    """Takes the events of a match in order and finds its runs.

    Args:
        scratch: a folder for what is found.
        devices: the match's devices by address; they say which sensor belongs to which timer.
        window_us: impacts this long after the stop still belong to the run.
        min_split_us: a shot without a number that follows another sooner than this is its echo.
        timer_of: of sensors whose bay no device list tells, the timer that their impacts follow; empty where that
            cannot be told.
        from_zero: timers that number their shots from 0.
    """

    def __init__(
        self,
        scratch: Path,
        devices: Mapping[str, Device],
        window_us: int,
        min_split_us: int = 60_000,
        timer_of: Mapping[str, Owner] | None = None,
        from_zero: Set[str] = frozenset(),
    ) -> None:
        self.found = Found(scratch)
        self._devices = devices
        self._window = window_us
        self._min_split = min_split_us
        self._timer_of = timer_of
        self._from_zero = from_zero
        self._open: dict[str, _Run] = {}
        self._last: dict[str, _Run] = {}
        self._strays: list[_Stray] = []
        self._sensors: dict[str, int] = {}
        self._closed: list[dict[str, object]] = []
        self._opened = 0
        self._latest = 0

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next events; `batch` has at least `COLUMNS`."""
        events = Events(batch, self._latest, self._from_zero)
        self._latest = int(events.latest[-1]) if len(events) else self._latest
        if self._timer_of is not None:  # whose an impact is has to be asked one by one
            self._step(events, 0, len(events))
            return
        clean = run_search_clean.find(events, self._window, self._min_split)
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
        taken, first, found = run_search_clean.take(events, runs), self._opened, self.found
        self._forget_strays()
        self._opened += len(runs)
        opening = pa.array(runs.button)
        device, device_id, position = (
            column.take(opening) for column in (events.device, events.device_id, events.position)
        )
        places = [self._place(*both) for both in zip(device_id.to_pylist(), position.to_pylist(), strict=True)]
        columns = {
            "opened": pa.array(np.arange(first, self._opened, dtype=np.int32)),
            **taken.closed,
            "shots_doubled": pa.array(np.zeros(len(runs), np.int32)),
            "shots_lost": pa.array(np.zeros(len(runs), np.int32)),
            "status": pa.repeat("completed", len(runs)).dictionary_encode(),
            "start_device": device,
            "start_device_id": device_id,
            "stage": pa.array([stage for stage, _ in places], pa.string()).dictionary_encode(),
            "bay": pa.array([bay for _, bay in places], pa.string()).dictionary_encode(),
            "flags": pa.array(np.where(taken.agrees, "", "count_mismatch")).dictionary_encode(),
        }
        self._flush()
        for name, at in dict(zip(device_id.to_pylist(), range(len(runs)), strict=True)).items():
            self._last[name or ""] = self._as_closed(events, runs, at)
        shots, impacts = taken.shots, taken.impacts
        found.note(
            (events.number[shots], taken.shot_run + first, events.ts[shots]),
            (
                *(events.number[impacts], taken.impact_run + first, events.ts[impacts]),
                self._sensors_of(events, impacts),
            ),
        )
        found.close(pa.RecordBatch.from_arrays([columns[name] for name in RUN_SCHEMA.names], schema=RUN_SCHEMA))
        numbers = events.number[runs.button[0] : runs.summary[-1] + 1]
        known = len(found.run_of_event)
        run_of_event = np.full(numbers[-1] + 1 - known, -1, np.int32)
        run_of_event[numbers - known] = np.where(taken.run_of_event < 0, -1, taken.run_of_event + first)
        extend(found.run_of_event, run_of_event)
        stray = runs.button[0] + np.flatnonzero(taken.run_of_event < 0)
        found.orphans["shots"] += int((events.kind[stray] == SHOT).sum())
        found.orphan_impacts.update(_sensor_names(events, stray[events.kind[stray] == IMPACT]))

    def _as_closed(self, events: Events, runs: CleanRuns, at: int) -> _Run:
        """A clean run just noted, as it is remembered once it is closed."""
        place, ended = runs.button[at], runs.summary[at]
        run = _Run(self._opened - len(runs) + at, int(events.ts[place]), None, events.device_id[place].as_py(), None)
        run.stop = int(events.ts[runs.stop[at]])
        run.summed_up = int(events.ts[ended]), events.details[ended].as_py()
        return run

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
        self._forget_strays()
        self._flush()
        self.found.sensors = list(self._sensors)
        self.found.finish()
        return self.found

    def _button(self, event: Event) -> None:
        run = self._open.get(self._key(event))
        if run is None or run.stop is not None or run.shots.heard or run.told.heard or not _soon(run.start, event):
            run = self._start(event)
        if told := _COUNTDOWN.search(event.details or ""):
            run.countdown = round((number(told[1]) or 0) * 1e6) or None
        self._join(run, event)

    def _beep(self, event: Event) -> None:
        key = self._key(event)
        run = self._open.get(key)
        stale = run and run.beep is not None and event.ts - run.beep[1] > _SAME_BEEP_US
        if run is None or run.shots.heard or run.told.heard or run.stop is not None or stale:
            run = self._start(event)
        if run.beep is None:
            run.beep = (event.number, event.ts)
        self._join(run, event)

    def _shot(self, event: Event) -> None:
        key = self._key(event)
        if event.shot_number:
            self._numbered(key, event)
            return
        run = self._open.get(key)
        if run is None or run.stop is not None:
            self._stray(event)
        else:
            self._add(run, event)

    def _add(self, run: _Run, event: Event) -> None:
        if not run.shots.add(event, self._min_split):
            run.flags.add("double_shots")
        self._join(run, event)

    def _numbered(self, key: str, event: Event) -> None:
        """A shot that the timer gave a number: of the open run, told again, or of a run whose start was lost."""
        run, before = self._open.get(key), self._last.get(key)
        unknown = run is None or (run.beep is None and not run.shots.heard)
        if unknown and before and before.shots.repeats(event):
            self._stray(event)
            return
        fit = run.shots.fit(event, _beep_of(run)) if run else Fit.OTHER
        if run is not None and fit is Fit.DOUBLE:
            run.shots.doubled += 1
            run.flags.add("double_shots")
            self._join(run, event)
        elif run is not None and fit is Fit.NEXT and (run.stop is None or event.ts <= run.stop + _SLACK_US):
            self._add(run, event)
        else:
            self._add(self._start_unheard(event), event)

    def _stray(self, event: Event, *, impact: bool = False) -> None:
        self._strays.append(_Stray(event, impact))
        if len(self._strays) > _MOST_STRAYS:
            self._forget_strays()

    def _start_unheard(self, event: Event) -> _Run:
        """A run whose start was lost: its shots are numbered, and the timer's time says when its beep was."""
        run = self._start(event)
        if event.shot_time_s is not None and 0 < event.shot_time_s < LONGEST_US / 1e6:
            run.start = event.ts - round(event.shot_time_s * 1e6)
            run.beep = (event.number, run.start)
        run.flags.add("no_start")
        return run

    def _told(self, event: Event) -> None:
        key = self._key(event)
        run = self._open.get(key)
        if not event.shot_number:
            if run is not None:
                self._join(run, event)
            return
        if run is None:
            return
        fit = run.told.fit(event, _beep_of(run))
        if fit is Fit.OTHER and not run.shots.heard:
            run, fit = self._start_unheard(event), Fit.NEXT
        if fit is Fit.NEXT:
            run.told.add(event, 0)
        self._join(run, event)

    def _impact(self, event: Event) -> None:
        run = self._run_of_sensor(event)
        if run is None:
            self._stray(event, impact=True)
        else:
            self._hit(run, event)

    def _hit(self, run: _Run, event: Event) -> None:
        sensor = self._sensors.setdefault(event.sensor, len(self._sensors))
        run.impacts.append((event.number, event.ts, sensor))
        self._join(run, event)

    def _stop(self, event: Event) -> None:
        key = self._key(event)
        run = self._open.get(key)
        last = self._last.get(key)
        if run is None and last and last.stop is not None and _soon(last.stop, event):
            self._belongs(event.number, last)
            return
        if run is None or (run.stop is not None and self._shots_astray(event)):
            run = self._from_strays(event, None)
        if run is None:
            self.found.orphans["stops"] += 1
            return
        run.shots.total = max(run.shots.total, event.timer_shots or 0)
        if run.stop is None:
            run.stop = event.ts
        self._join(run, event)

    def _summary(self, event: Event) -> None:
        if (last := self._summed_up_before(event)) is not None:
            self._belongs(event.number, last)
            return
        key = self._key_of_summary(event)
        said = summary(event.details)
        lasted = round(said[0] * 1e6) if said and said[0] and said[0] * 1e6 <= LONGEST_US else None
        run = self._open[key] if key is not None else None
        late = run is not None and run.stop is not None and event.ts - run.stop > _SLACK_US
        if run is None or (late and self._shots_astray(event)):
            run = self._from_strays(event, lasted)
            if run is None:
                self.found.orphans["summaries"] += 1
                return
        elif lasted is not None and said is not None:
            run = self._of_summary(run, event, lasted, said[1])
        key = next(name for name, one in self._open.items() if one is run)
        if lasted is not None and "no_start" in run.flags:
            run.start = min(run.start, event.ts - lasted)
        self._join(run, event)
        self._close(key, event, None)

    def _summed_up_before(self, event: Event) -> _Run | None:
        """The closed run whose summary comes again; none while a stopped one waits for its own."""
        if any(run.stop is not None for run in self._open.values()):
            return None
        same = (run for run in self._last.values() if (last := run.summed_up) and last[1] == event.details)
        soon = (run for run in same if run.summed_up and _soon(run.summed_up[0], event))
        return max(soon, key=lambda run: run.number, default=None)

    def _of_summary(self, run: _Run, event: Event, lasted: int, shots: int) -> _Run:
        """The run that a summary sums up: not what came before its String Time began, if its shots all came after."""
        heard, began = run.shots.heard, event.ts - lasted - _SLACK_US
        later = [shot for shot in heard if shot.ts >= began]
        if run.start >= began or not shots or len(later) != shots or len(later) == len(heard):
            return run
        # Two strings, of which the first has lost its end and the second its start.
        return self._divide(run, later[0], event.ts - lasted)

    def _divide(self, run: _Run, first: Shot, start: int) -> _Run:
        """Give the shots from one on, and what came with them, to a run of their own."""
        key = next(name for name, one in self._open.items() if one is run)
        cut = next(place for place, (event, _) in enumerate(run.joined) if event == first.event)
        # An impact may be heard before its shot.
        while cut > 1 and run.joined[cut - 1][1] >= start and run.joined[cut - 1][1] >= first.ts - _SLACK_US:
            cut -= 1
        later, edge = run.joined[cut:], run.joined[cut][0]
        shots = [shot for shot in run.shots.heard if shot.event >= edge]
        impacts = [impact for impact in run.impacts if impact[0] >= edge]
        stop = run.stop if run.stop is not None and run.stop >= first.ts else None
        run.joined = run.joined[:cut]
        run.shots.keep([shot for shot in run.shots.heard if shot.event < edge])
        run.impacts = [impact for impact in run.impacts if impact[0] < edge]
        run.stop = None if stop is not None else run.stop
        self._close(key, None, "restarted")
        second = _Run(
            self._opened, start, run.device, run.device_id, run.position, run.behind, stop=stop, impacts=impacts
        )
        self._opened += 1
        second.joined = later
        second.shots.keep(shots)
        second.flags.add("no_start")
        for event, _ in later:
            self.found.run_of_event[event] = second.number
        self._open[key] = second
        return second

    def _shots_astray(self, event: Event) -> bool:
        return any(not stray.impact and self._same_timer(stray.event, event) for stray in self._strays)

    def _same_timer(self, shot: Event, event: Event) -> bool:
        if event.device != "Timer":  # a summary names the bridge
            return shot.position == event.position or shot.position is None or event.position is None
        return not shot.device_id or not event.device_id or shot.device_id == event.device_id

    def _from_strays(self, event: Event, lasted: int | None) -> _Run | None:
        """A run whose start was lost, of the shots that no other has, when its stop or summary comes."""
        mine = [
            stray
            for stray in self._strays
            if stray.impact or (not stray.event.shot_number and self._same_timer(stray.event, event))
        ]
        times = [stray.event.ts for stray in mine if not stray.impact]
        if lasted is not None:
            first = min((ts for ts in times if ts >= event.ts - lasted - _SLACK_US), default=None)
        else:
            first = None
            for ts in reversed(times):
                if (first if first is not None else event.ts) - ts > _SAME_STRING_US:
                    break
                first = ts
        if first is None:
            return None
        shots = [stray for stray in mine if stray.event.ts >= first - _SLACK_US]
        self._strays = [stray for stray in self._strays if stray not in shots]
        run = self._start(next(stray.event for stray in shots if not stray.impact))
        run.flags.add("no_start")
        for stray in shots:
            if stray.impact:
                self._hit(run, stray.event)
            else:
                self._add(run, stray.event)
        return run

    def _forget_strays(self) -> None:
        """What no run wanted is of none."""
        hits = [stray.event.sensor for stray in self._strays if stray.impact]
        self.found.orphans["shots"] += len(self._strays) - len(hits)
        self.found.orphan_impacts.update(hits)
        self._strays = []

    def _start(self, event: Event) -> _Run:
        key = self._key(event)
        if key in self._open:
            self._close(key, None, "restarted")
        if event.type in ("timer_start_button", "timer_start_beep") and not self._open:
            self._forget_strays()
        run = _Run(self._opened, event.ts, event.device, event.device_id, event.position, event.behind)
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
        if len(candidates) > 1:  # one of them may have lost its stop
            candidates = [run for run in candidates if _goes_on(run, event)] or candidates
        if len(candidates) < 2 and self._timer_of is None:
            return candidates[0] if candidates else None
        bay = self._bay(event.device_id)
        if bay is not None:
            of_bay = [run for run in candidates if _same_bay(self._bay(run.device_id) or run.position, bay)]
            return max(of_bay, key=lambda run: run.number, default=None)
        timer, first, last = (self._timer_of or {}).get(event.sensor, ("", 0, 0))
        # A timer that is in use may have lost its start; one that is not was replaced.
        if timer and (len(candidates) > 1 or first - self._window <= event.ts <= last + self._window):
            return next((run for run in candidates if run.device_id == timer), None)
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        for run in candidates:
            run.flags.add("bay_unknown")
        return None

    def _bay(self, device_id: str | None) -> str | None:
        device = self._devices.get(device_id or "")
        return device.bay if device else None

    def _join(self, run: _Run, event: Event) -> None:
        self._belongs(event.number, run)
        if event.ambiguous:
            run.flags.add("ambiguous_time")
        run.joined.append((event.number, event.ts))

    def _belongs(self, number: int, run: _Run) -> None:
        known = self.found.run_of_event
        if (skipped := number + 1 - len(known)) > 0:
            known.extend([-1] * skipped)
        known[number] = run.number

    def _close(self, key: str, summed_up: Event | None, why: str | None) -> None:
        run = self._open.pop(key)
        self._last[key] = run
        run.summed_up = (summed_up.ts, summed_up.details) if summed_up else None
        said = summary(summed_up.details) if summed_up else None
        string_time = said[0] if said and said[0] is not None and said[0] * 1e6 <= LONGEST_US else None
        shots = run.shots.heard or run.told.heard
        by_number = all(shot.number is not None for shot in shots)
        shots = sorted(shots, key=lambda shot: (shot.number if by_number else 0, shot.event))
        repair = self._repair(run, shots, string_time)
        lost = max(run.shots.lost, run.told.lost, len(run.told.heard) - len(shots))
        times = repair.shots(shots)
        hits = [repair.time(event, ts) for event, ts, _ in run.impacts]
        self._note(run, shots, times, hits)
        if said and (string_time is None or said[1:] != (len(shots), len(hits))):
            run.flags.add("count_mismatch")
        if lost:
            run.flags |= {"count_mismatch", "lost_shots"}
        if string_time is None and not repair.steps and _paused(run.beep, shots):
            run.flags.add("long_pause")
        if run.beep is None:
            run.flags.add("no_beep")
        if run.stop is None:
            run.flags.add("no_stop")
        completed = summed_up is not None or run.stop is not None
        if summed_up is None:
            run.flags.add("no_summary" if completed else why or "unfinished")
        first, last = (run.joined[0][0], run.joined[-1][0]) if run.joined else (0, 0)
        start = repair.time(first, run.start)
        end = summed_up.ts if summed_up else run.stop
        end = None if end is None else repair.time(last, end)
        if not is_set(start):
            run.flags |= {"clock_not_set", "clock_step"}
        stage, bay = self._place(run.device_id, run.position)
        self._closed.append(
            {
                "opened": run.number,
                "shots_detected": len(shots),
                "shots_doubled": run.shots.doubled,
                "shots_lost": lost,
                "impacts_detected": len(hits),
                "order": start if run.behind is None else run.behind,
                "start": start,
                "beep": run.beep and repair.time(*run.beep),
                "end": end,
                "last_shot": max(times, default=None),
                "last_impact": max(hits, default=None),
                "duration_seconds": _duration(start, end, string_time, sure=not repair.steps or bool(repair)),
                "status": "completed" if completed else "incomplete",
                "start_device": run.device,
                "start_device_id": run.device_id,
                "stage": stage,
                "bay": bay,
                "flags": ";".join(sorted(run.flags)),
            }
        )
        if len(self._closed) >= 10_000:
            self._flush()

    def _repair(self, run: _Run, shots: list[Shot], string_time: float | None) -> Repair:
        heard = "no_start" not in run.flags
        lasted = round(string_time * 1e6) if heard and string_time else None
        beep = run.beep if heard else None
        found = steps(run.joined, shots, beep, lasted, run.countdown) if run.joined else []
        if found:
            run.flags.add("clock_step")
        return Repair(found, run.start)

    def _note(self, run: _Run, shots: list[Shot], times: list[int], hits: list[int]) -> None:
        """Note the shots and impacts of a run, and where their times are others than they were."""
        before = [(shot.event, shot.ts) for shot in shots] + [(event, ts) for event, ts, _ in run.impacts]
        for (event, was), ts in zip(before, times + hits, strict=True):
            if ts != was:
                self.found.moved[event] = ts
        self.found.note(
            ([shot.event for shot in shots], [run.number] * len(shots), times),
            (
                *([event for event, _, _ in run.impacts], [run.number] * len(hits), hits),
                [sensor for _, _, sensor in run.impacts],
            ),
        )

    def _place(self, device_id: str | None, position: str | None) -> tuple[str | None, str | None]:
        """Stage and bay of a timer."""
        device = self._devices.get(device_id or "")
        return (device.stage if device else None), (device.bay if device and device.bay else position)

    def _flush(self) -> None:
        if not self._closed:
            return
        arrays = [pa.array([row[kind.name] for row in self._closed], kind.type) for kind in RUN_SCHEMA]
        self.found.close(pa.RecordBatch.from_arrays(arrays, schema=RUN_SCHEMA))
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


def _same_bay(one: str | None, other: str) -> bool:
    """Logs say `Bay 1` where people write `1`; who says nothing may be anywhere."""
    if one is None:
        return True
    return one.casefold().removeprefix("bay").strip() == other.casefold().removeprefix("bay").strip()


def _soon(ts: int, event: Event) -> bool:
    """Whether an event comes so soon after another that a radio may have brought that one again."""
    return abs(event.ts - ts) <= _SLACK_US


def _sensor_names(events: Events, impacts: np.ndarray) -> list[str]:
    places = pa.array(impacts)
    pairs = (column.take(places).to_pylist() for column in (events.device_id, events.position))
    return [device or position or "" for device, position in zip(*pairs, strict=True)]


def _paused(beep: tuple[int, int] | None, shots: list[Shot]) -> bool:
    """Whether shots are further apart than those of one string are, and no timer's own time says that they were."""
    times = [*([beep[1]] if beep else []), *(shot.ts for shot in shots if shot.time is None)]
    return any(after - before > _SAME_STRING_US for before, after in pairwise(times))


def _goes_on(run: _Run, event: Event) -> bool:
    """Whether a run was heard so lately that an event may still be of its string."""
    last = run.shots.heard[-1].ts if run.shots.heard else run.beep[1] if run.beep else run.start
    return event.ts - last <= _GOES_ON_US


def _beep_of(run: _Run) -> int | None:
    return run.beep[1] if run.beep else None


def _duration(start: int, end: int | None, string_time: float | None, *, sure: bool) -> float | None:
    """String Time in seconds, which counts from the button; else end minus start, if that is known by one clock."""
    if string_time is not None:
        return string_time
    if end is None or end < start or not sure:
        return None
    return (end - start) / 1e6
