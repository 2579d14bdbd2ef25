"""Cutting the power, again and again, while exports are published, generations committed and old logs offloaded.

    sudo unshare --mount python benchmarks/power_cuts.py [--cuts 20] [--seed 1] [--only offload] [--without-fsync]

Store and logs lie on ext4 file systems of their own, on loop devices. A cut takes what has reached them as all
there is. After each: nothing that was said to be done is missing or torn, `latest` verifies, no number is
handed out twice, every byte of a log is at its source or in a verified archive, recovering removes nothing of
that and the work goes on. Prints what was found; exit 1 when a promise was broken. `--without-fsync` shows
that the cuts find what they are for.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from power import WORKS, cuts  # type: ignore[import-not-found]  # on the path since the line above

MEMORY = Path("/dev/shm")


def main() -> int:
    """Cut, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cuts", type=int, default=20, help="for each kind of work")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=WORKS)
    parser.add_argument("--without-fsync", action="store_true", help="as if nothing was brought to disk")
    asked = parser.parse_args()
    printed = Table(title=f"Seed {asked.seed}{', nothing brought to disk' * asked.without_fsync}")
    for title in ("work", "cuts", "said to be done", "promises broken", "seconds"):
        printed.add_column(title, justify="left" if title == "work" else "right")
    broken: list[str] = []
    for name in [asked.only] if asked.only else WORKS:
        started, said, before = time.monotonic(), 0, len(broken)
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            try:
                for done, problem in cuts(
                    Path(folder), name, asked.cuts, asked.seed, without_fsync=asked.without_fsync
                ):
                    said += done
                    broken += [f"{name}: {problem}"] if problem else []
            except subprocess.CalledProcessError as error:
                print(f"{error} Run this as root, in a mount namespace of its own.", file=sys.stderr)
                return 2
        seconds = time.monotonic() - started
        printed.add_row(name, str(asked.cuts), str(said), str(len(broken) - before), f"{seconds:.0f}")
    console = Console()
    console.print(printed)
    for problem in broken[:20]:
        console.print(problem, markup=False, soft_wrap=True)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
