"""DuckDB as Sheaf uses it: quiet, because standard output belongs to the command line; and paths as it reads them."""

import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf import sql
from sheaf.plain_paths import plain

if TYPE_CHECKING:
    import duckdb

_QUIET = "SET enable_progress_bar = false"


def connect(path: str = ":memory:", **config: Any) -> "duckdb.DuckDBPyConnection":
    """Open a database that draws no progress bar.

    Args:
        config: settings such as `memory_limit="128MB"` or `temp_directory`.
    """
    import duckdb

    # To DuckDB they are a separator and an option, whatever link leads there; it then spills what would be its file.
    misread = any(sign in os.path.realpath(path) for sign in "\\?")
    connection = duckdb.connect(":memory:" if misread else path, config=config)
    connection.execute(_QUIET)
    return connection


def beside(connection: "duckdb.DuckDBPyConnection") -> "duckdb.DuckDBPyConnection":
    """Another connection to the same database, for a query at the same time; it knows no registered objects."""
    other = connection.cursor()
    other.execute(_QUIET)
    return other


def quoted(path: Path) -> str:
    """A path as it stands in a query; a pattern in its last part is one."""
    return sql.literal(str(plain(path.parent) / path.name))


def ranges(
    connection: "duckdb.DuckDBPyConnection", table: str, column: str, at_once: int, where: str = "true"
) -> list[str]:
    """Conditions that divide the rows of a table by a column, for what would take too much memory for all at once.

    Args:
        at_once: rows in each, more or less.
        where: the rows whose values tell where to divide.
    """
    ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    if count <= at_once:
        return ["true"]
    shares = [at_once * part / count for part in range(1, count // at_once + 1)]
    query = f"SELECT approx_quantile({column}, {shares}) FROM {table} WHERE {where}"
    ((found,),) = connection.execute(query).fetchall()
    ends = sorted(set(found or []))
    between = [f"{column} > {first} AND {column} <= {last}" for first, last in pairwise(ends)]
    return [f"{column} <= {ends[0]}", *between, f"{column} > {ends[-1]}"] if ends else ["true"]
