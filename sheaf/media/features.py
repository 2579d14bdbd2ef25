"""What the coarse methods compare: slow features of the sound, one column per frame.

One short-time Fourier transform of the programme gives the energy in 20 bands; each method is
another view of it. Level, equalisation and polarity don't matter to any of them, and a steady
tone vanishes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sheaf.media.decode import RATE, Recording
from sheaf.media.fourier import rfft

BANDS = 20
_LOWEST, _HIGHEST = 120.0, 7000.0  # Hz: above rumble, below the edge of what 16 kHz sampling holds
_WINDOW = 512  # 32 ms
_FRAMES_AT_ONCE = 4096


@dataclass(frozen=True)
class Spectrum:
    """Log band energies (natural logarithm), shape (BANDS, frames); `hop` is seconds per frame."""

    energies: np.ndarray
    hop: float


def hop_seconds(longest: float) -> float:
    """10 ms; 20 ms for recordings over ten minutes, where many more frames are averaged anyway."""
    return 0.01 if longest <= 600 else 0.02


def spectrum(recording: Recording, hop: float) -> Spectrum:
    """The band energies of a recording, read as a stream."""
    step = round(hop * RATE)
    total = max((recording.samples - _WINDOW) // step + 1, 1)
    edges = _edges()
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    floor = 1e-7 * max(recording.level, 1e-9) ** 2 * _WINDOW**2
    energies = np.empty((BANDS, total), np.float32)
    for first in range(0, total, _FRAMES_AT_ONCE):
        count = min(_FRAMES_AT_ONCE, total - first)
        samples = recording.read(first * step, (count - 1) * step + _WINDOW)
        frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::step] * window
        bins = rfft(frames, axis=1)
        power = bins.real**2 + bins.imag**2
        bands = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
        energies[:, first : first + count] = np.log(bands.T + floor)
    return Spectrum(energies, hop)


def _edges() -> np.ndarray:
    """First bin of every band and the end of the last: logarithmic, each band at least one bin wide."""
    edges = np.round(np.geomspace(_LOWEST, _HIGHEST, BANDS + 1) * _WINDOW / RATE).astype(int)
    for band in range(1, BANDS + 1):
        edges[band] = max(edges[band], edges[band - 1] + 1)
    return edges


def mfcc(energies: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients 1 to 12 of the log bands, their changes over two frames.

    Coefficient 0 is loudness and left out.
    """
    order, band = np.ogrid[1:13, :BANDS]
    cosines = np.cos(np.pi * order * (2 * band + 1) / (2 * BANDS)).astype(np.float32)  # DCT-II
    return _standardise(_change(np.einsum("cb,bt->ct", cosines, energies)))


def onset(energies: np.ndarray) -> np.ndarray:
    """Onset strength: the rises of all bands together (half-wave rectified spectral flux)."""
    rises = np.maximum(_change(energies), 0).sum(axis=0, keepdims=True)
    return _standardise(rises)


def spectral(energies: np.ndarray) -> np.ndarray:
    """Change of every band over two frames."""
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
