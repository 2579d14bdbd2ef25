"""A long campaign of the kill test: publishers are killed at random moments, again and again.

    python benchmarks/kill_publish.py [--kills 500] [--seed 1] [--s3]

Three publish into one series at once, each in a loop; one of them gets SIGKILL after a random delay and
is replaced. `latest` is read and verified all the time; after every kill the store is recovered beside the
working ones, and at the end nothing may be left over. Stops with the seed at the first broken promise.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import children  # type: ignore[import-not-found]  # on the path since the line above
from demo_domain import BATCH, ingest, publish_readings  # type: ignore[import-not-found]
from promises import check_readers, check_recovered  # type: ignore[import-not-found]
from servers import BUCKET, moto_server  # type: ignore[import-not-found]

from sheaf.exports.outcome import delete
from sheaf.exports.records import Status, records
from sheaf.exports.recover import recover
from sheaf.store.store import Store

WRITERS = 3
KEPT = 20


def publish_for_ever(url: str) -> None:
    """What a victim does."""
    store = Store.open(url)
    while True:
        publish_readings(store, always=True)


def campaign(store: Store, kills: int, seed: int) -> Counter[str]:
    """Kill, check, recover, check; returns what was found."""
    delays = random.Random(seed)
    ingest(store, "a", "b")
    writers = [children.start(publish_for_ever, store.url) for _ in range(WRITERS)]
    found: Counter[str] = Counter()
    newest = 0
    try:
        for _ in range(kills):
            time.sleep(delays.uniform(0, 0.2))
            victim = delays.randrange(WRITERS)
            writers[victim].kill()
            writers[victim].join()
            pointed = check_readers(store, BATCH)
            assert pointed >= newest, f"latest moved back from {newest} to {pointed}"
            newest = pointed
            done = recover(store)
            found.update(killed=1, finished=len(done.finished), given_up=len(done.reaped), swept=done.swept)
            for record in records(store, BATCH)[KEPT:]:  # keep the checks short
                if record.status is Status.COMPLETED:
                    delete(store, record.id, "campaign")
                    found["deleted"] += 1
            writers[victim] = children.start(publish_for_ever, store.url)
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    check_recovered(store, BATCH)
    known = records(store, BATCH)
    numbers = [record.version for record in known]
    assert numbers == sorted(set(numbers), reverse=True)
    found["versions"] = len(numbers)
    return found


def main() -> int:
    """Run the campaign on each store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s3", action="store_true", help="on an S3 emulator, too")
    asked = parser.parse_args()
    printed = Table(title=f"Seed {asked.seed}: every promise kept")
    columns = ("versions", "killed", "finished", "given_up", "swept", "deleted")
    for title in ("store", *columns, "seconds"):
        printed.add_column(title.replace("_", " "), justify="left" if title == "store" else "right")
    with tempfile.TemporaryDirectory() as name, moto_server(Path(name)) if asked.s3 else nullcontext() as environment:
        os.environ.update(environment or {})
        for title, url in (("local disk", f"{name}/store"), ("S3 (moto)", f"s3://{BUCKET}/campaign"))[: 1 + asked.s3]:
            started = time.monotonic()
            found = campaign(Store.open(url), asked.kills, asked.seed)
            seconds = time.monotonic() - started
            printed.add_row(title, *(str(found[column]) for column in columns), f"{seconds:.0f}")
    Console().print(printed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
