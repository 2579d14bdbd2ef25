"""The reference pages of `docs/`, written from the declarations: tables, series, checks, settings.

`make docs` writes them, a test compares them. Here: nothing but what the declarations say; explanations
are in the pages that people write.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sheaf.domains import DOMAINS
from sheaf.exports.options import Options
from sheaf.meanings import meanings
from sheaf.running import READING_CHECKS
from sheaf.settings import Settings
from sheaf.steps import Domain, Step
from sheaf.tables import rejects
from sheaf.tables.table import Table

_WRITTEN = "<!-- Written by `make docs` from the declarations; change those. -->"


def pages() -> dict[str, str]:
    """The pages by file name."""
    return {
        "tables.md": _page("Tables", _tables()),
        "series.md": _page("Series", _series()),
        "checks.md": _page("Checks", _checks()),
        "settings.md": _page("Settings", _settings()),
    }


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", _WRITTEN, "", *lines]).rstrip() + "\n"


def _tables() -> Iterator[str]:
    yield (
        "Every step of a domain writes its tables as Parquet, all of a run or none ([publishing.md](publishing.md)). "
        "People read exports; this is what those are made from."
    )
    yield ""
    for domain in DOMAINS.values():
        yield from [f"## {domain.name}", ""]
        for step in domain.steps:
            yield from [f"### {domain.name}/{step.name}", "", step.description, ""]
            if step.reads:
                yield from [f"Reads {_names(table.name for table in step.reads)}.", ""]
            for table in step.writes:
                yield from _table(table)
    yield from ["## rejects", "", "Beside the tables of every step that noted anything.", ""]
    yield from _columns(rejects.schema())


def _table(table: Table) -> Iterator[str]:
    marks = []
    if table.only_grows:
        marks.append("fewer rows than before are refused")
    if table.needed:
        marks.append(f"a delivery without any usable {table.needed} is refused")
    if table.may_be_empty:
        marks.append("may become empty")
    told = f" ({'; '.join(marks)})" if marks else ""
    yield from [f"**`{table.name}`**: {table.description.rstrip('.')}{told}.", ""]
    yield from _columns(table.schema)


def _columns(schema: Any) -> Iterator[str]:
    yield from ["| column | type | unit | what it is |", "|---|---|---|---|"]
    for column in schema:
        notes = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        always = "" if column.nullable else ", never empty"
        yield f"| `{column.name}` | {column.type} | {notes.get('unit', '')} | {notes.get('description', '')}{always} |"
    yield ""


def _series() -> Iterator[str]:
    yield "What can be published, with `sheaf export DOMAIN PARTITION SERIES --filter KEY=VALUE --option KEY=VALUE`."
    yield "In Dagster's launchpad filters stand below `where`, options below `how`."
    yield ""
    for domain in DOMAINS.values():
        yield from [f"## {domain.name}", ""]
        for series in domain.series:
            of = "all partitions together: `campaign`" if series.campaign else f"one {domain.kind}"
            yield from [f"### {domain.name}/{series.name}", "", series.description, ""]
            yield f"Of {of}. Made from {_names(table.name for table in series.tables)}."
            yield ""
            yield from _keys("filter", series.filter)
            yield from _keys("option", series.options)


def _keys(what: str, model: type[Options]) -> Iterator[str]:
    if not model.model_fields:
        return
    meanings = _meanings(model)
    yield from [f"| {what} | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        yield f"| `{name}` | {_type(field)} | {_default(field)} | {meanings.get(name, '')} |"
    yield ""


def _checks() -> Iterator[str]:
    yield "What is checked of every partition before its tables are committed; the UI and `sheaf why` show it."
    yield ""
    yield from ["| step | check | passes when |", "|---|---|---|"]
    for domain in DOMAINS.values():
        for step in domain.steps:
            for name, description in _checks_of(step):
                yield f"| {domain.name}/{step.name} | `{name}` | {description} |"
    yield "| every export | `verified` | Every file was read back, first by an independent reader, then by sha256. |"


def _checks_of(step: Step) -> Iterator[tuple[str, str]]:
    if step.work is None:
        yield from READING_CHECKS.items()
    for check in step.checks:
        yield check.name, check.description


def _settings() -> Iterator[str]:
    yield (
        "Everything has a default. `SHEAF_HOME/sheaf.yaml`, or the file that `SHEAF_CONFIG` names, overrides it; "
        "a variable of the environment overrides that, such as `SHEAF_NIGHTLY`, or "
        "`SHEAF_FERMENTATION__VESSEL_VOLUME_L` for one key of a domain. Secrets stand in the environment only. "
        "A setting that a step reads is part of what its tables are made with: "
        "when it changes, the step is made again before anything is published."
    )
    yield ""
    yield from ["## Of the whole", ""]
    own = {name: field for name, field in Settings.model_fields.items() if name not in DOMAINS}
    yield from _fields(own, _meanings(Settings), {})
    for domain in DOMAINS.values():
        model: Any = Settings.model_fields[domain.name].annotation
        yield from [f"## {domain.name}", ""]
        yield from _fields(model.model_fields, _meanings(model), _readers(domain))


def _readers(domain: Domain) -> dict[str, list[str]]:
    """Which steps read a setting."""
    found: dict[str, list[str]] = {}
    for step in domain.steps:
        for name in step.settings:
            found.setdefault(name, []).append(step.name)
    return found


def _fields(
    fields: Mapping[str, FieldInfo], meanings: Mapping[str, str], readers: Mapping[str, list[str]]
) -> Iterator[str]:
    yield from ["| setting | type | default | meaning | read by |", "|---|---|---|---|---|"]
    for name, field in fields.items():
        by = ", ".join(readers.get(name, []))
        yield f"| `{name}` | {_type(field)} | {_default(field)} | {meanings.get(name, '')} | {by} |"
    yield ""


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The sentences of `meanings` as cells of a table."""
    return {name: meaning.replace("|", "\\|") for name, meaning in meanings(model).items()}


def _type(field: FieldInfo) -> str:
    text = inspect.formatannotation(field.annotation).replace("typing.", "")
    text = re.sub(r"\b[a-z_]+\.(?:[a-z_]+\.)*(?=[A-Z])", "", text)
    text = re.sub(r"Annotated\[([^,\[\]]+), (?:[^\[\]]|\[[^\[\]]*\])*\]", r"\1", text)
    return f"`{text}`".replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value in ("", (), {}, []):
        return ""
    if isinstance(value, BaseModel):
        if name := getattr(value, "name", ""):
            return f"`{name}`"
        return ", ".join(f"{name} {value}" for name, value in value.model_dump(mode="json").items())
    return f"`{getattr(value, 'value', value)}`".replace("|", "\\|")


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main(folder: str) -> None:
    """Write the pages into a folder."""
    for name, text in pages().items():
        Path(folder, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
