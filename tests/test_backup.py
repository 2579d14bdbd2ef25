"""A backup opened in another place, as docs/operations.md makes it: everything is there and goes on from there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from demo_domain import BATCH, DEMO, deliver, ingest, publish_readings
from servers import BUCKET, moto_server, postgres_server

import sheaf
from pipelines.http.roles import Role
from pipelines.http.users import Users
from pipelines.instance import open_instance
from sheaf import damage
from sheaf.exports.history import resolve
from sheaf.exports.pins import pin
from sheaf.exports.records import read_latest
from sheaf.exports.recover import recover
from sheaf.exports.verify import verify
from sheaf.names import ExportId
from sheaf.settings import Settings
from sheaf.store.store import Store

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
IN_POSTGRES = re.compile(r"^docker compose exec (?:-T )?postgres (.*)$", re.MULTILINE)


def documented(beginning: str) -> str:
    """The commands of the page that begin so."""
    (found,) = re.findall(rf"```sh\n({beginning}.*?)```", PAGE, re.DOTALL)
    return found


def settings_of(home: Path) -> Settings:
    return Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which something was published and a run was made."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    folder = tmp_path / ".sheaf"
    store = Store.open(str(folder / "store"))
    deliver(store, "a", "b")
    pin(store, publish_readings(store).export, "paper", "ada")
    ingest(store, "a", "b", "c")
    publish_readings(store)
    Users(folder).add("ada", Role.VIEWER, "a long password")
    (store.scratch / "left-1-0123456789ab").mkdir(parents=True)

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="batches"))
    def counted() -> None: ...

    with open_instance(settings_of(folder)) as instance:
        instance.add_dynamic_partitions("batches", ["batch-1"])
        assert dg.materialize([counted], instance=instance, partition_key="batch-1").success
    return folder


def test_a_backup_opens_in_another_place_and_goes_on_there(home: Path) -> None:
    for commands in (documented("tar --create --file sheaf-backup"), documented("mkdir -p restored")):
        subprocess.run(["sh", "-euc", commands], cwd=home.parent, check=True)
    home.rename(home.with_name("gone"))  # nothing may lead back to it
    there = home.parent / "restored"
    store = Store.open(str(there / "store"))
    assert list(damage.examine(store, [DEMO], deep=True)) == []
    assert not store.scratch.exists()
    assert sheaf.open(str(BATCH), store.url).to_pandas()["value"].tolist() == ["a", "b", "c"]
    assert resolve(store, f"{BATCH}/@paper") == ExportId(BATCH, 1)
    same = publish_readings(store)
    assert (same.export.version, same.unchanged) == (2, True)
    deliver(store, "a", "b", "c", "d")
    assert publish_readings(store).export.version == 3
    assert Users(there).login("ada", "a long password")
    with open_instance(settings_of(there)) as instance:
        assert instance.get_runs_count() == 1
        assert instance.get_dynamic_partitions("batches") == ["batch-1"]
        assert instance.get_materialized_partitions(dg.AssetKey("counted")) == {"batch-1"}
        instance.upgrade()  # what `dagster instance migrate` does


def test_a_copy_that_was_made_while_something_was_published_is_put_right(local_store: Store) -> None:
    ingest(local_store, "a")
    first = publish_readings(local_store).export
    ingest(local_store, "b")
    second = publish_readings(local_store).export
    local_store.delete([item.path for item in local_store.list(second.path)])  # copied before it was there
    recover(local_store)
    latest = read_latest(local_store, BATCH)
    assert latest is not None
    assert latest.version == first.version
    verify(local_store, first)
    assert publish_readings(local_store).export.version == second.version


def test_a_store_moves_to_s3_with_versions_tags_and_what_is_unchanged(local_store: Store, s3_store: Store) -> None:
    ingest(local_store, "a")
    pin(local_store, publish_readings(local_store).export, "paper", "ada")
    for item in local_store.list(""):
        s3_store.put(item.path, local_store.get(item.path))
    assert list(damage.examine(s3_store, [DEMO], deep=True)) == []
    assert sheaf.open(f"{BATCH}/@paper", s3_store.url).to_pandas()["value"].tolist() == ["a"]
    assert publish_readings(s3_store).unchanged
    ingest(s3_store, "b")
    assert publish_readings(s3_store).export.version == 2


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of an instance with the deployment's dagster.yaml, on PostgreSQL and S3."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    with postgres_server() as postgres, moto_server(tmp_path) as s3:
        postgres.psql("CREATE ROLE dagster LOGIN SUPERUSER")
        postgres.psql("CREATE DATABASE dagster OWNER dagster")
        given = {
            **s3,
            "AWS_DEFAULT_REGION": s3["AWS_REGION"],
            "DAGSTER_HOME": str(home),
            "DAGSTER_POSTGRES_HOST": "",
            "DAGSTER_POSTGRES_USER": "dagster",
            "DAGSTER_POSTGRES_PASSWORD": "unused",
            "DAGSTER_POSTGRES_DB": "dagster",
            "PGHOST": str(postgres.get_postmaster_info().socket_dir),
            "SHEAF_BUCKET": BUCKET,
            "PATH": f"{postgres.bin_path}:{os.environ['PATH']}",
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        yield home


def mirror(source: str, target: str) -> None:
    """What `mc mirror --overwrite --remove` does."""
    s3 = boto3.resource("s3")
    s3.Bucket(target).objects.delete()
    for item in s3.Bucket(source).objects.all():
        s3.Bucket(target).copy({"Bucket": source, "Key": item.key}, item.key)


@pytest.mark.campaign
@pytest.mark.services
def test_database_and_bucket_come_back_from_another_place_as_they_were(deployment: Path, tmp_path: Path) -> None:
    dump, back = (
        IN_POSTGRES.findall(documented(f"docker compose {word}")) for word in ("exec postgres", "up --detach")
    )
    assert [words[0].split()[0] for words in (dump, back)] == ["pg_dump", "pg_restore"]

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="batches"))
    def counted() -> None:
        print("one, two, three")

    store = Store.open(f"s3://{BUCKET}")
    deliver(store, "a", "b")
    pin(store, publish_readings(store).export, "paper", "ada")
    with dg.DagsterInstance.from_config(str(deployment)) as instance:
        instance.add_dynamic_partitions("batches", ["batch-1"])
        made = dg.materialize([counted], instance=instance, partition_key="batch-1")
    boto3.client("s3").create_bucket(Bucket="backup")
    subprocess.run(["sh", "-euc", dump[0]], cwd=tmp_path, check=True)
    mirror(BUCKET, "backup")

    deliver(store, "a", "b", "c")  # what comes after the backup, and is lost with all the rest
    publish_readings(store)
    subprocess.run(["dropdb", "--username=dagster", "--maintenance-db=postgres", "--force", "dagster"], check=True)
    boto3.resource("s3").Bucket(BUCKET).objects.delete()

    subprocess.run(["createdb", "--username=dagster", "--maintenance-db=postgres", "dagster"], check=True)
    subprocess.run(["sh", "-euc", back[0]], cwd=tmp_path, check=True)
    mirror("backup", BUCKET)
    (migrate,) = re.findall(r"docker compose run --rm webserver (dagster instance migrate)", PAGE)
    command = [str(Path(sys.executable).with_name("dagster")), *migrate.split()[1:]]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"current: (\w+)", told) == re.findall(r"latest: (\w+)", told) != []
    store = Store.open(f"s3://{BUCKET}")
    assert list(damage.examine(store, [DEMO], deep=True)) == []
    assert sheaf.open(f"{BATCH}/@paper", store.url).to_pandas()["value"].tolist() == ["a", "b"]
    assert publish_readings(store).unchanged
    with dg.DagsterInstance.from_config(str(deployment)) as instance:
        assert instance.get_runs_count() == 1
        assert instance.get_dynamic_partitions("batches") == ["batch-1"]
        assert instance.get_materialized_partitions(dg.AssetKey("counted")) == {"batch-1"}
        (logs,) = made.filter_events(lambda event: event.event_type_value == "LOGS_CAPTURED")
        key = [made.run_id, "compute_logs", logs.event_specific_data.file_key]
        assert instance.compute_log_manager.cloud_storage_has_logs(key, ComputeIOType.STDOUT)
        assert b"one, two, three" in instance.compute_log_manager.get_log_data(key).stdout
    deliver(store, "a", "b", "c")
    assert publish_readings(store).export.version == 2
