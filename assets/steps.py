"""Running one step for the partitions of a run, and telling Dagster what came of each.

Here: the loop that all table and export assets share, and how a report becomes run metadata and
check results. Not here: any work on records.
"""

import base64
import ctypes
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import dagster as dg
import pyarrow as pa

# Dagster 1.13 has no public name for it, and without it a check of a partition counts as out of date.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from sheaf import tables
from sheaf.errors import InputError, SheafError
from sheaf.report import Report
from sheaf.store import Store

OWNER = "team:data"
StepEvent = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.Output[None]


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
        finally:
            _give_back()
    partitioned = context.assets_def.partitions_def is not None
    if failed:
        for key, outcome in done.items():
            tags = {"dagster/data_version": outcome.data_version} if outcome.data_version else {}
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=outcome.metadata, tags=tags)
        yield from _evaluations(context, done, partitioned=partitioned)
        raise dg.Failure(
            description="\n".join(reason if key in reason else f"{key}: {reason}" for key, reason in failed.items()),
            metadata={"failed": list(failed), "succeeded": list(done)},
            allow_retries=False,
        )
    for key, outcome in done.items():
        context.add_asset_metadata(outcome.metadata, partition_key=key if partitioned else None)
    only = next(iter(done.values())) if len(done) == 1 else None
    version = dg.DataVersion(only.data_version) if only and only.data_version else None
    yield dg.MaterializeResult(data_version=version)
    yield from _evaluations(context, done, partitioned=partitioned)
    for name in context.assets_def.check_specs_by_output_name:
        yield dg.Output(None, output_name=name)


def table_outcome(report: Report, checks: Sequence[Check] = ()) -> Outcome:
    """A report as run metadata, in the order in which people read it; the data version is that of its tables."""
    metadata: dict[str, Any] = {}
    if report.warnings:
        metadata["warnings"] = warnings_value(report.warnings)
    if report.rejects:
        rows = [{"reason": reason, "rows": count} for reason, count in report.rejects.items()]
        metadata["rejected"] = table_value(rows)
    for title, png in report.plots.items():
        metadata[title] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
    metadata |= {name.replace("_", " "): _shown(value) for name, value in report.counts.items()}
    if report.preview:
        metadata["preview"] = table_value(report.preview)
    metadata |= {f"rows in {table.table}": table.rows for table in report.tables}
    if report.tables:
        metadata["dagster/row_count"] = report.tables[0].rows
    version = "-".join(table.sha256[:16] for table in report.tables) or None
    return Outcome(metadata, version, checks)


def warnings_value(warnings: Sequence[str]) -> dg.TableMetadataValue:
    """Sentences as a table: unlike Markdown, the page shows it without a click."""
    return table_value([{"warning": warning} for warning in warnings])


def table_value(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table on the run page."""
    shown = [{key: _shown(value) for key, value in row.items()} for row in rows]
    columns = [dg.TableColumn(name) for name in (shown[0] if shown else ())]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in shown], dg.TableSchema(columns))


def _shown(value: object) -> bool | int | float | str:
    """A value as Dagster can keep it: what is neither text, finite number nor truth value becomes text."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else ""
    if isinstance(value, bool | int) and not isinstance(value, Enum):
        return value
    return "" if value is None else str(value)


def backfill_policy(in_one_run: int | None) -> dg.BackfillPolicy:
    """How many partitions of a backfill share a run; None for all."""
    return dg.BackfillPolicy.multi_run(in_one_run) if in_one_run else dg.BackfillPolicy.single_run()


def column_schema(table: tables.Table) -> dg.TableSchema:
    """A table's columns with units and descriptions, as the asset's page shows them."""
    columns = []
    for column in table.schema:
        notes = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        unit = f" [{notes['unit']}]" if "unit" in notes else ""
        columns.append(dg.TableColumn(column.name, str(column.type), notes.get("description", "") + unit))
    return dg.TableSchema(columns)


def not_checked(name: str) -> Check:
    """The verdict on a partition whose newest input could not be read."""
    return Check(name, passed=False, detail="Not checked: the newest input could not be read.")


def unless_refused(store: Store, rejects: tables.Table, partition: str, work: Callable[[], Report]) -> Report:
    """Do a step only for a partition whose newest input could be read."""
    try:
        tables.refuse_if_blocked(store, rejects, partition)
    except InputError as error:
        return Report(warnings=(f"Skipped. {error}",))
    return work()


def _give_back() -> None:
    """Return freed memory to the system: allocators keep it for the next partition, on top of each other."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # only where the C library is GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _evaluations(
    context: dg.AssetExecutionContext, done: Mapping[str, Outcome], *, partitioned: bool
) -> Iterator[dg.AssetCheckEvaluation]:
    """The verdicts of every partition by itself.

    An `AssetCheckResult` of a run over many partitions belongs to none of them, and each would look as
    if its checks had never run. A verdict counts only while it points to the newest materialisation.
    """
    for key, outcome in done.items():
        partition = key if partitioned else None
        target = _newest_materialization(context, partition) if outcome.checks else None
        for check in outcome.checks:
            yield dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=check.name,
                passed=check.passed,
                severity=dg.AssetCheckSeverity.ERROR if check.passed else check.severity,
                description=check.detail or None,
                target_materialization_data=target,
                partition=partition,
            )


def _newest_materialization(
    context: dg.AssetExecutionContext, partition: str | None
) -> AssetCheckEvaluationTargetMaterializationData | None:
    wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=None if partition is None else [partition])
    for record in context.instance.fetch_materializations(wanted, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return None
