"""Reading one table's file: Parquet, NDJSON or CSV, as Arrow batches with the values as they came.

Here: finding the file, decoding it in a streaming way, telling a half-written file from a bad line.
Not here: what the values must be (`ingest`).
"""

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from sheaf.errors import InputError

LINE = "_line"
FORMATS = ("parquet", "ndjson", "csv")
_BATCH = 50_000
csv.field_size_limit(1 << 26)  # parents_json and comments may be long

Reject = Callable[[str, int, str], None]  # reason, line, the line itself


def table_file(folder: Path, table: str) -> Path | None:
    """The file of a table in an inbox folder; None when there is none.

    Raises:
        InputError: there are several, so that nobody can know which one is meant.
    """
    found = [path for path in (folder / f"{table}.{suffix}" for suffix in FORMATS) if path.is_file()]
    if len(found) > 1:
        raise InputError(f"{folder}: there are {found[0].name} and {found[1].name}: remove all but one of them.")
    return found[0] if found else None


def read_file(path: Path, columns: Sequence[str], reject: Reject) -> pa.RecordBatchReader:
    """Read those of `columns` that the file has, and add `_line` (rows are counted from 1 in Parquet).

    Text formats give strings, nested values as JSON; Parquet keeps its types.

    Args:
        reject: called for each line that cannot be decoded.

    Raises:
        InputError: while iterating too, when the file is damaged or was only half written.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    if path.suffix == ".ndjson":
        return _from_rows(columns, _ndjson_rows(path, columns, reject))
    rows = _csv_rows(path, columns, reject)
    return _from_rows(next(rows)[1], rows)


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.RecordBatchReader:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        present = [name for name in columns if name in file.schema_arrow.names]
        schema = pa.schema([*(file.schema_arrow.field(name) for name in present), pa.field(LINE, pa.int64())])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: write it again. ({error})") from error

    def batches() -> Iterator[pa.RecordBatch]:
        line = 1
        try:
            for batch in file.iter_batches(_BATCH, columns=present):
                lines = pa.array(range(line, line + batch.num_rows), pa.int64())
                line += batch.num_rows
                yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in present), lines], schema=schema)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged: write it again. ({error})") from error

    return pa.RecordBatchReader.from_batches(schema, batches())


def _from_rows(columns: Sequence[str], rows: Iterator[tuple[int, Sequence[str | None]]]) -> pa.RecordBatchReader:
    schema = pa.schema([*(pa.field(name, pa.string()) for name in columns), pa.field(LINE, pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        while chunk := list(itertools.islice(rows, _BATCH)):
            values = zip(*(row for _, row in chunk), strict=True)
            arrays = [pa.array(list(column), pa.string()) for column in values]
            yield pa.RecordBatch.from_arrays([*arrays, pa.array([line for line, _ in chunk])], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _ndjson_rows(path: Path, columns: Sequence[str], reject: Reject) -> Iterator[tuple[int, list[str | None]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if not line.endswith(b"\n"):
                    raise InputError(
                        f"{path} ends in the middle of line {number}: it was only half written."
                    ) from error
                reject("The line is not valid JSON", number, line.decode(errors="replace"))
                continue
            if not isinstance(row, dict):
                reject("The line is not a JSON object", number, line.decode(errors="replace"))
                continue
            yield number, [_as_text(row.get(name)) for name in columns]


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _csv_rows(path: Path, columns: Sequence[str], reject: Reject) -> Iterator[tuple[int, Sequence[Any]]]:
    """First the columns that are there, then the rows."""
    # undecodable bytes come through as lone surrogates, so that one bad row does not end the file
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) != len(header):
                raise InputError(f"{path} names a column twice in its first line.")
            present = [(header.index(name), name) for name in columns if name in header]
            yield 1, [name for _, name in present]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    if not _ends_with_newline(path) and next(reader, None) is None:
                        raise InputError(f"{path} ends in the middle of line {reader.line_num}: only half written.")
                    reject(f"The line does not have {len(header)} values", reader.line_num, ",".join(row))
                    continue
                values = [row[index] or None for index, _ in present]
                if any(value and not value.isascii() and not _encodable(value) for value in values):
                    reject("The line is not valid UTF-8", reader.line_num, ascii(",".join(row)))
                    continue
                yield reader.line_num, values
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: {error}; it was damaged or only half written."
            ) from error


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
