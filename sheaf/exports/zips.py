"""ZIP archives of all domains: written in a streaming way, then read back.

Equal members give equal bytes: no clock, no user, no machine goes in unless the caller says so. zlib-ng deflates them,
to the same on every kind of processor and in whatever pieces they come; the standard library reads them back, as
others will. Above 4 GiB or 65 535 members it is ZIP64. Not here: what goes into an archive, and how its members may
be called.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from zlib_ng import zlib_ng

from sheaf.errors import VerificationError

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")
Date = tuple[int, int, int, int, int, int]
"""Year, month, day, hour, minute, second."""

CHUNK_BYTES = 512 * 1024  # what is larger, the C library asks the system for each time
EARLIEST: Date = (1980, 1, 1, 0, 0, 0)
"""The zip format's zero."""

_AT_ONCE = 4
# the one below holds a third more, those above take longer for a twentieth less
_LEVEL = 2
_COMPRESSED = (".gz", ".parquet", ".zip")
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError)


class Zip:
    """An archive being written, its members in the order in which they are added.

    Attributes:
        members: size and sha256 of what was streamed into it, by name.
    """

    def __init__(self, path: Path, mode: int = 0o644, *, hashed: bool = True) -> None:
        """Begin an archive.

        Args:
            mode: type and permissions that members have where they are unpacked.
            hashed: whether anybody asks for the sha256 of members, which takes half as long as deflating them.
        """
        self._hashed = hashed
        self._file = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._mode = mode
        self.members: dict[str, tuple[int, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the list of members, which makes it whole."""
        self._file.close()

    def add(self, name: str, source: IO[bytes], size: int, date: Date = EARLIEST) -> str:
        """Add the first `size` bytes of a stream.

        Returns:
            Their sha256.
        """
        with self.member(name, date) as target:
            while target.size < size and (chunk := source.read(min(CHUNK_BYTES, size - target.size))):
                target.write(chunk)
        return self.members[name][1]

    @contextmanager
    def member(self, name: str, date: Date = EARLIEST, *, stored: bool | None = None) -> Iterator["Member"]:
        """Open one member for writing, one at a time; it is in `members` when it is whole.

        Args:
            stored: whether it is kept as it is; by itself, what is compressed already by its name.
        """
        stored = name.lower().endswith(_COMPRESSED) if stored is None else stored
        info = self._info(name, date, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        info.CRC = info.file_size = info.compress_size = 0  # known at the end
        file: Any = self._file
        info.header_offset = file.start_dir
        file.fp.seek(info.header_offset)
        file.fp.write(info.FileHeader(zip64=True))
        member = Member(file.fp, None if stored else _packer(), hashlib.sha256() if self._hashed else None)
        yield member
        info.CRC, info.file_size, info.compress_size = member.finish()
        file.fp.seek(info.header_offset)
        file.fp.write(info.FileHeader(zip64=True))
        self._list(info)
        self.members[name] = (member.size, member.digest.hexdigest() if member.digest else "")

    def add_numbers(self, name: str, data: bytes, date: Date = EARLIEST) -> None:
        """Add a deflated member of text that is numbers, at hand as a whole, much sooner than by `member`.

        Digits are made shorter one by one: they hardly repeat, and to look for where they do takes as long again, for
        a twenty-fifth less. Going back to a header and forth again takes longer than all that a small member holds.
        """
        packer = _packer(zlib_ng.Z_HUFFMAN_ONLY)
        packed = packer.compress(data) + packer.flush()
        info = self._info(name, date, zipfile.ZIP_DEFLATED)
        info.CRC, info.file_size, info.compress_size = zlib_ng.crc32(data), len(data), len(packed)
        file: Any = self._file
        info.header_offset = file.start_dir
        file.fp.seek(info.header_offset)
        file.fp.write(info.FileHeader(zip64=True) + packed)
        self._list(info)
        self.members[name] = (len(data), hashlib.sha256(data).hexdigest())

    def _list(self, info: zipfile.ZipInfo) -> None:
        """Have a member that is whole in the list: what the standard library's members do when they are closed."""
        file: Any = self._file
        file.start_dir = info.header_offset + len(info.FileHeader(zip64=True)) + info.compress_size
        file.filelist.append(info)
        file.NameToInfo[info.filename] = info
        file._didModify = True

    def _info(self, name: str, date: Date, how: int) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name, max(date, EARLIEST))
        info.external_attr = self._mode << 16
        info.compress_type = how
        return info

    def add_document(self, name: str, data: bytes) -> None:
        """Add a small document about the members; it is none of them."""
        self._file.writestr(zipfile.ZipInfo(name, EARLIEST), data, zipfile.ZIP_DEFLATED)


def _packer(strategy: int = zlib_ng.Z_DEFAULT_STRATEGY) -> Any:
    return zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS, zlib_ng.DEF_MEM_LEVEL, strategy)


