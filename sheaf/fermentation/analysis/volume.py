"""How much liquid is in the vessel: from what the record says went in and out, or from the vessel's weight."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sheaf.clock import microseconds
from sheaf.fermentation.settings import FermentationSettings

if TYPE_CHECKING:
    import numpy as np


def start_volume(events: Sequence[Mapping[str, Any]], settings: FermentationSettings) -> float:
    """Litres at inoculation: what the site sets, else medium and inoculum of the record, else the plan's."""
    if settings.vessel_volume_l is not None or settings.volume == "constant":
        return settings.constants().vessel_volume_l
    before = {event["kind"]: event["volume_ml"] for event in events if event["time"] is None}
    if "medium" not in before:
        return settings.constants().vessel_volume_l
    return (before["medium"] + before.get("inoculum", 0.0)) / 1000


def volumes(
    ends_us: "np.ndarray",
    start: datetime | None,
    events: Sequence[Mapping[str, Any]],
    pumped_ml: "np.ndarray",
    weight: "np.ndarray",
    settings: FermentationSettings,
) -> "np.ndarray":
    """Litres at the end of each window.

    Args:
        ends_us: ends of the windows, microseconds since the epoch.
        start: inoculation; samples before it do not count.
        events: rows of `volume_events`.
        pumped_ml: base and feed added since inoculation.
        weight: weight of the vessel in kg, NaN where it is not known.
        settings: which way, and the constants.
    """
    import numpy as np

    begin = start_volume(events, settings)
    if settings.volume == "constant":
        return np.full(len(ends_us), begin)
    if settings.volume == "weight":
        known = np.flatnonzero(~np.isnan(weight))
        after = known if start is None else known[ends_us[known] > microseconds(start)]
        if not len(after):
            return np.full(len(ends_us), np.nan)
        carried = weight[known[np.clip(np.searchsorted(known, np.arange(len(weight)), side="right") - 1, 0, None)]]
        # Ten windows, so that the noise of one reading does not shift the whole run.
        first = np.mean(weight[after[:10]])
        return begin + (carried - first) / settings.constants().density_kg_per_l
    taken = np.zeros(len(ends_us))
    for event in events:
        if event["time"] is not None and (start is None or event["time"] >= start):
            taken += np.where(ends_us > microseconds(event["time"]), event["volume_ml"], 0.0)
    return begin + (np.nan_to_num(pumped_ml) + taken) / 1000
