"""How sure an offset is: the probability that it is right to a frame.

A logistic function of two numbers: how much evidence agrees (sum of vote weights) and which
share of the windows that could speak does agree. The coefficients are set by hand, on the side of
caution: unrelated synthesised pairs reached a weight of 1.0, which must stay far below one half.
`benchmarks/media.py` prints the reliability table.
"""

import math

_BY_WEIGHT, _ENOUGH_WEIGHT = 2.5, 2.8
_BY_SHARE, _ENOUGH_SHARE = 4.0, 0.4


def confidence(weight: float, share: float) -> float:
    """Probability of being within a frame.

    Args:
        weight: sum of the weights of the windows that agree, 1 for each perfect one.
        share: those windows as a share of all that heard enough to vote, 0 to 1.
    """
    if weight <= 0:
        return 0.0
    logit = _BY_WEIGHT * (min(weight, 10.0) - _ENOUGH_WEIGHT) + _BY_SHARE * (share - _ENOUGH_SHARE)
    return round(min(1 / (1 + math.exp(-logit)), 0.9999), 4)
