"""Where media may be: what a CSV names lies inside the media roots, however the name is spelled there."""

import re
from collections.abc import Sequence
from pathlib import Path

from sheaf.media.errors import MissingFileError, OutsideRootsError
from sheaf.outside.files import find


def find_media(name: str, roots: Sequence[Path]) -> Path:
    """The file a CSV means: an absolute path below a root, or a path relative to one.

    Symbolic links are followed before the check, so they cannot lead out. Where there is none of exactly that
    name, one counts whose accents or ending are spelled otherwise, as another system would.

    Raises:
        OutsideRootsError: the path leaves every root.
        MissingFileError: no root has such a file.
    """
    if _DRIVE.match(name):
        return _of_windows(name, roots)
    if "\0" in name:
        raise MissingFileError("The path holds a zero byte.")
    inside = False
    for root in (folder.resolve() for folder in roots):
        try:
            path = (root / name).resolve()
            if path.is_relative_to(root):
                inside = True
                if path.is_file():
                    return path
        except OSError as error:  # a name that is too long
            raise MissingFileError(f"{name} cannot be looked up: {error.strerror}.") from error
        except RuntimeError as error:
            raise MissingFileError(f"{name} cannot be looked up: its links go in a circle.") from error
    if inside and (other := _otherwise_spelled(name, roots)):
        return other
    if inside:
        raise MissingFileError(f"{name} does not exist, or is no regular file.")
    raise OutsideRootsError(f"{name} is outside the media roots: move it there, or add its folder to the roots.")


_DRIVE = re.compile(r"(?:[A-Za-z]:|\\\\[^\\/]+)[\\/]")


def _of_windows(name: str, roots: Sequence[Path]) -> Path:
    """The file whose path below a root is the end of a path of another machine, the longest that is there."""
    parts = [part for part in re.split(r"[\\/]", name)[1:] if part]
    if ".." not in parts:
        for first in range(len(parts) - 1):  # not by its bare name: two folders may hold one of the same name
            if found := _otherwise_spelled("/".join(parts[first:]), roots):
                return found
    raise OutsideRootsError(
        f"{name} is a path of a Windows machine: copy the file below a media root and name it from there."
    )


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
