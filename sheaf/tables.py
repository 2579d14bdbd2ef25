"""Typed, validated records of one partition, as Parquet in the store.

Here: what a table is (`Table`, `column`), writing one atomically, reading it back, and the
`rejects` table that every domain keeps. Not here: which tables a domain has (`<domain>/schema.py`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from sheaf.errors import InputError, NotFoundError
from sheaf.names import check_partition
from sheaf.scratch import scratch_folder
from sheaf.store import Store

if TYPE_CHECKING:
    import pyarrow.dataset

UTC_TIME = pa.timestamp("us", tz="UTC")
ROW_GROUP = 32 * 1024
"""Rows in one row group, however the data came: equal rows give equal bytes."""
_AT_ONCE = 16 * 1024


def column(name: str, type_: pa.DataType, description: str, unit: str | None = None, *, null: bool = True) -> pa.Field:
    """One column of a table, with its description and unit in the field's metadata."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, type_, nullable=null, metadata=metadata)


@dataclass(frozen=True)
class Table:
    """One kind of record.

    Attributes:
        domain: the domain it belongs to.
        name: its name in the store.
        kind: what a partition of the domain is: `batch`, `match`, `media_batch` or `project`.
        schema: pinned columns; what is written always has exactly these.
        description: one sentence.
    """

    domain: str
    name: str
    kind: str
    schema: pa.Schema
    description: str = ""

    @property
    def folder(self) -> str:
        """Where all partitions of the table live in the store."""
        return f"tables/{self.domain}/{self.name}"

    def path(self, partition: str) -> str:
        """The one object that holds a partition."""
        return f"{self.folder}/{self.kind}={check_partition(partition)}/data.parquet"


@dataclass(frozen=True)
class TableVersion:
    """What is in the store for one partition of a table; `sha256` is its data version."""

    table: str
    partition: str
    rows: int
    size: int
    sha256: str


def write(
    store: Store, table: Table, partition: str, data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch]
) -> TableVersion:
    """Write one partition, replacing what was there in one step.

    Args:
        data: columns in any order; they are cast to the table's schema. Batches are streamed,
            so that memory is bounded by the largest of them.

    Raises:
        pyarrow.ArrowInvalid: the data does not fit the schema.
    """
    import pyarrow.parquet as pq

    target = table.path(partition)
    batches = cast(pa.Table, data).to_batches() if isinstance(data, pa.Table) else data
    rows = 0
    with scratch_folder(store) as folder:
        local = folder / "data.parquet"
        groups = _row_groups(batches, table.schema)
        first = next(groups, table.schema.empty_table())
        dictionaries: Any = _repeating(first)  # names of columns do as well
        with pq.ParquetWriter(local, table.schema, compression="zstd", use_dictionary=dictionaries) as writer:
            for group in chain([first], groups):
                writer.write_table(group, row_group_size=ROW_GROUP)
                rows += group.num_rows
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = local.stat().st_size
        store.put_file(target, local)
    return TableVersion(table.name, partition, rows, size, digest)


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


