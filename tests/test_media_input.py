"""Files nobody would want: each is refused with its own reason, nothing hangs, nothing leads out."""

import os
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg, moved, programme, write_endless, write_wave

from sheaf.media.analysis.pair import analyse_pair
from sheaf.media.errors import (
    MediaError,
    MissingFileError,
    NoAudioError,
    OutsideRootsError,
    SilentError,
    TimedOutError,
    TooLongError,
    TooShortError,
    UnreadableError,
)
from sheaf.media.readers.paths import find_media
from sheaf.media.result import PairOptions
from sheaf.media.sample.synthesis import RATE
from sheaf.media.sync.decode import sounds
from sheaf.media.sync.probe import parse, probe
from sheaf.media.sync.timecode import nearest_rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("input")


@pytest.fixture(scope="module")
def good(folder: Path) -> Path:
    return write_wave(folder / "good.wav", programme(8))


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_random_bytes_are_no_media(folder: Path, good: Path) -> None:
    junk = _bytes(folder / "junk.wav", np.random.default_rng(0).bytes(50_000))
    with pytest.raises(UnreadableError, match=r"junk\.wav cannot be read as a media file"):
        analyse_pair(good, junk)


def test_empty_file(folder: Path, good: Path) -> None:
    with pytest.raises(UnreadableError, match="it is empty"):
        analyse_pair(good, _bytes(folder / "empty.mp4", b""))


def test_header_without_samples(folder: Path, good: Path) -> None:
    with pytest.raises((UnreadableError, TooShortError)):
        analyse_pair(good, _bytes(folder / "header.wav", good.read_bytes()[:44]))


def test_truncated_mp4_has_no_index(folder: Path, good: Path) -> None:
    whole = folder / "whole.mp4"
    ffmpeg("-i", good, whole)
    with pytest.raises(UnreadableError):
        analyse_pair(good, _bytes(folder / "half.mp4", whole.read_bytes()[:30_000]))


def test_truncated_mp3_is_still_used(folder: Path, good: Path) -> None:
    whole = folder / "whole.mp3"
    ffmpeg("-i", good, whole)
    half = _bytes(folder / "half.mp3", whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert analyse_pair(good, half).offset_seconds == pytest.approx(0, abs=1e-4)


def test_silence(folder: Path, good: Path) -> None:
    silent = write_wave(folder / "silent.wav", np.zeros(5 * RATE, np.float32))
    with pytest.raises(SilentError, match="silent"):
        analyse_pair(good, silent)


def test_picture_without_sound(folder: Path, good: Path) -> None:
    film = folder / "mute.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=1", film)
    with pytest.raises(NoAudioError, match="no sound track"):
        analyse_pair(good, film)


