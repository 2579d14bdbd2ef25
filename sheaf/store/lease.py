"""A lease: one process at a time does a piece of work, and one that died or hangs keeps nobody waiting for ever.

The lease is one small object that is only ever replaced on condition that it is unchanged. Its holder
renews it; who waits and has seen it unchanged for longer than `DEAD_AFTER_S` by a clock of his own, or
sees that its process is gone, takes it. A holder that was taken for dead finds out when it asks `held`;
what must not happen twice is committed on a condition of its own besides.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from sheaf.errors import NotFoundError, SheafError, StoreError
from sheaf.store.store import Store

BEAT_S = 10.0
DEAD_AFTER_S = 60.0
_POLL_S = 0.2
FREE = b"free\n"
"""What a lease holds that nobody has."""

_let_go = set[str]()
"""Leases of this process that nobody holds any more, although the store says so."""


class Holder(BaseModel):
    """Who has a lease; `beat` differs at each renewal, so that it is seen to live without any clock."""

    token: str
    host: str
    pid: int
    started: str
    what: str
    beat: int = 0


class Lease:
    """A lease that is held.

    Attributes:
        held: whether it still is, as far as this process knows.
    """

    def __init__(self, store: Store, path: str, holder: Holder) -> None:
        self._store, self._path = store, path
        self._holder = holder
        self._lock = threading.Lock()
        self.held = True

    def renew(self) -> None:
        """Show that the holder lives; notes when the lease was taken meanwhile."""
        with self._lock:
            after = self._holder.model_copy(update={"beat": self._holder.beat + 1})
            self.held = self.held and _swap(self._store, self._path, _data(self._holder), after)
            self._holder = after

    def release(self) -> None:
        """Let others have it, unless one has taken it already.

        Where the store does not take it back, this process at least knows, and others see it without a beat.
        """
        with self._lock:
            if self.held:
                try:
                    self._store.swap(self._path, _data(self._holder), FREE, durable=False)
                except StoreError:  # what was done under it is done, or has an error of its own
                    _let_go.add(self._holder.token)
            self.held = False


@contextmanager
def lease(store: Store, name: str, what: str, waiting: Callable[[Holder], None] = lambda _: None) -> Iterator[Lease]:
    """Hold a lease while the block runs; waits as long as another process that lives holds it.

    Args:
        name: of the lease, a path such as `fermentation/batch-4`.
        what: what it is held for, for whoever waits.
        waiting: called once, with who holds it, when it is not free at once.
    """
    path = f"leases/{name}.json"
    ours = Holder(
        token=uuid.uuid4().hex, host=socket.gethostname(), pid=os.getpid(), started=started(os.getpid()), what=what
    )
    _acquire(store, path, ours, waiting)
    held = Lease(store, path, ours)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_S) and held.held:
            try:
                held.renew()
            except SheafError:
                continue  # a missed beat is no loss; six of them in a row are

    thread = threading.Thread(target=beat, name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        stop.set()
        thread.join()
        held.release()


def holders(store: Store) -> Iterator[Holder]:
    """Who has a lease, whether or not he lives."""
    for item in store.list("leases"):
        try:
            holder = _holder(store.get(item.path))
        except NotFoundError:
            continue
        if holder:
            yield holder


def _acquire(store: Store, path: str, ours: Holder, waiting: Callable[[Holder], None]) -> None:
    seen, since, told = b"", time.monotonic(), False
    while True:
        found = _found(store, path)
        if found != seen:
            seen, since = found, time.monotonic()
        holder = _holder(found)
        if holder is None or is_gone(holder) or time.monotonic() - since > DEAD_AFTER_S:
            if _swap(store, path, found, ours):
                return
            continue
        if not told:
            waiting(holder)
            told = True
        time.sleep(_POLL_S)


def _holder(data: bytes | None) -> Holder | None:
    """Who holds it; a damaged lease is free."""
    try:
        return Holder.model_validate_json(data or b"")
    except ValueError:
        return None


def _swap(store: Store, path: str, found: bytes | None, holder: Holder) -> bool:
    """Replace what was found; True also where the store did it and lost the answer.

    No lease outlives a power cut, for no process does; so nobody waits for a disk.
    """
    data = _data(holder)
    return store.swap(path, found, data, durable=False) or (found != data and _found(store, path) == data)


def _found(store: Store, path: str) -> bytes | None:
    try:
        return store.get(path)
    except NotFoundError:
        return None


def _data(holder: Holder) -> bytes:
    return holder.model_dump_json().encode()


def is_gone(holder: Holder) -> bool:
    """Whether a holder has ended or let go, as far as this process can tell; a number may be used again."""
    if holder.host != socket.gethostname():
        return False
    if holder.token in _let_go:
        return True
    now = started(holder.pid)
    return now == "" or now != holder.started


def started(pid: int) -> str:
    """When a process of this host began, in a form that is only compared; empty where there is none."""
    try:
        # After the name, which may hold anything; the 20th field from there is the start in clock ticks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "running"
