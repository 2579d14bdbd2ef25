"""Windows, gas exchange, growth rate and gaps are what the raw points say."""

import io
from pathlib import Path

import numpy as np
import pytest
from fermentation_inbox import (
    SETTINGS,
    STEADY,
    T0,
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
from PIL import Image
from running import current, run_steps

from sheaf.errors import NotFoundError
from sheaf.fermentation import schema
from sheaf.fermentation.analysis.gaps import Coverage, Gap, sensor_coverage
from sheaf.fermentation.analysis.gas import Gas, inert_rates, upstream_rates
from sheaf.fermentation.analysis.growth import growth_rate
from sheaf.fermentation.analysis.windows import WINDOW_US, sensor_windows
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def features_of(store: Store, tmp_path: Path, points, document=None, settings=SETTINGS) -> list[dict]:
    folder = put_batch(tmp_path / "batch-1", document or record(), sensor_csv(points))
    run(store, folder, settings=settings)
    return wide_rows(store, schema.FEATURES)


def gaps_in(coverage: Coverage) -> list[Gap]:
    assert coverage.gaps is not None
    return sorted(coverage.gaps.longest(10), key=lambda gap: gap.start)


def coverage_of(store: Store, settings: FermentationSettings = SETTINGS) -> Coverage:
    return sensor_coverage(current(store, FERMENTATION, "batch-1"), settings)


def test_window_statistics_are_those_of_the_raw_points(store, tmp_path):
    random = np.random.default_rng(1)
    seconds = np.sort(random.choice(np.arange(0, 90, 0.25), 100, replace=False))
    values = 5 + random.normal(0, 0.1, len(seconds))
    points = [(at(seconds=float(s)), "pH", float(v)) for s, v in zip(seconds, values, strict=True)]
    rows = features_of(store, tmp_path, points)
    assert [row["window_start"] for row in rows] == [at(seconds=s) for s in (0, 30, 60)]
    for row, first in zip(rows, (0, 30, 60), strict=True):
        inside = (seconds >= first) & (seconds < first + 30)
        wanted = values[inside]
        assert row["pH_count"] == inside.sum()
        assert row["pH_mean"] == row["pH"] == pytest.approx(wanted.mean(), rel=1e-12)
        assert row["pH_std"] == pytest.approx(wanted.std(), rel=1e-9)
        assert (row["pH_min"], row["pH_max"]) == (wanted.min(), wanted.max())
        assert row["pH_slope"] == pytest.approx(np.polyfit(seconds[inside], wanted, 1)[0], rel=1e-6)
        assert row["elapsed_hours"] == pytest.approx((first + 30) / 3600)
        assert row["DO_mean"] is None
        assert row["DO_count"] == 0


def test_slope_is_against_time_and_one_point_has_neither_slope_nor_deviation(store, tmp_path):
    points = [(at(seconds=s), "OD", 1 + 0.01 * s) for s in (0, 1, 7, 29)] + [(at(seconds=45), "OD", 2.0)]
    first, second = features_of(store, tmp_path, points)
    assert first["OD_slope"] == pytest.approx(0.01)
    assert (second["OD_std"], second["OD_slope"], second["OD_mean"]) == (None, None, 2.0)


def test_windows_are_aligned_to_the_epoch_not_to_the_first_point(store, tmp_path):
    (row, _) = features_of(store, tmp_path, [(at(seconds=17), "pH", 5.0), (at(seconds=31), "pH", 5.0)])
    assert (row["window_start"], row["window_end"]) == (T0, at(seconds=30))


CONTRACT = FermentationSettings(
    vessel_volume_l=0.9, molar_volume_l=22.4, inlet_o2_percent=21.0, reference_pressure_bar=1.013
)


@pytest.mark.parametrize(
    ("suffix", "cer", "our", "rq"),
    [("", 0.0285564, 0.0300633, 0.94987), ("_upstream", 0.0297619, 0.0297619, 1.0)],
)
def test_gas_rates_of_both_balances(store, tmp_path, suffix, cer, our, rq):
    row = features_of(store, tmp_path, steady_points(range(60)), settings=CONTRACT)[0]
    assert [row[f"{name}{suffix}"] for name in ("CER", "OUR", "RQ")] == pytest.approx([cer, our, rq], rel=1e-4)
    assert row[f"qO2{suffix}"] == pytest.approx(our / 4, rel=1e-4)
    assert row[f"qCO2{suffix}"] == pytest.approx(cer / 4, rel=1e-4)
    assert row["kLa_upstream"] == pytest.approx(297.619, rel=1e-4)


def gas_of(**changes) -> Gas:
    inputs = {"flow_in": 1.0, "flow_out": np.nan, "o2": 20.0, "co2": 1.0, "pressure": 1.01325, "do": 60.0, "od": 10.0}
    return Gas(**{name: np.array([value]) for name, value in (inputs | {"volume_l": 1.0} | changes).items()})


def inert(**changes) -> dict[str, float]:
    found = inert_rates(gas_of(**changes), SETTINGS.constants(), SETTINGS.min_our_for_rq)
    return {name: values[0] for name, values in found.items()}


def test_gas_rates_are_empty_where_they_would_be_noise():
    assert np.isnan(inert(o2=20.95, co2=0.04)["RQ"])
    assert np.isnan(inert(do=95.0)["kLa"])
    assert np.isnan(inert(od=0.0)["qO2"])
    assert np.isnan(inert(flow_in=0.0)["OUR"]), "the flow meter is dead, not the culture"


@pytest.mark.parametrize(("o2", "do", "k_la"), [(20.0, 60, 200), (19.0, 40, 120), (19.3, 88, 60)])
@pytest.mark.case("fermentation/kla-driving-force")
def test_kla_is_that_of_a_vessel_with_mixed_gas(o2, do, k_la):
    """Own truth: OTR = kLa (C* - C) with C* of the outlet gas; the uptake is what the vessel transfers."""
    saturated = 8.0
    transfer = k_la * saturated * (o2 / 20.95 - do / 100) / 32_000
    y_o2, y_co2_in, y_o2_in = o2 / 100, 0.0004, 0.2095
    # Flow and CO2 that go with it, RQ 1: then as much gas leaves as enters.
    flow = transfer * 22.414 / 60 / (y_o2_in - y_o2)
    co2 = 100 * (y_co2_in + y_o2_in - y_o2)
    assert inert(o2=o2, co2=co2, do=do, flow_in=flow)["kLa"] == pytest.approx(k_la, rel=1e-9)


def test_a_mass_flow_controller_is_not_scaled_by_pressure_unless_the_plan_says_so():
    assert inert(pressure=1.3)["OUR"] == inert(pressure=1.05)["OUR"]
    actual = FermentationSettings(plan={"constants": {"gas_flow": "actual"}}).constants()
    found = [inert_rates(gas_of(pressure=bar), actual, 0.001)["OUR"][0] for bar in (1.01325, 2.0265)]
    assert found[1] == pytest.approx(2 * found[0])
    assert upstream_rates(gas_of(pressure=2.026), 0.001)["CER_upstream"] == pytest.approx(
        2 * upstream_rates(gas_of(pressure=1.013), 0.001)["CER_upstream"]
    )


@pytest.mark.case("fermentation/sterile-medium-breathes")
def test_sterile_medium_does_not_breathe(store, tmp_path):
    """The analyser reads 20.9 in air, as calibrations have it: by what it reads of inlet gas it is corrected."""
    before = {"Gas_Flow_Inlet": 0.9, "Off_Gas_O2": 20.9, "Off_Gas_CO2": 0.05, "Reactor_Pressure": 1.013, "DO": 99.0}
    points = steady_points(range(-1800, 1800, 10), before)
    rows = features_of(store, tmp_path, points)
    assert max(abs(row["OUR"]) for row in rows) < 1e-9
    assert max(abs(row["CER"]) for row in rows) < 1e-9
    assert all(row["RQ"] is None for row in rows)
    plain = features_of(store, tmp_path, points, settings=FermentationSettings(offgas_baseline="none"))
    assert plain[-1]["OUR"] > 0.001
    air = steady_points(range(0, 600, 10), before | {"Off_Gas_O2": 20.946, "Off_Gas_CO2": 0.04})
    uncalibrated = features_of(Store.open(str(tmp_path / "air")), tmp_path, air)
    assert abs(uncalibrated[-1]["OUR"]) < 0.0002


def test_inlet_gas_that_is_not_the_plans_gives_no_rate_and_excludes(store, tmp_path):
    points = steady_points(range(-1800, 600, 10), dict(STEADY))
    folder = put_batch(tmp_path / "batch-1", record(samples=[sample(0.1)]), sensor_csv(points))
    made = all_steps(store, folder)
    assert any("too far from the inlet gas" in text for text in made["features"].report.warnings)
    rows = rows_of(store, schema.FEATURES)
    assert {row["invalid"] for row in rows} == {"gas_inlet"}
    assert all(row[name] is None for row in rows for name in ("OUR", "CER", "qO2", "OUR_se", "OUR_upstream", "O2_mol"))
    (verdict,) = [row for row in rows_of(store, schema.RULES) if "inlet gas" in (row["reason"] or "")]
    assert verdict["verdict"] == "unknown"
    assert "inlet_o2_percent" in verdict["settle"]
    (row,) = rows_of(store, schema.TRAINING_SAMPLES)
    assert "no CER, OUR of the culture near the sample (not plausible: gas_inlet)" in row["ineligible_reason"]
    taken = features_of(
        Store.open(str(tmp_path / "own")), tmp_path, points, settings=FermentationSettings(offgas_baseline="none")
    )
    assert taken[-1]["OUR"] > 0.02


@pytest.mark.parametrize(("o2", "co2"), [(36.0, 1.0), (21.2, 1.0), (0.209, 1.0), (20.0, 60.0)])
def test_off_gas_that_cannot_be_gives_no_rate_where_it_is_broken(store, tmp_path, o2, co2):
    """More oxygen leaves than enters, or the vessel burns; the hour before and after it is as it is."""
    points = [
        (time, name, {"Off_Gas_O2": o2, "Off_Gas_CO2": co2}.get(name, value) if at(0.5) <= time < at(1) else value)
        for time, name, value in steady_points(range(-600, 7200, 10))
    ]
    folder = put_batch(
        tmp_path / "batch-1", record(samples=[sample(0.25), sample(0.75), sample(1.5)]), sensor_csv(points)
    )
    all_steps(store, folder)
    rows = rows_of(store, schema.FEATURES)
    broken = [row for row in rows if row["OUR"] is None]
    assert {row["invalid"] for row in broken} == {"gas_outlet"}
    assert [broken[0]["window_start"], broken[-1]["window_end"]] == [at(0.5), at(1)]
    assert all(row["CER"] is row["qCO2"] is row["CER_upstream"] is None for row in broken)
    before, within, after = rows_of(store, schema.TRAINING_SAMPLES)
    assert "(not plausible: gas_outlet)" in within["ineligible_reason"]
    assert before["OUR"] == pytest.approx(after["OUR"])
    (rule,) = [row for row in rows_of(store, schema.RULES) if "gas rates cannot be" in (row["reason"] or "")]
    assert rule["verdict"] == "unknown"


def test_a_measured_outlet_flow_counts_only_in_the_upstream_balance(store, tmp_path):
    points = steady_points(range(30), STEADY | {"Gas_Flow_Outlet": 0.9})
    rows = features_of(store, tmp_path, points, settings=CONTRACT)
    assert rows[0]["OUR"] == pytest.approx(0.0300633, rel=1e-4)
    assert rows[0]["OUR_upstream"] == pytest.approx(60 * (0.21 - 0.9 * 0.2) / 0.9 / 22.4, rel=1e-6)


def test_growth_rate_of_exponential_growth_with_noise_and_missing_windows():
    hours = np.arange(0, 4, 30 / 3600)
    od = np.exp(0.23 * hours) * (1 + np.random.default_rng(3).normal(0, 0.002, len(hours)))
    od[100:110] = np.nan
    mu, error = growth_rate(od, 30, 20)
    assert np.isnan(mu[:10]).all()
    assert np.isnan(mu[100:110]).all()
    assert np.nanmax(np.abs(mu[41:] - 0.23)) < 0.02
    assert np.mean(np.abs(mu[41:] - 0.23) < 2 * error[41:]) == pytest.approx(0.95, abs=0.1), "two errors hold 95 %"
    assert growth_rate(np.exp(0.23 * hours), 30, 20)[0][200] == pytest.approx(0.23, rel=1e-9)


def test_growth_rate_never_looks_ahead():
    od = np.exp(0.2 * np.arange(0, 2, 30 / 3600))
    changed = od.copy()
    changed[150:] *= 3
    assert np.array_equal(growth_rate(od, 30, 20)[0][:150], growth_rate(changed, 30, 20)[0][:150], equal_nan=True)


def test_the_inoculum_is_no_growth(store, tmp_path):
    points = [(at(seconds=s), "OD", 0.01 if s < 0 else 0.6) for s in range(-3600, 3600, 10)]
    mu = [row["mu"] for row in features_of(store, tmp_path, points)]
    assert all(value is None for value in mu[:139])
    assert mu[-60:] == pytest.approx([0] * 60, abs=1e-9)


def test_completeness_counts_points_that_never_came(store, tmp_path):
    """Of one sensor every third point of a stretch never came, then none."""
    points = steady_points(range(60), {"pH": 5.0})
    points += [(at(seconds=s), "DO", 60.0) for s in range(30) if s % 3]
    first, second = features_of(store, tmp_path, points)
    assert (first["completeness"], first["complete"], first["gap_sensors"]) == (pytest.approx(5 / 6), False, None)
    assert (second["completeness"], second["complete"], second["gap_sensors"]) == (0.5, False, "DO")


def test_a_slow_sensor_is_complete_at_its_own_rate(store, tmp_path):
    (row,) = features_of(store, tmp_path, steady_points(range(0, 30, 10), {"Weight": 5.0}))
    assert (row["completeness"], row["complete"]) == (1.0, True)


def test_windows_of_an_outage_are_there_and_empty(store, tmp_path):
    rows = features_of(store, tmp_path, steady_points(range(180), {"pH": 5.0}, silent=range(30, 120)))
    assert [row["completeness"] for row in rows] == [1, 0, 0, 0, 1, 1]
    assert [row["pH"] for row in rows] == [5.0, None, None, None, 5.0, 5.0]


def test_gaps_and_dropout_are_found_from_absent_points(store, tmp_path):
    closing = record(batch={"completed_at": at(1).isoformat()}, closure=None)
    points = steady_points(range(3600), {"pH": 5.0}, silent=range(600, 690))
    points += steady_points(range(0, 3600, 10), {"Weight": 5.0})
    folder = put_batch(tmp_path / "batch-1", closing, sensor_csv(points))
    run(store, folder)
    found = coverage_of(store)
    (gap,) = gaps_in(found)
    assert (gap, gap.seconds) == (Gap("pH", at(seconds=599), at(seconds=690)), 91)
    assert (found.sensors, found.unknown) == (2, "")
    assert found.dropout == pytest.approx(90 / 3600 / 2)
    assert not gaps_in(coverage_of(store, FermentationSettings(gap_s=92)))


def test_a_sensor_that_stops_early_is_a_gap_to_the_end(store, tmp_path):
    closing = record(batch={"completed_at": at(1).isoformat()}, closure=None)
    points = steady_points(range(1800), {"pH": 5.0})
    run(store, put_batch(tmp_path / "batch-1", closing, sensor_csv(points)))
    assert gaps_in(coverage_of(store)) == [Gap("pH", at(seconds=1799), at(1))]


def test_a_sensor_that_only_sent_before_the_run_is_one_gap(store, tmp_path):
    closing = record(batch={"completed_at": at(1).isoformat()}, closure=None)
    points = steady_points(range(3600), {"pH": 5.0}) + steady_points(range(-60, -1), {"DO": 60.0})
    run(store, put_batch(tmp_path / "batch-1", closing, sensor_csv(points)))
    found = coverage_of(store)
    assert gaps_in(found) == [Gap("DO", at(0), at(1))]
    assert found.dropout == pytest.approx(0.5, abs=1e-3)


def test_a_running_batch_is_looked_at_up_to_its_last_point(store, tmp_path):
    running = record(batch={"status": "running", "completed_at": None}, closure=None)
    points = steady_points(range(1800), {"pH": 5.0}) + steady_points(range(600), {"DO": 60.0})
    run(store, put_batch(tmp_path / "batch-1", running, sensor_csv(points)))
    assert gaps_in(coverage_of(store)) == [Gap("DO", at(seconds=599), at(seconds=1799))]


def test_gaps_are_found_across_the_pieces_of_a_long_series(store, tmp_path):
    """A sensor's points come in many pieces; none is missed or doubled where one ends."""
    closing = record(batch={"completed_at": at(12).isoformat()}, closure=None)
    points = steady_points(range(43_201), {"DO": 60.0})
    points += steady_points(range(43_201), {"pH": 5.0}, silent=range(20_000, 20_100))
    run(store, put_batch(tmp_path / "batch-1", closing, sensor_csv(points)))
    found = coverage_of(store)
    assert gaps_in(found) == [Gap("pH", at(seconds=19_999), at(seconds=20_100))]
    assert found.dropout == pytest.approx(100 / 86_400)


@pytest.mark.parametrize(
    ("batch", "sensors", "why"),
    [
        (
            {"inoculated_at": None, "status": "pending", "completed_at": None},
            steady_points(range(60)),
            "not inoculated",
        ),
        ({}, [], "there are no sensor points"),
        ({"completed_at": at(-1).isoformat()}, steady_points(range(60)), "the run has no length"),
        ({"completed_at": None, "status": "running"}, steady_points(range(-60, 0)), "the run has no length"),
    ],
)
def test_a_batch_whose_sensors_cannot_be_judged_is_not_green(store, tmp_path, batch, sensors, why):
    document = record(batch=batch, closure=None, inoculation=None)
    folder = put_batch(tmp_path / "batch-1", document, sensor_csv(sensors) if sensors else None)
    made = all_steps(store, folder)
    assert coverage_of(store).dropout is None
    verdict = made["features"].generation.checks["sensor_gaps"]
    assert not verdict.passed
    assert verdict.detail.startswith("Not checked: ")
    assert why in verdict.detail


def test_the_check_tells_how_long_the_gaps_are(store, tmp_path):
    closing = record(batch={"completed_at": at(1).isoformat()}, closure=None)
    points = steady_points(range(3600), {"pH": 5.0, "DO": 60.0})
    folder = put_batch(tmp_path / "batch-1", closing, sensor_csv(points))
    verdict = all_steps(store, folder)["features"].generation.checks["sensor_gaps"]
    assert verdict.passed
    assert verdict.detail.startswith("none of 2 sensors was silent for long")
    points = steady_points(range(3600), {"pH": 5.0}) + steady_points(range(3600), {"DO": 60.0}, silent=range(600, 900))
    put_batch(folder, closing, sensor_csv(points))
    verdict = all_steps(Store.open(str(tmp_path / "other")), folder)["features"].generation.checks["sensor_gaps"]
    assert not verdict.passed
    assert verdict.detail == (
        "1 gaps, the longest: DO for 301 s from 2025-10-21 10:39:59 UTC; 4.17% of the expected points are missing."
    )


def test_equal_points_give_equal_bytes_and_small_plots(store, tmp_path):
    random = np.random.default_rng(5)
    points = [
        (at(seconds=s), name, v + float(random.normal(0, 0.01))) for s in range(1200) for name, v in STEADY.items()
    ]
    folder = put_batch(tmp_path / "batch-1", record(), sensor_csv(points))
    first = all_steps(store, folder)
    again = [all_steps(Store.open(str(tmp_path / name)), folder) for name in ("a", "b", "c")]
    for name in ("features", "training_samples"):
        assert {made[name].generation.data_version for made in again} == {first[name].generation.data_version}
        assert all(made[name].report.plots() == first[name].report.plots() for made in again)
    for png in (*first["features"].report.plots().values(), *first["training_samples"].report.plots().values()):
        assert png.startswith(b"\x89PNG")
        assert len(png) < 50_000


def colours(png: bytes) -> dict[str, int]:
    """How many pixels are shaded as a gap, and how many belong to the curve."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return {
        "gap": int((pixels == 217).all(axis=2).sum()),
        "curve": int(((green - red > 60) & (green - blue > 60)).sum()),
    }


@pytest.mark.parametrize("first", [0, 30])
@pytest.mark.case("fermentation/minute-sensors")
def test_sensors_that_speak_once_a_minute_are_drawn_and_not_shaded(store, tmp_path, first):
    """Every other window of 30 s has no point, whether it is the odd or the even ones."""
    points = [(at(seconds=s), "OD", 1.1 ** (s / 3600)) for s in range(first, 28 * 3600, 60)]
    _, report, _ = run(store, put_batch(tmp_path / "batch-1", record(), sensor_csv(points)))
    drawn = colours(report.plots()["Growth rate"])
    assert drawn["gap"] < 100, "edges of letters"
    assert drawn["curve"] > 500
    other = Store.open(str(tmp_path / "other"))
    silent = [point for point in points if not at(9) < point[0] < at(12)]
    _, report, _ = run(other, put_batch(tmp_path / "batch-1", record(), sensor_csv(silent)))
    assert colours(report.plots()["Growth rate"])["gap"] > 5000


def test_no_sensors_give_no_windows_but_the_full_schema(store, tmp_path):
    _, report, _ = run(store, put_batch(tmp_path / "batch-1", record()))
    assert report.counts["windows"] == 0
    found = current(store, FERMENTATION, "batch-1").read(schema.FEATURES)
    assert found.schema.names == schema.FEATURES.schema.names


def test_features_of_a_batch_never_ingested_are_a_clear_error(store, tmp_path):
    with pytest.raises(NotFoundError, match="sheaf run fermentation nobody"):
        run_steps(store, FERMENTATION, "nobody", SETTINGS, tmp_path, ingest, only=["features"])


def test_windows_are_what_numpy_says_of_each(tmp_path):
    """Points at uneven times, some windows with one point or none."""
    random = np.random.default_rng(9)
    times = np.unique(random.integers(0, 7200 * 10**6, 700)) + int(T0.timestamp()) * 1_000_000
    values = random.normal(5, 1, len(times))
    found = sensor_windows("pH", times, values, np.empty((0, 2), np.int64), SETTINGS)
    assert len(found["bucket"]) > 200
    for row, bucket in enumerate(found["bucket"]):
        inside = times // WINDOW_US == bucket
        own, seconds = values[inside], (times[inside] % WINDOW_US) / 1e6
        assert found["count"][row] == len(own)
        assert found["mean"][row] == pytest.approx(own.mean(), rel=1e-12)
        if len(own) > 1:
            assert found["std"][row] == pytest.approx(own.std(), rel=1e-9)
            assert found["slope"][row] == pytest.approx(np.polyfit(seconds, own, 1)[0], rel=1e-6, abs=1e-9)
        else:
            assert np.isnan([found["std"][row], found["slope"][row]]).all()


def test_volume_is_what_went_in_and_out(store, tmp_path):
    """Against a sum by hand: 0.85 L medium, 120 mL inoculum, base at two rates, feed, samples before and after."""
    document = record(
        samples=[
            sample(hours, sample_volume_ml=ml) for hours, ml in ((-0.5, 10), (0, 10), (1, 12.5), (1.05, 8), (3, 5))
        ],
        media_preparation={"glycerol_g": 40, "final_volume_l": 0.85},
    )
    document["inoculation"]["inoculum_volume_ml"] = 120.0
    document["samples"][2]["replicate"] = document["samples"][3]["replicate"] = True
    plan = {"sensors": {"Feed_Pump": {"unit": "mL/min", "role": "feed", "expected": [0, 5]}}}
    points = [(at(seconds=second), "Base_Pump_Rate", 0.2 if second < 3600 else 0.5) for second in range(0, 14_400, 30)]
    points += [
        (at(seconds=second), "Feed_Pump", 2.0 if 3600 <= second < 4200 else 0.0) for second in range(0, 14_400, 30)
    ]
    folder = put_batch(tmp_path / "batch-1", document, sensor_csv(points))
    run(store, folder, settings=FermentationSettings(plan=plan))
    rows = {row["window_end"]: row for row in rows_of(store, schema.FEATURES)}

    def by_hand(hours: float) -> float:
        base = 60 * (0.2 * min(hours, 1) + 0.5 * max(hours - 1, 0))
        fed = 2.0 * 60 * min(max(hours - 1, 0), 1 / 6)
        drawn = sum(ml for moment, ml in ((0, 10), (1, 12.5), (1.05, 8), (3, 5)) if moment < hours)
        return (850 + 120 + base + fed - drawn) / 1000

    for hours in (0.25, 0.99, 1.1, 1.5, 2.9, 3.5):
        moment = at(hours)
        row = rows[moment.replace(second=0 if moment.second < 30 else 30)]
        # A window's total is that of its middle; the pumps' step is a trapezoid of one window.
        assert row["volume_l"] == pytest.approx(by_hand(row["elapsed_hours"]), abs=0.0015)
    (event,) = rows_of(store, schema.FEED_EVENTS)
    assert (event["start"], event["end"]) == (at(1), at(1, 600))
    assert event["volume_ml"] == pytest.approx(20)
    assert rows[at(2)]["feed_ml"] == pytest.approx(20, abs=1)
    assert rows[at(2)]["feed_age_h"] == pytest.approx(1)
    assert rows[at(2)]["feed_events"] == 1
    (row,) = rows_of(store, schema.YIELDS)
    assert row["base_ml"] == pytest.approx(12 + 0.5 * 60 * 3, abs=0.5)


def test_a_feed_that_is_known_gives_the_substrate_rate(store, tmp_path):
    plan = {
        "sensors": {"Feed_Pump": {"unit": "mL/min", "role": "feed", "expected": [0, 5]}},
        "constants": {"feed_g_per_ml": 0.5},
    }
    points = steady_points(range(0, 3600, 10), {"OD": 10.0, "Feed_Pump": 0.1})
    folder = put_batch(tmp_path / "batch-1", record(samples=[]), sensor_csv(points))
    run(store, folder, settings=FermentationSettings(plan=plan, vessel_volume_l=1.0))
    row = rows_of(store, schema.FEATURES)[60]
    grams = 0.1 * 60 * 0.5  # per hour
    assert row["qS"] == pytest.approx(grams / (0.4 * 10.0 * row["volume_l"]))
    assert row["volume_l"] == pytest.approx(1.0 + 0.1 * 30.5 / 1000, abs=1e-4)
