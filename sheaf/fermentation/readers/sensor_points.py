"""Which sensor points are good: known sensor, own series, right unit, a time with a zone, a possible value, once.

Works in DuckDB, so that memory is bounded whatever the number of points. What is not good is noted by
sensor and code, with how many points it is and the line of the first. Of points that repeat a time the
last in the file is used: another value before it is a reject, the same value is merely left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf import sql
from sheaf.errors import InputError
from sheaf.fermentation.readers.fields import clock_changes, shorten
from sheaf.fermentation.readers.sensor_files import SensorFile, find_sensor_file
from sheaf.fermentation.readers.series import FoundSeries, by_writers, other_vessels, tags_of, without_writers
from sheaf.fermentation.readers.staging import VALUE_FIELDS
from sheaf.fermentation.schema import SENSORS_TABLE
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.units import conversion, unit_of
from sheaf.tables.rejects import Rejects

if TYPE_CHECKING:
    import duckdb

_HAS_ZONE = r"(?:[zZ]|[+-]\d{2}(?::?\d{2})?)$"
_IS_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"
_EPOCH = """CASE WHEN regexp_matches(time_text, '^[0-9]{10}[.][0-9]+$')
    THEN make_timestamptz(CAST(round(TRY_CAST(time_text AS DECIMAL(28, 9)) * 1000000) AS BIGINT))
    ELSE CASE length(time_text) WHEN 10 THEN make_timestamptz(TRY_CAST(time_text AS BIGINT) * 1000000)
    WHEN 13 THEN make_timestamptz(TRY_CAST(time_text AS BIGINT) * 1000)
    WHEN 16 THEN make_timestamptz(TRY_CAST(time_text AS BIGINT))
    WHEN 19 THEN make_timestamptz(TRY_CAST(time_text AS BIGINT) // 1000) END END"""
"""Whole seconds, milli-, micro- or nanoseconds since 1970: of our years they differ in length."""
_TIME_TEXT = r"""CASE
    WHEN contains(time_text, ',') OR regexp_matches(time_text, ' [+-][0-9]{2}:?[0-9]{2}[ "]*$')
    THEN regexp_replace(regexp_replace(trim(time_text, ' "'), '(:[0-9]{2}),([0-9])', '\1.\2'),
        ' ([+-][0-9]{2}):?([0-9]{2})$', '\1:\2')
    ELSE regexp_replace(trim(time_text, ' "'), '\s*(UTC|GMT)$', '+00:00') END"""
"""A time as DuckDB reads it: some write the fraction of a second behind a comma, or an offset behind a blank."""
KEPT = "sensors.kept.parquet"
"""Beside the points of a live source, those of the store that it no longer has."""
_CLOCKS = ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
_TABLE = SENSORS_TABLE.name
_NOT_LOST = ("unknown_sensor", "outside_hours")  # points of something else, or of another time
_MOST_DAYS = 3650  # beyond that, times are wrong anyway
_REASONS = {
    "wrong_fields": "the line has not as many fields as the header",
    "not_line_protocol": "the line is not line protocol",
    "missing_value": f"the point has no field {' or '.join(VALUE_FIELDS)}",
    "missing_time": "the point has no time",
    "not_a_time": (
        "the time is missing or not a time such as 2025-10-21T10:30:00+00:00 (days and months as numbers alone need "
        "fermentation.date_order)"
    ),
    "naive_time": "the time has no zone: write one, or set naive_timezone in the settings",
    "no_such_time": "the time does not exist",
    "clock_change": "the time falls into a clock change of {zone} and is there twice or not at all: write its offset",
    "not_a_number": "the value is missing or not a number",
    "not_finite": "the value is NaN or infinite",
    "outside_hours": "the time is outside the hours of the batch: correct it, or set sensor_hours in the settings",
}


@dataclass(frozen=True)
class SensorPoints:
    """The good points of a batch, still in DuckDB.

    Attributes:
        connection: has them in the table `good`.
        sensors: those that have any.
        warnings: what a person should read.
        section: row of `sections`: how many points of the batch were delivered but could not be used, and why.
    """

    connection: "duckdb.DuckDBPyConnection"
    sensors: tuple[str, ...]
    warnings: tuple[str, ...]
    section: Mapping[str, Any]

    def batches(self) -> pa.RecordBatchReader:
        """Columns `time, sensor, value`, by sensor in the order of their names, then time."""
        return self.connection.sql("SELECT time, sensor, value FROM good ORDER BY sensor, time").to_arrow_reader(
            128 * 1024
        )


def read_sensor_points(
    folder: Path,
    batch: Mapping[str, Any],
    settings: FermentationSettings,
    rejects: Rejects,
    connection: "duckdb.DuckDBPyConnection",
) -> SensorPoints:
    """Read and check the sensor file of a batch folder.

    Args:
        folder: the batch's folder, only read.
        batch: its row; `sensor_hours` counts from inoculation (or else creation), its vessel tells series apart.
        settings: plan, units, aliases, zone, hours.
        rejects: takes what cannot be used, and counts all there are.
        connection: where the points are staged.

    Raises:
        InputError: the sensors as a whole cannot be used.
    """
    connection.execute("SET TimeZone='UTC'")
    path = find_sensor_file(folder)
    if path is None:
        connection.execute("CREATE TEMP TABLE good (time TIMESTAMPTZ, sensor VARCHAR, value DOUBLE)")
        absent = {"section": _TABLE, "state": "absent", "rows": 0, "rejected": 0, "rejects": None}
        return SensorPoints(connection, (), ("No sensors file; sensor features stay empty.",), absent)
    names = settings.names()
    start = batch["inoculated_at"] or batch["created_at"]
    file = SensorFile(path, settings)
    _stage(connection, file, names, settings)
    rejects.saw(_TABLE, _number(connection, "SELECT count(*) FROM staged"))
    _refuse_without_zone(connection, path.name)
    _leave_out_others(connection, batch, path.name, settings, rejects)
    _refuse_other_units(connection, path.name, settings)
    _find_problems(connection, start, settings)
    back = _number(
        connection,
        "SELECT count(*) FROM (SELECT time < lag(time) OVER (PARTITION BY sensor ORDER BY line) AS back "
        "FROM staged WHERE problem IS NULL) WHERE back",
    )
    connection.execute(
        "CREATE TEMP TABLE good AS SELECT time, sensor, arg_max(value, line) AS value, max(line) AS line "
        "FROM staged WHERE problem IS NULL GROUP BY time, sensor"
    )
    two_values = _note_repeats(connection, path.name, rejects)
    kept = _add_kept(connection, folder / KEPT, rejects)
    good = _number(connection, "SELECT count(*) FROM good")
    # Where nothing is left, how the file was read may be why.
    _note_problems(
        connection, path.name, settings, rejects, f" (read as {file.told})" if file.told and not good else ""
    )
    warnings = [f"{path.name}: {back} points were not in the order of time and have been sorted."] if back else []
    if kept:
        warnings.append(f"{kept} points are no longer at their source; they are kept as they were read before.")
    if file.left_out:
        columns = ", ".join(shorten(name) for name in file.left_out[:20])
        more = f" and {len(file.left_out) - 20} more" if len(file.left_out) > 20 else ""
        warnings.append(f"{path.name}: columns that are no known sensor are left out: {columns}{more}.")
    found = connection.execute("SELECT DISTINCT sensor FROM good ORDER BY sensor").fetchall()
    sensors = tuple(name for (name,) in found)
    if missing := [name for name, of in settings.plan.sensors.items() if name not in sensors and not of.optional]:
        warnings.append(f"No points of {', '.join(missing)}.")
    return SensorPoints(
        connection, sensors, tuple(warnings), _section(connection, path.name, good, two_values, settings)
    )


def _section(
    connection: "duckdb.DuckDBPyConnection",
    name: str,
    good: int,
    two_values: Mapping[str, int],
    settings: FermentationSettings,
) -> dict[str, Any]:
    """What became of the points of the batch; a value that could not be read is no silence, yet nobody knows it.

    Nor does anybody know which of two values of the same time it was: a few are corrections, many are two series.
    """
    found = connection.execute(
        "SELECT sensor, problem, count(*) FROM staged WHERE problem IS NOT NULL AND problem NOT IN (?, ?) "
        "GROUP BY ALL ORDER BY count(*) DESC, sensor, problem",
        [*_NOT_LOST],
    ).fetchall()
    said = [f"{name}: {_reason(sensor, sensor, code, settings)} ({count} points)" for sensor, code, count in found[:3]]
    said += [f"{name}: {sensor} has two values at one time ({count} times)" for sensor, count in two_values.items()]
    lost = sum(count for *_, count in found) + sum(two_values.values())
    return {"section": _TABLE, "state": "read", "rows": good, "rejected": lost, "rejects": "; ".join(said) or None}


def _number(connection: "duckdb.DuckDBPyConnection", query: str) -> int:
    ((number,),) = connection.execute(query).fetchall()
    return number


def _stage(
    connection: "duckdb.DuckDBPyConnection", file: SensorFile, names: dict[str, str], settings: FermentationSettings
) -> None:
    """All points into one table with the plan's names and units; `problem` is the code of what is wrong with one."""
    connection.execute("CREATE TEMP TABLE names (alias VARCHAR, tag VARCHAR, factor DOUBLE, shift DOUBLE)")
    conversions = []
    for alias, tag in names.items():
        conversions.append(
            (alias, tag, *(conversion(settings.unit(tag), settings.plan.sensors[tag].unit) or (1.0, 0.0)))
        )
    connection.executemany("INSERT INTO names VALUES (?, ?, ?, ?)", conversions)
    connection.execute(
        "CREATE TEMP TABLE staged (line BIGINT, time TIMESTAMPTZ, local TIMESTAMP, sensor VARCHAR, name VARCHAR, "
        "series VARCHAR, value DOUBLE, unit VARCHAR, problem VARCHAR)"
    )
    zone = settings.naive_timezone
    in_zone = f"timezone({sql.literal(zone)}, local)" if zone else "NULL"
    # The zone below was checked against the zone database, so it cannot be anything else.
    insert = f"""
        INSERT INTO staged
        SELECT line, time, local, tag, name, series,
            CASE WHEN factor = 1 AND shift = 0 THEN value ELSE value * factor + shift END,
            unit, CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN tag IS NULL THEN 'unknown_sensor'
            WHEN time IS NULL AND local IS NOT NULL THEN 'naive_time'
            WHEN time IS NULL AND NOT regexp_matches(coalesce(time_text, ''), '{_IS_TIME}') THEN 'not_a_time'
            WHEN time IS NULL AND NOT regexp_matches(time_text, '{_HAS_ZONE}') THEN 'naive_time'
            WHEN time IS NULL OR NOT isfinite(time) THEN 'no_such_time'
            WHEN value IS NULL THEN 'not_a_number'
            WHEN NOT isfinite(value) THEN 'not_finite'
            END
        FROM (
            SELECT line, problem, time_text, local, tag, name, series, factor, shift, unit, value,
                CASE WHEN time IS NOT NULL THEN time WHEN local IS NOT NULL THEN {in_zone} END AS time
            FROM (
                SELECT line, problem, time_text, tag, points.name, series, factor, shift,
                    nullif(trim(unit, ' "'), '') AS unit, coalesce(value, TRY_CAST(value_text AS DOUBLE)) AS value,
                    CASE WHEN time IS NOT NULL THEN time
                        WHEN NOT regexp_matches(coalesce(time_text, ''), '{_IS_TIME}') THEN coalesce(
                            {_EPOCH}, timezone('UTC', try_strptime(time_text, {_formats(settings, "%z")}))
                        )
                        WHEN regexp_matches(time_text, '{_HAS_ZONE}') THEN TRY_CAST(time_text AS TIMESTAMPTZ)
                        END AS time,
                    CASE WHEN local IS NOT NULL THEN local
                        WHEN time IS NULL AND NOT regexp_matches(coalesce(time_text, ''), '{_IS_TIME}')
                            THEN try_strptime(time_text, {_formats(settings)})
                        WHEN time IS NULL AND regexp_matches(coalesce(time_text, ''), '{_IS_TIME}')
                            AND NOT regexp_matches(time_text, '{_HAS_ZONE}') THEN TRY_CAST(time_text AS TIMESTAMP)
                        END AS local
                FROM (
                    SELECT line, problem, time, local,
                        {_TIME_TEXT} AS time_text,
                        trim(sensor, ' "') AS name, series, value, trim(value_text, ' "') AS value_text, unit
                    FROM batch
                    -- An empty line of a CSV file comes as a row of empty fields.
                    WHERE time IS NOT NULL OR local IS NOT NULL OR value IS NOT NULL OR problem IS NOT NULL
                        OR concat(time_text, sensor, value_text) <> ''
                ) AS points LEFT JOIN names ON points.name = names.alias
            )
        )"""
    for batch in file.batches():
        connection.register("batch", batch)
        connection.execute(insert)
        connection.unregister("batch")
    _mark_clock_changes(connection, zone)


def _formats(settings: FermentationSettings, offset: str = "") -> str:
    """Formats of times that are not ISO 8601; whether 3/4 is in March or in April is never guessed.

    With an offset from UTC behind them they are of UTC when they are read.
    """
    dates = ["%d.%m.%Y", "%d-%b-%Y", "%d %b %Y"]  # nobody writes dots otherwise, and a month by its name is told
    dates.append("%Y/%m/%d")  # the year in front, nobody writes the day next
    if settings.date_order == "dmy":
        dates += ["%d/%m/%Y", "%d-%m-%Y"]
    elif settings.date_order == "mdy":
        dates += ["%m/%d/%Y", "%m-%d-%Y"]
    return "[" + ", ".join(f"'{date} {clock}{offset}'" for date in dates for clock in _CLOCKS) + "]"


def _mark_clock_changes(connection: "duckdb.DuckDBPyConnection", zone: str | None) -> None:
    """A local time that a zone has twice, or not at all, is no time."""
    ((first, last),) = connection.execute(
        "SELECT min(local), max(local) FROM staged WHERE problem IS NULL AND isfinite(local)"
    ).fetchall()
    if zone is None or first is None or (last - first).days > _MOST_DAYS:
        return
    for begin, end in clock_changes(zone, first, last):
        connection.execute(
            "UPDATE staged SET problem = 'clock_change' WHERE problem IS NULL AND local >= ? AND local < ?",
            [begin, end],
        )


def _leave_out_others(
    connection: "duckdb.DuckDBPyConnection",
    batch: Mapping[str, Any],
    name: str,
    settings: FermentationSettings,
    rejects: Rejects,
) -> None:
    """Keep the series of the batch's vessel."""
    rows = connection.execute(
        "SELECT sensor, series, name, count(*), min(time), max(time) FROM staged "
        "WHERE problem IS NULL AND sensor IS NOT NULL GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    spans: dict[str, dict[str, tuple[datetime, datetime]]] = {}
    for sensor, _, given, _, first, last in rows:
        began, ended = spans.setdefault(sensor, {}).get(given, (first, last))
        spans[sensor][given] = min(began, first), max(ended, last)
    # Two names of one sensor are two series of it, unless one was given up for the other.
    mixed = {sensor for sensor, of in spans.items() if _overlap(list(of.values()))}
    found = [
        FoundSeries(sensor, series, points, tags_of(series) | ({"name": given} if sensor in mixed else {}))
        for sensor, series, given, points, *_ in rows
    ]
    alike = by_writers(found).values()
    found = [one for of in alike for one in (of if _written_at_once(connection, of) else without_writers(of))]
    if all(not one.tags for one in found):
        return
    others = other_vessels(found, batch, settings, name)
    if others:
        connection.execute("CREATE TEMP TABLE others (series VARCHAR)")
        connection.executemany("INSERT INTO others VALUES (?)", [[text] for text in others])
        of_others = "staged WHERE EXISTS (SELECT 1 FROM others WHERE others.series IS NOT DISTINCT FROM staged.series)"
        rejects.left_out(_TABLE, "a point of another vessel", _number(connection, f"SELECT count(*) FROM {of_others}"))
        connection.execute(f"DELETE FROM {of_others}")


_HANDOVERS = 0.02


def _written_at_once(connection: "duckdb.DuckDBPyConnection", alike: Sequence[FoundSeries]) -> bool:
    """Whether several machines wrote a sensor at the same time: where one takes over, they seldom alternate."""
    if len(alike) < 2:
        return False
    ((changes, points),) = connection.execute(
        "SELECT count(*) FILTER (series IS DISTINCT FROM before), count(*) FROM (SELECT series, "
        "lag(series, 1, series) OVER (ORDER BY time, line) AS before FROM staged "
        "WHERE problem IS NULL AND sensor = ? AND list_contains(?, coalesce(series, '')))",
        [alike[0].sensor, [one.text or "" for one in alike]],
    ).fetchall()
    return changes > max(1, _HANDOVERS * points)


def _overlap(spans: list[tuple[datetime, datetime]]) -> bool:
    spans.sort()
    return any(later[0] <= earlier[1] for earlier, later in pairwise(spans))


def _refuse_without_zone(connection: "duckdb.DuckDBPyConnection", name: str) -> None:
    """A file of which no point has a zone was written without thinking of one: that is said once, not per point."""
    if _number(connection, "SELECT count(*) FILTER (problem IS NULL) FROM staged"):
        return
    if _number(connection, "SELECT count(*) FROM staged WHERE problem = 'naive_time'"):
        raise InputError(f"{name} has times without a zone: write one, or set naive_timezone in the settings.")


def _refuse_other_units(connection: "duckdb.DuckDBPyConnection", name: str, settings: FermentationSettings) -> None:
    """Nothing is scaled by guess: another unit than the declared one stops the batch."""
    wrong = []
    for sensor, unit, line in connection.execute(
        "SELECT sensor, unit, min(line) FROM staged WHERE sensor IS NOT NULL AND unit IS NOT NULL "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        if unit_of(unit) != unit_of(settings.unit(sensor)):
            wrong.append(
                f"{name}, line {line}: {sensor} is given in {shorten(unit)} but declared in {settings.unit(sensor)!r}: "
                "correct the file, or declare the unit in the settings."
            )
    for sensor, median, peak in connection.execute(
        "SELECT sensor, median(value), max(value) FROM staged WHERE problem IS NULL GROUP BY sensor ORDER BY sensor"
    ).fetchall():
        plan = settings.plan.sensors[sensor]
        low, high = plan.possible or (-math.inf, math.inf)
        too_flat = plan.min_peak is not None and 0 < peak <= plan.min_peak
        if too_flat or not low <= median <= high:
            found = f"never rises above {peak:g}" if too_flat else f"has the median {median:g}"
            wrong.append(
                f"{name}: {sensor} {found}, which cannot be in {plan.unit} ({low:g} to {high:g}): "
                "declare the unit it is recorded in, in the settings."
            )
    if wrong:
        raise InputError(" ".join(wrong))


def _find_problems(
    connection: "duckdb.DuckDBPyConnection", start: datetime | None, settings: FermentationSettings
) -> None:
    """What is only seen when all points are there: what cannot be, and the hours of the batch."""
    bounds = [(name, *of.possible) for name, of in settings.plan.sensors.items() if of.possible]
    connection.execute("CREATE TEMP TABLE bounds (sensor VARCHAR, low DOUBLE, high DOUBLE)")
    if bounds:
        connection.executemany("INSERT INTO bounds VALUES (?, ?, ?)", bounds)
    connection.execute(
        "UPDATE staged SET problem = 'out_of_range' FROM bounds "
        "WHERE staged.sensor = bounds.sensor AND problem IS NULL AND NOT value BETWEEN low AND high"
    )
    before, after = settings.sensor_hours
    connection.execute(
        "UPDATE staged SET problem = 'outside_hours' WHERE problem IS NULL AND "
        "epoch(time) - coalesce(?, (SELECT median(epoch(time)) FROM staged WHERE problem IS NULL)) "
        "NOT BETWEEN ? AND ?",
        [None if start is None else start.timestamp(), before * 3600, after * 3600],
    )


def _add_kept(connection: "duckdb.DuckDBPyConnection", path: Path, rejects: Rejects) -> int:
    """Points that were read before and are no longer at their source, in the plan's names and units."""
    if not path.is_file():
        return 0
    connection.execute(
        "INSERT INTO good SELECT time, sensor, value, 0 FROM read_parquet(?) AS kept WHERE NOT EXISTS "
        "(SELECT 1 FROM good WHERE good.sensor = kept.sensor AND good.time = kept.time)",
        [str(path)],
    )
    count = _number(connection, "SELECT count(*) FROM good WHERE line = 0")
    rejects.saw(_TABLE, count)
    if count:
        rejects.fault(_TABLE, "kept", "The point is no longer at its source; it is kept.", rows=count, file=path.name)
    return count


def _note_repeats(connection: "duckdb.DuckDBPyConnection", name: str, rejects: Rejects) -> dict[str, int]:
    """Points that repeat a time; returns, by sensor, how many of them had another value."""
    others = {}
    for sensor, same, other, line in connection.execute(
        "SELECT sensor, count(*) FILTER (same), count(*) FILTER (NOT same), min(line) FILTER (NOT same) FROM ("
        "SELECT staged.sensor, staged.line, staged.value = good.value AS same "
        "FROM staged JOIN good USING (sensor, time) "
        "WHERE problem IS NULL AND staged.line <> good.line) GROUP BY sensor ORDER BY sensor"
    ).fetchall():
        rejects.left_out(_TABLE, "a repeated point", same)
        if other:
            reason = f"{sensor}: another point at the same time comes later in the file; that one is used."
            rejects.add(_TABLE, "repeated_key", reason, rows=other, file=name, line=line, primary_key=sensor)
            others[sensor] = other
    return others


def _note_problems(
    connection: "duckdb.DuckDBPyConnection",
    name: str,
    settings: FermentationSettings,
    rejects: Rejects,
    read_as: str,
) -> None:
    for sensor, given, code, count, line in connection.execute(
        "SELECT sensor, CASE WHEN sensor IS NULL THEN name END AS given, problem, count(*), min(line) FROM staged "
        "WHERE problem IS NOT NULL GROUP BY ALL ORDER BY min(line)"
    ).fetchall():
        key = sensor or (None if given is None else shorten(given))
        reason = _reason(sensor, key, code, settings)
        reason = f"{reason.removesuffix('.')}{read_as}."
        rejects.add(_TABLE, code, reason, rows=count, file=name, line=line, primary_key=key)


def _reason(sensor: str | None, key: str | None, code: str, settings: FermentationSettings) -> str:
    if code == "unknown_sensor":
        who = "A point without a name" if key is None else key
        return f"{who} is no known sensor: correct the name, or add an alias in the settings."
    if code == "out_of_range" and sensor:
        plan = settings.plan.sensors[sensor]
        low, high = plan.possible or (-math.inf, math.inf)
        return f"{sensor}: the value is outside {low:g} to {high:g} {plan.unit}, where it can be no reading."
    return f"{key or 'A line'}: {_REASONS[code].format(zone=settings.naive_timezone)}."
