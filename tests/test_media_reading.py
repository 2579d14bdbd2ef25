"""What a batch's CSV may say, and that every row of it is accounted for."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import batch_of, run_batch, sheet
from running import current

from sheaf.errors import InputError
from sheaf.media import schema
from sheaf.media.domain import MEDIA
from sheaf.media.errors import OutsideRootsError
from sheaf.media.methods import Method
from sheaf.media.readers.batch_csv import MAX_BYTES, parse_batch_csv, read_batch_bytes
from sheaf.media.readers.batch_options import BatchOptions, Priority, read_batch_options
from sheaf.media.readers.content import Located, MediaFile
from sheaf.media.readers.ingest import Ordered, ingest
from sheaf.media.readers.paths import find_media
from sheaf.media.settings import MediaSettings
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind
from sheaf.tables.pinned import Tables
from sheaf.tables.rejects import Rejects
from sheaf.tables.table import Table
from sheaf.tables.work import Work


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
    text = ends.join(["Note, Dub File ,master-file", "x,d.wav,m.wav", "", "y,d2.wav,m2.wav"])
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
        (b"master_file:dub_file\na:b\n", "separated by commas"),
        (b"master_file,dub_file\n", "holds no pair"),
        (b"master_file,dub_file,dub_file\na,b,c\n", "twice"),
        ("master_file,dub_file\na,b\n".encode("utf-16-le"), "is no text"),
        (b'master_file,dub_file\n"a,b\n', "not valid CSV"),
        (b"\x00\x01\x02", "is no text"),
    ],
)
def test_a_file_that_is_no_batch_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_batch_csv("b.csv", data)


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES * 1000)
    with pytest.raises(InputError, match="larger than 16 MB"):
        read_batch_bytes(path)


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


FILES = ("a.wav", "b.wav", "absent.wav")
row = st.tuples(
    st.sampled_from(["", *FILES]),
    st.sampled_from(["", *FILES]),
    st.sampled_from(["", "mfcc", "ai", "magic", "mfcc;ai"]),
    st.sampled_from(["", "yamnet", "gpt"]),
    st.sampled_from(["", "x", "x,y"]),
)


@settings(max_examples=25)
@given(st.lists(row, max_size=12), st.binary(max_size=30))
def test_every_row_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("work")
    store = Store.open(str(folder / "store"))
    data = b"master_file,dub_file,methods,ai_model\n" + "".join(",".join(cells) + "\n" for cells in rows).encode()
    at = MediaFile(path=Path("/a"), size=1, mtime_ns=1, ctime_ns=1, sha256="0" * 64)
    found: dict[str, MediaFile] = dict.fromkeys(FILES[:2], at)
    ordered = Ordered(
        "b.csv", data + noise, BatchOptions(), "", {"absent.wav": ("MISSING_FILE", "It is gone.")}, Located(files=found)
    )
    work = Work(Tables(store, "batch_x", {}), MediaSettings(), folder, Rejects(folder))
    try:
        report = ingest(ordered, work)
    except InputError:
        return
    (account,) = work.rejects.accounts({name: work.tables.rows(table) for name, table in _written(work)})
    assert account.adds_up
    assert account.seen == report.counts["items"] == work.tables.rows(schema.PAIRS)
    assert account.rejected == report.counts["bad_rows"]
    assert all(reason.code == reason.code.lower() for reason in account.reasons if reason.kind is Kind.REJECT)
    pairs = work.tables.read(schema.PAIRS).to_pylist()
    assert all(pair["error_code"] or {pair["master_file"], pair["dub_file"]} <= set(FILES[:2]) for pair in pairs)


def _written(work: Work) -> list[tuple[str, Table]]:
    return [(table.name, table) for _, table in MEDIA.tables() if table in work.tables]


def test_options_beside_the_csv(tmp_path: Path) -> None:
    path = sheet(tmp_path, ["a,b"])
    assert read_batch_options(path).priority is Priority.NORMAL
    path.with_suffix(".yaml").write_text("")
    assert read_batch_options(path).priority is Priority.NORMAL
    path.with_suffix(".yaml").write_text("priority: high\nparallel_jobs: 3\n")
    assert (read_batch_options(path).priority.dagster, read_batch_options(path).parallel_jobs) == ("10", 3)
    path.with_suffix(".yaml").write_text("priority: urgent\n")
    with pytest.raises(InputError, match="priority='urgent'"):
        read_batch_options(path)


def test_rows_without_methods_get_those_of_the_site(tmp_path: Path, local_store: Store) -> None:
    folder = tmp_path / "inbox" / "media"
    folder.mkdir(parents=True)
    path = sheet(folder, ["a.wav,b.wav,", "a.wav,b.wav,mfcc"], header="master_file,dub_file,methods")
    batch = batch_of(local_store, path, MediaSettings())

    def read(own: MediaSettings) -> list[tuple[list[str], str]]:
        run_batch(local_store, path, own, only=["pairs"])
        pairs = current(local_store, MEDIA, batch).read(schema.PAIRS).to_pylist()
        return [(pair["methods"], pair["error_code"]) for pair in pairs]

    assert read(MediaSettings()) == [(["mfcc", "onset", "spectral"], "MISSING_FILE"), (["mfcc"], "MISSING_FILE")]
    assert read(MediaSettings(methods=(Method.MFCC,))) == [(["mfcc"], "MISSING_FILE"), (["mfcc"], "DUPLICATE")]


@pytest.mark.case("media/media-csv-refused-in-silence")
@pytest.mark.parametrize(
    "data",
    [
        b"master_file;dub_file\nm.wav;d.wav\n",
        b"\r\nsep=;\r\nmaster_file;dub_file\r\nm.wav;d.wav\r\n",
        b"master_file\tdub_file\nm.wav\td.wav\n",
        "master_file,dub_file\nm.wav,d.wav\n".encode("utf-16"),
        b"master_file,dub_file,,\nm.wav,d.wav,,\n",
        b"\xef\xbb\xbfsep=|\nmaster_file|dub_file\nm.wav|d.wav\n",
    ],
)
def test_a_csv_as_spreadsheets_save_it(data: bytes) -> None:
    row = parse_batch_csv("x.csv", data).rows[0]
    assert (row.master_file, row.dub_file, row.fault) == ("m.wav", "d.wav", None)


def test_accents_of_a_western_spreadsheet() -> None:
    sheet = parse_batch_csv("x.csv", "master_file;dub_file\ncafé.wav;d.wav\n".encode("cp1252"))
    assert sheet.rows[0].master_file == "café.wav"


def test_tracks_are_numbers() -> None:
    header = b"master_file,dub_file,dub_track\n"
    rows = parse_batch_csv("x.csv", header + b"m.wav,d.wav,2\nm.wav,e.wav,second\n").rows
    assert rows[0].tracks == (None, 2)
    assert rows[1].fault == ("BAD_ROW", "dub_track must be the number of a sound track, from 1.")


def test_paths_of_other_systems_are_found_below_a_root_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "reel 2").mkdir()
    file = tmp_path / "reel 2" / "x.wav"
    file.touch()
    windows = (r"reel 2\x.wav", r"E:\Projects\reel 2\x.wav", r"\\nas\share\reel 2\x.wav", '"E:\\reel 2\\x.wav"')
    shares = ("/Volumes/NAS/reel 2/x.wav", "//nas/share/reel 2/x.wav", "smb://nas/share/reel%202/x.wav")
    urls = ("file:///E:/Projects/reel%202/x.wav", "file:///Volumes/NAS/reel%202/x.wav", f"file://localhost{file}")
    for name in (*windows, *shares, *urls):
        assert find_media(name, [tmp_path]) == file
    for name in (r"C:\x.wav", r"D:\..\reel 2\x.wav"):
        with pytest.raises(OutsideRootsError, match="Windows machine"):
            find_media(name, [tmp_path])


@pytest.mark.case("media/nfc-nfd")
def test_accents_may_be_written_either_way(tmp_path: Path) -> None:
    file = tmp_path / unicodedata.normalize("NFD", "café.wav")
    file.touch()
    assert find_media(unicodedata.normalize("NFC", "café.wav"), [tmp_path]) == file
