"""Rows of a table in memory and as Parquet files of equal bytes for equal rows.

Not here: what a table is (`table`), nor where its files lie in the store (`generations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sheaf.tables.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

    Rows = pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch]

ROW_GROUP = 32 * 1024
"""Rows in one row group, however the data came: equal rows give equal bytes."""
PART = 4 * ROW_GROUP
"""Rows in one file of a table that only grows, but for the last: what was written before is not written again."""


def from_rows(table: Table, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Build a table from dictionaries; keys the schema does not know are an error."""
    import pyarrow as pa

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
    groups = _row_groups(data, schema)
    return _write(path, schema, next(groups, schema.empty_table()), groups)


def write_parts(folder: Path, name: str, schema: pa.Schema, data: Rows) -> Iterator[tuple[Path, int]]:
    """As `write_parquet`, into several files of `PART` rows, the last one shorter; each with its rows, in order.

    Equal rows give equal files, so that rows which are appended leave all files but the last as they were.
    """
    groups = _row_groups(data, schema)
    first = next(groups, schema.empty_table())
    for number in count():
        path = folder / f"{name}-{number:04d}.parquet"
        yield path, _write(path, schema, first, islice(groups, PART // ROW_GROUP - 1))
        first = next(groups, None)
        if first is None:
            return


def _write(path: Path, schema: pa.Schema, first: pa.Table, groups: Iterable[pa.Table]) -> int:
    import pyarrow.parquet as pq

    rows = 0
    dictionaries: Any = _repeating(first)  # names of columns do as well
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries) as writer:
        for group in chain([first], groups):
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += group.num_rows
    return rows


def _row_groups(data: Rows, schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of `ROW_GROUP` rows, the last one shorter."""
    import pyarrow as pa

    batches = cast(pa.Table, data).to_batches() if isinstance(data, pa.Table) else data
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
    import pyarrow as pa

    flat = [field.name for field in first.schema if not pa.types.is_nested(field.type)]
    return [name for name in flat if len(first[name].unique()) * 2 <= first.num_rows]


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for wanted in schema:
        array = batch.column(wanted.name)
        if not wanted.nullable and array.null_count:
            raise pa.ArrowInvalid(f"column {wanted.name!r} has {array.null_count} empty values but must have none")
        arrays.append(array if array.type == wanted.type else array.cast(wanted.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
