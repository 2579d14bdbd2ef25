"""Which timer each sensor belongs to, where several timers run at once and no device list tells.

A sensor belongs to the timer whose shots its impacts follow at nearly the same delay. Not here: runs (`run_search`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from sheaf.matches import schema
from sheaf.matches.readers.devices import Device
from sheaf.matches.settings import Correlation
from sheaf.tables.pinned import Tables

_EARLIEST_US = -200_000
_BIN_US = 40_000
_LEAST = 0.4
"""Share of a sensor's impacts that have to follow its timer at one delay."""
_CLEARLY = 0.7
"""The next best timer has to have fewer than this of the best one's."""


Owner = tuple[str, int, int]
"""A timer, empty where it cannot be told, and the times of its first and last shot: later it may have been replaced."""


def timer_of_sensors(tables: Tables, known: Mapping[str, Device], settings: Correlation) -> dict[str, Owner] | None:
    """The timer of each sensor; None in a match of a single timer."""
    if len(set(_timers(tables))) < 2:
        return None
    shots, impacts = _times(tables)
    used = {timer: (int(times[0]), int(times[-1])) for timer, times in shots.items()} | {"": (0, 0)}
    return {
        sensor: (timer := _follows(times, shots, settings), *used[timer])
        for sensor, times in impacts.items()
        if sensor not in known or known[sensor].bay is None
    }


def _timers(tables: Tables) -> Iterator[str]:
    for batch in tables.batches(
        schema.EVENTS, ["device", "device_id", "event_type"], ("device", "device_id", "event_type")
    ):
        pairs = pa.Table.from_batches([batch]).group_by(["device", "device_id", "event_type"]).aggregate([])
        for row in pairs.to_pylist():
            if row["device"] == "Timer" and row["device_id"] and row["event_type"] in _OF_TIMERS:
                yield row["device_id"]


_OF_TIMERS = ("timer_start_button", "timer_start_beep", "shot_detected", "timer_shot_detail", "timer_stop_button")


def _times(tables: Tables) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Times of shots by timer and of impacts by sensor, each in order."""
    found: dict[tuple[bool, str], list[np.ndarray]] = {}
    columns = ["ts", "event_type", "device_id", "device_position"]
    for batch in tables.batches(schema.EVENTS, columns):
        table = pa.Table.from_batches([batch])
        for shot, name in ((True, ("shot_detected", "timer_shot_detail")), (False, ("impact_detected",))):
            import pyarrow.compute as pc

            some = table.filter(pc.is_in(table["event_type"], pa.array(name)))
            who = some["device_id"] if shot else pc.coalesce(some["device_id"], some["device_position"], pa.scalar(""))
            times = some["ts"].cast(pa.int64()).to_numpy()
            for one in who.unique().drop_null().to_pylist():
                mine = pc.equal(who, one).fill_null(False).to_numpy(zero_copy_only=False)
                found.setdefault((shot, one), []).append(times[mine])
    shots, impacts = (
        {name: np.sort(np.concatenate(parts)) for (is_shot, name), parts in found.items() if is_shot is shot}
        for shot in (True, False)
    )
    return shots, impacts


def _follows(impacts: np.ndarray, shots: Mapping[str, np.ndarray], settings: Correlation) -> str:
    """The timer that the impacts follow; empty where none clearly is."""
    window = round(settings.window_ms * 1000)
    peaks = sorted(((_peak(impacts, times, window), timer) for timer, times in shots.items()), reverse=True)
    if not peaks:
        return ""
    (best, timer), second = peaks[0], peaks[1][0] if len(peaks) > 1 else 0
    sure = best >= max(settings.min_pairs, _LEAST * len(impacts)) and second <= _CLEARLY * best
    return timer if sure else ""


def _peak(impacts: np.ndarray, shots: np.ndarray, window: int) -> int:
    """How many impacts follow a shot at the most frequent delay."""
    first = np.searchsorted(shots, impacts - window, "left")
    count = np.searchsorted(shots, impacts - _EARLIEST_US, "right") - first
    shot = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
    delays = np.repeat(impacts, count) - shots[shot]
    counts = np.bincount((delays - _EARLIEST_US) // _BIN_US, minlength=2)
    return int((counts[1:] + counts[:-1]).max())
