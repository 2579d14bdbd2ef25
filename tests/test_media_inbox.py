"""Media batches in the inbox: what is offered, when one counts as changed, and that looking changes nothing."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest
from media_files import batch_of, programme, run_batch, sheet, write_wave
from running import current

from sheaf.errors import InputError, NotFoundError, SourceError
from sheaf.media import schema
from sheaf.media.batch_record import read_record
from sheaf.media.domain import MEDIA
from sheaf.media.readers import content
from sheaf.media.sample import pairs
from sheaf.media.settings import MediaSettings
from sheaf.media.sources.inbox import MediaInbox
from sheaf.sources import State
from sheaf.store.store import Store

SETTINGS = MediaSettings()
PAIR = "master.wav,dub.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The inbox's folder, with one short pair."""
    folder = tmp_path / "inbox" / "media"
    for name in ("master.wav", "dub.wav"):
        write_wave(folder / name, programme(1))
    return folder


@pytest.fixture
def source(folder: Path, local_store: Store) -> MediaInbox:
    return MediaInbox(folder.parent, local_store.url, SETTINGS)


def state(source: MediaInbox) -> State:
    (found,) = source.states(source.offers().partitions)
    assert found.problem == ""
    return found


def delivered(source: MediaInbox, store: Store, tmp_path: Path) -> str:
    (batch,) = source.offers().partitions
    with source.deliver(store, batch, tmp_path) as delivery:
        return delivery.name


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in sorted(folder.rglob("*"))}


@pytest.mark.case("media/media-bad-csv-silent")
@pytest.mark.case("core/listing-writes-inbox")
@pytest.mark.case("media/media-csv-refused-in-silence")
def test_a_csv_that_cannot_be_used_is_offered_with_the_reason_and_nothing_is_written(
    folder: Path, source: MediaInbox, local_store: Store
) -> None:
    sheet(folder, [PAIR], "good.csv")
    sheet(folder, ["master.wav;dub.wav"], "wrong.CSV", "one;two")
    (folder / "empty.csv").touch()
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "zeros.csv").symlink_to("/dev/zero")
    (folder / "outside.csv").symlink_to(sheet(folder.parent.parent, [PAIR], "elsewhere.csv"))
    (folder / "circle.csv").symlink_to(folder / "circle.csv")
    (folder / "gone.csv").symlink_to(folder / "absent.csv")
    (folder / "._good.csv").write_bytes(b"\0\5\x16\7")  # what a Mac leaves beside a file
    before = snapshot(folder)
    offered = source.offers()
    assert list(offered.notes.values()) == ["good.csv"]
    assert sorted(offered.unusable) == [
        *("circle.csv", "empty.csv", "folder.csv", "gone.csv", "outside.csv", "pipe.csv"),
        *("wrong.CSV", "zeros.csv"),
    ]
    assert "separated by commas" in offered.unusable["wrong.CSV"]
    assert "leads to no file of" in offered.unusable["outside.csv"]
    assert "no regular file" in offered.unusable["pipe.csv"]
    assert all(sentence.endswith(".") for sentence in offered.unusable.values())
    assert source.check().endswith(f"1 partitions, 8 unusable: {', '.join(offered.unusable)}")
    state(source)
    assert snapshot(folder) == before
    (folder / "wrong.CSV").write_text(f"master_file,dub_file\ndub.wav,dub.wav,{'x' * 9}\n", encoding="utf-8")
    assert "wrong.CSV" in source.offers().notes.values()
    assert local_store.folders("") == []


