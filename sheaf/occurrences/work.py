"""A DuckDB database for one step: bounded memory, spilling beside the scratch files.

Here: opening it, seeing stored tables as views, writing a query's result as a table. Not here: any query.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sheaf import duck, tables
from sheaf.errors import NotFoundError
from sheaf.scratch import scratch_folder
from sheaf.store import Store

if TYPE_CHECKING:
    import duckdb

MEMORY = "700MB"
ROWS = 64 * 1024  # rows of a row group: what a reader of one range of rows has to touch


@contextmanager
def working_database(store: Store, time_zone: str = "UTC") -> "Iterator[duckdb.DuckDBPyConnection]":
    """An empty database in a scratch folder, gone afterwards.

    Args:
        time_zone: zone in which a time with an offset becomes a wall time.
    """
    with scratch_folder(store) as folder, duck.connect(str(folder / "work.duckdb")) as database:
        database.execute(f"SET memory_limit = '{MEMORY}'")
        database.execute(f"SET temp_directory = '{folder / 'spill'}'")
        database.execute(f"SET TimeZone = '{time_zone}'")
        yield database


@contextmanager
def open_tables(
    store: Store, project: str, wanted: Sequence[tables.Table], time_zone: str = "UTC"
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A database in which the stored tables of one project are views of the same names.

    Raises:
        NotFoundError: one of them was never written.
    """
    with working_database(store, time_zone) as database, scratch_folder(store) as folder:
        for table in wanted:
            path = table.path(project)
            if store.size(path) is None:
                raise NotFoundError(f"occurrences {project!r} has no {table.name} table yet: ingest the project first.")
            if store.root is not None:
                local = store.root / path
            else:  # DuckDB reads s3:// only with an extension that has to be downloaded
                local = folder / f"{table.name}.parquet"
                store.download(path, local)
            file = str(local).replace("'", "''")
            database.execute(f"CREATE VIEW \"{table.name}\" AS SELECT * FROM read_parquet('{file}')")
        yield database


def write_query(
    store: Store, table: tables.Table, project: str, database: "duckdb.DuckDBPyConnection", query: str
) -> tables.TableVersion:
    """Write what a query finds as one partition of a table."""
    return tables.write(store, table, project, database.sql(query).to_arrow_reader(ROWS))
