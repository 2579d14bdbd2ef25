"""Exports as assets: one for each entry in a domain's list of series, all made the same way."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from assets.steps import OWNER, Check, Outcome, StepEvent, backfill_policy, run_each, table_value, warnings_value
from resources.store import StoreResource
from sheaf import tables
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import CAMPAIGN, Domain, Series
from sheaf.options import parse_pairs
from sheaf.settings import Settings

NOTHING_TO_PUBLISH = Outcome(
    {"export": "", "nothing": "The partition has no records of this kind."},
    checks=[Check("verified", passed=True, detail="Nothing to publish.")],
)


class ExportConfig(dg.Config):
    """What may be asked of an export in the launchpad; empty means the canonical export.

    Attributes:
        filter: pairs such as `min_hours=4`.
        options: pairs such as `gas_balance=upstream`.
        name: how to call the export.
        requested_by: who asks.
        always: make a new version even when nothing changed.
    """

    filter: list[str] = Field(default_factory=list)
    options: list[str] = Field(default_factory=list)
    name: str | None = None
    requested_by: str | None = None
    always: bool = False


def export_assets(
    domain: Domain,
    partitions: dg.PartitionsDefinition,
    written_by: Mapping[str, dg.AssetKey],
    settings: Settings,
    in_one_run: int | None = None,
) -> list[dg.AssetsDefinition]:
    """The export assets of a domain.

    Args:
        domain: its series become one asset each.
        partitions: the domain's partitions; a campaign series has none.
        written_by: which asset writes a table, by table name.
        settings: when exports are made at night; one that misses it is shown as stale.
        in_one_run: how many partitions of a backfill share a run, the same as for the domain's tables.
    """
    freshness = dg.FreshnessPolicy.cron(
        deadline_cron=settings.nightly, lower_bound_delta=timedelta(hours=2), timezone=settings.timezone
    )
    backfills = backfill_policy(in_one_run)
    return [_export_asset(domain, series, partitions, written_by, freshness, backfills) for series in domain.series]


def _export_asset(
    domain: Domain,
    series: Series,
    partitions: dg.PartitionsDefinition,
    written_by: Mapping[str, dg.AssetKey],
    freshness: dg.FreshnessPolicy,
    backfills: dg.BackfillPolicy,
) -> dg.AssetsDefinition:
    own_partitions = None if series.campaign else partitions
    key = dg.AssetKey([domain.name, series.name])

    @dg.asset(
        key=key,
        partitions_def=own_partitions,
        deps=list(dict.fromkeys(written_by[table.name] for table in series.tables)),
        group_name=domain.name,
        kinds={*series.kinds},
        owners=[OWNER],
        tags={"sheaf/step": "export"},
        description=series.description,
        code_version=str(series.version),
        backfill_policy=None if series.campaign else backfills,
        freshness_policy=freshness,
        pool="exports",
        check_specs=[
            dg.AssetCheckSpec(
                "verified",
                asset=key,
                partitions_def=own_partitions,
                description="Every file was read back, first by an independent reader, then from the store by sha256.",
            )
        ],
    )
    def export(context: dg.AssetExecutionContext, config: ExportConfig, store: StoreResource) -> Iterator[StepEvent]:
        opened = store.open()

        def work(partition: str) -> Outcome:
            request = Request(
                partition=partition,
                filter=parse_pairs(config.filter, "filter"),
                options=parse_pairs(config.options, "option"),
                name=config.name,
                requested_by=config.requested_by or _launcher(context.run.tags),
                run_id=context.run.run_id,
                always=config.always,
            )
            canonical = not (config.filter or config.options)
            if canonical and domain.offered and not series.campaign:
                tables.refuse_if_blocked(opened, domain.rejects, partition)
                if series.name not in domain.offered(opened, partition):
                    return NOTHING_TO_PUBLISH
            return _outcome(publish(opened, series, domain.rejects, request))

        yield from run_each(context, [CAMPAIGN] if series.campaign else context.partition_keys, work)

    return export


def _launcher(tags: Mapping[str, str]) -> str:
    """Who started a run: somebody at the command line, a schedule, a sensor, a backfill, or the UI."""
    if person := tags.get("sheaf/requested_by"):
        return person
    for tag, who in (("schedule_name", "schedule "), ("sensor_name", "sensor "), ("backfill", "backfill ")):
        if value := tags.get(f"dagster/{tag}"):
            return who + value
    return "Dagster UI"


def _outcome(published: Published) -> Outcome:
    manifest = published.manifest
    metadata: dict[str, Any] = {
        "export": str(published.export),
        "unchanged": published.unchanged,
        "path": published.export.path,
        "dagster/row_count": manifest.record_count,
        "files": table_value([file.model_dump() for file in manifest.files]),
        **{f"count {name}": count for name, count in manifest.counts.items()},
    }
    if manifest.warnings:
        metadata["warnings"] = warnings_value(manifest.warnings)
    detail = f"unchanged since v{published.export.version}" if published.unchanged else f"v{published.export.version}"
    return Outcome(metadata, manifest.fingerprint[:32], [Check("verified", passed=True, detail=detail)])
