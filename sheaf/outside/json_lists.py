"""A JSON object of which one list is longer than what should be held: that list is read again and again, in parts.

The file is looked through once for where the list begins and where it can be cut. Not here: what the items mean
(readers of the domains), tables as JSON lines (`table_files`).
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from sheaf.errors import InputError
from sheaf.outside.files import open_file, unreadable

_CHUNK = 8 << 20
_PART = 2 << 20
_QUOTE, _BACKSLASH, _OPENS, _CLOSES = 1, 2, 3, 4
_KINDS = np.zeros(256, np.uint8)
for _letters, _kind in ((b'"', _QUOTE), (b"\\", _BACKSLASH), (b"[{", _OPENS), (b"]}", _CLOSES)):
    _KINDS[list(_letters)] = _kind
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"


def loads(text: bytes) -> Any:
    """JSON, also as Python writes it: with NaN and infinities, and with halves of characters, which become `?`.

    Raises:
        orjson.JSONDecodeError: it is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            found = json.loads(text, parse_int=_whole)
            return _of_utf8(found) if b"\\u" in text else found
        except (ValueError, RecursionError):
            raise error from None


def _whole(digits: str) -> int | float:
    """A whole number; as a float where it has more than 64 bits, as orjson reads it."""
    number = int(digits) if len(digits) < 20 else float(digits)
    return number if isinstance(number, float) or -(2**63) <= number < 2**64 else float(number)


def _of_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_of_utf8(item) for item in value]
    if isinstance(value, dict):
        return {_of_utf8(key): _of_utf8(item) for key, item in value.items()}
    return value


class JsonList:
    """Items of a list in a file, read anew each time.

    Iterating raises `InputError` where the file has changed since it was looked through, or is not JSON there.
    """

    def __init__(self, path: Path, seen: tuple[int, int], cuts: list[int]) -> None:
        self._path, self._seen, self._cuts = path, seen, cuts

    def __iter__(self) -> Iterator[Any]:
        """The items, one after another."""
        for part in self.parts():
            yield from part

    def parts(self) -> Iterator[list[Any]]:
        """The items, some megabytes at a time."""
        for number, text in enumerate(self._texts()):
            text = text.strip(_BLANK)
            if number and text:  # a part begins with the comma behind the one before, and something follows it
                text = text[1:] if text.startswith(b",") and text[1:].strip(_BLANK) else b","
            try:
                yield loads(b"[%b]" % text)
            except orjson.JSONDecodeError as error:
                raise _no_json(self._path, error) from error

    def mentions(self, text: bytes) -> bool:
        """Whether a short text stands anywhere in the list."""
        return any(text in part for part in self._texts())

    def _texts(self) -> Iterator[bytes]:
        try:
            with open_file(self._path) as file:
                if _identity(file.fileno()) != self._seen:
                    raise InputError(f"{self._path} changed while it was read: run again when it is whole.")
                for start, end in zip(self._cuts, self._cuts[1:], strict=False):
                    file.seek(start)
                    yield file.read(end - start)
        except OSError as error:
            raise unreadable(self._path, error) from error


def read_object(path: Path, most: int, name: str, held: int) -> Any:
    """What a JSON file holds; the list `name` of the object that it is, as a `JsonList`.

    Raises:
        InputError: it cannot be read, is not JSON, holds more than `most` bytes, or more than `held` beside the list.
    """
    try:
        with open_file(path) as file:
            seen = _identity(file.fileno())
            if seen[0] > most:
                raise _too_large(path, most)
            cuts = _Cuts(name)
            while chunk := file.read(_CHUNK):
                while chunk.endswith(b"\\") and (more := file.read(1)):
                    chunk += more
                cuts.look(chunk)
            start, end = (cuts.found[0], cuts.found[-1]) if cuts.found else (seen[0], seen[0])
            if seen[0] - (end - start) > held:
                raise _too_large(path, held)
            file.seek(0)
            text = file.read(start)
            file.seek(end)
            text = (text + file.read()).removeprefix(_BOM)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        found = loads(text)
    except orjson.JSONDecodeError as error:
        raise _no_json(path, error) from error
    if cuts.found:
        found[name] = JsonList(path, seen, cuts.found)
    return found


def _too_large(path: Path, most: int) -> InputError:
    return InputError(f"{path} is larger than {most >> 20} MB, which is more than Sheaf reads of such a file.")


def _no_json(path: Path, error: Exception) -> InputError:
    """The error of a file, with the place in the whole of it where that can be told."""
    try:
        with open_file(path) as file:
            orjson.loads(file.read().removeprefix(_BOM))
    except orjson.JSONDecodeError as whole:
        error = whole
    return InputError(f"{path} is not valid JSON ({error}): export it again.")


def _identity(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_size, found.st_mtime_ns


class _Cuts:
    """Where a list of the outermost object begins, can be cut behind an item, and ends; none where there is none.

    Brackets are counted outside of text, many at once. Of several lists of the name the last counts, as in JSON.
    """

    def __init__(self, name: str) -> None:
        self._key = json.dumps(name).encode()
        self._at = 0  # of the chunk in the file
        self._in_text = False
        self._depth = 0
        self._open: list[int] | None = None
        self._before = b""  # what stands before the chunk
        self.found: list[int] = []

    def look(self, chunk: bytes) -> None:
        """Look through the next bytes of the file."""
        letters = np.frombuffer(chunk, np.uint8)
        kinds = _KINDS[letters]
        places = np.flatnonzero(kinds)
        kinds = kinds[places]
        if (slashes := kinds == _BACKSLASH).any():
            escaped = _escaped(places[slashes])
            kept = ~slashes & ~np.isin(places, escaped)
            places, kinds = places[kept], kinds[kept]
        quotes = kinds == _QUOTE
        inside = (np.cumsum(quotes) + self._in_text) % 2 == 1
        self._in_text = bool(inside[-1]) if len(inside) else self._in_text
        outside = ~quotes & ~inside
        places, opens = places[outside], kinds[outside] == _OPENS
        depths = self._depth + np.cumsum(np.where(opens, 1, -1))
        # 2: within a list of the outermost object, or just back from an item of it
        for at in np.flatnonzero((depths == 1) | (depths == 2)).tolist():
            place, depth = int(places[at]), int(depths[at])
            if self._open is None:
                if depth == 2 and opens[at] and chunk[place] == ord("[") and self._is_named(chunk, place):
                    self._open = [self._at + place + 1]
            elif depth == 1:
                self.found, self._open = [*self._open, self._at + place], None
            elif not opens[at] and self._at + place + 1 - self._open[-1] >= _PART:
                self._open.append(self._at + place + 1)
        self._depth = int(depths[-1]) if len(depths) else self._depth
        self._at += len(chunk)
        self._before = chunk[-200:] if len(chunk) >= 200 else (self._before + chunk)[-200:]

    def _is_named(self, chunk: bytes, place: int) -> bool:
        before = chunk[place - 200 : place] if place >= 200 else self._before + chunk[:place]
        before = before.rstrip(_BLANK)
        return before.endswith(b":") and before[:-1].rstrip(_BLANK).endswith(self._key)


def _escaped(slashes: Any) -> Any:
    """The places behind backslashes that are not escaped themselves: what stands there means nothing."""
    first = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
    start = np.repeat(slashes[first], np.diff(np.append(first, len(slashes))))
    return slashes[(slashes - start) % 2 == 0] + 1
