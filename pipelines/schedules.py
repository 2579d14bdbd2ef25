"""The schedules: one night run for each domain, over what is not as it should be.

A partition in which nothing is new costs Dagster a few dozen events in a run, and its history as many rows
for ever; to see that nothing is new costs a hundredth of that, so it is seen before. Here: what the night
runs. Not here: what is seen as settled (`settled`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from assets.partitions import partitions_of
from pipelines.jobs import nightly_job_name
from pipelines.settled import settled, settled_campaign
from sheaf.settings import Settings
from sheaf.steps import Domain
from sheaf.store.store import Store

FIRST = "dagster/asset_partition_range_start"
LAST = "dagster/asset_partition_range_end"

LOOK_SECONDS = 30.0
"""What was not looked at by then is run: Dagster ends a schedule that takes a minute."""
LOOKS_AT_ONCE = 8


def nightly(domain: Domain, settings: Settings) -> dg.ScheduleDefinition:
    """One run a night over all partitions of a domain: a changed setting or a new version of the code reaches all."""
    partitions = partitions_of(domain)

    @dg.schedule(
        name=f"{domain.name}_nightly",
        job_name=nightly_job_name(domain.name),
        cron_schedule=settings.nightly,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Reads and publishes what changed in {domain.name} since the night before.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        keys = partitions.get_partition_keys(dynamic_partitions_store=context.instance)
        if not keys:
            return dg.SkipReason(f"No {domain.kind} has arrived yet.")
        store = Store.open(settings.store_url)

        def is_settled(key: str) -> bool:
            return settled(store, domain, key, settings) is not None  # what was refused is told already

        night = f"{domain.name}/{context.scheduled_execution_time:%Y-%m-%d %H:%M}"
        runs = [
            dg.RunRequest(run_key=f"{night} {first}", tags={FIRST: first, LAST: last})
            for first, last in _ranges(keys, _not(is_settled, keys))
        ]
        if not runs and settled_campaign(store, domain, settings) is None:
            runs = [dg.RunRequest(run_key=night, tags={FIRST: keys[0], LAST: keys[0]})]  # of the campaign alone
        return runs or dg.SkipReason(f"Nothing is new in {len(keys)} partitions.")

    return schedule


def _not(is_settled: Callable[[str], bool], keys: Sequence[str]) -> set[str]:
    """Those that are not settled, or were not looked at in time."""
    end = time.monotonic() + LOOK_SECONDS
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        found = pool.map(lambda key: time.monotonic() < end and is_settled(key), keys)
        return {key for key, good in zip(keys, found, strict=True) if not good}


def _ranges(keys: Sequence[str], wanted: set[str]) -> Iterator[tuple[str, str]]:
    """The first and last key of each stretch of wanted ones, in the order in which Dagster knows them."""
    first = last = None
    for key in keys:
        if key in wanted:
            first, last = first or key, key
        elif first and last:
            yield first, last
            first = last = None
    if first and last:
        yield first, last
