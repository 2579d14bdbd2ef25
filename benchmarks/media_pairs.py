"""Master/dub pairs with known truth: what the media benchmark measures with.

t_master = offset + rate * t_dub (seconds of presentation time), exact by construction: integer samples
at 48 kHz. Needs nothing but Sheaf: sound is synthesised, files are encoded by the ffmpeg it uses.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sheaf.media.sample.synthesis import RATE, band, foley, scene, shifted, speech, stretched
from sheaf.media.sync.ffmpeg import executable

AC3_DELAY = 256 / RATE  # of a raw AC-3 stream, which has no place to signal it


@dataclass(frozen=True)
class Case:
    """One pair; `expect` is match, reject or error, `segments` (start, end, offset) of an edited dub."""

    kind: str
    master: Path
    dub: Path
    expect: str = "match"
    offset: float = 0.0
    rate: float = 1.0
    segments: tuple[tuple[float, float, float], ...] = ()
    tolerance_ms: float = 1.0


@dataclass
class _Maker:
    folder: Path
    seed: int
    cases: list[Case] = field(default_factory=list)

    def rng(self, kind: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *kind.encode()])

    def mix(self, kind: str, seconds: float = 60) -> np.ndarray:
        return scene(seconds, self.seed, *kind.encode()).mix

    def offset(self, kind: str, low: float = -20.0, high: float = 20.0) -> float:
        return round(self.rng(kind + "offset").uniform(low, high) * RATE) / RATE

    def add(
        self,
        kind: str,
        master: np.ndarray,
        dub: np.ndarray,
        *,
        suffix: tuple[str, str] = ("wav", "wav"),
        **truth: object,
    ) -> Case:
        paths = [
            self.folder / f"{kind}_{self.seed}_{which}.{end}" for which, end in zip(("m", "d"), suffix, strict=True)
        ]
        for path, samples in zip(paths, (master, dub), strict=True):
            encode(path, samples)
        case = Case(kind, paths[0], paths[1], **truth)  # type: ignore[arg-type]
        self.cases.append(case)
        return case


_CODECS = {
    "wav": ["-c:a", "pcm_s16le"],
    "flac": ["-c:a", "flac"],
    "mp3": ["-c:a", "libmp3lame", "-b:a", "128k"],
    "m4a": ["-c:a", "aac", "-b:a", "128k"],
    "opus": ["-c:a", "libopus", "-b:a", "96k"],
    "ac3": ["-c:a", "ac3", "-b:a", "384k"],
    "g711.wav": ["-c:a", "pcm_alaw", "-ar", "8000"],
    "mp4": ["-c:a", "aac", "-b:a", "160k", "-c:v", "mpeg4", "-q:v", "20"],
    "eac3.mp4": ["-c:a", "eac3", "-b:a", "256k", "-c:v", "mpeg4", "-q:v", "20"],
    "mov": ["-c:a", "pcm_s24le", "-c:v", "prores_ks", "-profile:v", "0"],
    "late.mkv": ["-af", "asetpts=PTS+0.5/TB", "-c:a", "pcm_s16le", "-c:v", "mpeg4", "-q:v", "20"],
}


def encode(path: Path, samples: np.ndarray) -> None:
    """Write samples, shape (n,) or (n, channels), as the name's ending says; peaks above 0.89 are scaled down."""
    peak = float(np.max(np.abs(samples))) if samples.size else 0.0
    if peak > 0.89:
        samples = samples / peak * 0.89
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    ending = path.name.split(".", 1)[1]
    seconds = len(samples) / RATE
    layout = ["-channel_layout", "5.1"] if channels == 6 else []
    command = [executable(), "-v", "error", "-nostdin", "-y"]
    command += ["-f", "f32le", "-ar", str(RATE), "-ac", str(channels), *layout, "-i", "pipe:0"]
    if ending in ("mp4", "eac3.mp4", "mov", "late.mkv"):
        rate = "24000/1001" if ending == "mov" else "25"
        command += ["-f", "lavfi", "-i", f"testsrc2=s=192x108:r={rate}:d={seconds:.3f}", "-map", "0:a", "-map", "1:v"]
    if not any(option == "-ar" for option in _CODECS[ending]):
        command += ["-ar", str(RATE)]
    command += [*_CODECS[ending], str(path)]
    subprocess.run(command, input=samples.astype("<f4").tobytes(), check=True)


def build(folder: Path, seed: int, kinds: tuple[str, ...] = ()) -> list[Case]:
    """All kinds of pairs, or the named ones."""
    maker = _Maker(folder, seed)
    for kind in kinds or tuple(KINDS):
        KINDS[kind](maker, kind)
    return maker.cases


