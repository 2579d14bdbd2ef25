"""Where sensors were silent, how much is missing in all, and what is wrong with the calibrations.

These are what the asset checks show. A gap is a stretch without a point, found from the times
themselves: a sensor that fails sends nothing, not NaN.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sheaf import duck, tables
from sheaf.fermentation import schema
from sheaf.fermentation.features import sensor_points
from sheaf.fermentation.plan import BY_NAME
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store import Store

# Between inoculation and the end, by sensor: silences longer than allowed, with the edges of the run
# taken as points.
_GAPS = """
    WITH run AS (SELECT sensor, epoch_us(time) AS us FROM points WHERE epoch_us(time) BETWEEN $start AND $end),
        allowed AS (SELECT unnest($names) AS sensor, unnest($silences) AS silence),
        edges AS (
            SELECT * FROM run
            UNION ALL SELECT DISTINCT sensor, $start::BIGINT FROM points
            UNION ALL SELECT DISTINCT sensor, $end::BIGINT FROM points
        ),
        steps AS (SELECT sensor, us, lead(us) OVER (PARTITION BY sensor ORDER BY us) AS following FROM edges)
    SELECT sensor, us, following FROM steps JOIN allowed USING (sensor)
    WHERE following - us > silence ORDER BY us, sensor
"""
_COUNTS = """
    SELECT sensor, count(*) FILTER (epoch_us(time) BETWEEN $start AND $end) AS n FROM points GROUP BY sensor
"""
_MIN_SLOPE, _MAX_SLOPE = 95.0, 105.0
_MAX_RESPONSE_S = 30
_EXPECTED_PROBES = ("pH", "DO", "Temp")


def sensor_gaps(store: Store, batch: str, settings: FermentationSettings) -> list[dict[str, Any]]:
    """Silences between inoculation and the end of the run.

    Returns:
        `{sensor, start, end, seconds}` by start and sensor; empty when the batch was not inoculated.

    Raises:
        NotFoundError: the batch has not been ingested.
    """
    span = _span(store, batch)
    if span is None:
        return []
    names = list(BY_NAME)
    # A slow sensor is silent between two points; two missing ones in a row are a gap.
    silences = [int(max(settings.gap_s, 2.5 / settings.rate_hz(name)) * 1e6) for name in names]
    rows = _query(store, batch, _GAPS, {**span, "names": names, "silences": silences})
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return [
        {
            "sensor": sensor,
            "start": epoch + timedelta(microseconds=begin),
            "end": epoch + timedelta(microseconds=end),
            "seconds": (end - begin) / 1e6,
        }
        for sensor, begin, end in rows
    ]


def dropout_share(store: Store, batch: str, settings: FermentationSettings) -> float | None:
    """Missing points as a share of those expected between inoculation and the end of the run.

    Counts the sensors that sent anything at all; None without sensors or inoculation.

    Raises:
        NotFoundError: the batch has not been ingested.
    """
    span = _span(store, batch)
    rows = _query(store, batch, _COUNTS, span) if span else []
    if not span or not rows or span["end"] <= span["start"]:
        return None
    seconds = (span["end"] - span["start"]) / 1e6
    expected = {sensor: settings.rate_hz(sensor) * seconds for sensor, _ in rows}
    received = sum(min(count, expected[sensor]) for sensor, count in rows)
    return 1 - received / sum(expected.values())


def _span(store: Store, batch: str) -> dict[str, int] | None:
    """The run in microseconds: inoculation to closure, or to the last point while it runs.

    The closure is entered by hand, maybe hours after the stop; a typed runtime is believed first.
    """
    info = tables.read(store, schema.BATCHES, batch, ["inoculated_at", "completed_at"]).to_pylist()[0]
    closures = tables.read(store, schema.CLOSURES, batch, ["total_runtime_hours"]).to_pylist()
    start, end = info["inoculated_at"], info["completed_at"]
    if start is None:
        return None
    runtime = closures[0]["total_runtime_hours"] if closures else None
    if runtime is not None and (end is None or start + timedelta(hours=runtime) < end):
        end = start + timedelta(hours=runtime)
    begin = round(start.timestamp() * 1e6)
    if end is None:
        ((last,),) = _query(store, batch, "SELECT max(epoch_us(time)) FROM points", {})
        return None if last is None or last < begin else {"start": begin, "end": last}
    return {"start": begin, "end": round(end.timestamp() * 1e6)}


def _query(store: Store, batch: str, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:

    with duck.connect() as connection:
        connection.register("points", sensor_points(store, batch))
        return connection.execute(sql, dict(parameters)).fetchall()


def calibration_problems(store: Store, batch: str) -> list[str]:
    """What an engineer should look at before trusting the probes; the newest record of each probe counts.

    Raises:
        NotFoundError: the batch has not been ingested.
    """
    rows = tables.read(store, schema.CALIBRATIONS, batch).to_pylist()
    newest: dict[str, dict[str, Any]] = {}
    oldest = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
    for row in sorted(rows, key=lambda row: (row["calibrated_at"] or oldest, row["id"])):
        newest[row["probe_type"]] = row
    problems = [f"{probe} was not calibrated." for probe in _EXPECTED_PROBES if probe not in newest]
    for probe, row in newest.items():
        if not row["pass"]:
            problems.append(f"{probe}: the newest calibration failed.")
        problems += _slope_problems(row)
        response = row["response_time_sec"]
        if probe == "DO" and response is not None and response > _MAX_RESPONSE_S:
            problems.append(f"DO: the response time of {response} s is above {_MAX_RESPONSE_S} s.")
    return problems


def _slope_problems(row: Mapping[str, Any]) -> list[str]:
    given, computed = row["slope_percent"], row["slope_percent_recomputed"]
    if row["probe_type"] != "pH" or computed is None:
        return []
    problems = []
    if given is not None and abs(given - computed) > 0.05:
        problems.append(f"pH: the recorded slope is {given:g} % but buffers and readings give {computed:g} %.")
    if computed < 5:
        problems.append("pH: the readings look like pH units instead of mV, so the slope says nothing.")
    elif not _MIN_SLOPE <= computed <= _MAX_SLOPE:
        problems.append(f"pH: the slope of {computed:g} % is outside {_MIN_SLOPE:g} to {_MAX_SLOPE:g} %.")
    return problems
