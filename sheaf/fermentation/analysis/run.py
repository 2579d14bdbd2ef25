"""When a batch ran, as its records say, and how the points of its sensors are streamed.

Here: what gaps, features and the join all need. Not here: what follows from it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from sheaf.fermentation import schema
from sheaf.tables.pinned import Tables

if TYPE_CHECKING:
    import numpy as np


def run_times(tables: Tables) -> tuple[datetime | None, datetime | None]:
    """Inoculation and end of the run; None where they are not known.

    The closure is entered by hand, maybe hours after the stop; a typed runtime is believed where it is earlier.
    """
    info = tables.read(schema.BATCHES, ["inoculated_at", "completed_at"]).to_pylist()[0]
    closures = tables.read(schema.CLOSURES, ["total_runtime_hours"]).to_pylist()
    start, end = info["inoculated_at"], info["completed_at"]
    runtime = closures[0]["total_runtime_hours"] if closures else None
    if start is not None and runtime is not None and (end is None or start + timedelta(hours=runtime) < end):
        end = start + timedelta(hours=runtime)
    return start, end


def sensor_series(tables: Tables) -> "Iterator[tuple[str, np.ndarray, np.ndarray]]":
    """One sensor after another: name, times in microseconds since the epoch (ascending), values."""
    import numpy as np

    name, times, values = None, [], []
    columns = ["sensor", "time", "value"]
    for batch in tables.batches(schema.SENSORS_TABLE, columns, dictionaries=["sensor"]):
        sensor = batch.column("sensor")
        codes = sensor.indices.to_numpy()
        all_times, all_values = batch.column("time").cast("int64").to_numpy(), batch.column("value").to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
        for first, last in pairwise(edges):
            if last <= first:
                continue
            found = sensor.dictionary[int(codes[first])].as_py()
            if found != name:
                if name is not None:
                    yield name, np.concatenate(times), np.concatenate(values)
                name, times, values = found, [], []
            times.append(all_times[first:last])
            values.append(all_values[first:last])
    if name is not None:
        yield name, np.concatenate(times), np.concatenate(values)


def usual_interval_us(times: "np.ndarray") -> float | None:
    """The usual time between two points in microseconds; None for a single one."""
    import numpy as np

    return float(np.median(np.diff(times))) if len(times) > 1 else None
