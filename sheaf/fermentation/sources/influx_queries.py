"""Every query text that Sheaf sends to InfluxDB, in Flux and in InfluxQL.

Here: text only, with names quoted so that none can end its quotes. Not here: sending it (`influx`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sheaf.fermentation.source_settings import InfluxSettings


@dataclass(frozen=True)
class Selection:
    """The points of one vessel in `[start, stop)`, by the sensors' clock; `sensors` are accepted measurement names."""

    vessel: str
    start: datetime
    stop: datetime
    sensors: Sequence[str]


def by_field(settings: InfluxSettings) -> bool:
    """Whether each sensor is a field of the one measurement, as agents and OPC bridges write them."""
    return settings.measurement is not None and settings.sensor_tag is None


def flux_points(settings: InfluxSettings, chosen: Selection) -> str:
    """Time, sensor and value of every point."""
    name = (settings.sensor_tag or "_field") if settings.measurement else "_measurement"
    return f"{_flux(settings, chosen)}\n  |> keep(columns: {_list('_time', '_value', name)})"


def flux_count(settings: InfluxSettings, chosen: Selection) -> str:
    """How many points there are, by series and field."""
    return f"{_flux(settings, chosen)}\n  |> count()"


def flux_values(settings: InfluxSettings, column: str, start: datetime) -> str:
    """What there is in a column of the bucket since a time."""
    return (
        'import "influxdata/influxdb/schema"\n\n'
        f"schema.tagValues(bucket: {_text(settings.bucket)}, tag: {_text(column)}, start: {_instant(start)})"
    )


def flux_probe(settings: InfluxSettings) -> str:
    """A query that fails when the bucket is not there, and costs nothing when it is."""
    return f"from(bucket: {_text(settings.bucket)})\n  |> range(start: -1m)\n  |> limit(n: 1)"


def _flux(settings: InfluxSettings, chosen: Selection) -> str:
    names = [settings.measurement] if settings.measurement else chosen.sensors
    conditions = [
        _any("_measurement", names),
        _any("_field", _fields(settings, chosen)),
        f"r[{_text(settings.vessel_tag)}] =~ /{_part_of_topic(chosen.vessel)}/"
        if _in_topic(settings)
        else _any(settings.vessel_tag, [chosen.vessel]),
    ]
    lines = [
        f"from(bucket: {_text(settings.bucket)})",
        f"range(start: {_instant(chosen.start)}, stop: {_instant(chosen.stop)})",
        *(f"filter(fn: (r) => {condition})" for condition in conditions),
    ]
    return "\n  |> ".join(lines)


def influxql_points(settings: InfluxSettings, chosen: Selection) -> str:
    """Time, sensor and value of every point; the sensor is the series' name unless a tag names it."""
    columns = [
        *_fields(settings, chosen),
        *([settings.sensor_tag] if settings.measurement and settings.sensor_tag else []),
    ]
    return f"SELECT {', '.join(map(_name, columns))} {_influxql(settings, chosen)}"


def influxql_count(settings: InfluxSettings, chosen: Selection) -> str:
    """How many points there are, by series and field."""
    counts = ", ".join(f"count({_name(field)})" for field in _fields(settings, chosen))
    return f"SELECT {counts} {_influxql(settings, chosen)} GROUP BY *"


def influxql_types(settings: InfluxSettings, sensors: Sequence[str] | None = None) -> str:
    """The fields and their types, of the measurements of some sensors or of all."""
    if sensors is None:
        return "SHOW FIELD KEYS"
    names = [settings.measurement] if settings.measurement else sensors
    return f"SHOW FIELD KEYS FROM {', '.join(map(_name, names))}"


def influxql_vessels(settings: InfluxSettings) -> str:
    """What there is in the tag that names the vessel."""
    return f"SHOW TAG VALUES WITH KEY = {_name(settings.vessel_tag)}"


def influxql_probe(settings: InfluxSettings) -> str:
    """A query that names an error when the database is not there, and costs nothing when it is."""
    source = _name(settings.measurement or "pH")
    return f"SELECT {_name(settings.fields[0])} FROM {source} WHERE time > now() - 1m LIMIT 1"


def _influxql(settings: InfluxSettings, chosen: Selection) -> str:
    names = [settings.measurement] if settings.measurement else chosen.sensors
    vessel = (
        f"{_name(settings.vessel_tag)} =~ /{_part_of_topic(chosen.vessel)}/"
        if _in_topic(settings)
        else f"{_name(settings.vessel_tag)} = '{_escaped(chosen.vessel, chr(39))}'"
    )
    return (
        f"FROM {', '.join(map(_name, names))} WHERE time >= '{_instant(chosen.start)}' "
        f"AND time < '{_instant(chosen.stop)}' AND {vessel}"
    )


def _fields(settings: InfluxSettings, chosen: Selection) -> Sequence[str]:
    return chosen.sensors if by_field(settings) else settings.fields


def _in_topic(settings: InfluxSettings) -> bool:
    """Whether one tag holds a whole topic, in which the vessel is one part and the sensor the last."""
    return settings.measurement is not None and settings.vessel_tag == settings.sensor_tag


_SPECIAL = frozenset(r"\.+*?()|[]{}^$/")  # in a regular expression between slashes


def _part_of_topic(vessel: str) -> str:
    literal = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in vessel).replace("\n", "\\n")
    return rf"(^|\/){literal}(\/|$)"


def _any(column: str, values: Sequence[str]) -> str:
    return " or ".join(f"r[{_text(column)}] == {_text(value)}" for value in values)


def _list(*values: str) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    """A Flux string; `${` would begin an expression."""
    return f'"{_escaped(value, chr(34))}"'.replace("${", "\\${")


def _name(value: str) -> str:
    """An InfluxQL identifier."""
    return f'"{_escaped(value, chr(34))}"'


def _escaped(value: str, quote: str) -> str:
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
