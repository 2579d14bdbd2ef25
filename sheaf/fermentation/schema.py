"""The tables of a fermentation batch: columns, units, descriptions.

One list of columns drives validation (`fields`), the tables in the store and the exports. The
numeric sizes are those of the source database. Which sensors there are is the plan's: their tables are
long, and exports make columns of them. Not here: how rows are read or computed.
"""

from sheaf.tables.table import FLAG, INTEGER, REAL, TEXT, UTC_TIME, Column, Table, column

GAS_RATES = ("CER", "OUR", "RQ", "kLa", "qO2", "qCO2")  # those that depend on the gas balance


def _text(name: str, description: str, *, null: bool = True, values: str = "") -> Column:
    return column(name, TEXT, description, null=null, values=values)


def _numeric(
    name: str, size: str, description: str, unit: str, *, null: bool = True, minimum: str = "", origin: str = ""
) -> Column:
    """A number with the digits that the source has room for: `size` is precision and scale, as in `numeric(6,2)`."""
    return column(name, REAL, description, unit, null=null, numeric=size, minimum=minimum, origin=origin)


def _integer(name: str, description: str, unit: str | None = None, *, null: bool = True) -> Column:
    return column(name, INTEGER, description, unit, null=null)


def _flag(name: str, description: str, *, null: bool = True) -> Column:
    return column(name, FLAG, description, null=null)


def _time(name: str, description: str, *, null: bool = True) -> Column:
    return column(name, UTC_TIME, description, "UTC", null=null)


def _float(name: str, description: str, unit: str) -> Column:
    return column(name, REAL, description, unit)


def _table(
    name: str,
    description: str,
    *columns: Column,
    only_grows: bool = False,
    may_be_empty: bool = False,
    needed: str = "",
) -> Table:
    return Table("fermentation", name, "batch", columns, description, only_grows, may_be_empty, needed)


_BATCH_ID = _text("batch_id", "UUID of the batch", null=False)
_ID = _integer("id", "Key in the source, or the position in the file where the source gives none", null=False)

