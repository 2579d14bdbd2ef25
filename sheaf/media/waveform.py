"""The `correlation` method: the waveforms themselves, whole against whole.

Both are taken down to a low sample rate that bounds the transform, whitened (GCC-PHAT) and
correlated over every lag. Sharper than any feature when the sound is the same, blind when it is not.
"""

from fractions import Fraction

import numpy as np

from sheaf.media.candidates import Candidate, peaks
from sheaf.media.decode import RATE, Recording
from sheaf.media.fourier import fast_length, irfft, rfft

_MOST_SAMPLES = 1 << 23
_WHITENING = 0.8


def search_waveform(master: Recording, dub: Recording) -> list[Candidate]:
    """The candidates of the waveform correlation at equal speed, strongest first."""
    factor = 4
    while (master.samples + dub.samples) / factor > _MOST_SAMPLES:
        factor *= 2
    slow = [_slower(recording, factor) for recording in (master, dub)]
    size = fast_length(len(slow[0]) + len(slow[1]))
    cross = rfft(slow[0], size)
    cross *= np.conj(rfft(slow[1], size))
    strength = np.abs(cross)
    cross /= (strength / max(float(strength.max()), 1e-30) + 1e-9) ** _WHITENING
    cross[: int(60 * size * factor / RATE)] = 0  # rumble
    curve = np.abs(irfft(cross, size))
    first = 1 - len(slow[1])
    curve = np.concatenate([curve[first:], curve[: len(slow[0])]])
    few = curve[:: max(len(curve) // 100000, 1)]
    curve -= np.median(few)
    curve /= max(1.4826 * float(np.median(np.abs(few - np.median(few)))), 1e-12)
    rate = RATE / factor
    return [
        Candidate((first + lag) / rate, Fraction(1), height, "correlation") for lag, height in peaks(curve, 0.05 * rate)
    ]


def _slower(recording: Recording, factor: int) -> np.ndarray:
    """Every `factor`-th sample after a windowed-sinc low-pass, block by block."""
    half = 8 * factor
    taps = np.sinc(np.arange(-half, half + 1) / factor) * np.hanning(2 * half + 3)[1:-1]
    taps = (taps / taps.sum()).astype(np.float32)
    block = 1 << 18
    size = fast_length(block + 2 * half)
    filter_ = rfft(taps, size)
    parts = []
    for start in range(0, recording.samples, block):
        samples = recording.read(start - half, block + 2 * half)
        smooth = irfft(rfft(samples, size) * filter_, size)[2 * half : 2 * half + block]
        parts.append(smooth[::factor][: -(-(min(block, recording.samples - start)) // factor)])
    return np.concatenate(parts)
