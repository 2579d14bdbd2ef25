"""Stop means stop: real commands, a real terminal, real signals.

A stopped command is gone within five seconds and says what is finished; nothing half is left, and the same
command then completes as if nothing had been.
"""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from lab import PROGRAM, environment, processes
from media_files import moved, programme, write_endless, write_wave
from test_cli import write_batch

from sheaf.fermentation.domain import FERMENTATION
from sheaf.store.store import Store
from sheaf.tables import generations

SECONDS = 5.0
CLOCK = {"SOURCE_DATE_EPOCH": "1772438400"}
"""Reports print when they were made."""
BATCHES = ("b0", "b1", "b2", "b3")
pytestmark = pytest.mark.timeout(600)


@dataclass
class Ended:
    """A command that was stopped: what it said, and how long it took from the signal on."""

    code: int
    said: str
    out: str
    seconds: float


class Terminal:
    """A command in a terminal of its own, as a person starts it."""

    def __init__(self, home: Path, *words: str, program: Sequence[str] = (str(PROGRAM),)) -> None:
        self._master, slave = pty.openpty()
        self.said = ""

        def own() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        with (home / "out.txt").open("wb") as out:
            self.process = subprocess.Popen(
                [*program, *words],
                env=environment(home) | CLOCK,
                stdin=slave,
                stdout=out,
                stderr=slave,
                start_new_session=True,
                preexec_fn=own,
            )
        os.close(slave)
        os.set_blocking(self._master, False)
        self._out = home / "out.txt"

    def _read(self) -> None:
        try:
            data = os.read(self._master, 1 << 16).decode("utf-8", "replace")
            self.said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data)
        except OSError:
            pass

    def wait(self, what: str, done: Callable[[], object], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not done():
            self._read()
            assert self.process.poll() is None, f"ended before {what}: {self.said}"
            assert time.monotonic() < end, f"waited in vain for {what}: {self.said}"
            time.sleep(0.02)

    def shows(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.said

    def stop(self, how: str) -> Ended:
        """Ctrl+C is typed; SIGTERM is sent as a container does."""
        started = time.monotonic()
        for _ in range(2 if "twice" in how else 1):
            if how.startswith("Ctrl+C"):
                os.write(self._master, b"\x03")
            else:
                self.process.terminate()
            time.sleep(0.3 if "twice" in how else 0)
        while self.process.poll() is None:
            self._read()
            assert time.monotonic() - started < 60, f"still there: {self.said}"
            time.sleep(0.02)
        seconds = time.monotonic() - started
        self._read()
        os.close(self._master)
        return Ended(self.process.returncode, self.said, self._out.read_text("utf-8"), seconds)


CODES = {"Ctrl+C": 130, "SIGTERM": 143, "Ctrl+C twice": 130, "SIGTERM twice": 143}


def sentence(ended: Ended) -> str:
    """The only thing that was said."""
    (found,) = [line for line in ended.said.replace("\r", "\n").split("\n") if line.startswith("Stopped")]
    assert "Traceback" not in ended.said + ended.out
    return found


def batches(home: Path) -> None:
    for batch in BATCHES:
        write_batch(home / "inbox", batch)


def run(home: Path, *words: str) -> list[dict]:
    command = [PROGRAM, *words, "--json"]
    done = subprocess.run(command, env=environment(home) | CLOCK, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def published(found: list[dict]) -> set[tuple]:
    """Everything that decides whether two homes hold the same."""
    return {
        (entry["partition"], entry["series"], file["path"], file["sha256"])
        for entry in found
        for file in entry["files"]
    }


def statuses(home: Path) -> list[tuple[str, str]]:
    """Job and status of all runs, oldest first."""
    with DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [(run.job_name, run.status.value) for run in reversed(list(instance.get_runs()))]


def left(home: Path) -> list[int]:
    """Who is still alive of a home; a busy machine takes a moment to remove who was killed."""
    end = time.monotonic() + 5
    while (found := processes(home)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def check_clean(home: Path) -> None:
    """Nothing half, nothing held, nobody left."""
    assert left(home) == []
    assert [path.name for path in (home / "store" / ".scratch").glob("*") if path.name != "lock"] == []
    assert {path.read_text().strip() for path in (home / "store" / "leases").rglob("*.json")} <= {"free"}
    for path in (home / "store" / "exports").rglob("_record.json"):
        assert json.loads(path.read_text())["status"] in ("completed", "failed")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple]:
    home = tmp_path_factory.mktemp("undisturbed")
    batches(home)
    return published(run(home, "run", "fermentation"))


@pytest.mark.case("reliability/ctrl-c")
@pytest.mark.campaign
@pytest.mark.parametrize(("how", "at"), [("Ctrl+C", 0.0), ("SIGTERM", 1.0)])
def test_a_stopped_run_ends_in_order_and_the_next_one_completes_it(
    tmp_path: Path, undisturbed: set[tuple], how: str, at: float
) -> None:
    batches(tmp_path)
    command = Terminal(tmp_path, "run", "fermentation")
    command.wait("the second batch", command.shows("fermentation b1"))
    since = time.monotonic()
    command.wait("the middle of it", lambda: time.monotonic() - since >= at)
    ended = command.stop(how)
    assert ended.code == CODES[how]
    assert ended.seconds < SECONDS
    told = re.fullmatch(
        r"Stopped: (\d) finished, fermentation (b\d) broken off, (\d) not begun \(fermentation .*\)\. "
        r"What is published stays; the same command goes on with the rest\.",
        sentence(ended),
    )
    assert told, ended.said
    finished = int(told[1])
    assert (told[2], int(told[3])) == (BATCHES[finished], len(BATCHES) - finished)
    found = statuses(tmp_path)
    assert set(found[:finished]) == {("fermentation", "SUCCESS")}
    assert found[finished:] in ([("fermentation", "CANCELED")], []), "none was begun after it"
    check_clean(tmp_path)

    assert published(run(tmp_path, "run", "fermentation")) == undisturbed


@pytest.mark.campaign
def test_what_is_finished_is_told_to_programs(tmp_path: Path) -> None:
    batches(tmp_path)
    command = Terminal(tmp_path, "run", "fermentation", "--json")
    second = tmp_path / "store" / "tables" / "fermentation" / "records" / "batch=b1"
    command.wait("the second batch", second.exists)
    ended = command.stop("SIGTERM")
    assert ended.code == 143
    assert {entry["partition"] for entry in json.loads(ended.out)} == {"b0"}
    assert sentence(ended).startswith("Stopped: 1 finished, fermentation b1 broken off")


DEAF = """
import sys, hashlib
from sheaf.fermentation.analysis import training
def work(*_):
    open(sys.argv[1] + "/deaf", "w").close()
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
training.batch_yields = work
from pipelines.cli.main import main
main(sys.argv[2:])
"""
"""A library that works for minutes and never looks whether somebody wants it to end."""


@pytest.mark.parametrize(("how", "limit"), [("SIGTERM", SECONDS), ("Ctrl+C twice", 2.5)])
@pytest.mark.campaign
def test_a_library_that_does_not_listen_holds_nobody_up(tmp_path: Path, how: str, limit: float) -> None:
    write_batch(tmp_path / "inbox", "b0")
    program = (sys.executable, "-c", DEAF, str(tmp_path))
    command = Terminal(tmp_path, "run", "fermentation", program=program)
    command.wait("the library", (tmp_path / "deaf").exists)
    ended = command.stop(how)
    assert ended.code == CODES[how]
    assert ended.seconds < limit
    assert sentence(ended).startswith("Stopped: 0 finished, fermentation b0 broken off")
    assert statuses(tmp_path) == [("fermentation", "CANCELED")]
    assert left(tmp_path) == []
    assert [path.name for path in (tmp_path / "store" / ".scratch").glob("*") if path.name != "lock"] == []
    assert {entry["status"] for entry in run(tmp_path, "run", "fermentation")} == {"completed"}


LOSING = """
import os, signal, sys
from sheaf.errors import InputError
from sheaf.fermentation.readers import ingest
def lose(*_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10**9):
            pass
    except BaseException:
        raise InputError("The sensors cannot be read.")
ingest.duck.connect = lose
from pipelines.cli.main import main
main(sys.argv[1:])
"""
"""A library that makes an error of its own of the interrupt, and a reader that takes it for a bad delivery."""


def test_an_interrupt_is_never_taken_for_a_bad_delivery(tmp_path: Path) -> None:
    write_batch(tmp_path / "inbox", "b0")
    (tmp_path / "inbox" / "fermentation" / "b0" / "sensors.csv").write_text("time,sensor,value\n")
    done = subprocess.run(
        [sys.executable, "-c", LOSING, "run", "fermentation"],
        env=environment(tmp_path) | CLOCK,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Stopped: 0 finished" in done.stderr) == (130, True)
    store = Store.open(str(tmp_path / "store"))
    assert generations.newest(store, FERMENTATION.place(FERMENTATION.reading, "b0")) is None
    assert statuses(tmp_path) == [("fermentation", "CANCELED")]


@pytest.mark.campaign
def test_a_stopped_demo_names_what_was_not_begun(tmp_path: Path) -> None:
    command = Terminal(tmp_path, "demo")
    command.wait("the first batch", command.shows("fermentation batch-12-b"))
    ended = command.stop("Ctrl+C")
    assert (ended.code, ended.seconds < SECONDS) == (130, True)
    assert re.search(r"batch-12-b broken off, \d\d not begun \(fermentation batch-13-b, .*, …\)\.", sentence(ended))
    check_clean(tmp_path)


@pytest.mark.campaign
def test_a_stopped_export_is_given_up_and_made_by_the_same_command(tmp_path: Path) -> None:
    write_batch(tmp_path / "inbox", "b0")
    run(tmp_path, "run", "fermentation")
    words = ("export", "fermentation", "b0", "batch_report", "--always")
    slow = (
        "import sys, time; from sheaf.exports import publish as p; upload = p._upload\n"
        "def slowly(*all):\n    open(sys.argv[1] + '/writing', 'w').close(); time.sleep(60); return upload(*all)\n"
        "p._upload = slowly; from pipelines.cli.main import main; main(sys.argv[2:])"
    )
    command = Terminal(tmp_path, *words, program=(sys.executable, "-c", slow, str(tmp_path)))
    command.wait("it to write", (tmp_path / "writing").exists)
    ended = command.stop("SIGTERM")
    assert (ended.code, ended.seconds < SECONDS) == (143, True)
    assert sentence(ended).startswith("Stopped: 0 of 1 export finished.")
    record = json.loads((tmp_path / "store/exports/fermentation/b0/batch_report/v0002/_record.json").read_text())
    assert (record["status"], "stopped" in record["error"]) == ("failed", True)
    assert statuses(tmp_path)[-1] == ("fermentation", "CANCELED")
    check_clean(tmp_path)
    (entry,) = run(tmp_path, *words)
    assert (entry["version"], entry["status"]) == (3, "completed")


@pytest.mark.campaign
def test_a_stopped_offload_loses_nothing(tmp_path: Path) -> None:
    logs, then = tmp_path / "logs", time.time() - 90 * 86400
    logs.mkdir()
    for number in range(12):
        (logs / f"main_{number}.ndjson").write_bytes(os.urandom(8_000_000))
        os.utime(logs / f"main_{number}.ndjson", (then, then))
    before = {path.name: path.stat().st_size for path in logs.iterdir()}
    words = ("offload", "--source-dir", str(logs), "--days-old", "30", "--delete-source", "--yes")
    command = Terminal(tmp_path, *words)
    scratch = tmp_path / "store" / ".scratch"
    command.wait("it to pack", lambda: any(path.stat().st_size > 1e6 for path in scratch.rglob("*") if path.is_file()))
    ended = command.stop("SIGTERM")
    assert (ended.code, ended.seconds < SECONDS) == (143, True)
    assert "Nothing was deleted that is not whole in a verified archive" in sentence(ended)
    assert {path.name: path.stat().st_size for path in logs.iterdir()} == before
    assert statuses(tmp_path) == [("offload_match_logs", "CANCELED")]
    check_clean(tmp_path)
    done = subprocess.run(
        [PROGRAM, *words], env=environment(tmp_path) | CLOCK, capture_output=True, text=True, check=False
    )
    assert (done.returncode, list(logs.iterdir())) == (0, [])


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A master and a dub that takes hours to decode."""
    folder = tmp_path / "inbox" / "media"
    sound = programme(8)
    write_wave(folder / "master.wav", sound)
    write_wave(folder / "dub.wav", moved(sound, -0.25))
    write_endless(folder / "endless.wav", sound, hours=3)
    rows = ["master_file,dub_file", "master.wav,dub.wav", "master.wav,endless.wav"]
    (folder / "evening.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "evening.yaml").write_text("parallel_jobs: 1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("how", ["Ctrl+C", pytest.param("SIGTERM", marks=pytest.mark.campaign)])
def test_a_stopped_sync_leaves_no_decoder(tmp_path: Path, films: Path, how: str) -> None:
    fixed = tmp_path / "fixed.wav"
    words = ("sync", str(films / "master.wav"), str(films / "endless.wav"), "--repair", str(fixed))
    command = Terminal(tmp_path, *words)
    command.wait("the decoder", lambda: processes(tmp_path, "ffmpeg"))
    ended = command.stop(how)
    assert (ended.code, ended.seconds < SECONDS) == (CODES[how], True)
    assert sentence(ended).startswith("Stopped: the pair was not analysed to the end.")
    assert left(tmp_path) == []
    assert not fixed.exists()


@pytest.mark.campaign
def test_a_stopped_batch_of_media_keeps_its_finished_pairs(tmp_path: Path, films: Path) -> None:
    command = Terminal(tmp_path, "run", "media")
    items = tmp_path / "store" / "batches"
    command.wait(
        "one finished pair and a decoder", lambda: list(items.rglob("item_*.json")) and processes(tmp_path, "ffmpeg")
    )
    ended = command.stop("SIGTERM")
    assert (ended.code, ended.seconds < SECONDS) == (143, True)
    assert "1 not begun (media campaign)" not in ended.said, "media has nothing over all batches"
    assert statuses(tmp_path) == [("media", "CANCELED")]
    check_clean(tmp_path)
    (record,) = items.rglob("record.json")
    assert json.loads(record.read_text())["status"] == "cancelled"
    (kept,) = items.rglob("item_*.json")
    before = kept.read_bytes()
    write_wave(films / "endless.wav", programme(8))
    assert {entry["status"] for entry in run(tmp_path, "run", "media")} == {"completed"}
    assert kept.read_bytes() == before


@pytest.mark.campaign
def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """Shells start commands in the background with SIGINT ignored, and mean it."""
    write_batch(tmp_path / "inbox", "b0")
    command = subprocess.Popen(
        [PROGRAM, "run", "fermentation"],
        env=environment(tmp_path) | CLOCK,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    time.sleep(1.0)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=240)
    assert (command.returncode, b"Stopped" in said) == (0, False)
    assert statuses(tmp_path)[0] == ("fermentation", DagsterRunStatus.SUCCESS.value)
