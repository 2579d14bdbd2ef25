"""Image files: what their headers say, and their bytes in the store.

The bytes are kept by their digest, once, so that an export as of an earlier time still finds them
after the inbox has changed.
"""

import hashlib
import shutil
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sheaf.annotations.schema import DOMAIN
from sheaf.errors import InputError
from sheaf.scratch import scratch_folder
from sheaf.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image file: width and height in pixels as stored, EXIF orientation, size in bytes, digest."""

    width: int
    height: int
    orientation: int
    file_size: int
    sha256: str


def find(root: Path | None, path: str) -> Path | None:
    """The file of an image path, whichever way its accents are spelled; None when there is none below the root."""
    if root is None:
        return None
    for form in (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)):
        found = root / form
        if found.is_file():
            return found if found.resolve().is_relative_to(root.resolve()) else None
    return None


def inspect(path: Path) -> ImageFacts:
    """Read the header and the digest of an image file.

    Raises:
        ValueError: it is no image that Pillow knows.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
                orientation = _orientation(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise ValueError("the image file cannot be read as an image") from error
    return ImageFacts(width, height, orientation, path.stat().st_size, _sha256(path))


def _orientation(image: "Image") -> int:
    """EXIF orientation 1 to 8; 1 where there is none, or none that can be read."""
    try:
        found = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # whatever a damaged EXIF block makes the parser do
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_path(project: str, sha256: str) -> str:
    """Where the bytes of an image are in the store."""
    return f"{_folder(project)}/{sha256[:2]}/{sha256}"


def keep(store: Store, project: str, files: dict[str, Path]) -> int:
    """Copy image files, by digest, into the store unless they are there; returns how many were new.

    Raises:
        InputError: a file changed since its digest was taken.
    """
    there = {item.path for item in store.list(_folder(project))}
    new = {digest: path for digest, path in files.items() if stored_path(project, digest) not in there}
    with scratch_folder(store) as folder:
        for digest, path in new.items():
            copy = folder / digest
            shutil.copyfile(path, copy)
            if _sha256(copy) != digest:
                raise InputError(f"{path} changed while it was read: run again when it is whole.")
            store.put_file(stored_path(project, digest), copy)
    return len(new)


def _folder(project: str) -> str:
    return f"images/{DOMAIN}/{project}"
