"""Deleting the versions that no rule keeps, as `sheaf delete` does.

What `latest` names, what has a tag, and what was replaced so lately that somebody may still be reading it, stays
whatever the rules say. Not here: the rules (`sheaf/retention.py`), nor the tables that exports are made from (`kept`),
which go after them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sheaf import clock
from sheaf.errors import DamagedError, NotFoundError, UsageError
from sheaf.exports import catalogue, outcome
from sheaf.exports.history import contents
from sheaf.exports.latest import newest_canonical
from sheaf.exports.pins import read_pins
from sheaf.exports.records import Record, Status, all_series, read_latest, records
from sheaf.names import ExportId, SeriesId
from sheaf.retention import RetentionSettings, Rules, keep
from sheaf.steps import Domain
from sheaf.store import documents
from sheaf.store.store import Store

WHO = "retention"
"""Who deletes what no rule keeps, where no person asked for it."""


@dataclass(frozen=True)
class PrunedExport:
    """A version that no rule keeps; `size` in bytes."""

    domain: str
    partition: str
    series: str
    version: int
    size: int

    @property
    def id(self) -> ExportId:
        """How the export is called."""
        return ExportId(SeriesId(self.domain, self.partition, self.series), self.version)


def prune_exports(
    store: Store, domains: Iterable[Domain], rules: RetentionSettings, who: str = WHO, *, dry_run: bool = False
) -> list[PrunedExport]:
    """Delete the versions that no rule keeps; without rules there are none.

    A series whose tags or pointer cannot be read stays as it is, and that is said.

    Args:
        who: deletes them, as their records will say.
        dry_run: only say which.
    """
    found = []
    with catalogue.noting(store) as note:
        for domain in domains:
            for series in all_series(store, domain.name) if rules.is_set else ():
                own = rules.of(domain.name, series.series)
                try:
                    gone = _not_kept(store, series, own, rules.grace_days) if own.let_go else []
                except DamagedError as error:  # nobody knows what has to stay
                    documents.passed_over(error)
                    continue
                for one in gone:
                    if not dry_run:
                        if not _delete(store, one.id, who):
                            continue
                        note(one.id)
                    found.append(PrunedExport(one.domain, one.partition, one.series, one.version, one.size or 0))
    return found


def _not_kept(store: Store, series: SeriesId, rules: Rules, grace_days: float) -> list[Record]:
    """What goes of one series, oldest first."""
    complete = [record for record in records(store, series) if record.status is Status.COMPLETED]
    named = {pin.version for pin in read_pins(store, series).values()}
    if latest := read_latest(store, series):
        named.add(latest.version)
    if newest := newest_canonical(store, series):
        named.add(newest.version)
    now = clock.now()
    for canonical in (True, False):  # what people asked for never pushes out what is made every night
        own = [record for record in complete if record.canonical is canonical]
        readable = [(record.version, record.finished_at or record.created_at) for record in own]
        named |= keep(readable, rules, grace_days, now)
    gone = [record for record in complete if record.version not in named]
    return list(contents(store, gone))[::-1]


def _delete(store: Store, export: ExportId, who: str) -> bool:
    """Delete one version, unless something needs it since; returns whether it was."""
    if newest_canonical(store, export.series) == export:  # those after it were deleted meanwhile
        return False
    try:
        outcome.delete(store, export, who)
    except (UsageError, NotFoundError):  # pinned, or deleted by somebody else
        return False
    return True
