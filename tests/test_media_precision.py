"""What is known of a pair that isn't the same sound to the sample: to a frame, ambiguous, partly, or not at all."""

from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg, moved, programme, write_wave

from sheaf.errors import UsageError
from sheaf.media.analysis.pair import FRAME, analyse_pair
from sheaf.media.result import PairOptions, PairResult, Precision, Status
from sheaf.media.sample.synthesis import RATE, scene
from sheaf.media.sync import features
from sheaf.media.sync.candidates import Agreement, Candidate
from sheaf.media.sync.frames import fit_frames
from sheaf.media.sync.repair import repair
from sheaf.media.sync.stretches import Stretches


def in_a_room(sound: np.ndarray, seed: int, *, direct_db: float, decay: float = 0.8) -> np.ndarray:
    """Echoes that take `decay` s to fall by 60 dB, the direct sound `direct_db` above all of them together."""
    rng = np.random.default_rng(seed)
    count = round(decay * RATE)
    echoes = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count)
    echoes[: round(0.004 * RATE)] = 0
    response = echoes / np.sqrt((echoes**2).sum())
    response[0] = 10 ** (direct_db / 20)
    size = len(sound) + count
    heard = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)]
    return (0.4 * heard / np.abs(heard).max()).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("precision")


@pytest.fixture(scope="module")
def room(folder: Path) -> PairResult:
    """Speech that a telephone recorded far away in a room."""
    sound = scene(40, 31).dialogue
    master = write_wave(folder / "near.wav", 3 * sound)
    heard = write_wave(folder / "heard.wav", in_a_room(moved(sound, 3.25), 1, direct_db=-30, decay=1.2))
    ffmpeg("-i", heard, "-ar", "8000", "-c:a", "pcm_mulaw", folder / "far.wav")
    return analyse_pair(master, folder / "far.wav")


@pytest.mark.case("media/reverb-cam-room")
@pytest.mark.case("media/reverb-phone-far")
def test_a_camera_across_the_room_is_found_to_a_frame(room: PairResult) -> None:
    assert (room.status, room.precision) == (Status.COMPLETED, Precision.FRAME)
    assert room.offset_seconds == pytest.approx(3.25, abs=0.5 * FRAME)
    assert room.offset_seconds is not None
    assert room.offset_uncertainty_seconds is not None
    assert abs(room.offset_seconds - 3.25) < room.offset_uncertainty_seconds
    assert room.coverage is not None
    assert room.coverage > 0.8
    assert [item.offset_seconds for item in room.method_results] == pytest.approx([3.25] * 3, abs=2 * FRAME)


def test_speed_that_was_changed_with_the_pitch_kept(folder: Path) -> None:
    master = write_wave(folder / "film.wav", programme(40, 32))
    dub = folder / "pal.wav"
    ffmpeg("-i", master, "-af", f"atempo={25 / 24}", dub)
    result = analyse_pair(master, dub)
    assert (result.precision, result.offset_seconds) == (Precision.FRAME, pytest.approx(0, abs=FRAME))
    assert result.rate == pytest.approx(25 / 24, rel=1e-3)


@pytest.mark.case("media/pure-loop")
def test_a_loop_fits_at_many_offsets_and_none_is_called_right(folder: Path) -> None:
    loop = programme(6, 33)
    master = write_wave(folder / "loops.wav", np.tile(loop, 5))
    result = analyse_pair(master, write_wave(folder / "part.wav", np.tile(loop, 2)[RATE : 11 * RATE]))
    assert (result.status, result.offset_seconds) == (Status.NO_MATCH, None)
    assert result.confidence < 0.5
    assert result.ambiguous_with[:4] == pytest.approx([1, 7, 13, 19], abs=1e-3)


def test_a_drum_loop_in_two_programmes_is_no_match(folder: Path) -> None:
    drums = np.tile(programme(2, 34), 15)
    both = [drums + scene(30, 35, number).dialogue for number in (1, 2)]
    paths = [write_wave(folder / f"drums{number}.wav", sound) for number, sound in enumerate(both)]
    result = analyse_pair(paths[0], paths[1])
    assert result.confidence < 0.5
    assert result.offset_seconds is None


def test_the_features_are_those_of_librosa_for_any_part() -> None:
    from librosa.feature import mfcc
    from librosa.onset import onset_strength

    bands = np.random.default_rng(0).uniform(-70, 0, (24, 1300)).astype(np.float32)
    changes = np.pad(mfcc(S=bands, n_mfcc=13)[1:, 2:] - mfcc(S=bands, n_mfcc=13)[1:, :-2], ((0, 0), (1, 1)))
    strength = np.roll(onset_strength(S=bands, lag=2, center=False), -1)
    for name, theirs in (("mfcc", changes), ("onset", strength[None])):
        ours = features.FEATURES[name](features.Spectrum(bands, 0.01))
        assert ours[:, 100:200] == pytest.approx(ours[:, :][:, 100:200], abs=1e-6)
        likeness = [np.corrcoef(one, other)[0, 1] for one, other in zip(ours[:, :], theirs, strict=True)]
        assert min(likeness) > 0.99  # alike but for the limit, above which are three of a hundred


