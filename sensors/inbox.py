"""What notices new and changed partitions in the inbox: one sensor per domain.

A tick lists the partitions, looks at as many as its time allows (the next tick goes on where it
stopped), registers those it has not seen and asks for a run of every one that changed and has
been quiet for a while.
"""

import json
import time
from collections.abc import Sequence

import dagster as dg

from resources.inbox import InboxResource
from sheaf import inbox as files
from sheaf.errors import InputError, SheafError

TICK_SECONDS = 20.0
MOST_RUNS = 25


def inbox_sensor(domain: str, partitions: dg.DynamicPartitionsDefinition, quiet_s: float) -> dg.SensorDefinition:
    """The inbox sensor of a domain.

    Args:
        domain: its folder in the inbox, and the job that makes everything of one partition.
        partitions: where new keys are registered.
        quiet_s: seconds for which no file of a partition may have changed before it is read.
    """

    @dg.sensor(
        name=f"{domain}_inbox",
        job_name=domain,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs every {domain} partition that is new or changed in the inbox.",
    )
    def sensor(context: dg.SensorEvaluationContext, inbox: InboxResource) -> dg.SensorResult:
        started = time.monotonic()
        seen, position = _read_cursor(context.cursor)
        found = files.partitions(inbox.path, domain)  # an inbox that cannot be read fails the tick: it is not quiet
        for name in files.misnamed(inbox.path, domain):
            context.log.warning(f"{name!r} in the inbox cannot be a partition: rename it to letters, digits, . _ -")

        changed: list[files.Arrival] = []
        looked = 0
        unreadable: list[str] = []
        for partition in _from(found, position):
            if looked and (time.monotonic() - started > TICK_SECONDS or len(changed) == MOST_RUNS):
                break
            looked += 1
            position = partition
            try:
                arrival = files.arrival(inbox.path, domain, partition)
            except (SheafError, OSError) as error:
                unreadable.append(f"{partition}: {error}")
                context.log.warning(unreadable[-1])
                continue
            if seen.get(partition) != arrival.fingerprint and arrival.quiet_s >= quiet_s:
                changed.append(arrival)

        if found and len(unreadable) == looked:
            raise InputError(f"Nothing in the inbox could be read. {unreadable[0]}")

        present = set(found)
        seen = {key: value for key, value in seen.items() if key in present}
        seen |= {arrival.partition: arrival.fingerprint for arrival in changed}
        known = set(partitions.get_partition_keys(dynamic_partitions_store=context.instance))
        new = [arrival.partition for arrival in changed if arrival.partition not in known]
        return dg.SensorResult(
            # Without a run key: Dagster would pass over files that return to what they were before.
            run_requests=[
                dg.RunRequest(partition_key=arrival.partition, tags={"sheaf/partition": arrival.partition})
                for arrival in changed
            ],
            dynamic_partitions_requests=[partitions.build_add_request(new)] if new else [],
            cursor=json.dumps({"seen": seen, "position": "" if looked == len(found) else position}),
            skip_reason=None if changed else dg.SkipReason(f"Nothing new in {len(found)} partitions."),
        )

    return sensor


def _read_cursor(cursor: str | None) -> tuple[dict[str, str], str]:
    """Fingerprints already asked for, and where to go on; a damaged cursor starts over."""
    try:
        state = json.loads(cursor or "{}")
        return dict(state.get("seen", {})), str(state.get("position", ""))
    except (ValueError, AttributeError, TypeError):
        return {}, ""


def _from(names: Sequence[str], position: str) -> list[str]:
    """All names, beginning after `position`."""
    return [name for name in names if name > position] + [name for name in names if name <= position]
