"""Whether a clock was set while a run went on, and what its times would be if it had not been.

Witnesses are what counts on its own: the timer's seconds since the beep, the countdown, the String Time, and
that no string lasts longer than a timer can count. Pure functions of one run's times in microseconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sheaf.matches.analysis.run_events import LONGEST_US, STEP_US
from sheaf.matches.analysis.run_shots import Shot
from sheaf.matches.readers.clocks import BEYOND_US

NOT_SET_US = 978_307_200_000_000
"""2001-01-01: a clock that shows an earlier time was never set; it began at 1970 or 2000."""

YEARS_US = 2 * 366 * 86_400_000_000
"""A run this far from the middle one of its match has another clock: no match lasts for years."""

_SURE_US = 1_000_000
_LATE_US = 60_000_000
_COUNTDOWN_US = 10_000_000


@dataclass(frozen=True)
class Step:
    """A clock that was set.

    Attributes:
        event: the first event after it.
        by_us: how much later the clock then showed than it would have; None when nothing tells.
    """

    event: int
    by_us: int | None


def steps(
    joined: Sequence[tuple[int, int]],
    shots: Sequence[Shot],
    beep: tuple[int, int] | None,
    string_time_us: int | None,
    countdown_us: int | None,
) -> list[Step]:
    """The steps of the clock within a run, in order.

    Args:
        joined: number and time of each event of the run, in order.
        shots: those of them that are shots, with the timer's own time where it has one.
        beep: event and time of the start beep.
        string_time_us: duration that the summary gives, from the button.
        countdown_us: from button to beep, as the button's line says.
    """
    found: list[Step] = []
    last, known = beep or (joined[0][0], None)
    newest = 0
    for shot in sorted(shots, key=lambda one: one.event):
        if shot.beep is None or (shot.number or newest) < newest:  # overtaken by another: late
            continue
        newest = shot.number or newest
        if known is not None and abs(shot.beep - known) > _SURE_US:
            found.append(Step(_largest(joined, last, shot.event), shot.beep - known))
        last, known = shot.event, shot.beep
    if found:
        found = _without_late(found)
    elif string_time_us is not None and not _lasts(joined, beep, shots, string_time_us):
        return _by_string_time(joined, string_time_us)
    elif string_time_us is None and beep and countdown_us is not None:
        by = beep[1] - joined[0][1] - countdown_us
        found = [Step(beep[0], by)] if abs(by) > _LATE_US else []
    found += _jumps(joined, [step.event for step in found])
    return sorted(found, key=lambda step: step.event)


def _lasts(
    joined: Sequence[tuple[int, int]], beep: tuple[int, int] | None, shots: Sequence[Shot], seconds_us: int
) -> bool:
    """Whether a run lasted as long as its summary says: from button or beep, to the last shot or anything after it."""
    first, last = joined[0][1], joined[-1][1]
    least = shots[-1].ts - (beep[1] if beep else first) if shots else 0
    unheard = _COUNTDOWN_US if beep and beep[0] == joined[0][0] else 0  # the button, from which the summary counts
    return least - STEP_US <= seconds_us <= last - first + unheard + STEP_US


def _by_string_time(joined: Sequence[tuple[int, int]], seconds_us: int) -> list[Step]:
    by = joined[-1][1] - joined[0][1] - seconds_us
    place = max(range(1, len(joined)), key=lambda index: abs(joined[index][1] - joined[index - 1][1]), default=None)
    if place is None:
        return []
    gap = joined[place][1] - joined[place - 1][1]
    rest = gap - by  # what is left of the gap when the step is taken out
    sure = -_SURE_US <= rest <= _LATE_US and sum(abs(b[1] - a[1]) >= abs(gap) / 2 for a, b in _pairs(joined)) == 1
    return [Step(joined[place][0], by if sure else None)]


def _jumps(joined: Sequence[tuple[int, int]], known: Sequence[int]) -> list[Step]:
    """Places where time goes back, or by more than a string can last: nothing says by how much."""
    return [
        Step(after[0], None)
        for before, after in _pairs(joined)
        if after[0] not in known and not -STEP_US <= after[1] - before[1] <= LONGEST_US
    ]


def _largest(joined: Sequence[tuple[int, int]], after: int, upto: int) -> int:
    """The event before which the clock jumped most, of those after one and up to another."""
    gaps = [(abs(b[1] - a[1]), -b[0]) for a, b in _pairs(joined) if after < b[0] <= upto]
    return -max(gaps)[1] if gaps else upto


def _without_late(found: list[Step]) -> list[Step]:
    """Without what went forward and came back: a radio that was late, not a clock."""
    left: list[Step] = []
    for step in found:
        by = step.by_us
        if left and by is not None and (before := left[-1].by_us) and 0 < before <= _LATE_US and by < 0:
            rest = before + by
            left.pop()
            if abs(rest) > _SURE_US:
                left.append(Step(step.event, rest))
        else:
            left.append(step)
    return left


def _pairs(joined: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    return pairwise(joined)


def is_set(time_us: int) -> bool:
    """Whether a clock that shows a time was ever set."""
    return NOT_SET_US <= time_us < BEYOND_US


class Repair:
    """Times as one clock would have shown them: the one at the start, unless that was not set.

    Args:
        found: the steps; one whose size is unknown leaves the times after it as they are.
        start: when the run began.
    """

    def __init__(self, found: Sequence[Step], start: int) -> None:
        self.steps = found
        self.sure = all(step.by_us is not None for step in found)
        total = sum(step.by_us or 0 for step in found)
        # The clock of the start holds, unless it was never set and a later one was.
        self._before = total if not is_set(start) and is_set(start + total) else 0

    def __bool__(self) -> bool:
        return bool(self.steps) and self.sure

    def time(self, event: int, ts: int) -> int:
        """When an event happened."""
        if not self:
            return ts
        return ts + self._before - sum(step.by_us or 0 for step in self.steps if step.event <= event)

    def shots(self, shots: Sequence[Shot]) -> list[int]:
        """When shots happened: where the radio was late, the timer's own time is right."""
        times = [self.time(shot.event, shot.ts) for shot in shots]
        beeps = [ts - round(shot.time * 1e6) for ts, shot in zip(times, shots, strict=True) if shot.time is not None]
        if not beeps or (self.steps and not self.sure):
            return times
        beep = sorted(beeps)[len(beeps) // 2]
        own = [beep + round((shot.time or 0) * 1e6) for shot in shots]
        late = [
            shot.time is not None and abs(ts - at) > _SURE_US for ts, at, shot in zip(times, own, shots, strict=True)
        ]
        return [at if is_late else ts for ts, at, is_late in zip(times, own, late, strict=True)]
