"""The inbox sensor, called directly: one behaviour a test."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

import sensors.sources
import sheaf.outside.inbox
from assets.partitions import partitions_name
from resources.store import StoreResource
from sensors.sources import source_sensor
from sheaf import watching
from sheaf.errors import InputError, SourceError
from sheaf.fermentation.domain import FERMENTATION
from sheaf.outside.inbox import InboxSource
from sheaf.report import Report
from sheaf.running import run_step
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables.work import Work

QUIET_S = 30.0
HOUR = 3600.0
BATCHES = partitions_name(FERMENTATION)


@pytest.fixture(scope="module")
def shared_instance():
    """Creating an instance costs more than all these tests together."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def instance(shared_instance):
    """An instance that knows no batch."""
    for key in shared_instance.get_dynamic_partitions(BATCHES):
        shared_instance.delete_dynamic_partition(BATCHES, key)
    return shared_instance


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "fermentation").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)  # also for the user without rights
    return tmp_path / "inbox"


class Ticks:
    """The sensor and its cursor, as the daemon keeps it from one tick to the next."""

    def __init__(self, instance: dg.DagsterInstance, inbox: Path, cursor: str | None = None) -> None:
        self.source = InboxSource(inbox, "fermentation", self._read)
        self._sensor = source_sensor(FERMENTATION, self.source, QUIET_S)
        self.sources = Sources({"fermentation": (self.source,)})
        self._instance = instance
        self._inbox = inbox
        self.settings = Settings(home=inbox.parent, store_url=str(inbox.parent / "store"), inbox=inbox)
        self.cursor = cursor
        self.broken = False

    def _read(self, folder: Path, work: Work) -> Report:
        if self.broken:
            raise SourceError("The disk does not answer.")
        return Report()

    def run(self, batch: str) -> None:
        """What the job that a tick asks for would do first."""
        store = Store.open(self.settings.store_url)
        run_step(store, FERMENTATION, FERMENTATION.reading, batch, self.settings.fermentation, self.sources)

    def tick(self) -> dg.SensorResult:
        """One evaluation, with what the daemon does with its result."""
        context = dg.build_sensor_context(instance=self._instance, cursor=self.cursor)
        store = StoreResource(url=str(self._inbox.parent / "store"))
        result = self._sensor(context, sources=self.sources, store=store, settings=self.settings)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or ():
            self._instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return result

    def requested(self) -> list[str | None]:
        """The partitions for which a tick wants a run."""
        return [request.partition_key for request in self.tick().run_requests or ()]

    @property
    def registered(self) -> list[str]:
        """The batches that Dagster knows."""
        return list(self._instance.get_dynamic_partitions(BATCHES))


def put(inbox: Path, batch: str, text: str = "{}", age_s: float = HOUR) -> Path:
    """A batch whose only file was written some time ago."""
    folder = inbox / "fermentation" / batch
    folder.mkdir(exist_ok=True)
    (folder / "batch.json").write_text(text)
    then = time.time() - age_s
    os.utime(folder / "batch.json", (then, then))
    return folder


@contextmanager
def without_rights(inbox: Path) -> Iterator[None]:
    """Run as a user who owns nothing, where the tests run as root; any other user is restricted already."""
    user = os.geteuid()
    if user == 0:
        for parent in inbox.parents:
            parent.chmod(parent.stat().st_mode | 0o011)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in (inbox / "fermentation", *(inbox / "fermentation").glob("*")):
            path.chmod(0o755)


def test_a_new_batch_is_registered_and_run_once(instance, inbox):
    put(inbox, "batch-2")
    put(inbox, "batch-1")
    ticks = Ticks(instance, inbox)
    result = ticks.tick()
    assert [request.partition_key for request in result.run_requests or ()] == ["batch-1", "batch-2"]
    assert ticks.registered == ["batch-1", "batch-2"]
    assert {request.tags["sheaf/partition"] for request in result.run_requests or ()} == {"batch-1", "batch-2"}
    again = ticks.tick()
    assert not again.run_requests
    assert not again.dynamic_partitions_requests
    assert again.skip_reason
    assert again.skip_reason.skip_message == "Nothing new in 2 partitions."


def test_only_a_changed_batch_is_run_again(instance, inbox):
    put(inbox, "batch-1")
    put(inbox, "batch-2")
    ticks = Ticks(instance, inbox)
    ticks.tick()
    put(inbox, "batch-2", text='{"batch": {}}')
    assert ticks.requested() == ["batch-2"]
    sensors_file = inbox / "fermentation" / "batch-1" / "sensors.csv"
    sensors_file.write_text("time,sensor,value\n")
    os.utime(sensors_file, (time.time() - HOUR,) * 2)
    assert ticks.requested() == ["batch-1"], "a file that appears is a change"
    sensors_file.unlink()
    assert ticks.requested() == ["batch-1"], "and so is one that disappears"


