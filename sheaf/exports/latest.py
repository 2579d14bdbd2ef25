"""The pointer `latest.json` of a series: which version it must name, and moving it there."""

from collections.abc import Container

from sheaf.exports.records import Latest, Status, read_latest, records, to_json
from sheaf.names import ExportId, SeriesId
from sheaf.store import Store


def newest_canonical(store: Store, series: SeriesId, without: Container[int] = ()) -> ExportId | None:
    """The newest completed export of a series with no filter and default options."""
    for record in records(store, series):
        if record.status is Status.COMPLETED and record.canonical and record.version not in without:
            return record.id
    return None


def settle_latest(store: Store, series: SeriesId, without: Container[int] = ()) -> ExportId | None:
    """Make `latest` name the newest canonical export, whoever else is moving it.

    Stores without a conditional replace let a slow writer put an older version over a newer
    one. So everyone who moves the pointer looks again afterwards, until it says what the
    records say; the last to look leaves it right.

    Args:
        without: versions that are about to be deleted.
    """
    while True:
        newest = newest_canonical(store, series, without)
        pointed = read_latest(store, series)
        if (pointed.version if pointed else None) == (newest.version if newest else None):
            return newest
        if newest is None:
            store.delete([series.latest_path])
        else:
            pointer = Latest(
                export=str(newest), version=newest.version, path=newest.path, manifest=newest.manifest_path
            )
            store.put(series.latest_path, to_json(pointer))
