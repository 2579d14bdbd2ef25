"""What a spreadsheet and an electronic notebook get of a batch, read back by other programs than the writers."""

import csv
import hashlib
import zipfile
from pathlib import Path

import pytest
from fermentation_inbox import all_steps, at, export, put_batch, read, record, rows_of, sensor_csv, steady_points
from rocrate.rocrate import ROCrate

from sheaf.errors import VerificationError
from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.writers.batch_eln import verify_batch_eln
from sheaf.store.store import Store

DEVIATION = {"deviation_level": 1, "category": "Other", "description": "stirrer | off", "reported_by": "tech 01"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("notebook")
    store = Store.open(str(root / "store"))
    points = steady_points(range(-600, 2 * 3600, 10)) + [(at(0.5, 5 * n), "Temp_Broth", 31.0) for n in range(1, 3, 2)]
    failures = [DEVIATION | {"deviation_start_time": at(1).isoformat()}]
    all_steps(store, put_batch(root / "batch-1", record(failures=failures), sensor_csv(points)))
    return store


def table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines(), delimiter=delimiter))


def test_a_spreadsheet_has_a_column_for_each_sensor_on_one_grid(store, tmp_path):
    export(store, "sensors_csv", tmp_path / "all")
    path = tmp_path / "all/batch_1_phase_A_sensors.csv"
    rows = table(path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # by which a spreadsheet knows that ° is one character
    assert len(rows) == 20 + 240
    assert {"pH [pH]", "Temp_Broth [°C]", "OUR [mol/L/h]"} <= rows[0].keys()
    (row,) = [row for row in rows if row["Time (UTC)"] == "2025-10-21 11:00:00"]
    assert float(row["Temp_Broth [°C]"]) == pytest.approx((3 * 30 + 31) / 4)
    assert float(row["Elapsed [h]"]) == 0.5
    export(
        store, "sensors_csv", tmp_path / "part", filters={"min_hours": 1}, options={"step_s": 600, "decimal": "comma"}
    )
    part = table(tmp_path / "part/batch_1_phase_A_sensors.csv", ";")
    assert [row["Elapsed [h]"] for row in part] == [
        "1,000000",
        "1,166667",
        "1,333333",
        "1,500000",
        "1,666667",
        "1,833333",
    ]
    assert part[0]["OUR [mol/L/h]"].startswith("0,02")


@pytest.mark.parametrize("decimal", ["point", "comma"])
def test_what_a_spreadsheet_got_is_read_again_as_sensors(store, tmp_path, decimal):
    export(store, "sensors_csv", tmp_path / "csv", options={"decimal": decimal})
    text = (tmp_path / "csv/batch_1_phase_A_sensors.csv").read_text("utf-8")
    other = Store.open(str(tmp_path / "other"))
    made = read(other, put_batch(tmp_path / "batch-1", record(), text))
    assert made.generation.refused is None
    points = {(row["sensor"], row["time"]): row["value"] for row in rows_of(other, schema.SENSORS_TABLE)}
    windows = {(row["sensor"], row["window_start"]): row["mean"] for row in rows_of(store, schema.SENSOR_WINDOWS)}
    assert points == pytest.approx(windows, rel=1e-6)


def test_a_notebook_reads_the_archive_as_a_crate(store, tmp_path):
    export(store, "batch_eln", tmp_path / "eln")
    path = tmp_path / "eln/batch_1_phase_A.eln"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    crate = ROCrate(tmp_path / "batch_1_phase_A")
    batch = crate.dereference("./batch_1_phase_A/")
    assert batch is not None
    assert (batch["identifier"], batch["author"]["name"]) == ("batch-1", "tech01")
    assert batch["comment"][0]["text"] == "Level 1, Other: stirrer | off"
    assert batch["comment"][0]["author"]["name"] == "tech 01"
    assert {entry["propertyID"]: entry["value"] for entry in batch["variableMeasured"]}["phase"] == "A"
    names = {file["name"] for file in batch["hasPart"]}
    assert {f"batch_1_phase_A{end}" for end in ("_report.md", ".json", "_samples.csv", "_sensors.csv")} <= names
    assert len(names) == 7
    for file in batch["hasPart"]:
        data = (tmp_path / "batch_1_phase_A" / file.id).read_bytes()
        assert (str(len(data)), hashlib.sha256(data).hexdigest()) == (file["contentSize"], file["sha256"])


def test_an_archive_that_lost_a_file_does_not_verify(store, tmp_path):
    written = export(store, "batch_eln", tmp_path / "eln")
    path = tmp_path / "eln/batch_1_phase_A.eln"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["batch_1_phase_A/batch_1_phase_A/batch_1_phase_A.json"] += b" "
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(VerificationError, match="is not what the crate says"):
        verify_batch_eln(path.parent, written)


def test_a_batch_without_sensors_has_an_archive_and_a_header(tmp_path):
    store = Store.open(str(tmp_path / "store"))
    all_steps(store, put_batch(tmp_path / "batch-1", record()), settings=FermentationSettings())
    assert export(store, "batch_eln", tmp_path / "eln").counts["files"] == 5
    assert export(store, "sensors_csv", tmp_path / "csv").record_count == 0
