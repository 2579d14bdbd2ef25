"""How many runs and pairings of simulated matches are found as they were, and whether every wrong run is flagged.

Usage: python benchmarks/matches_truth.py [--matches 500] [--seed 0]

The matches come from `tests/simulated_matches.py`: one bay or two, numbered shots or not, sensors with delays from
-120 to 700 ms, misses and false hits; shots lost and reported twice, starts and stops lost, clocks set.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from matches_logs import Match
from simulated_matches import Score, simulate

from sheaf.matches import schema


def main() -> None:
    """Simulate, read, compare, and print one line for each kind of fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--matches", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scores: dict[str, Score] = {}
    for seed in range(arguments.seed, arguments.seed + arguments.matches):
        truth = simulate(seed)
        with tempfile.TemporaryDirectory() as folder:
            match = Match(Path(folder))
            match.log(*truth.records)
            match.read(only=("events", "runs"))
            found = match.rows(schema.RUNS), match.rows(schema.EVENTS), match.rows(schema.EVENT_RUNS)
        for name in ("all", ", ".join(sorted(truth.faults)) or "no fault"):
            scores.setdefault(name, Score()).add(truth, *found)
    for name, score in sorted(scores.items(), key=lambda item: -item[1].runs):
        print(
            f"{name:40} runs {score.right_runs / score.runs:8.3%} of {score.runs:6}   "
            f"pairings {score.right_pairs / score.pairs:8.3%} of {score.pairs:6}   "
            f"wrong without a flag: {len(score.silent)}, {score.silent_pairs}   "
            f"right, but contested_impact: {score.doubted / score.runs:.1%} of the runs"
        )


if __name__ == "__main__":
    main()
