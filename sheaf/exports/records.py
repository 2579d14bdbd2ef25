"""The two documents of an export: its record (its life) and its manifest (what it holds)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from sheaf.errors import DamagedError, NotFoundError
from sheaf.names import CAMPAIGN, PARTITION_KEY, ExportId, SeriesId, parse_version
from sheaf.store import documents
from sheaf.store.store import Store
from sheaf.tables.accounts import Account


class Status(StrEnum):
    """Where an export is in its life."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self in OPEN


OPEN = (Status.PENDING, Status.PROCESSING)

NOTHING = b"null\n"
"""In the place of a manifest: this version holds nothing and never will."""


class File(BaseModel):
    """One file of an export; `path` is relative to the export's folder, `size` in bytes."""

    path: str
    size: int
    sha256: str
    rows: int | None = None


class Input(BaseModel):
    """One table partition that the export was made from; `step` and `generation` say where it is kept."""

    table: str
    partition: str
    rows: int
    sha256: str
    step: str = ""
    generation: int = 0


class Origin(BaseModel):
    """What one partition contributes: what was delivered, and the generations of its steps by name."""

    partition: str
    source: str | None = None
    delivery: str | None = None
    generations: dict[str, int] = {}


class Problem(BaseModel):
    """A check that did not pass; `detail` says what it found."""

    partition: str
    step: str
    check: str
    detail: str


class Record(BaseModel):
    """The export's life. It stays when the export is deleted: its number is never used again.

    Attributes:
        canonical: no filter, and the options that the settings name for it; only such an export can become `latest`.
        fingerprint: hash of inputs, what they were made with, filter, options and writer version.
        heartbeat_at: renewed while the writer works, so that a dead one is recognised.
        progress: what a long export has done so far, free in form.
        record_count, size, counts: what it holds, from its manifest, once it is completed; size in bytes. Exports
            of an earlier Sheaf have them in their manifests only.
    """

    model_config = ConfigDict(extra="ignore")

    domain: str
    partition: str
    series: str
    version: int
    status: Status
    name: str
    canonical: bool
    filter: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    fingerprint: str
    requested_by: str
    run_id: str | None = None
    created_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None = None
    host: str
    pid: int
    progress: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None
    deleted_by: str | None = None
    record_count: int | None = None
    size: int | None = None
    counts: dict[str, int | float | dict[str, int]] = Field(default_factory=dict)

    @property
    def id(self) -> ExportId:
        """How the export is called."""
        return ExportId(SeriesId(self.domain, self.partition, self.series), self.version)


