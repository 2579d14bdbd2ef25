"""What a night costs in which nothing is new, and what a run costs above an empty one of Dagster.

    python benchmarks/nothing_new.py [--batches 300] [--runs 5]

In a process of its own each: the first night, in which everything is made in one run, of ten batches and of
all, for the memory; what the schedule does when nothing is new; one run of one tiny batch
beside a job of as many assets and checks that does nothing, in turn; and `sheaf run` of a batch in which
nothing is new, as a whole process. Where CPU seconds are given the median of some runs counts.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

DOMAIN = "fermentation"
NIGHTLY = "fermentation_nightly"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SHEAF = Path(sys.executable).with_name("sheaf")
FEW = 10
MORE_MB = 30
LOOK_S, LOOK_EACH_CPU_S = 60.0, 0.1
TIMES_EMPTY = 1.5
PROCESS_CPU_S = 1.2
START = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)


def batch(number: int) -> dict[str, Any]:
    """A record with two samples."""
    at = [(START + timedelta(hours=hours)).isoformat() for hours in (0, 1, 2)]
    sample = {"od600_raw": 0.5, "od600_dilution_factor": 10.0, "contamination_detected": False, "sampled_by": "tech01"}
    return {
        "batch": {
            "batch_id": f"batch-{number:04d}", "batch_number": number % 18 + 1, "phase": "A", "vessel_id": "V-FR-01",
            "operator_id": "tech01", "status": "complete", "created_at": at[0], "inoculated_at": at[0],
            "completed_at": at[2], "notes": None,
        },
        "calibrations": [], "inoculation": None, "failures": [], "closure": None,
        "samples": [{**sample, "sampled_at": at[1]}, {**sample, "sampled_at": at[2]}],
    }  # fmt: skip


def write(home: Path, batches: int) -> list[str]:
    """A home with small batches in its inbox; returns their names."""
    names = [f"batch-{number:04d}" for number in range(batches)]
    for number, name in enumerate(names):
        folder = home / "inbox" / DOMAIN / name
        folder.mkdir(parents=True)
        (folder / "batch.json").write_text(json.dumps(batch(number)))
        rows = [
            f"{(START + timedelta(seconds=second)).isoformat()},{sensor},{value}\n"
            for sensor, value in (("pH", 5.0), ("DO", 60.0), ("Temp_Broth", 30.0))
            for second in range(0, 7200, 30)
        ]
        (folder / "sensors.csv").write_text("time,sensor,value\n" + "".join(rows))
    return names


def in_process(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns when it is called in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds of a call in this process, and the process's peak memory after it."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    found = {"s": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return found | {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def opened(home: Path) -> tuple[Any, Any, Any]:
    """Settings, definitions and instance of a home."""
    from pipelines.definitions import build_definitions
    from pipelines.instance import open_instance
    from sheaf.settings import Settings

    settings = Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")
    return settings, build_definitions(settings), open_instance(settings)


def first_night(home: Path, names: list[str]) -> dict[str, float]:
    """Everything is new: all of it in one run."""
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run_iterator

    from pipelines.schedules import FIRST, LAST

    _, definitions, instance = opened(home)
    instance.add_dynamic_partitions(f"{DOMAIN}_batch", names)
    job, tags = definitions.resolve_job_def(NIGHTLY), {FIRST: names[0], LAST: names[-1]}

    def run() -> None:  # as the process of a launched run does; `execute_in_process` would keep every event
        made = instance.create_run_for_job(job, run_config=QUIET, tags=tags)
        for _ in execute_run_iterator(InMemoryJob(job), made, instance):
            pass
        ended = instance.get_run_by_id(made.run_id)
        assert ended
        assert ended.is_success

    return measured(run)


def look(home: Path, names: list[str]) -> dict[str, float]:
    """The tick of the schedule on a night in which nothing is new."""
    import dagster as dg

    _, definitions, instance = opened(home)
    schedule = definitions.get_repository_def().get_schedule_def(NIGHTLY)

    at = datetime(2026, 3, 3, 2, tzinfo=UTC)

    def tick() -> None:
        with dg.build_schedule_context(instance, scheduled_execution_time=at) as context:
            found = schedule.evaluate_tick(context)
        assert found.skip_message == f"Nothing is new in {len(names)} partitions.", found

    return measured(tick)


def one_run(home: Path, name: str, runs: int) -> tuple[list[float], int]:
    """CPU seconds of an empty run, of one in which nothing is new, of one that makes all again; and its assets."""
    from pipelines.runs import Runner
    from sheaf.domains import domain_named

    settings, definitions, instance = opened(home)
    runner, domain = Runner(settings), domain_named(DOMAIN)
    twin, assets = empty_twin(definitions)

    def run(*, again: bool) -> None:
        errors = [result.error for result in runner.run_partition(domain, name, again=again) if result.error]
        assert not errors, errors

    work = (
        lambda: twin.execute_in_process(instance=instance, partition_key=name, run_config=QUIET),
        lambda: run(again=False),
        lambda: run(again=True),
    )
    rounds = [[measured(call)["cpu"] for call in work] for _ in range(runs + 1)][1:]  # the first one warms up
    return [statistics.median(found) for found in zip(*rounds, strict=True)], assets


def empty_twin(definitions: Any) -> tuple[Any, int]:
    """A job with the assets, dependencies, checks and partitions of the domain's, which does nothing; and its size."""
    import dagster as dg

    graph, assets = definitions.resolve_asset_graph(), []
    for key in definitions.resolve_job_def(DOMAIN).asset_layer.executable_asset_keys:
        node = graph.get(key)
        checks = [dg.AssetCheckSpec(check.name, asset=key) for check in node.check_keys]

        @dg.asset(key=key, deps=sorted(node.parent_keys), partitions_def=node.partitions_def, check_specs=checks)
        def nothing(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
            specs = context.assets_def.check_specs
            results = [dg.AssetCheckResult(check_name=spec.name, passed=True) for spec in specs]
            yield dg.MaterializeResult(metadata={"dagster/row_count": 0}, check_results=results)

        assets.append(nothing)
    defined = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("empty", "*")], executor=dg.in_process_executor)
    return defined.resolve_job_def("empty"), len(assets)


