"""Files that others put where Sheaf reads: the one door through which they are listed, found and opened.

Only regular files count, and only where they really lie in the folder they are looked for in: what a link leads
to elsewhere was not delivered, and a pipe or a device never ends. Hidden files are what other systems leave
behind; they are neither listed nor found. Here: which files there are, however their names are spelled, and
how much of one is held at once. Not here: what they mean (the readers of the domains), tables (`table_files`),
YAML (`yaml_files`), Parquet (`parquet`).
"""

import errno
import io
import os
import stat
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path

from sheaf.errors import InputError, SheafError, SourceError

MOST_FILES = 1_000_000
DEEPEST = 32
LISTING_S = 300.0
MOST_LINE = 16 * 1024 * 1024
"""A longer line, or cell of a CSV, is refused before it is held."""

_OUTAGES = {
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ENODEV, errno.EHOSTDOWN, errno.EREMOTEIO),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
"""What a disk that is away or broken answers, or a machine at its end: it says nothing of the file."""
_SETTLED_NS = 2_000_000_000


def files(folder: Path, passes_over: Callable[[str], bool] = lambda _: False) -> Iterator[tuple[str, Path | None]]:
    """All files below a folder, with their names below it; links to files inside it count as files.

    Args:
        passes_over: of which names it does not matter that they are no regular file of the folder; they come
            with None.

    Raises:
        InputError: something below it is no regular file of it, or there is too much.
        SourceError: it cannot be listed, or not in time.
    """
    limit = time.monotonic() + LISTING_S
    waiting, count = [(folder, "", 0)], 0
    while waiting:
        place, prefix, depth = waiting.pop()
        if depth > DEEPEST:
            raise InputError(f"{place} lies more than {DEEPEST} folders deep: put the files nearer to the top.")
        below = []
        for entry in _entries(place):
            count += 1
            if count > MOST_FILES:
                raise InputError(f"{folder} holds more than {MOST_FILES} files: divide it.")
            if time.monotonic() > limit:
                raise SourceError(f"{folder} could not be listed within {LISTING_S:.0f} s: is its disk in order?")
            if entry.is_dir(follow_symlinks=False):
                below.append((place / entry.name, f"{prefix}{entry.name}/", depth + 1))
            else:
                name = f"{prefix}{entry.name}"
                try:
                    found = _of_folder(entry, place, folder)
                except InputError:
                    if not passes_over(name):
                        raise
                    found = None
                yield name, found
        waiting += reversed(below)


def named(folder: Path, wanted: Collection[str]) -> dict[str, Path]:
    """Those of some files that lie directly in a folder, however upper and lower case are used in their names.

    Raises:
        InputError: one of them is no regular file of the folder, or is there twice.
        SourceError: it cannot be listed.
    """
    by_key = {key_of(name): name for name in wanted}
    found: dict[str, Path] = {}
    for entry in _entries(folder):
        meant = by_key.get(key_of(entry.name))
        if meant is None:
            continue
        if meant in found:
            raise InputError(f"{folder}: {found[meant].name} and {entry.name} are the same: keep one of them.")
        found[meant] = _of_folder(entry, folder, folder)
    return found


def top_files(folder: Path) -> list[Path]:
    """The files directly in a folder, sorted.

    Raises:
        InputError: one of them is no regular file of the folder.
        SourceError: it cannot be listed.
    """
    return [_of_folder(entry, folder, folder) for entry in _entries(folder) if not entry.is_dir(follow_symlinks=False)]


def find(folder: Path, name: str) -> Path | None:
    """A file by a name below a folder, however its accents and the case of its ending are spelled.

    Returns:
        None where there is no such file, or nothing that is a regular file of the folder.
    """
    here = folder
    parts = Path(name).parts
    try:
        for part in parts:
            if part.startswith("."):
                return None
            spelled = here / part
            if not os.path.lexists(spelled):
                others = _spellings(here).get(_spelling(part), ())
                if not others:
                    return None
                spelled = here / others[0]
            here = spelled
        require_inside(here, folder)
        return here if parts and here.is_file() else None
    except (InputError, SourceError, OSError, ValueError):
        return None


def require_inside(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of a folder, or in a circle: what it leads to was not put there.

    Raises:
        InputError: it is one.
    """
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        raise InputError(f"{path} is a link that leads to no file of {folder}: put the file itself there.")


def unreadable(path: Path, error: Exception) -> SheafError:
    """The error of a file that cannot be read: an outage where its disk is at fault, else one of what was delivered."""
    if isinstance(error, OSError) and error.errno in _OUTAGES:
        return SourceError(f"{path} cannot be read: {error.strerror}. Is its disk in order?")
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{path} cannot be read: {reason}. Allow Sheaf to read it.")


def open_file(path: Path) -> io.BufferedReader:
    """Open a file for reading without ever waiting for somebody to write to it.

    Raises:
        InputError: it is gone, no regular file, or Sheaf may not read it.
        SourceError: its disk does not give it.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise InputError(f"{path} is no regular file: put a file there, or remove it.")
    return os.fdopen(number, "rb")


def read_bytes(path: Path, most: int) -> bytes:
    """All bytes of a file.

    Raises:
        InputError: it cannot be read, is no regular file, or holds more than `most` bytes.
    """
    try:
        with open_file(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > most:
        raise InputError(f"{path} is larger than {most >> 20} MB, which is more than Sheaf reads of such a file.")
    return data


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends, one after another.

    Raises:
        InputError: it cannot be read, or a line is too long to be held.
    """
    try:
        with open_file(path) as file:
            number = 0
            while line := file.readline(MOST_LINE + 1):
                number += 1
                if len(line) > MOST_LINE:
                    raise InputError(f"{path} line {number} is longer than {MOST_LINE >> 20} MB: is it damaged?")
                yield line
    except OSError as error:
        raise unreadable(path, error) from error


def key_of(name: str) -> str:
    """What two names have in common that differ only in case or in how accents are spelled."""
    return unicodedata.normalize("NFC", name).casefold()


def _spelling(name: str) -> str:
    stem, dot, ending = unicodedata.normalize("NFC", name).rpartition(".")
    return f"{stem}{dot}{ending.lower()}" if dot else ending


def _spellings(folder: Path) -> dict[str, list[str]]:
    """The names in a folder by their spelling; kept as long as it looks the same."""
    changed = folder.stat().st_mtime_ns
    settled = time.time_ns() - changed > _SETTLED_NS  # what changed just now may change again within the same tick
    return _kept_spellings(folder, changed) if settled else _read_spellings(folder)


@lru_cache(maxsize=32)
def _kept_spellings(folder: Path, _changed: int) -> dict[str, list[str]]:
    return _read_spellings(folder)


def _read_spellings(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in _entries(folder):
        found.setdefault(_spelling(entry.name), []).append(entry.name)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error


def _of_folder(entry: os.DirEntry[str], place: Path, folder: Path) -> Path:
    """The path of an entry that is a regular file, or a link to one inside the folder."""
    path = place / entry.name
    try:
        if entry.is_symlink():
            require_inside(path, folder)
            if path.is_dir():
                raise InputError(f"{path} is a link to a folder: put the folder itself there.")
            if not path.exists():
                raise InputError(f"{path} is a link that leads to no file of {folder}: put the file itself there.")
        if not entry.is_file():
            raise InputError(f"{path} is no regular file: put a file there, or remove it.")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error
    return path
