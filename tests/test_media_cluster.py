"""A batch spread over two Dask workers that are reached by TCP gives what one process gives."""

import re
import socket
import subprocess
import sys

import pytest

from sheaf import tables
from sheaf.errors import SheafError
from sheaf.media import sample_pairs, schema
from sheaf.media.batch import analyse_batch
from sheaf.media.cluster import analyse_on_cluster
from sheaf.media.inbox import MediaInbox
from sheaf.media.settings import MediaSettings
from sheaf.store import Store

TIMINGS = re.compile(r"analysed_at|analysis_seconds|analysis_id|processing")


@pytest.fixture
def cluster():
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
def batch(tmp_path):
    """An inbox with the sample pairs."""
    inbox = tmp_path / "inbox"
    sample_pairs.write(inbox)

    def ingested(name: str) -> tuple[Store, str]:
        store = Store.open(str(tmp_path / name))
        source = MediaInbox(inbox, store.url, MediaSettings())
        (key,) = source.offers().partitions
        source.ingest(store, key)
        return store, key

    return ingested


def results(store, key):
    rows = tables.read(store, schema.RESULTS, key).to_pylist()
    return [{name: value for name, value in row.items() if not TIMINGS.search(name)} for row in rows]


def test_two_workers_share_a_batch_and_find_what_one_process_finds(cluster, batch):
    from distributed import Client

    spread, key = batch("spread")
    with Client(cluster, timeout="30s") as client:
        client.wait_for_workers(2, timeout=60)
        report = analyse_on_cluster(spread, key, MediaSettings(), cluster)
        executed = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert len(executed) == 2
    assert all(count > 0 for count in executed.values())
    alone, _ = batch("alone")
    analyse_batch(alone, key, MediaSettings())
    assert report.counts["items"] == len(results(spread, key)) > 3
    assert results(spread, key) == results(alone, key)


def test_a_scheduler_that_is_not_there_is_one_clear_sentence(batch):
    store, key = batch("store")
    with pytest.raises(SheafError, match=r"tcp://127\.0\.0\.1:9 cannot be reached"):
        analyse_on_cluster(store, key, MediaSettings(), "tcp://127.0.0.1:9")
