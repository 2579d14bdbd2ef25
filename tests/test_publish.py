"""Publishing an export: what `docs/publishing.md` says about a run in which nothing crashes."""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import children
import orjson
import pytest
from demo_domain import BATCH, DEMO, READINGS, SERIES, SETTINGS, ingest, publish_readings, publish_series
from promises import check_readers, check_recovered

from sheaf.errors import InputError, NotFoundError, RefusedError, UsageError, VerificationError
from sheaf.exports.publish import Request, preview
from sheaf.exports.records import Status, newest_records, read_latest, read_manifest, read_record, records
from sheaf.exports.series import Draft, Written
from sheaf.exports.verify import verify
from sheaf.names import ExportId, SeriesId
from sheaf.store.store import Store


def test_an_export_is_its_files_a_manifest_and_a_record(store: Store) -> None:
    table = ingest(store, "a", "b").generation.tables["readings"]
    done = publish_readings(store, name="For the paper", requested_by="ada", run_id="run-1")
    assert (str(done.export), done.unchanged) == ("demo/batch-1/readings_csv/v1", False)
    folder = "exports/demo/batch-1/readings_csv/v0001"
    assert {item.path.removeprefix(folder + "/") for item in store.list(folder)} == {
        "_manifest.json", "notes/about us.txt", "readings.csv", "_record.json",
    }  # fmt: skip
    assert store.get(f"{folder}/readings.csv") == b"id,value\n1,a\n2,b\n"
    manifest = verify(store, done.export)
    assert manifest == done.manifest
    assert [(file.path, file.size, file.rows) for file in manifest.files] == [
        ("notes/about us.txt", 11, None),
        ("readings.csv", 17, 2),
    ]
    assert (manifest.record_count, manifest.counts, manifest.name) == (2, {"readings": 2}, "For the paper")
    assert [(item.table, item.partition, item.rows, item.sha256) for item in manifest.inputs] == [
        ("readings", "batch-1", 2, table.sha256)
    ]
    record = read_record(store, done.export)
    assert (record.status, record.requested_by, record.run_id) == (Status.COMPLETED, "ada", "run-1")
    assert record.finished_at is not None


def test_latest_names_the_newest_canonical_export(store: Store) -> None:
    ingest(store, "a", "b")
    assert read_latest(store, BATCH) is None
    publish_readings(store)
    publish_readings(store, filter={"min_id": "2"})
    publish_readings(store, options={"upper": "true"})
    assert check_readers(store, BATCH) == 1
    ingest(store, "a", "b", "c")
    publish_readings(store, filter={}, options={"upper": "false"})  # the defaults, spelt out, are canonical
    assert check_readers(store, BATCH) == 4
    pointer = orjson.loads(store.get("exports/demo/batch-1/readings_csv/latest.json"))
    assert pointer == {
        "export": "demo/batch-1/readings_csv/v4",
        "version": 4,
        "path": "exports/demo/batch-1/readings_csv/v0004",
        "manifest": "exports/demo/batch-1/readings_csv/v0004/_manifest.json",
        "files": [file.model_dump(mode="json") for file in read_manifest(store, ExportId(BATCH, 4)).files],
        "moves": 2,
    }
    check_recovered(store, BATCH)


def test_an_export_with_filter_and_options_says_so(local_store: Store) -> None:
    ingest(local_store, "a", "b", "c")
    done = publish_readings(local_store, filter={"values": "b, c"}, options={"upper": "yes"})
    assert local_store.get(f"{done.export.path}/readings.csv") == b"id,value\n2,B\n3,C\n"
    assert (done.manifest.filter, done.manifest.options) == ({"values": ["b", "c"]}, {"upper": True})
    assert not done.manifest.canonical