def whole_process(home: Path, name: str) -> float:
    """CPU seconds of `sheaf run` of a batch in which nothing is new."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "SHEAF_HOME": str(home)}
    subprocess.run([SHEAF, "run", DOMAIN, name], check=True, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Run the benchmark; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name, "few"), Path(name, "many")
        small = in_process(first_night, few, write(few, FEW))
        names = write(many, asked.batches)
        large = in_process(first_night, many, names)
        looked = in_process(look, many, names)
        (empty, unchanged, again), assets = in_process(one_run, few, "batch-0000", asked.runs)
        process = statistics.median(whole_process(many, names[0]) for _ in range(asked.runs))
    each = looked["cpu"] / asked.batches
    printed = Printed(title=f"Small batches, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for title in ("", "seconds", "CPU s", "CPU s each", "peak MB", "times", "limit"):
        printed.add_column(title, justify="right" if title else "left")
    for count, night in ((FEW, small), (asked.batches, large)):
        row = (f"{night['s']:.1f}", f"{night['cpu']:.1f}", f"{night['cpu'] / count:.2f}", f"{night['mb']:.0f}")
        limit = f"{small['mb'] + MORE_MB:.0f} MB" if night is large else ""
        printed.add_row(f"first night, {count} batches in one run", *row, "", limit)
    row = (f"{looked['s']:.1f}", f"{looked['cpu']:.1f}", f"{each:.3f}", f"{looked['mb']:.0f}")
    printed.add_row(f"look at {asked.batches}, nothing is new", *row, "", f"{LOOK_S:.0f} s, {LOOK_EACH_CPU_S} CPU s")
    printed.add_row(f"empty run of {assets} assets", "", f"{empty:.2f}", "", "", "1.00")
    limit = f"{TIMES_EMPTY:.2f}"
    printed.add_row("run of a batch, nothing is new", "", f"{unchanged:.2f}", "", "", f"{unchanged / empty:.2f}", limit)
    printed.add_row("run of a batch, all steps again", "", f"{again:.2f}", "", "", f"{again / empty:.2f}")
    printed.add_row("sheaf run, nothing is new", "", f"{process:.2f}", "", "", "", f"{PROCESS_CPU_S} CPU s")
    Console(width=120).print(printed)
    missed = (
        large["mb"] > small["mb"] + MORE_MB,
        looked["s"] > LOOK_S or each > LOOK_EACH_CPU_S,
        unchanged > TIMES_EMPTY * empty,
        process > PROCESS_CPU_S,
    )
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
