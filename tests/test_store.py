"""The object store: the same behaviour on disk, on an S3 emulator and on a real object store."""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from demo_domain import DEMO, READINGS, ingest
from running import current
from servers import BUCKET

from sheaf.errors import NotFoundError, StoreError
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import CHUNK, Store

ODD_NAMES = [
    "a b.txt", "ünï.jpg", "e\u0301.txt", "日本.txt", "a#b.txt", "#1x", "a%20b.txt", "50%.txt", "[x]{y}.txt", "~t",
    "a\\b", "a?b", "a*b", "a:b", ".hidden", "-", "a'b\"c", "a..b", "a&b+c=d;@", "x" * 200, "sub folder/x.txt",
]  # fmt: skip


def test_an_object_is_whole_or_absent_and_can_be_replaced(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"a/one\.json does not exist"):
        store.get("a/one.json")
    assert store.size("a/one.json") is None
    store.put("a/one.json", b"1")
    store.put("a/one.json", b"22")
    assert (store.get("a/one.json"), store.size("a/one.json")) == (b"22", 2)
    store.put("a/empty", b"")
    assert store.get("a/empty") == b""


def test_listing_goes_by_folder_and_not_by_prefix_of_the_name(store: Store) -> None:
    for path in ("v1/record.json", "v1/deep/er/file", "v10/record.json", "other"):
        store.put(path, b"12")
    assert {(item.path, item.size) for item in store.list("v1")} == {("v1/record.json", 2), ("v1/deep/er/file", 2)}
    assert store.folders("") == ["v1", "v10"] or store.folders("") == [".scratch", "v1", "v10"]
    assert store.folders("v1") == ["deep"]
    assert (list(store.list("nothing")), store.folders("nothing")) == ([], [])


def test_deleting_what_is_gone_is_no_error_and_leaves_no_empty_folder(store: Store) -> None:
    store.put("a/b/c.txt", b"1")
    store.delete(["a/b/c.txt", "a/b/never.txt"])
    store.delete(["a/b/c.txt"])
    assert store.folders("a") == []
    assert "a" not in store.folders("")


def test_create_succeeds_once_and_keeps_what_is_there(store: Store) -> None:
    assert store.create("n/record.json", b"first")
    assert not store.create("n/record.json", b"second")
    assert store.get("n/record.json") == b"first"


def test_swap_replaces_only_what_was_expected(store: Store) -> None:
    assert store.swap("p.json", None, b"1")
    assert not store.swap("p.json", None, b"2")
    assert not store.swap("p.json", b"other", b"2")
    assert store.get("p.json") == b"1"
    assert store.swap("p.json", b"1", b"2")
    assert store.get("p.json") == b"2"
    assert not store.swap("gone.json", b"1", b"2")
    assert store.size("gone.json") is None


def test_of_racing_creators_exactly_one_wins(atomic_store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            path = f"race/{turn}.json"
            won = list(pool.map(lambda n, path=path: atomic_store.create(path, b"%d" % n), range(8)))
            assert won.count(True) == 1
            assert atomic_store.get(path) == b"%d" % won.index(True)


def test_no_racing_swap_is_lost(atomic_store: Store) -> None:
    atomic_store.put("counter", b"0")

    def count(_: int) -> None:
        while True:
            before = atomic_store.get("counter")
            if atomic_store.swap("counter", before, b"%d" % (int(before) + 1)):
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))
    assert atomic_store.get("counter") == b"40"


def test_local_readers_never_see_a_half_written_object(local_store: Store) -> None:
    big = [bytes([digit]) * 3_000_000 for digit in b"ab"]
    local_store.put("pointer", big[0])
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lambda: [local_store.put("pointer", big[turn % 2]) for turn in range(60)])
        while not writing.done():
            assert local_store.get("pointer") in big


@pytest.fixture
def large_file(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(1 << 20) * 21)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_large_files_travel_in_parts_and_come_back_equal(store: Store, large_file: tuple[Path, str]) -> None:
    path, digest = large_file
    size = path.stat().st_size
    assert size > 2 * CHUNK
    copied = store.put_file("big/large.bin", path)
    assert copied is (store.root is None)
    assert not path.exists()
    assert (store.size("big/large.bin"), store.sha256("big/large.bin")) == (size, digest)
    assert max(len(chunk) for chunk in store.stream("big/large.bin")) <= 2 * CHUNK
    target = path.with_name("back.bin")
    store.download("big/large.bin", target)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == digest


