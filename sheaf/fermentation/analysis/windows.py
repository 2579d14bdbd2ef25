"""Sensor points to windows of 30 s on the UTC clock, and the values of held sensors carried on.

Windows are half open, `[start, end)`. Not here: what follows from the means (`features`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.tables.table import UTC_TIME, arrow_type

if TYPE_CHECKING:
    import numpy as np

    Columns = dict[str, np.ndarray]

WINDOW_S = 30
WINDOW_US = WINDOW_S * 1_000_000


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
            "window_start": pa.array(self.long["bucket"] * WINDOW_US, pa.int64()).cast(arrow_type(UTC_TIME)),
        }
        for name in schema.STATISTICS:
            columns[name] = pa.array(self.long[name], of.field(name).type, from_pandas=True)
        return pa.table([columns[field.name].cast(field.type) for field in of], of)


def sensor_windows(
    name: str, times: "np.ndarray", values: "np.ndarray", frozen: "np.ndarray", settings: FermentationSettings
) -> "Columns":
    """The windows of one sensor, in the columns of `Windows.long`.

    Sums are of differences from the first reading of a window and from the means, so that no digits are lost and equal
    readings have exactly their value as mean.

    Args:
        name: tag of the plan.
        times: microseconds since the epoch, ascending.
        values: as many readings.
        frozen: first and last moment of each stretch of the same reading (`frozen`).
        settings: what is expected of the sensor, and whether it holds.
    """
    import numpy as np

    bucket = times // WINDOW_US
    starts = np.concatenate(([0], np.flatnonzero(bucket[1:] != bucket[:-1]) + 1))
    n = np.diff(np.append(starts, len(times)))
    several = n > 1

    def total(of: "np.ndarray") -> "np.ndarray":
        return np.add.reduceat(of, starts)

    first = values[starts]
    shift = total(values - np.repeat(first, n)) / n
    mean = first + shift
    value = values - np.repeat(mean, n)
    moment = (times - np.repeat(bucket[starts] * WINDOW_US, n)) / 1e6
    moment -= np.repeat(total(moment) / n, n)
    spread = np.where(several, total(moment * moment), 1.0)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    found = {
        "bucket": bucket[starts],
        "count": n,
        "mean": mean,
        "std": np.where(several, np.sqrt(total(value * value) / n), np.nan),
        "min": low,
        "max": high,
        "slope": np.where(several, total(moment * value) / spread, np.nan),
        "held": np.zeros(len(n), bool),
        "outside": np.zeros(len(n), np.int64),
        "frozen": np.zeros(len(n), bool),
    }
    expected = settings.plan.sensors[name].expected
    if expected and (low.min() < expected[0] or high.max() > expected[1]):
        found["outside"] = total(((values < expected[0]) | (values > expected[1])).astype(np.int64))
    for begin, end in frozen // WINDOW_US:
        found["frozen"] |= (found["bucket"] >= begin) & (found["bucket"] <= end) & (low == high)
    hold_s = settings.held_s(name)
    return _carried(times, values, hold_s, found) if hold_s else found


def together(of_sensors: "Mapping[str, Columns]") -> Windows:
    """The windows of a batch from those of its sensors, in alphabetical order."""
    import numpy as np

    if not of_sensors:
        return Windows(0, 0, [], {name: np.empty(0) for name in ("bucket", *schema.STATISTICS)}, {})
    edges = np.cumsum([0, *(len(columns["bucket"]) for columns in of_sensors.values())]).tolist()
    names = next(iter(of_sensors.values()))
    long = {name: np.concatenate([columns[name] for columns in of_sensors.values()]) for name in names}
    rows = {name: slice(edges[at], edges[at + 1]) for at, name in enumerate(of_sensors)}
    first = int(long["bucket"].min())
    return Windows(first, int(long["bucket"].max()) - first + 1, list(rows), long, rows)


def _carried(times: "np.ndarray", values: "np.ndarray", hold_s: float, own: "Columns") -> "Columns":
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
        "frozen": np.zeros(len(bucket), bool),
    }
    for key in ("count", "std", "min", "max", "slope", "held", "outside"):
        carried[key][at] = own[key]
    return carried
