"""A few seconds of loudness of both files, to be drawn over each other before and after the correction."""

import numpy as np

from sheaf.media.result import Overlay, Segment
from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.lines import Line

_SECONDS = 6.0
_STEP = 0.02


def best_moment(piece: Segment, line: Line | None) -> float:
    """What is shown, s of the dub: the window that fits best, or the middle of a piece that is known to a frame."""
    if line:
        return max(line.votes, key=lambda vote: (vote.score, -vote.time)).time
    return (piece.dub_start + piece.dub_end) / 2


def overlay(master: Recording, dub: Recording, piece: Segment, middle: float) -> Overlay:
    """The stretch around a moment of the dub."""
    start = round(max(piece.offset_seconds + piece.rate * middle - _SECONDS / 2, 0.0), 2)
    after = (start - piece.offset_seconds) / piece.rate
    curves = [_loudness(master, start, 1.0), _loudness(dub, start, 1.0), _loudness(dub, after, 1 / piece.rate)]
    return Overlay(start=start, step=_STEP, master=curves[0], before=curves[1], after=curves[2])


def _loudness(recording: Recording, start: float, speed: float) -> list[float]:
    """Root mean square of each step, the loudest 1; `speed` is seconds of the recording per second drawn."""
    count = round(_SECONDS / _STEP)
    width = round(_STEP * RATE)
    first = int(start * RATE)
    samples = recording.read(first, int(count * width * speed) + width + 1)
    starts = (np.arange(count) * width * speed).astype(np.int64)
    energy = np.concatenate([[0.0], np.cumsum(samples**2, dtype=np.float64)])
    rms = np.sqrt((energy[starts + width] - energy[starts]).clip(0) / width)
    return [round(float(value), 3) for value in rms / max(float(rms.max()), 1e-9)]
