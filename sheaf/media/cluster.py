"""The items of a batch spread over a Dask cluster.

Each task is a few items, taken by whichever worker is free. Workers need Sheaf, the object store
and the media folders under the same paths, and nothing else: they write each finished item into
the store, as the analysis in one process does, and the table is gathered from there.
"""

from collections.abc import Sequence

from sheaf.errors import SheafError
from sheaf.media.batch import analyse_items, finish_batch, unfinished
from sheaf.media.batch_record import clear_cancel, request_cancel
from sheaf.media.settings import MediaSettings
from sheaf.report import Report
from sheaf.store import Store


def analyse_on_cluster(
    store: Store,
    batch: str,
    settings: MediaSettings,
    scheduler: str,
    *,
    items_per_task: int = 1,
) -> Report:
    """Analyse all items of a batch that are not finished yet on a cluster, then write the tables.

    Args:
        scheduler: address of the Dask scheduler, such as `tcp://10.0.0.5:8786`.
        items_per_task: how many items a worker takes at a time.

    Raises:
        NotFoundError: the batch was never ingested.
        SheafError: the scheduler cannot be reached, has no workers, or a worker failed.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise SheafError("media.cluster needs the extra 'cluster': pip install 'sheaf[cluster]'.") from error

    clear_cancel(store, batch)
    left = unfinished(store, batch, settings)
    shares = [tuple(left[at : at + items_per_task]) for at in range(0, len(left), items_per_task)]
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise SheafError(f"The Dask scheduler at {scheduler} cannot be reached: check media.cluster.") from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise SheafError(f"The Dask scheduler at {scheduler} has no workers: start some.")
        tasks = [client.submit(_share, store.url, batch, share, settings, pure=False, retries=2) for share in shares]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            request_cancel(store, batch)  # workers look for it; a lost connection would not stop them
            client.cancel(tasks)
            raise
    return finish_batch(store, batch)


def _share(store_url: str, batch: str, items: Sequence[str], settings: MediaSettings) -> int:
    """What a worker does: some items, one after another."""
    return analyse_items(Store.open(store_url), batch, items, settings, parallel_jobs=1)
