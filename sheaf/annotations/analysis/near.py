"""Pictures that are nearly the same, by their perceptual hashes. Not here: the hash (`readers/image_child`)."""

from collections.abc import Iterator, Sequence

import numpy as np

MOST_BITS = 3
"""Pictures whose hashes differ in so many of 64 bits count as nearly the same."""


def near_pairs(hashes: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """Positions of pictures that are nearly the same, each chained to an earlier one.

    Two hashes that differ in at most three bits agree in one of four parts of 16 bits, so only those are compared.
    """
    at = np.array([position for position, found in enumerate(hashes) if found is not None], np.int64)
    values = np.array([found for found in hashes if found is not None], np.int64).view(np.uint64)
    unique, first, which = np.unique(values, return_index=True, return_inverse=True)
    for position, of in enumerate(which.tolist()):
        if first[of] != position:
            yield int(at[first[of]]), int(at[position])
    for part in range(4):
        bands = (unique >> np.uint64(16 * part)) & np.uint64(0xFFFF)
        order = np.argsort(bands, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(bands[order])) + 1):
            for index, one in enumerate(bucket[:-1].tolist()):
                others = bucket[index + 1 :]
                bits = np.bitwise_count(unique[others] ^ unique[one])
                for other in others[bits <= MOST_BITS].tolist():
                    yield int(at[first[one]]), int(at[first[other]])
