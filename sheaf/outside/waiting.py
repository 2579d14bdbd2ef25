"""Child processes that have answered and wait to be asked again, since their imports cost more than most questions.

Here: who waits, and that nobody does so longer than our own process. Not here: what a child is asked and how it is
limited (`child`, `media/analysis/item`); each ends itself when it has waited too long.
"""

import atexit
import os
import threading
from typing import Generic, Protocol, TypeVar


class Child(Protocol):
    """A process that can be asked again."""

    @property
    def kind(self) -> object:
        """What it can be asked; equal for children that stand for each other."""
        ...

    @property
    def alive(self) -> bool:
        """Whether its process goes on."""
        ...

    def end(self) -> None:
        """End its process, whatever it does."""
        ...


ChildT = TypeVar("ChildT", bound=Child)


class Waiting(Generic[ChildT]):
    """Some of them, no more than `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._children: list[ChildT] = []
        self._lock = threading.Lock()
        atexit.register(self._end)
        os.register_at_fork(after_in_child=self._children.clear)  # they belong to the parent

    def take(self, kind: object) -> ChildT | None:
        """One that can be asked, if there is one."""
        with self._lock:
            for child in self._children:
                if child.kind == kind and child.alive:
                    self._children.remove(child)
                    return child
        return None

    def give_back(self, child: ChildT) -> None:
        """Let it wait; the one that has waited longest ends where there are too many."""
        with self._lock:
            self._children.append(child)
            spare = [self._children.pop(0)] if len(self._children) > self._most else []
        for old in spare:
            old.end()

    def _end(self) -> None:
        while self._children:
            self._children.pop().end()
