"""A `sheaf run media` that is killed or cancelled in the middle: nothing finished is lost or done twice."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from lab import PROGRAM, environment, processes
from media_files import moved, programme, write_endless, write_wave

from pipelines import dead_runs
from pipelines.cli import main, media
from sheaf.media.batch_record import ROOT, BatchRecord, BatchStatus, write_record
from sheaf.media.readers.batch_options import BatchOptions
from sheaf.store.store import Store

ROWS = ("dub_1", "dub_2", "dub_3", "endless", "dub_4")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A batch of five pairs, one at a time; the fourth takes as long as a film of hours."""
    folder = tmp_path / "inbox" / "media"
    sound = programme(8)
    write_wave(folder / "master.wav", sound)
    for number in range(1, 5):
        write_wave(folder / f"dub_{number}.wav", moved(sound, -number / 4))
    write_endless(folder / "endless.wav", sound, hours=3)
    lines = ["master_file,dub_file", *(f"master.wav,{name}.wav" for name in ROWS)]
    (folder / "evening.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "evening.yaml").write_text("parallel_jobs: 1\n", encoding="utf-8")
    return tmp_path


def wait_until(what: str, done: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def start(home: Path) -> subprocess.Popen[bytes]:
    """A run that has finished three pairs and decodes the endless one."""
    with (home / "run.log").open("wb") as log:
        run = subprocess.Popen(
            [PROGRAM, "run", "media"], env=environment(home), stdout=log, stderr=log, start_new_session=True
        )
    wait_until("three finished items and a decoder", lambda: len(kept(home)) == 3 and processes(home, "ffmpeg"), 120)
    return run


def kept(home: Path) -> dict[str, bytes]:
    """The items that the store holds."""
    return {path.stem: path.read_bytes() for path in (home / "store" / ROOT).glob("*/items/*.json")}


def sheaf(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], env=environment(home), capture_output=True, text=True, check=False)


def run_again(home: Path) -> tuple[str, dict[str, Any]]:
    """The name and the document of the result that a new run publishes."""
    shown = sheaf(home, "run", "media", "--json")
    (result,) = (one for one in json.loads(shown.stdout) if one["series"] == "results_json")
    document = json.loads((home / "store" / result["path"] / "results.json").read_text("utf-8"))
    return f"media/{result['partition']}/results_json/v{result['version']}", document


@pytest.mark.campaign
def test_a_killed_batch_goes_on_where_it_was(home: Path) -> None:
    run = start(home)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    wait_until("its items and decoders to end", lambda: not processes(home), 3)
    before = kept(home)
    assert sorted(before) == ["item_001", "item_002", "item_003"]
    assert not list((home / "store" / "exports").rglob("results.json")), "a batch in the middle is not published"

    check_resumed(home, before)
    with DagsterInstance.from_config(str(home / "dagster")) as instance:  # a killed run keeps no place in the queue
        assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]


@pytest.mark.campaign
def test_a_cancelled_batch_ends_and_goes_on_later(home: Path) -> None:
    run = start(home)
    before = kept(home)
    (record,) = (home / "store" / ROOT).glob("*/record.json")
    batch = record.parent.name
    asked = subprocess.Popen([PROGRAM, "cancel", batch], env=environment(home), stdout=subprocess.PIPE, text=True)
    wait_until("the request", lambda: record.with_name("cancel.json").exists(), 60)
    wait_until("the running item to end", lambda: not processes(home, "ffmpeg"), 5)
    said, _ = asked.communicate(timeout=60)
    assert (asked.returncode, said.strip()) == (0, f"{batch} is cancelled: 3 of 5 pairs are finished.")
    assert run.wait(timeout=60) == 1
    assert f"`sheaf run media {batch}` goes on" in " ".join((home / "run.log").read_text("utf-8").split())
    assert kept(home) == before, "no item starts after the request, and the one that ran is not finished"
    assert not list((home / "store" / "exports").rglob("results.json")), "a batch in the middle is not published"

    again = sheaf(home, "cancel", batch)
    assert (again.returncode, "only a batch that is processing can be cancelled" in again.stderr) == (2, True)
    absent = sheaf(home, "cancel", "batch_x")
    assert (absent.returncode, "There is no media batch 'batch_x'" in absent.stderr) == (1, True)
    check_resumed(home, before)


def check_resumed(home: Path, before: dict[str, bytes]) -> None:
    """A new run does what is left, and no more; the result is whole."""
    write_wave(home / "inbox" / "media" / "endless.wav", programme(8))
    name, document = run_again(home)
    after = kept(home)
    assert {item: after[item] for item in before} == before, "a finished item was analysed again"
    assert [item["status"] for item in document["results"]] == ["completed"] * 5
    offsets = [item["result"]["offset_seconds"] for item in document["results"]]
    assert offsets == pytest.approx([-0.25, -0.5, -0.75, 0.0, -1.0], abs=1e-4)
    for item in document["results"]:
        saved = json.loads(after[item["item_id"]])
        assert item["analysed_at"] == saved["analysed_at"]
        assert item["result"]["analysis_id"].endswith(saved["fingerprint"][:8])
    assert (document["status"], document["summary"]["items_completed"]) == ("completed", 5)
    assert name.endswith("/v1")
    assert sheaf(home, "verify", name).returncode == 0
    assert processes(home) == []


def test_a_batch_whose_process_is_gone_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    record = BatchRecord(
        batch_id="batch_20260301_080000_00c0ffee",
        csv_file="evening.csv",
        csv_sha256="00c0ffee",
        options=BatchOptions(),
        status=BatchStatus.PROCESSING,
        items_total=5,
        created_at=datetime(2026, 3, 1, 8, tzinfo=UTC),
    )
    write_record(Store.open(str(tmp_path / "store")), record)
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    monkeypatch.setattr(media, "PATIENCE_S", 0.1)
    with pytest.raises(SystemExit) as ended:
        main.main(["cancel", record.batch_id])
    assert ended.value.code == 1
    assert f"`sheaf run media {record.batch_id}` goes on" in capfd.readouterr().err


def test_a_run_whose_process_number_is_used_again_is_dead() -> None:
    mine = dead_runs.this_process()
    with DagsterInstance.ephemeral() as instance:
        for process in (mine, mine.rpartition(":")[0] + ":1", mine.replace(":", "x:", 1)):
            tags = {dead_runs.PROCESS: process}
            instance.add_run(DagsterRun(job_name="media", status=DagsterRunStatus.STARTED, tags=tags))
        assert dead_runs.end_dead_runs(instance) == 1
        (dead,) = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
        assert dead.tags[dead_runs.PROCESS] == mine.rpartition(":")[0] + ":1"
