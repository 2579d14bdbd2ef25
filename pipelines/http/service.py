"""What the routes work with: the configuration, the store, the names, and the records of exports.

Records are kept in memory only to save reading what has not changed; each request looks at the store's listing.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from pipelines.http.launch import Launcher
from pipelines.http.users import Users
from sheaf import clock, listing
from sheaf.domains import domain_named
from sheaf.errors import NotFoundError
from sheaf.exports import catalogue, publish
from sheaf.exports.catalogue import Catalogue, Entry
from sheaf.exports.records import Record, read_record
from sheaf.exports.spec import ExportSpec
from sheaf.names import ExportId, SeriesId
from sheaf.settings import Settings
from sheaf.store import documents
from sheaf.store.store import Store

_RECORDS = ("/_record.json", "/record.json")


@dataclass
class Service:
    """The store and what belongs to it."""

    settings: Settings
    store: Store
    users: Users
    launcher: Launcher
    _records: dict[str, tuple[object, Record]] = field(default_factory=dict)
    _json: dict[str, tuple[Record, bytes]] = field(default_factory=dict)
    _entries: dict[str, tuple[Record, Entry]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "Service":
        """For one configuration."""
        store = Store.open(settings.store_url)
        return cls(settings, store, Users(settings.home), Launcher(settings, store))

    @property
    def uploads(self) -> Path:
        """Where CSVs wait that nobody has started yet."""
        return self.settings.home / "uploads" / "media"

    def records(self, domain: str | None = None, partition: str | None = None) -> list[Record]:
        """All records that fit, newest first."""
        folder = "/".join(filter(None, ("exports", domain, partition if domain else None)))
        found = list(self._found(folder))
        found = [record for record in found if partition in (None, record.partition)]
        return sorted(found, key=lambda record: (record.created_at, record.version), reverse=True)

    def _found(self, folder: str) -> Iterator[Record]:
        for path, modified in self._listed(folder):
            kept = self._records.get(path)
            if kept is None or kept[0] != modified:
                record = documents.read_if_whole(Record, self.store, path)
                if record is None:
                    continue
                kept = self._records[path] = modified, record
            yield kept[1]

    def _listed(self, folder: str) -> Iterator[tuple[str, object]]:
        """Where records lie, each with something that changes when it does.

        On a disk the versions' folders are looked at directly: to list all files takes four times as long.
        """
        root = self.store.root
        if ".." in folder.split("/"):
            return
        if root is None:
            for stored in self.store.list(folder):
                if stored.path.endswith(_RECORDS) and stored.path.count("/") == 5:
                    yield stored.path, stored.modified
            return
        for version in _folders(str(root / folder), 4 - folder.count("/")):
            for name in _RECORDS:
                with suppress(OSError):
                    seen = os.stat(version + name)  # noqa: PTH116  # of thousands
                    yield version[len(str(root)) + 1 :] + name, (seen.st_mtime_ns, seen.st_ino)
                    break

    def encoded(self, record: Record) -> orjson.Fragment:
        """A record as JSON, written once as long as it stays the same."""
        kept = self._json.get(str(record.id))
        if kept is None or kept[0] is not record:
            kept = self._json[str(record.id)] = record, record.model_dump_json().encode()
        return orjson.Fragment(kept[1])

    def record(self, domain: str, partition: str, key: str | int) -> Record:
        """The record whose id is a UUID or number as `uuid_of` and `number_of` make them.

        Raises:
            NotFoundError: there is none.
        """
        for record in self.records(domain, partition or None):
            if key in (uuid_of(record), number_of(record)):
                return record
        raise NotFoundError(f"There is no export {key} of {domain}.")

    def create(self, asked: ExportSpec, who: str, *, always: bool = False) -> Record:
        """Make an export in a process of its own; what would be the same is what there is.

        Returns:
            Its record, pending, or that of the export that it equals.

        Raises:
            SheafError: the request cannot be served; nothing was written.
        """
        domain = domain_named(asked.domain)
        series = domain.series_named(asked.series)
        series.filter.of(asked.filter, "filter")
        asked = asked.model_copy(update={"partition": listing.find(self.store, domain, asked.partition)})
        request = replace(asked.request(self.store, who), always=always or asked.always)
        record = publish.reserve(self.store, domain, series, request, self.settings.of(domain.name))
        if record.status.is_open:
            self.launcher.export(record)
        return record

    def preview(self, asked: ExportSpec, who: str) -> publish.Written:
        """What an export would hold."""
        domain = domain_named(asked.domain)
        series = domain.series_named(asked.series)
        asked = asked.model_copy(update={"partition": listing.find(self.store, domain, asked.partition)})
        request = asked.request(self.store, who)
        return publish.preview(self.store, domain, series, request, self.settings.of(domain.name))

    def catalogue(self) -> Catalogue:
        """The catalogue as of now; what has not changed since it was read is not read again."""
        found = []
        named: dict[SeriesId, catalogue.Named] = {}
        for record in self.records():
            series = record.id.series
            if series not in named:
                named[series] = catalogue.named(self.store, series)
            kept = self._entries.get(str(record.id))
            if kept is None or kept[0] != record:
                kept = self._entries[str(record.id)] = record, catalogue.entry(self.store, record, named[series])
            found.append(kept[1].model_copy(update=named[series].of(record.version)))
        return Catalogue(updated_at=clock.now(), exports=found)

    def changed(self, export: ExportId) -> Record:
        """The record of an export that was renamed or deleted, which the catalogue in the store is told of."""
        catalogue.note(self.store, export)
        return read_record(self.store, export)


def _folders(path: str, below: int) -> Iterator[str]:
    """The folders so many levels below one."""
    if not below:
        yield path
        return
    try:
        with os.scandir(path) as entries:
            found = [entry.path for entry in entries if entry.is_dir()]
    except FileNotFoundError:  # there is none, or it was deleted meanwhile
        return
    for one in found:
        yield from _folders(one, below - 1)


def uuid_of(record: Record) -> str:
    """An id for clients that expect a UUID; always the same for the same export."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sheaf:{record.id}"))


def number_of(record: Record) -> int:
    """An id for clients that expect a number, small enough for JavaScript; always the same for the same export."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"sheaf:{record.id}").int >> 80


def export_id(domain: str, partition: str, series: str, version: int) -> ExportId:
    """The name of an export from its parts, which come from a client."""
    return ExportId(SeriesId(domain, partition, series), version)
