"""Media pairs: what a batch asks for, how each dub lies against its master, and the results as files."""

from collections.abc import Iterator

import dagster as dg

from assets.exports import export_assets
from assets.partitions import MEDIA_BATCHES
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
from sheaf.media import schema
from sheaf.media.batch import analyse_batch
from sheaf.media.cluster import analyse_on_cluster
from sheaf.media.settings import MediaSettings
from sheaf.report import Report
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store import Store

PAIRS = dg.AssetKey(["media", "pairs"])
RESULTS = dg.AssetKey(["media", "results"])

IN_ONE_RUN = 1
"""A batch is minutes to hours of analysis: each has a run of its own, which can be cancelled."""

MOST_FAILED = 0.1
MOST_UNMATCHED = 0.5
LEAST_CONFIDENCE = 0.8


@table_asset(PAIRS, MEDIA_BATCHES, schema.PAIRS, checks=READABLE, pool="ingest", in_one_run=IN_ONE_RUN)
def pairs(
    context: dg.AssetExecutionContext, sources: dg.ResourceParam[Sources], store: StoreResource
) -> Iterator[StepEvent]:
    """The pairs a batch asks for, each with its files found or the reason why not."""
    yield from read_each(context, sources, store, "media", schema.REJECTS)


@table_asset(
    RESULTS,
    MEDIA_BATCHES,
    schema.RESULTS,
    deps=[PAIRS],
    checks={
        "failed": "At most one pair in ten failed.",
        "no_match": "At most half of the pairs are without a match.",
        "confidence": "The offsets that were found are sure on average.",
    },
    kinds=("parquet", "ffmpeg"),
    pool="media",
    in_one_run=IN_ONE_RUN,
)
def results(
    context: dg.AssetExecutionContext, store: StoreResource, media: dg.ResourceParam[MediaSettings]
) -> Iterator[StepEvent]:
    """Offset, confidence, drift and edits of each pair; items are kept as they finish, so a new run goes on."""
    opened = store.open()

    def work(batch: str):
        report = unless_refused(opened, schema.REJECTS, batch, lambda: _analyse(opened, batch, media))
        if not report.tables:
            return table_outcome(report, [not_checked("failed"), not_checked("no_match"), not_checked("confidence")])
        items = report.counts["items"] or 1
        failed = report.counts["items_failed"] / items
        unmatched = report.counts["items_no_match"] / items
        sure = report.counts["average_confidence"]
        return table_outcome(
            report,
            [
                Check("failed", failed <= MOST_FAILED, f"{failed:.0%} of {items} pairs failed"),
                Check("no_match", unmatched <= MOST_UNMATCHED, f"{unmatched:.0%} of {items} pairs have no match"),
                Check(
                    "confidence",
                    not report.counts["items_completed"] or sure >= LEAST_CONFIDENCE,
                    f"average confidence {sure:.2f}",
                ),
            ],
        )

    yield from run_each(context, context.partition_keys, work)


def _analyse(store: Store, batch: str, media: MediaSettings) -> Report:
    """In this run, or on the cluster that is configured."""
    return (
        analyse_on_cluster(store, batch, media, media.cluster) if media.cluster else analyse_batch(store, batch, media)
    )


def media_assets(domain: Domain, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the domain, in the order data flows."""
    written_by = {table.name: PAIRS for table in (schema.PAIRS, schema.REJECTS)}
    written_by |= {table.name: RESULTS for table in (schema.BATCHES, schema.RESULTS)}
    return [pairs, results, *export_assets(domain, MEDIA_BATCHES, written_by, settings, IN_ONE_RUN)]
