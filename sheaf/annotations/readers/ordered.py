"""Boxes or masks in their order: in memory while they are few, on disk while they are many.

Rows are put into files by ranges of their rank, so that each file can be put in order by itself; only the columns
that other rows refer to stay in memory. Not here: which rows there are (`objects`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from sheaf import memory

_MOST_HELD = 64 * 1024
_FILES = 32


@dataclass
class Pile:
    """Rows in any order, to be put in order.

    Attributes:
        folder: takes the files; made when it is needed.
        schema: columns of the rows, with an integer `rank` from 0.
        ranks: how many ranks there are.
    """

    folder: Path
    schema: pa.Schema
    ranks: int
    _held: list[pa.RecordBatch] = field(default_factory=list)
    _rows: int = 0
    _writers: dict[int, pa.RecordBatchFileWriter] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add some rows."""
        self._held.append(batch)
        self._rows += batch.num_rows
        if self._rows > _MOST_HELD:
            self._spill()

    def _spill(self) -> None:
        import numpy as np

        held = pa.Table.from_batches(self._held, schema=self.schema)
        self._held, self._rows = [], 0
        parts = held["rank"].to_numpy() * _FILES // max(self.ranks, 1)
        for part in np.unique(parts).tolist():
            if part not in self._writers:
                self.folder.mkdir(exist_ok=True)
                self._writers[part] = pa.ipc.new_file(self._path(part), self.schema)
            self._writers[part].write_table(held.filter(pa.array(parts == part)))
        del held
        memory.give_back()

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:03d}.arrow"

    def in_order(self, by: tuple[str, ...], schema: pa.Schema, kept: tuple[str, ...]) -> "Ordered":
        """All rows in the order of some columns, the first of which is the rank.

        Args:
            schema: the columns that are kept.
            kept: those that stay in memory.
        """
        keys = [(name, "ascending") for name in by]
        if not self._writers:
            table = pa.Table.from_batches(self._held, schema=self.schema).sort_by(keys).select(schema.names)
            return Ordered(schema, [table], {name: _one(table[name]) for name in kept})
        self._spill()
        columns: dict[str, list[pa.ChunkedArray]] = {name: [] for name in kept}
        paths: list[pa.Table | Path] = []
        for part, writer in sorted(self._writers.items()):
            writer.close()
            path = self._path(part)
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                table = reader.read_all().sort_by(keys).select(schema.names)
            for name in kept:
                columns[name].append(table[name])
            with pa.ipc.new_file(path, table.schema) as rewriter:
                rewriter.write_table(table)
            del table
            paths.append(path)
        held: dict[str, pa.Array] = {}
        for name in kept:
            held[name] = pa.concat_arrays([chunk for column in columns.pop(name) for chunk in column.chunks])
        memory.give_back()
        return Ordered(schema, paths, held)


@dataclass(frozen=True)
class Ordered:
    """Rows in order; some columns are in memory and can be replaced."""

    schema: pa.Schema
    parts: list[pa.Table | Path]
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> pa.Array:
        """A column that is in memory."""
        return self.columns[name]

    def with_column(self, name: str, values: pa.Array) -> "Ordered":
        """The same rows with other values in a column."""
        return replace(self, columns=self.columns | {name: values})

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        start = 0
        for part in self.parts:
            if isinstance(part, Path):
                with pa.OSFile(str(part)) as file, pa.ipc.open_file(file) as reader:
                    table = reader.read_all()
            else:
                table = part
            for batch in table.to_batches():
                arrays = [
                    self.columns[name].slice(start, batch.num_rows) if name in self.columns else batch.column(name)
                    for name in self.schema.names
                ]
                start += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
