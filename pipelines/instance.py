"""The Dagster instance that the command line and `sheaf dev` share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sheaf.errors import UsageError
from sheaf.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

EMBEDDED = """\
# Written by Sheaf for the instance embedded in SHEAF_HOME. Set DAGSTER_HOME to use your own.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
retention:
  sensor:
    purge_after_days:
      skipped: 7
      failure: 30
      success: 90
"""


_OURS = {"compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}}
"""What a command prints belongs to whoever called it; Dagster would lead it through a file and other processes."""


def dagster_home(settings: Settings) -> Path:
    """The folder of the instance; the embedded one is written there on first use.

    Raises:
        UsageError: its databases cannot lie there.
    """
    if own := os.environ.get("DAGSTER_HOME"):
        return Path(own)
    home = settings.home / "dagster"
    if "?" in str(home) or "%" in str(home):  # SQLite would be asked for another file
        raise UsageError(f"SHEAF_HOME {settings.home}: Dagster cannot keep its databases below a name with ? or %.")
    config = home / "dagster.yaml"
    if not config.exists():
        home.mkdir(parents=True, exist_ok=True)
        config.write_text(EMBEDDED, encoding="utf-8")
    return home


def open_instance(settings: Settings, *, to_run: bool = True) -> "DagsterInstance":
    """Open the instance, and end runs that a crash left. Only one process at a time creates its databases.

    Args:
        to_run: for runs in this process; without it the instance also reaches what earlier runs have printed.
    """
    import fcntl

    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef  # `DagsterInstance.from_config` takes no overrides

    from pipelines.dead_runs import end_dead_runs

    home = dagster_home(settings)
    with (home / ".sheaf-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        instance = DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=_OURS if to_run else None))
        end_dead_runs(instance)
    return instance


def of_database(error: BaseException | None) -> str | None:
    """What an error says of Dagster's own database, as a sentence; None for one that says something else."""
    found = None
    while error is not None:
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
        if kinds & {"sqlalchemy.exc.DBAPIError", "dagster_postgres.utils.DagsterPostgresException"}:
            found = getattr(error, "orig", None) or error  # the innermost knows most
        error = error.__cause__ or error.__context__
    if found is None:
        return None
    said = (str(found).strip().splitlines() or [type(found).__name__])[0].rstrip(".")
    where = os.environ.get("DAGSTER_HOME") or "SHEAF_HOME/dagster"
    return (
        f"Dagster's database ({where}) cannot be used: {said}. "
        "What was published before stays; run again when it is back."
    )
