"""Putting right what a crash left: stale records, half-moved pointers, orphan files.

Everything here may run at any time, any number of times, beside working writers.
"""

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sheaf import scratch
from sheaf.exports.latest import settle_latest
from sheaf.exports.outcome import complete, fail, leftovers
from sheaf.exports.records import OPEN, Record, Status, all_series, records
from sheaf.names import SeriesId
from sheaf.store import Store

DEAD_AFTER = timedelta(minutes=15)
"""A writer renews its record every 30 s; one that missed thirty of them is taken for dead."""


@dataclass(frozen=True)
class Recovered:
    """What was put right.

    Attributes:
        finished: exports that were whole but not yet marked so.
        reaped: exports whose writer died; they are failed now.
        swept: orphan objects and scratch folders that were removed.
    """

    finished: tuple[str, ...] = ()
    reaped: tuple[str, ...] = ()
    swept: int = 0


def recover(store: Store) -> Recovered:
    """Put the whole store right."""
    finished: list[str] = []
    reaped: list[str] = []
    swept = scratch.sweep(store, DEAD_AFTER.total_seconds()) + _sweep_staged(store)
    for series in all_series(store):
        done = recover_series(store, series)
        finished += done.finished
        reaped += done.reaped
        swept += done.swept
    return Recovered(tuple(finished), tuple(reaped), swept)


def recover_series(store: Store, series: SeriesId) -> Recovered:
    """Put one series right: finish, reap, sweep, and settle `latest`."""
    finished: list[str] = []
    reaped: list[str] = []
    swept = 0
    known = records(store, series)
    for record in known:
        if record.status in OPEN:
            if not writer_is_dead(record):
                continue
            if store.size(record.id.manifest_path) is not None:
                complete(store, record)
                finished.append(str(record.id))
            else:
                fail(store, record, "Its writer stopped before it was finished.")
                reaped.append(str(record.id))
        elif record.status is not Status.COMPLETED and writer_is_dead(record):
            orphans = leftovers(store, record.id)
            store.delete(orphans)
            swept += len(orphans)
    if known:
        settle_latest(store, series)
    return Recovered(tuple(finished), tuple(reaped), swept)


def writer_is_dead(record: Record) -> bool:
    """Whether nobody works on an export any more: its process is gone, or its heartbeat stopped."""
    if record.host == socket.gethostname() and not scratch.process_runs(record.pid):
        return True
    return datetime.now(UTC) - record.heartbeat_at > DEAD_AFTER


def _sweep_staged(store: Store) -> int:
    """On a local store, remove what an interrupted write staged beside its target as `name#1`."""
    if store.root is None:
        return 0
    limit = datetime.now(UTC) - DEAD_AFTER
    removed = 0
    for path in store.root.rglob("*#*"):
        if path.is_file() and datetime.fromtimestamp(path.stat().st_mtime, UTC) < limit:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
