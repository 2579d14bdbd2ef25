"""Tables that lie in one file or in several: large projects are exported in parts, and people in batches.

Here: reading the parts of a table as one, from which file and line a row is, names of columns and empty values as
others spell them. Not here: which files are parts of what (the modules that have `found`), one file (`table_files`).

A row that an earlier part has as well is left out: batches overlap. Where a row of several parts is from is one number,
`_at`: its file's in the upper bits, its line's in the lower ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sheaf import sql
from sheaf.occurrences.readers.arrived import load_all
from sheaf.outside.files import key_of
from sheaf.outside.table_files import TableFile, csv_columns
from sheaf.tables.rejects import Rejects

if TYPE_CHECKING:
    import duckdb

_LINES = 40  # bits of `_at` that are the line
_EMPTY = ("", "NA", "N/A", "#N/A", "NULL", "NaN", "None")  # as R, SQL, spreadsheets and pandas write what is not there
_NEVER_EMPTY = ("countryCode",)  # NA is Namibia


def header(path: Path) -> set[str]:
    """The names of a CSV's columns, as `key_of` has them; none where it cannot be read as one."""
    return set(map(key_of, csv_columns(path)))


def load_parts(
    database: "duckdb.DuckDBPyConnection",
    name: str,
    parts: Sequence[TableFile],
    columns: Sequence[str],
    first: int = 0,
) -> None:
    """Make a table of what its parts hold, with all of some columns, as text, and `_at`.

    Where there are several parts, each has an account of its own, by the name of its file.

    Args:
        first: the number of the first part, where the parts of another table come before.

    Raises:
        InputError: one cannot be read to its end, or has none of the columns.
    """
    kept = ", ".join(
        sql.name(column) if column in _NEVER_EMPTY else _given(column) for column in columns
    )  # a column that is spelled otherwise is one to SQL as well
    typed = ", ".join(f"{sql.name(column)} VARCHAR" for column in columns)
    database.execute(f"CREATE TABLE {sql.name(name)} ({typed}, _at BIGINT)")
    for index, part in enumerate(parts, first):
        spelled = {key_of(column): column for column in reversed(csv_columns(part.path))}
        load_all(database, "part", part, [spelled.get(key_of(column), column) for column in columns])
        database.execute(f"INSERT INTO {sql.name(name)} SELECT {kept}, _at + {index << _LINES} FROM part")
    database.execute("DROP TABLE part")
    if len(parts) > 1:
        _leave_out_repeated(database, name, dict(enumerate(parts, first)), columns)


def parts(table: str, paths: Sequence[Path], rejects: Rejects) -> list[TableFile]:
    """The files of a table, as those in whose names what is wrong with them is told."""
    return [TableFile(path, table if len(paths) == 1 else path.name, rejects) for path in paths]


def at(part: int, line: int) -> int:
    """The place of a line in a part, counted from 0."""
    return (part << _LINES) + line


def origin(paths: Sequence[Path], at: int) -> dict[str, str | int]:
    """File and line of a place, as `Rejects.note` takes them."""
    return {"file": paths[at >> _LINES].name, "line": at & (1 << _LINES) - 1}


def with_origin(query: str, paths: Sequence[Path]) -> str:
    """SQL of the rows of a query, whose `_at` is a place, with `_at` and `_file` as `arrange` takes them."""
    names = ", ".join(sql.literal(path.name) for path in paths)
    return (
        f"SELECT * REPLACE (_at & {(1 << _LINES) - 1} AS _at), [{names}][(_at >> {_LINES}) + 1] AS _file FROM ({query})"
    )


def _given(column: str) -> str:
    value = f"trim({sql.name(column)})"
    return f"CASE WHEN {value} NOT IN ({', '.join(map(sql.literal, _EMPTY))}) THEN {value} END"


def _leave_out_repeated(
    database: "duckdb.DuckDBPyConnection", name: str, parts: Mapping[int, TableFile], columns: Sequence[str]
) -> None:
    """Remove the rows that earlier parts have, each as often as they have it; and account for all parts."""
    table = sql.name(name)
    same = ", ".join(f"coalesce({sql.name(column)}, chr(1))" for column in columns)
    seen = dict(database.execute(f"SELECT _at >> {_LINES}, count(*) FROM {table} GROUP BY 1").fetchall())
    repeated = f"""SELECT _at, first FROM (
        SELECT _at, min(_at >> {_LINES}) OVER (PARTITION BY row, nth) AS first FROM (
            SELECT _at, row, row_number() OVER (PARTITION BY row, _at >> {_LINES} ORDER BY _at) AS nth
            FROM (SELECT _at, md5_number(concat_ws(chr(0), {same})) AS row FROM {table})
        )
    ) WHERE _at >> {_LINES} > first"""
    database.execute(f"CREATE OR REPLACE TEMP TABLE repeated AS {repeated}")
    for part, first, rows in database.execute(
        f"SELECT _at >> {_LINES}, first, count(*) FROM repeated GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        parts[part].rejects.left_out(parts[part].table, f"also in {parts[first].path.name}", rows)
        seen[part] -= rows
        parts[part].rejects.saw(parts[part].table, rows)
    database.execute(f"DELETE FROM {table} WHERE _at IN (SELECT _at FROM repeated)")
    for index, part in parts.items():
        part.rejects.saw(part.table, seen.get(index, 0))
        part.rejects.used(part.table, seen.get(index, 0))
