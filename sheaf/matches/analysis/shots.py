"""Shots and impacts of one match, a row for each: when, in which run, and what it hit or came from.

Put together from the events and what `analysis` says about each, some runs at a time. Not here: which impact belongs to
which shot (`correlate`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.matches import schema
from sheaf.matches.analysis import plots
from sheaf.matches.analysis.aside import Aside
from sheaf.matches.analysis.events_stream import events
from sheaf.matches.analysis.run_events import LONGEST_US
from sheaf.matches.analysis.runs_tables import load_manifest, run_ids
from sheaf.matches.readers import devices
from sheaf.report import Report
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work

_AT_ONCE = 32 * 1024
"""Shots and impacts of some runs that are put together at once, and events that are read at once, about."""
_KEPT = 8
"""Batches of events that become a part."""
_KINDS = ("shot_detected", "timer_shot_detail", "impact_detected")
_NEEDED = (
    *("event_no", "ts", "event_type", "source_type", "device_id", "device_position"),
    *("shot_number", "shot_time_s", "split_s", "magnitude"),
)
_SHOT = ("event_no", "ts", "run_no", "shot_no", "split_s", "shot_time_s")
_IMPACT = ("event_no", "ts", "run_no", "shot_no", "sensor", "magnitude", "delay_ms", "matched")
_TOLD = ("run_no", "shot_number", "shot_time_s")
_TYPES = {
    **{field.name: field.type for table in (schema.EVENTS, schema.EVENT_RUNS) for field in table.schema},
    "sensor": pa.dictionary(pa.int32(), pa.string()),
}


def build_shots(work: Work) -> Report:
    """Write the tables of shots and impacts.

    Returns:
        Counts (`shots`, `misses`, `impacts`, `false_hits`), a preview of the shots, split chart and
        delay histograms.
    """
    tables = work.tables
    known = devices.resolve((), load_manifest(tables).devices).devices
    total = tables.row(schema.TOTALS, ["impacts", "orphan_impacts"])
    sensed = total["impacts"] + total["orphan_impacts"] > 0
    happened = _Happened(tables, work.scratch, {name: device.target for name, device in known.items()})
    memory.give_back()
    shots = work.write(schema.SHOTS, happened.shot_rows(sensed))
    impacts = work.write(schema.IMPACTS, happened.impact_rows())
    splits, delays = happened.splits(), happened.delays(tables)
    memory.give_back()
    hits = sum(len(found) for found, _ in delays.values())
    first = next(iter(tables.batches(schema.SHOTS)), None)
    return Report(
        counts={
            "shots": shots.rows,
            "misses": shots.rows - hits if sensed else 0,
            "impacts": impacts.rows,
            "false_hits": impacts.rows - hits,
        },
        preview=tuple(first.slice(0, 20).drop_columns("event_no").to_pylist() if first else ()),
        plots=partial(plots.draw, splits, delays),
    )


class _Happened:
    """The shots of a match by run and number, and its impacts by run and event, some runs at a time."""

    def __init__(self, tables: Tables, scratch: Path, targets: dict[str, str | None]) -> None:
        import pyarrow.compute as pc

        self._shots, self._impacts, self._told = _found(tables, scratch)
        self._names, self._targets = pa.array(targets.keys(), pa.string()), pa.array(targets.values(), pa.string())
        runs = tables.read(schema.RUNS, ["beep_time", "start_time", "shots_detected", "impacts_detected"])
        self._origin = pc.coalesce(runs["beep_time"], runs["start_time"]).cast(pa.int64()).to_numpy()
        so_far = np.cumsum(pc.add(runs["shots_detected"], runs["impacts_detected"]).to_numpy(), dtype=np.int64)
        full = np.flatnonzero(np.diff(so_far // _AT_ONCE)) + 1
        self._ends = [*(full + 1).tolist(), len(so_far) + 1]  # runs are numbered from 1

    def _in_order(self, rows: Aside, within: str) -> Iterator[pa.Table]:
        return rows.in_order(partial(_keys, within=within), (end << 32 for end in self._ends))

    def shot_rows(self, sensed: bool) -> Iterator[pa.RecordBatch]:
        """The table of shots; without any sensor nobody knows which of them hit."""
        import pyarrow.compute as pc

        columns = (self._shots, "shot_no"), (self._impacts, "event_no"), (self._told, "shot_number")
        for shots, impacts, told in zip(*(self._in_order(*which) for which in columns), strict=True):
            part, hits = _arrays(shots), impacts.filter(impacts["matched"])
            run, time, keys = part["run_no"], part["ts"], _keys(shots, "shot_no")
            since = time.cast(pa.int64()).to_numpy() - self._origin[run.to_numpy() - 1]
            impact = _places(keys, *np.unique(_keys(hits, "shot_no"), return_index=True))
            made = _arrays(hits.select(["sensor", "delay_ms"]).take(impact))
            # What the timer wrote about a shot beside the shot itself, the first time that it did.
            of_told = _places(keys, *np.unique(_keys(told, "shot_number"), return_index=True))
            yield pa.RecordBatch.from_pydict(
                {
                    "run_id": run_ids(run),
                    "shot_no": part["shot_no"],
                    "time": time,
                    "since_beep_s": pa.array(since / 1e6, mask=np.abs(since) > LONGEST_US),
                    "split_s": pc.if_else(pc.greater(part["shot_no"], 1), part["split_s"], None),
                    "timer_time_s": pc.coalesce(part["shot_time_s"], _arrays(told.take(of_told))["shot_time_s"]),
                    **self._of_sensor(made["sensor"]),
                    "delay_ms": made["delay_ms"],
                    "status": pc.if_else(impact.is_valid(), "hit", "miss")
                    if sensed
                    else pa.repeat("unknown", len(run)),
                    "event_no": part["event_no"],
                }
            )

    def impact_rows(self) -> Iterator[pa.RecordBatch]:
        """The table of impacts."""
        for part in map(_arrays, self._in_order(self._impacts, "event_no")):
            yield pa.RecordBatch.from_pydict(
                {
                    "run_id": run_ids(part["run_no"]),
                    "time": part["ts"],
                    **self._of_sensor(part["sensor"]),
                    **{name: part[name] for name in ("magnitude", "shot_no", "delay_ms", "event_no")},
                }
            )

    def _of_sensor(self, sensor: pa.Array) -> dict[str, pa.Array]:
        """Names of sensors, and their targets."""
        import pyarrow.compute as pc

        name = sensor.cast(pa.string())
        return {"sensor": name, "target": self._targets.take(pc.index_in(name, self._names))}

    def splits(self) -> np.ndarray:
        """Times between two shots of a run."""
        import pyarrow.compute as pc

        found = [np.empty(0, np.float32)]
        for part in self._shots:
            split = part["split_s"]
            later = pc.and_(pc.greater(part["shot_no"], 1), pc.greater_equal(split, 0))
            found.append(split.filter(later).to_numpy().astype(np.float32))
        return np.concatenate(found)

    def delays(self, tables: Tables) -> dict[str, tuple[np.ndarray, float]]:
        """Delays of the hits, with the offset, by sensor."""
        found: dict[str | None, list[np.ndarray]] = {}
        for part in self._impacts:
            hits = _arrays(part.filter(part["matched"]))
            sensor, delay = hits["sensor"].indices.fill_null(-1).to_numpy(), hits["delay_ms"].to_numpy()
            for number, name in enumerate([*hits["sensor"].dictionary.to_pylist(), None]):
                mine = sensor == (number if name is not None else -1)
                found.setdefault(name, []).append(delay[mine].astype(np.float32))
        return {
            row["sensor"] or "unnamed sensor": (
                np.concatenate([np.empty(0, np.float32), *found.get(row["sensor"], [])]),
                row["offset_ms"],
            )
            for row in tables.read(schema.SENSORS, ["sensor", "offset_ms"]).to_pylist()
        }


def _found(tables: Tables, scratch: Path) -> tuple[Aside, Aside, Aside]:
    """Shots, impacts within runs, and what the timer told of shots, as they happened."""
    import pyarrow.compute as pc

    kinds = {"shots": _SHOT, "impacts": _IMPACT, "told": _TOLD}
    found = {name: Aside(scratch, name, pa.schema([(one, _TYPES[one]) for one in kinds[name]])) for name in kinds}
    others = [name for name in schema.EVENTS.schema.names if name not in _NEEDED]
    some: list[pa.RecordBatch] = []

    def put() -> None:
        rows = pa.Table.from_batches(some).unify_dictionaries().combine_chunks()
        some.clear()
        impact = pc.equal(rows["event_type"], "impact_detected")
        told = pc.and_(pc.equal(rows["event_type"], "timer_shot_detail"), rows["run_no"].is_valid())
        which = {
            "shots": pc.and_not(rows["shot_no"].is_valid(), impact),
            "impacts": pc.and_(impact, rows["matched"].is_valid()),
            "told": pc.and_(told, rows["shot_number"].is_valid()),
        }
        for name, aside in found.items():
            aside.put(rows.filter(which[name]))
        memory.give_back()

    for batch in events(tables, _KINDS, without=others, at_once=_AT_ONCE):
        columns = {name: batch.column(name) for name in {*_SHOT, *_IMPACT, *_TOLD} - {"sensor"}}
        columns["ts"] = pc.coalesce(batch.column("corrected_time"), batch.column("ts"))
        sensor = pc.coalesce(*(_named(batch.column(name)) for name in ("device_id", "device_position")))
        columns["sensor"] = sensor.dictionary_encode()
        columns["event_type"] = batch.column("event_type").cast(pa.string())
        some.append(pa.RecordBatch.from_pydict(columns))
        if len(some) == _KEPT:
            put()
    if some:
        put()
    return found["shots"], found["impacts"], found["told"]


def _named(column: pa.Array) -> pa.Array:
    """Texts, null for an empty one."""
    import pyarrow.compute as pc

    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


def _keys(found: pa.Table, within: str) -> np.ndarray:
    """A number for each row that grows with the run, and in a run with another column."""
    keys = found["run_no"].to_numpy().astype(np.int64)
    keys <<= 32
    keys += found[within].to_numpy()
    return keys


def _places(keys: np.ndarray, of: np.ndarray, values: np.ndarray) -> pa.Array:
    """For each of some ordered keys the value that belongs to it; null where there is none."""
    places = np.full(len(keys), -1, np.int32)
    at = np.searchsorted(keys, of)
    known = at < len(keys)
    known[known] = keys[at[known]] == of[known]
    places[at[known]] = values[known]
    return pa.array(places, mask=places < 0)


def _arrays(rows: pa.Table) -> dict[str, pa.Array]:
    rows = rows.combine_chunks()
    return {
        name: column.chunk(0) if column.num_chunks else pa.array([], column.type)
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
