"""Old logs into a verified archive in the store, then, if wanted, away from where they were.

Journalled, so that it may be killed anywhere and the power cut: an archive and its journal live below
`offload/<source>/` in the store. The journal takes the archive's name, which is never used again, and is
`publishing` until the archive was read back from the store: then `verified`, and only then are files
deleted, each after it was read once more; `done` when none is left to delete. Whoever finds an archive that
never came to be makes its journal `dropped`. Either is one compare-and-swap, so that of two processes that
both believe to be the only one, none deletes by a journal that the other has dropped.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel

from sheaf.errors import DamagedError, NotFoundError, StoreError, UsageError
from sheaf.exports.zips import Zip, confirm
from sheaf.matches.offload.plan import OffloadPlan, OldFile, state
from sheaf.store import documents
from sheaf.store.lease import Holder, Lease, lease
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store

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


class Journal(BaseModel):
    """What became of one archive; `attempt` tells it from that of another process."""

    status: Literal["publishing", "verified", "done", "dropped"]
    archive: str
    attempt: str = ""
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
        """Beside the archive."""
        return _journal_path(self.archive)

    def data(self, **changes: object) -> bytes:
        """As it is stored, with some fields changed."""
        return self.model_copy(update=changes).model_dump_json(indent=1).encode()


@dataclass
class OffloadResult:
    """What an offload did.

    Attributes:
        archive: path of the new archive in the store; None when there was nothing new to archive.
        archived: files in it.
        already_archived: files of the plan that an earlier archive holds.
        deleted: files that were removed from the source, also those an interrupted run had left.
        kept: why each other file stays.
    """

    archive: str | None = None
    archived: list[str] = field(default_factory=list)
    already_archived: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def execute(
    offload: OffloadPlan,
    store: Store,
    *,
    delete_source: bool = False,
    archive_name: str | None = None,
    waiting: Callable[[Holder], None] = lambda _: None,
) -> OffloadResult:
    """Archive the files of a plan, after finishing what an interrupted run left.

    Args:
        offload: from `plan`; files that changed since are kept.
        store: where the archive goes.
        delete_source: remove the files once the archive is verified.
        archive_name: instead of `offload_before_<cutoff>_<time>`.
        waiting: told who offloads the folder at the moment, if somebody does.

    Raises:
        UsageError: the archive name is taken or no name.
        VerificationError: the archive is not what was put in; nothing was deleted.
        StoreError: the store failed, or another process took over; nothing was deleted that is not in
            a verified archive.
    """
    folder = folder_of(offload.source)
    with lease(store, folder, "offload", waiting) as held:
        running = _Offload(offload, store, folder, held, delete_source)
        return running.run(archive_name)


def folder_of(source: Path) -> str:
    """Where archives of a source folder live in the store; folders of equal name are told apart."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", source.name).strip(".") or "root"
    return f"offload/{name}-{hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:8]}"


def _journal_path(archive: str) -> str:
    return archive.removesuffix(".zip") + ".json"