def _simple(
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    suffix: tuple[str, str] = ("wav", "wav"),
    tolerance_ms: float = 1.0,
    at: float | None = None,
) -> Callable[[_Maker, str], None]:
    """A constant offset with one thing done to the dub."""

    def make(maker: _Maker, kind: str) -> None:
        programme = maker.mix(kind)
        offset = maker.offset(kind) if at is None else round(at * RATE) / RATE
        dub = shifted(programme, offset, maker.rng(kind))
        if change:
            dub = change(dub, maker.rng(kind + "change"))
        maker.add(kind, programme, dub, suffix=suffix, offset=offset, tolerance_ms=tolerance_ms)

    return make


def noisy(signal: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """With noise that falls towards high frequencies."""
    noise = np.convolve(rng.standard_normal(len(signal)), 0.3 * 0.7 ** np.arange(20), mode="same")
    gain = np.sqrt(np.mean(signal**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return (signal + gain * noise).astype(np.float32)


def _reverberant(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Direct sound and an exponential tail of 0.8 s."""
    count = round(0.8 * RATE)
    response = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count) * 0.06
    response[0] = 1.0
    size = 1 << (len(signal) + count).bit_length()
    wet = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)
    return wet[: len(signal)].astype(np.float32)


def _overlap(maker: _Maker, kind: str) -> None:
    programme, offset = maker.mix(kind, 200), maker.offset(kind, 40, 75)
    start = round(offset * RATE)
    maker.add(kind, programme[: 110 * RATE], programme[start : start + 120 * RATE], offset=offset)


def _surround(ending: str, delay: float) -> Callable[[_Maker, str], None]:
    def make(maker: _Maker, kind: str) -> None:
        sound, offset = scene(60, maker.seed, *kind.encode()), maker.offset(kind)
        effects, voice = (shifted(part, offset, maker.rng(kind)) for part in (sound.effects, sound.dialogue))
        six = np.stack(
            [effects * 0.7, np.roll(effects, 97) * 0.7, voice, effects * 0.2, effects * 0.4, effects * 0.4], 1
        )
        stereo = np.stack([sound.mix, sound.mix * 0.9], 1)
        maker.add(kind, stereo, six, suffix=("wav", ending), offset=offset - delay, tolerance_ms=2.0)

    return make


def _antiphase(maker: _Maker, kind: str) -> None:
    programme, offset = maker.mix(kind), maker.offset(kind)
    dub = shifted(programme, offset, maker.rng(kind))
    maker.add(kind, programme, np.stack([dub, -dub], 1), offset=offset)


def _one_channel(maker: _Maker, kind: str) -> None:
    programme, offset = maker.mix(kind), maker.offset(kind)
    dub = shifted(programme, offset, maker.rng(kind))
    maker.add(kind, programme, np.stack([np.zeros_like(dub), dub], 1), offset=offset)


def _late_track(maker: _Maker, kind: str) -> None:
    """A container whose sound starts half a second after the picture."""
    programme, offset = maker.mix(kind), maker.offset(kind)
    dub = shifted(programme, offset, maker.rng(kind))
    maker.add(kind, programme, dub, suffix=("wav", "late.mkv"), offset=offset - 0.5)


def _speed(rate: float, seconds: float) -> Callable[[_Maker, str], None]:
    def make(maker: _Maker, kind: str) -> None:
        programme, offset = maker.mix(kind, seconds), maker.offset(kind)
        dub = stretched(programme[max(round(offset * RATE), 0) :], rate)
        if offset < 0:
            leader = round(-offset / rate * RATE)
            dub, offset = shifted(dub, -leader / RATE, maker.rng(kind)), -leader / RATE * rate
        maker.add(kind, programme, dub, offset=offset, rate=rate)

    return make


def _edited(cuts: tuple[tuple[float, float], ...]) -> Callable[[_Maker, str], None]:
    """Edits (time in the master, seconds): material missing in the dub when positive, extra when negative."""

    def make(maker: _Maker, kind: str) -> None:
        programme, offset = maker.mix(kind, 120), maker.offset(kind, -10, 10)
        other = maker.mix(kind + "extra", 20)
        pieces, segments = [], []
        at, written = max(round(offset * RATE), 0), max(round(-offset * RATE), 0)
        for cut, length in (*cuts, (120.0, 0.0)):
            end = round(cut * RATE)
            pieces.append(programme[at:end])
            segments.append((written / RATE, (written + end - at) / RATE, (at - written) / RATE))
            written += end - at
            gap = round(length * RATE)
            if gap < 0:
                pieces.append(other[:-gap])
                written -= gap
            at = end + max(gap, 0)
        dub = shifted(np.concatenate(pieces), min(offset, 0.0), maker.rng(kind))
        longest = max(segments, key=lambda piece: piece[1] - piece[0])
        maker.add(kind, programme, dub, offset=longest[2], segments=tuple(segments))

    return make


def _translated(maker: _Maker, kind: str) -> None:
    sound, offset = scene(90, maker.seed, *kind.encode()), maker.offset(kind, -5, 5)
    dub = shifted(sound.effects + sound.foreign(maker.seed, 1), offset, maker.rng(kind))
    maker.add(kind, sound.mix, dub, suffix=("wav", "m4a"), offset=offset, tolerance_ms=2.0)


def _tone_head(maker: _Maker, kind: str) -> None:
    programme, offset = maker.mix(kind), maker.offset(kind, 25, 31)
    tone = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(30 * RATE) / RATE)).astype(np.float32)
    head = np.concatenate([tone, np.zeros(2 * RATE, np.float32)])
    maker.add(kind, np.concatenate([head, programme]), shifted(programme, offset - 32, maker.rng(kind)), offset=offset)


def _unrelated(maker: _Maker, kind: str) -> None:
    maker.add(kind, maker.mix(kind), maker.mix(kind + "other"), expect="reject")


def _unrelated_voice(maker: _Maker, kind: str) -> None:
    rng = maker.rng(kind)
    slots = [(start * 3 * RATE, 2 * RATE) for start in range(20)]
    both = [speech(60 * RATE, slots, rng) + 0.1 * foley(60 * RATE, rng) for _ in range(2)]
    maker.add(kind, both[0], both[1], expect="reject")


def _short(maker: _Maker, kind: str) -> None:
    programme, offset = maker.mix(kind, 12), maker.offset(kind, 2, 9)
    start = round(offset * RATE)
    maker.add(kind, programme, programme[start : start + round(1.2 * RATE)], offset=offset, tolerance_ms=2.0)


def _silent(maker: _Maker, kind: str) -> None:
    maker.add(kind, maker.mix(kind, 20), np.zeros(20 * RATE, np.float32), expect="error")


def _corrupt(maker: _Maker, kind: str) -> None:
    case = maker.add(kind, maker.mix(kind, 20), np.zeros(RATE, np.float32), expect="error")
    case.dub.write_bytes(maker.rng(kind).bytes(200_000))


def _truncated_mp4(maker: _Maker, kind: str) -> None:
    programme = maker.mix(kind, 20)
    case = maker.add(kind, programme, programme, suffix=("wav", "mp4"), expect="error")
    data = case.dub.read_bytes()
    case.dub.write_bytes(data[: len(data) // 2])


def _truncated_mp3(maker: _Maker, kind: str) -> None:
    programme, offset = maker.mix(kind), maker.offset(kind, -5, 5)
    dub = shifted(programme, offset, maker.rng(kind))
    case = maker.add(kind, programme, dub, suffix=("wav", "mp3"), offset=offset, tolerance_ms=2.0)
    data = case.dub.read_bytes()
    case.dub.write_bytes(data[: int(len(data) * 0.55)])


KINDS: dict[str, Callable[[_Maker, str], None]] = {
    "wav_late15": _simple(at=-15.023),
    "flac_subframe": _simple(suffix=("flac", "flac"), at=657 / RATE),
    "zero": _simple(at=0.0),
    "mp3": _simple(suffix=("wav", "mp3")),
    "aac_mp4": _simple(suffix=("mp4", "mp4")),
    "prores_mov": _simple(suffix=("mov", "mov"), at=-15.015),
    "opus": _simple(suffix=("flac", "opus")),
    "g711_8k": _simple(suffix=("wav", "g711.wav"), tolerance_ms=2.0),
    "noise20": _simple(lambda x, rng: noisy(x, 20, rng)),
    "noise10": _simple(lambda x, rng: noisy(x, 10, rng)),
    "noise0": _simple(lambda x, rng: noisy(x, 0, rng), tolerance_ms=2.0),
    "phone_eq": _simple(lambda x, rng: 0.04 * band(x, 300, 3400), suffix=("wav", "mp3"), tolerance_ms=2.0),
    "reverb": _simple(_reverberant, tolerance_ms=2.0),
    "polarity": _simple(lambda x, rng: -x),
    "limiter": _simple(lambda x, rng: 0.5 * np.tanh(12 * x), suffix=("wav", "m4a"), tolerance_ms=2.0),
    "window_long": _overlap,
    "ac3_51": _surround("ac3", AC3_DELAY),
    "eac3_51_mp4": _surround("eac3.mp4", 0.0),
    "antiphase": _antiphase,
    "one_channel": _one_channel,
    "late_track": _late_track,
    "pal_speedup": _speed(1001 / 960, 120),
    "pull_24_23976": _speed(1001 / 1000, 180),
    "drift_50ppm": _speed(20001 / 20000, 600),
    "cut_middle": _edited(((55.0, 4.2),)),
    "extra_middle": _edited(((62.0, -3.0),)),
    "two_edits": _edited(((35.0, 1.5), (80.0, -2.5))),
    "lang_dub": _translated,
    "tone_head": _tone_head,
    "unrelated": _unrelated,
    "unrelated_voice": _unrelated_voice,
    "short": _short,
    "silent": _silent,
    "corrupt": _corrupt,
    "trunc_mp4": _truncated_mp4,
    "trunc_mp3": _truncated_mp3,
}
