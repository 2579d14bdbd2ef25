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
    count = len(labels)
    texts, sizes = _numbers()
    names = np.arange(labels.max(initial=0) + 1).astype(f"S{_WIDTH}")
    last = np.cumsum(lengths + 2) - 1
    cells = np.empty(len(fractions) + 2 * count, f"S{_WIDTH}")
    widths = np.empty(len(cells), np.int64)
    numbers = np.ones(len(cells), bool)
    numbers[last], numbers[last - lengths - 1] = False, False
    places = _rounded(fractions)
    cells[numbers], widths[numbers] = texts[places], sizes[places]
    cells[last - lengths - 1] = names[labels]
    widths[last - lengths - 1] = np.char.str_len(names)[labels]
    cells[last], widths[last] = b"\n", 1
    return cells.tobytes().translate(None, b"\0"), np.cumsum(widths)[last]


def _rounded(fractions: Array) -> Array:
    """Millionths, rounded as Python prints six decimals: exactly, also where it is a half but for a bit."""
    scaled = fractions * _MOST
    found = np.rint(scaled).astype(np.int64)
    for at in np.flatnonzero(np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6).tolist():
        found[at] = int(f"{fractions[at]:.{_DECIMALS}f}".replace(".", ""))
    return found


@cache
def _numbers() -> tuple[Array, Array]:
    """All fractions as text with a blank before them, and how long each is."""
    of_three = np.array([f"{number:03}".encode() for number in range(1000)]).view(np.uint8).reshape(1000, 3)
    trimmed = np.array([f"{number:03}".rstrip("0").encode() for number in range(1000)], "S3")
    trimmed = trimmed.view(np.uint8).reshape(1000, 3)
    letters = np.zeros((_MOST + 1, _WIDTH), np.uint8)
    letters[:, :3] = np.frombuffer(b" 0.", np.uint8)
    decimals = letters[:_MOST, 3:].reshape(1000, 1000, _DECIMALS)
    decimals[:, :, :3], decimals[:, :, 3:] = of_three[:, None], trimmed
    decimals[:, 0, :3] = trimmed
    letters[0, 2], letters[_MOST, 1:3] = 0, (ord("1"), 0)
    return letters.view(f"S{_WIDTH}").ravel(), (letters != 0).sum(1)
