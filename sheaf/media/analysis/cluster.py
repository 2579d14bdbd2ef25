"""The items of a batch spread over a Dask cluster.

Each task is a few items, taken by whichever worker is free. Workers need Sheaf, the object store
and the media folders under the same paths, and nothing else: they are told what to do in plain values,
and write each finished item into the store, from where the table is gathered.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from sheaf.errors import SheafError
from sheaf.media.analysis.batch import analyse_items
from sheaf.media.analysis.item import Job
from sheaf.media.batch_record import ItemError, cancel_requested, request_cancel
from sheaf.store.store import Store

_POLL_S = 0.5


def analyse_on_cluster(
    store: Store,
    batch: str,
    jobs: Mapping[str, Job],
    scheduler: str,
    cancelled: Callable[[], bool],
    tell: Callable[[int], None] = lambda _: None,
    *,
    items_per_task: int = 1,
) -> dict[str, ItemError]:
    """Analyse some items of a batch on a cluster; what it is told and returns is as for `analyse_items`.

    Args:
        scheduler: address of the Dask scheduler, such as `tcp://10.0.0.5:8786`.
        items_per_task: how many items a worker takes at a time.

    Raises:
        SheafError: the scheduler cannot be reached, has no workers, or a worker failed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise SheafError("media.cluster needs the extra 'cluster': pip install 'sheaf[cluster]'.") from error

    if not jobs:
        return {}
    names = list(jobs)
    shares = [
        {name: jobs[name].model_dump_json() for name in names[at : at + items_per_task]}
        for at in range(0, len(names), items_per_task)
    ]
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise SheafError(f"The Dask scheduler at {scheduler} cannot be reached: check media.cluster.") from error
    unanswered: dict[str, ItemError] = {}
    with client:
        workers = client.scheduler_info()["workers"]
        if not workers:
            raise SheafError(f"The Dask scheduler at {scheduler} has no workers: start some.")
        ended: SimpleQueue[Any] = SimpleQueue()
        running = len(shares)
        tasks = [client.submit(_share, store.url, batch, share, pure=False, retries=2) for share in shares]
        try:
            for task in tasks:
                task.add_done_callback(ended.put)
            tell(min(running, len(workers)))
            while running:
                with suppress(Empty):
                    said = _result(ended.get(timeout=_POLL_S))
                    unanswered |= {name: ItemError(**error) for name, error in said.items()}
                    running -= 1
                    tell(min(running, len(workers)))
                if running and cancelled():
                    request_cancel(store, batch)  # workers look for it; their items end then
        except BaseException:
            request_cancel(store, batch)  # a lost connection would not stop them
            client.cancel(tasks)
            raise
    return unanswered


def _result(task: Any) -> Mapping[str, Mapping[str, str]]:
    try:
        return task.result()
    except SheafError:
        raise
    except Exception as error:  # whatever ends a worker
        raise SheafError(f"A worker of the cluster failed: {type(error).__name__}: {error}.") from error


def _share(store_url: str, batch: str, jobs: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a worker does: some items, one after another; returns why some have no answer."""
    store = Store.open(store_url)
    found = analyse_items(
        store,
        batch,
        {name: Job.model_validate_json(job) for name, job in jobs.items()},
        1,
        lambda: cancel_requested(store, batch),
    )
    return {name: error.model_dump() for name, error in found.items()}
