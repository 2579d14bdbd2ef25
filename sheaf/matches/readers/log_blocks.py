"""A log file as blocks of whole lines with their numbers and offsets, in bounded memory.

Plain or gzip, UTF-8 or UTF-16; only the bytes that were there when reading began. Not here: what
a line means.
"""

import codecs
import gzip
import hashlib
import io
import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from sheaf.outside.files import open_file

CHUNK = 2 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
_SHOWN = 400
_MARKS = re.compile(rb'\\.|["{}\[\],\n\r]', re.DOTALL)


class Line(NamedTuple):
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
        ends = np.count_nonzero(np.frombuffer(self.data, np.uint8) == ord("\n"))  # three times as fast as `bytes.count`
        return int(ends) + (self.overlong is not None) + (self.tail is not None)

    def lines(self, max_line: int) -> Iterator[Line]:
        """The whole lines; those longer than `max_line` bytes are cut."""
        if self.overlong:
            yield self.overlong
        offset = self.offset
        for number, raw in enumerate(self.data.split(b"\n")[:-1], self.first):
            yield Line(number, offset, raw) if len(raw) <= max_line else Line(number, offset, raw[:_SHOWN], True)
            offset += len(raw) + 1

    def some(self, most: int) -> Iterator[bytes]:
        """Some of the whole lines, from all over the block; a long one more than once."""
        for part in range(most):
            start = self.data.rfind(b"\n", 0, len(self.data) * part // most) + 1
            if (end := self.data.find(b"\n", start)) >= 0:
                yield self.data[start:end]

    def halves(self) -> "tuple[Block, Block] | None":
        """The whole lines as two blocks; None where there are not two."""
        cut = self.data.rfind(b"\n", 0, len(self.data) // 2) + 1
        if not cut:
            return None
        first = Block(self.first, self.offset, self.data[:cut])
        return first, Block(self.first + first.count, self.offset + cut, self.data[cut:])


@dataclass(frozen=True)
class Mark:
    """How far a file was read: one that only grew goes on from there.

    Attributes:
        size: bytes it had.
        sha256: digest of those bytes.
        at: where the first line starts that had no end then.
        lines: how many lines are before it.
    """

    size: int
    sha256: str
    at: int
    lines: int


class NotOnlyGrownError(Exception):
    """What was read before is not all there, or what is new does not all come after it."""


@dataclass
class LogFile:
    """A log file opened at one moment.

    Attributes:
        after: how far it was read before; only what follows is given out.
        size: bytes it had then; no more are read.
        sha256: digest of those bytes, once all blocks were read.
        elements: whether it is one JSON array, of which each element counts as a line.
        broken: why the rest could not be read (a damaged gzip stream), as a clause.
        mark: how far it was read, once all blocks were; None where it cannot go on from there.
        ended: whether its last line has an end, once all blocks were read.
    """

    path: Path
    max_line: int
    size: int = 0
    sha256: str = ""
    broken: str | None = None
    elements: bool = False
    after: Mark | None = None
    mark: Mark | None = None
    ended: bool = True
    _digest: Any = field(default_factory=hashlib.sha256)

    def blocks(self) -> Iterator[Block]:
        """All lines, a few megabytes at a time; raises `NotOnlyGrownError` where it is to go on and cannot."""
        with open_file(self.path) as file:
            self.size = file.seek(0, 2)
            file.seek(0)
            last = None
            for last in self._blocks(file):
                yield last
            self.sha256 = self._digest.hexdigest()
            self.mark = self._mark(file, last)
            self.ended = last is None or last.tail is None

    def _blocks(self, file: IO[bytes]) -> Iterator[Block]:
        if self.after:
            return _split(self._rest(file, self.after), self.max_line, self.after.lines + 1, self.after.at)
        text = self._text(file)
        return _split(elements(text) if self.elements else text, self.max_line)

    def _rest(self, file: IO[bytes], after: Mark) -> Iterator[bytes]:
        """What follows a mark, if all before it is as it was."""
        known = _Limited(file, after.size, self._digest)
        while known.read(CHUNK):
            pass
        if self.size < after.size or self._digest.hexdigest() != after.sha256:
            raise NotOnlyGrownError
        file.seek(after.at)
        yield file.read(after.size - after.at)
        limited = _Limited(file, self.size - after.size, self._digest)
        yield from iter(lambda: limited.read(CHUNK), b"")

    def _mark(self, file: IO[bytes], last: Block | None) -> Mark | None:
        """Where what is appended can be read from; nowhere in what is no plain text with the usual line ends."""
        if last is None:
            return self.after
        line = last.tail or Line(last.first + last.count, self.size, b"")
        file.seek(0)
        head = file.read(CHUNK)
        file.seek(max(line.offset - 1, 0))
        coded = head.startswith((GZIP_MAGIC, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if self.elements or coded or _ends_in_returns(head) or file.read(1) != b"\n":
            return None
        return Mark(self.size, self.sha256, line.offset, line.number - 1)

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
        yield from _line_ends(
            decoder.decode(chunk).encode("utf-8", "replace") for chunk in itertools.chain([first], chunks)
        )
        return
    yield from _line_ends(itertools.chain([first], chunks))


def _line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """With the line ends of an old Mac as those of everybody else."""
    first = next(chunks, b"")
    alone = _ends_in_returns(first)
    yield first.replace(b"\r", b"\n") if alone else first
    for chunk in chunks:
        yield chunk.replace(b"\r", b"\n") if alone else chunk


def _ends_in_returns(first: bytes) -> bool:
    """Whether lines end as on an old Mac; some programs end the last one otherwise."""
    return first.rstrip(b"\r").count(b"\r") > 2 * first.count(b"\n")


def elements(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The elements of a JSON array, each on a line of its own; what is between them is no line."""
    array, kept = _Array(), b""
    for chunk in chunks:
        text = kept + chunk
        cut = len(text) - (len(text) - len(text.rstrip(b"\\"))) % 2  # what a backslash escapes comes with it
        kept = text[cut:]
        yield _MARKS.sub(array.mark, text[:cut])


@dataclass
class _Array:
    """Where in a JSON array the reading is; `mark` gives what stands for a mark on the lines that come of it."""

    depth: int = 0
    quoted: bool = False

    def mark(self, found: re.Match[bytes]) -> bytes:
        mark = found[0]
        if mark == b'"':
            self.quoted = not self.quoted
        elif not self.quoted and mark in b"{}[]":
            inside = self.depth
            self.depth += 1 if mark in b"{[" else -1
            if min(inside, self.depth) == 0:  # the array itself
                return b"" if self.depth else b"\n"
        elif not self.quoted and mark in b"\r\n":
            return b" " if self.depth > 1 else b""
        elif not self.quoted and mark == b",":
            return b"," if self.depth > 1 else b"\n"
        return mark


def _split(chunks: Iterator[bytes], max_line: int, number: int = 1, offset: int = 0) -> Iterator[Block]:
    """Blocks of whole lines; `number` and `offset` are those of the first."""
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
