"""Finding, comparing, verifying and deleting exports; saved filters; activity."""

import dataclasses
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_domain import BATCH, SERIES, ingest, publish_readings, publish_series
from promises import check_readers, check_recovered

from sheaf import activity
from sheaf.errors import NotFoundError, UsageError, VerificationError
from sheaf.exports import outcome, saved_filters
from sheaf.exports.diff import Change, Diff, RowChanges, diff
from sheaf.exports.history import history, resolve
from sheaf.exports.records import Status, read_latest, read_record
from sheaf.exports.series import Draft, Written
from sheaf.exports.verify import verify
from sheaf.names import ExportId
from sheaf.store.store import Store


def test_history_lists_newest_first_and_by_what_is_asked(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    ingest(atomic_store, "b", partition="batch-2")
    publish_readings(atomic_store)
    publish_readings(atomic_store, always=True)
    publish_readings(atomic_store, partition="batch-2")
    everything = [str(record.id) for record in history(atomic_store)]
    assert everything == [f"{BATCH}/v2", f"{BATCH}/v1", "demo/batch-2/readings_csv/v1"]
    assert [str(record.id) for record in history(atomic_store, "demo", "batch-2")] == everything[2:]
    assert [str(record.id) for record in history(atomic_store, series="readings_csv")] == everything
    assert list(history(atomic_store, "other")) == list(history(atomic_store, "demo", "batch-3")) == []


def test_an_export_is_found_by_number_or_as_latest(local_store: Store) -> None:
    with pytest.raises(NotFoundError, match="has no latest export yet"):
        resolve(local_store, f"{BATCH}/latest")
    ingest(local_store, "a")
    publish_readings(local_store)
    publish_readings(local_store, filter={"min_id": 2})
    assert resolve(local_store, f"{BATCH}/latest") == ExportId(BATCH, 1)
    assert resolve(local_store, f"{BATCH}/v0002") == ExportId(BATCH, 2)
    with pytest.raises(NotFoundError, match=r"There is no export demo/batch-1/readings_csv/v3\."):
        read_record(local_store, resolve(local_store, f"{BATCH}/v3"))


def test_verify_notices_every_kind_of_damage(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    export = publish_readings(atomic_store).export
    path = f"{export.path}/readings.csv"
    whole = atomic_store.get(path)
    for damage, complaint in (
        (whole.replace(b"a", b"b"), r"readings\.csv differs from what was published"),
        (whole + b"x", r"readings\.csv has \d+ bytes, its manifest says \d+"),
        (None, r"readings\.csv is missing in the store"),
    ):
        if damage is None:
            atomic_store.delete([path])
        else:
            atomic_store.put(path, damage)
        with pytest.raises(VerificationError, match=complaint):
            verify(atomic_store, export)
    atomic_store.put(path, whole)
    atomic_store.put(f"{export.path}/smuggled.txt", b"")
    with pytest.raises(VerificationError, match=r"smuggled\.txt is in the store but not in the manifest"):
        verify(atomic_store, export)


def test_deleting_moves_latest_and_keeps_a_tombstone(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    publish_readings(atomic_store)
    publish_readings(atomic_store, filter={"min_id": 2})
    third = publish_readings(atomic_store, always=True).export
    tombstone = outcome.delete(atomic_store, third, "ada")
    assert (tombstone.status, tombstone.deleted_by) == (Status.DELETED, "ada")
    assert check_readers(atomic_store, BATCH) == 1
    with pytest.raises(NotFoundError, match="v3 has no files, it is deleted"):
        verify(atomic_store, third)
    with pytest.raises(NotFoundError, match=r"v3 was deleted already, by ada\."):
        outcome.delete(atomic_store, third, "bob")
    outcome.delete(atomic_store, ExportId(BATCH, 1), "ada")
    assert read_latest(atomic_store, BATCH) is None  # v2 has a filter
    assert publish_readings(atomic_store).export.version == 4
    check_recovered(atomic_store, BATCH)


def test_an_export_in_the_making_cannot_be_deleted(local_store: Store) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store).export
    record = read_record(local_store, export)
    local_store.put(
        export.record_path, record.model_copy(update={"status": Status.PROCESSING}).model_dump_json().encode()
    )
    with pytest.raises(UsageError, match="is still being written: wait until it ends"):
        outcome.delete(local_store, export, "ada")


def test_diff_tells_what_was_asked_for_what_it_holds_and_which_rows_differ(atomic_store: Store) -> None:
    ingest(atomic_store, "a", "b", "c")
    before = publish_readings(atomic_store).export
    ingest(atomic_store, "a", "B", "c", "d")
    after = publish_readings(atomic_store, filter={"values": "B,c,d"}, options={"upper": True}).export
    found = diff(atomic_store, before, after, row_key=("id",))
    assert found.filter == {"values": Change(None, ["B", "c", "d"])}
    assert found.options == {"upper": Change(before=False, after=True)}
    assert found.counts == {}
    assert found.inputs == {"readings/batch-1": Change(3, 4)}
    assert (found.files_added, found.files_removed, found.files_changed) == ((), (), ("readings.csv",))
    assert found.rows == {"readings.csv": RowChanges(added=1, removed=1, changed=2)}
    assert diff(atomic_store, before, before) == Diff(found.a, found.a)
    assert diff(atomic_store, before, after).rows == {"readings.csv": RowChanges(added=3, removed=3, changed=0)}


def rows_of(store: Store, name: str, before: bytes, after: bytes, row_key: tuple[str, ...] = ()) -> RowChanges | None:
    """Publish a file twice and compare."""
    ingest(store, "a")
    exports = []
    for content in (before, after):

        def write(draft: Draft, content: bytes = content) -> Written:
            (draft.folder / name).write_bytes(content)
            return Written(1)

        series = dataclasses.replace(SERIES, write=write, verify=lambda *_: None)
        exports.append(publish_series(store, series, always=True).export)
    found = diff(store, *exports, row_key=row_key)
    assert found.files_changed == (name,)
    return found.rows.get(name)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b"id,v\n1,x\n1,y\n1,z\n2,q\n", b"id,v\n1,w\n2,q\n", RowChanges(0, 2, 1)),
        (b'a;b,"c"\n1,2\n', b'a;b,"c"\n1,3\n', RowChanges(1, 1, 0)),
        (b"id\n1\n2\n", b"id\n2\n1\n", RowChanges(0, 0, 0)),
        (b"id\n1\n1\n", b"id\n1\n", RowChanges(0, 1, 0)),
        (b"id,old\n1,x\n", b"id,new\n1,y\n", RowChanges(0, 0, 0, ("new",), ("old",))),
        (b"old\nx\n", b"new\ny\nz\n", RowChanges(2, 1, 0, ("new",), ("old",))),
        (b"id\n", b"id\n7\n", RowChanges(1, 0, 0)),
        (b'id,text\n1,"two\nlines, and a comma"\n', b"id,text\n1,one\n", RowChanges(0, 0, 1)),
        (b"\xff\xfe\x00", b"", None),
    ],
)
def test_diff_reads_awkward_csv(local_store: Store, before: bytes, after: bytes, expected: RowChanges | None) -> None:
    assert rows_of(local_store, "readings.csv", before, after, ("id",)) == expected


