"""What publishing costs: one large file against copying and hashing it, and many small exports.

    python benchmarks/publish.py [--megabytes 1024] [--rounds 3] [--s3]

The large file is published into a local store; the peer is `cp` and `sha256sum` of the same
bytes on the same disk in the same run. Limits: 1.5 times the peer, 200 MB of memory. With
`--s3` small exports also go to moto, an emulator written in Python, whose own time is in the
figure; the time of one bare write shows how much that is.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from demo_domain import READINGS, ingest, publish_series
from servers import BUCKET, moto_server

from sheaf.exports.series import Draft, Series, Written
from sheaf.store.store import Store

BLOCK = os.urandom(1 << 20)
TIMES_PEER, PEAK_MB = 1.5, 200


def series(name: str, megabytes: int) -> Series:
    """A series of one file of so many megabytes, written in a streaming way."""

    def write(draft: Draft) -> Written:
        write_blocks(draft.folder / "data.bin", megabytes)
        return Written(record_count=1)

    return Series("demo", name, "A file.", (READINGS,), write, lambda *_: None)


def write_blocks(path: Path, megabytes: int) -> None:
    """The same work for the writer and the peer's source."""
    with path.open("wb") as file:
        file.writelines(BLOCK for _ in range(megabytes)) if megabytes else file.write(b"small\n")


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def large(folder: Path, megabytes: int, rounds: int) -> bool:
    """Publish one large file and print it beside its peer; whether it keeps the limits."""
    store = Store.open(str(folder / "store"))
    ingest(store, "a")
    source = folder / "source.bin"
    write_blocks(source, megabytes)

    def peer() -> None:
        subprocess.run(["cp", str(source), str(folder / "copy.bin")], check=True)
        subprocess.run(["sha256sum", str(folder / "copy.bin")], check=True, stdout=subprocess.DEVNULL)
        (folder / "copy.bin").unlink()

    ours, peers = [], []
    for _ in range(rounds):
        os.sync()
        peers.append(timed(peer))
        os.sync()
        ours.append(timed(lambda: publish_series(store, series("large", megabytes), always=True)))
        shutil.rmtree(folder / "store" / "exports")
    ratio = statistics.median(ours) / statistics.median(peers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    printed = Printed(title=f"{megabytes} MB into a local store, median of {rounds}")
    for name in ("", "seconds", "times the peer", "peak MB"):
        printed.add_column(name, justify="right" if name else "left")
    printed.add_row("cp + sha256sum", f"{statistics.median(peers):.2f}", "1.00", "")
    printed.add_row("write + publish", f"{statistics.median(ours):.2f}", f"{ratio:.2f}", f"{peak:.0f}")
    printed.add_row("limit", "", f"{TIMES_PEER:.2f}", f"{PEAK_MB}")
    Console().print(printed)
    return ratio <= TIMES_PEER and peak <= PEAK_MB


def small(store: Store, name: str, versions: int) -> tuple[str, ...]:
    """Publish a small export again and again; how the first and the last of them compare with a bare write."""
    ingest(store, "a")
    one = series("small", 0)
    bare = statistics.median(timed(lambda: store.put("bare.txt", b"small\n")) for _ in range(20))
    took = [timed(lambda: publish_series(store, one, always=True)) for _ in range(versions)]
    unchanged = statistics.median(timed(lambda: publish_series(store, one)) for _ in range(5))
    milliseconds = (bare, statistics.median(took[:5]), statistics.median(took[-5:]), unchanged)
    return (name, *(f"{value * 1000:.1f}" for value in milliseconds))


def main() -> int:
    """Run the benchmark; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--versions", type=int, default=100, help="small exports in one series")
    parser.add_argument("--s3", action="store_true", help="small exports on an S3 emulator, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = large(folder, asked.megabytes, asked.rounds)
        printed = Printed(title=f"{asked.versions} small exports in one series, milliseconds each")
        for title in ("store", "bare write", "first five", "last five", "unchanged"):
            printed.add_column(title, justify="left" if title == "store" else "right")
        printed.add_row(*small(Store.open(str(folder / "small")), "local disk", asked.versions))
        (folder / "moto").mkdir()
        with moto_server(folder / "moto") if asked.s3 else nullcontext() as environment:
            if environment:
                os.environ.update(environment)
                printed.add_row(*small(Store.open(f"s3://{BUCKET}/small"), "S3 (moto)", asked.versions))
        Console().print(printed)
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
