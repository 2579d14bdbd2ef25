"""From lines to segments: where an edited dub jumps from one offset to the next.

The jump is looked for between the last window of one line and the first of the next: for every
few milliseconds the dub is compared with the master under both offsets, and the boundary is put
where the likeness of one ends and that of the other begins.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sheaf.media.result import Segment
from sheaf.media.sync.candidates import Candidate
from sheaf.media.sync.confidence import Evidence, confidence
from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.lines import Line, weight
from sheaf.media.sync.stretches import Stretches
from sheaf.media.sync.votes import Vote, between

_FRAME = 0.02  # s compared at once
_STEP = 0.005  # s between comparisons
_UNLIKE = 0.3  # likeness below which neither offset fits
_LONGEST_SEARCH = 600.0  # s
_AT_ONCE = 10.0  # s of it
_MARGIN = 64  # samples that are heard only so that those between them are right


@dataclass
class _Run:
    """Votes in a row that belong to the same line."""

    line: Line
    votes: list[Vote]

    @property
    def weight(self) -> float:
        return sum(weight(vote.score) for vote in self.votes)


def segment(master: Recording, dub: Recording, lines: list[Line], heard: Stretches) -> list[Segment]:
    """The pieces of the dub in order of time, from lines that were accepted.

    Each piece ends where its offset ceases to fit; stretches of the dub that the master does not
    hold lie between pieces.
    """
    runs = _runs(lines)
    bounds = []
    for before, after in pairwise(runs):
        bounds.append(_boundary(master, dub, before, after))
    pieces = []
    for index, run in enumerate(runs):
        line = run.line
        first = max(0.0, -line.offset / line.rate)
        last = min(dub.seconds, (master.seconds - line.offset) / line.rate)
        ends = _ends(master, dub, run, (first, last), heard)
        start = bounds[index - 1][1] if index else ends[0]
        end = bounds[index][0] if index < len(bounds) else ends[1]
        pieces.append(
            Segment(
                dub_start=round(max(start, first), 4),
                dub_end=round(min(end, last), 4),
                offset_seconds=round(line.offset, 6) + 0.0,  # never -0.0
                rate=round(line.rate, 9),
                confidence=confidence(Evidence(run.weight, len(run.votes))),
            )
        )
    return pieces


def _ends(
    master: Recording, dub: Recording, run: _Run, overlap: tuple[float, float], heard: Stretches
) -> tuple[float, float]:
    """Where the match begins and ends: with the overlap of the files, unless what lies before or after fits nothing.

    That is so where neither a window voted nor a stretch fits, as under another voice the stretches still do.
    """
    line, (start, end) = run.line, overlap
    fitting = [one.middle for one in heard.hear(Candidate(line.offset, line.rate, 0.0)) if one.fits]
    first, last = run.votes[0], run.votes[-1]
    head, tail = first.time - first.width / 2, last.time + last.width / 2
    if 0.8 * first.width < head - start < _LONGEST_SEARCH and not any(start <= middle <= head for middle in fitting):
        gained = np.cumsum(_evidence(master, dub, line, start, first.time))
        start += _FRAME / 2 + _STEP * int(np.argmin(np.concatenate([[0.0], gained])))
    if 0.8 * last.width < end - tail < _LONGEST_SEARCH and not any(tail <= middle <= end for middle in fitting):
        gained = np.cumsum(_evidence(master, dub, line, last.time, end))
        end = last.time + _FRAME / 2 + _STEP * int(np.argmax(np.concatenate([[0.0], gained])))
    return min(start, first.time), max(end, last.time)


def _runs(lines: list[Line]) -> list[_Run]:
    """Votes of all lines by time, grouped while the line stays the same; a lone weak vote makes no piece."""
    ordered = sorted(((vote, line) for line in lines for vote in line.votes), key=lambda item: item[0].time)
    runs = _group(ordered)
    strong = {id(vote) for run in runs if run.weight >= min(1.5, 0.5 * run.line.weight) for vote in run.votes}
    kept = _group([item for item in ordered if id(item[0]) in strong])
    return kept or [_Run(lines[0], list(lines[0].votes))]  # lines that alternate at every window are no pieces


def _group(ordered: list[tuple[Vote, Line]]) -> list[_Run]:
    runs: list[_Run] = []
    for vote, line in ordered:
        if runs and runs[-1].line is line:
            runs[-1].votes.append(vote)
        else:
            runs.append(_Run(line, [vote]))
    return runs


def _boundary(master: Recording, dub: Recording, before: _Run, after: _Run) -> tuple[float, float]:
    """Where one piece ends and the next starts, in the dub, s."""
    last, first = before.votes[-1], after.votes[0]
    # A window across the jump belongs to the offset that most of it has, so its centre may be on the wrong side.
    start = max(last.time - last.width / 2, 0.0)
    end = min(first.time + first.width / 2, dub.seconds)
    if end - start > _LONGEST_SEARCH:
        return (start + end) / 2, (start + end) / 2
    gains = [_evidence(master, dub, run.line, start, end) for run in (before, after)]
    gain_before, gain_after = (np.concatenate([[0.0], np.cumsum(gain)]) for gain in gains)
    # Best pair (i, j >= i): frames before i fit the first line, frames from j on the second, none between.
    best_until = np.maximum.accumulate(gain_before)
    total = best_until + gain_after[-1] - gain_after
    second_starts = int(np.argmax(total))
    first_ends = int(np.argmax(gain_before[: second_starts + 1]))
    return tuple(start + _FRAME / 2 + step * _STEP for step in (first_ends, second_starts))  # type: ignore[return-value]


def _evidence(master: Recording, dub: Recording, line: Line, start: float, end: float) -> np.ndarray:
    """What short frames of the dub say about one line: for it above zero, against it below.

    It is how much their correlation coefficient with the master exceeds `_UNLIKE`, and less the quieter
    both are: unlike sound speaks against a line, near silence for none.
    """
    last = max(end - _FRAME, start + _STEP)  # where the last frame starts
    parts = [_alike(master, dub, line, at, min(at + _AT_ONCE, last)) for at in np.arange(start, last, _AT_ONCE)]
    product, energy_h, energy_e = np.concatenate(parts, axis=1)
    quiet = 1e-3 * max(float(np.mean(energy_h)), 1e-12)
    polarity = np.sign(product.sum()) or 1.0  # a dub may be upside down, but not now and then
    louder = np.maximum(energy_h, energy_e)
    likeness = polarity * product / np.sqrt((energy_h + quiet) * (energy_e + quiet))
    return likeness - _UNLIKE * louder / (louder + quiet)


def _alike(master: Recording, dub: Recording, line: Line, start: float, end: float) -> np.ndarray:
    """The product of both, and the energy of each, in the frames of the dub that start within a piece."""
    first = round(start * RATE)
    count = round(end * RATE) - first + round(_FRAME * RATE)
    heard = dub.read(first, count + 1)
    place = (line.offset + line.rate * first / RATE) * RATE
    begin = int(place) - _MARGIN
    source = master.read(begin, int(count * line.rate) + 2 * _MARGIN)
    expected = between(source, place - begin + np.arange(count + 1) * line.rate)
    one, other = (np.diff(signal) for signal in (heard, expected))  # rising 6 dB an octave, against boomy sound
    return np.stack([_frames(one * other), _frames(one * one), _frames(other * other)])


def _frames(values: np.ndarray) -> np.ndarray:
    """Sums over frames of _FRAME every _STEP seconds."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    width, step = round(_FRAME * RATE), round(_STEP * RATE)
    starts = np.arange(0, max(len(values) - width, 1), step)
    return sums[np.minimum(starts + width, len(values))] - sums[starts]
