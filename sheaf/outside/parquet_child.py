"""The child process that reads Parquet others wrote: what it declares is looked at before anything is unpacked.

What a file declares is compared with its size; the pages of the columns that are wanted are looked at one by one,
since only they say what has to be unpacked at once; repeated values stay together until they are needed.
Not here: asking it (`parquet`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import re
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # Arrow only converts to it, and without it takes a third of the time to import
    sys.modules["numpy"] = None  # type: ignore[assignment]

import pyarrow as pa

from sheaf.errors import InputError
from sheaf.outside.child import serve
from sheaf.outside.files import MOST_LINE, open_file
from sheaf.outside.parquet_layout import BYTE_ARRAY, FIXED_LENGTH, Chunk, read_footer, read_struct

MOST_FOOTER = 16 * 1024 * 1024
MOST_PAGE = 128 * 1024 * 1024
MOST_PAGES = 1_000_000
_AT_ONCE = 64 * 1024 * 1024
_LONGEST_FIXED = 4096
_FURTHEST = {"s": 2**61 // 1_000_000, "ms": 2**61 // 1000, "us": 2**61, "ns": 2**62}
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
_LONGEST_HEADER = 64 * 1024


def _most_rows(size: int) -> int:
    return 100_000 + 30 * size


def _most_in_lists(size: int) -> int:
    """Values in lists, all taken together."""
    return 1_000_000 + 20 * size


def _most_bytes(size: int) -> int:
    """Bytes of long texts, each counted as often as it stands there."""
    return 256 * 1024 * 1024 + 2000 * size


class _Opened:
    """A Parquet file, opened; `schema` are its columns, as `batches` gives them."""

    def __init__(self, path: Path) -> None:
        """Open a file and compare what it declares with its size.

        Raises:
            InputError: it is no Parquet, or declares more than such a file can hold.
        """
        import pyarrow.parquet as pq

        self._path = path
        self._file = open_file(path)
        try:
            self._size = self._file.seek(0, 2)
            self._file.seek(max(0, self._size - 8))
            length = int.from_bytes(self._file.read(4), "little")
            if self._file.read(4) != b"PAR1" or length > self._size - 8:
                raise ValueError("it does not end as one")
            if length > MOST_FOOTER:
                raise self._error("has a footer that is too large")
            self._file.seek(self._size - 8 - length)
            self._layout = read_footer(self._file.read(length))
            if self._layout.rows > _most_rows(self._size):
                raise self._error(f"declares {self._layout.rows} rows in {self._size} bytes, more than fit")
            schema = pq.ParquetFile(self._file).schema_arrow
            self.schema = pa.schema(
                [field.with_type(_plain(field.type)).remove_metadata() for field in schema if not _has_map(field.type)]
            )
        except (InputError, MemoryError):
            self.close()
            raise
        except Exception as error:  # whatever a damaged footer makes the parser do
            self.close()
            raise self._damaged(error) from error

    def batches(self, wanted: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of some columns, in batches of at most so many.

        Raises:
            InputError: the file is damaged, or holds more than its size allows.
        """
        import pyarrow.parquet as pq

        schema = pa.schema([self.schema.field(name) for name in wanted])
        try:
            texts, longest = self._examined(set(wanted))
            if longest * rows > _AT_ONCE:  # repeated values stay together until they are needed
                rows = max(1, min(rows, _AT_ONCE // longest))
                file = pq.ParquetFile(self._file, read_dictionary=texts, pre_buffer=False)
                batches = self._cut(file.iter_batches(rows, columns=wanted))
            else:
                batches = pq.ParquetFile(self._file, pre_buffer=False).iter_batches(rows, columns=wanted)
            for batch in batches:
                batch.validate(full=True)  # before anything follows its offsets and indices
                arrays = [_unpacked(batch.column(position), field.type) for position, field in enumerate(schema)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError, IndexError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _examined(self, wanted: set[str]) -> tuple[list[str], int]:
        """The columns of texts, and how long a value of them may be, told from their pages and dictionaries."""
        texts: dict[str, None] = {}
        in_lists = longest = pages = 0
        for chunk in self._layout.chunks:
            column = chunk.column
            if column.path.split(".")[0] not in wanted and column.path not in wanted:
                continue
            in_lists += chunk.values if column.in_list else 0
            if in_lists > _most_in_lists(self._size):
                raise self._error(f"declares {in_lists} values in lists in {self._size} bytes")
            if column.physical == FIXED_LENGTH and column.length > _LONGEST_FIXED:
                raise self._error(f"has values of {column.length} bytes in column {column.path}")
            count, fullest, repeats = self._look_at_pages(chunk)
            pages += count
            if pages > MOST_PAGES:
                raise self._error("is cut into too many pages")
            if column.physical == BYTE_ARRAY:
                texts[column.path] = None
                longest = max(longest, fullest, self._longest_repeated(chunk.group, column.path) if repeats else 0)
        if longest > MOST_LINE:
            raise self._error(f"has texts longer than {MOST_LINE >> 20} MB")
        return list(texts), longest

    def _look_at_pages(self, chunk: Chunk) -> tuple[int, int, bool]:
        """How many pages a chunk has, the bytes a value has in the fullest, whether values are repeated."""
        count, fullest, repeats = 0, 0, False
        if chunk.values:
            for unpacked, values in self._pages(chunk.start, chunk.end):
                count += 1
                if unpacked > MOST_PAGE:
                    raise self._error(f"has a page of {unpacked >> 20} MB in column {chunk.column.path}")
                if values is None:
                    repeats = True
                elif values:
                    fullest = max(fullest, unpacked // values)
        return count, fullest, repeats

    def _longest_repeated(self, group: int, path: str) -> int:
        """The longest of the values that a column repeats."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self._file, read_dictionary=[path], pre_buffer=False)
        for batch in file.iter_batches(1, row_groups=[group], columns=[path]):
            batch.validate(full=True)
            return _longest(batch.column(0))
        return 0

    def _pages(self, start: int, end: int) -> Iterator[tuple[int, int | None]]:
        """How many bytes each page of a column takes when it is unpacked, and its values; None for a dictionary."""
        while start < end:
            fields: dict[int, Any] = {}
            for most in (_LONGEST_HEADER, 2 * MOST_LINE):  # statistics may hold long values
                self._file.seek(start)
                try:
                    fields, length = read_struct(self._file.read(min(most, end - start)))
                    break
                except IndexError:
                    continue
            else:
                raise self._error("is damaged")
            if fields[2] < 0 or fields[3] < 0:
                raise self._error("is damaged")
            data = fields.get(5) or fields.get(8)
            yield fields[2], data[1] if data else None
            start += length + fields[3]

    def _cut(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches cut so that each fits into memory when its repeated values are unpacked."""
        unpacked = 0
        for batch in batches:
            batch.validate(full=True)
            waiting = [batch]
            unpacked += _bytes(batch)
            if unpacked > _most_bytes(self._size):
                raise self._error("repeats long texts more often than a table can need")
            while waiting:
                part = waiting.pop()
                half = part.num_rows // 2
                if _bytes(part) <= _AT_ONCE:
                    yield part
                elif half:
                    waiting += [part.slice(half), part.slice(0, half)]
                else:
                    raise self._error(f"has a row of more than {_AT_ONCE >> 20} MB")

    def _error(self, what: str) -> InputError:
        return InputError(f"{self._path} {what}: write it again.")

    def _damaged(self, error: Exception) -> InputError:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return InputError(f"{self._path} is not a whole Parquet file: write it again. ({said})")


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type that every reader takes: no dictionary, number or zone in it that only Arrow knows."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_decimal256(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_timestamp(kind) and kind.tz is not None and not _is_zone(kind.tz):
        return pa.timestamp(kind.unit, "UTC")  # the moment is the same
    return kind


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return bool(_OFFSET.fullmatch(name))
    return True


def _has_map(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind):
        return True
    return any(_has_map(kind.field(position).type) for position in range(kind.num_fields))


def _unpacked(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    array = array if array.type == kind else array.cast(kind)
    return _within_reach(array) if pa.types.is_timestamp(kind) else array


def _within_reach(times: pa.Array) -> pa.Array:
    """Times as DuckDB can hold them: what is further away than its calendar is as impossible at its end."""
    import pyarrow.compute as pc

    end = _FURTHEST[times.type.unit]
    nearer = pc.min_element_wise(times.view(pa.int64()), end, skip_nulls=False)
    return pc.max_element_wise(nearer, -end, skip_nulls=False).view(times.type)


def _parts(array: pa.Array) -> list[pa.Array]:
    """The arrays of plain or repeated values that an array is made of."""
    if pa.types.is_struct(array.type):
        return [part for child in array.flatten() for part in _parts(child)]
    if pa.types.is_nested(array.type):
        return _parts(array.flatten())
    return [array]


def _bytes(batch: pa.RecordBatch) -> int:
    """How many bytes the texts of a batch take when they are unpacked."""
    import pyarrow.compute as pc

    total = 0
    for part in (part for column in batch.columns for part in _parts(column)):
        if isinstance(part, pa.DictionaryArray) and _is_text(part.dictionary.type):
            total += pc.sum(pc.binary_length(part.dictionary).cast(pa.int64()).take(part.indices)).as_py() or 0
    return total


def _longest(array: pa.Array) -> int:
    import pyarrow.compute as pc

    lengths = [
        pc.max(pc.binary_length(part.dictionary)).as_py() or 0
        for part in _parts(array)
        if isinstance(part, pa.DictionaryArray) and _is_text(part.dictionary.type)
    ]
    return max(lengths, default=0)


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def answer(asked: dict[str, Any]) -> Iterator[pa.Buffer]:
    """The schema of a file; then, where `rows` are asked for, those of its `columns`."""
    file = _Opened(Path(asked["path"]))
    try:
        yield file.schema.serialize()
        if "rows" in asked:
            for batch in file.batches(asked["columns"], asked["rows"]):
                yield batch.serialize()
    finally:
        file.close()


if __name__ == "__main__":
    serve(answer)
