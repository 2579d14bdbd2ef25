"""Setting aside what is damaged: it moves below `quarantine/`, under the path it had, and nothing is thrown away.

Here: only the moving. Not here: what is damaged, and what takes its place (`exports/repair`,
`tables/repair`, `damage`).
"""

from dataclasses import dataclass

from sheaf.errors import NotFoundError
from sheaf.store.store import Store

FOLDER = "quarantine"


@dataclass(frozen=True)
class Damage:
    """One object that was found damaged; `detail` says what became of it and what to do."""

    path: str
    detail: str


def keep(store: Store, path: str, data: bytes) -> str:
    """Keep the bytes of a damaged document; returns where. The same bytes of the same path are kept once."""
    number, target = 1, f"{FOLDER}/{path}"
    while not store.create(target, data) and store.get(target) != data:
        number += 1
        target = f"{FOLDER}/{path}.{number}"
    return target


def replace(store: Store, path: str, data: bytes, instead: bytes) -> str | None:
    """Set a damaged document aside and put another in its place, so that its name is never free.

    Returns:
        Where it is now; None when somebody else has replaced it meanwhile.
    """
    target = keep(store, path, data)
    if store.swap(path, data, instead):
        return target
    store.delete([target])
    return None


def remove(store: Store, path: str) -> str | None:
    """Set an object aside, of whatever size; returns where it is now, None when it is gone already."""
    number, target = 1, f"{FOLDER}/{path}"
    while store.size(target) is not None:
        number += 1
        target = f"{FOLDER}/{path}.{number}"
    try:
        store.move(path, target)
    except NotFoundError:
        return None
    return target
