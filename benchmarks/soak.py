"""Two days in a few minutes: ticks, a delivery each hour, the night run and the prune, at simulated times.

    python benchmarks/soak.py [--days 2] [--batches 4] [--every 1]

One process does what daemon and code server do, with the real sensor, schedule and jobs over small fermentation
batches, an instance of its own (SQLite) and a local store. The clock of Sheaf is turned by `SOURCE_DATE_EPOCH`; ticks
get simulated times, and runs get theirs in the database. A day before fills it; then after each day's prune there has
to be as much as the day before: memory, rows of ticks and runs, files of the store. What stays for ever is
counted apart: two small documents of each version that was deleted, and the activity.
"""

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from nothing_new import DOMAIN, NIGHTLY, batch, opened, write
from rich.console import Console
from rich.table import Table as Printed

from pipelines.pruning import prune
from pipelines.runs import Runner
from resources.sources import configured_sources
from resources.store import StoreResource
from sensors.sources import source_sensor
from sheaf.domains import DOMAINS, domain_named
from sheaf.retention import RetentionSettings
from sheaf.store.store import Store

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
RULES = RetentionSettings(last=2, runs_days=1)
MORE_MB, MORE = 30.0, 1.05
"""What the last day may have more than the first whole one: MB of memory, and times the rows and files."""


class Life:
    """A home whose sensor, schedule and prune run when they are told to."""

    def __init__(self, home: Path, batches: int) -> None:
        self.home, self.names = home, write(home, batches)
        self.settings, definitions, self.instance = opened(home)
        self.store = Store.open(self.settings.store_url)
        self._runner, self._repository = Runner(self.settings), definitions.get_repository_def()
        self._sources, self._resource = configured_sources(self.settings), StoreResource(url=self.settings.store_url)
        self._sensor = source_sensor(domain_named(DOMAIN), self._sources.of(DOMAIN)[0], 0.0)
        self._cursor: str | None = None
        self._states = {name: self._state(name, kind) for name, kind in (
            (f"{DOMAIN}_inbox", InstigatorType.SENSOR), (NIGHTLY, InstigatorType.SCHEDULE),
        )}  # fmt: skip
        self.runs = 0

    def _state(self, name: str, kind: InstigatorType) -> InstigatorState:
        origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("sheaf"), "r"), name)
        data = ScheduleInstigatorData(self.settings.nightly) if kind is InstigatorType.SCHEDULE else None
        state = InstigatorState(origin, kind, InstigatorStatus.RUNNING, data)
        self.instance.add_instigator_state(state)
        return state

    def _ticked(self, name: str, at: datetime, *, asked: bool) -> None:
        state = self._states[name]
        status = TickStatus.SUCCESS if asked else TickStatus.SKIPPED
        data = TickData(
            state.instigator_origin_id, name, state.instigator_type, status, at.timestamp(),
            run_ids=[] if asked else None, selector_id=state.selector_id,
        )  # fmt: skip
        self.instance.create_tick(data)

    def deliver(self, number: int, at: datetime) -> None:
        """A batch comes again, with another note."""
        document = batch(number)
        document["batch"]["notes"] = f"seen at {at:%d %H:%M}"
        path = self.home / "inbox" / DOMAIN / self.names[number] / "batch.json"
        path.write_text(json.dumps(document))
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))

    def sense(self, at: datetime) -> None:
        """A tick of the sensor; what it asks for is run."""
        with dg.build_sensor_context(self.instance, self._cursor) as context:
            found = self._sensor(context, sources=self._sources, store=self._resource, settings=self.settings)
        assert isinstance(found, dg.SensorResult)
        self._cursor = found.cursor
        for request in found.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self._ticked(self._sensor.name, at, asked=bool(found.run_requests))
        for request in found.run_requests or ():
            self._run(request.partition_key or "", at)

    def night(self, at: datetime) -> None:
        """A tick of the nightly schedule; what it asks for is run."""
        schedule = self._repository.get_schedule_def(NIGHTLY)
        with dg.build_schedule_context(self.instance, scheduled_execution_time=at) as context:
            found = schedule.evaluate_tick(context)
        self._ticked(NIGHTLY, at, asked=bool(found.run_requests))
        if found.run_requests:
            for name in self.names:
                self._run(name, at)
            self._runner.run_campaign(domain_named(DOMAIN))

    def _run(self, name: str, at: datetime) -> None:
        errors = [one.error for one in self._runner.run_partition(domain_named(DOMAIN), name) if one.error]
        assert not errors, errors
        self.runs += 1
        with sqlite3.connect(self.home / "dagster" / "history" / "runs.db") as database:  # its clock cannot be turned
            late = (BEGIN + timedelta(days=60)).isoformat(" ")[:19]
            database.execute(
                "UPDATE runs SET create_timestamp = ? WHERE create_timestamp > ?", (at.isoformat(" ")[:19], late)
            )

    def counted(self) -> dict[str, float]:
        """What there is now."""
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        paths = [item.path for item in self.store.list("")]
        kept = {
            path
            for path in paths
            if path.endswith(("/_record.json", "/_manifest.json")) or path.startswith("activity/")
        }
        ticks = [
            len(self.instance.get_ticks(one.instigator_origin_id, one.selector_id)) for one in self._states.values()
        ]
        return {
            "MB": resident,
            "ticks": sum(ticks),
            "Dagster's runs": self.instance.get_runs_count(),
            "files of exports": sum(path.startswith("exports/") for path in paths if path not in kept),
            "files of tables": sum(path.startswith("tables/") for path in paths),
            "others": sum(not path.startswith(("exports/", "tables/", "activity/")) for path in paths),
            "what stays": len(kept),
        }


def main() -> int:
    """Live through the days; 1 where the last has more than the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="minutes between two ticks; divides 30")
    asked = parser.parse_args()
    found = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        began, life = time.process_time(), None
        for minute in range(0, (asked.days + 1) * 24 * 60, asked.every):  # the first day fills it
            at = BEGIN + timedelta(minutes=minute)
            os.environ["SOURCE_DATE_EPOCH"] = str(int(at.timestamp()))
            life = life or Life(Path(folder), asked.batches)
            hour, of_hour = divmod(minute, 60)
            if of_hour == 30:
                life.deliver(hour % asked.batches, at)
            life.sense(at)
            if of_hour == 0 and hour % 24 == 2:
                life.night(at)
            if of_hour + asked.every == 60 and hour % 24 == 23:
                prune(life.store, DOMAINS.values(), RULES, "retention", life.instance)
                found.append(life.counted() | {"runs so far": life.runs, "CPU s": time.process_time() - began})
    printed = Printed(title="At the end of each day, after the prune")
    for name in ("day", *found[0]):
        printed.add_column(name, justify="right")
    for day, one in enumerate(found):
        printed.add_row(str(day), *(f"{value:.0f}" for value in one.values()))
    Console(width=140).print(printed)
    first, last = found[1], found[-1]
    grown = [name for name in ("ticks", "Dagster's runs", "files of exports", "files of tables", "others")
             if last[name] > MORE * first[name] + 1]  # fmt: skip
    if last["MB"] > first["MB"] + MORE_MB:
        grown.append("MB")
    print(f"grown: {', '.join(grown)}" if grown else "Nothing has grown.")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
