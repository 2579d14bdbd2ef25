"""How far from any run the impacts of a sensor are of which none lies in a run.

Its clock, or its log, is then another than the timers'. Not here: which run an impact belongs to (`run_search`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa

from sheaf.matches import schema
from sheaf.tables.pinned import Tables


def warnings(tables: Tables, sensors: Sequence[str], starts: np.ndarray) -> Iterator[str]:
    """A sentence for each sensor of which no impact lies in a run.

    Args:
        tables: the events are read of them, only where there is such a sensor.
        sensors: what these sensors are known by.
        starts: when runs began, in microseconds since 1970.
    """
    if not sensors or not len(starts):
        return
    for name, parts in _after(tables, sensors, np.sort(starts)).items():
        apart = np.concatenate(parts)
        away = round(float(np.median(apart)) / 1e6)
        direction = "after" if away >= 0 else "before"
        yield (
            f"None of the {len(apart)} impacts of {name or 'an unnamed sensor'} lies in a run; in the median they come "
            f"{timedelta(seconds=abs(away))} (h:mm:ss) {direction} the nearest start of one: do the clocks of timers "
            "and sensors agree?"
        )


def _after(tables: Tables, sensors: Sequence[str], starts: np.ndarray) -> dict[str, list[np.ndarray]]:
    """How long after the nearest start of a run each impact of some sensors comes."""
    import pyarrow.compute as pc

    names = pa.array(sensors, pa.string())
    after: dict[str, list[np.ndarray]] = {name: [] for name in sensors}
    for batch in tables.batches(schema.EVENTS, ["ts", "event_type", "device_id", "device_position"]):
        impacts = batch.filter(pc.equal(batch["event_type"], "impact_detected"))
        sensor = pc.coalesce(impacts["device_id"], impacts["device_position"], pa.scalar(""))
        which = pc.index_in(sensor, names).fill_null(-1).to_numpy()
        ts = impacts["ts"].cast(pa.int64()).to_numpy()
        place = np.searchsorted(starts, ts, "right")
        last, following = ts - starts[np.maximum(place - 1, 0)], ts - starts[np.minimum(place, len(starts) - 1)]
        nearest = np.where(np.abs(last) <= np.abs(following), last, following)
        for number, name in enumerate(sensors):
            after[name].append(nearest[which == number])
    return after
