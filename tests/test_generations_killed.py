"""Generations under attack: killed at every step, overtaken, changed in any order; never a mix, nothing lost."""

import csv
import io
import multiprocessing
import threading
import time
from contextlib import suppress
from datetime import timedelta
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import children
import pytest
from demo_domain import (
    ALL_TOTALS_CSV,
    DEMO,
    POINTS,
    READINGS,
    SETTINGS,
    TOTALS,
    TOTALS_CSV,
    DemoSettings,
    deliver,
    publish_series,
)
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from running import current
from test_generations import with_version
from test_recover import Interrupted, Killed

from sheaf.coherence import pin
from sheaf.errors import NotFoundError, RefusedError, SheafError, StaleError
from sheaf.exports.history import history
from sheaf.exports.kept import prune_tables
from sheaf.exports.rebuild import rebuild
from sheaf.exports.records import Status, read_latest, read_manifest
from sheaf.exports.verify import verify
from sheaf.names import ExportId, SeriesId
from sheaf.running import How
from sheaf.store.lease import lease
from sheaf.store.store import Store

TOTALS_SERIES = SeriesId("demo", "batch-1", "totals_csv")


def check_of_one_piece(store: Store, export: ExportId, factor: int = 1) -> list[str]:
    """The readings and what was counted of them fit; returns the lines."""
    lines = store.get(f"{export.path}/totals.csv").decode().splitlines()
    for line in csv.reader(io.StringIO("\n".join(lines))):
        _, values, counted, points, first, first_counted = line
        assert int(counted) == int(values) * factor, lines
        assert points == values, lines
        assert first == first_counted, lines
    return lines


@pytest.mark.parametrize("step", ["readings", "totals"])
def test_a_kill_at_any_step_leaves_one_delivery_or_the_other(local_store: Store, step: str) -> None:
    kill_everywhere(local_store, step)


@pytest.mark.campaign
@pytest.mark.parametrize("step", ["readings", "totals"])
def test_a_kill_at_any_step_leaves_one_delivery_or_the_other_on_s3(s3_store: Store, step: str) -> None:
    kill_everywhere(s3_store, step, stride=3)


def kill_everywhere(empty: Store, step: str, stride: int = 1) -> None:
    kills = 0
    for at in range(1, 1000, stride):
        store = Store.open(f"{empty.url}-{step}-{at}")
        deliver(store, "a")
        publish_series(store, TOTALS_CSV)
        if step == "totals":
            deliver(store, "b", "c", steps=["readings"])
        killed = Interrupted(store, at, lambda: None, dies=True)
        try:
            deliver(killed, "b", "c", steps=[step])
        except Killed:
            kills += 1
        else:
            if not killed.happened:
                break
        with suppress(StaleError):  # refused, or one of both states
            done = publish_series(store, TOTALS_CSV)
            assert check_of_one_piece(store, done.export) in (["batch-1,1,1,1,a,a"], ["batch-1,2,2,2,b,b"])
        _free_leases(store)
        deliver(store, "b", "c")
        done = publish_series(store, TOTALS_CSV)
        assert check_of_one_piece(store, done.export) == ["batch-1,2,2,2,b,b"]
    assert kills >= 5


def _free_leases(store: Store) -> None:
    """A killed process leaves its lease; here it is our own, which lives."""
    store.delete([item.path for item in store.list("leases")])


def test_whoever_makes_the_same_at_once_makes_one_whole(local_store: Store) -> None:
    """Deliveries and exports of many threads: every export is of one piece, and the last delivery wins."""
    problems: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(6):
                deliver(local_store, *[f"{name}{number}"] * (number + 1), how=How(accept_loss=True))
                with suppress(StaleError):
                    check_of_one_piece(local_store, publish_series(local_store, TOTALS_CSV, always=True).export)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [problem for problem in problems if not isinstance(problem, StaleError)] == []
    deliver(local_store, "end", how=How(accept_loss=True))
    assert check_of_one_piece(local_store, publish_series(local_store, TOTALS_CSV).export) == ["batch-1,1,1,1,end,end"]


def test_a_lease_waits_for_the_living_and_takes_from_the_dead(atomic_store: Store) -> None:
    order, held, waiting = [], threading.Event(), threading.Event()

    def second() -> None:
        held.wait()
        with lease(atomic_store, "demo/batch-1", "readings", lambda holder: (order.append(holder.what), waiting.set())):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with lease(atomic_store, "demo/batch-1", "totals"):
        held.set()
        waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["totals", "first", "second"]
    found = Store.get(atomic_store, "leases/demo/batch-1.json")
    assert found == b"free\n"
    gone = '{"token": "x", "host": "%s", "pid": %d, "started": "1", "what": "readings", "beat": 0}'
    import os
    import socket

    atomic_store.put("leases/demo/batch-1.json", (gone % (socket.gethostname(), os.getpid())).encode())  # a pid reused
    with lease(atomic_store, "demo/batch-1", "totals") as mine:
        mine.renew()
        assert mine.held
        atomic_store.put("leases/demo/batch-1.json", b"free\n")  # somebody took it for dead
        mine.renew()
        assert not mine.held


