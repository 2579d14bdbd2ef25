"""Publishing one export: allocate, write, verify, finalise.

This is the protocol of `docs/publishing.md`, step by step. A crash anywhere leaves every
earlier version and `latest` as they were.
"""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from sheaf import __version__, activity, clock, memory
from sheaf.errors import DamagedError, SheafError, StaleError, StoppedError, UsageError, VerificationError
from sheaf.exports import origin
from sheaf.exports.options import Options, typed
from sheaf.exports.origin import MadeFrom
from sheaf.exports.outcome import complete, give_up
from sheaf.exports.records import (
    OPEN,
    File,
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
from sheaf.exports.recover import abandon, recover_series
from sheaf.exports.series import Draft, Series, Written
from sheaf.exports.verify import DOCUMENTS, confirm_content, confirm_listing
from sheaf.names import ExportId, SeriesId, is_file_name
from sheaf.publication import of_partition
from sheaf.steps import Domain
from sheaf.store import documents
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store

HEARTBEAT = timedelta(seconds=30)
FILES_AT_ONCE = 4
_POLL_S = 0.1
_STOPPED = "Whoever made it was stopped; the next run makes it anew."


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
        version: the number that `reserve` has given it.
    """

    partition: str
    filter: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None
    name: str | None = None
    requested_by: str = "sheaf"
    run_id: str | None = None
    always: bool = False
    member: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Published:
    """The outcome: a new version, or the one that is unchanged."""

    export: ExportId
    manifest: Manifest
    unchanged: bool


@dataclass(frozen=True)
class Prepared:
    """A request that was found to be good, and what it would be made from."""

    series_id: SeriesId
    filter: Options
    options: Options
    canonical: bool
    made_from: MadeFrom
    fingerprint: str


def publish(
    store: Store,
    domain: Domain,
    series: Series,
    request: Request,
    settings: BaseModel,
    cancelled: Callable[[], bool] = lambda: False,
) -> Published:
    """Make one export visible, or say which one it equals.

    Args:
        settings: those of the domain.
        cancelled: asked before the export is committed whether to give it up.

    Raises:
        UsageError: an unknown option or filter key, or an impossible value; nothing was allocated.
        RefusedError: the partition's newest delivery was refused.
        StaleError: its tables do not belong together: a step has to be made again first.
        NotFoundError: a step that is needed was never made.
        VerificationError: the files are not what the format promises; the record keeps the reason.
        StoppedError: it was cancelled.
    """
    prepared = prepare(store, domain, series, request, settings)
    filter_, options, made_from = prepared.filter, prepared.options, prepared.made_from
    recover_series(store, prepared.series_id)
    if not request.always and (same := _equal(store, prepared, cancelled)):
        _tell(store, series, prepared)
        return same

    now = clock.now()
    record = _record(series, request, prepared, Status.PROCESSING, now)
    if request.version is not None:
        record = _take(store, ExportId(prepared.series_id, request.version), record)
    else:
        record = _allocate(store, prepared.series_id, record, series.title or series.name)
        if not request.always and (same := _equal(store, prepared, cancelled, record)):
            give_up(store, record, f"{same.export} was made of the same at the same moment.")
            return same
    with _failing_the_record(store, record), scratch_folder(store) as folder:
        with _heartbeat(store, record):
            draft = Draft(
                store,
                request.partition,
                made_from.members,
                folder,
                filter_,
                options,
                of_partition(settings, request.partition),
                now,
                record.version,
                copied=_Copies(store, domain, made_from, request.partition, settings).into,
            )
            written = write_and_verify(series, draft)
            files = _upload(store, record.id, folder, written)
            confirm_listing(store, record.id, files)
        manifest = Manifest(
            export=str(record.id),
            name=record.name,
            created_at=now,
            sheaf_version=__version__,
            writer_version=series.version,
            fingerprint=prepared.fingerprint,
            canonical=record.canonical,
            filter=record.filter,
            options=record.options,
            inputs=made_from.inputs(series.tables),
            made_from=made_from.origins(),
            made_with=draft.made_with,
            code=made_from.code(),
            account=made_from.accounts(),
            problems=made_from.problems(),
            record_count=written.record_count,
            counts={
                name: dict(count) if isinstance(count, Mapping) else count for name, count in written.counts.items()
            },
            warnings=[*written.warnings, *_emptiness(prepared, written), *made_from.warnings()],
            files=files,
        )
        if cancelled():
            raise StoppedError(_STOPPED)
        _finalise(store, record, manifest)
    _tell(store, series, prepared)
    return Published(record.id, manifest, unchanged=False)


@dataclass(frozen=True)
class _Copies:
    """Files that were published of the tables that an export is made from."""

    store: Store
    domain: Domain
    made_from: MadeFrom
    partition: str
    settings: BaseModel

    def into(self, name: str, options: Options, folder: Path) -> dict[str, int] | None:
        """Copy those of a series: `Draft.copied`."""
        series = self.domain.series_named(name)
        asked = Request(self.partition, options=options.model_dump(mode="json"))
        try:
            prepared = prepare(self.store, self.domain, series, asked, self.settings)
            same = _unchanged(self.store, prepared)
            if same is None or prepared.made_from.inputs(series.tables) != self.made_from.inputs(series.tables):
                return None
            for file in same.manifest.files:
                local = folder / file.path
                self.store.download(f"{same.export.path}/{file.path}", local)
                with local.open("rb") as copy:
                    if hashlib.file_digest(copy, "sha256").hexdigest() != file.sha256:
                        return None
        except SheafError:  # then it is made, which says what is wrong with what it is made from
            return None
        return {file.path: file.rows or 0 for file in same.manifest.files}


def _emptiness(prepared: Prepared, written: Written) -> list[str]:
    """A sentence where nothing is in the export: nobody should find that out from an empty file."""
    if written.record_count:
        return []
    asked = " ".join(typed(as_asked(prepared.filter)))
    return [f"The filter leaves nothing: {asked}." if asked else "There are no records for it: it is empty."]


def reserve(store: Store, domain: Domain, series: Series, request: Request, settings: BaseModel) -> Record:
    """Give an export that somebody else will make its number, so that it can be spoken of.

    Returns:
        A pending record; or that of the export that it would equal.

    Raises:
        SheafError: as `publish` does, where nothing could be published; but steps that are stale are no hindrance.
    """
    try:
        prepared = prepare(store, domain, series, request, settings)
    except StaleError:  # whoever makes it makes those first
        prepared = None
    if prepared and not request.always and (same := _unchanged(store, prepared)):
        return read_record(store, same.export)
    series_id = SeriesId(series.domain, request.partition, series.name)
    record = _record(series, request, prepared, Status.PENDING, clock.now())
    record = _allocate(store, series_id, record, series.title or series.name)
    activity.log(store, "export created", record.id, record.requested_by)
    return record


def _record(series: Series, request: Request, prepared: Prepared | None, status: Status, now: datetime) -> Record:
    filter_ = prepared.filter if prepared else series.filter.of(request.filter or {}, "filter")
    return Record(
        domain=series.domain,
        partition=request.partition,
        series=series.name,
        version=1,
        status=status,
        name=request.name or "",
        canonical=prepared.canonical if prepared else False,
        filter=as_asked(filter_),
        options=prepared.options.model_dump(mode="json") if prepared else dict(request.options or {}),
        fingerprint=prepared.fingerprint if prepared else "",
        requested_by=request.requested_by,
        run_id=request.run_id,
        created_at=now,
        heartbeat_at=datetime.now(UTC),
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def _take(store: Store, export: ExportId, wanted: Record) -> Record:
    """Go on with a version that was reserved.

    Raises:
        SheafError: it is no longer pending.
    """
    pending = read_record(store, export)
    if pending.status is not Status.PENDING:
        raise SheafError(f"{export} is {pending.status}: it was given up, or somebody else makes it.")
    kept = {"version": export.version, "name": pending.name, "created_at": pending.created_at}
    record = wanted.model_copy(update=kept)
    write_record(store, record)
    return record


def _tell(store: Store, series: Series, prepared: Prepared) -> None:
    """Let the domain know that its canonical export can be read."""
    if prepared.canonical and series.published:
        series.published(store, prepared.series_id.partition)


def preview(store: Store, domain: Domain, series: Series, request: Request, settings: BaseModel) -> Written:
    """What `publish` would hold, found by the same writer; nothing is kept.

    Raises:
        SheafError: as `publish` does, where nothing could be published.
    """
    prepared = prepare(store, domain, series, request, settings)
    version = (versions(store, prepared.series_id) or [0])[-1] + 1
    with scratch_folder(store) as folder:
        written = series.write(
            Draft(
                store,
                request.partition,
                prepared.made_from.members,
                folder,
                prepared.filter,
                prepared.options,
                of_partition(settings, request.partition),
                clock.now(),
                version,
                preview=True,
            )
        )
    said = (*written.warnings, *_emptiness(prepared, written), *prepared.made_from.warnings())
    return replace(written, warnings=said)


def prepare(store: Store, domain: Domain, series: Series, request: Request, settings: BaseModel) -> Prepared:
    """Find everything that can be wrong with a request, before a version exists.

    Returns:
        The filter and options as their models, and what the export would be made from.

    Raises:
        UsageError: an unknown option or filter key, or an impossible value.
        RefusedError: the partition's newest delivery was refused.
        StaleError: its tables do not belong together.
        NotFoundError: a step that is needed was never made.
    """
    series_id = SeriesId(series.domain, request.partition, series.name)
    filter_ = series.filter.of(request.filter or {}, "filter")
    canonical = canonical_options(domain, series, request.partition, settings)
    options = canonical
    if request.options:  # what is not asked for stays as the canonical export has it
        options = series.options.of({**canonical.model_dump(exclude_unset=True), **request.options}, "option")
    made_from = origin.made_from(store, domain, series, request.partition, filter_, options, settings)
    if request.member and series.authorise:
        own = of_partition(settings, request.partition)
        series.authorise(made_from.members[request.partition], "create", request.member, own)
    if series.check:
        series.check(made_from.members[request.partition], filter_, options)
    fingerprint = _fingerprint(series, made_from, filter_, options)
    return Prepared(series_id, filter_, options, filter_.is_default and options == canonical, made_from, fingerprint)


def canonical_options(domain: Domain, series: Series, partition: str, settings: BaseModel) -> Options:
    """The options of the canonical export of a partition: those that its publication settings name.

    Args:
        settings: the domain's.

    Raises:
        UsageError: they name a series or an option that does not exist.
    """
    named = getattr(of_partition(settings, partition), "canonical", {})
    try:
        for name in named:
            domain.series_named(name)
        return series.options.of(named.get(series.name, {}), "option")
    except UsageError as error:
        raise UsageError(f"The setting `canonical` of {domain.name} {partition} cannot be used: {error}") from error


def unchanged(store: Store, domain: Domain, series: Series, request: Request, settings: BaseModel) -> Published | None:
    """The export that `publish` would find to be the same, where it would; raises as `prepare` does."""
    prepared = prepare(store, domain, series, request, settings)
    if same := _unchanged(store, prepared):
        _tell(store, series, prepared)
    return same


def write_and_verify(series: Series, draft: Draft) -> Written:
    """Run a series' writer, then its check.

    Raises:
        VerificationError: nothing was written, or the check found a fault.
    """
    written = series.write(draft)
    if not any(path.is_file() for path in draft.folder.rglob("*")):
        raise VerificationError(f"{series.name} wrote no file for {draft.partition}.")
    memory.give_back()
    series.verify(draft.folder, written)
    return written


def _fingerprint(series: Series, made_from: MadeFrom, filter_: Options, options: Options) -> str:
    """What an export depends on: deliveries only by the tables that were made of them."""
    asked = {
        "series": series.name,
        "writer": series.version,
        "filter": filter_.model_dump(mode="json"),
        "options": options.model_dump(mode="json"),
        "inputs": [[item.table, item.partition, item.sha256] for item in made_from.inputs(series.tables)],
        "made_with": made_from.settings(),
        "code": made_from.code(),
    }
    if series.tells_account:
        asked["account"] = {
            partition: [account.model_dump(mode="json") for account in accounts]
            for partition, accounts in made_from.accounts().items()
        }
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _unchanged(store: Store, prepared: Prepared) -> Published | None:
    """The newest completed export that was asked for in the same way, if it was made from the same.

    A canonical request is answered by the newest canonical export only: by what `latest` names.
    """
    asked = (as_asked(prepared.filter), prepared.options.model_dump(mode="json"))
    for record in newest_records(store, prepared.series_id):
        same = record.canonical if prepared.canonical else (record.filter, record.options) == asked
        if record.status is Status.COMPLETED and same and is_committed(store, record.id):
            if record.fingerprint != prepared.fingerprint:
                return None
            try:
                return Published(record.id, read_manifest(store, record.id), unchanged=True)
            except DamagedError as error:
                documents.passed_over(error)
    return None


def _equal(
    store: Store, prepared: Prepared, cancelled: Callable[[], bool], ours: Record | None = None
) -> Published | None:
    """The export that equals it, waited for if somebody else makes it at this moment.

    Args:
        ours: the record of our own attempt. Of two who began together, the one with the lower number goes on.
    """
    while not (same := _unchanged(store, prepared)) and _is_made_elsewhere(store, prepared, ours):
        if cancelled():
            raise StoppedError(_STOPPED)
        time.sleep(_POLL_S)
        recover_series(store, prepared.series_id)  # whoever made it may be gone
    return same


def _is_made_elsewhere(store: Store, prepared: Prepared, ours: Record | None) -> bool:
    """Whether an attempt before ours goes on; what is older than a finished version is not looked for."""
    for record in newest_records(store, prepared.series_id):
        if ours and record.version >= ours.version:
            continue
        if record.status is Status.COMPLETED:
            return False
        if record.status is Status.PROCESSING and record.fingerprint == prepared.fingerprint:
            return True
    return False


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
        try:
            if documents.create(store, record.id.record_path, to_json(record)):
                return record
        except SheafError:  # it may be there all the same
            abandon(store, record.id)
            raise
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
        on_disk = ahead.submit(store.prepare_file, path)  # while it is hashed
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        on_disk.result()
        file = File(path=relative, size=path.stat().st_size, sha256=digest, rows=written.rows.get(relative))
        if store.put_file(f"{export.path}/{relative}", path):
            confirm_content(store, export, file)
        return file

    with ThreadPoolExecutor(FILES_AT_ONCE) as ahead, ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(move, sorted(paths)))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _finalise(store: Store, record: Record, manifest: Manifest) -> None:
    """Manifest, then record, then `latest`: each step tells only what is already true.

    With the manifest the export exists.
    """
    data = to_json(manifest)
    if not documents.create(store, record.id.manifest_path, data):
        raise SheafError(f"{record.id} was given up while it was written (its writer looked dead): run it again.")
    complete(store, record)


@contextmanager
def _failing_the_record(store: Store, record: Record) -> Iterator[None]:
    """Whatever stops the work, the record says so, if the store can still be written."""
    try:
        yield
    except BaseException as error:
        reason = str(error) if isinstance(error, SheafError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, Exception):
            reason = _STOPPED
        told = False
        with suppress(SheafError):
            told = give_up(store, record, reason)
        if not told:  # the store is away or full, or became so just after the manifest: the next run tells it
            abandon(store, record.id)
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
