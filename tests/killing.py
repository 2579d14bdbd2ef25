"""Killing the real domains at their writes: what comes out afterwards is one delivery or the other, never a mix.

A child process makes delivery B of a store that holds delivery A, and gets SIGKILL before or after one of its
writes. Then everything is exported and compared with exports that were made of A and of B alone, byte for byte.
Shared by `tests/test_killed_domains.py` and `benchmarks/kills.py`.
"""

import hashlib
import io
import os
import re
import resource
import shutil
import signal
import threading
import time
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import children
from PIL import Image
from promises import check_settled
from running import run_steps
from two_deliveries import NOON, WRITERS, settings

from resources.sources import configured_sources
from sheaf.domains import DOMAINS
from sheaf.errors import InputError, StaleError, StoreError
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.records import is_committed, read_latest, read_manifest, versions
from sheaf.exports.recover import recover
from sheaf.exports.series import Series
from sheaf.exports.verify import confirm_listing
from sheaf.media.analysis.item import Job, Worker, fingerprint, run_item
from sheaf.media.batch_record import FinishedItem
from sheaf.media.errors import ChangedError
from sheaf.names import ExportId, SeriesId
from sheaf.running import How
from sheaf.steps import Domain
from sheaf.store.lease import Holder
from sheaf.store.store import Store
from sheaf.tables import generations

children.preload("killing", "scipy.signal", "matplotlib.pyplot", "PIL.Image", "sheaf.media.analysis.progress")

Files = dict[str, bytes]
MIX = "mix"


@dataclass(frozen=True)
class Trial:
    """One domain with two deliveries of a partition, as a child gets it.

    Attributes:
        inboxes: where the deliveries A and B lie.
        answers: what the analysis of media found, by pair: it measures its own time, so each is asked once.
    """

    name: str
    partition: str
    inboxes: Mapping[str, Path]
    answers: dict[str, FinishedItem] = field(default_factory=dict)

    @property
    def domain(self) -> Domain:
        """The domain itself."""
        return DOMAINS[self.name]

    @property
    def series(self) -> list[Series]:
        """All that a partition is published as."""
        return [series for series in self.domain.series if not series.campaign]

    def id_of(self, series: Series) -> SeriesId:
        """A series of the partition."""
        return SeriesId(self.name, self.partition, series.name)

    @contextmanager
    def same_each_time(self) -> Iterator[None]:
        """The same delivery has the same bytes: it is always noon, and a pair takes as long as it took."""

        def answer(item_id: str, job: Job, stopped: Callable[[], bool], worker: Worker) -> FinishedItem:
            key = f"{item_id} {fingerprint(job)}"
            if key not in self.answers:
                self.answers[key] = run_item(item_id, job, stopped, worker)
            return self.answers[key]

        with (
            mock.patch.dict(os.environ, SOURCE_DATE_EPOCH=str(NOON)),
            mock.patch("sheaf.media.analysis.batch.run_item", answer),
        ):
            yield

    def deliver(self, store: Store, delivery: str, how: How | None = None) -> None:
        """Run all steps on a delivery."""
        configured = settings(self.inboxes[delivery], store.url)
        sources, own = configured_sources(configured), configured.of(self.name)
        for name, made in run_steps(store, self.domain, self.partition, own, sources, how=how).items():
            assert made.generation.refused is None, f"{name}: {made.generation.refused}"

    def export(self, store: Store) -> Iterator[tuple[Series, Published | None]]:
        """Publish all series; None for one that is refused."""
        own = settings(self.inboxes["A"], store.url).of(self.name)
        for series in self.series:
            published = None
            with suppress(InputError, ChangedError):  # the second: of a dub that a newer delivery has just replaced
                published = publish(store, self.domain, series, Request(self.partition), own)
            yield series, published


class Writes:
    """Counts what this process writes to stores while it is entered, and kills it before or after one write."""

    def __init__(self, deadly: int = 0, *, after: bool = False) -> None:
        self.count = 0
        self._deadly, self._after, self._lock, self._patches = deadly, after, threading.Lock(), ExitStack()

    def __enter__(self) -> "Writes":
        delete = self._watched(lambda store, path, **how: _delete(store, [path], **how))

        def delete_each(store: Store, paths: Any, **how: Any) -> None:
            for path in paths:
                delete(store, path, **how)

        watched = {name: self._watched(getattr(Store, name)) for name in ("put", "create", "swap", "put_file", "move")}
        for name, method in {**watched, "delete": delete_each}.items():
            self._patches.enter_context(mock.patch.object(Store, name, method))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _watched(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*args: Any, **how: Any) -> Any:
            with self._lock:
                self.count += 1
                now = self.count == self._deadly
            if now and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = write(*args, **how)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return watch


