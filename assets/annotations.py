"""Annotations: a project's images and labels as tables, what they look like, and the datasets made from them."""

from collections.abc import Iterator

import dagster as dg

from assets.exports import export_assets
from assets.partitions import ANNOTATION_PROJECTS
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
from sheaf.annotations import schema
from sheaf.annotations.overview import describe
from sheaf.exports.series import Domain
from sheaf.settings import Settings
from sheaf.sources import Sources

RECORDS = dg.AssetKey(["annotations", "records"])
OVERVIEW = dg.AssetKey(["annotations", "overview"])

IN_ONE_RUN = 10
"""Partitions of a backfill that share a run: they can be large."""


@table_asset(
    RECORDS,
    ANNOTATION_PROJECTS,
    schema.IMAGES,
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
    """Images, tasks, tags, labels, boxes and masks of a project, cleaned, with every correction counted."""
    yield from read_each(context, sources, store, "annotations", schema.REJECTS)


@table_asset(
    OVERVIEW,
    ANNOTATION_PROJECTS,
    None,
    deps=[RECORDS],
    checks={"splits_disjoint": "No image, and no copy of one, is in two splits."},
    kinds=("png",),
    in_one_run=IN_ONE_RUN,
)
def overview(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[StepEvent]:
    """Class balance, split statistics and a contact sheet of annotated images."""
    opened = store.open()

    def work(project: str):
        report = unless_refused(opened, schema.REJECTS, project, lambda: describe(opened, project))
        if not report.counts:
            return table_outcome(report, [not_checked("splits_disjoint")])
        return table_outcome(report, [Check("splits_disjoint", not report.warnings, " ".join(report.warnings))])

    yield from run_each(context, context.partition_keys, work)


def annotations_assets(domain: Domain, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the domain, in the order data flows."""
    written_by = {table.name: RECORDS for table in schema.TABLES}
    return [records, overview, *export_assets(domain, ANNOTATION_PROJECTS, written_by, settings, IN_ONE_RUN)]
