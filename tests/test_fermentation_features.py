"""Windows, gas exchange, growth rate and gaps are what the raw points say."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fermentation_inbox import SETTINGS, STEADY, T0, at, put_batch, record, run, sensor_csv, steady_points

from sheaf import tables
from sheaf.errors import NotFoundError
from sheaf.fermentation import schema
from sheaf.fermentation.features import build_features, sensor_points, window_columns
from sheaf.fermentation.gaps import dropout_share, sensor_gaps
from sheaf.fermentation.gas import gas_rates
from sheaf.fermentation.growth import growth_rate
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def features_of(store: Store, tmp_path: Path, points, document=None) -> list[dict]:
    folder = put_batch(tmp_path / "batch-1", document or record(), sensor_csv(points))
    run(store, folder)
    return tables.read(store, schema.FEATURES, "batch-1").to_pylist()


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


@pytest.mark.parametrize(
    ("suffix", "cer", "our", "rq", "kla"),
    [("", 0.0285564, 0.0300633, 0.94987, 300.633), ("_upstream", 0.0297619, 0.0297619, 1.0, 297.619)],
)
def test_gas_rates_of_both_balances(store, tmp_path, suffix, cer, our, rq, kla):
    row = features_of(store, tmp_path, steady_points(range(60)))[0]
    found = [row[f"{name}{suffix}"] for name in ("CER", "OUR", "RQ", "kLa")]
    assert found == pytest.approx([cer, our, rq, kla], rel=1e-4)
    assert row[f"qO2{suffix}"] == pytest.approx(our / 4, rel=1e-4)
    assert row[f"qCO2{suffix}"] == pytest.approx(cer / 4, rel=1e-4)


def test_gas_rates_are_empty_where_they_would_be_noise():
    def rates(**changes):
        inputs = {"flow_in": 1.0, "o2": 20.0, "co2": 1.0, "pressure": 1.013, "do": 60.0, "od": 10.0} | changes
        arrays = {name: np.array([value]) for name, value in inputs.items()}
        found = gas_rates(**arrays, flow_out=None, balance="upstream", settings=SETTINGS)
        return {name: values[0] for name, values in found.items()}

    assert np.isnan(rates(o2=21.0)["RQ"])
    assert np.isnan(rates(do=99.5)["kLa"])
    assert np.isnan(rates(od=0.0)["qO2"])
    assert rates(pressure=2.026)["CER"] == pytest.approx(2 * rates()["CER"])


def test_a_measured_outlet_flow_counts_only_in_the_upstream_balance(store, tmp_path):
    rows = features_of(store, tmp_path, steady_points(range(30), STEADY | {"Gas_Flow_Outlet": 0.9}))
    assert rows[0]["OUR"] == pytest.approx(0.0300633, rel=1e-4)
    assert rows[0]["OUR_upstream"] == pytest.approx(60 * (0.21 - 0.9 * 0.2) / 0.9 / 22.4, rel=1e-6)


def test_growth_rate_of_exponential_growth_with_noise_and_missing_windows():
    hours = np.arange(0, 4, 30 / 3600)
    od = np.exp(0.23 * hours) * (1 + np.random.default_rng(3).normal(0, 0.002, len(hours)))
    od[100:110] = np.nan
    mu = growth_rate(od, 30, 20)
    assert np.isnan(mu[:10]).all()
    assert np.isnan(mu[100:110]).all()
    assert np.nanmax(np.abs(mu[41:] - 0.23)) < 0.02
    assert growth_rate(np.exp(0.23 * hours), 30, 20)[200] == pytest.approx(0.23, rel=1e-9)


def test_growth_rate_never_looks_ahead():
    od = np.exp(0.2 * np.arange(0, 2, 30 / 3600))
    changed = od.copy()
    changed[150:] *= 3
    assert np.array_equal(growth_rate(od, 30, 20)[:150], growth_rate(changed, 30, 20)[:150], equal_nan=True)


def test_the_inoculum_is_no_growth(store, tmp_path):
    points = [(at(seconds=s), "OD", 0.01 if s < 0 else 0.6) for s in range(-3600, 3600, 10)]
    mu = [row["mu"] for row in features_of(store, tmp_path, points)]
    assert all(value is None for value in mu[:139])
    assert mu[-60:] == pytest.approx([0] * 60, abs=1e-9)


def test_completeness_counts_points_that_never_came(store, tmp_path):
    points = steady_points(range(60), {"pH": 5.0}) + steady_points(range(0, 30, 2), {"DO": 60.0})
    first, second = features_of(store, tmp_path, points)
    assert (first["completeness"], first["complete"], first["gap_sensors"]) == (0.75, False, None)
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
    assert sensor_gaps(store, "batch-1", SETTINGS) == [
        {"sensor": "pH", "start": at(seconds=599), "end": at(seconds=690), "seconds": 91.0}
    ]
    assert dropout_share(store, "batch-1", SETTINGS) == pytest.approx(90 / 3960)


def test_a_sensor_that_stops_early_is_a_gap_to_the_end(store, tmp_path):
    closing = record(batch={"completed_at": at(1).isoformat()}, closure=None)
    points = steady_points(range(1800), {"pH": 5.0})
    run(store, put_batch(tmp_path / "batch-1", closing, sensor_csv(points)))
    (gap,) = sensor_gaps(store, "batch-1", SETTINGS)
    assert (gap["start"], gap["end"]) == (at(seconds=1799), at(1))


def test_equal_points_give_equal_bytes_and_small_plots(store, tmp_path):
    random = np.random.default_rng(5)
    points = [
        (at(seconds=s), name, v + float(random.normal(0, 0.01))) for s in range(1200) for name, v in STEADY.items()
    ]
    folder = put_batch(tmp_path / "batch-1", record(), sensor_csv(points))
    _, first, training = run(store, folder)
    again = [build_features(store, "batch-1", SETTINGS) for _ in range(3)]
    assert {report.tables[0].sha256 for report in again} == {first.tables[0].sha256}
    assert all(report.plots == first.plots for report in again)
    for png in (*first.plots.values(), *training.plots.values()):
        assert png.startswith(b"\x89PNG")
        assert len(png) < 50_000


def test_no_sensors_give_no_windows_but_the_full_schema(store, tmp_path):
    _, report, _ = run(store, put_batch(tmp_path / "batch-1", record()))
    assert report.counts["windows"] == 0
    assert tables.read(store, schema.FEATURES, "batch-1").schema.names == schema.FEATURES.schema.names


def test_features_of_a_batch_never_ingested_are_a_clear_error(store):
    with pytest.raises(NotFoundError, match="sheaf run fermentation nobody"):
        build_features(store, "nobody", FermentationSettings())


def test_the_order_of_summation_is_fixed(store):
    """Many row groups, where several threads would add in another order each time."""
    random = np.random.default_rng(9)
    count = 400_000
    times = pa.array(np.arange(count) * 100_000 + int(T0.timestamp()) * 1_000_000).cast(tables.UTC_TIME)
    names = pa.array(["pH"]).take(pa.array(np.zeros(count, np.int64)))
    batch = pa.record_batch([times, names, pa.array(random.normal(5, 1, count))], names=["time", "sensor", "value"])
    tables.write(store, schema.SENSORS_TABLE, "batch-1", [batch])
    points = sensor_points(store, "batch-1")
    first, *others = [window_columns(points, T0, SETTINGS)[0] for _ in range(4)]
    for other in others:
        assert all(
            np.array_equal(first[name], other[name], equal_nan=True) for name in ("pH_mean", "pH_std", "pH_slope")
        )
