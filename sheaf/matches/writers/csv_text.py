"""Tables as CSV that spreadsheets open: UTF-8, LF, numbers as Python writes them, no text that runs as a formula."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sheaf import duck
from sheaf.errors import VerificationError
from sheaf.matches.readers.clocks import utc_text

if TYPE_CHECKING:
    import duckdb

_AT_ONCE = 2048
_BUFFER = 4 * 1024 * 1024


def lines(columns: Sequence[pa.Array]) -> bytes:
    """The rows of some columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for start in range(0, len(columns[0]), _AT_ONCE):
        some = (column.slice(start, _AT_ONCE) for column in columns)
        writer.writerows(zip(*map(_cells, some), strict=True))
    return text.getvalue().encode()


def verify(path: Path, header: Sequence[str], rows: int) -> None:
    """Read a CSV back with DuckDB: header and number of rows.

    Raises:
        VerificationError: naming what is wrong.
    """
    import duckdb

    with duck.connect(memory_limit="128MB", threads=2, temp_directory=str(path.parent)) as connection:
        try:
            found = read_back(connection, path)
            if tuple(found.columns) != tuple(header):
                raise VerificationError(f"{path.name} has another header than it should.")
            ((number,),) = connection.execute("SELECT count(*) FROM found").fetchall()
        except duckdb.Error as error:
            raise VerificationError(f"{path.name} cannot be read back: {str(error).splitlines()[0]}") from error
    if number != rows:
        raise VerificationError(f"{path.name} holds {number} rows, but {rows} were written.")


def read_back(connection: "duckdb.DuckDBPyConnection", path: Path) -> "duckdb.DuckDBPyRelation":
    """The rows of a CSV as texts, in a few megabytes of memory instead of 32 for each thread."""
    query = (
        "FROM read_csv(?, header = true, all_varchar = true, sep = ',', quote = '\"', escape = '\"', buffer_size = ?)"
    )
    return connection.sql(query, params=[str(path), _BUFFER])


def _cells(column: pa.Array) -> list[object]:
    """A column as it is written; the writer leaves a null empty."""
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = utc_text(column.cast(pa.timestamp("ms"), safe=False))
    elif pa.types.is_floating(column.type):
        return [None if value is None else round(value, 6) for value in column.to_pylist()]
    elif pa.types.is_string(column.type):
        # A spreadsheet would run such a text as a formula.
        column = pc.replace_substring_regex(column, r"\A([=+@-])", r"'\1")
    return column.to_pylist()
