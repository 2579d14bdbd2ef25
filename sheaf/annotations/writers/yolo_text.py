"""Lines of YOLO from columns of numbers, as one text for a whole batch.

Every number is one of 1 000 001: a fraction of six decimals, without zeros at its end. So numbers are looked up, not
printed one by one. Not here: which numbers (`yolo`).
"""

from functools import cache
from typing import Any

import numpy as np

_DECIMALS = 6
_MOST = 10**_DECIMALS
_WIDTH = 3 + _DECIMALS  # a blank, `0.`, and the decimals
Array = np.ndarray[Any, np.dtype[Any]]


def lines(labels: Array, fractions: Array, lengths: Array) -> tuple[bytes, Array]:
    """One line for each object: its class and its numbers.

    Args:
        labels: the class of each.
        fractions: the numbers of all, one after another, 0 to 1.
        lengths: how many of them belong to each.

    Returns:
        The text, and where each line ends in it.
    """
    texts = _numbers()
    names = np.arange(labels.max(initial=0) + 1).astype(f"S{_WIDTH}")
    last = np.cumsum(lengths + 2) - 1
    first = last - lengths - 1
    numbers = np.ones(len(fractions) + 2 * len(labels), bool)
    numbers[first], numbers[last] = False, False
    places = np.zeros(len(numbers), np.int64)
    places[numbers] = _rounded(fractions)
    cells = texts[places]
    cells[first], cells[last] = names[labels], b"\n"
    text = cells.tobytes().translate(None, b"\0")
    return text, np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1


def _rounded(fractions: Array) -> Array:
    """Millionths, rounded as Python prints six decimals: exactly, also where it is a half but for a bit."""
    scaled = fractions * _MOST
    found = np.rint(scaled).astype(np.int64)
    below = np.floor(scaled)
    close = np.flatnonzero(np.abs(scaled - below - 0.5) < 1e-6)
    above = scaled[close] - below[close] - 0.5 + _lost(fractions[close], scaled[close])
    found[close] = np.where(above == 0, found[close], below[close] + (above > 0))
    return found


def _lost(fractions: Array, scaled: Array) -> Array:
    """What the products with a million lost when they were rounded, exactly (T. J. Dekker, 1971)."""
    wide = fractions * (2.0**27 + 1)
    high = wide - (wide - fractions)
    return high * _MOST - scaled + (fractions - high) * _MOST


@cache
def _numbers() -> Array:
    """All fractions as text with a blank before them."""
    of_three = np.array([f"{number:03}".encode() for number in range(1000)]).view(np.uint8).reshape(1000, 3)
    trimmed = np.array([f"{number:03}".rstrip("0").encode() for number in range(1000)], "S3")
    trimmed = trimmed.view(np.uint8).reshape(1000, 3)
    letters = np.zeros((_MOST + 1, _WIDTH), np.uint8)
    letters[:, :3] = np.frombuffer(b" 0.", np.uint8)
    decimals = letters[:_MOST, 3:].reshape(1000, 1000, _DECIMALS)
    decimals[:, :, :3], decimals[:, :, 3:] = of_three[:, None], trimmed
    decimals[:, 0, :3] = trimmed
    letters[0, 2], letters[_MOST, 1:3] = 0, (ord("1"), 0)
    return letters.view(f"S{_WIDTH}").ravel()
