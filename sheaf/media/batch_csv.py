"""The CSV that asks for a batch: its columns, its rows, and what is wrong with them.

Here: bytes to checked rows. Whether the files exist is `ingest`'s question. A fault of one row is
kept in the row; only a file that is no such CSV is refused as a whole.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sheaf.errors import InputError
from sheaf.media.result import DEFAULT_METHODS, Method, Model

REQUIRED = ("master_file", "dub_file")
MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 10_000


@dataclass(frozen=True)
class BatchRow:
    """One pair as the CSV asks for it.

    Attributes:
        line: where the row starts in the file, from 1.
        fault: code and sentence when the row cannot be used.
    """

    item_id: str
    line: int
    master_file: str
    dub_file: str
    methods: tuple[str, ...]
    ai_model: str | None
    description: str
    tags: tuple[str, ...]
    fault: tuple[str, str] | None = None


@dataclass(frozen=True)
class BatchCsv:
    """A CSV that can be used, with its content's identity."""

    name: str
    sha256: str
    rows: tuple[BatchRow, ...]


def read_batch_csv(path: Path, default_methods: tuple[Method, ...] = DEFAULT_METHODS) -> BatchCsv:
    """Read a batch.

    UTF-8 with or without a byte order mark, any line ends, quoted cells, further columns.

    Raises:
        InputError: the file is no CSV with the two required columns and at least one row.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MB: split the batch.")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_batch_csv(path.name, data, default_methods)


def parse_batch_csv(name: str, data: bytes, default_methods: tuple[Method, ...] = DEFAULT_METHODS) -> BatchCsv:
    """Read the bytes of a batch; `name` is for messages.

    Raises:
        InputError: as for `read_batch_csv`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 (byte {error.start}): save it as CSV UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        missing = [column for column in REQUIRED if column not in header]
        if missing:
            raise InputError(
                f"{name} has no column {' and no column '.join(missing)}: its first line must name "
                "master_file and dub_file, separated by commas."
            )
        if len(set(header)) < len(header):
            twice = next(cell for cell in header if header.count(cell) > 1)
            raise InputError(f"{name} names the column {twice!r} twice.")
        rows = tuple(_rows(reader, header, default_methods))
    except csv.Error as error:
        raise InputError(f"{name} line {reader.line_num} is not valid CSV: {error}.") from error
    if not rows:
        raise InputError(f"{name} holds no pair: add at least one row.")
    return BatchCsv(name, hashlib.sha256(data).hexdigest(), rows)


def _rows(reader: "Iterator[list[str]]", header: list[str], default_methods: tuple[Method, ...]) -> Iterator[BatchRow]:
    seen: dict[tuple[object, ...], str] = {}
    number, start = 0, reader.line_num + 1  # type: ignore[attr-defined]  # a csv reader counts its lines
    for cells in reader:
        line, start = start, reader.line_num + 1  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        number += 1
        if number > MAX_ROWS:
            raise InputError(f"The batch has more than {MAX_ROWS} pairs: split it.")
        row = _row(number, line, cells, header, default_methods)
        key = (row.master_file, row.dub_file, frozenset(row.methods), row.ai_model)
        if row.fault is None and key in seen:
            row = _with_fault(row, "DUPLICATE", f"The row asks for the same as {seen[key]}.")
        seen.setdefault(key, row.item_id)
        yield row


def _row(number: int, line: int, cells: list[str], header: list[str], default_methods: tuple[Method, ...]) -> BatchRow:
    named = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    methods, model = _words(named.get("methods", "").lower()), named.get("ai_model", "").lower() or None
    if not methods:
        methods = tuple(default_methods) + ((Method.AI,) if model and Method.AI not in default_methods else ())
    row = BatchRow(
        item_id=f"item_{number:03}",
        line=line,
        master_file=named.get("master_file", ""),
        dub_file=named.get("dub_file", ""),
        methods=tuple(str(method) for method in methods),
        ai_model=model,
        description=named.get("description", ""),
        tags=_words(named.get("tags", "")),
    )
    if len(cells) > len(header):
        return _with_fault(row, "BAD_ROW", f"The row has {len(cells)} cells, the header {len(header)}: quote lists.")
    for column in REQUIRED:
        if not named.get(column):
            return _with_fault(row, "BAD_ROW", f"The row has no {column}.")
    if unknown := [method for method in row.methods if method not in list(Method)]:
        return _with_fault(row, "UNKNOWN_METHOD", f"There is no method {unknown[0]!r}: use {', '.join(Method)}.")
    if model and model not in list(Model):
        return _with_fault(row, "UNKNOWN_MODEL", f"There is no model {model!r}: use {', '.join(Model)}.")
    return row


def _with_fault(row: BatchRow, code: str, reason: str) -> BatchRow:
    return BatchRow(**{**row.__dict__, "fault": (code, reason)})


def _words(cell: str) -> tuple[str, ...]:
    """A list in one cell: separated by commas or semicolons, each word once."""
    return tuple(dict.fromkeys(word.strip() for word in re.split("[,;]", cell) if word.strip()))
