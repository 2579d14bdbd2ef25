"""A corrected dub lies on its master, and the original stays as it was."""

import shlex
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg, moved, programme, write_wave

from sheaf.errors import UsageError
from sheaf.media.analysis.pair import analyse_pair
from sheaf.media.result import PairResult, Segment, SoundTrack, Status
from sheaf.media.sample.synthesis import RATE, stretched
from sheaf.media.sync.decode import decode
from sheaf.media.sync.ffmpeg import executable
from sheaf.media.sync.probe import probe
from sheaf.media.sync.repair import repair, repair_command


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return programme(24, 11)


@pytest.mark.parametrize(
    "kind", ["late", "edited", *(pytest.param(kind, marks=pytest.mark.campaign) for kind in ("early", "drifting"))]
)
def test_corrected_dub_is_in_sync(tmp_path: Path, sound: np.ndarray, kind: str) -> None:
    dubs = {
        "late": moved(sound, -1.5),
        "early": moved(sound, 0.7),
        "edited": np.concatenate([sound[: 10 * RATE], sound[12 * RATE :]]),
        "drifting": stretched(sound, 1.0005),
    }
    master = write_wave(tmp_path / "master.wav", sound)
    dub = write_wave(tmp_path / "dub.wav", np.stack([dubs[kind], 0.5 * dubs[kind]], 1))
    before = dub.read_bytes()
    target = repair(dub, analyse_pair(master, dub), tmp_path / "fixed.wav")
    fixed = analyse_pair(master, target)
    assert fixed.offset_seconds == pytest.approx(0, abs=2e-4)
    assert fixed.drift_ppm == pytest.approx(0, abs=2)
    assert len(fixed.segments) == 1
    assert probe(target).duration == pytest.approx(24, abs=0.01)
    assert probe(target).tracks[0].layout == "stereo"
    assert dub.read_bytes() == before


def test_tracks_that_are_channels_are_corrected_together(tmp_path: Path, sound: np.ndarray) -> None:
    plain = write_wave(tmp_path / "plain.wav", moved(sound, -1.5))
    dub, gain = tmp_path / "dub.mov", "[0:a]volume=0.5,asplit[half][half2];[half2]volume=0.5[quarter]"
    tracks = [part for name in ("0:a", "[half]", "[quarter]") for part in ("-map", name)]
    ffmpeg("-i", plain, "-filter_complex", gain, *tracks, "-c:a", "pcm_s16le", dub)
    piece = Segment(dub_start=1.5, dub_end=25.5, offset_seconds=-1.5, rate=1.0, confidence=0.999)
    found = PairResult(status=Status.COMPLETED, offset_seconds=-1.5, coverage=1, master_seconds=24, segments=[piece])
    for path in (dub, repair(dub, found, tmp_path / "fixed.wav")):
        heard = decode(path, probe(path), deadline=time.monotonic() + 60, max_seconds=60)
        levels = np.sqrt(heard.covariance.diagonal())
        assert levels / levels[0] == pytest.approx([1, 0.5, 0.25], abs=1e-3), "in the order of the tracks"


def test_every_track_is_corrected_in_a_file_that_can_hold_them(tmp_path: Path, sound: np.ndarray) -> None:
    plain, dub = write_wave(tmp_path / "plain.wav", moved(sound, -1.5)[: 6 * RATE]), tmp_path / "dub.mkv"
    ffmpeg(*("-i", plain, "-filter_complex", "[0:a]pan=stereo|c0=c0|c1=c0[wide];[0:a]volume=0.5,aresample=48000[half]"),
           *("-map", "[half]", "-map", "[wide]", "-metadata:s:a:1", "language=fra", "-c:a", "flac"), dub)  # fmt: skip
    found = PairResult(
        status=Status.COMPLETED,
        offset_seconds=-1.5,
        coverage=1,
        master_seconds=4,
        dub_track="2 (fra)",
        dub_tracks=[SoundTrack.model_validate(one, from_attributes=True) for one in probe(dub).tracks],
        segments=[
            Segment(dub_start=1.5, dub_end=3, offset_seconds=-1.5, rate=1.0, confidence=0.999),
            Segment(dub_start=3, dub_end=5.5, offset_seconds=-1.4, rate=1.0, confidence=0.999),
        ],
    )
    command = shlex.split(repair_command("dub.mkv", found.model_dump()) or "")
    subprocess.run([executable(), "-v", "error", *command[1:]], cwd=tmp_path, check=True)
    for path in (tmp_path / "dub_in_sync.mka", repair(dub, found, tmp_path / "fixed.mka")):
        tracks = probe(path).tracks
        assert [(one.sample_rate, one.layout, one.language) for one in tracks] == [
            (48000, "mono", ""),
            (RATE, "stereo", "fra"),
        ]
    (track,) = probe(repair(dub, found, tmp_path / "fixed.wav")).tracks
    assert track.layout == "stereo"


def test_nothing_is_overwritten_or_guessed(tmp_path: Path, sound: np.ndarray) -> None:
    master = write_wave(tmp_path / "master.wav", sound)
    result = analyse_pair(master, master)
    with pytest.raises(UsageError, match="exists already"):
        repair(master, result, master)
    with pytest.raises(UsageError, match="no match"):
        repair(master, PairResult(status=Status.NO_MATCH), tmp_path / "new.wav")
    assert not (tmp_path / "new.wav").exists()
