"""What adds up over a run: gas taken up and given off, base and feed, and when a feed pump ran."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sheaf.clock import as_time
from sheaf.fermentation.analysis.windows import WINDOW_US

if TYPE_CHECKING:
    import numpy as np


def total(rate_per_h: "np.ndarray", in_run: "np.ndarray", hours: "np.ndarray") -> "np.ndarray":
    """The integral of a rate since inoculation, by the trapezoidal rule through the windows that have it.

    Args:
        rate_per_h: of each window, NaN where it is not known.
        in_run: which windows count.
        hours: middle of each window, hours since inoculation.

    Returns:
        One value for each window of the run that has the rate, else NaN. A gap counts with the mean of the rates at its
        ends; before the first window the rate is taken as that of the first.
    """
    import numpy as np

    found = np.full(len(rate_per_h), np.nan)
    known = np.flatnonzero(in_run & ~np.isnan(rate_per_h))
    if len(known):
        rates, at = rate_per_h[known], hours[known]
        steps = np.concatenate(([rates[0] * at[0]], (rates[1:] + rates[:-1]) / 2 * np.diff(at)))
        found[known] = np.cumsum(steps)
    return found


def gap_error(rate_per_h: "np.ndarray", in_run: "np.ndarray", hours: "np.ndarray", most_h: float) -> "np.ndarray":
    """What the trapezoidal rule may be off by in the gaps of a rate: a third of the step from one end to the other.

    A rate that goes from one end to the other without turning is off by half of it at most.

    Args:
        rate_per_h, in_run, hours: as in `total`.
        most_h: only steps longer than this are gaps.
    """
    import numpy as np

    found = np.full(len(rate_per_h), np.nan)
    known = np.flatnonzero(in_run & ~np.isnan(rate_per_h))
    if len(known):
        rates, at = rate_per_h[known], hours[known]
        steps = np.concatenate(([at[0]], np.diff(at)))
        sizes = np.concatenate(([rates[0]], np.diff(rates)))
        found[known] = np.cumsum(np.where(steps > most_h, np.abs(sizes) * steps / 3, 0.0))
    return found


def carried(values: "np.ndarray", most: int) -> "np.ndarray":
    """Each value until the next one, for at most so many windows."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return values
    newest = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    at = known[np.maximum(newest, 0)]
    near = (newest >= 0) & (np.arange(len(values)) - at <= most)
    return np.where(near, values[at], np.nan)


_RUNS_FROM = 0.01
"""A pump runs from this share of its highest rate on."""


def feed_events(
    pumps: "Sequence[tuple[str, np.ndarray]]", in_run: "np.ndarray", begins_us: "np.ndarray", hours: "np.ndarray"
) -> list[dict[str, Any]]:
    """Rows of `feed_events`: stretches of windows in which a feed pump ran.

    Args:
        pumps: name and rate in mL/min of each feed pump.
        in_run: which windows count.
        begins_us: start of each window.
        hours: hours from inoculation to the end of each window.
    """
    import numpy as np

    found = []
    for name, rate in pumps:
        known = np.where(in_run, np.nan_to_num(rate), 0.0)
        runs = known > max(_RUNS_FROM * known.max(initial=0.0), 0.0)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], runs, [False])).astype(int)))
        for first, last in edges.reshape(-1, 2):
            minutes = (last - first) * WINDOW_US / 60e6
            volume = float(known[first:last].sum() * WINDOW_US / 60e6)
            found.append(
                {
                    "sensor": name,
                    "start": as_time(int(begins_us[first])),
                    "end": as_time(int(begins_us[last - 1]) + WINDOW_US),
                    "elapsed_hours": float(hours[first]) - WINDOW_US / 3600e6,
                    "volume_ml": volume,
                    "rate_ml_per_min": volume / minutes,
                }
            )
    return sorted(found, key=lambda row: (row["start"], row["sensor"]))
