"""The two documents of an export: its record (its life) and its manifest (what it holds)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sheaf.errors import NotFoundError, StoreError
from sheaf.names import PARTITION_KEY, ExportId, SeriesId, parse_version
from sheaf.store import Store


class Status(StrEnum):
    """Where an export is in its life."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"


M = TypeVar("M", bound=BaseModel)
OPEN = (Status.PENDING, Status.PROCESSING)
RECORDS_AT_ONCE = 8

NOTHING = b"null\n"
"""In the place of a manifest: this version holds nothing and never will."""


class File(BaseModel):
    """One file of an export; `path` is relative to the export's folder, `size` in bytes."""

    path: str
    size: int
    sha256: str
    rows: int | None = None


class Input(BaseModel):
    """One table partition that the export was made from."""

    table: str
    partition: str
    rows: int
    sha256: str


class Record(BaseModel):
    """The export's life. It stays when the export is deleted: its number is never used again.

    Attributes:
        canonical: no filter and default options; only such an export can become `latest`.
        fingerprint: hash of inputs, filter, options and writer version.
        heartbeat_at: renewed while the writer works, so that a dead one is recognised.
        progress: what a long export has done so far, free in form.
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

    @property
    def id(self) -> ExportId:
        """How the export is called."""
        return ExportId(SeriesId(self.domain, self.partition, self.series), self.version)


class Manifest(BaseModel):
    """What a completed export holds.

    It is created once and never replaced while the export lives: with it the version is complete.
    Whoever gives a version up creates `NOTHING` in its place, so that only one of both can happen.
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
    record_count: int
    counts: dict[str, int | float]
    warnings: list[str]
    files: list[File]


class Latest(BaseModel):
    """The pointer readers follow: the newest canonical export of a series.

    Attributes:
        moves: how often the pointer has moved, so that no two of its contents are ever equal and
            somebody who looked before a move cannot move it back.
    """

    export: str
    version: int
    path: str
    manifest: str
    moves: int = 1


def read_record(store: Store, export: ExportId) -> Record:
    """The record of one version.

    Raises:
        NotFoundError: the version was never allocated.
    """
    try:
        data = store.get(export.record_path)
    except NotFoundError as error:
        raise NotFoundError(f"There is no export {export}.") from error
    return _parse(Record, data, store, export.record_path)


def write_record(store: Store, record: Record) -> None:
    """Replace the record in one step."""
    store.put(record.id.record_path, to_json(record))


def read_manifest(store: Store, export: ExportId) -> Manifest:
    """The manifest of a completed version.

    Raises:
        NotFoundError: the version is not complete, was deleted, or never existed.
    """
    try:
        data = store.get(export.manifest_path)
    except NotFoundError:
        data = NOTHING
    if data == NOTHING:
        record = read_record(store, export)
        reason = f": {record.error.rstrip('.')}" if record.error else ""
        raise NotFoundError(f"Export {export} has no files, it is {record.status}{reason}.")
    return _parse(Manifest, data, store, export.manifest_path)


def is_committed(store: Store, export: ExportId) -> bool:
    """Whether a version has its manifest, whatever its record says so far."""
    return store.size(export.manifest_path) not in (None, len(NOTHING))


def read_latest(store: Store, series: SeriesId) -> Latest | None:
    """Where `latest` points; None when nothing canonical has been completed."""
    try:
        data = store.get(series.latest_path)
    except NotFoundError:
        return None
    return _parse(Latest, data, store, series.latest_path)


def versions(store: Store, series: SeriesId) -> list[int]:
    """All version numbers ever allocated in a series, ascending, whatever became of them."""
    found = (parse_version(name) for name in store.folders(series.path))
    return sorted(number for number in found if number)


def records(store: Store, series: SeriesId) -> list[Record]:
    """All records of a series, newest first, read several at once."""
    numbers = reversed(versions(store, series))
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        found = pool.map(lambda number: _record_if_any(store, ExportId(series, number)), numbers)
        return [record for record in found if record]


def newest_records(store: Store, series: SeriesId) -> Iterator[Record]:
    """The records of a series, newest first, read one by one, for who stops early."""
    for number in reversed(versions(store, series)):
        if record := _record_if_any(store, ExportId(series, number)):
            yield record


def _record_if_any(store: Store, export: ExportId) -> Record | None:
    """A version folder without a record is what a crash left before anything was allocated."""
    try:
        return read_record(store, export)
    except NotFoundError:
        return None


def all_series(
    store: Store, domain: str | None = None, partition: str | None = None, series: str | None = None
) -> Iterator[SeriesId]:
    """Every series that has ever had an export and fits; folders that others left there are passed over."""
    for found_domain in [domain] if domain else _named(store, "exports"):
        for found_partition in [partition] if partition else _named(store, f"exports/{found_domain}"):
            for name in _named(store, f"exports/{found_domain}/{found_partition}"):
                if series in (None, name):
                    yield SeriesId(found_domain, found_partition, name)


def _named(store: Store, folder: str) -> list[str]:
    return [name for name in store.folders(folder) if PARTITION_KEY.fullmatch(name)]


def to_json(model: BaseModel) -> bytes:
    """Readable JSON with a final line feed."""
    return model.model_dump_json(indent=2).encode() + b"\n"


def _parse(model: type[M], data: bytes, store: Store, path: str) -> M:
    try:
        return model.model_validate_json(data)
    except ValueError as error:
        raise StoreError(
            f"{store.url}/{path} is damaged, it is not a valid {model.__name__.lower()}: "
            "restore it from a backup, or remove the folder it is in."
        ) from error
