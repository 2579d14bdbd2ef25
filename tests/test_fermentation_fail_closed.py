"""What is missing or not known never makes a batch, or a label, good enough to train on."""

from pathlib import Path

import numpy as np
import pytest
from fermentation_inbox import STEADY, at, notes, put_batch, record, rows_of, run, sample, sensor_csv, steady_points

from sheaf.fermentation import schema
from sheaf.fermentation.analysis.frozen import frozen_stretches
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.plan import Sensor
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Generation

SENSORS = sensor_csv(steady_points(range(-600, 20 * 3600 + 1, 60)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def generation(store: Store, step: str) -> Generation:
    """The last good one of a step."""
    (own,) = [one for one in FERMENTATION.steps if one.name == step]
    found = generations.current(store, FERMENTATION.place(own, "batch-1"))
    assert found
    return found


def verdict(
    store: Store,
    folder: Path,
    document: dict,
    settings: FermentationSettings | None = None,
    sensors: str | None = None,
) -> str | None:
    """Why the batch is not eligible; None where it is."""
    run(store, put_batch(folder, document, sensors or SENSORS), settings=settings or FermentationSettings())
    (row,) = rows_of(store, schema.ELIGIBILITY)
    assert row["eligible"] == (row["ineligible_reason"] is None)
    return row["ineligible_reason"]


@pytest.mark.case("fermentation/minute-sensors")
def test_sensors_once_a_minute_are_no_dropout(store, tmp_path):
    assert verdict(store, tmp_path / "batch-1", record()) is None
    (row,) = rows_of(store, schema.ELIGIBILITY)
    assert row["dropout"] == 0
    assert {row["verdict"] for row in rows_of(store, schema.RULES)} == {"holds"}


DEVIATION = {"deviation_level": 3, "category": "Contamination", "description": "rods"}
NAIVE = DEVIATION | {"deviation_start_time": "2025-10-21 10:00:00"}


@pytest.mark.parametrize(
    ("changes", "reason", "settle"),
    [
        (
            {"failures": [DEVIATION | {"deviation_start_time": "2025-10-21 10:00:00"}]},
            "1 deviation(s) could not be read",
            "naive",
        ),
        (
            {"failures": [DEVIATION | {"deviation_level": "critical"}]},
            "1 deviation(s) could not be read",
            "failures[1]",
        ),
        ({"failures": None}, "the record has no section failures", "SELECT"),
        ({"failures": [DEVIATION | {"deviation_level": 0}]}, "deviation 1 has the level 0", "critical (3)"),
        ({"failures": [DEVIATION | {"category": "Kontamination"}]}, "'Kontamination', which may be", "Sensor_Failure"),
        ({"contaminated": {"contamination_detected": "yes"}}, "1 sample(s) could not be read", "samples[9]"),
        ({"contaminated": {"od600_raw": None}}, "1 sample(s) could not be read", "samples[9]"),
        ({"silent": True}, "no record of contamination for sample 3", "say whether"),
        ({"corrected": True}, "sample 9 was contaminated, and sample 10 that corrects it", "replicate"),
    ],
)
@pytest.mark.case("fermentation/eligibility-fails-open")
def test_a_rule_that_cannot_be_checked_excludes_and_says_what_would_settle_it(store, tmp_path, changes, reason, settle):
    document = record()
    if "failures" in changes:
        document["failures"] = changes["failures"]
    if document["failures"] is None:
        del document["failures"]
    if "contaminated" in changes:
        document["samples"].append(sample(10, contamination_detected=True) | changes["contaminated"])
    if "silent" in changes:
        document["samples"][2]["contamination_detected"] = None
    if "corrected" in changes:
        document["samples"] += [sample(10, contamination_detected=True), sample(10.1)]
    assert reason in (verdict(store, tmp_path / "batch-1", document) or "")
    unknown = [row for row in rows_of(store, schema.RULES) if row["verdict"] == "unknown"]
    assert any(settle in row["settle"] for row in unknown)
    assert not any(row["eligible"] for row in rows_of(store, schema.TRAINING_SAMPLES))


@pytest.mark.case("fermentation/superseded-chain")
def test_samples_in_quick_succession_are_a_series_and_no_chain_of_corrections(store, tmp_path):
    document = record(samples=[sample(hours / 7.5) for hours in range(19)])  # every 8 minutes
    verdict(store, tmp_path / "batch-1", document)
    assert all(row["superseded_by"] is None for row in rows_of(store, schema.SAMPLES))
    fixed = record(samples=[sample(2, od600_raw=0.9), sample(2.05, od600_raw=0.5), sample(2.1, sampled_by="tech02")])
    verdict(store, tmp_path / "batch-1", fixed)
    assert [row["superseded_by"] for row in rows_of(store, schema.SAMPLES)] == [2, None, None]
    verdict(store, tmp_path / "batch-1", fixed, FermentationSettings(duplicate_sample_minutes=0))
    assert all(row["superseded_by"] is None for row in rows_of(store, schema.SAMPLES))


def test_labels_that_cannot_be_are_marked_and_not_trained_on(store, tmp_path):
    """Weights in mg, a sample after the end, and one before inoculation."""
    weights = {"dcw_sample_volume_ml": 5, "dcw_filter_wet_weight_g": 90.0, "dcw_filter_dry_weight_g": 110.2}
    document = record()
    document["samples"][2] |= weights
    document["samples"] += [sample(26), sample(-0.1)]
    document["samples"][4]["od600_dilution_factor"] = None
    assert verdict(store, tmp_path / "batch-1", document) is None
    rows = {row["sample_id"]: row for row in rows_of(store, schema.TRAINING_SAMPLES)}
    assert rows[3]["ineligible_reason"] == "label dcw implausible"
    assert rows[3]["dcw_g_per_l"] == pytest.approx(4040)
    assert "after the end of the run" in rows[9]["ineligible_reason"]
    assert "before inoculation" in rows[10]["ineligible_reason"]
    assert rows[5]["ineligible_reason"] == "no label: neither OD600 nor DCW"
    assert rows[2]["eligible"]
    assert [row["code"] for row in notes(store, table="samples")] == ["dcw_implausible"]


def test_values_keep_their_digits(store, tmp_path):
    weights = {"dcw_sample_volume_ml": 5, "dcw_filter_wet_weight_g": 0.09128, "dcw_filter_dry_weight_g": 0.0917}
    document = record()
    document["samples"][1] |= weights | {"od600_raw": 0.1, "od600_dilution_factor": 2}
    verdict(store, tmp_path / "batch-1", document)
    assert rows_of(store, schema.SAMPLES)[1]["dcw_g_per_l"] == pytest.approx(0.084, abs=1e-12)


@pytest.mark.case("fermentation/exact-match-without-features")
def test_each_feature_is_as_of_its_own_newest_window(store, tmp_path):
    """A multiplexed off-gas analyser every 5 min, OD every minute, the rest every 10 s; a sample after 140 s."""
    slow = {"Off_Gas_O2": 20.0, "Off_Gas_CO2": 1.0}
    fast = {"pH": 5.0, "DO": 60.0, "Temp_Broth": 30.0, "Gas_Flow_Inlet": 1.0, "Reactor_Pressure": 1.013}
    points = steady_points(range(0, 7200, 10), fast) + steady_points(range(0, 7200, 60), {"OD": 10.0})
    points += steady_points(range(0, 7200, 300), slow)
    document = record(samples=[sample(1, sampled_at=at(1, 140).isoformat())])
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(points)))
    (row,) = rows_of(store, schema.TRAINING_SAMPLES)
    ages = {name: row[f"{name}_age_s"] for name in ("pH", "OD", "CER", "OUR")}
    assert ages == {"pH": 20.0, "OD": 50.0, "CER": 110.0, "OUR": 110.0}
    assert None not in [row[name] for name in ("OD", "mu", "CER", "OUR", "RQ", "kLa")]
    assert (row["match_status"], row["match_delta_s"], row["match_feature"]) == ("nearest", 110.0, "CER")
    sensors = {row["sensor"]: row for row in rows_of(store, schema.SAMPLE_SENSORS)}
    assert (sensors["OD"]["age_s"], sensors["OD"]["validity"]) == (50.0, "ok")
    assert (sensors["Off_Gas_O2"]["age_s"], sensors["Off_Gas_O2"]["validity"]) == (110.0, "old")


