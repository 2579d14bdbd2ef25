"""Batches: what a CSV may say, and that nothing finished is ever done twice or lost."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import moved, programme, write_endless, write_wave

from sheaf import tables
from sheaf.errors import InputError, NotFoundError
from sheaf.exports.publish import Request, publish
from sheaf.media import schema
from sheaf.media.batch import analyse_batch, analyse_items, finish_batch, unfinished
from sheaf.media.batch_csv import parse_batch_csv, read_batch_csv
from sheaf.media.batch_options import Priority, read_batch_options
from sheaf.media.batch_record import read_items, read_record, request_cancel
from sheaf.media.ingest import batch_id, ingest
from sheaf.media.sample_pairs import write
from sheaf.media.schema import REJECTS
from sheaf.media.series import MEDIA
from sheaf.media.settings import MediaSettings
from sheaf.store import Store

SETTINGS = MediaSettings(methods=("spectral",))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good pair, one unrelated file, one silent file and one that is no media."""
    folder = tmp_path_factory.mktemp("media")
    sound = programme(8)
    write_wave(folder / "master.wav", sound)
    write_wave(folder / "dub.wav", moved(sound, -0.5))
    write_wave(folder / "other.wav", programme(8, 2))
    write_wave(folder / "silent.wav", np.zeros(96_000, np.float32))
    (folder / "junk.wav").write_bytes(b"no sound in here" * 100)
    return folder


def sheet(folder: Path, rows: list[str], name: str = "batch.csv", header: str = "master_file,dub_file") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_csv_of_the_specification() -> None:
    text = (
        "master_file,dub_file,methods,ai_model,description,tags\n"
        '/a/m1.wav,/a/d1.wav,"mfcc,ai",wav2vec2,Daily batch item 1,"daily,batch"\n'
        '/a/m2.wav,/a/d2.wav,"onset,spectral",,"With ""quotes"", commas",x\n'
    )
    first, second = parse_batch_csv("b.csv", text.encode()).rows
    assert (first.item_id, first.line, first.methods, first.ai_model) == ("item_001", 2, ("mfcc", "ai"), "wav2vec2")
    assert first.tags == ("daily", "batch")
    assert (second.methods, second.ai_model, second.description) == (
        ("onset", "spectral"),
        None,
        'With "quotes", commas',
    )


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_bom_line_ends_further_columns_and_blank_lines(ends: str) -> None:
    text = ends.join(["Note, DUB_FILE ,master_file", "x,d.wav,m.wav", "", "y,d2.wav,m2.wav"])
    rows = parse_batch_csv("b.csv", b"\xef\xbb\xbf" + text.encode()).rows
    assert [(row.item_id, row.master_file, row.dub_file) for row in rows] == [
        ("item_001", "m.wav", "d.wav"),
        ("item_002", "m2.wav", "d2.wav"),
    ]
    assert rows[1].line == 4


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no column master_file"),
        (b"master_file,other\na,b\n", "no column dub_file"),
        (b"master_file;dub_file\na;b\n", "separated by commas"),
        (b"master_file,dub_file\n", "holds no pair"),
        (b"master_file,dub_file,dub_file\na,b,c\n", "twice"),
        ("master_file,dub_file\na,b\n".encode("utf-16"), "not UTF-8"),
        (b'master_file,dub_file\n"a,b\n', "not valid CSV"),
        (b"\x00\x01\x02", "no column"),
    ],
)
def test_a_file_that_is_no_batch_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_batch_csv("b.csv", data)


def test_faults_stay_with_their_row() -> None:
    lines = ["m,d,mfcc,", "m,d,mfcc,", "m,,mfcc,", "m,d,magic,", "m,d,ai,gpt", "m,d,mfcc,,spare", "m,d,onset,"]
    text = "\n".join(["master_file,dub_file,methods,ai_model", *lines])
    rows = parse_batch_csv("b.csv", text.encode()).rows
    codes = [row.fault[0] if row.fault else None for row in rows]
    assert codes == [None, "DUPLICATE", "BAD_ROW", "UNKNOWN_METHOD", "UNKNOWN_MODEL", "BAD_ROW", None]
    assert rows[1].fault is not None
    assert "item_001" in rows[1].fault[1]


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=6))
def test_any_quoted_text_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    import io

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(["master_file", "dub_file", "description"])
    writer.writerows(rows)
    wanted = [tuple(value.strip() for value in row) for row in rows if any(value.strip() for value in row)]
    try:
        found = parse_batch_csv("b.csv", out.getvalue().encode()).rows
    except InputError:
        assert not wanted
    else:
        assert [(row.master_file, row.dub_file, row.description) for row in found] == wanted


