"""Where a dub may lie against its master: the coarse search over all offsets.

Features of both are correlated over every lag by FFT; the highest separate peaks become
candidates. None of them is believed here: `verify` looks at the waveform around each.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sheaf.media.sync.features import Feature
from sheaf.media.sync.fourier import TOGETHER, fast_length, irfft, rfft

PULLDOWN = 1001 / 1000  # film at 24 frames transferred to 23.976, or back
PAL = 25 / 24  # film at 24 frames played at 25, or back
SPEEDS = (PULLDOWN, 1 / PULLDOWN, PAL, 1 / PAL, PAL * PULLDOWN, 1 / (PAL * PULLDOWN))
KEEP = 6
_MOST = 32  # of equally high peaks: a loop fits at many offsets
CLEAR = 25.0  # a peak this many deviations high at equal speed needs no other hypothesis
_APART = 0.05  # s between separate peaks


@dataclass(frozen=True)
class Candidate:
    """One hypothesis `t_master = offset + rate · t_dub`.

    Attributes:
        strength: height of its peak, in deviations of the correlation.
        uncertainty: what the method's own steps add to the search around the offset, s.
    """

    offset: float
    rate: float
    strength: float
    uncertainty: float = 0.0

    @property
    def rank(self) -> float:
        """Strength, with a bonus for equal speed: it is by far the most common, so others must be clearly better."""
        return self.strength * (1.15 if self.rate == 1 else 1.0)


def search(master: Feature, dub: Feature, hop: float, uncertainty: float = 0.0) -> list[Candidate]:
    """The candidates of one feature, strongest first.

    Other speeds are tried only when no peak at equal speed stands out alone.

    Args:
        master, dub: the same feature of both.
        hop: seconds per frame.
        uncertainty: seconds that the features themselves are blurred by.
    """
    found = _at_speed(master, dub, 1.0, hop, uncertainty)
    if found and found[0].strength >= CLEAR and (len(found) < 2 or found[1].strength < 0.5 * found[0].strength):
        return found
    for speed in SPEEDS:
        found += _at_speed(master, dub, speed, hop, uncertainty)
    return strongest(found)


def strongest(found: Iterable[Candidate]) -> list[Candidate]:
    """The first few by rank, and all that are nearly as strong as the first."""
    ranked = sorted(found, key=lambda candidate: -candidate.rank)
    return [one for place, one in enumerate(ranked) if place < KEEP or one.rank >= 0.6 * ranked[0].rank][:_MOST]


def _at_speed(master: Feature, dub: Feature, speed: float, hop: float, uncertainty: float) -> list[Candidate]:
    curve, first = correlate(master, dub, speed)
    apart = max(_APART / hop, 1.0)
    return [Candidate((first + lag) * hop, speed, strength, uncertainty) for lag, strength in peaks(curve, apart)]


def stretch(rows: np.ndarray, speed: float) -> np.ndarray:
    """The rows of the dub on the clock of the master."""
    if speed == 1:
        return rows
    frames = np.arange(rows.shape[1])
    times = np.arange(int(rows.shape[1] * speed)) / speed
    return np.stack([np.interp(times, frames, row) for row in rows]).astype(np.float32)


def correlate(master: Feature, dub: Feature, speed: float) -> tuple[np.ndarray, int]:
    """Correlation of a feature of both over all lags with enough overlap, the dub played at a speed.

    Divided by the square root of the overlap, so that unrelated sound gives the same spread at
    every lag, and by that spread (1.4826 times the median absolute value).

    Returns:
        The curve, and the lag in frames of its first value (lag = t_master - t_dub).
    """
    frames_m, frames_d = master.shape[1], int(dub.shape[1] * speed)
    size = fast_length(frames_m + frames_d)
    total = np.zeros(size // 2 + 1, np.complex64)
    for row in range(0, master.shape[0], TOGETHER):
        some = slice(row, row + TOGETHER), slice(None)
        cross = rfft(stretch(dub[some], speed), size)
        np.conjugate(cross, out=cross)
        cross *= rfft(master[some], size)
        total += cross.sum(axis=0)
    circular = irfft(total, size)
    least = max(min(1000, min(frames_m, frames_d) // 3), 1)
    first, last = least - frames_d, frames_m - least + 1
    lags = np.arange(first, last, dtype=np.float32)
    curve = np.concatenate([circular[first:], circular[:last]])
    curve /= np.sqrt(np.minimum(lags + frames_d, frames_m) - np.maximum(lags, 0))
    curve -= np.median(curve)
    curve /= max(1.4826 * float(np.median(np.abs(curve))), 1e-9)
    return curve, first


def peaks(curve: np.ndarray, apart: float, keep: int = KEEP) -> list[tuple[float, float]]:
    """Position (in samples, between them by parabola) and height of the highest separate maxima.

    More than `keep` where they are nearly as high as the first.
    """
    curve = curve.copy()
    found = []
    for _ in range(max(keep, _MOST)):
        top = int(np.argmax(curve))
        height = float(curve[top])
        if height < 4 or (len(found) >= keep and height < 0.6 * found[0][1]):
            break
        found.append((top + parabola(curve, top), height))
        curve[max(top - int(apart), 0) : top + int(apart) + 1] = -np.inf
    return found


def parabola(curve: np.ndarray, top: int) -> float:
    """Where the maximum lies relative to sample `top`, by the parabola through its neighbours."""
    if not 0 < top < len(curve) - 1:
        return 0.0
    left, mid, right = (float(curve[top + step]) for step in (-1, 0, 1))
    bend = left - 2 * mid + right
    if not np.isfinite(bend) or bend >= 0:
        return 0.0
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))


def merge(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One candidate for those that several methods found within a few frames, strongest first."""
    merged: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.rank, c.offset)):
        if all(abs(candidate.offset - kept.offset) > 0.045 or candidate.rate != kept.rate for kept in merged):
            merged.append(candidate)
    return merged


def nominal_speed(rate: float) -> float:
    """The usual speed a measured rate is nearest to: 1, pulldown, PAL, or both."""
    return min((1.0, *SPEEDS), key=lambda speed: abs(speed - rate))


@dataclass(frozen=True)
class Agreement:
    """A candidate with the strength of every method that proposes it within a few frames: three times their mean."""

    candidate: Candidate
    strength: float


def agreements(proposals: Iterable[list[Candidate]]) -> list[Agreement]:
    """What the methods propose together, strongest first, each offset and speed once."""
    lists = list(proposals)
    joint = []
    for candidate in (one for found in lists for one in found):
        near = [[other for other in found if _alike(candidate, other)] for found in lists]
        strength = sum(max((other.rank for other in found), default=0.0) for found in near)
        joint.append(Agreement(candidate, 3 * strength / len(lists)))
    kept: list[Agreement] = []
    for one in sorted(joint, key=lambda one: (-one.strength, -one.candidate.rank, one.candidate.offset)):
        if not any(_alike(one.candidate, other.candidate, 2 * _TOGETHER) for other in kept):
            kept.append(one)
    return kept


_TOGETHER = 0.11  # s between what methods say of one offset in a room


def _alike(one: Candidate, other: Candidate, apart: float = _TOGETHER) -> bool:
    return one.rate == other.rate and abs(one.offset - other.offset) <= apart + one.uncertainty + other.uncertainty