def test_diff_reads_parquet_and_ndjson(local_store: Store) -> None:
    for name in ("x.parquet", "x.ndjson"):
        contents = []
        for values in ([1, 2, None], [1, 3, None]):
            table = pa.table({'a "quoted" name': values, "deep": [{"x": [1, value]} for value in values]})
            if name == "x.parquet":
                sink = pa.BufferOutputStream()
                pq.write_table(table, sink)
                contents.append(sink.getvalue().to_pybytes())
            else:
                contents.append(b"".join(orjson.dumps(row) + b"\n" for row in table.to_pylist()))
        assert rows_of(local_store, name, contents[0], contents[1]) == RowChanges(1, 1, 0)


def saved(name: str, **asked: object) -> saved_filters.SavedFilter:
    return saved_filters.SavedFilter(
        domain="demo", partition="batch-1", name=name, filter=asked, saved_by="ada", saved_at=datetime.now(UTC)
    )


def test_a_saved_filter_is_kept_changed_renamed_and_forgotten(atomic_store: Store) -> None:
    saved_filters.save(atomic_store, saved("late", min_id=2))
    with pytest.raises(UsageError, match="There is a filter 'late' already"):
        saved_filters.save(atomic_store, saved("late", min_id=9))
    saved_filters.update(atomic_store, saved("late", min_id=3))
    assert saved_filters.load(atomic_store, "demo", "batch-1", "late").filter == {"min_id": 3}
    saved_filters.rename(atomic_store, saved_filters.load(atomic_store, "demo", "batch-1", "late"), "later", "bob")
    assert [item.name for item in saved_filters.listing(atomic_store)] == ["later"]
    with pytest.raises(NotFoundError, match="has no saved filter 'late': there are later"):
        saved_filters.load(atomic_store, "demo", "batch-1", "late")
    with pytest.raises(NotFoundError, match="has no saved filter 'nothing'"):
        saved_filters.update(atomic_store, saved("nothing"))
    saved_filters.delete(atomic_store, saved_filters.load(atomic_store, "demo", "batch-1", "later"), "ada")
    assert saved_filters.listing(atomic_store, "demo", "batch-1") == []
    said = [event.what for event in activity.newest(atomic_store)]
    assert sorted(said) == ["filter deleted", "filter deleted", "filter saved", "filter saved", "filter updated"]


