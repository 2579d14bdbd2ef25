"""Fit the confidence of an offset to pairs with known truth, and print how far it can be trusted.

    .venv/bin/python benchmarks/media_confidence.py [--train 600] [--test 600] [--foreign FOLDER] [--edges 160]
        [--as-it-is]

Half of the synthetic pairs are at the edge of what can be found, half are unrelated (`media_edge.py`); with
`--foreign` recordings that Sheaf did not make come to both sets (`media_foreign.py`), with `--edges` also so many
pairs of them from easy to hopeless. The coefficients of `sheaf.media.sync.confidence`, for either judge, are fitted
on one set by maximum likelihood, with a weak pull towards 0 that keeps them finite where the classes hardly overlap.
Wrong pairs count so often (1, 3, 10, … times) that none of the set is accepted. The tables of reliability and the
Brier scores are of the other set, and of the engine as it is.
"""

import argparse
import itertools
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from media_edge import edge_pairs, strangers
from media_foreign import Foreign, foreign_edges, foreign_pairs
from media_pairs import Case
from scipy.optimize import minimize

from sheaf.media.analysis.pair import FRAME, analyse_pair, propose, recordings
from sheaf.media.methods import DEFAULT_METHODS
from sheaf.media.result import ACCEPTED, PairOptions
from sheaf.media.sync.candidates import agreements, merge
from sheaf.media.sync.confidence import FrameEvidence, frame_numbers, numbers
from sheaf.media.sync.frames import fit_frames
from sheaf.media.sync.judge import Judge, main_line
from sheaf.media.sync.segments import segment

TRAIN_SEED, TEST_SEED = 11, 12
BINS = (0.0, 0.1, 0.5, 0.75, 0.9, 0.99)
_PULL = 0.01  # of a squared coefficient, in units of one pair's log-likelihood

Spoken = tuple[tuple[float, ...], bool]
"""What a judge says of a pair, as the logistic function takes it, and whether it is right."""


@dataclass(frozen=True)
class Sample:
    """What either judge says of a pair, and what the engine answers."""

    kind: str
    related: bool
    sample: Spoken | None
    frame: Spoken | None
    confidence: float
    right: bool


