"""Which sensor points are good: known sensor, right unit, a time with a zone, a finite value in bounds, once.

Works in DuckDB, so that memory is bounded whatever the number of points. What is not good is counted
by sensor and reason with the first line, one reject row for each.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sheaf.fermentation.plan import BY_NAME, CONVERSIONS
from sheaf.fermentation.records import shorten
from sheaf.fermentation.sensor_files import SensorFile, SensorFileError, find_sensor_file
from sheaf.fermentation.settings import FermentationSettings
from sheaf.tables import Rejects

if TYPE_CHECKING:
    import duckdb

_HAS_ZONE = r"(?:[zZ]|[+-]\d{2}(?::?\d{2})?)$"
_IS_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"


@dataclass(frozen=True)
class SensorPoints:
    """The good points of a batch, still in DuckDB, and what was counted on the way."""

    connection: "duckdb.DuckDBPyConnection"
    seen: int
    good: int
    sensors: tuple[str, ...]
    warnings: tuple[str, ...]

    def batches(self) -> pa.RecordBatchReader:
        """Columns `time, sensor, value`, by sensor in the order of their names, then time."""
        return self.connection.sql("SELECT time, sensor, value FROM good ORDER BY sensor, time").to_arrow_reader(
            128 * 1024
        )


def read_sensor_points(
    folder: Path,
    start: datetime | None,
    settings: FermentationSettings,
    rejects: Rejects,
    connection: "duckdb.DuckDBPyConnection",
) -> SensorPoints | None:
    """Read and check the sensor file of a batch folder.

    Args:
        folder: the batch's folder, only read.
        start: the moment `sensor_hours` counts from; None to use the middle of the data.
        settings: units, aliases, zone, hours.
        rejects: takes what cannot be used.
        connection: where the points are staged.

    Returns:
        The points, or None when the sensors as a whole cannot be used (a blocking reject says why).
    """
    connection.execute("SET TimeZone='UTC'")
    path = None
    try:
        path = find_sensor_file(folder)
        if path is None:
            connection.execute("CREATE TEMP TABLE good (time TIMESTAMPTZ, sensor VARCHAR, value DOUBLE)")
            return SensorPoints(connection, 0, 0, (), ("No sensors file; sensor features stay empty.",))
        names = settings.names()
        file = SensorFile(path, settings.naive_timezone, settings.line_protocol_precision, frozenset(names))
        _stage(connection, file, names, settings)
    except SensorFileError as error:
        name = path.name if path else "sensors"
        rejects.add("sensors", f"{name} {error}.", file=name, line=error.line, blocking=True)
        return None
    if _whole_file_without_zone(connection):
        reason = f"{path.name} has times without a zone: write one, or set naive_timezone in the settings."
        rejects.add("sensors", reason, file=path.name, blocking=True)
        return None
    if not _check_units(connection, path.name, settings, rejects):
        return None
    warnings = _check_points(connection, path.name, start, settings, rejects)
    return _summary(connection, warnings, settings)


def _stage(
    connection: "duckdb.DuckDBPyConnection", file: SensorFile, names: dict[str, str], settings: FermentationSettings
) -> None:
    """All points into one table with the plan's names and units; `problem` says what is wrong with one."""
    connection.execute("CREATE TEMP TABLE names (alias VARCHAR, tag VARCHAR, factor DOUBLE, shift DOUBLE)")
    conversions = []
    for alias, tag in names.items():
        conversions.append((alias, tag, *CONVERSIONS.get((settings.unit(tag), BY_NAME[tag].unit), (1.0, 0.0))))
    connection.executemany("INSERT INTO names VALUES (?, ?, ?, ?)", conversions)
    connection.execute(
        "CREATE TEMP TABLE staged (line BIGINT, time TIMESTAMPTZ, sensor VARCHAR, name VARCHAR, value DOUBLE, "
        "unit VARCHAR, problem VARCHAR)"
    )
    zone = settings.naive_timezone
    naive = f"timezone('{zone}', TRY_CAST(time_text AS TIMESTAMP))" if zone else "NULL"
    # The zone below was checked against the zone database, so it cannot be anything else.
    insert = f"""
        INSERT INTO staged
        SELECT line, time, tag, name, CASE WHEN factor = 1 AND shift = 0 THEN value ELSE value * factor + shift END,
            unit, CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN tag IS NULL THEN 'unknown'
            WHEN time IS NULL AND NOT regexp_matches(coalesce(time_text, ''), '{_IS_TIME}')
                THEN 'the time is missing or not a time such as 2025-10-21T10:30:00+00:00'
            WHEN time IS NULL AND NOT regexp_matches(time_text, '{_HAS_ZONE}')
                THEN 'the time has no zone'
            WHEN time IS NULL OR NOT isfinite(time) THEN 'the time does not exist'
            WHEN value IS NULL THEN 'the value is missing or not a number'
            WHEN NOT isfinite(value) THEN 'the value is NaN or infinite'
            END
        FROM (
            SELECT line, problem, time_text, tag, points.name, factor, shift,
                nullif(trim(unit, ' "'), '') AS unit, coalesce(value, TRY_CAST(value_text AS DOUBLE)) AS value,
                CASE WHEN time IS NOT NULL THEN time
                    WHEN NOT regexp_matches(coalesce(time_text, ''), '{_IS_TIME}') THEN NULL
                    WHEN regexp_matches(time_text, '{_HAS_ZONE}') THEN TRY_CAST(time_text AS TIMESTAMPTZ)
                    ELSE {naive} END AS time
            FROM (
                SELECT line, problem, time, trim(time_text, ' "') AS time_text, trim(sensor, ' "') AS name, value,
                    trim(value_text, ' "') AS value_text, unit
                FROM batch
                -- An empty line of a CSV file comes as a row of empty fields.
                WHERE time IS NOT NULL OR value IS NOT NULL OR problem IS NOT NULL
                    OR concat(time_text, sensor, value_text) <> ''
            ) AS points LEFT JOIN names ON points.name = names.alias
        )"""
    for batch in file.batches():
        connection.register("batch", batch)
        connection.execute(insert)
        connection.unregister("batch")


