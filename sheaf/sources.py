"""Where records come from: what every source can do, and to which source a partition belongs.

Here: the interface, the order of sources, what a system has deleted or could not give. Not here: the
sources themselves (`inbox`, and `<domain>/` for live systems), nor which are configured
(`resources/sources.py`).
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel

from sheaf import activity, clock
from sheaf.errors import NotFoundError, SourceError, UsageError
from sheaf.report import Report
from sheaf.store import Store


@dataclass(frozen=True)
class Offer:
    """What a source has, sorted; `misnamed` would be partitions if their names were valid."""

    partitions: tuple[str, ...]
    misnamed: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """One partition as it is at its source.

    Attributes:
        partition: its key.
        token: differs whenever what the source holds of it differs.
        quiet_s: seconds since it last changed, where somebody may still be writing.
        problem: why it could not be looked at, as a sentence; then there is no token.
        tags: further tags of the run that reads it, such as its priority.
    """

    partition: str
    token: str = ""
    quiet_s: float = math.inf
    problem: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


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

    def ingest(self, store: Store, partition: str) -> Report:
        """Read one partition into tables.

        Raises:
            NotFoundError: the source has no such partition.
            InputError: what it holds cannot be used.
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
            found.update(source.offers().partitions)
        return found

    def ingest(self, domain: str, store: Store, partition: str) -> Report:
        """Read one partition from the source it belongs to.

        Raises:
            NotFoundError: no source has it.
            InputError: what the source holds cannot be used.
            SourceError: the source cannot be asked.
        """
        reasons = []
        for source in self.of(domain):
            try:
                report = source.ingest(store, partition)
            except NotFoundError as error:
                reasons.append(str(error))
                continue
            except SourceError:
                store.put(_unread(domain, partition), b"")
                raise
            store.delete([_tombstone(domain, partition), _unread(domain, partition)])
            return report
        raise NotFoundError(" ".join(reasons))


def bury(store: Store, domain: str, partition: str, source: str) -> bool:
    """Note that a source has deleted a partition; False when that was noted before."""
    stone = Tombstone(source=source, noticed_at=clock.now())
    if not store.create(_tombstone(domain, partition), stone.model_dump_json().encode()):
        return False
    activity.log(store, "deleted at its source", f"{domain}/{partition}", source, "Its tables and exports stay.")
    return True


def tombstones(store: Store, domain: str) -> dict[str, Tombstone]:
    """The partitions whose source has deleted them."""
    folder = f"tombstones/{domain}"
    return {
        item.path[len(folder) + 1 : -len(".json")]: Tombstone.model_validate_json(store.get(item.path))
        for item in store.list(folder)
    }


def unread(store: Store, domain: str) -> dict[str, datetime]:
    """Partitions that could not be read because their source failed, and when that was tried last."""
    folder = _unread(domain, "")
    return {item.path[len(folder) :]: item.modified for item in store.list(folder.rstrip("/"))}


def _unread(domain: str, partition: str) -> str:
    return f"unread/{domain}/{partition}"


def _tombstone(domain: str, partition: str) -> str:
    return f"tombstones/{domain}/{partition}.json"
