"""Sensor files of three formats become the same points; what is wrong with one is said and counted."""

import gzip
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fermentation_inbox import (
    SETTINGS,
    STEADY,
    T0,
    accounts,
    all_steps,
    at,
    codes,
    hashes,
    notes,
    put_batch,
    read,
    record,
    rows_of,
    sensor_csv,
    steady_points,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.running import How, Made
from sheaf.store.store import Store

POINTS = steady_points(range(0, 60, 10))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_batch(tmp_path / "batch-1", record())


def points_of(store: Store) -> list[tuple]:
    return [(row["time"], row["sensor"], row["value"]) for row in rows_of(store, schema.SENSORS_TABLE)]


def rejects_of(store: Store) -> list[dict]:
    return notes(store, table="sensors")


def ingest_csv(store: Store, folder: Path, text: str, settings: FermentationSettings = SETTINGS) -> Made:
    (folder / "sensors.csv").write_text(text, encoding="utf-8", newline="")
    return read(store, folder, settings=settings)


def as_line_protocol(points) -> str:
    return "".join(
        f"{name},vessel=vessel1 _value={value} {round(time.timestamp() * 1e9)}\n" for time, name, value in points
    )


def test_every_format_gives_the_same_points(store, folder):
    wanted = sorted(POINTS, key=lambda point: (point[1], point[0]))
    table = pa.table(dict(zip(("time", "sensor", "value"), map(list, zip(*POINTS, strict=True)), strict=True)))
    writers = {
        "sensors.csv": lambda path: path.write_text(sensor_csv(POINTS)),
        "sensors.csv.gz": lambda path: path.write_bytes(gzip.compress(sensor_csv(POINTS).encode())),
        "sensors.lp": lambda path: path.write_text(as_line_protocol(POINTS)),
        "sensors.parquet": lambda path: pq.write_table(table, path),
    }
    for name, write in writers.items():
        write(folder / name)
        made = read(store, folder)
        (folder / name).unlink()
        assert points_of(store) == wanted, name
        assert made.report.counts["sensor_points"] == len(POINTS), name
        assert made.report.counts["sensors"] == len(STEADY)
        assert not codes(made, "sensors")


def test_measurement_names_and_configured_aliases_are_the_plans_sensors(store, folder):
    points = [(T0, "broth", 30.0), (T0, "co2", 1.0), (T0, "headspace", 1.0), (T0, "NIR", 12.0)]
    ingest_csv(store, folder, sensor_csv(points), FermentationSettings(aliases={"NIR": "OD"}))
    assert [name for _, name, _ in points_of(store)] == ["OD", "Off_Gas_CO2", "Reactor_Pressure", "Temp_Broth"]


def test_line_protocol_with_escapes_topics_and_statistics_fields(store, folder):
    stamp = round(T0.timestamp() * 1e9)
    lines = [
        "# comment",
        "",
        f'pH,vessel=vessel\\ 1,note=a\\,b value=5.0,state="on, off" {stamp}',
        f"bioprocess,topic=bioprocess/pichia/v1/sensors/DO _value=60 {stamp}",
        f"bioprocess,sensor=OD _value=7i {stamp}",
        f"pH _value_mean=5.0 {stamp + 10**9}",
        "pH value=5.0",
        'pH value="high" 1',
        "no protocol",
    ]
    (folder / "sensors.lp").write_text("\n".join(lines))
    made = read(store, folder)
    assert points_of(store) == [(T0, "DO", 60.0), (T0, "OD", 7.0), (T0, "pH", 5.0)]
    assert [(row["line"], row["code"]) for row in rejects_of(store)] == [
        (6, "missing_value"),
        (7, "missing_time"),
        (8, "not_a_number"),
        (9, "not_line_protocol"),
    ]
    assert accounts(made)["sensors"].seen == 7


def test_line_protocol_in_milliseconds(store, folder):
    (folder / "sensors.lp").write_text(f"pH value=5 {round(T0.timestamp() * 1e3)}\n")
    read(store, folder, settings=FermentationSettings(line_protocol_precision="ms"))
    assert points_of(store) == [(T0, "pH", 5.0)]
    refused = read(store, folder).generation.refused
    assert "outside the hours of the batch" in (refused or "")
    assert points_of(store) == [(T0, "pH", 5.0)], "the last good points stay"


def test_unknown_sensors_are_one_reject_each_with_count_and_first_line(store, folder):
    points = [*POINTS, (at(0), "lamp", 1.0), (at(1), "fan", 1.0), (at(2), "lamp", 1.0)]
    header, *lines = sensor_csv(points).splitlines()
    made = ingest_csv(store, folder, "\n".join([header, "one field", "", *lines]))
    broken, lamp, fan = rejects_of(store)
    assert (lamp["primary_key"], lamp["line"], lamp["rows"]) == ("'lamp'", len(POINTS) + 4, 2)
    assert fan["reason"] == "'fan' is no known sensor: correct the name, or add an alias in the settings."
    assert (broken["line"], broken["rows"], broken["code"]) == (2, 1, "wrong_fields")
    assert codes(made, "sensors") == {"unknown_sensor": 3, "wrong_fields": 1}
    assert accounts(made)["sensors"].rejected == 4


def test_bad_points_are_counted_by_reason_and_good_ones_go_on(store, folder):
    good = [(at(seconds=second), "pH", 5.0) for second in range(20)]
    bad = [(at(1), "pH", "nan"), (at(2), "pH", "inf"), (at(3), "pH", "x"), (at(4), "pH", 14.5), (at(300), "pH", 5.0)]
    text = sensor_csv([*good, *bad]) + "2025-10-21T12:00:00,pH,5\nyesterday,pH,5\ntoo,few\n\n"
    made = ingest_csv(store, folder, text)
    assert len(points_of(store)) == len(good)
    assert {row["code"]: (row["rows"], row["line"], row["reason"]) for row in rejects_of(store)} == {
        "naive_time": (1, 27, "pH: the time has no zone: write one, or set naive_timezone in the settings."),
        "not_a_time": (
            *(1, 28),
            "pH: the time is missing or not a time such as 2025-10-21T10:30:00+00:00 (days and months as numbers alone "
            "need fermentation.date_order).",
        ),
        "outside_hours": (
            *(1, 26),
            "pH: the time is outside the hours of the batch: correct it, or set sensor_hours in the settings.",
        ),
        "not_finite": (2, 22, "pH: the value is NaN or infinite."),
        "not_a_number": (1, 24, "pH: the value is missing or not a number."),
        "out_of_range": (1, 25, "pH: the value is outside 0 to 14 pH, where it can be no reading."),
        "wrong_fields": (1, 29, "A line: the line has not as many fields as the header."),
    }
    account = accounts(made)["sensors"]
    assert (account.seen, account.used, account.rejected) == (len(good) + len(bad) + 3, len(good), len(bad) + 3)


def test_repeated_times_keep_the_last_and_order_is_restored(store, folder):
    points = [(at(2), "pH", 5.2), (at(1), "pH", 5.1), (at(2), "pH", 5.3), (at(2), "DO", 60.0), (at(2), "DO", 60.0)]
    made = ingest_csv(store, folder, sensor_csv(points))
    assert points_of(store) == [(at(2), "DO", 60.0), (at(1), "pH", 5.1), (at(2), "pH", 5.3)]
    (row,) = rejects_of(store)
    assert row["reason"] == "pH: another point at the same time comes later in the file; that one is used."
    assert (row["code"], row["line"], row["rows"]) == ("repeated_key", 2, 1)
    account = accounts(made)["sensors"]
    assert account.left_out == {"a repeated point": 1}, "the same point twice is no mistake"
    assert any("order of time" in warning for warning in made.report.warnings)


def test_naive_times_are_refused_unless_a_zone_is_set(store, folder):
    text = "time,sensor,value\n2025-10-21 23:30:00,pH,5.0\n"
    refused = ingest_csv(store, folder, text).generation.refused
    assert refused == "sensors.csv has times without a zone: write one, or set naive_timezone in the settings."
    ingest_csv(store, folder, text, FermentationSettings(naive_timezone="Pacific/Auckland"))
    assert points_of(store) == [(T0, "pH", 5.0)]
    (folder / "sensors.csv").unlink()
    naive = pa.table({"time": [datetime(2025, 10, 21, 23, 30)], "sensor": ["pH"], "value": [5.0]})
    pq.write_table(naive, folder / "sensors.parquet")
    assert "times without a zone" in (read(store, folder).generation.refused or "")
    read(store, folder, settings=FermentationSettings(naive_timezone="Pacific/Auckland"))
    assert points_of(store) == [(T0, "pH", 5.0)]


@pytest.mark.parametrize(
    ("sensor", "value", "unit"),
    [("Reactor_Pressure", 101.3, "kPa"), ("Temp_Broth", 303.15, "K"), ("Off_Gas_O2", 0.209, "fraction"),
     ("DO", 0.6, "fraction")],
)  # fmt: skip
def test_another_unit_blocks_until_it_is_declared(store, folder, sensor, value, unit):
    text = sensor_csv([(at(seconds=second), sensor, value) for second in range(5)])
    assert "declare the unit" in (ingest_csv(store, folder, text).generation.refused or "")
    ingest_csv(store, folder, text, FermentationSettings(units={sensor: unit}))
    low, high = {"Reactor_Pressure": (1.0, 1.1), "Temp_Broth": (29, 31), "Off_Gas_O2": (20, 21), "DO": (59, 61)}[sensor]
    assert all(low < point[2] < high for point in points_of(store))


def test_a_unit_column_must_agree_with_the_declared_unit(store, folder):
    text = f"time,sensor,value,unit\n{T0.isoformat()},Reactor_Pressure,1.01,kPa\n"
    refused = ingest_csv(store, folder, text).generation.refused
    assert (refused or "").startswith("sensors.csv, line 2: Reactor_Pressure is given in 'kPa' but declared in 'bar'")
    assert ingest_csv(store, folder, text.replace("kPa", "bar")).generation.refused is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("sensors.csv", b"", "sensors.csv cannot be read"),
        ("sensors.csv", b"time,value\n", "no column 'sensor'"),
        ("sensors.csv", b"time,sensor,value\n2025-10-21T10:30:00Z,\xff,5\n", "sensors.csv"),
        ("sensors.csv.gz", b"no gzip", "sensors.csv.gz cannot be read"),
        ("sensors.parquet", b"no parquet", "sensors.parquet is not a whole Parquet file"),
        ("sensors.lp", b"pH value=5 \xff\n", "sensors.lp is not UTF-8 text"),
    ],
)
def test_a_sensor_file_that_cannot_be_used_is_refused(store, folder, name, content, reason):
    good = read(store, folder).generation
    (folder / name).write_bytes(content)
    made = read(store, folder)
    assert reason in (made.generation.refused or "")
    assert hashes(store, schema.SAMPLES) == {"samples": good.tables["samples"].sha256}


