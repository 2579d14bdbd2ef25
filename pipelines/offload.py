"""The offload of old match logs as a job: by hand, from `sheaf offload`, or by a schedule that is off by default."""

from pathlib import Path
from typing import Any, Literal

import dagster as dg

from resources.store import StoreResource
from sheaf.matches.offload import execute
from sheaf.matches.offload import plan as offload_plan
from sheaf.matches.settings import OffloadSettings
from sheaf.settings import Settings

JOB_NAME = "offload_match_logs"


class OffloadConfig(dg.Config):
    """What to offload: files of `source_dir` older than `days_old` days.

    Attributes:
        source_dir: the folder of old logs.
        days_old: files older than this many days are taken.
        delete_source: remove files once they are whole in a verified archive.
        cutoff_by: what counts as a file's age: its time of change or its newest event.
    """

    source_dir: str
    days_old: float = 30.0
    delete_source: bool = False
    cutoff_by: Literal["mtime", "event_time"] = "mtime"


@dg.op
def offload_logs(context: dg.OpExecutionContext, config: OffloadConfig, store: StoreResource) -> None:
    """Move old logs into a verified archive; an interrupted offload is finished first."""
    opened = store.open()
    plan = offload_plan.plan(Path(config.source_dir), opened, config.days_old, config.cutoff_by)
    result = execute.execute(
        plan,
        opened,
        delete_source=config.delete_source,
        waiting=lambda holder: context.log.warning(
            f"Process {holder.pid} on {holder.host} offloads this folder: waiting."
        ),
    )
    context.add_output_metadata(
        {
            "archive": result.archive or "nothing new to archive",
            "archived": len(result.archived),
            "already archived": len(result.already_archived),
            "deleted": len(result.deleted),
            "kept": len(result.kept),
            "bytes": plan.size,
        }
    )


@dg.job(name=JOB_NAME, executor_def=dg.in_process_executor)
def offload_job() -> None:
    """Archive old match logs, verified, and delete them at the source if that is asked for."""
    offload_logs()


def run_config(settings: OffloadSettings) -> dict[str, Any]:
    """The configuration of a run that does what the settings say."""
    config = settings.model_dump(mode="json", exclude={"schedule"})
    return {"ops": {"offload_logs": {"config": config}}}


def offload_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule; somebody has to turn it on."""
    own = settings.matches.offload

    @dg.schedule(
        name="offload_match_logs_schedule",
        job_name=JOB_NAME,
        cron_schedule=own.schedule,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Offloads old match logs, once it is turned on.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if own.source_dir is None:
            return dg.SkipReason("Set matches.offload.source_dir in sheaf.yaml to the folder of old logs.")
        return dg.RunRequest(run_config=run_config(own))

    return schedule
