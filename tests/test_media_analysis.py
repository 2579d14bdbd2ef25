"""One pair: the offset is right, and stays right under everything that must not matter."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg, moved, programme, write_wave

from sheaf.media.analysis.pair import analyse_pair
from sheaf.media.methods import Method, Model
from sheaf.media.result import PairOptions, PairResult, Status
from sheaf.media.sample.synthesis import RATE, scene, stretched
from sheaf.media.sync.confidence import Evidence, confidence
from sheaf.media.sync.timecode import RATES, timecode

OFFSET = -1.234


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return programme()


@pytest.fixture(scope="module")
def master(folder: Path, sound: np.ndarray) -> Path:
    return write_wave(folder / "master.wav", sound)


@pytest.fixture(scope="module")
def dub(folder: Path, sound: np.ndarray) -> Path:
    return write_wave(folder / "dub.wav", moved(sound, OFFSET))


@pytest.fixture(scope="module")
def found(master: Path, dub: Path) -> PairResult:
    return analyse_pair(master, dub)


def test_late_dub_has_a_negative_offset(found: PairResult) -> None:
    assert found.status is Status.COMPLETED
    assert found.offset_seconds == pytest.approx(OFFSET, abs=2e-6)
    assert found.offset_samples == round(OFFSET * RATE)
    assert found.offset_frames is not None
    assert found.offset_frames["25"] == pytest.approx(OFFSET * 25, abs=1e-3)
    assert found.timecode == "-00:00:01:06"  # 29.59 frames at 23.976
    assert 0.9 < found.confidence < 1
    assert found.rate == 1
    assert [segment.offset_seconds for segment in found.segments] == [found.offset_seconds]


def test_every_default_method_reports_its_own_offset(found: PairResult) -> None:
    assert [item.method for item in found.method_results] == [Method.MFCC, Method.ONSET, Method.SPECTRAL]
    for item in found.method_results:
        assert item.offset_seconds == pytest.approx(OFFSET, abs=1e-4)
        assert item.confidence >= 0.9


def test_swapping_the_files_turns_the_sign(master: Path, dub: Path) -> None:
    assert analyse_pair(dub, master).offset_seconds == pytest.approx(-OFFSET, abs=2e-6)


@pytest.mark.parametrize("gain", [0.01, -1.0, 0.5])
def test_level_and_polarity_do_not_matter(folder: Path, sound: np.ndarray, master: Path, gain: float) -> None:
    changed = write_wave(folder / f"gain{gain}.wav", gain * moved(sound, OFFSET))
    assert analyse_pair(master, changed).offset_seconds == pytest.approx(OFFSET, abs=2e-5)


def test_prepending_moves_the_offset_by_as_much(folder: Path, sound: np.ndarray, master: Path) -> None:
    longer = write_wave(folder / "longer.wav", moved(sound, OFFSET - 2.5))
    assert analyse_pair(master, longer).offset_seconds == pytest.approx(OFFSET - 2.5, abs=2e-6)


def test_order_of_methods_does_not_matter(master: Path, dub: Path, found: PairResult) -> None:
    turned = analyse_pair(master, dub, PairOptions(methods=(Method.SPECTRAL, Method.ONSET, Method.MFCC)))
    same = {"analysis_seconds"}
    assert turned.model_dump(exclude=same) == found.model_dump(exclude=same)


@pytest.mark.parametrize("method", [Method.CORRELATION, Method.AI, Method.ONSET])
def test_each_method_finds_it_alone(master: Path, dub: Path, method: Method) -> None:
    result = analyse_pair(master, dub, PairOptions(methods=(method,)))
    assert result.offset_seconds == pytest.approx(OFFSET, abs=2e-5)
    assert result.method_used.lower().startswith(method.value)


@pytest.mark.case("media/ai-model-silently-replaced")
def test_absent_model_is_said(master: Path, dub: Path) -> None:
    result = analyse_pair(master, dub, PairOptions(methods=(Method.AI,), ai_model=Model.WAV2VEC2))
    assert (result.requested_model, result.model_available) == (Model.WAV2VEC2, False)
    assert result.method_used == "AI (spectral embedding, fallback)"


def test_model_file_is_run(folder: Path, master: Path, dub: Path) -> None:
    path = _tiny_model(folder / "tiny.onnx")
    options = PairOptions(methods=(Method.AI,), ai_model=Model.YAMNET, models={Model.YAMNET: path})
    result = analyse_pair(master, dub, options)
    assert result.model_available
    assert result.method_used == "AI (YAMNet)"
    assert result.offset_seconds == pytest.approx(OFFSET, abs=2e-5)


def _tiny_model(path: Path) -> Path:
    """A real network: two layers of convolution over the samples, with fixed random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((24, 1, 400)).astype("f4") / 20,
        "w2": rng.standard_normal((16, 24, 4)).astype("f4") / 10,
        "shape": np.array([1, 1, -1], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["samples", "shape"], ["x"]),
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[160]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], strides=[4]),
        helper.make_node("Transpose", ["c"], ["vectors"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [1, "t", 16])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def test_unrelated_programmes_do_not_match(folder: Path, master: Path) -> None:
    other = write_wave(folder / "other.wav", programme(seed=2))
    result = analyse_pair(master, other)
    assert (result.status, result.offset_seconds, result.segments) == (Status.NO_MATCH, None, [])
    assert result.confidence < 0.5


def test_drift_is_measured_to_a_millionth(folder: Path) -> None:
    sound = programme(40, 3)
    master = write_wave(folder / "steady.wav", sound)
    dub = write_wave(folder / "drifting.wav", stretched(sound, 1.00015))
    result = analyse_pair(master, dub)
    assert result.drift_ppm == pytest.approx(150, abs=1)
    assert result.offset_seconds == pytest.approx(0, abs=1e-4)


def test_pal_speed_up_is_no_drift(folder: Path, sound: np.ndarray, master: Path) -> None:
    dub = write_wave(folder / "pal.wav", stretched(sound, 25 / 24))
    result = analyse_pair(master, dub)
    assert result.rate == pytest.approx(25 / 24, abs=1e-6)
    assert result.drift_ppm == pytest.approx(0, abs=1)


def test_edits_become_segments(folder: Path) -> None:
    sound, extra = programme(48, 4), programme(6, 5)
    at, cut = 16 * RATE, 32 * RATE
    master = write_wave(folder / "whole.wav", sound)
    pieces = [sound[:at], extra[: 2 * RATE], sound[at:cut], sound[cut + 3 * RATE :]]
    dub = write_wave(folder / "edited.wav", np.concatenate(pieces))
    result = analyse_pair(master, dub)
    truth = [(0, 16, 0.0), (18, 34, -2.0), (34, 47, 1.0)]
    assert len(result.segments) == 3
    for segment, (start, end, offset) in zip(result.segments, truth, strict=True):
        assert segment.offset_seconds == pytest.approx(offset, abs=1e-3)
        assert segment.dub_start == pytest.approx(start, abs=0.1)
        assert segment.dub_end == pytest.approx(end, abs=0.1)
    assert result.offset_seconds == pytest.approx(0.0, abs=1e-5)  # the first of the longest


def test_an_edit_beside_a_quiet_passage_is_found(folder: Path) -> None:
    sound = programme(40, 5)
    sound[16 * RATE : 17 * RATE] *= 0.003
    dub = np.concatenate([sound[: 12 * RATE], sound[16 * RATE :]])
    master = write_wave(folder / "quiet_master.wav", sound)
    first, second = analyse_pair(master, write_wave(folder / "quiet_cut.wav", dub)).segments
    assert first.dub_end == pytest.approx(12, abs=0.05)
    assert second.dub_start == pytest.approx(12, abs=0.05)


def test_channels_are_measured_apart(folder: Path, sound: np.ndarray, master: Path) -> None:
    late = moved(sound, OFFSET)
    skewed = np.roll(late, 480)  # 10 ms later still
    six = np.stack([late, skewed, late, np.zeros_like(late), -late, programme(25, 9)[: len(late)]], 1)
    plain = write_wave(folder / "six_plain.wav", 0.5 * six)
    dub = folder / "six.wav"
    ffmpeg("-channel_layout", "5.1", "-i", plain, "-c:a", "pcm_s16le", dub)
    channels = analyse_pair(master, dub).channels
    offsets = {role: entry.offset_seconds for role, entry in channels.items()}
    assert list(offsets) == ["FL", "FR", "FC", "LFE", "BL", "BR"]
    for role, expected in (("FL", OFFSET), ("FR", OFFSET - 0.01), ("FC", OFFSET), ("BL", OFFSET)):
        assert offsets[role] == pytest.approx(expected, abs=1e-4)
    assert offsets["LFE"] is None
    assert offsets["BR"] is None


def test_antiphase_stereo_is_heard(folder: Path, sound: np.ndarray, master: Path) -> None:
    late = 0.5 * moved(sound, OFFSET)
    dub = write_wave(folder / "antiphase.wav", np.stack([late, -late], 1))
    assert analyse_pair(master, dub).offset_seconds == pytest.approx(OFFSET, abs=2e-5)


def test_translated_dialogue_still_matches(folder: Path) -> None:
    sound = scene(30, 6)
    master = write_wave(folder / "original.wav", sound.mix)
    dub = write_wave(folder / "translated.wav", moved(sound.effects + sound.foreign(7), 0.75))
    assert analyse_pair(master, dub).offset_seconds == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("ending", ["mp3", "m4a", "opus", "flac"])
def test_coded_sound_keeps_its_place(folder: Path, master: Path, dub: Path, ending: str) -> None:
    coded = folder / f"dub.{ending}"
    ffmpeg("-i", dub, coded)
    assert analyse_pair(master, coded).offset_seconds == pytest.approx(OFFSET, abs=1e-4)


def test_a_track_that_starts_late_in_its_file_counts_from_the_picture(folder: Path, master: Path, dub: Path) -> None:
    film = folder / "film.mkv"
    picture = ["-f", "lavfi", "-i", "color=s=64x64:r=24000/1001:d=10"]
    ffmpeg("-itsoffset", "0.5", "-i", dub, *picture, "-map", "0:a", "-map", "1:v", "-c:a", "pcm_s16le", film)
    result = analyse_pair(master, film)
    assert result.offset_seconds == pytest.approx(OFFSET - 0.5, abs=1e-4)
    assert result.frame_rate == "24000/1001"


def test_mono_tracks_are_the_channels_of_one_programme(folder: Path, master: Path, dub: Path) -> None:
    film = folder / "split.mov"
    silent = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono:d=20"]
    ffmpeg(*silent, "-i", dub, "-map", "0:a", "-map", "1:a", "-c:a", "pcm_s16le", film)
    assert analyse_pair(master, film).offset_seconds == pytest.approx(OFFSET, abs=1e-4)


def test_more_tracks_than_one_sound_has_are_tried_and_the_one_is_named(folder: Path, master: Path, dub: Path) -> None:
    camera = folder / "camera.mov"
    noise, silent = (["-f", "lavfi", "-i", f"{source}:d=10"] for source in ("anoisesrc=a=0.1", "anullsrc=cl=mono"))
    tracks = ["1:a"] * 8 + ["0:a", "2:a", "0:a", "0:a"]
    ffmpeg(*noise, *silent, "-i", dub, *(part for one in tracks for part in ("-map", one)), "-c:a", "pcm_s16le", camera)
    result = analyse_pair(master, camera)
    assert (result.offset_seconds, result.dub_track) == (pytest.approx(OFFSET, abs=1e-4), "10")
    assert [role for role, one in result.channels.items() if one.offset_seconds is not None] == ["c9"]
    assert any("its track 10 was compared" in warning for warning in result.warnings)


def test_a_channel_of_a_recorder_that_all_others_drown_is_found(folder: Path, sound: np.ndarray, master: Path) -> None:
    channels = 0.1 * np.random.default_rng(6).standard_normal((8 * RATE, 12)).astype(np.float32)
    channels[:, 10] = 0.3 * moved(sound, 1.5)[: len(channels)]
    result = analyse_pair(master, write_wave(folder / "recorder.wav", channels))
    assert result.offset_seconds == pytest.approx(1.5, abs=1e-4)
    assert any("its channel c10 was compared" in warning for warning in result.warnings)


def test_every_pass_of_a_scene_is_a_piece_also_where_the_first_leaves_no_master(
    folder: Path, sound: np.ndarray, master: Path
) -> None:
    passes = np.concatenate([sound, programme(3, 91), 0.5 * moved(sound, 4)])
    result = analyse_pair(master, write_wave(folder / "passes.wav", passes))
    assert [piece.offset_seconds for piece in result.segments] == pytest.approx([0, -19], abs=1e-4)
    assert result.segments[1].dub_start == pytest.approx(23, abs=0.02)


def test_confidence_rises_with_evidence_and_never_reaches_one() -> None:
    by_weight = [confidence(Evidence(weight, 3)) for weight in (0.0, 0.2, 0.5, 1.0, 3.0, 50.0)]
    assert by_weight == sorted(by_weight)
    assert by_weight[0] == 0
    by_windows = [confidence(Evidence(0.6, windows)) for windows in (1, 2, 4, 8)]
    assert by_windows == sorted(set(by_windows)), "the same evidence is less likely by chance in more windows"
    assert confidence(Evidence(1.0, 1)) < 0.5, "one perfect window is not enough"
    assert confidence(Evidence(48.0, 48)) < 1
    assert confidence(Evidence(3.0, 3, 7)) < confidence(Evidence(3.0, 3))


@pytest.mark.parametrize(
    ("seconds", "rate", "drop", "text"),
    [
        (-15.015, "23.976", False, "-00:00:15:00"),
        (15.024, "23.976", False, "00:00:15:00"),
        (0.9999, "24", False, "00:00:01:00"),
        (3600.0, "25", False, "01:00:00:00"),
        (3600.0, "29.97", True, "01:00:00;00"),
        (60.06, "29.97", True, "00:01:00;02"),
        (59.9933, "29.97", True, "00:00:59;28"),
        (600.6, "59.94", True, "00:10:00;36"),
        (0.0, "30", False, "00:00:00:00"),
    ],
)
def test_timecode(seconds: float, rate: str, drop: bool, text: str) -> None:
    assert timecode(seconds, RATES[rate], drop=drop) == text


def test_drop_frame_needs_a_rate_that_has_it() -> None:
    with pytest.raises(ValueError, match=r"29\.97"):
        timecode(1.0, Fraction(25), drop=True)