@pytest.mark.case("fermentation/bounds-cut-noise-at-zero")
def test_noise_around_a_bound_is_marked_and_not_cut(store, tmp_path):
    """Half of the readings of an oxygen-limited culture are below 0; their mean is 0."""
    points = [(at(seconds=s), "DO", 0.3 * (-1) ** s + 40 * (s < 600)) for s in range(1200)]
    points += [(at(seconds=s), "Temp_Broth", 41.5) for s in range(0, 1200, 10)]
    run(store, put_batch(tmp_path / "batch-1", record(), sensor_csv(points)))
    last = rows_of(store, schema.FEATURES)[-1]
    assert last["DO"] == pytest.approx(0.0, abs=1e-12)
    assert last["temp"] == 41.5
    windows = [row for row in rows_of(store, schema.SENSOR_WINDOWS) if row["sensor"] == "DO"]
    assert (windows[-1]["count"], windows[-1]["outside"]) == (30, 15)


def test_a_sensor_logged_on_change_is_held_up_to_its_limit(store, tmp_path):
    points = steady_points(range(0, 3600, 10), {"pH": 5.0})
    points += [(at(seconds=s), "Stir_SP", v) for s, v in ((0, 500.0), (615, 700.0), (1500, 900.0))]
    folder = put_batch(tmp_path / "batch-1", record(), sensor_csv(points))
    run(store, folder, settings=FermentationSettings(hold_s={"Stir_SP": 1800}))
    held = {
        (row["window_start"] - at()).total_seconds(): row
        for row in rows_of(store, schema.SENSOR_WINDOWS)
        if row["sensor"] == "Stir_SP"
    }
    assert (held[300]["mean"], held[300]["held"], held[300]["count"]) == (500.0, True, 0)
    assert (held[600]["mean"], held[600]["held"]) == (600.0, False), "half of the window each"
    assert held[3270]["mean"] == 900.0
    assert max(held) == 3270, "1800 s after the last change"


