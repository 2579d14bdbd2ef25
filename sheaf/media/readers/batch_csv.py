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
from typing import Any

from sheaf.errors import InputError
from sheaf.media.methods import DEFAULT_METHODS, Method, Model
from sheaf.outside.files import unreadable

REQUIRED = ("master_file", "dub_file")
TRACKS = ("master_track", "dub_track")
MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 10_000


@dataclass(frozen=True)
class BatchRow:
    """One pair as the CSV asks for it.

    Attributes:
        line: where the row starts in the file, from 1.
        tracks: which sound tracks of master and dub, from 1; None for the one that players choose.
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
    tracks: tuple[int | None, int | None] = (None, None)
    fault: tuple[str, str] | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What it asks for, by column."""
        return {
            "item_id": self.item_id,
            "master_file": self.master_file,
            "dub_file": self.dub_file,
            "methods": list(self.methods),
            "ai_model": self.ai_model,
            "description": self.description,
            "tags": list(self.tags),
        }


@dataclass(frozen=True)
class BatchCsv:
    """A CSV that can be used, with its content's identity."""

    name: str
    sha256: str
    rows: tuple[BatchRow, ...]


def read_batch_bytes(path: Path) -> bytes:
    """The bytes of a batch; raises `InputError` for what is no regular file, cannot be read or is too large."""
    if not path.is_file():
        raise InputError(f"{path.name} is no regular file: put the CSV itself there.")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(Path(path.name), error) from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MB: split the batch.")
    return data


def parse_batch_csv(name: str, data: bytes, default_methods: tuple[Method, ...] = DEFAULT_METHODS) -> BatchCsv:
    """Read a batch; `name` is for messages.

    UTF-8, UTF-16 or Windows-1252; commas, semicolons, tabs or bars; any line ends, quoted cells, further columns.

    Raises:
        InputError: the bytes are no CSV with the two required columns and at least one row.
    """
    lines = _text(name, data)
    skipped, separator = _dialect(lines)
    reader = csv.reader(lines[skipped:], delimiter=separator, strict=True)
    try:
        header = [re.sub(r"[\s-]+", "_", cell.replace("\ufeff", "").strip().lower()) for cell in next(reader, [])]
        while header and not header[-1]:
            header.pop()
        missing = [column for column in REQUIRED if column not in header]
        if missing:
            raise InputError(
                f"{name} has no column {' and no column '.join(missing)}: its first line must name "
                "master_file and dub_file, separated by commas, semicolons or tabs."
            )
        twice = next((cell for cell in header if cell and header.count(cell) > 1), None)
        if twice:
            raise InputError(f"{name} names the column {twice!r} twice.")
        rows = tuple(_rows(reader, header, default_methods, skipped))
    except csv.Error as error:
        raise InputError(f"{name} line {skipped + reader.line_num} is not valid CSV: {error}.") from error
    if not rows:
        raise InputError(f"{name} holds no pair: add at least one row.")
    return BatchCsv(name, hashlib.sha256(data).hexdigest(), rows)


def _text(name: str, data: bytes) -> list[str]:
    """The lines of a CSV, each with its end, in the encodings that spreadsheets save: UTF-8, UTF-16, Windows-1252."""
    marks = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
    encodings = [coding for mark, coding in marks if data.startswith(mark)] or ["utf-8", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return io.StringIO(text, newline="").readlines()
    raise InputError(f"{name} is no text in UTF-8, UTF-16 or Windows-1252: save it as CSV UTF-8.")


def _dialect(lines: list[str]) -> tuple[int, str]:
    """How many lines come before the header, and what separates its cells: `sep=;`, or whichever separates most."""
    skipped, named = 0, ""
    for line in lines:
        bare = line.strip().strip('"')
        if bare.lower().startswith("sep=") and len(bare) == 5:
            named = bare[4]
        elif line.lower().rstrip("\r\n") == "sep=\t":
            named = "\t"
        elif bare.strip(",;\t|"):
            break
        skipped += 1
    header = lines[skipped] if skipped < len(lines) else ""
    return skipped, named or max(",;\t|", key=header.count)


def _rows(
    reader: "Iterator[list[str]]", header: list[str], default_methods: tuple[Method, ...], skipped: int
) -> Iterator[BatchRow]:
    seen: dict[tuple[object, ...], str] = {}
    number, start = 0, skipped + reader.line_num + 1  # type: ignore[attr-defined]  # a csv reader counts its lines
    for cells in reader:
        line, start = start, skipped + reader.line_num + 1  # type: ignore[attr-defined]
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()  # a spreadsheet fills up the widest row
        if not any(cell.strip() for cell in cells):
            continue
        number += 1
        if number > MAX_ROWS:
            raise InputError(f"The batch has more than {MAX_ROWS} pairs: split it.")
        row = _row(number, line, cells, header, default_methods)
        key = (row.master_file, row.dub_file, frozenset(row.methods), row.ai_model, row.tracks)
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
        tracks=(_track(named.get("master_track", "")), _track(named.get("dub_track", ""))),
    )
    if len(cells) > len(header):
        return _with_fault(row, "BAD_ROW", f"The row has {len(cells)} cells, the header {len(header)}: quote lists.")
    for column in REQUIRED:
        if not named.get(column):
            return _with_fault(row, "BAD_ROW", f"The row has no {column}.")
    if wrong := [column for column in TRACKS if named.get(column) and _track(named[column]) is None]:
        return _with_fault(row, "BAD_ROW", f"{wrong[0]} must be the number of a sound track, from 1.")
    if unknown := [method for method in row.methods if method not in list(Method)]:
        return _with_fault(row, "UNKNOWN_METHOD", f"There is no method {unknown[0]!r}: use {', '.join(Method)}.")
    if model and model not in list(Model):
        return _with_fault(row, "UNKNOWN_MODEL", f"There is no model {model!r}: use {', '.join(Model)}.")
    return row


def _track(cell: str) -> int | None:
    return int(cell) if cell.isascii() and cell.isdigit() and 0 < int(cell[:6]) < 1000 else None


def _with_fault(row: BatchRow, code: str, reason: str) -> BatchRow:
    return BatchRow(**{**row.__dict__, "fault": (code, reason)})


def _words(cell: str) -> tuple[str, ...]:
    """A list in one cell: separated by commas or semicolons, each word once."""
    return tuple(dict.fromkeys(word.strip() for word in re.split("[,;]", cell) if word.strip()))
