"""Which generations exports are made from: those stay as long as the export does."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sheaf.errors import DamagedError, NotFoundError
from sheaf.exports.records import all_series, read_manifest, versions
from sheaf.names import ExportId
from sheaf.steps import Domain
from sheaf.store import documents
from sheaf.store.lease import lease
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Place


@dataclass(frozen=True)
class Pruned:
    """Generations of one step and partition that nothing needs; `size` in bytes of the tables that go with them."""

    domain: str
    partition: str
    step: str
    generations: list[int]
    size: int = 0


YOUNG = timedelta(days=1)
"""What was replaced so lately may still be read by an export that is being made."""


def prune_tables(
    store: Store,
    domains: Iterable[Domain],
    *,
    young: timedelta = YOUNG,
    without: Collection[ExportId] = (),
    dry_run: bool = False,
) -> list[Pruned]:
    """Remove generations that are not the newest ones and that no completed export was made from.

    Nothing of a domain is removed while a manifest there is damaged.

    Args:
        young: what was replaced no longer ago than this stays.
        without: exports that would be gone by then, for a dry run.
        dry_run: only say which.
    """
    found = []
    for domain in domains:
        try:
            kept = _kept(store, domain.name, without)
        except DamagedError as error:  # nobody knows what that export needs
            documents.passed_over(error)
            continue
        for step in domain.steps:
            for partition in generations.partitions(store, domain.name, step.name, domain.kind):
                keep = sorted(kept.get((partition, step.name), set()))
                gone, size = _prune(store, domain.place(step, partition), keep, young, dry_run)
                if gone:
                    found.append(Pruned(domain.name, partition, step.name, gone, size))
    return found


def _prune(store: Store, place: Place, keep: Sequence[int], young: timedelta, dry_run: bool) -> tuple[list[int], int]:
    """The numbers that go, and bytes; while they do, nobody may commit a generation that names a table of theirs."""
    found = generations.prune(store, place, keep, young=young, dry_run=True)
    if dry_run or not found[0]:
        return found
    with lease(store, f"{place.domain}/{place.partition}", "prune"):
        return generations.prune(store, place, keep, young=young)


def _kept(store: Store, domain: str, without: Collection[ExportId]) -> dict[tuple[str, str], set[int]]:
    """The numbers that exports name, by partition and step.

    Raises:
        DamagedError: what one of them names cannot be known.
    """
    kept: dict[tuple[str, str], set[int]] = {}
    for series in all_series(store, domain):
        for number in versions(store, series):
            if ExportId(series, number) in without:
                continue
            try:
                manifest = read_manifest(store, ExportId(series, number))
            except NotFoundError:
                continue
            for origin in manifest.made_from:
                for step, generation in origin.generations.items():
                    kept.setdefault((origin.partition, step), set()).add(generation)
    return kept
