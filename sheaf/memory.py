"""Memory that is free goes back to the system: allocators keep it for the next partition, on top of each other.

Here: what long work asks of the allocators, and what it does not load. Not here: how much a step may hold, which each
decides for itself.
"""

import ctypes
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from typing import Any

_ARENA_MAX = -8
"""`M_ARENA_MAX` of GNU's `mallopt`."""


def share() -> None:
    """One heap for all threads: with one for each, what a thread freed is of no use to the others."""
    with suppress(OSError, AttributeError):  # only where the C library is GNU's
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def lean_arrow() -> None:
    """Arrow in the one heap, and without pandas.

    Its own allocator keeps for each thread what another could use. And when it first looks for pandas it finds none:
    it would load 34 MB to see that a list is no series. Who makes a data frame of a table, or a table of a data frame,
    makes it look once more.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(hidden)


class _Hidden(MetaPathFinder):
    """Says of pandas that it is not there."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=fullname)


def give_back() -> None:
    """Return what was freed to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # only where the C library is GNU's
        ctypes.CDLL(None).malloc_trim(0)
