"""Start here: the steps of a fermentation batch, and what is published from it."""

from sheaf.exports.series import Series
from sheaf.fermentation import choices, schema
from sheaf.fermentation.writers.request import (
    CampaignFilter,
    CampaignOptions,
    CampaignTrainingOptions,
    HoursFilter,
    SampleFilter,
    SensorsOptions,
    TrainingOptions,
)
from sheaf.later import later
from sheaf.steps import Check, Choices, Domain, Step

_RECORDS = Step(
    name="records",
    description="Batch records and sensor series as typed tables, with what could not be used in `rejects`.",
    writes=(
        schema.SAMPLES,
        *(table for table in schema.RECORDS if table is not schema.SAMPLES),
        schema.SECTIONS,
        schema.VOLUME_EVENTS,
        schema.SENSORS_TABLE,
    ),
    settings=(
        *("plan", "naive_timezone", "line_protocol_precision", "date_order", "vessels", "ignore_tags"),
        *("units", "aliases", "sensor_hours", "duplicate_sample_minutes"),
    ),
    version=6,
    checks=(
        Check(
            "calibration",
            "Every probe's latest calibration passed and agrees with its readings.",
            later("sheaf.fermentation.checks:calibration"),
        ),
    ),
    pool="ingest",
)
_FEATURES = Step(
    name="features",
    description="Sensor series in windows of 30 s, with gas rates, growth rate, volume and totals.",
    reads=(schema.BATCHES, schema.CLOSURES, schema.VOLUME_EVENTS, schema.SENSORS_TABLE),
    writes=(schema.FEATURES, schema.SENSOR_WINDOWS, schema.SENSOR_FACTS, schema.FEED_EVENTS),
    work=later("sheaf.fermentation.analysis.features:build_features"),
    settings=(
        *("plan", "rates_hz", "hold_s", "min_completeness", "mu_minutes", "match_nearest_s"),
        *("offgas_baseline", "volume", "vessel_volume_l", "molar_volume_l", "reference_pressure_bar"),
        *("inlet_o2_percent", "inlet_co2_percent", "saturation_mg_per_l", "biomass_g_per_l_per_od", "min_our_for_rq"),
        "gap_s",  # by its check
    ),
    version=6,
    checks=(
        Check(
            "sensor_gaps",
            "No sensor was silent for long while the batch ran.",
            later("sheaf.fermentation.checks:sensor_gaps"),
        ),
        Check(
            "frozen_sensors",
            "No sensor read exactly the same for longer than it can.",
            later("sheaf.fermentation.checks:frozen_sensors"),
        ),
    ),
)
_TRAINING_SAMPLES = Step(
    name="training_samples",
    description="Manual samples joined with the sensors of their moment, and whether the batch may be trained on.",
    reads=(
        *(schema.BATCHES, schema.SAMPLES, schema.FAILURES, schema.CLOSURES, schema.INOCULATIONS),
        *(schema.MEDIA_PREPARATIONS, schema.SECTIONS, schema.SENSORS_TABLE),
        *(schema.FEATURES, schema.SENSOR_WINDOWS, schema.SENSOR_FACTS),
    ),
    writes=(
        *(schema.TRAINING_SAMPLES, schema.SAMPLE_SENSORS, schema.ELIGIBILITY),
        *(schema.RULES, schema.YIELDS),
    ),
    work=later("sheaf.fermentation.analysis.training:build_training"),
    settings=(
        *("plan", "match_tolerance_s", "match_nearest_s", "match_look_ahead"),
        *("rates_hz", "hold_s", "gap_s", "max_dropout"),
    ),
    version=7,
)