@pytest.mark.parametrize("name", ["", " late", "late\n", "x" * 300, "\x00"])
def test_a_name_that_people_cannot_type_is_refused(local_store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a filter"):
        saved_filters.save(local_store, saved(name))
    with pytest.raises(UsageError, match="cannot be the name of a filter"):
        saved_filters.load(local_store, "demo", "batch-1", name)


@pytest.mark.parametrize("name", ["late samples", "../x", "a/b", "Ölprobe", "50 % (v/v)"])
def test_a_saved_filter_of_any_name_stays_in_its_folder(atomic_store: Store, name: str) -> None:
    saved_filters.save(atomic_store, saved(name, min_id=2))
    assert saved_filters.load(atomic_store, "demo", "batch-1", name).filter == {"min_id": 2}
    (path,) = [item.path for item in atomic_store.list("filters")]
    assert path.rpartition("/")[0] == "filters/demo/batch-1"
    saved_filters.delete(atomic_store, saved_filters.load(atomic_store, "demo", "batch-1", name), "ada")
    assert not list(atomic_store.list("filters"))


def test_a_filter_of_the_domain_serves_all_its_partitions_unless_they_have_their_own(local_store: Store) -> None:
    shared = saved("late", min_id=2).model_copy(update={"partition": None})
    saved_filters.save(local_store, shared)
    assert saved_filters.load(local_store, "demo", "batch-1", "late") == shared
    saved_filters.save(local_store, saved("late", min_id=9))
    assert saved_filters.load(local_store, "demo", "batch-1", "late").filter == {"min_id": 9}
    assert saved_filters.load(local_store, "demo", "batch-2", "late") == shared
    assert [one.filter for one in saved_filters.usable(local_store, "demo", "batch-1")] == [{"min_id": 9}]
    with pytest.raises(NotFoundError, match=r"has no saved filter 'lade': there are late\. Did you mean 'late'\?"):
        saved_filters.load(local_store, "demo", "batch-2", "lade")


def test_activity_tells_what_happened_newest_first(atomic_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    for number in range(5):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((start + timedelta(seconds=number)).timestamp())))
        activity.log(atomic_store, f"event {number}", "subject", "ada", "detail")
    assert [event.what for event in activity.newest(atomic_store)] == [f"event {number}" for number in (4, 3, 2, 1, 0)]
    assert [event.what for event in activity.newest(atomic_store, limit=2)] == ["event 4", "event 3"]
    since = start + timedelta(seconds=3)
    assert [event.what for event in activity.newest(atomic_store, since=since)] == ["event 4", "event 3"]


def test_activity_names_who_and_why(local_store: Store) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store, requested_by="ada").export
    ingest(local_store, "poison")
    with pytest.raises(VerificationError):
        publish_readings(local_store, requested_by="bob")
    outcome.delete(local_store, export, "eve")
    events = [(event.what, event.subject, event.who, event.detail) for event in activity.newest(local_store)]
    assert events == [
        ("export deleted", f"{BATCH}/v1", "eve", ""),
        ("export failed", f"{BATCH}/v2", "bob", "readings.csv holds poison."),
        ("export completed", f"{BATCH}/v1", "ada", ""),
    ]
