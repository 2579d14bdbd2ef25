"""Fit the confidence of an offset to pairs with known truth, and print how far it can be trusted.

    .venv/bin/python benchmarks/media_confidence.py [--train 600] [--test 600]

Half of the pairs are at the edge of what can be found, half are unrelated (`media_edge.py`). The coefficients of
`sheaf.media.confidence` are fitted on one set by maximum likelihood, with a weak pull towards 0 that keeps them
finite where the classes hardly overlap. Two fits are printed: the plain one, and the cautious one that the engine
has, in which wrong pairs count so often (1, 3, 10, … times) that none of the set is accepted. The tables of
reliability and the Brier scores are of the other set, which shares no sound with the first.
"""

import argparse
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from media_edge import edge_pairs, strangers
from media_pairs import Case
from scipy.optimize import minimize

from sheaf.media.analysis import FRAME, propose, recordings
from sheaf.media.candidates import merge
from sheaf.media.confidence import Evidence, confidence, numbers
from sheaf.media.judge import Judge, main_line
from sheaf.media.result import ACCEPTED, DEFAULT_METHODS, PairOptions

TRAIN_SEED, TEST_SEED = 11, 12
BINS = (0.0, 0.1, 0.5, 0.75, 0.9, 0.99)
_PULL = 0.01  # of a squared coefficient, in units of one pair's log-likelihood


@dataclass(frozen=True)
class Sample:
    """What the judge found out about a pair, and whether its best line is right to a frame."""

    kind: str
    related: bool
    evidence: Evidence
    right: bool


def main() -> None:
    """Measure both sets, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=600, help="pairs to fit with, half of them unrelated")
    parser.add_argument("--test", type=int, default=600, help="pairs to judge with, half of them unrelated")
    asked = parser.parse_args()
    train, test = measure(TRAIN_SEED, asked.train), measure(TEST_SEED, asked.test)
    spoke = [sample for sample in train if sample.evidence.weight > 0]
    print(f"{len(train)} pairs to fit with, {len(spoke)} of them with evidence for a line")
    for name, times in (("plain", 1), ("cautious", caution(spoke))):
        fitted = fit(spoke, times)
        values = ", ".join(f"{value:.2f}" for value in fitted)
        print(f"\n{name} fit, wrong pairs count {times} times: coefficients {values}")
        print_table(test, lambda evidence, fitted=fitted: probability(fitted, evidence))
    print("\nthe engine")
    print_table(test, confidence)
    print_kinds(test)


def measure(seed: int, count: int) -> list[Sample]:
    """The samples of one set, on all processors."""
    jobs = [(seed, kind, start, count // 2) for kind in ("edge", "stranger") for start in range(_SHARES)]
    with Pool(os.cpu_count()) as pool:
        return list(itertools.chain.from_iterable(pool.imap(_share, jobs)))


_SHARES = 8


def _share(job: tuple[int, str, int, int]) -> list[Sample]:
    seed, kind, start, count = job
    make = edge_pairs if kind == "edge" else strangers
    found = []
    with tempfile.TemporaryDirectory(prefix="sheaf-bench-") as folder:
        for case in make(Path(folder), seed, range(start, count, _SHARES)):
            found.append(_sample(case))
            case.master.unlink()
            case.dub.unlink()
    return found


def _sample(case: Case) -> Sample:
    deadline = time.monotonic() + 300
    with recordings(case.master, case.dub, deadline, 3600) as (master, dub):
        proposals, _ = propose(master, dub, list(DEFAULT_METHODS), PairOptions())
        lines, evidence = Judge(master, dub, deadline).weigh(merge(itertools.chain(*proposals.values())))
    related = case.expect == "match"
    right = related and bool(lines) and abs(main_line(lines).offset - case.offset) <= FRAME
    return Sample(case.kind, related, evidence, right)


def caution(spoke: Sequence[Sample]) -> int:
    """How many times a wrong pair has to count until none is accepted by the fit."""
    wrong = [sample.evidence for sample in spoke if not sample.right]
    for times in (1, 3, 10, 30, 100, 300):
        fitted = fit(spoke, times)
        if all(probability(fitted, evidence) < ACCEPTED for evidence in wrong):
            return times
    raise SystemExit("Wrong pairs look like right ones, however often they count.")


def fit(spoke: Sequence[Sample], times: int) -> np.ndarray:
    """The coefficients with the greatest likelihood, for pairs that have any evidence."""
    given = np.array([numbers(sample.evidence) for sample in spoke])
    signs = np.array([1 if sample.right else -1 for sample in spoke])
    counts = np.where(signs > 0, 1, times)

    def cost(values: np.ndarray) -> float:
        return float((counts * np.logaddexp(0, -signs * (given @ values))).sum() + _PULL * (values**2).sum())

    return minimize(cost, np.zeros(given.shape[1])).x


def probability(values: np.ndarray, evidence: Evidence) -> float:
    """The logistic function with other coefficients than the engine's."""
    return 1 / (1 + math.exp(-float(np.dot(numbers(evidence), values)))) if evidence.weight > 0 else 0.0


def print_table(samples: Sequence[Sample], believe: Callable[[Evidence], float]) -> None:
    """Pairs by confidence: how many, how sure on average, how many of them right."""
    sure = np.array([believe(sample.evidence) for sample in samples])
    right = np.array([sample.right for sample in samples])
    level = np.searchsorted(BINS, sure, side="right") - 1
    print(f"{'confidence':<14}{'pairs':>7}{'mean confidence':>17}{'right to a frame':>18}")
    for index, low in enumerate(BINS):
        inside = level == index
        high = BINS[index + 1] if index + 1 < len(BINS) else 1
        shares = f"{sure[inside].mean():>17.3f}{right[inside].mean():>18.3f}" if inside.any() else ""
        print(f"{f'{low} - {high}':<14}{inside.sum():>7}{shares}")
    unrelated = np.array([not sample.related for sample in samples])
    spoke = np.array([sample.evidence.weight > 0 for sample in samples])
    false = sure[unrelated] >= ACCEPTED
    print(f"Brier score {np.mean((sure - right) ** 2):.4f}; {np.mean((sure - right)[spoke] ** 2):.4f} with evidence")
    print(f"unrelated accepted: {false.sum()} of {len(false)}, highest {sure[unrelated].max():.3f}")
    print(f"wrong with at least 0.9: {((sure >= 0.9) & ~right).sum()}")
    print(f"found: {(sure[~unrelated] >= ACCEPTED).sum()} of {(~unrelated).sum()} that belong together")


def print_kinds(samples: Sequence[Sample]) -> None:
    """Each kind: pairs, those with evidence, right, and found by the engine."""
    print(f"\n{'kind':<14}{'pairs':>7}{'evidence':>10}{'right':>7}{'accepted':>10}{'most weight':>13}{'windows':>9}")
    for kind in dict.fromkeys(sample.kind for sample in samples):
        group = [sample for sample in samples if sample.kind == kind]
        spoke = sum(sample.evidence.weight > 0 for sample in group)
        accepted = sum(confidence(sample.evidence) >= ACCEPTED for sample in group)
        most = max(sample.evidence.weight for sample in group)
        windows = max(sample.evidence.agreeing for sample in group)
        right = sum(sample.right for sample in group)
        print(f"{kind:<14}{len(group):>7}{spoke:>10}{right:>7}{accepted:>10}{most:>13.2f}{windows:>9}")


if __name__ == "__main__":
    main()
