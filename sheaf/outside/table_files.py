"""The files in which others deliver tables: `<table>.parquet`, `.ndjson` or `.csv`, as rows or as Arrow batches.

Here is decided once what an odd file means. A byte order mark, line ends of any system and blank lines mean
nothing; columns are parted by commas, or by semicolons, tabs or bars where the first line has no comma. A line that
cannot be a row is rejected, and the others go on. NaN, Infinity and half characters, which some programs write though
JSON has none, cost their value, not the row. What was only half written, is in another encoding, or names none of the
columns that are asked for is refused as a whole. A CSV without an end of its last line may be whole or cut off: it is
read, and a fault says so. Not here: what the values must be (the readers of the domains), Parquet itself (`parquet`).
"""

import codecs
import csv
import itertools
import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from sheaf.errors import InputError
from sheaf.outside.files import MOST_LINE, lines, named
from sheaf.outside.parquet import DeliveredParquet
from sheaf.tables.rejects import Kind, Rejects

FORMATS = ("parquet", "ndjson", "csv")
LINE = "_line"
_BATCH = 50_000
_CARRIAGE_RETURN = re.compile(rb"(?<=\r)(?!\n|\Z)")
_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_STRICT = "not_strict_json", "The line holds NaN, Infinity or half a character: read as empty"
_NO_LINE_END = "The last line has no line end: if the file was cut off, the last value is not whole"


@dataclass(frozen=True)
class TableFile:
    """One delivered file of a table.

    Attributes:
        path: the file; its ending says the format.
        table: the name under which its rows are accounted for.
        rejects: takes the lines that are no rows, with their place; they count as delivered.
    """

    path: Path
    table: str
    rejects: Rejects

    def reject(self, code: str, reason: str, line: int, offset: int, raw: str) -> None:
        """Keep a line that is no row."""
        self.rejects.saw(self.table, 1)
        self.note(Kind.REJECT, code, reason, line, offset, raw)

    def note(self, kind: Kind, code: str, reason: str, line: int, offset: int, raw: str) -> None:
        """Keep what is wrong with a line."""
        origin = {"file": self.path.name, "line": line, "byte_offset": offset, "raw": raw}
        self.rejects.note(kind, self.table, code, reason, **origin)


def table_file(folder: Path, table: str) -> Path | None:
    """The file of a table in a folder; None when there is none.

    Raises:
        InputError: there are several, so that nobody can know which one is meant, or it is no regular file.
    """
    found = list(named(folder, [f"{table}.{ending}" for ending in FORMATS]).values())
    if len(found) > 1:
        raise InputError(f"{folder}: there are {found[0].name} and {found[1].name}: remove all but one of them.")
    return found[0] if found else None


def csv_columns(path: Path) -> list[str]:
    """The names in the first line of a CSV; none where it cannot be read as one: whoever reads it says why."""
    try:
        first = next(_lines(path), (0, b""))[1].decode()
        return [name.strip() for name in next(csv.reader([first], strict=True, delimiter=_separator(first)), [])]
    except (InputError, UnicodeDecodeError, csv.Error):
        return []


