"""Rows that lie aside come back as they came, or in order of a key, however their parts overlap."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sheaf.matches.analysis.aside import Aside

SCHEMA = pa.schema([("key", pa.int32()), ("name", pa.dictionary(pa.int32(), pa.string())), ("place", pa.int32())])
parts = st.lists(st.lists(st.integers(0, 20), max_size=6), max_size=5)


def keys(rows: pa.Table) -> np.ndarray:
    return rows["key"].to_numpy()


@settings(max_examples=40)
@given(parts, st.sets(st.integers(0, 20), max_size=4))
def test_rows_come_in_order_of_their_key_and_those_of_one_key_as_they_were_put(
    found: list[list[int]], ends: set[int]
) -> None:
    rows, cuts = [], [*sorted(ends), 21]
    with TemporaryDirectory() as folder:
        aside = Aside(Path(folder), "rows", SCHEMA)
        for part in found:
            some = [{"key": key, "name": f"of {key}", "place": len(rows) + at} for at, key in enumerate(part)]
            rows += some
            aside.put(pa.Table.from_pylist(some, SCHEMA))
        assert [row for part in aside for row in part.to_pylist()] == rows
        stretches = [part.to_pylist() for part in aside.in_order(keys, cuts)]
    assert [row for part in stretches for row in part] == sorted(rows, key=lambda row: (row["key"], row["place"]))
    for part, start, end in zip(stretches, [0, *cuts], cuts, strict=False):
        assert all(start <= row["key"] < end for row in part)
