"""Doing one thing for every partition of a run, and telling Dagster what came of each.

Here: the loop that all assets share, and where a failure is told. Not here: any work on records, nor how
its outcome is shown (`shown`).
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import dagster as dg

# Dagster 1.13 has no public name for it, and without it a check of a partition counts as out of date.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from sheaf import memory
from sheaf.errors import SheafError

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
    """What came of one partition; `failed` is the reason where there is nothing to materialise."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    data_version: str | None = None
    checks: Sequence[Check] = ()
    failed: str = ""


def run_each(
    context: dg.AssetExecutionContext,
    keys: Sequence[str],
    work: Callable[[str, Callable[[], bool]], Outcome],
    red: Sequence[str] = (),
) -> Iterator[StepEvent]:
    """Do the work for every partition of the run; one that fails does not stop the others.

    Args:
        work: done for a partition; it may ask whether the run is being stopped.
        red: the checks that are red for a partition whose work could not be done.

    Where something comes after this asset in the run, a failed step would stop it for all partitions. So
    in a run of many the step then goes on, the failed partition is red by its checks, and what was there
    before stays; the step fails only when nothing was left to go on with.
    """
    outcomes = _outcomes(context, keys, work, red)
    partitioned = context.assets_def.partitions_def is not None
    failed = {key: outcome.failed for key, outcome in outcomes.items() if outcome.failed}
    done = {key: outcome for key, outcome in outcomes.items() if not outcome.failed}
    sentences = "\n".join(reason if key in reason else f"{key}: {reason}" for key, reason in failed.items())
    if failed and (not done or not _is_waited_for(context)):
        for key, outcome in done.items():
            tags = {"dagster/data_version": outcome.data_version} if outcome.data_version else {}
            yield dg.AssetMaterialization(context.asset_key, partition=key, metadata=outcome.metadata, tags=tags)
        yield from _evaluations(context, outcomes, partitioned=partitioned)
        raise dg.Failure(
            description=sentences,
            metadata={"failed": list(failed), "succeeded": list(done)},
            allow_retries=False,
        )
    if failed:
        context.log.error(f"The others go on without these partitions:\n{sentences}")
    for key, outcome in outcomes.items():
        metadata = {"not made": outcome.failed} if outcome.failed else outcome.metadata
        context.add_asset_metadata(metadata, partition_key=key if partitioned else None)
    only = next(iter(outcomes.values())) if len(outcomes) == 1 else None
    version = dg.DataVersion(only.data_version) if only and only.data_version else None
    yield dg.MaterializeResult(data_version=version)
    yield from _evaluations(context, outcomes, partitioned=partitioned)
    for name in context.assets_def.check_specs_by_output_name:
        yield dg.Output(None, output_name=name)


def _outcomes(
    context: dg.AssetExecutionContext,
    keys: Sequence[str],
    work: Callable[[str, Callable[[], bool]], Outcome],
    red: Sequence[str],
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    with _hearing() as stopped:
        for key in keys:
            try:
                outcomes[key] = work(key, stopped)
            except SheafError as error:
                outcomes[key] = _failed(str(error), red)
            except Exception as error:
                if not stopped():
                    context.log.exception(f"{key} failed")
                outcomes[key] = _failed(f"{type(error).__name__}: {error}", red)
            finally:
                memory.give_back()
            if stopped():
                raise dg.DagsterExecutionInterruptedError
    return outcomes


@contextmanager
def _hearing() -> Iterator[Callable[[], bool]]:
    """Tells whether the run was interrupted: DuckDB and others make an error of their own of what Dagster raises."""
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before:
        signal.signal(number, hear)
    try:
        yield heard.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failed(why: str, red: Sequence[str]) -> Outcome:
    severity = dg.AssetCheckSeverity.ERROR
    checks = [Check(name, passed=False, detail=f"Not checked: {why}", severity=severity) for name in red]
    return Outcome(failed=why, checks=checks)


def backfill_policy(in_one_run: int | None) -> dg.BackfillPolicy:
    """How many partitions of a backfill share a run; None for all."""
    return dg.BackfillPolicy.multi_run(in_one_run) if in_one_run else dg.BackfillPolicy.single_run()


def _is_waited_for(context: dg.AssetExecutionContext) -> bool:
    """Whether another asset of this run comes after this one."""
    graph = context.job_def.asset_layer.asset_graph
    return bool(graph.get(context.asset_key).child_keys & set(context.job_def.asset_layer.selected_asset_keys))


def _evaluations(
    context: dg.AssetExecutionContext, outcomes: Mapping[str, Outcome], *, partitioned: bool
) -> Iterator[dg.AssetCheckEvaluation]:
    """The verdicts of every partition by itself.

    An `AssetCheckResult` of a run over many partitions belongs to none of them, and each would look as
    if its checks had never run. A verdict counts only while it points to the newest materialisation.
    """
    targets = _newest_materializations(context, list(outcomes) if partitioned else None)
    for key, outcome in outcomes.items():
        partition = key if partitioned else None
        for check in outcome.checks:
            yield dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=check.name,
                passed=check.passed,
                severity=dg.AssetCheckSeverity.ERROR if check.passed else check.severity,
                description=check.detail or None,
                target_materialization_data=targets.get(partition),
                partition=partition,
            )


def _newest_materializations(
    context: dg.AssetExecutionContext, partitions: Sequence[str] | None
) -> dict[str | None, AssetCheckEvaluationTargetMaterializationData]:
    """By partition; those of this run come first, so as many as there are partitions hold one of each."""
    wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=partitions)
    found: dict[str | None, AssetCheckEvaluationTargetMaterializationData] = {}
    for record in context.instance.fetch_materializations(wanted, limit=max(len(partitions or ()), 1)).records:
        found.setdefault(
            record.partition_key,
            AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            ),
        )
    return found
