"""The form in which every reader of sensor files gives its points: as they were written, with where they were.

Here: `STAGED` and how rows or columns are brought into it. Not here: which points are good (`sensor_points`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from sheaf.tables.table import UTC_TIME, arrow_type

STAGED = pa.schema(
    [
        ("line", pa.int64()),
        ("time", arrow_type(UTC_TIME)),
        ("local", pa.timestamp("us")),
        ("time_text", pa.string()),
        ("sensor", pa.string()),
        ("series", pa.string()),
        ("value", pa.float64()),
        ("value_text", pa.string()),
        ("unit", pa.string()),
        ("problem", pa.string()),
    ]
)
"""Line (or row) number; the time as `time`, as `local` where it has no zone, or as `time_text` where only a text is
known; the sensor's name as it was given; `series`, what else tells series apart, as `key=value` pairs; the value as
number or text; its unit; the code of a problem that makes the point useless."""

BATCH_ROWS = 64 * 1024
LONG = ("time", "sensor", "value", "unit")
"""The columns of the long form; all others are tags."""
VALUE_FIELDS = ("_value", "value")
"""Fields of a measurement that hold its value; others are sensors, or nothing."""


class FileError(ValueError):
    """The file as a whole cannot be used; the message continues its name."""


class Point(NamedTuple):
    """One point as a text format has it; `microseconds` since the epoch, or `time_text`."""

    line: int
    microseconds: int | None = None
    time_text: str | None = None
    sensor: str | None = None
    series: str | None = None
    value: str | None = None
    unit: str | None = None
    problem: str | None = None


def points(rows: Sequence[Point]) -> pa.RecordBatch:
    """Points as a batch of `STAGED`."""
    lines, times, texts, sensors, series, values, units, problems = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        "time": pa.array(times, pa.int64()).cast(arrow_type(UTC_TIME)),
        "time_text": pa.array(texts, pa.string()),
        "sensor": pa.array(sensors, pa.string()),
        "series": pa.array(series, pa.string()),
        "value_text": pa.array(values, pa.string()),
        "unit": pa.array(units, pa.string()),
        "problem": pa.array(problems, pa.string()),
    }
    return staged(columns, lines)


def staged(columns: Mapping[str, Any], lines: Any) -> pa.RecordBatch:
    """Some columns of `STAGED` as a batch; the others are empty."""
    arrays: list[pa.Array] = []
    for field in STAGED:
        if field.name == "line":
            arrays.append(pa.array(lines, pa.int64()))
        elif columns.get(field.name) is not None:
            column = columns[field.name]
            arrays.append(column if column.type == field.type else column.cast(field.type))
        else:
            arrays.append(pa.nulls(len(lines), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=STAGED)


def series_of(batch: pa.RecordBatch, tags: Sequence[str]) -> pa.Array | None:
    """The series of each row from its tag columns; None where there are none."""
    import pyarrow.compute as pc

    if not tags:
        return None
    nothing, parts = pa.scalar(""), []
    for name in sorted(tags):
        text = batch.column(batch.schema.get_field_index(name)).cast(pa.string()).fill_null("")
        if name == "tags":  # of the CSV of InfluxDB 1.x, which holds all of them as pairs
            pairs = pc.call_function("binary_join_element_wise", [pa.scalar(","), text, nothing])
        else:
            label = name.replace(",", "\\,")
            text = pc.call_function("replace_substring", [text], pc.ReplaceSubstringOptions(",", "\\,"))
            pairs = pc.call_function("binary_join_element_wise", [pa.scalar(f",{label}="), text, nothing])
        parts.append(pc.call_function("if_else", [pc.call_function("equal", [text, ""]), nothing, pairs]))
    joined = pc.call_function("binary_join_element_wise", [*parts, nothing])
    joined = pc.call_function("utf8_slice_codeunits", [joined], pc.SliceOptions(1))
    return pc.call_function("if_else", [pc.call_function("equal", [joined, ""]), pa.scalar(None, pa.string()), joined])


def sensor_of(measurement: str, tags: Mapping[str, str], names: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """What names the sensor of a point of InfluxDB, and the tags that name it and so tell no series apart.

    The measurement does; where a broken topic rule named all series alike, a tag does.
    """
    if measurement in names:
        return measurement, ()
    if tags.get("sensor") in names:
        return tags["sensor"], ("sensor",)
    if (last := tags.get("topic", "").rsplit("/", 1)[-1]) in names:
        return last, ()
    return (tags["sensor"], ("sensor",)) if tags.get("sensor") else (measurement, ())
