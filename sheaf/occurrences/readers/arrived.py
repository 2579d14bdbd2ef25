"""What was delivered, as the tables of `input_tables` whatever form it came in: one row, one place it is from.

Here: what a form of delivery has to give, and that of Antenna, one file for each table. Not here: other forms
(`camtrap_dp`, `megadetector`, `wildlife_insights`, `inaturalist`), what rows must be (`ingest`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from sheaf.errors import InputError
from sheaf.occurrences.input_tables import Source
from sheaf.outside import table_files
from sheaf.outside.table_files import LINE, TableFile
from sheaf.tables.rejects import Rejects

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Arrived:
    """The rows of one table as they came, in the table `arrived` of the working database.

    Its column `_line` tells the rows apart, in the order in which they came. What DuckDB can read as fast from its file
    is not copied: whoever has read `arrived` then says `check_whole`.

    Attributes:
        schema: their columns, without `_line`.
        path: what is named when the table as a whole is of no use.
        line: SQL of the line that a row `a` is from.
        file: SQL of the name of its file.
        problems: what went wrong while DuckDB read them.
    """

    schema: pa.Schema
    path: Path
    line: str
    file: str
    problems: list[Exception] = field(default_factory=list)

    def check_whole(self) -> None:
        """Raise `InputError` where the file could not be read to its end."""
        _raise(self.problems, self.path)


class Delivered(Protocol):
    """A delivery of one project in some form."""

    @property
    def whole(self) -> bool:
        """Whether a table that it lacks is worth a word, because the form could have held it."""
        ...

    def bring(self, database: "duckdb.DuckDBPyConnection", source: Source, rejects: Rejects) -> Arrived | None:
        """Make the table `arrived`, in place of that of another source; None when nothing was delivered for it.

        Raises:
            InputError: a file is damaged, half written, or another table.
        """
        ...


@dataclass(frozen=True)
class AntennaFiles:
    """One file for each table, named after it."""

    folder: Path
    whole: bool = True

    def bring(self, database: "duckdb.DuckDBPyConnection", source: Source, rejects: Rejects) -> Arrived | None:
        """As in `Delivered`."""
        path = table_files.table_file(self.folder, source.name)
        if path is None:
            if source.needed:
                raise InputError(
                    f"{self.folder} has no {source.name}.parquet, .ndjson or .csv, which is needed, and no other"
                    " dataset that can be read, such as a Camtrap DP."
                )
            return None
        file = TableFile(path, source.name, rejects)
        read = table_files.read_batches(file, source.columns)
        if lacking := source.lacks(read.schema.names):
            raise InputError(f"{path} has no column {lacking}, which is needed.")
        arrived = Arrived(read.schema, path, f"a.{LINE}", "'" + path.name.replace("'", "''") + "'")
        database.unregister("arrived")
        if path.suffix.lower() == ".parquet":
            database.execute("DROP TABLE IF EXISTS arrived")
            database.register("arrived", _Again(partial(table_files.read_batches, file, source.columns), arrived))
        else:
            load(database, "arrived", read, path)
        return arrived


@dataclass(frozen=True)
class _Again:
    """A file that DuckDB reads from its beginning whenever it is asked for its rows."""

    open: Callable[[], pa.RecordBatchReader]
    of: Arrived

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """As Arrow's protocol has it."""
        read = pa.RecordBatchReader.from_batches(self.of.schema, _noting(self.open, self.of.problems))
        return read.__arrow_c_stream__(requested_schema)


def load(database: "duckdb.DuckDBPyConnection", name: str, read: pa.RecordBatchReader, path: Path) -> None:
    """Make a table of what a file holds.

    Raises:
        InputError: it cannot be read to its end.
    """
    problems: list[Exception] = []
    batches = _noting(lambda: read, problems)
    database.register("incoming", pa.RecordBatchReader.from_batches(read.schema, batches))
    try:
        database.execute(f'CREATE OR REPLACE TABLE "{name}" AS SELECT * FROM incoming')
    finally:
        database.unregister("incoming")
    _raise(problems, path)


def _noting(read: Callable[[], pa.RecordBatchReader], problems: list[Exception]) -> Iterator[pa.RecordBatch]:
    """What is read, as far as it can be."""
    try:
        yield from read()
    except Exception as problem:  # through DuckDB it would come back as the text of a traceback
        problems.append(problem)


def _raise(problems: list[Exception], path: Path) -> None:
    for problem in problems:
        if isinstance(problem, InputError):
            raise problem
        raise InputError(f"{path} cannot be read: {str(problem).splitlines()[0].rstrip('.')}.") from problem


def load_all(database: "duckdb.DuckDBPyConnection", name: str, file: TableFile, columns: Sequence[str]) -> None:
    """Make a table of what a file holds, with all of some columns, as text; `_at` is the line of a row.

    Raises:
        InputError: it cannot be read to its end, or has none of the columns.
    """
    read = table_files.read_batches(file, columns)
    load(database, name, read, file.path)
    database.execute(f'ALTER TABLE "{name}" RENAME COLUMN {LINE} TO _at')
    for column in columns:
        if column not in read.schema.names:
            database.execute(f'ALTER TABLE "{name}" ADD COLUMN "{column}" VARCHAR')


def arrange(database: "duckdb.DuckDBPyConnection", source: Source, query: str, path: Path) -> Arrived:
    """Make `arrived` of a query that gives columns of a table with `_at`, the line, and `_file`, its file's name."""
    database.execute(
        f"CREATE OR REPLACE TABLE arrived AS SELECT *, row_number() OVER (ORDER BY _file, _at) AS {LINE} FROM ({query})"
    )
    found = database.sql("FROM arrived LIMIT 0").to_arrow_table().schema
    kept = [column for column in found if column.name in source.columns]
    return Arrived(pa.schema(kept), path, "a._at", "a._file")
