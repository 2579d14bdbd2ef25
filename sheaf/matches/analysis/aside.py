"""Rows that lie aside in a step's scratch folder until they are wanted, so that memory does not grow with the match.

They come in parts, and go in the same parts, or in order of a key that grows from part to part, more or less. Not here:
what the rows are.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa


class Aside:
    """Some rows, each part of them in a file of its own.

    Args:
        folder: for the files; whoever made it removes them.
        name: of the rows, which no others in the folder have.
        schema: of the rows.
    """

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._count = 0

    def put(self, rows: pa.Table) -> None:
        """Lay one part aside."""
        path, rows = str(self._path(self._count)), rows.select(self._schema.names)
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, self._schema) as writer:
            writer.write_table(rows.unify_dictionaries().combine_chunks())
        self._count += 1

    def __iter__(self) -> Iterator[pa.Table]:
        """The parts as they came, as often as one likes."""
        return map(self._part, range(self._count))

    def in_order(self, key: Callable[[pa.Table], np.ndarray], ends: Iterable[int]) -> Iterator[pa.Table]:
        """The rows in order of a key, those before each end together; those of one key as they came.

        Held are the parts that have rows before an end and after it: few, where the key grows from part to part.

        Args:
            ends: growing; no key is beyond the last one.
        """
        waiting = sorted((int(key(part).min()), number) for number, part in enumerate(self) if part.num_rows)
        waiting.reverse()
        held: dict[int, pa.Table] = {}
        for end in ends:
            while waiting and waiting[-1][0] < end:
                _, number = waiting.pop()
                held[number] = _sorted(self._part(number), key)
            now = []
            for number, part in sorted(held.items()):
                cut = int(np.searchsorted(key(part), end))
                now.append(part.slice(0, cut))
                held[number] = part.slice(cut)
            held = {number: part for number, part in held.items() if part.num_rows}
            yield _sorted(pa.concat_tables([self._schema.empty_table(), *now]), key)

    def _part(self, number: int) -> pa.Table:
        with pa.OSFile(str(self._path(number)), "rb") as file:
            return pa.ipc.open_file(file).read_all().combine_chunks()

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:06d}.arrow"


def _sorted(rows: pa.Table, key: Callable[[pa.Table], np.ndarray]) -> pa.Table:
    rows = rows.unify_dictionaries().combine_chunks()
    keys = key(rows)
    return rows if (keys[1:] >= keys[:-1]).all() else rows.take(pa.array(np.argsort(keys, kind="stable")))
