"""Image files: what looking at them tells, and their bytes in the store.

Each file is decoded once, in child processes (`image_child`), one for each processor. The bytes are kept by
their digest, once, so that an export as of an earlier time still finds them after the inbox has changed.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sheaf.annotations.findings import Finding
from sheaf.annotations.schema import DOMAIN
from sheaf.errors import InputError
from sheaf.outside import child
from sheaf.outside import files as delivered_files
from sheaf.store.store import Store

_AT_ONCE = 16
_FOR_A_CHILD = 64
_MODULE = f"{__package__}.image_child"
NOTES = {
    "image_format": Finding("image_format", "the image is neither JPEG nor PNG: not every loader reads it"),
    "image_cmyk": Finding("image_cmyk", "the image is CMYK: loaders show other colours, or expect three channels"),
    "image_depth": Finding("image_depth", "the image has more than 8 bits a channel: loaders may cut its brightness"),
    "image_frames": Finding("image_frames", "the image holds several frames: loaders take the first"),
    "image_not_decoded": Finding("image_not_decoded", "the image is too large to be decoded: only its checksums were"),
}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image file: width and height in pixels as stored, EXIF orientation, size in bytes, digest.

    `near` is its perceptual hash, `notes` what not every loader can read.
    """

    width: int
    height: int
    orientation: int
    file_size: int
    sha256: str
    near: int | None
    notes: tuple[Finding, ...]


def find(root: Path | None, path: str) -> Path | None:
    """The file of an image path, whichever way its accents are spelled; None when there is none below the root."""
    return delivered_files.find(root, path) if root else None


def is_there(root: Path | None, path: str) -> bool:
    """Whether anything has the path of an image, be it a link that leads elsewhere."""
    return root is not None and os.path.lexists(root / path)


def look_at(
    paths: Sequence[Path], memory: int = child.MEMORY, seconds: float = child.SECONDS
) -> Iterator[ImageFacts | Finding]:
    """Decode image files in child processes; in the order of the paths, what each is or why it cannot be used.

    Args:
        memory: bytes that a child may take.
        seconds: how long it may take for one file.
    """
    parts = iter([range(at, min(at + _AT_ONCE, len(paths))) for at in range(0, len(paths), _AT_ONCE)])
    found: list[ImageFacts | Finding | None] = [None] * len(paths)
    failed: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        try:
            while True:
                with lock:
                    part = next(parts, None)
                if part is None or failed:
                    return
                for at, answer in zip(part, _answers([paths[at] for at in part], memory, seconds), strict=True):
                    found[at] = answer
        except BaseException as error:  # told by who waits for it
            failed.append(error)

    count = min(os.cpu_count() or 1, 1 + len(paths) // _FOR_A_CHILD)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)] if paths else []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    yield from (answer for answer in found if answer is not None)


def _answers(paths: Sequence[Path], memory: int, seconds: float) -> Iterator[ImageFacts | Finding]:
    """What each file is; one over which a child dies costs only itself."""
    left = list(paths)
    while left:
        try:
            for answer in child.answers(_MODULE, [os.fspath(path) for path in left], memory, seconds):
                left.pop(0)
                yield _facts(json.loads(answer))
        except child.ChildError as error:
            left.pop(0)
            yield Finding("damaged_image", f"the image file {error}")


def _facts(answer: dict[str, Any]) -> ImageFacts | Finding:
    if "problem" in answer:
        return Finding(*answer["problem"])
    notes = tuple(NOTES[note] for note in answer.pop("notes"))
    return ImageFacts(**answer, notes=notes)


def sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_path(project: str, sha256: str) -> str:
    """Where the bytes of an image are in the store."""
    return f"{_folder(project)}/{sha256[:2]}/{sha256}"


def keep(store: Store, project: str, files: dict[str, Path], scratch: Path) -> int:
    """Copy image files, by digest, into the store unless they are there; returns how many were new.

    Args:
        scratch: a local folder for copies on their way.

    Raises:
        InputError: a file changed since its digest was taken.
    """
    there = {item.path for item in store.list(_folder(project))}
    new = {digest: path for digest, path in files.items() if stored_path(project, digest) not in there}
    for digest, path in new.items():
        copy = scratch / digest
        shutil.copyfile(path, copy)
        if sha256(copy) != digest:
            raise InputError(f"{path} changed while it was read: run again when it is whole.")
        store.put_file(stored_path(project, digest), copy)
        copy.unlink(missing_ok=True)
    return len(new)


def _folder(project: str) -> str:
    return f"images/{DOMAIN}/{project}"
