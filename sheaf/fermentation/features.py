"""Sensor points to 30 s windows: statistics, completeness, gas exchange and growth.

Windows are aligned to the UTC epoch and half open, `[start, end)`. One DuckDB query aggregates the raw
points; the rest is arithmetic on the windows. Not here: which window belongs to a sample (`training`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf import duck, tables
from sheaf.fermentation import schema
from sheaf.fermentation.gas import gas_rates
from sheaf.fermentation.growth import growth_rate
from sheaf.fermentation.plan import BY_NAME, HOLDOUT_PHASE, SENSORS
from sheaf.fermentation.plots import gas_plot, growth_rate_plot
from sheaf.fermentation.settings import FermentationSettings
from sheaf.report import Report
from sheaf.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow.dataset

WINDOW_S = 30
_WINDOW_US = WINDOW_S * 1_000_000

# Times are taken from the start of the window so that no digits are lost.
_AGGREGATE = f"""
    SELECT sensor, us // {_WINDOW_US} AS bucket, count(*) AS n, avg(value) AS mean,
        stddev_pop(value) AS std, min(value) AS low, max(value) AS high,
        regr_slope(value, (us % {_WINDOW_US}) / 1e6) AS slope
    FROM (SELECT sensor, value, epoch_us(time) AS us FROM points)
    GROUP BY sensor, bucket
"""


def build_features(store: Store, batch: str, settings: FermentationSettings) -> Report:
    """Build the `features` table of one batch from its `sensors` table.

    Returns:
        Counts (`windows`, `windows_complete`, `windows_without_data`, `sensors`), warnings and plots.

    Raises:
        NotFoundError: the batch has not been ingested.
    """
    info = tables.read(store, schema.BATCHES, batch).to_pylist()[0]
    points = sensor_points(store, batch)
    columns, present = window_columns(points, info["inoculated_at"], settings)
    count = len(columns["window_start"])
    columns |= {name: [value] * count for name, value in batch_key(info).items()}
    columns["vessel_id"] = [info["vessel_id"]] * count
    data = pa.table([_array(columns[field.name], field) for field in schema.FEATURES.schema], schema.FEATURES.schema)
    written = tables.write(store, schema.FEATURES, batch, data)
    complete = sum(columns["complete"]) if count else 0
    return Report(
        tables=(written,),
        counts={
            "windows": count,
            "windows_complete": int(complete),
            "windows_without_data": sum(bool(share == 0) for share in columns["completeness"]),
            "sensors": len(present),
        },
        warnings=() if count else ("There are no sensor points, so there are no feature windows.",),
        preview=tuple(_preview(data)),
        plots={"Growth rate": growth_rate_plot(data), "Gas exchange": gas_plot(data)} if count else {},
    )


def batch_key(info: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that name a batch in every table of features."""
    split = "holdout" if info["phase"] == HOLDOUT_PHASE else "train"
    return {key: info[key] for key in ("batch_id", "batch_number", "phase")} | {"split": split}


def sensor_points(store: Store, batch: str) -> "pyarrow.dataset.Dataset":
    """The raw points of a batch, as a dataset that DuckDB streams."""
    import pyarrow.dataset as ds

    return ds.dataset(
        [schema.SENSORS_TABLE.path(batch)],
        schema=schema.SENSORS_TABLE.schema,
        format="parquet",
        filesystem=store.filesystem(),
    )


def window_columns(
    points: "pyarrow.dataset.Dataset", start: datetime | None, settings: FermentationSettings
) -> tuple[dict[str, Any], list[str]]:
    """All columns of `features` that follow from the points.

    Args:
        points: columns `time, sensor, value`.
        start: inoculation, for the elapsed hours; None leaves them empty.
        settings: expected rates, gas constants, length of the µ regression.

    Returns:
        Columns by name, one row for every window from the first point to the last, also where there
        is no data; and the sensors that have any.
    """
    import numpy as np

    with duck.connect() as connection:
        # One thread: the order of summation decides the last digit, and equal input gives equal bytes.
        connection.execute("SET threads = 1")
        connection.register("points", points)
        long = connection.execute(_AGGREGATE).fetchnumpy()
    if not len(long["bucket"]):
        return {field.name: [] for field in schema.FEATURES.schema}, []
    bucket = np.asarray(long["bucket"])
    first = int(bucket.min())
    count = int(bucket.max()) - first + 1
    names, code = np.unique(np.asarray(long["sensor"], dtype=object).astype(str), return_inverse=True)
    columns: dict[str, Any] = {}
    for position, name in enumerate(names):
        of = code == position
        columns |= _statistics(name, {key: np.ma.getdata(values)[of] for key, values in long.items()}, first, count)
    empty = np.full(count, np.nan)
    for sensor in SENSORS:
        for statistic in schema.STATISTICS:
            nothing = np.zeros(count, np.int64) if statistic == "count" else empty
            columns.setdefault(f"{sensor.name}_{statistic}", nothing)
    present = [name for name in BY_NAME if name in names]
    begins = (first + np.arange(count)) * _WINDOW_US
    columns["window_start"] = begins.astype("datetime64[us]")
    columns["window_end"] = (begins + _WINDOW_US).astype("datetime64[us]")
    columns["elapsed_hours"] = empty
    if start is not None:
        columns["elapsed_hours"] = ((begins + _WINDOW_US) / 1e6 - start.timestamp()) / 3600
    columns |= _derived(columns, settings)
    columns |= _completeness(columns, present, settings)
    return columns, present


