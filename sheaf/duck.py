"""DuckDB as Sheaf uses it: quiet, because standard output belongs to the command line; and paths as it reads them."""

import os
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
