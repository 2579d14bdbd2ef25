"""How sure an offset is: the probability that it is right to a frame.

A logistic function of three numbers: how much evidence agrees (sum of vote weights), how many windows
agree, and which share of the windows that could speak they are.
"""

import math
from dataclasses import dataclass

# The cautious fit of `benchmarks/media_confidence.py`: maximum likelihood with wrong pairs counted 30 times. The plain
# fit would accept a single perfect window, which may be an effect from a library that two programmes share.
_COEFFICIENTS = (-12.38, 3.94, 0.83, 6.65)
_MOST = 0.9999


@dataclass(frozen=True)
class Evidence:
    """What speaks for a line, or several lines of one edited dub.

    Attributes:
        weight: sum of the weights of the windows that agree, 1 for each perfect one.
        agreeing: how many windows those are.
        others: windows that heard enough to vote, and disagree.
    """

    weight: float = 0.0
    agreeing: int = 0
    others: int = 0


def confidence(evidence: Evidence) -> float:
    """Probability of being within a frame; 0 without evidence, and never 1."""
    if evidence.weight <= 0:
        return 0.0
    logit = sum(factor * number for factor, number in zip(_COEFFICIENTS, numbers(evidence), strict=True))
    return round(min(1 / (1 + math.exp(-logit)), _MOST), 4)


def numbers(evidence: Evidence) -> tuple[float, ...]:
    """What the logistic function takes: a constant, the weight, the windows that agree, and their share."""
    agreeing, others = evidence.agreeing, evidence.others
    return 1.0, min(evidence.weight, 10.0), float(min(agreeing, 10)), agreeing / (agreeing + others)
