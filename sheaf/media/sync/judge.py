"""Weighing candidates of one pair: which of them the waveform confirms, and how surely.

Here: in what order candidates are verified, when to stop, what counts as a piece of an edited dub.
How one window votes is `verify`'s, how votes make lines is `lines`'s.
"""

import time
from collections.abc import Sequence

import numpy as np

from sheaf.media.errors import TimedOutError
from sheaf.media.result import WindowVote
from sheaf.media.sync.candidates import Candidate, nominal_speed
from sheaf.media.sync.confidence import Evidence
from sheaf.media.sync.decode import Recording
from sheaf.media.sync.lines import STRONG, Line, fit_lines
from sheaf.media.sync.stretches import Stretch, Stretches, as_good
from sheaf.media.sync.votes import Vote, vote, window_times

_ALWAYS = 6  # candidates that are verified whatever the stretches say
_MOST_CANDIDATES = 32
_SAME = 0.7  # of the best vote of a window; a weaker one for another offset is the echo of a repetition
_PREFERS = 1.05  # times as like: another candidate fits a stretch better than the line that claims it
_ALIKE = 0.5  # of the scores there; music that repeats under something that doesn't fits a rival much less
_THE_SAME = 0.75  # of them: no music of which one place is the right one says so much at another
_NEARBY = 0.02  # s, of some 0.07 that are searched
_ASKED = 6  # windows that a rival place is confirmed by
_PIECE = 2.0  # evidence that a further piece of an edited dub needs, in perfect windows


