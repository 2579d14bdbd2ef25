"""The pointer `latest.json` of a series: which version it must name, and moving it there."""

from sheaf.errors import DamagedError, NotFoundError
from sheaf.exports import delta
from sheaf.exports.records import (
    File,
    Latest,
    NoLatest,
    Pointer,
    Status,
    is_committed,
    manifest_path,
    newest_records,
    read_manifest,
    to_json,
)
from sheaf.names import ExportId, SeriesId
from sheaf.store.store import Store


def newest_canonical(store: Store, series: SeriesId) -> ExportId | None:
    """The newest completed export of a series without a filter and with the options that the settings name."""
    for record in newest_records(store, series):
        if record.status is Status.COMPLETED and record.canonical and is_committed(store, record.id):
            return record.id
    return None


def settle_latest(store: Store, series: SeriesId) -> ExportId | None:
    """Make `latest` name the newest canonical export, whoever else is moving it, and its Delta table the files of that.

    The pointer is read before the records and replaced only if it is still the same: somebody
    who looked earlier, and was held up, cannot put an older version over a newer one. After a
    move everyone looks again, so that the last to look leaves it right. It is never removed: where
    no canonical export is left, it says so.
    """
    newest, pointed = _settle(store, series)
    if pointed and delta.may_hold(pointed):
        delta.settle(store, series)
    return newest


def _settle(store: Store, series: SeriesId) -> tuple[ExportId | None, Latest | NoLatest | None]:
    while True:
        try:
            found = store.get(series.latest_path)
        except NotFoundError:
            found = None
        pointed = _parse(found)
        newest = newest_canonical(store, series)
        names = pointed.version if pointed else None
        if names == (newest.version if newest else None) and (pointed or found is None):
            return newest, pointed
        moves = pointed.moves + 1 if pointed else 1
        if newest is None:
            pointer = NoLatest(export=None, version=None, path=None, manifest=None, moves=moves)
        else:
            pointer = Latest(
                export=str(newest),
                version=newest.version,
                path=newest.path,
                manifest=manifest_path(store, newest),
                files=_files(store, newest),
                moves=moves,
            )
        store.swap(series.latest_path, found, to_json(pointer))


def _files(store: Store, export: ExportId) -> list[File]:
    """What the export holds; nothing of one that is deleted at this moment, or damaged: everyone looks again."""
    try:
        return read_manifest(store, export).files
    except (NotFoundError, DamagedError):
        return []


def _parse(data: bytes | None) -> Latest | NoLatest | None:
    """A damaged pointer is as good as none here: it is about to be replaced."""
    try:
        return Pointer.model_validate_json(data or b"").root
    except ValueError:
        return None
