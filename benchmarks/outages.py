"""A store in trouble while ten processes publish: it is gone, slow, lying, expired, for a minute each.

    python benchmarks/outages.py [--seconds 60] [--writers 10]

The store is moto behind a proxy that hangs up, waits with every answer, does what it is asked and then says 503, or
calls the credentials expired. Each writer delivers and publishes in a loop and says what came of it: a version, or
one sentence. All the time `latest` is read past the proxy and verified. When the trouble is over every writer has
to publish again; then nothing may be left over, no version may be missing or taken twice.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.table import Table as Printed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import children
from demo_domain import BATCH, ingest, publish_readings
from promises import check_readers, check_recovered
from s3_proxy import proxy
from servers import BUCKET, moto_server

from sheaf.errors import SheafError
from sheaf.exports.outcome import delete
from sheaf.exports.records import Status, records
from sheaf.store.store import Store

children.preload("demo_domain", "s3_proxy")

TROUBLES = {"gone": "hang up", "slow": "wait", "lying": "lose", "expired": "expire"}
SHARE = {"slow": 0.3, "lying": 0.5}
"""How many of the requests are hit; of the others all."""
AFTER_S = 300.0
"""So long a writer may take to publish again when the trouble is over."""


def publish_for_ever(report: Connection, url: str, number: int) -> None:
    """What a writer does until it is killed."""
    store = Store.open(url)
    for turn in range(1_000_000):
        began = time.monotonic()
        try:
            ingest(store, f"{number}-{turn}", "b")
            what = f"v{publish_readings(store, always=True).export.version}"
        except SheafError:
            what = "a sentence"
            time.sleep(0.5)
        except BaseException as error:  # whatever it is, nobody may see it
            what = f"{type(error).__name__}: {error}"[:200]
        report.send((what, time.monotonic() - began))


class Writers:
    """The writers and what they said."""

    def __init__(self, url: str, count: int) -> None:
        self.reports: list[Connection] = []
        self.children = []
        for number in range(count):
            reports, report = children.CONTEXT.Pipe(duplex=False)
            self.children.append(children.start(publish_for_ever, report, url, number))
            report.close()
            self.reports.append(reports)
        self.versions: list[str] = []

    def hear(self, found: Counter[str]) -> set[int]:
        """Count what was said; returns who published."""
        published = set()
        for number, reports in enumerate(self.reports):
            while reports.poll():
                what, seconds = reports.recv()
                found["longest"] = max(found["longest"], int(seconds))
                if what.startswith("v"):
                    published.add(number)
                    self.versions.append(what)
                    found["published"] += 1
                elif what == "a sentence":
                    found["sentences"] += 1
                else:
                    found["broken"] += 1
                    print(what)
        return published

    def end(self) -> None:
        """Kill them."""
        for child in self.children:
            child.kill()
            child.join()


def minute(direct: Store, writers: Writers, seconds: float) -> Counter[str]:
    """Listen for a while, and read `latest` as everybody may."""
    found: Counter[str] = Counter()
    end, newest = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        writers.hear(found)
        pointed = check_readers(direct, BATCH)
        assert pointed >= newest, f"latest moved back from {newest} to {pointed}"
        newest = pointed
        found["read"] += 1
        time.sleep(0.2)
    return found


def make_room(direct: Store) -> None:
    """Keep the checks short."""
    for record in records(direct, BATCH)[50:]:
        if record.status is Status.COMPLETED:
            delete(direct, record.id, "campaign")


def main() -> int:
    """Run the campaign; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=10)
    asked = parser.parse_args()
    printed = Printed(title=f"A store in trouble, {asked.writers} writers, {asked.seconds:.0f} s each")
    columns = ("published", "sentences", "read", "longest", "broken")
    for name in ("trouble", *columns, "all publish again after, s"):
        printed.add_column(name, justify="left" if name == "trouble" else "right")
    broken = 0
    with tempfile.TemporaryDirectory() as folder, moto_server(Path(folder)) as environment:
        with mock.patch.dict(os.environ, environment):
            direct = Store.open(f"s3://{BUCKET}/outages")
            direct.size("anything")  # its client is made now, past the proxy
        with proxy(environment["AWS_ENDPOINT_URL"]) as faulty:
            with mock.patch.dict(os.environ, environment | {"AWS_ENDPOINT_URL": faulty.url}):
                writers = Writers(f"s3://{BUCKET}/outages", asked.writers)
                try:
                    for trouble, what in {"none": "pass", **TROUBLES}.items():
                        share, chance = SHARE.get(trouble, 1.0), random.Random(trouble)
                        faulty.rule = lambda *_, w=what, s=share, c=chance: w if c.random() < s else "pass"
                        found = minute(direct, writers, asked.seconds)
                        faulty.rule = lambda *_: "pass"
                        began, waiting = time.monotonic(), set(range(asked.writers))
                        while waiting and time.monotonic() - began < AFTER_S:
                            waiting -= writers.hear(after := Counter())
                            found["broken"] += after["broken"]
                            time.sleep(0.1)
                        again = f"{time.monotonic() - began:.0f}" if not waiting else "never"
                        found["broken"] += len(waiting)
                        printed.add_row(trouble, *(str(found[name]) for name in columns), again)
                        broken += found["broken"]
                        make_room(direct)
                finally:
                    writers.end()
            assert len(writers.versions) == len(set(writers.versions)), "a version was published twice"
            check_recovered(direct, BATCH)
    Console(width=140).print(printed)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
