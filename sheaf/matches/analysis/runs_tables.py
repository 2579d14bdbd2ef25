"""Runs and sensor delays of one match, and which run each event belongs to, computed from its events.

One pass reads the events; run rows need the correlation, so both are computed and written together.
A pure function of the tables that `ingest` wrote and the settings. Not here: the tables of shots and impacts (`shots`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.ahead import ahead
from sheaf.matches import schema
from sheaf.matches.analysis import bays
from sheaf.matches.analysis.correlate import Correlated, Impacts, Interval, Shots, correlate, share_interval
from sheaf.matches.analysis.run_clock import NOT_SET_US, YEARS_US
from sheaf.matches.analysis.run_columns import RUN_SCHEMA, Found
from sheaf.matches.analysis.run_events import COLUMNS, LONGEST_US, STEP_US, TEXTS
from sheaf.matches.analysis.run_search import RunBuilder
from sheaf.matches.readers import devices
from sheaf.matches.readers.clocks import BEYOND_US
from sheaf.matches.readers.match_yaml import Device, Manifest, Squad
from sheaf.matches.settings import Correlation
from sheaf.report import Report
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.table import UTC_TIME, arrow_type
from sheaf.tables.work import Work

_PART = 32 * 1024
_KEPT = 8
"""Batches after which free memory goes back: it lies in pieces, between what is found."""
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
    builder = RunBuilder(known, round(correlation.window_ms * 1000), round(min_split * 1000), timer_of)
    events = 0
    for number, batch in enumerate(ahead(work.tables.batches(schema.EVENTS, COLUMNS, TEXTS))):
        builder.feed(batch)
        events += batch.num_rows
        if number % _KEPT == 0:
            memory.give_back()
    found = builder.finish()
    memory.give_back()
    result = _Result(found, known, events, correlation, manifest.squad)
    counts, sensors = result.counts(), result.sensors()
    warnings = [*_warnings(counts, manifest.squad, result.unused_squad), *_of_sensors(sensors, timer_of)]
    pending = work.tables.row(schema.MATCH, ["pending"])["pending"]
    if pending or result.unfinished:
        warnings.append(
            "The logs end within a line or a run: the match may still go on, and its results are provisional."
        )
    work.write(schema.TOTALS, from_rows(schema.TOTALS, [{**counts, "warnings": warnings}]))
    work.write(schema.RUNS, result.runs())
    work.write(schema.SENSORS, sensors)
    work.write(schema.EVENT_RUNS, result.event_runs())
    return _report(work.tables, counts, warnings)


def load_manifest(tables: Tables) -> Manifest:
    """The manifest the match was read with."""
    row = tables.read(schema.MATCH, ["manifest"])
    return Manifest.model_validate_json(row["manifest"][0].as_py())


class _Result:
    """The analysis in arrays, given out table by table.

    `number[i]` is the final number of the run that opened as the i-th: by start time, from 1.
    """

    def __init__(
        self,
        found: Found,
        known: Mapping[str, Device],
        events: int,
        settings: Correlation,
        squad: Sequence[Squad] = (),
    ) -> None:
        self.found, self.known, self.events_count = found, known, events
        self.opened = _of_other_years(pa.Table.from_batches(found.runs, RUN_SCHEMA))
        self.by_start = np.argsort(_ints(self.opened["start"]), kind="stable")
        self.number = np.empty(len(self.by_start), np.int32)
        self.number[self.by_start] = np.arange(1, len(self.by_start) + 1)
        self.shot_run, self.shot_ts = np.asarray(found.shot_run), np.asarray(found.shot_ts)
        self.impact_run, self.impact_ts = np.asarray(found.impact_run), np.asarray(found.impact_ts)
        self.impact_sensor = np.asarray(found.impact_sensor)
        self.correlated: Correlated = correlate(
            Shots(self.shot_run, self.shot_ts),
            Impacts(self.impact_run, self.impact_ts, self.impact_sensor),
            len(found.sensors),
            settings,
        )
        memory.give_back()
        self.opened = _flagged(self.opened, self.correlated.contested, "contested_impact")
        self.impact_of_shot = np.full(len(self.shot_ts), -1, np.int32)
        hits = np.flatnonzero(self.correlated.shot_of_impact >= 0)
        self.impact_of_shot[self.correlated.shot_of_impact[hits]] = hits
        # The shots of a run lie together, because they were noted when it closed.
        first = np.flatnonzero(np.diff(self.shot_run, prepend=-1)).astype(np.int32)
        size = np.diff(first, append=np.int32(len(self.shot_run)))
        self.shot_no = np.arange(1, len(self.shot_run) + 1, dtype=np.int32) - np.repeat(first, size)
        # Without a sensor nobody can know whether a shot hit.
        self.sensed = bool(len(self.impact_ts)) or bool(found.orphans["impacts"])
        self.stage, self.string, self.shooter, self.unused_squad = self._squad(squad)

    def _squad(self, squad: Sequence[Squad]) -> tuple[pa.Array, np.ndarray, pa.Array, int]:
        """Stage, number of the string there, and shooter of each run by start time; how many entries fit none."""
        stage, bay = (_texts(self.opened[name]) for name in ("stage", "bay"))
        by_run = {entry.run.removeprefix("run_"): entry for entry in squad if entry.run is not None}
        by_string = {(entry.stage, entry.bay, entry.string): entry for entry in squad if entry.run is None}
        strings: Counter[tuple[str | None, str | None]] = Counter()
        numbers, stages, shooters, used = [], [], [], set()
        for place, index in enumerate(self.by_start.tolist(), 1):
            named = by_run.get(str(place))
            at = (named.stage if named and named.stage else stage[index]), bay[index]
            strings[at] += 1
            for key in (
                (*at, strings[at]),
                (at[0], None, strings[at]),
                (None, at[1], strings[at]),
                (None, None, strings[at]),
            ):
                named = named or by_string.get(key)
            if named:
                used.add(named)
            numbers.append(strings[at])
            stages.append(at[0])
            shooters.append(named.shooter if named else None)
        return (
            pa.array(stages, pa.string()),
            np.array(numbers, np.int32),
            pa.array(shooters, pa.string()),
            len(set(squad) - used),
        )

    @cached_property
    def _timer(self) -> np.ndarray:
        """A number for the timer of each run."""
        names = self.opened["start_device_id"].cast(pa.string()).combine_chunks().fill_null("")
        return names.dictionary_encode().indices.to_numpy()

    def _target(self, sensor: str) -> str | None:
        device = self.known.get(sensor)
        return device.target if device else None

    @property
    def unfinished(self) -> bool:
        """Whether the log ends while a run goes on."""
        import pyarrow.compute as pc

        return bool(pc.any(pc.match_substring(self.opened["flags"].cast(pa.string()), "unfinished")).as_py())

    def counts(self) -> dict[str, int]:
        """What the analysis found, in numbers."""
        import pyarrow.compute as pc

        completed = pc.sum(pc.equal(self.opened["status"].cast(pa.string()), "completed")).as_py() or 0
        return {
            "runs": len(self.number),
            "completed": completed,
            "incomplete": len(self.number) - completed,
            "shots": len(self.shot_ts),
            "impacts": len(self.impact_ts),
            "correlated": int((self.impact_of_shot >= 0).sum()),
            **{f"orphan_{name}": self.found.orphans[name] for name in ("shots", "impacts", "stops", "summaries")},
            "count_mismatches": pc.sum(
                pc.match_substring(self.opened["flags"].cast(pa.string()), "count_mismatch")
            ).as_py()
            or 0,
            "offset_fallbacks": sum("offset_fallback" in sensor.flags for sensor in self.correlated.sensors),
            **{name: pc.sum(self.opened[name]).as_py() or 0 for name in ("shots_doubled", "shots_lost")},
            "clock_steps": pc.sum(pc.match_substring(self.opened["flags"].cast(pa.string()), "clock_step")).as_py()
            or 0,
        }

    def runs(self) -> Iterator[pa.RecordBatch]:
        """The run table, by start time."""
        count = len(self.by_start)
        matched = np.bincount(self.shot_run[self.impact_of_shot >= 0], minlength=count)[self.by_start]
        first = np.full(count, np.nan)
        opening = np.flatnonzero(self.shot_no == 1)
        first[self.number[self.shot_run[opening]] - 1] = self.shot_ts[opening]
        for part in _parts(np.arange(count)):
            medians = self._median_delays(part[0], len(part))
            yield from self._some_runs(part, matched[part], first[part], medians).to_batches()
            memory.give_back()

    def _some_runs(self, part: np.ndarray, matched: np.ndarray, first: np.ndarray, medians: np.ndarray) -> pa.Table:
        table = self.opened.take(pa.array(self.by_start[part]))
        shots, impacts = _ints(table["shots_detected"]), _ints(table["impacts_detected"])
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.round(matched / shots, 4)
        beep = table["beep"].fill_null(-1).to_numpy()
        return pa.table(
            {
                "run_no": (part + 1).astype(np.int32),
                "run_id": run_ids(pa.array(part + 1)),
                **{name: table[name] for name in ("status", "duration_seconds", "shots_detected", "impacts_detected")},
                **{name: table[name] for name in ("shots_doubled", "shots_lost", "start_device", "start_device_id")},
                **{name: table[name] for name in ("bay", "flags")},
                "stage": self.stage.slice(part[0], len(part)),
                "string": self.string[part],
                "shooter": self.shooter.slice(part[0], len(part)),
                **{
                    name: table[source].cast(arrow_type(UTC_TIME))
                    for name, source in (
                        ("start_time", "start"),
                        ("beep_time", "beep"),
                        ("end_time", "end"),
                        ("last_shot_time", "last_shot"),
                        ("last_impact_time", "last_impact"),
                    )
                },
                "correlation_success_rate": _floats(np.where((shots > 0) & self.sensed, rate, np.nan)),
                "impacts_correlated": matched.astype(np.int32),
                "uncorrelated_impacts": (impacts - matched).astype(np.int32),
                "median_delay_ms": _floats(medians),
                "first_shot_s": _floats(
                    np.where((beep >= 0) & (np.abs(first - beep) <= LONGEST_US), (first - beep) / 1e6, np.nan)
                ),
            }
        ).select(schema.RUNS.schema.names)

    def _median_delays(self, start: int, count: int) -> np.ndarray:
        """Median delay in ms of some runs by start time, from the `start`-th."""
        run = self.number[self.impact_run] - (start + 1)
        mine = np.flatnonzero((self.correlated.shot_of_impact >= 0) & (run >= 0) & (run < count))
        run, delay = run[mine], self.correlated.delay_us[mine] / 1000
        order = np.lexsort((delay, run))
        run, delay = run[order], delay[order]
        medians = np.full(count, np.nan)
        if len(run):
            first = np.flatnonzero(np.diff(run, prepend=-1))
            size = np.diff(np.append(first, len(run)))
            medians[run[first]] = (delay[first + (size - 1) // 2] + delay[first + size // 2]) / 2
        return medians

    def sensors(self) -> pa.Table:
        """One row for each sensor, by name."""
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
                **self._heard(number, delay.impacts, delay.matched),
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

    def _heard(self, sensor: int, impacts: int, matched: int) -> dict[str, float | None]:
        """In how many runs of its timer a sensor was heard, and how often for nothing."""
        mine = self.impact_sensor == sensor
        answered = np.unique(self.impact_run[mine & (self.correlated.shot_of_impact >= 0)])
        shot = np.unique(self.shot_run)
        own = np.unique(self._timer[np.unique(self.impact_run[mine])])
        runs = int(np.isin(self._timer[shot], own).sum()) if len(own) else len(shot)
        silent, false = runs - len(answered), impacts - matched
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
        shot_event, impact_event = np.asarray(self.found.shot_event), np.asarray(self.found.impact_event)
        shot_sorted = np.argsort(shot_event).astype(np.int32)
        for start in range(0, self.events_count, _PART):
            end = min(start + _PART, self.events_count)
            size = end - start
            opened = run_of_event[start:end]
            run = np.zeros(size, np.int32)
            run[: len(opened)][opened >= 0] = self.number[opened[opened >= 0]]
            shot_no, split, impact = np.zeros(size, np.int32), np.full(size, np.nan), np.full(size, -1, np.int64)
            matched, known = np.zeros(size, bool), np.zeros(size, bool)
            first, last = np.searchsorted(shot_event, [start, end], sorter=shot_sorted)
            mine = shot_sorted[first:last]
            at = shot_event[mine] - start
            shot_no[at], split[at], known[at] = self.shot_no[mine], self.splits(mine), True
            impact[at], matched[at] = self.impact_of_shot[mine], self.impact_of_shot[mine] >= 0
            first, last = np.searchsorted(impact_event, [start, end])
            at = impact_event[first:last] - start
            impact_shot = self.correlated.shot_of_impact[first:last]
            known[at], matched[at] = True, impact_shot >= 0
            impact[at] = np.where(impact_shot >= 0, np.arange(first, last), -1)
            shot_no[at] = np.where(impact_shot >= 0, self.shot_no[impact_shot] if len(self.shot_no) else 0, 0)
            yield pa.RecordBatch.from_pydict(
                {
                    "event_no": np.arange(start, end),
                    "run_no": pa.array(run, mask=run == 0),
                    "shot_no": pa.array(shot_no, mask=shot_no == 0),
                    "split_s": _floats(split),
                    "delay_ms": self._delays(impact),
                    "matched": pa.array(matched, mask=~known),
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

    def splits(self, shot: np.ndarray) -> np.ndarray:
        """Time since the previous shot of the run in seconds; NaN for a first one, or where a clock was set between."""
        split = self.shot_ts[shot] - self.shot_ts[shot - 1]
        known = (self.shot_no[shot] > 1) & (split >= -STEP_US) & (split <= LONGEST_US)
        return np.where(known, split / 1e6, np.nan)

    def _delays(self, impact: np.ndarray) -> pa.Array:
        """Delay in ms of the impacts; null where there is none (-1)."""
        if not len(self.impact_ts):
            return pa.nulls(len(impact), pa.float64())
        return pa.array(self.correlated.delay_us[impact] / 1000, mask=impact < 0)


def _of_other_years(opened: pa.Table) -> pa.Table:
    """The runs, with a flag on those that are years away from the middle one of the match: their clock was not set."""
    start = _ints(opened["start"])
    known = np.sort(start[(start >= NOT_SET_US) & (start < BEYOND_US)])
    if not len(known):
        return opened
    away = np.abs(start - known[(len(known) - 1) // 2]) > YEARS_US
    return _flagged(opened, np.flatnonzero(away), "clock_not_set", "clock_step")


def _flagged(opened: pa.Table, runs: np.ndarray, *names: str) -> pa.Table:
    """The runs, some of them with more flags."""
    import pyarrow.compute as pc

    if not len(runs):
        return opened
    place, some = opened.schema.get_field_index("flags"), np.zeros(opened.num_rows, bool)
    some[runs] = True
    flags = opened["flags"].cast(pa.string()).combine_chunks()
    more = [";".join(sorted({*filter(None, said.split(";")), *names})) for said in flags.filter(some).to_pylist()]
    column = pc.replace_with_mask(flags, pa.array(some), pa.array(more, pa.string())).dictionary_encode()
    return opened.set_column(place, opened.schema.field(place), pa.chunked_array([column]))


def _parts(indices: np.ndarray) -> Iterator[np.ndarray]:
    return (indices[start : start + _PART] for start in range(0, len(indices), _PART))


def run_ids(numbers: pa.Array) -> pa.Array:
    """`run_<number>`; null for none."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise("run", numbers.cast(pa.string()), "_")


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """The values of a dictionary, each of them in memory once."""
    encoded = column.unify_dictionaries().combine_chunks()
    values = [*encoded.dictionary.to_pylist(), None]
    return [values[place] for place in encoded.indices.fill_null(-1).to_pylist()]


