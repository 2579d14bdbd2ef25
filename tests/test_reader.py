"""`sheaf.open`: what training jobs and scripts get, and that it is never half of something."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest
from demo_domain import BATCH, ingest, publish_readings
from fermentation_inbox import put_batch, record
from running import run_steps

import sheaf
from sheaf.errors import NotFoundError, UsageError, VerificationError
from sheaf.exports import outcome
from sheaf.exports.history import history
from sheaf.exports.publish import Request, publish
from sheaf.exports.records import Status, read_latest, read_manifest
from sheaf.exports.recover import recover
from sheaf.exports.verify import verify
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest as read_batch
from sheaf.fermentation.settings import FermentationSettings
from sheaf.names import ExportId
from sheaf.store.store import Store


def test_a_series_is_opened_as_its_latest_export_or_as_one_for_ever(atomic_store: Store) -> None:
    ingest(atomic_store, "a", "b")
    publish_readings(atomic_store)
    ingest(atomic_store, "a", "b", "c")
    publish_readings(atomic_store)
    latest = sheaf.open(str(BATCH), atomic_store.url)
    assert (latest.name, latest.version) == (f"{BATCH}/v2", 2)
    assert latest.to_pandas()["value"].tolist() == ["a", "b", "c"]
    assert latest.to_arrow(columns=["value"]).column_names == ["value"]
    assert latest.duckdb().filter("id > 1").fetchall() == [(2, "b"), (3, "c")]
    assert latest.read("notes/about us.txt") == latest.path("notes/about us.txt").read_bytes()
    pinned = sheaf.open(f"{BATCH}/v1", atomic_store.url)
    assert pinned.to_pandas()["value"].tolist() == ["a", "b"]
    folder = pinned.path()
    assert (folder / "readings.csv").read_text() == "id,value\n1,a\n2,b\n"
    del pinned
    assert not folder.exists()


def test_a_series_is_opened_in_every_partition_that_has_it(local_store: Store) -> None:
    for partition in ("batch-1", "batch-2"):
        ingest(local_store, partition, partition=partition)
        publish_readings(local_store, partition=partition)
    publish_readings(local_store, partition="batch-2", filter={"min_id": 1})  # on request: never the latest
    found = sheaf.open_every("demo/readings_csv", local_store.url)
    assert {partition: one.version for partition, one in found.items()} == {"batch-1": 1, "batch-2": 1}
    assert found["batch-2"].to_pandas()["value"].tolist() == ["batch-2"]
    assert sheaf.open_every("demo/never_made", local_store.url) == {}
    with pytest.raises(UsageError, match="domain/series"):
        sheaf.open_every("demo/batch-1/readings_csv", local_store.url)


def test_what_was_opened_is_read_whole_or_not_at_all(local_store: Store, tmp_path: Path) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store).export
    opened = sheaf.open(str(BATCH), local_store.url)
    local_store.put(f"{export.path}/readings.csv", b"id,value\n1,b\n")
    with pytest.raises(VerificationError, match=r"readings\.csv differs from what was published"):
        opened.to_pandas()
    with pytest.raises(VerificationError):
        opened.path(to=tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("readings*"))
    outcome.delete(local_store, export, "ada")
    with pytest.raises(NotFoundError, match="was deleted since it was opened"):
        opened.read("readings.csv")
    with pytest.raises(NotFoundError, match="has no latest export"):
        sheaf.open(str(BATCH), local_store.url)


def test_a_mistake_is_told_and_nothing_is_created(local_store: Store, tmp_path: Path) -> None:
    ingest(local_store, "a")
    publish_readings(local_store)
    opened = sheaf.open(str(BATCH), local_store.url)
    with pytest.raises(UsageError, match="Did you mean 'readings'"):
        opened.to_pandas("reading")
    with pytest.raises(UsageError, match="has no file"):
        opened.path("../../record.json")
    with pytest.raises(UsageError, match="does not name an export"):
        sheaf.open("demo/batch-1", local_store.url)
    with pytest.raises(NotFoundError, match="There is no store at"):
        sheaf.open(str(BATCH), str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.case("front-door/read-parquet-folder")
def test_the_folder_of_a_parquet_series_is_one_table(local_store: Store, tmp_path: Path) -> None:
    run_steps(local_store, FERMENTATION, "b4", FermentationSettings(), put_batch(tmp_path / "b4", record()), read_batch)
    done = publish(
        local_store, FERMENTATION, FERMENTATION.series_named("training_parquet"), Request("b4"), FermentationSettings()
    )
    pointer = read_latest(local_store, done.export.series)
    assert pointer
    folder = Path(local_store.url) / pointer.path
    rows = done.manifest.record_count
    assert len(pd.read_parquet(folder)) == ds.dataset(folder).count_rows() == rows > 0
    assert len(duckdb.read_parquet(f"{folder}/*.parquet")) == rows
    assert "window_start" in pd.read_parquet(folder / "_features_30s").columns
    assert {file.path for file in pointer.files} == {file.path for file in done.manifest.files}
    opened = sheaf.open("fermentation/b4/training_parquet", local_store.url)
    assert len(opened.to_pandas()) == rows
    assert "window_start" in opened.to_arrow("features_30s").column_names


def test_an_export_of_sheaf_01_stays_readable_and_can_be_deleted(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    export = publish_readings(atomic_store).export
    for now, then in zip((export.record_path, export.manifest_path), export.earlier_paths, strict=True):
        atomic_store.move(now, then)
    assert sheaf.open(str(BATCH), atomic_store.url).to_pandas()["value"].tolist() == ["a"]
    assert [found.id for found in history(atomic_store)] == [export]
    assert verify(atomic_store, export) == read_manifest(atomic_store, export)
    assert recover(atomic_store).failed == ()
    assert publish_readings(atomic_store).unchanged
    ingest(atomic_store, "a", "b")
    newer = publish_readings(atomic_store).export
    outcome.delete(atomic_store, newer, "ada")
    pointer = read_latest(atomic_store, BATCH)
    assert pointer
    assert (pointer.version, pointer.manifest) == (1, export.earlier_paths[1])
    outcome.delete(atomic_store, export, "ada")
    assert {found.status for found in history(atomic_store)} == {Status.DELETED}
    left = {item.path for item in atomic_store.list(ExportId(BATCH, 1).path)}
    assert left == {export.record_path, export.manifest_path}


def test_to_import_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.process_time(); import sheaf; print(time.process_time() - start, *sys.modules)"
    )
    took, *loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"dagster", "pyarrow", "pandas", "pydantic", "obstore"}.intersection(loaded)
    assert float(took) < 0.15


ALONE = """
import importlib.metadata as packages, re, sys, tomllib

