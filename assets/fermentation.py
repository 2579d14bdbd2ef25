"""Fermentation batches: records, features, training samples, and what is published from them."""

from collections.abc import Iterator

import dagster as dg

from assets.exports import export_assets
from assets.partitions import FERMENTATION_BATCHES
from assets.steps import (
    OWNER,
    Check,
    StepEvent,
    column_schema,
    ingest_or_refuse,
    rejects_check,
    run_each,
    table_outcome,
    unless_refused,
)
from resources.inbox import InboxResource
from resources.store import StoreResource
from sheaf.fermentation import schema
from sheaf.fermentation.features import build_features
from sheaf.fermentation.gaps import calibration_problems, sensor_gaps
from sheaf.fermentation.ingest import ingest
from sheaf.fermentation.series import FERMENTATION
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.training import build_training
from sheaf.settings import Settings

RECORDS = dg.AssetKey(["fermentation", "records"])
FEATURES = dg.AssetKey(["fermentation", "features"])
TRAINING_SAMPLES = dg.AssetKey(["fermentation", "training_samples"])


def _check(name: str, asset: dg.AssetKey, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=FERMENTATION_BATCHES)


@dg.asset(
    key=RECORDS,
    partitions_def=FERMENTATION_BATCHES,
    group_name="fermentation",
    kinds={"parquet"},
    owners=[OWNER],
    tags={"sheaf/step": "table"},
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(schema.SAMPLES)},
    pool="ingest",
    check_specs=[
        _check("readable", RECORDS, "batch.json and the sensor file could be read as a whole."),
        _check("rejects", RECORDS, "At most one row in twenty was rejected."),
        _check("calibration", RECORDS, "Every probe's latest calibration passed and agrees with its readings."),
    ],
)
def records(
    context: dg.AssetExecutionContext,
    inbox: InboxResource,
    store: StoreResource,
    fermentation: dg.ResourceParam[FermentationSettings],
) -> Iterator[StepEvent]:
    """Batch records and sensor series as typed tables, with what could not be used in `rejects`."""
    opened = store.open()

    def work(batch: str):
        report, readable = ingest_or_refuse(
            opened,
            schema.REJECTS,
            batch,
            lambda: ingest(inbox.folder("fermentation", batch), opened, batch, fermentation),
        )
        rows = sum(table.rows for table in report.tables)
        problems = calibration_problems(opened, batch) if readable.passed else ["Not checked."]
        calibration = Check("calibration", not problems, " ".join(problems))
        return table_outcome(report, [readable, rejects_check(report, rows), calibration])

    yield from run_each(context, context.partition_keys, work)


@dg.asset(
    key=FEATURES,
    partitions_def=FERMENTATION_BATCHES,
    deps=[RECORDS],
    group_name="fermentation",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    tags={"sheaf/step": "table"},
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(schema.FEATURES)},
    check_specs=[_check("sensor_gaps", FEATURES, "No sensor was silent for long while the batch ran.")],
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
        gaps = sensor_gaps(opened, batch, fermentation) if report.tables else []
        shown = "; ".join(f"{gap['sensor']} for {gap['seconds']:.0f} s from {gap['start']}" for gap in gaps[:5])
        more = f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
        return table_outcome(report, [Check("sensor_gaps", not gaps, shown + more)])

    yield from run_each(context, context.partition_keys, work)


@dg.asset(
    key=TRAINING_SAMPLES,
    partitions_def=FERMENTATION_BATCHES,
    deps=[RECORDS, FEATURES],
    group_name="fermentation",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    tags={"sheaf/step": "table"},
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(schema.TRAINING_SAMPLES)},
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


def fermentation_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the domain, in the order data flows."""
    written_by = dict.fromkeys(
        (table.name for table in (*schema.RECORDS, schema.SENSORS_TABLE, schema.REJECTS)), RECORDS
    )
    written_by |= {schema.FEATURES.name: FEATURES}
    written_by |= dict.fromkeys((schema.ELIGIBILITY.name, schema.TRAINING_SAMPLES.name), TRAINING_SAMPLES)
    exports = export_assets(
        FERMENTATION, FERMENTATION_BATCHES, written_by, timezone=settings.timezone, nightly=settings.nightly
    )
    return [records, features, training_samples, *exports]
