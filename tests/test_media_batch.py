"""Batches: what is read and found, and that nothing finished is ever done twice or lost."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pytest
from media_files import batch_of, ffmpeg, moved, programme, run_batch, sheet, write_endless, write_wave
from running import current, pinned

from sheaf import listing
from sheaf.errors import NotFoundError, SheafError, StaleError, StoreError, VerificationError
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import Written
from sheaf.media import schema
from sheaf.media.analysis import batch as analysis
from sheaf.media.analysis.item import CRASHED, give_back, take
from sheaf.media.analysis.rows import unsatisfied
from sheaf.media.batch_record import (
    BatchStatus,
    FinishedItem,
    ItemError,
    read_items,
    read_record,
    request_cancel,
    write_record,
)
from sheaf.media.domain import MEDIA
from sheaf.media.errors import CancelledError, ChangedError
from sheaf.media.methods import Method
from sheaf.media.result import Status
from sheaf.media.sample.pairs import write
from sheaf.media.settings import MediaSettings
from sheaf.media.sync.ffmpeg import executable
from sheaf.media.sync.probe import probe
from sheaf.media.writers.repaired_wav import refused, verify_repaired_wav
from sheaf.running import How, Made
from sheaf.store.store import Store
from sheaf.tables.accounts import Account, Kind

SETTINGS = MediaSettings(methods=(Method.SPECTRAL,))
JSON, CSV, HTML, TIMELINE, REPAIRED = MEDIA.series
UNASKED = MEDIA.series[:-1]


def fill(folder: Path) -> Path:
    """A folder with one good pair, one unrelated file, one silent file and one that is no media."""
    sound = programme(8)
    write_wave(folder / "master.wav", sound)
    write_wave(folder / "dub.wav", moved(sound, -0.5))
    write_wave(folder / "other.wav", programme(8, 2))
    write_wave(folder / "silent.wav", np.zeros(96_000, np.float32))
    (folder / "junk.wav").write_bytes(b"no sound in here" * 100)
    return folder


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the inbox; who changes its files takes `own`."""
    return fill(tmp_path_factory.mktemp("inbox") / "media")


