"""Clocks that were set back: which sources of a match saw the same one, so that their events stay beside each other.

Sources that one machine writes are set back together, but each tells of it by its own events before and after. Not
here: the place of an event within its source (`ingest`), sorting (`merge`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LEAST_US = 30_000_000
_MOST = 200


@dataclass(frozen=True)
class SetBack:
    """The clock of a source was set back.

    Attributes:
        file_no: the source.
        dialect: of a table of a database, which is in an order of its own; empty for a log.
        n: its first event after that, in reading order.
        before_us, after_us: the latest time before that, and the time of that event.
    """

    file_no: int
    dialect: str
    n: int
    before_us: int
    after_us: int


def together(found: Iterable[SetBack]) -> list[tuple[SetBack, int]]:
    """Those that several sources saw, each with the latest time that any of them has before it."""
    large = [one for one in found if one.before_us - one.after_us >= _LEAST_US]
    groups: list[list[SetBack]] = []
    for one in sorted(large, key=lambda one: -one.before_us):
        if groups and _same(groups[-1], one):
            groups[-1].append(one)
        else:
            groups.append([one])
    several = [group for group in groups if len(group) > 1]
    shared = [(one, group[0].before_us) for group in several for one in group]
    return shared if len(shared) <= _MOST else []


def _same(group: Sequence[SetBack], one: SetBack) -> bool:
    """Whether a source's clock was set back with those of others: most of the time it lost, they lost too."""
    first = group[0]
    apart = max(first.before_us - one.before_us, abs(first.after_us - one.after_us))
    others = {(other.file_no, other.dialect) for other in group}
    return (one.file_no, one.dialect) not in others and 2 * apart <= one.before_us - one.after_us
