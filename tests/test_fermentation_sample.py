"""The sample campaign: the same bytes every time, and every case the demo is meant to show."""

import itertools
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sheaf.errors import UsageError
from sheaf.fermentation.sample.campaign import write

SENSORS = 19


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inbox = tmp_path_factory.mktemp("inbox")
    write(inbox)
    return inbox / "fermentation"


@pytest.fixture
def record(campaign: Path) -> Callable[[str], Any]:
    return lambda key: json.loads((campaign / key / "batch.json").read_text("utf-8"))


def readings(campaign: Path, key: str, sensor: str) -> tuple[list[float], list[float]]:
    """Seconds since inoculation and values of one sensor."""
    rows = pq.read_table(campaign / key / "sensors.parquet", filters=[("sensor", "==", sensor)])
    start = json.loads((campaign / key / "batch.json").read_text("utf-8"))["batch"]["inoculated_at"]
    microseconds = rows["time"].cast("int64").to_numpy()
    return (microseconds / 1e6 - datetime.fromisoformat(start).timestamp()).tolist(), rows["value"].to_pylist()


def longest_gap(seconds: list[float]) -> float:
    return max(b - a for a, b in itertools.pairwise(seconds))


def test_equal_calls_write_equal_bytes(campaign: Path, tmp_path: Path) -> None:
    assert write(tmp_path, only="batch-17-c") == ["batch-17-c"]
    for name in ("batch.json", "sensors.parquet"):
        again = tmp_path / "fermentation" / "batch-17-c" / name
        assert again.read_bytes() == (campaign / "batch-17-c" / name).read_bytes()


def test_only_an_existing_batch_can_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch-12-b"):
        write(tmp_path, only="batch-99-z")
    assert not list(tmp_path.iterdir())


def test_every_case_is_there(campaign: Path, record: Callable[[str], Any]) -> None:
    keys = sorted(folder.name for folder in campaign.iterdir())
    told = {key: (record(key)["batch"]["phase"], record(key)["batch"]["status"]) for key in keys}
    assert told == {
        "batch-12-b": ("B", "complete"),
        "batch-13-b": ("B", "complete"),
        "batch-14-b": ("B", "complete"),
        "batch-15-b": ("B", "aborted"),
        "batch-16-c": ("C", "complete"),
        "batch-17-c": ("C", "running"),
    }
    assert len({record(key)["batch"]["batch_id"] for key in keys}) == len(keys)
    assert any(row["contamination_detected"] for row in record("batch-14-b")["samples"])
    assert record("batch-15-b")["closure"]["outcome"] == "Aborted_Sensor_Failure"
    assert record("batch-17-c")["closure"] is None


@pytest.mark.parametrize("key", ["batch-12-b", "batch-13-b", "batch-16-c"])
def test_good_batches_keep_the_run_plan(key: str, record: Callable[[str], Any]) -> None:
    batch = record(key)
    closure = batch["closure"]
    assert closure["do_spike_observed"]
    assert 16 <= closure["total_runtime_hours"] <= 26
    wanted = [0, 2, 4, 6, 8, 12, 16, closure["glycerol_depletion_time_hours"]]
    assert [row["timepoint_hours"] for row in batch["samples"]] == pytest.approx(wanted, abs=0.25)
    density = [row["od600_calculated"] for row in batch["samples"]]
    assert density == sorted(density)
    assert not any(row["contamination_detected"] for row in batch["samples"])
    assert all(row["deviation_level"] == 1 for row in batch["failures"])


def test_dry_weight_follows_from_the_weights(record: Callable[[str], Any]) -> None:
    for row in record("batch-12-b")["samples"]:
        grams = row["dcw_filter_dry_weight_g"] - row["dcw_filter_wet_weight_g"]
        assert row["dcw_g_per_l"] == pytest.approx(grams / row["dcw_sample_volume_ml"] * 1000, abs=1e-3)
    assert record("batch-13-b")["samples"][-1]["dcw_g_per_l"] is None


def test_one_sample_must_be_rejected_and_has_a_repeat(record: Callable[[str], Any]) -> None:
    rows = record("batch-14-b")["samples"]
    (wrong,) = [row for row in rows if row["od600_raw"] < 0]
    repeat = rows[rows.index(wrong) + 1]
    assert repeat["id"] > wrong["id"]
    assert repeat["timepoint_hours"] == pytest.approx(6.0, abs=0.25)


def test_sensors_cover_the_whole_run(campaign: Path, record: Callable[[str], Any]) -> None:
    table = pq.read_table(campaign / "batch-12-b" / "sensors.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("time", "timestamp[us, tz=UTC]"),
        ("sensor", "string"),
        ("value", "double"),
    ]
    assert len(table["sensor"].unique()) == SENSORS
    runtime_s = record("batch-12-b")["closure"]["total_runtime_hours"] * 3600
    for sensor, period_s in (("pH", 5), ("Weight", 10)):
        seconds, _ = readings(campaign, "batch-12-b", sensor)
        assert seconds[0] <= -3590
        assert seconds[-1] >= runtime_s + 1700
        assert longest_gap(seconds) == pytest.approx(period_s)


def test_oxygen_rises_when_glycerol_is_used_up(campaign: Path, record: Callable[[str], Any]) -> None:
    depleted_s = record("batch-12-b")["closure"]["glycerol_depletion_time_hours"] * 3600
    seconds, values = readings(campaign, "batch-12-b", "DO")
    before = [v for s, v in zip(seconds, values, strict=True) if depleted_s - 1800 < s < depleted_s - 60]
    after = [v for s, v in zip(seconds, values, strict=True) if depleted_s + 900 < s < depleted_s + 1800]
    assert min(before) > 20
    assert max(before) < 50
    assert min(after) > 80


def test_gaps_are_absent_rows(campaign: Path, record: Callable[[str], Any]) -> None:
    small, values = readings(campaign, "batch-13-b", "pH")
    runtime_s = record("batch-13-b")["closure"]["total_runtime_hours"] * 3600
    assert 60 < longest_gap(small) < 0.01 * runtime_s
    assert all(value == value for value in values)
    lost, _ = readings(campaign, "batch-15-b", "pH")
    hole = longest_gap(lost)
    assert hole > 0.01 * record("batch-15-b")["closure"]["total_runtime_hours"] * 3600
    sampled_s = [row["timepoint_hours"] * 3600 for row in record("batch-15-b")["samples"]]
    starts = next(a for a, b in itertools.pairwise(lost) if b - a == hole)
    assert any(starts + 300 < at < starts + hole - 300 for at in sampled_s), "a sample falls into the hole"