def test_two_values_at_one_time_are_two_series_that_nobody_told_apart(store, tmp_path):
    points = steady_points(range(-600, 73_000, 30))
    both = points + [(time, name, value + 2) for time, name, value in points if name == "pH"]
    why = verdict(store, tmp_path / "batch-1", record(), sensors=sensor_csv(both)) or ""
    assert why.endswith("could not be used")
    (rule,) = [row for row in rows_of(store, schema.RULES) if row["rule"].startswith("Sensors were silent")]
    assert "pH has two values at one time" in rule["settle"]


def test_an_analyser_in_another_unit_is_seen_in_the_respiratory_quotient(store, tmp_path):
    """As a fraction the readings of CO2 all can be percent, only that no culture breathes so."""
    points = [
        (time, name, value / 100 if name == "Off_Gas_CO2" else value)
        for time, name, value in steady_points(range(-3600, 73_000, 30))
    ]
    assert "gas rates cannot be in 100.0% of the run" in (
        verdict(store, tmp_path / "batch-1", record(), sensors=sensor_csv(points)) or ""
    )


def test_the_plan_says_which_sensors_a_batch_needs(store, tmp_path):
    """One that it does not need may be absent, also of those with a formula; its own tags count as well."""
    points = [point for point in steady_points(range(-600, 73_000, 30)) if point[1] != "pH"]
    for needed, reason in ((["DO"], None), (["DO", "Stir_torque"], "no points of Stir_torque in the run")):
        settings = FermentationSettings.model_validate({"plan": {"needed": needed}})
        found = verdict(store, tmp_path / "batch-1", record(), settings, sensor_csv(points))
        assert found == reason


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"needed": ["pHH"]}, "needs 'pHH', which is neither a feature nor a sensor"),
        ({"sensors": {"OD": None}}, "needs OD, but has no sensor with the role OD"),
        ({"sensors": {"Gas_Flow_Inlet": {"unit": "sL/h"}}}, "'sL/h', but the formulas take flow_in in L/min"),
        ({"sensors": {"Feed": {"unit": "mL/h", "role": "feed"}}}, "take feed in mL/min"),
        ({"sensors": {"pH": {"possible": [14, 0]}}}, "smaller bound stands first"),
        ({"inherit": False, "name": "x", "sensors": {}}, "no sensors"),
    ],
)
def test_a_plan_by_which_nothing_right_can_be_computed_is_refused(plan, said):
    with pytest.raises(ValueError, match=said):
        FermentationSettings.model_validate({"plan": plan})
    FermentationSettings.model_validate(
        {"plan": {"sensors": {"Temp_Broth": {"unit": "Cel"}, "DO": {"unit": "%{sat}"}}}}
    )


