"""Saved filters: a name for a filter that is asked for again and again.

A saved filter belongs to a partition, or to a domain and then to all its partitions. An export made with it
keeps the expanded filter, so that later changes of the saved one never rewrite history.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from sheaf import activity, clock
from sheaf.errors import NotFoundError, UsageError
from sheaf.names import PARTITION_KEY, check_partition, did_you_mean
from sheaf.store import documents
from sheaf.store.store import Store

_SHARED = "_shared"
"""In the place of a partition; no partition can be called so."""
_LONGEST = 100


class SavedFilter(BaseModel):
    """A filter under a name; without a partition it is for all of the domain."""

    domain: str
    partition: str | None
    name: str
    filter: dict[str, Any]
    description: str = ""
    saved_by: str
    saved_at: datetime


def save(store: Store, saved: SavedFilter) -> None:
    """Keep a new filter.

    Raises:
        UsageError: there is one of that name already.
    """
    if not documents.create(store, _path(saved.domain, saved.partition, saved.name), _json(saved)):
        raise UsageError(f"There is a filter {saved.name!r} already: use `sheaf filters update` to change it.")
    activity.log(store, "filter saved", _subject(saved), saved.saved_by)


def update(store: Store, saved: SavedFilter) -> None:
    """Replace a filter.

    Raises:
        NotFoundError: there is none of that name.
    """
    path = _path(saved.domain, saved.partition, saved.name)
    if store.size(path) is None:
        raise _unknown(store, saved.domain, saved.partition, saved.name)
    store.put(path, _json(saved))
    activity.log(store, "filter updated", _subject(saved), saved.saved_by)


def rename(store: Store, saved: SavedFilter, name: str, who: str) -> None:
    """Give a filter another name.

    Raises:
        UsageError: the new name is taken.
    """
    save(store, saved.model_copy(update={"name": name, "saved_by": who, "saved_at": clock.now()}))
    delete(store, saved, who)


def delete(store: Store, saved: SavedFilter, who: str) -> None:
    """Forget a filter; exports made with it are not touched."""
    store.delete([_path(saved.domain, saved.partition, saved.name)])
    activity.log(store, "filter deleted", _subject(saved), who)


def load(store: Store, domain: str, partition: str | None, name: str) -> SavedFilter:
    """One filter: the partition's own or, where it has none of that name, the domain's.

    Raises:
        NotFoundError: naming those there are.
        DamagedError: it cannot be read.
    """
    for owner in dict.fromkeys((partition, None)):
        try:
            return documents.read(SavedFilter, store, _path(domain, owner, name))
        except NotFoundError:
            continue
    raise _unknown(store, domain, partition, name)


def usable(store: Store, domain: str, partition: str | None) -> Iterator[SavedFilter]:
    """The filters that a partition can use: its own, and those of the domain that no own one hides."""
    found = listing(store, domain)
    own = {saved.name for saved in found if saved.partition == partition}
    for saved in found:
        if saved.partition == partition or (saved.partition is None and saved.name not in own):
            yield saved


def listing(store: Store, domain: str | None = None, partition: str | None = None) -> list[SavedFilter]:
    """All saved filters that fit, by domain, partition and name; a damaged one is passed over."""
    found = documents.whole(SavedFilter, store, sorted(item.path for item in store.list("filters")))
    return [saved for saved in found if domain in (None, saved.domain) and partition in (None, saved.partition)]


def _path(domain: str, partition: str | None, name: str) -> str:
    """Where a filter lies; a name that is no file name everywhere is told apart by its hash."""
    folder = check_partition(partition) if partition else _SHARED
    return f"filters/{check_partition(domain)}/{folder}/{_file_name(name)}.json"


def _file_name(name: str) -> str:
    if PARTITION_KEY.fullmatch(name):
        return name
    if not 0 < len(name) <= _LONGEST or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"{name[:40]!r} cannot be the name of a filter: use 1 to {_LONGEST} printable characters, "
            "no space at either end."
        )
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:50] or "filter"
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _unknown(store: Store, domain: str, partition: str | None, name: str) -> NotFoundError:
    names = [saved.name for saved in usable(store, domain, partition)]
    known, whose = ", ".join(names) or "none", f"{domain}/{partition}" if partition else domain
    return NotFoundError(f"{whose} has no saved filter {name!r}: there are {known}.{did_you_mean(name, names)}")


def _subject(saved: SavedFilter) -> str:
    return "/".join(filter(None, (saved.domain, saved.partition, saved.name)))


def _json(saved: SavedFilter) -> bytes:
    return saved.model_dump_json(indent=2).encode() + b"\n"
