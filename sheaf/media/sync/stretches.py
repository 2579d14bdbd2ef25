"""The second judge: longer stretches of the dub, compared with the master by their features.

`votes` need one sharp arrival of sound; in a room, over a telephone or where the pitch was kept there is none, yet
the rhythm of the sound is the same. Here a stretch of some seconds is looked for within ten seconds around
where a candidate puts it: it speaks for the candidate if nothing in that reach fits better. So windows that match
nothing, or match elsewhere as well, count against it. What this judge finds is right to a frame, not to a sample.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sheaf.media.result import Segment
from sheaf.media.sync.candidates import Candidate, parabola
from sheaf.media.sync.features import Feature
from sheaf.media.sync.fourier import fast_length, irfft, rfft

REACH = 10.0  # s around the candidate that compete with it
NEAR = 0.15  # s around the candidate that are the candidate
_MOST = 40
_WIDTH = (1.0, 8.0)  # s
_EQUAL = 0.95  # of the best fit is as good as the best
_SILENT = 1e-3  # variance of the features below which nothing happens


@dataclass(frozen=True)
class Stretch:
    """How well one stretch of the dub fits where a candidate puts it.

    Attributes:
        start, end: in the dub, s.
        delay: t_master - rate · t_dub where it fits best near the candidate, s.
        near: likeness there: correlation of the features, not normalised.
        elsewhere: the best likeness further away, within REACH.
    """

    start: float
    end: float
    delay: float
    near: float
    elsewhere: float

    @property
    def middle(self) -> float:
        """Its centre in the dub, s."""
        return (self.start + self.end) / 2

    @property
    def fits(self) -> bool:
        """Whether nothing in reach fits better."""
        return self.near > 0 and self.near >= _EQUAL * self.elsewhere


class Stretches:
    """Stretches of one dub, on a grid that is the same for every candidate."""

    def __init__(self, master: Feature, dub: Feature, hop: float) -> None:
        """Args: the same feature of both; `hop` in seconds per frame."""
        self._master, self._dub, self._hop = master, dub, hop
        self._heard: dict[tuple[int, float], list[Stretch]] = {}
        self._transforms: dict[tuple[int, int, float], np.ndarray] = {}
        seconds = dub.shape[1] * hop
        width = float(np.clip(seconds / 12, *_WIDTH))
        count = int(np.clip(seconds // width, 1, _MOST))
        starts = (np.arange(count) + 0.5) * seconds / count - width / 2
        spans = [(max(float(start), 0.0), min(float(start) + width, seconds)) for start in starts]
        self.spans = [span for span in spans if np.var(dub[:, int(span[0] / hop) : int(span[1] / hop)]) > _SILENT]
        """Where something is heard, s in the dub."""

    def hear(self, candidate: Candidate) -> list[Stretch]:
        """Every audible stretch that the candidate puts inside the master."""
        place = round(candidate.offset / self._hop), candidate.rate  # nothing finer makes a difference
        if place not in self._heard:
            heard = (self._hear(span, *place) for span in self.spans)
            self._heard[place] = [one for one in heard if one]
        return self._heard[place]

    def share(self, pieces: Sequence[Segment], confirmed: Sequence[float]) -> float:
        """The share of what is heard of the dub that fits its pieces, or holds a time (s) that was confirmed."""
        explained = {span[0] for span in self.spans if any(span[0] <= time <= span[1] for time in confirmed)}
        for piece in pieces:
            for one in self.hear(Candidate(piece.offset_seconds, piece.rate, 0.0)):
                if one.fits and piece.dub_start <= one.middle <= piece.dub_end:
                    explained.add(one.start)
        return len(explained) / max(len(self.spans), 1)

    def _hear(self, span: tuple[float, float], lag: int, rate: float) -> Stretch | None:
        hop = self._hop
        first, last = round(span[0] * rate / hop), min(round(span[1] * rate / hop), int(self._dub.shape[1] * rate))
        reach, near = round(REACH / hop), max(round(NEAR / hop), 1)
        frames = self._master.shape[1]
        if first + lag < -near or last + lag > frames + near or last - first < 10:
            return None
        start, end = first + lag - reach, last + lag + reach
        low, high = max(start, 0), min(end, frames)
        around = np.zeros((self._master.shape[0], end - start), np.float32)
        around[:, low - start : high - start] = self._master[:, low:high]
        size = fast_length(end - start)
        cross = (rfft(around, size, axis=1) * self._wanted(first, last, rate, size)).sum(axis=0)
        curve = irfft(cross, size)[: 2 * reach + 1]
        middle = curve[reach - near : reach + near + 1]
        top = reach - near + int(np.argmax(middle))
        others = np.concatenate([curve[: reach - near], curve[reach + near + 1 :]])
        delay = (lag + top - reach + parabola(curve, top)) * hop
        return Stretch(span[0], span[1], float(delay), float(curve[top]), float(others.max()))

    def _wanted(self, first: int, last: int, rate: float, size: int) -> np.ndarray:
        """The transform, conjugate, of frames of the dub on the clock of the master; the same for all candidates."""
        place = first, last, rate
        if place not in self._transforms:
            low, high = (math.floor(first / rate), math.ceil(last / rate) + 1) if rate != 1 else (first, last)
            wanted = self._dub[:, low:high]
            if rate != 1:
                times = np.arange(first, last) / rate - low
                wanted = np.stack([np.interp(times, np.arange(wanted.shape[1]), row) for row in wanted])
            wanted = wanted - wanted.mean(axis=1, keepdims=True)
            self._transforms[place] = np.conj(rfft(wanted.astype(np.float32), size, axis=1))
        return self._transforms[place]


def as_good(stretches: Iterable[Stretch], rivals: Iterable[Stretch]) -> bool:
    """Whether a rival candidate fits the same stretches as well as the first: chance could have chosen either.

    A candidate that is right fits better nearly everywhere, also in music that repeats.
    """
    near = {one.start: one.near for one in stretches if one.fits}
    pairs = [(near[one.start], one.near) for one in rivals if one.start in near]
    if len(pairs) < max(0.5 * len(near), 1):
        return False
    first, second = np.array(pairs).T
    ahead = first - second
    mean = float(ahead.mean())
    if mean < 0.03 * float(first.mean()):
        return True
    return len(pairs) > 1 and mean < 3 * float(ahead.std(ddof=1)) / np.sqrt(len(pairs)) and mean < 0.2 * first.mean()
