"""Memory that is free goes back to the system: allocators keep it for the next partition, on top of each other.

Here: what long work asks of the allocators. Not here: how much a step may hold, which each decides for itself.
"""

import ctypes
from contextlib import suppress

_ARENA_MAX = -8
"""`M_ARENA_MAX` of GNU's `mallopt`."""


def share() -> None:
    """One heap for all threads: with one for each, what a thread freed is of no use to the others."""
    with suppress(OSError, AttributeError):  # only where the C library is GNU's
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return what was freed to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # only where the C library is GNU's
        ctypes.CDLL(None).malloc_trim(0)
