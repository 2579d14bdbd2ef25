"""Stopping a command: Ctrl+C or SIGTERM ends it in order within seconds, and a second one at once.

The first signal raises in the main thread, so that everything on the way out is put right: leases, scratch
folders, exports in the making. A thread hears it too, even while the main thread is deep in a library that
does not listen, and ends the process when that takes too long. Here: signals and what is said. Not here: the
end of a Dagster run (`in_process`), nor how far a command is (`progress`).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from select import select
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
IN_ORDER_S = 3.5
"""So long the way out may take; five seconds after the signal the process is gone in any case."""
HURRIED_S = 0.8
_TIDY = b"\r\x1b[2K\x1b[?25h"  # of a terminal: without a half line of progress, and with its cursor


class Stopped(BaseException):
    """Somebody wants the command to end; no part of Sheaf may take it for an error and go on."""


@dataclass
class _Command:
    signal: int | None = None
    raised: bool = False
    heard: threading.Event = field(default_factory=threading.Event)
    sentence: Callable[[], str] = lambda: (
        "Stopped. What was published before stays; the same command goes on with the rest."
    )
    hurried: list[Callable[[], object]] = field(default_factory=list)


_command = _Command()


def asked() -> bool:
    """Whether the command is to end."""
    return _command.raised or _command.signal is not None


def check() -> None:
    """Raise `Stopped` if the command is to end: between two pieces of work, also where a library lost the signal."""
    if asked():
        raise Stopped


def say(sentence: Callable[[], str]) -> None:
    """What to tell when the command is stopped: what is finished, what is not, how to go on."""
    _command.sentence = sentence


def leave() -> NoReturn:
    """Say it, and end the process with what shells expect of one that a signal ended.

    At once: to take an interpreter down that has loaded Dagster and pandas keeps a person waiting for a second.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    _command.heard.wait(1.0)  # the thread may hear of it a moment later
    _end(_command)


@contextmanager
def hurried(put_right: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread when there is no time to leave the block in order."""
    _command.hurried.append(put_right)
    try:
        yield
    finally:
        _command.hurried.remove(put_right)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let signals end the block by `Stopped`, and the process if that takes too long."""
    global _command
    if threading.current_thread() is not threading.main_thread():  # Python hears signals in the main thread only
        yield
        return
    _command = _Command()
    heard, hears = os.pipe()
    os.set_blocking(hears, False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # what `nohup` and shells in the background ignore stays ignored
            signal.signal(number, _raise)
    old, sys.unraisablehook = signal.set_wakeup_fd(hears, warn_on_full_buffer=False), _unraisable
    threading.Thread(target=_listen, args=(heard, _command), name="signals", daemon=True).start()
    try:
        yield
    finally:
        if not asked():  # else the process is about to end, and has to
            signal.set_wakeup_fd(old)
            sys.unraisablehook = sys.__unraisablehook__
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(hears)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """An interrupt that hit where nothing can be raised is no news: `asked` still holds."""
    if not asked():
        sys.__unraisablehook__(lost)


def _raise(number: int, frame: FrameType | None) -> None:
    if not _command.raised:
        _command.raised = True
        raise Stopped


def _listen(heard: int, command: _Command) -> None:
    """Hear the first signal, then wait for a second one or the end of patience; the block's end ends it as well."""
    first = _next(heard, None)
    if first:
        command.signal = first
        command.heard.set()
        if _next(heard, IN_ORDER_S) != 0:
            _end_at_once(command)
    os.close(heard)


def _next(heard: int, seconds: float | None) -> int | None:
    """The next signal that ends a command; 0 when there will be none, None when the time is up."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if end is None else max(end - time.monotonic(), 0)
        if not select([heard], [], [], left)[0]:
            return None
        number = os.read(heard, 1)
        if not number:
            return 0
        if number[0] in SIGNALS:
            return number[0]


def _end_at_once(command: _Command) -> None:
    """End the process, whatever its main thread is doing."""

    def put_right() -> None:
        for one in reversed(command.hurried):
            with suppress(Exception):
                one()

    thread = threading.Thread(target=put_right, daemon=True)
    thread.start()
    thread.join(HURRIED_S)
    _end(command)


def _end(command: _Command) -> NoReturn:
    with suppress(OSError):
        os.write(2, (_TIDY if os.isatty(2) else b"") + f"{command.sentence()}\n".encode())
    os._exit(128 + (command.signal or signal.SIGINT))
