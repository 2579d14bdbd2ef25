"""Making the next items while the last one is used."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], most: int = 2) -> Iterator[T]:
    """The same items, made in a thread of their own.

    Worth it where both sides spend their time in libraries that let other threads run, as Arrow and
    DuckDB do.

    Args:
        most: how many items may be waiting, which bounds memory.

    Raises:
        Exception: whatever making an item raises, where that item would have come.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = deque(pool.submit(next, source, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]  # `end` is no item
