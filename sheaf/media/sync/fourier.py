"""Real Fourier transforms in single precision, at lengths that are quick.

SciPy's take several rows at once with the processor's vectors: four in the time of one.
"""

from functools import cache
from typing import Any

import numpy as np

TOGETHER = 4
"""So many rows of single precision fit into a vector of every processor."""


def rfft(values: np.ndarray, size: int | None = None, axis: int = -1) -> Any:
    """The transform of real values."""
    from scipy.fft import rfft as transform

    return transform(values, size, axis)


def irfft(values: np.ndarray, size: int | None = None, axis: int = -1) -> Any:
    """Real values from their transform."""
    from scipy.fft import irfft as transform

    return transform(values, size, axis)


@cache
def fast_length(least: int) -> int:
    """The smallest even length from `least` on whose only factors are 2, 3 and 5."""
    best = 1 << max(least - 1, 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            twos = max(-(-least // three) - 1, 1)
            best = min(best, three << max(twos.bit_length(), 1))
            three *= 3
        five *= 5
    return best
