"""Retention as a job: by hand in the UI, or every week once `retention` in the settings has a rule."""

import dagster as dg

from pipelines.pruning import prune
from resources.store import StoreResource
from sheaf.domains import DOMAINS
from sheaf.exports.retention import WHO
from sheaf.settings import Settings

JOB_NAME = "retention"


class PruneConfig(dg.Config):
    """How to run it.

    Attributes:
        dry_run: only say what would go.
    """

    dry_run: bool = False


@dg.op
def prune_old(
    context: dg.OpExecutionContext, config: PruneConfig, store: StoreResource, settings: dg.ResourceParam[Settings]
) -> None:
    """Remove the exports that no rule keeps, the tables that nothing needs, and old runs."""
    opened = store.open()
    removed = prune(opened, DOMAINS.values(), settings.retention, WHO, context.instance, dry_run=config.dry_run)
    for one in removed.exports:
        context.log.info(f"{one.id}, {one.size} bytes")
    context.add_output_metadata(
        {
            "dry run": config.dry_run,
            "exports": len(removed.exports),
            "generations of tables": sum(len(one.generations) for one in removed.tables),
            "pages of Delta logs": removed.logs[0],
            "working files": removed.scratch[0],
            "runs": removed.runs,
            "ticks": removed.ticks,
            "bytes": removed.size,
        }
    )


@dg.job(name=JOB_NAME, executor_def=dg.in_process_executor)
def retention_job() -> None:
    """Remove what is old, by the rules of `retention` in the settings; what is needed stays."""
    prune_old()


def retention_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The weekly run; it skips as long as no rule is set."""
    own = settings.retention

    @dg.schedule(
        name="retention_weekly",
        job_name=JOB_NAME,
        cron_schedule=own.schedule,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes what is old, once a rule of `retention` is set.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if not own.is_set:
            return dg.SkipReason("Everything stays: set a rule of `retention` in sheaf.yaml, see docs/operations.md.")
        return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d %H:%M}")

    return schedule
