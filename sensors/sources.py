"""What notices new, changed and deleted partitions: one sensor per source of a domain.

A tick lists the partitions, looks at as many as its time allows (the next tick goes on where it
stopped), registers those it has not seen and asks for a run of every one that changed and has
been quiet for a while, or whose last run failed because the source did. A source that fails stops
its own sensor only.
"""

import json
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg

from resources.store import StoreResource
from sheaf.errors import InputError, SourceError
from sheaf.sources import Source, Sources, State, bury, unread
from sheaf.store import Store

TICK_SECONDS = 20.0
MOST_RUNS = 25
RETRY_AFTER = timedelta(minutes=10)


def source_sensor(
    domain: str, source: Source, partitions: dg.DynamicPartitionsDefinition, quiet_s: float
) -> dg.SensorDefinition:
    """The sensor of one source.

    Args:
        domain: also the job that makes everything of one partition.
        source: only its name is used here; a tick takes the source from the resource `sources`.
        partitions: where new keys are registered.
        quiet_s: seconds for which a partition must not have changed before it is read.
    """
    name = source.name

    @dg.sensor(
        name=f"{domain}_{name}",
        job_name=domain,
        minimum_interval_seconds=60 if source.authoritative else 30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs every {domain} partition that is new or changed in the {name}.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, sources: dg.ResourceParam[Sources], store: StoreResource
    ) -> dg.SensorResult:
        started = time.monotonic()
        seen, position = _read_cursor(context.cursor)
        source = sources.named(domain, name)
        offer = source.offers()  # a source that cannot be read fails the tick: it is not quiet
        for misnamed in offer.misnamed:
            context.log.warning(
                f"{misnamed!r} in the {name} cannot be a partition: rename it to letters, digits, . _ -"
            )
        hidden = sources.hidden(domain, name).intersection(offer.partitions)
        for partition in sorted(hidden):
            context.log.warning(f"{partition} in the {name} is passed over: the inbox has it too, and comes first.")
        found = [partition for partition in offer.partitions if partition not in hidden]

        opened = store.open()
        due = {key for key, tried in unread(opened, domain).items() if datetime.now(UTC) - tried > RETRY_AFTER}
        changed: list[State] = []
        looked = 0
        unreadable: list[str] = []
        with closing(source.states(_from(found, position))) as states:
            for state in states:
                looked += 1
                position = state.partition
                if state.problem:
                    unreadable.append(f"{state.partition}: {state.problem}")
                    context.log.warning(unreadable[-1])
                elif state.quiet_s >= quiet_s and (seen.get(state.partition) != state.token or state.partition in due):
                    changed.append(state)
                if time.monotonic() - started > TICK_SECONDS or len(changed) == MOST_RUNS:
                    break

        if found and len(unreadable) == looked:
            raise InputError(f"Nothing in the {name} could be read. {unreadable[0]}")

        gone = sorted(seen.keys() - set(offer.partitions))
        deleted = _deleted(context, source, offer.partitions, gone, domain, opened) if source.authoritative else []
        seen = {key: value for key, value in seen.items() if key not in gone}
        seen |= {state.partition: state.token for state in changed}
        known = set(partitions.get_partition_keys(dynamic_partitions_store=context.instance))
        new = [state.partition for state in changed if state.partition not in known]
        return dg.SensorResult(
            # Without a run key: Dagster would pass over what returns to what it was before.
            run_requests=[
                dg.RunRequest(partition_key=state.partition, tags={"sheaf/partition": state.partition, **state.tags})
                for state in changed
            ],
            dynamic_partitions_requests=[partitions.build_add_request(new)] if new else [],
            asset_events=deleted,
            cursor=json.dumps({"seen": seen, "position": "" if looked == len(found) else position}),
            skip_reason=None if changed else dg.SkipReason(f"Nothing new in {len(found)} partitions."),
        )

    return sensor


def _deleted(
    context: dg.SensorEvaluationContext,
    source: Source,
    offered: Sequence[str],
    gone: Sequence[str],
    domain: str,
    store: Store,
) -> list[dg.AssetObservation]:
    """Put up a tombstone for each partition that the source has deleted; what was published stays."""
    if gone and not offered:
        raise SourceError(
            f"The {source.name} of {domain} offers nothing at all any more, {len(gone)} partitions before: is it the "
            "right database? Nothing is taken for deleted until it offers something."
        )
    for partition in gone:
        if bury(store, domain, partition, source.name):
            context.log.warning(f"{partition} was deleted in the {source.name}; its tables and exports stay.")
    # The asset that reads a live source is called `records` in every domain that has one.
    return [
        dg.AssetObservation(
            dg.AssetKey([domain, "records"]), partition=partition, metadata={"deleted at its source": source.name}
        )
        for partition in gone
    ]


def _read_cursor(cursor: str | None) -> tuple[dict[str, str], str]:
    """Tokens already asked for, and where to go on; a damaged cursor starts over."""
    try:
        state = json.loads(cursor or "{}")
        return dict(state.get("seen", {})), str(state.get("position", ""))
    except (ValueError, AttributeError, TypeError):
        return {}, ""


def _from(names: Sequence[str], position: str) -> list[str]:
    """All names, beginning after `position`."""
    return [name for name in names if name > position] + [name for name in names if name <= position]