def test_two_sensor_files_are_refused(store, folder):
    (folder / "sensors.lp").write_text("pH value=5 1\n")
    refused = ingest_csv(store, folder, sensor_csv(POINTS)).generation.refused
    assert refused == "There are several sensor files (sensors.csv, sensors.lp): keep one."


def test_no_sensor_file_is_fine(store, folder):
    report = read(store, folder).report
    assert points_of(store) == []
    assert any("No sensors file" in warning for warning in report.warnings)


def test_the_inbox_is_only_read_and_the_machines_zone_changes_nothing(store, folder, monkeypatch, tmp_path):
    ingest_csv(store, folder, sensor_csv(POINTS))
    before = hashes(store, schema.SENSORS_TABLE)
    listing = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    other = Store.open(str(tmp_path / "other"))
    try:
        read(other, folder)
    finally:
        folder.chmod(0o755)
    assert hashes(other, schema.SENSORS_TABLE) == before
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == listing
    assert os.environ["TZ"] == "Pacific/Auckland"


cells = st.one_of(
    st.sampled_from(["pH", "broth", "x", "", "5", "nan", '"', "2025-10-21T10:30:00Z", "2025-10-21 10:30:00"]),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6),
    st.datetimes(datetime(2025, 10, 21), datetime(2025, 10, 22), timezones=st.just(UTC)).map(datetime.isoformat),
)
quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def all_accounted_for(store: Store, made: Made, lines: int) -> None:
    if made.generation.refused:
        assert not made.generation.checks["readable"].passed
        return
    account = accounts(made)["sensors"]
    assert account.seen == lines
    assert account.used == len(points_of(store))
    assert account.rejected == sum(row["rows"] for row in rejects_of(store))


