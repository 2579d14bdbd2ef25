"""The child process that looks at image files: it decodes each once, so that none that cannot be is ever trained on.

It imports Pillow and next to nothing of Sheaf. Not here: asking it (`image_files`), its limits (`outside/child`).
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image

from sheaf.outside.child import serve

EXIF_ORIENTATION = 0x0112
MOST_PIXELS = 1_000_000_000
MOST_DECODED = 100_000_000
_USUAL = ("JPEG", "PNG")
_HASHED = (9, 8)


def look(path: str) -> dict[str, Any]:
    """Decode an image file.

    Returns:
        `sha256`, `file_size`, `width`, `height` (pixels as stored), `orientation` (EXIF, 1 to 8), `near` (see
        `difference_hash`) and `notes`, codes of what not every loader can read; or `problem`, a code and a sentence.
    """
    facts: dict[str, Any] = {"notes": [], "near": None}
    with open(path, "rb") as file:  # noqa: PTH123
        facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        facts["file_size"] = os.fstat(file.fileno()).st_size
    try:
        with Image.open(path) as image:
            facts["width"], facts["height"] = image.size
            pixels = image.width * image.height
            if pixels > MOST_PIXELS:
                return {"problem": ["too_many_pixels", "the image has more pixels than Sheaf unpacks"]}
            facts["orientation"] = orientation = _orientation(image)
            facts["notes"] = _notes(image)
    except Exception:  # whatever a damaged header makes the parser of its format do
        return {"problem": ["unreadable_image", "the image file cannot be read as an image"]}
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                image.draft("L", (max(image.width // 8, 16), max(image.height // 8, 16)))
            elif pixels > MOST_DECODED:
                facts["notes"].append("image_not_decoded")
                image.verify()
                return facts
            image.load()
            facts["near"] = difference_hash(image, orientation)
    except MemoryError:
        return {"problem": ["too_many_pixels", "unpacking the image takes more memory than Sheaf gives it"]}
    except Exception as error:  # as above
        return {"problem": ["damaged_image", f"the image file is damaged: {str(error)[:80]}"]}
    return facts


def difference_hash(image: Image.Image, orientation: int) -> int | None:
    """64 bits that hardly change when a picture is scaled or compressed: which of 9 x 8 pixels outshine the next.

    Source: N. Krawetz, https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html.
    Returns None where the picture cannot be made grey, or is all of one brightness.
    """
    try:
        small = image.convert("L").resize((32, 32), Image.Resampling.BOX)
    except (ValueError, OSError):
        return None
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    if turn is not None:
        small = small.transpose(Image.Transpose(turn))
    grey = small.resize(_HASHED, Image.Resampling.BOX).tobytes()
    if max(grey) - min(grey) < 8:
        return None
    bits = 0
    for row in range(8):
        for column in range(8):
            bits = bits << 1 | (grey[row * 9 + column] > grey[row * 9 + column + 1])
    return bits - (1 << 64) if bits >> 63 else bits


def _notes(image: Image.Image) -> list[str]:
    found = []
    if image.format not in _USUAL:
        found.append("image_format")
    if image.mode == "CMYK":
        found.append("image_cmyk")
    if image.mode.startswith(("I", "F")):
        found.append("image_depth")
    if getattr(image, "n_frames", 1) > 1:
        found.append("image_frames")
    return found


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none, or none that can be read."""
    try:
        found = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # whatever a damaged EXIF block makes the parser do
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def answer(paths: list[str]) -> Iterator[bytes]:
    """What `look` gives for each of some files, as JSON."""
    for path in paths:
        try:
            found = look(path)
        except OSError as error:
            found = {"problem": ["unreadable_image", f"the image file cannot be read: {error.strerror}"]}
        yield json.dumps(found).encode()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    serve(answer)
