"""Which old files may be offloaded, and why the others stay. Changes nothing."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from sheaf.errors import InputError, UsageError
from sheaf.matches.readers import match_yaml, sqlite
from sheaf.matches.readers.clocks import Clock
from sheaf.matches.readers.files import READERS, Source, sniff
from sheaf.matches.readers.log_blocks import LogFile
from sheaf.matches.readers.match_yaml import zone_of
from sheaf.matches.settings import MatchesSettings
from sheaf.outside.files import key_of
from sheaf.store.store import Store

CutoffBy = Literal["mtime", "event_time"]
_QUIET = timedelta(minutes=10)


@dataclass(frozen=True)
class OldFile:
    """A file as it was when it was planned; a file that differs in any of this is another file."""

    path: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class OffloadPlan:
    """What an offload would do.

    Attributes:
        source: the folder.
        cutoff: files older than this are offloaded.
        cutoff_by: what counts as a file's age.
        now: when the plan was made.
        files: to be archived, by path relative to the folder.
        kept: why each other file stays.
    """

    source: Path
    cutoff: datetime
    cutoff_by: CutoffBy
    now: datetime
    files: tuple[OldFile, ...]
    kept: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes of the files to be archived."""
        return sum(file.size for file in self.files)


def plan(
    source_dir: Path,
    store: Store,
    days_old: float,
    cutoff_by: CutoffBy = "mtime",
    now: datetime | None = None,
    timezone: str = "UTC",
) -> OffloadPlan:
    """Find the files that are old enough.

    Args:
        source_dir: looked through with all its folders.
        store: the store, which is never offloaded when it lies in the folder.
        days_old: files strictly older than this many days are taken.
        cutoff_by: `mtime`, or `event_time`: the newest event in the file.
        now: by default the clock.
        timezone: of naive event times.

    Raises:
        InputError: there is no such folder.
        UsageError: `days_old` is negative.
    """
    if not source_dir.is_dir():
        raise InputError(f"{source_dir} does not exist or is no folder.")
    if days_old < 0:
        raise UsageError(f"days_old={days_old} is negative: say how many days back files are to be kept.")
    now = now or datetime.now(UTC)
    cutoff = now - timedelta(days=days_old)
    root = source_dir.resolve()
    files, kept = [], {}
    for path in sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file()):
        name = path.relative_to(root).as_posix()
        reason = _reason_to_keep(path, name, store, cutoff, cutoff_by, now, timezone)
        if reason:
            kept[os.fsencode(name).decode("utf-8", "backslashreplace")] = reason
        elif (file := state(root, name)) is not None:
            files.append(file)
    return OffloadPlan(root, cutoff, cutoff_by, now, tuple(files), kept)


def state(root: Path, name: str) -> OldFile | None:
    """A file as it is now; None when it is gone."""
    try:
        found = (root / name).lstat()
    except FileNotFoundError:
        return None
    return OldFile(name, found.st_size, found.st_mtime_ns, found.st_ino)


def _reason_to_keep(
    path: Path, name: str, store: Store, cutoff: datetime, cutoff_by: CutoffBy, now: datetime, timezone: str
) -> str | None:
    if path.is_symlink():
        return "it is a symbolic link"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is no UTF-8"
    if store.root is not None and store.root.resolve() in path.parents:
        return "it belongs to the store"
    if match_yaml.is_manifest(path.name) or key_of(path.name) == match_yaml.CONFIG:
        return "it describes a match"
    if _belongs_to_database(path):
        return "it belongs to a database"
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    if changed > now - _QUIET:
        return "it changed in the last 10 minutes"
    day = Source(path, name, "unknown").day
    if day is not None and day >= (now - timedelta(days=1)).date():
        return "it is the daily file of today or yesterday"
    if cutoff_by == "mtime":
        return None if changed < cutoff else "it is not old enough"
    newest = newest_event(path, timezone)
    if newest is None:
        return "it holds no event with a time"
    return None if newest < cutoff else "its newest event is not old enough"


def _belongs_to_database(path: Path) -> bool:
    if path.name.endswith(("-wal", "-shm", "-journal")):
        return True
    with path.open("rb") as file:
        return file.read(len(sqlite.MAGIC)) == sqlite.MAGIC


def newest_event(path: Path, timezone: str) -> datetime | None:
    """Time of the newest event in a log."""
    import pyarrow.compute as pc

    form = sniff(path)
    if form not in READERS:
        return None
    max_line = MatchesSettings().max_line_bytes
    reader = READERS[form](Clock(zone_of(timezone)), Source(path, path.name, form).day, max_line)
    times = (reader.read(block).arrow()["ts"] for block in LogFile(path, max_line, elements=form == "array").blocks())
    return match_yaml.utc(max((pc.max(column).as_py() for column in times if len(column)), default=None))
