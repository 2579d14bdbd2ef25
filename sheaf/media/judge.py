"""Weighing candidates of one pair: which of them the waveform confirms, and how surely.

Here: in what order candidates are verified, when to stop, what counts as a piece of an edited dub.
How one window votes is `verify`'s, how votes make lines is `lines`'s.
"""

import time

import numpy as np

from sheaf.media.candidates import Candidate, nominal_speed
from sheaf.media.confidence import Evidence
from sheaf.media.decode import Recording
from sheaf.media.errors import TimedOutError
from sheaf.media.lines import STRONG, Line, fit_lines
from sheaf.media.result import WindowVote
from sheaf.media.verify import Vote, vote, window_times

_MOST_CANDIDATES = 8
_PIECE = 2.0  # evidence that a further piece of an edited dub needs, in perfect windows


class Judge:
    """Verifies candidates of one pair, each at most once."""

    def __init__(self, master: Recording, dub: Recording, deadline: float) -> None:
        self._master, self._dub, self._deadline = master, dub, deadline
        self._reach = 0.06 + 1e-4 * min(master.seconds, dub.seconds)
        self._votes: dict[tuple[float, float], list[Vote]] = {}
        self._all: set[Vote] = set()

    def weigh(self, candidates: list[Candidate]) -> tuple[list[Line], Evidence]:
        """The accepted lines through the votes for some candidates, and what speaks for them.

        Once a candidate explains all windows but one, no further candidate is looked at.
        """
        votes: list[Vote] = []
        lines: list[Line] = []
        for candidate in candidates[:_MOST_CANDIDATES]:
            votes += self._heard(candidate, lines)
            lines = _accepted(fit_lines(votes))
            if lines and _unexplained(votes, lines) <= 1:
                break
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

    def _heard(self, candidate: Candidate, explained: list[Line]) -> list[Vote]:
        """The votes for a candidate; stretches of the dub that a line explains are not heard again."""
        key = (candidate.offset, candidate.rate)
        if key in self._votes:
            return self._votes[key]
        if time.monotonic() > self._deadline:
            raise TimedOutError("The analysis took longer than it may.")
        starts, width = window_times(self._master, self._dub, candidate)
        taken = np.array([vote.time for line in explained for vote in line.votes])
        free = [start for start in starts if not np.any(np.abs(start + width / 2 - taken) < width / 2)]
        votes = vote(self._master, self._dub, candidate, free, width, self._reach + candidate.uncertainty)
        if len(free) == len(starts):
            self._votes[key] = votes
        self._all.update(votes)
        return votes

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