def test_a_file_of_another_disk_is_copied_into_a_local_store(local_store: Store) -> None:
    ours = local_store.scratch.parent.stat().st_dev
    others = [place for place in ("/dev/shm", "/var/tmp") if Path(place).is_dir() and Path(place).stat().st_dev != ours]
    if not others:
        pytest.skip("there is only one file system")
    with tempfile.TemporaryDirectory(dir=others[0]) as name:
        path = Path(name) / "large.bin"
        path.write_bytes(os.urandom(1 << 20))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert local_store.put_file("big/large.bin", path)
        assert not path.exists()
    assert local_store.sha256("big/large.bin") == digest
    assert list(local_store.scratch.iterdir()) == []


def test_a_download_that_fails_leaves_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        store.download("nothing", tmp_path / "nothing")
    store.put("something", b"1")
    with pytest.raises(StoreError, match=r"Cannot write .*No such file or directory"):
        store.download("something", tmp_path / "no" / "folder")
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == []


def test_odd_file_names_survive(store: Store) -> None:
    for name in ODD_NAMES:
        with scratch_folder(store) as folder:
            (folder / "file").write_bytes(name.encode())
            store.put_file(f"moved/{name}", folder / "file")
        store.put(f"put/{name}", name.encode())
    for folder in ("moved", "put"):
        paths = {f"{folder}/{name}": name for name in ODD_NAMES}
        assert {item.path for item in store.list(folder)} == paths.keys()
        assert all(store.get(path) == name.encode() for path, name in paths.items())
        store.delete(paths)
        assert list(store.list(folder)) == []


def test_a_table_can_be_queried_as_a_dataset(store: Store) -> None:
    import duckdb

    ingest(store, "a", "b", "c")
    with current(store, DEMO, "batch-1").dataset(READINGS) as readings:
        assert readings.count_rows() == 3
        assert duckdb.sql("SELECT max(id), count(*) FROM readings WHERE value <> 'c'").fetchall() == [(2, 2)]
        assert readings.to_table(filter=pa.compute.field("value") == "c").num_rows == 1


