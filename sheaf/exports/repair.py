"""Damaged documents of exports: set aside, the version keeps its number, `latest` settles on a whole one.

Here: the record, the manifest and the pointer of a series. A record is made anew from the manifest,
which decides; where that is damaged too, or was never there, the version is failed. Not here: what a
crash leaves whole (`recover`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from sheaf import clock
from sheaf.errors import NotFoundError, VerificationError
from sheaf.exports.latest import settle_latest
from sheaf.exports.outcome import leftovers
from sheaf.exports.pins import Pins
from sheaf.exports.records import (
    NOTHING,
    Manifest,
    Pointer,
    Record,
    Status,
    manifest_path,
    read_latest,
    read_manifest,
    read_record,
    record_path,
    records,
    to_json,
    versions,
    write_record,
)
from sheaf.exports.verify import confirm_listing, verify
from sheaf.names import ExportId, SeriesId
from sheaf.store import documents, quarantine
from sheaf.store.quarantine import Damage
from sheaf.store.store import Store

NOBODY = "unknown"
"""Who asked for an export whose record was damaged."""


@dataclass(frozen=True)
class _Found:
    """The bytes of what is damaged in one version; None for what is whole or not there."""

    export: ExportId
    record: bytes | None
    manifest: bytes | None


def repair_series(store: Store, series: SeriesId) -> list[Damage]:
    """Set aside every damaged document of a series."""
    done = []
    for found in _damaged(store, series):
        if found.record is not None:
            done += _repair_record(store, found.export, found.record, found.manifest is not None)
        if found.manifest is not None:
            done += _repair_manifest(store, found.export, found.manifest)
    if documents.if_damaged(Pins, store, series.tags_path) is not None:
        aside = quarantine.remove(store, series.tags_path)
        done.append(Damage(series.tags_path, f"It was damaged and is kept as {aside}; pin those versions again."))
    data = documents.if_damaged(Pointer, store, series.latest_path)
    if data is not None:
        aside = quarantine.keep(store, series.latest_path, data)
        now = settle_latest(store, series)
        named = f"names v{now.version}" if now else "names none, there is no such version"
        done.append(Damage(series.latest_path, f"It was damaged and is kept as {aside}; the new one {named}."))
    return done


def confirm_series(store: Store, series: SeriesId, *, deep: bool = False) -> list[Damage]:
    """See whether the files are there that `latest` names, with their sizes.

    Args:
        deep: all complete exports, and every byte.
    """
    damages = []
    latest = read_latest(store, series)
    for record in records(store, series) if deep else ():
        if record.status is Status.COMPLETED:
            damages += _confirmed(record.id, lambda record=record: verify(store, record.id))
    if latest and not deep:
        export = ExportId(series, latest.version)
        damages += _confirmed(export, lambda: confirm_listing(store, export, read_manifest(store, export).files))
    return damages


def _confirmed(export: ExportId, confirm: Callable[[], object]) -> list[Damage]:
    try:
        confirm()
    except (NotFoundError, VerificationError) as error:
        run = f"`sheaf run {export.series.domain} {export.series.partition}`"
        return [
            Damage(
                export.path,
                f"{error} Restore its files from a backup, or run `sheaf delete {export}` and then {run}.",
            )
        ]
    return []


def _damaged(store: Store, series: SeriesId) -> Iterator[_Found]:
    def look(number: int) -> _Found:
        export = ExportId(series, number)
        record = documents.if_damaged(Record, store, record_path(store, export))
        return _Found(export, record, documents.if_damaged(Manifest, store, manifest_path(store, export), NOTHING))

    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        found = pool.map(look, versions(store, series))
        yield from [one for one in found if one.record is not None or one.manifest is not None]


def _repair_record(store: Store, export: ExportId, data: bytes, manifest_is_damaged: bool) -> list[Damage]:
    manifest = None
    # Either it has its manifest, or it never will: as when a writer is given up.
    if not manifest_is_damaged and not store.create(manifest_path(store, export), NOTHING):
        written = store.get(manifest_path(store, export))
        manifest = (
            None if written == NOTHING else documents.parse(Manifest, written, store, manifest_path(store, export))
        )
    record = _record(export, manifest)
    aside = quarantine.replace(store, record_path(store, export), data, to_json(record))
    if aside is None:
        return []
    then = "its manifest is whole, so is the export" if manifest else "the version has failed, its number stays taken"
    return [Damage(record_path(store, export), f"It was damaged and is kept as {aside}: {then}.")]


def _record(export: ExportId, manifest: Manifest | None) -> Record:
    series, now = export.series, clock.now()
    return Record(
        domain=series.domain,
        partition=series.partition,
        series=series.series,
        version=export.version,
        status=Status.COMPLETED if manifest else Status.FAILED,
        name=manifest.name if manifest else f"{series.series} v{export.version}",
        canonical=manifest.canonical if manifest else False,
        filter=manifest.filter if manifest else {},
        options=manifest.options if manifest else {},
        fingerprint=manifest.fingerprint if manifest else "",
        requested_by=NOBODY,
        created_at=manifest.created_at if manifest else now,
        heartbeat_at=datetime.now(UTC),
        finished_at=now,
        host="",
        pid=0,
        error=None if manifest else "Its record was damaged.",
    )


def _repair_manifest(store: Store, export: ExportId, data: bytes) -> list[Damage]:
    """End a version whose manifest is damaged; its files go with it, since nobody can say what they should be.

    `latest` moves before a file does. The manifest goes last: until then nothing sweeps the files.
    """
    aside = quarantine.keep(store, manifest_path(store, export), data)
    try:
        record = read_record(store, export)
    except NotFoundError:
        record = _record(export, None)
    if record.status is not Status.DELETED:
        reason = f"Its manifest was damaged and is kept as {aside}."
        write_record(store, record.model_copy(update={"status": Status.FAILED, "error": reason}))
    now = settle_latest(store, export.series)
    for path in leftovers(store, export):
        quarantine.remove(store, path)
    store.swap(manifest_path(store, export), data, NOTHING)
    latest = f"`latest` is v{now.version}" if now else "there is no `latest`"
    return [
        Damage(
            manifest_path(store, export),
            f"It was damaged and is kept with the files of v{export.version} below {aside.rpartition('/')[0]}; "
            f"{latest} now. To publish it anew run `sheaf run {export.series.domain} {export.series.partition}`.",
        )
    ]
