"""Disks whose power can be cut, what works on them meanwhile, and what has to be there afterwards.

Each disk is an ext4 file system on a loop device. A cut freezes the file system that its image lies on, so that
not one more block reaches the device, and copies the image: what Linux only kept in memory is lost, as it is
when the power fails. The copy is mounted (its journal is replayed), checked, and used on from there.
Needs root, in a mount namespace of its own. Shared by `tests/test_power_cut.py` and `benchmarks/power_cuts.py`.
"""

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import children
from demo_domain import BATCH, DEMO, TOTALS_CSV, deliver, ingest, publish_readings, publish_series
from promises import check_readers, check_recovered

from sheaf.damage import examine
from sheaf.exports.kept import prune_tables
from sheaf.exports.outcome import delete
from sheaf.exports.records import Status, read_record
from sheaf.exports.recover import recover
from sheaf.exports.verify import verify
from sheaf.matches.offload.execute import Journal, execute
from sheaf.matches.offload.plan import plan
from sheaf.names import ExportId
from sheaf.running import How
from sheaf.store.quarantine import Damage
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store
from sheaf.tables import generations

children.preload("power", "sheaf.matches.offload.execute", "sheaf.matches.offload.plan")

DISKS = ("store", "logs")
MEGABYTES = 64
_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW of linux/fs.h


