"""Files that a CSV names, held inside the media roots."""

from collections.abc import Sequence
from pathlib import Path

from sheaf.media.errors import MissingFileError, OutsideRootsError


def find_media(name: str, roots: Sequence[Path]) -> Path:
    """The file a CSV means: an absolute path below a root, or a path relative to one.

    Symbolic links are followed before the check, so they cannot lead out.

    Raises:
        OutsideRootsError: the path leaves every root.
        MissingFileError: no root has such a file.
    """
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
        except (OSError, RuntimeError) as error:  # a name that is too long, links that go in a circle
            raise MissingFileError(f"{name} cannot be looked up: {error}.") from error
    if inside:
        raise MissingFileError(f"{name} does not exist, or is no regular file.")
    raise OutsideRootsError(f"{name} is outside the media roots: move it there, or add its folder to the roots.")
