"""CPU seconds of a small fermentation batch, step by step and writer by writer.

Usage: python benchmarks/small_batch.py

A sample batch whose sensors speak once a minute: 8 samples, 27 000 points. Each row is the CPU time of one
call in a process that has imported the libraries before, the median of some processes; the empty process
only imports them. Dagster is not part of it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_S = 1.0
RUNS = 5
BATCH = "batch-12-b"


def write_batch(inbox: Path) -> tuple[int, int]:
    """The sample batch with one point a minute; returns samples and points."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sheaf.fermentation.sample import campaign

    campaign.write(inbox, only=BATCH)
    folder = inbox / "fermentation" / BATCH
    points = pq.read_table(folder / "sensors.parquet")
    seconds = points["time"].cast("int64").to_numpy() // 1_000_000
    points = points.filter(pa.array(seconds % 60 == 0))
    pq.write_table(points, folder / "sensors.parquet")
    return len(json.loads((folder / "batch.json").read_text())["samples"]), points.num_rows


def import_libraries() -> None:
    """What the steps and writers import when they are first called."""
    import duckdb  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.collections
    import matplotlib.figure  # noqa: F401
    import numpy as np  # noqa: F401
    import orjson  # noqa: F401
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401

    from sheaf.fermentation.domain import FERMENTATION  # noqa: F401
    from sheaf.fermentation.sources import inbox  # noqa: F401


def measure(inbox: Path) -> dict[str, float]:
    """CPU seconds by step and series, in this process."""
    from sheaf.exports.publish import Request, publish
    from sheaf.fermentation.domain import FERMENTATION
    from sheaf.fermentation.settings import FermentationSettings
    from sheaf.fermentation.sources.inbox import BatchInbox
    from sheaf.names import CAMPAIGN
    from sheaf.running import run_step
    from sheaf.sources import Sources
    from sheaf.store.store import Store

    found: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        found[name] = time.process_time() - begin

    with tempfile.TemporaryDirectory() as temporary:
        with timed("store"):
            store = Store.open(temporary)
        settings = FermentationSettings()
        sources = Sources({FERMENTATION.name: (BatchInbox(inbox, temporary, settings),)})
        for step in FERMENTATION.steps:
            with timed(step.name):
                run_step(store, FERMENTATION, step, BATCH, settings, sources)
        for series in FERMENTATION.series:
            with timed(series.name):
                request = Request(CAMPAIGN if series.campaign else BATCH)
                publish(store, FERMENTATION, series, request, settings)
    return found


def in_processes(mode: str, inbox: Path) -> list[dict[str, float]]:
    """What some fresh processes measured."""
    command = [sys.executable, __file__, mode, str(inbox)]
    return [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(RUNS)]


def main() -> int:
    """Print the table; 1 when the sum is above the limit."""
    with tempfile.TemporaryDirectory() as temporary:
        inbox = Path(temporary)
        samples, points = write_batch(inbox)
        empty = in_processes("empty", inbox)
        measured = in_processes("measure", inbox)
    median: Callable[[str], float] = lambda name: statistics.median(one[name] for one in measured)  # noqa: E731
    total = statistics.median(sum(one.values()) for one in measured)
    print(f"{samples} samples, {points:,} points; CPU seconds, median of {RUNS} processes")
    for name in measured[0]:
        print(f"{name:20} {median(name):7.3f}")
    print(f"{'all of it':20} {total:7.3f}  limit {LIMIT_S:.2f}")
    print(f"{'an empty process':20} {statistics.median(one['imports'] for one in empty):7.3f}  (imports alone)")
    return 1 if total > LIMIT_S else 0


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    import_libraries()
    print(json.dumps({"imports": time.process_time()} if sys.argv[1] == "empty" else measure(Path(sys.argv[2]))))
