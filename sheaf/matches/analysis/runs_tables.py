"""Runs and sensor delays of one match, and which run each event belongs to, computed from its events.

One pass reads the events; run rows need the correlation, so both are computed and written together. What is found lies
aside meanwhile; what is held are a few numbers for each run and impact, and the run of each event.
A pure function of the tables that `ingest` wrote and the settings. Not here: the tables of shots and impacts (`shots`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.ahead import ahead
from sheaf.matches import schema
from sheaf.matches.analysis import bays, numbering, outside
from sheaf.matches.analysis.aside import Aside
from sheaf.matches.analysis.correlate import Assigned, Impacts, Interval, Shots, correlate, share_interval
from sheaf.matches.analysis.run_clock import NOT_SET_US, YEARS_US
from sheaf.matches.analysis.run_columns import Found
from sheaf.matches.analysis.run_events import COLUMNS, LONGEST_US, STEP_US, TEXTS
from sheaf.matches.analysis.run_search import RunBuilder
from sheaf.matches.readers import devices
from sheaf.matches.readers.clocks import BEYOND_US
from sheaf.matches.readers.devices import Device
from sheaf.matches.readers.match_yaml import Manifest, Squad
from sheaf.matches.settings import Correlation
from sheaf.report import Report
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.table import UTC_TIME, arrow_type
from sheaf.tables.work import Work

_PART = 32 * 1024
_KEPT = 8
"""Batches after which free memory goes back: it lies in pieces, between what is found."""
_OF_EVENT = pa.schema(
    [
        *(("event", pa.int32()), ("shot_no", pa.int32()), ("split_s", pa.float64()), ("delay_us", pa.int32())),
        ("matched", pa.bool_()),
    ]
)
_NAMED = 5
_SILENT = 0.15
_FALSE = 0.2


def build_runs(work: Work) -> Report:
    """Find the runs of a match and correlate shots with impacts.

    Args:
        work: its settings say how impacts are assigned where `match.yaml` does not.

    Returns:
        Counts (`runs`, `completed`, `incomplete`, `shots`, `impacts`, `correlated`, `orphan_shots`,
        `orphan_impacts`, `orphan_stops`, `orphan_summaries`, `count_mismatches`, `offset_fallbacks`,
        `shots_doubled`, `shots_lost`, `clock_steps`), a preview of the run table.
    """
    manifest = load_manifest(work.tables)
    correlation = manifest.correlation or work.settings.correlation
    known = devices.resolve((), manifest.devices).devices
    timer_of = bays.timer_of_sensors(work.tables, known, correlation)
    min_split = manifest.min_split_ms if manifest.min_split_ms is not None else work.settings.min_split_ms
    window_us, min_split_us = round(correlation.window_ms * 1000), round(min_split * 1000)
    from_zero = numbering.from_zero(work.tables)
    builder = RunBuilder(work.scratch, known, window_us, min_split_us, timer_of, from_zero)
    events = 0
    for number, batch in enumerate(ahead(work.tables.batches(schema.EVENTS, COLUMNS, TEXTS))):
        builder.feed(batch)
        events += batch.num_rows
        if number % _KEPT == 0:
            memory.give_back()
    found = builder.finish()
    memory.give_back()
    result = _Result(work.scratch, found, known, events, correlation)
    squad = _Squads(manifest.squad)
    work.write(schema.RUNS, result.runs(squad))
    memory.give_back()
    counts, sensors = result.counts(), result.sensors()
    warnings = [*_warnings(counts, manifest.squad, squad), *_of_sensors(sensors, timer_of)]
    warnings += outside.warnings(work.tables, result.outside(correlation.min_pairs), result.start)
    pending = work.tables.row(schema.MATCH, ["pending"])["pending"]
    if pending or result.unfinished:
        warnings.append(
            "The logs end within a line or a run: the match may still go on, and its results are provisional."
        )
    work.write(schema.TOTALS, from_rows(schema.TOTALS, [{**counts, "warnings": warnings}]))
    work.write(schema.SENSORS, sensors)
    work.write(schema.EVENT_RUNS, result.event_runs())
    return _report(work.tables, counts, warnings)


def load_manifest(tables: Tables) -> Manifest:
    """The manifest the match was read with."""
    row = tables.read(schema.MATCH, ["manifest"])
    return Manifest.model_validate_json(row["manifest"][0].as_py())


class _Result:
    """The analysis, given out table by table.

    `number[i]` is the final number of the run that opened as the i-th: from 1 by start time, and where a clock was set
    back in the order of events. What else is held of runs is in the order in which they opened.
    """

    def __init__(
        self, scratch: Path, found: Found, known: Mapping[str, Device], events: int, settings: Correlation
    ) -> None:
        self.found, self.known, self.events_count = found, known, events
        order, start, self._timer = self._of_runs()
        self.start = start
        self.number = np.empty(len(start), np.int32)
        self.number[np.argsort(order, kind="stable")] = np.arange(1, len(start) + 1)
        self._of_other_years = _of_other_years(start, start)
        self._set_back = (order > start) & ~_of_other_years(start, order)
        self.correlated = correlate(_Parts(found), len(found.sensors), settings)
        memory.give_back()
        self._contested = np.zeros(len(start), bool)
        self._contested[self.correlated.contested] = True
        self._totals: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()
        self._matched, self._first = np.zeros(len(start), np.int32), np.full(len(start), np.nan)
        self._median = np.full(len(start), np.nan)
        self._has_shot = np.zeros(len(start), bool)
        self._answered = np.zeros(len(found.sensors), np.int64)
        self._timers: set[tuple[int, int]] = set()
        self._of_events = Aside(scratch, "of_events", _OF_EVENT)
        for shots, impacts, assigned in zip(found.shots, found.impacts, self.correlated.assigned, strict=True):
            self._settle(shots, impacts, assigned)
        # Without a sensor nobody can know whether a shot hit.
        self.sensed = bool(self._totals["impacts"]) or bool(found.orphan_impacts)

    def _of_runs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By what each run is numbered, when it began, and a number for its timer."""
        count = sum(part.num_rows for part in self.found.runs)
        order, start, timer = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int32)
        numbers: dict[str, int] = {}
        for part in self.found.runs:
            opened, names = part["opened"].to_numpy(), part["start_device_id"].combine_chunks()
            order[opened], start[opened] = part["order"].to_numpy(), part["start"].to_numpy()
            of_names = [numbers.setdefault(name or "", len(numbers)) for name in [*names.dictionary.to_pylist(), ""]]
            timer[opened] = np.array(of_names)[names.indices.fill_null(-1).to_numpy()]
        return order, start, timer

    def _settle(self, shots: pa.Table, impacts: pa.Table, assigned: Assigned) -> None:
        """Note what the assignment says of some runs and their events."""
        run, ts = shots["run"].to_numpy(), shots["ts"].to_numpy()
        impact_run, sensor = impacts["run"].to_numpy(), impacts["sensor"].to_numpy()
        hit = assigned.hit
        impact_of_shot = np.full(len(run), -1, np.int32)
        impact_of_shot[assigned.shot_of_impact[hit]] = np.flatnonzero(hit)
        self._totals.update(shots=len(run), impacts=len(hit), correlated=int(hit.sum()))
        # The shots of a run lie together, because they were noted when it closed.
        opening = np.flatnonzero(np.diff(run, prepend=-1))
        size = np.diff(opening, append=len(run))
        shot_no = (np.arange(1, len(run) + 1) - np.repeat(opening, size)).astype(np.int32)
        self._first[run[opening]], self._has_shot[run[opening]] = ts[opening], True
        self._note_hits(impact_run[hit], sensor[hit], assigned.delay_us[hit])
        pairs = np.unique(np.stack([sensor, self._timer[impact_run]]), axis=1)
        self._timers |= set(zip(*pairs.tolist(), strict=True))
        self._of_events.put(
            pa.table(
                {
                    "event": np.concatenate([shots["event"].to_numpy(), impacts["event"].to_numpy()]),
                    "shot_no": np.concatenate([shot_no, np.where(hit, _at(shot_no, assigned.shot_of_impact), 0)]),
                    "split_s": np.concatenate([_splits(ts, shot_no), np.full(len(hit), np.nan)]),
                    "delay_us": np.concatenate([_at(assigned.delay_us, impact_of_shot), assigned.delay_us]),
                    "matched": np.concatenate([impact_of_shot >= 0, hit]),
                }
            ).cast(_OF_EVENT)
        )

    def _note_hits(self, run: np.ndarray, sensor: np.ndarray, delay_us: np.ndarray) -> None:
        """How many shots of each run were heard, how late in the median, and by which sensors."""
        delay = delay_us / 1000
        order = np.lexsort((delay, run))
        run, sensor, delay = run[order], sensor[order], delay[order]
        first = np.flatnonzero(np.diff(run, prepend=-1))
        size = np.diff(first, append=len(run))
        self._matched[run[first]] = size
        self._median[run[first]] = (delay[first + (size - 1) // 2] + delay[first + size // 2]) / 2
        pairs = np.unique(np.stack([sensor, run]), axis=1)
        self._answered += np.bincount(pairs[0], minlength=len(self._answered))

    def counts(self) -> dict[str, int]:
        """What the analysis found, in numbers, once `runs` has gone through all of them."""
        totals, orphans = self._totals, self.found.orphans
        return {
            "runs": len(self.number),
            "completed": totals["completed"],
            "incomplete": len(self.number) - totals["completed"],
            **{name: totals[name] for name in ("shots", "impacts", "correlated")},
            **{f"orphan_{name}": orphans[name] for name in ("shots", "stops", "summaries")},
            "orphan_impacts": self.found.orphan_impacts.total(),
            "count_mismatches": self._flags["count_mismatch"],
            "offset_fallbacks": sum("offset_fallback" in sensor.flags for sensor in self.correlated.sensors),
            **{name: totals[name] for name in ("shots_doubled", "shots_lost")},
            "clock_steps": self._flags["clock_step"],
        }

    @property
    def unfinished(self) -> bool:
        """Whether the log ends while a run goes on, once `runs` has gone through all of them."""
        return self._flags["unfinished"] > 0

    def outside(self, least: int) -> list[str]:
        """The sensors of which at least some impacts belong to no run, and none to any."""
        orphans = self.found.orphan_impacts
        return sorted(name for name in orphans.keys() - set(self.found.sensors) if orphans[name] >= least)

    def runs(self, squads: "_Squads") -> Iterator[pa.RecordBatch]:
        """The run table, by number."""
        ends = [*range(1 + _PART, len(self.number) + 1, _PART), len(self.number) + 1]
        for some in self.found.runs.in_order(lambda part: self.number[part["opened"].to_numpy()], ends):
            yield from self._some_runs(some, squads).to_batches()
            memory.give_back()

    def _some_runs(self, some: pa.Table, squads: "_Squads") -> pa.Table:
        import pyarrow.compute as pc

        opened = some["opened"].to_numpy()
        number, matched, first = self.number[opened], self._matched[opened], self._first[opened]
        flags = some["flags"].cast(pa.string()).combine_chunks()
        flags = _flagged(flags, self._of_other_years[opened], "clock_not_set", "clock_step")
        flags = _flagged(flags, self._set_back[opened], "clock_step")
        flags = _flagged(flags, self._contested[opened], "contested_impact")
        for said in pc.value_counts(flags).to_pylist():
            self._flags.update(dict.fromkeys(said["values"].split(";"), said["counts"]))
        completed = pc.equal(some["status"].cast(pa.string()), "completed")
        self._totals["completed"] += int(completed.to_numpy().sum())
        for name in ("shots_doubled", "shots_lost"):
            self._totals[name] += pc.sum(some[name]).as_py() or 0
        shots, impacts = _ints(some["shots_detected"]), _ints(some["impacts_detected"])
        silent = shots + impacts + _ints(some["shots_lost"]) == 0
        stage, string, shooter = squads.of(
            number,
            *(some[name].cast(pa.string()) for name in ("stage", "bay")),
            false_start=silent & ~completed.to_numpy(),
            silent=silent,
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.round(matched / shots, 4)
        beep = some["beep"].fill_null(-1).to_numpy()
        return pa.table(
            {
                "run_no": number,
                "run_id": run_ids(pa.array(number)),
                **{name: some[name] for name in ("status", "duration_seconds", "shots_detected", "impacts_detected")},
                **{name: some[name] for name in ("shots_doubled", "shots_lost", "start_device", "start_device_id")},
                "bay": some["bay"],
                "flags": flags,
                "stage": stage,
                "string": string,
                "shooter": shooter,
                **{
                    name: some[source].cast(arrow_type(UTC_TIME))
                    for name, source in (
                        ("start_time", "start"),
                        ("beep_time", "beep"),
                        ("end_time", "end"),
                        ("last_shot_time", "last_shot"),
                        ("last_impact_time", "last_impact"),
                    )
                },
                "correlation_success_rate": _floats(np.where((shots > 0) & self.sensed, rate, np.nan)),
                "impacts_correlated": matched,
                "uncorrelated_impacts": (impacts - matched).astype(np.int32),
                "median_delay_ms": _floats(self._median[opened]),
                "first_shot_s": _floats(
                    np.where((beep >= 0) & (np.abs(first - beep) <= LONGEST_US), (first - beep) / 1e6, np.nan)
                ),
            }
        ).select(schema.RUNS.schema.names)

    def sensors(self) -> pa.Table:
        """One row for each sensor, by name."""
        shots_of_timer = np.bincount(self._timer[self._has_shot], minlength=int(self._timer.max(initial=0)) + 1)
        rows = [
            {
                "sensor": name or None,
                "target": self._target(name),
                "offset_ms": delay.offset_ms,
                "estimated": delay.estimated,
                "impacts": delay.impacts,
                "matched": delay.matched,
                "median_delay_ms": delay.median_ms,
                "mad_ms": delay.mad_ms,
                **_interval("median", delay.median_interval, "_ms"),
                "jitter_ms": delay.jitter_ms,
                **_interval("jitter", delay.jitter_interval, "_ms"),
                "drift_ms_per_h": delay.drift_ms_per_h,
                **self._heard(number, delay.impacts, delay.matched, shots_of_timer),
                "flags": set(delay.flags),
            }
            for number, (name, delay) in enumerate(zip(self.found.sensors, self.correlated.sensors, strict=True))
        ]
        for row in rows:
            others = [one["silent_share"] for one in rows if one is not row and one["silent_share"] is not None]
            usual = float(np.median(others)) if others else 0.0
            if (row["silent_low"] or 0) > max(_SILENT, usual + 0.1):
                row["flags"].add("often_silent")
            if (row["false_low"] or 0) > _FALSE:
                row["flags"].add("many_false")
        for row in rows:
            row["flags"] = ";".join(sorted(row["flags"]))
        return from_rows(schema.SENSORS, sorted(rows, key=lambda row: row["sensor"] or ""))

    def _target(self, sensor: str) -> str | None:
        device = self.known.get(sensor)
        return device.target if device else None

    def _heard(self, sensor: int, impacts: int, matched: int, runs_of_timer: np.ndarray) -> dict[str, float | None]:
        """In how many runs of its timer a sensor was heard, and how often for nothing."""
        own = [timer for one, timer in self._timers if one == sensor]
        runs = int(runs_of_timer[own].sum()) if own else int(self._has_shot.sum())
        silent, false = runs - int(self._answered[sensor]), impacts - matched
        return {
            "runs": runs,
            "silent_share": round(silent / runs, 4) if runs else None,
            **_interval("silent", share_interval(silent, runs)),
            "false_share": round(false / impacts, 4) if impacts else None,
            **_interval("false", share_interval(false, impacts)),
        }

    def event_runs(self) -> Iterator[pa.RecordBatch]:
        """What is known about each event, one row for each, in order."""
        run_of_event = np.asarray(self.found.run_of_event)
        starts = range(0, self.events_count, _PART)
        ends = [min(start + _PART, self.events_count) for start in starts]
        known = self._of_events.in_order(lambda part: part["event"].to_numpy(), ends)
        for start, end, some in zip(starts, ends, known, strict=True):
            opened, run = run_of_event[start:end], np.zeros(end - start, np.int32)
            run[: len(opened)][opened >= 0] = self.number[opened[opened >= 0]]
            at = some["event"].to_numpy() - start
            told, matched = _spread(end - start, at, True), _spread(end - start, at, some["matched"].to_numpy())
            shot_no = _spread(end - start, at, some["shot_no"].to_numpy())
            split = np.full(end - start, np.nan)
            split[at] = some["split_s"].to_numpy()
            yield pa.RecordBatch.from_pydict(
                {
                    "event_no": np.arange(start, end),
                    "run_no": pa.array(run, mask=run == 0),
                    "shot_no": pa.array(shot_no, mask=shot_no == 0),
                    "split_s": _floats(split),
                    "delay_ms": pa.array(_spread(end - start, at, some["delay_us"].to_numpy()) / 1000, mask=~matched),
                    "matched": pa.array(matched, mask=~told),
                    "corrected_time": self._moved(start, end),
                }
            )

    def _moved(self, start: int, end: int) -> pa.Array:
        """When events happened whose time was repaired."""
        if not self.found.moved:
            return pa.nulls(end - start, arrow_type(UTC_TIME))
        times = np.zeros(end - start, np.int64)
        for event in range(start, end):
            times[event - start] = self.found.moved.get(event, 0)
        return pa.array(times, mask=times == 0).cast(arrow_type(UTC_TIME))


class _Parts:
    """Shots and impacts as `correlate` goes through them."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def __iter__(self) -> Iterator[tuple[Shots, Impacts]]:
        for shots, impacts in zip(self._found.shots, self._found.impacts, strict=True):
            yield (
                Shots(shots["run"].to_numpy(), shots["ts"].to_numpy()),
                Impacts(impacts["run"].to_numpy(), impacts["ts"].to_numpy(), impacts["sensor"].to_numpy()),
            )


class _Squads:
    """Who shot which run: strings count at each stage and bay, as runs come by number.

    A false start, which ended before anything was heard, is no string, unless the list names it.
    """

    def __init__(self, squad: Sequence[Squad]) -> None:
        self._squad = set(squad)
        self._by_run = {entry.run.removeprefix("run_"): entry for entry in squad if entry.run is not None}
        self._by_string = {(entry.stage, entry.bay, entry.string): entry for entry in squad if entry.run is None}
        self._strings: Counter[tuple[str | None, str | None]] = Counter()
        self._used: set[Squad] = set()
        self.silent: list[int] = []
        """Runs that count as a string of the list although nothing was heard in them."""

    @property
    def unused(self) -> int:
        """How many entries fit no run."""
        return len(self._squad - self._used)

    def of(
        self, numbers: np.ndarray, stages: pa.Array, bays: pa.Array, *, false_start: np.ndarray, silent: np.ndarray
    ) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Stage, number of the string there, and shooter of the next runs."""
        strings = self._strings
        found = []
        for number, stage, bay, false, quiet in zip(
            *(numbers.tolist(), stages.to_pylist(), bays.to_pylist(), false_start.tolist(), silent.tolist()),
            strict=True,
        ):
            named = self._by_run.get(str(number))
            at = (named.stage if named and named.stage else stage), bay
            if false and named is None:
                found.append((stage, None, None))
                continue
            strings[at] += 1
            if quiet and named is None and self._by_string:
                self.silent.append(number)
            for key in (
                (*at, strings[at]),
                (at[0], None, strings[at]),
                (None, at[1], strings[at]),
                (None, None, strings[at]),
            ):
                named = named or self._by_string.get(key)
            if named:
                self._used.add(named)
            found.append((at[0], strings[at], named.shooter if named else None))
        stage, string, shooter = zip(*found, strict=True) if found else ((), (), ())
        return pa.array(stage, pa.string()), pa.array(string, pa.int32()), pa.array(shooter, pa.string())


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values at some places, where -1 is none and gives anything."""
    return values[places] if len(values) else np.zeros(len(places), values.dtype)


def _spread(size: int, places: np.ndarray, values: np.ndarray | bool) -> np.ndarray:
    """Values at some places among zeros."""
    spread = np.zeros(size, np.asarray(values).dtype)
    spread[places] = values
    return spread


def _splits(ts: np.ndarray, shot_no: np.ndarray) -> np.ndarray:
    """Time since the previous shot of the run in seconds; NaN for a first one, or where a clock was set between."""
    split = np.diff(ts, prepend=ts[:1])
    known = (shot_no > 1) & (split >= -STEP_US) & (split <= LONGEST_US)
    return np.where(known, split / 1e6, np.nan)


def _of_other_years(start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which times are years away from the middle run of the match: their clock was not set."""
    known = np.sort(start[(start >= NOT_SET_US) & (start < BEYOND_US)])
    return np.abs(times - known[(len(known) - 1) // 2]) > YEARS_US if len(known) else np.zeros(len(times), bool)


def _flagged(flags: pa.Array, some: np.ndarray, *names: str) -> pa.Array:
    """Flags of runs, some of them with more."""
    import pyarrow.compute as pc

    if not some.any():
        return flags
    more = [";".join(sorted({*filter(None, said.split(";")), *names})) for said in flags.filter(some).to_pylist()]
    return pc.replace_with_mask(flags, pa.array(some), pa.array(more, pa.string()))


def run_ids(numbers: pa.Array) -> pa.Array:
    """`run_<number>`; null for none."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise("run", numbers.cast(pa.string()), "_")


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)


def _floats(values: np.ndarray) -> pa.Array:
    """Numbers with null for NaN."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _interval(name: str, interval: Interval, unit: str = "") -> dict[str, float | None]:
    return {f"{name}_low{unit}": interval[0], f"{name}_high{unit}": interval[1]}


def _warnings(counts: dict[str, int], squad: Sequence[Squad], squads: _Squads) -> Iterator[str]:
    """What a director should know of the runs."""
    if lost := counts["orphan_stops"] + counts["orphan_summaries"]:
        yield f"Stops or summaries without a start or a shot: {lost}."
    if counts["orphan_shots"]:
        yield f"Shots that belong to no run: {counts['orphan_shots']}."
    if counts["orphan_impacts"]:
        yield f"Impacts that belong to no run: {counts['orphan_impacts']}."
    if counts["count_mismatches"]:
        yield f"Runs whose timer or summary counted otherwise: {counts['count_mismatches']}."
    if counts["shots_doubled"]:
        yield f"Shots that were reported more than once and count once: {counts['shots_doubled']}."
    if counts["shots_lost"]:
        yield f"Shots that the timer counted and no record reports: {counts['shots_lost']}."
    if counts["clock_steps"]:
        yield (
            "Runs during which or before which a clock was set, or whose date is before 2001, after 2099 or years from "
            f"the others' (flag clock_step): {counts['clock_steps']}."
        )
    if squads.silent:
        yield (
            "Runs that count as a string of the squad list although nothing was heard in them: "
            f"{_listed(squads.silent)}. Where one was no string, give the runs after it their shooters by run."
        )
    if squads.unused:
        yield f"Rows of the squad list that fit no run: {squads.unused} of {len(squad)}."


def _listed(runs: Sequence[int]) -> str:
    return ", ".join(f"run_{number}" for number in runs[:_NAMED]) + (", …" if len(runs) > _NAMED else "")


def _of_sensors(sensors: pa.Table, timer_of: Mapping[str, bays.Owner] | None) -> Iterator[str]:
    """What a director should know of the sensors."""
    unknown = sorted(sensor for sensor, (timer, *_) in (timer_of or {}).items() if not timer)
    if unknown:
        yield (
            f"Which timer these sensors belong to cannot be told: {', '.join(unknown)}. "
            "List timers and sensors with their bay in match.yaml."
        )
    for row in sensors.select(["sensor", "flags", "silent_share", "false_share"]).to_pylist():
        name, flags = row["sensor"] or "unnamed sensor", row["flags"].split(";")
        if "beyond_window" in flags:
            yield f"{name} reports hits regularly, but beyond correlation.window_ms: raise it, or look at its clock."
        if "often_silent" in flags:
            yield f"{name} was silent in {row['silent_share']:.0%} of the runs: does it fail?"
        if "many_false" in flags:
            yield f"{row['false_share']:.0%} of the impacts of {name} belong to no shot."


def _report(tables: Tables, counts: dict[str, int], warnings: Sequence[str]) -> Report:
    first = next(iter(tables.batches(schema.RUNS, schema.RUNS.schema.names[1:15])), None)
    return Report(
        counts=counts,
        warnings=tuple(warnings),
        preview=tuple(first.slice(0, 20).to_pylist() if first else ()),
    )
