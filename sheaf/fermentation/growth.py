"""Specific growth rate from in-situ optical density."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def growth_rate(od: "np.ndarray", step_s: float, minutes: float) -> "np.ndarray":
    """µ = d ln(OD) / dt in 1/h, by a trailing least-squares line over minutes.

    This is a first-order Savitzky-Golay derivative (Savitzky & Golay 1964, doi:10.1021/ac60214a047)
    taken at the newest point, so that no value depends on the future, and generalised to missing
    points: those are left out and the others keep their real times. It lags by half the length.

    Args:
        od: OD on a regular grid, NaN where missing; values of 0 or less are left out.
        step_s: grid step in seconds.
        minutes: length of the line.

    Returns:
        One value for each grid point; NaN where fewer than half of the points are there or the
        newest is missing.
    """
    import numpy as np
    from scipy.signal import lfilter

    length = max(3, round(minutes * 60 / step_s) + 1)
    there = (od > 0).astype(float)
    log_od = np.log(np.where(od > 0, od, 1.0))
    age = -np.arange(length) * step_s / 3600  # hours, the newest point at 0

    def total(weights: "np.ndarray", values: "np.ndarray") -> "np.ndarray":
        return np.asarray(lfilter(weights, [1.0], values))

    n, t, tt = (total(age**power, there) for power in (0, 1, 2))
    y, ty = total(np.ones(length), there * log_od), total(age, there * log_od)
    enough = (n >= length / 2) & (there > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(enough, (n * ty - t * y) / (n * tt - t * t), np.nan)