class Disks:
    """The disks, mounted at `folder/<name>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._below, self._turn = folder / "below", 0
        image = folder / "below.img"
        self._below.mkdir()
        _make(image, MEGABYTES * 2 * len(DISKS) + 64)
        _mount(image, self._below)
        for name in DISKS:
            (folder / name).mkdir()
        self.make_new()

    def make_new(self) -> None:
        """Begin with empty ones."""
        for name in DISKS:
            self._unmount(name)
            _make(self._image(name), MEGABYTES)
            _mount(self._image(name), self.folder / name)

    def cut(self, then: Callable[[], None]) -> None:
        """Take what has reached the disks in this moment as all there is.

        Args:
            then: ends who works on them.
        """
        before = {name: self._image(name) for name in DISKS}
        self._turn += 1
        handle = os.open(self._below, os.O_RDONLY)
        copies = {name: self.folder / f"{name}.copy" for name in DISKS}
        try:
            fcntl.ioctl(handle, _FREEZE, 0)
            try:
                for name, image in before.items():
                    subprocess.run(["cp", "--sparse=always", image, copies[name]], check=True)
            finally:
                fcntl.ioctl(handle, _THAW, 0)
        finally:
            os.close(handle)
        then()
        for name, image in before.items():
            self._unmount(name)
            image.unlink()
            subprocess.run(["cp", "--sparse=always", copies[name], self._image(name)], check=True)
            copies[name].unlink()
            _mount(self._image(name), self.folder / name)

    def close(self) -> None:
        """Unmount everything."""
        for name in DISKS:
            self._unmount(name)
        subprocess.run(["umount", self._below], check=True)

    def _image(self, name: str) -> Path:
        return self._below / f"{name}-{self._turn}.img"

    def _unmount(self, name: str) -> None:
        if (self.folder / name).is_mount():
            subprocess.run(["umount", self.folder / name], check=True)


def _make(image: Path, megabytes: int) -> None:
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)


def _mount(image: Path, folder: Path) -> None:
    # The journal is committed every second, not every five: names then reach the disk before bytes do, if they can.
    subprocess.run(["mount", "-o", "loop,commit=1", image, folder], check=True)


Done = dict[Any, Any]
"""What a child has said to be done, by what it is called."""


class Work:
    """One kind of work: what a child does on the disks for ever, and what has to be there after a cut."""

    def __init__(self, disks: Path) -> None:
        self.disks = disks
        self.done: Done = {}

    @property
    def store(self) -> Store:
        return Store.open(str(self.disks / "store" / "sheaf"))

    def go_on(self, say: Callable[[Any, Any], None], begin: int) -> None:
        """Work until killed; `say` what has returned, and before what was said is undone. `begin` differs for each."""
        raise NotImplementedError

    def told_late(self, name: Any) -> None:
        """What was going to be done to something when the power failed may have been done, or not."""

    def check(self) -> None:
        """Raise where a promise is broken, then put right what a crash left, look again, and work on."""
        raise NotImplementedError


def damages(store: Store) -> list[Damage]:
    """What is damaged; a lease and a note of what was looked at may be, nobody brings them to disk."""
    found = examine(store, [DEMO], deep=True)
    return [one for one in found if not one.path.startswith("leases/") and not one.path.endswith("/looked.json")]


class Objects(Work):
    """Objects are written in every way there is, and deleted: what has returned is on disk, in new folders, too."""

    def go_on(self, say: Callable[[Any, Any], None], begin: int) -> None:
        store = self.store
        for turn in range(begin, begin + 1_000_000):
            data = [f"{turn}-{number}".encode() * (turn % 500 + 1) for number in range(3)]
            path = f"objects/{turn % 7}/{turn}"
            store.put(f"{path}/put", data[0])
            say(f"{path}/put", data[0])
            time.sleep(0.01)  # what comes next brings to disk what was left out
            assert store.create(f"{path}/created", data[1])
            say(f"{path}/created", data[1])
            say(f"{path}/put", None)  # one or the other
            assert store.swap(f"{path}/put", data[0], data[2])
            say(f"{path}/put", data[2])
            time.sleep(0.01)
            with scratch_folder(store) as folder:
                (folder / "file").write_bytes(data[0])
                store.put_file(f"{path}/file", folder / "file")
            say(f"{path}/file", data[0])
            time.sleep(0.01)
            say(f"{path}/created", None)
            store.delete([f"{path}/created"])
            say(f"{path}/created", b"gone")
            time.sleep(0.01)

    def told_late(self, name: Any) -> None:
        if name in self.done:
            self.done[name] = None

    def check(self) -> None:
        store = self.store
        for path, data in self.done.items():
            if data == b"gone":
                assert store.size(path) is None, f"{path} is back"
            elif data is not None:
                assert store.size(path) is not None, f"{path} is gone"
                assert store.get(path) == data, f"{path} is torn"
        recover(store)
        assert [path.name for path in store.scratch.glob("*") if path.name != "lock"] == []
        store.delete([item.path for item in store.list("objects")])  # make room
        self.done.clear()


class Publishing(Work):
    """Versions are published one after the other; one in three is deleted again when the next is there."""

    def go_on(self, say: Callable[[Any, Any], None], begin: int) -> None:
        store = self.store
        for turn in range(begin, begin + 1_000_000):
            ingest(store, *(f"{turn}-{number}" for number in range(turn % 7 + 1)))
            done = publish_readings(store, always=True)
            say(done.export.version, {file.path: file.sha256 for file in done.manifest.files})
            if turn % 3 == 0:
                say(done.export.version, "going")
                publish_readings(store, always=True)
                delete(store, done.export, "who cuts")
                say(done.export.version, "gone")

    def told_late(self, name: Any) -> None:
        if name in self.done:
            self.done[name] = "going"

    def check(self) -> None:
        store = self.store
        whole = {version: files for version, files in self.done.items() if isinstance(files, dict)}
        latest = check_readers(store, BATCH)
        assert latest >= max(whole, default=0), f"`latest` names v{latest}, v{max(whole)} was published"
        self._all_there(store, whole)
        assert damages(store) == []
        recover(store)
        check_recovered(store, BATCH)
        self._all_there(store, whole)
        if self.done:
            ingest(store, "a", "b")
            version = publish_readings(store, always=True).export.version
            assert version > max(self.done), f"v{version} was handed out again"
        for version in sorted(whole)[:-5]:
            delete(store, ExportId(BATCH, version), "who makes room")
            self.done[version] = "gone"
        prune_tables(store, [DEMO], young=timedelta(0))

    def _all_there(self, store: Store, whole: Done) -> None:
        for version, files in self.done.items():
            export = ExportId(BATCH, version)
            if version in whole:
                manifest = verify(store, export)
                assert {file.path: file.sha256 for file in manifest.files} == files, f"v{version} is not what it was"
                assert read_record(store, export).status is Status.COMPLETED
            elif files == "gone":
                assert read_record(store, export).status is Status.DELETED, f"v{version} is back"


class Generations(Work):
    """Deliveries become generations of two steps; old ones are pruned."""

    def go_on(self, say: Callable[[Any, Any], None], begin: int) -> None:
        store = self.store
        for turn in range(begin, begin + 1_000_000):
            values = [f"{turn}-{number}" for number in range(turn % 5 + 1)]
            for step, made in deliver(store, *values, how=How(accept_loss=True)).items():
                found = made.generation
                say(step, (found.number, {name: table.sha256 for name, table in found.tables.items()}))
            if turn % 5 == 0:
                prune_tables(store, [DEMO], young=timedelta(0))

    def check(self) -> None:
        store = self.store
        self._all_there(store)
        assert damages(store) == []
        recover(store)
        self._all_there(store)
        for step, made in deliver(store, "after", "the cut", how=How(accept_loss=True)).items():
            taken = self.done.get(step, (0, {}))[0]
            assert made.generation.number > taken, f"generation {taken} of {step} was handed out again"
        publish_series(store, TOTALS_CSV)
        self.done.clear()

    def _all_there(self, store: Store) -> None:
        for step in DEMO.steps:
            place = DEMO.place(step, "batch-1")
            for number in generations.numbers(store, place):
                for name, table in generations.read(store, place, number).tables.items():
                    assert store.sha256(table.path) == table.sha256, f"{name} of generation {number} is torn"
            if step.name in self.done:
                number, tables = self.done[step.name]
                current = generations.current(store, place)
                assert current, f"generation {number} of {step.name} is gone"
                assert current.number >= number, f"generation {number} of {step.name} is gone"
                if current.number == number:
                    assert {name: table.sha256 for name, table in current.tables.items()} == tables


class Offloading(Work):
    """Old logs are written, each brought to its disk, and offloaded to the other one."""

    def go_on(self, say: Callable[[Any, Any], None], begin: int) -> None:
        store, folder = self.store, self.disks / "logs"
        long_ago = time.time() - 90 * 86_400
        for turn in range(begin, begin + 1_000_000):
            logs = {}
            for number in range(5):
                path = folder / f"log-{turn}-{number}.ndjson"
                data = os.urandom(random.Random(turn).randrange(30_000))
                with path.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.utime(path, (long_ago, long_ago))
                    REALLY_SYNC(file.fileno())
                logs[path.name] = hashlib.sha256(data).hexdigest()
            handle = os.open(folder, os.O_RDONLY)
            REALLY_SYNC(handle)
            os.close(handle)
            for name, digest in logs.items():
                say(name, digest)
            result = execute(plan(folder, store, 30), store, delete_source=True)
            say("archives", result.archive)

    def check(self) -> None:
        store, folder = self.store, self.disks / "logs"
        self._all_there(store, folder)
        assert damages(store) == []
        recover(store)
        self._all_there(store, folder)
        execute(plan(folder, store, 30), store, delete_source=True)
        self._all_there(store, folder)
        assert not list(folder.glob("*.ndjson")), "the offload was not finished"
        store.delete([item.path for item in store.list("offload")])  # make room
        self.done.clear()

    def _all_there(self, store: Store, folder: Path) -> None:
        archived: dict[str, set[str]] = defaultdict(set)
        for item in store.list("offload"):
            if item.path.endswith(".json"):
                journal = Journal.model_validate_json(store.get(item.path))
                if journal.status in ("verified", "done"):
                    assert store.sha256(journal.archive) == journal.sha256, f"{journal.archive} is torn"
                    with zipfile.ZipFile(Path(store.url) / journal.archive) as archive:
                        for name in archive.namelist():
                            archived[name].add(hashlib.sha256(archive.read(name)).hexdigest())
        for name, digest in self.done.items():
            if name == "archives":
                assert digest is None or store.size(digest) is not None, f"{digest} is gone"
                continue
            path = folder / name
            here = path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
            assert here or digest in archived[name], f"{name} is nowhere"


REALLY_SYNC = os.fsync
WORKS = {"objects": Objects, "publish": Publishing, "generations": Generations, "offload": Offloading}


def cuts(
    folder: Path, work_name: str, number: int, seed: int, *, without_fsync: bool = False
) -> Iterator[tuple[int, str | None]]:
    """Cut the power again and again while work goes on.

    Args:
        without_fsync: as if Sheaf brought nothing to disk: promises have to break.

    Yields:
        For each cut how much was said to be done before it, and the promise that it broke.
    """
    moments = random.Random(seed)
    with _disks(folder) as disks:
        work = WORKS[work_name](folder)
        for turn in range(number):
            reports, report = children.CONTEXT.Pipe(duplex=False)
            child = children.start(_work, work_name, folder, report, 1 + turn * 1_000_000, without_fsync)
            report.close()
            # The first cut may come before anything was done, the others when the child has begun.
            said = _hear(reports, work.done, 20) if turn else 0
            wait_until = time.monotonic() + moments.uniform(0, 0.8)
            while (left := wait_until - time.monotonic()) > 0:
                said += _hear(reports, work.done, left)
            # Half of the cuts come while it writes, a quarter when the last thing it did was to say so, a quarter
            # after it was quiet for so long that names reach the disk by themselves.
            if turn % 2:
                os.kill(child.pid or 0, signal.SIGSTOP)
                time.sleep(moments.uniform(1.0, 2.0) if turn % 4 == 3 else 0)
            said += _hear(reports, work.done, 0)
            disks.cut(lambda child=child: _end(child))
            late: Done = {}
            _hear(reports, late, 0)
            for name in late:
                work.told_late(name)
            try:
                work.check()
            except Exception as error:  # whatever it is, it was promised not to happen
                yield said, f"{type(error).__name__}: {error}".splitlines()[0]
                disks.make_new()
                work.done.clear()
            else:
                yield said, None


@contextmanager
def _disks(folder: Path) -> Iterator[Disks]:
    disks = Disks(folder)
    try:
        yield disks
    finally:
        disks.close()


def _end(child: BaseProcess) -> None:
    child.kill()
    child.join()


def _hear(reports: Connection, done: Done, seconds: float) -> int:
    """Note what a child says is done; returns how much that was."""
    said = 0
    try:
        while reports.poll(0 if said else seconds):
            name, what = reports.recv()
            done[name] = what
            said += 1
    except EOFError:
        time.sleep(min(seconds, 0.05))
    return said


def _work(name: str, folder: Path, report: Connection, begin: int, without_fsync: bool) -> None:
    if without_fsync:
        os.fsync = lambda fd: None
    WORKS[name](folder).go_on(lambda what, how: report.send((what, how)), begin)
