"""The deployment, run: its four roles beside PostgreSQL and S3, inputs of all domains, and trouble.

    python benchmarks/topology.py [--image sheaf:local]

With an image, as the user of the image by `buildah run` (as root); without one, the programs beside this Python.
Nobody starts a run here. Sensors see what lies in the inbox, the nightly schedule (each minute) publishes what is over
all partitions, one request is accepted and one rejected. Then a batch arrives in each of three troubles: daemon and
code server get SIGKILL and PostgreSQL ends at once; S3 answers nothing for a minute; a new code server takes over while
the batch is being made. Each batch is published once, and whole.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from deployment import Deployment, deployment
from test_cli import write_batch

from pipelines.samples import write_samples
from sheaf.domains import DOMAINS
from sheaf.exports.history import history
from sheaf.exports.records import Status
from sheaf.exports.verify import verify
from sheaf.names import CAMPAIGN
from sheaf.store.store import Store

WAIT_S = 900


def completed(store: Store) -> Counter[tuple[str, str, str]]:
    """How many complete versions each series of a partition has."""
    return Counter(
        (record.domain, record.partition, record.series)
        for record in history(store)
        if record.status is Status.COMPLETED
    )


def main() -> int:
    """Run it; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--image")
    asked = parser.parse_args()
    with deployment(asked.image, SHEAF_NIGHTLY="* * * * *") as running:
        return _troubled(running)


def _troubled(running: Deployment) -> int:
    def wait(what: str, done: Callable[[], bool]) -> None:
        print(f"{what}: {running.wait(what, done, WAIT_S):.0f} s", flush=True)

    store, inbox, requests = running.store, running.inbox, running.inbox / "requests"
    running.start("daemon")
    delivered = write_samples(inbox)
    wanted = {(domain, partition) for domain, partitions in delivered.items() for partition in partitions or ()}
    over_all = {(name, CAMPAIGN) for name, one in DOMAINS.items() if any(series.campaign for series in one.series)}

    def all_published() -> bool:
        there = {(domain, partition) for domain, partition, _ in completed(store)}
        return wanted | over_all <= there and {domain for domain, _ in there} == set(DOMAINS)

    wait(f"{len(wanted)} partitions and what is over all of them are published", all_published)
    (requests / "good.yaml").write_text(
        "domain: fermentation\npartition: batch-12-b\nseries: samples_csv\nfilter: {min_hours: 4}\n"
    )
    (requests / "bad.yaml").write_text("domain: fermentation\npartition: batch-12-b\nseries: typo\n")
    wait(
        "one request is accepted, one rejected",
        lambda: bool(list(requests.glob("accepted/good*")) and list(requests.glob("rejected/bad*"))),
    )
    before = completed(store)
    of_batch = sum(not series.campaign for series in DOMAINS["fermentation"].series)

    def published(batch: str) -> Callable[[], bool]:
        return lambda: sum(partition == batch for _, partition, _ in completed(store)) == of_batch

    running.kill("daemon", "code")
    running.database("stop", "-m", "immediate")
    write_batch(inbox, "killed", batch_number=91)
    time.sleep(5)
    running.database("start")
    running.start("code", "daemon")
    wait("what arrived while daemon, code server and PostgreSQL were gone is published", published("killed"))
    with running.store_silent():
        write_batch(inbox, "silent", batch_number=92)
        time.sleep(60)
    wait("what arrived while S3 was silent for a minute is published", published("silent"))
    write_batch(inbox, "rolled", batch_number=93)
    wait(
        "a run of another batch begins",
        lambda: ("STARTED", "fermentation_inbox") in running.runs() or published("rolled")(),
    )
    running.kill("code", how=signal.SIGTERM)
    time.sleep(5)
    running.start("code")
    wait("what was being made when a new code server came is published", published("rolled"))
    after = completed(store)
    doubled = [key for key, count in after.items() if key[1] in ("killed", "silent", "rolled") and count != 1]
    lost = [key for key, count in before.items() if after[key] < count]
    for record in history(store):
        if record.status is Status.COMPLETED:
            verify(store, record.id)
    print(f"{sum(after.values())} versions, all verified; {len(lost)} lost, {len(doubled)} doubled")
    return 1 if lost or doubled else 0


if __name__ == "__main__":
    raise SystemExit(main())
