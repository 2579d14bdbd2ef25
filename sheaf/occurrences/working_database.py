"""A DuckDB database for one step or one export: bounded memory, spilling beside its working files.

Here: opening it, seeing stored tables as views, and values of ours as tables. Not here: any query.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf import duck, sql
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MEMORY = "180MB"
_THREADS = 2  # each needs some of it for itself: with more of them a million occurrences would not fit
ROWS = 64 * 1024  # what is read or written at once


@contextmanager
def working_database(folder: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """An empty database that spills into a scratch folder: to a file of its own it would pack whatever it is given."""
    with duck.connect() as database:
        database.execute(f"SET memory_limit = '{MEMORY}'")
        database.execute(f"SET threads = {min(_THREADS, os.cpu_count() or 1)}")
        database.execute(f"SET temp_directory = {duck.quoted(folder / 'spill')}")
        database.execute("SET GLOBAL TimeZone = 'UTC'")
        database.execute("SET preserve_insertion_order = true")  # rows that came in order are written so, unsorted
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


def in_turn(
    database: "duckdb.DuckDBPyConnection", queries: Iterable[str], rows: int
) -> "Iterator[pa.RecordBatchReader]":
    """The answers to some queries, one after another; while one of them is read, the next is worked at.

    Args:
        rows: how many of them come at once.
    """
    with (
        closing(duck.beside(database)) as one,
        closing(duck.beside(database)) as other,
        ThreadPoolExecutor(1) as aside,
    ):
        waiting = None
        for query, connection in zip(queries, cycle((one, other)), strict=False):
            asked = aside.submit(lambda query=query, connection=connection: connection.sql(query).to_arrow_reader(rows))
            if waiting:
                yield waiting.result()
            waiting = asked
        if waiting:
            yield waiting.result()


def table_of(
    database: "duckdb.DuckDBPyConnection",
    name: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Make a small table of Python values."""
    import pyarrow as pa

    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    found = pa.table({column: pa.array(list(of)) for column, of in zip(columns, values, strict=True)})
    database.register("given", found)
    quoted = map(sql.name, columns)
    cast = ", ".join(f"CAST({column} AS {type_}) AS {column}" for column, type_ in zip(quoted, types, strict=True))
    database.execute(f"CREATE TABLE {sql.name(name)} AS SELECT {cast} FROM given")
    database.unregister("given")
