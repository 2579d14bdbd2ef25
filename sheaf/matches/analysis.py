"""Runs and sensor delays of one match, and which run each event belongs to, computed from its events.

One pass reads the events; run rows need the correlation, so both are computed and written together.
A pure function of the tables that `ingest` wrote. Not here: the tables of shots and impacts (`shots`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from sheaf import tables
from sheaf.ahead import ahead
from sheaf.matches import devices, schema
from sheaf.matches.correlate import Correlated, Impacts, Shots, correlate
from sheaf.matches.found import RUN_SCHEMA, Found
from sheaf.matches.manifest import Device, Manifest
from sheaf.matches.run_events import COLUMNS, TEXTS
from sheaf.matches.runs import RunBuilder
from sheaf.matches.settings import Correlation
from sheaf.report import Report
from sheaf.store import Store

_PART = 32 * 1024


def build_runs(store: Store, match: str) -> Report:
    """Find the runs of a match and correlate shots with impacts.

    Returns:
        Counts (`runs`, `completed`, `incomplete`, `shots`, `impacts`, `correlated`, `orphan_shots`,
        `orphan_impacts`, `orphan_stops`, `orphan_summaries`, `count_mismatches`, `offset_fallbacks`),
        a preview of the run table.

    Raises:
        NotFoundError: the match has not been ingested.
        InputError: its newest input could not be used as a whole.
    """
    tables.refuse_if_blocked(store, schema.REJECTS, match)
    manifest = load_manifest(store, match)
    settings = manifest.correlation or Correlation()
    known = devices.resolve((), manifest.devices).devices
    builder = RunBuilder(known, round(settings.window_ms * 1000))
    events = 0
    for batch in ahead(tables.batches(store, schema.EVENTS, match, COLUMNS, TEXTS)):
        builder.feed(batch)
        events += batch.num_rows
    found = builder.finish()
    result = _Result(found, known, events, settings)
    counts = result.counts()
    written = (
        tables.write(store, schema.TOTALS, match, tables.from_rows(schema.TOTALS, [counts])),
        tables.write(store, schema.RUNS, match, result.runs()),
        tables.write(store, schema.SENSORS, match, result.sensors()),
        tables.write(store, schema.EVENT_RUNS, match, result.event_runs()),
    )
    return _report(store, match, result, counts, written)


def load_manifest(store: Store, match: str) -> Manifest:
    """The manifest the match was ingested with."""
    row = tables.read(store, schema.MATCH, match, ["manifest"])
    return Manifest.model_validate_json(row["manifest"][0].as_py())


class _Result:
    """The analysis in arrays, given out table by table.

    `number[i]` is the final number of the run that opened as the i-th: by start time, from 1.
    """

    def __init__(self, found: Found, known: Mapping[str, Device], events: int, settings: Correlation) -> None:
        self.found, self.known, self.events_count = found, known, events
        self.opened = pa.Table.from_batches(found.runs, RUN_SCHEMA)
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
        self.impact_of_shot = np.full(len(self.shot_ts), -1, np.int32)
        hits = np.flatnonzero(self.correlated.shot_of_impact >= 0)
        self.impact_of_shot[self.correlated.shot_of_impact[hits]] = hits
        # The shots of a run lie together, because they were noted when it closed.
        first = np.flatnonzero(np.diff(self.shot_run, prepend=-1)).astype(np.int32)
        size = np.diff(first, append=np.int32(len(self.shot_run)))
        self.shot_no = np.arange(1, len(self.shot_run) + 1, dtype=np.int32) - np.repeat(first, size)

    def _target(self, sensor: str) -> str | None:
        device = self.known.get(sensor)
        return device.target if device else None

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
                **{name: table[name] for name in ("start_device", "start_device_id", "stage", "bay", "flags")},
                **{
                    name: table[source].cast(tables.UTC_TIME)
                    for name, source in (
                        ("start_time", "start"),
                        ("beep_time", "beep"),
                        ("end_time", "end"),
                        ("last_shot_time", "last_shot"),
                        ("last_impact_time", "last_impact"),
                    )
                },
                "correlation_success_rate": _floats(np.where(shots > 0, rate, np.nan)),
                "impacts_correlated": matched.astype(np.int32),
                "uncorrelated_impacts": (impacts - matched).astype(np.int32),
                "median_delay_ms": _floats(medians),
                "first_shot_s": _floats(np.where(beep >= 0, (first - beep) / 1e6, np.nan)),
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
                "drift_ms_per_h": delay.drift_ms_per_h,
                "flags": ";".join(delay.flags),
            }
            for name, delay in sorted(
                zip(self.found.sensors, self.correlated.sensors, strict=True), key=lambda row: row[0]
            )
        ]
        return tables.from_rows(schema.SENSORS, rows)

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
                }
            )

    def splits(self, shot: np.ndarray) -> np.ndarray:
        """Time since the previous shot of the run in seconds; NaN for a first one."""
        return np.where(self.shot_no[shot] > 1, (self.shot_ts[shot] - self.shot_ts[shot - 1]) / 1e6, np.nan)

    def _delays(self, impact: np.ndarray) -> pa.Array:
        """Delay in ms of the impacts; null where there is none (-1)."""
        if not len(self.impact_ts):
            return pa.nulls(len(impact), pa.float64())
        return pa.array(self.correlated.delay_us[impact] / 1000, mask=impact < 0)


def _parts(indices: np.ndarray) -> Iterator[np.ndarray]:
    return (indices[start : start + _PART] for start in range(0, len(indices), _PART))


def run_ids(numbers: pa.Array) -> pa.Array:
    """`run_<number>`; null for none."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise("run", numbers.cast(pa.string()), "_")


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)


def _floats(values: np.ndarray) -> pa.Array:
    """Numbers with null for NaN."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _report(
    store: Store, match: str, result: _Result, counts: dict[str, int], written: tuple[tables.TableVersion, ...]
) -> Report:
    warnings = []
    if lost := counts["orphan_stops"] + counts["orphan_summaries"]:
        warnings.append(f"Stops or summaries without a start, whose runs are incomplete in the logs: {lost}.")
    if counts["count_mismatches"]:
        warnings.append(f"Runs whose summary counted otherwise: {counts['count_mismatches']}.")
    first = next(iter(tables.batches(store, schema.RUNS, match, schema.RUNS.schema.names[1:13])), None)
    return Report(
        tables=written,
        counts=counts,
        warnings=tuple(warnings),
        preview=tuple(first.slice(0, 20).to_pylist() if first else ()),
    )
