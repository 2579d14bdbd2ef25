"""A campaign of kills in the real domains: what is published afterwards is one delivery or the other, never a mix.

    python benchmarks/kills.py [--kills 300] [--rounds 10] [--s3]

Each domain has a store where delivery A was published. A child process makes and publishes delivery B, and gets
SIGKILL before or after one of its writes, from the first to the last of all steps and exports. Then every series
is exported, and each version there is must hold, byte for byte, what A alone or B alone is published as. Then B
is run to its end: nothing waits for the dead, nothing of theirs is left. In the second table two processes
deliver A and B in turns, each what the other does not, while everything is exported again and again.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from killing import Found, prepared  # type: ignore[import-not-found]  # on the path since the line above
from servers import BUCKET, moto_server  # type: ignore[import-not-found]

from sheaf.domains import DOMAINS

COUNTS = {"A": "published A", "B": "published B", "refused": "refused", "mixes": "mixes"}
LOCAL, S3 = "local disk", "S3 (moto)"


@dataclass(frozen=True)
class Row:
    """What came of one domain and store; `done` is how many kills or rounds that were."""

    domain: str
    store: str
    done: int
    found: Found
    seconds: float


def show(console: Console, title: str, of_what: str, rows: list[Row]) -> None:
    """Print a row for each, and one for all."""
    printed = Table(title=title)
    for name in ("domain", "store", of_what, *COUNTS.values(), "seconds"):
        printed.add_column(name, justify="left" if name in ("domain", "store") else "right")
    for row in rows:
        counts = (str(row.found.counts[name]) for name in COUNTS)
        printed.add_row(row.domain, row.store, str(row.done), *counts, f"{row.seconds:.0f}")
    counts = (str(sum(row.found.counts[name] for row in rows)) for name in COUNTS)
    seconds = sum(row.seconds for row in rows)
    printed.add_row("all", "", str(sum(row.done for row in rows)), *counts, f"{seconds:.0f}", style="bold")
    console.print(printed)


def main() -> int:
    """Run the campaign on each domain and store; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=300, help="in all domains and stores together")
    parser.add_argument("--rounds", type=int, default=10, help="of two ingests at once, in each domain and store")
    parser.add_argument("--s3", action="store_true", help="on an S3 emulator, too")
    parser.add_argument("--only", nargs="*", choices=DOMAINS, default=list(DOMAINS), help="some domains")
    asked = parser.parse_args()
    stores = (LOCAL, S3) if asked.s3 else (LOCAL,)
    each = -(-asked.kills // (len(asked.only) * len(stores)))
    killed: list[Row] = []
    raced: list[Row] = []
    with tempfile.TemporaryDirectory() as name, moto_server(Path(name)) if asked.s3 else nullcontext() as environment:
        os.environ.update(environment or {})
        for domain in asked.only:
            folder = Path(name) / domain
            with prepared(domain, folder) as trial:
                for store in stores:
                    url = f"{folder}/stores" if store == LOCAL else f"s3://{BUCKET}/{domain}"
                    started = time.monotonic()
                    found = trial.kill(f"{url}/killed", each)
                    between = time.monotonic()
                    killed.append(Row(domain, store, found.counts["kills"], found, between - started))
                    found = trial.race(f"{url}/raced", asked.rounds)
                    raced.append(Row(domain, store, asked.rounds, found, time.monotonic() - between))
    console = Console(width=100)
    show(console, "Killed at a write", "kills", killed)
    show(console, "Two ingests at once", "rounds", raced)
    problems = [problem for row in (*killed, *raced) for problem in row.found.problems]
    for problem in problems[:20]:
        console.print(f"BROKEN: {problem}", style="red", markup=False, soft_wrap=True)
    console.print(f"{len(problems)} broken promises in {sum(row.done for row in killed)} kills")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
