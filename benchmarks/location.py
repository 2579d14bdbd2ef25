"""What Sheaf costs on top of Dagster: loading the code location, and a run of a small partition.

Usage: python benchmarks/location.py [RUNS]

Loading is measured in fresh processes, beside `import dagster` alone. The run goes through the command
line's own runner, a tiny batch whose input never changes; its floor is a job with the same number of
steps, checks and partitions that does nothing, on the same kind of instance, in this process, in turn.
CPU seconds, because wall time on a shared machine says little; the median counts.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from pipelines.definitions import PARTITIONS, build_definitions
from pipelines.instance import open_instance
from pipelines.runs import Runner
from sheaf.domains import domain_named
from sheaf.settings import Settings

LOAD_LIMIT_S = 2.0
DAGSTER = "import dagster"
LOCATION = (
    "from pipelines.definitions import build_definitions; from sheaf.settings import Settings; "
    "build_definitions(Settings.load()).get_repository_def()"
)
DOMAIN = "fermentation"
BATCH = "batch-1"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def cpu_of_process(program: str, home: Path) -> float:
    """CPU seconds of a fresh Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "SHEAF_HOME": str(home)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_of_call(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of a call in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def write_tiny_batch(inbox: Path) -> None:
    """Two samples and one minute of two sensors."""
    start = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)
    sampled = [{"sampled_at": (start + timedelta(hours=hour)).isoformat(), "od600_raw": 0.5} for hour in (0, 2)]
    info = {"batch_id": BATCH, "batch_number": 1, "phase": "A", "status": "running"}
    document = {"batch": info | {"inoculated_at": start.isoformat()}, "samples": sampled}
    folder = inbox / DOMAIN / BATCH
    folder.mkdir(parents=True)
    (folder / "batch.json").write_text(json.dumps(document))
    points = [f"{(start + timedelta(seconds=s)).isoformat()},{name},5.0" for name in ("pH", "OD") for s in range(60)]
    (folder / "sensors.csv").write_text("time,sensor,value\n" + "\n".join(points) + "\n")


def empty_twin(settings: Settings) -> tuple[dg.JobDefinition, int]:
    """A job with the steps, dependencies, checks and partitions of the domain's, which does nothing; and its size."""
    definitions = build_definitions(settings)
    graph = definitions.resolve_asset_graph()
    job = definitions.resolve_job_def(DOMAIN)
    assets = []
    for key in job.asset_layer.executable_asset_keys:
        node = graph.get(key)
        checks = [dg.AssetCheckSpec(check.name, asset=key) for check in node.check_keys]

        @dg.asset(key=key, deps=sorted(node.parent_keys), partitions_def=PARTITIONS[DOMAIN], check_specs=checks)
        def nothing(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
            results = [
                dg.AssetCheckResult(check_name=spec.name, passed=True) for spec in context.assets_def.check_specs
            ]
            yield dg.MaterializeResult(metadata={"dagster/row_count": 0}, check_results=results)

        assets.append(nothing)
    defined = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("empty", "*")], executor=dg.in_process_executor)
    return defined.resolve_job_def("empty"), len(assets)


def main(runs: int) -> int:
    """Print the table; 1 when loading takes more than its limit."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        settings = Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")
        load = {"import dagster": DAGSTER, "the code location": LOCATION}
        loaded = {name: [cpu_of_process(program, home) for _ in range(runs)] for name, program in load.items()}

        write_tiny_batch(settings.inbox)
        runner, instance, domain = Runner(settings), open_instance(settings), domain_named(DOMAIN)
        twin, steps = empty_twin(settings)
        failed = [result.error for result in runner.run_partition(domain, BATCH) if result.error]  # warms up, too
        assert not failed, failed
        work = {
            "empty job": lambda: twin.execute_in_process(instance=instance, partition_key=BATCH, run_config=QUIET),
            "tiny batch": lambda: runner.run_partition(domain, BATCH),
        }
        ran: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
        for _ in range(runs):
            for name, call in work.items():
                ran[name].append(cpu_of_call(call))

    floor = statistics.median(loaded["import dagster"])
    print(f"median of {runs} runs{'':15} {'CPU s':>8} {'of it':>8} {'wall s':>8}")
    for name, seconds in loaded.items():
        print(f"{'load: ' + name:30} {statistics.median(seconds):8.2f} {statistics.median(seconds) / floor:7.2f}x")
    floor = statistics.median(cpu for cpu, _ in ran["empty job"])
    for name, pairs in ran.items():
        cpu, wall = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{f'run: {name}, {steps} steps':30} {cpu:8.2f} {cpu / floor:7.2f}x {wall:8.2f}")
    location = statistics.median(loaded["the code location"])
    print(f"limit of the load: {LOAD_LIMIT_S} s CPU")
    return 1 if location > LOAD_LIMIT_S else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
