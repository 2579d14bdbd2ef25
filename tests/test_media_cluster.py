"""A batch spread over two Dask workers that are reached by TCP gives what one process gives, even if one is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media_files import batch_of, moved, programme, run_batch, sheet, write_endless, write_wave
from running import current

from sheaf.errors import SheafError
from sheaf.media import schema
from sheaf.media.batch_record import read_items, read_record, request_cancel
from sheaf.media.domain import MEDIA
from sheaf.media.errors import CancelledError
from sheaf.media.sample import pairs
from sheaf.media.settings import MediaSettings
from sheaf.store.store import Store

TIMINGS = re.compile(r"analysed_at|analysis_seconds|analysis_id|processing")


@pytest.fixture
def cluster() -> Iterator[str]:
    """A scheduler and two workers, each a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli"]
    commands = [
        [*dask[:2], "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        *[
            [*dask[:2], "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            for _ in range(2)
        ],
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
    ]
    yield address
    for process in processes:
        process.kill()  # a worker whose scheduler is gone first would wait for it
    for process in processes:
        process.wait(timeout=20)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The CSV of the sample pairs, in an inbox."""
    (name,) = pairs.write(tmp_path / "inbox")
    return tmp_path / "inbox" / "media" / name


def results(store: Store, path: Path) -> list[dict[str, Any]]:
    rows = current(store, MEDIA, batch_of(store, path, MediaSettings())).read(schema.RESULTS).to_pylist()
    return [{name: value for name, value in row.items() if not TIMINGS.search(name)} for row in rows]


@pytest.mark.campaign
def test_two_workers_share_a_batch_and_find_what_one_process_finds(cluster: str, sample: Path, tmp_path: Path) -> None:
    from distributed import Client

    spread, alone, survived = (Store.open(str(tmp_path / name)) for name in ("spread", "alone", "survived"))
    batch = batch_of(survived, sample, MediaSettings())
    killed: list[str] = []

    def kill(client: Client, pids: dict[str, int]) -> None:
        """One that works on a pair, as soon as another pair is finished."""
        while not (finished := read_items(survived, batch)):
            time.sleep(0.05)
        killed.extend([worker for worker, tasks in client.processing().items() if tasks and len(finished) < 4][:1])
        os.kill(pids[killed[0]], signal.SIGKILL)

    with Client(cluster, timeout="30s", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        made = run_batch(spread, sample, MediaSettings(cluster=cluster))
        executed: Any = client.run(lambda dask_worker: dask_worker.state.executed_count)
        pids: Any = client.run(os.getpid)
        thread = threading.Thread(target=kill, args=(client, pids), daemon=True)
        thread.start()
        assert run_batch(survived, sample, MediaSettings(cluster=cluster))["results"].generation.refused is None
        thread.join(timeout=60)
        assert len(killed) == 1
        assert set(client.scheduler_info()["workers"]) == pids.keys() - set(killed)
    assert len(executed) == 2
    assert all(count > 0 for count in executed.values())
    record = read_record(spread, batch_of(spread, sample, MediaSettings()))
    assert (record.status, record.progress) == ("publishing", 100.0)
    run_batch(alone, sample, MediaSettings())
    assert made["results"].report.counts["items"] == len(results(spread, sample)) > 3
    assert results(spread, sample) == results(alone, sample) == results(survived, sample)
    assert run_batch(spread, sample, MediaSettings())["results"].unchanged, "where it was done is no part of it"


@pytest.mark.campaign
def test_a_batch_on_a_cluster_can_be_cancelled(cluster: str, tmp_path: Path) -> None:
    from distributed import Client

    store, settings = Store.open(str(tmp_path / "store")), MediaSettings(cluster=cluster)
    folder, sound = tmp_path / "inbox" / "media", programme(8)
    write_wave(folder / "master.wav", sound)
    write_wave(folder / "dub.wav", moved(sound, -0.5))
    write_endless(folder / "endless.wav", sound, hours=3)
    path = sheet(folder, ["master.wav,dub.wav", "master.wav,endless.wav", "dub.wav,endless.wav", "endless.wav,dub.wav"])
    batch = batch_of(store, path, settings)

    def cancel() -> None:
        while not read_items(store, batch):
            time.sleep(0.05)
        request_cancel(store, batch)

    with Client(cluster, timeout="30s", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(CancelledError, match="1 of 4 pairs are finished"):
            run_batch(store, path, settings)
        thread.join()
    assert list(read_items(store, batch)) == ["item_001"]
    assert (read_record(store, batch).status, read_record(store, batch).items_cancelled) == ("cancelled", 3)


@pytest.mark.campaign
def test_a_scheduler_that_is_not_there_is_one_clear_sentence(sample: Path, local_store: Store) -> None:
    with pytest.raises(SheafError, match=r"tcp://127\.0\.0\.1:9 cannot be reached"):
        run_batch(local_store, sample, MediaSettings(cluster="tcp://127.0.0.1:9"))
    assert read_record(local_store, batch_of(local_store, sample, MediaSettings())).status == "failed"