def _whole_file_without_zone(connection: "duckdb.DuckDBPyConnection") -> bool:
    row = connection.execute(
        "SELECT count(*) FILTER (problem = 'the time has no zone'), count(*) FILTER (problem IS NULL) FROM staged"
    ).fetchone()
    return row is not None and row[0] > 0 and row[1] == 0


def _check_units(
    connection: "duckdb.DuckDBPyConnection", name: str, settings: FermentationSettings, rejects: Rejects
) -> bool:
    """Nothing is scaled by guess: another unit than the declared one stops the batch."""
    good = True
    for sensor, unit, line in connection.execute(
        "SELECT sensor, unit, min(line) FROM staged WHERE sensor IS NOT NULL AND unit IS NOT NULL "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        if unit != settings.unit(sensor):
            good = False
            reason = (
                f"{sensor} is given in {shorten(unit)} but declared in {settings.unit(sensor)!r}: "
                "correct the file, or declare the unit in the settings."
            )
            rejects.add("sensors", reason, file=name, line=line, primary_key=sensor, blocking=True)
    for sensor, median, peak in connection.execute(
        "SELECT sensor, median(value), max(value) FROM staged WHERE problem IS NULL GROUP BY sensor ORDER BY sensor"
    ).fetchall():
        plan = BY_NAME[sensor]
        too_flat = plan.min_peak is not None and 0 < peak <= plan.min_peak
        if too_flat or not plan.low <= median <= plan.high:
            good = False
            found = f"never rises above {peak:g}" if too_flat else f"has the median {median:g}"
            reason = (
                f"{sensor} {found}, which cannot be in {plan.unit} ({plan.low:g} to {plan.high:g}): "
                "declare the unit it is recorded in, in the settings."
            )
            rejects.add("sensors", reason, file=name, primary_key=sensor, blocking=True)
    return good


def _check_points(
    connection: "duckdb.DuckDBPyConnection",
    name: str,
    start: datetime | None,
    settings: FermentationSettings,
    rejects: Rejects,
) -> list[str]:
    bounds = [(sensor.name, sensor.low, sensor.high) for sensor in BY_NAME.values()]
    connection.execute("CREATE TEMP TABLE bounds (sensor VARCHAR, low DOUBLE, high DOUBLE)")
    connection.executemany("INSERT INTO bounds VALUES (?, ?, ?)", bounds)
    connection.execute(
        "UPDATE staged SET problem = 'the value is outside ' || low || ' to ' || high FROM bounds "
        "WHERE staged.sensor = bounds.sensor AND problem IS NULL AND NOT value BETWEEN low AND high"
    )
    before, after = settings.sensor_hours
    connection.execute(
        "UPDATE staged SET problem = 'the time is outside the hours of the batch' WHERE problem IS NULL AND "
        "epoch(time) - coalesce(?, (SELECT median(epoch(time)) FROM staged WHERE problem IS NULL)) "
        "NOT BETWEEN ? AND ?",
        [None if start is None else start.timestamp(), before * 3600, after * 3600],
    )
    row = connection.execute(
        "SELECT count(*) FROM (SELECT time < lag(time) OVER (PARTITION BY sensor ORDER BY line) AS back "
        "FROM staged WHERE problem IS NULL) WHERE back"
    ).fetchone()
    connection.execute(
        "CREATE TEMP TABLE good AS SELECT time, sensor, arg_max(value, line) AS value, max(line) AS line "
        "FROM staged WHERE problem IS NULL GROUP BY time, sensor"
    )
    repeats = connection.execute(
        "SELECT staged.sensor, count(*), min(staged.line) FROM staged JOIN good USING (sensor, time) "
        "WHERE problem IS NULL AND staged.line <> good.line GROUP BY staged.sensor ORDER BY 1"
    ).fetchall()
    for sensor, count, line in repeats:
        reason = f"{sensor}: {count} points repeat a time; the last one in the file is used."
        rejects.add("sensors", reason, file=name, line=line, primary_key=sensor)
    for sensor, given, problem, count, line in connection.execute(
        "SELECT sensor, CASE WHEN sensor IS NULL THEN name END AS given, problem, count(*), min(line) FROM staged "
        "WHERE problem IS NOT NULL GROUP BY ALL ORDER BY ALL NULLS LAST"
    ).fetchall():
        reason = _reason(sensor, given, problem, count)
        rejects.add("sensors", reason, file=name, line=line, primary_key=sensor or shorten(given))
    return [f"{name}: {row[0]} points were not in the order of time and have been sorted."] if row and row[0] else []


def _reason(sensor: str | None, given: str | None, problem: str, count: int) -> str:
    if problem == "unknown":
        return (
            f"{shorten(given)} is no known sensor ({count} points): correct the name, or add an alias in the settings."
        )
    who = sensor or ("A line" if given is None else shorten(given))
    return f"{who}: {problem} ({count} points)."


def _summary(
    connection: "duckdb.DuckDBPyConnection", warnings: list[str], settings: FermentationSettings
) -> SensorPoints:
    row = connection.execute("SELECT (SELECT count(*) FROM staged), (SELECT count(*) FROM good)").fetchone()
    seen, good = row or (0, 0)
    sensors = tuple(
        name for (name,) in connection.execute("SELECT DISTINCT sensor FROM good ORDER BY sensor").fetchall()
    )
    missing = [name for name in BY_NAME if name not in sensors and name != "Gas_Flow_Outlet"]
    if missing:
        warnings.append(f"No points of {', '.join(missing)}.")
    return SensorPoints(connection, seen, good, sensors, tuple(warnings))
