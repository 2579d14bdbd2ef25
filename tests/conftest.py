"""Stores that every test may use, and what holds for all of them."""

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from servers import BUCKET, moto_server, swift_server
from sqlalchemy import Engine, event

from sheaf.store.store import Store

# A slow machine is no fault of the code, and what is green changes with the code only, not with the day:
# `--hypothesis-profile=search` tries other inputs each time, and more.
settings.register_profile("search", deadline=None)
settings.register_profile("sheaf", settings.get_profile("search"), derandomize=True, max_examples=20)
settings.load_profile("sheaf")


# A store syncs what it writes, and no disk is at stake here: where memory has room, files of tests are in memory. What
# a power cut leaves is tried on disks of its own (`test_power_cut`). Workers inherit the folder of who started them.
_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 8e9:
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="t", dir=_MEMORY)
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests wait for servers, and for time to pass."""
    return (os.cpu_count() or 1) + 1


@event.listens_for(Engine, "connect")
def _never_wait_for_the_disk(connection: Any, _: object) -> None:
    """Dagster's databases survive killed processes all the same, only not a power cut; tests take a fifth less."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running moto server."""
    with moto_server(tmp_path_factory.mktemp("moto")) as environment:
        yield environment


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running OpenStack Swift."""
    with swift_server(tmp_path_factory.mktemp("swift")) as environment:
        yield environment


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def s3_store(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """An empty store on the S3 emulator."""
    return _remote(moto, monkeypatch, tmp_path)


@pytest.fixture
def swift_store(swift: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """An empty store on a real object store."""
    return _remote(swift, monkeypatch, tmp_path)


@pytest.fixture(params=["local_store", "s3_store", pytest.param("swift_store", marks=pytest.mark.campaign)])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store of each kind: what the protocol promises holds on all of them."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["local_store", "s3_store"])
def atomic_store(request: pytest.FixtureRequest) -> Store:
    """An empty store whose conditional writes are atomic; Swift's are not when writers race."""
    return request.getfixturevalue(request.param)


def _remote(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Store.open(f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}")
