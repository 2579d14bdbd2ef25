"""Runs whose process is gone: without an end they would hold a place in the queue for ever.

A process that is killed reports nothing. Here: which runs of this machine that happened to. Runs of
a deployment have Dagster's own monitoring and are left alone.
"""

import json
import os
import socket
from typing import TYPE_CHECKING

from sheaf.store.lease import started

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

PROCESS = "sheaf/process"
_SERVER = ".dagster/grpc_info"  # the code server that runs it, where Dagster started it


def this_process() -> str:
    """The value of the tag `sheaf/process` for runs in this process."""
    return f"{socket.gethostname()}:{os.getpid()}:{started(os.getpid())}"


def end_dead_runs(instance: "DagsterInstance") -> int:
    """Report runs as failed whose process is gone; the daemon then tries those again that it had started.

    Returns:
        How many there were.
    """
    from dagster import DagsterRunStatus, RunsFilter

    active = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    dead = [run for run in instance.get_runs(RunsFilter(statuses=active)) if _is_dead(run)]
    for run in dead:
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "Its process is gone.")
        else:
            instance.report_run_failed(run, "Its process was killed, or the machine restarted.")
    return len(dead)


def _is_dead(run: "DagsterRun") -> bool:
    """Whether it ran on this machine and its process is gone; False when in doubt."""
    if server := run.tags.get(_SERVER):
        path = json.loads(server).get("socket")
        return path is not None and not _listens(path)
    host, _, process = run.tags.get(PROCESS, "").partition(":")
    if host != socket.gethostname() or run.parent_run_id:  # who runs it again copies the tags
        return False
    pid, _, since = process.partition(":")
    now = started(int(pid))
    return not now or now != since  # a number may be used again


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True
