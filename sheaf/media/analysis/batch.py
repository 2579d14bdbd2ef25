"""The analysis of a batch: which items are left, several at a time, and the table at the end.

`analyse_batch` is the step, `analyse_items` does a share of its work anywhere. Each finished item is kept
at once, so that a run after a crash or a cancellation goes on with the others.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from typing import Any

from sheaf import clock
from sheaf.errors import NotFoundError, SheafError, StoreError
from sheaf.media import schema
from sheaf.media.analysis.item import CRASHED, Job, Worker, give_back, run_item, take
from sheaf.media.analysis.plots import batch_plots
from sheaf.media.analysis.progress import Progress, counted, finished
from sheaf.media.analysis.rows import MOST_HEARD, result_row, snippet_rows, unsatisfied
from sheaf.media.batch_record import (
    BatchRecord,
    BatchStatus,
    FinishedItem,
    ItemError,
    cancel_requested,
    clear_cancel,
    read_record,
    write_item,
    write_record,
)
from sheaf.media.errors import CancelledError, ChangedError, ToolError
from sheaf.media.methods import Model
from sheaf.media.readers.batch_options import BatchOptions
from sheaf.media.readers.content import MediaFile, read_located
from sheaf.media.result import PairOptions, Status
from sheaf.report import Report
from sheaf.store.store import Store
from sheaf.tables.parquet import from_rows
from sheaf.tables.work import Work

_POLL_S = 0.5
_NOT_ITS_FAULT = (ChangedError.code, ToolError.code)
"""What says nothing about a pair: it has no answer yet, and a run that meets it fails."""


def analyse_batch(work: Work) -> Report:
    """Analyse all items of a batch that are not finished yet, on this machine or a cluster; then write the results.

    Returns:
        Counts (`items`, `items_completed`, `items_no_match`, `items_failed`, `average_confidence`), a
        preview and plots.

    Raises:
        CancelledError: the batch was cancelled; what is finished is kept for the next run.
        SheafError: files have changed since the batch was read, or no decoder can be started.
    """
    store, batch = work.store, work.partition
    pairs = work.tables.read(schema.PAIRS).to_pylist()
    clear_cancel(store, batch)
    record = _record(work)
    try:
        jobs = _jobs(work, pairs)
        kept = finished(store, batch, jobs)
        left = {name: job for name, job in jobs.items() if name not in kept}
        at_once = record.options.parallel_jobs or work.settings.parallel_jobs
        progress = Progress(store, batch, jobs, len(pairs) - len(jobs), at_once)

        def cancelled() -> bool:
            return work.cancelled() or cancel_requested(store, batch)

        if cluster := work.settings.cluster:
            from sheaf.media.analysis.cluster import analyse_on_cluster

            unanswered = analyse_on_cluster(store, batch, left, cluster, cancelled, progress.show)
        else:
            unanswered = analyse_items(store, batch, left, at_once, cancelled, progress.show)
        items = finished(store, batch, jobs)
        _require_all(batch, jobs, items, unanswered)
        return _gather(work, pairs, items)
    except BaseException as error:  # also a run that is terminated: the record must not say that it goes on
        failed = isinstance(error, Exception) and not isinstance(error, CancelledError)
        _stop(store, batch, BatchStatus.FAILED if failed else BatchStatus.CANCELLED)
        raise


def analyse_items(
    store: Store,
    batch: str,
    jobs: Mapping[str, Job],
    at_once: int,
    cancelled: Callable[[], bool],
    tell: Callable[[int], None] = lambda _: None,
) -> dict[str, ItemError]:
    """Analyse some items of a batch and keep each as soon as it is finished.

    Args:
        jobs: what to do, by item.
        cancelled: asked twice a second; when it says yes no item starts any more, and running ones are ended.
        tell: called with the number of items that run, whenever one is finished.

    Returns:
        Why items have no answer although nothing is wrong with them; those that were cancelled are left out.
    """
    todo, unanswered = dict(jobs), {}
    for again in (True, False):  # what crashed is tried once more, alone: memory may have been short
        crashed: dict[str, Job] = {}
        with closing(_run(todo, at_once if again else 1, cancelled, tell)) as items:
            for item in items:
                code = item.error.code if item.error else ""
                if code == CRASHED and again:
                    crashed[item.item_id] = todo[item.item_id]
                elif item.error and code in _NOT_ITS_FAULT:
                    unanswered[item.item_id] = item.error
                    if code == ToolError.code:  # no other would fare better
                        return unanswered
                elif item.status is not Status.CANCELLED:
                    write_item(store, batch, item)
        todo = crashed
    return unanswered


def _run(
    jobs: Mapping[str, Job], at_once: int, cancelled: Callable[[], bool], tell: Callable[[int], None]
) -> Generator[FinishedItem, None, None]:
    """The items as they end; those that run are ended as well when nobody takes any more."""
    if not jobs or cancelled():
        return
    stop = threading.Event()
    workers = take(min(len(jobs), at_once))
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def run(name: str, job: Job) -> FinishedItem:
        worker = free.get()
        try:
            return run_item(name, job, stop.is_set, worker)
        finally:
            free.put(worker)

    tell(min(len(jobs), at_once))
    with ThreadPoolExecutor(at_once, thread_name_prefix="item") as pool:
        running: set[Future[FinishedItem]] = {pool.submit(run, name, job) for name, job in jobs.items()}
        try:
            while running:
                done, running = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
                if done:
                    tell(min(len(running), at_once))
                if running and not stop.is_set() and cancelled():
                    stop.set()
        finally:
            stop.set()
            wait(running)
            give_back(workers)


def _record(work: Work) -> BatchRecord:
    """The record of a batch, made anew from its table where it is lost."""
    try:
        return read_record(work.store, work.partition)
    except (NotFoundError, StoreError):
        batch = work.tables.read(schema.BATCHES).to_pylist()[0]
        record = BatchRecord(
            batch_id=work.partition,
            csv_file=batch["csv_file"],
            csv_sha256=batch["csv_sha256"],
            options=BatchOptions(description=batch["description"], priority=batch["priority"]),
            items_total=batch["items_total"],
            created_at=clock.now(),
        )
        write_record(work.store, record)
        return record


def _jobs(work: Work, pairs: Sequence[Mapping[str, Any]]) -> dict[str, Job]:
    """What to do for each pair that can be analysed; raises `ChangedError` where its files are not as they were."""
    batch, settings = work.tables.read(schema.BATCHES).to_pylist()[0], work.settings
    content = {row["name"]: row["sha256"] for row in work.tables.read(schema.FILES).to_pylist()}
    located = read_located(work.store, work.partition)

    def file(name: str) -> MediaFile:
        return _as_read(name, located.files.get(name), content.get(name))

    jobs = {}
    for pair in pairs:
        if pair["error_code"]:
            continue
        name = pair["ai_model"]
        model = _as_read(name, located.models.get(Model(name)), pair["model_sha256"]) if pair["model_sha256"] else None
        jobs[pair["item_id"]] = Job(
            master=file(pair["master_file"]),
            dub=file(pair["dub_file"]),
            master_file=pair["master_file"],
            dub_file=pair["dub_file"],
            model=model,
            options=PairOptions(
                methods=pair["methods"],
                ai_model=name,
                master_track=pair["master_track"],
                dub_track=pair["dub_track"],
                models={Model(name): model.path} if model else {},
                timeout_seconds=batch["timeout_seconds"] or settings.timeout_seconds,
                max_seconds=settings.max_hours * 3600,
                listen=len(pairs) <= MOST_HEARD,
            ),
        )
    return jobs


def _as_read(name: str, found: MediaFile | None, sha256: str | None) -> MediaFile:
    """Where a file is that the tables know by its content."""
    if found is None or found.sha256 != sha256:
        raise ChangedError(
            f"It is not known where {name} is that the batch was read with: touch its CSV, run it again."
        )
    return found


def _require_all(
    batch: str, jobs: Mapping[str, Job], items: Mapping[str, FinishedItem], unanswered: Mapping[str, ItemError]
) -> None:
    """Refuse to publish a batch that is not whole; what is finished is kept for the next run."""
    left = [name for name in jobs if name not in items]
    again = f"{len(jobs) - len(left)} of {len(jobs)} pairs are finished and kept: `sheaf run media {batch}` goes on."
    no_tool = any(error.code == ToolError.code for error in unanswered.values())
    if any(name not in unanswered for name in left) and not no_tool:
        raise CancelledError(f"{batch} was cancelled. {again}")
    for name in left:
        if name in unanswered:
            raise SheafError(f"{name}: {unanswered[name].message} {again}")


def _stop(store: Store, batch: str, status: BatchStatus) -> None:
    """Close the record of a batch that was interrupted; a later run goes on with what is left."""
    record = read_record(store, batch)
    done = record.items_completed + record.items_no_match + record.items_failed
    ended = {
        "status": status,
        "items_processing": 0,
        "items_cancelled": record.items_total - done if status is BatchStatus.CANCELLED else 0,
        "finished_at": clock.now(),
        "estimated_completion": None,
    }
    write_record(store, record.model_copy(update=ended))


def _gather(work: Work, pairs: Sequence[Mapping[str, Any]], items: Mapping[str, FinishedItem]) -> Report:
    """Write the table of results, and close the record."""
    rows = [result_row(pair, items.get(pair["item_id"])) for pair in pairs]
    work.write(schema.RESULTS, from_rows(schema.RESULTS, rows))
    work.write(schema.SNIPPETS, from_rows(schema.SNIPPETS, snippet_rows(items.values())))
    name = schema.RESULTS.name
    for row in rows:
        if row["status"] == Status.FAILED and row["item_id"] in items:
            work.rejects.add(
                name,
                row["error_code"].lower(),
                row["error_message"],
                primary_key=row["item_id"],
                raw={key: row[key] for key in ("master_file", "dub_file")},
            )
    failed = sum(item.status is Status.FAILED for item in items.values())
    work.rejects.saw(name, len(items))
    work.rejects.used(name, len(items) - failed)
    _close(work, [row["status"] for row in rows], items)
    sure = [row["confidence"] for row in rows if row["status"] == Status.COMPLETED]
    return Report(
        counts={
            "items": len(rows),
            **{f"items_{status}": sum(row["status"] == status for row in rows) for status in _ENDS},
            "average_confidence": round(sum(sure) / len(sure), 3) if sure else 0.0,
        },
        warnings=unsatisfied(rows),
        preview=tuple({key: row[key] for key in _PREVIEW} for row in rows[:50]),
        plots=partial(batch_plots, rows),
    )


_ENDS = (Status.COMPLETED, Status.NO_MATCH, Status.FAILED)
_PREVIEW = ("item_id", "status", "offset_seconds", "timecode", "confidence", "drift_ppm", "method_used", "error_code")


def _close(work: Work, statuses: Sequence[str], items: Mapping[str, FinishedItem]) -> None:
    record = counted(read_record(work.store, work.partition), statuses)
    ended = {
        "status": BatchStatus.PUBLISHING,
        "items_processing": 0,
        "items_cancelled": 0,
        # Who found all of it finished ended nothing: nobody is told of the batch once more.
        "finished_at": max((item.analysed_at for item in items.values()), default=record.finished_at or clock.now()),
        "estimated_completion": None,
    }
    write_record(work.store, record.model_copy(update=ended))
