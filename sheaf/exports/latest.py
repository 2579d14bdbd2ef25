"""The pointer `latest.json` of a series: which version it must name, and moving it there."""

from sheaf.errors import NotFoundError
from sheaf.exports.records import Latest, Status, is_committed, newest_records, to_json
from sheaf.names import ExportId, SeriesId
from sheaf.store import Store


def newest_canonical(store: Store, series: SeriesId) -> ExportId | None:
    """The newest completed export of a series with no filter and default options."""
    for record in newest_records(store, series):
        if record.status is Status.COMPLETED and record.canonical and is_committed(store, record.id):
            return record.id
    return None


def settle_latest(store: Store, series: SeriesId) -> ExportId | None:
    """Make `latest` name the newest canonical export, whoever else is moving it.

    The pointer is read before the records and replaced only if it is still the same: somebody
    who looked earlier, and was held up, cannot put an older version over a newer one. After a
    move everyone looks again, so that the last to look leaves it right.
    """
    while True:
        try:
            found = store.get(series.latest_path)
        except NotFoundError:
            found = None
        pointed = _parse(found)
        newest = newest_canonical(store, series)
        if newest is None:
            if found is not None:
                store.delete([series.latest_path])
            return None
        if pointed and pointed.version == newest.version:
            return newest
        pointer = Latest(
            export=str(newest),
            version=newest.version,
            path=newest.path,
            manifest=newest.manifest_path,
            moves=pointed.moves + 1 if pointed else 1,
        )
        store.swap(series.latest_path, found, to_json(pointer))


def _parse(data: bytes | None) -> Latest | None:
    """A damaged pointer is as good as none here: it is about to be replaced."""
    try:
        return Latest.model_validate_json(data or b"")
    except ValueError:
        return None
