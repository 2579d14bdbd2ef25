"""Which files make a match, and what each of them is. Content decides, never a suffix."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sheaf.errors import InputError
from sheaf.matches.readers import match_yaml, sqlite, text_logs
from sheaf.matches.readers.dialects import dialect_of
from sheaf.matches.readers.json_lines import JsonLines, parse
from sheaf.matches.readers.log_blocks import CHUNK, GZIP_MAGIC, Line, LogFile, open_text
from sheaf.matches.readers.match_yaml import Manifest
from sheaf.outside.files import key_of, open_file

Form = str
"""`database`, `wal`, `shm`, `configuration`, `empty`, `unknown`, or one of those that `READERS` read."""

READERS: Mapping[Form, type[JsonLines | text_logs.MainCsv | text_logs.Console]] = {
    "json": JsonLines,
    "array": JsonLines,
    **{form: reader for form, (_, reader) in text_logs.FORMS.items()},
}
"""Who reads the lines of a file of some form."""

BY_LINE = ("json", "csv")
"""Forms in which a line means the same whatever came before it."""

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
    """All files of a match, by name, with what each is; raises `InputError` as `files` does."""
    return [Source(path, name, sniff(path)) for name, path in files(folder, match)]


def files(folder: Path, match: Manifest) -> list[tuple[str, Path]]:
    """Names and places of all files of a match, by name.

    Raises:
        InputError: a glob leads out of the folder that holds the matches, or the database is missing.
    """
    root = folder.resolve()
    found: dict[Path, None] = {}
    for pattern in match.logs:
        if Path(pattern).is_absolute():
            raise InputError(f"{match_yaml.FILE_NAME}: the glob {pattern!r} must be relative to the match folder.")
        if ".." in Path(pattern).parts[1:]:
            raise InputError(f"{match_yaml.FILE_NAME}: {pattern!r} is outside {root.parent}, where the matches are.")
        for path in _glob(root, pattern):
            found[_inside(root, path)] = None
    if match.database:
        path = _inside(root, root / match.database)
        if not path.is_file():
            raise InputError(f"{match_yaml.FILE_NAME}: the database {match.database!r} does not exist.")
        found[path] = None
    for path in tuple(found):
        log = path.with_name(f"{path.name}-wal")  # what a database has not taken over yet
        if log.is_file():
            found[_inside(root, log)] = None
    return sorted((shown(name), path) for path in found if _wanted(name := os.path.relpath(path, root), path))


def _glob(root: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from (path for path in root.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"{match_yaml.FILE_NAME}: {pattern!r} is no glob: {error}.") from error


def _inside(root: Path, path: Path) -> Path:
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{match_yaml.FILE_NAME}: {str(path)!r} is no file: {error}.") from error
    if root.parent not in resolved.parents:
        raise InputError(f"{match_yaml.FILE_NAME}: {path} is outside {root.parent}, where the matches are.")
    return resolved


def _wanted(name: str, path: Path) -> bool:
    if key_of(name) == match_yaml.CONFIG and match_yaml.has_block(path):
        return False
    parts = [part for part in Path(name).parts if part != ".."]
    return not match_yaml.is_manifest(parts[-1]) and not any(part.startswith(".") for part in parts)


def shown(path: str) -> str:
    """A file name as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def sniff(path: Path) -> Form:
    """What a file is. A text file is what its first recognisable line is, wherever that line stands."""
    with open_file(path) as file:
        head = file.read(16)
    if not head:
        return "empty"
    if head == sqlite.MAGIC:
        return "database"
    if head.startswith(sqlite.WAL_MAGIC):
        return "wal"
    if path.name.endswith("-shm") and not head.startswith(GZIP_MAGIC):
        return "shm"
    if _is_array(path):
        return "array"
    if key_of(path.name) == match_yaml.CONFIG and (content := match_yaml.configuration(path)) is not None:
        return "json" if dialect_of(content) else "configuration"
    for line in open_text(path):
        if form := _form_of(line.strip().lstrip(b"\0")):
            return form
    first = next(LogFile(path, CHUNK).blocks(), None)
    if first is None:
        return "empty"
    # All there is so far may be the beginning of a first JSON line.
    return "json" if first.tail and first.tail.raw.startswith(b"{") else "unknown"


def _is_array(path: Path) -> bool:
    """Whether a file is one JSON array of objects; a console log begins with a bracket, too."""
    start = b""
    for block in LogFile(path, CHUNK).blocks():
        start += (
            (block.data or (block.overlong or block.tail or Line(0, 0, b"")).raw).lstrip() if not start else block.data
        )
        if rest := start.removeprefix(b"[").lstrip():
            return start.startswith(b"[") and rest.startswith(b"{")
    return False


def _form_of(line: bytes) -> Form | None:
    """The form that a line is proof of."""
    content = parse(line) if line.startswith(b"{") else None
    if content is not None and dialect_of(content):
        return "json"
    return next((form for form, (looks_like, _) in text_logs.FORMS.items() if looks_like(line)), None)
