"""Real Fourier transforms in single precision, at lengths that are quick.

NumPy's transforms keep float32 as it is; SciPy would be one more import of 0.2 s for each pair.
"""

from functools import cache

import numpy as np

rfft = np.fft.rfft
irfft = np.fft.irfft


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
