"""Reading the partitions of a run from their source: the first step of every domain."""

from collections.abc import Callable, Iterator, Mapping

import dagster as dg

from assets.steps import Check, StepEvent, not_checked, run_each, table_outcome
from resources.store import StoreResource
from sheaf import tables
from sheaf.errors import InputError
from sheaf.report import Report
from sheaf.sources import Sources
from sheaf.store import Store

READABLE = {
    "readable": "The input could be read as a whole.",
    "rejects": "At most one row in twenty was rejected.",
}
"""The checks that every domain makes of what it reads."""

Further = Callable[[Store, str, Report], Check]
"""A check of one partition that was read, from the store, its key, and the report."""


def read_each(
    context: dg.AssetExecutionContext,
    sources: Sources,
    store: StoreResource,
    domain: str,
    rejects: tables.Table,
    further: Mapping[str, Further] | None = None,
) -> Iterator[StepEvent]:
    """Read every partition of the run into tables, and check what was read.

    Args:
        domain: whose sources are asked.
        rejects: the domain's table of what could not be used.
        further: checks besides those of `READABLE`, by name.
    """
    opened = store.open()
    own = further or {}

    def work(partition: str):
        report, readable = _ingest_or_refuse(
            opened, rejects, partition, lambda: sources.ingest(domain, opened, partition)
        )
        if not readable.passed:
            return table_outcome(report, [readable, *map(not_checked, ("rejects", *own))])
        found = [check(opened, partition, report) for check in own.values()]
        return table_outcome(report, [readable, _rejects_check(report, rejects), *found])

    yield from run_each(context, context.partition_keys, work)


def _ingest_or_refuse(
    store: Store, rejects: tables.Table, partition: str, ingest: Callable[[], Report]
) -> tuple[Report, Check]:
    """Ingest one partition; an input that cannot be used at all is kept as a refusal.

    A refusal does not raise, so that in a run over many partitions the good ones go on. Its
    tables keep the last good input, its exports fail with the reason.
    """
    try:
        report = ingest()
    except InputError as error:
        report = Report((tables.refuse(store, rejects, partition, str(error)),), rejects={str(error): 1})
    try:
        tables.refuse_if_blocked(store, rejects, partition)
    except InputError as error:
        return report, Check("readable", passed=False, detail=str(error), severity=dg.AssetCheckSeverity.ERROR)
    return report, Check("readable", passed=True)


def _rejects_check(report: Report, rejects: tables.Table, limit: float = 0.05) -> Check:
    """At most one row in twenty may be rejected before somebody should look."""
    rows = sum(table.rows for table in report.tables if table.table != rejects.name)
    rejected = sum(report.rejects.values())
    share = rejected / (rows + rejected) if rejected else 0.0
    return Check("rejects", share <= limit, f"{rejected} of {rows + rejected} rows rejected ({share:.1%})")
