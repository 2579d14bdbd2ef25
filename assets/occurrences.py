"""Occurrences: a project's records, its occurrences with all that hangs on them, and their exports."""

from collections.abc import Iterator

import dagster as dg

from assets.exports import export_assets
from assets.partitions import OCCURRENCE_PROJECTS
from assets.reading import READABLE, read_each
from assets.steps import (
    StepEvent,
    run_each,
    table_outcome,
    unless_refused,
)
from assets.tables import table_asset
from resources.store import StoreResource
from sheaf.exports.series import Domain
from sheaf.occurrences import schema, source_tables
from sheaf.occurrences.build import build_occurrences
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.settings import Settings
from sheaf.sources import Sources

RECORDS = dg.AssetKey(["occurrences", "records"])
OCCURRENCES = dg.AssetKey(["occurrences", "occurrences"])

IN_ONE_RUN = 10
"""Partitions of a backfill that share a run: they can be large."""


@table_asset(
    RECORDS,
    OCCURRENCE_PROJECTS,
    source_tables.SOURCES[0].table,
    checks=READABLE,
    kinds=("parquet", "duckdb"),
    pool="ingest",
    in_one_run=IN_ONE_RUN,
)
def records(
    context: dg.AssetExecutionContext,
    sources: dg.ResourceParam[Sources],
    store: StoreResource,
) -> Iterator[StepEvent]:
    """A project's tables as its source has them: typed, checked, with what could not be used in `rejects`."""
    yield from read_each(context, sources, store, "occurrences", schema.REJECTS)


@table_asset(
    OCCURRENCES,
    OCCURRENCE_PROJECTS,
    schema.OCCURRENCES_TABLE,
    deps=[RECORDS],
    kinds=("parquet", "duckdb"),
    in_one_run=IN_ONE_RUN,
)
def occurrences_tables(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    occurrences: dg.ResourceParam[OccurrencesSettings],
) -> Iterator[StepEvent]:
    """Occurrences with best detection, prediction and identification, their events, stations and taxa."""
    opened = store.open()

    def work(project: str):
        return table_outcome(
            unless_refused(opened, schema.REJECTS, project, lambda: build_occurrences(opened, project, occurrences))
        )

    yield from run_each(context, context.partition_keys, work)


def occurrences_assets(domain: Domain, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the domain, in the order data flows."""
    written_by = {table.name: OCCURRENCES for table in schema.DERIVED}
    return [records, occurrences_tables, *export_assets(domain, OCCURRENCE_PROJECTS, written_by, settings, IN_ONE_RUN)]
