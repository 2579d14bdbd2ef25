"""The events of a match with what the analysis says about them, batch by batch, for the writers."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from sheaf.ahead import ahead
from sheaf.errors import StaleError
from sheaf.matches import schema
from sheaf.matches.analysis.runs_tables import load_manifest, run_ids
from sheaf.matches.readers import devices
from sheaf.tables.pinned import Tables

_AT_ONCE = 4 * 1024
_APART = (
    "The events of match {match!r} and what the analysis says about them do not belong together: "
    "run `sheaf run matches {match}`."
)
TEXTS = (
    *("event_type", "source_type", "device", "device_id", "device_position", "details", "session_id"),
    *("dialect", "source_file"),
)
"""Columns that come as dictionaries, because their values repeat."""
OF_RUNS = ("stage", "bay", "string", "shooter")
"""What events have from their run."""


def events(
    tables: Tables, types: Sequence[str] | None = None, *, without: Sequence[str] = (), at_once: int = _AT_ONCE
) -> Iterator[pa.RecordBatch]:
    """The chosen events in order: columns of `events`, of `event_runs`, `run_id`, `OF_RUNS`, `target`; `TEXTS` encoded.

    Args:
        types: of the events, canonical or of their sources; None for all.
        without: columns of `events` to leave out, never its key; not to read them is faster.
        at_once: of how many events a batch is at most.

    Raises:
        StaleError: the two tables are not about the same events.
    """
    import pyarrow.compute as pc

    names = [name for name in schema.EVENT_RUNS.schema.names if name not in ("event_no", "split_s")]
    read = [name for name in schema.EVENTS.schema.names if name not in without]
    left = tables.batches(schema.EVENTS, read, TEXTS)
    right = tables.batches(schema.EVENT_RUNS)
    chosen = pa.array(types or (), pa.string())
    of_runs = OfRuns(tables)
    for event, run in ahead(_joined(tables.partition, left, right, at_once), most=1):
        columns = {
            **{name: event.column(name) for name in event.schema.names},
            **{name: run.column(name) for name in names},
            "split_s": pc.coalesce(run.column("split_s"), event.column("split_s")),
            "run_id": run_ids(run.column("run_no")),
            **of_runs.of(run.column("run_no")),
        }
        if "device_id" in columns:
            columns["target"] = of_runs.target(columns["event_type"], columns["device_id"])
        batch = pa.RecordBatch.from_pydict(columns)
        if types:
            batch = batch.filter(
                pc.or_(
                    pc.is_in(batch.column("event_type"), chosen),
                    pc.fill_null(pc.is_in(batch.column("source_type"), chosen), False),
                )
            )
        if batch.num_rows:
            yield batch


class OfRuns:
    """What events and shots have from their run: where it was shot, and by whom; and targets from match.yaml."""

    def __init__(self, tables: Tables) -> None:
        runs = tables.read(schema.RUNS, list(OF_RUNS)).combine_chunks()
        self._of = {
            name: (
                runs[name].dictionary_encode() if pa.types.is_string(runs[name].type) else runs[name]
            ).combine_chunks()
            for name in OF_RUNS
        }
        known = devices.resolve((), load_manifest(tables).devices).devices
        self._targets = {name: device.target for name, device in known.items() if device.target}

    def of(self, run_no: pa.Array) -> dict[str, pa.Array]:
        """`OF_RUNS` by number of the run."""
        import pyarrow.compute as pc

        place = pc.subtract(run_no, pa.scalar(1, pa.int32()))
        return {name: column.take(place) for name, column in self._of.items()}

    def target(self, event_type: pa.Array, device_id: pa.Array) -> pa.Array:
        """Target of the sensor of an impact."""
        import pyarrow.compute as pc

        if not self._targets:
            return pa.nulls(len(device_id), pa.string())
        names, targets = (pa.array(values, pa.string()) for values in (self._targets, self._targets.values()))
        found = targets.take(pc.index_in(device_id.cast(pa.string()), names))
        impact = pc.equal(event_type.cast(pa.string()), "impact_detected")
        return pc.if_else(impact, found, pa.scalar(None, pa.string()))


def counts(tables: Tables) -> dict[str, int]:
    """What every manifest of a match tells."""
    read = tables.row(schema.MATCH, ["lines_read", "events", "rejected", "pending", "duplicates"])
    found = tables.row(schema.TOTALS, ["runs", "shots", "impacts", "orphan_shots", "orphan_impacts"])
    return {**read, **found}


def warnings(tables: Tables) -> tuple[str, ...]:
    """What whoever uses an export of the match should know about its sources, runs and sensors."""
    return tuple(
        warning
        for table in (schema.MATCH, schema.TOTALS)
        for warning in tables.read(table, ["warnings"])["warnings"][0].as_py()
    )


def _joined(
    match: str, left: Iterable[pa.RecordBatch], right: Iterable[pa.RecordBatch], at_once: int
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Two streams joined by `event_no`, by which both are in order, cut at the same rows."""
    events, runs = (filter(len, batches) for batches in (left, right))
    a, b = next(events, None), next(runs, None)
    while a is not None and b is not None:
        size = min(a.num_rows, b.num_rows, at_once)
        event, run = a.slice(0, size), b.slice(0, size)
        if not event.column("event_no").equals(run.column("event_no")):
            raise StaleError(_APART.format(match=match))
        yield event, run
        a = a.slice(size) if a.num_rows > size else next(events, None)
        b = b.slice(size) if b.num_rows > size else next(runs, None)
    if a is not None or b is not None:
        raise StaleError(_APART.format(match=match))
