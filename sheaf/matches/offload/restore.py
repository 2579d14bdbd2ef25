"""Logs back out of the archives that an offload made: found by their names, checked, and never over another file.

Not here: making archives (`execute`).
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from sheaf.errors import InputError, StoreError, UsageError, VerificationError
from sheaf.matches.offload.execute import Journal
from sheaf.store import documents
from sheaf.store.errors import is_full
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store, sync

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True)
class Archived:
    """One log in one archive.

    Attributes:
        archive: path of the archive in the store.
        source: the folder that was offloaded.
        path: the log below that folder.
        size, sha256: of the log.
        mtime_ns: when it was changed last, before it was archived.
        deleted: whether it was removed from its folder for the sake of this archive.
    """

    archive: str
    source: str
    path: str
    size: int
    sha256: str
    mtime_ns: int
    deleted: bool


@dataclass
class Restored:
    """What became of the logs that were wanted: paths of files."""

    restored: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)


def find(store: Store, name: str = "*", archive: str | None = None) -> list[Archived]:
    """Logs in verified archives, the newest archive of each first.

    Args:
        name: a log's name, its path below the offloaded folder, or a pattern such as `bridge_2025*`.
        archive: only of the archive of this name.
    """
    paths = sorted(found.path for found in store.list("offload") if found.path.endswith(".json"))
    journals = [one for one in documents.whole(Journal, store, paths) if one.status in ("verified", "done")]
    all_ = [
        Archived(
            archive=journal.archive,
            source=journal.source,
            path=entry.path,
            size=entry.size,
            sha256=entry.sha256,
            mtime_ns=entry.mtime_ns,
            deleted=entry.path in journal.deleted,
        )
        for journal in sorted(journals, key=lambda one: one.created_at, reverse=True)
        if archive is None or journal.archive.endswith((f"/{archive}", f"/{archive}.zip"))
        for entry in journal.files
    ]
    # A name may look like a pattern, as `log[1].ndjson` does.
    named = [one for one in all_ if name in (one.path, Path(one.path).name)]
    return named or [one for one in all_ if fnmatchcase(one.path, name) or fnmatchcase(Path(one.path).name, name)]


def newest(found: Sequence[Archived]) -> list[Archived]:
    """Of logs of the same place only that of the newest archive, from what `find` gives."""
    first: dict[tuple[str, str], Archived] = {}
    for one in found:
        first.setdefault((one.source, one.path), one)
    return list(first.values())


def restore(store: Store, wanted: Sequence[Archived], target: Path | None = None) -> Restored:
    """Put logs back where they were, or below another folder. Their time of change is that of the restoring.

    Each is checked against its sha256 before it gets its name. A file that is there already is left alone.

    Raises:
        UsageError: nothing is wanted, a place lies outside of its folder, or cannot be written.
        InputError: a file is there that holds something else; nothing was restored.
        VerificationError: an archive is damaged or missing; what was restored before is whole.
    """
    if not wanted:
        raise UsageError("No archive holds such a log: `sheaf offload find` lists them.")
    places = {one: _place(one, target) for one in wanted}
    result = Restored(there=[str(place) for one, place in places.items() if _is_there(one, place)])
    by_archive: dict[str, list[Archived]] = {}
    for one, place in places.items():
        if str(place) not in result.there:
            by_archive.setdefault(one.archive, []).append(one)
    for archive, some in by_archive.items():
        with scratch_folder(store) as scratch:
            local = scratch / "archive.zip"
            place = target
            try:
                store.download(archive, local)
                with zipfile.ZipFile(local) as members:
                    for one in some:
                        place = places[one]
                        _extract(members, one, place)
                        result.restored.append(str(place))
            except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
                raise VerificationError(f"{archive} is damaged: {error}.") from error
            except OSError as error:
                where = error.filename or place or archive
                if is_full(str(error)):
                    raise StoreError(f"The disk of {where} is full: free some space and run again.") from error
                raise UsageError(f"{where} cannot be written: {error.strerror}.") from error
    return result


def _is_there(one: Archived, place: Path) -> bool:
    """Whether a log is where it should go already; raises `InputError` where something else is."""
    if not place.exists() and not place.is_symlink():
        return False
    if place.is_file() and _sha256(place) == one.sha256:
        return True
    raise InputError(f"{place} is there and holds something else: move it away, or use --to DIR.")


def _place(one: Archived, target: Path | None) -> Path:
    folder = (target or Path(one.source)).absolute()
    place = folder / one.path
    if ".." in Path(one.path).parts or not place.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{one.path} of {one.archive} lies outside of {folder}: use --to DIR.")
    return place


def _extract(members: zipfile.ZipFile, one: Archived, place: Path) -> None:
    """Write a member beside its place, check it, and give it its name unless somebody else did."""
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.restoring-{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with members.open(one.path) as source, aside.open("wb") as file:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != one.sha256:
            raise VerificationError(f"{one.path} in {one.archive} is not what was archived; it was not restored.")
        sync(aside)
        _name(aside, place)
        sync(place.parent)
    finally:
        aside.unlink(missing_ok=True)


def _name(aside: Path, place: Path) -> None:
    """Give a file its name, never in place of one that has come meanwhile."""
    try:
        os.link(aside, place)
    except FileExistsError as error:
        raise InputError(f"{place} appeared while it was being restored; it was left alone.") from error
    except OSError:  # a file system without links; between looking and naming nobody else is kept out
        if place.exists():
            raise InputError(f"{place} appeared while it was being restored; it was left alone.") from None
        aside.rename(place)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