@pytest.mark.case("front-door/inbox-strays-silent")
def test_what_was_meant_to_be_a_batch_is_named_and_media_are_not(folder: Path, source: MediaInbox) -> None:
    sheet(folder, [PAIR], "good.csv")
    (folder / "films").mkdir()
    sheet(folder / "films", [PAIR], "deep.csv")
    (folder / "films" / "cues.csv").write_text("time,cue\n", encoding="utf-8")
    for name in (
        "pairs.xlsx",
        "all.ZIP",
        "good.yaml",
        "good.json",
        "lost.yaml",
        "README.md",
        "a.wav",
        "b.mxf",
        ".x.tsv",
    ):
        (folder / name).touch()
    before = snapshot(folder)
    offered = source.offers()
    assert offered.unusable == {
        "films/deep.csv": "It lies in a folder: put it directly into media/.",
        "pairs.xlsx": "It is no CSV: save it as CSV, in UTF-8, directly in media/.",
        "all.ZIP": "It is packed: unpack it, with the CSV directly in media/.",
        "good.json": "It is not read: the options of good.csv are good.yaml.",
        "lost.yaml": "There is no CSV of this name: the options of a batch are called as its CSV is.",
    }
    assert list(offered.notes.values()) == ["good.csv"]
    assert snapshot(folder) == before


def test_a_run_writes_nothing_to_the_inbox(folder: Path, local_store: Store) -> None:
    path = sheet(folder, [PAIR])
    before = snapshot(folder)
    run_batch(local_store, path, SETTINGS)
    assert snapshot(folder) == before


def test_the_inbox_has_to_be_there(tmp_path: Path, local_store: Store) -> None:
    with pytest.raises(SourceError, match="no inbox"):
        MediaInbox(tmp_path / "absent", local_store.url, SETTINGS).offers()
    (tmp_path / "inbox").mkdir()
    source = MediaInbox(tmp_path / "inbox", local_store.url, SETTINGS)
    assert source.offers().partitions == ()
    (found,) = source.states(["batch_20250828_140600_a1b2c3d4"])
    assert "no CSV" in found.problem
    with pytest.raises(NotFoundError), source.deliver(local_store, "batch_x", tmp_path):
        pass


def test_the_name_of_a_batch_comes_from_arrival_and_content(folder: Path, local_store: Store) -> None:
    path = sheet(folder, [PAIR], "named.csv")
    path.with_suffix(".yaml").write_text("description: Evening\n")
    os.utime(path, (1_756_389_960, 1_756_389_960))
    batch = batch_of(local_store, path, SETTINGS)
    assert batch == f"batch_20250828_140600_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    os.utime(path)
    assert batch_of(local_store, path, SETTINGS) == batch
    shutil.copy(path, folder / "again.csv")  # the same bytes are the same batch, read from where it was read before
    assert batch_of(local_store, path, SETTINGS) == batch
    assert run_batch(local_store, path, SETTINGS, only=["pairs"])["pairs"].unchanged
    path.unlink()
    assert batch_of(local_store, folder / "again.csv", SETTINGS) == batch
    made = run_batch(local_store, folder / "again.csv", SETTINGS, only=["pairs"])["pairs"]
    assert not made.unchanged
    assert current(local_store, MEDIA, batch).read(schema.BATCHES)["csv_file"].to_pylist() == ["again.csv"]


@pytest.mark.parametrize("removed", ["record.json", ""])
def test_a_batch_keeps_its_name_without_its_record(folder: Path, local_store: Store, removed: str) -> None:
    path = sheet(folder, [PAIR])
    run_batch(local_store, path, SETTINGS, only=["pairs"])
    batch = batch_of(local_store, path, SETTINGS)
    local_store.delete([item.path for item in local_store.list(f"batches/media/{batch}") if removed in item.path])
    os.utime(path, (1, 1))
    assert batch_of(local_store, path, SETTINGS) == batch


@pytest.mark.parametrize(("said", "tag"), [("high", "10"), ("low", "-10"), ("normal", "0")])
def test_the_priority_of_a_batch_is_that_of_its_run(folder: Path, source: MediaInbox, said: str, tag: str) -> None:
    sheet(folder, [PAIR]).with_suffix(".yml").write_text(f"priority: {said}\n", encoding="utf-8")
    assert state(source).tags == {"dagster/priority": tag}


POISON = {
    "an unknown word": (b"priority: urgent\n", "priority='urgent' cannot be used: input should be 'low'"),
    "an unknown key": (b"parallel_job: 3\n", "unknown key 'parallel_job': known are description"),
    "a date": (b"description: 2026-02-30\n", "day is out of range"),
    "brackets": (b"[" * 4000, "nested too deeply"),
    "a list": (b"- a\n", r"\['a'\] cannot be used"),
    "large": (b"#" * 2_000_000, "larger than 1 MB"),
    "a secret": (b"SHEAF_PASSWORD: abc\n", "unknown key"),
}


