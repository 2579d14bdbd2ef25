"""Whether the tables of a partition belong together: one delivery, today's settings, today's code.

Here: which steps have to be made again and why, and pinning one coherent set of generations for whoever
reads it. Not here: making them (`sheaf/running.py`).
"""

from __future__ import annotations  # types of tables bring pyarrow, which many commands never need

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from sheaf.errors import NotFoundError, RefusedError, StaleError
from sheaf.steps import Domain, Step
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Generation, MadeWith
from sheaf.tables.pinned import Tables

if TYPE_CHECKING:
    from sheaf.tables.table import Table

_LOOKS = 3
"""How often a set is looked for that others may be making at the same time."""


@dataclass(frozen=True)
class Stale:
    """A step that has to be made again; `why` is a clause such as `vessel_volume_l was 0.9 and is 1.8`."""

    step: Step
    why: str


def pin(
    store: Store,
    domain: Domain,
    partition: str,
    tables: Sequence[Table],
    settings: BaseModel,
    *,
    in_spite_of_refusal: bool = False,
) -> Tables:
    """The tables of a partition that belong together, as they are now.

    Args:
        tables: those that are wanted; what they were made from has to belong together as well.
        settings: the domain's, as they are today.
        in_spite_of_refusal: take the last good tables where the newest delivery was refused.

    Raises:
        NotFoundError: a step that is needed was never made.
        RefusedError: the newest delivery was refused.
        StaleError: a step has to be made again first.
    """
    steps = domain.needed_for(tables)
    for left in reversed(range(_LOOKS)):
        found = _current(store, domain, partition, steps, in_spite_of_refusal=in_spite_of_refusal)
        stale = _stale(domain, partition, steps, found, settings)
        if not stale:
            return Tables(store, partition, {step.name: found[step.name] for step in steps}, tables)
        if not left:
            raise StaleError(sentence(domain, partition, stale[0]))
    raise AssertionError("unreachable")


def last_good(store: Store, domain: Domain, partition: str, tables: Sequence[Table]) -> Tables:
    """The tables of a partition as they are, whether or not they belong together: to look at, not to publish."""
    found = {
        step.name: generation
        for step in domain.needed_for(tables)
        if (generation := generations.current(store, domain.place(step, partition)))
    }
    return Tables(store, partition, found, tables)


def stale_steps(store: Store, domain: Domain, partition: str, settings: BaseModel) -> list[Stale]:
    """The steps of a partition that have to be made again, in the order data flows; all where nothing was made yet."""
    found = {step.name: generations.current(store, domain.place(step, partition)) for step in domain.steps}
    missing = [step for step in domain.steps if found[step.name] is None]
    there = {name: generation for name, generation in found.items() if generation}
    stale = {item.step.name: item for item in _stale(domain, partition, domain.steps, there, settings)}
    stale |= {step.name: Stale(step, "it was never made") for step in missing}
    return [stale[step.name] for step in domain.steps if step.name in stale]


def refusal(store: Store, domain: Domain, partition: str, steps: Sequence[Step] | None = None) -> Generation | None:
    """The newest generation of the first step whose newest input was refused; None where all is well."""
    for step in steps or domain.steps:
        newest = generations.newest(store, domain.place(step, partition))
        if newest and newest.refused is not None:
            return newest
    return None


def sentence(domain: Domain, partition: str, stale: Stale) -> str:
    """What is stale and what to run, for the user."""
    return (
        f"{domain.name} {partition}: {stale.step.name} has to be made again ({stale.why}): "
        f"run `sheaf run {domain.name} {partition}`."
    )


def _current(
    store: Store, domain: Domain, partition: str, steps: Sequence[Step], *, in_spite_of_refusal: bool
) -> dict[str, Generation]:
    found = {}
    for step in steps:
        place = domain.place(step, partition)
        newest = generations.newest(store, place)
        if newest and newest.refused is not None and not in_spite_of_refusal:
            raise RefusedError(f"{partition}: {newest.refused}")
        if newest and newest.refused is not None:
            newest = generations.current(store, place)
        if newest is None:
            raise NotFoundError(
                f"{domain.name} {partition!r} has no {step.name} yet: run `sheaf run {domain.name} {partition}`."
            )
        found[step.name] = newest
    return found


def _stale(
    domain: Domain, partition: str, steps: Sequence[Step], found: Mapping[str, Generation], settings: BaseModel
) -> list[Stale]:
    """Those of some steps that are stale; a step behind a stale one is stale with it."""
    versions = {name: file.sha256 for generation in found.values() for name, file in generation.tables.items()}
    stale: dict[str, Stale] = {}
    for step in steps:
        if step.name not in found:
            continue
        why = _difference(step, found[step.name].made_with, versions, step.settings_values(settings, partition))
        behind = [before.name for before in domain.before(step) if before.name in stale]
        if not why and behind:
            why = f"it follows {behind[0]}, {stale[behind[0]].why}"
        if why:
            stale[step.name] = Stale(step, why)
    return list(stale.values())


def _difference(step: Step, made_with: MadeWith, versions: Mapping[str, str], today: Mapping[str, Any]) -> str:
    """How what a step was made with differs from what it would be made with; empty where it doesn't."""
    if made_with.code != step.version:
        return f"it was made by version {made_with.code} of its code, now {step.version}"
    for name, value in today.items():
        if name not in made_with.settings:
            return f"{name} is {_shown(value)} and was not looked at before"
        if made_with.settings[name] != value:
            return f"{name} was {_shown(made_with.settings[name])} and is {_shown(value)}"
    if gone := made_with.settings.keys() - today.keys():
        return f"{sorted(gone)[0]} is no longer looked at"
    for table in step.reads:
        if made_with.inputs.get(table.name) != versions.get(table.name):
            return f"it was made from an earlier state of {table.name}"
    return ""


def _shown(value: Any) -> str:
    text = "empty" if value in (None, "", [], {}) else str(value)
    return text if len(text) <= 60 else text[:60] + "…"
