"""The ZIP of an export: equal content gives equal bytes, and no name leaves its root.

Documents are deflated, images stored (they are compressed already); entries are streamed, above
4 GiB or 65 535 entries as ZIP64. Not here: what goes into it.
"""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sheaf.annotations.paths import normal, unsafe_path
from sheaf.errors import InputError

_FILE_MODE = 0o100644 << 16
_LEVEL = 1  # of zlib: twice as fast as its default, and a fifth larger


class Archive:
    """A ZIP being written; entries in the order in which they are added, all of 1980-01-01.

    Raises:
        InputError: an entry's name is unsafe, or differs from an earlier one in case only.
    """

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", compresslevel=_LEVEL)
        self._names: set[str] = set()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *raised: object) -> None:
        for entry in self._zip.infolist():
            entry.external_attr = _FILE_MODE  # readable by others once unpacked
        self._zip.close()

    @contextmanager
    def document(self, name: str) -> Iterator[IO[bytes]]:
        """A deflated entry to write to; one at a time."""
        self._zip.compression = zipfile.ZIP_DEFLATED
        with self._zip.open(self._checked(name), "w", force_zip64=True) as stream:
            yield stream

    def image(self, name: str, chunks: Iterable[bytes]) -> None:
        """A stored entry."""
        self._zip.compression = zipfile.ZIP_STORED
        with self._zip.open(self._checked(name), "w", force_zip64=True) as stream:
            for chunk in chunks:
                stream.write(chunk)

    def _checked(self, name: str) -> str:
        if reason := unsafe_path(name):
            raise InputError(f"{name!r} cannot be put into a ZIP: {reason}.")
        key = normal(name).casefold()
        if key in self._names:
            raise InputError(f"{name!r} would be in the ZIP twice: rename one of the images.")
        self._names.add(key)
        return name
