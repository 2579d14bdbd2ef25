"""A PostgreSQL database shaped as Antenna's, filled from an inbox folder.

Here: what the tests and the benchmark of the occurrences source need of a real server. Beside the columns
that are read it has those that must never be: e-mail addresses, logits and scores.
"""

import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sheaf.occurrences.input_tables import SOURCES
from sheaf.outside.table_files import table_file

TIME_ZONE = "America/New_York"
_TYPES = {
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.string(): "text",
    pa.timestamp("us"): "timestamptz",
}
_JSON = ("bbox", "parents_json")
_UNREAD = {
    "users_user": ", email text NOT NULL DEFAULT 'someone@example.org'",
    "main_classification": ", logits float8[] DEFAULT '{1,2,3}', scores float8[] DEFAULT '{0.1,0.2,0.7}'",
}


def run(dsn: str, *statements: str) -> None:
    """Execute statements, in New York's time as Django does."""
    import psycopg2

    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SET TIME ZONE '{TIME_ZONE}'")
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def create_tables(dsn: str) -> None:
    """Empty tables, and a role `reader` that may read only what is needed."""
    statements = []
    for source in SOURCES:
        delivered = [source.table.schema.field(name) for name in source.columns]
        columns = ", ".join(f'"{c.name}" {"jsonb" if c.name in _JSON else _TYPES[c.type]}' for c in delivered)
        key = ", PRIMARY KEY (id)" if source.keyed else ""
        statements.append(f"CREATE TABLE {source.name} ({columns}{_UNREAD.get(source.name, '')}{key})")
    statements.append("CREATE ROLE reader LOGIN")
    for source in SOURCES:
        names = ", ".join(f'"{name}"' for name in source.columns)
        statements.append(f"GRANT SELECT ({names}) ON {source.name} TO reader")
    run(dsn, *statements)


def load(dsn: str, folder: Path) -> None:
    """Fill the tables from the files of an inbox folder."""
    import psycopg2

    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SET TIME ZONE '{TIME_ZONE}'")
        for source in SOURCES:
            path = table_file(folder, source.name)
            if path is None:
                continue
            names, lines = _as_csv(path, source.columns)
            columns = ", ".join(f'"{name}"' for name in names)
            cursor.copy_expert(f"COPY {source.name} ({columns}) FROM STDIN (FORMAT csv)", io.BytesIO(lines))
    connection.close()


def _as_csv(path: Path, wanted: list[str]) -> tuple[list[str], bytes]:
    reader = {".parquet": "read_parquet", ".ndjson": "read_ndjson", ".csv": "read_csv"}[path.suffix]
    with duckdb.connect() as database:
        source = database.sql(f"SELECT * FROM {reader}('{path}')")
        names = [name for name in source.columns if name in wanted]
        kinds: dict[str, Any] = dict(zip(source.columns, source.types, strict=True))
        shown = ", ".join(f'to_json("{n}") AS "{n}"' if "[]" in str(kinds[n]) else f'"{n}"' for n in names)
        target = path.with_suffix(".copy")
        database.execute(f"COPY (SELECT {shown} FROM {reader}('{path}')) TO '{target}' (FORMAT csv, HEADER false)")
        lines = target.read_bytes()
        target.unlink()
    return names, lines
