"""Reading the COCO files this domain writes, one object at a time, so that memory stays bounded.

The writer puts one object on a line; this reader insists on exactly that. Not here: COCO from
elsewhere (`coco`).
"""

from collections.abc import Iterator
from typing import IO, Any

import orjson

from sheaf.errors import VerificationError

SECTIONS = ("categories", "images", "annotations")


def read_lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file with the list each is in: categories, then images, then annotations.

    Raises:
        VerificationError: naming the line that is not as it should be.
    """
    lines = _Lines(stream, name)
    if not lines.next().startswith(b'{"info":{') or not lines.next().startswith(b'"licenses":['):
        raise lines.broken()
    for section in SECTIONS:
        if lines.next() != b'"' + section.encode() + b'":[':
            raise lines.broken()
        for item in _items(lines, b"]}" if section == SECTIONS[-1] else b"],"):
            yield section, item


def _items(lines: "_Lines", end: bytes) -> Iterator[dict[str, Any]]:
    """The objects of one list: each but the last has a comma."""
    line, more = lines.next(), True
    if not line:
        line, more = lines.next(), False  # an empty list
    while line != end:
        if not more:
            raise lines.broken()
        more = line.endswith(b",")
        try:
            yield orjson.loads(line[:-1] if more else line)
        except orjson.JSONDecodeError as error:
            raise lines.broken() from error
        line = lines.next()
    if more:
        raise lines.broken()


class _Lines:
    """The lines of a file, counted."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name, self._number = stream, name, 0

    def next(self) -> bytes:
        self._number += 1
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise self.broken()
        return line[:-1]

    def broken(self) -> VerificationError:
        return VerificationError(f"{self._name}: line {self._number} is not as the COCO writer makes it.")
