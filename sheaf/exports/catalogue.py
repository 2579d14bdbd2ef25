"""The catalogue: all versions of everything in one document, and a page that shows it.

`catalog.json` at the top of the store tells in one GET what there is. It is kept by whoever publishes and can be
made anew at any time (`write`); the records and manifests decide, it only repeats them. Beside it lie the same as
`catalog.js` and the page `catalog.html`, which can be opened from a folder or a bucket without a server.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from sheaf import clock
from sheaf.errors import DamagedError, NotFoundError, SheafError
from sheaf.exports.options import typed
from sheaf.exports.pins import Pin, read_pins, tags_of
from sheaf.exports.records import (
    Manifest,
    Record,
    Status,
    all_series,
    manifest_path,
    read_latest,
    read_manifest,
    read_record,
    records,
    versions,
)
from sheaf.exports.series import flat_counts
from sheaf.names import ExportId, SeriesId
from sheaf.store import documents
from sheaf.store.store import Store

JSON, JS, PAGE = "catalog.json", "catalog.js", "catalog.html"
_TRIES = 8
_SHARE = 20
_MOST = 20
"""Of counts, warnings and partitions in an account; the manifest has all."""


class Entry(BaseModel):
    """One version.

    Attributes:
        path: its folder in the store; `manifest` is the path of the document that tells everything.
        latest: whether `latest` names it.
        tags: what it is pinned as, without `@`.
        filter: as somebody would type it.
        files: path, size in bytes, rows and sha256 of each.
        account: rows seen, used and rejected, by table, for up to 20 tables.
    """

    model_config = ConfigDict(extra="ignore")

    export: str
    name: str
    status: Status
    path: str
    manifest: str | None = None
    latest: bool = False
    tags: list[str] = []
    canonical: bool = False
    created_at: datetime
    requested_by: str
    filter: list[str] = []
    error: str | None = None
    records: int | None = None
    size: int | None = None
    files: list[tuple[str, int, int | None, str]] = []
    counts: dict[str, Any] = {}
    warnings: list[str] = []
    account: list[tuple[str, int, int, int]] = []
    deliveries: list[str] = []
    sheaf: str = ""


class Catalogue(BaseModel):
    """All of them, newest first.

    Attributes:
        page: SHA-256 of the page that lies beside it.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = 1
    updated_at: datetime
    page: str = ""
    exports: list[Entry]


@dataclass(frozen=True)
class Named:
    """What names versions of a series besides their numbers: the pointer `latest`, and tags."""

    latest: int | None
    pins: dict[str, Pin]

    def of(self, version: int) -> dict[str, Any]:
        """What a version's entry says of it."""
        return {"latest": version == self.latest, "tags": tags_of(self.pins, version)}


def named(store: Store, series: SeriesId) -> Named:
    """What names versions of a series; nothing where that cannot be read."""
    pointed, pins = None, {}
    with suppress(DamagedError):
        pointed = read_latest(store, series)
    with suppress(DamagedError):
        pins = read_pins(store, series)
    return Named(pointed.version if pointed else None, pins)


def entry(store: Store, record: Record, names: Named) -> Entry:
    """What the catalogue tells of one version."""
    manifest = None
    if record.status is Status.COMPLETED:
        with suppress(NotFoundError, DamagedError):
            manifest = read_manifest(store, record.id)
    said: dict[str, Any] = {}
    if manifest:
        said = {
            "manifest": manifest_path(store, record.id),
            "records": manifest.record_count,
            "size": sum(file.size for file in manifest.files),
            "files": [(file.path, file.size, file.rows, file.sha256) for file in manifest.files],
            "counts": dict(list(flat_counts(manifest.counts).items())[:_MOST]),
            "warnings": manifest.warnings[:_MOST],
            "account": list(_account(manifest)),
            "deliveries": [one.delivery for one in manifest.made_from[:_MOST] if one.delivery],
            "sheaf": manifest.sheaf_version,
        }
    return Entry(
        export=str(record.id),
        name=record.name,
        status=record.status,
        path=record.id.path,
        **names.of(record.version),
        canonical=record.canonical,
        created_at=record.created_at,
        requested_by=record.requested_by,
        filter=typed(record.filter),
        error=record.error,
        **said,
    )


def _account(manifest: Manifest) -> Iterator[tuple[str, int, int, int]]:
    several = len(manifest.account) > 1
    lines = (
        (f"{partition}: {one.table}" if several else one.table, one.seen, one.used, one.rejected)
        for partition, accounts in manifest.account.items()
        for one in accounts
    )
    yield from (line for _, line in zip(range(_MOST), lines, strict=False))


def build(store: Store) -> Catalogue:
    """The catalogue of all that the store holds, several series at once."""
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        found = [
            one for ones in pool.map(lambda series: list(_series(store, series)), all_series(store)) for one in ones
        ]
    return _sorted(found)


