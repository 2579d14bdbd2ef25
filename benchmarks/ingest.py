"""Time and memory of reading one batch of 1.7 million sensor points, from Parquet and from CSV.

Usage: python benchmarks/ingest.py [HOURS]
       python benchmarks/ingest.py --campaign BATCHES [HOURS]

26 h of 19 sensors at 1 Hz by default, in the time order of a logger. Each format is read in a process of its own, whose
peak memory is told: interpreter and libraries are in it. With `--campaign`, so many such batches go through all steps
one after the other in one process, and what it holds after each is told: it must not grow with their number.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

LIMIT_MB = 500
START = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)


def write_batch(folder: Path, hours: float, name: str) -> int:
    """A batch folder with every sensor of the plan at 1 Hz; returns how many points."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from sheaf.fermentation.plan import default_plan

    own = {"batch_id": folder.name, "batch_number": 1, "phase": "A", "status": "complete", "vessel_id": "V-1"}
    times = {"created_at": START, "inoculated_at": START, "completed_at": START + timedelta(hours=hours)}
    batch = {**own, "operator_id": "ada", **{key: moment.isoformat() for key, moment in times.items()}}
    folder.mkdir(parents=True)
    (folder / "batch.json").write_text(json.dumps({"batch": batch, "samples": [], "failures": []}))
    sensors, random, seconds = default_plan().sensors, np.random.default_rng(7), int(hours * 3600)
    columns = []
    for of in sensors.values():
        low, high = of.expected or (0.0, 1.0)
        columns.append(np.round((low + high) / 2 + random.normal(0, (high - low) / 100, seconds), 3))
    moments = np.repeat(np.arange(seconds) + int(START.timestamp()), len(sensors)) * 1_000_000
    table = pa.table(
        {
            "time": pa.array(moments).cast(pa.timestamp("us", "UTC")),
            "sensor": pa.array(list(sensors)).take(pa.array(np.tile(np.arange(len(sensors)), seconds))),
            "value": np.column_stack(columns).ravel(),
        }
    )
    if name.endswith(".csv"):
        pyarrow.csv.write_csv(table, folder / name)
    else:
        pq.write_table(table, folder / name)
    return table.num_rows


def read(folder: Path) -> None:
    """Ingest the folder, and print seconds, points and peak memory in MB as JSON."""
    from sheaf.fermentation.readers.ingest import ingest
    from sheaf.fermentation.settings import FermentationSettings
    from sheaf.store.store import Store
    from sheaf.tables.pinned import Tables
    from sheaf.tables.rejects import Rejects
    from sheaf.tables.work import Work

    with tempfile.TemporaryDirectory() as scratch:
        tables = Tables(Store.open(scratch), folder.name, {})
        work = Work(tables, FermentationSettings(), Path(scratch), Rejects(Path(scratch)))
        begin = time.perf_counter()
        report = ingest(folder, work)
        took = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": took, "points": report.counts["sensor_points"], "peak_mb": peak}))


def campaign(batches: int, hours: float) -> int:
    """Print what the process holds after each batch; 1 when the last one leaves more than a tenth above the second."""
    from sheaf import memory
    from sheaf.fermentation import schema
    from sheaf.fermentation.domain import FERMENTATION
    from sheaf.fermentation.settings import FermentationSettings
    from sheaf.fermentation.sources.inbox import BatchInbox
    from sheaf.running import run_step
    from sheaf.sources import Sources
    from sheaf.store.store import Store

    memory.share()  # as every process of Sheaf does
    held = []
    with tempfile.TemporaryDirectory() as temporary:
        root, settings = Path(temporary), FermentationSettings()
        store = Store.open(str(root / "store"))
        sources = Sources({FERMENTATION.name: (BatchInbox(root / "inbox", store.url, settings),)})
        for number in range(1, batches + 1):
            folder = root / "inbox" / schema.BATCHES.domain / f"batch-{number:02d}"
            # In a process of its own, so that making it leaves nothing here.
            command = [sys.executable, __file__, "--write", str(folder), str(hours)]
            subprocess.run(command, check=True)
            begin = time.perf_counter()
            for step in FERMENTATION.steps:
                run_step(store, FERMENTATION, step, folder.name, settings, sources)
            shutil.rmtree(folder)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            held.append(pages * resource.getpagesize() / 2**20)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            took = time.perf_counter() - begin
            print(f"batch {number:2}: {took:6.1f} s, {held[-1]:4.0f} MB after it, peak {peak:4.0f} MB", flush=True)
    return 1 if batches > 2 and held[-1] > 1.1 * held[1] else 0


def main(hours: float) -> int:
    """Print the table; 1 when a format needs more memory than the limit."""
    worst = 0.0
    print(f"{'':16} {'points':>10} {'seconds':>8} {'peak MB':>8} {'limit':>6}")
    for name in ("sensors.parquet", "sensors.csv"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "benchmark"
            write_batch(folder, hours, name)
            command = [sys.executable, __file__, "--read", str(folder)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        worst = max(worst, found["peak_mb"])
        print(f"{name:16} {found['points']:10,} {found['seconds']:8.1f} {found['peak_mb']:8.0f} {LIMIT_MB:6}")
    return 1 if worst > LIMIT_MB else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        sys.exit(read(Path(sys.argv[2])))
    if sys.argv[1:2] == ["--write"]:
        write_batch(Path(sys.argv[2]), float(sys.argv[3]), "sensors.parquet")
        sys.exit(0)
    if sys.argv[1:2] == ["--campaign"]:
        sys.exit(campaign(int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 26.0))
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 26.0))
