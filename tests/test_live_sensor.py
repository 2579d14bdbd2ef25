"""A live source from change to export: the sensor, the command line, the doctor; with a real database."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from eln_database import as_reader, create_database, execute, inserts
from lab import configured as settings_of
from live_campaign import batch_id, put_in_inbox, shared_records
from running import run_steps
from servers import postgres_server

from assets.partitions import partitions_name
from pipelines.cli import main
from resources.sources import configured_sources
from resources.store import StoreResource
from sensors.sources import source_sensor
from sheaf import activity, watching
from sheaf.errors import SourceError
from sheaf.exports.history import resolve
from sheaf.fermentation.domain import FERMENTATION
from sheaf.sources import tombstones
from sheaf.store.store import Store

BATCHES = partitions_name(FERMENTATION)
CONFIG = "fermentation: {sources: [{kind: eln_postgres}]}\n"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as server:
        yield server.get_uri()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


class Lab:
    """A home that is configured for a database with three batches, and the sensor's ticks."""

    def __init__(self, home: Path, dsn: str, instance: dg.DagsterInstance) -> None:
        (home / "inbox").mkdir()
        (home / "sheaf.yaml").write_text(CONFIG)
        self.home = home
        self.dsn = dsn
        self.settings = settings_of({"SHEAF_HOME": str(home)})
        self.store = Store.open(self.settings.store_url)
        self.instance = instance
        self.cursor: str | None = None
        self.sources = configured_sources(self.settings)
        source = self.sources.named("fermentation", "eln_postgres")
        self._sensor = source_sensor(FERMENTATION, source, 30.0)

    def tick(self) -> dg.SensorResult:
        """One evaluation, with what the daemon does with its result."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        store = StoreResource(url=self.settings.store_url)
        result = self._sensor(context, sources=self.sources, store=store, settings=self.settings)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return result

    def run(self, batch: str) -> None:
        """All steps of a batch, as the job does them."""
        run_steps(self.store, FERMENTATION, batch, self.settings.fermentation, self.sources)

    def requested(self) -> list[str]:
        """The partitions for which a tick wants a run."""
        return sorted(request.partition_key or "" for request in self.tick().run_requests or ())


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return shared_records()


@pytest.fixture
def lab(tmp_path, postgres, documents, instance, monkeypatch, request) -> Lab:
    for name in ("SHEAF_STORE_URL", "SHEAF_INBOX", "SHEAF_CONFIG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    for key in instance.get_dynamic_partitions(BATCHES):
        instance.delete_dynamic_partition(BATCHES, key)
    dsn = create_database(postgres, f"lab_{abs(hash(request.node.name))}", documents)
    monkeypatch.setenv("SHEAF_ELN_DSN", as_reader(dsn))
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    return Lab(tmp_path, dsn, instance)


def sheaf(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main.main(list(args))
    return int(ended.value.code or 0), *capfd.readouterr()


def test_new_batches_are_registered_and_only_the_changed_one_is_run_again(lab, documents):
    keys = sorted(map(batch_id, documents))
    assert lab.requested() == keys
    assert sorted(lab.instance.get_dynamic_partitions(BATCHES)) == keys
    assert lab.requested() == []
    execute(lab.dsn, f"UPDATE samples SET dcw_g_per_l = 0.7 WHERE batch_id = '{keys[1]}' AND timepoint_hours < 1")
    assert lab.requested() == [keys[1]]
    assert lab.requested() == []


def test_a_deleted_batch_gets_a_tombstone_and_keeps_what_it_has(lab, documents):
    keys = sorted(map(batch_id, documents))
    lab.tick()
    lab.run(keys[0])
    execute(lab.dsn, f"DELETE FROM batches WHERE batch_id = '{keys[0]}'")
    result = lab.tick()
    assert not result.run_requests
    (observed,) = result.asset_events
    assert observed.partition == keys[0]
    assert {key: stone.source for key, stone in tombstones(lab.store, "fermentation").items()} == {
        keys[0]: "eln_postgres"
    }
    assert next(activity.newest(lab.store)).what == "deleted at its source"
    assert keys[0] in lab.instance.get_dynamic_partitions(BATCHES)
    assert not lab.tick().asset_events, "noticed once"
    execute(lab.dsn, *inserts(next(document for document in documents if batch_id(document) == keys[0])))
    assert lab.requested() == [keys[0]], "one that comes back is read again"
    lab.run(keys[0])
    assert tombstones(lab.store, "fermentation") == {}


def test_a_database_that_is_suddenly_empty_fails_the_tick_and_buries_nothing(lab, documents):
    lab.run(batch_id(documents[0]))
    execute(lab.dsn, "DELETE FROM batches")
    with pytest.raises(SourceError, match="offers nothing at all any more"):
        lab.tick()
    assert tombstones(lab.store, "fermentation") == {}


def test_a_batch_that_could_not_be_read_in_an_outage_is_run_again_later(lab, documents, monkeypatch):
    """Its fingerprint has not changed since: without this it would wait for somebody to notice."""
    keys = sorted(map(batch_id, documents))
    lab.tick()
    address = os.environ["SHEAF_ELN_DSN"]
    monkeypatch.setenv("SHEAF_ELN_DSN", "postgresql://reader@127.0.0.1:9/none")
    with pytest.raises(SourceError):
        lab.run(keys[1])
    monkeypatch.setenv("SHEAF_ELN_DSN", address)
    assert lab.requested() == [], "not at once"
    monkeypatch.setattr(watching, "FIRST_RETRY_S", 0.0)
    assert keys[1] in lab.requested()
    lab.run(keys[1])
    assert keys[1] not in lab.requested()


def test_a_batch_in_the_inbox_comes_before_the_same_one_in_the_database(lab, documents, capfd):
    put_in_inbox(lab.home / "inbox", documents[:1])
    key = batch_id(documents[0])
    assert key not in lab.requested()
    assert f"{key} in the eln_postgres is passed over" in capfd.readouterr().err
    _, out, _ = sheaf(capfd, "sources", "fermentation", "--json")
    notes = {(line["source"], line["partition"]): line["note"] for line in json.loads(out)}
    assert notes["inbox", key] == ""
    assert notes["eln_postgres", key] == "read from the inbox"
    assert len(notes) == 4


def test_a_late_dry_weight_makes_the_next_version_of_one_batch_and_an_outage_none(lab, documents, capfd, monkeypatch):
    key = batch_id(documents[0])
    code, out, _ = sheaf(capfd, "run", "fermentation", key, "--json")
    assert code == 0, out
    row = f"(SELECT max(id) FROM samples WHERE batch_id = '{key}')"
    weights = "dcw_filter_wet_weight_g = 0.0912, dcw_filter_dry_weight_g = 0.0947, dcw_sample_volume_ml = 5"
    execute(lab.dsn, f"UPDATE samples SET {weights}, dcw_g_per_l = 0.7 WHERE id = {row}")
    code, out, _ = sheaf(capfd, "run", "fermentation", key, "--json")
    versions = {found["series"]: found["version"] for found in json.loads(out) if found["partition"] == key}
    assert code == 0
    assert versions["samples_csv"] == versions["batch_report"] == 2
    report = resolve(lab.store, f"fermentation/{key}/batch_report/latest")
    (path,) = [item.path for item in lab.store.list(report.path) if item.path.endswith(".md")]
    assert " 0.70 |" in lab.store.get(path).decode()
    resolve(lab.store, f"fermentation/{key}/samples_csv/v1")

    monkeypatch.setenv("SHEAF_ELN_DSN", "postgresql://reader@127.0.0.1:9/none")
    code, out, _ = sheaf(capfd, "run", "fermentation", key, "--json")
    assert code == 1
    assert all("cannot be reached" in found["error"] for found in json.loads(out) if found["partition"] == key)
    assert resolve(lab.store, f"fermentation/{key}/samples_csv/latest").version == 2
    code, out, _ = sheaf(capfd, "export", "fermentation", key, "samples_csv", "--json")
    assert (code, json.loads(out)[0]["unchanged"]) == (0, True), "an outage refuses nothing that was read before"
    code, out, err = sheaf(capfd, "sources", "fermentation")
    assert code == 1
    assert "eln_postgres: The laboratory database cannot be reached" in err
    code, out, _ = sheaf(capfd, "doctor", "--json")
    findings = {found["what"]: found for found in json.loads(out)}
    assert code == 1
    assert not findings["fermentation eln_postgres"]["ok"]
    assert findings["fermentation inbox"]["ok"]


def test_all_partitions_of_allsources_are_run_and_a_failing_source_is_a_failed_result(
    lab, documents, capfd, monkeypatch
):
    own = copy.deepcopy(documents[:1])
    own[0]["batch"]["batch_id"] = "own-batch"
    put_in_inbox(lab.home / "inbox", own)
    monkeypatch.setenv("SHEAF_ELN_DSN", "postgresql://reader@127.0.0.1:9/none")
    code, out, _ = sheaf(capfd, "run", "fermentation", "--json")
    found = json.loads(out)
    assert code == 1
    assert {entry["status"] for entry in found if entry["partition"] == "own-batch"} == {"completed"}
    (failed,) = [entry for entry in found if entry["partition"] == "eln_postgres"]
    assert "cannot be reached" in failed["error"]
