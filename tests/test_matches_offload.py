"""Offload: what is taken, what stays, and that no kill loses a file."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import orjson
import pytest
from matches_logs import ndjson, put, shot
from test_recover import Interrupted, Killed

from sheaf.errors import InputError, StoreError, UsageError
from sheaf.matches.offload.execute import execute, folder_of
from sheaf.matches.offload.plan import OffloadPlan, plan
from sheaf.store import lease as lease_module
from sheaf.store.lease import lease
from sheaf.store.store import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Three files of forty days ago and one of yesterday."""
    folder = tmp_path / "logs"
    for number in range(3):
        old(put(folder, f"main/old{number}.ndjson", ndjson(*(shot(n) for n in range(50 + number)))))
    old(put(folder, "new.ndjson", ndjson(shot(1))), days=1)
    return folder


def old(path: Path, days: float = 40) -> Path:
    when = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (when, when))
    return path


def there(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def archives(store: Store) -> dict[str, dict[str, bytes]]:
    """Members of every archive in the store."""
    found = {}
    for item in store.list("offload"):
        if item.path.endswith(".zip") and store.root is not None:
            with zipfile.ZipFile(store.root / item.path) as archive:
                assert archive.testzip() is None
                found[item.path] = {name: archive.read(name) for name in archive.namelist()}
    return found


def test_a_plan_takes_what_is_strictly_older_and_says_why_the_rest_stays(logs: Path, store: Store) -> None:
    old(put(logs, "edge.ndjson", b"x"), days=30)
    put(logs, "fresh.ndjson", b"x")
    old(put(logs, "live.db", b"SQLite format 3\0" + b"\0" * 100))
    old(put(logs, "live.db-wal", b"x"))
    old(put(logs, "match.yaml", b"name: x\n"))
    old(put(logs, "Config.json", b"{}"))
    old(put(logs, "bridge_main_20260301.ndjson", b"x"))
    (logs / "link").symlink_to(logs / "new.ndjson")
    found = plan(logs, store, 30, now=NOW)
    assert [file.path for file in found.files] == [f"main/old{number}.ndjson" for number in range(3)]
    assert found.kept == {
        "Config.json": "it describes a match",
        "bridge_main_20260301.ndjson": "it is the daily file of today or yesterday",
        "edge.ndjson": "it is not old enough",
        "fresh.ndjson": "it changed in the last 10 minutes",
        "link": "it is a symbolic link",
        "live.db": "it belongs to a database",
        "live.db-wal": "it belongs to a database",
        "match.yaml": "it describes a match",
        "new.ndjson": "it is not old enough",
    }
    assert len(found.files) + len(found.kept) == 12
    assert found.size == sum((logs / file.path).stat().st_size for file in found.files)


def test_age_by_event_time_survives_copying(logs: Path, store: Store) -> None:
    old(put(logs, "notes.txt", b"cloudy\n"))
    changed = (NOW - timedelta(hours=2)).timestamp()
    os.utime(logs / "main" / "old0.ndjson", (changed, changed))
    now = datetime(2025, 9, 20, tzinfo=UTC)
    for path in logs.rglob("*.*"):
        os.utime(path, (now.timestamp() - 86_400, now.timestamp() - 86_400))
    assert plan(logs, store, 5, now=now).files == ()
    by_event = plan(logs, store, 5, cutoff_by="event_time", now=now)
    assert len(by_event.files) == 4
    assert by_event.kept["notes.txt"] == "it holds no event with a time"
    assert plan(logs, store, 7, cutoff_by="event_time", now=now).files == ()


def test_the_store_is_never_offloaded(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    store.put("exports/x", b"x")
    old(tmp_path / "store" / "exports" / "x")
    assert plan(tmp_path, store, 30, now=NOW).kept == {"store/exports/x": "it belongs to the store"}


def test_archived_and_kept_files_are_all_files_and_nothing_is_deleted_unasked(logs: Path, store: Store) -> None:
    before = there(logs)
    result = execute(plan(logs, store, 30, now=NOW), store)
    assert there(logs) == before
    assert {*result.archived, *result.kept} == before
    assert result.deleted == []
    assert result.archive == f"{folder_of(logs)}/offload_before_20260130_20260301_120000.zip"
    ((_, members),) = archives(store).items()
    assert members["main/old1.ndjson"] == (logs / "main" / "old1.ndjson").read_bytes()
    metadata = orjson.loads(members["offload_metadata.json"])
    assert (metadata["offload_type"], metadata["files_archived"]) == ("data_offload", 3)
    assert metadata["cutoff_date"] == "2026-01-30T12:00:00+00:00"


def test_deleting_removes_what_is_archived_and_running_twice_is_a_no_op(logs: Path, store: Store) -> None:
    result = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert len(result.deleted) == 3
    assert there(logs) == {"new.ndjson"}
    again = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert (again.archive, again.archived, again.deleted) == (None, [], [])
    assert len(archives(store)) == 1


def test_archived_files_are_not_archived_twice_and_can_be_deleted_later(logs: Path, store: Store) -> None:
    execute(plan(logs, store, 30, now=NOW), store)
    again = execute(plan(logs, store, 30, now=NOW), store)
    assert (again.archive, len(again.already_archived)) == (None, 3)
    later = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert (later.archive, len(later.deleted)) == (None, 3)
    assert len(archives(store)) == 1


def test_nothing_old_makes_no_archive(logs: Path, store: Store) -> None:
    result = execute(plan(logs, store, 365, now=NOW), store, delete_source=True)
    assert result.archive is None
    assert archives(store) == {}


def test_a_file_that_changed_after_it_was_archived_is_kept(logs: Path, store: Store) -> None:
    execute(plan(logs, store, 30, now=NOW), store)
    changed = logs / "main" / "old1.ndjson"
    changed.write_bytes(changed.read_bytes() + b"more\n")
    result = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert changed.exists()
    assert result.kept["main/old1.ndjson"] == "it changed while it was being archived"
    assert len(result.deleted) == 2


def test_a_file_that_changes_between_plan_and_archive_is_kept(logs: Path, store: Store) -> None:
    planned = plan(logs, store, 30, now=NOW)
    (logs / "main" / "old0.ndjson").write_bytes(b"rewritten\n")
    (logs / "main" / "old1.ndjson").unlink()
    result = execute(planned, store, delete_source=True)
    assert result.archived == ["main/old2.ndjson"]
    assert (logs / "main" / "old0.ndjson").read_bytes() == b"rewritten\n"
    assert result.kept["main/old0.ndjson"] == "it changed while it was being archived"


def test_nothing_is_deleted_when_the_archive_is_damaged(logs: Path, store: Store) -> None:
    archive = execute(plan(logs, store, 30, now=NOW), store).archive
    assert archive is not None
    store.put(archive, store.get(archive)[:-10])
    result = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert result.deleted == []
    assert len(there(logs)) == 4
    assert "missing or damaged" in result.kept["main/old0.ndjson"]


def test_an_archive_name_may_be_given_once(logs: Path, store: Store) -> None:
    result = execute(plan(logs, store, 30, now=NOW), store, archive_name="season-2025")
    assert result.archive == f"{folder_of(logs)}/season-2025.zip"
    old(put(logs, "more.ndjson", b"x"))
    with pytest.raises(UsageError, match="exists already"):
        execute(plan(logs, store, 30, now=NOW), store, archive_name="season-2025")
    with pytest.raises(UsageError, match="no archive name"):
        execute(plan(logs, store, 30, now=NOW), store, archive_name="../x")


def test_wrong_requests(tmp_path: Path, logs: Path, store: Store) -> None:
    with pytest.raises(InputError, match="does not exist"):
        plan(tmp_path / "nowhere", store, 30)
    with pytest.raises(UsageError, match="negative"):
        plan(logs, store, -1)


def test_two_offloads_of_a_folder_wait_for_each_other(logs: Path, store: Store) -> None:
    told: list[str] = []
    waits = threading.Event()
    results = []

    def offload() -> None:
        planned = plan(logs, store, 30, now=NOW)
        results.append(
            execute(planned, store, delete_source=True, waiting=lambda by: (told.append(by.what), waits.set()))
        )

    with lease(store, folder_of(logs), "something else"):
        thread = threading.Thread(target=offload)
        thread.start()
        assert waits.wait(10)
        assert there(logs) == {"new.ndjson", *(f"main/old{number}.ndjson" for number in range(3))}
    thread.join()
    assert told == ["something else"]
    assert len(results[0].deleted) == 3


@pytest.mark.parametrize("holder", [{"host": "elsewhere"}, {"started": "1"}], ids=["another host", "a pid used again"])
def test_an_offload_that_gives_no_sign_of_life_is_taken_over(
    logs: Path, store: Store, monkeypatch: pytest.MonkeyPatch, holder: dict[str, str]
) -> None:
    assert lease_module.DEAD_AFTER_S <= 60
    monkeypatch.setattr(lease_module, "DEAD_AFTER_S", 0.5)
    left = lease_module.Holder(
        token="x", host=socket.gethostname(), pid=os.getpid(), started=lease_module.started(os.getpid()), what="offload"
    )
    store.put(f"leases/{folder_of(logs)}.json", left.model_copy(update=holder).model_dump_json().encode())
    assert execute(plan(logs, store, 30, now=NOW), store).archive


@pytest.mark.case("reliability/offload-lock-takeover")
@pytest.mark.parametrize("dies", [False, True], ids=["and goes on", "and dies"])
def test_an_offload_that_was_taken_for_dead_loses_nothing(logs: Path, store: Store, dies: bool) -> None:
    """Another one takes the lease and offloads the same folder between any two operations of the first."""
    contents = {name: (logs / name).read_bytes() for name in there(logs)}

    def offload(using: Store) -> None:
        execute(plan(logs, store, 30, now=NOW), using, delete_source=True)
        safe(logs, store, contents)

    def silent_for_a_minute() -> None:
        store.put(f"leases/{folder_of(logs)}.json", b"free\n")

    def another() -> None:
        silent_for_a_minute()
        offload(store)

    for at in range(1, 1000):
        for name, data in contents.items():
            old(put(logs, name, data), days=1 if name == "new.ndjson" else 40)
        store.delete([item.path for item in store.list("offload")])
        interrupted = Interrupted(store, at, another, dies=dies)
        with suppress(StoreError, Killed):
            offload(interrupted)
        if not interrupted.happened:
            break
        safe(logs, store, contents)
        silent_for_a_minute()
        offload(store)
        assert there(logs) == {"new.ndjson"}
    assert at > 15


def test_one_that_finds_no_archive_yet_does_not_remove_it_when_it_comes(logs: Path, store: Store) -> None:
    """The first is held up before its archive is there; the second, between any two operations, until it is done."""
    contents = {name: (logs / name).read_bytes() for name in there(logs)}

    class HeldUp(Store):
        def __init__(self) -> None:
            self.__dict__.update(store.__dict__)
            self.waits, self.goes_on = threading.Event(), threading.Event()

        def put_file(self, path: str, source: Path) -> bool:
            """Move it in when it may."""
            self.waits.set()
            assert self.goes_on.wait(20)
            return super().put_file(path, source)

    for at in range(1, 1000):
        for name, data in contents.items():
            old(put(logs, name, data), days=1 if name == "new.ndjson" else 40)
        store.delete([item.path for item in store.list("offload")])
        planned, held_up = plan(logs, store, 30, now=NOW), HeldUp()

        def first(planned: OffloadPlan = planned, held_up: HeldUp = held_up) -> None:
            with suppress(StoreError):
                execute(planned, held_up, delete_source=True)

        def go_on(thread: threading.Thread, held_up: HeldUp = held_up) -> None:
            held_up.goes_on.set()
            thread.join()

        thread = threading.Thread(target=first)
        thread.start()
        assert held_up.waits.wait(20)
        store.put(f"leases/{folder_of(logs)}.json", b"free\n")  # it was silent for a minute
        second = Interrupted(store, at, partial(go_on, thread))
        execute(planned, second, delete_source=True)
        safe(logs, store, contents)
        go_on(thread)
        safe(logs, store, contents)
        if not second.happened:
            break
    assert at > 15


def test_a_damaged_journal_stops_nobody_and_its_archive_stays(logs: Path, store: Store) -> None:
    archive = execute(plan(logs, store, 30, now=NOW), store).archive
    assert archive is not None
    store.put(archive.replace(".zip", ".json"), b"")
    result = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert len(result.deleted) == 3
    assert result.archive not in (None, archive)
    assert len(archives(store)) == 2


def test_a_file_that_was_rewritten_without_changing_its_times_is_kept(logs: Path, store: Store) -> None:
    execute(plan(logs, store, 30, now=NOW), store)
    changed = logs / "main" / "old1.ndjson"
    times = changed.stat()
    with changed.open("r+b") as file:
        file.write(b"X")
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert changed.exists()
    assert result.kept["main/old1.ndjson"] == "it changed while it was being archived"
    assert len(result.deleted) == 2


def test_a_deleted_file_that_a_power_cut_brought_back_is_deleted_again(logs: Path, store: Store) -> None:
    spare = logs.with_name("spare")
    os.link(logs / "main" / "old1.ndjson", spare)
    execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    spare.rename(logs / "main" / "old1.ndjson")
    result = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert (result.archive, result.deleted) == (None, ["main/old1.ndjson"])


CHILD = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from sheaf.matches.offload import execute as offload
from sheaf.matches.offload.plan import OffloadPlan, plan
from sheaf.store.store import Store

source, home, now = Path(sys.argv[1]), sys.argv[2], datetime.fromisoformat(sys.argv[3])


def run(last_step):
    left = [last_step]

    def die_at(owner, name):
        before = getattr(owner, name)

        def call(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return before(*arguments, **named)

        setattr(owner, name, call)

    for owner, name in (
        (offload.Zip, "add"), (offload.Zip, "add_document"), (offload, "confirm"), (Store, "put_file"), (Store, "put"),
        (Store, "sha256"), (Path, "unlink"), (Store, "delete"), (Store, "create"), (Store, "swap"), (offload, "state"),
    ):
        die_at(owner, name)
    store = Store.open(home)
    offload.execute(plan(source, store, 30, now=now), store, delete_source=True)


if sys.argv[4:] == ["now"]:
    run(1_000_000)
    sys.exit()
# The imports take a second, a fork a few milliseconds: one child for each line that comes in.
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(int(line))
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def safe(logs: Path, store: Store, contents: dict[str, bytes]) -> None:
    """Every file is still where it was, or whole in an archive."""
    archived = {name: data for members in archives(store).values() for name, data in members.items()}
    for name, data in contents.items():
        path = logs / name
        assert (path.read_bytes() if path.exists() else archived.get(name)) == data, name


def finish(logs: Path, store: Store, contents: dict[str, bytes]) -> None:
    """The next run finishes, and the one after it has nothing to do."""
    execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert there(logs) == {"new.ndjson"}
    safe(logs, store, contents)
    assert len(archives(store)) == 1
    again = execute(plan(logs, store, 30, now=NOW), store, delete_source=True)
    assert (again.archive, again.deleted) == (None, [])


def child(logs: Path, store: Store, *more: str) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", CHILD, str(logs), str(store.root), NOW.isoformat(), *more]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_killed_at_every_step_no_file_is_lost_and_the_next_run_finishes(logs: Path, store: Store) -> None:
    contents = {name: (logs / name).read_bytes() for name in there(logs)}
    kills = 0
    with child(logs, store) as runner:
        assert runner.stdin
        assert runner.stdout
        while True:
            for name, data in contents.items():
                old(put(logs, name, data), days=1 if name == "new.ndjson" else 40)
            store.delete([item.path for item in store.list("offload")])
            print(kills, file=runner.stdin, flush=True)
            status = int(runner.stdout.readline())
            safe(logs, store, contents)
            if status == 0:
                break
            assert status == signal.SIGKILL
            finish(logs, store, contents)
            kills += 1
        runner.stdin.close()
    assert kills >= 30


def test_killed_by_the_clock_while_it_works(logs: Path, store: Store) -> None:
    rng = random.Random(1)
    for number in range(3):
        old(put(logs, f"main/old{number}.ndjson", rng.randbytes(3_000_000)))
    contents = {name: (logs / name).read_bytes() for name in there(logs)}
    for _ in range(3):
        with child(logs, store, "now") as runner:
            time.sleep(0.6 + rng.random() * 0.5)
            runner.kill()
        safe(logs, store, contents)
    finish(logs, store, contents)
