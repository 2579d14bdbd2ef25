"""How the command line prints: tables for people, one JSON document for programs."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sheaf.names import CAMPAIGN, ExportId, SeriesId

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipelines.cli.results import Result
    from sheaf.exports.records import Record
    from sheaf.store.store import Store

MOST_PROBLEMS = 50
PIPED = 4096  # columns: what goes to a file or another program is never cut
OUT = Console(width=None if sys.stdout.isatty() else PIPED)
ERR = Console(stderr=True)


def json(value: Any) -> None:
    """Print one JSON document and nothing else."""
    data = orjson.dumps(value, default=plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows under headings, or a sentence when there are none."""
    shown = Table(box=None, header_style="bold", pad_edge=False, show_header=any(columns))
    for index, column in enumerate(columns):
        shown.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in rows:
        shown.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    if shown.row_count:
        OUT.print(shown)
    else:
        OUT.print(empty)


def exports(store: "Store", records: "Iterable[Record]", empty: str) -> None:
    """Print a line for each export: what it is, how large, and what was asked for."""
    from sheaf.exports.history import contents
    from sheaf.exports.options import typed

    rows = []
    for record in contents(store, records):
        what = record.status if record.canonical else f"{record.status}, on request"
        asked = " ".join(typed(record.filter))
        size = None if record.size is None else human_size(record.size)
        created = f"{record.created_at:%Y-%m-%d %H:%M}"
        told = record.error or asked
        rows.append((record.id, what, record.name, size, record.record_count, created, record.requested_by, told))
    columns = ("export", "status", "name", "size", "records", "created (UTC)", "by", "filter, or why it failed")
    table(columns, rows, empty)


def say(text: str) -> None:
    """Print a line for a person on stderr; it is not cut at the width of the terminal."""
    ERR.print(text, highlight=False, soft_wrap=True)


def results(found: "Sequence[Result]") -> None:
    """Print what came of a run: one line for each series, then what a person should read."""
    from sheaf.exports.records import Status
    from sheaf.tables.accounts import rejected_lines

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
    notes = [(result.partition, warning) for result in found for warning in result.warnings]
    notes += [
        (result.partition, line)
        for result in found
        for line in rejected_lines(result.domain, result.partition, result.account)
    ]
    for partition, warning in dict.fromkeys(notes):
        say(f"[yellow]note[/] {partition}: {escape(warning)}")
    for line in _problems(found):
        say(f"[yellow]check[/] {escape(line)}")
    for partition, error in dict.fromkeys((result.partition, result.error) for result in found if result.error):
        say(f"[red]failed[/] {escape(partition)}: {escape((error or '').removeprefix(f'{partition}: '))}")


def settings(values: Mapping[str, Any], domain: str) -> str:
    """A domain's settings on one line, without those that say nothing; of a whole plan what is not the default's."""
    from sheaf.settings import Settings

    default: BaseModel = Settings.model_fields[domain].get_default(call_default_factory=True)
    defaults = default.model_dump(mode="json")
    told = {name: _differing(value, defaults.get(name)) for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in told.items() if value not in (None, "", [], {}))


def _differing(value: Any, default: Any) -> Any:
    """Of a mapping the keys whose values are not the default's; what was taken out is None."""
    if not isinstance(value, Mapping) or not isinstance(default, Mapping):
        return value
    own = {key: _differing(each, default.get(key)) for key, each in value.items() if default.get(key) != each}
    return own | {key: None for key in default if key not in value}


def _problems(found: "Sequence[Result]") -> list[str]:
    """What checks found, each once; of a campaign's members only where nothing else is told."""
    own = [result for result in found if result.partition != CAMPAIGN] or found
    lines = [f"{one.partition}: {one.step} {one.check}: {one.detail}" for result in own for one in result.problems]
    lines = list(dict.fromkeys(line.removesuffix(": ") for line in lines))
    more = len(lines) - MOST_PROBLEMS
    return lines if more <= 0 else [*lines[:MOST_PROBLEMS], f"… and {more} more"]


def _failed_name(result: "Result") -> str:
    return f"{result.domain}/{result.partition}/{result.series}".rstrip("/")


def human_size(size: float) -> str:
    """`1234567` as `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def plain(value: Any) -> Any:
    """What JSON has no word for, as what it has; for orjson."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value)} cannot be printed as JSON")
