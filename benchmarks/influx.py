"""Speed of sensors from InfluxDB to Parquet against the bare HTTP fetch of the same CSV.

Usage: python benchmarks/influx.py [HOURS]

26 h of 19 sensors at 1 Hz (1.8 million points) by default, from a real InfluxDB 1.x on this machine (`influxd`
must be installed), which needs most of the time itself: so both sides ask the same server in turn, and the
median counts. The bare fetch throws the bytes away. Memory is that of a process that only fetches.
"""

import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from influx_server import Influx, influx_server

from sheaf.fermentation.plan import default_plan
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.fermentation.sources.influx import InfluxSensors
from sheaf.fermentation.sources.influx_queries import Selection, influxql_points

SENSORS = default_plan().sensors
START = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)
RATIO_LIMIT, MEMORY_LIMIT_MB = 2.0, 300
RUNS = 3


def fill(server: Influx, hours: float) -> int:
    """Every sensor at 1 Hz; returns how many points."""
    server.create("raw")
    random = np.random.default_rng(7)
    seconds = int(hours * 3600)
    first = int(START.timestamp())
    for sensor in SENSORS:
        values = random.uniform(*(SENSORS[sensor].expected or (0.0, 1.0)), seconds).round(4)
        for begin in range(0, seconds, 20_000):
            lines = (
                f"{sensor},vessel=vessel1 _value={value} {first + begin + number}000000000"
                for number, value in enumerate(values[begin : begin + 20_000])
            )
            server.write("raw", "\n".join(lines))
    return seconds * len(SENSORS)


def bare_fetch(settings: InfluxSettings, chosen: Selection) -> int:
    """The same CSV, byte for byte; returns its size."""
    form = {"db": settings.bucket, "q": influxql_points(settings, chosen), "epoch": "ns", "chunked": "true"}
    headers = {"Accept": "application/csv", "Accept-Encoding": "identity"}
    with httpx.stream("POST", f"{settings.url}/query", data=form, headers=headers, timeout=120) as answer:
        return sum(len(piece) for piece in answer.iter_bytes())


def memory_of_fetch(settings: InfluxSettings, chosen: Selection, target: Path) -> None:
    """Fetch, and leave the largest memory of this process beside the target."""
    InfluxSensors(settings).fetch(chosen, target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    target.with_suffix(".peak").write_text(str(peak))


def main(hours: float) -> int:
    """Print the table; 1 when a limit is passed."""
    with tempfile.TemporaryDirectory() as temporary, influx_server(Path(temporary)) as server:
        rows = fill(server, hours)
        settings = InfluxSettings(kind="influx1", url=server.url, bucket="raw", vessels={"V": "vessel1"})
        chosen = Selection("vessel1", START, START + timedelta(hours=hours), list(SENSORS))
        target = Path(temporary) / "sensors.parquet"
        timed: dict[str, list[float]] = {"bare": [], "parquet": []}
        size = 0
        for _ in range(RUNS):
            begin = time.perf_counter()
            size = bare_fetch(settings, chosen)
            middle = time.perf_counter()
            written = InfluxSensors(settings).fetch(chosen, target)
            timed["bare"].append(middle - begin)
            timed["parquet"].append(time.perf_counter() - middle)
            if written != rows:
                raise RuntimeError(f"{written} of {rows} points")
        child = multiprocessing.get_context("spawn").Process(target=memory_of_fetch, args=(settings, chosen, target))
        child.start()
        child.join()
        peak = float(target.with_suffix(".peak").read_text())
    bare, parquet = (statistics.median(times) for times in timed.values())
    print(f"{rows:,} points, {size / 1e6:.0f} MB of CSV; median of {RUNS} runs")
    print(f"{'':28} {'seconds':>8} {'ratio':>6} {'limit':>6}")
    print(f"{'bare HTTP fetch':28} {bare:8.2f} {1:6.2f}")
    print(f"{'fetch to Parquet, counted':28} {parquet:8.2f} {parquet / bare:6.2f} {RATIO_LIMIT:6.2f}")
    print(f"peak memory of a process that fetches: {peak:.0f} MB (limit {MEMORY_LIMIT_MB})")
    return 1 if parquet > RATIO_LIMIT * bare or peak > MEMORY_LIMIT_MB else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 26.0))