def test_blink_of_sound(folder: Path, good: Path) -> None:
    with pytest.raises(TooShortError):
        analyse_pair(good, write_wave(folder / "blink.wav", programme(8)[: RATE // 10]))


def test_too_long_is_refused_before_decoding(folder: Path, good: Path) -> None:
    endless = write_endless(folder / "endless.wav", programme(8)[:RATE], hours=10)
    started = time.monotonic()
    with pytest.raises(TooLongError, match="36000 s"):
        analyse_pair(good, endless)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("rate", [7999, 11025, 96000, 192000])
def test_odd_sample_rates(folder: Path, rate: int) -> None:
    sound = programme(10, 3)
    master = write_wave(folder / "odd_master.wav", sound)
    dub = folder / f"odd_{rate}.wav"
    ffmpeg("-i", write_wave(folder / "odd_plain.wav", moved(sound, -0.5)), "-ar", str(rate), dub)
    result = analyse_pair(master, dub)
    assert result.offset_seconds == pytest.approx(-0.5, abs=2e-4)
    assert result.offset_samples == pytest.approx(-0.5 * rate, abs=1)


def test_eight_channels(folder: Path) -> None:
    sound = programme(10, 3)
    eight = np.stack([0.3 * np.roll(sound, index) for index in range(8)], 1)
    dub = write_wave(folder / "eight.wav", eight)
    result = analyse_pair(write_wave(folder / "one.wav", sound), dub)
    assert len(result.channels) == 8
    assert abs(result.offset_seconds or 1) < 0.001


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.wav", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\n{good}\n#EXT-X-ENDLIST\n"),
        ("concat.mp3", "ffconcat version 1.0\nfile '{good}'\n"),
        ("relative.wav", "ffconcat version 1.0\nfile good.wav\n"),
        ("url.wav", "http://127.0.0.1:9/secret.wav\n"),
        ("stream.mp4", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/x.m3u8\n"),
    ],
)
def test_playlists_and_links_are_not_followed(folder: Path, good: Path, name: str, text: str) -> None:
    disguised = _bytes(folder / name, text.format(good=good).encode())
    with pytest.raises(UnreadableError):
        analyse_pair(good, disguised)


def test_pipes_and_folders_are_no_files(folder: Path, good: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    for path in (folder / "pipe.wav", folder, folder / "absent.wav"):
        with pytest.raises(MissingFileError):
            analyse_pair(good, path)


def test_names_that_look_like_options_or_protocols(folder: Path, good: Path) -> None:
    for name in ("-i.wav", "http:x.wav", "a b;c'd\"é.wav"):
        odd = _bytes(folder / name, good.read_bytes())
        assert analyse_pair(good, odd).offset_seconds == 0


def test_time_limit_ends_the_decoder(folder: Path, good: Path) -> None:
    with pytest.raises(TimedOutError):
        analyse_pair(good, good, PairOptions(timeout_seconds=0.001))
    assert _children() == []


def _children() -> list[str]:
    listed = subprocess.run(
        ["ps", "-o", "comm=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.split() if "ffmpeg" in line]


def test_no_decoder_is_left_after_an_error(folder: Path, good: Path) -> None:
    with pytest.raises(MediaError):
        analyse_pair(good, _bytes(folder / "junk2.wav", b"RIFF" + bytes(4000)))
    assert _children() == []


def test_paths_stay_inside_the_roots(folder: Path, good: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir(exist_ok=True)
    outside = write_wave(tmp_path / "outside.wav", programme(8)[:RATE])
    (folder / "link.wav").symlink_to(outside)
    assert find_media("good.wav", [folder]) == good.resolve()
    assert find_media(str(good), [folder / "sub", folder]) == good.resolve()
    for name in (f"../{folder.name}x/a.wav", str(outside), "link.wav", "sub/../../good.wav", "/etc/passwd"):
        with pytest.raises(OutsideRootsError):
            find_media(name, [folder])
    for name in ("absent.wav", "sub", "a\0b.wav", "x" * 5000):
        with pytest.raises(MissingFileError):
            find_media(name, [folder])


def test_description_of_a_film_is_read() -> None:
    said = """Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'x.mov':
  Duration: 01:02:03.50, start: 0.000000, bitrate: 251 kb/s
  Stream #0:0[0x1](und): Video: prores (apcn / 0x6E637061), yuv422p10le, 1920x1080, 23.98 fps, 23.98 tbr, 24k tbn
    Metadata:
      timecode        : 01:00:00:00
  Stream #0:1[0x2](eng): Audio: pcm_s24le (in24 / 0x34326E69), 48000 Hz, 5.1(side), s32 (24 bit), 6912 kb/s
At least one output file must be specified
"""
    found = parse(Path("x.mov"), said)
    assert found.duration == 3723.5
    assert found.timecode == "01:00:00:00"
    assert str(found.frame_rate) == "24000/1001"
    assert [(track.sample_rate, track.layout, track.codec) for track in found.tracks] == [
        (48000, "5.1(side)", "pcm_s24le")
    ]


def test_a_timecode_is_read_however_a_container_writes_its_name() -> None:
    said = """Input #0, matroska,webm, from 'x.mkv':
  Metadata:
    TIMECODE        : 10:00:00:100
  Duration: 00:00:03.50, start: 0.000000, bitrate: 251 kb/s
  Stream #0:0: Video: mpeg4, yuv420p, 64x64, 120 fps, 120 tbr, 1k tbn
  Stream #0:1(deu): Audio: flac, 48000 Hz, mono, s16
  Stream #0:2(eng): Audio: flac, 48000 Hz, mono, s16
"""
    found = parse(Path("x.mkv"), said)
    assert found.timecode == "10:00:00:100"
    assert sounds(found.tracks) == [range(1), range(1, 2)], "two languages are not the channels of one programme"


def test_probe_of_a_real_file(good: Path) -> None:
    found = probe(good)
    assert found.duration == pytest.approx(8, abs=0.02)
    assert found.tracks[0].layout == "mono"
    assert found.frame_rate is None


@pytest.mark.case("media/ts-audio-starts-late")
def test_sound_that_starts_after_the_picture_in_a_transport_stream(tmp_path: Path) -> None:
    sound = programme(10, 61)
    master, late = write_wave(tmp_path / "m.wav", sound), tmp_path / "late.ts"
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=11")
    ffmpeg(*picture, "-itsoffset", "0.8", "-i", master, "-c:v", "mpeg4", "-c:a", "mp2", late)
    assert analyse_pair(master, late).offset_seconds == pytest.approx(-0.8, abs=0.012)


@pytest.mark.case("media/vfr-timecode")
def test_timecode_counts_at_a_rate_that_editors_have() -> None:
    found = [nearest_rate(fps) for fps in (29.27, 12.5, 119.88, 23.98)]
    assert found == [Fraction(30000, 1001), Fraction(25), Fraction(120000, 1001), Fraction(24000, 1001)]


def test_start_timecodes_are_shown_beside_the_measured_offset(tmp_path: Path) -> None:
    sound = programme(10, 62)
    plain = write_wave(tmp_path / "p.wav", sound)
    files = []
    for name, start in (("m", "23:59:59;15"), ("d", "00:00:00;15")):  # over midnight, which comes 86 ms too early
        files.append(tmp_path / f"{name}.mov")
        picture = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=30000/1001:d=10")
        ffmpeg(*picture, "-i", plain, "-c:v", "mpeg4", "-c:a", "pcm_s16le", "-timecode", start, files[-1])
    found = analyse_pair(*files)
    assert (found.master_start, found.dub_start, found.timecode) == ("23:59:59;15", "00:00:00;15", "00:00:00;00")
    assert found.timecode_offset_seconds == pytest.approx(1.001, abs=1e-4)


@pytest.mark.case("media/flac-header-says-397-hours")
def test_a_header_that_promises_hours_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "boast.flac"
    ffmpeg("-i", write_wave(tmp_path / "p.wav", programme(6, 63)), path)
    data = bytearray(path.read_bytes())
    data[21], data[22:26] = data[21] | 0x0F, b"\xff\xff\xff\xff"  # total samples in STREAMINFO
    path.write_bytes(data)
    found = analyse_pair(path, path)
    assert found.offset_seconds == 0
    assert any("its header says" in warning for warning in found.warnings)


def test_very_quiet_float_sound_is_heard(tmp_path: Path) -> None:
    plain, quiet = write_wave(tmp_path / "p.wav", programme(8, 64)), tmp_path / "quiet.wav"
    ffmpeg("-i", plain, "-af", "volume=-100dB", "-c:a", "pcm_f32le", quiet)
    found = analyse_pair(plain, quiet)
    assert found.offset_seconds == pytest.approx(0, abs=1e-4)
    assert any("60 dB louder" in warning for warning in found.warnings)


@pytest.mark.case("media/dv-tape")
def test_raw_dv_of_a_tape_is_read(tmp_path: Path) -> None:
    plain = write_wave(tmp_path / "p.wav", programme(8, 65))
    picture = ("-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=8")
    ffmpeg(*picture, "-i", plain, "-target", "pal-dv", tmp_path / "tape.dv")
    assert analyse_pair(plain, tmp_path / "tape.dv").offset_seconds == pytest.approx(0, abs=1e-3)


@pytest.mark.case("media/encrypted-mp4")
def test_what_is_encrypted_is_named_and_is_no_pair_without_a_match(tmp_path: Path) -> None:
    plain, locked = write_wave(tmp_path / "p.wav", programme(8, 66)), tmp_path / "locked.mp4"
    scheme = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "ab" * 16, "-encryption_kid", "cd" * 16)
    ffmpeg("-i", plain, "-c:a", "aac", *scheme, locked)
    with pytest.raises(MediaError, match=r"locked\.mp4 .*encrypted"):
        analyse_pair(plain, locked)


@pytest.mark.case("media/aac-packets-lost")
def test_neither_lost_packets_nor_what_a_codec_puts_before_the_sound_move_it(tmp_path: Path) -> None:
    sound = programme(20, 67)
    plain, gaps = write_wave(tmp_path / "p.wav", sound), tmp_path / "gaps.mkv"
    coded = tmp_path / "coded.mkv"
    ffmpeg("-i", write_wave(tmp_path / "late.wav", moved(sound, -0.3)), "-c:a", "libopus", coded)
    ffmpeg("-i", coded, "-c", "copy", "-bsf:a", r"noise=drop='not(mod(n+1\,40))'", gaps)
    assert gaps.stat().st_size < coded.stat().st_size
    for file in (coded, gaps):
        assert analyse_pair(plain, file).offset_seconds == pytest.approx(-0.3, abs=0.001)
