"""What the record of a batch says while its items run: counts, share done, expected end."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sheaf import clock, tables
from sheaf.media import schema
from sheaf.media.batch_record import BatchRecord, BatchStatus, FinishedItem, read_items, read_record, write_record
from sheaf.media.result import Status
from sheaf.store import Store

_GUESS_S = 30.0  # per item, until one is finished


class Progress:
    """Keeps the record up to date while items run."""

    def __init__(self, store: Store, record: BatchRecord, jobs: int) -> None:
        self._store, self._jobs = store, jobs
        self._batch = record.batch_id
        self._pairs = read_pairs(store, record.batch_id)
        self._seen: dict[str, tuple[datetime, FinishedItem]] = {}

    def show(self, running: int) -> None:
        """Count what is finished and foretell the end."""
        items = read_items(self._store, self._batch, self._seen)
        statuses = [
            Status.FAILED if pair["error_code"] else items[pair["item_id"]].status
            for pair in self._pairs
            if pair["error_code"] or pair["item_id"] in items
        ]
        record = counted(read_record(self._store, self._batch), statuses)
        took = [item.analysis_seconds for item in items.values() if item.status is not Status.CANCELLED]
        each = sum(took) / len(took) if took else _GUESS_S
        left = record.items_total - len([status for status in statuses if status != Status.CANCELLED])
        now = clock.now()
        write_record(
            self._store,
            record.model_copy(
                update={
                    "status": BatchStatus.PROCESSING,
                    "items_processing": running or min(left, self._jobs),
                    "started_at": record.started_at or now,
                    "finished_at": None,
                    "estimated_completion": now + timedelta(seconds=round(each * left / self._jobs)),
                }
            ),
        )


def counted(record: BatchRecord, statuses: Sequence[str]) -> BatchRecord:
    """The record with its items counted by status; cancelled ones are not finished."""
    finished = [status for status in statuses if status != Status.CANCELLED]
    return record.model_copy(
        update={
            "progress": round(100 * len(finished) / max(record.items_total, 1), 1),
            "items_completed": statuses.count(Status.COMPLETED),
            "items_no_match": statuses.count(Status.NO_MATCH),
            "items_failed": statuses.count(Status.FAILED),
            "items_cancelled": statuses.count(Status.CANCELLED),
        }
    )


def read_pairs(store: Store, batch: str) -> list[dict[str, Any]]:
    """The pairs of a batch, in the order of its CSV."""
    return tables.read(store, schema.PAIRS, batch).to_pylist()