_SAMPLES_CSV = Series(
    domain="fermentation",
    name="samples_csv",
    description="Samples of one batch as CSV, in the ten columns that model training reads.",
    tables=(schema.BATCHES, schema.SAMPLES),
    write=later("sheaf.fermentation.writers.samples_csv:write_samples_csv"),
    verify=later("sheaf.fermentation.writers.samples_csv:verify_sample_csv"),
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
        schema.YIELDS,
    ),
    write=later("sheaf.fermentation.writers.batch_report:write_batch_report"),
    verify=later("sheaf.fermentation.writers.batch_report:verify_batch_report"),
    version=4,
    tells_account=True,
    kinds=("markdown",),
)
_BATCH_JSON = Series(
    domain="fermentation",
    name="batch_json",
    description="The whole record of one batch as JSON, with feed events and yields, for pipelines and archives.",
    tables=(*schema.RECORDS, schema.FEED_EVENTS, schema.YIELDS),
    write=later("sheaf.fermentation.writers.batch_json:write_batch_json"),
    verify=later("sheaf.fermentation.writers.batch_json:verify_batch_json"),
    version=2,
    kinds=("json",),
)
_TRAINING_PARQUET = Series(
    domain="fermentation",
    name="training_parquet",
    description="Samples joined with sensor features, the 30 s feature windows, feed events and yields, as Parquet.",
    tables=(
        *(schema.BATCHES, schema.TRAINING_SAMPLES, schema.SAMPLE_SENSORS, schema.ELIGIBILITY),
        *(schema.FEATURES, schema.SENSOR_WINDOWS, schema.FEED_EVENTS, schema.YIELDS),
    ),
    write=later("sheaf.fermentation.writers.training_parquet:write_training_parquet"),
    verify=later("sheaf.fermentation.writers.training_parquet:verify_training_parquet"),
    options=TrainingOptions,
    filter=SampleFilter,
    version=6,
    kinds=("parquet",),
    row_key=("batch_id", "sample_id"),
)
_SENSORS_CSV = Series(
    domain="fermentation",
    name="sensors_csv",
    description="Sensors of one batch for a spreadsheet: a column each, on a common grid.",
    tables=(schema.BATCHES, schema.FEATURES, schema.SENSOR_WINDOWS),
    write=later("sheaf.fermentation.writers.sensors_csv:write_sensors_csv"),
    verify=later("sheaf.fermentation.writers.sensors_csv:verify_sensors_csv"),
    filter=HoursFilter,
    options=SensorsOptions,
    kinds=("csv",),
    row_key=("Time (UTC)",),
)
_BATCH_ELN = Series(
    domain="fermentation",
    name="batch_eln",
    description="The batch with report, plots, record, samples and sensors as an .eln archive, an RO-Crate.",
    tables=(*schema.RECORDS, schema.FEATURES, schema.SENSOR_WINDOWS, schema.FEED_EVENTS, schema.YIELDS),
    write=later("sheaf.fermentation.writers.batch_eln:write_batch_eln"),
    verify=later("sheaf.fermentation.writers.batch_eln:verify_batch_eln"),
    version=2,
    tells_account=True,
    kinds=("zip",),
)
_CAMPAIGN_CSV = Series(
    domain="fermentation",
    name="campaign_csv",
    description="Samples of all eligible training batches in one CSV (`include=all`: of all complete batches).",
    tables=(schema.BATCHES, schema.SAMPLES, schema.TRAINING_SAMPLES, schema.ELIGIBILITY),
    write=later("sheaf.fermentation.writers.campaign_csv:write_campaign_csv"),
    verify=later("sheaf.fermentation.writers.samples_csv:verify_sample_csv"),
    options=CampaignOptions,
    filter=CampaignFilter,
    version=2,
    kinds=("csv",),
    campaign=True,
    row_key=("batch_id", "sampled_at"),
)
_CAMPAIGN_PARQUET = Series(
    domain="fermentation",
    name="campaign_parquet",
    description="Training samples of all eligible batches in one Parquet file.",
    tables=(schema.BATCHES, schema.TRAINING_SAMPLES, schema.SAMPLE_SENSORS, schema.ELIGIBILITY),
    write=later("sheaf.fermentation.writers.campaign_parquet:write_campaign_parquet"),
    verify=later("sheaf.fermentation.writers.training_parquet:verify_training_parquet"),
    options=CampaignTrainingOptions,
    filter=CampaignFilter,
    version=3,
    kinds=("parquet",),
    campaign=True,
    row_key=("batch_id", "sample_id"),
)

FERMENTATION = Domain(
    name="fermentation",
    kind="batch",
    steps=(_RECORDS, _FEATURES, _TRAINING_SAMPLES),
    series=(
        *(_SAMPLES_CSV, _SENSORS_CSV, _BATCH_REPORT, _BATCH_JSON, _BATCH_ELN, _TRAINING_PARQUET),
        *(_CAMPAIGN_CSV, _CAMPAIGN_PARQUET),
    ),
    choices=Choices(choices.TABLES, choices.facts, choices.values),
)
