"""The inbox: folders of files that stations and people drop, one below another per partition.

Here: which partitions an inbox holds, what else lies there, whether a partition changed since it was last
read, and the inbox as a source. Reading the files is each domain's own. Nothing here or there ever writes to
the inbox.
"""

import difflib
import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sheaf.errors import InputError, NotFoundError, SheafError, SourceError
from sheaf.names import PARTITION_KEY, check_partition
from sheaf.outside.files import files, open_file, unreadable
from sheaf.report import Report
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store
from sheaf.tables.work import Work

REQUESTS = "requests"
REQUEST_ENDINGS = (".yaml", ".yml", ".json")
ANSWERS = ("accepted", "rejected")


@dataclass(frozen=True)
class InboxSource:
    """The folders of one domain as a source.

    Attributes:
        root: the inbox.
        domain: its folder there.
        read: reads one partition's folder into the tables of a step.
        passes_over: names of files that need not be regular files, because `read` rejects each that is not.
    """

    root: Path
    domain: str
    read: Callable[[Path, Work], Report]
    name: str = "inbox"
    authoritative: bool = False
    passes_over: Callable[[str], bool] = lambda _: False

    def offers(self) -> Offer:
        """The folders, and what is none; an inbox that cannot be read raises, it is not empty."""
        return Offer(
            tuple(partitions(self.root, self.domain)),
            tuple(misnamed(self.root, self.domain)),
            unusable=strays(self.root, self.domain),
        )

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The fingerprint of each folder, and how long nobody has written to it."""
        for partition in partitions:
            try:
                found = arrival(self.root, self.domain, partition, self.passes_over)
            except InputError as error:  # a run refuses it, and tells everybody
                yield State(partition, _name(str(error).encode()))
            except (SheafError, OSError) as error:
                yield State(partition, problem=str(error))
            else:
                yield State(partition, found.fingerprint, found.quiet_s)

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """One folder, named by what its files hold; raises `NotFoundError` when there is none."""
        found = partition_folder(self.root, self.domain, partition)
        yield Delivery(content(found, self.passes_over), lambda work: self.read(found, work))

    def check(self) -> str:
        """How many partitions wait there."""
        found = self.offers()
        unusable = found.problems()
        problem = f", {len(unusable)} unusable: {', '.join(unusable)}" if unusable else ""
        return f"{self.root / self.domain}: {len(found.partitions)} partitions{problem}"


@dataclass(frozen=True)
class Arrival:
    """One partition in the inbox.

    Attributes:
        partition: its key, the folder's name.
        folder: where its files are.
        fingerprint: changes whenever a file appears, disappears, or changes size or time.
        quiet_s: seconds since the last of its files changed.
    """

    partition: str
    folder: Path
    fingerprint: str
    quiet_s: float


def domain_folder(root: Path, domain: str) -> Path:
    """The folder of a domain.

    Raises:
        SourceError: the inbox itself does not exist; its disk may be away, so that says nothing of what was in it.
    """
    if not root.is_dir():
        raise SourceError(f"There is no inbox at {root}: create it, or name another with --inbox or SHEAF_HOME.")
    return root / domain


def partitions(root: Path, domain: str) -> list[str]:
    """The partitions of a domain, sorted; names that cannot be partition keys are left out."""
    folder = domain_folder(root, domain)
    return [name for name in _folders(folder) if PARTITION_KEY.fullmatch(name) and _is_below(folder / name, folder)]


def misnamed(root: Path, domain: str) -> list[str]:
    """Folders that would be partitions if their names were valid."""
    return [name for name in _folders(domain_folder(root, domain)) if not PARTITION_KEY.fullmatch(name)]


def strays(root: Path, domain: str) -> dict[str, str]:
    """What lies among the folders of a domain and is none, by name, with what to do about it."""
    folder = domain_folder(root, domain)
    found = {}
    for name in _visible(folder):
        path = folder / name
        if path.is_dir():
            if not _is_below(path, folder):
                found[name] = f"It is a link that leads out of {folder}: put the folder itself there."
        elif path.is_symlink() and not path.exists():
            found[name] = "It is a link that leads nowhere: put the folder itself there, or remove it."
        elif not is_note(name):
            found[name] = f"It is no folder: put it into the folder of what it belongs to, {domain}/<name>/."
    return found


def unknown(root: Path, domains: Collection[str]) -> dict[str, str]:
    """What lies in the inbox itself, or among the requests, and nobody reads, by name, with what to do about it."""
    found = {}
    for name in _visible(root):
        if name in domains or name == REQUESTS:
            continue
        if (root / name).is_dir():
            meant = difflib.get_close_matches(name.casefold(), domains, 1)
            rename = f"rename it to {meant[0]}" if meant else f"the folders are {', '.join(domains)} and {REQUESTS}"
            found[name] = f"It is the folder of no domain and is not read: {rename}."
        elif not is_note(name):
            found[name] = f"It is not read: put it into the folder of its domain ({', '.join(domains)})."
    for name in _visible(root / REQUESTS):
        if not name.lower().endswith(REQUEST_ENDINGS) and name not in ANSWERS and not is_note(name):
            found[f"{REQUESTS}/{name}"] = f"It is no request and is not read: a request ends in {REQUEST_ENDINGS[0]}."
    return found


def is_note(name: str) -> bool:
    """Whether a file is for people, or left behind by a system, and nobody expects it to be read."""
    return bool(_NOTE.match(name))


_NOTE = re.compile(
    r"(read.?me|notes?|licen[cs]e|changelog|todo)\b|(thumbs\.db|desktop\.ini)$|.+\.(md|rst)$", re.IGNORECASE
)


def _folders(parent: Path) -> list[str]:
    return [name for name in _visible(parent) if (parent / name).is_dir()]


def _visible(parent: Path) -> list[str]:
    """The names in a folder but for hidden ones, which other systems leave; none where there is no folder."""
    try:
        names = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    except OSError as error:
        raise SourceError(f"The inbox {parent} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error
    return sorted(name for name in names if not name.startswith("."))


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a folder really lies below another one; only links may not."""
    try:
        return not path.is_symlink() or folder.resolve() in path.resolve().parents
    except (OSError, RuntimeError):
        return False


