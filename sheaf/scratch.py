"""Local working space for files on their way into the store.

A writer works here and its result is checked here; only whole files leave. What a killed
process left behind is removed by `sweep`.
"""

import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sheaf.errors import StoreError
from sheaf.store import Store, remove_tree


def scratch_root(store: Store) -> Path:
    """Where scratch folders live: inside a local store (so that moving in is a rename), else in the temp folder."""
    if store.root is not None:
        return store.root / ".scratch"
    return Path(tempfile.gettempdir()) / "sheaf-scratch"


@contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """An empty folder that is gone afterwards, whatever happens inside."""
    folder = scratch_root(store) / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"Cannot write working files to {folder.parent}: {error.strerror}.") from error
    try:
        yield folder
    finally:
        remove_tree(folder)


def sweep(store: Store, older_than_s: float) -> int:
    """Remove scratch folders whose process is gone; those of other hosts only by age in seconds.

    Returns:
        How many folders were removed.
    """
    removed = 0
    root = scratch_root(store)
    for folder in root.iterdir() if root.is_dir() else ():
        host, pid, _ = folder.name.rsplit("-", 2)
        if host == socket.gethostname():
            abandoned = not process_runs(int(pid))
        else:
            abandoned = time.time() - folder.stat().st_mtime > older_than_s
        if abandoned:
            remove_tree(folder)
            removed += 1
    return removed


def process_runs(pid: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
