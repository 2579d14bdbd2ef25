"""The `correlation` method: the waveforms themselves, whole against whole.

Both are taken down to a low sample rate that bounds the transform, whitened (GCC-PHAT) and
correlated over every lag. Sharper than any feature when the sound is the same, blind when it is not.
"""

import numpy as np

from sheaf.media.sync.candidates import SPEEDS, Candidate, peaks, stretch, strongest
from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.fourier import fast_length, irfft, rfft

_MOST_SAMPLES = 1 << 23
_WHITENING = 0.8
_RUMBLE = 60.0  # Hz


def search_waveform(master: Recording, dub: Recording) -> list[Candidate]:
    """The candidates of the waveform correlation, strongest first."""
    factor = 4
    while (master.samples + dub.samples) / factor > _MOST_SAMPLES:
        factor *= 2
    reference, heard = (_slower(recording, factor) for recording in (master, dub))
    found = []
    for speed in (1.0, *SPEEDS):
        played = stretch(heard[None], speed)[0]
        found += _correlate(reference, played, speed, RATE / factor)
    return strongest(found)


def _correlate(master: np.ndarray, dub: np.ndarray, speed: float, rate: float) -> list[Candidate]:
    size = fast_length(len(master) + len(dub))
    cross = rfft(master, size)
    cross *= np.conj(rfft(dub, size))
    strength = np.abs(cross)
    cross /= (strength / max(float(strength.max()), 1e-30) + 1e-9) ** _WHITENING
    cross[: int(_RUMBLE * size / rate)] = 0
    curve = np.abs(irfft(cross, size))
    first = 1 - len(dub)
    curve = np.concatenate([curve[first:], curve[: len(master)]])
    few = curve[:: max(len(curve) // 100000, 1)]
    middle = float(np.median(few))
    curve = (curve - middle) / max(1.4826 * float(np.median(np.abs(few - middle))), 1e-12)
    return [Candidate((first + lag) / rate, speed, height) for lag, height in peaks(curve, 0.05 * rate)]


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