class Life(RuleBasedStateMachine):
    """Deliveries, settings, code, single steps, exports, kills and pruning in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path()
        self.settings = SETTINGS
        self.version = 1
        self.values: tuple[str, ...] = ()
        self.newest: dict[str, int] = {}
        self.bytes: dict[ExportId, bytes] = {}

    @property
    def domain(self) -> Any:
        return with_version("totals", self.version)

    @initialize(tmp=st.integers(0, 2**62))
    def begin(self, tmp: int) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.store = Store.open(str(self.folder / "store"))

    def teardown(self) -> None:
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)

    @rule(values=st.lists(st.sampled_from(["a", "b", "c", "bad"]), max_size=4), accept=st.booleans())
    def deliver_values(self, values: list[str], accept: bool) -> None:
        before = current(self.store, DEMO, "batch-1")
        had = before.rows(POINTS) if POINTS in before else 0
        self.values = tuple(values)
        self._steps("readings", accept=accept)
        now = current(self.store, DEMO, "batch-1")
        has = now.rows(POINTS) if POINTS in now else 0
        assert accept or has >= had  # promise 3

    @rule(values=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
    def deliver_and_make(self, values: list[str]) -> None:
        self.values = tuple(values)
        self._steps("readings", "totals", accept=True)

    @rule(factor=st.integers(1, 3))
    def change_setting(self, factor: int) -> None:
        self.settings = DemoSettings(factor=factor)

    @rule()
    def change_code(self) -> None:
        self.version += 1

    @rule(step=st.sampled_from(["readings", "totals"]))
    def run_one_step(self, step: str) -> None:
        self._steps(step)

    @rule(step=st.sampled_from(["readings", "totals"]), at=st.integers(1, 25))
    def killed_in_a_step(self, step: str, at: int) -> None:
        with suppress(Killed):
            self._steps(step, accept=True, store=Interrupted(self.store, at, lambda: None, dies=True))
        _free_leases(self.store)

    @rule(at=st.integers(1, 25))
    def killed_in_an_export(self, at: int) -> None:
        with suppress(Killed, SheafError):
            publish_series(Interrupted(self.store, at, lambda: None, dies=True), TOTALS_CSV, self.settings, self.domain)

    @rule(campaign=st.booleans())
    def export(self, campaign: bool) -> None:
        series, partition = (ALL_TOTALS_CSV, "campaign") if campaign else (TOTALS_CSV, "batch-1")
        try:
            done = publish_series(self.store, series, self.settings, self.domain, partition=partition)
        except (StaleError, RefusedError, NotFoundError, SheafError):
            return
        check_of_one_piece(self.store, done.export, self.settings.factor)  # promise 2, with today's settings
        assert done.manifest.made_with == {"factor": self.settings.factor}
        assert done.manifest.code["totals"] == self.version
        again = publish_series(self.store, series, self.settings, self.domain, partition=partition)
        assert again.unchanged  # promise 5

    @rule()
    def prune(self) -> None:
        prune_tables(self.store, [DEMO], young=timedelta(0))

    @invariant()
    def exports_are_whole_and_can_be_made_again(self) -> None:
        if not hasattr(self, "store"):
            return
        for record in history(self.store):
            if record.status is Status.COMPLETED and record.id not in self.bytes:
                manifest = verify(self.store, record.id)
                check_of_one_piece(self.store, record.id, manifest.made_with["factor"])
                self.bytes[record.id] = self.store.get(f"{record.id.path}/totals.csv")
        latest = read_latest(self.store, TOTALS_SERIES)
        assert latest is None or read_manifest(self.store, ExportId(TOTALS_SERIES, latest.version)).canonical

    def _steps(self, *steps: str, accept: bool = False, store: Store | None = None) -> None:
        with suppress(NotFoundError, StaleError):
            deliver(
                store or self.store,
                *self.values,
                steps=steps,
                settings=self.settings,
                domain=self.domain,
                how=How(accept_loss=accept),
            )

    @rule()
    def rebuild_all(self) -> None:
        for export, data in self.bytes.items():
            folder = self.folder / "again" / str(export.version) / export.series.series
            (made,) = rebuild(self.store, self.domain, export, self.settings, folder)
            assert made.read_bytes() == data


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=10, stateful_step_count=25, deadline=None)


def read_for_a_while(url: str, seconds: float, found: "Queue[tuple[int, int]]") -> None:
    """What a reader does all day: pin what belongs together, read it, follow `latest`."""
    store, end, pinned, looked = Store.open(url), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        with suppress(StaleError):
            tables = pin(store, DEMO, "batch-1", [READINGS, TOTALS], SETTINGS)
            values = tables.read(READINGS)["value"].to_pylist()
            total = tables.row(TOTALS)
            assert (len(values), values[0]) == (total["readings"], total["first"])
            pinned += 1
        if latest := read_latest(store, TOTALS_SERIES):
            check_of_one_piece(store, ExportId(TOTALS_SERIES, latest.version))
            looked += 1
    found.put((pinned, looked))


def test_readers_see_one_delivery_or_another_while_a_third_process_ingests(local_store: Store) -> None:
    deliver(local_store, "start")
    publish_series(local_store, TOTALS_CSV)
    found: Queue[tuple[int, int]] = multiprocessing.get_context("spawn").Queue()
    readers = [children.start(read_for_a_while, local_store.url, 4.0, found) for _ in range(2)]
    number = 0
    while any(reader.is_alive() for reader in readers):
        number += 1
        deliver(local_store, *[f"value {number}"] * (number % 5 + 1), how=How(accept_loss=True))
        publish_series(local_store, TOTALS_CSV)
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
        pinned, looked = found.get(timeout=10)
        assert pinned
        assert looked
    assert number > 1