class Member(io.BufferedIOBase):
    """A member being written, with its size and, where it is asked for, its sha256 so far."""

    def __init__(self, file: IO[bytes], packer: Any, digest: Any) -> None:
        self._file, self._packer, self.digest = file, packer, digest
        self._crc, self._packed = 0, 0
        self.size = 0

    def writable(self) -> bool:
        """It is; text goes through `io.TextIOWrapper`."""
        return True

    def write(self, data: "Buffer", /) -> int:
        """Add some bytes."""
        if self.digest:
            self.digest.update(data)
        self._crc = zlib_ng.crc32(data, self._crc)
        written = memoryview(data).nbytes
        self.size += written
        self._put(self._packer.compress(data) if self._packer else data)
        return written

    def finish(self) -> tuple[int, int, int]:
        """Write what is left of it; gives its CRC-32, its size, and how many bytes it takes."""
        if self._packer:
            self._put(self._packer.flush())
        return self._crc, self.size, self._packed

    def _put(self, data: "Buffer") -> None:
        self._packed += memoryview(data).nbytes
        self._file.write(data)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive to be read back.

    Raises:
        VerificationError: it is no whole zip file, also where that is noticed while it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGED as error:
        raise VerificationError(f"{path.name} is no whole zip file: {error}.") from error


def confirm(path: Path, expected: Mapping[str, tuple[int, str]], documents: Iterable[str] = ()) -> None:
    """Read an archive back: every member with its size and sha256, and nothing else but the documents.

    Raises:
        VerificationError: naming the first member that differs.
    """
    _compare(path, expected, documents, _digest)


def confirm_whole(path: Path, expected: Mapping[str, int], documents: Iterable[str] = ()) -> None:
    """Read an archive back: every member with its size and CRC-32, and nothing else but the documents.

    The CRC-32 is of what was put in, as it was put in: where nothing is deleted for the archive's sake, a sha256 says
    nothing more, and takes longer than all else of reading it.

    Raises:
        VerificationError: naming the first member that differs.
    """
    _compare(path, expected, documents, lambda member: sum(map(len, iter(lambda: member.read(CHUNK_BYTES), b""))))


def _compare(path: Path, expected: Mapping[str, T], documents: Iterable[str], look: Callable[[IO[bytes]], T]) -> None:
    def read(name: str) -> T:
        with archive.open(name) as member:  # which compares the CRC-32 itself
            return look(member)

    with opened(path) as archive:
        names = archive.namelist()
        if sorted(names) != sorted([*expected, *documents]):
            raise VerificationError(f"{path.name} does not hold the members it should.")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, seen in zip(expected, pool.map(read, expected), strict=True):
                if seen != expected[name]:
                    raise VerificationError(f"{path.name}: {name} is not what was put in.")


def _digest(member: IO[bytes]) -> tuple[int, str]:
    """Size and sha256 of a member."""
    digest, seen = hashlib.sha256(), 0
    while chunk := member.read(CHUNK_BYTES):
        digest.update(chunk)
        seen += len(chunk)
    return seen, digest.hexdigest()
