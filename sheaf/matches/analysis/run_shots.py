"""The shots of one string as its timer tells them: which are new, which are told twice, and which are another string's.

A timer numbers its shots, in here from 1 always, and counts the time since its beep, so that both are known however
late, often or seldom a radio brings them. Not here: runs (`run_search`), clocks (`run_clock`).
"""

from dataclasses import dataclass, field
from enum import Enum

from sheaf.matches.analysis.run_events import LONGEST_US, Event

_SAME_TIME_S = 0.011
_SAME_BEEP_US = 3_000_000
"""A radio is not late by more than this, so that the same string has the same beep to that."""


class Fit(Enum):
    """What a numbered shot is to a string."""

    NEXT = "a shot of it"
    DOUBLE = "told before"
    OTHER = "another string's"


@dataclass(slots=True)
class Shot:
    """A shot as it was heard: event, time in microseconds, and number and seconds since the beep if it has them."""

    event: int
    ts: int
    number: int | None
    time: float | None

    @property
    def beep(self) -> int | None:
        """When the beep was, by the clock that stamped the shot."""
        return None if self.time is None else self.ts - round(self.time * 1e6)


@dataclass(slots=True)
class Shots:
    """The shots of one string so far.

    Attributes:
        heard: each once, as they came.
        doubled: how many were told again.
        total: how many the timer says there are.
    """

    heard: list[Shot] = field(default_factory=list)
    doubled: int = 0
    total: int = 0
    _by_number: dict[int, Shot] = field(default_factory=dict)

    def fit(self, event: Event, beep: int | None) -> Fit:
        """What a numbered shot is to this string.

        Args:
            beep: when the string's beep was heard.
        """
        number, time = event.shot_number or 0, _since_beep(event)
        before = self._by_number.get(number)
        if before is not None:
            same = time is None or before.time is None or abs(time - before.time) < _SAME_TIME_S
            return Fit.DOUBLE if same and abs(event.ts - before.ts) <= _SAME_BEEP_US else Fit.OTHER
        last = max(self._by_number.values(), key=lambda shot: shot.number or 0, default=None)
        at = Shot(event.number, event.ts, number, time).beep
        known = beep if last is None or last.beep is None else last.beep
        if at is None or known is None:
            soon = last is not None and event.ts - last.ts <= _SAME_BEEP_US
            return Fit.NEXT if last is None or number > (last.number or 0) or soon else Fit.OTHER
        apart = at - known
        if abs(apart) <= _SAME_BEEP_US:
            return Fit.NEXT
        if last is None or number < (last.number or 0) or (time or 0) < (last.time or 0):
            # A clock is set by more than a string can last, or back; else a start was lost.
            return Fit.OTHER if last is not None or 0 < apart <= LONGEST_US else Fit.NEXT
        if number == (last.number or 0) + 1 and event.split_s is not None and last.time is not None:
            # Where the timer's own clock goes on, ours was set.
            return Fit.NEXT if abs((time or 0) - event.split_s - last.time) <= 2 * _SAME_TIME_S else Fit.OTHER
        return Fit.OTHER if 0 < apart <= LONGEST_US else Fit.NEXT

    def add(self, event: Event, min_split_us: int) -> bool:
        """Take a shot that belongs to the string; False where it is an echo of the one before."""
        self.total = max(self.total, event.timer_shots or 0)
        number = event.shot_number
        if number is None and self.heard and abs(event.ts - self.heard[-1].ts) < min_split_us:
            self.doubled += 1
            return False
        shot = Shot(event.number, event.ts, number, _since_beep(event))
        self.heard.append(shot)
        if number is not None:
            self._by_number[number] = shot
        return True

    def repeats(self, event: Event) -> bool:
        """Whether a numbered shot is of this string, after the string was closed: it came twice, or late."""
        at = Shot(event.number, event.ts, event.shot_number, _since_beep(event)).beep
        beeps = [shot.beep for shot in self._by_number.values()]
        if at is not None and any(beep is not None and abs(at - beep) <= _SAME_BEEP_US for beep in beeps):
            return True
        return bool(beeps) and self.fit(event, None) is Fit.DOUBLE

    @property
    def lost(self) -> int:
        """Shots that the timer counted and nobody heard of; 0 where it gave no numbers."""
        if len(self._by_number) != len(self.heard):
            return 0
        return max(self.total, *self._by_number, 0) - len(self._by_number)

    def keep(self, some: list[Shot]) -> None:
        """Forget all others."""
        self.heard = some
        self._by_number = {shot.number: shot for shot in some if shot.number is not None}


def _since_beep(event: Event) -> float | None:
    """The timer's own time; none is zero, which some sources write when they don't know it."""
    return event.shot_time_s if event.shot_time_s is not None and event.shot_time_s > 0 else None
