"""Long texts put together of many short ones, which are told by numbers until the text is written.

Here: the texts of which there are pieces, runs of pieces, and weaving, listing and picking them. Not here: what the
texts are (`occurrences_api_json`).

To join texts in columns copies them once for each level at which they are joined; numbers are short.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_NULL = 0


@dataclass(frozen=True)
class Runs:
    """A run of pieces for each row.

    Attributes:
        pieces: numbers of texts, of all rows one after another.
        lengths: how many pieces each row has.
    """

    pieces: np.ndarray
    lengths: np.ndarray

    @classmethod
    def single(cls, pieces: np.ndarray) -> "Runs":
        """One piece for each row."""
        return cls(pieces, np.ones(len(pieces), np.int64))

    def take(self, rows: np.ndarray) -> "Runs":
        """The runs of some rows."""
        lengths, begins = self.lengths[rows], np.cumsum(self.lengths) - self.lengths
        return Runs(self.pieces[_ranges(begins[rows], lengths)], lengths)


def weave(columns: "Iterable[np.ndarray | Runs]") -> Runs:
    """For each row what several columns have for it, one after the other; an array has one piece for each."""
    parts = list(columns)
    counts = [part.lengths if isinstance(part, Runs) else np.ones(len(part), np.int64) for part in parts]
    lengths = np.sum(counts, axis=0)
    at = np.cumsum(lengths) - lengths
    pieces = np.empty(int(np.sum(lengths)), np.int32)
    for part in parts:
        if isinstance(part, Runs):
            pieces[_ranges(at, part.lengths)] = part.pieces
            at = at + part.lengths
        else:
            pieces[at] = part
            at = at + 1
    return Runs(pieces, lengths)


def index(ids: "pa.ChunkedArray", among: "pa.ChunkedArray") -> np.ndarray:
    """Where ids are among others, -1 where they are not."""
    import pyarrow.compute as pc

    found = pc.index_in(ids, value_set=among)  # pyright: ignore[reportAttributeAccessIssue]  # made when it is imported
    return found.fill_null(-1).to_numpy()


class Texts:
    """The texts of which there are pieces."""

    def __init__(self, null: str, cleaned: "Callable[[pa.Array], pa.Array]" = lambda texts: texts) -> None:
        """Begin with what stands where there is none.

        Args:
            cleaned: what is made of texts that are added.
        """
        import pyarrow as pa

        self._cleaned = cleaned
        self._arrays = [pa.array([null])]
        self._count = 1

    def add(self, texts: "pa.ChunkedArray") -> np.ndarray:
        """Add texts, and give their numbers."""
        first, self._count = self._count, self._count + len(texts)
        self._arrays += map(self._cleaned, texts.chunks)
        numbers = np.arange(first, self._count, dtype=np.int32)
        if texts.null_count:
            numbers[texts.is_null().to_numpy()] = _NULL
        return numbers

    def found(self, texts: "pa.ChunkedArray", places: np.ndarray) -> np.ndarray:
        """The numbers of those texts that are at some places; below 0 is none."""
        used = np.zeros(len(texts) + 1, bool)  # the last one is what -1 leads to
        used[places] = True
        used[-1] = False
        numbers = np.full(len(texts) + 1, _NULL, np.int32)
        numbers[used] = self.add(texts.take(np.flatnonzero(used)))
        return numbers[places]

    def lists(self, runs: Runs, keys: np.ndarray, count: int, marks: Sequence[str] = ("[", ",", "]", "[]")) -> Runs:
        """For each key below a number the runs that have it, as the array of JSON; they are sorted by key.

        Args:
            marks: what comes before, between and after them, and what there is where there are none.
        """
        import pyarrow as pa

        begin, between, end, nothing = self.add(pa.chunked_array([marks]))
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        parted = weave([np.where(first, begin, between), runs])
        lengths = np.bincount(keys, parted.lengths, count).astype(np.int64)
        return weave([Runs(parted.pieces, lengths), np.where(lengths, end, nothing)])

    def one_of(self, runs: Runs, places: np.ndarray) -> Runs:
        """For each place the run there; below 0 is none."""
        with_none = Runs(np.append(runs.pieces, np.int32(_NULL)), np.append(runs.lengths, 1))
        return with_none.take(places)

    def of(self, runs: Runs) -> "pa.Array":
        """The pieces as texts."""
        import pyarrow as pa

        return pa.concat_arrays(self._arrays).take(pa.array(runs.pieces))


def _ranges(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers of several ranges, one range after the other."""
    return np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(np.sum(lengths))
