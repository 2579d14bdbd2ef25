"""Documents that are empty or torn: they end no command, the doctor sets them aside, and no number is used twice."""

import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from demo_domain import BATCH, DEMO, READINGS, SETTINGS, TOTALS_CSV, deliver, ingest, publish_readings, publish_series
from promises import check_readers, check_recovered

from sheaf import activity, damage, sources
from sheaf.coherence import pin
from sheaf.errors import DamagedError, NotFoundError, RefusedError
from sheaf.exports import saved_filters
from sheaf.exports.history import history, resolve
from sheaf.exports.kept import prune_tables
from sheaf.exports.records import Status, read_manifest, read_record, versions
from sheaf.exports.verify import verify
from sheaf.names import ExportId
from sheaf.running import How
from sheaf.store import documents, quarantine
from sheaf.store.store import Store
from sheaf.tables import generations

TORN = (b"", b"{", b"\0" * 400, b'{"domain": "demo"', b"[1, 2]", b"\xff\xfe")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    documents._say.cache_clear()


def examined(store: Store, *, deep: bool = False) -> dict[str, str]:
    return {found.path: found.detail for found in damage.examine(store, [DEMO], deep=deep)}


def kept(store: Store) -> set[str]:
    return {item.path.removeprefix(f"{quarantine.FOLDER}/") for item in store.list(quarantine.FOLDER)}


