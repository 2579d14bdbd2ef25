"""Damaged generations: a commit that cannot be read is set aside and its number stays taken; so is a table.

Here: one step and partition. Not here: making the tables anew (`sheaf/running.py`), which the step does
as soon as it is run.
"""

from collections.abc import Iterator, Sequence

from sheaf import clock
from sheaf.store import documents, quarantine
from sheaf.store.quarantine import Damage
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Generation, MadeWith, Place

_NOBODY_S_CODE = 0
"""No step has this version, so that what is put in the place of a commit is never called unchanged."""


def places(store: Store, domain: str, step: str, kind: str) -> list[Place]:
    """Where the generations of a step lie."""
    return [Place(domain, step, kind, key) for key in generations.partitions(store, domain, step, kind)]


def repair(store: Store, place: Place) -> list[Damage]:
    """Set aside the commits that cannot be read, and the tables that nobody names without them."""
    taken = generations.numbers(store, place)
    damaged = dict(_damaged(store, place, taken))
    if not damaged:
        return []
    for path in generations.unnamed(store, place, taken, list(generations.history(store, place))):
        quarantine.remove(store, path)
    done = []
    run = f"`sheaf run {place.domain} {place.partition}` makes the tables anew"
    for number, data in damaged.items():
        path = place.commit_path(number)
        instead = Generation(
            domain=place.domain,
            step=place.step,
            partition=place.partition,
            number=number,
            made_at=clock.now(),
            made_with=MadeWith(code=_NOBODY_S_CODE),
            refused=f"Generation {number} of {place.step} was damaged and is in quarantine: {run}.",
        )
        aside = quarantine.replace(store, path, data, instead.model_dump_json(indent=1).encode())
        if aside:
            done.append(Damage(path, f"It was damaged and is kept as {aside}; {run}."))
    return done


def _damaged(store: Store, place: Place, taken: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    for number in taken:
        data = documents.if_damaged(Generation, store, place.commit_path(number))
        if data is not None:
            yield number, data


def confirm_current(store: Store, place: Place, *, deep: bool = False) -> list[Damage]:
    """See whether the tables that are used now are there as they were committed; sets aside those that differ.

    Args:
        deep: read them, too; else their sizes have to be right.
    """
    current = generations.current(store, place)
    damages = []
    for file in current.parts if current else ():
        size = store.size(file.path)
        if size is None:
            why = "It is gone"
        elif size != file.size:
            why = f"It has {size} bytes, its commit says {file.size}, and is kept"
        elif deep and store.sha256(file.path) != file.sha256:
            why = "It differs from what was committed (sha256) and is kept"
        else:
            continue
        aside = quarantine.remove(store, file.path) if size is not None else None
        where = f" as {aside}" if aside else ""
        again = f"`sheaf run {place.domain} {place.partition} --again` makes it anew"
        damages.append(Damage(file.path, f"{why}{where}; {again}."))
    return damages
