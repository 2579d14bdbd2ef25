"""How an export ends: completed, failed, or deleted."""

from sheaf import activity, clock
from sheaf.errors import NotFoundError, UsageError
from sheaf.exports.latest import settle_latest
from sheaf.exports.records import OPEN, Record, Status, read_record, write_record
from sheaf.names import ExportId
from sheaf.store import Store


def complete(store: Store, record: Record) -> None:
    """Mark an export whose manifest exists as completed and move `latest`."""
    write_record(
        store, record.model_copy(update={"status": Status.COMPLETED, "finished_at": clock.now(), "error": None})
    )
    if record.canonical:
        settle_latest(store, record.id.series)
    activity.log(store, "export completed", record.id, record.requested_by)


def fail(store: Store, record: Record, reason: str) -> None:
    """Mark an export as failed with the reason, and remove what it had written."""
    write_record(
        store, record.model_copy(update={"status": Status.FAILED, "finished_at": clock.now(), "error": reason})
    )
    store.delete(leftovers(store, record.id))
    activity.log(store, "export failed", record.id, record.requested_by, reason)


def delete(store: Store, export: ExportId, who: str) -> Record:
    """Remove the files of an export; its record stays as a tombstone, so that its number is never reused.

    `latest` moves to the newest export that is left before a file disappears.

    Raises:
        NotFoundError: there is no such export.
        UsageError: it is still being written.
    """
    record = read_record(store, export)
    if record.status in OPEN:
        raise UsageError(f"{export} is still being written: wait until it ends, then delete it.")
    if record.status is Status.DELETED:
        raise NotFoundError(f"{export} was deleted already, by {record.deleted_by}.")
    settle_latest(store, export.series, without={export.version})
    tombstone = record.model_copy(update={"status": Status.DELETED, "deleted_by": who, "finished_at": clock.now()})
    write_record(store, tombstone)
    settle_latest(store, export.series)
    store.delete(leftovers(store, export))
    activity.log(store, "export deleted", export, who)
    return tombstone


def leftovers(store: Store, export: ExportId) -> list[str]:
    """Everything below a version but its record, the manifest first."""
    found = [item.path for item in store.list(export.path) if item.path != export.record_path]
    return sorted(found, key=lambda path: path != export.manifest_path)
