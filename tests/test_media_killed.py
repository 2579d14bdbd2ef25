"""`kill -9` to a whole `sheaf run media`, in the middle of a batch: nothing finished is lost or done twice."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from lab import PROGRAM, environment, processes
from media_files import moved, programme, write_endless, write_wave

from sheaf.media.batch_record import ROOT

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


def run_again(home: Path) -> tuple[str, dict[str, Any]]:
    """The name and the document of the result that a new run publishes."""
    shown = subprocess.run(
        [PROGRAM, "run", "media", "--json"], env=environment(home), capture_output=True, text=True, check=True
    )
    (result,) = (one for one in json.loads(shown.stdout) if one["series"] == "results_json")
    document = json.loads((home / "store" / result["path"] / "results.json").read_text("utf-8"))
    return f"media/{result['partition']}/results_json/v{result['version']}", document


def test_a_killed_batch_goes_on_where_it_was(home: Path) -> None:
    items = home / "store" / ROOT
    with (home / "killed.log").open("wb") as log:
        run = subprocess.Popen(
            [PROGRAM, "run", "media"], env=environment(home), stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(
            "three finished items and a decoder",
            lambda: len(list(items.glob("*/items/*.json"))) == 3 and processes(home, "ffmpeg"),
            120,
        )
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    wait_until("its items and decoders to end", lambda: not processes(home), 3)
    before = {path.name: path.read_bytes() for path in items.glob("*/items/*.json")}
    assert sorted(before) == ["item_001.json", "item_002.json", "item_003.json"]
    assert not list((home / "store" / "exports").rglob("results.json")), "a batch in the middle is not published"

    write_wave(home / "inbox" / "media" / "endless.wav", programme(8))
    name, document = run_again(home)
    after = {path.name: path.read_bytes() for path in items.glob("*/items/*.json")}
    assert {name: after[name] for name in before} == before, "a finished item was analysed again"
    assert [item["status"] for item in document["results"]] == ["completed"] * 5
    offsets = [item["result"]["offset_seconds"] for item in document["results"]]
    assert offsets == pytest.approx([-0.25, -0.5, -0.75, 0.0, -1.0], abs=1e-4)
    for item in document["results"]:
        kept = json.loads(after[f"{item['item_id']}.json"])
        assert item["analysed_at"] == kept["analysed_at"]
        assert item["result"]["analysis_id"].endswith(kept["fingerprint"][:8])
    assert document["summary"]["items_completed"] == 5
    assert name.endswith("/v1")
    subprocess.run([PROGRAM, "verify", name], env=environment(home), capture_output=True, check=True)
    assert processes(home) == []
    with DagsterInstance.from_config(str(home / "dagster")) as instance:  # a killed run keeps no place in the queue
        assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]
