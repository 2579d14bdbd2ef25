"""The power fails: what was said to be done is there, whole; what was not leaves nothing in the way.

A short run of `benchmarks/power_cuts.py`, and one that shows that it would find what it looks for.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "power_cuts.py"

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(
        os.geteuid() != 0 or not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None,
        reason="only root can mount a disk whose power is cut",
    ),
]


def cut(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["unshare", "--mount", sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.case("reliability/power-cut-offload")
def test_nothing_that_was_said_to_be_done_is_lost_or_torn_when_the_power_fails() -> None:
    done = cut("--cuts", "4", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr


def test_cutting_the_power_finds_what_was_not_brought_to_disk() -> None:
    done = cut("--cuts", "2", "--only", "offload", "--without-fsync")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is nowhere" in done.stdout or "is torn" in done.stdout