_delete = Store.delete


def make_until_killed(trial: Trial, url: str, deadly: int, after: bool) -> None:
    """What a victim does: all steps of delivery B, then all exports."""
    with trial.same_each_time(), Writes(deadly, after=after):
        make(trial, Store.open(url))


def make(trial: Trial, store: Store) -> None:
    trial.deliver(store, "B")
    for _ in trial.export(store):
        pass


def take_turns(trial: Trial, url: str, rounds: int, first: int) -> None:
    """Deliver A and B in turns, whatever is lost by it."""
    with trial.same_each_time():
        store = Store.open(url)
        for number in range(first, first + rounds):
            with suppress(StaleError):  # the other one has delivered meanwhile
                trial.deliver(store, "AB"[number % 2], How(accept_loss=True))


@dataclass
class Found:
    """What came of a campaign.

    Attributes:
        counts: kills, exports afterwards that held `A`, `B`, or were refused, and mixes.
        problems: every broken promise as a sentence.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self, where: str) -> Iterator[None]:
        """Go on after a broken promise."""
        try:
            yield
        except Exception as error:  # whatever it is, nothing may fail here
            self.problems.append(f"{where}: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Victim:
    """A child that is killed at a write; `where` says at which."""

    store: Store
    child: BaseProcess
    where: str


@dataclass(frozen=True)
class Prepared:
    """A trial with what its exports have to hold.

    Attributes:
        exports: the files that A and B alone are published as, by delivery and series.
        store_of_a: every object of a store where A was published.
        writes: how many it takes to make and publish B there.
    """

    trial: Trial
    exports: Mapping[str, Mapping[str, Files]]
    store_of_a: Mapping[str, bytes]
    writes: int

    def kill(self, url: str, kills: int) -> Found:
        """Kill a child at each of many writes, spread over all that there are; before and after in turns."""
        found = Found()
        started: deque[Victim] = deque()
        for number in range(kills):
            deadly, after = 1 + (2 * number + 1) * self.writes // (2 * kills), number % 2 == 1
            where = f"{self.trial.name} killed {'after' if after else 'before'} write {deadly} of {self.writes}"
            store = self._with_a(f"{url}-{number}")
            child = children.start(make_until_killed, self.trial, store.url, deadly, after)
            started.append(Victim(store, child, where))
            if number:  # one dies while the one before it is looked at
                self._after_death(started.popleft(), found)
        while started:
            self._after_death(started.popleft(), found)
        return found

    def fill(self, disk: Path, rooms: Sequence[int], largest: Sequence[int]) -> Found:
        """Deliver B and export it on a disk that is full before that is done, then with room again.

        Args:
            rooms: bytes that are left on the disk, one after another.
            largest: bytes that a file may have, as where a quota is; needs no rights.
        """
        found = Found()
        hindrances = [(f"{room} bytes left", filled(disk, room)) for room in rooms]
        hindrances += [(f"files up to {size} bytes", limited(size)) for size in largest]
        for number, (where, hindrance) in enumerate(hindrances):
            store = self._with_a(str(disk / f"store-{number}"))
            with hindrance, found.noting(where), suppress(StoreError):
                make(self.trial, store)
                found.counts["enough"] += 1
            self._look(store, f"{self.trial.name}, {where}", found)
            with found.noting(f"{self.trial.name}, {where}, then run again"):
                self._finish(store)
            shutil.rmtree(disk / f"store-{number}")
        return found

    def race(self, url: str, rounds: int) -> Found:
        """Two processes deliver A and B in turns, each what the other does not; everything is exported all the time."""
        found, where = Found(), f"{self.trial.name} with two ingests at once"
        store = self._with_a(url)
        both = [children.start(take_turns, self.trial, store.url, rounds, first) for first in (0, 1)]
        while any(child.is_alive() for child in both):
            with found.noting(where):
                found.counts["refused"] += sum(published is None for _, published in self.trial.export(store))
            time.sleep(0.05)  # where nothing can be published the answer comes at once
        with found.noting(where):
            assert [child.exitcode for child in both] == [0, 0], "an ingest failed"
        self._look(store, where, found, raced=True)
        with found.noting(f"{where}, then run again"):
            self._finish(store, raced=True)
        return found

    def _after_death(self, victim: Victim, found: Found) -> None:
        """Export what a kill left, then run to the end."""
        victim.child.join()
        found.counts["kills"] += victim.child.exitcode == -signal.SIGKILL
        with found.noting(victim.where):
            assert victim.child.exitcode == -signal.SIGKILL, f"it ended with {victim.child.exitcode}"
        self._look(victim.store, victim.where, found)
        with found.noting(f"{victim.where}, then run again"):
            self._finish(victim.store)
        if victim.store.root:
            shutil.rmtree(victim.store.root)

    def _with_a(self, url: str) -> Store:
        """A store where A was published."""
        store = Store.open(url)
        if store.root:
            for path, data in self.store_of_a.items():
                (store.root / path).parent.mkdir(parents=True, exist_ok=True)
                (store.root / path).write_bytes(data)
        else:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(store.put, *zip(*self.store_of_a.items(), strict=True)))
        return store

    def _look(self, store: Store, where: str, found: Found, *, raced: bool = False) -> None:
        """Export everything; each version there is holds one delivery, and `latest` names one of them."""
        newest: dict[str, Published | None] = {}
        with found.noting(f"{where}, then exported"):
            newest = {series.name: published for series, published in self.trial.export(store)}
        for series in self.trial.series:
            with found.noting(f"{where}, {series.name}"):
                held = self._versions(store, series, raced=raced)
                mixes = [version for version, delivery in held.items() if delivery == MIX]
                published = newest.get(series.name)
                found.counts["mixes"] += len(mixes)
                if raced:
                    found.counts.update(list(held.values())[1:])  # the first was there before
                else:
                    found.counts[held[published.export.version] if published else "refused"] += 1
                assert not mixes, f"v{mixes[0]} is neither A nor B"
                in_turn = list(held.values())
                assert raced or in_turn == sorted(in_turn), f"an older delivery came after a newer one: {held}"
                pointer = read_latest(store, self.trial.id_of(series))
                assert pointer, "there is no latest export"
                assert pointer.version in held, f"latest names v{pointer.version}, which is not whole"

    def _versions(self, store: Store, series: Series, *, raced: bool) -> dict[int, str]:
        """Which delivery each complete version of a series holds."""
        exports = [ExportId(self.trial.id_of(series), version) for version in versions(store, self.trial.id_of(series))]
        return {
            export.version: self._held(store, export, raced=raced) for export in exports if is_committed(store, export)
        }

    def _held(self, store: Store, export: ExportId, *, raced: bool) -> str:
        """The delivery whose files an export holds, byte for byte; a mix where that is neither.

        Ids of COCO stay from version to version, so in a race its turns decide them, and they are left aside.
        """
        told = _without_ids if raced and self.trial.name == "annotations" else lambda files: files
        files = told(_files(store, export))
        of_series = ((name, exports[export.series.series]) for name, exports in self.exports.items())
        return next((name for name, expected in of_series if files == told(expected)), MIX)

    def _finish(self, store: Store, *, raced: bool = False) -> None:
        """Deliver B and export it, without a kill; nothing of what was killed stands in the way or is left."""

        def refuse_to_wait(holder: Holder) -> None:
            raise AssertionError(f"waits for {holder.what} of process {holder.pid}, which is gone")

        self.trial.deliver(store, "B", How(accept_loss=raced, waiting=refuse_to_wait))
        for series, published in self.trial.export(store):
            assert published, f"{series.name} is refused"
            assert self._held(store, published.export, raced=raced) == "B", f"{published.export} is not B"
            pointer = read_latest(store, published.export.series)
            assert pointer, f"{series.name} has no latest export"
            assert pointer.export == str(published.export), f"latest names {pointer.export}, not {published.export}"
        for step in self.trial.domain.steps:
            left = orphans(store, self.trial.domain.place(step, self.trial.partition))
            assert not left, f"no commit names {left[0]}"
        recover(store)
        for series in self.trial.series:
            check_settled(store, self.trial.id_of(series))


@contextmanager
def filled(disk: Path, room: int) -> Iterator[None]:
    """A disk with hardly any room left."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        about = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(about.f_bavail * about.f_frsize - room, 1))
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may be larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def orphans(store: Store, place: generations.Place) -> list[str]:
    """The tables of attempts that came to nothing."""
    named = {file.path for found in generations.history(store, place) for file in found.tables.values()}
    return [item.path for item in store.list(place.folder) if item.path.endswith(".parquet") and item.path not in named]