def test_one_second_that_both_have_where_the_files_hardly_overlap_is_no_match() -> None:
    rng = np.random.default_rng(0)
    master, dub = (rng.standard_normal((24, frames)).astype(np.float32) for frames in (4000, 600))
    master[:, -210:] = dub[:, :210]
    place = Candidate(37.9, 1.0, 12.0)
    alone, both = (Stretches(master, dub[:, :last], 0.01) for last in (140, 600))
    assert [one.fits for one in alone.hear(place)] == [True]
    assert fit_frames(alone, [Agreement(place, 12.0)]) is None
    assert fit_frames(both, [Agreement(place, 12.0)]) is not None


def test_what_the_master_holds_of_a_dub_is_said_and_too_little_is_not_repaired(folder: Path, tmp_path: Path) -> None:
    sound, other = programme(24, 36), programme(36, 37)
    master = write_wave(folder / "whole.wav", sound)
    dub = write_wave(folder / "third.wav", np.concatenate([other[: 6 * RATE], sound[4 * RATE : 20 * RATE], other]))
    result = analyse_pair(master, dub)
    assert result.offset_seconds == pytest.approx(-2, abs=1e-3)
    assert result.coverage == pytest.approx(16 / 58, abs=0.1)
    assert result.confidence < 0.999
    assert result.segments[0].dub_start == pytest.approx(6, abs=1.5)
    assert result.segments[-1].dub_end == pytest.approx(22, abs=1.5)
    with pytest.raises(UsageError, match="become silence"):
        repair(dub, result, tmp_path / "fixed.wav")


@pytest.mark.case("media/ltc-on-the-right-channel")
def test_sound_beside_a_timecode_on_the_other_channel(folder: Path) -> None:
    sound = programme(20, 38)
    bits = np.repeat(np.random.default_rng(0).integers(0, 2, 2 * 2000 * 22) * 2.0 - 1, 12)[: 21 * RATE]
    left = moved(sound, -1)[: 21 * RATE]
    dub = write_wave(folder / "ltc.wav", np.stack([0.3 * left, 0.5 * bits[: len(left)].astype(np.float32)], 1))
    result = analyse_pair(write_wave(folder / "beside.wav", sound), dub)
    assert result.offset_seconds == pytest.approx(-1, abs=1e-4)
    assert any("its channel FL was compared" in warning for warning in result.warnings)


@pytest.mark.campaign
def test_every_channel_is_compared_with_its_equal(folder: Path) -> None:
    channels = np.stack([programme(16, 39 + number) * gain for number, gain in enumerate((1, 1, 2, 0.2, 0.6, 0.6))], 1)
    late = channels.copy()
    late[round(0.12 * RATE) :, 2], late[: round(0.12 * RATE), 2] = channels[: -round(0.12 * RATE), 2], 0
    paths = []
    for name, sound in (("51", channels), ("51_late", late)):
        plain = write_wave(folder / f"{name}_plain.wav", 0.4 * sound)
        paths.append(folder / f"{name}.flac")
        ffmpeg("-i", plain, "-af", "channelmap=0|1|2|3|4|5:5.1", paths[-1])
    same, centre = analyse_pair(paths[0], paths[0]), analyse_pair(paths[0], paths[1])
    assert all(one.offset_seconds == pytest.approx(0, abs=1e-4) for one in same.channels.values())
    others = {role: one.offset_seconds for role, one in centre.channels.items()}
    main = centre.offset_seconds
    assert main is not None
    assert others["FC"] == pytest.approx(-0.12, abs=1e-3)
    assert others["FL"] == pytest.approx(0, abs=1e-3)


@pytest.fixture(scope="module")
def two_tracks(folder: Path) -> tuple[Path, Path]:
    """A file whose first track is a commentary, and the programme of its second."""
    sound = programme(12, 50)
    master = write_wave(folder / "programme.wav", sound)
    first = write_wave(folder / "commentary.wav", np.stack([programme(12, 51)] * 2, 1))
    second = write_wave(folder / "second.wav", np.stack([moved(sound, 0.5)] * 2, 1))
    path = folder / "tracks.mkv"
    ffmpeg(*("-i", first, "-i", second, "-map", "0:a", "-map", "1:a", "-c:a", "flac"),
           *("-metadata:s:a:0", "title=Commentary", "-metadata:s:a:1", "language=eng", "-disposition:a:1", "0"),
           path)  # fmt: skip
    return master, path


@pytest.mark.case("media/second-track")
def test_other_tracks_are_tried_and_the_one_is_named(two_tracks: tuple[Path, Path]) -> None:
    result = analyse_pair(*two_tracks)
    assert (result.offset_seconds, result.dub_track) == (pytest.approx(0.5, abs=1e-4), "2 (eng)")


def test_a_track_that_was_asked_for_is_the_only_one(two_tracks: tuple[Path, Path]) -> None:
    result = analyse_pair(*two_tracks, PairOptions(dub_track=1))
    assert (result.offset_seconds, result.dub_track) == (None, "1 (Commentary)")
