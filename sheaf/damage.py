"""What a whole store holds that is damaged, kind by kind, and setting it aside.

Here: going over everything, and the documents that need no more than being out of the way. Not here:
those whose name has to stay taken (`exports/repair`, `tables/repair`).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel

from sheaf.activity import Activity
from sheaf.errors import SheafError
from sheaf.exports import repair as exports
from sheaf.exports.records import all_series
from sheaf.exports.saved_filters import SavedFilter
from sheaf.matches.offload.execute import Journal
from sheaf.media.batch_record import BatchRecord, FinishedItem
from sheaf.media.readers.content import Located
from sheaf.sources import Looked, Tombstone
from sheaf.steps import Domain
from sheaf.store import documents, quarantine
from sheaf.store.lease import FREE, Holder
from sheaf.store.quarantine import Damage
from sheaf.store.store import Store
from sheaf.tables import repair as tables
from sheaf.telling import Progress


@dataclass(frozen=True)
class _Plain:
    """Documents that may be missing: below which folder, of which names, and what follows when one is."""

    folder: str
    names: str
    model: type[BaseModel]
    then: str


_PLAIN = (
    _Plain("filters", r"[^/]+/[^/]+/[^/]+\.json", SavedFilter, "save that filter again with `sheaf filters save`"),
    _Plain("activity", r".+\.json", Activity, "that event is not listed any more"),
    _Plain("webhooks", r"[^/]+\.json", Progress, "that address is told of what happens from now on"),
    _Plain("letters", r"[^/]+\.json", Progress, "that reader is told of what happens from now on"),
    _Plain("tombstones", r"[^/]+/[^/]+\.json", Tombstone, "its source tells again what it has deleted"),
    _Plain("tables", r".+/looked\.json", Looked, "its source is read once more"),
    _Plain("leases", r".+\.json", Holder, "nobody has that lease"),
    _Plain("batches/media", r"[^/]+/record\.json", BatchRecord, "`sheaf run media` writes it anew"),
    _Plain("batches/media", r"[^/]+/files\.json", Located, "the files of the batch are looked for anew"),
    _Plain("batches/media", r"[^/]+/items/[^/]+\.json", FinishedItem, "that pair is analysed again"),
    _Plain("offload", r"[^/]+/[^/]+\.json", Journal, "its archive stays, what is still there is archived again"),
)


def examine(store: Store, domains: Iterable[Domain], *, deep: bool = False) -> Iterator[Damage]:
    """Go over the store and set aside what is damaged; what fails is told like damage, and the rest goes on.

    Args:
        deep: read every byte of exports and tables; else their documents, and the sizes of what is used now.
    """
    for series in all_series(store):
        yield from _each(series.path, lambda series=series: exports.repair_series(store, series))
        yield from _each(series.path, lambda series=series: exports.confirm_series(store, series, deep=deep))
    for domain in domains:
        for step in domain.steps:
            for place in tables.places(store, domain.name, step.name, domain.kind):
                yield from _each(place.folder, lambda place=place: tables.repair(store, place))
                yield from _each(place.folder, lambda place=place: tables.confirm_current(store, place, deep=deep))
    for kind in _PLAIN:
        yield from _each(kind.folder, lambda kind=kind: _remove(store, kind))


def _each(where: str, look: Callable[[], Iterable[Damage]]) -> list[Damage]:
    try:
        return list(look())
    except SheafError as error:
        return [Damage(where, str(error))]
    except Exception as error:  # whatever it is, the rest is looked at
        return [Damage(where, f"{type(error).__name__}: {error}")]


def _remove(store: Store, kind: _Plain) -> list[Damage]:
    below = len(kind.folder) + 1
    paths = [item.path for item in store.list(kind.folder) if re.fullmatch(kind.names, item.path[below:])]
    may_be = (FREE,) if kind.model is Holder else ()
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        found = pool.map(lambda path: documents.if_damaged(kind.model, store, path, *may_be), sorted(paths))
        damaged = [path for path, data in zip(sorted(paths), found, strict=True) if data is not None]
    done = [(path, quarantine.remove(store, path)) for path in damaged]
    return [Damage(path, f"It was damaged and is kept as {aside}; {kind.then}.") for path, aside in done if aside]