BATCHES = _table(
    "batches",
    "The batch itself; one row.",
    _BATCH_ID,
    _integer("batch_number", "Number in the campaign", null=False),
    _text("phase", "Campaign phase, one of the plan's", null=False),
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
    needed="samples",
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
    only_grows=True,  # each may exclude the batch from training, and the source cannot delete one
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

SECTIONS = _table(
    "sections",
    "What became of each section of the record, and of the sensors: a rule that excludes has to know if it saw all.",
    _text("section", "Table that the section is for", null=False),
    _text("state", "`read`, `absent` (the record has no such section) or `unreadable`", null=False),
    _integer("rows", "Rows that were used", "rows", null=False),
    _integer("rejected", "Rows that could not be used", "rows", null=False),
    _text("rejects", "Where the rejected rows are and why, separated by `; `"),
)

VOLUME_EVENTS = _table(
    "volume_events",
    "What the record says of the liquid in the vessel: medium, inoculum, samples.",
    _time("time", "When; empty for what was there before inoculation"),
    _text("kind", "`medium`, `inoculum` or `sample`", null=False),
    _float("volume_ml", "Volume that came in; negative for what was taken", "mL"),
    may_be_empty=True,
)

SENSORS_TABLE = _table(
    "sensors",
    "Raw sensor points in the plan's units, by sensor and time.",
    _time("time", "Time of the point", null=False),
    _text("sensor", "Tag of the plan", null=False),
    column("value", REAL, "Value in the unit of the plan", "unit of the sensor", null=False),
    only_grows=True,
    needed="sensor points",
)

_KEY = (
    _BATCH_ID,
    _integer("batch_number", "Number in the campaign", null=False),
    _text("phase", "Campaign phase", null=False),
    _text("split", "`train`, or `holdout` for the phases that test a model", null=False),
)

_STATISTICS = (
    _float("mean", "Mean of the points; of a held sensor over time", "unit of the sensor"),
    _float("std", "Population standard deviation, empty below 2 points", "unit of the sensor"),
    _float("min", "Smallest value", "unit of the sensor"),
    _float("max", "Largest value", "unit of the sensor"),
    _float("slope", "Least-squares slope against time, empty below 2 points", "unit of the sensor per s"),
    _integer("count", "Points in the window", "points"),
    _integer("outside", "Points of them outside of what the plan expects; they are used", "points"),
    _flag("held", "Whether the value was carried on, because the sensor is logged on change"),
    _flag("frozen", "Whether the sensor read exactly the same for longer than it can"),
)
STATISTICS = tuple(field.name for field in _STATISTICS)

SENSOR_WINDOWS = _table(
    "sensor_windows",
    "Each sensor in windows of 30 s on the UTC clock; windows without its data have no row.",
    _text("sensor", "Tag of the plan", null=False),
    _time("window_start", "Start of the window, included", null=False),
    *_STATISTICS,
    may_be_empty=True,
)

SENSOR_FACTS = _table(
    "sensor_facts",
    "How each sensor was logged.",
    _text("sensor", "Tag of the plan", null=False),
    _integer("points", "Points of the batch", "points", null=False),
    _float("interval_s", "Usual time between two points", "s"),
    _float("promised_s", "Time between two points that the plan promises", "s"),
    _float("noise", "Standard deviation of one reading, from differences of neighbours", "unit of the sensor"),
    _integer("outside", "Points outside of what the plan expects", "points", null=False),
    _text(
        "flags", "`on_change` (looks logged on change), `slower`, `faster` (than promised), `unit_changed`, `frozen`"
    ),
    _time("unit_changed_at", "Where its values jump by the factor between two units, and stay"),
    _float("frozen_s", "How long in the run it read exactly the same for longer than it can, in all", "s"),
    _time("frozen_at", "Where the longest such stretch begins"),
    _float("frozen_value", "What it read there", "unit of the sensor"),
    may_be_empty=True,
)


def _rates(balance: str, suffix: str = "") -> list[Column]:
    by = f"{balance} gas balance"
    return [
        _float(f"CER{suffix}", f"Carbon dioxide evolution rate, {by}", "mol/L/h"),
        _float(f"OUR{suffix}", f"Oxygen uptake rate, {by}", "mol/L/h"),
        _float(f"RQ{suffix}", f"CER / OUR, empty where OUR is small, {by}", "1"),
        _float(f"kLa{suffix}", f"Oxygen transfer coefficient, {by}", "1/h"),
        _float(f"qO2{suffix}", f"OUR per biomass estimated from OD, {by}", "mol/g/h"),
        _float(f"qCO2{suffix}", f"CER per biomass estimated from OD, {by}", "mol/g/h"),
    ]


_MEASURED = (
    _float("pH", "Mean pH of the window", "pH"),
    _float("DO", "Mean dissolved oxygen of the window", "%"),
    _float("temp", "Mean broth temperature of the window", "°C"),
    _float("OD", "Mean in-situ optical density of the window", "AU"),
    *_rates("inert"),
    _float("mu", "Specific growth rate from in-situ OD, trailing regression over minutes", "1/h"),
)
MATCHED = tuple(field.name for field in _MEASURED)
"""The features that are joined with a sample each by itself."""

FEATURE_VALUES: tuple[Column, ...] = (
    *_MEASURED,
    _float("CER_se", "Standard error of CER, inert gas balance", "mol/L/h"),
    _float("OUR_se", "Standard error of OUR, inert gas balance", "mol/L/h"),
    _float("mu_se", "Standard error of µ at the end of the window, its lag included", "1/h"),
    _float("volume_l", "Liquid in the vessel", "L"),
    _float("O2_mol", "Oxygen taken up since inoculation", "mol"),
    _float("CO2_mol", "Carbon dioxide evolved since inoculation", "mol"),
    _float("O2_mol_se", "Standard error of it", "mol"),
    _float("CO2_mol_se", "Standard error of it", "mol"),
    _float("base_ml", "Base added since inoculation", "mL"),
    _float("feed_ml", "Feed added since inoculation", "mL"),
    _integer("feed_events", "Feed events that have begun since inoculation", "events"),
    _float("feed_age_h", "Time since the newest feed event began", "h"),
    _float("qS", "Substrate fed per biomass estimated from OD", "g/g/h"),
    _text("invalid", "Derived values that are empty because they cannot be: `gas_inlet`, `gas_outlet`, `mu`"),
    *_rates("upstream", "_upstream"),
    _float("completeness", "Points received as a share of those expected, all sensors of the batch", "1"),
    _flag("complete", "Whether every sensor of the batch gave enough points"),
    _text("gap_sensors", "Sensors of the batch that were silent longer than is usual, separated by spaces"),
)

FEATURES = _table(
    "features",
    "30 s windows on the UTC clock: what follows from the sensors' means.",
    *_KEY,
    _text("vessel_id", "Vessel"),
    _time("window_start", "Start of the window, included", null=False),
    _time("window_end", "End of the window, excluded", null=False),
    _float("elapsed_hours", "Time from inoculation to the end of the window", "h"),
    _flag("in_run", "Whether the window lies between inoculation and the end of the run"),
    *FEATURE_VALUES,
)

FEED_EVENTS = _table(
    "feed_events",
    "When a feed pump ran.",
    _text("sensor", "Tag of the pump", null=False),
    _time("start", "Start of the first window in which it ran", null=False),
    _time("end", "End of the last one", null=False),
    _float("elapsed_hours", "Time from inoculation to the start", "h"),
    _float("volume_ml", "Volume fed", "mL"),
    _float("rate_ml_per_min", "Mean rate", "mL/min"),
    may_be_empty=True,
)

YIELDS = _table(
    "yields",
    "Yields and mean specific rates of the batch between first and last dry cell weight; one row.",
    *_KEY,
    _float("hours", "Time between these two", "h"),
    _float("biomass_g", "Biomass formed: DCW times volume, last minus first, and what left with samples", "g"),
    _float("biomass_g_se", "Standard error of it", "g"),
    _float("substrate_g", "Substrate used up: of the medium, where depletion was recorded, and of the feed", "g"),
    _float("substrate_g_se", "Standard error of it", "g"),
    _float("O2_mol", "Oxygen taken up", "mol"),
    _float("O2_mol_se", "Standard error of it", "mol"),
    _float("CO2_mol", "Carbon dioxide evolved", "mol"),
    _float("CO2_mol_se", "Standard error of it", "mol"),
    _float("base_ml", "Base added in the run", "mL"),
    _float("feed_ml", "Feed added in the run", "mL"),
    _float("Y_XS", "Biomass per substrate", "g/g"),
    _float("Y_XS_se", "Standard error of it", "g/g"),
    _float("Y_XO", "Biomass per oxygen", "g/mol"),
    _float("Y_XO_se", "Standard error of it", "g/mol"),
    _float("qS_mean", "Substrate used up per biomass and time, mean", "g/g/h"),
    _float("qS_mean_se", "Standard error of it", "g/g/h"),
    _float("qO2_mean", "Oxygen taken up per biomass and time, mean; biomass from DCW", "mol/g/h"),
    _float("qO2_mean_se", "Standard error of it", "mol/g/h"),
    _float("qCO2_mean", "Carbon dioxide evolved per biomass and time, mean; biomass from DCW", "mol/g/h"),
    _float("qCO2_mean_se", "Standard error of it", "mol/g/h"),
    _text("validity", "What is missing for what is empty, separated by `; `"),
)

RULES = _table(
    "rules",
    "The rules that decide whether the batch may be used for training, one row each.",
    _text("rule", "The rule", null=False),
    _text("verdict", "`holds`, `does not hold` or `unknown`", null=False),
    _text("reason", "Why, where it does not hold or is not known"),
    _text("settle", "What would settle it"),
    _text("rows", "The rows of the record that it rests on, separated by spaces"),
)

ELIGIBILITY = _table(
    "eligibility",
    "Whether the batch may be used for training; one row.",
    *_KEY,
    _text("status", "State of the batch", null=False),
    _flag("eligible", "Whether all rules hold; one that is not known does not", null=False),
    _text("ineligible_reason", "The rules that do not hold or are not known, separated by `; `"),
    _float("dropout", "Share of the run in which sensors were silent longer than is usual", "1"),
)

TRAINING_SAMPLES = _table(
    "training_samples",
    "One row per sample with the features of its moment, each as of the newest window that had it.",
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
    _flag("in_run", "Whether the sample was taken between inoculation and the end of the run"),
    _text(
        "match_status", "Of the needed feature that is worst: `exact`, `within_tol`, `nearest` or `none`", null=False
    ),
    _float("match_delta_s", "Its age", "s"),
    _text("match_feature", "Which one that is"),
    *FEATURE_VALUES,
    *(_float(f"{name}_age_s", f"Sample time minus end of the window that {name} is of", "s") for name in MATCHED),
)

SAMPLE_SENSORS = _table(
    "sample_sensors",
    "One row per sample and sensor: the newest window of it in the run that had ended.",
    _integer("sample_id", "Id of the sample", null=False),
    _text("sensor", "Tag of the plan", null=False),
    *_STATISTICS,
    _float("age_s", "Sample time minus end of the window", "s"),
    _text("validity", "`ok`, or why to be careful: `old`, `held`, `frozen`, `outside`, `unit_changed`", null=False),
    may_be_empty=True,
)
