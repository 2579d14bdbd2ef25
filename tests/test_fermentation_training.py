"""Samples get the features of their moment, never of the future, and batches are judged by the run plan."""

from datetime import timedelta
from pathlib import Path

import pytest
from fermentation_inbox import (
    SCHEDULE,
    STEADY,
    all_steps,
    at,
    put_batch,
    record,
    rows_of,
    run,
    sample,
    sensor_csv,
    steady_points,
    wide_rows,
)

from sheaf.fermentation import schema
from sheaf.fermentation.analysis.eligibility import Evidence, judge, reasons
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store

SLOW = FermentationSettings(rates_hz=dict.fromkeys(STEADY, 1 / 30))
RUN = range(-600, 20 * 3600 + 1, 30)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def joined(store: Store) -> list[dict]:
    return rows_of(store, schema.TRAINING_SAMPLES)


@pytest.mark.case("fermentation/preinoculation-match")
def test_a_good_batch_is_eligible_and_every_sample_matches(store, tmp_path):
    _, _, report = run(store, put_batch(tmp_path / "batch-1", record(), sensor_csv(steady_points(RUN))), settings=SLOW)
    rows = joined(store)
    assert [row["match_status"] for row in rows] == ["none"] + ["exact"] * (len(SCHEDULE) - 1)
    assert {(row["eligible"], row["ineligible_reason"], row["split"]) for row in rows[1:]} == {(True, None, "train")}
    assert not rows[0]["eligible"], "a sample at inoculation has no culture before it"
    assert {key: rows[0][key] for key in ("pH", "OD", "qO2")} == {"pH": None, "OD": None, "qO2": None}
    assert {key: rows[3][key] for key in ("pH", "DO", "temp", "OD")} == {"pH": 5, "DO": 60, "temp": 30, "OD": 10}
    assert rows[3]["CER"] == pytest.approx(0.0285564 * 0.9 / 1.0 * 22.4 / 22.414, rel=2e-3)
    assert rows[3]["dcw_g_per_l"] is None
    assert report.counts["eligible"] == 1
    assert report.warnings == ()
    assert {row["verdict"] for row in rows_of(store, schema.RULES)} == {"holds"}


def test_names_of_the_specification_are_columns(store, tmp_path):
    run(store, put_batch(tmp_path / "batch-1", record()))
    names = wide_rows(store, schema.TRAINING_SAMPLES)[0].keys()
    assert {"pH", "DO", "temp", "OD", "CER", "OUR", "RQ", "mu", "kLa", "qO2", "qCO2"} <= set(names)
    assert {f"Temp_Broth_{statistic}" for statistic in ("mean", "std", "min", "max", "slope", "count")} <= set(names)


@pytest.mark.parametrize(
    ("seconds", "status", "delta"),
    [(0, "exact", 0), (29, "exact", 29), (30, "within_tol", 30), (31, "within_tol", 31), (60, "within_tol", 60),
     (61, "nearest", 61), (300, "nearest", 300), (301, "none", None)],
)  # fmt: skip
def test_match_status_tells_how_old_the_window_is(store, tmp_path, seconds, status, delta):
    """The last window with data ends at 1 h; the sample comes some seconds later, data resume after 10 min."""
    points = steady_points(range(3000, 5400, 2), silent=range(3600, 4200))
    document = record(samples=[sample(0, sampled_at=at(1, seconds).isoformat())])
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(points)))
    (row,) = joined(store)
    assert (row["match_status"], row["match_delta_s"]) == (status, delta)
    assert row["pH"] == (None if status == "none" else 5.0)


def test_nothing_after_the_sample_is_used_unless_asked_for(store, tmp_path):
    points = steady_points(range(3600, 4200, 2))
    document = record(samples=[sample(0, sampled_at=at(1, -40).isoformat())])
    folder = put_batch(tmp_path / "batch-1", document, sensor_csv(points))
    run(store, folder)
    assert joined(store)[0]["match_status"] == "none"
    run(store, folder, settings=FermentationSettings(match_look_ahead=True))
    (row,) = joined(store)
    assert (row["match_status"], row["match_delta_s"]) == ("nearest", -70.0)


def test_values_that_change_at_the_sample_are_those_from_before_it(store, tmp_path):
    points = [(at(seconds=s), "pH", 5.0 if s < 3600 else 6.0) for s in range(3000, 4200)]
    document = record(samples=[sample(1), sample(2, sampled_at=at(1, 29).isoformat(), replicate=True)])
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(points)))
    assert [row["pH"] for row in joined(store)] == [5.0, 5.0]


def test_a_sample_in_a_gap_keeps_its_row_without_features(store, tmp_path):
    """All sensors are silent from 12 min before the 8 h sample to 12 min after it."""
    silent = range(8 * 3600 - 720, 8 * 3600 + 720)
    folder = put_batch(tmp_path / "batch-1", record(), sensor_csv(steady_points(RUN, silent=silent)))
    _, _, report = run(store, folder, settings=SLOW)
    rows = joined(store)
    assert [row["match_status"] for row in rows] == ["none"] + ["exact"] * 3 + ["none"] + ["exact"] * 3
    assert all(rows[4][name] is None for name in schema.MATCHED)
    assert any("batch-1: sample 5 has no features because of a gap of 24 min" in text for text in report.warnings)
    assert report.counts["dropout_percent"] == pytest.approx(2.0, abs=0.05)
    assert "sensor dropout 2.00% is not below 1%" in rows[0]["ineligible_reason"]
    assert not any(row["eligible"] for row in rows)