@pytest.mark.parametrize("what", POISON)
def test_options_that_cannot_be_used_let_the_batch_arrive_and_refuse_it(
    folder: Path, source: MediaInbox, local_store: Store, what: str
) -> None:
    path = sheet(folder, [PAIR])
    run_batch(local_store, path, SETTINGS)
    batch = batch_of(local_store, path, SETTINGS)
    data, reason = POISON[what]
    path.with_suffix(".yaml").write_bytes(data)
    assert state(source).tags == {}
    made = run_batch(local_store, path, SETTINGS)
    assert list(made) == ["pairs"]
    generation = made["pairs"].generation
    assert generation.refused is not None
    with pytest.raises(InputError, match=reason):
        raise InputError(generation.refused)
    assert generation.refused.startswith("batch.yaml")
    assert "abc" not in generation.refused
    assert (generation.checks["readable"].passed, generation.checks["rejects"].passed) == (False, False)
    assert current(local_store, MEDIA, batch).rows(schema.RESULTS) == 1, "the tables before stay"
    path.with_suffix(".yaml").write_text("priority: high\n")
    assert run_batch(local_store, path, SETTINGS)["pairs"].generation.refused is None


def test_options_have_to_be_one_file_of_the_inbox(folder: Path, source: MediaInbox, local_store: Store) -> None:
    path = sheet(folder, [PAIR])
    options = path.with_suffix(".yaml")

    def refusal() -> str:
        state(source)
        return run_batch(local_store, path, SETTINGS)["pairs"].generation.refused or ""

    options.mkdir()
    assert "batch.yaml is no regular file" in refusal()
    record = read_record(local_store, batch_of(local_store, path, SETTINGS))
    assert record.status == "failed"
    options.rmdir()
    os.mkfifo(options)
    assert "batch.yaml is no regular file" in refusal()
    options.unlink()
    for target in ("/proc/self/environ", options):
        options.symlink_to(target)
        assert "batch.yaml is a link that leads to no file of" in refusal()
        options.unlink()
    options.write_text("priority: low\n")
    path.with_suffix(".yml").write_text("priority: high\n")
    assert "remove one" in refusal()
    options.unlink()
    assert refusal() == ""


def test_a_batch_has_changed_when_anything_of_it_has(folder: Path, source: MediaInbox) -> None:
    path = sheet(folder, [PAIR, "master.wav,late.wav", "master.wav,../outside.wav"])
    seen = [state(source).token]

    def changed() -> bool:
        token = state(source).token
        new = token not in seen
        seen.append(token)
        return new

    assert not changed()
    path.with_suffix(".yaml").write_text("priority: low\n")
    assert changed()
    path.with_suffix(".yaml").write_text("priority: lo\n")
    assert changed()
    write_wave(folder / "late.wav", programme(1))
    assert changed()
    look = (folder / "dub.wav").stat()
    write_wave(folder / "dub.wav", -programme(1))
    os.utime(folder / "dub.wav", ns=(look.st_atime_ns, look.st_mtime_ns))
    assert changed(), "its size and time are the same, its content is not"
    write_wave(folder / "unrelated.wav", programme(1))
    write_wave(folder.parent / "outside.wav", programme(1))
    assert not changed()


def test_a_batch_is_not_quiet_while_its_media_are_copied(folder: Path, source: MediaInbox) -> None:
    hour_ago = time.time() - 3600
    for path in (sheet(folder, [PAIR]), folder / "master.wav", folder / "dub.wav"):
        os.utime(path, (hour_ago, hour_ago))
    assert state(source).quiet_s > 3500
    with (folder / "dub.wav").open("ab") as file:
        file.write(b"more")
    assert state(source).quiet_s < 60


