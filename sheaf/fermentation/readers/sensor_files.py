"""The sensor file of a batch folder as a stream of points as they were written: which reader it takes, and Parquet.

Not here: text (`delimited`, `instruments`, `line_protocol`), which points are good (`sensor_points`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from sheaf.errors import InputError
from sheaf.fermentation.readers.delimited import read_delimited, unpacked
from sheaf.fermentation.readers.dialect import decoded, may_tell_apart, named_like_a_tag, plain_name, sniff, unit_in
from sheaf.fermentation.readers.instruments import kind_of, read_instrument
from sheaf.fermentation.readers.line_protocol import read_line_protocol
from sheaf.fermentation.readers.staging import BATCH_ROWS, LONG, FileError, series_of, staged
from sheaf.fermentation.settings import FermentationSettings
from sheaf.outside.files import key_of, named
from sheaf.outside.parquet import DeliveredParquet
from sheaf.tables.table import UTC_TIME, arrow_type

FILES = ("sensors.parquet", "sensors.csv", "sensors.csv.gz", "sensors.tsv", "sensors.txt", "sensors.lp")
_HEAD = 64 * 1024


@dataclass
class SensorFile:
    """One sensor file.

    Attributes:
        path: the file.
        settings: names, zone, precision of line protocol.
        told: how it was read, as a clause; known once reading has begun, empty where there is nothing to tell.
        left_out: columns that are no known sensor, by name.
    """

    path: Path
    settings: FermentationSettings
    told: str = ""
    left_out: tuple[str, ...] = field(default=())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The points of the file as batches of `STAGED`.

        Raises:
            InputError: the file is not what its name says, or lacks a column.
        """
        names = frozenset(self.settings.names())
        try:
            ending = key_of(self.path.suffix)
            if ending == ".parquet":
                yield from self._parquet(names)
            elif ending == ".lp":
                yield from read_line_protocol(self.path, self.settings.line_protocol_precision, names)
            else:
                yield from self._text(names)
        except FileError as error:
            raise InputError(f"{self.path.name} {error}.") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path.name} is not UTF-8 text: save it as UTF-8.") from error
        except (pa.ArrowException, OSError, EOFError) as error:
            raise InputError(f"{self.path.name} cannot be read: {_first_line(error)}; export it again.") from error

    def _text(self, names: frozenset[str]) -> Iterator[pa.RecordBatch]:
        with unpacked(self.path) as file:
            head = file.read(_HEAD)
        encoding, text = decoded(head)
        if not text.strip():
            raise FileError("cannot be read: it is empty; export it again")
        kind = kind_of(text)
        if kind == "line_protocol" and encoding.startswith("utf-8") and key_of(self.path.suffix) != ".gz":
            yield from read_line_protocol(self.path, self.settings.line_protocol_precision, names)
            return
        if kind and kind != "line_protocol":
            self.told = f"{encoding}, {kind}"
            of_role = {sensor.role: tag for tag, sensor in self.settings.plan.sensors.items() if sensor.role}
            yield from read_instrument(self.path, kind, encoding, names, of_role)
            return
        dialect = sniff(text, encoding, names)
        self.told, self.left_out = dialect.told(), dialect.left_out
        yield from read_delimited(self.path, dialect)

    def _parquet(self, names: frozenset[str]) -> Iterator[pa.RecordBatch]:
        file = DeliveredParquet(self.path)
        schema = file.schema
        _need(schema, ("time",))
        sensors = _sensor_columns(schema, names) if "value" not in schema.names else {}
        if not sensors:
            _need(schema, ("sensor", "value"))
        used = {"time", *(sensors or LONG)}
        tags = [each.name for each in schema if each.name not in used and _tells_apart(each, wide=bool(sensors))]
        self.left_out = tuple(
            each.name for each in schema if sensors and each.name not in used and each.name not in tags
        )
        line = 1
        for batch in file.batches([name for name in schema.names if name in used or name in tags], BATCH_ROWS):
            lines = range(line, line + batch.num_rows)
            times = self._times(batch.column("time"))
            if sensors:
                yield from _of_columns(batch, sensors, names, times, tags, lines)
            else:
                columns = times | _valued(batch.column("value")) | {"sensor": batch.column("sensor")}
                columns["series"] = series_of(batch, tags)
                if "unit" in schema.names:
                    columns["unit"] = batch.column("unit")
                yield staged(columns, lines)
            line += batch.num_rows

    def _times(self, time: pa.Array) -> dict[str, Any]:
        if pa.types.is_timestamp(time.type):
            if time.type.tz is not None:
                return {"time": time.cast(arrow_type(UTC_TIME), safe=False)}
            if self.settings.naive_timezone is None:
                raise FileError("has times without a zone: write one, or set naive_timezone in the settings")
            return {"local": time.cast(pa.timestamp("us"), safe=False)}
        if pa.types.is_string(time.type) or pa.types.is_large_string(time.type):
            return {"time_text": time}
        raise FileError(f"has a column 'time' of type {time.type}: write timestamps with a zone")


def find_sensor_file(folder: Path) -> Path | None:
    """The sensor file of a batch folder, None when there is none.

    Raises:
        InputError: there is more than one, or it is no regular file.
    """
    found = list(named(folder, FILES).values())
    if len(found) > 1:
        raise InputError(f"There are several sensor files ({', '.join(path.name for path in found)}): keep one.")
    return found[0] if found else None


def _need(schema: pa.Schema, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in schema.names:
            raise FileError(
                f"has no column {name!r}: the columns are time, sensor, value and, if wanted, unit; or time and one "
                f"for each sensor, by its name in the plan or an alias (found: {', '.join(schema.names)[:300]})"
            )
        if schema.names.count(name) > 1:
            raise FileError(f"has the column {name!r} twice: keep one")


def _sensor_columns(schema: pa.Schema, names: frozenset[str]) -> dict[str, str]:
    """The columns of a wide table that are sensors, to the sensor's name."""
    found: dict[str, str] = {}
    for name in schema.names:
        if (sensor := plain_name(name)) in names:
            if sensor in found.values():
                raise FileError(f"has two columns of {sensor}: keep one, or give the other a name of its own")
            found[name] = sensor
    return found


def _tells_apart(column: pa.Field, *, wide: bool) -> bool:
    """Texts do; whole numbers and flags as well, in a wide table, which has more sensors, only by their name."""
    if not may_tell_apart(column.name):
        return False
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return True
    return (not wide or named_like_a_tag(column.name)) and (pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _valued(column: pa.Array) -> dict[str, Any]:
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return {"value_text" if text else "value": column}


def _of_columns(
    batch: pa.RecordBatch,
    sensors: Mapping[str, str],
    names: frozenset[str],
    times: Mapping[str, Any],
    tags: list[str],
    lines: range,
) -> Iterator[pa.RecordBatch]:
    """One batch for each sensor of a wide table; an empty cell is no point."""
    import pyarrow.compute as pc

    numbers, series = pa.array(lines, pa.int64()), series_of(batch, tags)
    for name, sensor in sensors.items():
        column = batch.column(batch.schema.get_field_index(name))
        there = pc.call_function("is_valid", [column])
        values = column.filter(there)
        if len(values):
            columns = {key: array.filter(there) for key, array in times.items()} | _valued(values)
            columns["sensor"] = pa.repeat(pa.scalar(sensor), len(values))
            if name not in names and (unit := unit_in(name)):
                columns["unit"] = pa.repeat(pa.scalar(unit), len(values))
            columns["series"] = None if series is None else series.filter(there)
            yield staged(columns, numbers.filter(there).to_pylist())


def _first_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
