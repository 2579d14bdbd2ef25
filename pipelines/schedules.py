"""The schedules: nightly exports, one for each domain."""

import dagster as dg

from pipelines.jobs import exports_job_name
from sheaf.exports.series import Domain
from sheaf.settings import Settings

FIRST = "dagster/asset_partition_range_start"
LAST = "dagster/asset_partition_range_end"


def nightly_exports(
    domain: Domain, partitions: dg.DynamicPartitionsDefinition, settings: Settings
) -> dg.ScheduleDefinition:
    """One run a night over all partitions of a domain; unchanged exports make no new version."""

    @dg.schedule(
        name=f"{domain.name}_nightly",
        job_name=exports_job_name(domain.name),
        cron_schedule=settings.nightly,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Publishes all {domain.name} exports that changed since the night before.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = partitions.get_partition_keys(dynamic_partitions_store=context.instance)
        if not keys:
            return dg.SkipReason(f"No {domain.kind} has arrived yet.")
        return dg.RunRequest(
            run_key=f"{domain.name}/{context.scheduled_execution_time:%Y-%m-%d %H:%M}",
            tags={FIRST: keys[0], LAST: keys[-1]},
        )

    return nightly