@contextmanager
def prepared(name: str, folder: Path) -> Iterator[Prepared]:
    """A domain with both deliveries, and what they are published as where nothing goes wrong."""
    write = WRITERS[name]
    inboxes = {delivery: folder / delivery / "inbox" for delivery in "AB"}
    partition, same = (write(inbox, delivery == "B") for delivery, inbox in inboxes.items())
    assert partition == same
    trial = Trial(name, partition, inboxes)
    with trial.same_each_time():
        stores = {delivery: Store.open(str(folder / delivery / "store")) for delivery in "AB"}
        exports = {}
        for delivery, store in stores.items():
            for earlier in "AB"[: "AB".index(delivery) + 1]:  # what was published before decides the ids of B
                trial.deliver(store, earlier)
                exports[delivery] = _published(trial, store)
        differing = {series.name for series in trial.series if exports["A"][series.name] != exports["B"][series.name]}
        assert differing == {series.name for series in trial.series}, "a mix could not be told"
        first, second = (_hashes(trial, store) for store in stores.values())
        assert sum(first.get(table) != hash_ for table, hash_ in second.items()) >= 3, "B changes too little"
        objects = _objects(stores["A"])
        with Writes() as writes:
            make(trial, stores["A"])
        yield Prepared(trial, exports, objects, writes.count)


