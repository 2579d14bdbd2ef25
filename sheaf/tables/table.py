"""What a table is: pinned columns with units, and its rows as Parquet files of equal bytes for equal rows.

Not here: which tables a domain has (`<domain>/schema.py`), nor where they lie in the store (`generations`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

UTC_TIME = pa.timestamp("us", tz="UTC")
ROW_GROUP = 32 * 1024
"""Rows in one row group, however the data came: equal rows give equal bytes."""

Rows = pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch]


def column(name: str, type_: pa.DataType, description: str, unit: str | None = None, *, null: bool = True) -> pa.Field:
    """One column of a table, with its description and unit in the field's metadata."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, type_, nullable=null, metadata=metadata)


@dataclass(frozen=True)
class Table:
    """One kind of record.

    Attributes:
        domain: the domain it belongs to.
        name: its name, once in the domain.
        kind: what a partition of the domain is: `batch`, `match`, `media_batch` or `project`.
        schema: pinned columns; what is written always has exactly these.
        description: one sentence.
        only_grows: whether fewer rows than before mean that something was lost, as with sensor points;
            what people curate (samples, labels) may become less.
        may_be_empty: whether nothing is as good as something, as with marks that people may take back.
        needed: what a delivery is worth nothing without, in one word: it is refused when all rows that it has
            for the tables of that word were rejected.
    """

    domain: str
    name: str
    kind: str
    schema: pa.Schema
    description: str = ""
    only_grows: bool = False
    may_be_empty: bool = False
    needed: str = ""


def from_rows(table: Table, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Build a table from dictionaries; keys the schema does not know are an error."""
    known = set(table.schema.names)
    for row in rows:
        if unknown := row.keys() - known:
            raise KeyError(f"{table.name} has no column {sorted(unknown)}")
    return pa.Table.from_pylist(list(rows), schema=table.schema)


def write_parquet(path: Path, schema: pa.Schema, data: Rows) -> int:
    """Write rows to a local Parquet file.

    Args:
        data: columns in any order; they are cast to the schema. Batches are streamed, so that memory
            is bounded by the largest of them.

    Returns:
        How many rows there are.

    Raises:
        pyarrow.ArrowInvalid: the data does not fit the schema.
    """
    import pyarrow.parquet as pq

    batches = cast(pa.Table, data).to_batches() if isinstance(data, pa.Table) else data
    rows = 0
    groups = _row_groups(batches, schema)
    first = next(groups, schema.empty_table())
    dictionaries: Any = _repeating(first)  # names of columns do as well
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries) as writer:
        for group in chain([first], groups):
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += group.num_rows
    return rows


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of `ROW_GROUP` rows, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(_conform(batch, schema))
        rows += batch.num_rows
        while rows >= ROW_GROUP:
            together = pa.Table.from_batches(waiting)
            yield together.slice(0, ROW_GROUP).combine_chunks()
            waiting = together.slice(ROW_GROUP).to_batches()
            rows -= ROW_GROUP
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _repeating(first: pa.Table) -> list[str]:
    """The columns in which values repeat: a dictionary of the others costs time and holds them all once more."""
    flat = [field.name for field in first.schema if not pa.types.is_nested(field.type)]
    return [name for name in flat if len(first[name].unique()) * 2 <= first.num_rows]


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for wanted in schema:
        array = batch.column(wanted.name)
        if not wanted.nullable and array.null_count:
            raise pa.ArrowInvalid(f"column {wanted.name!r} has {array.null_count} empty values but must have none")
        arrays.append(array if array.type == wanted.type else array.cast(wanted.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
