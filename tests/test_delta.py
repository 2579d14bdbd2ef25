"""A Delta table over the newest exports of a series: read by the library of Delta, it is what `latest` names."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from demo_domain import DEMO, READINGS, SERIES, ingest, publish_series

from sheaf.exports import delta, outcome
from sheaf.exports.latest import settle_latest
from sheaf.exports.recover import recover
from sheaf.exports.series import Draft, Written
from sheaf.names import SeriesId
from sheaf.store.store import Store


def _write(draft: Draft) -> Written:
    rows = draft.tables.read(READINGS).select(["id", "value"])
    kept = rows.append_column("batch", pa.array([draft.partition] * rows.num_rows))
    pq.write_table(kept, draft.folder / "readings.parquet")
    (draft.folder / "_notes").mkdir()
    pq.write_table(kept, draft.folder / "_notes" / "notes.parquet")
    return Written(rows.num_rows, rows={"readings.parquet": rows.num_rows})


PARQUET = replace(SERIES, name="readings_parquet", write=_write, verify=lambda *_: None)
DOMAIN = replace(DEMO, series=(PARQUET,))


def published(store: Store, partition: str, *values: str, **asked: Any) -> Any:
    ingest(store, *values, partition=partition)
    return publish_series(store, PARQUET, domain=DOMAIN, partition=partition, **asked).export


def table(store: Store, version: int | None = None) -> DeltaTable:
    if store.root is None:
        return DeltaTable(f"{store.url}/exports/demo", version=version)
    return DeltaTable(str(store.root / "exports" / "demo"), version=version)


def rows(store: Store, version: int | None = None) -> list[tuple[str, str]]:
    found = table(store, version).to_pyarrow_table().to_pylist()
    return sorted((row["batch"], row["value"]) for row in found)


def test_it_holds_what_latest_names_of_every_partition(atomic_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    published(atomic_store, "batch-1", "a", "b")
    published(atomic_store, "batch-2", "c")
    assert rows(atomic_store) == [("batch-1", "a"), ("batch-1", "b"), ("batch-2", "c")]
    published(atomic_store, "batch-1", "a", "b", filter={"min_id": 2})
    newer = published(atomic_store, "batch-1", "d")
    assert rows(atomic_store) == [("batch-1", "d"), ("batch-2", "c")]
    assert rows(atomic_store, version=1) == [("batch-1", "a"), ("batch-1", "b"), ("batch-2", "c")]
    outcome.delete(atomic_store, newer, "ada")
    assert rows(atomic_store) == [("batch-1", "a"), ("batch-1", "b"), ("batch-2", "c")]
    assert table(atomic_store).metadata().name == "readings_parquet"
    assert recover(atomic_store).failed == ()
    assert table(atomic_store).version() == 3, "who finds it as it should be writes nothing"


def test_readers_of_arrow_tables_have_it(local_store: Store) -> None:
    published(local_store, "batch-1", "a", "b")
    known = table(local_store).to_pyarrow_dataset()
    assert duckdb.from_arrow(known).filter("value = 'b'").fetchall() == [(2, "b", "batch-1")]
    assert table(local_store).to_pandas()["value"].tolist() == ["a", "b"]
    assert not [one for one in Path(local_store.url).rglob("*.parquet") if "_delta_log" in one.parts], (
        "nothing is copied"
    )


def test_many_writers_lose_nothing_and_readers_begin_at_a_checkpoint(local_store: Store) -> None:
    names = [f"batch-{number}" for number in range(16)]  # the first commit may hold some more
    for name in names:
        ingest(local_store, name, partition=name)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: published(local_store, name, name), names))
    assert rows(local_store) == sorted((name, name) for name in names)
    log = Path(local_store.url) / "exports" / "demo" / "_delta_log"
    assert (log / "_last_checkpoint").exists()
    for number in range(10):
        (log / f"{number:020d}.json").unlink()
    assert rows(local_store) == sorted((name, name) for name in names)
    published(local_store, "batch-0", "new")
    assert ("batch-0", "new") in rows(local_store)
    assert len(rows(local_store)) == 16


def test_it_is_made_of_what_is_there_and_follows_a_changed_type(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(delta, "settle", lambda *_: None)  # as earlier versions published
        published(local_store, "batch-1", "a")
        published(local_store, "batch-2", "b")
    settle_latest(local_store, SeriesId("demo", "batch-1", PARQUET.name))
    assert rows(local_store) == [("batch-1", "a"), ("batch-2", "b")]

    def otherwise(draft: Draft) -> Written:
        done = _write(draft)
        path = draft.folder / "readings.parquet"
        data = pq.read_table(path)
        pq.write_table(data.set_column(0, "id", data["id"].cast(pa.string())), path)
        return done

    changed = replace(PARQUET, write=otherwise, version=2)
    for partition, left in (("batch-1", 1), ("batch-2", 2)):
        publish_series(local_store, changed, domain=replace(DEMO, series=(changed,)), partition=partition)
        assert len(rows(local_store)) == left
    assert str(table(local_store).to_pandas()["id"].dtype) in ("str", "object")


def test_no_file_goes_while_the_log_names_it(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    published(local_store, "batch-1", "a")
    newer = published(local_store, "batch-1", "b")
    delete, read = Store.delete, []

    def looked(store: Store, paths: Any) -> None:
        delete(store, paths)
        read.append(rows(store))

    monkeypatch.setattr(Store, "delete", looked)
    outcome.delete(local_store, newer, "ada")
    assert read
    assert {tuple(found) for found in read} == {(("batch-1", "a"),)}


def test_pages_go_with_the_exports_that_they_name(local_store: Store) -> None:
    made = [published(local_store, "batch-1", str(number)) for number in range(25)]
    log = Path(local_store.url) / "exports" / "demo" / "_delta_log"
    assert delta.prune_logs(local_store, "demo", timedelta(0)) == [], "every version can be read"
    for export in made[:13]:
        outcome.delete(local_store, export, "ada")
    assert delta.prune_logs(local_store, "demo", timedelta(days=1)) == [], "somebody may be reading from them"
    would = delta.prune_logs(local_store, "demo", timedelta(0), dry_run=True)
    assert delta.prune_logs(local_store, "demo", timedelta(0)) == would
    assert len(would) == 10, "twelve versions cannot be read, and readers begin at the tenth"
    assert sorted(path.name for path in log.glob("0*"))[0] == f"{10:020d}.checkpoint.parquet"
    assert rows(local_store) == [("batch-1", "24")]
    assert rows(local_store, version=13) == [("batch-1", "13")]
    published(local_store, "batch-1", "new")
    assert rows(local_store) == [("batch-1", "new")]
