"""Which partitions there are and how they stand: their facts, and what was published of them last.

Not here: what a source offers that was never read (`sheaf/sources.py`), nor the history of exports.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from sheaf.coherence import last_good
from sheaf.errors import NotFoundError, SheafError, UsageError
from sheaf.exports.records import read_latest
from sheaf.names import CAMPAIGN, PARTITION_KEY, SeriesId, did_you_mean
from sheaf.steps import Domain
from sheaf.store import documents
from sheaf.store.store import Store
from sheaf.tables import generations


class Listed(BaseModel):
    """One partition as a list shows it.

    Attributes:
        facts: what the domain tells of it; `id` is how it is called where it comes from.
        refused: why its newest delivery was not used.
        read_at: when the newest delivery was read.
        latest: the version that `latest` names, by series.
    """

    domain: str
    partition: str
    facts: dict[str, Any] = {}
    refused: str | None = None
    read_at: datetime | None = None
    latest: dict[str, int] = {}


def names(store: Store, domain: Domain) -> list[str]:
    """The partitions of a domain that were ever read, sorted."""
    return generations.partitions(store, domain.name, domain.reading.name, domain.kind)


def listed(store: Store, domain: Domain) -> Iterator[Listed]:
    """All partitions of a domain, several at once, sorted by name."""
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        yield from pool.map(lambda partition: look_at(store, domain, partition), names(store, domain))


def look_at(store: Store, domain: Domain, partition: str) -> Listed:
    """One partition; one whose tables are damaged is listed without its facts."""
    newest = generations.newest(store, domain.place(domain.reading, partition))
    return Listed(
        domain=domain.name,
        partition=partition,
        facts=facts(store, domain, partition),
        refused=newest.refused if newest else None,
        read_at=newest.made_at if newest else None,
        latest=latest(store, domain, partition),
    )


def latest(store: Store, domain: Domain, partition: str) -> dict[str, int]:
    """The version that `latest` names, by series; series without a canonical export are not there."""
    found = {}
    for name in store.folders(f"exports/{domain.name}/{partition}"):
        if PARTITION_KEY.fullmatch(name) and (pointed := read_latest(store, SeriesId(domain.name, partition, name))):
            found[name] = pointed.version
    return found


def facts(store: Store, domain: Domain, partition: str) -> dict[str, Any]:
    """What the domain tells of a partition; nothing where it was never read."""
    if domain.choices is None:
        return {}
    tables = last_good(store, domain, partition, domain.choices.tables)
    if domain.reading.name not in tables.generations:
        return {}
    try:
        return domain.choices.facts(tables)
    except SheafError:  # a step behind the first was never made, or a table is damaged: `sheaf why` says so
        return {}


def find(store: Store, domain: Domain, name: str) -> str:
    """The partition that a name means: its own name, its id where it comes from, or what people call it there.

    Raises:
        NotFoundError: there is none; the sentence names what is alike.
        UsageError: several are called so.
    """
    known = names(store, domain)
    if name in known or name == CAMPAIGN:
        return name
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        told = dict(zip(known, pool.map(lambda one: facts(store, domain, one), known), strict=True))
    same = [partition for partition, its in told.items() if name in (its.get("id"), its.get("called"))]
    if len(same) > 1:
        raise UsageError(f"{domain.name} has several partitions that are {name!r}: {', '.join(same)}. Name one.")
    if same:
        return same[0]
    raise NotFoundError(
        f"{domain.name} {name!r} was never read.{did_you_mean(name, known)} "
        f"`sheaf list {domain.name}` shows what was; what waits in a source is read by "
        f"`sheaf run {domain.name} {name}`."
    )