@pytest.mark.parametrize("name", ["Off_Gas_O2", "OD"])
def test_a_batch_without_a_sensor_that_is_needed_is_not_known_to_be_good(store, tmp_path, name):
    """What it would have said of the run is not known, however complete the others are."""
    others = {sensor: value for sensor, value in STEADY.items() if sensor != name}
    points = steady_points(range(-600, 20 * 3600 + 1, 60), others)
    run(store, put_batch(tmp_path / "batch-1", record(samples=[]), sensor_csv(points)))
    (rule,) = [row for row in rows_of(store, schema.RULES) if row["rule"].startswith("Sensors were silent")]
    assert (rule["verdict"], rule["reason"]) == ("unknown", f"no points of {name} in the run")
    assert "deliver them" in rule["settle"]
    assert not rows_of(store, schema.ELIGIBILITY)[0]["eligible"]
    assert generation(store, "features").checks["frozen_sensors"].detail == f"Not known of {name}: no points."


def frozen_points(name: str, value: float, hours: tuple[float, float], noise: float) -> list:
    """Sensors once in 20 s with the noise of each; one reads the same for some hours."""
    random = np.random.default_rng(3)
    found = []
    for sensor, steady in STEADY.items():
        for second in range(-600, 20 * 3600 + 1, 20):
            hangs = sensor == name and hours[0] * 3600 <= second < hours[1] * 3600
            reading = value if hangs else round(steady + random.normal(0, noise * steady), 4)
            found.append((at(seconds=second), sensor, reading))
    return found