def test_a_batch_that_somebody_is_still_writing_waits(instance, inbox):
    put(inbox, "batch-1", age_s=QUIET_S / 2)
    ticks = Ticks(instance, inbox)
    assert ticks.requested() == []
    assert ticks.registered == []
    put(inbox, "batch-1", age_s=QUIET_S + 1)
    assert ticks.requested() == ["batch-1"]


def test_files_that_return_to_what_they_were_are_read_again(instance, inbox):
    """A backup copied over a spoilt file has its old time; Dagster drops requests whose run key it has seen."""
    folder = put(inbox, "batch-1", text="good")
    shutil.copytree(folder, inbox.parent / "backup")
    ticks = Ticks(instance, inbox)
    keys = [request.run_key for request in ticks.tick().run_requests or ()]
    put(inbox, "batch-1", text="spoilt", age_s=HOUR / 2)
    keys += [request.run_key for request in ticks.tick().run_requests or ()]
    shutil.rmtree(folder)
    shutil.copytree(inbox.parent / "backup", folder)
    keys += [request.run_key for request in ticks.tick().run_requests or ()]
    assert len(keys) == 3
    named = [key for key in keys if key is not None]
    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    "cursor", ["garbage", "[]", "5", "null", '{"done": 3}', '{"asked": [1]}', '{"position": null}']
)
def test_a_damaged_cursor_starts_over(instance, inbox, cursor):
    put(inbox, "batch-1")
    ticks = Ticks(instance, inbox, cursor)
    assert ticks.requested() == ["batch-1"]
    assert ticks.requested() == []


def test_a_tick_that_runs_out_of_time_is_continued_by_the_next(instance, inbox, monkeypatch):
    """Even with no time at all every tick looks at one batch, so that the last one is reached."""
    names = [f"batch-{number}" for number in range(5)]
    for name in names:
        put(inbox, name)
    monkeypatch.setattr(sensors.sources, "TICK_SECONDS", 0.0)
    ticks = Ticks(instance, inbox)
    assert [ticks.requested() for _ in names] == [[name] for name in names]
    put(inbox, "batch-0", text="changed")
    put(inbox, "batch-4", text="changed")
    assert sorted(key or "" for _ in names for key in ticks.requested()) == ["batch-0", "batch-4"], (
        "the tail is not starved"
    )


def test_a_tick_asks_for_a_bounded_number_of_runs(instance, inbox, monkeypatch):
    names = [f"batch-{number}" for number in range(7)]
    for name in names:
        put(inbox, name)
    monkeypatch.setattr(sensors.sources, "MOST_RUNS", 3)
    ticks = Ticks(instance, inbox)
    assert [len(ticks.requested()) for _ in range(4)] == [3, 3, 1, 0]
    assert ticks.registered == names


def test_misnamed_folders_are_reported_and_do_no_harm(instance, inbox, capsys):
    put(inbox, "batch-1")
    (inbox / "fermentation" / "my batch").mkdir()
    (inbox / "fermentation" / "…").mkdir()
    (inbox / "fermentation" / ".hidden").mkdir()
    (inbox / "fermentation" / "notes.txt").write_text("not a folder")
    ticks = Ticks(instance, inbox)
    assert ticks.requested() == ["batch-1"]
    assert ticks.registered == ["batch-1"]
    log = capsys.readouterr().err
    assert "'my batch' in the inbox is not read. This name cannot be a partition" in log
    assert "'…'" in log
    assert "hidden" not in log
    assert "notes" not in log


def test_a_vanished_batch_is_forgotten_but_stays_published(instance, inbox):
    put(inbox, "batch-1")
    folder = put(inbox, "batch-2")
    ticks = Ticks(instance, inbox)
    ticks.tick()
    shutil.rmtree(folder)
    assert ticks.requested() == []
    assert ticks.registered == ["batch-1", "batch-2"]
    assert list(json.loads(ticks.cursor or "")["asked"]) == ["batch-1"]


def test_a_batch_that_vanishes_while_it_is_read_does_not_stop_the_others(instance, inbox, monkeypatch, capsys):
    put(inbox, "batch-1")
    put(inbox, "batch-3")
    listed = sheaf.outside.inbox.partitions
    monkeypatch.setattr(sheaf.outside.inbox, "partitions", lambda *where: sorted([*listed(*where), "batch-2"]))
    ticks = Ticks(instance, inbox)
    assert ticks.requested() == ["batch-1", "batch-3"]
    assert "batch-2: The inbox has no fermentation 'batch-2'" in capsys.readouterr().err


def test_an_empty_inbox_is_quiet(instance, inbox):
    result = Ticks(instance, inbox).tick()
    assert not result.run_requests
    assert result.skip_reason


def test_a_missing_inbox_fails_the_tick(instance, tmp_path):
    """A share that is not mounted must not look like a week without batches."""
    with pytest.raises(SourceError, match="There is no inbox at"):
        Ticks(instance, tmp_path / "elsewhere").tick()


