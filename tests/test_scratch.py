"""Working files on machines that others use, too: they are ours alone, or nothing is done there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sheaf import duck
from sheaf.errors import StoreError
from sheaf.store.scratch import scratch_folder, sweep
from sheaf.store.store import Store

NOBODY = 65534


@pytest.fixture
def temporary(s3_store: Store, tmp_path: Path) -> Path:
    """Where the working files of a remote store go."""
    s3_store.scratch = tmp_path / "tmp" / "sheaf-scratch"
    s3_store.scratch.parent.mkdir()
    return s3_store.scratch


@pytest.mark.case("reliability/tmp-scratch")
def test_nobody_else_can_look_into_working_files(s3_store: Store, temporary: Path) -> None:
    mask = os.umask(0)
    try:
        with scratch_folder(s3_store) as folder:
            assert (temporary.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o700, 0o700)
        temporary.chmod(0o777)  # an earlier Sheaf left it open
        with scratch_folder(s3_store):
            assert temporary.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(mask)


def test_a_link_in_the_place_of_working_files_is_refused(s3_store: Store, temporary: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    temporary.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is not a folder of our own"), scratch_folder(s3_store):
        pass
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    temporary.unlink()
    temporary.write_text("a file")
    with pytest.raises(StoreError, match="is not a folder of our own"), scratch_folder(s3_store):
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_a_folder_that_somebody_else_has_made_is_refused(s3_store: Store, temporary: Path) -> None:
    temporary.mkdir()
    os.chown(temporary, NOBODY, NOBODY)
    with pytest.raises(StoreError, match=r"set TMPDIR to a folder that is yours alone"), scratch_folder(s3_store):
        pass
    assert list(temporary.iterdir()) == []
    assert temporary.stat().st_uid == NOBODY
    assert sweep(s3_store) == 0


def failed(store: Store, work: Callable[[Path], object]) -> str:
    """What is said of work that fails in a scratch folder."""
    with pytest.raises(StoreError) as found, scratch_folder(store) as folder:
        work(folder)
    return str(found.value)


def test_what_libraries_say_of_a_disk_is_a_sentence(local_store: Store) -> None:
    def query(folder: Path, *queries: str) -> None:
        with duck.connect(temp_directory=str(folder / "spill")) as database:
            for one in queries:
                database.execute(one)

    said = failed(local_store, lambda folder: query(folder, "FROM read_parquet('/tmp/gone.parquet')"))
    assert "cannot be read or written: IO Error: No files found" in said
    little = ("SET memory_limit = '20MB'", "SET max_temp_directory_size = '1MB'", "SET threads = 1")
    many = "CREATE TABLE t AS SELECT random() AS x FROM range(20000000) ORDER BY x"
    assert "not enough memory, or not enough room at" in failed(
        local_store, lambda folder: query(folder, *little, many)
    )
    said = failed(local_store, lambda folder: (folder / "gone").read_bytes())
    assert said.endswith("gone cannot be read or written: No such file or directory. Is its disk in order?")
    with pytest.raises(ZeroDivisionError), scratch_folder(local_store):  # no fault of the machine
        _ = 1 / 0