class _Offload:
    """One call of `execute`."""

    def __init__(self, offload: OffloadPlan, store: Store, folder: str, held: Lease, delete_source: bool) -> None:
        self.offload = offload
        self.store = store
        self.folder = folder
        self.held = held
        self.delete_source = delete_source
        self.result = OffloadResult(kept=dict(offload.kept))
        self.read_back: set[str] = set()

    def run(self, wanted: str | None) -> OffloadResult:
        result = self.result
        self._free_name(wanted)  # before anything is written
        journals = self._journals()
        known = {entry.path: entry for journal in journals for entry in journal.files}
        new = []
        for file in self.offload.files:
            if file.path in known and known[file.path].is_still(file):
                result.already_archived.append(file.path)
            else:
                new.append(file)
        if made := self._archive(new, wanted):
            journals.append(made)
            result.archive, result.archived = made.archive, [entry.path for entry in made.files]
        for journal in journals:
            if self.delete_source or journal.delete_source:
                self._delete(journal)
        result.kept = {path: why for path, why in result.kept.items() if path not in result.deleted}
        return result

    def _journals(self) -> list[Journal]:
        """Those of archives that exist; a damaged one is passed over, its archive and files are left alone."""
        paths = sorted(found.path for found in self.store.list(self.folder) if found.path.endswith(".json"))
        settled = (self._settle(journal.path) for journal in documents.whole(Journal, self.store, paths))
        return [journal for journal in settled if journal]

    def _free_name(self, wanted: str | None) -> str:
        """A path that no archive has or had; what a dropped one was called gets a number."""
        if wanted is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", wanted):
            raise UsageError(f"{wanted!r} is no archive name: use letters, digits, '.', '_' or '-'.")
        plan = self.offload
        base = (
            wanted.removesuffix(".zip") if wanted else f"offload_before_{plan.cutoff:%Y%m%d}_{plan.now:%Y%m%d_%H%M%S}"
        )
        for number in count(1):
            path = f"{self.folder}/{base}{f'_{number}' if number > 1 else ''}.zip"
            if self.store.size(path) is None:
                try:
                    dropped = documents.read(Journal, self.store, _journal_path(path)).status == "dropped"
                except NotFoundError:
                    return path
                except DamagedError:
                    dropped = False
                if dropped:
                    continue
            if wanted:
                raise UsageError(f"The archive {path} exists already: choose another name.")
        raise AssertionError("There is always another number.")

    def _archive(self, files: list[OldFile], wanted: str | None) -> Journal | None:
        """Write, publish and verify an archive; files that change meanwhile are left out and kept."""
        with scratch_folder(self.store) as scratch:
            local = scratch / "offload.zip"
            while files:
                entries, changed = _write(self.offload, files, self.delete_source, local)
                if not changed:
                    break
                self.result.kept |= dict.fromkeys(sorted(changed), CHANGED)
                files = [file for file in files if file.path not in changed]
            else:
                return None
            confirm(local, {entry.path: (entry.size, entry.sha256) for entry in entries}, [METADATA])
            with local.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            journal = self._reserve(entries, local.stat().st_size, digest, wanted)
            self.store.put_file(journal.archive, local)
            if verified := self._settle(journal.path):
                return verified
        raise StoreError(f"The store did not keep {journal.archive} as it was written; nothing was deleted.")

    def _reserve(self, entries: list[_Entry], size: int, digest: str, wanted: str | None) -> Journal:
        """Create the journal, on the condition that there is none: of two processes one gets the name."""
        while True:
            journal = Journal(
                status="publishing",
                archive=self._free_name(wanted),
                attempt=uuid.uuid4().hex,
                size=size,
                sha256=digest,
                source=str(self.offload.source),
                cutoff=self.offload.cutoff,
                created_at=self.offload.now,
                delete_source=self.delete_source,
                files=entries,
            )
            # A store may create it and lose the answer; what is there then is ours.
            if self.store.create(journal.path, journal.data()) or self.store.get(journal.path) == journal.data():
                return journal

    def _settle(self, path: str) -> Journal | None:
        """Bring a journal out of `publishing`, whoever else does; None when its archive never came to be."""
        while True:
            found = self.store.get(path)
            journal = documents.parse(Journal, found, self.store, path)
            if journal.status != "publishing":
                break
            status = "verified" if self._is_whole(journal) else "dropped"
            self.store.swap(path, found, journal.data(status=status))
        if journal.status != "dropped":
            return journal
        # Nobody deletes a file for its sake any more; who wrote it may come to this only now.
        if self.store.size(journal.archive) is not None:
            self.store.delete([journal.archive])
        return None

    def _is_whole(self, journal: Journal) -> bool:
        """Whether the archive can be read back from the store as it was written; each is read once."""
        archive = journal.archive
        if archive not in self.read_back and (
            self.store.size(archive) == journal.size and self.store.sha256(archive) == journal.sha256
        ):
            self.read_back.add(archive)
        return archive in self.read_back

    def _delete(self, journal: Journal) -> None:
        """Remove the files of a verified archive, each only while it still is what was archived."""
        source, result = self.offload.source, self.result
        there = [entry for entry in journal.files if entry.is_still(state(source, entry.path))]
        if there and not self._is_whole(journal):
            result.kept |= {entry.path: f"its archive {journal.archive} is missing or damaged" for entry in there}
            return
        self.held.renew()
        found = self.store.get(journal.path)
        stored = documents.parse(Journal, found, self.store, journal.path)
        if stored.status not in ("verified", "done") or (stored.attempt, stored.files) != (
            journal.attempt,
            journal.files,
        ):
            raise StoreError(f"{journal.path} is not what was written; nothing was deleted for its sake.")
        for entry in stored.files:
            self._held()
            if _still_holds(source, entry):
                (source / entry.path).unlink(missing_ok=True)
                result.deleted.append(entry.path)
            elif state(source, entry.path) is not None and entry.path not in stored.deleted:
                result.kept[entry.path] = CHANGED
        gone = [
            entry.path for entry in stored.files if state(source, entry.path) is None or entry.path in stored.deleted
        ]
        if (stored.status, stored.deleted) != ("done", gone):
            self.store.swap(journal.path, found, stored.data(status="done", deleted=gone))

    def _held(self) -> None:
        if not self.held.held:
            raise StoreError(
                "Another process took over this offload, because this one gave no sign of life for a minute; "
                "it finishes what is left."
            )


def _still_holds(source: Path, entry: _Entry) -> bool:
    """Whether a file is there and holds, byte for byte, what was archived: times alone can be set by anybody."""
    if not entry.is_still(state(source, entry.path)):
        return False
    try:
        with (source / entry.path).open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except FileNotFoundError:
        return False
    return same and entry.is_still(state(source, entry.path))


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
        archive.add_document(
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
