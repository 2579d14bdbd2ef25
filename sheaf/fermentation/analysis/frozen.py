"""Where a sensor that should vary reads exactly the same for too long: an instrument that hangs still sends numbers.

Two limits, the shorter one counts:

- by its own noise. Outside of its three longest stretches, a share `p` of its readings equals the one before. Of `n`
  readings, `k` equal ones in a row come by chance `n * p^k` times; a stretch is frozen where that is below 1e-9, and it
  lasts half an hour at least. A reading at an end of the scale (`expected`) is no frozen one. Where nine of ten
  readings repeat, the noise is below what the instrument shows, and where hardly any change goes back it is a set point
  on its way: nothing is told by those;
- `frozen_s` of the plan: no culture leaves its oxygen the same for so long.

A sensor that is held (`hold_s`) is logged on change and is not looked at. Not here: what follows (`eligibility`).
"""

import math
from typing import TYPE_CHECKING

from sheaf.fermentation.plan import Sensor

if TYPE_CHECKING:
    import numpy as np

_LONG_US = 30 * 60 * 1_000_000
_MOSTLY_REPEATS = 0.9
_BY_CHANCE = 1e-9
_TURNS_BACK = 0.3
_FEW = 20
_SET_ASIDE = 3
"""A sensor that hangs does so a few times; one that shows less than its noise repeats all along."""


def frozen_stretches(times: "np.ndarray", values: "np.ndarray", plan: Sensor) -> "np.ndarray":
    """First and last moment of each stretch in which a sensor was frozen.

    Args:
        times: microseconds since the epoch, ascending; of the run only.
        values: as many readings.
        plan: of the sensor.

    Returns:
        Two columns, one row for each stretch.
    """
    import numpy as np

    none = np.empty((0, 2), np.int64)
    if len(times) < _FEW:
        return none
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    firsts = np.concatenate(([0], changes))
    lasts = np.append(changes, len(values)) - 1
    counts, lengths = lasts - firsts + 1, times[lasts] - times[firsts]
    frozen = np.zeros(len(firsts), bool)
    if plan.frozen_s is not None:
        frozen |= lengths >= plan.frozen_s * 1e6
    long = lengths >= _LONG_US
    most = _most_by_chance(np.sort(counts)[:-_SET_ASIDE]) if long.any() and _has_noise(values[firsts]) else None
    if most is not None:
        low, high = plan.expected or (-math.inf, math.inf)
        frozen |= long & (counts > most) & (values[firsts] > low) & (values[firsts] < high)
    return np.column_stack((times[firsts[frozen]], times[lasts[frozen]]))


def _has_noise(levels: "np.ndarray") -> bool:
    """Whether readings go up and down: of noise two changes in three turn back."""
    import numpy as np

    up = np.diff(levels) > 0
    return len(up) > 1 and float(np.mean(up[1:] != up[:-1])) > _TURNS_BACK


def _most_by_chance(counts: "np.ndarray") -> float | None:
    """How many equal readings in a row noise explains; None where the readings do not show it."""
    readings = int(counts.sum())
    if readings < _FEW:
        return None
    repeats = 1 - len(counts) / readings
    if repeats > _MOSTLY_REPEATS:
        return None
    return math.log(_BY_CHANCE / readings) / math.log(max(repeats, 1e-3))
