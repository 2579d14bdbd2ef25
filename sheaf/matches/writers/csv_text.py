"""Tables as CSV that spreadsheets open: UTF-8, LF, numbers as Python writes them, no text that runs as a formula."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sheaf import duck
from sheaf.errors import VerificationError
from sheaf.matches.readers.clocks import utc_text

if TYPE_CHECKING:
    import duckdb

_BUFFER = 4 * 1024 * 1024


def lines(columns: Sequence[pa.Array]) -> memoryview:
    """The rows of some columns; a null is an empty cell."""
    import pyarrow.compute as pc

    cells = (_cells(column).fill_null("") for column in columns)
    return bytes_of(pc.binary_join_element_wise(pc.binary_join_element_wise(*cells, ","), "\n", ""))


def bytes_of(lines: pa.Array) -> memoryview:
    """The bytes of all strings, one after the other, without copying them one by one."""
    _, offsets, data = lines.buffers()
    places = memoryview(offsets).cast("i")
    first, last = places[lines.offset], places[lines.offset + len(lines)]
    return memoryview(data)[first:last] if data else memoryview(b"")


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


def _cells(column: pa.Array) -> pa.Array:
    """A column as it is written."""
    if pa.types.is_timestamp(column.type):
        return utc_text(column.cast(pa.timestamp("ms"), safe=False))
    if pa.types.is_floating(column.type):
        return _numbers(column)
    if pa.types.is_string(column.type):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type):
        return _texts(column.dictionary).take(column.indices)
    return column.cast(pa.string())


def _numbers(column: pa.Array) -> pa.Array:
    """Numbers to six places as Python writes them, one by one where Arrow would write or round them otherwise."""
    import pyarrow.compute as pc

    # What is a whole number of millionths already, Arrow rounds to itself, whatever its last digits are.
    rounded = pc.divide(pc.round(pc.multiply(column, 1e6)), 1e6)
    text, size = rounded.cast(pa.string()), pc.abs(rounded)
    whole = pc.equal(rounded, pc.trunc(rounded))
    text = pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
    usual = pc.or_(pc.equal(size, 0), pc.and_(pc.greater_equal(size, 1e-4), pc.less(size, 1e9)))
    odd = pc.fill_null(pc.invert(usual), False)
    if not pc.any(odd).as_py():
        return text
    written = [repr(round(value, 6)) for value in column.filter(odd).to_pylist()]
    return pc.replace_with_mask(text, odd, pa.array(written, pa.string()))


def _texts(values: pa.StringArray) -> pa.StringArray:
    """Texts, in quotes where a reader would take a part for the end; a spreadsheet would run some as a formula."""
    import pyarrow.compute as pc

    values = pc.replace_substring_regex(values, r"\A([=+@-])", r"'\1")
    odd = pc.match_substring_regex(values, r'[",\r\n]')
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(values, '"', '""'), '"', "")
    return pc.if_else(odd, quoted, values)
