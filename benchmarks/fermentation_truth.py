"""What is published of simulated campaigns beside their truth, in the standard errors that are published with it.

Usage: python benchmarks/fermentation_truth.py [BATCHES]

Ten batches by default, each seen through instruments of five kinds: ideal, an off-gas analyser that is shared and gives
a value in 5 min, loggers with a deadband, analysers that drift, and logs with three silences of 20 to 90 min. Growth
rate, uptake, volume, totals and yields of the truth are known; all errors are drawn from what the plan states. Where
they are right the root mean square is about 1 and nothing is further off than 4; exit code 1 where something is.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fermentation_truth import distances
from simulated_fermentations import KINDS

from sheaf.store.store import Store

MOST = 4.0


def main(batches: int) -> int:
    """Print the table; 1 where a value is further from its truth than it says."""
    worst = 0.0
    print(f"{'instruments':12} {'value':9} {'n':>5} {'rms':>6} {'mean':>6} {'most':>6}")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        store = Store.open(str(root / "store"))
        for kind in KINDS:
            found: dict[str, list[float]] = {}
            for number in range(batches):
                for name, values in distances(store, root / f"{kind}-{number}", number, kind).items():
                    found.setdefault(name, []).extend(values)
            for name, values in found.items():
                far = float(np.max(np.abs(values)))
                worst = max(worst, far)
                rms, mean = np.sqrt(np.mean(np.square(values))), np.mean(values)
                print(f"{kind:12} {name:9} {len(values):5} {rms:6.2f} {mean:6.2f} {far:6.1f}", flush=True)
    return 1 if worst > MOST else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