@pytest.mark.case("reliability/damaged-record")
@pytest.mark.parametrize("torn", TORN)
def test_a_torn_record_stops_nobody_and_is_made_anew_from_the_manifest(
    local_store: Store, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(local_store, "a")
    first = publish_readings(local_store).export
    second = publish_readings(local_store, always=True).export
    local_store.put(second.record_path, torn)
    with caplog.at_level(logging.WARNING):
        assert [record.id for record in history(local_store)] == [first]
        list(history(local_store))
    assert len(caplog.messages) == 1
    assert f"{second.record_path} is damaged" in caplog.text
    assert "`sheaf doctor`" in caplog.text
    third = publish_readings(local_store, always=True).export
    assert third.version == 3
    assert list(examined(local_store)) == [second.record_path]
    assert local_store.get(f"quarantine/{second.record_path}") == torn
    record = read_record(local_store, second)
    assert (record.status, record.canonical, record.version) == (Status.COMPLETED, True, 2)
    verify(local_store, second)
    assert examined(local_store) == {}
    check_recovered(local_store, BATCH)
    assert check_readers(local_store, BATCH) == 3


def test_a_torn_record_of_what_was_never_finished_keeps_its_number(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    publish_readings(atomic_store)
    broken = ExportId(BATCH, 2)
    atomic_store.put(broken.record_path, b"")
    atomic_store.put(f"{broken.path}/half.csv", b"half")
    assert "its number stays taken" in examined(atomic_store)[broken.record_path]
    assert read_record(atomic_store, broken).status is Status.FAILED
    check_recovered(atomic_store, BATCH)
    assert publish_readings(atomic_store, always=True).export.version == 3


def test_a_torn_manifest_under_latest_makes_latest_settle_on_the_newest_good_one(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    publish_readings(atomic_store)
    publish_readings(atomic_store, always=True)
    broken = publish_readings(atomic_store, always=True).export
    files = {file.path for file in read_manifest(atomic_store, broken).files}
    atomic_store.put(broken.manifest_path, b'{"schema_version": 1, "exp')
    assert publish_readings(atomic_store).export.version == 2  # unchanged, from the newest one that can be read
    assert "`latest` is v2 now" in examined(atomic_store)[broken.manifest_path]
    assert check_readers(atomic_store, BATCH) == 2
    assert kept(atomic_store) == {broken.manifest_path, *(f"{broken.path}/{name}" for name in files)}
    assert versions(atomic_store, BATCH) == [1, 2, 3]
    with pytest.raises(NotFoundError, match="Its manifest was damaged and is kept as quarantine/"):
        verify(atomic_store, broken)
    check_recovered(atomic_store, BATCH)
    assert publish_readings(atomic_store, always=True).export.version == 4
    assert examined(atomic_store) == {}


def test_whatever_was_done_when_the_doctor_was_killed_the_next_goes_on(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between any two operations on the store; what others do meanwhile sweeps nothing that is to be kept."""
    ingest(local_store, "a")
    publish_readings(local_store)
    for at in range(1, 40):
        broken = publish_readings(local_store, always=True).export
        local_store.put(broken.record_path, b"")
        local_store.put(broken.manifest_path, b"")
        files = {item.path for item in local_store.list(broken.path) if not item.path.endswith(".json")}
        with monkeypatch.context() as patch:
            killed = examined_until(local_store, at, patch)
        publish_readings(local_store)
        examined(local_store)
        check_recovered(local_store, BATCH)
        assert files <= kept(local_store), at
        assert publish_readings(local_store).unchanged
        if not killed:
            break
    assert at > 5


class Killed(BaseException):
    """Ends a process where it is, as far as a store can tell."""


def examined_until(store: Store, at: int, patch: pytest.MonkeyPatch) -> bool:
    """Examine until the operation of that number; whether there was one."""
    numbers = itertools.count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            if next(numbers) == at:
                raise Killed
            return real(*args)

        return operation

    for name in ("put", "create", "swap", "move"):
        patch.setattr(Store, name, counted(getattr(Store, name)))
    try:
        examined(store)
    except Killed:
        return True
    return False


def test_a_torn_pointer_is_written_anew(local_store: Store) -> None:
    ingest(local_store, "a")
    publish_readings(local_store)
    local_store.put(BATCH.latest_path, b"")
    with pytest.raises(DamagedError, match=r"latest\.json is damaged, it is empty: run `sheaf doctor`"):
        resolve(local_store, f"{BATCH}/latest")
    assert "the new one names v1" in examined(local_store)[BATCH.latest_path]
    assert check_readers(local_store, BATCH) == 1


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_commit_is_made_anew_by_the_next_run_and_its_number_stays_taken(local_store: Store, torn: bytes) -> None:
    """Without the doctor, too: its tables stay, and the step is made again under the next number."""
    deliver(local_store, "a")
    deliver(local_store, "a", "b")
    place = DEMO.place(DEMO.reading, "batch-1")
    tables = {item.path for item in local_store.list(f"{place.folder}") if "/000002-" in item.path}
    assert tables
    local_store.put(place.commit_path(2), torn)
    assert generations.newest(local_store, place).number == 1
    deliver(local_store, "a", "b", "c")
    assert generations.numbers(local_store, place) == [1, 2, 3]
    assert tables <= {item.path for item in local_store.list(place.folder)}
    assert prune_tables(local_store, [DEMO]) == []
    assert list(examined(local_store)) == [place.commit_path(2)]
    assert generations.read(local_store, place, 2).refused
    assert {place.commit_path(2), *tables} <= kept(local_store)
    assert publish_series(local_store, TOTALS_CSV).manifest.record_count
    deliver(local_store, "d")
    assert generations.newest(local_store, place).number == 4
    assert examined(local_store) == {}


def test_exports_wait_for_the_run_where_the_newest_commit_was_torn(local_store: Store) -> None:
    deliver(local_store, "a")
    deliver(local_store, "a", "b")
    local_store.put(DEMO.place(DEMO.reading, "batch-1").commit_path(2), b"")
    examined(local_store)
    with pytest.raises(RefusedError, match=r"Generation 2 of readings was damaged .*: `sheaf run demo batch-1`"):
        publish_series(local_store, TOTALS_CSV)
    deliver(local_store, "a", "b")
    assert publish_series(local_store, TOTALS_CSV).manifest.record_count


@pytest.mark.parametrize("harm", [b"", b"PAR1 and so on", None])
def test_a_table_that_is_gone_or_torn_is_named_and_made_again(atomic_store: Store, harm: bytes | None) -> None:
    deliver(atomic_store, "a", "b")
    place = DEMO.place(DEMO.reading, "batch-1")
    path = generations.current(atomic_store, place).tables["readings"].path
    good = atomic_store.get(path)
    atomic_store.put(path, harm) if harm is not None else atomic_store.delete([path])
    with pytest.raises(DamagedError, match=r"readings\.parquet is (damaged|gone).*`sheaf run demo batch-1 --again`"):
        pin(atomic_store, DEMO, "batch-1", [READINGS], SETTINGS).read(READINGS)
    assert "`sheaf run demo batch-1 --again` makes it anew" in examined(atomic_store)[path]
    assert (path in kept(atomic_store)) is (harm is not None)
    deliver(atomic_store, "a", "b", how=How(again=True))
    again = generations.current(atomic_store, place).tables["readings"].path
    assert again != path
    assert atomic_store.get(again) == good
    assert pin(atomic_store, DEMO, "batch-1", [READINGS], SETTINGS).read(READINGS).num_rows == 2
    assert examined(atomic_store) == {}


def test_a_changed_byte_is_found_by_reading_every_byte(local_store: Store) -> None:
    deliver(local_store, "a")
    done = publish_readings(local_store)
    table = generations.current(local_store, DEMO.place(DEMO.reading, "batch-1")).tables["readings"].path
    for path in (table, f"{done.export.path}/{done.manifest.files[0].path}"):
        data = local_store.get(path)
        local_store.put(path, data[:-1] + bytes([data[-1] ^ 1]))
    assert examined(local_store) == {}
    found = examined(local_store, deep=True)
    assert found.keys() == {table, done.export.path}
    assert "differs from what was published" in found[done.export.path]


def test_a_missing_file_under_latest_is_found(local_store: Store) -> None:
    ingest(local_store, "a")
    done = publish_readings(local_store)
    local_store.delete([f"{done.export.path}/{done.manifest.files[0].path}"])
    assert "is missing in the store" in examined(local_store)[done.export.path]


@pytest.mark.parametrize("torn", TORN)
def test_torn_filters_events_and_tombstones_are_passed_over_and_set_aside(
    local_store: Store, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)
    for name in ("good", "bad"):
        saved = saved_filters.SavedFilter(
            domain="demo", partition="batch-1", name=name, filter={"min_id": 1}, saved_by="ada", saved_at=now
        )
        saved_filters.save(local_store, saved)
        sources.bury(local_store, "demo", name, "values")
    events = sorted(item.path for item in local_store.list("activity"))
    bad = ["filters/demo/batch-1/bad.json", "tombstones/demo/bad.json", events[-1]]
    bad += [
        "leases/demo/batch-1.json",
        "tables/demo/reading/batch=batch-1/looked.json",
        "batches/media/batch_1/record.json",
        "batches/media/batch_1/files.json",
        "batches/media/batch_1/items/item_1.json",
        "offload/logs-12345678/offload_1.json",
    ]
    for path in bad:
        local_store.put(path, torn)
    with caplog.at_level(logging.WARNING):
        assert [saved.name for saved in saved_filters.listing(local_store)] == ["good"]
        assert list(sources.tombstones(local_store, "demo")) == ["good"]
        assert len(list(activity.newest(local_store))) == len(events) - 1
    assert len(caplog.messages) == 3
    assert examined(local_store).keys() == set(bad)
    assert kept(local_store) == set(bad)
    assert all(local_store.get(f"quarantine/{path}") == torn for path in bad)
    assert [saved.name for saved in saved_filters.listing(local_store)] == ["good"]
    assert examined(local_store) == {}


def test_what_is_damaged_twice_is_kept_twice(local_store: Store) -> None:
    for torn in (b"1", b"2", b"2"):
        local_store.put("tombstones/demo/x.json", torn)
        assert len(examined(local_store)) == 1
    assert kept(local_store) == {"tombstones/demo/x.json", "tombstones/demo/x.json.2", "tombstones/demo/x.json.3"}


def test_one_place_that_cannot_be_looked_at_stops_no_other(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(local_store, "a")
    publish_readings(local_store)
    local_store.put("filters/demo/batch-1/bad.json", b"")

    def failing(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("sheaf.damage.exports.repair_series", failing)
    assert examined(local_store).keys() == {BATCH.path, "filters/demo/batch-1/bad.json"}