def test_phase_c_is_the_holdout(store, tmp_path):
    document = record(batch={"phase": "C", "batch_number": 16})
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(steady_points(RUN))), settings=SLOW)
    assert {(row["split"], row["eligible"]) for row in joined(store)[1:]} == {("holdout", True)}


def test_a_sample_before_inoculation_is_not_used_for_training(store, tmp_path):
    document = record(samples=[sample(-2), *record()["samples"]])
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(steady_points(RUN))), settings=SLOW)
    rows = joined(store)
    assert rows[0]["ineligible_reason"].startswith("sample was taken before inoculation")
    assert rows[0]["in_run"] is False
    assert all(row["eligible"] for row in rows[2:])


def test_superseded_samples_are_not_trained_on(store, tmp_path):
    document = record(samples=[sample(4, od600_raw=9.9), sample(4.05, od600_raw=0.5)])
    run(store, put_batch(tmp_path / "batch-1", document))
    assert [row["sample_id"] for row in joined(store)] == [2]


FAILURE = {"deviation_level": 1, "category": "Other", "reviewed_by": None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch": {"status": "running", "completed_at": None}}, "status is running"),
        ({"batch": {"status": "aborted"}}, "status is aborted"),
        ({"closure": {"outcome": "Aborted_Other"}}, "outcome is Aborted_Other"),
        ({"closure": {"total_runtime_hours": 28.0}}, "runtime 28.0 h is outside 16 to 26 h"),
        ({"closure": {"total_runtime_hours": 15.9}}, "runtime 15.9 h is outside 16 to 26 h"),
        ({"closure": {"do_spike_observed": False}}, "no DO spike observed"),
        ({"closure": {"glycerol_depletion_time_hours": 18.0}}, "no sample at glycerol depletion (18 h)"),
        ({"samples": [0, 2.3, 4, 6, 8, 12, 16, 20]}, "no sample at 2 h"),
        ({"failures": [FAILURE | {"deviation_level": 3}]}, "1 critical deviation(s)"),
        ({"failures": [FAILURE | {"deviation_level": 2}]}, "a major deviation is not reviewed"),
        ({"failures": [FAILURE | {"deviation_level": 2, "reviewed_by": "eng01"}] * 2}, "2 major deviations"),
        ({"failures": [FAILURE | {"category": "Contamination"}]}, "contamination reported as a deviation"),
        ({"contaminated": True}, "contamination in a sample"),
        ({"dropout": 0.01}, "sensor dropout 1.00% is not below 1%"),
        ({"dropout": None}, "no sensor data"),
        ({"failures": [FAILURE, FAILURE | {"deviation_level": 2, "reviewed_by": "eng01"}]}, None),
        ({}, None),
    ],
)
def test_each_acceptance_rule_alone_makes_a_batch_ineligible(changes, reason):
    batch = {"status": "complete", "inoculated_at": at(0), "completed_at": at(20), **changes.get("batch", {})}
    closure = {"outcome": "Complete", "total_runtime_hours": 20.0, "do_spike_observed": True,
               "glycerol_depletion_time_hours": 20.0, **changes.get("closure", {})}  # fmt: skip
    samples = [
        {
            "elapsed_hours": float(hours),
            "contamination_detected": bool(hours and changes.get("contaminated")),
            "superseded_by": None,
        }
        for hours in changes.get("samples", SCHEDULE)
    ]
    read = {"state": "read", "rejected": 0, "rejects": None}
    evidence = Evidence(
        batch=batch,
        samples=samples,
        failures=changes.get("failures", []),
        closure=closure,
        sections=dict.fromkeys(("samples", "failures", "inoculations"), read),
        dropout=changes.get("dropout", 0.0),
    )
    assert reasons(judge(evidence, SLOW.plan, 0.01)) == ([] if reason is None else [reason])


def test_late_records_change_the_verdict(store, tmp_path):
    """A deviation reported after completion, and a dry cell weight entered later, come with the next reading."""
    sensors = sensor_csv(steady_points(RUN))
    run(store, put_batch(tmp_path / "batch-1", record(), sensors), settings=SLOW)
    late = record(failures=[{**FAILURE, "category": "Contamination", "description": "found later"}])
    weights = {"dcw_sample_volume_ml": 5, "dcw_filter_wet_weight_g": 0.0912, "dcw_filter_dry_weight_g": 0.0947}
    late["samples"][-1] |= weights
    made = all_steps(store, put_batch(tmp_path / "batch-1", late), settings=SLOW)
    assert made["features"].unchanged, "the sensors are the same"
    rows = joined(store)
    assert rows[-1]["dcw_g_per_l"] == 0.7
    assert {row["ineligible_reason"] for row in rows[1:]} == {"contamination reported as a deviation"}
    assert rows[-1]["sampled_at"] - rows[0]["sampled_at"] == timedelta(hours=20)
