"""`sheaf sync`: one pair on the spot, with the methods that were asked for."""

import json
from pathlib import Path

import pytest
from media_files import programme, write_wave

from pipelines.cli import main
from sheaf.media.sample import pairs
from sheaf.media.sample.synthesis import RATE


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A dub that is 1.208 s late, and its master."""
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path / "home"))
    pairs.write(tmp_path)
    return [str(tmp_path / "media" / "harbour_dubs" / f"arrival_{which}.wav") for which in ("master", "dub")]


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ([], ["mfcc", "onset", "spectral"]),
        pytest.param(["--methods", "ai, onset"], ["onset", "ai"], marks=pytest.mark.campaign),
        pytest.param(["--ai-model", "wav2vec2"], ["mfcc", "onset", "spectral", "ai"], marks=pytest.mark.campaign),
    ],
)
def test_sync_finds_the_offset(
    pair: list[str], capfd: pytest.CaptureFixture[str], asked: list[str], used: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["sync", *pair, *asked, "--json"])
    assert ended.value.code == 0
    found = json.loads(capfd.readouterr().out)
    assert abs(found["offset_seconds"] + 1.208) < 0.001
    assert [item["method"] for item in found["method_results"]] == used
    if "--ai-model" in asked:  # there is none here
        assert "fallback" in found["method_used"]
        assert any("wav2vec2 is not configured" in warning for warning in found["warnings"])


def test_sync_names_the_methods_there_are(pair: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["sync", *pair, "--methods", "ear"])
    assert ended.value.code == 2
    assert "'ear'" in (said := capfd.readouterr().err)
    assert "mfcc, onset, spectral, correlation, ai" in " ".join(said.split())


def run_sync(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(["sync", *arguments])
    return int(str(ended.value.code))


@pytest.mark.campaign
def test_sync_writes_a_corrected_dub(pair: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = [Path(path).read_bytes() for path in pair]
    target = tmp_path / "corrected.wav"
    assert run_sync(*pair, "--repair", str(target), "--json") == 0
    said = capfd.readouterr()
    assert abs(json.loads(said.out)["offset_seconds"] + 1.208) < 0.001
    assert "corrected.wav" in said.err
    assert [Path(path).read_bytes() for path in pair] == before
    assert run_sync(pair[0], str(target), "--json") == 0
    assert abs(json.loads(capfd.readouterr().out)["offset_seconds"]) < 0.0005


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("there.wav", "exists already"),
        pytest.param("new.mp3", "must end in .wav or .mka", marks=pytest.mark.campaign),
        pytest.param("no/folder.wav", "There is no folder", marks=pytest.mark.campaign),
    ],
)
def test_a_place_for_the_corrected_dub_is_checked_before_the_work(
    pair: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    there = tmp_path / "there.wav"
    there.write_bytes(b"mine")
    assert run_sync(*pair, "--repair", str(tmp_path / name)) == 2
    said = capfd.readouterr()
    assert (said.out, says in said.err) == ("", True)
    assert there.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media", "there.wav"]


def test_without_a_match_nothing_is_corrected(
    pair: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger = pair[0].replace("arrival", "regatta")
    assert run_sync(stranger, pair[1], "--repair", str(tmp_path / "new.wav")) == 2
    assert "no match" in (said := capfd.readouterr()).out
    assert "cannot be corrected" in said.err
    assert not (tmp_path / "new.wav").exists()


@pytest.mark.case("media/cli-hides-the-speed")
def test_a_dub_at_another_speed_is_said_to_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound = programme(20, 3)
    master = write_wave(tmp_path / "m.wav", sound)
    dub = write_wave(tmp_path / "d.wav", sound, RATE * 25 // 24)
    assert run_sync(str(master), str(dub)) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "25/24" in said
    assert "1.04166" in said
