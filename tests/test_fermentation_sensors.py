"""Sensor files of three formats become the same points; what is wrong with one is said and counted."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fermentation_inbox import SETTINGS, STEADY, T0, at, put_batch, record, sensor_csv, steady_points
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sheaf import tables
from sheaf.fermentation import schema
from sheaf.fermentation.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store import Store

POINTS = steady_points(range(0, 60, 10))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_batch(tmp_path / "batch-1", record())


def points_of(store: Store) -> list[tuple]:
    rows = tables.read(store, schema.SENSORS_TABLE, "batch-1").to_pylist()
    return [(row["time"], row["sensor"], row["value"]) for row in rows]


def rejects_of(store: Store) -> list[dict]:
    return [row for row in tables.read(store, schema.REJECTS, "batch-1").to_pylist() if row["table"] == "sensors"]


def ingest_csv(store: Store, folder: Path, text: str, settings: FermentationSettings = SETTINGS):
    (folder / "sensors.csv").write_text(text, encoding="utf-8", newline="")
    return ingest(folder, store, "batch-1", settings)


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
        report = ingest(folder, store, "batch-1", SETTINGS)
        (folder / name).unlink()
        assert points_of(store) == wanted, name
        assert report.counts["sensor_points"] == len(POINTS), name
        assert report.counts["sensors"] == len(STEADY)
        assert not report.rejects


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
        f"bioprocess,topic=bioprocess/pichia/v1/sensors/DO,vessel=bioprocess _value=60 {stamp}",
        f"bioprocess,sensor=OD _value=7i {stamp}",
        f"pH _value_mean=5.0 {stamp + 10**9}",
        "pH value=5.0",
        'pH value="high" 1',
        "no protocol",
    ]
    (folder / "sensors.lp").write_text("\n".join(lines))
    report = ingest(folder, store, "batch-1", SETTINGS)
    assert points_of(store) == [(T0, "DO", 60.0), (T0, "OD", 7.0), (T0, "pH", 5.0)]
    assert [row["line"] for row in rejects_of(store)] == [6, 7, 8, 9]
    assert report.counts["sensor_points_seen"] == 7


def test_line_protocol_in_milliseconds(store, folder):
    (folder / "sensors.lp").write_text(f"pH value=5 {round(T0.timestamp() * 1e3)}\n")
    ingest(folder, store, "batch-1", FermentationSettings(line_protocol_precision="ms"))
    assert points_of(store) == [(T0, "pH", 5.0)]
    report = ingest(folder, store, "batch-1", SETTINGS)
    assert points_of(store) == []
    assert "outside the hours of the batch" in next(iter(report.rejects))


def test_unknown_sensors_are_one_reject_each_with_count_and_first_line(store, folder):
    points = [*POINTS, (at(0), "lamp", 1.0), (at(1), "fan", 1.0), (at(2), "lamp", 1.0)]
    header, *lines = sensor_csv(points).splitlines()
    report = ingest_csv(store, folder, "\n".join([header, "one field", "", *lines]))
    fan, lamp, broken = rejects_of(store)
    assert (lamp["primary_key"], lamp["line"]) == ("'lamp'", len(POINTS) + 4)
    assert broken["line"] == 2
    assert "2 points" in lamp["reason"]
    assert "'fan' is no known sensor (1 points)" in fan["reason"]
    assert report.counts["sensor_points_rejected"] == 4


def test_bad_points_are_counted_by_reason_and_good_ones_go_on(store, folder):
    good = [(at(seconds=second), "pH", 5.0) for second in range(20)]
    bad = [(at(1), "pH", "nan"), (at(2), "pH", "inf"), (at(3), "pH", "x"), (at(4), "pH", 11.5), (at(300), "pH", 5.0)]
    text = sensor_csv([*good, *bad]) + "2025-10-21T12:00:00,pH,5\nyesterday,pH,5\ntoo,few\n\n"
    report = ingest_csv(store, folder, text)
    assert len(points_of(store)) == len(good)
    reasons = {row["reason"]: row["line"] for row in rejects_of(store)}
    assert reasons == {
        "pH: the time has no zone (1 points).": 27,
        "pH: the time is missing or not a time such as 2025-10-21T10:30:00+00:00 (1 points).": 28,
        "pH: the time is outside the hours of the batch (1 points).": 26,
        "pH: the value is NaN or infinite (2 points).": 22,
        "pH: the value is missing or not a number (1 points).": 24,
        "pH: the value is outside 2.0 to 10.0 (1 points).": 25,
        "A line: the line has not as many fields as the header (1 points).": 29,
    }
    assert report.counts["sensor_points_seen"] == report.counts["sensor_points"] + len(bad) + 3


def test_repeated_times_keep_the_last_and_order_is_restored(store, folder):
    points = [(at(2), "pH", 5.2), (at(1), "pH", 5.1), (at(2), "pH", 5.3), (at(2), "DO", 60.0)]
    report = ingest_csv(store, folder, sensor_csv(points))
    assert points_of(store) == [(at(2), "DO", 60.0), (at(1), "pH", 5.1), (at(2), "pH", 5.3)]
    (row,) = rejects_of(store)
    assert (row["reason"], row["line"]) == ("pH: 1 points repeat a time; the last one in the file is used.", 2)
    assert any("order of time" in warning for warning in report.warnings)


def test_naive_times_are_refused_unless_a_zone_is_set(store, folder):
    text = "time,sensor,value\n2025-10-21 23:30:00,pH,5.0\n"
    report = ingest_csv(store, folder, text)
    assert report.counts["blocked"] == 1
    assert "times without a zone" in next(iter(report.rejects))
    ingest_csv(store, folder, text, FermentationSettings(naive_timezone="Pacific/Auckland"))
    assert points_of(store) == [(T0, "pH", 5.0)]
    (folder / "sensors.csv").unlink()
    naive = pa.table({"time": [datetime(2025, 10, 21, 23, 30)], "sensor": ["pH"], "value": [5.0]})
    pq.write_table(naive, folder / "sensors.parquet")
    assert ingest(folder, store, "batch-1", SETTINGS).counts["blocked"] == 1
    ingest(folder, store, "batch-1", FermentationSettings(naive_timezone="Pacific/Auckland"))
    assert points_of(store) == [(T0, "pH", 5.0)]


@pytest.mark.parametrize(
    ("sensor", "value", "unit"),
    [("Reactor_Pressure", 101.3, "kPa"), ("Temp_Broth", 303.15, "K"), ("Off_Gas_O2", 0.209, "fraction"),
     ("DO", 0.6, "fraction")],
)  # fmt: skip
def test_another_unit_blocks_until_it_is_declared(store, folder, sensor, value, unit):
    text = sensor_csv([(at(seconds=second), sensor, value) for second in range(5)])
    report = ingest_csv(store, folder, text)
    assert report.counts["blocked"] == 1
    assert "declare the unit" in next(iter(report.rejects))
    ingest_csv(store, folder, text, FermentationSettings(units={sensor: unit}))
    low, high = {"Reactor_Pressure": (1.0, 1.1), "Temp_Broth": (29, 31), "Off_Gas_O2": (20, 21), "DO": (59, 61)}[sensor]
    assert all(low < point[2] < high for point in points_of(store))


def test_a_unit_column_must_agree_with_the_declared_unit(store, folder):
    text = f"time,sensor,value,unit\n{T0.isoformat()},Reactor_Pressure,1.01,kPa\n"
    report = ingest_csv(store, folder, text)
    assert report.counts["blocked"] == 1
    assert "is given in 'kPa' but declared in 'bar'" in next(iter(report.rejects))
    assert ingest_csv(store, folder, text.replace("kPa", "bar")).counts["blocked"] == 0


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("sensors.csv", b"", "sensors.csv cannot be read"),
        ("sensors.csv", b"time,value\n", "no column 'sensor'"),
        ("sensors.csv", b"time,sensor,value\n2025-10-21T10:30:00Z,\xff,5\n", "sensors.csv"),
        ("sensors.csv.gz", b"no gzip", "sensors.csv.gz cannot be read"),
        ("sensors.parquet", b"no parquet", "sensors.parquet cannot be read"),
        ("sensors.lp", b"pH value=5 \xff\n", "sensors.lp is not UTF-8 text"),
    ],
)
def test_a_sensor_file_that_cannot_be_used_blocks_the_batch(store, folder, name, content, reason):
    ingest(folder, store, "batch-1", SETTINGS)
    before = tables.version(store, schema.SAMPLES, "batch-1")
    (folder / name).write_bytes(content)
    report = ingest(folder, store, "batch-1", SETTINGS)
    assert report.counts["blocked"] == 1
    assert reason in next(iter(report.rejects))
    assert tables.version(store, schema.SAMPLES, "batch-1") == before


def test_two_sensor_files_are_refused(store, folder):
    (folder / "sensors.lp").write_text("pH value=5 1\n")
    report = ingest_csv(store, folder, sensor_csv(POINTS))
    assert "one of several sensor files" in next(iter(report.rejects))


def test_no_sensor_file_is_fine(store, folder):
    report = ingest(folder, store, "batch-1", SETTINGS)
    assert points_of(store) == []
    assert any("No sensors file" in warning for warning in report.warnings)


def test_the_inbox_is_only_read_and_the_machines_zone_changes_nothing(store, folder, monkeypatch):
    ingest_csv(store, folder, sensor_csv(POINTS))
    before = tables.version(store, schema.SENSORS_TABLE, "batch-1")
    listing = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    try:
        ingest(folder, store, "batch-1", SETTINGS)
    finally:
        folder.chmod(0o755)
    assert tables.version(store, schema.SENSORS_TABLE, "batch-1") == before
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == listing
    assert os.environ["TZ"] == "Pacific/Auckland"


cells = st.one_of(
    st.sampled_from(["pH", "broth", "x", "", "5", "nan", '"', "2025-10-21T10:30:00Z", "2025-10-21 10:30:00"]),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6),
    st.datetimes(datetime(2025, 10, 21), datetime(2025, 10, 22), timezones=st.just(UTC)).map(datetime.isoformat),
)
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def all_accounted_for(store: Store, report, lines: int) -> None:
    if report.counts["blocked"]:
        assert rejects_of(store)
        return
    counts = report.counts
    assert counts["sensor_points_seen"] == lines
    assert counts["sensor_points"] + counts["sensor_points_rejected"] == lines
    assert len(points_of(store)) == counts["sensor_points"]
    assert bool(counts["sensor_points_rejected"]) == bool(rejects_of(store))


@quick
@given(rows=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=8))
def test_no_line_of_a_csv_is_lost(store, folder, rows):
    good = (T0 + timedelta(seconds=1)).isoformat()
    lines = [f"{good},pH,5.0", *(",".join(row) for row in rows)]
    report = ingest_csv(store, folder, "time,sensor,value\n" + "\n".join(lines) + "\n")
    all_accounted_for(store, report, sum(bool(line.strip()) and line != ",," for line in lines))


@quick
@given(
    lines=st.lists(
        st.text(st.sampled_from('pHDO ,=\\"_value5.i#-'), max_size=24)
        | st.from_regex(r"(pH|DO|x)(,a=b)? (value|v)=[0-9.]{1,4}( 17610426[0-9]{11})?", fullmatch=True),
        max_size=8,
    )
)
def test_no_line_of_line_protocol_is_lost(store, folder, lines):
    (folder / "sensors.lp").write_text("\n".join(lines), encoding="utf-8")
    report = ingest(folder, store, "batch-1", SETTINGS)
    all_accounted_for(store, report, sum(bool(line.strip()) and not line.startswith("#") for line in lines))
