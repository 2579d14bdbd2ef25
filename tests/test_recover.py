"""Crashes and races: what `docs/publishing.md` says a kill or a suspended writer leaves, at every step.

A kill is a real one (SIGKILL to a process that publishes); a suspension is somebody else acting
between two operations of a writer on the store, at each of them in turn.
"""

import fcntl
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import children
import orjson
import pytest
from demo_domain import BATCH, ingest, publish_readings
from promises import check_readers, check_recovered

from sheaf.errors import NotFoundError, SheafError
from sheaf.exports import outcome, recover
from sheaf.exports.history import resolve
from sheaf.exports.records import NOTHING, Record, Status, read_latest, read_record, records, write_record
from sheaf.exports.verify import verify
from sheaf.names import ExportId
from sheaf.store.lease import Holder
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store

BOTH = ["local_store", pytest.param("s3_store", marks=pytest.mark.campaign)]
CORE = ("sheaf/exports/", "sheaf/store/store.py", "sheaf/store/scratch.py", "sheaf/activity.py")


class Lines:
    """Calls back before each line of the core, the first time that it is executed."""

    def __init__(self, each: Callable[[int], None]) -> None:
        self.each = each
        self.count = 0
        self.seen: set[tuple[str, int]] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> "Lines | None":
        """Be a trace function, as `sys.settrace` wants it."""
        if not any(part in frame.f_code.co_filename for part in CORE):
            return None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in self.seen:
            self.seen.add(place)
            self.count += 1
            self.each(self.count)
        return self

    def __enter__(self) -> "Lines":
        threading.settrace(self)
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


def kill_at(step: int) -> Callable[[int], None]:
    return lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == step else None


def publish_until_line(url: str, step: int) -> None:
    store = Store.open(url)
    with Lines(kill_at(step)):
        publish_readings(store)


def delete_until_line(url: str, version: int, step: int) -> None:
    store = Store.open(url)
    with Lines(kill_at(step)):
        outcome.delete(store, ExportId(BATCH, version), "ada")


def recover_until_line(url: str, step: int) -> None:
    store = Store.open(url)
    with Lines(kill_at(step)):
        recover.recover(store)


def publish_for_ever(url: str) -> None:
    store = Store.open(url)
    while True:
        publish_readings(store, always=True)


def run(target: Callable[..., None], *args: Any) -> bool:
    """Run a child to its end; whether it was killed."""
    child = children.start(target, *args)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def lines_of(action: Callable[[], object]) -> int:
    with Lines(lambda _: None) as lines:
        action()
    return lines.count


