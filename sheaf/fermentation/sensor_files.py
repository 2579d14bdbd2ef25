"""`sensors.parquet`, `sensors.csv[.gz]` or `sensors.lp` to a stream of points as they were written.

Long form: one point is a time, a sensor name and a value, with an optional unit. Here: the three
file formats, read as a stream. Not here: which points are good (`sensor_points`).

Every reader yields batches of `STAGED`: the line (or row) number, the time either as `time` or,
where only a text is known, as `time_text`, the sensor's name, the value as text or number.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sheaf.tables import UTC_TIME

STAGED = pa.schema(
    [
        ("line", pa.int64()),
        ("time", UTC_TIME),
        ("time_text", pa.string()),
        ("sensor", pa.string()),
        ("value", pa.float64()),
        ("value_text", pa.string()),
        ("unit", pa.string()),
        ("problem", pa.string()),
    ]
)
FILES = ("sensors.parquet", "sensors.csv", "sensors.csv.gz", "sensors.lp")
_BATCH_ROWS = 128 * 1024
_MICROSECONDS = {"ns": 0.001, "us": 1, "ms": 1000, "s": 1_000_000}


class SensorFileError(ValueError):
    """The file as a whole cannot be used; `line` is where, if known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class SensorFile:
    """One sensor file.

    Attributes:
        path: the file.
        naive_timezone: zone of times that carry none; None refuses them.
        precision: unit of times in line protocol.
        names: accepted sensor names; decides which part of a line protocol point is the name.
    """

    path: Path
    naive_timezone: str | None
    precision: str
    names: frozenset[str]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The points of the file as batches of `STAGED`.

        Raises:
            SensorFileError: the file is not what its name says, or lacks a column.
        """
        try:
            if self.path.suffix == ".parquet":
                yield from _read_parquet(self.path, self.naive_timezone)
            elif self.path.suffix == ".lp":
                yield from _read_line_protocol(self.path, self.precision, self.names)
            else:
                yield from _read_csv(self.path)
        except UnicodeDecodeError as error:
            raise SensorFileError("is not UTF-8 text") from error
        except pa.ArrowException as error:
            raise SensorFileError(f"cannot be read: {_first_line(error)}") from error
        except (OSError, EOFError) as error:
            raise SensorFileError(f"cannot be read: {_first_line(error)}") from error


def find_sensor_file(folder: Path) -> Path | None:
    """The sensor file of a batch folder, None when there is none.

    Raises:
        SensorFileError: there is more than one.
    """
    found = [name for name in FILES if (folder / name).is_file()]
    if len(found) > 1:
        raise SensorFileError(f"is one of several sensor files ({', '.join(found)}): keep one")
    return folder / found[0] if found else None


def _read_parquet(path: Path, naive_timezone: str | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _need_columns(names)
        columns = [name for name in ("time", "sensor", "value", "unit") if name in names]
        line = 1
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            time = batch.column("time")
            staged: dict[str, Any] = {}
            if pa.types.is_timestamp(time.type):
                if time.type.tz is None:
                    if naive_timezone is None:
                        raise SensorFileError("has times without a zone: write one, or set naive_timezone")
                    time = pc.call_function("assume_timezone", [time], pc.AssumeTimezoneOptions(naive_timezone))
                staged["time"] = time.cast(UTC_TIME, safe=False)
            elif pa.types.is_string(time.type) or pa.types.is_large_string(time.type):
                staged["time_text"] = time
            else:
                raise SensorFileError(f"has a column 'time' of type {time.type}: write timestamps with a zone")
            value = batch.column("value")
            if pa.types.is_string(value.type) or pa.types.is_large_string(value.type):
                staged["value_text"] = value
            else:
                staged["value"] = value
            staged["sensor"] = batch.column("sensor")
            if "unit" in columns:
                staged["unit"] = batch.column("unit")
            yield _staged(staged, range(line, line + batch.num_rows))
            line += batch.num_rows


def _read_csv(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.csv as pc

    ragged: list[tuple[int, str]] = []

    def keep(row: Any) -> str:
        ragged.append((row.number, row.text))
        return "skip"

    with pa.input_stream(path, compression="detect") as stream:
        try:
            reader = pc.open_csv(
                stream,
                read_options=pc.ReadOptions(use_threads=False, block_size=4 * 1024 * 1024),
                # A line is a line: nothing in the long form needs quotes, so none can hide a line break.
                parse_options=pc.ParseOptions(quote_char=False, invalid_row_handler=keep, ignore_empty_lines=False),
                convert_options=pc.ConvertOptions(
                    column_types=dict.fromkeys(("time", "sensor", "value", "unit"), pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            raise SensorFileError(f"cannot be read: {_first_line(error)}", 1) from error
        _need_columns(reader.schema.names)
        line = 2
        for batch in reader:
            bad = {number for number, _ in ragged}
            lines = []
            while len(lines) < batch.num_rows:
                if line not in bad:
                    lines.append(line)
                line += 1
            staged = {"time_text": batch.column("time"), "sensor": batch.column("sensor")}
            staged["value_text"] = batch.column("value")
            if "unit" in batch.schema.names:
                staged["unit"] = batch.column("unit")
            yield _staged(staged, lines)
    broken = [(number, text) for number, text in ragged if text.strip()]
    if broken:
        yield _problems([(number, "the line has not as many fields as the header") for number, _ in broken])


def _need_columns(names: list[str]) -> None:
    for name in ("time", "sensor", "value"):
        if name not in names:
            raise SensorFileError(
                f"has no column {name!r}: the columns are time, sensor, value and, if wanted, unit", 1
            )
        if names.count(name) > 1:
            raise SensorFileError(f"has the column {name!r} twice", 1)


# measurement,tag=value field=number time: the common case, without escapes or quotes.
_POINT = re.compile(r"([^,\s\\\"]+)((?:,[^,=\s\\\"]+=[^,=\s\\\"]+)*) ([^,=\s\\\"]+)=([^,\s\\\"]+)(?: (-?\d+))?\s*")
_VALUE_FIELDS = ("_value", "value")


def _read_line_protocol(path: Path, precision: str, names: frozenset[str]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    factor = _MICROSECONDS[precision]
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, text in enumerate(file, start=1):
            if text.isspace() or text.startswith("#"):
                continue
            rows.append((number, *_parse_point(text, factor, names)))
            if len(rows) == _BATCH_ROWS:
                yield _points(rows)
                rows = []
    if rows:
        yield _points(rows)


def _parse_point(text: str, factor: float, names: frozenset[str]) -> tuple[Any, ...]:
    """Time in microseconds, sensor, value as text, problem."""
    match = _POINT.fullmatch(text)
    if match:
        measurement, tag_text, field, value, time = match.groups()
        tags = dict(part.split("=", 1) for part in tag_text.split(",")[1:])
        fields = {field: value}
    else:
        parsed = _parse_escaped(text.rstrip("\r\n"))
        if parsed is None:
            return None, None, None, "the line is not line protocol"
        measurement, tags, fields, time = parsed
    sensor = _sensor_of(measurement, tags, names)
    value = next((fields[name] for name in _VALUE_FIELDS if name in fields), None)
    if value is None:
        return None, sensor, None, f"the point has no field {' or '.join(_VALUE_FIELDS)}"
    if time is None:
        return None, sensor, None, "the point has no time"
    microseconds = int(time) // 1000 if factor == 0.001 else int(time) * int(factor)
    if abs(microseconds) >= 2**62:
        return None, sensor, None, "the time is out of range"
    return microseconds, sensor, value[:-1] if value[-1:] in ("i", "u") else value, None


def _sensor_of(measurement: str, tags: dict[str, str], names: frozenset[str]) -> str:
    """The measurement is the sensor; where a broken topic rule named all series alike, a tag is."""
    if measurement in names:
        return measurement
    for candidate in (tags.get("sensor"), tags.get("topic", "").rsplit("/", 1)[-1]):
        if candidate in names:
            return candidate
    return tags.get("sensor") or measurement


_ESCAPED_SPACE = re.compile(r"(?<!\\) ")
_ESCAPED_COMMA = re.compile(r"(?<!\\),")
_ESCAPED_EQUALS = re.compile(r"(?<!\\)=")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def _parse_escaped(text: str) -> tuple[str, dict[str, str], dict[str, str], str | None] | None:
    """The whole grammar: several fields, escapes, quoted strings; None when it is not met."""
    text = _QUOTED.sub('""', text)  # a quoted value is never a number, and may hold any separator
    parts = _ESCAPED_SPACE.split(text.strip())
    if len(parts) not in (2, 3) or (len(parts) == 3 and not re.fullmatch(r"-?[0-9]+", parts[2])):
        return None
    head, *tag_parts = _ESCAPED_COMMA.split(parts[0])
    pairs = [[_ESCAPED_EQUALS.split(part) for part in group] for group in (tag_parts, _ESCAPED_COMMA.split(parts[1]))]
    if not head or any(len(pair) != 2 or not all(pair) for group in pairs for pair in group):
        return None
    tags, fields = ({_unescape(key): _unescape(value) for key, value in group} for group in pairs)
    return _unescape(head), tags, fields, parts[2] if len(parts) == 3 else None


def _unescape(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def _points(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    lines, times, sensors, values, problems = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        "time": pa.array(times, pa.int64()).cast(UTC_TIME),
        "sensor": pa.array(sensors, pa.string()),
        "value_text": pa.array(values, pa.string()),
        "problem": pa.array(problems, pa.string()),
    }
    return _staged(columns, lines)


def _problems(found: list[tuple[int, str]]) -> pa.RecordBatch:
    return _staged({"problem": pa.array([reason for _, reason in found], pa.string())}, [line for line, _ in found])


def _staged(columns: dict[str, Any], lines: Any) -> pa.RecordBatch:
    arrays: list[pa.Array] = []
    for field in STAGED:
        if field.name == "line":
            arrays.append(pa.array(lines, pa.int64()))
        elif field.name in columns:
            column = columns[field.name]
            arrays.append(column if column.type == field.type else column.cast(field.type))
        else:
            arrays.append(pa.nulls(len(lines), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=STAGED)


def _first_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
