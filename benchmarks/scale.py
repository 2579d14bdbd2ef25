"""What a thousand partitions cost beside a hundred, and ten thousand where only names are looked at.

    python benchmarks/scale.py [--partitions 100 1000] [--names 10000]

Partitions of a made-up domain of two steps and two series, all made and published: what a sensor, the night, the
catalogue, the commands and the doctor do with them, in CPU seconds. Nothing may grow faster than the partitions do, and
publishing one more with all before it may cost no more than twice. Then names alone, of every domain: listing an inbox,
looking at each and keeping a cursor, registering in Dagster.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from unittest import mock

import dagster as dg
from rich.console import Console
from rich.table import Table as Printed
from ticks import Ticks, fill

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from demo_domain import DEMO, SERIES, SETTINGS, TOTALS_CSV, publish_series

from pipelines import settled
from pipelines.schedules import nightly
from sheaf import attention, damage, listing, watching
from sheaf.domains import DOMAINS
from sheaf.exports import catalogue
from sheaf.exports.history import history
from sheaf.outside.inbox import InboxSource
from sheaf.settings import Settings
from sheaf.store.store import Store

MOST_TIMES = 30.0
"""Of ten times as many: what is linear takes 10, up to 20 with cold caches on a busy machine; a square takes 100."""
TOO_SHORT_S = 0.02
"""What takes less is not compared."""


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def night(ticks: Ticks, names: list[str]) -> Callable[[], object]:
    """The tick of the nightly schedule, in which nothing is new."""
    home = ticks.settings.home / f"dagster-{len(names)}"
    home.mkdir()
    instance = dg.DagsterInstance.local_temp(str(home))
    instance.add_dynamic_partitions("demo_batch", names)
    at = datetime(2026, 3, 3, 2, tzinfo=UTC)

    def tick() -> None:
        with (
            mock.patch.object(Settings, "of", return_value=SETTINGS),
            mock.patch.object(settled, "configured_sources", return_value=ticks.sources),
            mock.patch("pipelines.schedules.settled_campaign", return_value=[]),
            mock.patch("pipelines.schedules.LOOK_SECONDS", 3600.0),
            dg.build_schedule_context(instance, scheduled_execution_time=at) as context,
        ):
            found = nightly(DEMO, ticks.settings)(context)
        assert isinstance(found, dg.SkipReason), f"something is new: {found}"

    return tick


def published(printed: Printed, counts: list[int]) -> bool:
    """What is done with published partitions; whether all of it grows as they do."""
    found = dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        home, made = Path(folder), 0
        ticks = Ticks(home, str(home / "store"))
        store = Store.open(ticks.settings.store_url)
        for count in counts:
            names = [f"batch-{number:05d}" for number in range(count)]
            fill(home, store.url, range(made, count), ticks)
            with catalogue.noting(store) as note:
                many = cpu(partial(publish, store, names[made:], note))
            ticks.cursor = None
            works: dict[str, Callable[[], object]] = {
                "publish them (each, in thousands)": lambda: None,
                "a sensor's first tick": ticks.tick,
                "its next": ticks.tick,
                "the night: nothing is new": night(ticks, names),
                "catalogue: make anew": lambda: catalogue.write(store),
                "catalogue: bring one in": lambda: catalogue.note(store, next(history(store)).id),
                "sheaf history": lambda: list(history(store)),
                "sheaf list demo": lambda: list(listing.listed(store, DEMO)),
                "sheaf attention": lambda: attention.needs(store, [DEMO]),
                "sheaf doctor: damage": lambda: list(damage.examine(store, [DEMO])),
            }
            for name, work in works.items():
                found.setdefault(name, []).append(cpu(work))
            found["publish them (each, in thousands)"][-1] = 1000 * many / (count - made)
            made = count
    good = [row(printed, name, counts, times, grows=not name.startswith("publish")) for name, times in found.items()]
    return all(good)


def publish(store: Store, names: list[str], note: Callable[..., None]) -> None:
    """Publish two series of each."""
    for name in names:
        for series in (SERIES, TOTALS_CSV):
            note(publish_series(store, series, partition=name).export)


def named(printed: Printed, counts: list[int]) -> bool:
    """What is done with names alone; whether all of it grows as they do."""
    found = dict[str, list[float]]()
    for count in counts:
        names = [f"batch-{number:05d}" for number in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            inbox = Path(folder)
            for name in names:
                (inbox / "demo" / name).mkdir(parents=True)
                (inbox / "demo" / name / "reading.txt").write_text(name)
            for domain in DOMAINS:
                (inbox / domain).symlink_to(inbox / "demo")
            for domain in DOMAINS:
                source = InboxSource(inbox, domain, lambda *_: None)  # pyright: ignore[reportArgumentType]
                found.setdefault(f"{domain}: list and look", []).append(cpu(partial(look, source)))
            with dg.DagsterInstance.local_temp(folder) as instance:
                found.setdefault("register in Dagster, ask", []).append(cpu(partial(register, instance, names)))
    good = [row(printed, name, counts, times) for name, times in found.items()]
    return all(good)


def look(source: InboxSource) -> None:
    """As a sensor does when all is done; its cursor goes through text."""

    def once(cursor: str | None) -> str:
        found = watching.look(
            source, source.offers().partitions, watching.Cursor.read(cursor), lambda _: True, lambda _: False,
            quiet_s=0, seconds=1e9, most=25,
        )  # fmt: skip
        return found.cursor.model_dump_json(exclude_defaults=True)

    once(once(None))


def register(instance: dg.DagsterInstance, names: list[str]) -> None:
    """Make them partitions, 1 000 at a time, and ask for all."""
    for begin in range(0, len(names), 1000):
        instance.add_dynamic_partitions("demo_batch", names[begin : begin + 1000])
    assert len(instance.get_dynamic_partitions("demo_batch")) == len(names)


def row(printed: Printed, name: str, counts: list[int], times: list[float], *, grows: bool = True) -> bool:
    """Print one; whether it grew as the number of partitions did, or not at all."""
    growth = times[-1] / max(times[0], 1e-9)
    most = MOST_TIMES * counts[-1] / counts[0] / 10 if grows else 2.0
    good = growth <= most or times[-1] < TOO_SHORT_S
    printed.add_row(name, *(f"{one:.3f}" for one in times), f"{growth:.1f}", "" if good else f"at most {most:.0f}")
    return good


def main() -> int:
    """Print the tables; 1 where something is worse than linear."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--partitions", type=int, nargs=2, default=[100, 1000])
    parser.add_argument("--names", type=int, default=10_000)
    asked = parser.parse_args()
    good = True
    for title, counts, measure in (
        ("published partitions", asked.partitions, published),
        ("names alone", [asked.names // 10, asked.names], named),
    ):
        printed = Printed(title=f"{title}, CPU seconds")
        for column in ("", *map(str, counts), "times", ""):
            printed.add_column(column, justify="left" if not column else "right")
        good &= measure(printed, counts)
        Console(width=100).print(printed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