@quick
@given(rows=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=8))
def test_no_line_of_a_csv_is_lost(tmp_path_factory, rows):
    work = tmp_path_factory.mktemp("batch")
    store, folder = Store.open(str(work / "store")), put_batch(work / "batch-1", record())
    good = (T0 + timedelta(seconds=1)).isoformat()
    lines = [f"{good},pH,5.0", *(",".join(row) for row in rows)]
    made = ingest_csv(store, folder, "time,sensor,value\n" + "\n".join(lines) + "\n")
    all_accounted_for(store, made, sum(bool(line.strip()) and line != ",," for line in lines))


@quick
@given(
    lines=st.lists(
        st.text(st.sampled_from('pHDO ,=\\"_value5.i#-'), max_size=24)
        | st.from_regex(r"(pH|DO|x)(,a=b)? (value|v)=[0-9.]{1,4}( 17610426[0-9]{11})?", fullmatch=True),
        max_size=8,
    )
)
def test_no_line_of_line_protocol_is_lost(tmp_path_factory, lines):
    work = tmp_path_factory.mktemp("batch")
    store, folder = Store.open(str(work / "store")), put_batch(work / "batch-1", record())
    (folder / "sensors.lp").write_text("\n".join(lines), encoding="utf-8")
    made = read(store, folder)
    all_accounted_for(store, made, sum(bool(line.strip()) and not line.startswith("#") for line in lines))


