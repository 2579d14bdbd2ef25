"""Old logs into a verified archive in the store, then, if wanted, away from where they were.

Journalled, so that it may be killed anywhere: an archive and its journal live below
`offload/<source>/` in the store. The journal is `publishing` before the archive gets its name,
`verified` once the archive was read back, and only then are files deleted; `done` when none is left
to delete. A journal whose archive is missing or wrong is dropped, its files were never touched.
"""

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ValidationError

from sheaf.errors import NotFoundError, UsageError
from sheaf.matches.offload_plan import OffloadPlan, OldFile, state
from sheaf.matches.zips import Zip, confirm
from sheaf.scratch import process_runs, scratch_folder
from sheaf.store import Store

METADATA = "offload_metadata.json"
CHANGED = "it changed while it was being archived"


class _Entry(BaseModel):
    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str

    def is_still(self, file: OldFile | None) -> bool:
        """Whether the file on disk is the one that was archived."""
        return file is not None and (file.size, file.mtime_ns, file.inode) == (self.size, self.mtime_ns, self.inode)


class _Journal(BaseModel):
    status: Literal["publishing", "verified", "done"]
    archive: str
    size: int
    sha256: str
    source: str
    cutoff: datetime
    created_at: datetime
    delete_source: bool
    files: list[_Entry]
    deleted: list[str] = []

    @property
    def path(self) -> str:
        return self.archive.removesuffix(".zip") + ".json"


class _Holder(BaseModel):
    host: str
    pid: int


@dataclass
class OffloadResult:
    """What an offload did.

    Attributes:
        archive: path of the new archive in the store; None when there was nothing new to archive.
        archived: files in it.
        already_archived: files of the plan that an earlier archive holds.
        deleted: files that were removed from the source, also those an interrupted run had left.
        kept: why each other file stays.
        resumed: archives of interrupted runs whose work was finished.
    """

    archive: str | None = None
    archived: list[str] = field(default_factory=list)
    already_archived: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)


def execute(
    offload: OffloadPlan, store: Store, *, delete_source: bool = False, archive_name: str | None = None
) -> OffloadResult:
    """Archive the files of a plan, after finishing what an interrupted run left.

    Args:
        offload: from `plan`; files that changed since are kept.
        store: where the archive goes.
        delete_source: remove the files once the archive is verified.
        archive_name: instead of `offload_before_<cutoff>_<time>`.

    Raises:
        UsageError: another offload of the folder is running, or the archive name is taken or no name.
        VerificationError: the archive is not what was put in; nothing was deleted.
        StoreError: the store failed; nothing was deleted that is not in a verified archive.
    """
    folder = folder_of(offload.source)
    result = OffloadResult(kept=dict(offload.kept))
    with _lock(store, folder):
        journals = [journal for journal in _journals(store, folder) if _settle(store, journal)]
        interrupted = [journal for journal in journals if journal.status == "verified" and journal.delete_source]
        known = {entry.path: entry for journal in journals for entry in journal.files}
        new = []
        for file in offload.files:
            if file.path in known and known[file.path].is_still(file):
                result.already_archived.append(file.path)
            else:
                new.append(file)
        made = _archive(offload, store, new, delete_source, _name(store, folder, offload, archive_name), result)
        if made:
            journals.append(made)
            result.archive, result.archived = made.archive, [entry.path for entry in made.files]
        for journal in journals:
            if delete_source or journal.delete_source:
                _delete(store, journal, offload.source, result)
        result.resumed = [journal.archive for journal in interrupted]
    return result


