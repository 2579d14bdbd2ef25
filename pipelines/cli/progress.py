"""How far a command over many partitions is: a bar on a terminal, a line for each partition elsewhere.

Here: what is shown while it works, and what is said when it is stopped in the middle. Not here: what is shown
of the results (`show`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from pipelines.cli import show, stop

if TYPE_CHECKING:
    from pipelines.cli.results import Result

_NAMED = 3


class Progress:
    """The partitions of a command, as they are finished.

    Attributes:
        found: the results so far.
    """

    def __init__(self, *, quiet: bool) -> None:
        """Begin to show; with `quiet`, only what is said when the command is stopped."""
        self.found: list[Result] = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = quiet or not show.ERR.is_terminal
        self._lines = not quiet and hidden
        self._bar = Bar(*columns, console=show.ERR, transient=True, disable=hidden)
        self._task = self._bar.add_task("", total=None)
        self._left: dict[tuple[str, str], None] = {}
        self._now: tuple[str, str] | None = None
        self._finished = 0
        stop.say(self._stopped)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def plan(self, domain: str, partitions: Sequence[str]) -> None:
        """What is going to be done, as soon as it is known."""
        self._left |= {(domain, partition): None for partition in partitions}
        self._bar.update(self._task, total=self._finished + len(self._left))

    @contextmanager
    def of(self, domain: str, partition: str) -> "Iterator[list[Result]]":
        """One partition: the block fills its results in."""
        stop.check()
        self._now = domain, partition
        self._bar.update(self._task, description=f"{domain} {partition}")
        started, results = time.monotonic(), []
        yield results
        self.found += results
        del self._left[self._now]
        self._now = None
        self._finished += 1
        self._bar.advance(self._task)
        if self._lines:
            show.say(f"{domain} {escape(partition)}  {_came_of(results)}  {time.monotonic() - started:.1f} s")

    def _stopped(self) -> str:
        left = [name for name in self._left if name != self._now]
        parts = [f"{self._finished} finished"]
        if self._now:
            parts.append(f"{' '.join(self._now)} broken off")
        if left:
            named = ", ".join(" ".join(name) for name in left[:_NAMED])
            parts.append(f"{len(left)} not begun ({named}{', …' if len(left) > _NAMED else ''})")
        return f"Stopped: {', '.join(parts)}. What is published stays; the same command goes on with the rest."


def _came_of(results: "Sequence[Result]") -> str:
    from sheaf.exports.records import Status

    good = [result for result in results if result.status is Status.COMPLETED]
    new = sum(not result.unchanged for result in good)
    exports = f"{len(good)} export{'' if len(good) == 1 else 's'}, {new} new"
    failed = len(results) - len(good)
    return exports if not failed else f"{exports}, {failed} failed" if good else "failed"
