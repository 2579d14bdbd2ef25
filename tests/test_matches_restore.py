"""Logs come back from the archives that an offload made: found by name, whole, and never over another file."""

import json
import os
import time
from pathlib import Path

import pytest
from matches_logs import ndjson, put, shot
from typer.testing import CliRunner

from pipelines.cli.main import app
from sheaf.errors import InputError, UsageError, VerificationError
from sheaf.matches.offload.execute import execute
from sheaf.matches.offload.plan import plan
from sheaf.matches.offload.restore import find, newest, restore
from sheaf.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, bytes]:
    """What two old logs held, which were offloaded and deleted."""
    held = {}
    for name in ("main/bridge_20250914.ndjson", "bridge_20250915.ndjson"):
        held[name] = ndjson(*(shot(second) for second in range(len(name))))
        os.utime(put(tmp_path / "logs", name, held[name]), (1e9, 1e9))
    store = Store.open(str(tmp_path / "store"))
    done = execute(plan(tmp_path / "logs", store, 30, "mtime"), store, delete_source=True)
    assert len(done.deleted) == 2
    return held


def test_a_log_is_found_by_its_name_and_comes_back_byte_by_byte(
    store: Store, logs: dict[str, bytes], tmp_path: Path
) -> None:
    (found,) = find(store, "bridge_20250914.ndjson")
    assert (found.path, found.source, found.deleted) == ("main/bridge_20250914.ndjson", str(tmp_path / "logs"), True)
    done = restore(store, [found])
    place = tmp_path / "logs" / "main" / "bridge_20250914.ndjson"
    assert done.restored == [str(place)]
    assert place.read_bytes() == logs[found.path]
    assert time.time() - place.stat().st_mtime < 600, "the next offload must not take it at once"
    assert restore(store, [found]).there == [str(place)]


def test_all_logs_that_fit_a_pattern_go_to_another_folder(store: Store, logs: dict[str, bytes], tmp_path: Path) -> None:
    restore(store, newest(find(store, "bridge_2025*")), tmp_path / "elsewhere")
    for name, held in logs.items():
        assert (tmp_path / "elsewhere" / name).read_bytes() == held
    assert not list((tmp_path / "logs").rglob("*.ndjson"))


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    for name in ("log1.ndjson", "log[1].ndjson", "[2].ndjson"):
        os.utime(put(tmp_path / "logs", name, ndjson(shot(len(name)))), (1e9, 1e9))
    execute(plan(tmp_path / "logs", store, 30, "mtime"), store, delete_source=True)
    assert [[one.path for one in find(store, name)] for name in ("log[1].ndjson", "[2].ndjson", "log?.ndjson")] == [
        ["log[1].ndjson"],
        ["[2].ndjson"],
        ["log1.ndjson"],
    ]


def test_a_file_that_is_there_is_never_replaced(store: Store, logs: dict[str, bytes], tmp_path: Path) -> None:
    place = put(tmp_path / "logs", "bridge_20250915.ndjson", b"something else")
    with pytest.raises(InputError, match="holds something else"):
        restore(store, find(store))
    assert place.read_bytes() == b"something else"
    assert sorted(path.name for path in (tmp_path / "logs").rglob("*") if path.is_file()) == [place.name]
    assert len(logs) == 2


def test_a_damaged_archive_restores_nothing_that_is_not_whole(
    store: Store, logs: dict[str, bytes], tmp_path: Path
) -> None:
    (path,) = (tmp_path / "store" / "offload").rglob("*.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(data)
    with pytest.raises(VerificationError):
        restore(store, find(store))
    for place in (tmp_path / "logs").rglob("*"):
        assert place.is_dir() or place.read_bytes() == logs[place.relative_to(tmp_path / "logs").as_posix()]


def test_nothing_to_restore_is_an_error(store: Store) -> None:
    with pytest.raises(UsageError, match="offload find"):
        restore(store, find(store, "nope"))


def test_find_and_restore_are_commands(
    store: Store, logs: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHEAF_CONFIG", str(put(tmp_path, "sheaf.yaml", f"store_url: {store.url}\n".encode())))
    found = CliRunner().invoke(app, ["offload", "find", "*0914*", "--json"])
    assert [one["path"] for one in json.loads(found.stdout)] == ["main/bridge_20250914.ndjson"]
    done = CliRunner().invoke(app, ["offload", "restore", "*0914*", "--to", str(tmp_path / "back"), "--json"])
    assert done.exit_code == 0, done.output
    (path,) = json.loads(done.stdout)["restored"]
    assert Path(path).read_bytes() == logs["main/bridge_20250914.ndjson"]
