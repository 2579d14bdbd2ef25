"""Names that come from a source and become paths: image paths, archive entries, class folders.

Nothing that passes here leaves the root it is joined to, and no two names end up as one file, not
even where upper and lower case are the same.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2")
_CONTROL = re.compile(r"[\0-\x1f]")
_UNPACKED_NOWHERE = re.compile(r'[:*?"<>|\0-\x1f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def unsafe_path(path: str) -> str | None:
    """Why an image path cannot be used; None when it can."""
    if not path or _CONTROL.search(path):
        return "the image path is empty or holds control characters"
    if "\\" in path or re.match(r"[A-Za-z]:", path) or path.startswith(("/", "~")):
        return "the image path is absolute or uses backslashes: give it relative to images/ with '/'"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "the image path has empty, '.' or '..' parts: give it relative to images/"
    try:
        data = path.encode()
    except UnicodeEncodeError:
        return "the image path is not valid Unicode"
    too_long = len(data) > 255 and (len(data) > 1024 or max(map(len, data.split(b"/"))) > 255)
    return "the image path is longer than 1024 bytes, or a part of it than 255" if too_long else None


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its ending."""
    return name.lower().endswith(_IMAGES)


def normal(path: str) -> str:
    """The path in Unicode NFC, so that one name has one spelling."""
    return unicodedata.normalize("NFC", path)


def unpackable(path: str) -> str:
    """The path with parts that Windows cannot unpack made into such as it can."""
    return "/".join(_unpackable(part) for part in path.split("/"))


def _unpackable(part: str) -> str:
    part = _UNPACKED_NOWHERE.sub(lambda found: quote(found[0], safe=""), part)
    if part[-1] in ". ":
        part = f"{part[:-1]}%{ord(part[-1]):02X}"
    stem, dot, ending = part.partition(".")
    return f"{stem}_{dot}{ending}" if _RESERVED.fullmatch(part) else part


def distinct(names: Iterable[str]) -> list[str]:
    """The names with a short hash added where an earlier one is the same but for upper and lower case."""
    seen: set[str] = set()
    found = []
    for name in names:
        candidate, salt = name, 0
        while candidate.casefold() in seen:
            digest = hashlib.sha256(f"{name}\0{salt}".encode()).hexdigest()[:8]
            stem, dot, ending = name.rpartition(".")
            plain = not dot or "/" in ending
            candidate = f"{name}-{digest}" if plain else f"{stem}-{digest}.{ending}"
            salt += 1
        seen.add(candidate.casefold())
        found.append(candidate)
    return found


def short_name(name: str) -> str:
    """A file name of at most 200 bytes: the start of a longer one gives way to a hash."""
    if len(name.encode()) <= 200:
        return name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:16]}{name[-100:].encode()[-180:].decode(errors='ignore')}"


def class_folder(name: str) -> str:
    """A class name as one folder: what a path or Windows cannot hold is percent-encoded.

    Raises:
        ValueError: the name is empty, or longer than a folder name can be.
    """
    name = normal(name)
    if not name.strip():
        raise ValueError("a class has an empty name")
    folder = "".join(
        quote(letter, safe="") if letter in '/\\:*?"<>|%' or ord(letter) < 32 else letter for letter in name
    )
    if folder.strip(".") == "" or _RESERVED.fullmatch(folder):
        folder = "".join(f"%{ord(letter):02X}" for letter in folder)
    if folder[-1] in ". ":
        folder = f"{folder[:-1]}%{ord(folder[-1]):02X}"
    if folder[0] == " ":
        folder = f"%20{folder[1:]}"
    if len(folder.encode()) > 255:
        raise ValueError(f"class {name[:40]!r}… is too long for a folder name")
    return folder
