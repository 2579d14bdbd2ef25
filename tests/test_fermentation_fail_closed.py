"""What is missing or not known never makes a batch, or a label, good enough to train on."""

from pathlib import Path

import pytest
from fermentation_inbox import at, notes, put_batch, record, rows_of, run, sample, sensor_csv, steady_points

from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store

SENSORS = sensor_csv(steady_points(range(-600, 20 * 3600 + 1, 60)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def verdict(store: Store, folder: Path, document: dict, settings: FermentationSettings | None = None) -> str | None:
    """Why the batch is not eligible; None where it is."""
    run(store, put_batch(folder, document, SENSORS), settings=settings or FermentationSettings())
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
    assert verdict(store, tmp_path / "batch-1", document) is None
    rows = {row["sample_id"]: row for row in rows_of(store, schema.TRAINING_SAMPLES)}
    assert rows[3]["ineligible_reason"] == "label dcw implausible"
    assert rows[3]["dcw_g_per_l"] == pytest.approx(4040)
    assert "after the end of the run" in rows[9]["ineligible_reason"]
    assert "before inoculation" in rows[10]["ineligible_reason"]
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
    assert rule["reason"] == f"{lost} sensor points (90.0%) could not be read"
    assert "sensors.csv: DO: the value is missing or not a number. (2209 points)" in rule["settle"]
