"""The inbox of the matches as a source: a folder for each, and the logs beside it that several share.

Here: whether anything that a match is made of changed, and where its folder is, which the archive asks
for. Not here: reading it (`ingest`).
"""

import hashlib
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sheaf.errors import InputError, NotFoundError, SheafError
from sheaf.matches.readers import match_yaml
from sheaf.matches.settings import MatchesSettings
from sheaf.outside.files import open_file, unreadable
from sheaf.outside.inbox import InboxSource, content, domain_folder, partition_folder
from sheaf.report import Report
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store
from sheaf.tables.work import Work

_DOMAIN = "matches"
_HOW = ("memory_mb", "database_timeout_s")
"""Settings that say how a match is read and change nothing of what comes of it."""


@dataclass(frozen=True)
class MatchInbox:
    """The match folders as a source.

    Attributes:
        root: the inbox.
        settings: those of the domain.
    """

    root: Path
    settings: MatchesSettings
    name: str = "inbox"
    authoritative: bool = False

    def offers(self) -> Offer:
        """The folders, and what is none and in none; an inbox that cannot be read raises, it is not empty."""
        offer = self._folders.offers()
        if not offer.unusable:
            return offer
        folder = domain_folder(self.root, _DOMAIN)
        used = {path for match in offer.partitions for _, path in _shared(folder / match, match)}
        return replace(
            offer,
            unusable={name: why for name, why in offer.unusable.items() if (folder / name).resolve() not in used},
        )

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """Names, sizes and times of what each match is made of, and how long nobody has written to it."""
        for state in self._folders.states(partitions):
            try:
                yield state if state.problem else self._with_shared(state)
            except (SheafError, OSError) as error:
                yield State(state.partition, problem=str(error))

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """One match, named by what its files hold; raises `NotFoundError` when there is none."""
        found = partition_folder(self.root, _DOMAIN, partition)
        name = content(found)
        if shared := _shared(found, partition):
            digest = hashlib.sha256(name.encode())
            for file, path in shared:
                digest.update(f"{file}\0{_sha256(path)}\n".encode())
            name = digest.hexdigest()[:32]
        store.put(_place(partition), os.fsencode(found.resolve()))
        yield Delivery(name, lambda work: self._read(found, work))

    def check(self) -> str:
        """How many matches wait there."""
        return self._folders.check()

    @property
    def _folders(self) -> InboxSource:
        return InboxSource(self.root, _DOMAIN, self._read)

    def _read(self, folder: Path, work: Work) -> Report:
        from sheaf.matches.readers.ingest import ingest

        how = self.settings.model_dump(include=set(_HOW))
        return ingest(folder, replace(work, settings=work.settings.model_copy(update=how)))

    def _with_shared(self, state: State) -> State:
        folder = partition_folder(self.root, _DOMAIN, state.partition)
        # Where the folder is belongs to it, so that one that was moved is looked at, and found again.
        digest = hashlib.sha256(state.token.encode() + os.fsencode(folder.resolve()))
        quiet_s = state.quiet_s
        for file, path in _shared(folder, state.partition):
            stat = path.stat()
            digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode())
            quiet_s = min(quiet_s, time.time() - stat.st_mtime)
        return replace(state, token=digest.hexdigest()[:16], quiet_s=quiet_s)


def folder_of(store: Store, match: str) -> Path:
    """Where the folder of a match was when it was looked at last.

    Raises:
        InputError: it never was.
    """
    try:
        return Path(os.fsdecode(store.get(_place(match))))
    except NotFoundError as error:
        raise InputError(
            f"Where the logs of match {match!r} are is not known: run `sheaf run matches {match}`."
        ) from error


def _sha256(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def _place(match: str) -> str:
    return f"folders/{_DOMAIN}/{match}"


def _shared(folder: Path, match: str) -> list[tuple[str, Path]]:
    """Names and places of the files beside the folder; none where `match.yaml` cannot be used, which reading tells."""
    try:
        described = match_yaml.load(folder, match, None)
        if not any(".." in wanted for wanted in (*described.logs, described.database or "")):
            return []
        from sheaf.matches.readers.files import files

        found = files(folder, described)
    except InputError:
        return []
    return [(name, path) for name, path in found if folder.resolve() not in path.parents]
