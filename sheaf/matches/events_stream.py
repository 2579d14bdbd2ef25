"""The events of a match with what the analysis says about them, batch by batch, for the writers."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pydantic import field_validator

from sheaf import tables
from sheaf.ahead import ahead
from sheaf.matches import schema
from sheaf.matches.analysis import run_ids
from sheaf.matches.vocabulary import EVENT_TYPES, SOURCE_TYPES
from sheaf.options import Options
from sheaf.store import Store

_AT_ONCE = 16 * 1024
TEXTS = (
    *("event_type", "source_type", "device", "device_id", "device_position", "details", "session_id"),
    *("dialect", "source_file"),
)
"""Columns that come as dictionaries, because their values repeat."""


class EventFilter(Options):
    """Which events an export holds.

    Attributes:
        events: canonical event types or types of the sources; all when empty.
    """

    events: tuple[str, ...] | None = None

    @field_validator("events")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in EVENT_TYPES and name not in SOURCE_TYPES:
                raise ValueError(f"{name!r} is no event type; known are {', '.join((*EVENT_TYPES, *SOURCE_TYPES))}")
        return names or None


def events(store: Store, match: str, wanted: EventFilter, *, without: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The chosen events in order: columns of `events`, then those of `event_runs` and `run_id`, `TEXTS` encoded.

    Args:
        without: columns of `events` to leave out; not to read them is faster.
    """
    import pyarrow.compute as pc

    names = [name for name in schema.EVENT_RUNS.schema.names if name not in ("event_no", "split_s")]
    read = [name for name in schema.EVENTS.schema.names if name not in without]
    left = tables.batches(store, schema.EVENTS, match, read, TEXTS)
    right = tables.batches(store, schema.EVENT_RUNS, match)
    chosen = pa.array(wanted.events or (), pa.string())
    for event, run in ahead(_aligned(iter(left), iter(right))):
        columns = {
            **{name: event.column(name) for name in event.schema.names},
            **{name: run.column(name) for name in names},
            "split_s": pc.coalesce(run.column("split_s"), event.column("split_s")),
            "run_id": run_ids(run.column("run_no")),
        }
        batch = pa.RecordBatch.from_pydict(columns)
        if wanted.events:
            batch = batch.filter(
                pc.or_(
                    pc.is_in(batch.column("event_type"), chosen),
                    pc.fill_null(pc.is_in(batch.column("source_type"), chosen), False),
                )
            )
        if batch.num_rows:
            yield batch


def counts(store: Store, match: str) -> dict[str, int]:
    """What every manifest of a match tells."""
    names = ["lines_read", "events", "rejected", "pending", "duplicates"]
    read = tables.read(store, schema.MATCH, match, names).to_pylist()[0]
    found = tables.read(
        store, schema.TOTALS, match, ["runs", "shots", "impacts", "orphan_shots", "orphan_impacts"]
    ).to_pylist()[0]
    return {**read, **found}


def warnings(store: Store, match: str) -> tuple[str, ...]:
    """What whoever uses an export of the match should know about its sources."""
    return tuple(tables.read(store, schema.MATCH, match, ["warnings"])["warnings"][0].as_py())


def _aligned(
    left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Two streams of equal length, cut at the same rows."""
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        size = min(a.num_rows, b.num_rows, _AT_ONCE)
        if size:
            yield a.slice(0, size), b.slice(0, size)
        a, b = a.slice(size), b.slice(size)
        a = a if a.num_rows else next(left, None)
        b = b if b.num_rows else next(right, None)