def main() -> None:
    """Measure both sets, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=600, help="synthetic pairs to fit with, half of them unrelated")
    parser.add_argument("--test", type=int, default=600, help="synthetic pairs to judge with, half of them unrelated")
    parser.add_argument("--foreign", type=Path, help="where the recordings of media_foreign.py are unpacked")
    parser.add_argument("--sets", type=int, default=2, help="sets of foreign pairs on either side")
    parser.add_argument("--edges", type=int, default=0, help="foreign pairs from easy to hopeless, on either side")
    parser.add_argument("--as-it-is", action="store_true", help="only judge the engine; nothing is fitted")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    asked = parser.parse_args()
    seeds = {TRAIN_SEED: range(1, 1 + asked.sets), TEST_SEED: range(101, 101 + asked.sets)}
    counts = {TRAIN_SEED: asked.train, TEST_SEED: asked.test}
    if asked.as_it_is:
        del counts[TRAIN_SEED]
    sets = {
        seed: measure(seed, count, asked.foreign, seeds[seed], asked.edges, asked.jobs, judges=not asked.as_it_is)
        for seed, count in counts.items()
    }
    for judge in () if asked.as_it_is else ("sample", "frame"):
        spoke = [said for one in sets[TRAIN_SEED] if (said := getattr(one, judge))]
        times = caution(spoke)
        values = ", ".join(f"{value:.2f}" for value in fit(spoke, times))
        print(f"{judge}: {len(spoke)} pairs with evidence; wrong ones count {times} times: {values}")
    for name, foreign in (("synthetic", False), ("foreign", True)):
        chosen = [one for one in sets[TEST_SEED] if ("/" in one.kind) is foreign]
        if chosen:
            print(f"\n{name} pairs, the engine as it is")
            print_table(chosen)
            print_kinds(chosen)


def measure(
    seed: int, count: int, foreign: Path | None, sets: Sequence[int], edges: int, jobs: int, *, judges: bool
) -> list[Sample]:
    """The samples of one set, several at once; what each judge says by itself costs as much again."""
    kinds = ("edge", "stranger") if count else ()
    shares = [(seed, kind, start, count // 2, None, judges) for kind in kinds for start in range(_SHARES)]
    if foreign:
        shares += [(number, "foreign", 0, 0, foreign, judges) for number in sets]
        shares += [(_EDGES[seed], "foreign edge", start, edges, foreign, judges) for start in range(_SHARES)]
    with Pool(jobs) as pool:
        return list(itertools.chain.from_iterable(pool.imap(_share, shares)))


_SHARES = 8
_EDGES = {TRAIN_SEED: 2, TEST_SEED: 1}


def _share(job: tuple[int, str, int, int, Path | None, bool]) -> list[Sample]:
    seed, kind, start, count, foreign, judges = job
    found = []
    with tempfile.TemporaryDirectory(prefix="sheaf-bench-") as folder:
        for case in _cases(kind, Path(folder), seed, range(start, count, _SHARES), foreign):
            if case.expect != "ambiguous":
                found.append(_sample(case, judges=judges))
            case.master.unlink()
            case.dub.unlink()
    return found


def _cases(kind: str, folder: Path, seed: int, numbers: range, foreign: Path | None) -> Iterator[Case]:
    if foreign and kind == "foreign edge":
        return foreign_edges(Foreign(foreign), folder, seed, numbers)
    if foreign:
        return foreign_pairs(Foreign(foreign), folder, seed)
    return (edge_pairs if kind == "edge" else strangers)(folder, seed, numbers)


def _sample(case: Case, *, judges: bool) -> Sample:
    deadline = time.monotonic() + 300
    options = PairOptions(max_seconds=3600)
    related = case.expect == "match"

    def near(offset: float) -> bool:
        return related and abs(offset - case.offset) <= FRAME

    sample, frame = None, None
    if not judges:
        answer = analyse_pair(case.master, case.dub, options)
        right = answer.offset_seconds is not None and near(answer.offset_seconds)
        return Sample(case.kind, related, None, None, answer.confidence, right)
    with recordings(case.master, case.dub, options, deadline) as (master, dub):
        proposals, _, heard = propose(master, dub, list(DEFAULT_METHODS), options)
        lines, evidence = Judge(master, dub, heard, deadline).weigh(merge(itertools.chain(*proposals.values())))
        if lines and evidence.weight > 0:
            pieces = segment(master, dub, lines, heard)
            coverage = heard.share(pieces, [vote.time for line in lines for vote in line.votes])
            sample = numbers(evidence, coverage), near(main_line(lines).offset)
        fit = fit_frames(heard, agreements(proposals.values()))
        if fit:
            said = FrameEvidence(fit.strength, len(fit.agreeing), len(fit.stretches))
            frame = frame_numbers(said), near(fit.offset)
    answer = analyse_pair(case.master, case.dub, options)
    right = answer.offset_seconds is not None and near(answer.offset_seconds)
    return Sample(case.kind, related, sample, frame, answer.confidence, right)


def caution(spoke: Sequence[Spoken]) -> int:
    """How many times a wrong pair has to count until none is accepted by the fit."""
    wrong = [given for given, right in spoke if not right]
    for times in (1, 3, 10, 30, 100, 300):
        fitted = fit(spoke, times)
        if all(probability(fitted, given) < ACCEPTED for given in wrong):
            return times
    return times


def fit(spoke: Sequence[Spoken], times: int) -> np.ndarray:
    """The coefficients with the greatest likelihood."""
    given = np.array([numbers for numbers, _ in spoke])
    signs = np.array([1 if right else -1 for _, right in spoke])
    counts = np.where(signs > 0, 1, times)

    def cost(values: np.ndarray) -> float:
        return float((counts * np.logaddexp(0, -signs * (given @ values))).sum() + _PULL * (values**2).sum())

    return minimize(cost, np.zeros(given.shape[1])).x


def probability(values: np.ndarray, given: tuple[float, ...]) -> float:
    """The logistic function with other coefficients than the engine's."""
    return 1 / (1 + math.exp(-float(np.dot(given, values))))


def print_table(samples: Sequence[Sample]) -> None:
    """Pairs by confidence: how many, how sure on average, how many of them right."""
    sure = np.array([sample.confidence for sample in samples])
    right = np.array([sample.right for sample in samples])
    level = np.searchsorted(BINS, sure, side="right") - 1
    print(f"{'confidence':<14}{'pairs':>7}{'mean confidence':>17}{'right to a frame':>18}")
    for index, low in enumerate(BINS):
        inside = level == index
        high = BINS[index + 1] if index + 1 < len(BINS) else 1
        shares = f"{sure[inside].mean():>17.3f}{right[inside].mean():>18.3f}" if inside.any() else ""
        print(f"{f'{low} - {high}':<14}{inside.sum():>7}{shares}")
    unrelated = np.array([not sample.related for sample in samples])
    false = sure[unrelated] >= ACCEPTED
    print(f"Brier score {np.mean((sure - right) ** 2):.4f}")
    print(f"unrelated accepted: {false.sum()} of {len(false)}, highest {sure[unrelated].max():.3f}")
    print(f"wrong with at least 0.9: {((sure >= 0.9) & ~right).sum()}")
    overclaimed = [sample.kind for sample in samples if sample.confidence >= 0.99 and not sample.right]
    print(f"wrong with at least 0.99: {', '.join(overclaimed) or 'none'}")
    print(f"found: {(sure[~unrelated] >= ACCEPTED).sum()} of {(~unrelated).sum()} that belong together")


def print_kinds(samples: Sequence[Sample]) -> None:
    """Each kind: pairs, right, and accepted by the engine."""
    print(f"\n{'kind':<26}{'pairs':>7}{'right':>7}{'accepted':>10}")
    for kind in dict.fromkeys(sample.kind for sample in samples):
        group = [sample for sample in samples if sample.kind == kind]
        accepted = sum(sample.confidence >= ACCEPTED for sample in group)
        print(f"{kind:<26}{len(group):>7}{sum(sample.right for sample in group):>7}{accepted:>10}")


if __name__ == "__main__":
    main()