def partition_folder(root: Path, domain: str, partition: str) -> Path:
    """Where the files of one partition are.

    Raises:
        UsageError: the name cannot be a partition key.
        NotFoundError: there is no such folder.
    """
    parent = domain_folder(root, domain)
    folder = parent / check_partition(partition)
    if not folder.is_dir() or not _is_below(folder, parent):
        raise NotFoundError(f"The inbox has no {domain} {partition!r}: there is no folder {folder}.")
    return folder


def content(folder: Path, passes_over: Callable[[str], bool] = lambda _: False) -> str:
    """A hash of names and bytes of all files below a folder; their times do not matter.

    Args:
        passes_over: as in `files`.

    Raises:
        InputError: a file may not be read, or is no regular file of the folder.
        SourceError: its disk does not give it.
    """
    digest = hashlib.sha256()
    for name, path in files(folder, passes_over):
        if path is None:
            digest.update(os.fsencode(name) + b"\0no file\n")
            continue
        try:
            with open_file(path) as file:
                of_file = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from error
        digest.update(os.fsencode(name) + f"\0{of_file}\n".encode())
    return digest.hexdigest()[:32]


def arrival(root: Path, domain: str, partition: str, passes_over: Callable[[str], bool] = lambda _: False) -> Arrival:
    """How one partition looks, from names, sizes and times of its files: cheap, but what was touched looks changed.

    Raises:
        InputError: something in it is no regular file.
    """
    folder = partition_folder(root, domain, partition)
    parts = []
    newest = 0.0
    for name, path in files(folder, passes_over):
        if path is None:
            parts.append(os.fsencode(name) + b"\0no file\n")
            continue
        stat = path.stat()
        parts.append(os.fsencode(name) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode())
        newest = max(newest, stat.st_mtime)
    return Arrival(partition, folder, _name(*parts), time.time() - newest)


def _name(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
