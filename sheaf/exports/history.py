"""Finding exports: resolving a name, listing what was published."""

from collections.abc import Iterator

from sheaf.errors import NotFoundError
from sheaf.exports.records import Record, all_series, read_latest, records
from sheaf.names import ExportId, parse_export
from sheaf.store import Store


def resolve(store: Store, name: str) -> ExportId:
    """The export that `domain/partition/series/v3` or `…/latest` names.

    Raises:
        UsageError: the name has another shape.
        NotFoundError: `latest` was asked for and nothing canonical has been published.
    """
    series, version = parse_export(name)
    if version is None:
        latest = read_latest(store, series)
        if latest is None:
            raise NotFoundError(f"{series} has no latest export yet.")
        version = latest.version
    return ExportId(series, version)


def history(
    store: Store, domain: str | None = None, partition: str | None = None, series: str | None = None
) -> Iterator[Record]:
    """The records of all exports that fit, newest version first within each series."""
    for found in all_series(store, domain, partition, series):
        yield from records(store, found)
