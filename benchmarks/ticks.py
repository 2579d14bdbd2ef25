"""What a tick of a sensor costs that finds nothing new: 100 and 1 000 partitions, on disk and on S3.

    python benchmarks/ticks.py [--partitions 100 1000] [--no-s3]

An inbox of tiny partitions of a made-up domain of two steps, all made. A first tick has lost its cursor, as after
an upgrade: it looks at every generation. The next one is what a sensor does twice a minute for years. The peer is
bare: asking the operating system for the size and time of as many files. S3 is moto, an emulator written in
Python, whose own time is not in the CPU seconds, but in the others.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import dagster as dg
from rich.console import Console
from rich.table import Table as Printed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from demo_domain import DEMO, POINTS, READINGS, SETTINGS
from running import run_steps
from servers import BUCKET, moto_server

from resources.store import StoreResource
from sensors.sources import source_sensor
from sheaf.outside.inbox import InboxSource
from sheaf.report import Report
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables.parquet import from_rows
from sheaf.tables.work import Work

LIMITS = {"disk": 1.0, "S3": 3.0}
"""CPU seconds of a tick over a thousand partitions of which nothing is new."""


def read(folder: Path, work: Work) -> Report:
    """One reading for each file."""
    rows = [{"id": number, "value": path.read_text()} for number, path in enumerate(sorted(folder.iterdir()), 1)]
    work.rejects.saw("readings", len(rows))
    work.write(READINGS, from_rows(READINGS, rows))
    work.write(POINTS, from_rows(POINTS, []))
    return Report()


class Ticks:
    """A sensor over an inbox, with its cursor as the daemon keeps it."""

    def __init__(self, home: Path, url: str) -> None:
        self.source = InboxSource(home / "inbox", "demo", read)
        self.sources = Sources({"demo": (self.source,)})
        self.settings = Settings(home=home, store_url=url, inbox=home / "inbox")
        self._sensor = source_sensor(DEMO, self.source, 0.0)
        self._instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None

    def tick(self) -> tuple[float, float]:
        """Seconds and CPU seconds of a tick; it asks for nothing."""
        began, cpu = time.perf_counter(), time.process_time()
        with mock.patch.object(Settings, "of", return_value=SETTINGS):  # no real domain is called demo
            context = dg.build_sensor_context(instance=self._instance, cursor=self.cursor)
            store = StoreResource(url=self.settings.store_url)
            result = self._sensor(context, sources=self.sources, store=store, settings=self.settings)
        assert isinstance(result, dg.SensorResult)
        assert not result.run_requests, "something is new"
        self.cursor = result.cursor
        return time.perf_counter() - began, time.process_time() - cpu


def fill(home: Path, url: str, numbers: range, ticks: Ticks) -> None:
    """Deliver and make partitions."""
    store = Store.open(url)
    then = time.time() - 3600
    for number in numbers:
        folder = home / "inbox" / "demo" / f"batch-{number:05d}"
        folder.mkdir(parents=True)
        (folder / "reading.txt").write_text(str(number))
        os.utime(folder / "reading.txt", (then, then))
        run_steps(store, DEMO, folder.name, SETTINGS, ticks.sources)


def bare(home: Path) -> float:
    """CPU seconds of asking for size and time of every file there is."""
    began = time.process_time()
    for folder in os.scandir(home / "inbox" / "demo"):
        for entry in os.scandir(folder.path):
            entry.stat()
    return time.process_time() - began


def measure(printed: Printed, counts: list[int], name: str, url: str | None) -> bool:
    """One row for each count; whether the last was within the limit."""
    with tempfile.TemporaryDirectory() as folder:
        home, made, cpu = Path(folder), 0, 0.0
        ticks = Ticks(home, url or str(home / "store"))
        for count in counts:
            fill(home, ticks.settings.store_url, range(made, count), ticks)
            made = count
            ticks.cursor = None
            first_s, first_cpu = ticks.tick()
            while ticks.cursor and '"position"' in ticks.cursor:  # its time was over, and the next one goes on
                ticks.tick()
            seconds, cpu = ticks.tick()
            printed.add_row(
                *(name, str(count), f"{first_s:.2f}", f"{first_cpu:.2f}", f"{seconds:.3f}", f"{cpu:.3f}"),
                f"{1000 * cpu / count:.2f}",
                f"{bare(home):.4f}",
                f"{LIMITS[name]:.0f} CPU s" if count == 1000 else "",
            )
        return cpu <= LIMITS[name]


def main() -> int:
    """Print the table; 1 where a tick is over its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--partitions", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--no-s3", action="store_true")
    asked = parser.parse_args()
    printed = Printed(title="Ticks that find nothing new")
    for column in (
        "store",
        "partitions",
        "first, s",
        "first, CPU s",
        "next, s",
        "next, CPU s",
        "ms each",
        "bare, CPU s",
    ):
        printed.add_column(column, justify="left" if column == "store" else "right")
    printed.add_column("limit", justify="right")
    good = measure(printed, asked.partitions, "disk", None)
    if not asked.no_s3:
        with (
            tempfile.TemporaryDirectory() as folder,
            moto_server(Path(folder)) as environment,
            mock.patch.dict(os.environ, environment),
        ):
            good &= measure(printed, asked.partitions, "S3", f"s3://{BUCKET}/ticks")
    Console(width=140).print(printed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