def test_an_inbox_that_may_not_be_read_fails_the_tick(instance, inbox):
    put(inbox, "batch-1")
    (inbox / "fermentation").chmod(0o000)
    with without_rights(inbox), pytest.raises(SourceError, match=r"cannot be read: Permission denied\. Allow Sheaf"):
        Ticks(instance, inbox).tick()


def test_a_tick_that_could_read_no_batch_fails(instance, inbox):
    put(inbox, "batch-1").chmod(0o000)
    put(inbox, "batch-2").chmod(0o000)
    with (
        without_rights(inbox),
        pytest.raises(InputError, match=r"Nothing in the inbox could be read\. batch-1: .*denied"),
    ):
        Ticks(instance, inbox).tick()


@pytest.mark.case("reliability/requested-is-not-done")
def test_what_was_asked_for_and_never_done_is_asked_for_again_ever_more_slowly(instance, inbox, monkeypatch, capsys):
    put(inbox, "batch-1")
    ticks = Ticks(instance, inbox)
    start = time.time()
    asked_at = []
    for minute in range(0, 60 * 5, 5):
        monkeypatch.setattr(watching.time, "time", lambda minute=minute: start + minute * 60)
        if ticks.requested():
            asked_at.append(minute)
    assert asked_at == [0, 10, 30, 70, 150]
    assert "batch-1 was asked for 4 times and not done: see its last run" in capsys.readouterr().err


@pytest.mark.case("front-door/dev-reruns-demo")
def test_what_anybody_has_done_is_not_asked_for(instance, inbox, monkeypatch):
    """Not what the sensor has asked for decides, but what the newest tables were made from."""
    monkeypatch.setattr(watching, "stale_steps", lambda *_: [])  # as if all steps behind it were made
    put(inbox, "batch-1")
    ticks = Ticks(instance, inbox)
    ticks.run("batch-1")
    assert ticks.requested() == []
    assert ticks.registered == ["batch-1"], "the UI shows it all the same"
    assert Ticks(instance, inbox).requested() == [], "also without the cursor"
    put(inbox, "batch-1", text="changed")
    assert ticks.requested() == ["batch-1"]
    ticks.run("batch-1")
    assert ticks.requested() == []


def test_tables_without_the_steps_behind_them_are_not_done(instance, inbox):
    put(inbox, "batch-1")
    ticks = Ticks(instance, inbox)
    ticks.run("batch-1")
    assert ticks.requested() == ["batch-1"]


def test_a_run_that_could_not_read_leaves_it_to_be_asked_for_again(instance, inbox, monkeypatch):
    put(inbox, "batch-1")
    ticks = Ticks(instance, inbox)
    assert ticks.requested() == ["batch-1"]
    ticks.broken = True
    with pytest.raises(SourceError):
        ticks.run("batch-1")
    assert ticks.requested() == [], "not at once"
    monkeypatch.setattr(watching, "FIRST_RETRY_S", 0.0)
    assert ticks.requested() == ["batch-1"]


def test_a_batch_whose_run_waits_is_not_asked_for_twice(instance, inbox, monkeypatch):
    put(inbox, "batch-1")
    monkeypatch.setattr(sensors.sources, "_is_running", lambda *_: True)
    ticks = Ticks(instance, inbox)
    put(inbox, "batch-1", text="changed meanwhile")
    assert ticks.requested() == []
    monkeypatch.setattr(sensors.sources, "_is_running", lambda *_: False)
    assert ticks.requested() == ["batch-1"]


def test_one_that_breaks_the_look_itself_harms_only_itself(instance, inbox, monkeypatch, capsys):
    for name in ("batch-1", "batch-2", "batch-3"):
        put(inbox, name)
    whole = sheaf.outside.inbox.arrival

    def arrival(root: Path, domain: str, partition: str, *more: object) -> object:
        if partition == "batch-2":
            raise RecursionError("too deep")
        return whole(root, domain, partition)

    monkeypatch.setattr(sheaf.outside.inbox, "arrival", arrival)
    assert Ticks(instance, inbox).requested() == ["batch-1", "batch-3"]
    assert "batch-2: RecursionError: too deep" in capsys.readouterr().err


@pytest.mark.case("core/sensor-starved-by-slow-bad-partition")
def test_a_slow_one_that_cannot_be_read_does_not_starve_the_others(instance, inbox, monkeypatch):
    for name in ("batch-1", "batch-2", "batch-3"):
        put(inbox, name)
    whole = sheaf.outside.inbox.arrival

    def arrival(root: Path, domain: str, partition: str, *more: object) -> object:
        if partition == "batch-1":
            raise SourceError("504 again and again")
        return whole(root, domain, partition)

    monkeypatch.setattr(sheaf.outside.inbox, "arrival", arrival)
    monkeypatch.setattr(sensors.sources, "TICK_SECONDS", 0.0)
    ticks = Ticks(instance, inbox)
    assert [ticks.requested() for _ in range(4)] == [[], ["batch-2"], ["batch-3"], []]
