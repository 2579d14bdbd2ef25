"""Sensor points to windows of 30 s on the UTC clock: one DuckDB query, and the values of held sensors carried on.

Windows are half open, `[start, end)`. Not here: what follows from the means (`features`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf import duck
from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.tables.table import UTC_TIME

if TYPE_CHECKING:
    import numpy as np
    import pyarrow.dataset

WINDOW_S = 30
WINDOW_US = WINDOW_S * 1_000_000

# Times are taken from the start of the window so that no digits are lost.
_AGGREGATE = f"""
    SELECT sensor, us // {WINDOW_US} AS bucket, count(*) AS n, avg(value) AS mean,
        stddev_pop(value) AS std, min(value) AS low, max(value) AS high,
        regr_slope(value, (us % {WINDOW_US}) / 1e6) AS slope
    FROM (SELECT sensor, value, epoch_us(time) AS us FROM points)
    GROUP BY sensor, bucket ORDER BY sensor, bucket
"""


@dataclass(frozen=True)
class Windows:
    """The windows of one batch.

    Attributes:
        first: number of the first window since the epoch.
        count: windows from the first with data to the last.
        sensors: in alphabetical order.
        long: rows of `sensor_windows`, by sensor and time.
        rows: of each sensor, which rows of `long` are its own.
    """

    first: int
    count: int
    sensors: Sequence[str]
    long: "Mapping[str, np.ndarray]"
    rows: Mapping[str, slice]

    def on_grid(self, sensor: str | None, column: str = "mean") -> "np.ndarray":
        """One column of a sensor for every window of the batch; NaN where it has none, or is None."""
        import numpy as np

        grid = np.full(self.count, np.nan)
        if sensor is not None and sensor in self.rows:
            rows = self.rows[sensor]
            grid[self.long["bucket"][rows] - self.first] = self.long[column][rows]
        return grid

    @property
    def begins_us(self) -> "np.ndarray":
        """Start of every window in microseconds since the epoch."""
        import numpy as np

        return (self.first + np.arange(self.count)) * WINDOW_US

    def table(self) -> pa.Table:
        """As the table `sensor_windows`."""
        import numpy as np

        of = schema.SENSOR_WINDOWS.schema
        numbers = np.repeat(np.arange(len(self.sensors)), [rows.stop - rows.start for rows in self.rows.values()])
        columns = {
            "sensor": pa.DictionaryArray.from_arrays(
                pa.array(numbers, pa.int32()), pa.array(self.sensors, pa.string())
            ),
            "window_start": pa.array(self.long["bucket"] * WINDOW_US, pa.int64()).cast(UTC_TIME),
        }
        for name in schema.STATISTICS:
            columns[name] = pa.array(self.long[name], of.field(name).type, from_pandas=True)
        return pa.table([columns[field.name].cast(field.type) for field in of], of)


def windows_of(points: "pyarrow.dataset.Dataset", settings: FermentationSettings) -> Windows:
    """All windows of a batch.

    Args:
        points: columns `time, sensor, value`.
        settings: the plan's expected values, and which sensors hold.
    """
    import numpy as np

    found: Mapping[str, Any]
    with duck.connect() as connection:
        # One thread: the order of summation decides the last digit, and equal input gives equal bytes.
        connection.execute("SET threads = 1")
        connection.register("points", points)
        found = connection.execute(_AGGREGATE).fetchnumpy()
        names, starts = np.unique(np.asarray(found["sensor"], dtype=object).astype(str), return_index=True)
        edges = [*starts.tolist(), len(found["bucket"])]
        rows = {str(name): slice(edges[i], edges[i + 1]) for i, name in enumerate(names)}
        several = np.asarray(found["n"]) > 1
        long = {
            "bucket": np.asarray(found["bucket"], np.int64),
            "count": np.asarray(found["n"], np.int64),
            "mean": np.ma.getdata(found["mean"]),
            "std": np.where(several, np.ma.getdata(found["std"]), np.nan),
            "min": np.ma.getdata(found["low"]),
            "max": np.ma.getdata(found["high"]),
            "slope": np.where(several, np.ma.getdata(found["slope"]), np.nan),
            "held": np.zeros(len(several), bool),
            "outside": np.zeros(len(several), np.int64),
        }
        for name, of in rows.items():
            expected = settings.plan.sensors[name].expected
            if expected and (long["min"][of].min() < expected[0] or long["max"][of].max() > expected[1]):
                _count_outside(connection, name, expected, long, of)
        held = {name: settings.held_s(name) for name in rows if settings.held_s(name)}
        carried = {
            name: _carried(*_raw(connection, name), hold_s, {key: column[rows[name]] for key, column in long.items()})
            for name, hold_s in held.items()
            if hold_s
        }
    if carried:
        parts = [carried.get(name) or {key: column[of] for key, column in long.items()} for name, of in rows.items()]
        lengths = np.cumsum([0, *(len(part["bucket"]) for part in parts)])
        long = {key: np.concatenate([part[key] for part in parts]) for key in long}
        rows = {name: slice(int(lengths[i]), int(lengths[i + 1])) for i, name in enumerate(rows)}
    first = int(long["bucket"].min()) if rows else 0
    count = int(long["bucket"].max()) - first + 1 if rows else 0
    return Windows(first, count, list(rows), long, rows)


def _count_outside(connection, name: str, expected: tuple[float, float], long, of: slice) -> None:
    import numpy as np

    counted = connection.execute(
        f"SELECT epoch_us(time) // {WINDOW_US} AS bucket, count(*) AS n FROM points "
        "WHERE sensor = ? AND NOT value BETWEEN ? AND ? GROUP BY bucket",
        [name, *expected],
    ).fetchnumpy()
    at = np.searchsorted(long["bucket"][of], np.asarray(counted["bucket"]))
    long["outside"][of.start + at] = np.asarray(counted["n"])


def _raw(connection, name: str) -> "tuple[np.ndarray, np.ndarray]":
    import numpy as np

    found = connection.execute(
        "SELECT epoch_us(time) AS us, value FROM points WHERE sensor = ? ORDER BY us", [name]
    ).fetchnumpy()
    return np.asarray(found["us"], np.int64), np.asarray(found["value"], float)


def _carried(
    times: "np.ndarray", values: "np.ndarray", hold_s: float, own: "Mapping[str, np.ndarray]"
) -> "dict[str, np.ndarray]":
    """The windows of a sensor that is logged on change: each value holds until the next one, up to its limit.

    Means are over time; in a window into which a value was only carried, it is the mean, minimum and maximum.
    """
    import numpy as np

    hold = int(hold_s * 1e6)
    ends = np.minimum(np.append(times[1:], times[-1] + hold), times + hold)
    first, last = int(times[0] // WINDOW_US), int((ends[-1] - 1) // WINDOW_US)
    edges = np.arange(first, last + 2) * WINDOW_US
    # Length and integral of what held before each edge.
    lengths, areas = ends - times, (ends - times) * values
    before = np.searchsorted(times, edges, side="right") - 1
    known = np.maximum(before, 0)
    partly = np.where(before >= 0, np.clip(edges - times[known], 0, lengths[known]), 0)
    total = np.concatenate(([0.0], np.cumsum(lengths, dtype=float)))[known] + partly
    area = np.concatenate(([0.0], np.cumsum(areas)))[known] + partly * values[known]
    length = np.diff(total)
    there = np.flatnonzero(length > 0)
    bucket = first + there
    mean = np.diff(area)[there] / length[there]
    at = np.searchsorted(bucket, own["bucket"])
    carried = {
        "bucket": bucket,
        "count": np.zeros(len(bucket), np.int64),
        "mean": mean,
        "std": np.full(len(bucket), np.nan),
        "min": mean.copy(),
        "max": mean.copy(),
        "slope": np.full(len(bucket), np.nan),
        "held": np.ones(len(bucket), bool),
        "outside": np.zeros(len(bucket), np.int64),
    }
    for key in ("count", "std", "min", "max", "slope", "held", "outside"):
        carried[key][at] = own[key]
    return carried
