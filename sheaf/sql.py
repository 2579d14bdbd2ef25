"""Names and texts as they stand in a query, so that none can end its quotes: the same for DuckDB, Postgres and SQLite.

Values go as parameters wherever a database takes them; here is what cannot. Not here: InfluxQL and Flux, which quote
in their own way (`fermentation/sources/influx_queries`).
"""

from collections.abc import Iterable


def name(text: str) -> str:
    """The name of a table or column."""
    return '"' + text.replace('"', '""') + '"'


def names(texts: Iterable[str]) -> str:
    """Names with commas between them."""
    return ", ".join(map(name, texts))


def literal(text: str | None) -> str:
    """A text, or NULL."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
