"""Shots and impacts of one match, a row for each: when, in which run, and what it hit or came from.

Put together from the events and what `analysis` says about each. What is held of a match are numbers, about fifty bytes
for each shot and impact. Not here: which impact belongs to which shot (`correlate`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.matches import schema
from sheaf.matches.analysis import plots
from sheaf.matches.analysis.events_stream import events
from sheaf.matches.analysis.run_events import LONGEST_US
from sheaf.matches.analysis.runs_tables import load_manifest, run_ids
from sheaf.matches.readers import devices
from sheaf.report import Report
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work

_AT_ONCE = 16 * 1024
_KEPT = 16
"""Batches after which free memory goes back."""
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
    import pyarrow.compute as pc

    tables = work.tables
    known = devices.resolve((), load_manifest(tables).devices).devices
    total = tables.row(schema.TOTALS, ["impacts", "orphan_impacts"])
    sensed = total["impacts"] + total["orphan_impacts"] > 0
    happened = _Happened(tables, {name: device.target for name, device in known.items()})
    splits, delays = happened.splits(), happened.delays(tables)
    memory.give_back()
    shots = work.write(schema.SHOTS, happened.shot_rows(sensed))
    impacts = work.write(schema.IMPACTS, happened.impact_rows())
    hits = pc.sum(happened.impacts["matched"]).as_py() or 0
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
    """The shots of a match by run and number, and its impacts by run and event."""

    def __init__(self, tables: Tables, targets: dict[str, str | None]) -> None:
        import pyarrow.compute as pc

        shots, impacts, told = _found(tables)
        self.shots, self.impacts = _in_order(shots, "shot_no"), _in_order(impacts, "event_no")
        sensor = self.impacts["sensor"].combine_chunks()
        self._sensors, self._sensor_of_impact = sensor.dictionary, sensor.indices
        self._delay_of_impact = self.impacts["delay_ms"].combine_chunks()
        self._run_of_impact = self.impacts["run_no"].to_numpy()
        names, of_names = pa.array(targets.keys(), pa.string()), pa.array(targets.values(), pa.string())
        self._targets = of_names.take(pc.index_in(self._sensors, names))
        runs = tables.read(schema.RUNS, ["beep_time", "start_time"])
        self._origin = pc.coalesce(runs["beep_time"], runs["start_time"]).cast(pa.int64()).to_numpy()
        # What the timer wrote about a shot beside the shot itself, the first time that it did.
        self._told_keys, self._told_first = np.unique(_keys(told, "shot_number"), return_index=True)
        self._told = told["shot_time_s"].combine_chunks()

    def _impact_of(self, shots: dict[str, pa.Array], keys: np.ndarray) -> pa.Array:
        """Which impact each of some neighbouring shots made; null for none."""
        first = int(np.searchsorted(self._run_of_impact, shots["run_no"][0].as_py(), "left"))
        last = int(np.searchsorted(self._run_of_impact, shots["run_no"][-1].as_py(), "right"))
        near = self.impacts.slice(first, last - first).select(["run_no", "shot_no", "matched"])
        hits = np.flatnonzero(near["matched"].to_numpy())
        return _places(keys, _keys(near.filter(near["matched"]), "shot_no"), first + hits)

    def shot_rows(self, sensed: bool) -> Iterator[pa.RecordBatch]:
        """The table of shots; without any sensor nobody knows which of them hit."""
        import pyarrow.compute as pc

        for _, part in _parts(self.shots):
            run, time, keys = part["run_no"], part["ts"], _keys(part, "shot_no")
            since = time.cast(pa.int64()).to_numpy() - self._origin[run.to_numpy() - 1]
            impact = self._impact_of(part, keys)
            sensor = self._sensor_of_impact.take(impact)
            told = self._told.take(_places(keys, self._told_keys, self._told_first))
            yield pa.RecordBatch.from_pydict(
                {
                    "run_id": run_ids(run),
                    "shot_no": part["shot_no"],
                    "time": time,
                    "since_beep_s": pa.array(since / 1e6, mask=np.abs(since) > LONGEST_US),
                    "split_s": pc.if_else(pc.greater(part["shot_no"], 1), part["split_s"], None),
                    "timer_time_s": pc.coalesce(part["shot_time_s"], told),
                    "sensor": self._sensors.take(sensor),
                    "target": self._targets.take(sensor),
                    "delay_ms": self._delay_of_impact.take(impact),
                    "status": pc.if_else(impact.is_valid(), "hit", "miss")
                    if sensed
                    else pa.repeat("unknown", len(run)),
                    "event_no": part["event_no"],
                }
            )

    def impact_rows(self) -> Iterator[pa.RecordBatch]:
        """The table of impacts."""
        for start, part in _parts(self.impacts):
            sensor = self._sensor_of_impact.slice(start, len(part["ts"]))
            yield pa.RecordBatch.from_pydict(
                {
                    "run_id": run_ids(part["run_no"]),
                    "time": part["ts"],
                    "sensor": self._sensors.take(sensor),
                    "target": self._targets.take(sensor),
                    **{name: part[name] for name in ("magnitude", "shot_no", "delay_ms", "event_no")},
                }
            )

    def splits(self) -> np.ndarray:
        """Times between two shots of a run."""
        import pyarrow.compute as pc

        split = self.shots["split_s"]
        later = pc.and_(pc.greater(self.shots["shot_no"], 1), pc.greater_equal(split, 0))
        return split.filter(later).to_numpy().copy()  # who draws them sorts them in place

    def delays(self, tables: Tables) -> dict[str, tuple[np.ndarray, float]]:
        """Delays of the hits, with the offset, by sensor."""
        delay, matched = self._delay_of_impact.to_numpy(zero_copy_only=False), self.impacts["matched"].to_numpy()
        number = {name: place for place, name in enumerate(self._sensors.to_pylist())} | {None: -1}
        sensor = self._sensor_of_impact.fill_null(-1).to_numpy()
        return {
            row["sensor"] or "unnamed sensor": (
                delay[matched & (sensor == number.get(row["sensor"]))],
                row["offset_ms"],
            )
            for row in tables.read(schema.SENSORS, ["sensor", "offset_ms"]).to_pylist()
        }


def _found(tables: Tables) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Shots, impacts within runs, and what the timer told of shots, as they happened."""
    import pyarrow.compute as pc

    found = tuple(_Rows(names) for names in (_SHOT, _IMPACT, _TOLD))
    others = [name for name in schema.EVENTS.schema.names if name not in _NEEDED]
    for number, batch in enumerate(events(tables, _KINDS, without=others, at_once=_AT_ONCE), 1):
        kind = batch.column("event_type").cast(pa.string())
        sensor = pc.coalesce(*(_named(batch.column(name)) for name in ("device_id", "device_position")))
        columns = {name: batch.column(name) for name in {*_SHOT, *_IMPACT, *_TOLD} - {"sensor"}}
        columns["ts"] = pc.coalesce(batch.column("corrected_time"), batch.column("ts"))
        columns["sensor"] = sensor.dictionary_encode()
        batch = pa.RecordBatch.from_pydict(columns)
        impact = pc.equal(kind, "impact_detected")
        known = pc.and_(batch.column("run_no").is_valid(), batch.column("shot_number").is_valid())
        for rows, which in zip(
            found,
            (
                pc.and_not(batch.column("shot_no").is_valid(), impact),
                pc.and_(impact, batch.column("matched").is_valid()),
                pc.and_(pc.equal(kind, "timer_shot_detail"), known),
            ),
            strict=True,
        ):
            rows.add(batch, which)
        if number % _KEPT == 0:
            for rows in found:
                rows.pack()
            memory.give_back()
    shots, impacts, told = (rows.table() for rows in found)
    return shots, impacts, told


