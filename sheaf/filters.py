"""Saved filters: a name for a filter that is asked for again and again.

A saved filter belongs to a partition. An export made with it keeps the expanded filter, so
that later changes of the saved one never rewrite history.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from sheaf import activity, clock
from sheaf.errors import NotFoundError, UsageError
from sheaf.names import check_partition
from sheaf.store import Store


class SavedFilter(BaseModel):
    """A filter under a name."""

    domain: str
    partition: str
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
    if not store.create(_path(saved.domain, saved.partition, saved.name), _json(saved)):
        raise UsageError(f"There is a filter {saved.name!r} already: use `sheaf filters update` to change it.")
    activity.log(store, "filter saved", _subject(saved), saved.saved_by)


def update(store: Store, saved: SavedFilter) -> None:
    """Replace a filter.

    Raises:
        NotFoundError: there is none of that name.
    """
    load(store, saved.domain, saved.partition, saved.name)
    store.put(_path(saved.domain, saved.partition, saved.name), _json(saved))
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


def load(store: Store, domain: str, partition: str, name: str) -> SavedFilter:
    """One filter.

    Raises:
        NotFoundError: naming those there are.
    """
    try:
        return SavedFilter.model_validate_json(store.get(_path(domain, partition, name)))
    except NotFoundError as error:
        known = ", ".join(saved.name for saved in listing(store, domain, partition)) or "none"
        raise NotFoundError(f"{domain}/{partition} has no saved filter {name!r}: there are {known}.") from error


def listing(store: Store, domain: str | None = None, partition: str | None = None) -> list[SavedFilter]:
    """All saved filters that fit, by domain, partition and name."""
    paths = sorted(item.path for item in store.list("filters"))
    found = [SavedFilter.model_validate_json(store.get(path)) for path in paths]
    return [saved for saved in found if domain in (None, saved.domain) and partition in (None, saved.partition)]


def _path(domain: str, partition: str, name: str) -> str:
    return f"filters/{check_partition(domain)}/{check_partition(partition)}/{check_partition(name)}.json"


def _subject(saved: SavedFilter) -> str:
    return f"{saved.domain}/{saved.partition}/{saved.name}"


def _json(saved: SavedFilter) -> bytes:
    return saved.model_dump_json(indent=2).encode() + b"\n"
