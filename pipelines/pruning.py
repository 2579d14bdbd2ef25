"""Removing what is old, in the order in which it stops being needed: exports, logs, tables, working files, runs.

Here: the order, for `sheaf prune` and the weekly run. Not here: which exports stay (`sheaf/retention.py`),
which tables they need (`sheaf/exports/kept.py`), which runs (`old_runs`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from sheaf.errors import UsageError
from sheaf.exports import delta
from sheaf.exports.kept import Pruned, prune_tables
from sheaf.exports.retention import PrunedExport, prune_exports
from sheaf.names import did_you_mean
from sheaf.retention import RetentionSettings
from sheaf.steps import Domain
from sheaf.store import scratch
from sheaf.store.store import Store

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True)
class Removed:
    """What went, or would go.

    Attributes:
        exports: versions that no rule keeps.
        logs: pages of the logs of Delta tables, of versions that nobody can read any more, and their bytes.
        tables: generations that nothing needs.
        scratch: folders and files of processes that are gone, and their bytes.
        runs: runs of Dagster.
        ticks: looks of its sensors and schedules.
    """

    exports: list[PrunedExport] = field(default_factory=list)
    tables: list[Pruned] = field(default_factory=list)
    logs: tuple[int, int] = (0, 0)
    scratch: tuple[int, int] = (0, 0)
    runs: int = 0
    ticks: int = 0

    @property
    def size(self) -> int:
        """Bytes in the store and beside it; Dagster's databases keep theirs for what comes next."""
        return sum(one.size for one in (*self.exports, *self.tables)) + self.logs[1] + self.scratch[1]


def prune(
    store: Store,
    domains: Iterable[Domain],
    rules: RetentionSettings,
    who: str,
    instance: "DagsterInstance | None" = None,
    *,
    dry_run: bool = False,
) -> Removed:
    """Remove what the rules do not keep and nothing needs.

    Args:
        who: deletes the exports, as their records will say.
        instance: whose runs and ticks go, where `rules.runs_days` is set.
        dry_run: only say what would go.

    Raises:
        UsageError: there are rules of a series that does not exist: what it was meant for would not stay, or not go.
    """
    domains = list(domains)
    known = {f"{domain.name}/{series.name}" for domain in domains for series in domain.series}
    for name in sorted(rules.series.keys() - known):
        raise UsageError(f"retention.series: there is no series {name!r}.{did_you_mean(name, known)}")
    exports = prune_exports(store, domains, rules, who, dry_run=dry_run)
    gone = {one.id for one in exports}
    young = timedelta(days=rules.grace_days)
    pages = [page for domain in domains for page in delta.prune_logs(store, domain.name, young, dry_run=dry_run)]
    tables = prune_tables(store, domains, young=young, without=gone, dry_run=dry_run)
    left = scratch.left_behind(store)
    sizes = sum(map(scratch.size_of, left))
    if not dry_run:
        scratch.sweep(store)
    runs = ticks = 0
    if instance is not None and rules.runs_days is not None:
        from pipelines.old_runs import prune_history

        runs, ticks = prune_history(instance, rules.runs_days, dry_run=dry_run)
    logs = len(pages), sum(page.size for page in pages)
    return Removed(exports, tables, logs, (len(left), sizes), runs, ticks)
