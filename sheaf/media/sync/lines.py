"""From votes to lines: which windows agree on one offset and speed.

A constant offset or a drift is one line `delay = offset + slope · time`; an edited dub has one
line per piece. Lines are found by exhaustive pairs (RANSAC without chance, so that equal votes
always give equal lines), strongest first, each taking its votes with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sheaf.media.sync.candidates import nominal_speed
from sheaf.media.sync.votes import Vote

STRONG = 3.0
"""A vote below this score could be chance and is not heard."""

TOLERANCE = 0.0015  # s between a vote and its line
_STEEPEST = 1500e-6  # around the assumed rate: reaches from equal speed to pulldown
_FULL_SCORE = 15.0  # a single vote never weighs more than this
_LEAST_BEND = 0.00025  # s over the span; less than that is no drift but noise
_BEND_PRICE = 1.0  # weight a drifting line gives up: two votes always lie on some line, but rarely on a flat one
_MOST_LINES = 64


@dataclass(frozen=True)
class Line:
    """Votes that agree: `t_master = offset + (assumed + slope) · t_dub`.

    Attributes:
        weight: sum of the weights of its votes, 1 for each perfect one, less the price of a drift.
        votes: in order of time.
    """

    offset: float
    slope: float
    assumed: float
    weight: float
    votes: tuple[Vote, ...]

    @property
    def rate(self) -> float:
        """Speed of the master's clock against the dub's."""
        return self.assumed + self.slope

    @property
    def uncertainty(self) -> float:
        """How far the offset may be off, s: the spread of its votes over the root of their number, at least 10 µs."""
        left = [vote.delay - self.offset - self.slope * vote.time for vote in self.votes]
        spread = 1.4826 * float(np.median(np.abs(left)))
        return round(max(2 * spread / max(len(left), 1) ** 0.5, 1e-5), 6)

    def delay_at(self, time: float) -> float:
        """t_master - assumed · t_dub at a time in the dub."""
        return self.offset + self.slope * time


def weight(score: float) -> float:
    """0 for a vote that may be chance, 1 for one beyond doubt."""
    return min(max(score - STRONG, 0.0) / (_FULL_SCORE - STRONG), 1.0)


def fit_lines(votes: Sequence[Vote]) -> list[Line]:
    """The lines through a set of votes, heaviest first."""
    left = [vote for vote in votes if vote.score > STRONG]
    lines = []
    while left and len(lines) < _MOST_LINES:
        line = max(
            (_heaviest([vote for vote in left if vote.rate == rate], rate) for rate in sorted({v.rate for v in left})),
            key=lambda line: line.weight * (1.15 if line.assumed == 1 else 1.0),
        )
        lines.append(line)
        left = [vote for vote in left if not _covered(vote, line)]
    return lines


def _covered(vote: Vote, line: Line) -> bool:
    """Whether the line explains this stretch of the dub already; it has one place in the master."""
    return any(abs(vote.time - other.time) < 0.75 * max(vote.width, other.width) for other in line.votes)


def _heaviest(votes: list[Vote], assumed: float) -> Line:
    time = np.array([vote.time for vote in votes])
    delay = np.array([vote.delay for vote in votes])
    weights = np.array([weight(vote.score) for vote in votes])
    first, second = np.triu_indices(len(votes), 1)
    apart = time[second] - time[first]
    useful = np.abs(apart) >= np.ptp(time) / 6 + 1e-9
    first, second, apart = first[useful], second[useful], apart[useful]
    slopes = (delay[second] - delay[first]) / apart
    flat = np.abs(slopes) <= _STEEPEST
    slopes = np.concatenate([np.zeros(len(votes)), slopes[flat]])
    offsets = np.concatenate([delay, (delay[first] - (delay[second] - delay[first]) / apart * time[first])[flat]])
    best, best_weight = 0, -np.inf
    for start in range(0, len(slopes), 512):  # lines in rows, votes in columns
        part = slice(start, start + 512)
        near = np.abs(delay - offsets[part, None] - slopes[part, None] * time) < TOLERANCE
        sums = near @ weights - _BEND_PRICE * (slopes[part] != 0)
        top = int(np.argmax(sums))
        if sums[top] > best_weight + 1e-9:
            best, best_weight = start + top, float(sums[top])
    near = np.abs(delay - offsets[best] - slopes[best] * time) < TOLERANCE
    least_bend = _LEAST_BEND if assumed == nominal_speed(assumed) else 0.0  # a line known to drift is only refined
    offset, slope = _refine(time[near], delay[near], weights[near], least_bend)
    chosen = sorted((vote for vote, taken in zip(votes, near, strict=True) if taken), key=lambda vote: vote.time)
    straight = slope == 0 and assumed == nominal_speed(assumed)
    total = float(weights[near].sum()) - (0.0 if straight else _BEND_PRICE)
    return Line(offset, slope, assumed, max(total, 0.0), tuple(chosen))


def _refine(time: np.ndarray, delay: np.ndarray, weights: np.ndarray, least_bend: float) -> tuple[float, float]:
    """Weighted least squares for the slope, re-weighted against stragglers; weighted median for the offset."""
    slope = 0.0
    if len(time) >= 4:
        trust = weights + 1e-3
        for _ in range(10):
            slope, middle = _least_squares(time, delay, trust)
            error = np.abs(delay - middle - slope * time)
            scale = max(1.4826 * float(np.median(error)), 1e-6)
            trust = (weights + 1e-3) / (1 + (error / (2 * scale)) ** 2)
        if abs(slope) * np.ptp(time) < least_bend:
            slope = 0.0
    return weighted_median(delay - slope * time, weights + 1e-3), slope


def _least_squares(time: np.ndarray, delay: np.ndarray, trust: np.ndarray) -> tuple[float, float]:
    centre_t, centre_d = np.average(time, weights=trust), np.average(delay, weights=trust)
    spread = np.sum(trust * (time - centre_t) ** 2)
    slope = float(np.sum(trust * (time - centre_t) * (delay - centre_d)) / spread) if spread > 0 else 0.0
    return slope, float(centre_d - slope * centre_t)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value with half of the weight on either side; between two values where it is exactly half."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    below = np.cumsum(weights) - 0.5 * weights
    return float(np.interp(0.5 * weights.sum(), below, values))