def _series(store: Store, series: SeriesId) -> Iterator[Entry]:
    names = named(store, series)
    for record in records(store, series):
        yield entry(store, record, names)


def _sorted(found: Iterable[Entry]) -> Catalogue:
    newest = sorted(found, key=lambda one: (one.created_at, one.export), reverse=True)
    return Catalogue(updated_at=clock.now(), exports=newest)


def read(store: Store) -> Catalogue:
    """The catalogue as it lies in the store.

    Raises:
        NotFoundError: nobody has written one yet.
        DamagedError: it cannot be read.
    """
    return documents.read(Catalogue, store, JSON)


def write(store: Store) -> Catalogue:
    """Make the catalogue and its page anew."""
    made = build(store)
    put(store, made)
    return made


def complete(store: Store) -> int:
    """Make the catalogue anew where it lacks exports, as after a kill; returns how many it lacked."""
    try:
        known = {one.export for one in read(store).exports}
    except (NotFoundError, DamagedError):
        known = set[str]()
    there = [ExportId(series, number) for series in all_series(store) for number in versions(store, series)]
    lacking = 0
    for one in there:
        if str(one) not in known:
            with suppress(NotFoundError, DamagedError):  # a number without a record is no export
                read_record(store, one)
                lacking += 1
    if lacking:
        write(store)
    return lacking


def put(store: Store, catalogue: Catalogue) -> None:
    """Write a catalogue, whatever lies there."""
    data = orjson.dumps(_plain(catalogue) | {"page": _page_digest()})
    store.put(PAGE, page(), durable=False)
    store.put(JS, _script(data), durable=False)
    store.put(JSON, data)


def note(store: Store, *exports: ExportId) -> None:
    """Bring what was just published, renamed or deleted into the catalogue.

    An export is what it is whether or not this can be done: what fails is left to the next one who notes or writes.
    """
    with suppress(SheafError, ValidationError):
        for _ in range(_TRIES):
            try:
                before = store.get(JSON)
                known = orjson.loads(before)
                made = _with(known, store, exports)
            except (NotFoundError, ValueError, LookupError, TypeError):
                write(store)  # there is none, or none of ours
                return
            data = orjson.dumps(made)
            if store.swap(JSON, before, data):
                store.put(JS, _script(data), durable=False)
                if made["page"] != known["page"]:
                    store.put(PAGE, page(), durable=False)
                return


@contextmanager
def noting(store: Store, now: Callable[[], float] = time.monotonic) -> Iterator[Callable[[ExportId], None]]:
    """Note many exports one after the other, at the latest in the end.

    To note one costs as much as the catalogue is long, so each by itself would cost the square of it: they wait until
    noting has taken no more than a twentieth of the time.
    """
    waiting = list[ExportId]()
    ended, took = -math.inf, 0.0

    def later(export: ExportId) -> None:
        nonlocal ended, took
        waiting.append(export)
        began = now()
        if began - ended >= _SHARE * took:
            note(store, *waiting)
            waiting.clear()
            ended = now()
            took = ended - began

    try:
        yield later
    finally:
        if waiting:
            note(store, *waiting)


def _with(known: dict[str, Any], store: Store, exports: Iterable[ExportId]) -> dict[str, Any]:
    """What is known with what exports are now; of the others only `latest` can have changed.

    They stay as they lie there: making models of thousands of them would cost more than publishing does.
    """
    noted = {str(export): export for export in exports}
    names = {series: named(store, series) for series in {one.series for one in noted.values()}}
    made = _plain(_sorted(entry(store, read_record(store, one), names[one.series]) for one in noted.values()))
    newest = {str(series): f"{series}/v{its.latest}" for series, its in names.items()}
    others = [one for one in known["exports"] if one["export"] not in noted]
    for one in others:
        if (series := one["export"].rpartition("/")[0]) in newest:
            one["latest"] = one["export"] == newest[series]
    by_age = sorted([*made["exports"], *others], key=lambda one: (one["created_at"].removesuffix("Z"), one["export"]))
    return made | {"page": _page_digest(), "exports": by_age[::-1]}


def _page_digest() -> str:
    return hashlib.sha256(page()).hexdigest()


def _plain(catalogue: Catalogue) -> dict[str, Any]:
    return catalogue.model_dump(mode="json", exclude_defaults=True) | {"schema_version": 1}


def _script(data: bytes) -> bytes:
    """The same for the page, which can read no JSON where it was opened as a file."""
    return b"window.CATALOG = " + data.replace(b"</", b"<\\/") + b";\n"


def page() -> bytes:
    """The page; it needs nothing but `catalog.js` beside it, or a server."""
    return files("sheaf.exports").joinpath(PAGE).read_bytes()
