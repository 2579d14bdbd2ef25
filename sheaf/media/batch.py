"""The analysis of a batch: which items are left, several at a time, and the table at the end.

`analyse_batch` is all of it in one process. Where the work is spread, `unfinished` names the items,
`analyse_items` does a share of them anywhere, and `finish_batch` gathers what they wrote.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from sheaf import clock, tables
from sheaf.media import schema
from sheaf.media.batch_progress import Progress, counted, read_pairs
from sheaf.media.batch_record import (
    BatchRecord,
    BatchStatus,
    FinishedItem,
    cancel_requested,
    clear_cancel,
    read_items,
    read_record,
    write_item,
    write_record,
)
from sheaf.media.item import Job, fingerprint, is_final, run_item
from sheaf.media.plots import batch_plots
from sheaf.media.result import PairOptions, Status
from sheaf.media.rows import batch_row, result_row
from sheaf.media.settings import MediaSettings
from sheaf.report import Report
from sheaf.store import Store

_POLL_S = 0.5


def analyse_batch(
    store: Store,
    batch: str,
    settings: MediaSettings,
    *,
    parallel_jobs: int | None = None,
    timeout_seconds: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Report:
    """Analyse all items of a batch that are not finished yet, then write the tables of results.

    Every finished item is kept at once: after a crash a new call goes on with the others. A call
    that is cancelled keeps what is finished and marks the rest.

    Args:
        parallel_jobs: items at the same time; by default what the batch or the site says.
        timeout_seconds: wall time for one item; by default what the batch or the site says.
        cancelled: asked twice a second; `request_cancel` has the same effect.

    Returns:
        Counts (`items`, `items_completed`, `items_no_match`, `items_failed`, `items_cancelled`,
        `average_confidence`), failed items by code, a preview and plots.

    Raises:
        NotFoundError: the batch was never ingested.
    """
    clear_cancel(store, batch)
    left = unfinished(store, batch, settings, timeout_seconds)
    try:
        analyse_items(
            store,
            batch,
            left,
            settings,
            parallel_jobs=parallel_jobs,
            timeout_seconds=timeout_seconds,
            cancelled=cancelled,
        )
    except BaseException as error:  # also a run that is terminated: the record must not say that it goes on
        _stop(store, batch, BatchStatus.FAILED if isinstance(error, Exception) else BatchStatus.CANCELLED)
        raise
    return finish_batch(store, batch)


def _stop(store: Store, batch: str, status: BatchStatus) -> None:
    """Close the record of a batch that was interrupted; a later run goes on with what is left."""
    ended = {"status": status, "items_processing": 0, "finished_at": clock.now(), "estimated_completion": None}
    write_record(store, read_record(store, batch).model_copy(update=ended))


def unfinished(store: Store, batch: str, settings: MediaSettings, timeout_seconds: float | None = None) -> list[str]:
    """The items that have to be analysed, in order: new ones, interrupted ones, and those whose files changed."""
    record = read_record(store, batch)
    kept = read_items(store, batch)
    return [
        row["item_id"]
        for row in read_pairs(store, batch)
        if row["error_code"] is None
        and not (
            row["item_id"] in kept
            and is_final(kept[row["item_id"]], fingerprint(_job(row, record, settings, timeout_seconds)))
        )
    ]


def analyse_items(
    store: Store,
    batch: str,
    items: Sequence[str],
    settings: MediaSettings,
    *,
    parallel_jobs: int | None = None,
    timeout_seconds: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Analyse some items of a batch and keep each as soon as it is finished.

    Returns:
        How many were analysed to an end; fewer than `items` when the batch was cancelled.
    """
    record = read_record(store, batch)
    wanted = set(items)
    jobs = {
        row["item_id"]: _job(row, record, settings, timeout_seconds)
        for row in read_pairs(store, batch)
        if row["item_id"] in wanted
    }
    limit = parallel_jobs or record.options.parallel_jobs or settings.parallel_jobs
    progress = Progress(store, record, limit)
    stop = threading.Event()
    if cancelled() or cancel_requested(store, batch):  # a share of a batch that was cancelled meanwhile
        stop.set()
    done = 0
    progress.show(0)
    with ThreadPoolExecutor(limit, thread_name_prefix="item") as pool:
        running: set[Future[FinishedItem]] = {
            pool.submit(run_item, item_id, job, stop.is_set) for item_id, job in jobs.items()
        }
        try:
            while running:
                finished, running = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in finished:
                    item = future.result()
                    write_item(store, batch, item)
                    done += item.status is not Status.CANCELLED
                if finished:
                    progress.show(min(len(running), limit))
                if running and not stop.is_set() and (cancelled() or cancel_requested(store, batch)):
                    stop.set()
        finally:
            stop.set()  # whatever ends this loop ends the items with it
    return done


def finish_batch(store: Store, batch: str) -> Report:
    """Gather the finished items into the tables, and close the record."""
    record = read_record(store, batch)
    items = read_items(store, batch)
    rows = [result_row(pair, items.get(pair["item_id"])) for pair in read_pairs(store, batch)]
    record = counted(record, [row["status"] for row in rows])
    record = record.model_copy(
        update={
            "status": _final_status(record),
            "items_processing": 0,
            "finished_at": max((item.analysed_at for item in items.values()), default=record.started_at or clock.now()),
            "estimated_completion": None,
        }
    )
    written = (
        tables.write(store, schema.RESULTS, batch, tables.from_rows(schema.RESULTS, rows)),
        tables.write(
            store, schema.BATCHES, batch, tables.from_rows(schema.BATCHES, [batch_row(record, list(items.values()))])
        ),
    )
    write_record(store, record)
    failed: dict[str, int] = {}
    for row in rows:
        if row["error_code"]:
            failed[row["error_code"]] = failed.get(row["error_code"], 0) + 1
    sure = [row["confidence"] for row in rows if row["status"] == Status.COMPLETED]
    return Report(
        tables=written,
        counts={
            "items": len(rows),
            "items_completed": record.items_completed,
            "items_no_match": record.items_no_match,
            "items_failed": record.items_failed,
            "items_cancelled": record.items_cancelled,
            "average_confidence": round(sum(sure) / len(sure), 3) if sure else 0.0,
        },
        rejects=failed,
        warnings=tuple(
            f"{row['item_id']}: {row['error_message']}" for row in rows if row["error_message"] and row["error_code"]
        )[:20],
        preview=tuple({key: row[key] for key in _PREVIEW} for row in rows[:50]),
        plots=batch_plots(rows),
    )


_PREVIEW = ("item_id", "status", "offset_seconds", "timecode", "confidence", "drift_ppm", "method_used", "error_code")


def _final_status(record: BatchRecord) -> BatchStatus:
    if record.items_cancelled:
        return BatchStatus.CANCELLED
    return BatchStatus.FAILED if record.items_failed == record.items_total else BatchStatus.COMPLETED


def _job(row: dict[str, Any], record: BatchRecord, settings: MediaSettings, timeout_seconds: float | None) -> Job:
    """What to do for one pair; the methods in their fixed order, so that the CSV's order makes no other job."""
    options = PairOptions(
        methods=tuple(sorted(row["methods"])),
        ai_model=row["ai_model"],
        models=settings.models,
        timeout_seconds=timeout_seconds or record.options.timeout_seconds or settings.timeout_seconds,
        max_seconds=settings.max_hours * 3600,
    )
    return Job(master=Path(row["master_path"]), dub=Path(row["dub_path"]), options=options)
