"""The one door for files from outside: only what really lies in a folder is ever read, whatever it is called."""

import contextlib
import json
import os
import resource
import socket
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotations_project import Project, read_folder
from fermentation_inbox import SETTINGS, put_batch, record, sensor_csv, steady_points
from fermentation_inbox import read as read_batch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matches_logs import Match, shot
from media_files import programme, write_wave
from occurrences_inbox import ingested, project, put

from sheaf import duck
from sheaf.errors import InputError, SheafError, SourceError
from sheaf.media.readers.paths import find_media
from sheaf.outside import files as delivered_files
from sheaf.outside.files import files, find, lines, named, read_bytes
from sheaf.outside.inbox import InboxSource, arrival, content, unknown
from sheaf.outside.parquet import DeliveredParquet
from sheaf.report import Report
from sheaf.store.store import Store

SECRET = "SHEAF_ELN_PASSWORD=hunter2"
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def everything(store: Store) -> bytes:
    """All bytes of a local store, tables unpacked."""
    held = []
    for item in store.list(""):
        data = store.get(item.path)
        held.append(data)
        if item.path.endswith(".parquet"):
            held.append(repr(pq.read_table(pa.BufferReader(data)).to_pylist()).encode())
    return b"".join(held)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):  # its whole path may be too long
        server.bind(path.name)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a pipe": fifo,
    "a socket": a_socket,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "a circle": lambda path: path.symlink_to(path),
    "nothing": lambda path: path.symlink_to(path.with_name("absent")),
    "a folder": lambda path: path.symlink_to("."),
    "the machine": lambda path: path.symlink_to("/usr"),
    "the next partition": lambda path: path.symlink_to("../other/secret.txt"),
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.case("reliability/link-loop")
@pytest.mark.case("reliability/fifo")
@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("place", ["x.log", "below/x.log"])
def test_what_is_no_file_of_a_partition_refuses_it_by_name(tmp_path: Path, what: str, place: str) -> None:
    folder = tmp_path / "matches" / "m"
    path = folder / place
    path.parent.mkdir(parents=True)
    (tmp_path / "matches" / "other").mkdir()
    (tmp_path / "matches" / "other" / "secret.txt").write_text(SECRET)
    (folder / "good.log").write_text("good")
    HOSTILE[what](path)
    started = time.monotonic()
    for look in (lambda: content(folder), lambda: arrival(tmp_path, "matches", "m")):
        with pytest.raises(InputError) as refused:
            look()
        assert str(path) in str(refused.value)
        assert str(refused.value).endswith((".", "there."))
    assert time.monotonic() - started < 2


def test_a_refused_partition_is_run_once_so_that_everybody_knows(tmp_path: Path) -> None:
    folder = tmp_path / "fermentation" / "b1"
    folder.mkdir(parents=True)
    source = InboxSource(tmp_path, "fermentation", lambda *_: Report())
    os.mkfifo(folder / "batch.json")
    first, second = (next(source.states(["b1"])) for _ in range(2))
    assert first.token
    assert first.token == second.token
    assert not first.problem


def test_links_inside_a_partition_are_files_and_hidden_ones_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "a.log").write_text("a")
    (folder / "latest.log").symlink_to("logs/a.log")
    (folder / ".DS_Store").write_text("x")
    (folder / ".#a.log").symlink_to("somebody@host")  # as an editor leaves it
    (folder / ".git").mkdir()
    os.mkfifo(folder / ".git" / "pipe")
    (folder / os.fsdecode(b"\xff.log")).write_text("b")
    assert sorted(os.fsencode(name) for name, _ in files(folder)) == [b"latest.log", b"logs/a.log", b"\xff.log"]
    before = content(folder)
    (folder / ".DS_Store").write_text("y")
    assert content(folder) == before
    (folder / "logs" / "a.log").write_text("b")
    assert content(folder) != before