def test_a_sensor_that_hangs_at_a_value_that_can_be_is_told_and_not_trained_on(store, tmp_path):
    points = frozen_points("Off_Gas_O2", 19.7, (5, 9), 0.0005)
    run(store, put_batch(tmp_path / "batch-1", record(), sensor_csv(points)))
    (fact,) = [row for row in rows_of(store, schema.SENSOR_FACTS) if row["frozen_s"]]
    assert (fact["sensor"], fact["flags"].split()[-1], fact["frozen_at"]) == ("Off_Gas_O2", "frozen", at(5))
    assert fact["frozen_s"] == pytest.approx(4 * 3600, abs=60)
    (row,) = rows_of(store, schema.ELIGIBILITY)
    assert "Off_Gas_O2 was frozen for 4.0 h, at 19.7 from 2025-10-21 15:30:00 UTC" in row["ineligible_reason"]
    assert not generation(store, "features").checks["frozen_sensors"].passed
    validity = {
        row["sample_id"]: row["validity"]
        for row in rows_of(store, schema.SAMPLE_SENSORS)
        if row["sensor"] == "Off_Gas_O2"
    }
    assert "frozen" in validity[4], "the sample at 6 h"
    assert "frozen" not in validity[3], "the sample at 4 h"
    reasons = {row["sample_id"]: row["ineligible_reason"] for row in rows_of(store, schema.TRAINING_SAMPLES)}
    assert "Off_Gas_O2 frozen at the sample" in reasons[4]
    assert "frozen at the sample" not in reasons[3]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ("hangs", 1),
        ("set point", 0),
        ("coarse", 0),
        ("end of the scale", 0),
        ("never changes", 1),
        ("minutes", 0),
    ],
)
def test_the_same_reading_is_suspect_only_where_the_sensor_has_noise(readings, expected):
    random, times = np.random.default_rng(5), np.arange(0, 20 * 3600, 10) * 1_000_000
    noisy = np.round(random.normal(60, 0.4, len(times)), 1)
    hours = times / 3600e6
    values = {
        "hangs": np.where((hours > 3) & (hours < 4), 60.1, noisy),
        "set point": np.round(np.clip(500 + 200 * (hours - 8), 500, 1700)),
        "coarse": np.round(60 + 0.4 * np.sin(hours) + random.normal(0, 0.05, len(times))),
        "end of the scale": np.where((hours > 3) & (hours < 8), 0.0, noisy),
        "never changes": np.full(len(times), 60.0),
        "minutes": np.where((hours > 3) & (hours < 3.2), 60.1, noisy),
    }[readings]
    sensor = Sensor(unit="%", expected=(0, 120), frozen_s=12 * 3600)
    assert len(frozen_stretches(times, values, sensor)) == expected


def test_a_sensor_that_the_site_holds_is_not_frozen(store, tmp_path):
    points = frozen_points("Off_Gas_O2", 19.7, (5, 9), 0.0005)
    folder = put_batch(tmp_path / "batch-1", record(), sensor_csv(points))
    run(store, folder, settings=FermentationSettings(hold_s={"Off_Gas_O2": 600}))
    assert not any(row["frozen_s"] for row in rows_of(store, schema.SENSOR_FACTS))
    assert "frozen" not in rows_of(store, schema.ELIGIBILITY)[0]["ineligible_reason"]


def test_a_long_silence_is_no_dropout_of_nothing(store, tmp_path):
    """Bursts of points do not make up for hours without any."""
    settings = FermentationSettings(rates_hz={"pH": 1 / 60})
    points = [*steady_points(range(0, 6 * 3600, 20), {"pH": 5.0}), (at(18), "pH", 5.0)]
    document = record(batch={"completed_at": at(18).isoformat()}, closure=None)
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(points)), settings=settings)
    assert rows_of(store, schema.ELIGIBILITY)[0]["dropout"] == pytest.approx(12 / 18, abs=0.001)


def test_points_that_could_not_be_read_are_not_known(store, tmp_path):
    """Nine in ten are texts: what is left is regular, and no silence tells of them."""
    points = [
        (time, name, value if number % 10 == 0 else "n/a")
        for number, (time, name, value) in enumerate(steady_points(range(-600, 73_000, 30)))
    ]
    run(store, put_batch(tmp_path / "batch-1", record(), sensor_csv(points)))
    (rule,) = [row for row in rows_of(store, schema.RULES) if row["rule"].startswith("Sensors were silent")]
    assert rule["verdict"] == "unknown"
    lost = sum(value == "n/a" for *_, value in points)
    assert f"{lost} sensor points (90.0%) could not be used" in rule["reason"]
    assert "sensors.csv: DO: the value is missing or not a number. (2209 points)" in rule["settle"]
