"""Old runs and ticks of Dagster and what they have printed, removed through its own API.

A run that made what an asset or partition is now stays, however old: with it Dagster would forget that it was
ever made. Not here: what the store holds (`pruning`).
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sheaf import clock

if TYPE_CHECKING:
    from dagster import AssetKey, DagsterInstance

_AT_ONCE = 500


def prune_history(instance: "DagsterInstance", days: float, *, dry_run: bool = False) -> tuple[int, int]:
    """Remove runs that ended and ticks, both older than some days, and what they have printed.

    Args:
        days: what is younger stays.
        dry_run: only count.

    Returns:
        How many runs and how many ticks.
    """
    before = clock.now() - timedelta(days=days)
    runs = _unneeded_runs(instance, before)
    printed = instance.compute_log_manager
    for run in () if dry_run else runs:
        printed.delete_logs(prefix=[run])  # first: without its run nobody would look for it again
        instance.delete_run(run)
    ticks = 0
    for state in instance.all_instigator_state():
        origin, selector = state.instigator_origin_id, state.selector_id
        old = instance.get_ticks(origin, selector, before=before.timestamp())
        ticks += len(old)
        if not dry_run:
            for key in filter(None, (tick.log_key for tick in old)):
                printed.delete_logs(log_key=key)
            instance.purge_ticks(origin, selector, before.timestamp())
    return len(runs), ticks


def _unneeded_runs(instance: "DagsterInstance", before: datetime) -> list[str]:
    """Runs that ended, are older, and made nothing that is still the newest."""
    from dagster import RunsFilter
    from dagster._core.storage.dagster_run import FINISHED_STATUSES

    newest: dict[tuple[AssetKey, str | None], str] = {}
    old = RunsFilter(statuses=list(FINISHED_STATUSES), created_before=before)
    found, cursor = list[str](), None
    while page := [one.dagster_run.run_id for one in instance.get_run_records(old, limit=_AT_ONCE, cursor=cursor)]:
        found += [run for run in page if not _is_needed(instance, run, newest)]
        cursor = page[-1]
    return found


def _is_needed(instance: "DagsterInstance", run: str, newest: "dict[tuple[AssetKey, str | None], str]") -> bool:
    from dagster import AssetRecordsFilter, DagsterEventType

    for entry in instance.all_logs(run, of_type=DagsterEventType.ASSET_MATERIALIZATION):
        event = entry.dagster_event
        if event is None or event.asset_key is None:
            continue
        made = (event.asset_key, event.partition)
        if made not in newest:
            of = AssetRecordsFilter(event.asset_key, asset_partitions=[event.partition] if event.partition else None)
            records = instance.fetch_materializations(of, limit=1).records
            newest[made] = records[0].run_id if records else ""
        if newest[made] == run:
            return True
    return False