def read_rows(file: TableFile, known: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with their line, from 1 (Parquet: the number of the row); an empty cell of a CSV is None.

    Args:
        known: columns that the table can have; others come along, but one at least must be there.

    Raises:
        InputError: while iterating too, when the file is damaged, half written, or no such table.
    """
    ending = file.path.suffix.lower()
    if ending == ".parquet":
        parquet = DeliveredParquet(file.path)
        _check_header(file.path, parquet.schema.names, known)
        yield from enumerate(parquet.rows(), 1)
    elif ending == ".ndjson":
        yield from _ndjson(file)
    else:
        header, rows = _csv(file, known)
        for line, cells in rows:
            yield line, {name: cell or None for name, cell in zip(header, cells, strict=True)}


def read_batches(file: TableFile, columns: Sequence[str]) -> pa.RecordBatchReader:
    """Those of some columns that the file has, and `_line`, as in `read_rows`.

    Text formats give strings, nested values as JSON; Parquet keeps its types.

    Raises:
        InputError: while iterating too, when the file is damaged, half written, or no such table.
    """
    ending = file.path.suffix.lower()
    if ending == ".parquet":
        return _parquet_batches(file.path, columns)
    if ending == ".ndjson":
        return _from_rows(
            columns, ((line, [_as_text(row.get(name)) for name in columns]) for line, row in _ndjson(file))
        )
    header, rows = _csv(file, columns)
    present = [(header.index(name), name) for name in columns if name in header]
    picked = ((line, [cells[position] or None for position, _ in present]) for line, cells in rows)
    return _from_rows([name for _, name in present], picked)


def _check_header(path: Path, header: Sequence[str], known: Collection[str]) -> None:
    """Refuse a file whose columns cannot be told apart, or are of another table."""
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} names the column {twice} twice: keep one of them.")
    if not set(header) & set(known):
        shown = ", ".join(header)[:80]
        raise InputError(
            f"{path} has no column of this table in its first line ({shown}): its columns are {', '.join(known)}."
        )


def _parquet_batches(path: Path, columns: Sequence[str]) -> pa.RecordBatchReader:
    file = DeliveredParquet(path)
    _check_header(path, file.schema.names, columns)
    present = [name for name in columns if name in file.schema.names]
    schema = pa.schema([*(file.schema.field(name) for name in present), pa.field(LINE, pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        line = 1
        for batch in file.batches(present):
            numbers = pa.arange(line, line + batch.num_rows)
            line += batch.num_rows
            yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in present), numbers], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _from_rows(columns: Sequence[str], rows: Iterator[tuple[int, Sequence[str | None]]]) -> pa.RecordBatchReader:
    schema = pa.schema([*(pa.field(name, pa.string()) for name in columns), pa.field(LINE, pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        while chunk := list(itertools.islice(rows, _BATCH)):
            values = zip(*(row for _, row in chunk), strict=True)
            arrays = [pa.array(list(column), pa.string()) for column in values]
            yield pa.RecordBatch.from_arrays([*arrays, pa.array([line for line, _ in chunk])], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each line begins, in bytes, and the line with its end; without a byte order mark.

    Raises:
        InputError: the text is in an encoding other than UTF-8.
    """
    offset = 0
    for line in lines(path):
        if not offset:
            if line.startswith(_OTHER_ENCODINGS):
                raise InputError(f"{path} is UTF-16 text: save it as UTF-8.")
            if line.startswith(codecs.BOM_UTF8):
                offset, line = len(codecs.BOM_UTF8), line[len(codecs.BOM_UTF8) :]
        if b"\r" in line and line.count(b"\r") > line.endswith(b"\r\n"):  # the line ends of an old Mac
            for piece in _CARRIAGE_RETURN.split(line):
                yield offset, piece
                offset += len(piece)
        else:
            yield offset, line
            offset += len(line)


def _ndjson(file: TableFile) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, (offset, line) in enumerate(_lines(file.path), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if (found := _lenient(line)) is not None and not _names_twice(line):
                file.note(Kind.CHANGE, *_NOT_STRICT, number, offset, line.decode(errors="replace"))
                yield number, found
                continue
            fault = _no_json(line)
            if fault[0] == "not_json" and not line.endswith((b"\n", b"\r")):
                raise InputError(
                    f"{file.path} ends in the middle of line {number}: it was only half written."
                ) from error
        else:
            if isinstance(row, dict):
                if line.count(b'":') <= len(row) or not _names_twice(line):
                    yield number, row
                    continue
                fault = "repeated_column", "The line names a column twice"
            else:
                fault = "not_an_object", "The line is not a JSON object"
        file.reject(*fault, number, offset, line.decode(errors="replace"))


def _no_json(line: bytes) -> tuple[str, str]:
    """Why a line is not JSON."""
    try:
        json.loads(line.decode())
    except UnicodeDecodeError:
        return "not_utf8", "The line is not valid UTF-8"
    except (ValueError, RecursionError):
        return "not_json", "The line is not valid JSON"
    return "not_an_object", "The line is not a JSON object"


def _lenient(line: bytes) -> dict[str, Any] | None:
    """A row as JavaScript or Python may write it; what JSON does not have is empty, half a character a mark."""
    try:
        row = json.loads(line.decode(), parse_constant=lambda _: None, parse_float=_finite)
        text = json.dumps(row, ensure_ascii=False).encode(errors="replace")
    except (ValueError, RecursionError):
        return None
    return orjson.loads(text) if isinstance(row, dict) else None


def _finite(text: str) -> float | None:
    """A number as it was written; none that is too large for one, such as 1e999."""
    return value if math.isfinite(value := float(text)) else None


def _names_twice(line: bytes) -> bool:
    def pairs(found: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in found}) < len(found):
            raise KeyError

    try:
        json.loads(line, object_pairs_hook=pairs)
    except KeyError:
        return True
    return False


class _CsvLines:
    """The lines of a CSV as the module `csv` wants them.

    Attributes:
        offset: where the next line begins.
        fault: what was wrong with a line given since it was last cleared.
        ended: whether the last line given has an end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset, self.ended = 0, True
        self.fault: tuple[str, str] | None = None

    def __iter__(self) -> Iterator[str]:
        for start, line in _lines(self._path):
            self.offset, self.ended = start + len(line), line.endswith((b"\n", b"\r"))
            if b"\0" in line:
                self.fault = "not_text", "The line holds bytes of zero, as a damaged disk leaves them"
            try:
                yield line.decode()
            except UnicodeDecodeError:  # one bad line does not end the file
                self.fault = "not_utf8", "The line is not valid UTF-8"
                yield line.decode(errors="backslashreplace")


def _csv(file: TableFile, known: Collection[str]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names in the first line, and the rows below it."""
    csv.field_size_limit(MOST_LINE)  # of the whole process: a polygon may be longer than the module's 128 kB
    text = _CsvLines(file.path)
    first = next(iter(text), "")
    separator = _separator(first)
    blank = first.count(separator + " ") == first.count(separator) > 0  # written as `id, name`
    try:
        header = next(csv.reader([first], strict=True, delimiter=separator), [])
    except csv.Error as error:
        raise InputError(f"{file.path}, line 1: {error}; it was damaged or only half written.") from error
    if text.fault:
        raise InputError(f"{file.path}, line 1: {text.fault[1].lower()}. Save it as UTF-8 text.")
    header = [name.strip() for name in header]
    if not any(header):
        raise InputError(f"{file.path} is empty: its first line must name the columns ({', '.join(known)}).")
    _check_header(file.path, header, known)
    return header, _csv_rows(file, len(header), separator, blank)


def _separator(first: str) -> str:
    """What parts the columns: commas, or what the first line has where it has none, as spreadsheets save."""
    return next((mark for mark in (",", ";", "\t", "|") if mark in first), ",")


def _csv_rows(file: TableFile, width: int, separator: str, blank: bool) -> Iterator[tuple[int, list[str]]]:
    text = _CsvLines(file.path)
    reader = csv.reader(text, strict=True, delimiter=separator, skipinitialspace=blank)
    number, offset = here = 1, 0
    try:
        next(reader)  # the names
        while True:
            here = reader.line_num + 1, text.offset
            row = next(reader, None)
            if row is None:
                break
            if not row:
                continue
            number, offset = here
            if len(row) < width and not text.ended:
                raise InputError(f"{file.path} ends in the middle of line {number}: it was only half written.")
            fault, text.fault = text.fault, None
            if len(row) != width:
                fault = "wrong_width", f"The line does not have {width} values"
            if fault:
                file.reject(*fault, number, offset, ",".join(row))
            else:
                yield number, row
    except csv.Error as error:
        raise InputError(f"{file.path}, line {here[0]}: {error}; it was damaged or only half written.") from error
    if not text.ended:
        file.note(Kind.FAULT, "no_line_end", _NO_LINE_END, number, offset, "")