def folder_of(source: Path) -> str:
    """Where archives of a source folder live in the store; folders of equal name are told apart."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", source.name).strip(".") or "root"
    return f"offload/{name}-{hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:8]}"


def _name(store: Store, folder: str, offload: OffloadPlan, wanted: str | None) -> str:
    if wanted is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", wanted):
        raise UsageError(f"{wanted!r} is no archive name: use letters, digits, '.', '_' or '-'.")
    base = (
        wanted.removesuffix(".zip") if wanted else f"offload_before_{offload.cutoff:%Y%m%d}_{offload.now:%Y%m%d_%H%M%S}"
    )
    path, number = f"{folder}/{base}.zip", 2
    while store.size(path) is not None:
        if wanted:
            raise UsageError(f"The archive {path} exists already: choose another name.")
        path, number = f"{folder}/{base}_{number}.zip", number + 1
    return path


def _archive(
    offload: OffloadPlan, store: Store, files: list[OldFile], delete_source: bool, path: str, result: OffloadResult
) -> _Journal | None:
    """Write, verify and publish an archive; files that change meanwhile are left out and kept."""
    with scratch_folder(store) as scratch:
        local = scratch / "offload.zip"
        while files:
            entries, changed = _write(offload, files, delete_source, local)
            if not changed:
                break
            result.kept |= dict.fromkeys(sorted(changed), CHANGED)
            files = [file for file in files if file.path not in changed]
        else:
            return None
        confirm(local, {entry.path: (entry.size, entry.sha256) for entry in entries}, [METADATA])
        with local.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        journal = _Journal(
            status="publishing",
            archive=path,
            size=local.stat().st_size,
            sha256=digest,
            source=str(offload.source),
            cutoff=offload.cutoff,
            created_at=offload.now,
            delete_source=delete_source,
            files=entries,
        )
        _save(store, journal)
        store.put_file(path, local)
        if not _settle(store, journal):
            raise NotFoundError(f"The store did not keep {path} as it was written; nothing was deleted.")
    return journal


def _write(
    offload: OffloadPlan, files: list[OldFile], delete_source: bool, local: Path
) -> tuple[list[_Entry], set[str]]:
    entries, changed = [], set()
    with Zip(local) as archive:
        for file in files:
            date = datetime.fromtimestamp(file.mtime_ns / 1e9, UTC).timetuple()[:6]
            try:
                with (offload.source / file.path).open("rb") as source:
                    digest = archive.add(file.path, source, file.size, date)
            except FileNotFoundError:
                changed.add(file.path)
                continue
            entry = _Entry(**vars(file), sha256=digest)
            if not entry.is_still(state(offload.source, file.path)):
                changed.add(file.path)
            entries.append(entry)
        archive.add_bytes(
            METADATA,
            orjson.dumps(
                {
                    "offload_type": "data_offload",
                    "cutoff_date": offload.cutoff.isoformat(),
                    "created_at": offload.now.isoformat(),
                    "source_directory": str(offload.source),
                    "files_archived": len(entries),
                    "delete_source": delete_source,
                    "files": [entry.model_dump(exclude={"inode"}) for entry in entries],
                },
                option=orjson.OPT_INDENT_2,
            ),
        )
    return entries, changed


def _settle(store: Store, journal: _Journal) -> bool:
    """Bring a journal out of `publishing`; False when its archive never came to be."""
    if journal.status != "publishing":
        return True
    if store.size(journal.archive) != journal.size or store.sha256(journal.archive) != journal.sha256:
        store.delete([journal.archive, journal.path])
        return False
    journal.status = "verified"
    _save(store, journal)
    return True


def _delete(store: Store, journal: _Journal, source: Path, result: OffloadResult) -> None:
    """Remove the files of a verified archive, each only while it still is what was archived."""
    left = [entry for entry in journal.files if entry.path not in journal.deleted]
    there = [entry for entry in left if entry.is_still(state(source, entry.path))]
    if there and (store.size(journal.archive) != journal.size or store.sha256(journal.archive) != journal.sha256):
        result.kept |= {entry.path: f"its archive {journal.archive} is missing or damaged" for entry in there}
        return
    for entry in left:
        found = state(source, entry.path)
        if found is not None and not entry.is_still(found):
            result.kept[entry.path] = CHANGED
        elif found is not None:
            (source / entry.path).unlink()
            result.deleted.append(entry.path)
    journal.deleted = [entry.path for entry in journal.files if state(source, entry.path) is None]
    journal.status = "done"
    _save(store, journal)


def _journals(store: Store, folder: str) -> list[_Journal]:
    paths = sorted(found.path for found in store.list(folder) if found.path.endswith(".json"))
    return [_Journal.model_validate_json(store.get(path)) for path in paths]


def _save(store: Store, journal: _Journal) -> None:
    store.put(journal.path, journal.model_dump_json(indent=1).encode())


@contextmanager
def _lock(store: Store, folder: str) -> Iterator[None]:
    """One offload of a folder at a time; the lock of a process that is gone is taken over."""
    path = f"{folder}/lock"
    mine = _Holder(host=socket.gethostname(), pid=os.getpid()).model_dump_json().encode()
    if not store.create(path, mine):
        holder = _holder(store, path)
        if holder and (holder.host != socket.gethostname() or (holder.pid != os.getpid() and process_runs(holder.pid))):
            raise UsageError(
                f"Process {holder.pid} on {holder.host} is offloading this folder; if it is gone, delete {path}."
            )
        store.delete([path])
        if not store.create(path, mine):
            raise UsageError("Another offload of this folder has just started.")
    try:
        yield
    finally:
        store.delete([path])


def _holder(store: Store, path: str) -> _Holder | None:
    try:
        return _Holder.model_validate_json(store.get(path))
    except (NotFoundError, ValidationError):
        return None
