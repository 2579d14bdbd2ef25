"""Tables of one partition: typed, atomic, the same bytes for the same rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_domain import READINGS, REJECTS, ingest
from hypothesis import given, settings
from hypothesis import strategies as st

from sheaf import tables
from sheaf.errors import InputError, NotFoundError, UsageError
from sheaf.store import Store


def test_a_table_comes_back_with_its_schema(store: Store) -> None:
    data = pa.table({"value": pa.array(["a", None]), "id": pa.array([1, 2], pa.int32()), "extra": [0, 0]})
    written = tables.write(store, READINGS, "one", data)
    found = tables.read(store, READINGS, "one")
    assert found.schema.equals(READINGS.schema, check_metadata=False)
    assert found.schema.field("id").metadata == {b"description": b"Number of the reading", **_field_id(found, "id")}
    assert found.to_pylist() == [{"id": 1, "value": "a"}, {"id": 2, "value": None}]
    assert tables.read(store, READINGS, "one", ["value"]).column_names == ["value"]
    assert [batch.num_rows for batch in tables.batches(store, READINGS, "one")] == [2]
    assert tables.version(store, READINGS, "one") == written
    assert tables.partitions(store, READINGS) == ["one"]


def _field_id(table: pa.Table, name: str) -> dict[bytes, bytes]:
    return {key: value for key, value in table.schema.field(name).metadata.items() if key == b"PARQUET:field_id"}


def test_an_empty_partition_is_one(atomic_store: Store) -> None:
    assert tables.version(atomic_store, READINGS, "one") is None
    assert tables.write(atomic_store, READINGS, "one", READINGS.schema.empty_table()).rows == 0
    assert tables.read(atomic_store, READINGS, "one").num_rows == 0
    assert tables.dataset(atomic_store, READINGS).count_rows() == 0


def test_writing_replaces(atomic_store: Store) -> None:
    ingest(atomic_store, "a", "b", "c")
    first = tables.version(atomic_store, READINGS, "batch-1")
    ingest(atomic_store, "z")
    assert tables.read(atomic_store, READINGS, "batch-1").to_pylist() == [{"id": 1, "value": "z"}]
    second = tables.version(atomic_store, READINGS, "batch-1")
    assert first is not None
    assert second is not None
    assert first.sha256 != second.sha256


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 90_000), max_size=8))
def test_equal_rows_give_equal_bytes_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    store = Store.open(str(tmp_path_factory.mktemp("store")))
    rows = sum(cuts)
    data = pa.table({"id": pa.array(range(rows), pa.int64()), "value": pa.array(["x"] * rows, pa.string())})
    whole = tables.write(store, READINGS, "whole", data)
    pieces, start = [], 0
    for cut in cuts:
        pieces += data.slice(start, cut).to_batches()
        start += cut
    streamed = tables.write(store, READINGS, "streamed", iter(pieces))
    assert streamed.sha256 == whole.sha256
    chunked = pa.Table.from_batches(pieces, schema=data.schema)
    assert tables.write(store, READINGS, "chunked", chunked).sha256 == whole.sha256


def test_row_groups_are_even(local_store: Store) -> None:
    rows = 2 * tables.ROW_GROUP + 1
    batches = pa.table({"id": pa.array(range(rows), pa.int64()), "value": pa.nulls(rows, pa.string())}).to_batches(1000)
    tables.write(local_store, READINGS, "one", batches)
    assert local_store.root is not None
    found = pq.ParquetFile(local_store.root / READINGS.path("one")).metadata
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [
        tables.ROW_GROUP,
        tables.ROW_GROUP,
        1,
    ]
    assert tables.read(local_store, READINGS, "one").column("id").to_pylist() == list(range(rows))


def test_a_stream_does_not_keep_what_it_has_given(local_store: Store) -> None:
    noise = np.random.default_rng(1).integers(0, 2**62, tables.ROW_GROUP)
    group = pa.record_batch([pa.array(noise), pa.nulls(len(noise), pa.string())], names=["id", "value"])
    tables.write(local_store, READINGS, "one", (group for _ in range(30)))
    before, peak = pa.total_allocated_bytes(), 0
    for _ in tables.batches(local_store, READINGS, "one"):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 10 * noise.nbytes


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"id": [1, None], "value": ["a", "b"]}, "column 'id' has 1 empty values but must have none"),
        ({"id": ["one"], "value": ["a"]}, "Failed to parse string: 'one'"),
        ({"id": [1.5], "value": ["a"]}, "truncated"),
    ],
)
def test_data_that_does_not_fit_replaces_nothing(
    local_store: Store, data: dict[str, list[object]], complaint: str
) -> None:
    ingest(local_store, "good")
    with pytest.raises(pa.ArrowInvalid, match=complaint):
        tables.write(local_store, READINGS, "batch-1", pa.table(data))
    assert tables.read(local_store, READINGS, "batch-1").to_pylist() == [{"id": 1, "value": "good"}]


def test_a_column_the_schema_does_not_know_is_an_error_in_rows() -> None:
    with pytest.raises(KeyError, match=r"readings has no column \['colour'\]"):
        tables.from_rows(READINGS, [{"id": 1, "colour": "red"}])


def test_what_was_never_ingested_says_what_to_do(atomic_store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"demo 'one' has no readings table yet: run `sheaf run demo one`"):
        tables.read(atomic_store, READINGS, "one")


@pytest.mark.parametrize("partition", ["../escape", "", "a/b", "x" * 300, "ü"])
def test_a_partition_cannot_leave_its_folder(local_store: Store, partition: str) -> None:
    with pytest.raises(UsageError, match="is not a valid partition name"):
        tables.write(local_store, READINGS, partition, READINGS.schema.empty_table())


def test_rejects_keep_reason_and_origin() -> None:
    rejects = tables.Rejects()
    rejects.add("readings", "no id", file="a.csv", line=3, raw={"value": "ü"}, primary_key=7)
    rejects.add("readings", "no id", raw="y" * 3000)
    rejects.add("readings", "negative", byte_offset=10)
    table = tables.from_rows(REJECTS, rejects.rows)
    assert table.column("raw").to_pylist() == ['{"value": "ü"}', "y" * 2000, None]
    assert (table.column("primary_key")[0].as_py(), table.column("line")[0].as_py()) == ("7", 3)
    assert list(rejects.by_reason().items()) == [("no id", 2), ("negative", 1)]


def test_a_blocking_reject_stops_publishing_until_good_input_comes(local_store: Store) -> None:
    tables.refuse_if_blocked(local_store, REJECTS, "one")
    tables.refuse(local_store, REJECTS, "one", "batch.json is not JSON")
    with pytest.raises(InputError, match=r"batch\.json is not JSON"):
        tables.refuse_if_blocked(local_store, REJECTS, "one")
    tables.write(local_store, REJECTS, "one", REJECTS.schema.empty_table())
    tables.refuse_if_blocked(local_store, REJECTS, "one")
