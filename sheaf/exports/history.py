"""Finding exports: resolving a name, listing what was published."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

from sheaf.errors import DamagedError, NotFoundError
from sheaf.exports.pins import tagged
from sheaf.exports.records import (
    Record,
    Status,
    all_series,
    read_latest,
    read_manifest,
    records,
    with_contents,
)
from sheaf.names import ExportId, parse_export
from sheaf.store import documents
from sheaf.store.store import Store


def resolve(store: Store, name: str) -> ExportId:
    """The export that `domain/partition/series/v3`, `…/latest` or `…/@paper` names.

    Raises:
        UsageError: the name has another shape.
        NotFoundError: `latest` was asked for and nothing canonical has been published, or there is no such tag.
    """
    series, version = parse_export(name)
    if isinstance(version, str):
        return tagged(store, series, version)
    if version is None:
        latest = read_latest(store, series)
        if latest is None:
            raise NotFoundError(f"{series} has no latest export yet.")
        version = latest.version
    return ExportId(series, version)


def history(
    store: Store,
    domain: str | None = None,
    partition: str | None = None,
    series: str | None = None,
    *,
    since: datetime | None = None,
    name: str | None = None,
) -> Iterator[Record]:
    """The records of all exports that fit, newest version first within each series.

    Args:
        since: only those made at or after this time.
        name: only those whose name holds this, whatever its case.
    """
    for found in all_series(store, domain, partition, series):
        for record in records(store, found):
            if since and record.created_at < since:
                continue
            if name is None or name.casefold() in record.name.casefold():
                yield record


def contents(store: Store, found: Iterable[Record]) -> Iterator[Record]:
    """Records with what their exports hold, also those of an earlier Sheaf, which keeps it in manifests only."""
    found = list(found)
    lacking = [record for record in found if record.status is Status.COMPLETED and record.size is None]
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        filled = dict(
            zip((record.id for record in lacking), pool.map(lambda one: _contents(store, one), lacking), strict=True)
        )
    yield from (filled.get(record.id, record) if lacking else record for record in found)


def _contents(store: Store, record: Record) -> Record:
    with suppress(NotFoundError, DamagedError):
        return with_contents(record, read_manifest(store, record.id))
    return record
