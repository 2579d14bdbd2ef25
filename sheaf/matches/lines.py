"""A log file as blocks of whole lines with their numbers and offsets, in bounded memory.

Plain or gzip, UTF-8 or UTF-16; only the bytes that were there when reading began. Not here: what
a line means.
"""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

CHUNK = 4 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Line:
    """One line as it came, without its end; `raw` is cut for a line that is too long."""

    number: int
    offset: int
    raw: bytes
    too_long: bool = False


@dataclass
class Block:
    """Consecutive whole lines; `tail` is what follows the last line end of the file.

    `lines[i]` has number `first + i` and starts at `offsets[i]` of the uncompressed file.
    """

    first: int
    lines: list[bytes]
    offsets: list[int]
    too_long: frozenset[int] = frozenset()
    tail: Line | None = None


@dataclass
class LogFile:
    """A log file opened at one moment.

    Attributes:
        size: bytes it had then; no more are read.
        sha256: digest of those bytes, once all blocks were read.
        broken: why the rest could not be read (a damaged gzip stream), as a clause.
    """

    path: Path
    max_line: int
    size: int = 0
    sha256: str = ""
    broken: str | None = None
    _digest: Any = field(default_factory=hashlib.sha256)

    def blocks(self) -> Iterator[Block]:
        """All lines, a few megabytes at a time."""
        with self.path.open("rb") as file:
            self.size = file.seek(0, 2)
            file.seek(0)
            yield from _split(self._text(file), self.max_line)
        self.sha256 = self._digest.hexdigest()

    def _text(self, file: IO[bytes]) -> Iterator[bytes]:
        """Uncompressed UTF-8 chunks."""
        head = file.read(2)
        file.seek(0)
        limited = _Limited(file, self.size, self._digest)
        return _utf8(self._gunzip(limited) if head == GZIP_MAGIC else iter(lambda: limited.read(CHUNK), b""))

    def _gunzip(self, limited: "_Limited") -> Iterator[bytes]:
        with gzip.GzipFile(fileobj=limited, mode="rb") as stream:
            try:
                while chunk := stream.read1(CHUNK):
                    yield chunk
            except EOFError:
                self.broken = "its gzip stream ends early, it may still be written"
            except (gzip.BadGzipFile, zlib.error):
                self.broken = "its gzip stream is damaged, lines after that point are not read"
        while limited.read(CHUNK):
            pass  # so that the digest covers the whole file


class _Limited(io.RawIOBase):
    """The first `size` bytes of a file that may be growing, digested as they pass."""

    def __init__(self, file: IO[bytes], size: int, digest: Any) -> None:
        self._file, self._left, self._digest = file, size, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view)  # type: ignore[attr-defined]
        self._digest.update(view[:count])
        self._left -= count
        return count


def _utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Drop a byte order mark; recode UTF-16, which only a byte order mark announces."""
    first = next(chunks, b"")
    while 0 < len(first) < 3 and (more := next(chunks, b"")):
        first += more
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        yield decoder.decode(first).encode("utf-8", "replace")
        for chunk in chunks:
            yield decoder.decode(chunk).encode("utf-8", "replace")
        return
    yield first
    yield from chunks


def _split(chunks: Iterator[bytes], max_line: int) -> Iterator[Block]:
    number, offset = 1, 0
    rest = b""
    skipped = 0  # bytes of an overlong line that were not kept
    first_chunk = True
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        if first_chunk and data:
            if len(data) >= 3 and data.startswith(codecs.BOM_UTF8):
                data, offset = data[3:], 3
            first_chunk = False
        end = data.rfind(b"\n") + 1
        if not end:
            rest, skipped = _shorten(data, skipped, max_line)
            continue
        lines = data[:end].split(b"\n")
        lines.pop()
        offsets, too_long = [], set()
        for index, line in enumerate(lines):
            offsets.append(offset)
            offset += len(line) + 1 + (skipped if index == 0 else 0)
            if len(line) + (skipped if index == 0 else 0) > max_line:
                too_long.add(index)
                lines[index] = line[:400]
        skipped = 0
        yield Block(number, lines, offsets, frozenset(too_long))
        number += len(lines)
        rest, skipped = _shorten(data[end:], 0, max_line)
    if rest or skipped:
        tail = Line(number, offset, rest, len(rest) + skipped > max_line)
        yield Block(number, [], [], frozenset(), tail)


def _shorten(data: bytes, skipped: int, max_line: int) -> tuple[bytes, int]:
    """Keep of an unfinished line what shows that it is too long, and forget the rest."""
    keep = max_line + 1
    return (data[:keep], skipped + len(data) - keep) if len(data) > keep else (data, skipped)


def open_text(path: Path) -> Iterator[bytes]:
    """The lines of a file for a look at it; overlong ones are cut."""
    for block in LogFile(path, CHUNK).blocks():
        yield from block.lines
        if block.tail:
            yield block.tail.raw
