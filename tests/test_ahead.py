"""Items made ahead of their use."""

import threading
from collections.abc import Iterator

import pytest

from sheaf.ahead import ahead


def test_items_come_in_order_and_from_another_thread() -> None:
    found = list(ahead((number, threading.current_thread()) for number in range(100)))
    assert [number for number, _ in found] == list(range(100))
    assert {thread for _, thread in found}.isdisjoint({threading.current_thread()})


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    found = ahead(items())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(found)


def test_no_more_is_made_than_may_wait() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    found = ahead(items(), most=3)
    assert next(found) == 0
    found.close()  # as when a writer fails; waits for what is being made
    assert len(made) <= 4
