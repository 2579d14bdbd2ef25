"""Exports as assets: one for each entry in a domain's list of series, all made the same way."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg

from assets import pools
from assets.each import OWNER, Check, Outcome, StepEvent, backfill_policy, run_each
from assets.launchpad import asked_filter, asked_options, config_schema
from assets.partitions import partitions_of
from assets.shown import export_metadata
from assets.steps import step_key
from resources.store import StoreResource
from sheaf.coherence import pin
from sheaf.errors import RefusedError
from sheaf.exports import catalogue
from sheaf.exports.options import as_pairs
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import Series
from sheaf.names import CAMPAIGN, ExportId
from sheaf.settings import ServeSettings, Settings
from sheaf.steps import Domain
from sheaf.store.store import Store

VERIFIED = "verified"


def export_config(request: Request) -> dict[str, Any]:
    """The run config of the asset that makes an export somebody asked for."""
    return {
        "filter": as_pairs(request.filter),
        "options": as_pairs(request.options),
        "requested_by": request.requested_by,
        "always": request.always,
        "asked": True,
    } | {key: value for key, value in (("name", request.name), ("version", request.version)) if value}


def export_key(domain: Domain, series: Series) -> dg.AssetKey:
    """The asset of a series."""
    return dg.AssetKey([domain.name, series.name])


def export_assets(domain: Domain) -> list[dg.AssetsDefinition]:
    """The export assets of a domain."""
    partitions = partitions_of(domain)
    return [_export_asset(domain, series, partitions) for series in domain.series]


def _export_asset(domain: Domain, series: Series, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    own_partitions = None if series.campaign else partitions
    key = export_key(domain, series)

    @dg.asset(
        key=key,
        partitions_def=own_partitions,
        deps=list(dict.fromkeys(step_key(domain, domain.writer(table)) for table in series.tables)),
        group_name=domain.name,
        kinds={*series.kinds},
        owners=[OWNER],
        tags={"sheaf/step": "export"},
        description=series.description,
        code_version=str(series.version),
        backfill_policy=None if series.campaign else backfill_policy(domain.in_one_run),
        pool=pools.EXPORTS,
        config_schema=config_schema(series),
        check_specs=[
            dg.AssetCheckSpec(
                VERIFIED,
                asset=key,
                partitions_def=own_partitions,
                description="Every file was read back, first by an independent reader, then from the store by sha256.",
            )
        ],
    )
    def export(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        settings: dg.ResourceParam[Settings],
    ) -> Iterator[StepEvent]:
        opened, own, config = store.open(), settings.of(domain.name), context.op_execution_context.op_config
        keys = [CAMPAIGN] if series.campaign else context.partition_keys

        def work(note: Callable[[ExportId], None], partition: str, stopped: Callable[[], bool]) -> Outcome:
            request = Request(
                partition=partition,
                filter=asked_filter(config),
                options=asked_options(config),
                name=config.get("name"),
                requested_by=config.get("requested_by") or _launcher(context.run.tags),
                run_id=context.run.run_id,
                always=config["always"],
                version=config.get("version"),
            )
            try:
                if not config["asked"] and domain.offered and not series.campaign:
                    tables = pin(opened, domain, partition, series.tables, own)
                    if series.name not in domain.offered(tables):
                        return _nothing("The partition has no records of this kind, or wants none of them published.")
                done = publish(opened, domain, series, request, own, stopped)
                if not done.unchanged:
                    note(done.export)
                return _outcome(done, opened, settings.serve)
            except RefusedError as error:
                if len(keys) == 1:
                    raise
                return _nothing(f"Skipped, its newest delivery was refused. {error}")

        with catalogue.noting(opened) as note:
            yield from run_each(context, keys, partial(work, note), red=[VERIFIED])

    return export


def _launcher(tags: Mapping[str, str]) -> str:
    """Who started a run: somebody at the command line, a schedule, a sensor, a backfill, or the UI."""
    person = tags.get("sheaf/requested_by")
    if person and "dagster/parent_run_id" not in tags:  # whoever runs it again in the UI copies the tags
        return person
    for tag, who in (("schedule_name", "schedule "), ("sensor_name", "sensor "), ("backfill", "backfill ")):
        if value := tags.get(f"dagster/{tag}"):
            return who + value
    return "Dagster UI"


def _outcome(published: Published, store: Store, serve: ServeSettings) -> Outcome:
    version = published.export.version
    detail = f"unchanged since v{version}" if published.unchanged else f"v{version}"
    check = Check(VERIFIED, passed=True, detail=detail)
    return Outcome(export_metadata(published, store, serve), published.manifest.fingerprint[:32], [check])


def _nothing(why: str) -> Outcome:
    """Nothing was published, and nothing had to be; what was published before stays verified."""
    return Outcome({"export": "", "nothing": why}, checks=[Check(VERIFIED, passed=True, detail=f"Nothing new. {why}")])
