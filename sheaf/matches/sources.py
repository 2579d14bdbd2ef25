"""Which files make a match, and what each of them is. Content decides, never a suffix."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from sheaf.errors import InputError
from sheaf.matches import database, manifest, text_logs
from sheaf.matches.lines import CHUNK, GZIP_MAGIC, LogFile, open_text
from sheaf.matches.manifest import Manifest
from sheaf.matches.records import kind_of, parse

Form = Literal["json", "csv", "console", "database", "wal", "shm", "empty", "unknown"]
_DATE = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)(?!\d)")


@dataclass(frozen=True)
class Source:
    """One file of a match; `name` is its path below the match folder, as text that any format can hold."""

    path: Path
    name: str
    form: Form

    @property
    def day(self) -> date | None:
        """The date in the file's name."""
        for found in _DATE.finditer(self.path.name):
            try:
                return date(*(int(part) for part in found.groups()))
            except ValueError:
                continue
        return None


def discover(folder: Path, match: Manifest) -> list[Source]:
    """All files of a match, by name.

    Raises:
        InputError: a glob leads out of the folder that holds the matches, or the database is missing.
    """
    root = folder.resolve()
    found: dict[Path, None] = {}
    for pattern in match.logs:
        if Path(pattern).is_absolute():
            raise InputError(f"{manifest.FILE_NAME}: the glob {pattern!r} must be relative to the match folder.")
        for path in _glob(root, pattern):
            found[_inside(root, path)] = None
    if match.database:
        path = _inside(root, root / match.database)
        if not path.is_file():
            raise InputError(f"{manifest.FILE_NAME}: the database {match.database!r} does not exist.")
        found[path] = None
    sources = [Source(path, shown(os.path.relpath(path, root)), sniff(path)) for path in found if _wanted(path)]
    return sorted(sources, key=lambda source: source.name)


def _glob(root: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from (path for path in root.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"{manifest.FILE_NAME}: {pattern!r} is no glob: {error}.") from error


def _inside(root: Path, path: Path) -> Path:
    resolved = path.resolve()
    if root.parent not in resolved.parents:
        raise InputError(f"{manifest.FILE_NAME}: {path} is outside {root.parent}, where the matches are.")
    return resolved


def _wanted(path: Path) -> bool:
    return path.name != manifest.FILE_NAME and not path.name.startswith(".")


def shown(path: str) -> str:
    """A file name as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def sniff(path: Path) -> Form:
    """What a file is. A text file is what its first recognisable line is, wherever that line stands."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "empty"
    if head == database.MAGIC:
        return "database"
    if head.startswith(database.WAL_MAGIC):
        return "wal"
    if path.name.endswith("-shm") and not head.startswith(GZIP_MAGIC):
        return "shm"
    for line in open_text(path):
        if form := _form_of(line.strip().lstrip(b"\0")):
            return form
    first = next(LogFile(path, CHUNK).blocks(), None)
    if first is None:
        return "empty"
    # All there is so far may be the beginning of a first JSON line.
    return "json" if first.tail and first.tail.raw.startswith(b"{") else "unknown"


def _form_of(line: bytes) -> Form | None:
    """The form that a line is proof of."""
    content = parse(line) if line.startswith(b"{") else None
    if content is not None and kind_of(content):
        return "json"
    if text_logs.looks_like_csv(line):
        return "csv"
    return "console" if text_logs.looks_like_console(line) else None
