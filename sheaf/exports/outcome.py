"""How an export ends: completed, failed, or deleted."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sheaf import activity, clock
from sheaf.errors import DamagedError, NotFoundError, SheafError, UsageError
from sheaf.exports.latest import settle_latest
from sheaf.exports.pins import refuse_pinned
from sheaf.exports.records import (
    NOTHING,
    OPEN,
    Record,
    Status,
    is_committed,
    read_manifest,
    read_record,
    with_contents,
    write_record,
)
from sheaf.names import ExportId
from sheaf.store.store import Store


def complete(store: Store, record: Record) -> None:
    """Mark an export whose manifest exists as completed and move `latest`.

    A writer that was held up may find that somebody else did it, or even deleted the export since.
    """
    current = read_record(store, record.id)
    if current.status not in OPEN:
        return
    completed = current.model_copy(update={"status": Status.COMPLETED, "finished_at": clock.now(), "error": None})
    with suppress(NotFoundError, DamagedError):  # deleted, or damaged since: the record says how it ended all the same
        completed = with_contents(completed, read_manifest(store, record.id))
    write_record(store, completed)
    if not is_committed(store, record.id):  # deleted between the two lines above
        write_record(store, completed.model_copy(update={"status": Status.DELETED}))
    with ThreadPoolExecutor(1) as aside:  # both wait for the disk at once
        noted = aside.submit(activity.log, store, "export completed", current.id, current.requested_by)
        if current.canonical:
            settle_latest(store, current.id.series)
    noted.result()


def give_up(store: Store, record: Record, reason: str) -> bool:
    """End an export as failed and remove what it had written, unless it has its manifest.

    Its writer may only be suspended and go on later. It then finds that there can be no
    manifest any more: of writing and giving up exactly one comes first.

    Returns:
        Whether it was given up; False when it is complete.
    """
    if is_committed(store, record.id):
        return False
    store.create(record.id.manifest_path, NOTHING)
    if store.get(record.id.manifest_path) != NOTHING:
        return False
    store.delete(leftovers(store, record.id))
    write_record(
        store, record.model_copy(update={"status": Status.FAILED, "finished_at": clock.now(), "error": reason})
    )
    activity.log(store, "export failed", record.id, record.requested_by, reason)
    return True


def delete(store: Store, export: ExportId, who: str) -> Record:
    """Remove the files of an export; its record stays as a tombstone, so that its number is never reused.

    `latest` moves to the newest export that is left before a file disappears. It is settled before,
    too: somebody who wants to move it to this export and was held up then finds that it has moved.

    Raises:
        NotFoundError: there is no such export.
        UsageError: it is still being written, or pinned.
    """
    record = read_record(store, export)
    if record.status in OPEN:
        raise UsageError(f"{export} is still being written: wait until it ends, then delete it.")
    if record.status is Status.DELETED:
        raise NotFoundError(f"{export} was deleted already, by {record.deleted_by}.")
    refuse_pinned(store, export)
    settle_latest(store, export.series)
    tombstone = record.model_copy(update={"status": Status.DELETED, "deleted_by": who, "finished_at": clock.now()})
    write_record(store, tombstone)
    try:
        refuse_pinned(store, export)  # who pins it looks at the record afterwards
    except SheafError:
        write_record(store, record)
        raise
    settle_latest(store, export.series)
    store.put(export.manifest_path, NOTHING)
    if read_record(store, export).status is not Status.DELETED:  # a writer that was held up called it completed
        write_record(store, tombstone)
    store.delete(leftovers(store, export))
    activity.log(store, "export deleted", export, who)
    return tombstone


def rename(store: Store, export: ExportId, name: str, who: str) -> Record:
    """Call an export otherwise; what it holds, and its manifest, stay as they are.

    Raises:
        NotFoundError: there is no such export.
        UsageError: it is still being written.
    """
    record = read_record(store, export)
    if record.status in OPEN:
        raise UsageError(f"{export} is still being written: wait until it ends, then rename it.")
    renamed = record.model_copy(update={"name": name})
    write_record(store, renamed)
    activity.log(store, "export renamed", export, who, f"{record.name} → {name}")
    return renamed


def leftovers(store: Store, export: ExportId) -> list[str]:
    """Everything below a version but its two documents."""
    documents = (export.record_path, export.manifest_path)
    return [item.path for item in store.list(export.path) if item.path not in documents]
