"""Local working space for files on their way into the store.

A writer works here and its result is checked here; only whole files leave. What a killed
process left behind is removed by `sweep`.
"""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sheaf.errors import StoreError
from sheaf.store import Store, remove_tree, scratch_name
from sheaf.store_errors import is_full

FOREIGN_AFTER_S = 24 * 3600.0
"""Nobody can see whether a process of another host runs; what it left untouched for a day is abandoned."""

_NAME = re.compile(r"(?P<host>.+)-(?P<pid>[0-9]+)-[0-9a-f]{12}")


@contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """An empty folder that is gone afterwards, whatever happens inside.

    Raises:
        StoreError: the folder cannot be made, or its disk became full, whoever noticed.
    """
    folder = store.scratch / scratch_name()
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"Cannot write working files to {store.scratch}: {error.strerror}.") from error
    try:
        yield folder
    except Exception as error:
        if isinstance(error, StoreError) or not is_full(str(error)):
            raise
        raise StoreError(f"The disk of {store.scratch} is full: free some space and run again.") from error
    finally:
        remove_tree(folder)


def sweep(store: Store) -> int:
    """Remove what was left in scratch by processes that are gone.

    Returns:
        How many folders and files were removed.
    """
    removed = 0
    for left in sorted(store.scratch.iterdir()) if store.scratch.is_dir() else ():
        name = _NAME.fullmatch(left.name)
        if name is None:
            continue
        if name["host"] == socket.gethostname():
            abandoned = not process_runs(int(name["pid"]))
        else:
            abandoned = time.time() - _last_touched(left) > FOREIGN_AFTER_S
        if abandoned:
            left.unlink(missing_ok=True) if left.is_file() else remove_tree(left)
            removed += 1
    return removed


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