def test_unchanged_input_makes_no_new_version(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    first = publish_readings(atomic_store)
    before = {item.path for item in atomic_store.list("")}
    again = publish_readings(atomic_store)
    assert (again.export, again.manifest, again.unchanged) == (first.export, first.manifest, True)
    ingest(atomic_store, "a")  # the same once more
    assert publish_readings(atomic_store).unchanged
    assert {item.path for item in atomic_store.list("")} == before


def test_unchanged_is_judged_for_each_filter_option_and_writer_by_itself(local_store: Store) -> None:
    ingest(local_store, "a", "b")
    publish_readings(local_store)
    assert publish_readings(local_store, filter={"min_id": 2}).export.version == 2
    assert publish_readings(local_store, filter={"min_id": "2"}).unchanged
    assert publish_readings(local_store).export.version == 1
    assert publish_readings(local_store, always=True).export.version == 3
    newer = dataclasses.replace(SERIES, version=2)
    assert publish_series(local_store, newer).export.version == 4
    ingest(local_store, "changed")
    assert not publish_readings(local_store, filter={"min_id": 2}).unchanged


def test_equal_input_gives_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    found = []
    for name in ("one", "two"):
        store = Store.open(str(tmp_path / name))
        ingest(store, "a", "b")
        done = publish_readings(store)
        found.append({item.path: store.get(item.path) for item in store.list(BATCH.path)})
        found[-1].pop(done.export.record_path)  # the record says which process did it
    assert found[0] == found[1]


def test_a_refused_request_allocates_nothing(atomic_store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"demo 'batch-1' has no readings yet: run `sheaf run demo batch-1`"):
        publish_readings(atomic_store)
    ingest(atomic_store, "a")
    with pytest.raises(UsageError, match=r"Unknown filter 'colour': known are min_id, values"):
        publish_readings(atomic_store, filter={"colour": "red"})
    with pytest.raises(UsageError, match=r"Option upper='perhaps' cannot be used"):
        publish_readings(atomic_store, options={"upper": "perhaps"})
    with pytest.raises(UsageError, match="is not a valid partition name"):
        publish_readings(atomic_store, partition="../escape")
    ingest(atomic_store)  # nothing in it
    with pytest.raises(RefusedError, match=r"batch-1: The delivery is empty: deliver something"):
        publish_readings(atomic_store)
    assert list(atomic_store.list("exports")) == []


def test_a_failed_check_keeps_its_reason_and_leaves_latest(store: Store) -> None:
    ingest(store, "a")
    publish_readings(store)
    ingest(store, "poison")
    with pytest.raises(VerificationError, match="holds poison"):
        publish_readings(store)
    failed = records(store, BATCH)[0]
    assert (failed.version, failed.status, failed.error) == (2, Status.FAILED, "readings.csv holds poison.")
    assert check_readers(store, BATCH) == 1
    with pytest.raises(NotFoundError, match=r"v2 has no files, it is failed: readings\.csv holds poison\.$"):
        read_manifest(store, failed.id)
    ingest(store, "b")
    assert publish_readings(store).export.version == 3  # a number is never used twice
    check_recovered(store, BATCH)


def crash(draft: Draft) -> Written:
    (draft.folder / "half").write_text("half")
    raise ZeroDivisionError("a defect")


def nothing(draft: Draft) -> Written:
    return Written(0)


def forge(draft: Draft) -> Written:
    (draft.folder / "manifest.json").write_text("{}")
    return Written(0)


def link(draft: Draft) -> Written:
    (draft.folder / "image.png").symlink_to("/etc/hostname")
    return Written(0)


def hide(draft: Draft) -> Written:
    (draft.folder / "image#1").write_text("kept for unfinished files")
    return Written(0)


def break_lines(draft: Draft) -> Written:
    (draft.folder / "two\nlines").write_text("no store can list this")
    return Written(0)


def undecodable(draft: Draft) -> Written:
    Path(os.fsdecode(os.fsencode(draft.folder) + b"/\xff")).write_text("not Unicode")
    return Written(0)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (crash, "ZeroDivisionError: a defect"),
        (nothing, "readings_csv wrote no file for batch-1."),
        (forge, "'manifest.json', which cannot be published"),
        (link, "'image.png', which cannot be published"),
        (hide, "'image#1', which cannot be published"),
        (break_lines, r"'two\nlines', which cannot be published"),
        (undecodable, r"'\udcff', which cannot be published"),
    ],
)
def test_a_writer_that_fails_or_misbehaves_publishes_nothing(
    local_store: Store, write: Callable[[Draft], Written], reason: str
) -> None:
    ingest(local_store, "a")
    series = dataclasses.replace(SERIES, write=write, verify=lambda *_: None)
    with pytest.raises((VerificationError, ZeroDivisionError)):
        publish_series(local_store, series)
    (record,) = records(local_store, BATCH)
    assert record.status is Status.FAILED
    assert reason in (record.error or "")
    assert check_readers(local_store, BATCH) == 0
    check_recovered(local_store, BATCH)


def test_what_is_delivered_while_an_export_is_written_comes_with_the_next(local_store: Store) -> None:
    ingest(local_store, "a")

    def write(draft: Draft) -> Written:
        ingest(local_store, "b")
        return SERIES.write(draft)

    first = publish_series(local_store, dataclasses.replace(SERIES, write=write))
    assert local_store.get(f"{first.export.path}/readings.csv") == b"id,value\n1,a\n"
    second = publish_readings(local_store)
    assert second.export.version == 2
    assert local_store.get(f"{second.export.path}/readings.csv") == b"id,value\n1,b\n"