def from_rows(table: Table, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Build a table from dictionaries; keys the schema does not know are an error."""
    known = set(table.schema.names)
    for row in rows:
        if unknown := row.keys() - known:
            raise KeyError(f"{table.name} has no column {sorted(unknown)}")
    return pa.Table.from_pylist(list(rows), schema=table.schema)


def read(store: Store, table: Table, partition: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One partition in memory.

    Raises:
        NotFoundError: the partition has never been ingested.
    """
    import pyarrow.parquet as pq

    with _open(store, table, partition) as file, pq.ParquetFile(file) as parquet:
        return parquet.read(columns=list(columns) if columns else None)


def batches(
    store: Store,
    table: Table,
    partition: str,
    columns: Sequence[str] | None = None,
    dictionaries: Sequence[str] = (),
) -> Iterable[pa.RecordBatch]:
    """One partition as a stream, for data larger than memory.

    Args:
        dictionaries: text columns to give as dictionaries, which is faster where values repeat.
    """
    import pyarrow.parquet as pq

    # What is fetched ahead would be kept until the end.
    with (
        _open(store, table, partition) as file,
        pq.ParquetFile(file, pre_buffer=False, read_dictionary=list(dictionaries)) as parquet,
    ):
        yield from parquet.iter_batches(_AT_ONCE, columns=list(columns) if columns else None)


def _open(store: Store, table: Table, partition: str) -> pa.NativeFile:
    path = table.path(partition)
    if store.size(path) is None:
        raise NotFoundError(
            f"{table.domain} {partition!r} has no {table.name} table yet: run `sheaf run {table.domain} {partition}`."
        )
    return store.filesystem().open_input_file(path)


def version(store: Store, table: Table, partition: str) -> TableVersion | None:
    """What the store holds of one partition; None when there is nothing."""
    import pyarrow.parquet as pq

    path = table.path(partition)
    size = store.size(path)
    if size is None:
        return None
    with store.filesystem().open_input_file(path) as file, pq.ParquetFile(file) as parquet:
        rows = parquet.metadata.num_rows
    return TableVersion(table.name, partition, rows, size, store.sha256(path))


def partitions(store: Store, table: Table) -> list[str]:
    """The partitions that have been written, sorted; a folder alone is none."""
    start, end = f"{table.folder}/{table.kind}=", "/data.parquet"
    found = (item.path for item in store.list(table.folder))
    return sorted(path[len(start) : -len(end)] for path in found if path.startswith(start) and path.endswith(end))


def dataset(store: Store, table: Table) -> "pyarrow.dataset.Dataset":
    """All partitions together, as a pyarrow dataset that DuckDB can query."""
    import pyarrow.dataset as ds

    paths = [table.path(key) for key in partitions(store, table)]
    return ds.dataset(paths, schema=table.schema, format="parquet", filesystem=store.filesystem())


def rejects_table(domain: str, kind: str) -> Table:
    """The table of what could not be used, the same in every domain."""
    text, number = pa.string(), pa.int64()
    schema = pa.schema(
        [
            column("table", text, "Table the row was meant for", null=False),
            column("reason", text, "Why it was not used, as a sentence", null=False),
            column("file", text, "File below the partition's inbox folder"),
            column("line", number, "Line in that file, from 1"),
            column("byte_offset", number, "Where the line starts in the file", "byte"),
            column("primary_key", text, "The row's key, where it has one"),
            column("raw", text, "The row as it came, as JSON or text, at most 2000 characters"),
            column("blocking", pa.bool_(), "Whether the whole partition cannot be used because of it", null=False),
        ]
    )
    return Table(domain, "rejects", kind, schema, "Rows that break a rule, with reason and origin.")


@dataclass
class Rejects:
    """Collects what could not be used while a partition is read."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        table: str,
        reason: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        byte_offset: int | None = None,
        primary_key: object = None,
        raw: object = None,
        blocking: bool = False,
    ) -> None:
        """Keep one row with the reason, where it came from, and what it said."""
        shown = raw if raw is None or isinstance(raw, str) else json.dumps(raw, default=str, ensure_ascii=False)
        self.rows.append(
            {
                "table": table,
                "reason": reason,
                "file": None if file is None else str(file),
                "line": line,
                "byte_offset": byte_offset,
                "primary_key": None if primary_key is None else str(primary_key),
                "raw": shown[:2000] if shown else shown,
                "blocking": blocking,
            }
        )

    def by_reason(self) -> dict[str, int]:
        """How many rows were rejected for each reason, most frequent first."""
        return dict(Counter(row["reason"] for row in self.rows).most_common())


def refuse(store: Store, rejects: Table, partition: str, reason: str) -> TableVersion:
    """Note that a partition's newest input cannot be used at all; its other tables stay as they are."""
    kept = Rejects()
    kept.add(partition, reason, blocking=True)
    return write(store, rejects, partition, from_rows(rejects, kept.rows))


def refuse_if_blocked(store: Store, rejects: Table, partition: str) -> None:
    """Stop when the newest input of a partition could not be used as a whole.

    Its tables then still hold the last good input; nothing may be published as if it were new.

    Raises:
        InputError: with the reason the input was refused for.
    """
    if store.size(rejects.path(partition)) is None:
        return
    for row in read(store, rejects, partition, ["blocking", "file", "reason"]).to_pylist():
        if row["blocking"]:
            where = f"{partition}/{row['file']}: " if row["file"] else ""
            raise InputError(f"{where}{row['reason']}")
