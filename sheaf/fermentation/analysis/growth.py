"""Specific growth rate from in-situ optical density, with its standard error."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_SHORTER, _LONGER = 4, 3
_NOTICED = 3.0  # standard errors


def growth_rate(od: "np.ndarray", step_s: float, minutes: float, share: float = 1.0) -> "tuple[np.ndarray, np.ndarray]":
    """µ = d ln(OD) / dt in 1/h and its standard error, by a trailing least-squares line over minutes.

    This is a first-order Savitzky-Golay derivative (Savitzky & Golay 1964, doi:10.1021/ac60214a047)
    taken at the newest point, so that no value depends on the future, and generalised to missing
    points: those are left out and the others keep their real times. It lags by half the length.

    The standard error is that of the newest moment: of the residuals, and of the lag where µ is changing. A slow change
    is seen by a line of three times the length, whose middle is twice as far away as the lag; a sudden one, such as
    depletion, by a line of a quarter of it, where they differ by more than noise.

    Args:
        od: OD on a regular grid, NaN where missing; values of 0 or less are left out.
        step_s: grid step in seconds.
        minutes: length of the line.
        share: of the grid points, those at which a sensor of this rate has a value.

    Returns:
        One value for each grid point, and its standard error (empty below 3 points); NaN where fewer than half of the
        expected points are there or the newest is missing.
    """
    import numpy as np

    length = max(3, round(minutes * 60 / step_s) + 1)
    slope, error = _line(od, step_s, length, share)
    longer, _ = _line(od, step_s, _LONGER * (length - 1) + 1, 0.0)
    shorter, noise = _line(od, step_s, max(3, (length - 1) // _SHORTER + 1), 0.0)
    slow = np.nan_to_num(slope - longer) / 2
    sudden = np.where(np.abs(slope - shorter) > _NOTICED * np.hypot(noise, error), slope - shorter, 0.0)
    return slope, np.sqrt(error**2 + slow**2 + sudden**2)


def _line(od: "np.ndarray", step_s: float, length: int, share: float) -> "tuple[np.ndarray, np.ndarray]":
    """Slope of a trailing line through so many grid points, and its standard error from the residuals."""
    import numpy as np

    there = (od > 0).astype(float)
    log_od = np.log(np.where(od > 0, od, 1.0))
    age = -np.arange(length) * step_s / 3600  # hours, the newest point at 0

    def total(weights: "np.ndarray", values: "np.ndarray") -> "np.ndarray":
        return np.convolve(weights, values)[: len(values)]

    n, t, tt = (total(age**power, there) for power in (0, 1, 2))
    ones = np.ones(length)
    y, yy, ty = total(ones, there * log_od), total(ones, there * log_od**2), total(age, there * log_od)
    enough = (n >= max(3 if share < 1 else length / 2, share * length / 2)) & (there > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = tt - t * t / n
        slope = np.where(enough, (ty - t * y / n) / spread, np.nan)
        residuals = np.maximum(yy - y * y / n - slope**2 * spread, 0)
        error = np.where(n > 2, np.sqrt(residuals / (n - 2) / spread), np.nan)
        return slope, np.where(enough, error, np.nan)
