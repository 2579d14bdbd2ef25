"""The steps of every domain as assets: partitions, checks, versions and graph follow from the declaration."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import orjson
from pydantic import BaseModel

from assets.each import OWNER, Check, Outcome, StepEvent, backfill_policy, run_each
from assets.partitions import partitions_of
from assets.shown import column_schema, step_metadata
from resources.store import StoreResource
from sheaf.publication import of_single
from sheaf.running import READABLE, READING_CHECKS, How, Made, run_step
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.steps import Domain, Step
from sheaf.store.store import Store


class StepConfig(dg.Config):
    """What may be said of a step in the launchpad.

    Attributes:
        accept_loss: commit also what replaces stored rows by less, such as sensor points that a source no
            longer has.
        again: do it even where the same would be made.
    """

    accept_loss: bool = False
    again: bool = False


def step_key(domain: Domain, step: Step) -> dg.AssetKey:
    """The asset of a step."""
    return dg.AssetKey([domain.name, step.name])


def step_assets(domain: Domain, settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of a domain's steps, in the order data flows."""
    partitions = partitions_of(domain)
    return [_step_asset(domain, step, partitions, settings.of(domain.name)) for step in domain.steps]


def code_version(step: Step, settings: BaseModel) -> str:
    """Differs whenever the code of a step or a setting it reads does: then Dagster shows it as out of date."""
    if not step.settings:
        return str(step.version)
    values = step.settings_values(settings, "") | {
        one: step.settings_values(settings, one) for one in of_single(settings)
    }
    digest = hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    return f"{step.version}, settings {digest}"


def _step_asset(
    domain: Domain, step: Step, partitions: dg.PartitionsDefinition, settings: BaseModel
) -> dg.AssetsDefinition:
    key = step_key(domain, step)
    checks = (READING_CHECKS if step.work is None else {}) | {check.name: check.description for check in step.checks}

    @dg.asset(
        key=key,
        partitions_def=partitions,
        deps=[step_key(domain, before) for before in domain.before(step)],
        group_name=domain.name,
        kinds={*step.kinds},
        owners=[OWNER],
        tags={"sheaf/step": "table"},
        description=step.description,
        metadata={"dagster/column_schema": column_schema(step.writes[0])} if step.writes else None,
        code_version=code_version(step, settings),
        pool=step.pool,
        backfill_policy=backfill_policy(domain.in_one_run),
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, description=description, partitions_def=partitions)
            for name, description in checks.items()
        ],
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: StepConfig,
        sources: dg.ResourceParam[Sources],
        store: StoreResource,
        settings: dg.ResourceParam[Settings],
    ) -> Iterator[StepEvent]:
        opened, own = store.open(), settings.of(domain.name)

        def work(partition: str, stopped: Callable[[], bool]) -> Outcome:
            how = How(
                accept_loss=config.accept_loss,
                again=config.again,
                run_id=context.run.run_id,
                waiting=lambda holder: context.log.info(
                    f"Waiting for process {holder.pid} on {holder.host}, which makes {holder.what} of it."
                ),
                cancelled=stopped,
            )
            made = run_step(opened, domain, step, partition, own, sources, how)
            return _outcome(opened, made, _shown_before(context, partition) if made.unchanged else {})

        yield from run_each(context, context.partition_keys, work, red=list(checks))

    return asset


def _shown_before(context: dg.AssetExecutionContext, partition: str) -> Mapping[str, Any]:
    wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=[partition])
    for record in context.instance.fetch_materializations(wanted, limit=1).records:
        return record.asset_materialization.metadata if record.asset_materialization else {}
    return {}


def _outcome(store: Store, made: Made, before: Mapping[str, Any]) -> Outcome:
    generation = made.generation
    checks = [
        Check(
            name,
            verdict.passed,
            verdict.detail,
            dg.AssetCheckSeverity.ERROR if name == READABLE else dg.AssetCheckSeverity.WARN,
        )
        for name, verdict in generation.checks.items()
    ]
    if generation.refused is not None:
        return Outcome(failed=generation.refused, checks=checks)
    return Outcome(step_metadata(store, made, before), generation.data_version or None, checks)