def spread(total: int, wanted: int) -> list[int]:
    return sorted({1 + number * (total - 1) // (wanted - 1) for number in range(wanted)})


def publish_kill_and_recover(url: str, wanted: int) -> int:
    """Kill one publisher at each of many lines; after each kill and each recovery the promises hold."""
    store = Store.open(f"{url}-rehearsal")
    ingest(store, "a")
    steps = spread(lines_of(lambda: publish_readings(store)), wanted)
    kills = 0
    for number, step in enumerate(steps):
        if number % 4 == 0:  # a new series now and then: the checks below read every version
            store = Store.open(f"{url}-{number}")
            ingest(store, "before")
            newest = publish_readings(store).export.version
        ingest(store, str(step))
        kills += run(publish_until_line, store.url, step)
        assert check_readers(store, BATCH) >= newest
        done = publish_readings(store)  # the next run recovers, and finishes the work unless it was done
        assert store.get(f"{done.export.path}/readings.csv") == f"id,value\n1,{step}\n".encode()
        assert done.export.version > newest
        newest = done.export.version
        check_recovered(store, BATCH)
        assert check_readers(store, BATCH) == newest
    return kills


def test_a_kill_at_any_line_leaves_latest_whole_and_the_next_run_recovers_on_disk(local_store: Store) -> None:
    assert publish_kill_and_recover(local_store.url, 70) >= 60


@pytest.mark.campaign
def test_a_kill_at_any_line_leaves_latest_whole_and_the_next_run_recovers_on_s3(s3_store: Store) -> None:
    assert publish_kill_and_recover(s3_store.url, 30) >= 27


@pytest.mark.campaign
def test_a_kill_at_any_line_leaves_latest_whole_and_the_next_run_recovers_on_swift(swift_store: Store) -> None:
    assert publish_kill_and_recover(swift_store.url, 4) >= 3


@pytest.mark.parametrize("atomic_store", BOTH, indirect=True)
def test_a_kill_at_a_random_moment_of_a_busy_publisher(atomic_store: Store) -> None:
    delays = random.Random(20261120)
    ingest(atomic_store, "a", "b")
    newest = 0
    for _ in range(10):
        child = children.start(publish_for_ever, atomic_store.url)
        while check_readers(atomic_store, BATCH) <= newest:
            time.sleep(0.005)
        time.sleep(delays.uniform(0, 0.15))
        child.kill()
        child.join()
        pointed = check_readers(atomic_store, BATCH)
        assert pointed > newest
        check_recovered(atomic_store, BATCH)
        newest = check_readers(atomic_store, BATCH)
        assert newest >= pointed
    numbers = [record.version for record in records(atomic_store, BATCH)]
    assert numbers == sorted(set(numbers), reverse=True)


def test_a_kill_while_deleting_leaves_latest_whole_and_the_number_taken(local_store: Store) -> None:
    ingest(local_store, "a")
    for _ in range(2):
        publish_readings(local_store, always=True)
    total = lines_of(lambda: outcome.delete(local_store, ExportId(BATCH, 2), "ada"))
    for step in spread(total, 20):
        version = publish_readings(local_store, always=True).export.version
        assert run(delete_until_line, local_store.url, version, step)
        assert check_readers(local_store, BATCH) in (1, version)
        check_recovered(local_store, BATCH)
        if read_record(local_store, ExportId(BATCH, version)).status is not Status.DELETED:
            outcome.delete(local_store, ExportId(BATCH, version), "ada")
        assert check_readers(local_store, BATCH) == 1
        check_recovered(local_store, BATCH)


def leave_everything_a_crash_can_leave(store: Store) -> None:
    """Beside a good export, three as kills leave them, and a pointer that has not moved yet."""
    ingest(store, "a")
    _, files_only, committed, half_deleted = [publish_readings(store, always=True).export for _ in range(4)]
    store.delete([files_only.manifest_path])
    for export in (files_only, committed):
        dead(store, read_record(store, export), status=Status.PROCESSING)
    dead(store, read_record(store, half_deleted), status=Status.DELETED)
    pointer = store.get(BATCH.latest_path).replace(b"v4", b"v1").replace(b"v0004", b"v0001")
    store.put(BATCH.latest_path, pointer.replace(b'"version": 4', b'"version": 1'))


def dead(store: Store, record: Record, **changes: object) -> None:
    """As if the writer had been another host, silent for long."""
    silent = datetime.now(UTC) - recover.DEAD_AFTER - timedelta(seconds=1)
    write_record(store, record.model_copy(update={"host": "elsewhere", "heartbeat_at": silent, **changes}))


def test_recovery_finishes_gives_up_and_sweeps(store: Store, request: pytest.FixtureRequest) -> None:
    leave_everything_a_crash_can_leave(store)
    found = recover.recover(store)
    assert (found.finished, found.reaped) == ((f"{BATCH}/v3",), (f"{BATCH}/v2",))
    assert [record.status for record in records(store, BATCH)] == ["deleted", "completed", "failed", "completed"]
    assert records(store, BATCH)[2].error == "Its writer stopped before it was finished."
    assert check_readers(store, BATCH) == 3
    check_recovered(store, BATCH)
    looks = 20 if "swift_store" in request.node.name else 1  # whose lists show for a moment what is gone
    while (again := recover.recover(store)) != recover.Recovered() and (looks := looks - 1):
        time.sleep(0.5)
    assert again == recover.Recovered(), "a second look finds nothing more"


def test_recovery_may_itself_be_killed_anywhere(local_store: Store, tmp_path: Path) -> None:
    leave_everything_a_crash_can_leave(local_store)
    total = lines_of(lambda: recover.recover(local_store))
    for step in spread(total, 20):
        store = Store.open(str(tmp_path / f"store-{step}"))
        leave_everything_a_crash_can_leave(store)
        assert run(recover_until_line, store.url, step)
        assert check_readers(store, BATCH) in (1, 3)
        check_recovered(store, BATCH)
        assert check_readers(store, BATCH) == 3


def test_a_working_writer_is_left_alone(local_store: Store) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store).export
    record = read_record(local_store, export)
    local_store.delete([export.manifest_path])
    for changes in ({"host": "elsewhere"}, {"pid": os.getpid()}):
        write_record(local_store, record.model_copy(update={"status": Status.PROCESSING, **changes}))
        assert recover.recover(local_store) == recover.Recovered()
        assert read_record(local_store, export).status is Status.PROCESSING


def test_a_long_writer_renews_its_record(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from demo_domain import SERIES, publish_series

    from sheaf.exports import publish as publishing

    monkeypatch.setattr(publishing, "HEARTBEAT", timedelta(seconds=0.02))
    beats = []

    def write(draft: Any) -> Any:
        for _ in range(2):
            before = records(local_store, BATCH)[0].heartbeat_at
            deadline = time.monotonic() + 10
            while records(local_store, BATCH)[0].heartbeat_at == before and time.monotonic() < deadline:
                time.sleep(0.01)
            beats.append(records(local_store, BATCH)[0].heartbeat_at > before)
        return SERIES.write(draft)

    ingest(local_store, "a")
    slow = dataclasses.replace(SERIES, write=write)
    done = publish_series(local_store, slow)
    assert beats == [True, True]
    assert read_record(local_store, done.export).status is Status.COMPLETED


class Killed(BaseException):
    """The user of an interrupted store died, as far as the store can tell."""


class Interrupted(Store):
    """A store whose user is suspended before one of its operations, while somebody else acts.

    With `dies`, that operation is its last.
    """

    def __init__(self, inner: Store, at: int, meanwhile: Callable[[], object], *, dies: bool = False) -> None:
        self.__dict__.update(inner.__dict__)
        self._left, self._meanwhile, self._dies, self._lock = at, meanwhile, dies, threading.Lock()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("get", "put", "create", "swap", "put_file", "stream", "size", "list", "names", "folders", "delete"):
            with self._lock:
                self._left -= 1
                now = self._left == 0
                dead = self._dies and self._left < 0
            if dead:
                raise Killed
            if now:
                self._meanwhile()
        return found

    @property
    def happened(self) -> bool:
        """Whether the user got as far as the operation."""
        return self._left <= 0


def taken_for_dead(action: Callable[[], object]) -> None:
    """Do something as if every writer had been silent for long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recover, "DEAD_AFTER", timedelta(seconds=-1))
        action()


def give_up(store: Store) -> int:
    taken_for_dead(lambda: recover.recover(store))
    return check_readers(store, BATCH)


def publish_another(store: Store) -> int:
    taken_for_dead(lambda: publish_readings(store, always=True))
    return check_readers(store, BATCH)


def delete_what_is_completed(store: Store) -> int:
    for record in records(store, BATCH)[:-1]:
        if record.status is Status.COMPLETED:
            outcome.delete(store, record.id, "ada")
    return check_readers(store, BATCH)


def give_up_and_delete(store: Store) -> int:
    give_up(store)
    for record in records(store, BATCH)[:-1]:
        outcome.delete(store, record.id, "ada")
    return check_readers(store, BATCH)


@pytest.mark.parametrize("dies", [False, True], ids=["and goes on", "and dies"])
@pytest.mark.parametrize("atomic_store", BOTH, indirect=True)
@pytest.mark.parametrize(
    "others",
    [
        publish_another,
        pytest.param(give_up, marks=pytest.mark.campaign),
        pytest.param(delete_what_is_completed, marks=pytest.mark.campaign),
        pytest.param(give_up_and_delete, marks=pytest.mark.campaign),
    ],
)
def test_a_suspended_writer_cannot_break_undo_or_resurrect(
    atomic_store: Store, others: Callable[[Store], int], dies: bool
) -> None:
    stride = 1 if atomic_store.root else 8
    for at in range(1, 1000, stride):
        store = Store.open(f"{atomic_store.url}-{at}")
        ingest(store, "a")
        publish_readings(store)
        before: list[int] = []
        suspended = Interrupted(store, at, lambda store=store, before=before: before.append(others(store)), dies=dies)
        with suppress(SheafError, Killed):  # it was given up: it says so, and that is all
            publish_readings(suspended, always=True)
        if not before:
            break
        assert check_readers(store, BATCH) >= before[0]
        taken_for_dead(lambda store=store: recover.recover(store))
        check_recovered(store, BATCH)
    assert at > 20


def test_a_writer_held_up_while_its_export_is_deleted_cannot_call_it_completed(local_store: Store) -> None:
    for at in range(1, 1000):
        store = Store.open(f"{local_store.url}-{at}")
        ingest(store, "a")
        export = publish_readings(store).export
        held_up = read_record(store, export)

        def complete_late(store: Store = store, record: Record = held_up) -> None:
            """What `complete` does, when it was held up after it had looked."""
            with pytest.MonkeyPatch.context() as patch:
                opened = record.model_copy(update={"status": Status.PROCESSING})
                patch.setattr(outcome, "read_record", lambda *_: opened)
                outcome.complete(store, record)

        suspended = Interrupted(store, at, complete_late)
        outcome.delete(suspended, export, "ada")
        if not suspended.happened:
            break
        assert read_record(store, export).status is Status.DELETED
        check_recovered(store, BATCH)
    assert at > 5


def test_a_suspended_deletion_cannot_leave_latest_on_nothing(local_store: Store) -> None:
    for at in range(1, 1000):
        store = Store.open(f"{local_store.url}-{at}")
        ingest(store, "a")
        for _ in range(2):
            publish_readings(store, always=True)
        suspended = Interrupted(store, at, lambda store=store: publish_readings(store, always=True))
        outcome.delete(suspended, ExportId(BATCH, 2), "ada")
        if not suspended.happened:
            break
        assert check_readers(store, BATCH) == 3
        check_recovered(store, BATCH)
    assert at > 10


def test_a_process_suspended_while_it_moves_latest_does_not_hold_up_the_others(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sheaf.store.store._LOCK_PATIENCE_S", 0.05)
    ingest(local_store, "a")
    publish_readings(local_store)
    with (local_store.scratch / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        publish_readings(local_store, always=True)
        assert check_readers(local_store, BATCH) == 2


@pytest.mark.parametrize("atomic_store", BOTH, indirect=True)
def test_latest_never_moves_backwards_while_many_publish(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    writers = [children.start(publish_for_ever, atomic_store.url) for _ in range(3)]
    try:
        seen = [0]
        begin = time.monotonic()
        while time.monotonic() < begin + (3 if seen[-1] > 5 else 60):
            pointer = read_latest(atomic_store, BATCH)
            seen.append(pointer.version if pointer else 0)
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    assert seen == sorted(seen)
    assert seen[-1] > 5
    check_recovered(atomic_store, BATCH)


def test_a_damaged_or_missing_pointer_is_written_again(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    publish_readings(atomic_store)
    for damage in (b"", b"{", b'{"version": "x"}'):
        atomic_store.put(BATCH.latest_path, damage)
        recover.recover(atomic_store)
        assert check_readers(atomic_store, BATCH) == 1
    atomic_store.delete([BATCH.latest_path])
    recover.recover(atomic_store)
    assert check_readers(atomic_store, BATCH) == 1


@pytest.mark.case("reliability/latest-lost")
@pytest.mark.parametrize("atomic_store", BOTH, indirect=True)
@pytest.mark.parametrize("publishes_inside", [False, True], ids=["who deletes is held up", "who publishes is held up"])
def test_latest_is_never_lost_between_who_deletes_the_last_and_who_publishes_the_next(
    atomic_store: Store, publishes_inside: bool
) -> None:
    stride = 1 if atomic_store.root else 4
    for at in range(1, 1000, stride):
        store = Store.open(f"{atomic_store.url}-{at}")
        ingest(store, "a")
        first = publish_readings(store).export

        def delete(using: Store, export: ExportId = first) -> None:
            outcome.delete(using, export, "ada")

        def publish(using: Store) -> None:
            publish_readings(using, always=True)

        held_up, meanwhile = (publish, delete) if publishes_inside else (delete, publish)
        suspended = Interrupted(store, at, partial(meanwhile, store))
        held_up(suspended)
        if not suspended.happened:
            break
        assert check_readers(store, BATCH) == 2
        check_recovered(store, BATCH)
    assert at > 5


def test_a_series_without_a_canonical_export_says_so(store: Store) -> None:
    ingest(store, "a")
    export = publish_readings(store).export
    outcome.delete(store, export, "ada")
    nowhere = {"export": None, "version": None, "path": None, "manifest": None, "moves": 2}
    assert orjson.loads(store.get(BATCH.latest_path)) == nowhere
    assert read_latest(store, BATCH) is None
    with pytest.raises(NotFoundError, match="has no latest export"):
        resolve(store, f"{BATCH}/latest")
    publish_readings(store)
    assert orjson.loads(store.get(BATCH.latest_path))["moves"] == 3
    assert check_readers(store, BATCH) == 2


def test_a_completed_record_without_manifest_counts_for_nothing(local_store: Store) -> None:
    ingest(local_store, "a")
    publish_readings(local_store)
    second = publish_readings(local_store, always=True).export
    local_store.put(second.manifest_path, NOTHING)
    assert recover.recover_series(local_store, BATCH).finished == ()
    assert check_readers(local_store, BATCH) == 1
    assert publish_readings(local_store).export.version == 1
    with pytest.raises(NotFoundError, match="v2 has no files, it is completed"):
        verify(local_store, second)
    check_recovered(local_store, BATCH)
    with pytest.raises(NotFoundError, match="v2 has no files, it is deleted: Its files are gone"):
        verify(local_store, second)


def test_working_files_of_dead_processes_are_swept_and_others_kept(atomic_store: Store) -> None:
    gone = children.start(print)
    gone.join()
    with scratch_folder(atomic_store) as mine:
        host = socket.gethostname()
        left = {
            "dead": mine.with_name(f"{host}-{gone.pid}-{'a' * 12}"),
            "fresh": mine.with_name(f"elsewhere-1-{'b' * 12}"),
            "old": mine.with_name(f"else-where-1-{'c' * 12}"),
            "leased": mine.with_name(f"else-where-2-{'e' * 12}"),
            "stray": mine.with_name("notes"),
        }
        for folder in left.values():
            folder.mkdir(exist_ok=True)
            (folder / "file").write_text("half")
        staged = mine.with_name(f"{host}-{gone.pid}-{'d' * 12}")
        staged.write_text("half")
        long_ago = time.time() - 2 * 24 * 3600
        for path in (left["old"] / "file", left["old"], left["fresh"], left["leased"] / "file", left["leased"]):
            os.utime(path, (long_ago, long_ago))
        holder = Holder(token="x", host="else-where", pid=2, started="1", what="readings")
        atomic_store.put("leases/demo/batch-1.json", holder.model_dump_json().encode())
        recover.recover(atomic_store)
        assert not staged.exists()
        assert {name for name, folder in left.items() if folder.exists()} == {"fresh", "leased", "stray"}
        assert mine.exists()
    assert not mine.exists()
    for folder in left.values():
        if folder.exists():
            (folder / "file").unlink()
            folder.rmdir()