class Judge:
    """Verifies candidates of one pair, each at most once."""

    def __init__(self, master: Recording, dub: Recording, stretches: Stretches, deadline: float) -> None:
        self._master, self._dub, self._stretches, self._deadline = master, dub, stretches, deadline
        self._reach = 0.06 + 1e-4 * min(master.seconds, dub.seconds)
        self._votes: dict[Candidate, list[Vote]] = {}
        self._all: set[Vote] = set()

    def weigh(self, candidates: list[Candidate]) -> tuple[list[Line], Evidence]:
        """The accepted lines through the votes for some candidates, and what speaks for them.

        Once a candidate explains all windows but one, others are looked at only for what of the dub lies beyond it.
        """
        votes: list[Vote] = []
        lines: list[Line] = []
        for candidate in self._worth_it(candidates):
            if lines and _unexplained(votes, lines) <= 1 and not self._fits_beyond(candidate, lines):
                continue
            votes = _best_of_each([*votes, *self._heard(candidate, lines)])
            lines = _accepted(fit_lines(votes))
        for line in lines:  # along a drifting line the windows fit better, and all of them are within reach
            if line.slope:
                along = self._heard(Candidate(line.offset, line.rate, 0.0), [])
                votes = [*along, *(vote for vote in votes if vote not in line.votes)]
                lines = _accepted(fit_lines(votes))
        if not lines:
            return [], Evidence()
        agreeing = sum(len(line.votes) for line in lines)
        weight_sum = sum(line.weight for line in lines)
        others = _unexplained([vote for vote in votes if vote.score > STRONG], lines)
        return lines, Evidence(weight_sum, agreeing, others)

    def _worth_it(self, candidates: list[Candidate]) -> list[Candidate]:
        """The strongest few, and of the others those that some stretch of the dub fits: pieces between cuts."""
        others = candidates[_ALWAYS:_MOST_CANDIDATES]
        fitting = [one for one in others if any(part.fits for part in self._stretches.hear(one))]
        return [*candidates[:_ALWAYS], *fitting]

    def _fits_beyond(self, candidate: Candidate, lines: list[Line]) -> bool:
        """Whether a candidate fits some of the dub that is heard where no line has a place in the master."""
        ends = [(-line.offset / line.rate, (self._master.seconds - line.offset) / line.rate) for line in lines]
        beyond = [
            span[0]
            for span in self._stretches.spans
            if not any(span[1] > first and span[0] < last for first, last in ends)
        ]
        return bool(beyond) and any(one.fits and one.start in beyond for one in self._stretches.hear(candidate))

    def _prefer(self, candidate: Candidate, line: Line) -> list[tuple[float, float]]:
        """Stretches of the dub (s) that fit a candidate better than the line that claims them."""
        claimed = {one.start: one.near for one in self._stretches.hear(Candidate(line.offset, line.assumed, 0.0))}
        heard = self._stretches.hear(candidate)
        better = [one for one in heard if one.fits and one.near > _PREFERS * max(claimed.get(one.start, 0.0), 0.0)]
        return [(one.start, one.end) for one in better]

    def _heard(self, candidate: Candidate, explained: list[Line]) -> list[Vote]:
        """The votes for a candidate; what a line explains is not heard again, unless the candidate fits it better."""
        known = self._known(candidate)
        if known is not None:
            return known
        if time.monotonic() > self._deadline:
            raise TimedOutError("The analysis took longer than it may.")
        starts, width = window_times(self._master, self._dub, candidate)
        better = [(line, self._prefer(candidate, line)) for line in explained]
        taken = np.array(
            [
                vote.time
                for line, spans in better
                for vote in line.votes
                if not any(start <= vote.time <= end for start, end in spans)
            ]
        )
        free = [start for start in starts if not np.any(np.abs(start + width / 2 - taken) < width / 2)]
        votes = vote(self._master, self._dub, candidate, free, width, self._reach + candidate.uncertainty)
        if len(free) == len(starts):
            self._votes[candidate] = votes
        self._all.update(votes)
        return votes

    def _known(self, candidate: Candidate) -> list[Vote] | None:
        """The votes for a candidate so near that the windows were looked for in the same place."""
        for other, votes in self._votes.items():
            near = abs(other.offset - candidate.offset) <= _NEARBY
            if near and (other.rate, other.uncertainty) == (candidate.rate, candidate.uncertainty):
                return votes
        return None

    def also_at(self, line: Line, stretches: Sequence[Stretch], others: list[Candidate]) -> list[Candidate]:
        """Which of the other places the waveform confirms as well, by the windows that confirm the line best.

        Where the longer stretches fit there less than at the line, the windows have to say nearly all the same: a drum
        loop under two voices is the same wave at each of its turns, whatever is spoken over it.

        Args:
            stretches: of the dub, at the line.
        """
        best = sorted(line.votes, key=lambda one: -one.score)[:_ASKED]
        wanted = sum(one.score for one in best)
        also = []
        for rival in others:
            like = _ALIKE if as_good(stretches, self._stretches.hear(rival)) else _THE_SAME
            votes = []
            for width in sorted({one.width for one in best}):
                starts = [one.time - width / 2 for one in best if one.width == width]
                votes += vote(self._master, self._dub, rival, starts, width, self._reach + rival.uncertainty)
            lines = fit_lines(votes)
            if lines and sum(one.score for one in lines[0].votes) >= like * wanted:
                also.append(Candidate(lines[0].offset, lines[0].rate, rival.strength))
        return also

    def timeline(self, lines: list[Line]) -> list[WindowVote]:
        """Every strong vote by time in the dub, for the drawing of offset against time at the nominal speed."""
        nominal = nominal_speed(main_line(lines).rate) if lines else 1.0
        chosen = {vote for line in lines for vote in line.votes}
        shown = {vote for vote in self._all if vote.score > STRONG}
        return [
            WindowVote(
                dub_time=round(vote.time, 3),
                offset_seconds=round(vote.delay + (vote.rate - nominal) * vote.time, 6),
                score=round(vote.score, 1),
                agrees=vote in chosen,
            )
            for vote in sorted(shown, key=lambda vote: (vote.time, vote.delay))
        ]


def _best_of_each(votes: list[Vote]) -> list[Vote]:
    """Of the votes of one window for several offsets, those that stand out about as far as the best."""
    best: dict[int, float] = {}
    for one in votes:
        place = round(one.time / max(one.width, 1e-9))
        best[place] = max(best.get(place, 0.0), one.score)
    return [one for one in votes if one.score >= _SAME * best[round(one.time / max(one.width, 1e-9))]]


def _accepted(lines: list[Line]) -> list[Line]:
    """The heaviest line, and the others that have evidence enough to be pieces of an edited dub."""
    return [line for index, line in enumerate(lines) if index == 0 or (line.weight >= _PIECE and len(line.votes) > 1)]


def _unexplained(votes: list[Vote], lines: list[Line]) -> int:
    """Windows, counted once however many candidates they were tried for, that no accepted line passes."""
    explained = [vote.time for line in lines for vote in line.votes]
    left: list[float] = []
    for one in votes:
        near = 0.75 * one.width
        if all(abs(one.time - other) >= near for other in explained + left):
            left.append(one.time)
    return len(left)


def main_line(lines: list[Line]) -> Line:
    """The line with the most evidence."""
    return max(lines, key=lambda line: line.weight)