def test_a_walk_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "p"
    (deep / "/".join("abcdef")).mkdir(parents=True)
    monkeypatch.setattr(delivered_files, "DEEPEST", 5)
    with pytest.raises(InputError, match="folders deep"):
        list(files(deep))
    monkeypatch.setattr(delivered_files, "MOST_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        list(files(deep))
    monkeypatch.setattr(delivered_files, "LISTING_S", -1.0)
    with pytest.raises(SheafError, match="could not be listed within"):
        list(files(deep))


def test_a_partition_that_is_a_link_out_of_its_domain_is_a_stray(tmp_path: Path, secret: Path) -> None:
    domain = tmp_path / "inbox" / "matches"
    (domain / "m1").mkdir(parents=True)
    (domain / "alias").symlink_to("m1")
    (domain / "etc").symlink_to("/etc")
    (domain / "self").symlink_to(".")
    (domain / "gone").symlink_to("absent")
    offer = InboxSource(tmp_path / "inbox", "matches", lambda *_: Report()).offers()
    assert offer.partitions == ("alias", "m1")
    assert sorted(offer.unusable) == ["etc", "gone", "self"]
    with pytest.raises(SheafError, match="no matches 'etc'"):
        arrival(tmp_path / "inbox", "matches", "etc")


@pytest.mark.case("reliability/link-exfiltration")
@pytest.mark.parametrize("name", ["detections.ndjson", "tags.csv", "labels.parquet", "coco/instances_train.json"])
def test_no_line_of_a_linked_file_gets_into_a_project(
    tmp_path: Path, local_store: Store, secret: Path, name: str
) -> None:
    made = Project(tmp_path / "signs", local_store)
    made.image("1.jpg")
    made.write()
    path = made.folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    assert "is a link that leads to no file of" in (read_folder(made.folder, local_store).generation.refused or "")
    assert b"hunter2" not in everything(local_store)


def test_no_line_of_a_linked_file_gets_into_the_other_domains(tmp_path: Path, local_store: Store, secret: Path) -> None:
    batch = put_batch(tmp_path / "batch-1", record())
    (batch / "sensors.csv").symlink_to(secret)
    assert "leads to no file" in (read_batch(local_store, batch).generation.refused or "")
    season = put(tmp_path / "p1", project())
    (season / "main_event.ndjson").unlink()
    (season / "main_event.ndjson").symlink_to(secret)
    assert "leads to no file" in (ingested(local_store, season).generation.refused or "")
    match = Match(tmp_path)
    match.log(shot(1))
    (match.folder / "match.yaml").symlink_to(secret)
    assert "leads to no file" in str(match.read().refused)
    (match.folder / "match.yaml").unlink()
    for described in ("logs: ['../../*']", "logs: ['a/../../../*']", 'database: "a\\0b"', "database: ../../secret.txt"):
        (match.folder / "match.yaml").write_text(described)
        assert match.read().refused, described
    assert b"hunter2" not in everything(local_store) + everything(match.store)


def test_names_are_found_however_another_system_spells_them(tmp_path: Path, local_store: Store) -> None:
    batch = put_batch(tmp_path / "batch-1", record(), sensor_csv(steady_points(range(0, 60, 10))), "SENSORS.CSV")
    (batch / "batch.json").rename(batch / "Batch.JSON")
    made = read_batch(local_store, batch)
    assert made.report.counts["sensor_points"] == 48
    (batch / "sensors.csv").write_text("time,sensor,value\n")
    assert "are the same: keep one" in (read_batch(local_store, batch).generation.refused or "")
    season = put(tmp_path / "p1", project())
    (season / "main_event.ndjson").rename(season / "MAIN_EVENT.NDJSON")
    assert ingested(local_store, season).report.counts["main_event"] == 1
    drawn = Project(tmp_path / "signs", local_store)
    drawn.image(unicodedata.normalize("NFC", "é/ü.jpg"), size=None)
    drawn.file(unicodedata.normalize("NFD", "é/ü") + ".JPG")
    drawn.write()
    (drawn.folder / "labels.ndjson").rename(drawn.folder / "Labels.NDJSON")
    made = read_folder(drawn.folder, local_store)
    assert (made.report.counts["images"], made.report.counts["labels"]) == (1, 2)
    voice = write_wave(tmp_path / unicodedata.normalize("NFD", "é.WAV"), programme(1))
    for name in (unicodedata.normalize("NFC", "é.wav"), str(tmp_path / unicodedata.normalize("NFC", "é.wav"))):
        assert find_media(name, [tmp_path]) == voice.resolve()
    assert find(tmp_path, "É.wav") is None
    assert find(tmp_path, "../x") is None


def test_what_is_read_at_once_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\nb\r\n\xef\xbb\xbfc\rd")
    assert list(lines(path)) == [b"a\n", b"b\r\n", b"\xef\xbb\xbfc\rd"]
    assert read_bytes(path, 20) == path.read_bytes()
    with pytest.raises(InputError, match="larger than"):
        read_bytes(path, 3)
    monkeypatch.setattr(delivered_files, "MOST_LINE", 5)
    with pytest.raises(InputError, match="line 3 is longer"):
        list(lines(path))
    os.mkfifo(tmp_path / "pipe")
    for refused in (tmp_path / "pipe", tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError):
            read_bytes(refused, 10)
    with pytest.raises(InputError, match="no regular file"):
        named(tmp_path, ["PIPE"])


def test_what_lies_in_the_inbox_and_belongs_to_nothing_is_named(tmp_path: Path) -> None:
    for name in ("fermentation/b1", "fermentations/b1", "requests/accepted", ".git", "misc"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("batch.json", "README.md", "requests/a.yaml", "requests/b.txt", "requests/README", "x.xlsx"):
        (tmp_path / name).touch()
    for name in ("batch.json", "pairs.xlsx", "notes.txt", ".DS_Store", "Thumbs.db"):
        (tmp_path / "fermentation" / name).touch()
    found = unknown(tmp_path, ("fermentation", "matches"))
    assert sorted(found) == ["batch.json", "fermentations", "misc", "requests/b.txt", "x.xlsx"]
    assert "rename it to fermentation" in found["fermentations"]
    offer = InboxSource(tmp_path, "fermentation", lambda *_: Report()).offers()
    assert sorted(offer.problems()) == ["batch.json", "pairs.xlsx"]
    assert offer.partitions == ("b1",)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started from its main thread and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak_kb(pid: int) -> int:
    """The most memory a process has held since it was started."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


BOMBS: dict[str, Callable[[], pa.Table]] = {
    "rows": lambda: pa.table({"id": pa.array([1] * 5_000_000)}),
    "one long text": lambda: pa.table({"id": ["x" * 200_000_000]}),
    "a text again and again": lambda: pa.table({"id": pa.array(["x" * 5_000_000] * 300)}),
    "a list": lambda: pa.table({"id": [[0] * 5_000_000]}),
    "texts in a list": lambda: pa.table({"id": [["x" * 5_000_000] * 300]}),
}


@pytest.mark.parametrize("what", ["rows", *(pytest.param(what, marks=pytest.mark.campaign) for what in [*BOMBS][1:])])
def test_a_small_parquet_file_takes_little_memory_whatever_it_stands_for(tmp_path: Path, what: str) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(BOMBS[what](), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 200_000
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            for batch in DeliveredParquet(path).batches():
                batch.to_pylist()
        except InputError:
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            os._exit(min(250, max(own, *map(peak_kb, children_of(os.getpid()))) // 2048))
        os._exit(255)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) < 200, "at most 400 MB more, and as much in the child"


def test_a_whole_parquet_file_is_read_as_it_is(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": [None, "x", "y" * 20_000],
            "list": [None, [], [1.5, None]],
            "struct": [None, {"k": "v"}, {"k": None}],
            "again": pa.array(["q", "q", "r"]).dictionary_encode(),
            "texts": [["z" * 9000], [], None],
            "nothing": pa.nulls(3),
        }
    )
    for compression in ("none", "snappy", "zstd", "gzip"):
        for version in ("1.0", "2.0"):
            pq.write_table(table, tmp_path / "x.parquet", compression=compression, data_page_version=version)
            file = DeliveredParquet(tmp_path / "x.parquet")
            assert [row for batch in file.batches() for row in batch.to_pylist()] == table.to_pylist()
            assert file.batches(["text"]).__next__().schema.names == ["text"]
    pq.write_table(table.slice(0, 0), tmp_path / "x.parquet")
    assert not list(DeliveredParquet(tmp_path / "x.parquet").batches())


def test_parquet_of_types_that_only_arrow_knows_is_read_as_what_it_stands_for(tmp_path: Path) -> None:
    table = pa.table(
        {
            "number": pa.array([Decimal(10) ** 60], pa.decimal256(76, 0)),
            "numbers": pa.array([[Decimal("1.5")]], pa.list_(pa.decimal256(50, 1))),
            "half": pa.array([1.5], pa.float32()).cast(pa.float16()),
            "when": pa.array([0], pa.timestamp("us", "Mars/Base")),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    file = DeliveredParquet(tmp_path / "x.parquet")
    wanted = {"number": str(10**60), "numbers": ["1.5"], "half": 1.5, "when": datetime(1970, 1, 1, tzinfo=UTC)}
    assert list(file.rows()) == [wanted]
    with duck.connect() as database:
        database.register("delivered", pa.RecordBatchReader.from_batches(file.schema, file.batches()))
        assert database.execute("SELECT number, numbers, half FROM delivered").fetchall() == [
            (str(10**60), ["1.5"], 1.5)
        ]
    for unit in ("ms", "us", "ns"):
        times = pa.array([-(2**63), 2**63 - 1, 0, None], pa.timestamp(unit))
        pq.write_table(pa.table({"when": times}), tmp_path / "x.parquet")
        file = DeliveredParquet(tmp_path / "x.parquet")
        with duck.connect() as database:
            database.register("delivered", pa.RecordBatchReader.from_batches(file.schema, file.batches()))
            first, last, begin, none = database.execute('SELECT "when"::TIMESTAMP::VARCHAR FROM delivered').fetchall()
        assert first != last
        assert (begin, none) == (("1970-01-01 00:00:00",), (None,))
    pq.write_table(pa.table({"when": pa.array([2**62], pa.timestamp("us"))}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="holds values that cannot be read"):
        list(DeliveredParquet(tmp_path / "x.parquet").rows())


def mutated(data: bytes, cuts: list[tuple[int, bytes]]) -> bytes:
    """Bytes with some places overwritten; a place is a part of the length, of 1000."""
    found = bytearray(data)
    for place, piece in cuts:
        start = place * len(found) // 1000
        found[start : start + len(piece)] = piece
    return bytes(found)


cuts = st.lists(st.tuples(st.integers(0, 999), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)
SAMPLE = pa.table({"id": list(range(50)), "t": [f"t{n}" for n in range(50)], "l": [[n] * (n % 3) for n in range(50)]})


@quick
@given(cuts, st.sampled_from(["none", "zstd"]))
def test_damaged_parquet_is_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, hits, compression) -> None:
    path = tmp_path_factory.mktemp("p") / "x.parquet"
    pq.write_table(SAMPLE, path, compression=compression)
    path.write_bytes(mutated(path.read_bytes(), hits))
    with suppress(InputError):
        list(DeliveredParquet(path).rows())


@settings(quick, max_examples=25)
@given(cuts, st.sampled_from(["batch.json", "sensors.csv"]))
def test_a_damaged_batch_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, hits, name) -> None:
    root = tmp_path_factory.mktemp("b")
    folder = put_batch(root / "batch-1", record(), sensor_csv(steady_points(range(0, 60, 10))))
    (folder / name).write_bytes(mutated((folder / name).read_bytes(), hits))
    made = read_batch(Store.open(str(root / "store")), folder, settings=SETTINGS)
    assert made.generation.refused is None or made.generation.refused.endswith((".", ")", "!"))


@settings(quick, max_examples=25)
@given(cuts, st.sampled_from(["images", "labels", "detections"]), st.sampled_from(["ndjson", "csv", "parquet"]))
def test_a_damaged_project_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, hits, table, ending) -> None:
    root = tmp_path_factory.mktemp("a")
    made = Project(root / "signs", Store.open(str(root / "store")))
    made.box(made.image("1.jpg"))
    made.file("1.jpg")
    made.write()
    path = made.folder / f"{table}.ndjson"
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    path.unlink()
    path = path.with_suffix(f".{ending}")
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "csv":
        header = list(rows[0])
        path.write_text("\n".join([",".join(header), *(",".join(str(row[key]) for key in header) for row in rows)]))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    path.write_bytes(mutated(path.read_bytes(), hits))
    read_folder(made.folder, made.store)


@pytest.mark.case("front-door/inbox-strays-silent")
def test_sources_doctor_and_run_name_what_belongs_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    inbox = tmp_path / "inbox"
    for name in ("fermentation", "fermentations", "media", "matches"):
        (inbox / name).mkdir(parents=True)
    (inbox / "fermentation" / "batch.json").write_text("{}")
    (inbox / "media" / "pairs.csv").write_text("one;two\na;b\n")

    def said(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main.main(list(arguments))
        return int(ended.value.code or 0), " ".join("".join(capsys.readouterr()).split())

    code, text = said("sources")
    assert code == 1
    assert "fermentations in the inbox: It is the folder of no domain" in text
    assert "batch.json in the inbox is not read. It is no folder" in text
    assert "pairs.csv in the inbox is not read." in text
    assert said("run", "matches")[0] == 0, "what lies in the inbox itself is a note"
    code, text = said("run", "media")
    assert code == 1
    assert "separated by commas" in text
    code, text = said("run", "fermentation")
    assert code == 1
    assert "It is no folder" in text
    code, text = said("doctor", "--json")
    assert code == 1
    assert "note: fermentations: It is the folder of no domain" in text
    assert "batch.json is not read. It is no folder" in text
    assert sorted(path.name for path in inbox.rglob("*")) == [
        *("batch.json", "fermentation", "fermentations", "matches", "media", "pairs.csv")
    ]


def test_a_disk_that_gives_nothing_is_an_outage_and_no_fault_of_the_delivery(tmp_path: Path) -> None:
    """A partition whose disk is away must not become a refusal, as one that may not be read does."""
    broken = Path("/proc/self/mem")  # a regular file whose every read fails with EIO
    for read in (lambda: next(lines(broken)), lambda: read_bytes(broken, 10)):
        with pytest.raises(SourceError, match=r"Input/output error\. Is its disk in order"):
            read()
    with pytest.raises(SourceError, match="There is no inbox at"):
        arrival(tmp_path / "not mounted", "fermentation", "batch-1")
