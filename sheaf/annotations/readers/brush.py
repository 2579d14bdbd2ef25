"""Masks that were painted in Label Studio: runs of bits over the red, green, blue and opacity of every pixel.

Format: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack. A head says how many values there are, how
many bits each has, and how long four kinds of counts are; each piece is one value so many times, or so many values.
"""

from typing import TYPE_CHECKING, Any

from sheaf.annotations.readers.geometry import UnusableError

if TYPE_CHECKING:
    import numpy as np

MOST_PIXELS = 64_000_000


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._end = data + bytes(8), 0, 8 * len(data)

    def read(self, count: int) -> int:
        first, skipped = divmod(self._at, 8)
        self._at += count
        if self._at > self._end:
            raise UnusableError("unreadable_counts", "the painted mask ends in the middle")
        found = int.from_bytes(self._data[first : first + 6], "big")
        return found >> (48 - skipped - count) & ((1 << count) - 1)


def opacity(runs: Any, width: int, height: int) -> "np.ndarray[Any, Any]":
    """How opaque each pixel was painted, height by width.

    Args:
        runs: bytes, as a list of numbers.
        width, height: pixels of the image it was painted on.

    Raises:
        UnusableError: they are no bytes, or do not fill the image.
    """
    import numpy as np

    try:
        bits = _Bits(bytes(runs))
    except (TypeError, ValueError) as error:
        raise UnusableError("unreadable_counts", "the painted mask is no list of bytes") from error
    count = bits.read(32)
    if width * height > MOST_PIXELS:
        raise UnusableError("too_many_pixels", "the painted mask has more pixels than Sheaf unpacks")
    if count != 4 * width * height:
        raise UnusableError("counts_do_not_fill", "the painted mask does not fill the image")
    size = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    found = np.zeros(count, np.uint32)
    at = 0
    while at < count:
        same = bits.read(1)
        until = at + 1 + bits.read(lengths[bits.read(2)])
        if until > count:
            raise UnusableError("counts_do_not_fill", "the painted mask does not fill the image")
        if same:
            found[at:until] = bits.read(size)
        else:
            found[at:until] = [bits.read(size) for _ in range(until - at)]
        at = until
    return found[3::4].reshape(height, width)
