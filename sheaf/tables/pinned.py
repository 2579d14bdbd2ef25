"""The tables of one partition as a step or an export reads them: pinned, so that they stay the same.

Not here: which generations those are (`sheaf/coherence.py`).
"""

from __future__ import annotations  # types of tables bring pyarrow, which many commands never need

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.clock import as_time
from sheaf.errors import DamagedError, NotFoundError, SheafError, StoreError
from sheaf.store.errors import clear_errors
from sheaf.store.store import Store
from sheaf.tables.accounts import REJECTS_FILE
from sheaf.tables.generations import Generation, Part, TableFile
from sheaf.tables.table import UTC_TIME, arrow_type

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.fs
    import pyarrow.parquet

    from sheaf.tables.table import Table

_AT_ONCE = 16 * 1024


class Tables:
    """The tables of one partition.

    Attributes:
        store: where they are.
        partition: whose they are.
        generations: what they were taken from, by step.
    """

    def __init__(
        self,
        store: Store,
        partition: str,
        generations: Mapping[str, Generation],
        wanted: Iterable[Table] | None = None,
    ) -> None:
        """Pin the tables of some generations.

        Args:
            wanted: the tables that may be read; None for all there are.
        """
        self.store = store
        self.partition = partition
        self.generations = dict(generations)
        names = None if wanted is None else {table.name for table in wanted}
        self._files: dict[str, TableFile] = {
            name: file
            for generation in generations.values()
            for name, file in generation.tables.items()
            if name != REJECTS_FILE and (names is None or name in names)
        }
        self._local: dict[tuple[str, str], Path] = {}

    def __contains__(self, table: Table) -> bool:
        """Whether there is such a table."""
        return table.name in self._files

    def file(self, table: Table) -> TableFile:
        """Where a table lies, with its size, rows and sha256.

        Raises:
            NotFoundError: it was never made.
        """
        if table.name not in self._files:
            raise NotFoundError(
                f"{table.domain} {self.partition!r} has no {table.name} table yet: "
                f"run `sheaf run {table.domain} {self.partition}`."
            )
        return self._files[table.name]

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """One table in memory; raises `NotFoundError` where it was never made."""
        import pyarrow as pa

        parts = []
        for part in self.file(table).files:
            with self._open(table, part) as parquet:
                parts.append(parquet.read(columns=list(columns) if columns else None))
        return pa.concat_tables(parts)

    def row(self, table: Table, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """The only row of a table by column; raises `NotFoundError` where it was never made.

        Times are made here: Arrow loads pandas for them, which takes longer than all else that a list of partitions
        needs.
        """
        read = self.read(table, columns)
        if read.num_rows != 1:
            raise DamagedError(
                f"{table.domain} {self.partition!r}: {table.name} has {read.num_rows} rows instead of one."
            )
        found: dict[str, Any] = {}
        for name, values in zip(read.column_names, read.columns, strict=True):
            value = values[0]
            if value.is_valid and value.type == arrow_type(UTC_TIME):
                found[name] = as_time(value.value)
            else:
                found[name] = value.as_py()
        return found

    def rows(self, table: Table) -> int:
        """How many rows a table has; raises `NotFoundError` where it was never made."""
        return self.file(table).rows

    def batches(
        self, table: Table, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = ()
    ) -> Iterable[pa.RecordBatch]:
        """One table as a stream, for data larger than memory.

        Args:
            dictionaries: text columns to give as dictionaries, which is faster where values repeat.

        Raises:
            NotFoundError: it was never made.
        """
        for part in self.file(table).files:
            yield from self.of_part(table, part, columns, dictionaries)

    def of_part(
        self, table: Table, part: Part, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """One file of a table as a stream; else as `batches`."""
        with self._open(table, part, dictionaries) as parquet:
            for group in range(parquet.num_row_groups):  # all at once, Arrow would read ahead without bound
                yield from parquet.iter_batches(_AT_ONCE, [group], columns=list(columns) if columns else None)

    @contextmanager
    def dataset(self, table: Table) -> Iterator[pyarrow.dataset.Dataset]:
        """One table as a dataset that DuckDB streams inside the block; raises `NotFoundError` where it was never made.

        What the store refuses meanwhile is raised in its own words, whatever DuckDB makes of it.
        """
        import pyarrow.dataset as ds

        parts = self.file(table).files
        stored = [part for part in parts if (table.name, part.sha256) not in self._local]
        local = [str(self._local[table.name, part.sha256]) for part in parts if part not in stored]
        try:
            with self._files_of_store() as files:
                of_store = {"filesystem": files, "schema": table.schema, "format": "parquet"}
                found = [ds.dataset([part.path for part in stored], **of_store)] if stored else []
                found += [ds.dataset(local, schema=table.schema, format="parquet")] if local else []
                yield found[0] if len(found) == 1 else ds.dataset(found)
        except SheafError:
            raise
        except Exception:
            for part in stored:
                if self.store.size(part.path) != part.size:
                    raise self._damaged(table.domain, part) from None
            raise

    def rejects(self, step: str) -> Iterator[pa.RecordBatch]:
        """What a step noted as not used, changed or faulty, in columns of `rejects.COLUMNS`."""
        import pyarrow.parquet as pq

        generation = self.generations.get(step)
        file = generation.tables.get(REJECTS_FILE) if generation else None
        if generation and file:
            with (
                self._reading(generation.domain, file) as files,
                files.open_input_file(file.path) as opened,
                pq.ParquetFile(opened) as parquet,
            ):
                yield from parquet.iter_batches(_AT_ONCE)

    def add(self, table: Table, file: TableFile, local: Mapping[str, Path]) -> None:
        """A table that a step has just written; what is not in the store yet is `local`, by its sha256."""
        self._files[table.name] = file
        self._local |= {(table.name, sha256): path for sha256, path in local.items()}

    @contextmanager
    def _open(
        self, table: Table, stored: Part, dictionaries: Sequence[str] = ()
    ) -> Iterator[pyarrow.parquet.ParquetFile]:
        import pyarrow.parquet as pq

        local = self._local.get((table.name, stored.sha256))
        # What is fetched ahead would be kept until the end.
        options = {"pre_buffer": False, "read_dictionary": list(dictionaries)}
        if local is not None:
            with pq.ParquetFile(local, **options) as parquet:
                yield parquet
        else:
            with (
                self._reading(table.domain, stored) as files,
                files.open_input_file(stored.path) as file,
                pq.ParquetFile(file, **options) as parquet,
            ):
                yield parquet

    @contextmanager
    def _reading(self, domain: str, file: Part) -> Iterator[pyarrow.fs.FileSystem]:
        """What goes wrong while a table is read, as one sentence: its bytes are damaged, or the store fails."""
        import pyarrow as pa

        broken = False
        try:
            with self._files_of_store() as files, clear_errors(self.store.url, file.path):
                try:
                    yield files
                except pa.ArrowInvalid:
                    broken = True
                    raise
        except NotFoundError:
            raise self._damaged(domain, file) from None
        except StoreError:
            if not broken and self.store.size(file.path) == file.size:
                raise
            raise self._damaged(domain, file) from None

    @contextmanager
    def _files_of_store(self) -> Iterator[pyarrow.fs.FileSystem]:
        """The store for Arrow; what it refused inside the block is raised as it said it, whatever was made of that."""
        failures: list[SheafError] = []
        try:
            yield self.store.filesystem(failures.append)
        except Exception:
            if failures:
                raise failures[0] from None
            raise
        if failures:
            raise failures[0]

    def _damaged(self, domain: str, file: Part) -> DamagedError:
        gone = self.store.size(file.path) is None
        return DamagedError(
            f"{self.store.url}/{file.path} is {'gone' if gone else 'damaged'}: "
            f"run `sheaf run {domain} {self.partition} --again`."
        )
