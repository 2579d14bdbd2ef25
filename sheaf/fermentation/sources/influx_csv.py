"""The CSV of InfluxDB, in either dialect, to batches of points.

A header comes first and may come again in the middle, when another table begins; an empty line
stands between tables. Flux reports an error in mid-answer as a table with the column `error`.
"""

import csv
from collections.abc import Iterable, Iterator

import pyarrow as pa

from sheaf.errors import SourceError
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.fermentation.sources.influx_queries import by_field
from sheaf.tables.table import UTC_TIME, arrow_type

POINTS = pa.schema([("time", arrow_type(UTC_TIME)), ("sensor", pa.string()), ("value", pa.float64())])
OF_AN_ANSWER = ("", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement")
"""Columns of an answer in Flux that are no tags."""
_BLOCK = 4 << 20  # bytes that are read as one, some 60 000 points


def read_points(answer: Iterable[bytes], settings: InfluxSettings) -> Iterator[pa.RecordBatch]:
    """Batches of `POINTS` from the bytes of an answer; lines are cut where they end, not where bytes do.

    Raises:
        SourceError: the answer is not such a CSV, or reports an error.
    """
    header = b""
    for block in _blocks(answer):
        if not header:
            start, _, block = block.lstrip(b"\r\n").partition(b"\n")
            header = start + b"\n"
        block = block.replace(header, b"")
        if b"error" in header or b"error,reference" in block:
            said = block if b"error" in header else block.partition(b"error,reference")[2]
            reason = said.decode(errors="replace").strip(", \r\n")[:200]
            raise SourceError(f"The database broke off: {reason}")
        if block.strip():
            yield _parse(block, header.decode().strip().split(","), settings)


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a short answer in Flux, whose tables may have other columns each.

    Raises:
        SourceError: the answer reports an error.
    """
    found: list[dict[str, str]] = []
    header: list[str] = []
    for row in csv.reader(text.splitlines()):
        if not row:
            header = []
        elif not header:
            header = row
        else:
            found.append(dict(zip(header, row, strict=False)))
    if wrong := next((row["error"] for row in found if "error" in row), None):
        raise SourceError(f"The database broke off: {wrong[:200]}")
    return found


def _blocks(answer: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time."""
    waiting: list[bytes] = []
    size = 0
    for piece in answer:
        waiting.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            together = b"".join(waiting)
            end = together.rfind(b"\n") + 1
            if end:
                yield together[:end]
            waiting, size = [together[end:]], len(together) - end
    if size:
        yield b"".join(waiting)


def _parse(block: bytes, names: list[str], settings: InfluxSettings) -> pa.RecordBatch:
    import pyarrow.compute as pc
    import pyarrow.csv

    flux = settings.kind == "influx2"
    time = "_time" if flux else "time"
    if by_field(settings):
        sensor = "_field" if flux else "name"
    else:
        sensor = settings.sensor_tag if settings.measurement else ("_measurement" if flux else "name")
    wide = by_field(settings) and not flux
    wanted = ("_value",) if flux else settings.fields
    values = [name for name in names if (name not in ("name", "tags", time) if wide else name in wanted)]
    if not wide:
        values.sort(key=wanted.index)
    if time not in names or sensor not in names or not values:
        raise SourceError(f"The database answered with other columns than were asked for: {', '.join(names)[:200]}.")
    instant = pa.timestamp("ns", "UTC")
    types = {time: instant if flux else pa.int64(), sensor: pa.string()}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=2 * _BLOCK),
            pyarrow.csv.ParseOptions(newlines_in_values=False),
            pyarrow.csv.ConvertOptions(
                column_types=types | dict.fromkeys(values, pa.float64()), include_columns=[time, sensor, *values]
            ),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(f"The database's answer cannot be read: {str(error).splitlines()[0]}.") from error
    times = table.column(time).cast(instant).cast(arrow_type(UTC_TIME), safe=False)
    if wide:
        return _of_fields(times, table.select(values))
    found = pc.call_function("coalesce", [table.column(name) for name in values])
    name = table.column(sensor)
    if settings.measurement and settings.sensor_tag:
        name = pc.call_function("extract_regex", [name], pc.ExtractRegexOptions(r"(?P<last>[^/]*)$"))
        name = pc.call_function("struct_field", [name], pc.StructFieldOptions([0]))
    return pa.Table.from_arrays([times, name, found], schema=POINTS).combine_chunks().to_batches()[0]


def _of_fields(times: pa.ChunkedArray, table: pa.Table) -> pa.RecordBatch:
    """One point for each field that a row has, row by row: where the answer was cut changes nothing."""
    import numpy as np

    width = table.num_columns
    values = np.column_stack([column.to_numpy() for column in table.columns]).ravel()
    there = np.column_stack([column.is_valid().to_numpy() for column in table.columns]).ravel()
    sensors = pa.array(table.column_names).take(pa.array(np.tile(np.arange(width), table.num_rows)[there]))
    rows = pa.array(np.repeat(np.arange(table.num_rows), width)[there])
    return pa.RecordBatch.from_arrays(
        [times.combine_chunks().take(rows), sensors, pa.array(values[there])], schema=POINTS
    )
