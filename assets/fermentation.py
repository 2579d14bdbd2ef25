"""Fermentation batches: records, features, training samples, and what is published from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.exports import export_assets
from assets.partitions import FERMENTATION_BATCHES
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
from sheaf.fermentation import schema
from sheaf.fermentation.features import build_features
from sheaf.fermentation.gaps import calibration_problems, sensor_gaps
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.training import build_training
from sheaf.report import Report
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store import Store

RECORDS = dg.AssetKey(["fermentation", "records"])
FEATURES = dg.AssetKey(["fermentation", "features"])
TRAINING_SAMPLES = dg.AssetKey(["fermentation", "training_samples"])


@table_asset(
    RECORDS,
    FERMENTATION_BATCHES,
    schema.SAMPLES,
    checks=READABLE | {"calibration": "Every probe's latest calibration passed and agrees with its readings."},
    kinds=("parquet", "duckdb"),
    pool="ingest",
)
def records(
    context: dg.AssetExecutionContext,
    sources: dg.ResourceParam[Sources],
    store: StoreResource,
) -> Iterator[StepEvent]:
    """Batch records and sensor series as typed tables, with what could not be used in `rejects`."""
    yield from read_each(context, sources, store, "fermentation", schema.REJECTS, {"calibration": _calibration_check})


def _calibration_check(store: Store, batch: str, _report: Report) -> Check:
    problems = calibration_problems(store, batch)
    return Check("calibration", not problems, " ".join(problems))


@table_asset(
    FEATURES,
    FERMENTATION_BATCHES,
    schema.FEATURES,
    deps=[RECORDS],
    checks={"sensor_gaps": "No sensor was silent for long while the batch ran."},
    kinds=("parquet", "duckdb"),
)
def features(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    fermentation: dg.ResourceParam[FermentationSettings],
) -> Iterator[StepEvent]:
    """Sensor series in windows of 30 s, with gas rates and growth rate."""
    opened = store.open()

    def work(batch: str):
        report = unless_refused(opened, schema.REJECTS, batch, lambda: build_features(opened, batch, fermentation))
        if not report.tables:
            return table_outcome(report, [not_checked("sensor_gaps")])
        gaps = sensor_gaps(opened, batch, fermentation)
        return table_outcome(report, [Check("sensor_gaps", not gaps, _longest(gaps))])

    yield from run_each(context, context.partition_keys, work)


def _longest(gaps: Sequence[Mapping[str, Any]]) -> str:
    """The three an operator should look at first."""
    shown = ", ".join(
        f"{gap['sensor']} for {gap['seconds']:.0f} s from {gap['start']:%Y-%m-%d %H:%M:%S} UTC"
        for gap in sorted(gaps, key=lambda gap: -gap["seconds"])[:3]
    )
    return f"{len(gaps)} gaps, the longest: {shown}." if gaps else ""


@table_asset(
    TRAINING_SAMPLES,
    FERMENTATION_BATCHES,
    schema.TRAINING_SAMPLES,
    deps=[RECORDS, FEATURES],
    kinds=("parquet", "duckdb"),
)
def training_samples(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    fermentation: dg.ResourceParam[FermentationSettings],
) -> Iterator[StepEvent]:
    """Manual samples joined with the sensor window before them, and whether the batch may be trained on."""
    opened = store.open()

    def work(batch: str):
        return table_outcome(
            unless_refused(opened, schema.REJECTS, batch, lambda: build_training(opened, batch, fermentation))
        )

    yield from run_each(context, context.partition_keys, work)


def fermentation_assets(domain: Domain, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the domain, in the order data flows."""
    written_by = {table.name: RECORDS for table in (*schema.RECORDS, schema.SENSORS_TABLE, schema.REJECTS)}
    written_by |= {schema.FEATURES.name: FEATURES}
    written_by |= {table.name: TRAINING_SAMPLES for table in (schema.ELIGIBILITY, schema.TRAINING_SAMPLES)}
    exports = export_assets(domain, FERMENTATION_BATCHES, written_by, settings)
    return [records, features, training_samples, *exports]
