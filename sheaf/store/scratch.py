"""Local working space for files on their way into the store.

A writer works here and its result is checked here; only whole files leave. What a killed
process left behind is removed by `sweep`.
"""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sheaf.errors import SheafError, StoreError
from sheaf.plain_paths import make_private, plain
from sheaf.store.errors import is_full
from sheaf.store.lease import holders
from sheaf.store.store import Store, remove_tree, scratch_name

FOREIGN_AFTER_S = 24 * 3600.0
"""Nobody can see whether a process of another host runs; what it left untouched for a day is abandoned,
unless it has a lease, which somebody takes from it when it gives no sign of life."""

_NAME = re.compile(r"(?P<host>.+)-(?P<pid>[0-9]+)-[0-9a-f]{12}")


@contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """An empty folder that is gone afterwards, whatever happens inside; no library misreads its name.

    Raises:
        StoreError: the folder cannot be made, somebody else could change what is in it, or a disk is full, away or
            damaged, or memory is too short, whichever library noticed.
    """
    try:
        if store.root is None:
            make_private(store.scratch)
        store.scratch.mkdir(parents=True, exist_ok=True)
        folder = plain(store.scratch) / scratch_name()
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StoreError(f"Cannot write working files to {store.scratch}: {error.strerror}.") from error
    try:
        yield folder
    except SheafError as error:
        if isinstance(error, StoreError) or not is_full(str(error)):
            raise
        raise StoreError(f"The disk of {store.scratch} is full: free some space and run again.") from error
    except Exception as error:
        if said := _of_the_machine(store, error):
            raise StoreError(said) from error
        raise
    finally:
        remove_tree(folder)


def _of_the_machine(store: Store, error: Exception) -> str | None:
    """What an error says of disks or memory, as a sentence; None for one that says something else."""
    if is_full(str(error)):
        return f"The disk of {store.scratch} is full: free some space and run again."
    said = (str(error).splitlines() or [""])[0].rstrip(".")
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
        where = error.filename if isinstance(error.filename, str) else store.scratch
        return f"{where} cannot be read or written: {error.strerror or said}. Is its disk in order?"
    if type(error).__name__ == "IOException":  # DuckDB's, which is not imported for this
        return (
            f"A stored or working file cannot be read or written: {said}. `sheaf doctor --deep` looks at all of them."
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryException":
        return (
            f"There is not enough memory, or not enough room at {store.scratch} for the rest: free some and run again."
        )
    return None


def abandon(store: Store) -> None:
    """Remove what this process has in scratch, when it ends without leaving its folders in order."""
    for left in store.scratch.glob(f"{socket.gethostname()}-{os.getpid()}-*") if store.scratch.is_dir() else ():
        left.unlink(missing_ok=True) if left.is_file() else remove_tree(left)


def sweep(store: Store) -> int:
    """Remove what was left in scratch by processes that are gone.

    Returns:
        How many folders and files were removed.
    """
    found = left_behind(store)
    for left in found:
        left.unlink(missing_ok=True) if left.is_file() else remove_tree(left)
    return len(found)


def left_behind(store: Store) -> list[Path]:
    """The folders and files of processes that are gone."""
    found = []
    for left in sorted(store.scratch.iterdir()) if store.scratch.is_dir() else ():
        name = _NAME.fullmatch(left.name)
        if name is None:
            continue
        if name["host"] == socket.gethostname():
            abandoned = not process_runs(int(name["pid"]))
        else:
            abandoned = time.time() - _last_touched(left) > FOREIGN_AFTER_S and not _has_lease(store, name)
        if abandoned:
            found.append(left)
    return found


def size_of(left: Path) -> int:
    """Bytes of a file, or of all files in a folder; what is removed meanwhile counts nothing."""
    size = 0
    for path in (left, *left.rglob("*")):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _has_lease(store: Store, name: "re.Match[str]") -> bool:
    return any((holder.host, holder.pid) == (name["host"], int(name["pid"])) for holder in holders(store))


def _last_touched(left: Path) -> float:
    """When anything in a folder was written last; a file that grows does not touch its folder."""
    times = [0.0]
    for path in (left, *left.rglob("*")):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)


def process_runs(pid: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