def test_a_delivery_is_named_by_content_wherever_it_lies(
    folder: Path, source: MediaInbox, local_store: Store, tmp_path: Path
) -> None:
    path = sheet(folder, [PAIR])
    names = [delivered(source, local_store, tmp_path)]
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    assert delivered(source, local_store, tmp_path) == names[0]
    shutil.copytree(folder, tmp_path / "elsewhere" / "media")
    other = MediaInbox(tmp_path / "elsewhere", local_store.url, SETTINGS)
    assert delivered(other, local_store, tmp_path) == names[0]

    def differs() -> bool:
        names.append(delivered(source, local_store, tmp_path))
        return names.count(names[-1]) == 1

    path.with_suffix(".yaml").write_text("# nothing\n")
    assert not differs()
    path.with_suffix(".yaml").write_text("parallel_jobs: 7\n")
    assert differs()
    write_wave(folder / "dub.wav", -programme(1))
    assert differs()
    (folder / "dub.wav").unlink()
    assert differs()
    path.rename(folder / "renamed.csv")
    assert differs()


def test_roots_are_where_files_are_not_what_they_are(folder: Path, local_store: Store, tmp_path: Path) -> None:
    path = sheet(folder, [PAIR])
    run_batch(local_store, path, SETTINGS)
    shutil.copytree(folder, tmp_path / "archive")
    moved = MediaSettings(roots=(tmp_path / "archive",))
    assert all(made.unchanged for made in run_batch(local_store, path, moved).values())
    nowhere = MediaSettings(roots=(tmp_path / "inbox" / "matches",))
    assert "files: 2 → 0" in (run_batch(local_store, path, nowhere)["pairs"].generation.refused or "")


def test_what_looks_the_same_is_not_hashed_again(
    folder: Path, source: MediaInbox, local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet(folder, [PAIR, "dub.wav,./master.wav"])
    hashed: list[str] = []
    whole = content._sha256

    def sha256(path: Path) -> str:
        hashed.append(path.name)
        return whole(path)

    monkeypatch.setattr(content, "_sha256", sha256)
    name = delivered(source, local_store, tmp_path)
    assert hashed == ["master.wav", "dub.wav"]
    assert delivered(source, local_store, tmp_path) == name
    os.utime(folder / "dub.wav", (1, 1))
    assert delivered(source, local_store, tmp_path) == name
    assert hashed == ["master.wav", "dub.wav", "dub.wav"]
    (batch,) = source.offers().partitions
    local_store.put(f"batches/media/{batch}/files.json", b"damaged")
    assert delivered(source, local_store, tmp_path) == name
    assert len(hashed) == 5


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(PermissionError(13, "Permission denied"), "UNREADABLE"), (OSError(5, "Input/output error"), SourceError)],
)
def test_a_disk_that_fails_says_nothing_of_the_file(
    folder: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch, fault: OSError, outcome: str | type[Exception]
) -> None:
    path = sheet(folder, [PAIR])

    def fail(_: Path) -> str:
        raise fault

    monkeypatch.setattr(content, "_sha256", fail)
    if isinstance(outcome, str):
        run_batch(local_store, path, SETTINGS, only=["pairs"])
        rows = current(local_store, MEDIA, batch_of(local_store, path, SETTINGS)).read(schema.PAIRS).to_pylist()
        assert (rows[0]["error_code"], rows[0]["error_message"]) == (
            outcome,
            "master.wav cannot be read: Permission denied. Allow Sheaf to read it.",
        )
    else:
        with pytest.raises(outcome, match=r"master\.wav cannot be read: Input/output error"):
            run_batch(local_store, path, SETTINGS, only=["pairs"])


def test_a_file_that_is_being_written_is_waited_for(
    folder: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sheet(folder, [PAIR])
    whole = content._sha256

    def grow(file: Path) -> str:
        with file.open("ab") as opened:
            opened.write(b"more")
        return whole(file)

    monkeypatch.setattr(content, "_sha256", grow)
    with pytest.raises(SourceError, match=r"master\.wav is being written"):
        run_batch(local_store, path, SETTINGS, only=["pairs"])


def test_the_sample_is_offered_by_the_name_of_its_csv(tmp_path: Path, local_store: Store) -> None:
    pairs.write(tmp_path)
    offered = MediaInbox(tmp_path, local_store.url, SETTINGS).offers()
    assert list(offered.notes.values()) == ["harbour_dubs.csv"]
    assert tuple(offered.notes) == offered.partitions
