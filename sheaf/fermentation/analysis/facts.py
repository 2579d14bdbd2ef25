"""How each sensor was logged: interval against the promised one, noise, logging on change, a changed unit, frozen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sheaf.clock import as_time
from sheaf.fermentation.plan import Sensor
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.units import conversion, convertible

if TYPE_CHECKING:
    import numpy as np

_OTHER_RATE = 1.5
_FEW = 20
_AROUND = 20  # points whose medians are compared before and after a jump
_AGREES = 0.05


def sensor_facts(
    name: str, times: "np.ndarray", values: "np.ndarray", frozen: "np.ndarray", settings: FermentationSettings
) -> dict[str, Any]:
    """The row of `sensor_facts` of one sensor.

    Args:
        name: tag of the plan.
        times: microseconds since the epoch, ascending.
        values: as many readings.
        frozen: first and last moment of each stretch in which it was frozen (`frozen`).
        settings: what is promised and expected of it.
    """
    import numpy as np

    plan = settings.plan.sensors[name]
    steps, differences = np.diff(times), np.diff(values)
    interval = float(np.median(steps)) if len(steps) else None
    promised_hz = settings.rates_hz.get(name, plan.rate_hz)
    flags = []
    if interval and promised_hz:
        ratio = interval / 1e6 * promised_hz
        flags += ["slower"] if ratio > _OTHER_RATE else ["faster"] if ratio < 1 / _OTHER_RATE else []
    if settings.held_s(name) is None and _looks_logged_on_change(steps, differences):
        flags.append("on_change")
    changed = _unit_change(values, differences, plan)
    if changed is not None:
        flags.append("unit_changed")
    lengths = frozen[:, 1] - frozen[:, 0]
    longest = frozen[np.argmax(lengths), 0] if len(frozen) else None
    if longest is not None:
        flags.append("frozen")
    low, high = plan.expected or (-np.inf, np.inf)
    return {
        "sensor": name,
        "points": len(times),
        "interval_s": interval / 1e6 if interval else None,
        "promised_s": 1 / promised_hz if promised_hz else None,
        "noise": noise_of(differences),
        "outside": int(np.count_nonzero((values < low) | (values > high))),
        "flags": " ".join(flags) or None,
        "unit_changed_at": None if changed is None else as_time(times[changed]),
        "frozen_s": float(lengths.sum()) / 1e6,
        "frozen_at": None if longest is None else as_time(longest),
        "frozen_value": None if longest is None else float(values[np.searchsorted(times, longest)]),
    }


def frozen_told(row: Mapping[str, Any]) -> str:
    """A clause on a sensor that was frozen, from its row of `sensor_facts`."""
    at = f"{row['frozen_at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"{row['sensor']} was frozen for {row['frozen_s'] / 3600:.1f} h, at {row['frozen_value']:g} from {at}"


def noise_of(differences: "np.ndarray") -> float | None:
    """Standard deviation of one reading, from differences of neighbours, without the largest hundredth of them."""
    import numpy as np

    if len(differences) < _FEW - 1:
        return None
    squares = differences**2
    return float(np.sqrt(np.mean(squares[squares <= np.quantile(squares, 0.99)]) / 2))


def _looks_logged_on_change(steps: "np.ndarray", differences: "np.ndarray") -> bool:
    """Whether no value repeats while the times between points vary widely: so a deadband logs."""
    import numpy as np

    if len(steps) < _FEW - 1:
        return False
    short, long = np.quantile(steps, [0.1, 0.9])
    return bool(long > 3 * max(short, 1) and np.mean(differences == 0) < 0.02)


def _unit_change(values: "np.ndarray", differences: "np.ndarray", plan: Sensor) -> int | None:
    """The first point after which the values are those of another unit of the same kind, and stay."""
    import numpy as np

    if len(values) < 2 * _AROUND:
        return None
    rest = np.maximum(np.abs(values[:-1]), 1e-12)
    jumps = np.flatnonzero(np.abs(differences) > 0.5 * rest)
    jumps = jumps[(jumps + 1 >= _AROUND) & (jumps + 1 + _AROUND <= len(values))]
    if len(jumps) > _MOST_JUMPS:  # noise around zero, or a pump that goes on and off
        return None
    for at in jumps + 1:
        before, after = np.median(values[at - _AROUND : at]), np.median(values[at : at + _AROUND])
        for unit in convertible(plan.unit):
            factor, offset = conversion(unit, plan.unit) or (1.0, 0.0)
            if (factor, offset) == (1.0, 0.0) or not before or not after:
                continue
            there, back = (before - offset) / factor, before * factor + offset
            if any(abs(after - like) <= _AGREES * abs(like) for like in (there, back)):
                return int(at)
    return None


_MOST_JUMPS = 200