def test_name_of_a_batch_comes_from_arrival_and_content(media: Path, local_store: Store) -> None:
    path = sheet(media, ["master.wav,dub.wav"], "named.csv")
    os.utime(path, (1_756_389_960, 1_756_389_960))
    name = batch_id(path, local_store)
    assert name == f"batch_20250828_140600_{read_batch_csv(path).sha256[:8]}"
    ingest(path, local_store, name, SETTINGS)
    again = media / "again.csv"
    again.write_bytes(path.read_bytes())
    assert batch_id(again, local_store) == name


def test_refused_csv_gets_a_reason_beside_it(tmp_path: Path, local_store: Store) -> None:
    path = sheet(tmp_path, ["a,b"], header="left,right")
    reason = tmp_path / "batch.csv.rejected.txt"
    with pytest.raises(InputError):
        batch_id(path, local_store)
    assert "no column master_file" in reason.read_text()
    sheet(tmp_path, ["a,b"])
    batch_id(path, local_store)
    assert not reason.exists()


def test_options_beside_the_csv(tmp_path: Path) -> None:
    path = sheet(tmp_path, ["a,b"])
    assert read_batch_options(path).priority is Priority.NORMAL
    path.with_suffix(".yaml").write_text("priority: high\nparallel_jobs: 3\n")
    assert (read_batch_options(path).priority.dagster, read_batch_options(path).parallel_jobs) == ("10", 3)
    path.with_suffix(".yaml").write_text("priority: urgent\n")
    with pytest.raises(InputError, match="priority='urgent'"):
        read_batch_options(path)


@pytest.fixture(scope="module")
def done(media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
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
    batch = batch_id(path, store)
    report = ingest(path, store, batch, SETTINGS)
    assert report.counts == {"items": 6, "bad_rows": 2}
    report = analyse_batch(store, batch, SETTINGS)
    assert report.counts["items_completed"] == 1
    assert report.rejects == {"SILENT": 1, "UNREADABLE": 1, "MISSING_FILE": 1, "OUTSIDE_ROOTS": 1}
    assert set(report.plots) == {"overlay", "confidence"}
    assert all(len(png) < 50_000 for png in report.plots.values())
    return store, batch


def test_failed_items_stand_beside_completed_ones(done: tuple[Store, str]) -> None:
    store, batch = done
    rows = {row["item_id"]: row for row in tables.read(store, schema.RESULTS, batch).to_pylist()}
    assert [row["status"] for row in rows.values()] == ["completed", "no_match", *["failed"] * 4]
    assert rows["item_001"]["offset_seconds"] == pytest.approx(-0.5, abs=1e-5)
    assert "absent.wav" in rows["item_005"]["error_message"]
    record = read_record(store, batch)
    assert (record.status, record.progress, record.items_failed, record.estimated_completion) == (
        "completed",
        100.0,
        4,
        None,
    )


def test_rejects_name_file_and_line(done: tuple[Store, str]) -> None:
    rows = tables.read(done[0], REJECTS, done[1]).to_pylist()
    assert [(row["file"], row["line"], row["primary_key"]) for row in rows] == [
        ("mixed.csv", 6, "item_005"),
        ("mixed.csv", 7, "item_006"),
    ]


def test_exports_verify_and_repeat(done: tuple[Store, str]) -> None:
    store, batch = done
    for series in MEDIA.series:
        made = publish(store, series, REJECTS, Request(batch))
        assert made.manifest.record_count == 6
        again = publish(store, series, REJECTS, Request(batch, always=True))
        assert [file.sha256 for file in again.manifest.files] == [file.sha256 for file in made.manifest.files]
    document = orjson.loads(store.get(f"exports/media/{batch}/results_json/v0001/results.json"))
    assert document["summary"]["items_total"] == 6
    assert document["summary"]["average_confidence"] > 0.9
    first = document["results"][0]
    assert first["status"] == "completed"
    assert first["result"]["offset_frames"]["25"] == pytest.approx(-12.5, abs=0.001)
    assert document["results"][4]["error"]["code"] == "MISSING_FILE"
    assert document["results"][1]["result"]["offset_seconds"] is None
    assert store.root is not None
    lines = duckdb.read_csv(str(store.root / f"exports/media/{batch}/results_csv/v0001/results.csv")).fetchall()
    assert len(lines) == 6
    page = store.get(f"exports/media/{batch}/report_html/v0001/report.html").decode()
    assert "The dub is 0.500 s late" in page
    assert page.count("<section") == 6
    assert "<script" not in page


def test_file_names_cannot_become_markup(media: Path, local_store: Store) -> None:
    path = sheet(media, ['"<script>alert(1)</script>.wav",dub.wav'], "markup.csv")
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, SETTINGS)
    analyse_batch(local_store, batch, SETTINGS)
    publish(local_store, MEDIA.series[2], REJECTS, Request(batch))
    page = local_store.get(f"exports/media/{batch}/report_html/v0001/report.html").decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert read_record(local_store, batch).status == "failed"  # the only item failed