needed, found = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], set()
while needed:
    name = re.match(r"[\\w.-]+", needed.pop())[0].lower().replace("_", "-")
    if name not in found:
        found.add(name)
        needed += [one for one in packages.requires(name) or [] if "extra ==" not in one]
modules = packages.packages_distributions().items()
installed = {module for module, names in modules if any(name.lower().replace("_", "-") in found for name in names)}

class Others:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in installed | sys.stdlib_module_names | {"sheaf"} and not top.startswith("_"):
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Others())
import sheaf

for name in sys.argv[1:]:
    opened = sheaf.open(name)
    print(len(opened.to_pandas()), len(opened.duckdb().df()), len(list(opened.path().rglob("*.*"))))
"""


def test_it_needs_only_what_a_plain_install_brings(local_store: Store, tmp_path: Path) -> None:
    ingest(local_store, "a", "b")
    export = publish_readings(local_store).export
    environment = {**os.environ, "SHEAF_STORE_URL": local_store.url, "SHEAF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(export)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.split() == ["2", "2", "2"], done.stderr


@pytest.mark.case("front-door/publishing-snippet")
def test_the_programs_of_the_guides_run_as_they_stand(local_store: Store, monkeypatch, tmp_path: Path) -> None:
    run_steps(
        local_store, FERMENTATION, "batch-1", FermentationSettings(), put_batch(tmp_path / "b", record()), read_batch
    )
    for name in ("samples_csv", "training_parquet"):
        publish(local_store, FERMENTATION, FERMENTATION.series_named(name), Request("batch-1"), FermentationSettings())
    (tmp_path / ".sheaf").mkdir()
    (tmp_path / ".sheaf" / "store").symlink_to(local_store.url)
    monkeypatch.chdir(tmp_path)
    for name in ("SHEAF_HOME", "SHEAF_STORE_URL", "SHEAF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for page, pattern in (("docs/publishing.md", "duckdb"), ("docs/reading.md", "sheaf")):
        text = (Path(__file__).parents[1] / page).read_text(encoding="utf-8")
        programs = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "s3://" not in code]
        assert [code for code in programs if pattern in code]
        for code in programs:
            exec(compile(code, page, "exec"), {})
