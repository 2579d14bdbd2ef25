"""How a Parquet file is laid out, read from its footer and page headers without the library that unpacks it.

The library trusts a footer that it could parse: of a damaged one, asking it for a column ends the process. Here:
Thrift's compact protocol, as far as Parquet uses it. Not here: values (`parquet`).

Format: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BYTE_ARRAY, FIXED_LENGTH = 6, 7
_REPEATED = 2
_DEEPEST = 16


@dataclass(frozen=True)
class Column:
    """One column of values.

    Attributes:
        path: names from the top, with dots.
        physical: number of its type.
        length: bytes of a value, where all have the same.
        in_list: whether a row may have several values.
    """

    path: str
    physical: int
    length: int
    in_list: bool


@dataclass(frozen=True)
class Chunk:
    """The values of one column in one group of rows.

    Attributes:
        group: which group of rows.
        values: how many there are.
        start, end: where its pages are in the file.
    """

    group: int
    column: Column
    values: int
    start: int
    end: int


@dataclass(frozen=True)
class Layout:
    """What a footer says."""

    rows: int
    chunks: tuple[Chunk, ...]


def read_footer(data: bytes) -> Layout:
    """The layout of a file from its footer; raises `ValueError` for what is none."""
    try:
        footer, _ = read_struct(data)
        columns = list(_columns(iter(footer[2]), "", repeated=False, top=True))
        groups = footer.get(4, [])
        if any(len(group[1]) != len(columns) for group in groups):
            raise ValueError("its groups of rows have other columns than the file")
        chunks = [
            _chunk(number, column, chunk[3])
            for number, group in enumerate(groups)
            for column, chunk in zip(columns, group[1], strict=True)
        ]
        return Layout(footer[3], tuple(chunks))
    except (IndexError, KeyError, TypeError, AttributeError, StopIteration, RuntimeError) as error:
        raise ValueError("its footer is damaged") from error


def _columns(elements: Iterator[dict[int, Any]], above: str, *, repeated: bool, top: bool = False) -> Iterator[Column]:
    """The columns of the next element of a schema, which is a tree written from the top."""
    element = next(elements)
    path = "" if top else f"{above}.{element[4].decode()}".removeprefix(".")
    repeated = repeated or (not top and element.get(3) == _REPEATED)
    if 1 in element and not element.get(5):
        yield Column(path, element[1], element.get(2, 0), repeated)
    if path.count(".") > _DEEPEST:
        raise ValueError("its schema is nested too deeply")
    for _ in range(element.get(5, 0)):
        yield from _columns(elements, path, repeated=repeated)


def _chunk(group: int, column: Column, meta: dict[int, Any]) -> Chunk:
    starts = [offset for offset in (meta.get(11), meta[9]) if offset]
    if meta[5] < 0 or meta[7] < 0 or any(offset < 0 for offset in starts) or (meta[5] and not starts):
        raise ValueError("its footer is damaged")
    start = min(starts, default=0)
    return Chunk(group, column, meta[5], start, start + meta[7])


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """One struct by the numbers of its fields, and where it ends.

    Raises:
        IndexError: there are not enough bytes.
        ValueError: it is none that Parquet has.
    """
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    fields: dict[int, Any] = {}
    field = 0
    while kind := data[at] & 0x0F:
        step = data[at] >> 4
        at += 1
        if step:
            field += step
        else:
            field, at = _number(data, at)
        if kind in (1, 2):
            fields[field] = kind == 1
        else:
            fields[field], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):
        return _number(data, at)
    if kind == 8:
        length, at = _length(data, at)
        if at + length > len(data):
            raise IndexError
        return data[at : at + length], at + length
    if kind == 9:
        return _list(data, at, depth)
    if kind == 12:
        return read_struct(data, at, depth + 1)
    if kind in (1, 2, 3, 7):
        return None, at + (8 if kind == 7 else 1)
    raise ValueError("it holds what Parquet does not")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    count, kind = data[at] >> 4, data[at] & 0x0F
    at += 1
    if count == 15:
        count, at = _length(data, at)
    if count > len(data) - at:
        raise IndexError
    items = []
    for _ in range(count):
        item, at = _value(data, at, kind, depth + 1)
        items.append(item)
    return items, at


def _length(data: bytes, at: int) -> tuple[int, int]:
    value, at = _number(data, at)
    return (value << 1) ^ (value >> 63), at  # lengths are not folded as numbers are


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("it has a number that is none")
