"""How sure an offset is: the probability that it is right to a frame.

Logistic functions of what speaks for a line and what speaks against it, one for each of the two judges. Their
coefficients are fitted by `benchmarks/media_confidence.py`, with wrong pairs counted so often that none is accepted.
"""

import math
from dataclasses import dataclass

_SAMPLE = (-16.0, 5.0, 2.0, 5.0, 5.0)
_FRAME = (-14.0, 2.0, 2.5, 8.0)
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


@dataclass(frozen=True)
class FrameEvidence:
    """What speaks for a line to a frame.

    Attributes:
        strength: peaks of all methods that propose it, added up, in deviations.
        agreeing: stretches that fit there better than anywhere near.
        heard: stretches that could.
    """

    strength: float
    agreeing: int
    heard: int


def confidence(evidence: Evidence, coverage: float = 1.0) -> float:
    """Probability of being within a frame; 0 without evidence, and never 1.

    Args:
        coverage: share of the dub's sound that the master explains.
    """
    if evidence.weight <= 0:
        return 0.0
    return _probability(_SAMPLE, numbers(evidence, coverage))


def frame_confidence(evidence: FrameEvidence) -> float:
    """The same of a line that only longer stretches agree on."""
    return _probability(_FRAME, frame_numbers(evidence))


def numbers(evidence: Evidence, coverage: float) -> tuple[float, ...]:
    """What the logistic function takes: a constant, weight and number of the windows that agree, their share, coverage.

    Weight and number go in by their logarithm: there is no amount of it that would be enough whatever else is heard.
    """
    agreeing, others = evidence.agreeing, evidence.others
    share = agreeing / (agreeing + others)
    return 1.0, math.log1p(evidence.weight), math.log1p(agreeing), share, coverage


def frame_numbers(evidence: FrameEvidence) -> tuple[float, ...]:
    """A constant, the strength and the number of stretches that agree, both by their logarithm, and their share."""
    share = evidence.agreeing / max(evidence.heard, 1)
    return 1.0, math.log(max(evidence.strength, 1.0)), math.log1p(evidence.agreeing), share


def _probability(coefficients: tuple[float, ...], given: tuple[float, ...]) -> float:
    logit = sum(factor * number for factor, number in zip(coefficients, given, strict=True))
    return round(min(1 / (1 + math.exp(-min(max(logit, -30.0), 30.0))), _MOST), 4)
