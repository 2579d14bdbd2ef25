"""The formats in which fermentation batches are published."""

from sheaf.exports.series import Domain, Series
from sheaf.fermentation import schema
from sheaf.fermentation.batch_json import verify_batch_json, write_batch_json
from sheaf.fermentation.batch_report import verify_batch_report, write_batch_report
from sheaf.fermentation.campaign_csv import write_campaign_csv
from sheaf.fermentation.campaign_parquet import write_campaign_parquet
from sheaf.fermentation.filters import (
    CampaignFilter,
    CampaignOptions,
    CampaignTrainingOptions,
    SampleFilter,
    TrainingOptions,
)
from sheaf.fermentation.samples_csv import verify_sample_csv, write_samples_csv
from sheaf.fermentation.training_parquet import verify_training_parquet, write_training_parquet

_SAMPLES_CSV = Series(
    domain="fermentation",
    name="samples_csv",
    description="Samples of one batch as CSV, in the ten columns that model training reads.",
    tables=(schema.BATCHES, schema.SAMPLES),
    write=write_samples_csv,
    verify=verify_sample_csv,
    filter=SampleFilter,
    kinds=("csv",),
    row_key=("batch_id", "sampled_at"),
)
_BATCH_REPORT = Series(
    domain="fermentation",
    name="batch_report",
    description="The batch as a notebook page in Markdown, with plots of growth and gas exchange.",
    tables=(
        schema.BATCHES,
        schema.SAMPLES,
        schema.CALIBRATIONS,
        schema.INOCULATIONS,
        schema.FAILURES,
        schema.CLOSURES,
        schema.FEATURES,
    ),
    write=write_batch_report,
    verify=verify_batch_report,
    kinds=("markdown",),
)
_BATCH_JSON = Series(
    domain="fermentation",
    name="batch_json",
    description="The whole record of one batch as JSON, for pipelines and archives.",
    tables=schema.RECORDS,
    write=write_batch_json,
    verify=verify_batch_json,
    kinds=("json",),
)
_TRAINING_PARQUET = Series(
    domain="fermentation",
    name="training_parquet",
    description="Samples joined with sensor features, and the 30 s feature windows, as Parquet.",
    tables=(schema.BATCHES, schema.TRAINING_SAMPLES, schema.FEATURES, schema.ELIGIBILITY),
    write=write_training_parquet,
    verify=verify_training_parquet,
    options=TrainingOptions,
    filter=SampleFilter,
    kinds=("parquet",),
    row_key=("batch_id", "sample_id"),
)
_CAMPAIGN_CSV = Series(
    domain="fermentation",
    name="campaign_csv",
    description="Samples of all eligible training batches in one CSV (`include=all`: of all complete batches).",
    tables=(schema.BATCHES, schema.SAMPLES, schema.TRAINING_SAMPLES, schema.ELIGIBILITY),
    write=write_campaign_csv,
    verify=verify_sample_csv,
    options=CampaignOptions,
    filter=CampaignFilter,
    kinds=("csv",),
    campaign=True,
    row_key=("batch_id", "sampled_at"),
)
_CAMPAIGN_PARQUET = Series(
    domain="fermentation",
    name="campaign_parquet",
    description="Training samples of all eligible batches in one Parquet file.",
    tables=(schema.BATCHES, schema.TRAINING_SAMPLES, schema.ELIGIBILITY),
    write=write_campaign_parquet,
    verify=verify_training_parquet,
    options=CampaignTrainingOptions,
    filter=CampaignFilter,
    kinds=("parquet",),
    campaign=True,
    row_key=("batch_id", "sample_id"),
)

FERMENTATION = Domain(
    name="fermentation",
    kind="batch",
    rejects=schema.REJECTS,
    series=(_SAMPLES_CSV, _BATCH_REPORT, _BATCH_JSON, _TRAINING_PARQUET, _CAMPAIGN_CSV, _CAMPAIGN_PARQUET),
)
