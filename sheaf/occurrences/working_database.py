"""A DuckDB database for one step or one export: bounded memory, spilling beside its working files.

Here: opening it, seeing stored tables as views. Not here: any query.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sheaf import duck, sql
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

if TYPE_CHECKING:
    import duckdb

MEMORY = "700MB"
ROWS = 64 * 1024  # what is read or written at once


@contextmanager
def working_database(folder: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """An empty database in a scratch folder."""
    with duck.connect(str(folder / "work.duckdb")) as database:
        database.execute(f"SET memory_limit = '{MEMORY}'")
        database.execute(f"SET temp_directory = {duck.quoted(folder / 'spill')}")
        database.execute("SET TimeZone = 'UTC'")
        yield database


@contextmanager
def open_tables(
    folder: Path,
    tables: Tables,
    wanted: Sequence[Table],
    select: Callable[[str], str] = lambda _: "SELECT *",
    macros: str = "",
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A database in which pinned tables of one project are views of the same names.

    Args:
        select: what is seen of a table, as SQL before its FROM.
        macros: SQL that has to be run before.

    Raises:
        NotFoundError: one of them was never made.
    """
    with working_database(folder) as database:
        if macros:
            database.execute(macros)
        for table in wanted:
            path = tables.file(table).path
            if tables.store.root is not None:
                local = tables.store.root / path
            else:  # DuckDB reads s3:// only with an extension that has to be downloaded
                local = folder / "stored" / f"{table.name}.parquet"
                local.parent.mkdir(exist_ok=True)
                tables.store.download(path, local)
            file = sql.literal(str(local))
            database.execute(f"CREATE VIEW {sql.name(table.name)} AS {select(table.name)} FROM read_parquet({file})")
        yield database
