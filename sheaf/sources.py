"""Where records come from: what every source can do, and to which source a partition belongs.

Here: the interface, the order of sources, what a system has deleted or could not give. Not here: the
sources themselves (`inbox`, and `<domain>/` for live systems), nor which are configured
(`resources/sources.py`).
"""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from sheaf import activity, clock
from sheaf.errors import InputError, NotFoundError, SheafError, SourceError, UsageError
from sheaf.report import Report
from sheaf.store import documents
from sheaf.store.store import Store
from sheaf.tables.work import Work


@dataclass(frozen=True)
class Offer:
    """What a source has, sorted.

    Attributes:
        partitions: their keys.
        misnamed: would be partitions if their names were valid.
        unusable: what lies there and can be no partition as it is, by name, each with the reason as a sentence.
        notes: what people know a partition by where its key does not tell, such as the file it came from.
        other_names: partitions by what else people call them, such as an id or a number.
    """

    partitions: tuple[str, ...]
    misnamed: tuple[str, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    other_names: Mapping[str, str] = field(default_factory=dict)

    def problems(self) -> dict[str, str]:
        """What cannot be run, by name, each with a sentence that says why."""
        return dict.fromkeys(self.misnamed, _MISNAMED) | dict(self.unusable)


_MISNAMED = "This name cannot be a partition: rename it to letters, digits, '.', '_' or '-', at most 100."


@dataclass(frozen=True)
class State:
    """One partition as it is at its source.

    Attributes:
        partition: its key.
        token: differs whenever what the source holds of it differs.
        quiet_s: seconds since it last changed, where somebody may still be writing.
        problem: why it could not be looked at, as a sentence; then there is no token.
        tags: further tags of the run that reads it, such as its priority.
        sure: whether an equal token also means that nothing has changed; else it only says when to read again.
    """

    partition: str
    token: str = ""
    quiet_s: float = math.inf
    problem: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    sure: bool = True


@dataclass(frozen=True)
class Delivery:
    """What a source gives for one partition at one time.

    Attributes:
        name: hash of its content; equal content has the same name whatever the file times say.
        read: reads it into the tables of the step that it is given; raises `InputError` where it cannot be
            used as a whole.
    """

    name: str
    read: Callable[[Work], Report]


class Looked(BaseModel):
    """What a look at a source led to: as long as the token is the same, so is the delivery."""

    source: str
    token: str
    delivery: str

    def keep(self, store: Store, folder: str) -> None:
        """Remember it beside the generations of a partition; it only saves reading."""
        if self.token:
            store.put(f"{folder}/{_LOOKED}", self.model_dump_json().encode(), durable=False)

    @classmethod
    def kept(cls, store: Store, folder: str) -> "Looked | None":
        """What was remembered; None for nothing, or nothing that can be read."""
        try:
            return cls.model_validate_json(store.get(f"{folder}/{_LOOKED}"))
        except (NotFoundError, ValueError):
            return None


_LOOKED = "looked.json"


class Source(Protocol):
    """Something that holds the records of a domain's partitions."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in the names of sensors."""
        ...

    @property
    def authoritative(self) -> bool:
        """Whether a partition it no longer offers was deleted; people merely tidy up an inbox."""
        ...

    def offers(self) -> Offer:
        """List its partitions; raises `SheafError` when that cannot be known."""
        ...

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """Look at partitions one after another, in this order; the caller may stop at any time."""
        ...

    def deliver(self, store: Store, partition: str, folder: Path) -> "AbstractContextManager[Delivery]":
        """What the source has of one partition, to be read inside the block.

        Args:
            store: for what earlier deliveries left there.
            folder: an empty local folder, for what has to be fetched.

        Raises:
            NotFoundError: the source has no such partition.
            InputError: what it holds cannot be used, not even named.
            SourceError: it cannot be asked.
        """
        ...

    def check(self) -> str:
        """Try the connection; returns what was found, raises `SheafError` with what to fix."""
        ...


class Tombstone(BaseModel):
    """What remains of a partition that its source has deleted; its tables and exports stay."""

    source: str
    noticed_at: datetime


def meant(sources: Sequence[Source], name: str) -> str:
    """The partition that a name means: one that is called so otherwise at the first source that knows it, else itself.

    A source that cannot be asked is passed over: its run says so.
    """
    other: str | None = None
    for source in sources:
        try:
            offer = source.offers()
        except SheafError:
            continue
        if name in offer.partitions:
            return name
        other = other or offer.other_names.get(name)
    return other or name


@dataclass(frozen=True)
class Sources:
    """The sources of every domain; where two offer the same partition it belongs to the first."""

    by_domain: Mapping[str, tuple[Source, ...]]

    def of(self, domain: str) -> tuple[Source, ...]:
        """All sources of a domain, the inbox first."""
        return self.by_domain[domain]

    def named(self, domain: str, name: str) -> Source:
        """One source of a domain.

        Raises:
            UsageError: none is called so.
        """
        for source in self.of(domain):
            if source.name == name:
                return source
        raise UsageError(f"{domain} has no source {name!r}: there are {', '.join(s.name for s in self.of(domain))}.")

    def hidden(self, domain: str, name: str) -> set[str]:
        """Partitions that belong to a source before the named one."""
        found: set[str] = set()
        for source in self.of(domain):
            if source.name == name:
                break
            try:
                found.update(source.offers().partitions)
            except SheafError:  # its own tick says so
                continue
        return found

    def known(self, domain: str, store: Store, folder: str, partition: str) -> str | None:
        """The name of the delivery that waits, where a look tells that it is the last one; None where it does not.

        Args:
            folder: where the generations of the partition lie.
        """
        looked = Looked.kept(store, folder)
        if looked is None:
            return None
        for source in self.of(domain):
            state = _state(source, partition)
            if state and state.token:  # the partition belongs to the first that has it
                same = state.sure and (source.name, state.token) == (looked.source, looked.token)
                return looked.delivery if same else None
            if source.name == looked.source:
                return None
        return None

    @contextmanager
    def deliver(
        self, domain: str, store: Store, partition: str, folder: Path, owner: str | None = None
    ) -> Iterator[tuple[str, Looked, Delivery]]:
        """What waits for one partition at the source it belongs to, and that source's name.

        A source that cannot be asked is passed over where a later one has the partition, unless it is its own.

        Args:
            owner: the source from which the partition was read the last time; None where it never was.

        Raises:
            NotFoundError: no source has it.
            SourceError: the source cannot be asked.
        """
        reasons = []
        outage: SourceError | None = None
        for source in self.of(domain):
            state = _state(source, partition)  # before it is read: what changes meanwhile is seen the next time
            with ExitStack() as stack:
                try:
                    delivery = stack.enter_context(source.deliver(store, partition, folder))
                except NotFoundError as error:
                    reasons.append(str(error))
                    continue
                except SourceError as error:
                    if source.name == owner:
                        raise
                    outage = outage or error
                    continue
                except InputError as error:
                    delivery = _unusable(error)
                looked = Looked(source=source.name, token=state.token if state else "", delivery=delivery.name)
                yield source.name, looked, delivery
            store.delete([_tombstone(domain, partition)])
            return
        raise outage or NotFoundError(" ".join(reasons))


def _unusable(error: InputError) -> Delivery:
    """A delivery that is there but cannot even be named: it is refused like one that cannot be read."""

    def read(_: Work) -> Report:
        raise error

    return Delivery(hashlib.sha256(str(error).encode()).hexdigest()[:32], read)


def _state(source: Source, partition: str) -> State | None:
    """How one partition looks at a source; None where that cannot be said."""
    try:
        with closing(source.states([partition])) as states:
            return next(states, None)
    except SheafError:
        return None


def bury(store: Store, domain: str, partition: str, source: str) -> bool:
    """Note that a source has deleted a partition; False when that was noted before."""
    stone = Tombstone(source=source, noticed_at=clock.now())
    if not documents.create(store, _tombstone(domain, partition), stone.model_dump_json().encode()):
        return False
    activity.log(store, "deleted at its source", f"{domain}/{partition}", source, "Its tables and exports stay.")
    return True


def tombstones(store: Store, domain: str) -> dict[str, Tombstone]:
    """The partitions whose source has deleted them; of a damaged one nothing is known, it is passed over."""
    folder = f"tombstones/{domain}"
    found = {item.path: documents.read_if_whole(Tombstone, store, item.path) for item in store.list(folder)}
    return {path[len(folder) + 1 : -len(".json")]: stone for path, stone in found.items() if stone}


def _tombstone(domain: str, partition: str) -> str:
    return f"tombstones/{domain}/{partition}.json"
