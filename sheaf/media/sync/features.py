"""What the coarse methods compare: slow features of the sound, one column per frame, by librosa.

One short-time Fourier transform of the programme gives a mel spectrogram in decibels; each method is another
view of it. Level, equalisation and polarity don't matter to any of them, and a steady tone vanishes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.fourier import TOGETHER, rfft

BANDS = 24
_COEFFICIENTS = 12
_LOWEST, _HIGHEST = 120.0, 7000.0  # Hz: above rumble, below the edge of what 16 kHz sampling holds
_WINDOW = 512  # 32 ms
_FRAMES_AT_ONCE = 512  # no more than stays in the processor's own memory
_FLOOR = 1e-7  # of the programme's mean power: 70 dB down


@dataclass(frozen=True)
class Spectrum:
    """Mel spectrogram in decibels, shape (BANDS, frames); `hop` is seconds per frame."""

    energies: np.ndarray
    hop: float


class Feature(Protocol):
    """Rows over frames, each with mean 0 and deviation 1: an array, or what makes the asked part of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and frames."""
        ...

    def __getitem__(self, part: tuple[slice, slice], /) -> np.ndarray:
        """Some rows of some frames."""
        ...


def hop_seconds(longest: float) -> float:
    """10 ms; 20 ms for recordings over ten minutes, where many more frames are averaged anyway."""
    return 0.01 if longest <= 600 else 0.02


def spectrum(recording: Recording, hop: float) -> Spectrum:
    """The mel spectrogram of a recording, read as a stream."""
    from librosa import power_to_db

    step = round(hop * RATE)
    total = max((recording.samples - _WINDOW) // step + 1, 1)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    floor = np.float32(_FLOOR * max(recording.level, 1e-9) ** 2 * _WINDOW**2)
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


@cache
def _cepstrum() -> np.ndarray:
    """What each band, in decibels, adds to mel-frequency cepstral coefficients 1 to 12, shape (12, BANDS)."""
    from librosa.feature import mfcc as coefficients

    return coefficients(S=np.eye(BANDS, dtype=np.float32), n_mfcc=_COEFFICIENTS + 1)[1:]


class Changes:
    """The change of each band, or of mixes of them, over two frames.

    Made where it is asked for: all of it together would be larger than everything else that is held of a long film.
    """

    def __init__(self, spectrum: Spectrum, mixes: np.ndarray | None = None) -> None:
        """Args: mixes: one row of weights of the bands for each row; by default the bands themselves."""
        self._energies, self._mixes = spectrum.energies, mixes
        self.shape = (len(self._energies if mixes is None else mixes), self._energies.shape[1])
        self._scales = np.full((3, self.shape[0], 1), np.nan, np.float32)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        """Some rows of some frames."""
        (top, bottom, _), (first, last, _) = (one.indices(size) for one, size in zip(part, self.shape, strict=True))
        for row in range(top, bottom, TOGETHER):
            some = slice(row, min(row + TOGETHER, bottom))
            if np.isnan(self._scales[0, some]).any():
                self._scales[:, some] = _scale(self._changes(some, 0, self.shape[1]))
        return _scaled(self._changes(slice(top, bottom), first, last), self._scales[:, top:bottom])

    def _changes(self, rows: slice, first: int, last: int) -> np.ndarray:
        changes = np.zeros((rows.stop - rows.start, last - first), np.float32)
        low, high = max(first, 1), min(last, self.shape[1] - 1)
        if low < high:
            around = self._energies[:, low - 1 : high + 1]
            mixed = around[rows] if self._mixes is None else self._mixes[rows] @ around
            np.subtract(mixed[:, 2:], mixed[:, :-2], out=changes[:, low - first : high - first])
        return changes


def mfcc(spectrum: Spectrum) -> Feature:
    """Mel-frequency cepstral coefficients 1 to 12, their changes; coefficient 0 is loudness."""
    return Changes(spectrum, _cepstrum())


def onset(spectrum: Spectrum) -> Feature:
    """Onset strength: mean rise of the bands over two frames (spectral flux), dated at its middle."""
    from librosa.onset import onset_strength

    total = spectrum.energies.shape[1]
    strength = np.zeros((1, total), np.float32)
    for first in range(0, total - 2, _FRAMES_AT_ONCE):
        part = spectrum.energies[:, first : first + _FRAMES_AT_ONCE + 2]
        strength[0, first + 1 : first + part.shape[1] - 1] = onset_strength(S=part, lag=2, center=False)[2:]
    return _scaled(strength, _scale(strength))


def spectral(spectrum: Spectrum) -> Feature:
    """Change of every mel band."""
    return Changes(spectrum)


FEATURES: dict[str, Callable[[Spectrum], Feature]] = {"mfcc": mfcc, "onset": onset, "spectral": spectral}


def _scale(rows: np.ndarray) -> np.ndarray:
    """Limit, mean and deviation of each row: the 97th percentile limits, so that one slam cannot decide."""
    few = rows[:, :: max(rows.shape[1] // 20000, 1)]  # enough to know a percentile
    limit = np.percentile(np.abs(few), 97, axis=1, keepdims=True)
    rows = np.clip(rows, -limit, limit)
    return np.stack([limit, rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)]).astype(np.float32)


def _scaled(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The rows themselves, limited and with mean 0 and deviation 1."""
    limit, mean, deviation = scales
    np.clip(rows, -limit, limit, out=rows)
    rows -= mean
    rows /= np.maximum(deviation, 1e-6)
    return rows
