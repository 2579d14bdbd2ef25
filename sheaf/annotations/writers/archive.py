"""The ZIP of an export: no name leaves its root, and none is there twice, also where case makes no difference.

Not here: how it is written (`exports.zips`), nor what goes into it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from sheaf.annotations.readers.paths import normal, unsafe_path
from sheaf.errors import InputError
from sheaf.exports.zips import Zip

_MODE = 0o100644  # a file, readable by others once unpacked


class Archive:
    """A ZIP being written.

    Raises:
        InputError: an entry's name is unsafe, or differs from an earlier one in case only.
    """

    def __init__(self, path: Path) -> None:
        self._zip = Zip(path, _MODE)
        self._names: set[str] = set()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *raised: object) -> None:
        self._zip.close()

    @contextmanager
    def document(self, name: str) -> Iterator[IO[bytes]]:
        """A deflated entry to write to; one at a time."""
        with self._zip.member(self._checked(name), stored=False) as stream:
            yield cast(IO[bytes], stream)

    def numbers(self, name: str, data: bytes) -> None:
        """A deflated entry of text that is numbers, at hand as a whole."""
        self._zip.add_numbers(self._checked(name), data)

    def image(self, name: str, chunks: Iterable[bytes]) -> None:
        """An entry as it is: images are compressed already."""
        with self._zip.member(self._checked(name), stored=True) as stream:
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
