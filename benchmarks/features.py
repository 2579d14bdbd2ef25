"""Speed of 30 s features against a bare DuckDB aggregate of the same Parquet file.

Usage: python benchmarks/features.py [HOURS]

26 h of 19 sensors at 1 Hz (1.7 million rows) by default. Both sides run in this process, in turn, and the
median of five runs counts; a run reads the same file. The aggregate is the least that any
implementation has to do: mean, deviation, extremes and count by sensor and 30 s bucket. The features add
slopes, the wide table, completeness, gas exchange, growth rate, plots, and writing the result.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from sheaf.fermentation import schema
from sheaf.fermentation.analysis.features import build_features
from sheaf.fermentation.plan import default_plan
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.rejects import Rejects
from sheaf.tables.table import UTC_TIME, arrow_type
from sheaf.tables.work import Work

SENSORS = default_plan().sensors
BATCH = "benchmark"
START = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)
LIMIT = 2.5
RUNS = 5


def write_batch(work: Work, hours: float) -> int:
    """One inoculated batch with every sensor at 1 Hz; returns how many points."""
    info = {"batch_id": BATCH, "batch_number": 1, "phase": "A", "status": "complete", "source_system": "benchmark"}
    work.write(schema.BATCHES, from_rows(schema.BATCHES, [{**info, "inoculated_at": START}]))
    random = np.random.default_rng(7)
    seconds = int(hours * 3600)
    times = pa.array((np.arange(seconds) + int(START.timestamp())) * 1_000_000).cast(arrow_type(UTC_TIME))

    def points() -> "list[pa.RecordBatch]":
        made = []
        for sensor in sorted(SENSORS):
            low, high = SENSORS[sensor].expected or (0.0, 1.0)
            values = pa.array((low + high) / 2 + random.normal(0, (high - low) / 100, seconds))
            names = pa.array([sensor]).take(pa.array(np.zeros(seconds, np.int64)))
            made.append(pa.record_batch([times, names, values], names=["time", "sensor", "value"]))
        return made

    work.write(schema.CLOSURES, schema.CLOSURES.schema.empty_table())
    work.write(schema.VOLUME_EVENTS, schema.VOLUME_EVENTS.schema.empty_table())
    work.write(schema.SENSORS_TABLE, points())
    return seconds * len(SENSORS)


def bare_aggregate(paths: list[Path]) -> None:
    """What DuckDB alone needs, with all its threads, straight from the file."""
    with duckdb.connect() as connection:
        connection.execute(
            "SELECT sensor, time_bucket(INTERVAL 30 SECONDS, time) AS bucket, avg(value), stddev(value), min(value), "
            "max(value), count(*) FROM read_parquet(?) GROUP BY ALL",
            [[str(path) for path in paths]],
        ).fetchnumpy()


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main(hours: float) -> int:
    """Print the table; 1 when the ratio is above the limit."""
    with tempfile.TemporaryDirectory() as temporary:
        tables = Tables(Store.open(temporary), BATCH, {})
        work = Work(tables, FermentationSettings(), Path(temporary), Rejects(Path(temporary)))
        rows = write_batch(work, hours)
        paths = work.local(schema.SENSORS_TABLE)
        timed: dict[str, list[float]] = {"bare": [], "features": []}
        for run in range(RUNS + 1):  # the first one warms up imports and the file cache
            bare = seconds_of(lambda: bare_aggregate(paths))
            features = seconds_of(lambda: build_features(work))
            if run:
                timed["bare"].append(bare)
                timed["features"].append(features)
    bare, features = (statistics.median(timed[name]) for name in ("bare", "features"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    span = timedelta(hours=hours)
    print(f"{rows:,} points, {len(SENSORS)} sensors, {span}; median of {RUNS} runs")
    print(f"{'':28} {'seconds':>8} {'ratio':>6} {'limit':>6}")
    print(f"{'bare DuckDB time bucket':28} {bare:8.3f} {1:6.2f}")
    print(f"{'build_features':28} {features:8.3f} {features / bare:6.2f} {LIMIT:6.2f}")
    print(f"peak memory of the process: {peak:.0f} MB")
    return 1 if features > LIMIT * bare else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 26.0))
