"""DuckDB as Sheaf uses it: quiet, because standard output belongs to the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb


def connect(path: str = ":memory:", **config: Any) -> "duckdb.DuckDBPyConnection":
    """Open a database that draws no progress bar.

    Args:
        config: settings such as `memory_limit="128MB"` or `temp_directory`.
    """
    import duckdb

    connection = duckdb.connect(path, config=config)
    connection.execute("SET enable_progress_bar = false")
    return connection