def test_finished_items_are_not_repeated(done: tuple[Store, str], media: Path) -> None:
    store, batch = done
    before = read_items(store, batch)
    assert unfinished(store, batch, SETTINGS) == []
    analyse_batch(store, batch, SETTINGS)
    assert read_items(store, batch) == before
    os.utime(media / "dub.wav", (1, 1))  # another file under the same name
    assert unfinished(store, batch, SETTINGS) == ["item_001"]
    os.utime(media / "dub.wav")
    analyse_batch(store, batch, SETTINGS)


def test_shares_of_a_batch_can_be_done_apart(media: Path, local_store: Store) -> None:
    path = sheet(media, ["master.wav,dub.wav", "dub.wav,master.wav"], "shares.csv")
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, SETTINGS)
    for item in unfinished(local_store, batch, SETTINGS):
        assert analyse_items(local_store, batch, [item], SETTINGS) == 1
    assert finish_batch(local_store, batch).counts["items_completed"] == 2


def test_time_limit_of_an_item(media: Path, local_store: Store) -> None:
    path = sheet(media, ["master.wav,dub.wav"], "slow.csv")
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, SETTINGS)
    report = analyse_batch(local_store, batch, SETTINGS, timeout_seconds=0.01)
    assert report.rejects == {"TIMEOUT": 1}
    assert unfinished(local_store, batch, SETTINGS) == ["item_001"]  # with more time it may succeed


def test_cancel_keeps_what_is_finished(media: Path, local_store: Store) -> None:
    methods = ["mfcc", "onset", "spectral", "correlation", "ai"]
    chosen = [",".join(name for bit, name in enumerate(methods) if number >> bit & 1) for number in range(1, 31)]
    rows = [f'master.wav,dub.wav,"{names}"' for names in chosen]
    path = sheet(media, rows, "long.csv", "master_file,dub_file,methods")
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, SETTINGS)
    with pytest.raises(NotFoundError):
        request_cancel(local_store, "absent")

    def cancel() -> None:
        while not read_items(local_store, batch):
            time.sleep(0.05)
        request_cancel(local_store, batch)

    thread = threading.Thread(target=cancel)
    thread.start()
    report = analyse_batch(local_store, batch, SETTINGS)
    thread.join()
    record = read_record(local_store, batch)
    assert record.status == "cancelled"
    assert report.counts["items_completed"] >= 1
    assert report.counts["items_cancelled"] >= 20
    assert 0 < len(unfinished(local_store, batch, SETTINGS)) == report.counts["items_cancelled"]


_RUN = """
import sys
from sheaf.media.batch import analyse_batch
from sheaf.media.settings import MediaSettings
from sheaf.store import Store
analyse_batch(Store.open(sys.argv[1]), sys.argv[2], MediaSettings(methods=("spectral",)), parallel_jobs=1)
"""


def test_a_killed_run_is_taken_up_again(media: Path, local_store: Store) -> None:
    rows = ["master.wav,dub.wav", "dub.wav,master.wav", "other.wav,master.wav", "dub.wav,other.wav"]
    path = sheet(media, rows, "killed.csv")
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, SETTINGS)
    process = subprocess.Popen([sys.executable, "-c", _RUN, local_store.url, batch])
    while not read_items(local_store, batch):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = read_items(local_store, batch)
    assert read_record(local_store, batch).status == "processing"
    assert set(unfinished(local_store, batch, SETTINGS)).isdisjoint(finished)
    analyse_batch(local_store, batch, SETTINGS)
    after = read_items(local_store, batch)
    assert len(after) == 4
    assert all(after[name] == item for name, item in finished.items())
    assert read_record(local_store, batch).status == "completed"


def test_no_process_outlives_a_killed_run(media: Path, local_store: Store) -> None:
    write_endless(media / "endless.wav", programme(8), hours=3)
    path = sheet(media, ["master.wav,endless.wav"], "endless.csv")
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, SETTINGS)
    process = subprocess.Popen([sys.executable, "-c", _RUN, local_store.url, batch])
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
    names = write(tmp_path)
    path = tmp_path / "media" / names[0]
    batch = batch_id(path, local_store)
    ingest(path, local_store, batch, MediaSettings())
    analyse_batch(local_store, batch, MediaSettings())
    rows = tables.read(local_store, schema.RESULTS, batch).to_pylist()
    offsets = [row["offset_seconds"] for row in rows]
    assert offsets[:4] == pytest.approx([-1.208, 0.48, 0.0, -0.6], abs=1e-3)
    assert offsets[4] is None
    assert rows[2]["drift_ppm"] == pytest.approx(300, abs=1)
    assert [piece["offset_seconds"] for piece in rows[3]["segments"]] == pytest.approx([-0.6, 1.9], abs=1e-3)
    assert rows[1]["model_available"] is False
    publish(local_store, MEDIA.series[2], REJECTS, Request(batch))
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
