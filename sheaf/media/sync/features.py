"""What the coarse methods compare: slow features of the sound, one column per frame, by librosa.

One short-time Fourier transform of the programme gives a mel spectrogram in decibels; each method is another
view of it. Level, equalisation and polarity don't matter to any of them, and a steady tone vanishes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.fourier import rfft

BANDS = 24
_LOWEST, _HIGHEST = 120.0, 7000.0  # Hz: above rumble, below the edge of what 16 kHz sampling holds
_WINDOW = 512  # 32 ms
_FRAMES_AT_ONCE = 4096
_FLOOR = 1e-7  # of the programme's mean power: 70 dB down


@dataclass(frozen=True)
class Spectrum:
    """Mel spectrogram in decibels, shape (BANDS, frames); `hop` is seconds per frame."""

    energies: np.ndarray
    hop: float


def hop_seconds(longest: float) -> float:
    """10 ms; 20 ms for recordings over ten minutes, where many more frames are averaged anyway."""
    return 0.01 if longest <= 600 else 0.02


def spectrum(recording: Recording, hop: float) -> Spectrum:
    """The mel spectrogram of a recording, read as a stream."""
    from librosa import power_to_db

    step = round(hop * RATE)
    total = max((recording.samples - _WINDOW) // step + 1, 1)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    floor = _FLOOR * max(recording.level, 1e-9) ** 2 * _WINDOW**2
    energies = np.empty((BANDS, total), np.float32)
    for first in range(0, total, _FRAMES_AT_ONCE):
        count = min(_FRAMES_AT_ONCE, total - first)
        samples = recording.read(first * step, (count - 1) * step + _WINDOW)
        frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::step] * window
        bins = rfft(frames, axis=1)
        power = bins.real**2 + bins.imag**2
        energies[:, first : first + count] = power_to_db(_filters() @ power.T + floor, ref=1.0, amin=1e-20, top_db=None)
    return Spectrum(energies, hop)


@cache
def _filters() -> np.ndarray:
    """Triangular mel filters of equal height (Slaney's scale), shape (BANDS, bins)."""
    from librosa.filters import mel

    return mel(sr=RATE, n_fft=_WINDOW, n_mels=BANDS, fmin=_LOWEST, fmax=_HIGHEST, norm=None)


def mfcc(energies: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients 1 to 12, their changes over two frames; coefficient 0 is loudness."""
    from librosa.feature import mfcc as coefficients

    return _standardise(_change(coefficients(S=energies, n_mfcc=13)[1:]))


def onset(energies: np.ndarray) -> np.ndarray:
    """Onset strength: mean rise of the bands over two frames (spectral flux)."""
    from librosa.onset import onset_strength

    strength = onset_strength(S=energies, lag=2, center=False)
    return _standardise(np.roll(strength[None], -1, axis=1).astype(np.float32))  # a rise is dated at its middle


def spectral(energies: np.ndarray) -> np.ndarray:
    """Change of every mel band over two frames."""
    return _standardise(_change(energies))


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mfcc": mfcc, "onset": onset, "spectral": spectral}


def _change(rows: np.ndarray) -> np.ndarray:
    change = np.zeros_like(rows)
    change[:, 1:-1] = rows[:, 2:] - rows[:, :-2]
    return change


def _standardise(rows: np.ndarray) -> np.ndarray:
    """Clip at the 97th percentile, so that one slam cannot decide; then mean 0 and deviation 1."""
    few = rows[:, :: max(rows.shape[1] // 20000, 1)]  # enough to know a percentile
    limit = np.percentile(np.abs(few), 97, axis=1, keepdims=True)
    rows = np.clip(rows, -limit, limit)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(rows.std(axis=1, keepdims=True), 1e-6)
