"""Exports in the words of standards: their own readers find every table, column and row, and the same each time."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from demo_domain import DEMO, READINGS, SERIES, deliver, ingest, publish_readings
from fermentation_inbox import SETTINGS, put_batch, record, sensor_csv, steady_points
from running import run_steps
from typer.testing import CliRunner

from pipelines.cli.main import app
from sheaf.exports.describe import described
from sheaf.exports.publish import Request, publish
from sheaf.exports.series import Draft, Written
from sheaf.exports.verify import verify
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest as read_batch
from sheaf.store.store import Store

Run = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published batch; the second version of its sensors is for another spreadsheet."""
    folder = tmp_path_factory.mktemp("home")
    store = Store.open(str(folder / "store"))
    batch = put_batch(folder / "b4", record(), sensor_csv(steady_points(range(0, 300, 10))))
    run_steps(store, FERMENTATION, "b4", SETTINGS, batch, read_batch)
    for name in ("samples_csv", "sensors_csv", "training_parquet"):
        publish(store, FERMENTATION, FERMENTATION.series_named(name), Request("b4"), SETTINGS)
    comma = Request("b4", options={"decimal": "comma"})
    publish(store, FERMENTATION, FERMENTATION.series_named("sensors_csv"), comma, SETTINGS)
    return folder


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call a command on that home."""
    monkeypatch.setenv("SHEAF_HOME", str(home))
    return lambda *args: CliRunner().invoke(app, list(args), catch_exceptions=False).stdout


COUNT = """
import json, sys, mlcroissant
found = mlcroissant.Dataset(sys.argv[1])
counts = {one.uuid: sum(1 for _ in found.records(one.uuid)) for one in found.metadata.record_sets}
print(json.dumps(counts))
"""


def counted(folder: Path) -> dict[str, int]:
    """How many records mlcroissant reads of each table that was downloaded.

    In a process of its own: the logging that it brings closes pytest's streams when another library sets up its own.
    """
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(folder / "_croissant.json")], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def fields(folder: Path, table: str) -> dict[str, dict[str, Any]]:
    """The columns of a table in the Data Package that was downloaded."""
    package = json.loads((folder / "_datapackage.json").read_text())
    (resource,) = (one for one in package["resources"] if one["name"] == table)
    return {field["name"]: field for field in resource["schema"]["fields"]}


@pytest.mark.parametrize("name", ["samples_csv/latest", "sensors_csv/v1", "sensors_csv/v2"])
def test_frictionless_finds_every_cell_of_a_csv_as_it_is_described(run: Run, tmp_path: Path, name: str) -> None:
    files = json.loads(run("download", f"fermentation/b4/{name}", str(tmp_path), "--described", "--json"))["files"]
    assert [Path(file).name for file in files[1:]] == ["_datapackage.json", "_croissant.json"]
    import frictionless

    report = frictionless.Package(str(tmp_path / "_datapackage.json")).validate()
    assert report.valid, report.flatten(["rowNumber", "fieldName", "note"])[:5]


def test_columns_have_the_unit_and_meaning_that_their_table_declares(run: Run, tmp_path: Path) -> None:
    for name in ("samples_csv", "sensors_csv", "training_parquet"):
        run("download", f"fermentation/b4/{name}/v1", str(tmp_path / name), "--described")
    samples = fields(tmp_path / "samples_csv", "batch_1_phase_a_samples")
    assert samples["dcw_g_per_l"] == {
        "name": "dcw_g_per_l",
        "type": "number",
        "description": "Dry cell weight, (dry - tare) / volume; never imputed",
        "unit": "g/L",
    }
    assert (samples["batch_number"]["type"], samples["sampled_at"]["type"]) == ("integer", "datetime")
    assert fields(tmp_path / "sensors_csv", "batch_1_phase_a_sensors")["DO [%]"]["unit"] == "%"
    training = fields(tmp_path / "training_parquet", "training_samples")
    assert training["CER"]["unit"] == "mol/L/h"
    assert training["batch_id"]["constraints"] == {"required": True}
    assert len(pq.read_table(tmp_path / "training_parquet")) == 8  # what lies beside the table is passed over


def test_mlcroissant_reads_as_many_records_as_the_manifest_says(run: Run, tmp_path: Path) -> None:
    run("download", "fermentation/b4/samples_csv/v1", str(tmp_path), "--described")
    manifest = json.loads(run("show", "fermentation/b4/samples_csv/v1", "--json"))["manifest"]
    assert list(counted(tmp_path).values()) == [manifest["files"][0]["rows"]] == [8]


def test_a_table_in_many_files_is_one_table(local_store: Store, tmp_path: Path) -> None:
    def write(draft: Draft) -> Written:
        rows = draft.tables.read(READINGS)
        pq.write_to_dataset(rows, draft.folder / "readings", partition_cols=["id"])
        return Written(len(rows))

    series = replace(SERIES, name="parts", write=write, verify=lambda *_: None)
    deliver(local_store, "a", "b")
    export = publish(local_store, replace(DEMO, series=(series,)), series, Request("batch-1"), SETTINGS).export
    for path in verify(local_store, export).files:
        (tmp_path / path.path).parent.mkdir(parents=True)
        local_store.download(f"{export.path}/{path.path}", tmp_path / path.path)
    for name in ("datapackage", "croissant"):
        (tmp_path / f"_{name}.json").write_bytes(described(local_store, replace(DEMO, series=(series,)), export, name))
    assert fields(tmp_path, "readings")["value"]["description"] == "What was read"
    assert counted(tmp_path) == {"readings/records": 2}


def test_the_same_export_is_always_described_the_same_and_stays_what_it_is(local_store: Store) -> None:
    ingest(local_store, "a", "b")
    export = publish_readings(local_store).export
    once = [described(local_store, DEMO, export, name) for name in ("datapackage", "croissant")]
    assert once == [described(local_store, DEMO, export, name) for name in ("datapackage", "croissant")]
    assert publish_readings(local_store).unchanged
    verify(local_store, export)
    package = json.loads(once[0])
    assert [resource["path"] for resource in package["resources"]] == ["readings.csv", "notes/about us.txt"]
    assert package["resources"][0]["schema"]["fields"][1]["description"] == "What was read"


def test_an_export_without_rows_is_described(local_store: Store) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store, filter={"min_id": 5}).export
    package = json.loads(described(local_store, DEMO, export, "datapackage"))
    assert [field["type"] for field in package["resources"][0]["schema"]["fields"]] == ["integer", "string"]
    assert "Filter: min_id=5." in package["description"]
    json.loads(described(local_store, DEMO, export, "croissant"))


def test_a_citation_is_one_line_that_names_the_version(run: Run) -> None:
    line = run("describe", "fermentation/b4/samples_csv/latest", "--as", "citation")
    assert line.startswith("samples_csv v1 (fermentation/b4/samples_csv/v1), 8 records, published ")
    assert line.count("\n") == 1
    assert (
        json.loads(run("describe", "fermentation/b4/samples_csv/latest", "--as", "croissant"))["@type"] == "sc:Dataset"
    )