def _floats(values: np.ndarray) -> pa.Array:
    """Numbers with null for NaN."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _interval(name: str, interval: Interval, unit: str = "") -> dict[str, float | None]:
    return {f"{name}_low{unit}": interval[0], f"{name}_high{unit}": interval[1]}


def _warnings(counts: dict[str, int], squad: Sequence[Squad], unused: int) -> Iterator[str]:
    """What a director should know of the runs."""
    if lost := counts["orphan_stops"] + counts["orphan_summaries"]:
        yield f"Stops or summaries without a start or a shot: {lost}."
    if counts["orphan_shots"]:
        yield f"Shots that belong to no run: {counts['orphan_shots']}."
    if counts["count_mismatches"]:
        yield f"Runs whose timer or summary counted otherwise: {counts['count_mismatches']}."
    if counts["shots_doubled"]:
        yield f"Shots that were reported more than once and count once: {counts['shots_doubled']}."
    if counts["shots_lost"]:
        yield f"Shots that the timer counted and no record reports: {counts['shots_lost']}."
    if counts["clock_steps"]:
        yield (
            "Runs during which a clock was set, or whose date is before 2001, after 2099 or years from the others' "
            f"(flag clock_step): {counts['clock_steps']}."
        )
    if unused:
        yield f"Rows of the squad list that fit no run: {unused} of {len(squad)}."


def _of_sensors(sensors: pa.Table, timer_of: Mapping[str, str] | None) -> Iterator[str]:
    """What a director should know of the sensors."""
    unknown = sorted(sensor for sensor, timer in (timer_of or {}).items() if not timer)
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