def _published(trial: Trial, store: Store) -> dict[str, Files]:
    found = {}
    for series, published in trial.export(store):
        assert published, f"{series.name} is refused"
        found[series.name] = _files(store, published.export)
    return found


def _files(store: Store, export: ExportId) -> Files:
    """The files of an export, as its manifest says they are, without what tells its version or of those before it."""
    manifest = read_manifest(store, export)
    confirm_listing(store, export, manifest.files)
    files = {}
    for file in manifest.files:
        data = store.get(f"{export.path}/{file.path}")
        assert hashlib.sha256(data).hexdigest() == file.sha256, f"{export}: {file.path} is not what was published"
        files[file.path.replace(f"-v{export.version}.", ".")] = _SINCE.sub(b"", data)
    return files


_SINCE = re.compile(rb'<section id="since">.*?</section>', re.S)

_IDS = re.compile(
    rb'"(image_|category_)?id": ?\d+|"(id|categories)": ?\[[\d,]*\]|"file_name": ?"\d+\.[a-z]+"|^ *.?\d+.?:', re.M
)
_NAMED_BY_ID = ("train/", "validation/", "test/")


def _without_ids(files: Files) -> Files:
    """The files of an export, with texts in archives without ids and in one order, and pictures under their hash."""
    told = {}
    for path, data in files.items():
        if not data.startswith(b"PK"):
            told[path] = data
            continue
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                if name.endswith((".json", ".jsonl", ".md")):
                    content = b"\n".join(sorted(_IDS.sub(b"", content).splitlines()))
                elif name.startswith(_NAMED_BY_ID) and "huggingface" in path:
                    name = f"{name.partition('/')[0]}/{hashlib.sha256(content).hexdigest()}"
                elif name.endswith(".png") and "panoptic" in path:
                    with Image.open(io.BytesIO(content)) as picture:  # its colours are ids
                        content = repr(sorted(count for count, _ in picture.getcolors(1 << 24) or ())).encode()
                told[f"{path}/{name}"] = content
    return told


def _hashes(trial: Trial, store: Store) -> dict[str, str]:
    steps = (generations.current(store, trial.domain.place(step, trial.partition)) for step in trial.domain.steps)
    return {name: file.sha256 for made in steps if made for name, file in made.tables.items()}


def _objects(store: Store) -> dict[str, bytes]:
    return {item.path: store.get(item.path) for item in store.list("") if not item.path.startswith(".scratch")}
