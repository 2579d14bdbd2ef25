"""Publishing one export: allocate, write, verify, finalise.

This is the protocol of `docs/publishing.md`, step by step. A crash anywhere leaves every
earlier version and `latest` as they were.
"""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from sheaf import __version__, clock, tables
from sheaf.errors import InputError, SheafError, VerificationError
from sheaf.exports.outcome import complete, give_up
from sheaf.exports.records import (
    OPEN,
    File,
    Input,
    Manifest,
    Record,
    Status,
    is_committed,
    newest_records,
    read_manifest,
    read_record,
    to_json,
    versions,
    write_record,
)
from sheaf.exports.recover import recover_series
from sheaf.exports.series import CAMPAIGN, Draft, Series, Written
from sheaf.exports.verify import DOCUMENTS, confirm_content, confirm_listing
from sheaf.names import ExportId, SeriesId, is_file_name
from sheaf.options import Options
from sheaf.scratch import scratch_folder
from sheaf.store import Store

HEARTBEAT = timedelta(seconds=30)
FILES_AT_ONCE = 4


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        filter: `key=value` pairs of the series' filter model; none for the canonical export.
        options: pairs of its options model.
        name: how people call the export; by default made from series and version.
        requested_by: who asked.
        run_id: the Dagster run that does it.
        always: make a new version even when nothing changed.
        member: the member of the partition on whose behalf it is asked for; None for who operates Sheaf.
    """

    partition: str
    filter: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None
    name: str | None = None
    requested_by: str = "sheaf"
    run_id: str | None = None
    always: bool = False
    member: str | None = None


@dataclass(frozen=True)
class Published:
    """The outcome: a new version, or the one that is unchanged."""

    export: ExportId
    manifest: Manifest
    unchanged: bool


def publish(store: Store, series: Series, rejects: tables.Table, request: Request) -> Published:
    """Make one export visible, or say which one it equals.

    Raises:
        UsageError: an unknown option or filter key, or an impossible value; nothing was allocated.
        InputError: the partition's newest input was refused, or it was never ingested.
        VerificationError: the files are not what the format promises; the record keeps the reason.
    """
    series_id, filter_, options, inputs = prepare(store, series, rejects, request)
    fingerprint = _fingerprint(series, inputs, filter_.model_dump(mode="json"), options.model_dump(mode="json"))
    recover_series(store, series_id)
    if not request.always and (same := _unchanged(store, series_id, filter_, options, fingerprint)):
        return same

    now = clock.now()
    record = _allocate(
        store,
        series_id,
        Record(
            domain=series.domain,
            partition=request.partition,
            series=series.name,
            version=1,
            status=Status.PROCESSING,
            name=request.name or "",
            canonical=filter_.is_default and options.is_default,
            filter=as_asked(filter_),
            options=options.model_dump(mode="json"),
            fingerprint=fingerprint,
            requested_by=request.requested_by,
            run_id=request.run_id,
            created_at=now,
            heartbeat_at=datetime.now(UTC),
            host=socket.gethostname(),
            pid=os.getpid(),
        ),
        series.title or series.name,
    )
    with _failing_the_record(store, record), scratch_folder(store) as folder:
        with _heartbeat(store, record):
            draft = Draft(store, request.partition, folder, filter_, options, now, record.version)
            written = write_and_verify(series, draft)
            if read_inputs(store, series, request.partition) != inputs:
                raise InputError(f"{series_id}: its tables changed while it was written: run it again.")
            files = _upload(store, record.id, folder, written)
            confirm_listing(store, record.id, files)
        manifest = Manifest(
            export=str(record.id),
            name=record.name,
            created_at=now,
            sheaf_version=__version__,
            writer_version=series.version,
            fingerprint=fingerprint,
            canonical=record.canonical,
            filter=record.filter,
            options=record.options,
            inputs=inputs,
            record_count=written.record_count,
            counts=dict(written.counts),
            warnings=list(written.warnings),
            files=files,
        )
        _finalise(store, record, manifest)
    return Published(record.id, manifest, unchanged=False)


def preview(store: Store, series: Series, rejects: tables.Table, request: Request) -> Written:
    """What `publish` would hold, found by the same writer; nothing is kept.

    Raises:
        UsageError: an unknown option or filter key, or an impossible value.
        InputError: the partition's newest input was refused, or it was never ingested.
    """
    series_id, filter_, options, _ = prepare(store, series, rejects, request)
    version = (versions(store, series_id) or [0])[-1] + 1
    with scratch_folder(store) as folder:
        return series.write(
            Draft(store, request.partition, folder, filter_, options, clock.now(), version, preview=True)
        )


def prepare(
    store: Store, series: Series, rejects: tables.Table, request: Request
) -> tuple[SeriesId, Options, Options, list[Input]]:
    """Find everything that can be wrong with a request, before a version exists.

    Returns:
        The series, the filter and options as their models, and what the export would be made from.

    Raises:
        UsageError: an unknown option or filter key, or an impossible value.
        InputError: the partition's newest input was refused, or it was never ingested.
    """
    series_id = SeriesId(series.domain, request.partition, series.name)
    if request.member and series.authorise:
        series.authorise(store, request.partition, "create", request.member)
    filter_ = series.filter.of(request.filter or {}, "filter")
    options = series.options.of(request.options or {}, "option")
    if not series.campaign:
        tables.refuse_if_blocked(store, rejects, request.partition)
    inputs = read_inputs(store, series, request.partition)
    if series.check:
        series.check(store, request.partition, filter_, options)
    return series_id, filter_, options, inputs


def write_and_verify(series: Series, draft: Draft) -> Written:
    """Run a series' writer, then its check.

    Raises:
        VerificationError: nothing was written, or the check found a fault.
    """
    written = series.write(draft)
    if not any(path.is_file() for path in draft.folder.rglob("*")):
        raise VerificationError(f"{series.name} wrote no file for {draft.partition}.")
    series.verify(draft.folder, written)
    return written


def read_inputs(store: Store, series: Series, partition: str) -> list[Input]:
    """The table partitions an export is made from, with their data versions.

    Raises:
        InputError: a table of the partition was never written.
    """
    inputs = []
    for table in series.tables:
        keys = tables.partitions(store, table) if series.campaign else [partition]
        for key in keys:
            found = tables.version(store, table, key)
            if found is None:
                raise InputError(
                    f"{series.domain} {key!r} has no {table.name} table yet: run `sheaf run {series.domain} {key}`."
                )
            inputs.append(Input(table=table.name, partition=key, rows=found.rows, sha256=found.sha256))
    if series.campaign and not inputs:
        raise InputError(f"There is nothing to publish as {series.domain}/{CAMPAIGN}/{series.name} yet.")
    return inputs


def _fingerprint(series: Series, inputs: list[Input], filter_: dict[str, Any], options: dict[str, Any]) -> str:
    asked = {
        "series": series.name,
        "writer": series.version,
        "filter": filter_,
        "options": options,
        "inputs": [[item.table, item.partition, item.sha256] for item in inputs],
    }
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _unchanged(
    store: Store, series: SeriesId, filter_: Options, options: Options, fingerprint: str
) -> Published | None:
    """The newest completed export that was asked for in the same way, if it was made from the same."""
    asked = (as_asked(filter_), options.model_dump(mode="json"))
    for record in newest_records(store, series):
        if (
            record.status is Status.COMPLETED
            and (record.filter, record.options) == asked
            and is_committed(store, record.id)
        ):
            if record.fingerprint != fingerprint:
                return None
            return Published(record.id, read_manifest(store, record.id), unchanged=True)
    return None


def as_asked(filter_: Options) -> dict[str, Any]:
    """A filter as the record keeps it: expanded, without the keys nobody set."""
    return filter_.model_dump(mode="json", exclude_defaults=True)


def _allocate(store: Store, series: SeriesId, wanted: Record, title: str) -> Record:
    """Take the next free version number: of two writers exactly one gets it."""
    taken = versions(store, series)
    number = taken[-1] + 1 if taken else 1
    while True:
        name = wanted.name or f"{title} v{number}"
        record = wanted.model_copy(update={"version": number, "name": name})
        if store.create(record.id.record_path, to_json(record)):
            return record
        number += 1


def _upload(store: Store, export: ExportId, folder: Path, written: Written) -> list[File]:
    """Move the finished files into the store, several at once; returns them sorted by path.

    What was copied is read back and compared. What was only renamed is the very file that was
    hashed.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not _is_folder(path)}
    for relative, path in paths.items():
        if relative in DOCUMENTS or path.is_symlink() or not is_file_name(relative):
            raise VerificationError(f"{export}: a writer must not make {relative!r}, which cannot be published.")

    def move(relative: str) -> File:
        path = paths[relative]
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        file = File(path=relative, size=path.stat().st_size, sha256=digest, rows=written.rows.get(relative))
        if store.put_file(f"{export.path}/{relative}", path):
            confirm_content(store, export, file)
        return file

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(move, sorted(paths)))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _finalise(store: Store, record: Record, manifest: Manifest) -> None:
    """Manifest, then record, then `latest`: each step tells only what is already true.

    With the manifest the export exists. A store may create it and lose the answer; what is
    there then is ours.
    """
    data = to_json(manifest)
    if not store.create(record.id.manifest_path, data) and store.get(record.id.manifest_path) != data:
        raise SheafError(f"{record.id} was given up while it was written (its writer looked dead): run it again.")
    complete(store, record)


@contextmanager
def _failing_the_record(store: Store, record: Record) -> Iterator[None]:
    """Whatever stops the work, the record says so, if the store can still be written."""
    try:
        yield
    except BaseException as error:
        reason = str(error) if isinstance(error, SheafError) else f"{type(error).__name__}: {error}"
        with suppress(SheafError):  # the store is gone: the next run gives the version up
            give_up(store, record, reason)
        raise


@contextmanager
def _heartbeat(store: Store, record: Record) -> Iterator[None]:
    """Renew the record while the work goes on, so that nobody takes its writer for dead."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT.total_seconds()):
            try:
                current = read_record(store, record.id)
                if current.status in OPEN:
                    write_record(store, current.model_copy(update={"heartbeat_at": datetime.now(UTC)}))
            except SheafError:
                continue  # a missed beat is no failure; the work itself will find out

    thread = threading.Thread(target=beat, name=f"heartbeat {record.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
