"""Running one step for the partitions of a run, and telling Dagster what came of each.

Here: the loop that all table and export assets share, and how a report becomes run metadata and
check results. Not here: any work on records.
"""

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from sheaf import tables
from sheaf.errors import InputError, SheafError
from sheaf.report import Report
from sheaf.store import Store

OWNER = "team:data"
StepEvent = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckResult


@dataclass(frozen=True)
class Check:
    """The verdict of one asset check on one partition; `detail` is a sentence for the operator."""

    name: str
    passed: bool
    detail: str = ""
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Outcome:
    """What a step made of one partition."""

    metadata: Mapping[str, Any]
    data_version: str | None = None
    checks: Sequence[Check] = field(default=())


def run_each(
    context: dg.AssetExecutionContext, keys: Sequence[str], work: Callable[[str], Outcome]
) -> Iterator[StepEvent]:
    """Do the work for every partition of the run; one that fails does not stop the others.

    Partitions that succeeded are recorded as materialised even when the step fails in the end.
    """
    done: dict[str, Outcome] = {}
    failed: dict[str, str] = {}
    for key in keys:
        try:
            done[key] = work(key)
        except SheafError as error:
            failed[key] = str(error)
        except Exception as error:
            context.log.exception(f"{key} failed")
            failed[key] = f"{type(error).__name__}: {error}"
    checks = _check_results(done)
    partitioned = context.assets_def.partitions_def is not None
    if failed:
        for key, outcome in done.items():
            tags = {"dagster/data_version": outcome.data_version} if outcome.data_version else {}
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=outcome.metadata, tags=tags)
        yield from checks
        raise dg.Failure(
            description="\n".join(failed.values()),
            metadata={"failed": list(failed), "succeeded": list(done)},
            allow_retries=False,
        )
    for key, outcome in done.items():
        context.add_asset_metadata(outcome.metadata, partition_key=key if partitioned else None)
    only = next(iter(done.values())) if len(done) == 1 else None
    version = dg.DataVersion(only.data_version) if only and only.data_version else None
    yield dg.MaterializeResult(data_version=version, check_results=checks)


def table_outcome(report: Report, checks: Sequence[Check] = ()) -> Outcome:
    """A report as run metadata; the data version is that of the tables it wrote."""
    metadata: dict[str, Any] = {f"rows {table.table}": table.rows for table in report.tables}
    if report.tables:
        metadata["dagster/row_count"] = report.tables[0].rows
    metadata |= {name: _shown(value) for name, value in report.counts.items()}
    if report.rejects:
        rows = [{"reason": reason, "rows": count} for reason, count in report.rejects.items()]
        metadata["rejected"] = table_value(rows)
    if report.warnings:
        metadata["warnings"] = dg.MetadataValue.md("\n".join(f"- {warning}" for warning in report.warnings))
    if report.preview:
        metadata["preview"] = table_value(report.preview)
    for title, png in report.plots.items():
        metadata[title] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
    version = "-".join(table.sha256[:16] for table in report.tables) or None
    return Outcome(metadata, version, checks)


def table_value(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table on the run page."""
    shown = [{key: _shown(value) for key, value in row.items()} for row in rows]
    columns = [dg.TableColumn(name) for name in (shown[0] if shown else ())]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in shown], dg.TableSchema(columns))


def _shown(value: object) -> bool | int | float | str:
    """A value as Dagster can keep it: what is neither text, finite number nor truth value becomes text."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else ""
    if isinstance(value, bool | int | str):
        return value
    return "" if value is None else str(value)


def column_schema(table: tables.Table) -> dg.TableSchema:
    """A table's columns with units and descriptions, as the asset's page shows them."""
    columns = []
    for column in table.schema:
        notes = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        unit = f" [{notes['unit']}]" if "unit" in notes else ""
        columns.append(dg.TableColumn(column.name, str(column.type), notes.get("description", "") + unit))
    return dg.TableSchema(columns)


def ingest_or_refuse(
    store: Store, rejects: tables.Table, partition: str, ingest: Callable[[], Report]
) -> tuple[Report, Check]:
    """Ingest one partition; an input that cannot be used at all is kept as a refusal.

    A refusal does not raise, so that in a run over many partitions the good ones go on. Its
    tables keep the last good input, its exports fail with the reason.
    """
    try:
        report = ingest()
    except InputError as error:
        report = Report((tables.refuse(store, rejects, partition, str(error)),), rejects={str(error): 1})
    try:
        tables.refuse_if_blocked(store, rejects, partition)
    except InputError as error:
        return report, Check("readable", passed=False, detail=str(error), severity=dg.AssetCheckSeverity.ERROR)
    return report, Check("readable", passed=True)


def unless_refused(store: Store, rejects: tables.Table, partition: str, work: Callable[[], Report]) -> Report:
    """Do a step only for a partition whose newest input could be read."""
    try:
        tables.refuse_if_blocked(store, rejects, partition)
    except InputError as error:
        return Report(warnings=(f"Skipped. {error}",))
    return work()


def rejects_check(report: Report, rows: int, limit: float = 0.05) -> Check:
    """At most one row in twenty may be rejected before somebody should look."""
    rejected = sum(report.rejects.values())
    share = rejected / (rows + rejected) if rejected else 0.0
    return Check("rejects", share <= limit, f"{rejected} of {rows + rejected} rows rejected ({share:.1%})")


def _check_results(done: Mapping[str, Outcome]) -> list[dg.AssetCheckResult]:
    """One result per check: over many partitions it names those that did not pass."""
    by_name: dict[str, list[tuple[str, Check]]] = {}
    for key, outcome in done.items():
        for check in outcome.checks:
            by_name.setdefault(check.name, []).append((key, check))
    results = []
    for name, verdicts in by_name.items():
        wrong = [(key, check) for key, check in verdicts if not check.passed]
        errors = any(check.severity is dg.AssetCheckSeverity.ERROR for _, check in wrong)
        results.append(
            dg.AssetCheckResult(
                check_name=name,
                passed=not wrong,
                severity=dg.AssetCheckSeverity.ERROR if errors or not wrong else dg.AssetCheckSeverity.WARN,
                description="\n".join(check.detail for _, check in wrong or verdicts[:1]),
                metadata={key: check.detail or "passed" for key, check in wrong or verdicts},
            )
        )
    return results
