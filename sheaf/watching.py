"""Deciding which partitions of a source have to be run: the part of a sensor that needs no Dagster.

A partition is done when its steps were made from the delivery that a look leads to, whoever made them.
Everything else is asked for, and asked for again, ever more slowly, as long as no run has done it. Not
here: what a source is (`sources`), nor what is made of its partitions.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from sheaf.coherence import stale_steps
from sheaf.sources import Looked, Source, State
from sheaf.steps import Domain
from sheaf.store.store import Store
from sheaf.tables import generations

FIRST_RETRY_S = 600.0
LAST_RETRY_S = 24 * 3600.0
"""What keeps failing is tried again after ten minutes, then twice as long each time, at last once a day."""


class Asked(BaseModel):
    """A run that was asked for: of which state, when (seconds since 1970), and how often before."""

    token: str
    at: float
    times: int = 1

    @property
    def again_at(self) -> float:
        """When it is asked for once more, if no run has done it by then."""
        return self.at + min(FIRST_RETRY_S * 2 ** (self.times - 1), LAST_RETRY_S)


class Cursor(BaseModel):
    """What a sensor keeps from tick to tick; losing it costs some looks and nothing else.

    Attributes:
        done: the tokens of partitions that were found to be done.
        asked: what was asked for and is not known to be done.
        position: the partition after which the next tick goes on; empty for the first.
    """

    done: dict[str, str] = {}
    asked: dict[str, Asked] = {}
    position: str = ""

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """A cursor as Dagster kept it; a damaged one starts over."""
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class Look:
    """What a look at a source found.

    Attributes:
        due: partitions that have to be run.
        problems: what could not be looked at, with the reason, as sentences.
        overdue: partitions that were asked for again and again and were not done, each with a sentence.
        looked: how many partitions were looked at.
        cursor: what to keep.
    """

    due: list[State] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    overdue: dict[str, str] = field(default_factory=dict)
    looked: int = 0
    cursor: Cursor = field(default_factory=Cursor)


def look(
    source: Source,
    found: Sequence[str],
    before: Cursor,
    is_done: Callable[[State], bool],
    is_running: Callable[[str], bool],
    *,
    quiet_s: float,
    seconds: float,
    most: int,
    now: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Look at partitions, beginning after the one that was looked at last.

    Args:
        found: the partitions of the source, sorted.
        is_done: whether a state is the one that the newest generation was made from.
        is_running: whether a run of the partition waits or works.
        quiet_s: seconds for which a partition must not have changed.
        seconds: when they are over no further partition is looked at.
        most: so many runs are asked for at the most.
        now: seconds since 1970; by default the time it is.
    """
    moment, started = time.time() if now is None else now, clock()
    names = [name for name in found if name > before.position] + [name for name in found if name <= before.position]
    there = set(found)
    cursor = Cursor(
        done={name: token for name, token in before.done.items() if name in there},
        asked={name: asked for name, asked in before.asked.items() if name in there},
    )
    result = Look(cursor=cursor)
    looked = 0
    for state in _each(source, names):
        looked += 1
        name = cursor.position = state.partition
        if state.problem:
            result.problems.append(f"{name}: {state.problem}")
        elif cursor.done.get(name) == state.token:
            cursor.asked.pop(name, None)
        elif is_done(state):
            cursor.done[name] = state.token
            cursor.asked.pop(name, None)
        elif state.quiet_s >= quiet_s and not is_running(name):
            asked = cursor.asked.get(name)
            same = asked is not None and asked.token == state.token
            if asked is None or not same or moment >= asked.again_at:
                times = asked.times + 1 if asked and same else 1
                cursor.asked[name] = Asked(token=state.token, at=moment, times=times)
                result.due.append(state)
                if times > 1:
                    result.overdue[name] = f"{name} was asked for {times - 1} times and not done: see its last run."
        if len(result.due) >= most or clock() - started > seconds:
            break
    if looked == len(names):
        cursor.position = ""
    return Look(result.due, result.problems, result.overdue, looked, cursor)


def was_made(store: Store, domain: Domain, source: Source, settings: BaseModel) -> Callable[[State], bool]:
    """Tells whether all steps were made from a state of a source, or it was refused, by whomever."""

    def is_done(state: State) -> bool:
        place = domain.place(domain.reading, state.partition)
        kept = Looked.kept(store, place.folder)
        if kept is None or (kept.source, kept.token) != (source.name, state.token):
            return False
        newest = generations.newest(store, place)
        if newest is None or newest.made_with.delivery != kept.delivery:
            return False
        return newest.refused is not None or not stale_steps(store, domain, state.partition, settings)

    return is_done


def _each(source: Source, names: Sequence[str]) -> Iterator[State]:
    """The states of partitions; one that the source cannot even look at is a problem of that one only."""
    done = 0
    while done < len(names):
        states = source.states(names[done:])
        try:
            for state in states:
                done += 1
                yield state
        except Exception as error:  # whatever one partition holds, the others go on
            yield State(names[done], problem=f"{type(error).__name__}: {error}"[:500])
            done += 1
        else:
            return
        finally:
            states.close()