class _Rows:
    """Rows that are found some at a time, and lie together: in small pieces they would keep what is between them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._schema = pa.schema([(name, _TYPES[name]) for name in names])
        self._found: list[pa.RecordBatch] = []
        self._packed: list[pa.Table] = []

    def add(self, batch: pa.RecordBatch, which: pa.Array) -> None:
        self._found.append(batch.select(self._schema.names).filter(which))

    def pack(self) -> None:
        self._packed.append(pa.Table.from_batches(self._found, self._schema).unify_dictionaries().combine_chunks())
        self._found = []

    def table(self) -> pa.Table:
        self.pack()
        return pa.concat_tables(self._packed).unify_dictionaries()


def _named(column: pa.Array) -> pa.Array:
    """Texts, null for an empty one."""
    import pyarrow.compute as pc

    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


def _in_order(found: pa.Table, within: str) -> pa.Table:
    """Rows by run, then by another column; mostly they are already."""
    keys = _keys(found, within)
    return found if (keys[1:] >= keys[:-1]).all() else found.take(pa.array(np.argsort(keys, kind="stable")))


def _keys(found: pa.Table | dict[str, pa.Array], within: str) -> np.ndarray:
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


def _parts(found: pa.Table) -> Iterator[tuple[int, dict[str, pa.Array]]]:
    """Some rows at a time, with the number of the first."""
    for start in range(0, found.num_rows, _AT_ONCE):
        part = found.slice(start, _AT_ONCE).combine_chunks()
        yield start, {name: part[name].combine_chunks() for name in part.schema.names}