class Manifest(BaseModel):
    """What a completed export holds.

    It is created once and never replaced while the export lives: with it the version is complete.
    Whoever gives a version up creates `NOTHING` in its place, so that only one of both can happen.
    Exports from before generations have neither `made_from` nor what follows it.

    Attributes:
        inputs: the tables it was made from.
        made_from: which deliveries and generations those belong to, by partition.
        made_with: the settings that the steps read, by name; the same for all partitions.
        code: the version of each step.
        account: what became of the delivered rows, by partition.
        problems: checks that did not pass.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = 1
    export: str
    name: str
    created_at: datetime
    sheaf_version: str
    writer_version: int
    fingerprint: str
    canonical: bool
    filter: dict[str, Any]
    options: dict[str, Any]
    inputs: list[Input]
    made_from: list[Origin] = []
    made_with: dict[str, Any] = {}
    code: dict[str, int] = {}
    account: dict[str, list[Account]] = {}
    problems: list[Problem] = []
    record_count: int
    counts: dict[str, int | float | dict[str, int]]
    warnings: list[str]
    files: list[File]


def with_contents(record: Record, manifest: Manifest) -> Record:
    """The record of a completed export with what its manifest says it holds."""
    contents = {
        "record_count": manifest.record_count,
        "size": sum(file.size for file in manifest.files),
        "counts": manifest.counts,
    }
    return record.model_copy(update=contents)


class Latest(BaseModel):
    """The pointer readers follow: the newest canonical export of a series.

    Attributes:
        files: what it holds, so that nobody has to guess names or read the manifest first; empty where an
            earlier Sheaf has moved the pointer.
        moves: how often the pointer has moved, so that no two of its contents are ever equal and
            somebody who looked before a move cannot move it back.
    """

    export: str
    version: int
    path: str
    manifest: str
    files: list[File] = []
    moves: int = 1


class NoLatest(BaseModel):
    """The pointer of a series that has no canonical export any more.

    It stays: of two processes of which one takes the last version away and the other publishes the next, neither
    could remove the pointer without risk to what the other has just put there.
    """

    export: None
    version: None
    path: None
    manifest: None
    moves: int


class Pointer(RootModel[Latest | NoLatest]):
    """What `latest.json` holds."""


def read_record(store: Store, export: ExportId) -> Record:
    """The record of one version.

    Raises:
        NotFoundError: the version was never allocated.
        DamagedError: it cannot be read.
    """
    for path in (export.record_path, export.earlier_paths[0]):
        try:
            return documents.read(Record, store, path)
        except NotFoundError:
            continue
    raise NotFoundError(f"There is no export {export}.")


def write_record(store: Store, record: Record) -> None:
    """Replace the record in one step."""
    store.put(record.id.record_path, to_json(record))


def read_manifest(store: Store, export: ExportId) -> Manifest:
    """The manifest of a completed version.

    Raises:
        NotFoundError: the version is not complete, was deleted, or never existed.
        DamagedError: it cannot be read.
    """
    path, data = export.manifest_path, NOTHING
    for path in (export.manifest_path, export.earlier_paths[1]):
        with suppress(NotFoundError):
            data = store.get(path)
            break
    if data == NOTHING:
        record = read_record(store, export)
        reason = f": {record.error.rstrip('.')}" if record.error else ""
        raise NotFoundError(f"Export {export} has no files, it is {record.status}{reason}.")
    return documents.parse(Manifest, data, store, path)


def is_committed(store: Store, export: ExportId) -> bool:
    """Whether a version has its manifest, whatever its record says so far."""
    size = store.size(export.manifest_path)
    if size is None:
        size = store.size(export.earlier_paths[1])
    return size not in (None, len(NOTHING))


def record_path(store: Store, export: ExportId) -> str:
    """Where the record of a version lies: only in an export of Sheaf 0.1 under the name it had then."""
    return _actual(store, export.record_path, export.earlier_paths[0])


def manifest_path(store: Store, export: ExportId) -> str:
    """Where the manifest of a version lies, or would lie."""
    return _actual(store, export.manifest_path, export.earlier_paths[1])


def _actual(store: Store, path: str, earlier: str) -> str:
    return earlier if store.size(path) is None and store.size(earlier) is not None else path


def read_latest(store: Store, series: SeriesId) -> Latest | None:
    """Where `latest` points; None when there is no canonical export."""
    try:
        data = store.get(series.latest_path)
    except NotFoundError:
        return None
    pointed = documents.parse(Pointer, data, store, series.latest_path).root
    return pointed if isinstance(pointed, Latest) else None


def versions(store: Store, series: SeriesId) -> list[int]:
    """All version numbers ever allocated in a series, ascending, whatever became of them."""
    found = (parse_version(name) for name in store.folders(series.path))
    return sorted(number for number in found if number)


def records(store: Store, series: SeriesId) -> list[Record]:
    """All records of a series that can be read, newest first, several at once."""
    exports = [ExportId(series, number) for number in reversed(versions(store, series))]
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        return [record for record in pool.map(lambda export: _if_whole(store, export), exports) if record]


def _if_whole(store: Store, export: ExportId) -> Record | None:
    """A record; None for a version without one, or with a damaged one, which is said."""
    try:
        return read_record(store, export)
    except NotFoundError:
        return None
    except DamagedError as error:
        documents.passed_over(error)
        return None


def newest_records(store: Store, series: SeriesId) -> Iterator[Record]:
    """The records of a series, newest first, read one by one, for who stops early.

    A version folder without a record is what a crash left before anything was allocated.
    """
    for number in reversed(versions(store, series)):
        if record := _if_whole(store, ExportId(series, number)):
            yield record


def all_series(
    store: Store, domain: str | None = None, partition: str | None = None, series: str | None = None
) -> Iterator[SeriesId]:
    """Every series that has ever had an export and fits; folders that others left there are passed over."""
    for found_domain in [domain] if domain else _named(store, "exports"):
        for found_partition in [partition] if partition else _named(store, f"exports/{found_domain}"):
            for name in _named(store, f"exports/{found_domain}/{found_partition}"):
                if series in (None, name):
                    yield SeriesId(found_domain, found_partition, name)


def partitions_of(store: Store, series: SeriesId) -> list[SeriesId]:
    """A series in every partition of its domain; one that has had no export there is among them."""
    if series.partition == CAMPAIGN:
        return [series]
    found = _named(store, f"exports/{series.domain}")
    return [SeriesId(series.domain, partition, series.series) for partition in found if partition != CAMPAIGN]


def _named(store: Store, folder: str) -> list[str]:
    return [name for name in store.folders(folder) if PARTITION_KEY.fullmatch(name)]


def to_json(model: BaseModel) -> bytes:
    """Readable JSON with a final line feed."""
    return model.model_dump_json(indent=2).encode() + b"\n"
