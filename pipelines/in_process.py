"""Running a job in this process so that it is a run like those that the UI starts.

Dagster's public `execute_in_process` makes runs that belong to no code location: no job page lists them, and
they cannot be run again from the UI. Here a run is created with its origin and executed where we are. Not here:
which jobs are run, nor what is made of their results (`runs`).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

# Dagster 1.13 has no public way to create a run of a code location and to execute it oneself.
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import JobFailureData
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id

from pipelines import dead_runs
from pipelines.cli import stop

LOCATION = "sheaf"
"""What the code location is called in every workspace file."""
_BY_HAND = {"dagster/max_retries": "0"}  # who started it decides whether it is tried again
_QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ran:
    """A run that has ended by itself."""

    run_id: str
    success: bool
    events: Sequence[dg.DagsterEvent] = field(repr=False)


def run_job(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
    selection: Sequence[dg.AssetKey] | None = None,
) -> Ran:
    """Run a job here and now.

    Args:
        selection: only these of its assets.

    Raises:
        Stopped: somebody ended the command; the run is marked as cancelled.
    """
    stop.check()
    # It prints a traceback when an interrupt meets it while it closes a connection, and goes on well.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    run_id = make_new_run_id()
    events: list[dg.DagsterEvent] = []
    told = False

    def current() -> dg.DagsterRun | None:
        return instance.get_run_by_id(run_id)

    def cancel() -> None:
        run, failed = current(), any(event.is_run_failure and _is_interrupt(event) for event in events)
        if run and (failed or not run.is_finished):
            instance.report_run_canceled(run, "The command that ran it was stopped.")

    with stop.hurried(cancel):
        try:
            run = instance.create_run_for_job(
                job,
                run_id=run_id,
                run_config=_QUIET | dict(run_config),
                tags={**job.run_tags, **_BY_HAND, **tags, dead_runs.PROCESS: dead_runs.this_process()},
                asset_selection=frozenset(selection) if selection else None,
                remote_job_origin=_origin(job.name),
            )
            for event in execute_run_iterator(InMemoryJob(job), run, instance):
                events.append(event)
                if not told and not event.is_job_event and (stop.asked() or _is_interrupt(event)):
                    told = True  # before Dagster asks: it calls an interrupted run a failure unless this was wanted
                    instance.report_run_canceling(run, "The command that runs it is being stopped.")
        except BaseException:
            if not stop.asked():
                raise
        if stop.asked():
            cancel()
    ended = current()
    if ended is None or ended.status is dg.DagsterRunStatus.CANCELED:
        raise stop.Stopped
    return Ran(run_id, ended.status is dg.DagsterRunStatus.SUCCESS, events)


def _is_interrupt(event: dg.DagsterEvent) -> bool:
    data = event.event_specific_data if event.is_failure else None
    error = data.error if isinstance(data, StepFailureData | JobFailureData) else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def _origin(job: str) -> RemoteJobOrigin:
    """Where the UI finds the job: in the location of this name, wherever that is served from."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), SINGLETON_REPOSITORY_NAME)
    return RemoteJobOrigin(repository, job)
