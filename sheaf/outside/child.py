"""A child process with limits, in which what others wrote is unpacked: whatever a file does to its reader stays there.

`answers` asks a module of ours that runs there; `serve` is what such a module does with what it is asked. A child is
asked one thing after another, since its imports cost more than most files, and ends itself when nobody asks. It knows
none of the secrets that stand in the environment. Imports next to nothing, because children pay for it.
Not here: what is read (`parquet_child`, the `*_child` of the domains), pairs of media (`media/analysis/item`), who
waits to be asked again (`waiting`).
"""

import fcntl
import json
import os
import select
import struct
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sheaf.errors import InputError, SheafError, SourceError
from sheaf.outside.waiting import Waiting

if TYPE_CHECKING:
    from typing_extensions import Buffer

MEMORY = 3 * 1024**3
"""Bytes of address space that a child may have."""
SECONDS = 60.0
"""So long a child may take for one piece of its answer, by the clock and of a processor."""

_AHEAD = 1 << 20
"""Bytes that a child may say before they are listened to."""
_IDLE_S = 20.0
_MOST_IDLE = 2
_GRACE_S = 5
_HEAD = struct.Struct(">cQ")
_PIECE, _END, _INPUT, _SOURCE, _MEMORY = b"p", b"e", b"i", b"s", b"m"
_ERRORS = {_INPUT: InputError, _SOURCE: SourceError}
_PASSED_ON = (
    *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "TMPDIR", "PYTHONHOME"),
    *("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "SHEAF_HOME"),
)


class ChildError(Exception):
    """A child gave no answer; the text says why, to be put behind the name of a file."""


def environment() -> dict[str, str]:
    """What a process that reads foreign files may know of our environment: nothing secret."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    root = str(Path(__file__).parents[2])
    return passed | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


class _Child:
    """A process that answers."""

    def __init__(self, module: str, memory: int) -> None:
        import subprocess

        self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            bufsize=0,
        )
        with suppress(OSError, AttributeError):  # only Linux can, and only for so many pipes of one user
            fcntl.fcntl(self.process.stdout or -1, fcntl.F_SETPIPE_SZ, _AHEAD)
        self.kind = (module, memory)

    @property
    def alive(self) -> bool:
        """Whether its process goes on."""
        return self.process.poll() is None

    def ask(self, asked: object, seconds: float) -> Generator[bytearray, None, None]:
        """The pieces of an answer."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps([asked, seconds]).encode() + b"\n")
        except BrokenPipeError as error:
            raise _GoneError from error
        while True:
            kind, length = _HEAD.unpack(self._read(_HEAD.size, seconds))
            data = self._read(length, seconds)
            if kind == _PIECE:
                yield data
            elif kind == _END:
                return
            elif kind == _MEMORY:
                raise ChildError("takes more memory than Sheaf gives it")
            else:
                raise _ERRORS[kind](data.decode(errors="surrogateescape"))

    def _read(self, length: int, seconds: float) -> bytearray:
        assert self.process.stdout
        found, at, until = bytearray(length), 0, time.monotonic() + seconds
        while at < length:
            if not select.select([self.process.stdout], [], [], max(until - time.monotonic(), 0))[0]:
                raise ChildError("takes too long to be read")
            count = self.process.stdout.readinto(memoryview(found)[at:])  # type: ignore[attr-defined]  # it is raw
            if not count:
                raise _GoneError
            at += count
        return found

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.communicate()


class _GoneError(Exception):
    """A child ended without having answered."""


_waiting: Waiting[_Child] = Waiting(_MOST_IDLE)


def answers(
    module: str, asked: object, memory: int = MEMORY, seconds: float = SECONDS
) -> Generator[bytearray, None, None]:
    """What a module of ours answers in a child process.

    Args:
        module: which calls `serve` when it is run.
        asked: what JSON can hold.
        memory: bytes that the child may take.
        seconds: how long it may take for each piece.

    Raises:
        ChildError: it crashed, needed too much memory or took too long.
        SheafError: what the module found wrong.
    """
    kept = _waiting.take((module, memory))
    child = kept or _Child(module, memory)
    used, whole, again = kept is not None, False, False
    try:
        for piece in child.ask(asked, seconds):
            used = False
            yield piece
        whole = True
    except (InputError, SourceError):
        whole = True
        raise
    except _GoneError as error:
        again = used  # it may have ended before it was asked
        if not again:
            raise ChildError("makes its reader crash") from error
    finally:
        _waiting.give_back(child) if whole else child.end()
    if again:
        yield from answers(module, asked, memory, seconds)


def serve(answer: "Callable[[Any], Iterable[Buffer]]") -> None:
    """Answer until nobody asks any more; the first argument of the program is the limit of its memory in bytes."""
    import resource

    most = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while select.select([sys.stdin], [], [], _IDLE_S)[0] and (line := sys.stdin.buffer.readline()):
        asked, seconds = json.loads(line)
        _allow(seconds)
        try:
            for piece in answer(asked):
                _say(out, _PIECE, piece)
                _allow(seconds)
            _say(out, _END)
        except SheafError as error:
            _say(
                out, _SOURCE if isinstance(error, SourceError) else _INPUT, str(error).encode(errors="surrogateescape")
            )
        except MemoryError:
            _say(out, _MEMORY)
            return


def _allow(seconds: float) -> None:
    """So much more of a processor; also for one whose parent is gone."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + _GRACE_S, hard))


def _say(out: IO[bytes], kind: bytes, data: "Buffer" = b"") -> None:
    with memoryview(data) as view:
        out.write(_HEAD.pack(kind, view.nbytes))
        out.write(view)
    out.flush()