def test_what_the_store_garbles_is_noticed(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(s3_store, "a")
    whole = Store.put_file

    def garble(self: Store, path: str, source: Path) -> bool:
        source.write_bytes(source.read_bytes().replace(b"a", b"b"))
        return whole(self, path, source)

    monkeypatch.setattr(Store, "put_file", garble)
    with pytest.raises(VerificationError, match=r"differs from what was published \(sha256\)"):
        publish_readings(s3_store)
    assert check_readers(s3_store, BATCH) == 0
    left = {item.path.rsplit("/", 1)[-1] for item in s3_store.list(BATCH.path)}
    assert left == {"_record.json", "_manifest.json"}  # what had been moved in is gone at once


def test_a_preview_counts_and_keeps_nothing(atomic_store: Store) -> None:
    ingest(atomic_store, "a", "b", "c")
    before = {item.path for item in atomic_store.list("")}
    assert preview(atomic_store, DEMO, SERIES, Request("batch-1", filter={"min_id": 2}), SETTINGS).record_count == 2
    assert {item.path for item in atomic_store.list("")} == before


def test_a_campaign_series_is_made_from_all_partitions(local_store: Store) -> None:
    def write(draft: Draft) -> Written:
        rows = sum(tables.rows(READINGS) for tables in draft.members.values())
        (draft.folder / "all.txt").write_text(str(rows))
        return Written(rows)

    series = dataclasses.replace(SERIES, name="all_txt", campaign=True, write=write, verify=lambda *_: None)
    with pytest.raises(InputError, match="There is nothing to publish as demo/campaign/all_txt yet"):
        publish_series(local_store, series, partition="campaign")
    ingest(local_store, "a", "b", partition="one")
    ingest(local_store, "c", partition="two")
    assert local_store.root is not None
    (local_store.root / "tables/demo/readings/batch=cut-off").mkdir()  # killed between folder and file
    done = publish_series(local_store, series, partition="campaign")
    assert [item.partition for item in done.manifest.inputs] == ["one", "two"]
    assert publish_series(local_store, series, partition="campaign").unchanged
    ingest(local_store, "c", "d", partition="two")
    assert publish_series(local_store, series, partition="campaign").export.version == 2


def test_a_folder_without_a_record_is_stepped_over(local_store: Store) -> None:
    ingest(local_store, "a")
    publish_readings(local_store)
    assert local_store.root is not None
    (local_store.root / ExportId(BATCH, 2).path).mkdir()  # killed before the record was created
    (local_store.root / "exports" / "@eaDir" / "x" / "y").mkdir(parents=True)  # some disks leave their own
    ingest(local_store, "b")
    assert publish_readings(local_store).export.version == 3
    check_recovered(local_store, BATCH)


def publish_with_others(url: str, barrier: Barrier, versions: "Queue[int]") -> None:
    store = Store.open(url)
    barrier.wait()
    versions.put(publish_readings(store, always=True).export.version)


def test_ten_processes_publish_versions_one_to_ten_each_whole(atomic_store: Store) -> None:
    ingest(atomic_store, "a", "b")
    barrier, got = children.CONTEXT.Barrier(10), children.CONTEXT.Queue()
    writers = [children.start(publish_with_others, atomic_store.url, barrier, got) for _ in range(10)]
    assert sorted(got.get(timeout=60) for _ in writers) == list(range(1, 11))
    for writer in writers:
        writer.join()
    assert check_readers(atomic_store, BATCH) == 10
    for number in range(1, 11):
        verify(atomic_store, ExportId(BATCH, number))
        assert read_record(atomic_store, ExportId(BATCH, number)).status is Status.COMPLETED
    check_recovered(atomic_store, BATCH)


def test_of_many_who_want_the_same_at_once_one_makes_it(atomic_store: Store) -> None:
    ingest(atomic_store, "a", "b")
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: publish_readings(atomic_store), range(6)))
    assert len({one.export for one in made}) == 1
    assert [one.unchanged for one in made].count(False) == 1
    assert [one.status for one in newest_records(atomic_store, BATCH)].count(Status.COMPLETED) == 1
    check_recovered(atomic_store, BATCH)


def test_series_do_not_share_numbers_or_latest(local_store: Store) -> None:
    ingest(local_store, "a")
    ingest(local_store, "b", partition="batch-2")
    publish_readings(local_store)
    assert str(publish_readings(local_store, partition="batch-2").export) == "demo/batch-2/readings_csv/v1"
    assert check_readers(local_store, SeriesId("demo", "batch-2", "readings_csv")) == 1


def examples() -> list[str]:
    text = (Path(__file__).parents[1] / "docs" / "publishing.md").read_text(encoding="utf-8")
    return [block.partition("```")[0] for block in text.split("```python\n")[1:]]


def run_example(code: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    code = code.replace("fermentation/batch-1/samples_csv", str(BATCH)).replace("samples.csv", "readings.csv")
    exec(code, found)
    return found


def test_the_documented_way_to_read_latest_works_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open(".sheaf/store")
    ingest(store, "a", "b")
    publish_readings(store)
    assert run_example(examples()[0])["rows"].fetchall() == [(1, "a"), (2, "b")]


def test_the_documented_way_to_read_latest_works_on_s3(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # the emulator has no certificate
    ingest(s3_store, "a", "b")
    publish_readings(s3_store)
    code = examples()[1].replace("s3://bucket/prefix", s3_store.url)
    assert run_example(code)["text"] == b"id,value\n1,a\n2,b\n"
