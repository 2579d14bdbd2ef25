"""The inbox: folders of files that stations and people drop, one below another per partition.

Here: which partitions an inbox holds, whether one changed since it was last read, and the inbox as a
source. Reading the files is each domain's own. Nothing here or there ever writes to the inbox.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sheaf.errors import InputError, NotFoundError, SheafError
from sheaf.names import PARTITION_KEY, check_partition
from sheaf.report import Report
from sheaf.sources import Offer, State
from sheaf.store import Store


@dataclass(frozen=True)
class InboxSource:
    """The folders of one domain as a source.

    Attributes:
        root: the inbox.
        domain: its folder there.
        read: reads one partition's folder into tables.
    """

    root: Path
    domain: str
    read: Callable[[Path, Store, str], Report]
    name: str = "inbox"
    authoritative: bool = False

    def offers(self) -> Offer:
        """The folders; an inbox that cannot be read raises, it is not empty."""
        return Offer(tuple(partitions(self.root, self.domain)), tuple(misnamed(self.root, self.domain)))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The fingerprint of each folder, and how long nobody has written to it."""
        for partition in partitions:
            try:
                found = arrival(self.root, self.domain, partition)
            except (SheafError, OSError) as error:
                yield State(partition, problem=str(error))
            else:
                yield State(partition, found.fingerprint, found.quiet_s)

    def ingest(self, store: Store, partition: str) -> Report:
        """Read one folder; raises `NotFoundError` when there is none."""
        return self.read(partition_folder(self.root, self.domain, partition), store, partition)

    def check(self) -> str:
        """How many partitions wait there."""
        found = self.offers()
        problem = f", {len(found.misnamed)} misnamed" if found.misnamed else ""
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
        InputError: the inbox itself does not exist.
    """
    if not root.is_dir():
        raise InputError(f"There is no inbox at {root}: create it, or name another with --inbox or SHEAF_HOME.")
    return root / domain


def partitions(root: Path, domain: str) -> list[str]:
    """The partitions of a domain, sorted; names that cannot be partition keys are left out."""
    return [name for name in _folders(domain_folder(root, domain)) if PARTITION_KEY.fullmatch(name)]


def misnamed(root: Path, domain: str) -> list[str]:
    """Folders that would be partitions if their names were valid."""
    names = _folders(domain_folder(root, domain))
    return [name for name in names if not name.startswith(".") and not PARTITION_KEY.fullmatch(name)]


def _folders(parent: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
    except OSError as error:
        raise InputError(f"The inbox {parent} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error


def partition_folder(root: Path, domain: str, partition: str) -> Path:
    """Where the files of one partition are.

    Raises:
        UsageError: the name cannot be a partition key.
        NotFoundError: there is no such folder.
    """
    folder = domain_folder(root, domain) / check_partition(partition)
    if not folder.is_dir():
        raise NotFoundError(f"The inbox has no {domain} {partition!r}: there is no folder {folder}.")
    return folder


def arrival(root: Path, domain: str, partition: str) -> Arrival:
    """The state of one partition, from names, sizes and times of its files."""
    folder = partition_folder(root, domain, partition)
    digest = hashlib.sha256()
    newest = 0.0
    for path in _files(folder):
        stat = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        newest = max(newest, stat.st_mtime)
    return Arrival(partition, folder, digest.hexdigest()[:16], time.time() - newest)


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _files(entry)
        elif entry.is_file():
            yield entry
