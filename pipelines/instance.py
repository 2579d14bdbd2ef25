"""The Dagster instance that the command line and `sheaf dev` share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

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


def dagster_home(settings: Settings) -> Path:
    """The folder of the instance; the embedded one is written there on first use."""
    if own := os.environ.get("DAGSTER_HOME"):
        return Path(own)
    home = settings.home / "dagster"
    config = home / "dagster.yaml"
    if not config.exists():
        home.mkdir(parents=True, exist_ok=True)
        config.write_text(EMBEDDED, encoding="utf-8")
    return home


def open_instance(settings: Settings) -> "DagsterInstance":
    """Open the instance, and end runs that a crash left. Only one process at a time creates its databases."""
    import fcntl

    from dagster import DagsterInstance

    from pipelines.dead_runs import end_dead_runs

    home = dagster_home(settings)
    with (home / ".sheaf-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        instance = DagsterInstance.from_config(str(home))
        end_dead_runs(instance)
    return instance
