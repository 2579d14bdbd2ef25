"""The tables of a fermentation batch: columns, units, descriptions.

One list of columns drives validation (`records`), the tables in the store and the exports. The
numeric sizes are those of the source database. Not here: how rows are read or computed.
"""

import pyarrow as pa

from sheaf.fermentation.plan import SENSORS
from sheaf.tables import UTC_TIME, Table, column, rejects_table

STATISTICS = ("mean", "std", "min", "max", "slope", "count")
GAS_RATES = ("CER", "OUR", "RQ", "kLa", "qO2", "qCO2")  # those that depend on the gas balance


def _text(name: str, description: str, *, null: bool = True, values: str = "") -> pa.Field:
    field = column(name, pa.string(), description, null=null)
    return field.with_metadata({**field.metadata, "values": values}) if values else field


def _numeric(
    name: str, size: str, description: str, unit: str, *, null: bool = True, minimum: str = "", origin: str = ""
) -> pa.Field:
    """A number with the digits the source keeps: `size` is precision and scale, as in `numeric(6,2)`."""
    field = column(name, pa.float64(), description, unit, null=null)
    extra = {"numeric": size} | ({"minimum": minimum} if minimum else {}) | ({"origin": origin} if origin else {})
    return field.with_metadata({**field.metadata, **extra})


def _integer(name: str, description: str, unit: str | None = None, *, null: bool = True) -> pa.Field:
    return column(name, pa.int64(), description, unit, null=null)


def _flag(name: str, description: str, *, null: bool = True) -> pa.Field:
    return column(name, pa.bool_(), description, null=null)


def _time(name: str, description: str, *, null: bool = True) -> pa.Field:
    return column(name, UTC_TIME, description, "UTC", null=null)


def _float(name: str, description: str, unit: str) -> pa.Field:
    return column(name, pa.float64(), description, unit)


def _table(name: str, description: str, *fields: pa.Field) -> Table:
    return Table("fermentation", name, "batch", pa.schema(list(fields)), description)


_BATCH_ID = _text("batch_id", "UUID of the batch", null=False)
_ID = _integer("id", "Key in the source, or the position in the file where the source gives none", null=False)

BATCHES = _table(
    "batches",
    "The batch itself; one row.",
    _BATCH_ID,
    _integer("batch_number", "Number in the campaign, 1 to 18", null=False),
    _text("phase", "Campaign phase; C is the hold-out", null=False, values="A B C"),
    _text("vessel_id", "Vessel"),
    _text("operator_id", "Operator"),
    _text("status", "State of the batch", null=False, values="pending running complete aborted"),
    _time("created_at", "When the batch was created"),
    _text("created_by", "Who created it"),
    _time("inoculated_at", "Inoculation: t = 0"),
    _time("completed_at", "When the closure form was entered, which may be after the physical stop"),
    _text("notes", "Notes"),
    _text("source_system", "System the record comes from", null=False),
    _text("source_version", "Version of that system"),
)

SAMPLES = _table(
    "samples",
    "Manual samples, corrected repeats included.",
    _BATCH_ID,
    _ID,
    _time("sampled_at", "When the sample was entered, up to 2 h after sampling", null=False),
    _text("sampled_by", "Who sampled"),
    _float("elapsed_hours", "Time since inoculation, not rounded", "h"),
    _numeric("timepoint_hours", "6,2", "Time since inoculation, rounded half up", "h", origin="computed"),
    _numeric("sample_volume_ml", "6,2", "Volume taken", "mL", minimum="0"),
    _numeric("od600_raw", "8,4", "OD600 as read", "AU", null=False, minimum="0"),
    _numeric("od600_dilution_factor", "6,2", "Dilution of the reading", "1", minimum="1"),
    _numeric("od600_calculated", "8,4", "OD600 times dilution", "AU", origin="computed"),
    _text("dcw_filter_id", "Filter of the dry cell weight"),
    _numeric("dcw_sample_volume_ml", "6,2", "Volume filtered", "mL", minimum="0"),
    _numeric("dcw_filter_wet_weight_g", "8,4", "Clean filter (tare); the source calls it wet weight", "g"),
    _numeric("dcw_filter_dry_weight_g", "8,4", "Filter with dry cells", "g"),
    _numeric("dcw_g_per_l", "8,3", "Dry cell weight, (dry - tare) / volume; never imputed", "g/L", origin="computed"),
    _flag("contamination_detected", "Contamination seen"),
    _text("microscopy_observations", "Microscopy"),
    _text("supernatant_cryovial_id", "Supernatant kept as"),
    _text("pellet_cryovial_id", "Pellet kept as"),
    _flag("replicate", "An intentional second sample of the same moment"),
    _integer("superseded_by", "Id of the later sample that corrects this one"),
    _text("flags", "What is remarkable, separated by spaces"),
)

