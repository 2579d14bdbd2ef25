"""The one judge of every candidate: generalised cross-correlation of the waveforms.

Short windows of the dub, spread over the overlap, are searched for in the master around the
candidate. Each window gives one vote: where it fits best, to a fraction of a sample, and how
far that fit stands out from every other (Knapp & Carter 1976, whitening exponent 0.8 instead of
1 as it stays usable when noise is as loud as the programme).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sheaf.media.sync.candidates import Candidate, parabola
from sheaf.media.sync.decode import RATE, SILENCE, Recording
from sheaf.media.sync.fourier import TOGETHER, fast_length, irfft, rfft

WINDOWS = 48
LONGEST_WINDOW = 4.0  # s
_WHITENING = 0.8
_BAND = (90.0, 7200.0)  # Hz
_FINER = 2  # the correlation is computed at this multiple of RATE
_NEAR = 0.001  # s around the peak that are the peak itself, not a rival
_LEAST_BINS = 0.03  # a tone uses fewer bins of the band than this and fits everywhere


@dataclass(frozen=True)
class Vote:
    """One window's best fit.

    Attributes:
        time: centre of the window in the dub, s.
        delay: t_master - rate · t_dub there, s.
        score: height of the fit above its strongest rival, in deviations.
        width: length of the window, s.
        rate: rate of the candidate it was searched for.
    """

    time: float
    delay: float
    score: float
    width: float
    rate: float


def window_times(master: Recording, dub: Recording, candidate: Candidate) -> tuple[np.ndarray, float]:
    """Starts (s, in the dub) and width (s) of the windows over the overlap of a candidate."""
    rate = candidate.rate
    first = max(0.0, -candidate.offset / rate)
    last = min(dub.seconds, (master.seconds - candidate.offset) / rate)
    overlap = last - first
    width = float(np.clip(overlap / 10, 0.1, LONGEST_WINDOW))
    count = int(min(WINDOWS, overlap / width))
    if count < 1:
        return np.empty(0), width
    starts = first + (np.arange(count) + 0.5) * overlap / count - width / 2
    return np.round(starts * RATE) / RATE, width  # on whole samples there is nothing to interpolate


def vote(
    master: Recording,
    dub: Recording,
    candidate: Candidate,
    starts: Iterable[float],
    width: float,
    reach: float,
    mix: np.ndarray | None = None,
    master_mix: np.ndarray | None = None,
) -> list[Vote]:
    """The votes of windows of the dub; silent and tonal ones have none.

    Args:
        starts: where the windows start in the dub, s.
        width: their length, s.
        reach: how far from the candidate to search, s to either side.
        mix, master_mix: channel weights of the dub and of the master, when not their programmes.
    """
    heard = ((float(start), _window(dub, float(start), width, candidate.rate, mix)) for start in starts)
    audible = [(start, window) for start, window in heard if np.sqrt(np.mean(window**2)) >= SILENCE]
    found = []
    for group in (audible[place : place + TOGETHER] for place in range(0, len(audible), TOGETHER)):
        length = len(group[0][1])
        windows = np.zeros((TOGETHER if len(group) > 1 else 1, length), np.float32)  # empty rows cost nothing
        around = np.zeros((len(windows), length + int(2 * reach * RATE) + 2), np.float32)
        firsts = [int(np.floor((candidate.offset + candidate.rate * start - reach) * RATE)) for start, _ in group]
        for row, (first, (_, window)) in enumerate(zip(firsts, group, strict=True)):
            windows[row], around[row] = window, master.read(first, around.shape[1], master_mix)
        for fit, first, (start, _) in zip(locate(around, windows), firsts, group, strict=False):
            if fit:
                shift, score = fit
                delay = (first + shift) / RATE - candidate.rate * start
                found.append(Vote(start + width / 2, float(delay), score, width, candidate.rate))
    return found


def _window(dub: Recording, start: float, width: float, rate: float, mix: np.ndarray | None) -> np.ndarray:
    """A piece of the dub from exactly `start`, played at the speed of the master."""
    first = round(start * RATE)
    exact = start * RATE - first
    margin = 32
    samples = dub.read(first - margin, round(width * RATE) + 2 * margin, mix)
    wanted = margin + exact + np.arange(round(width * RATE * rate)) / rate
    if rate == 1 and abs(exact) < 1e-6:
        return samples[margin:-margin]
    return between(samples, wanted[wanted < len(samples) - 2])


def between(samples: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Samples at fractional positions: four times finer by FFT, then cubic between neighbours."""
    finer = 4
    size = fast_length(len(samples))
    dense = irfft(rfft(samples, size), size * finer) * finer
    at = positions * finer
    base = at.astype(np.int64)
    t = (at - base).astype(np.float32)
    p0, p1, p2, p3 = (dense[np.clip(base + step, 0, len(dense) - 1)] for step in (-1, 0, 1, 2))
    return p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))


def locate(around: np.ndarray, windows: np.ndarray) -> list[tuple[float, float] | None]:
    """Where each of `windows` fits into the longer row of `around`.

    Returns:
        Its position in samples and the score; None when either is too tonal or too quiet to tell.
    """
    lags = around.shape[1] - windows.shape[1] + 1
    size = fast_length(around.shape[1])
    low, high = (int(edge * size / RATE) for edge in _BAND)
    wanted = rfft(windows * _taper(windows.shape[1]), size)[:, low:high]
    cross = rfft(around, size)[:, low:high] * np.conj(wanted)
    used, strength = np.abs(wanted), np.abs(cross)
    if not used.size:
        return [None] * len(windows)
    tops = strength.max(axis=1, keepdims=True)
    telling = (used > 1e-3 * used.max(axis=1, keepdims=True)).mean(axis=1) >= _LEAST_BINS
    whitened = np.zeros((len(windows), size // 2 + 1), np.complex64)
    whitened[:, low:high] = cross / (strength / np.maximum(tops, 1e-30) + 1e-9) ** _WHITENING
    curves = np.empty((len(windows), _FINER * (lags - 1) + 1), np.float32)
    curves[:, ::_FINER] = irfft(whitened, size)[:, :lags]  # two of them are quicker than one of twice the length
    curves[:, 1::_FINER] = irfft(whitened * _half_a_sample(size), size)[:, : lags - 1]
    clear = telling & (tops[:, 0] > 0)
    return [_highest(np.abs(curve)) if one else None for curve, one in zip(curves, clear, strict=True)]


@lru_cache(4)
def _half_a_sample(size: int) -> np.ndarray:
    """What moves the values of a transform to the middles between their samples."""
    return np.exp(1j * np.pi / size * np.arange(size // 2 + 1)).astype(np.complex64)


def _highest(curve: np.ndarray) -> tuple[float, float] | None:
    """The place of the highest value, in samples, and how far it stands out; None where nothing does."""
    best = int(np.argmax(curve))
    near = int(_NEAR * RATE * _FINER)
    others = np.concatenate([curve[: max(best - near, 0)], curve[best + near + 1 :]])
    if not others.size:
        return None
    spread = 1.4826 * float(np.median(curve))
    if spread <= 0:
        return None
    score = float(curve[best] - others.max()) / spread
    return (best + parabola(curve, best)) / _FINER, score


def _taper(count: int) -> np.ndarray:
    """Raised-cosine edges over a tenth at either end (Tukey window)."""
    edge = max(count // 10, 1)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    taper = np.ones(count, np.float32)
    taper[:edge] = rise
    taper[-edge:] = rise[::-1]
    return taper
