"""Records in columns: JSON objects of one dialect, or rows of a database, as what they have under some key.

Many values of the kind that is wanted become a column at once; where others are among them, each is looked at as
`vocabulary` says. Not here: which keys a dialect has (`json_lines`, `sqlite`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from sheaf.matches.vocabulary import classify, integer, number, shot_number

_WHOLE = {int, type(None)}
_NUMBERS = {int, float, type(None)}


class Records:
    """Some records.

    Attributes:
        items: the records.
        lost: places of those with a number that is none.
    """

    def __init__(self, items: Sequence[Mapping[str, Any]]) -> None:
        self.items = items
        self.lost: set[int] = set()

    def values(self, key: str) -> list[Any]:
        """What each has under a key; None where it has nothing."""
        return [item.get(key) for item in self.items]

    def texts(self, key: str) -> pa.StringArray:
        """As `texts`."""
        return texts(self.values(key))

    def numbers(self, values: list[Any]) -> pa.DoubleArray:
        """As `vocabulary.number`."""
        return self._column(values, _NUMBERS, -1e15, 1e15, number, pa.float64())

    def shot_numbers(self, key: str) -> pa.Int32Array:
        """As `vocabulary.shot_number`."""
        return self._column(self.values(key), _WHOLE, -1, 1_000_000, shot_number, pa.int32())

    def integers(self, key: str) -> pa.Int64Array:
        """As `vocabulary.integer`."""
        return self._column(self.values(key), _WHOLE, -(2**63), 2**63, integer, pa.int64())

    def _column(
        self, values: list[Any], kinds: set[type], above: float, below: float, each: Callable[[object], Any], kind: Any
    ) -> pa.Array:
        """Numbers between two others, all at once where all are of some kinds; else each, and null for what is none."""
        import pyarrow.compute as pc

        if kinds.issuperset(map(type, values)):
            try:
                found = pa.array(values, kind)
                span = pc.min_max(found).as_py()
                if span["min"] is None or (above < span["min"] and span["max"] < below):
                    return found
            except (pa.ArrowInvalid, OverflowError):
                pass  # some are too large
        numbers = [each(value) for value in values]
        self.lost.update(
            place
            for place, (value, found) in enumerate(zip(values, numbers, strict=True))
            if found is None and value is not None and value != ""
        )
        return pa.array(numbers, kind)


def texts(values: Sequence[Any]) -> pa.StringArray:
    """Texts; what is none is written as JSON."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        json = (value if value is None or type(value) is str else orjson.dumps(value).decode() for value in values)
        return pa.array(list(json), pa.string())


def mapped(column: pa.StringArray, meaning: Callable[[str | None], Any], kind: pa.DataType | None = None) -> pa.Array:
    """What each text means; the same text means the same, so each is looked at once."""
    texts = column.dictionary_encode()
    meanings = [meaning(one) for one in [*texts.dictionary.to_pylist(), None]]
    return pa.array(meanings, kind or pa.string()).take(texts.indices.fill_null(len(meanings) - 1))


def meanings(device: pa.StringArray, details: pa.StringArray) -> dict[str, pa.Array]:
    """What lines of a main log mean; the same text means the same, so each is looked at once."""
    devices, texts = device.dictionary_encode(), details.dictionary_encode()
    who, what = ([*one.dictionary.to_pylist(), None] for one in (devices, texts))
    whose, said = (one.indices.fill_null(len(one.dictionary)).to_numpy() for one in (devices, texts))
    pairs = pa.array(whose.astype(np.int64) * len(what) + said).dictionary_encode()
    found = [classify(who[pair // len(what)], what[pair % len(what)]) for pair in pairs.dictionary.to_pylist()]
    kinds = {
        "event_type": pa.string(),
        "shot_number": pa.int32(),
        "shot_time_s": pa.float64(),
        "magnitude": pa.float64(),
    }
    return {
        name: pa.array([one[index] for one in found], kind).take(pairs.indices)
        for index, (name, kind) in enumerate(kinds.items())
    }