CALIBRATIONS = _table(
    "calibrations",
    "Probe calibrations before inoculation.",
    _BATCH_ID,
    _ID,
    _text("probe_type", "Probe", null=False, values="pH DO Temp OffGas_O2 OffGas_CO2 Pressure"),
    _numeric("buffer_low_value", "6,2", "Low reference", "unit of the probe"),
    _numeric("buffer_high_value", "6,2", "High reference", "unit of the probe"),
    _text("buffer_low_lot", "Lot of the low reference"),
    _text("buffer_high_lot", "Lot of the high reference"),
    _numeric("reading_low", "8,3", "Reading at the low reference", "mV for pH, else the probe's unit"),
    _numeric("reading_high", "8,3", "Reading at the high reference", "mV for pH, else the probe's unit"),
    _numeric("slope_percent", "5,2", "Electrode slope as recorded, else recomputed", "% of 59.16 mV/pH"),
    _numeric("slope_percent_recomputed", "5,2", "Electrode slope from buffers and readings", "% of 59.16 mV/pH"),
    _integer("response_time_sec", "Response time", "s"),
    _numeric("drift_from_previous", "5,2", "Drift since the calibration before", "unit of the probe"),
    _flag("pass", "Whether the calibration passed", null=False),
    _flag("control_active", "Whether control was active"),
    _time("calibrated_at", "When it was calibrated"),
    _text("calibrated_by", "Who calibrated (a name or a number)"),
    _text("notes", "Notes"),
)

INOCULATIONS = _table(
    "inoculations",
    "The inoculation; none or one row.",
    _BATCH_ID,
    _ID,
    _text("inoculum_source", "Cryo vial or other source of the inoculum"),
    _numeric("inoculum_od600", "6,3", "OD600 of the inoculum", "AU", null=False, minimum="0"),
    _numeric("dilution_factor", "6,2", "Dilution of that reading", "1"),
    _numeric("inoculum_volume_ml", "6,2", "Inoculum volume", "mL"),
    _text("microscopy_observations", "Microscopy"),
    _flag("go_decision", "GO or NO-GO", null=False),
    _time("inoculated_at", "When the inoculation was entered"),
    _text("inoculated_by", "Who inoculated"),
)

FAILURES = _table(
    "failures",
    "Deviations; they may be reported after completion.",
    _BATCH_ID,
    _ID,
    _integer("deviation_level", "1 minor, 2 major, 3 critical", null=False),
    _time("deviation_start_time", "Start"),
    _time("deviation_end_time", "End"),
    _text("category", "Category", null=False),
    _text("description", "Description"),
    _text("root_cause", "Root cause"),
    _text("corrective_action", "Corrective action"),
    _text("impact_assessment", "Impact"),
    _time("reported_at", "When it was reported"),
    _text("reported_by", "Who reported it (a name or a number)"),
    _text("reviewed_by", "Who reviewed it"),
    _time("reviewed_at", "When it was reviewed"),
)

CLOSURES = _table(
    "closures",
    "The closure; none or one row.",
    _BATCH_ID,
    _ID,
    _numeric("final_od600", "8,4", "Final OD600", "AU"),
    _numeric("total_runtime_hours", "6,2", "Runtime, as typed", "h"),
    _numeric("glycerol_depletion_time_hours", "6,2", "Time of glycerol depletion, as typed", "h"),
    _flag("do_spike_observed", "Whether dissolved oxygen spiked at depletion"),
    _numeric("max_do_percent", "5,2", "Highest dissolved oxygen", "%"),
    _numeric("cumulative_base_addition_ml", "8,2", "Base added", "mL"),
    _text(
        "outcome", "Outcome", null=False, values="Complete Aborted_Contamination Aborted_Sensor_Failure Aborted_Other"
    ),
    _text("harvest_method", "Harvest", values="Cell_Banking Disposal"),
    _time("closed_at", "When the batch was closed"),
    _text("closed_by", "Who closed it (a name or a number)"),
    _text("approved_by", "Who approved it"),
    _text("notes", "Final notes"),
)

MEDIA_PREPARATIONS = _table(
    "media_preparations",
    "The medium; none or one row.",
    _BATCH_ID,
    _ID,
    _text("recipe_name", "Recipe"),
    *(
        field
        for name, unit in (
            ("phosphoric_acid", "mL"),
            ("calcium_sulfate", "g"),
            ("potassium_sulfate", "g"),
            ("magnesium_sulfate", "g"),
            ("potassium_hydroxide", "g"),
            ("glycerol", "g"),
        )
        for field in (
            _numeric(f"{name}_{unit.lower()}", "6,2", f"Amount of {name.replace('_', ' ')}", unit),
            _text(f"{name}_lot", f"Lot of {name.replace('_', ' ')}"),
        )
    ),
    _numeric("final_volume_l", "4,2", "Final volume", "L"),
    _text("autoclave_cycle", "Autoclave cycle"),
    _flag("sterility_verified", "Sterility verified"),
    _time("prepared_at", "When it was prepared"),
    _text("prepared_by", "Who prepared it"),
    _text("notes", "Notes"),
)

PROCESS_CHANGES = _table(
    "process_changes",
    "Changes of a process parameter during the run.",
    _BATCH_ID,
    _ID,
    _numeric("timepoint_hours", "6,2", "Time since inoculation", "h"),
    _text("parameter", "Parameter", null=False),
    _numeric("old_value", "8,2", "Value before", "unit of the parameter"),
    _numeric("new_value", "8,2", "Value after", "unit of the parameter"),
    _text("reason", "Reason"),
    _text("supervisor_approval_id", "Approval"),
    _time("changed_at", "When it was changed"),
    _text("changed_by", "Who changed it"),
)

