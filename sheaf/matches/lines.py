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
from functools import cached_property
from pathlib import Path
from typing import IO, Any

CHUNK = 2 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
_SHOWN = 400


@dataclass(frozen=True)
class Line:
    """One line as it came, without its end; `raw` is cut for a line that is too long."""

    number: int
    offset: int
    raw: bytes
    too_long: bool = False


@dataclass(frozen=True)
class Block:
    """Consecutive lines of a file.

    Attributes:
        first: number of the first line.
        offset: where it starts in the uncompressed file.
        data: whole lines with their ends.
        overlong: stands alone in its block: a line that is too long to be held.
        tail: stands alone in its block: what follows the last line end of the file.
    """

    first: int
    offset: int
    data: bytes = b""
    overlong: Line | None = None
    tail: Line | None = None

    @cached_property
    def count(self) -> int:
        """How many lines there are."""
        return self.data.count(b"\n") + (self.overlong is not None) + (self.tail is not None)

    def lines(self, max_line: int) -> Iterator[Line]:
        """The whole lines; those longer than `max_line` bytes are cut."""
        if self.overlong:
            yield self.overlong
        offset = self.offset
        for number, raw in enumerate(self.data.split(b"\n")[:-1], self.first):
            yield Line(number, offset, raw) if len(raw) <= max_line else Line(number, offset, raw[:_SHOWN], True)
            offset += len(raw) + 1


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
    rest, dropped = b"", 0  # the unfinished line, and how many of its bytes were let go because it is too long
    for piece in _gather(chunks):
        chunk = piece
        if number == 1 and not offset and not rest and chunk.startswith(codecs.BOM_UTF8):
            chunk, offset = chunk[3:], 3
        if dropped:
            end = chunk.find(b"\n")
            if end < 0:
                dropped += len(chunk)
                continue
            yield Block(number, offset, overlong=Line(number, offset, rest, True))
            number, offset = number + 1, offset + len(rest) + dropped + end + 1
            rest, dropped, chunk = b"", 0, chunk[end + 1 :]
        data = rest + chunk
        end = data.rfind(b"\n") + 1
        if end:
            block = Block(number, offset, data[:end])
            yield block
            number, offset = number + block.count, offset + end
        rest = data[end:]
        if len(rest) > max_line:
            rest, dropped = rest[:_SHOWN], len(rest) - _SHOWN
    if rest:
        yield Block(number, offset, tail=Line(number, offset, rest, bool(dropped)))


def _gather(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks that are worth the work; inflating yields many small ones."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= CHUNK // 2:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def open_text(path: Path) -> Iterator[bytes]:
    """The lines of a file for a look at it; overlong ones are cut."""
    for block in LogFile(path, CHUNK).blocks():
        for line in block.lines(CHUNK):
            yield line.raw
        if block.tail:
            yield block.tail.raw