def test_a_large_table_is_read_in_parts(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(s3_store, *(f"{number:09d}" for number in range(50_000)))
    asked = []
    real = Store.part
    monkeypatch.setattr(Store, "part", lambda self, *args: asked.append(args) or real(self, *args))
    monkeypatch.setattr("sheaf.store.file_system._AT_ONCE", 1000)
    tables = current(s3_store, DEMO, "batch-1")
    assert tables.read(READINGS, ["id"])["id"].to_pylist() == list(range(1, 50_001))
    assert len(asked) > 1
    assert max(length for _, _, length in asked) < tables.file(READINGS).size


def test_relative_and_file_urls_name_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store.open("my store").put("x", b"1")
    assert Store.open((tmp_path / "my store").as_uri()).get("x") == b"1"


# Errors: one clear sentence, soon.


def test_a_missing_bucket_is_named(s3_store: Store, swift_store: Store) -> None:
    with pytest.raises(StoreError, match=r"The bucket of s3://no-such-bucket/x does not exist: create it"):
        Store.open("s3://no-such-bucket/x")


def test_wrong_credentials_are_refused_in_one_sentence(
    swift_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, wrong in (("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody")):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(StoreError, match=r"^The store refuses access to s3://\S+: check the credentials") as error:
            Store.open(f"s3://{BUCKET}/x")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "nonsense://bucket"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="is not the URL of a store"):
        Store.open(url)


@pytest.fixture
def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return "http://{}:{}".format(*server.getsockname())


@pytest.fixture
def swallowing() -> Iterator[str]:
    """An address that drops what is sent to it: its queue of connections is full."""
    waiting = [socket.socket() for _ in range(3)]
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield "http://{}:{}".format(*server.getsockname())
        for client in waiting:
            client.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "http://{}:{}".format(*server.getsockname())


@pytest.mark.parametrize("endpoint", ["refusing", "swallowing", "silent", "http://no-such-host.invalid"])
def test_an_unreachable_store_is_reported_within_seconds(
    endpoint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = endpoint if "://" in endpoint else request.getfixturevalue(endpoint)
    for name, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr("sheaf.store.store._IMPATIENT_CLIENT", _hurried())
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^The store cannot be reached at s3://bucket/x: check SHEAF_STORE_URL"):
        Store.open("s3://bucket/x")
    assert time.monotonic() - started < 8


def _hurried() -> dict[str, object]:
    from datetime import timedelta

    from sheaf.store.store import _IMPATIENT_CLIENT

    assert _IMPATIENT_CLIENT["connect_timeout"] <= timedelta(seconds=3)  # type: ignore[operator]
    assert _IMPATIENT_CLIENT["read_timeout"] <= timedelta(seconds=10)  # type: ignore[operator]
    return {**_IMPATIENT_CLIENT, "connect_timeout": timedelta(seconds=1), "read_timeout": timedelta(seconds=1)}


def test_an_unusable_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"The store failed at .*file/store: Not a directory"):
        Store.open(str(tmp_path / "file" / "store"))


ON_A_SMALL_DISK = """
import os, subprocess, sys
sys.path[:0] = {path!r}
import demo_domain, promises
from sheaf.errors import StoreError
from sheaf.exports.records import records, Status
from sheaf.store.store import Store
store = Store.open({disk!r})
demo_domain.ingest(store, "a")
demo_domain.publish_readings(store)
def refused(action):
    try:
        action()
    except StoreError as error:
        print(error)
    else:
        raise SystemExit("it should have failed")
{body}
assert promises.check_readers(store, demo_domain.BATCH) == 1
"""

FULL = """
demo_domain.ingest(store, *["x" * 1000 + str(n) for n in range(4000)])
refused(lambda: demo_domain.publish_readings(store))
refused(lambda: demo_domain.ingest(store, *[os.urandom(500).hex() for n in range(8000)]))
with open({disk!r} + "/filler", "wb", 0) as filler:
    try:
        while True: filler.write(bytes(4096))
    except OSError: pass
refused(lambda: store.put("x", bytes(100000)))
refused(lambda: demo_domain.publish_readings(store, always=True))
os.unlink({disk!r} + "/filler")
demo_domain.ingest(store, "a", "b")
assert promises.check_readers(store, demo_domain.BATCH) == 1
promises.check_recovered(store, demo_domain.BATCH)
"""

READ_ONLY = """
demo_domain.ingest(store, "a", "b")
subprocess.run(["mount", "-o", "remount,ro", {disk!r}], check=True)
refused(lambda: demo_domain.ingest(store, "a"))
refused(lambda: demo_domain.publish_readings(store))
refused(lambda: store.put("x", b"1"))
refused(lambda: store.create("y", b"1"))
refused(lambda: store.delete(["tables/demo/readings/batch=batch-1/000001.json"]))
"""


@pytest.fixture
def on_a_small_disk(tmp_path: Path) -> Callable[[str], list[str]]:
    """Runs code against a store on a disk of 3 MB of its own; returns what it printed."""

    def run(body: str) -> list[str]:
        disk = tmp_path / "disk"
        disk.mkdir()
        code = ON_A_SMALL_DISK.format(
            path=[str(Path(__file__).parent), *sys.path], disk=str(disk), body=body.format(disk=str(disk))
        )
        mount = f'mount -t tmpfs -o size=3m tmpfs "{disk}" && exec "$0" -c "$1"'
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, sys.executable, code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_a_full_disk_is_reported_and_nothing_half_written_is_left(on_a_small_disk: Callable[[str], list[str]]) -> None:
    said = on_a_small_disk(FULL)
    assert len(said) == 4
    assert all(" is full: free some space and run again." in line for line in said), said


def test_a_read_only_disk_is_reported_and_can_still_be_read(on_a_small_disk: Callable[[str], list[str]]) -> None:
    said = on_a_small_disk(READ_ONLY)
    assert len(said) == 5
    assert all("ead-only file system" in line for line in said), said
