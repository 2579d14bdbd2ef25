"""`sheaf sync`: one pair on the spot, with the methods that were asked for."""

import json
from pathlib import Path

import pytest

from pipelines import cli
from sheaf.media import sample_pairs


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A dub that is 1.208 s late, and its master."""
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path / "home"))
    sample_pairs.write(tmp_path)
    return [str(tmp_path / "media" / "harbour_dubs" / f"arrival_{which}.wav") for which in ("master", "dub")]


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ([], ["mfcc", "onset", "spectral"]),
        (["--methods", "ai, onset"], ["onset", "ai"]),
    ],
)
def test_sync_finds_the_offset(
    pair: list[str], capfd: pytest.CaptureFixture[str], asked: list[str], used: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sync", *pair, *asked, "--json"])
    assert ended.value.code == 0
    found = json.loads(capfd.readouterr().out)
    assert abs(found["offset_seconds"] + 1.208) < 0.001
    assert [item["method"] for item in found["method_results"]] == used


def test_sync_names_the_methods_there_are(pair: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sync", *pair, "--methods", "ear"])
    assert ended.value.code == 2
    assert "'ear'" in (said := capfd.readouterr().err)
    assert "mfcc, onset, spectral, correlation, ai" in " ".join(said.split())
