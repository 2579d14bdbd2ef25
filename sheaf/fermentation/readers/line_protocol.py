"""InfluxDB line protocol to points: the sensor is the measurement, a tag, or each field of one measurement."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sheaf.fermentation.readers.series import series_text
from sheaf.fermentation.readers.staging import BATCH_ROWS, VALUE_FIELDS, Point, points, sensor_of
from sheaf.outside.files import lines

_MICROSECONDS = {"ns": 0.001, "us": 1, "ms": 1000, "s": 1_000_000}

# measurement,tag=value field=number time: the common case, without escapes or quotes.
_POINT = re.compile(r"([^,\s\\\"]+)((?:,[^,=\s\\\"]+=[^,=\s\\\"]+)*) ([^,=\s\\\"]+)=([^,\s\\\"]+)(?: (-?\d+))?\s*")


def read_line_protocol(path: Path, precision: str, names: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """The points of a file as batches of `STAGED`.

    Args:
        path: the file.
        precision: unit of its times: `ns`, `us`, `ms` or `s`.
        names: accepted sensor names.
    """
    rows: list[Point] = []
    reader = _Reader(_MICROSECONDS[precision], names)
    for number, line in enumerate(lines(path), start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if text.isspace() or text.startswith("#"):
            continue
        rows += reader.points(number, text)
        if len(rows) >= BATCH_ROWS:
            yield points(rows)
            rows = []
    if rows:
        yield points(rows)


class _Reader:
    """Reads line by line; what follows from measurement and tags is worked out once for each pair."""

    def __init__(self, factor: float, names: frozenset[str]) -> None:
        self._factor, self._names = factor, names
        self._heads: dict[tuple[str, str], tuple[str, str | None]] = {}

    def points(self, number: int, text: str) -> list[Point]:
        match = _POINT.fullmatch(text)
        if match:
            measurement, tag_text, field, value, time = match.groups()
            head = self._heads.get((measurement, tag_text))
            if head is None:
                tags = dict(part.split("=", 1) for part in tag_text.split(",")[1:])
                head = self._heads[measurement, tag_text] = self._head(measurement, tags)
            fields = {field: value}
        else:
            parsed = _parse_escaped(text.rstrip("\r\n"))
            if parsed is None:
                return [Point(number, problem="not_line_protocol")]
            measurement, tags, fields, time = parsed
            head = self._head(measurement, tags)
        sensor, series = head
        value = next((fields[name] for name in VALUE_FIELDS if name in fields), None)
        if value is not None or sensor in self._names:
            return [self._point(number, sensor, series, value, time)]
        # The usual layout of agents and OPC bridges: one measurement, each sensor a field of it.
        return [self._point(number, name, series, value, time) for name, value in fields.items()]

    def _head(self, measurement: str, tags: dict[str, str]) -> tuple[str, str | None]:
        sensor, used = sensor_of(measurement, tags, self._names)
        left = {key: value for key, value in tags.items() if key not in used}
        if left.get("topic", "").rsplit("/", 1)[-1] == sensor:  # the rest of the topic may name the vessel
            left["topic"] = left["topic"].rpartition("/")[0]
        return sensor, series_text(left)

    def _point(self, number: int, sensor: str, series: str | None, value: str | None, time: str | None) -> Point:
        if value is None:
            return Point(number, sensor=sensor, series=series, problem="missing_value")
        if time is None:
            return Point(number, sensor=sensor, series=series, problem="missing_time")
        microseconds = int(time) // 1000 if self._factor == 0.001 else int(time) * int(self._factor)
        if abs(microseconds) >= 2**62:
            return Point(number, sensor=sensor, series=series, problem="no_such_time")
        value = value[:-1] if value[-1:] in ("i", "u") else value
        return Point(number, microseconds, sensor=sensor, series=series, value=value)


# A separator after a backslash is part of a name; a quote is one anywhere but around a field's value. Nothing is
# taken twice (`++`, `(?>`), so that a line that does not fit is left after one pass.
_NAME = r"(?:\\[,= ]|[^,= ])++"
_VALUE = rf'(?>"(?:[^"\\]|\\.)*+"|{_NAME})'
_TAG = re.compile(rf"({_NAME})=({_NAME})")
_FIELD = re.compile(rf"({_NAME})=({_VALUE})")
_LINE = re.compile(
    rf"((?:\\[,= ]|[^, ])++)((?:,{_NAME}={_NAME})*+) ({_NAME}={_VALUE}(?:,{_NAME}={_VALUE})*+)(?: (-?[0-9]+))?"
)


def _parse_escaped(text: str) -> tuple[str, dict[str, str], dict[str, str], str | None] | None:
    """The whole grammar: several fields, escapes, quoted strings; None when it is not met."""
    match = _LINE.fullmatch(text.strip())
    if match is None:
        return None
    measurement, tags, fields, time = match.groups()
    return (  # a quoted value is never a number, whatever it says
        _unescape(measurement),
        {_unescape(key): _unescape(value) for key, value in _TAG.findall(tags)},
        {_unescape(key): '""' if value[0] == '"' else _unescape(value) for key, value in _FIELD.findall(fields)},
        time,
    )


def _unescape(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)