def _statistics(name: str, long: "dict[str, np.ndarray]", first: int, count: int) -> "dict[str, np.ndarray]":
    """One sensor's aggregates, spread over the grid of windows."""
    import numpy as np

    at = long["bucket"] - first
    several = long["n"] > 1
    found = {
        "mean": long["mean"],
        "std": np.where(several, long["std"], np.nan),
        "min": long["low"],
        "max": long["high"],
        "slope": np.where(several, long["slope"], np.nan),
    }
    columns = {}
    for statistic, values in found.items():
        column = columns[f"{name}_{statistic}"] = np.full(count, np.nan)
        column[at] = values
    counted = columns[f"{name}_count"] = np.zeros(count, np.int64)
    counted[at] = long["n"]
    return columns


def _derived(columns: "Mapping[str, np.ndarray]", settings: FermentationSettings) -> "dict[str, np.ndarray]":
    import numpy as np

    mean = {sensor.name: columns[f"{sensor.name}_mean"] for sensor in SENSORS}
    derived = {"pH": mean["pH"], "DO": mean["DO"], "temp": mean["Temp_Broth"], "OD": mean["OD"]}
    # The inoculum itself is a step in OD, not growth: a line across it would be a spike.
    before = columns["elapsed_hours"] * 3600 < WINDOW_S - 1e-6
    derived["mu"] = growth_rate(np.where(before, np.nan, mean["OD"]), WINDOW_S, settings.mu_minutes)
    for balance, suffix in (("inert", ""), ("upstream", "_upstream")):
        rates = gas_rates(
            flow_in=mean["Gas_Flow_Inlet"],
            flow_out=mean["Gas_Flow_Outlet"],
            o2=mean["Off_Gas_O2"],
            co2=mean["Off_Gas_CO2"],
            pressure=mean["Reactor_Pressure"],
            do=mean["DO"],
            od=mean["OD"],
            balance=balance,
            settings=settings,
        )
        derived |= {f"{name}{suffix}": values for name, values in rates.items()}
    return derived


def _completeness(
    columns: "Mapping[str, np.ndarray]", present: list[str], settings: FermentationSettings
) -> dict[str, Any]:
    """How much of what the sensors of this batch promise is in each window."""
    import numpy as np

    counts = np.array([columns[f"{name}_count"] for name in present], dtype=float)
    expected = np.array([settings.rate_hz(name) * WINDOW_S for name in present])[:, None]
    received = np.minimum(counts, expected)
    missing = counts == 0
    gaps: list[str | None] = [None] * counts.shape[1]
    for window in np.flatnonzero(missing.any(axis=0)):
        gaps[window] = " ".join(name for name, gone in zip(present, missing[:, window], strict=True) if gone)
    return {
        "completeness": received.sum(axis=0) / expected.sum(),
        "complete": (received >= settings.min_completeness * expected).all(axis=0),
        "gap_sensors": gaps,
    }


def _array(values: Any, field: pa.Field) -> pa.Array:
    import numpy as np

    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return pa.array(values, field.type, from_pandas=True)  # NaN means empty
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return pa.array(values.astype(np.int64), pa.int64()).cast(field.type)
    return pa.array(values, field.type)


_SHOWN = ("window_start", "elapsed_hours", "pH", "DO", "temp", "OD", "CER", "OUR", "RQ", "mu", "completeness")


def _preview(data: pa.Table) -> list[dict[str, Any]]:
    return data.select(_SHOWN).slice(0, 10).to_pylist()
