"""Where media may be: what a CSV names lies inside the media roots, however the name is spelled there."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from sheaf.media.errors import MissingFileError, OutsideRootsError
from sheaf.outside.files import find


def find_media(name: str, roots: Sequence[Path]) -> Path:
    """The file a CSV means: an absolute path below a root, or a path relative to one.

    Symbolic links are followed before the check, so they cannot lead out. Where there is none of exactly that
    name, one counts whose accents or ending are spelled otherwise, as another system would; of a path of another
    machine, one whose path below a root is its end.

    Raises:
        OutsideRootsError: the path leaves every root.
        MissingFileError: no root has such a file.
    """
    name = _plain(name)
    if _DRIVE.match(name):
        return _elsewhere(name, roots, "a Windows machine")
    if "\0" in name:
        raise MissingFileError("The path holds a zero byte.")
    places = _inside(name, roots)
    if places:
        found = next((path for path, there in places if there), None) or _otherwise_spelled(name, roots)
        if found:
            return found
        raise MissingFileError(f"{name} does not exist, or is no regular file.")
    if _SHARE.match(name):
        return _elsewhere(name, roots, "another machine")
    raise OutsideRootsError(f"{name} is outside the media roots: move it there, or add its folder to the roots.")


_DRIVE = re.compile(r"(?:[A-Za-z]:|\\\\[^\\/]+)[\\/]")
_SHARE = re.compile(r"(?://[^/]+|/Volumes)/")
_URL = re.compile(r"(?:file|smb)://(?:localhost)?([^/]*)(/.*)", re.I | re.S)


def _plain(name: str) -> str:
    """A path without the quotes that file managers copy along, and as itself where it is a URL."""
    if len(name) > 2 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    url = _URL.fullmatch(name)
    if not url:
        return name
    path = unquote(url[2])
    return f"//{url[1]}{path}" if url[1] else path[_DRIVE.match(path, 1) is not None :]


def _inside(name: str, roots: Sequence[Path]) -> list[tuple[Path, bool]]:
    """Where a name would lie below the roots, links followed, and whether a file is there."""
    try:
        places = [((root / name).resolve(), root.resolve()) for root in roots]
        return [(path, path.is_file()) for path, root in places if path.is_relative_to(root)]
    except OSError as error:  # a name that is too long
        raise MissingFileError(f"{name} cannot be looked up: {error.strerror}.") from error
    except RuntimeError as error:
        raise MissingFileError(f"{name} cannot be looked up: its links go in a circle.") from error


def _elsewhere(name: str, roots: Sequence[Path], where: str) -> Path:
    """The file whose path below a root is the end of a path of another machine, the longest that is there."""
    parts = [part for part in re.split(r"[\\/]", name)[1:] if part]
    if ".." not in parts:
        for first in range(len(parts) - 1):  # not by its bare name: two folders may hold one of the same name
            if found := _otherwise_spelled("/".join(parts[first:]), roots):
                return found
    raise OutsideRootsError(f"{name} is a path of {where}: copy the file below a media root and name it from there.")


def _otherwise_spelled(name: str, roots: Sequence[Path]) -> Path | None:
    """The file of a name with other accents, another ending, or backslashes."""
    for spelled in dict.fromkeys((Path(name), Path(name.replace("\\", "/")))):
        for root in roots:
            below = spelled.relative_to(root) if spelled.is_relative_to(root) else spelled
            if below.is_absolute() or ".." in below.parts:
                continue
            if found := find(root, str(below)):
                return found.resolve()
    return None
