"""Putting right what a crash left: stale records, half-moved pointers, orphan files.

Everything here may run at any time, any number of times, beside working writers.
"""

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sheaf.errors import SheafError
from sheaf.exports.latest import settle_latest
from sheaf.exports.outcome import complete, give_up, leftovers
from sheaf.exports.records import NOTHING, OPEN, Record, Status, all_series, is_committed, records, write_record
from sheaf.names import ExportId, SeriesId
from sheaf.store import scratch
from sheaf.store.store import Store

DEAD_AFTER = timedelta(minutes=15)
"""A writer renews its record every 30 s; one that missed thirty of them is taken for dead."""

_abandoned: set[tuple[str, ExportId]] = set()


@dataclass(frozen=True)
class Recovered:
    """What was put right.

    Attributes:
        finished: exports that were whole but not yet marked so.
        reaped: exports whose writer died; they are failed now.
        swept: orphan objects and scratch folders that were removed.
        failed: what could not be put right, as sentences.
    """

    finished: tuple[str, ...] = ()
    reaped: tuple[str, ...] = ()
    swept: int = 0
    failed: tuple[str, ...] = ()


def recover(store: Store) -> Recovered:
    """Put the whole store right; a series where that fails stops no other."""
    finished: list[str] = []
    reaped: list[str] = []
    failed: list[str] = []
    swept = scratch.sweep(store)
    for series in all_series(store):
        try:
            _correct(store, series)
            done = recover_series(store, series)
        except SheafError as error:
            failed.append(f"{series}: {error}")
            continue
        finished += done.finished
        reaped += done.reaped
        swept += done.swept
    return Recovered(tuple(finished), tuple(reaped), swept, tuple(failed))


def recover_series(store: Store, series: SeriesId) -> Recovered:
    """Put one series right: finish or give up what is stale, settle `latest`, then sweep orphans."""
    finished: list[str] = []
    reaped: list[str] = []
    known = records(store, series)
    for record in known:
        if record.status in OPEN and (writer_is_dead(record) or _is_abandoned(store, record)):
            if give_up(store, record, "Its writer stopped before it was finished."):
                reaped.append(str(record.id))
            else:
                complete(store, record)
                finished.append(str(record.id))
    if known:
        settle_latest(store, series)
    # Only now: until it is settled, `latest` may name an export that is being deleted.
    swept = sum(_sweep(store, record) for record in known if record.status in (Status.FAILED, Status.DELETED))
    return Recovered(tuple(finished), tuple(reaped), swept)


def _correct(store: Store, series: SeriesId) -> None:
    """Call deleted what is called completed and has no manifest: a writer was held up, wrote that, and died."""
    for record in records(store, series):
        if record.status is Status.COMPLETED and not is_committed(store, record.id):
            write_record(store, record.model_copy(update={"status": Status.DELETED, "error": "Its files are gone."}))


def _sweep(store: Store, record: Record) -> int:
    """Remove what a version that ended without files still has: its end was interrupted, or its writer woke up."""
    if is_committed(store, record.id):
        if record.status is Status.FAILED:  # its manifest is damaged: `repair` keeps its files
            return 0
        store.put(record.id.manifest_path, NOTHING)
    orphans = leftovers(store, record.id)
    store.delete(orphans)
    return len(orphans)


def abandon(store: Store, export: ExportId) -> None:
    """Note that this process, which lives on, no longer works on an export whose record could not say so."""
    _abandoned.add((store.url, export))


def _is_abandoned(store: Store, record: Record) -> bool:
    ours = (record.host, record.pid) == (socket.gethostname(), os.getpid())
    return ours and (store.url, record.id) in _abandoned


def writer_is_dead(record: Record) -> bool:
    """Whether nobody works on an export any more: its process is gone, or its heartbeat stopped."""
    if record.host == socket.gethostname() and not scratch.process_runs(record.pid):
        return True
    return datetime.now(UTC) - record.heartbeat_at > DEAD_AFTER
