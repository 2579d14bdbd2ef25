"""The life of a batch and its finished items, as small objects in the store.

`batches/media/<batch>/record.json` tells where the batch is while it runs; `items/<item>.json` is
written once for each finished pair, so that a run after a crash goes on where the last one stopped;
`files.json` tells where its files are (`content`); `cancel.json` asks a running analysis to stop; `told/`
holds which endings other systems were told of. The record is for people who wait: what a batch is and
what was found is in its tables.
"""

import uuid
from contextlib import suppress
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sheaf import clock
from sheaf.errors import NotFoundError, StoreError
from sheaf.media.readers.batch_options import BatchOptions
from sheaf.media.result import PairResult, Status
from sheaf.store import documents
from sheaf.store.store import Store

ROOT = "batches/media"


class BatchStatus(StrEnum):
    """Where a batch is in its life; `completed` and `failed` are said once the results can be read."""

    PENDING = "pending"
    PROCESSING = "processing"
    PUBLISHING = "publishing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BatchRecord(BaseModel):
    """Where a batch is.

    Attributes:
        progress: share of items that are finished, percent to one decimal.
        items_completed: items with an offset; `items_no_match` were analysed without finding one.
        estimated_completion: from the time its items took so far; null unless it is processing.
    """

    model_config = ConfigDict(extra="ignore")

    batch_id: str
    csv_file: str
    csv_sha256: str
    options: BatchOptions
    status: BatchStatus = BatchStatus.PENDING
    progress: float = 0.0
    items_total: int
    items_completed: int = 0
    items_no_match: int = 0
    items_processing: int = 0
    items_failed: int = 0
    items_cancelled: int = 0
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    estimated_completion: datetime | None = None


class ItemError(BaseModel):
    """Why an item failed."""

    code: str
    message: str


class FinishedItem(BaseModel):
    """One analysed pair as the store keeps it.

    Attributes:
        fingerprint: of the content and methods it was made from; another one means analyse again.
        limits: seconds it could take, and seconds of sound it could hold; what failed may not fail within others.
    """

    item_id: str
    fingerprint: str
    limits: tuple[float, float]
    status: Status
    error: ItemError | None = None
    analysed_at: datetime
    analysis_seconds: float
    result: PairResult | None = None


def batch_message(record: BatchRecord) -> dict[str, object]:
    """What is said about a batch."""
    return {
        "event": f"batch_{record.status}",
        "batch_id": record.batch_id,
        "status": record.status,
        "items_total": record.items_total,
        "items_completed": record.items_completed,
        "items_no_match": record.items_no_match,
        "items_failed": record.items_failed,
        "items_cancelled": record.items_cancelled,
        "timestamp": record.finished_at.isoformat().replace("+00:00", "Z") if record.finished_at else None,
    }


def write_record(store: Store, record: BatchRecord) -> None:
    """Replace the record in one step."""
    store.put(f"{ROOT}/{record.batch_id}/record.json", record.model_dump_json(indent=2).encode() + b"\n")


def read_record(store: Store, batch: str) -> BatchRecord:
    """The record of a batch.

    Raises:
        NotFoundError: the batch was never ingested.
        DamagedError: it cannot be read.
    """
    path = f"{ROOT}/{batch}/record.json"
    try:
        return documents.read(BatchRecord, store, path)
    except NotFoundError as error:
        raise NotFoundError(f"There is no media batch {batch!r}: run `sheaf run media`.") from error


def close_published(store: Store, batch: str) -> None:
    """Say that a batch is completed, or failed where no pair could be analysed, now that its results can be read."""
    with suppress(NotFoundError, StoreError):
        record = read_record(store, batch)
        if record.status is BatchStatus.PUBLISHING:
            all_failed = record.items_failed == record.items_total
            status = BatchStatus.FAILED if all_failed else BatchStatus.COMPLETED
            write_record(store, record.model_copy(update={"status": status}))


def write_item(store: Store, batch: str, item: FinishedItem) -> None:
    """Keep a finished item."""
    store.put(f"{ROOT}/{batch}/items/{item.item_id}.json", item.model_dump_json().encode())


def read_items(
    store: Store, batch: str, seen: dict[str, tuple[datetime, FinishedItem]] | None = None
) -> dict[str, FinishedItem]:
    """The finished items of a batch; a damaged one counts as not finished.

    Args:
        seen: kept by a caller that asks often; only items that are new since are read.
    """
    seen = {} if seen is None else seen
    for stored in store.list(f"{ROOT}/{batch}/items"):
        if stored.path not in seen or seen[stored.path][0] != stored.modified:
            with suppress(ValueError, NotFoundError):
                seen[stored.path] = stored.modified, FinishedItem.model_validate_json(store.get(stored.path))
    return {item.item_id: item for _, (_, item) in sorted(seen.items())}


def request_cancel(store: Store, batch: str) -> None:
    """Ask the analysis of a batch to stop: no item starts any more, running ones end within seconds.

    Raises:
        NotFoundError: there is no such batch.
    """
    record = read_record(store, batch)
    store.put(_cancel_path(record.batch_id), clock.now().isoformat().encode())


def cancel_requested(store: Store, batch: str) -> bool:
    """Whether somebody asked the batch to stop since its analysis started."""
    return store.size(_cancel_path(batch)) is not None


def clear_cancel(store: Store, batch: str) -> None:
    """A new start forgets the last cancellation."""
    store.delete([_cancel_path(batch)])


def claim_telling(store: Store, batch: str, ended: datetime) -> bool:
    """Take it on oneself to tell another system that a batch ended at a time; False when somebody has."""
    return documents.create(store, _told_path(batch, ended), f"{clock.now().isoformat()} {uuid.uuid4()}".encode())


def give_back_telling(store: Store, batch: str, ended: datetime) -> None:
    """It could not be told: somebody else may try."""
    store.delete([_told_path(batch, ended)])


def _told_path(batch: str, ended: datetime) -> str:
    return f"{ROOT}/{batch}/told/{ended:%Y%m%dT%H%M%S.%f}"


def _cancel_path(batch: str) -> str:
    return f"{ROOT}/{batch}/cancel.json"
