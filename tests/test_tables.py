"""Tables as files: typed, the same bytes for the same rows; and what is noted about rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_domain import DEMO, READINGS, ingest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import current

from sheaf.errors import NotFoundError, UsageError
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind
from sheaf.tables.parquet import ROW_GROUP, from_rows, write_parquet
from sheaf.tables.pinned import Tables
from sheaf.tables.rejects import Rejects, schema
from sheaf.tables.work import Work


@pytest.fixture
def work(local_store: Store, tmp_path: Path) -> Work:
    return Work(Tables(local_store, "one", {}), None, tmp_path, Rejects(tmp_path))


def test_a_table_comes_back_with_its_schema(work: Work) -> None:
    data = pa.table({"value": pa.array(["a", None]), "id": pa.array([1, 2], pa.int32()), "extra": [0, 0]})
    written = work.write(READINGS, data)
    found = work.tables.read(READINGS)
    assert found.schema.equals(READINGS.schema, check_metadata=False)
    assert (found.schema.field("id").metadata or {})[b"description"] == b"Number of the reading"
    assert found.to_pylist() == [{"id": 1, "value": "a"}, {"id": 2, "value": None}]
    assert work.tables.read(READINGS, ["value"]).column_names == ["value"]
    assert [batch.num_rows for batch in work.tables.batches(READINGS)] == [2]
    assert (written.rows, written.size) == (2, work.local(READINGS)[0].stat().st_size)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 90_000), max_size=8))
def test_equal_rows_give_equal_bytes_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    rows = sum(cuts)
    data = pa.table({"id": pa.array(range(rows), pa.int64()), "value": pa.array(["x"] * rows, pa.string())})
    pieces, start = [], 0
    for cut in cuts:
        pieces += data.slice(start, cut).to_batches()
        start += cut
    for name, given_ in (
        ("whole", data),
        ("streamed", iter(pieces)),
        ("chunked", pa.Table.from_batches(pieces, schema=data.schema)),
    ):
        assert write_parquet(folder / name, READINGS.schema, given_) == rows
    assert len({path.read_bytes() for path in folder.iterdir()}) == 1


def test_row_groups_are_even(tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP + 1
    batches = pa.table({"id": pa.array(range(rows), pa.int64()), "value": pa.nulls(rows, pa.string())}).to_batches(1000)
    write_parquet(tmp_path / "one", READINGS.schema, batches)
    found = pq.ParquetFile(tmp_path / "one").metadata
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [ROW_GROUP, ROW_GROUP, 1]
    assert pq.read_table(tmp_path / "one").column("id").to_pylist() == list(range(rows))


def test_a_stream_does_not_keep_what_it_has_given(work: Work) -> None:
    noise = np.random.default_rng(1).integers(0, 2**62, ROW_GROUP)
    group = pa.record_batch([pa.array(noise), pa.nulls(len(noise), pa.string())], names=["id", "value"])
    work.write(READINGS, (group for _ in range(30)))
    before, peak = pa.total_allocated_bytes(), 0
    for _ in work.tables.batches(READINGS):
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
def test_data_that_does_not_fit_is_an_error(work: Work, data: dict[str, list[object]], complaint: str) -> None:
    with pytest.raises(pa.ArrowInvalid, match=complaint):
        work.write(READINGS, pa.table(data))
    assert READINGS not in work.tables


def test_a_column_the_schema_does_not_know_is_an_error_in_rows() -> None:
    with pytest.raises(KeyError, match=r"readings has no column \['colour'\]"):
        from_rows(READINGS, [{"id": 1, "colour": "red"}])


def test_what_was_never_made_says_what_to_do(atomic_store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"demo 'one' has no readings table yet: run `sheaf run demo one`"):
        current(atomic_store, DEMO, "one").read(READINGS)


@pytest.mark.parametrize("partition", ["../escape", "", "a/b", "x" * 300, "ü"])
def test_a_partition_cannot_leave_its_folder(local_store: Store, partition: str) -> None:
    with pytest.raises(UsageError, match="is not a valid partition name"):
        ingest(local_store, "a", partition=partition)


def test_rejects_keep_reason_and_origin(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    rejects.add("readings", "no_id", "There is no id.", file="a.csv", line=3, raw={"value": "ü"}, primary_key=7)
    rejects.add("readings", "no_id", "There is no id.", raw="y" * 3000)
    rejects.change("readings", "negative", "The value is negative: left empty.", byte_offset=10)
    table = pa.Table.from_batches(rejects.batches(), schema())
    assert table.column("raw").to_pylist() == ['{"value": "ü"}', "y" * 2000, None]
    assert (table.column("primary_key")[0].as_py(), table.column("line")[0].as_py()) == ("7", 3)
    assert table.column("kind").to_pylist() == ["reject", "reject", "change"]
    assert table.column("code").to_pylist() == ["no_id", "no_id", "negative"]


@pytest.mark.case("core/rejects-check-blind-to-sensor-points")
@given(
    st.lists(
        st.tuples(st.sampled_from(list(Kind)), st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 40_000)),
        max_size=30,
    ),
    st.integers(0, 100),
)
def test_accounts_count_rows_and_not_entries(
    tmp_path_factory: pytest.TempPathFactory, noted: list[tuple[Kind, str, str, int]], used: int
) -> None:
    rejects = Rejects(tmp_path_factory.mktemp("scratch"))
    lost = {table: sum(rows for kind, of, _, rows in noted if (kind, of) == (Kind.REJECT, table)) for table in "ab"}
    for table in "ab":
        rejects.saw(table, lost[table] + used + 5)
        rejects.left_out(table, "another project's", 5)
    for kind, table, code, rows in noted:
        rejects.note(kind, table, code, f"It is {code}.", rows=rows)
    accounts = rejects.accounts({"a": used, "b": used})
    assert [account.table for account in accounts] == ["a", "b"]
    assert all(account.adds_up for account in accounts)
    assert {account.table: account.rejected for account in accounts} == lost


def test_many_rejects_are_on_disk_and_in_order(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    for line in range(25_000):
        rejects.add("readings", "bad", "It is bad.", line=line)
    assert len(list(tmp_path.iterdir())) == 2
    found = pa.Table.from_batches(rejects.batches(), schema())
    assert found["line"].to_pylist() == list(range(25_000))