RECORDS = (
    BATCHES,
    SAMPLES,
    CALIBRATIONS,
    INOCULATIONS,
    FAILURES,
    CLOSURES,
    MEDIA_PREPARATIONS,
    PROCESS_CHANGES,
)

SENSORS_TABLE = _table(
    "sensors",
    "Raw sensor points in the plan's units, by sensor and time.",
    _time("time", "Time of the point", null=False),
    _text("sensor", "Tag of the plan", null=False),
    column("value", pa.float64(), "Value in the unit of the plan", "unit of the sensor", null=False),
)

REJECTS = rejects_table("fermentation", "batch")

_KEY = (
    _BATCH_ID,
    _integer("batch_number", "Number in the campaign", null=False),
    _text("phase", "Campaign phase", null=False),
    _text("split", "`train`, or `holdout` for phase C", null=False),
)


def _rates(balance: str, suffix: str = "") -> list[pa.Field]:
    by = f"{balance} gas balance"
    return [
        _float(f"CER{suffix}", f"Carbon dioxide evolution rate, {by}", "mol/L/h"),
        _float(f"OUR{suffix}", f"Oxygen uptake rate, {by}", "mol/L/h"),
        _float(f"RQ{suffix}", f"CER / OUR, empty where OUR is small, {by}", "1"),
        _float(f"kLa{suffix}", f"Oxygen transfer coefficient, {by}", "1/h"),
        _float(f"qO2{suffix}", f"OUR per biomass estimated from OD, {by}", "mol/g/h"),
        _float(f"qCO2{suffix}", f"CER per biomass estimated from OD, {by}", "mol/g/h"),
    ]


def _statistics(name: str, unit: str) -> list[pa.Field]:
    return [
        _float(f"{name}_mean", f"{name}: mean of the window", unit),
        _float(f"{name}_std", f"{name}: population standard deviation, empty below 2 points", unit),
        _float(f"{name}_min", f"{name}: smallest value", unit),
        _float(f"{name}_max", f"{name}: largest value", unit),
        _float(f"{name}_slope", f"{name}: least-squares slope against time, empty below 2 points", f"{unit}/s"),
        _integer(f"{name}_count", f"{name}: points in the window", "points"),
    ]


FEATURE_VALUES: tuple[pa.Field, ...] = (
    _float("pH", "Mean pH of the window", "pH"),
    _float("DO", "Mean dissolved oxygen of the window", "%"),
    _float("temp", "Mean broth temperature of the window", "°C"),
    _float("OD", "Mean in-situ optical density of the window", "AU"),
    *_rates("inert"),
    _float("mu", "Specific growth rate from in-situ OD, trailing regression over minutes", "1/h"),
    *_rates("upstream", "_upstream"),
    *(field for sensor in SENSORS for field in _statistics(sensor.name, sensor.unit)),
    _float("completeness", "Points received as a share of those expected, all sensors of the batch", "1"),
    _flag("complete", "Whether every sensor of the batch gave enough points"),
    _text("gap_sensors", "Sensors of the batch without any point in the window, separated by spaces"),
)

FEATURES = _table(
    "features",
    "30 s windows on the UTC clock: statistics of the raw points and derived rates.",
    *_KEY,
    _text("vessel_id", "Vessel"),
    _time("window_start", "Start of the window, included", null=False),
    _time("window_end", "End of the window, excluded", null=False),
    _float("elapsed_hours", "Time from inoculation to the end of the window", "h"),
    *FEATURE_VALUES,
)

ELIGIBILITY = _table(
    "eligibility",
    "Whether the batch may be used for training; one row.",
    *_KEY,
    _text("status", "State of the batch", null=False),
    _flag("eligible", "Whether the run plan's acceptance rules hold", null=False),
    _text("ineligible_reason", "The rules that do not hold, separated by `; `"),
    _float("dropout", "Share of expected sensor points that are missing", "1"),
)

TRAINING_SAMPLES = _table(
    "training_samples",
    "One row per sample with the features of the newest window before it.",
    *_KEY,
    _flag("eligible", "Whether the row may be used for training", null=False),
    _text("ineligible_reason", "Why not, separated by `; `"),
    _integer("sample_id", "Id of the sample", null=False),
    _time("sampled_at", "When the sample was entered", null=False),
    _float("elapsed_hours", "Time since inoculation, not rounded", "h"),
    _float("timepoint_hours", "Time since inoculation, two decimals", "h"),
    _float("od600_calculated", "OD600 times dilution", "AU"),
    _float("dcw_g_per_l", "Dry cell weight; never imputed", "g/L"),
    _flag("contamination_detected", "Contamination seen"),
    _text("match_status", "`exact`, `within_tol`, `nearest` or `none`", null=False),
    _float("match_delta_s", "Sample time minus end of the window", "s"),
    *FEATURE_VALUES,
)
