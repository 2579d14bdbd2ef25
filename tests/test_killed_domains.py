"""The real domains under attack: killed at their writes, and two ingests at once; `benchmarks/kills.py`, but short."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import Prepared, prepared
from servers import BUCKET

KILLS = {"fermentation": 6, "matches": 6, "media": 12, "occurrences": 6, "annotations": 12}
"""How many on a local store: more where one takes less."""
SLOW = ("fermentation", "occurrences")
MEMORY = Path("/dev/shm")  # a store is written and removed for each kill, and no disk is at stake


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory, where there is such a thing."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module", params=KILLS)
def trial(request: pytest.FixtureRequest, folder: Path) -> Iterator[Prepared]:
    """A domain with two deliveries of a partition."""
    with prepared(request.param, folder / request.param) as trial:
        yield trial


@pytest.mark.case("core/mixed-tables")
@pytest.mark.case("core/ingest-not-atomic-over-tables")
def test_a_kill_at_a_write_leaves_one_delivery_or_the_other_on_disk(trial: Prepared, folder: Path) -> None:
    wanted = KILLS[trial.trial.name]
    found = trial.kill(f"{folder}/stores/{trial.trial.name}", wanted)
    assert (found.problems, found.counts["kills"]) == ([], wanted)
    assert found.counts["A"] >= 1
    assert found.counts["B"] >= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB of its own, where we may mount one; else a folder."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", tmp_path], check=False)
    yield tmp_path
    if not mounted.returncode:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.case("core/full-disk-mix")
def test_a_full_disk_leaves_one_delivery_or_the_other(trial: Prepared, small_disk: Path) -> None:
    """Full in the middle of a delivery; where no disk of our own can be filled, no file may be larger than so much."""
    own = small_disk.is_mount()
    found = trial.fill(small_disk, [30_000] if own else [], [] if own else [6_000])
    assert found.problems == []
    assert not found.counts["enough"], "it was never full"


def test_a_kill_at_a_write_leaves_one_delivery_or_the_other_on_s3(
    trial: Prepared, moto: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto.items():
        monkeypatch.setenv(name, value)
    found = trial.kill(f"s3://{BUCKET}/killed/{trial.trial.name}", 1)
    assert (found.problems, found.counts["kills"]) == ([], 1)


# The others take longer than a test may; the benchmark has them.
@pytest.mark.case("core/two-ingests-mix")
@pytest.mark.parametrize(
    "trial",
    ["annotations", "matches", "media"],
    indirect=True,
)
def test_two_ingests_at_once_never_show_a_mix(trial: Prepared, folder: Path) -> None:
    assert trial.race(f"{folder}/stores/{trial.trial.name}-raced", 2).problems == []
