"""Zip archives whose every member carries a sha256: written in a streaming way, then read back.

Equal members give equal bytes: no clock, no user, no machine goes in unless the caller says so.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sheaf.errors import VerificationError

CHUNK = 4 * 1024 * 1024
_AT_ONCE = 4
EARLIEST = (1980, 1, 1, 0, 0, 0)
_COMPRESSED = (".gz", ".parquet", ".zip")


class Zip:
    """An archive being written; `members` holds size and sha256 of what is in it."""

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True)
        self.members: dict[str, tuple[int, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, source: IO[bytes], size: int, date: tuple[int, int, int, int, int, int] = EARLIEST) -> str:
        """Add the first `size` bytes of a stream.

        Returns:
            Their sha256.
        """
        with self.member(name, date) as target:
            while target.size < size and (chunk := source.read(min(CHUNK, size - target.size))):
                target.write(chunk)
        return self.members[name][1]

    @contextmanager
    def member(self, name: str, date: tuple[int, int, int, int, int, int] = EARLIEST) -> Iterator["Member"]:
        """Open one member for writing; it is in `members` when it is whole."""
        info = zipfile.ZipInfo(name, max(date, EARLIEST))
        info.external_attr = 0o644 << 16
        info.compress_type = zipfile.ZIP_STORED if name.endswith(_COMPRESSED) else zipfile.ZIP_DEFLATED
        info._compresslevel = 1  # type: ignore[attr-defined]  # logs shrink to a tenth already; higher levels cost minutes
        with self._file.open(info, "w", force_zip64=True) as file:
            member = Member(file)
            yield member
        self.members[name] = (member.size, member.digest.hexdigest())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add a small document."""
        self._file.writestr(zipfile.ZipInfo(name, EARLIEST), data, zipfile.ZIP_DEFLATED)


class Member:
    """A member being written, with its size and sha256 so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        """Add some bytes."""
        self.digest.update(data)
        self._file.write(data)
        self.size += len(data)


def confirm(path: Path, expected: Mapping[str, tuple[int, str]], documents: Iterable[str] = ()) -> None:
    """Read an archive back: every member with its size and sha256, and nothing else but the documents.

    Raises:
        VerificationError: naming the first member that differs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if sorted(names) != sorted([*expected, *documents]):
                raise VerificationError(f"{path.name} does not hold the members it should.")
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                found = pool.map(lambda name: _read(archive, name), expected)
            for name, seen in zip(expected, found, strict=True):
                if seen != expected[name]:
                    raise VerificationError(f"{path.name}: {name} is not what was put in.")
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise VerificationError(f"{path.name} is no whole zip file: {error}.") from error


def _read(archive: zipfile.ZipFile, name: str) -> tuple[int, str]:
    """Size and sha256 of a member."""
    digest, seen = hashlib.sha256(), 0
    with archive.open(name) as member:
        while chunk := member.read(CHUNK):
            digest.update(chunk)
            seen += len(chunk)
    return seen, digest.hexdigest()
