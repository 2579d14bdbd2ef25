"""How what a step or an export did looks on the run page: accounts, rejects, counts, plots, tables."""

import base64
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import dagster as dg

from sheaf.exports.publish import Published
from sheaf.exports.series import flat_counts
from sheaf.running import Made
from sheaf.settings import ServeSettings
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind
from sheaf.tables.generations import Generation
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

_MOST_REJECTS = 20


def step_metadata(store: Store, made: Made, before: Mapping[str, Any]) -> dict[str, Any]:
    """A generation and its report, in the order in which people read them.

    Args:
        before: what the newest run showed; of the same generation it is shown again, with its preview and plots.
    """
    generation, report = made.generation, made.report
    metadata: dict[str, Any] = {"generation": generation.number}
    if made.unchanged:
        metadata["unchanged"] = f"It would be made the same as on {generation.made_at:%Y-%m-%d %H:%M} UTC."
        if "generation" in before and before["generation"].value == generation.number:
            return {**metadata, **{name: value for name, value in before.items() if name not in metadata}}
    if generation.warnings:
        metadata["warnings"] = warnings_value(generation.warnings)
    if generation.account:
        metadata["account"] = account_value(generation)
    if rejects := _rejects(store, generation):
        metadata["rejects"] = table_value(rejects)
    for title, png in report.plots().items():
        metadata[title] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
    metadata |= {name.replace("_", " "): _shown(value) for name, value in generation.counts.items()}
    if report.preview:
        metadata["preview"] = table_value(report.preview)
    metadata |= {f"rows in {name}": file.rows for name, file in generation.tables.items()}
    if generation.tables:
        metadata["dagster/row_count"] = next(iter(generation.tables.values())).rows
    if generation.made_with.settings:
        metadata["made with"] = dg.MetadataValue.json(generation.made_with.model_dump(mode="json"))
    return metadata


def export_metadata(published: Published, store: Store, serve: ServeSettings) -> dict[str, Any]:
    """An export, new or unchanged, with its folder and its page in the catalogue, which `sheaf serve` shows."""
    manifest = published.manifest
    catalogue = f"https://{serve.hosts[0]}" if serve.hosts else f"http://{serve.host}:{serve.port}"
    metadata: dict[str, Any] = {
        "export": str(published.export),
        "unchanged": published.unchanged,
        "path": published.export.path,
        "folder": dg.MetadataValue.path(f"{store.url.rstrip('/')}/{published.export.path}"),
        "catalogue": dg.MetadataValue.url(f"{catalogue}/#/{published.export}"),
        "dagster/row_count": manifest.record_count,
        "files": table_value([file.model_dump() for file in manifest.files]),
        **{f"count {name}": count for name, count in flat_counts(manifest.counts).items()},
    }
    if manifest.warnings:
        metadata["warnings"] = warnings_value(manifest.warnings)
    return metadata


def account_value(generation: Generation) -> dg.TableMetadataValue:
    """What became of the delivered rows, a line for each table."""
    return table_value(
        [
            {
                "table": account.table,
                "seen": account.seen,
                "used": account.used,
                "rejected": account.rejected,
                "changed": account.rows(Kind.CHANGE),
                "faulty": account.rows(Kind.FAULT),
                "left out": ", ".join(f"{rows} {why}" for why, rows in account.left_out.items()),
                "why": "; ".join(f"{reason.code} ({reason.rows})" for reason in account.reasons[:5]),
            }
            for account in generation.account
        ]
    )


def _rejects(store: Store, generation: Generation) -> list[dict[str, Any]]:
    """The first things that were wrong, with file, line and what the row said."""
    tables = Tables(store, generation.partition, {generation.step: generation})
    first = next(iter(tables.rejects(generation.step)), None)
    return first.slice(0, _MOST_REJECTS).to_pylist() if first else []


def warnings_value(warnings: Sequence[str]) -> dg.TableMetadataValue:
    """Sentences as a table: unlike Markdown, the page shows it without a click."""
    return table_value([{"warning": warning} for warning in warnings])


def table_value(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table on the run page."""
    shown = [{key: _shown(value) for key, value in row.items()} for row in rows]
    columns = [dg.TableColumn(name) for name in (shown[0] if shown else ())]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in shown], dg.TableSchema(columns))


def column_schema(table: Table) -> dg.TableSchema:
    """A table's columns with units and descriptions, as the asset's page shows them."""
    columns = []
    for column in table.schema:
        notes = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        unit = f" [{notes['unit']}]" if "unit" in notes else ""
        columns.append(dg.TableColumn(column.name, str(column.type), notes.get("description", "") + unit))
    return dg.TableSchema(columns)


def _shown(value: object) -> bool | int | float | str:
    """A value as Dagster can keep it: what is neither text, finite number nor truth value becomes text."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else ""
    if isinstance(value, bool | int) and not isinstance(value, Enum):
        return value
    return "" if value is None else str(value)
