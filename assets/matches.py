"""Matches: events from timer and sensor logs, the runs they tell of, and what is published from them."""

from collections.abc import Iterator

import dagster as dg

from assets.exports import export_assets
from assets.partitions import MATCHES
from assets.reading import READABLE, read_each
from assets.steps import (
    Check,
    StepEvent,
    not_checked,
    run_each,
    table_outcome,
    unless_refused,
)
from assets.tables import table_asset
from resources.store import StoreResource
from sheaf.exports.series import Domain
from sheaf.matches import schema
from sheaf.matches.analysis import build_runs
from sheaf.matches.shots import build_shots
from sheaf.report import Report
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store import Store

EVENTS = dg.AssetKey(["matches", "events"])
RUNS = dg.AssetKey(["matches", "runs"])
SHOTS = dg.AssetKey(["matches", "shots"])

IN_ONE_RUN = 10
"""Partitions of a backfill that share a run: they can be large."""

MOST_UNCORRELATED = 0.5
"""Share of shots without an impact from which somebody should look at the sensors."""


@table_asset(
    EVENTS,
    MATCHES,
    schema.EVENTS,
    checks=READABLE | {"open": "No log ends in the middle of a line, as one still being written does."},
    kinds=("parquet", "duckdb"),
    pool="ingest",
    in_one_run=IN_ONE_RUN,
)
def events(
    context: dg.AssetExecutionContext,
    sources: dg.ResourceParam[Sources],
    store: StoreResource,
) -> Iterator[StepEvent]:
    """Events of all logs and databases of a match in UTC, each once, with the file and line it came from."""
    yield from read_each(context, sources, store, "matches", schema.REJECTS, {"open": _open_check})


def _open_check(_store: Store, _match: str, report: Report) -> Check:
    pending = int(report.counts.get("pending", 0))
    return Check("open", not pending, f"{pending} last lines are not finished yet" if pending else "")


@table_asset(
    RUNS,
    MATCHES,
    schema.RUNS,
    deps=[EVENTS],
    checks={
        "count_mismatch": "Timer summaries agree with the shots that were seen.",
        "uncorrelated": "Most shots have an impact.",
    },
    in_one_run=IN_ONE_RUN,
)
def runs(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[StepEvent]:
    """Runs with their counts, impacts correlated with shots one to one, and the delay of each sensor."""
    opened = store.open()

    def work(match: str):
        report = unless_refused(opened, schema.REJECTS, match, lambda: build_runs(opened, match))
        if not report.tables:
            return table_outcome(report, [not_checked("count_mismatch"), not_checked("uncorrelated")])
        mismatches = int(report.counts["count_mismatches"])
        shots, correlated = int(report.counts["shots"]), int(report.counts["correlated"])
        share = 1 - correlated / shots if shots and report.counts["impacts"] else 0.0
        return table_outcome(
            report,
            [
                Check("count_mismatch", not mismatches, f"{mismatches} runs differ from their summary"),
                Check("uncorrelated", share <= MOST_UNCORRELATED, f"{share:.0%} of {shots} shots without an impact"),
            ],
        )

    yield from run_each(context, context.partition_keys, work)


@table_asset(SHOTS, MATCHES, schema.SHOTS, deps=[EVENTS, RUNS], kinds=("parquet", "duckdb"), in_one_run=IN_ONE_RUN)
def shots(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[StepEvent]:
    """Shots and impacts, a row for each: time, split, and what was hit; with split chart and sensor delays."""
    opened = store.open()

    def work(match: str):
        return table_outcome(unless_refused(opened, schema.REJECTS, match, lambda: build_shots(opened, match)))

    yield from run_each(context, context.partition_keys, work)


def matches_assets(domain: Domain, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the domain, in the order data flows."""
    read = (schema.EVENTS, schema.SOURCES, schema.MATCH, schema.REJECTS)
    made = (schema.TOTALS, schema.RUNS, schema.SENSORS, schema.EVENT_RUNS)
    written_by = {table.name: EVENTS for table in read} | {table.name: RUNS for table in made}
    return [events, runs, shots, *export_assets(domain, MATCHES, written_by, settings, IN_ONE_RUN)]