@pytest.fixture
def own(media: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(media, tmp_path / "inbox" / "media", ignore=shutil.ignore_patterns("*.csv", "endless*"))


def rows_of(store: Store, batch: str) -> list[dict]:
    return current(store, MEDIA, batch).read(schema.RESULTS).to_pylist()


def published(store: Store, batch: str, settings: MediaSettings = SETTINGS) -> list[Published]:
    return [publish(store, MEDIA, series, Request(batch), settings) for series in UNASKED]


def account(made: Made) -> Account:
    (found,) = made.generation.account
    assert found.adds_up
    return found


def codes(made: Made) -> dict[str, int]:
    return {reason.code: reason.rows for reason in account(made).reasons if reason.kind is Kind.REJECT}


@pytest.fixture(scope="module")
def done(media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path, dict[str, Made]]:
    """A batch of good and bad pairs, analysed."""
    store = Store.open(str(tmp_path_factory.mktemp("done") / "store"))
    rows = [
        "master.wav,dub.wav",
        "master.wav,other.wav",
        "master.wav,silent.wav",
        "master.wav,junk.wav",
        "master.wav,absent.wav",
        "master.wav,../../etc/passwd",
    ]
    path = sheet(media, rows, "mixed.csv")
    return store, path, run_batch(store, path, SETTINGS)


def test_what_is_read_is_accounted_for(done: tuple[Store, Path, dict[str, Made]]) -> None:
    store, path, made = done
    read = made["pairs"]
    assert read.report.counts == {"items": 6, "bad_rows": 2}
    assert codes(read) == {"missing_file": 1, "outside_roots": 1}
    assert (account(read).seen, account(read).used) == (6, 4)
    assert read.generation.checks["readable"].passed
    assert not read.generation.checks["rejects"].passed
    tables = current(store, MEDIA, batch_of(store, path, SETTINGS))
    (rejects,) = tables.rejects("pairs")
    found = [(row["file"], row["line"], row["primary_key"], row["code"]) for row in rejects.to_pylist()]
    assert found == [("mixed.csv", 6, "item_005", "missing_file"), ("mixed.csv", 7, "item_006", "outside_roots")]
    names = tables.read(schema.FILES, ["name"])["name"].to_pylist()
    assert names == ["master.wav", "dub.wav", "other.wav", "silent.wav", "junk.wav"]


def test_what_is_found_is_accounted_for(done: tuple[Store, Path, dict[str, Made]]) -> None:
    made = done[2]["results"]
    assert made.report.counts["items_completed"] == 1
    assert codes(made) == {"silent": 1, "unreadable": 1}
    assert (account(made).seen, account(made).used) == (4, 2)
    assert set(made.report.plots()) == {"overlay", "confidence"}
    assert all(len(png) < 50_000 for png in made.report.plots().values())
    checks = made.generation.checks
    assert {name: verdict.passed for name, verdict in checks.items()} == {
        "failed": False,
        "no_match": True,
        "confidence": True,
    }
    assert checks["failed"].detail == "4 of 6 pairs failed (67%)"


def test_failed_items_stand_beside_completed_ones(done: tuple[Store, Path, dict[str, Made]]) -> None:
    store, path, _ = done
    batch = batch_of(store, path, SETTINGS)
    rows = {row["item_id"]: row for row in rows_of(store, batch)}
    assert [row["status"] for row in rows.values()] == ["completed", "no_match", *["failed"] * 4]
    assert rows["item_001"]["offset_seconds"] == pytest.approx(-0.5, abs=1e-5)
    assert rows["item_004"]["error_message"].startswith("junk.wav cannot be read")
    assert "absent.wav" in rows["item_005"]["error_message"]
    record = read_record(store, batch)
    assert (record.status, record.progress, record.items_failed, record.estimated_completion) == (
        "publishing",
        100.0,
        4,
        None,
    )


def test_no_table_and_no_export_tells_where_the_media_were(done: tuple[Store, Path, dict[str, Made]]) -> None:
    store, path, _ = done
    batch = batch_of(store, path, SETTINGS)
    tables = current(store, MEDIA, batch)
    folder = str(path.parent)
    for _, table in MEDIA.tables():
        assert folder not in str(tables.read(table).to_pylist()), table.name
    for made in published(store, batch):
        for file in made.manifest.files:
            assert folder.encode() not in store.get(f"{made.export.path}/{file.path}"), file.path


def test_exports_verify_and_repeat(done: tuple[Store, Path, dict[str, Made]]) -> None:
    store, path, _ = done
    batch = batch_of(store, path, SETTINGS)
    for series in MEDIA.series:
        made = publish(store, MEDIA, series, Request(batch), SETTINGS)
        laid = series in (TIMELINE, REPAIRED)  # only what has an offset
        assert made.manifest.record_count == (1 if laid else 6)
        assert publish(store, MEDIA, series, Request(batch), SETTINGS).unchanged
        again = publish(store, MEDIA, series, Request(batch, always=True), SETTINGS)
        assert [file.sha256 for file in again.manifest.files] == [file.sha256 for file in made.manifest.files]
    document = orjson.loads(store.get(f"exports/media/{batch}/results_json/v0001/results.json"))
    assert document["summary"]["items_total"] == 6
    assert document["summary"]["average_confidence"] > 0.9
    first = document["results"][0]
    assert first["status"] == "completed"
    assert first["result"]["offset_frames"]["25"] == pytest.approx(-12.5, abs=0.001)
    assert document["results"][4]["error"]["code"] == "MISSING_FILE"
    assert document["results"][1]["result"]["offset_seconds"] is None
    assert document["finished_at"] == max(item["analysed_at"] for item in document["results"] if item["analysed_at"])
    assert document["started_at"] < document["finished_at"]
    assert store.root is not None
    lines = duckdb.read_csv(str(store.root / f"exports/media/{batch}/results_csv/v0001/results.csv")).fetchall()
    assert len(lines) == 6
    page = store.get(f"exports/media/{batch}/report_html/v0001/report.html").decode()
    assert "The dub is 0.500 s late" in page
    assert page.count("<section") == 6
    assert "<script" not in page
    assert page.count('src="data:audio/mpeg;base64,') == 2  # before and after of the one pair with an offset
    assert len(page) < 100_000  # so 200 pairs are less than 20 MB


def decoded(data: bytes) -> np.ndarray:
    command = [executable(), "-v", "error", "-i", "pipe:0", "-f", "f32le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, input=data, capture_output=True, check=True).stdout, np.float32)


def test_the_snippets_let_both_be_heard(done: tuple[Store, Path, dict[str, Made]]) -> None:
    store, path, _ = done
    (row,) = current(store, MEDIA, batch_of(store, path, SETTINGS)).read(schema.SNIPPETS).to_pylist()
    assert row["item_id"] == "item_001"
    late = []
    for name in ("before", "after"):
        master, dub = decoded(row[name]).reshape(-1, 2).T
        assert len(master) == pytest.approx(5 * 16000, abs=2500)  # a codec adds a frame or two
        spectrum = np.fft.rfft(dub, 2 * len(dub)) * np.conj(np.fft.rfft(master, 2 * len(dub)))
        lag = int(np.argmax(np.fft.irfft(spectrum)))
        late.append((lag if lag < len(dub) else lag - 2 * len(dub)) / 16000)
    assert late == pytest.approx([0.5, 0], abs=1e-3)


def test_a_corrected_dub_is_the_dub_laid_on_its_master(done: tuple[Store, Path, dict[str, Made]]) -> None:
    store, path, _ = done
    batch = batch_of(store, path, SETTINGS)
    made = publish(store, MEDIA, REPAIRED, Request(batch), SETTINGS)
    assert made.manifest.counts["repaired"] == 1
    assert store.root is not None
    folder = store.root / made.export.path
    lines = list(csv.DictReader((folder / "repairs.csv").open(encoding="utf-8")))
    assert [line["file"] for line in lines] == ["item_001_in_sync.wav", *[""] * 5]
    assert lines[1]["reason"] == "no match was found"
    assert "absent.wav does not exist" in lines[4]["reason"]
    assert (lines[0]["seconds"], lines[0]["silent_seconds"]) == ("8.0", "0.0")
    corrected = decoded((folder / "item_001_in_sync.wav").read_bytes())
    sound = programme(8)
    assert len(corrected) == len(sound)
    assert np.corrcoef(corrected, sound)[0, 1] > 0.99


def test_a_dub_that_is_hardly_found_is_not_corrected() -> None:
    row = {"status": "completed", "error_message": None, "coverage": 0.3}
    assert "would become silence" in refused(row)
    assert refused({**row, "coverage": 0.6}) == ""


def test_silence_is_no_corrected_dub(tmp_path: Path) -> None:
    write_wave(tmp_path / "item_001_in_sync.wav", np.zeros(96_000, np.float32))
    columns = "item_id,file,reason,seconds"
    (tmp_path / "repairs.csv").write_text(f"{columns}\nitem_001,item_001_in_sync.wav,,2.0\n", encoding="utf-8")
    with pytest.raises(VerificationError, match=r"item_001_in_sync\.wav is silent"):
        verify_repaired_wav(tmp_path, Written(record_count=1))


def test_a_batch_asks_for_corrected_dubs_and_gets_all_tracks_but_none_of_changed_files(
    own: Path, local_store: Store
) -> None:
    ffmpeg(*("-i", own / "dub.wav", "-filter_complex", "[0:a]pan=stereo|c0=0*c0|c1=0*c0[silent]"),
           *("-map", "0:a", "-map", "[silent]", "-c:a", "flac"), own / "dub.mkv")  # fmt: skip
    path = sheet(own, ["master.wav,dub.mkv"])
    path.with_suffix(".yaml").write_text("repair: true\n", encoding="utf-8")
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    assert MEDIA.offered is not None
    assert REPAIRED.name in MEDIA.offered(current(local_store, MEDIA, batch))
    made = publish(local_store, MEDIA, REPAIRED, Request(batch), SETTINGS)
    assert local_store.root is not None
    folder = local_store.root / made.export.path
    (line,) = csv.DictReader((folder / "repairs.csv").open(encoding="utf-8"))
    assert (line["file"], line["other_tracks"]) == ("item_001_in_sync.wav", "item_001_in_sync_track_2.wav")
    assert [probe(folder / line[name]).tracks[0].layout for name in ("file", "other_tracks")] == ["mono", "stereo"]
    write_wave(own / "dub.mkv", moved(programme(8), -0.25))
    with pytest.raises(ChangedError, match=r"dub\.mkv has changed since the batch was read"):
        publish(local_store, MEDIA, REPAIRED, Request(batch, always=True), SETTINGS)


def test_a_batch_of_bad_rows_only_has_failed(media: Path, local_store: Store) -> None:
    path = sheet(media, ['"<script>alert(1)</script>.wav",dub.wav'], "markup.csv")
    made = run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    assert made["results"].generation.refused is None
    checks = made["results"].generation.checks
    assert (checks["failed"].passed, checks["no_match"].passed, checks["confidence"].passed) == (False, True, False)
    assert "none of 1 pairs has an offset" in checks["confidence"].detail
    published(local_store, batch)
    page = local_store.get(f"exports/media/{batch}/report_html/v0001/report.html").decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    document = orjson.loads(local_store.get(f"exports/media/{batch}/results_json/v0001/results.json"))
    assert (document["status"], document["finished_at"]) == ("failed", None)
    assert read_record(local_store, batch).status == "failed"


def test_nothing_is_done_again_for_files_that_were_moved_or_touched(
    own: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sheet(own, ["master.wav,dub.wav", "master.wav,silent.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    before = read_items(local_store, batch)
    assert not any(made.unchanged for made in published(local_store, batch))

    def never(*_: object) -> None:
        raise AssertionError("an item was analysed again")

    monkeypatch.setattr(analysis, "run_item", never)
    for file in own.iterdir():
        os.utime(file, (1_900_000_000, 1_900_000_000))
    touched = run_batch(local_store, path, SETTINGS)
    elsewhere = shutil.move(own, own.parent.parent / "elsewhere" / "media")
    assert batch_of(local_store, Path(elsewhere) / path.name, SETTINGS) == batch
    copied = run_batch(local_store, Path(elsewhere) / path.name, SETTINGS)
    assert all(made.unchanged for made in (*touched.values(), *copied.values()))
    assert all(made.unchanged for made in published(local_store, batch))

    other = SETTINGS.model_copy(update={"timeout_seconds": 299.0})  # the same answer within other limits
    limits = run_batch(local_store, Path(elsewhere) / path.name, other, only=["pairs"])
    assert limits["pairs"].unchanged
    monkeypatch.undo()
    again = run_batch(local_store, Path(elsewhere) / path.name, other)
    assert not again["results"].unchanged
    after = read_items(local_store, batch)
    assert after["item_001"] == before["item_001"]
    assert after["item_002"] != before["item_002"]  # what failed may not fail within others
    assert after["item_002"].error == before["item_002"].error, "a file is called as the CSV calls it, wherever it is"


def test_a_file_that_was_replaced_is_analysed_again(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav", "master.wav,other.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    before = read_items(local_store, batch)
    published(local_store, batch)
    look = (own / "dub.wav").stat()
    write_wave(own / "dub.wav", np.roll(moved(programme(8), -0.5), 4800))  # as long, and as old
    os.utime(own / "dub.wav", ns=(look.st_atime_ns, look.st_mtime_ns))
    made = run_batch(local_store, path, SETTINGS)
    assert not made["pairs"].unchanged
    assert rows_of(local_store, batch)[0]["offset_seconds"] == pytest.approx(-0.6, abs=1e-3)
    assert read_items(local_store, batch)["item_002"] == before["item_002"]
    assert [made.export.version for made in published(local_store, batch)] == [2] * len(UNASKED)


def test_a_file_that_comes_later_is_analysed_then(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav", "master.wav,late.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    assert [row["error_code"] for row in rows_of(local_store, batch)] == [None, "MISSING_FILE"]
    shutil.copy(own / "dub.wav", own / "late.wav")
    run_batch(local_store, path, SETTINGS)
    assert [row["status"] for row in rows_of(local_store, batch)] == ["completed", "completed"]


def test_results_are_not_lost_with_their_media(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav", "master.wav,other.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    (own / "dub.wav").rename(own.parent / "dub.wav")  # somebody tidies up, or a disk is not there
    made = run_batch(local_store, path, SETTINGS)
    assert "files: 3 → 2" in (made["pairs"].generation.refused or "")
    assert [row["status"] for row in rows_of(local_store, batch)] == ["completed", "no_match"]
    (own.parent / "dub.wav").rename(own / "dub.wav")
    assert all(made.generation.refused is None for made in run_batch(local_store, path, SETTINGS).values())
    (own / "dub.wav").unlink()
    run_batch(local_store, path, SETTINGS, how=How(accept_loss=True))
    assert [row["status"] for row in rows_of(local_store, batch)] == ["failed", "no_match"]


def test_a_file_that_changes_before_its_turn_is_no_result(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav", "master.wav,other.wav"])
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    batch = batch_of(local_store, path, SETTINGS)
    write_wave(own / "dub.wav", moved(programme(8), -0.25))
    with pytest.raises(SheafError, match=r"item_001: dub\.wav has changed since the batch was read\. 1 of 2 pairs"):
        run_batch(local_store, path, SETTINGS, only=["results"])
    assert list(read_items(local_store, batch)) == ["item_002"]
    assert read_record(local_store, batch).status == "failed"
    assert schema.RESULTS not in current(local_store, MEDIA, batch)
    (own / "dub.wav").unlink()
    (own / "other.wav").unlink()  # its pair is finished, so nobody asks for it
    with pytest.raises(SheafError, match=r"item_001: dub\.wav was there when the batch was read and cannot be read"):
        run_batch(local_store, path, SETTINGS, only=["results"])
    assert "files: 3 → 1" in (run_batch(local_store, path, SETTINGS)["pairs"].generation.refused or "")
    fill(own)
    assert run_batch(local_store, path, SETTINGS)["results"].report.counts["items_completed"] == 1
    assert list(read_items(local_store, batch)) == ["item_001", "item_002"]


@pytest.mark.parametrize(
    ("changed", "analysed", "shown"),
    [
        ({"methods": ("mfcc",)}, True, ["mfcc"]),
        ({"timeout_seconds": 200.0}, False, 200.0),
        ({"max_hours": 3.0}, False, 3.0),
        ({"parallel_jobs": 1}, False, None),
    ],
)
def test_settings_reach_the_export(
    own: Path, local_store: Store, changed: dict[str, Any], analysed: bool, shown: object
) -> None:
    path = sheet(own, ["master.wav,dub.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    published(local_store, batch)
    before = read_items(local_store, batch)
    settings = MediaSettings.model_validate({"methods": ["spectral"], **changed})
    if shown is not None:
        with pytest.raises(StaleError, match=next(iter(changed))):
            publish(local_store, MEDIA, JSON, Request(batch), settings)
    run_batch(local_store, path, settings)
    assert (read_items(local_store, batch) != before) is analysed
    found = publish(local_store, MEDIA, JSON, Request(batch), settings)
    assert found.unchanged is (shown is None)  # how many at a time is none of the reader's business
    assert found.manifest.made_with.get(next(iter(changed))) == shown


def test_options_of_the_batch_reach_the_export(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    published(local_store, batch)
    path.with_suffix(".yaml").write_text("parallel_jobs: 1\n")  # how it is run, not what is made
    run_batch(local_store, path, SETTINGS)
    assert read_record(local_store, batch).options.parallel_jobs == 1
    assert all(made.unchanged for made in published(local_store, batch))
    path.with_suffix(".yaml").write_text("description: Evening\npriority: high\n")
    run_batch(local_store, path, SETTINGS)
    json = published(local_store, batch)[0]
    document = orjson.loads(local_store.get(f"{json.export.path}/results.json"))
    assert (document["description"], document["priority"], json.export.version) == ("Evening", "high", 2)


def test_a_model_is_known_by_its_content(own: Path, local_store: Store) -> None:
    path = sheet(own, ['master.wav,dub.wav,"ai",yamnet'], header="master_file,dub_file,methods,ai_model")
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    batch = batch_of(local_store, path, SETTINGS)

    def read(model: Path) -> str | None:
        run_batch(local_store, path, SETTINGS.model_copy(update={"models": {"yamnet": model}}), only=["pairs"])
        return current(local_store, MEDIA, batch).read(schema.PAIRS)["model_sha256"].to_pylist()[0]

    (own / "a.onnx").write_bytes(b"one")
    (own / "b.onnx").write_bytes(b"one")
    (own / "c.onnx").write_bytes(b"two")
    assert read(own / "absent.onnx") is None
    assert read(own / "a.onnx") == read(own / "b.onnx") != read(own / "c.onnx")


def test_time_limit_of_an_item(media: Path, local_store: Store) -> None:
    path = sheet(media, ["master.wav,dub.wav"], "slow.csv")
    hasty = SETTINGS.model_copy(update={"timeout_seconds": 0.01})
    assert codes(run_batch(local_store, path, hasty)["results"]) == {"timeout": 1}
    assert run_batch(local_store, path, hasty)["results"].unchanged
    made = run_batch(local_store, path, SETTINGS)["results"]  # with more time it succeeds
    assert (codes(made), made.report.counts["items_completed"]) == ({}, 1)


def failing(code: str, times: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the first items end in an error; returns the names of all that were started."""
    started: list[str] = []
    whole = analysis.run_item

    def run_item(name, job, *how) -> FinishedItem:
        started.append(name)
        item = whole(name, job, *how)
        if len(started) > times:
            return item
        return item.model_copy(
            update={"status": Status.FAILED, "error": ItemError(code=code, message="It ended."), "result": None}
        )

    monkeypatch.setattr(analysis, "run_item", run_item)
    return started


@pytest.mark.parametrize(("times", "status"), [(1, "completed"), (2, "failed")])
def test_an_item_that_crashes_is_tried_once_more(
    own: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch, times: int, status: str
) -> None:
    path = sheet(own, ["master.wav,dub.wav"])
    started = failing(CRASHED, times, monkeypatch)
    run_batch(local_store, path, SETTINGS)
    assert started == ["item_001"] * 2
    assert [row["status"] for row in rows_of(local_store, batch_of(local_store, path, SETTINGS))] == [status]


@pytest.mark.campaign
def test_without_a_decoder_nothing_is_said_of_the_pairs(
    own: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sheet(own, ["master.wav,dub.wav", "dub.wav,master.wav", "master.wav,other.wav"])
    failing("TOOL", 1, monkeypatch)
    settings = SETTINGS.model_copy(update={"parallel_jobs": 1})
    with pytest.raises(SheafError, match=r"item_001: It ended\. 0 of 3 pairs are finished"):
        run_batch(local_store, path, settings)
    monkeypatch.undo()
    assert run_batch(local_store, path, settings)["results"].report.counts["items_completed"] == 2


def test_cancel_keeps_what_is_finished(media: Path, local_store: Store) -> None:
    methods = ["mfcc", "onset", "spectral", "correlation", "ai"]
    chosen = [",".join(name for bit, name in enumerate(methods) if number >> bit & 1) for number in range(1, 13)]
    rows = [f'master.wav,dub.wav,"{names}"' for names in chosen]
    path = sheet(media, rows, "long.csv", "master_file,dub_file,methods")
    batch = batch_of(local_store, path, SETTINGS)
    with pytest.raises(NotFoundError):
        request_cancel(local_store, "absent")

    def cancel() -> None:
        while not read_items(local_store, batch):
            time.sleep(0.05)
        request_cancel(local_store, batch)

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledError, match=f"of 12 pairs are finished and kept: `sheaf run media {batch}` goes on"):
        run_batch(local_store, path, SETTINGS)
    thread.join()
    kept = read_items(local_store, batch)
    record = read_record(local_store, batch)
    assert (record.status, record.items_cancelled) == ("cancelled", 12 - len(kept))
    assert 1 <= len(kept) <= 6
    assert schema.RESULTS not in current(local_store, MEDIA, batch), "a batch in the middle is no result"
    made = run_batch(local_store, path, SETTINGS)
    assert (made["pairs"].unchanged, made["results"].report.counts["items_completed"]) == (True, 12)
    after = read_items(local_store, batch)
    assert {name: after[name] for name in kept} == kept
    assert read_record(local_store, batch).items_cancelled == 0


def test_a_worker_waits_for_the_next_batch_unless_its_surroundings_changed(
    own: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch(local_store, sheet(own, ["master.wav,dub.wav"]), SETTINGS)
    (worker,) = take(1)
    assert worker.alive
    give_back([worker])
    monkeypatch.setenv("PATH", f"{own}:{os.environ['PATH']}")
    assert not take(1)[0].alive


def test_a_run_that_is_asked_to_stop_does(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav"])
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    with pytest.raises(CancelledError):
        run_batch(local_store, path, SETTINGS, how=How(cancelled=lambda: True), only=["results"])
    assert read_items(local_store, batch_of(local_store, path, SETTINGS)) == {}


@pytest.mark.parametrize(
    ("stopped_by", "told_as", "status"),
    [(KeyboardInterrupt, KeyboardInterrupt, "cancelled"), (MemoryError, StoreError, "failed")],
)
def test_a_run_that_is_stopped_does_not_say_that_it_goes_on(
    own: Path,
    local_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    stopped_by: type[BaseException],
    told_as: type[BaseException],
    status: str,
) -> None:
    def stop(*_: object) -> None:
        raise stopped_by

    monkeypatch.setattr(analysis, "run_item", stop)
    path = sheet(own, ["master.wav,dub.wav"])
    with pytest.raises(told_as):
        run_batch(local_store, path, SETTINGS)
    record = read_record(local_store, batch_of(local_store, path, SETTINGS))
    assert record.status == BatchStatus(status)
    assert record.finished_at is not None
    assert record.items_processing == 0


def test_a_batch_goes_on_without_its_record(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav"])
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    batch = batch_of(local_store, path, SETTINGS)
    local_store.put(f"batches/media/{batch}/record.json", b"{")
    assert batch_of(local_store, path, SETTINGS) == batch
    run_batch(local_store, path, SETTINGS)
    assert read_record(local_store, batch).status == "publishing"


@pytest.mark.case("media/batch-completed-before-results")
def test_completed_is_said_when_the_results_can_be_read(own: Path, local_store: Store) -> None:
    path = sheet(own, ["master.wav,dub.wav"])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    said = {}
    for series in MEDIA.series:
        publish(local_store, MEDIA, series, Request(batch), SETTINGS)
        readable = local_store.size(f"exports/media/{batch}/results_json/latest.json") is not None
        said[read_record(local_store, batch).status] = readable
    assert said.get("publishing", False) is False
    assert said["completed"]
    run_batch(local_store, path, SETTINGS)
    assert read_record(local_store, batch).status == "completed"


def test_a_list_says_where_a_batch_is(media: Path, local_store: Store) -> None:
    path = sheet(media, ["master.wav,dub.wav", "master.wav,absent.wav"], "followed.csv")
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    batch = batch_of(local_store, path, SETTINGS)
    told = listing.facts(local_store, MEDIA, batch)
    assert (told["csv_file"], told["status"], told["progress"]) == ("followed.csv", "pending", "0 %")
    assert "estimated_completion" not in told
    end = datetime(2026, 11, 27, 12, tzinfo=UTC)
    running = {"status": BatchStatus.PROCESSING, "progress": 50.0, "items_completed": 1, "estimated_completion": end}
    write_record(local_store, read_record(local_store, batch).model_copy(update=running))
    told = listing.facts(local_store, MEDIA, batch)
    assert (told["status"], told["progress"], told["completed"]) == ("processing", "50 %", 1)
    assert told["estimated_completion"] == end
    local_store.delete([f"batches/media/{batch}/record.json"])
    assert listing.facts(local_store, MEDIA, batch)["items_total"] == 2


@pytest.mark.case("media/ai-model-silently-replaced")
def test_a_model_that_did_not_run_is_said_before_all_else() -> None:
    row = {"ai_model": "wav2vec2", "error_code": None, "status": "completed", "ambiguous_with": []}
    replaced = [{**row, "item_id": f"item_{n:03}", "methods": ["ai"], "model_available": False} for n in range(1, 8)]
    unused = {**row, "item_id": "item_008", "methods": ["mfcc"], "model_available": None}
    failed = {**row, "item_id": "item_009", "methods": ["mfcc"], "ai_model": None}
    failed |= {"error_code": "SILENT", "error_message": "d.wav is silent."}
    assert unsatisfied([failed, *replaced, unused]) == (
        "wav2vec2 did not run, the built-in spectral embedding was used: "
        "item_001, item_002, item_003, item_004, item_005 and 2 more.",
        "wav2vec2 was not used, since the method ai is not among the methods: item_008.",
        "item_009: d.wav is silent.",
    )


_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from media_files import run_batch
from sheaf.media.settings import MediaSettings
from sheaf.store.store import Store
settings = MediaSettings(methods=("spectral",), parallel_jobs=1)
run_batch(Store.open(sys.argv[1]), Path(sys.argv[2]), settings, only=["results"])
"""


def start(store: Store, path: Path) -> subprocess.Popen[bytes]:
    """The analysis in a process of its own, one item at a time."""
    return subprocess.Popen([sys.executable, "-c", _RUN, store.url, str(path), str(Path(__file__).parent)])


def test_a_killed_run_is_taken_up_again(media: Path, local_store: Store) -> None:
    rows = ["master.wav,dub.wav", "dub.wav,master.wav", "other.wav,master.wav", "dub.wav,other.wav"]
    path = sheet(media, rows, "killed.csv")
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    batch = batch_of(local_store, path, SETTINGS)
    process = start(local_store, path)
    while not read_items(local_store, batch):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = read_items(local_store, batch)
    assert read_record(local_store, batch).status == "processing"
    run_batch(local_store, path, SETTINGS)
    after = read_items(local_store, batch)
    assert len(after) == 4
    assert all(after[name] == item for name, item in finished.items())
    assert read_record(local_store, batch).status == "publishing"


def test_no_process_outlives_a_killed_run(media: Path, local_store: Store) -> None:
    write_endless(media / "endless.wav", programme(8), hours=3)
    path = sheet(media, ["master.wav,endless.wav"], "endless.csv")
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    process = start(local_store, path)
    descendants: set[int] = set()
    while len(descendants) < 2:  # the item and its decoder
        assert process.poll() is None
        items = _children(process.pid)
        descendants = {*items, *(pid for item in items for pid in _children(item))}
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 1.5
    while any(_runs(pid) for pid in descendants):
        assert time.monotonic() < deadline, "an item or its decoder outlived its run"
        time.sleep(0.02)


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def _runs(pid: int) -> bool:
    """Whether a process is there and not only waiting to be collected."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


def test_sample_batch_tells_its_stories(tmp_path: Path, local_store: Store) -> None:
    (name,) = write(tmp_path / "inbox")
    path = tmp_path / "inbox" / "media" / name
    settings = MediaSettings()
    run_batch(local_store, path, settings)
    batch = batch_of(local_store, path, settings)
    rows = pinned(local_store, MEDIA, batch, settings).read(schema.RESULTS).to_pylist()
    offsets = [row["offset_seconds"] for row in rows]
    assert offsets[:4] == pytest.approx([-1.208, 0.48, 0.0, -0.6], abs=1e-3)
    assert offsets[4] is None
    assert rows[2]["drift_ppm"] == pytest.approx(300, abs=1)
    assert [piece["offset_seconds"] for piece in rows[3]["segments"]] == pytest.approx([-0.6, 1.9], abs=1e-3)
    assert rows[1]["model_available"] is False
    publish(local_store, MEDIA, HTML, Request(batch), settings)
    page = local_store.get(f"exports/media/{batch}/report_html/v0001/report.html").decode()
    told = [
        'item_001: <span class="off">off</span>',
        'item_003: <span class="good">in sync</span>',
        "The dub starts in sync. It drifts by +",
        "7 ms towards early by its end.",
        "The dub is edited: lay its 2 pieces as the table says.",
        'item_005: <span class="no_match">no match</span>',
        "No offset is sure enough",
    ]
    assert [sentence for sentence in told if sentence not in page] == []
