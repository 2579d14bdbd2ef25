"""What the record of a batch says while its items run: counts, share done, expected end."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sheaf import clock
from sheaf.media.analysis.item import Job, answers
from sheaf.media.batch_record import BatchRecord, BatchStatus, FinishedItem, read_items, read_record, write_record
from sheaf.media.result import Status
from sheaf.store.store import Store

_GUESS_S = 30.0  # per item, until one is finished

Seen = dict[str, tuple[datetime, FinishedItem]]
"""What was read of the kept items, so that who asks often reads only those that are new since."""


class Progress:
    """Keeps the record up to date while items run."""

    def __init__(self, store: Store, batch: str, jobs: Mapping[str, Job], bad_rows: int, at_once: int) -> None:
        self._store, self._batch = store, batch
        self._jobs, self._bad_rows, self._at_once = jobs, bad_rows, at_once
        self._seen: Seen = {}

    def show(self, running: int) -> None:
        """Count what is finished and foretell the end."""
        items = finished(self._store, self._batch, self._jobs, self._seen)
        statuses = [Status.FAILED] * self._bad_rows + [item.status for item in items.values()]
        record = counted(read_record(self._store, self._batch), statuses)
        took = [item.analysis_seconds for item in items.values()]
        each = sum(took) / len(took) if took else _GUESS_S
        left = len(self._jobs) - len(items)
        now = clock.now()
        write_record(
            self._store,
            record.model_copy(
                update={
                    "status": BatchStatus.PROCESSING,
                    "items_processing": min(running, left),
                    "items_cancelled": 0,
                    "started_at": record.started_at or now,
                    "finished_at": None,
                    "estimated_completion": now + timedelta(seconds=round(each * left / self._at_once)),
                }
            ),
        )


def finished(store: Store, batch: str, jobs: Mapping[str, Job], seen: Seen | None = None) -> dict[str, FinishedItem]:
    """The kept items that answer their jobs, by name."""
    kept = read_items(store, batch, seen)
    return {name: kept[name] for name, job in jobs.items() if name in kept and answers(kept[name], job)}


def counted(record: BatchRecord, statuses: Sequence[str]) -> BatchRecord:
    """The record with its finished items counted by status."""
    return record.model_copy(
        update={
            "progress": round(100 * len(statuses) / max(record.items_total, 1), 1),
            "items_completed": statuses.count(Status.COMPLETED),
            "items_no_match": statuses.count(Status.NO_MATCH),
            "items_failed": statuses.count(Status.FAILED),
        }
    )
