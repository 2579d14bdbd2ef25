"""How the command line prints: tables for people, one JSON document for programs."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.results import Result
from sheaf.exports.records import Status
from sheaf.names import ExportId, SeriesId

PIPED = 4096  # columns: what goes to a file or another program is never cut
OUT = Console(width=None if sys.stdout.isatty() else PIPED)
ERR = Console(stderr=True)


def json(value: Any) -> None:
    """Print one JSON document and nothing else."""
    data = orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows under headings, or a sentence when there are none."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        shown.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in rows:
        shown.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    if shown.row_count:
        OUT.print(shown)
    else:
        OUT.print(empty)


def say(text: str) -> None:
    """Print a line for a person on stderr; it is not cut at the width of the terminal."""
    ERR.print(text, highlight=False, soft_wrap=True)


def results(found: Sequence[Result]) -> None:
    """Print what came of a run: one line for each series, then what a person should read."""
    rows = []
    for result in found:
        export = (
            SeriesId(result.domain, result.partition, result.series) if result.status is not Status.FAILED else None
        )
        name = str(ExportId(export, result.version)) if export and result.version else _failed_name(result)
        what = "unchanged" if result.unchanged else str(result.status)
        size = sum(file.size for file in result.files)
        rows.append((name, what, result.record_count, human_size(size) if size else None))
    table(("export", "", "records", "size"), rows, "Nothing was found to publish.")
    notes = ((result.partition, warning) for result in found for warning in result.warnings)
    for partition, warning in dict.fromkeys(notes):
        say(f"[yellow]note[/] {partition}: {escape(warning)}")
    for partition, error in dict.fromkeys((result.partition, result.error) for result in found if result.error):
        say(f"[red]failed[/] {escape(partition)}: {escape(error or '')}")


def _failed_name(result: Result) -> str:
    return f"{result.domain}/{result.partition}/{result.series}"


def human_size(size: float) -> str:
    """`1234567` as `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value)} cannot be printed as JSON")
