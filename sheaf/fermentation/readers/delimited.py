"""Delimited text to points, long or wide, in the dialect that was found.

Here: reading such files as streams, line by line accounted for. Not here: finding the dialect (`dialect`), formats of
particular instruments (`instruments`).
"""

import codecs
import csv
import gzip
import io
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from sheaf.fermentation.readers.dialect import Dialect
from sheaf.fermentation.readers.staging import BATCH_ROWS, FileError, series_of, staged
from sheaf.outside.files import key_of, open_file


def read_delimited(path: Path, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """The points of a file as batches of `STAGED`.

    Raises:
        FileError: it cannot be read, or unpacks to more than it can hold.
    """
    most = most_lines(path.stat().st_size)
    for numbers, batch, broken in (_quoted if dialect.quoted else _plain)(path, dialect):
        if max([*numbers[-1:], *broken[-1:]], default=0) > most:
            raise FileError(f"unpacks to more than {most} lines, too many for its size; export it again")
        if batch.num_rows:
            yield from _long(batch, numbers, dialect) if dialect.value is not None else _wide(batch, numbers, dialect)
        if broken:
            yield staged({"problem": pa.array(["wrong_fields"] * len(broken))}, broken)


def most_lines(size: int) -> int:
    """A file of a few kilobytes may be packed gigabytes."""
    return 500_000 + 30 * size


Piece = tuple[list[int], pa.RecordBatch, list[int]]
"""Line numbers, columns `c0, c1, …` as text, and the numbers of lines that have not as many fields."""


def _plain(path: Path, dialect: Dialect) -> Iterator[Piece]:
    """Without quotes a line is a line: nothing can hide a line break."""
    import pyarrow.csv as pc

    ragged: deque[tuple[int, bool]] = deque()  # lines with more or fewer fields, and whether anything is in them

    def keep(row: Any) -> str:
        ragged.append((row.number, bool(row.text.strip())))
        return "skip"

    names = [f"c{at}" for at in range(len(dialect.header))]
    with unpacked(path) as raw:
        text = _Checked(raw, dialect.encoding)
        try:
            reader = pc.open_csv(
                pa.PythonFile(text, "r"),
                pc.ReadOptions(
                    use_threads=False,
                    block_size=512 * 1024,
                    encoding=dialect.encoding,
                    skip_rows=dialect.header_line,
                    column_names=names,
                ),
                pc.ParseOptions(
                    delimiter=dialect.delimiter, quote_char=False, invalid_row_handler=keep, ignore_empty_lines=False
                ),
                pc.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
            line = dialect.header_line + 1
            for batch in reader:
                numbers, broken, line = _numbered(line, batch.num_rows, ragged)
                yield numbers, batch, broken
        except pa.ArrowInvalid as error:
            text.raise_fault()
            if "Empty CSV" in str(error):
                return
            raise
        text.raise_fault()
    if broken := [number for number, filled in ragged if filled]:
        yield [], pa.RecordBatch.from_pylist([], pa.schema([])), broken


class _Checked(io.RawIOBase):
    """The bytes of a text for Arrow, through which no error of Python's may pass: there the file just ends."""

    def __init__(self, raw: BinaryIO, encoding: str) -> None:
        self._raw, self._decoder = raw, codecs.getincrementaldecoder(encoding)()
        self._fault: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._raw.read(size)
            self._decoder.decode(data, final=not data)
        except Exception as error:  # raised by `raise_fault`
            self._fault = self._fault or error
            return b""
        return data

    def raise_fault(self) -> None:
        """Raise what was wrong with the bytes that were read."""
        if self._fault:
            raise self._fault


def _numbered(line: int, rows: int, ragged: deque[tuple[int, bool]]) -> tuple[list[int], list[int], int]:
    """The numbers of the next lines that are rows, of those among them that are none, and what comes after them."""
    numbers: list[int] = []
    broken: list[int] = []
    while len(numbers) < rows or (ragged and ragged[0][0] == line):
        if ragged and ragged[0][0] == line:
            if ragged.popleft()[1]:
                broken.append(line)
        else:
            numbers.append(line)
        line += 1
    return numbers, broken, line


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a file, packed or not, without their ends."""
    with unpacked(path) as raw, io.TextIOWrapper(cast(Any, raw), encoding=encoding, newline=None) as text:
        for line in text:
            yield line.rstrip("\n")


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, packed or not."""
    with open_file(path) as file:
        if key_of(path.suffix) == ".gz":
            with gzip.open(file) as raw:
                yield cast(BinaryIO, raw)
        else:
            yield file


def _quoted(path: Path, dialect: Dialect) -> Iterator[Piece]:
    """With quotes each line is parsed by itself, so that a quote that is never closed costs its line only."""
    width = len(dialect.header)
    schema = pa.schema([(f"c{at}", pa.string()) for at in range(width)])
    numbers: list[int] = []
    rows: list[list[str]] = []
    broken: list[int] = []

    def piece() -> Piece:
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] if rows else []
        batch = pa.RecordBatch.from_arrays(columns, schema=schema) if rows else pa.RecordBatch.from_pylist([], schema)
        return numbers, batch, broken

    for number, line in enumerate(text_lines(path, dialect.encoding), start=1):
        if number <= dialect.header_line or not line.strip():
            continue
        fields = next(csv.reader([line], delimiter=dialect.delimiter), []) if line.count('"') % 2 == 0 else []
        if len(fields) != width:
            broken.append(number)
        else:
            numbers.append(number)
            rows.append(fields)
        if len(rows) + len(broken) >= BATCH_ROWS:
            yield piece()
            numbers, rows, broken = [], [], []
    yield piece()


def _times(batch: pa.RecordBatch, dialect: Dialect) -> pa.Array:
    import pyarrow.compute as pc

    columns = [pc.call_function("utf8_trim", [batch.column(at)], pc.TrimOptions(' "')) for at in dialect.time]
    text = columns[0]
    if len(columns) == 2:
        text = pc.call_function("binary_join_element_wise", [*columns, pa.scalar(" ")])
    if dialect.zone:
        has = pc.call_function(
            "match_substring_regex", [text], pc.MatchSubstringOptions(r"(?:[zZ]|[+-]\d{2}(?::?\d{2})?)$")
        )
        full = pc.call_function("match_substring_regex", [text], pc.MatchSubstringOptions(r":\d{2}"))
        stated = pc.call_function("binary_join_element_wise", [text, pa.scalar(dialect.zone), pa.scalar("")])
        text = pc.call_function("if_else", [pc.call_function("and_not", [full, has]), stated, text])
    return text


def _numbers(column: pa.Array, dialect: Dialect) -> pa.Array:
    import pyarrow.compute as pc

    if dialect.decimal == ".":
        return column
    return pc.call_function("replace_substring", [column], pc.ReplaceSubstringOptions(",", "."))


def _series(batch: pa.RecordBatch, dialect: Dialect) -> pa.Array | None:
    if not dialect.tags:
        return None
    arrays = [batch.column(at) for at, _ in dialect.tags]
    names = [name for _, name in dialect.tags]
    return series_of(pa.RecordBatch.from_arrays(arrays, names=names), names)


def _long(batch: pa.RecordBatch, numbers: list[int], dialect: Dialect) -> Iterator[pa.RecordBatch]:
    assert dialect.value is not None
    assert dialect.sensor is not None
    columns = {
        "time_text": _times(batch, dialect),
        "sensor": batch.column(dialect.sensor),
        "series": _series(batch, dialect),
        "value_text": _numbers(batch.column(dialect.value), dialect),
        "unit": None if dialect.unit is None else batch.column(dialect.unit),
    }
    yield staged(columns, numbers)


def _wide(batch: pa.RecordBatch, numbers: list[int], dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """One batch for each sensor; an empty cell is no point."""
    import pyarrow.compute as pc

    times, series = _times(batch, dialect), _series(batch, dialect)
    lines = pa.array(numbers, pa.int64())
    for column in dialect.columns:
        text = pc.call_function("utf8_trim_whitespace", [batch.column(column.at)])
        there = pc.call_function("not_equal", [text, ""])
        values = _numbers(text.filter(there), dialect)
        if not len(values):
            continue
        columns = {
            "time_text": times.filter(there),
            "sensor": pa.repeat(pa.scalar(column.sensor), len(values)),
            "series": None if series is None else series.filter(there),
            "value_text": values,
            "unit": None if column.unit is None else pa.repeat(pa.scalar(column.unit), len(values)),
        }
        yield staged(columns, lines.filter(there).to_pylist())
