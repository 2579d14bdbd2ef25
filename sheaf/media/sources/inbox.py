"""The batches that wait in the inbox: one CSV each, in `inbox/media/`, beside or above the files that it names.

Here: which batches there are, whether one changed, and what is delivered of one: the CSV, its options, and
the content of the files it names. Turning that into tables is `ingest`. Nothing here writes to the inbox.
"""

import hashlib
import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from sheaf.errors import InputError, NotFoundError, SheafError, SourceError, StoreError
from sheaf.media.batch_record import ROOT, read_record
from sheaf.media.errors import MediaError
from sheaf.media.methods import Method, Model
from sheaf.media.readers.batch_csv import BatchCsv, parse_batch_csv, read_batch_bytes
from sheaf.media.readers.batch_options import BatchOptions, options_files, read_batch_options
from sheaf.media.readers.content import Located, MediaFile, identify, keep_located, read_located, state
from sheaf.media.readers.ingest import Ordered, ingest
from sheaf.media.readers.paths import find_media
from sheaf.media.schema import DOMAIN, KIND
from sheaf.media.settings import MediaSettings
from sheaf.outside.files import require_inside
from sheaf.outside.inbox import domain_folder
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store
from sheaf.tables import generations


@dataclass(frozen=True)
class _Listed:
    """What lies in the inbox: the CSV of each batch, and why others are none, by their names."""

    batches: dict[str, Path] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MediaInbox:
    """The CSVs as a source.

    Attributes:
        root: the inbox.
        store_url: the store that knows which batches there were; the same bytes again are the same batch.
        settings: where media and models are; a batch is what they hold, not where they lie.
    """

    root: Path
    store_url: str
    settings: MediaSettings
    name: str = "inbox"
    authoritative: bool = False

    def offers(self) -> Offer:
        """The batches with the names of their CSVs, and what cannot be used of what was meant for them."""
        found = self._listed()
        return Offer(
            tuple(sorted(found.batches)),
            unusable=found.unusable | _strays(self.root / DOMAIN),
            notes={batch: path.name for batch, path in sorted(found.batches.items())},
        )

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """How the CSV, its options and the files it names look, and how long nobody has written to any of them."""
        files = self._listed(partitions).batches
        for batch in partitions:
            if batch not in files:
                yield State(batch, problem=f"There is no CSV of batch {batch} in {self.root / DOMAIN} any more.")
                continue
            try:
                token, newest = self._look(files[batch])
            except (SheafError, OSError) as error:
                yield State(batch, problem=str(error))
            else:
                yield State(batch, token, time.time() - newest, tags=_tags(files[batch]))

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """One batch with the content of its files; raises `NotFoundError` when there is none of that name."""
        csv_path = self._listed([partition]).batches.get(partition)
        if csv_path is None:
            raise NotFoundError(f"The inbox has no media batch {partition!r}: see `sheaf sources {DOMAIN}`.")
        before = read_located(store, partition)
        ordered = self._order(csv_path, before)
        keep_located(store, partition, before.with_new(ordered.located))
        yield Delivery(ordered.name, lambda work: ingest(ordered, work))

    def check(self) -> str:
        """How many batches wait there."""
        found = self.offers()
        problem = f", {len(found.unusable)} unusable: {', '.join(found.unusable)}" if found.unusable else ""
        return f"{self.root / DOMAIN}: {len(found.partitions)} partitions{problem}"

    def _listed(self, only: Sequence[str] | None = None) -> _Listed:
        """The CSVs of all batches, or of some; of several with the same bytes the one that was read before."""
        same: dict[str, list[Path]] = {}
        listed = _Listed()
        folder = domain_folder(self.root, DOMAIN)
        for path in _csv_files(folder):
            sha256, problem = _sha256(path, folder)
            if problem:
                listed.unusable[path.name] = problem
            elif only is None or any(batch.endswith(f"_{sha256[:8]}") for batch in only):
                same.setdefault(sha256, []).append(path)
        if same:
            store = Store.open(self.store_url)
            known = _known_batches(store)
            for sha256, paths in same.items():
                try:
                    batch, path = _named(store, known, sha256, paths)
                except InputError as error:
                    listed.unusable[paths[0].name] = str(error)
                else:
                    listed.batches[batch] = path
        return listed

    def _roots(self, csv_path: Path) -> tuple[Path, ...]:
        return self.settings.roots or (csv_path.parent,)

    def _look(self, csv_path: Path) -> tuple[str, float]:
        """A token of all that a batch depends on, told without reading media, and when it changed last."""
        sheet = parse_batch_csv(csv_path.name, read_batch_bytes(csv_path), self.settings.methods)
        digest = hashlib.sha256(f"{csv_path}\0{sheet.sha256}".encode())
        newest = csv_path.stat().st_mtime
        seen: set[Path] = set()
        options = options_files(csv_path)
        models = [path for model in _models(sheet) if (path := self.settings.models.get(model))]
        for path in (*options, *models):
            digest.update(f"\0{path}\0{_glance(path)}".encode())
        for name in _media(sheet):
            try:
                path = find_media(name, self._roots(csv_path))
            except MediaError as error:
                digest.update(f"\0{name}\0{error.code}".encode())
            else:
                digest.update(f"\0{name}\0{path}\0{_glance(path)}".encode())
                seen.add(path)
        for path in (*options, *seen):
            if path.exists():
                newest = max(newest, path.stat().st_mtime)
        return digest.hexdigest()[:16], newest

    def _order(self, csv_path: Path, before: Located) -> Ordered:
        """Everything that a batch is made from; what looks as before is not read again."""
        data = read_batch_bytes(csv_path)
        sheet = parse_batch_csv(csv_path.name, data, self.settings.methods)
        options, problem = BatchOptions(), ""
        try:
            options = read_batch_options(csv_path)
        except InputError as error:
            problem = str(error).replace(f"{csv_path.parent}{os.sep}", "")
        known = before.by_path()
        files: dict[str, MediaFile] = {}
        faults: dict[str, tuple[str, str]] = {}
        for name in _media(sheet):
            path = None
            try:
                path = find_media(name, self._roots(csv_path))
                files[name] = known[path] = identify(path, known)
            except MediaError as error:
                faults[name] = (error.code, str(error).replace(str(path), name))
        models = {}
        for model in _models(sheet):
            place = self.settings.models.get(model)
            if place and place.is_file():
                try:
                    models[model] = identify(place.resolve(), known)
                except MediaError as error:
                    raise InputError(f"media.models.{model}: {error}") from error
        return Ordered(csv_path.name, data, options, problem, faults, Located(files=files, models=models))


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; hidden files are what other systems leave beside files they copied."""
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise SourceError(f"The inbox {folder} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error
    return [folder / name for name in names if not name.startswith(".")]


def _csv_files(folder: Path) -> list[Path]:
    """What could be batches, sorted."""
    return [path for path in _visible(folder) if path.suffix.lower() == ".csv"]


_OTHER_TABLES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers", ".tsv")
_PACKED = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
_OPTIONS = (".yaml", ".yml", ".json")


def _strays(folder: Path) -> dict[str, str]:
    """What was meant to be a batch and is none, by name, with what to do about it; media may lie as they like."""
    found: dict[str, str] = {}
    visible = _visible(folder)
    batches = {path.stem for path in visible if path.suffix.lower() == ".csv"}
    for path in visible:
        ending = path.suffix.lower()
        if path.is_dir() and not path.is_symlink():
            for below in _csv_files(path):
                if not _sha256(below, folder)[1]:
                    found[f"{path.name}/{below.name}"] = f"It lies in a folder: put it directly into {DOMAIN}/."
        elif ending in _OTHER_TABLES:
            found[path.name] = f"It is no CSV: save it as CSV, in UTF-8, directly in {DOMAIN}/."
        elif ending in _PACKED:
            found[path.name] = f"It is packed: unpack it, with the CSV directly in {DOMAIN}/."
        elif ending in _OPTIONS and path.stem not in batches:
            found[path.name] = "There is no CSV of this name: the options of a batch are called as its CSV is."
        elif ending in _OPTIONS and path.suffix not in _OPTIONS[:2]:
            found[path.name] = f"It is not read: the options of {path.stem}.csv are {path.stem}.yaml."
    return found


def _sha256(path: Path, folder: Path) -> tuple[str, str]:
    """The sha256 of a CSV, and why it cannot be used."""
    try:
        require_inside(path, folder)
        return _examined(path, *state(path))
    except InputError as error:
        return "", str(error)
    except OSError as error:
        return "", f"{path} cannot be read: {error.strerror}."


@lru_cache(maxsize=4096)
def _examined(path: Path, size: int, mtime_ns: int, ctime_ns: int) -> tuple[str, str]:
    """The sha256 of a CSV, and why it cannot be used; read once for as long as it looks the same."""
    try:
        data = read_batch_bytes(path)
        parse_batch_csv(path.name, data)
    except InputError as error:
        return "", str(error)
    return hashlib.sha256(data).hexdigest(), ""


def _known_batches(store: Store) -> list[str]:
    """The batches that the store knows, by their records or their tables."""
    return sorted({*store.folders(ROOT), *generations.partitions(store, DOMAIN, "pairs", KIND)})


def _named(store: Store, known: Iterable[str], sha256: str, paths: Sequence[Path]) -> tuple[str, Path]:
    """The name of the batch that some equal CSVs ask for, and which of them is read.

    It is `batch_<UTC arrival>_<first 8 hex of the sha256>`; the file's time is its arrival, so that the name
    doesn't change from look to look. The same bytes again, under whatever name, are the batch that is known.
    """
    for batch in known:
        if batch.endswith(f"_{sha256[:8]}"):
            try:
                record = read_record(store, batch)
            except (NotFoundError, StoreError):  # its tables are there, and tell enough by their name
                return batch, paths[0]
            if record.csv_sha256 == sha256:
                return batch, next((path for path in paths if path.name == record.csv_file), paths[0])
    try:
        arrived = datetime.fromtimestamp(int(paths[0].stat().st_mtime), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f"{paths[0].name} has no time that can be read: touch it.") from error
    return f"batch_{arrived:%Y%m%d_%H%M%S}_{sha256[:8]}", paths[0]


def _media(sheet: BatchCsv) -> list[str]:
    """The files that are looked for, each once."""
    names = [name for row in sheet.rows if row.fault is None for name in (row.master_file, row.dub_file)]
    return list(dict.fromkeys(names))


def _models(sheet: BatchCsv) -> list[Model]:
    """The models that pairs are compared with, each once; the built-in one is no file."""
    asked = {row.ai_model for row in sheet.rows if row.fault is None and row.ai_model and Method.AI in row.methods}
    return [model for model in Model if model in asked and model is not Model.SPECTRAL]


def _glance(path: Path) -> str:
    """How a file looks from outside, whatever it is."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{error.errno}"
    return f"{found.st_mode}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}"


def _tags(csv_path: Path) -> dict[str, str]:
    """Where the batch stands in the queue; options that cannot be used are told by the run."""
    try:
        return {"dagster/priority": read_batch_options(csv_path).priority.dagster}
    except InputError:
        return {}