GOOD = sensor_csv(POINTS)
DECIMAL_COMMAS = re.sub(r"(\d)\.(\d+)\n", r"\1,\2\n", GOOD)  # saved by a German Excel


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (DECIMAL_COMMAS, "wrong_fields"),
        (GOOD.replace("2025-10-21T10:30:", "45951."), "not_a_time"),
        (GOOD.replace("2025-10-21T", "21/10/2025 "), "not_a_time"),
        (GOOD.replace("2025-10-21T", "1999-10-21T"), "outside_hours"),
        (GOOD.replace("+00:00,", "+00:00,PV_"), "unknown_sensor"),
        (re.sub(r"[\d.]+\n", "n/a\n", GOOD), "not_a_number"),
    ],
)
@pytest.mark.case("fermentation/all-points-rejected")
def test_a_file_of_which_every_point_is_rejected_leaves_the_last_good_one(store, folder, spoilt, code):
    ingest_csv(store, folder, GOOD)
    before = hashes(store, schema.SENSORS_TABLE, schema.SAMPLES)
    made = ingest_csv(store, folder, spoilt)
    assert (made.generation.refused or "").startswith(f"All {len(POINTS)} sensor points were rejected")
    assert set(codes(made, "sensors")) == {code}
    assert sum(row["rows"] for row in rejects_of(store)) == len(POINTS)
    assert hashes(store, schema.SENSORS_TABLE, schema.SAMPLES) == before
    assert not made.generation.checks["rejects"].passed


def test_such_a_file_is_refused_also_where_there_was_none_before(store, folder):
    (folder / "sensors.csv").write_text(DECIMAL_COMMAS)
    (made,) = all_steps(store, folder).values()
    assert "wrong_fields" in codes(made, "sensors")
    assert made.generation.refused


@pytest.mark.parametrize("sensors", [None, "time,sensor,value\n", sensor_csv(POINTS[:-1])])
def test_points_that_are_gone_are_a_refusal(store, folder, sensors):
    """The file was tidied away, is empty, or lost its end; the record beside it may have changed as well."""
    ingest_csv(store, folder, GOOD)
    before = hashes(store, schema.SENSORS_TABLE, schema.SAMPLES)
    late = record()
    late["samples"][-1]["dcw_g_per_l"] = 4.11
    (folder / "sensors.csv").unlink()
    made = read(store, put_batch(folder, late, sensors))
    left = 0 if sensors is None else sensors.count("\n") - 1
    assert f"(sensors: {len(POINTS)} → {left}). Nothing was changed" in (made.generation.refused or "")
    assert hashes(store, schema.SENSORS_TABLE, schema.SAMPLES) == before
    accepted = all_steps(store, folder, how=How(accept_loss=True))
    assert accepted["training_samples"].generation.refused is None
    assert len(points_of(store)) == left


@pytest.mark.parametrize("share", [0.8, 0.95])
@pytest.mark.case("fermentation/reject-check-green-at-95-percent")
def test_points_are_counted_where_one_note_stands_for_many(store, folder, share):
    """4 of 5 values are NaN, or all sensors but one came under another name."""
    points = steady_points(range(0, 600, 10))
    spoilt = [
        (time, name if number % 100 >= share * 100 else f"{name}_PV", value)
        for number, (time, name, value) in enumerate(points)
    ]
    made = ingest_csv(store, folder, sensor_csv(spoilt))
    verdict = made.generation.checks["rejects"]
    assert not verdict.passed
    rejected = sum(name.endswith("_PV") for _, name, _ in spoilt)
    assert accounts(made)["sensors"].rejected == rejected
    assert f"{rejected} of {len(points)} ({rejected / len(points):.1%})" in verdict.detail
