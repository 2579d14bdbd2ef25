"""Simulated matches are found as they were, whatever was lost, repeated or set.

Many more: `benchmarks/matches_truth.py`.
"""

from pathlib import Path

from matches_logs import Match
from simulated_matches import Score, simulate

from sheaf.matches import schema

SEEDS = (3, 5, 6, 11, 22)


def test_simulated_matches_are_found_as_they_were(tmp_path: Path) -> None:
    score, faults = Score(), set()
    for seed in SEEDS:
        truth = simulate(seed)
        faults |= truth.faults
        match = Match(tmp_path / str(seed))
        match.log(*truth.records)
        match.read()
        score.add(truth, match.rows(schema.RUNS), match.rows(schema.EVENTS), match.rows(schema.EVENT_RUNS))
    assert faults == {"double", "lost", "no_start", "no_stop", "step"}
    assert score.right_runs >= 0.98 * score.runs
    assert score.right_pairs >= 0.98 * score.pairs
    assert not score.silent
    assert score.silent_pairs <= 0.002 * score.pairs
