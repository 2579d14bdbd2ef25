"""What notices new, changed and deleted partitions: one sensor per source of a domain.

A tick lists the partitions, registers those that are new, looks at as many as its time allows (the next
tick goes on where it stopped) and asks for a run of every one that is not done and has been quiet for a
while. A source that fails stops its own sensor only. Here: what a look means for Dagster. Not here: what
is due (`sheaf/watching.py`).
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from assets import pools
from assets.partitions import partitions_of
from assets.steps import step_key
from resources.store import StoreResource
from sheaf import activity, watching
from sheaf.errors import InputError, SourceError
from sheaf.settings import Settings
from sheaf.sources import Source, Sources, bury, tombstones
from sheaf.steps import Domain
from sheaf.store.store import Store
from sheaf.tables import generations

TICK_SECONDS = 20.0
MOST_RUNS = 25


def source_sensor(domain: Domain, source: Source, quiet_s: float) -> dg.SensorDefinition:
    """The sensor of one source.

    Args:
        domain: its job of the same name makes everything of one partition.
        source: only its name is used here; a tick takes the source from the resource `sources`.
        quiet_s: seconds for which a partition must not have changed before it is read.
    """
    name, partitions = source.name, partitions_of(domain)

    @dg.sensor(
        name=f"{domain.name}_{name}",
        job_name=domain.name,
        minimum_interval_seconds=60 if source.authoritative else 30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs every {domain.kind} that is new or changed in the {name}.",
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        sources: dg.ResourceParam[Sources],
        store: StoreResource,
        settings: dg.ResourceParam[Settings],
    ) -> dg.SensorResult:
        pools.register(context.instance, domain)
        source = sources.named(domain.name, name)
        offer = source.offers()  # a source that cannot be listed fails the tick: it is not quiet
        for problem, why in offer.problems().items():
            context.log.warning(f"{problem!r} in the {name} is not read. {why}")
        hidden = sources.hidden(domain.name, name).intersection(offer.partitions)
        for partition in sorted(hidden):
            context.log.warning(f"{partition} in the {name} is passed over: the inbox has it too, and comes first.")
        found = [partition for partition in offer.partitions if partition not in hidden]

        opened = store.open()
        look = watching.look(
            source,
            found,
            watching.Cursor.read(context.cursor),
            watching.was_made(opened, domain, source, settings.of(domain.name)),
            lambda partition: _is_running(context.instance, domain.name, partition),
            quiet_s=quiet_s,
            seconds=TICK_SECONDS,
            most=MOST_RUNS,
        )
        for sentence in (*look.problems, *look.overdue.values()):
            context.log.warning(sentence)
        for partition, sentence in look.overdue.items():
            activity.log(opened, "delivery overdue", f"{domain.name}/{partition}", name, sentence)
        if found and len(look.problems) == len(found):
            raise InputError(f"Nothing in the {name} could be read. {look.problems[0]}")

        deleted = _deleted(context, source, offer.partitions, domain, opened) if source.authoritative else []
        known = set(partitions.get_partition_keys(dynamic_partitions_store=context.instance))
        wanted = {*look.cursor.done, *(state.partition for state in look.due)}
        new = [partition for partition in found if partition in wanted and partition not in known]
        return dg.SensorResult(
            # Without a run key: Dagster would pass over what returns to what it was before.
            run_requests=[
                dg.RunRequest(partition_key=state.partition, tags={"sheaf/partition": state.partition, **state.tags})
                for state in look.due
            ],
            dynamic_partitions_requests=[partitions.build_add_request(new)] if new else [],
            asset_events=deleted,
            cursor=look.cursor.model_dump_json(exclude_defaults=True),
            skip_reason=None if look.due else dg.SkipReason(f"Nothing new in {len(found)} partitions."),
        )

    return sensor


def _is_running(instance: dg.DagsterInstance, job: str, partition: str) -> bool:
    """Whether a run of the partition waits or works."""
    active = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
    wanted = dg.RunsFilter(job_name=job, tags={"dagster/partition": partition}, statuses=active)
    return instance.get_runs_count(wanted) > 0


def _deleted(
    context: dg.SensorEvaluationContext,
    source: Source,
    offered: Sequence[str],
    domain: Domain,
    store: Store,
) -> list[dg.AssetObservation]:
    """Put up a tombstone for each partition that the source has deleted; what was published stays."""
    step, known, there = domain.reading, tombstones(store, domain.name), set(offered)
    gone = [
        partition
        for partition in generations.partitions(store, domain.name, step.name, domain.kind)
        if partition not in there and partition not in known and _came_from(store, domain, source, partition)
    ]
    if gone and not offered:
        raise SourceError(
            f"The {source.name} of {domain.name} offers nothing at all any more, {len(gone)} partitions before: "
            "is it the right database? Nothing is taken for deleted until it offers something."
        )
    for partition in gone:
        if bury(store, domain.name, partition, source.name):
            context.log.warning(f"{partition} was deleted in the {source.name}; its tables and exports stay.")
    return [
        dg.AssetObservation(
            step_key(domain, step), partition=partition, metadata={"deleted at its source": source.name}
        )
        for partition in gone
    ]


def _came_from(store: Store, domain: Domain, source: Source, partition: str) -> bool:
    newest = generations.newest(store, domain.place(domain.reading, partition))
    return newest is not None and newest.source == source.name
