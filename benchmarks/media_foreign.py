r"""Pairs from recordings that Sheaf did not make: prompts, produced music, instruments, in rooms of our own.

The recordings are Debian packages, unpacked below one folder; none of them is part of Sheaf:

    apt-get download asterisk-core-sounds-en-wav asterisk-core-sounds-es-wav asterisk-core-sounds-fr-wav \
        sonic-pi-samples warzone2100-music
    for package in *.deb; do dpkg-deb -x $package foreign; done

A dub is what another microphone, phone or machine made of the same programme: rooms whose direct sound is weaker
than their echoes, level control, telephone codecs, changes of speed that keep the pitch, tape whose speed wanders.
Beside them stand pairs that have nothing in common but a drum loop or a library of effects, and pairs that fit at
several offsets alike. `foreign_edges` are from easy to hopeless, as a confidence has to be measured with.
"""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import cache
from pathlib import Path

import numpy as np
from media_pairs import Case
from scipy.signal import fftconvolve

from sheaf.media.sync.ffmpeg import executable

RATE = 16000
_LANGUAGES = ("en_US_f_Allison", "es_MX_f_Allison", "fr_CA_f_June")
_SECONDS = 75


class Foreign:
    """The recordings below one folder, decoded as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._prompts = [
            sorted(p for p in folder.rglob(f"{name}/**/*.wav") if "silence" not in p.parts) for name in _LANGUAGES
        ]
        self._songs = sorted(p for p in folder.rglob("warzone2100/**/*") if p.suffix in (".ogg", ".opus"))
        self._notes = sorted(p for p in folder.rglob("sonic-pi/samples/*.flac") if not p.stem.startswith("loop_"))
        self._loops = sorted(folder.rglob("sonic-pi/samples/loop_*.flac"))
        if not all(self._prompts) or not self._songs or not self._notes or not self._loops:
            raise SystemExit(f"{folder} does not hold the packages that {Path(__file__).name} names.")

    def half(self, which: int) -> "Foreign":
        """Every second recording of each kind: two halves share no sound."""
        half = copy(self)
        half._prompts = [files[which::2] for files in self._prompts]
        half._songs, half._notes, half._loops = (files[which::2] for files in (self._songs, self._notes, self._loops))
        return half

    def speech(self, rng: np.random.Generator, seconds: float = _SECONDS, language: int | None = None) -> np.ndarray:
        """Prompts one after another with pauses."""
        files = self._prompts[int(rng.integers(3)) if language is None else language]
        parts, left = [], round(seconds * RATE)
        while left > 0:
            sound = sound_of(files[int(rng.integers(len(files)))])
            pause = np.zeros(round(rng.uniform(0.1, 1.0) * RATE), np.float32)
            parts += [sound, pause]
            left -= len(sound) + len(pause)
        return np.concatenate(parts)[: round(seconds * RATE)]

    def music(self, rng: np.random.Generator, seconds: float = _SECONDS) -> np.ndarray:
        """A stretch of one piece."""
        song = sound_of(self._songs[int(rng.integers(len(self._songs)))])
        first = int(rng.integers(max(len(song) - round(seconds * RATE), 1)))
        return _fit(song[first:], seconds)

    def instruments(self, rng: np.random.Generator, seconds: float = _SECONDS) -> np.ndarray:
        """Single sounds at no fixed beat."""
        out = np.zeros(round(seconds * RATE), np.float32)
        at = 0.0
        while at < seconds:
            note = sound_of(self._notes[int(rng.integers(len(self._notes)))])[: 3 * RATE]
            first = round(at * RATE)
            note = note[: len(out) - first]
            out[first : first + len(note)] += note
            at += rng.exponential(0.6)
        return out

    def film(self, rng: np.random.Generator, seconds: float = _SECONDS) -> np.ndarray:
        """Speech over music."""
        return self.speech(rng, seconds) + 0.4 * self.music(rng, seconds)

    def loop(self, rng: np.random.Generator, seconds: float) -> np.ndarray:
        """One drum loop again and again."""
        one = sound_of(self._loops[int(rng.integers(len(self._loops)))])
        one = one[: max(len(one), RATE)]
        return np.tile(one, int(np.ceil(seconds * RATE / len(one))))[: round(seconds * RATE)]

    def effect(self, rng: np.random.Generator) -> np.ndarray:
        """One sound of a library."""
        return sound_of(self._notes[int(rng.integers(len(self._notes)))])[: 2 * RATE]


@cache
def sound_of(path: Path) -> np.ndarray:
    """A file as mono at RATE, its loudest sample 0.5."""
    command = [executable(), "-v", "error", "-i", str(path), "-ac", "1", "-ar", str(RATE), "-f", "f32le", "pipe:1"]
    sound = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)
    return 0.5 * sound / max(float(np.abs(sound).max(initial=0)), 1e-6)


def room(sound: np.ndarray, rng: np.random.Generator, direct_db: float, decay: float) -> np.ndarray:
    """Heard in a room: the direct sound `direct_db` above its echoes, which take `decay` s to fall by 60 dB."""
    count = round(1.2 * decay * RATE)
    time = np.arange(count) / RATE
    echoes = rng.standard_normal(count) * np.exp(-6.9 * time / decay)
    echoes[: round(rng.uniform(0.002, 0.008) * RATE)] = 0
    response = echoes / np.sqrt((echoes**2).sum())
    response[0] = 10 ** (direct_db / 20)
    heard = fftconvolve(sound, response)[: len(sound)].astype(np.float32)
    return 0.4 * heard / np.abs(heard).max()


def noise(sound: np.ndarray, rng: np.random.Generator, ratio_db: float) -> np.ndarray:
    """With room noise."""
    level = float(np.std(sound)) * 10 ** (-ratio_db / 20)
    hiss = fftconvolve(rng.standard_normal(len(sound)), np.ones(6) / 6, mode="same")
    return (sound + level * hiss / np.std(hiss)).astype(np.float32)


def wandering(sound: np.ndarray, rng: np.random.Generator, depth: float, period: float) -> np.ndarray:
    """Tape whose speed wanders by `depth` (share) over `period` s; where it is, is right at the start."""
    time = np.arange(len(sound)) / RATE
    phase = rng.uniform(0, 6.28)
    at = time + depth * period / 6.28 * (np.sin(6.28 * time / period + phase) - np.sin(phase))
    return np.interp(at * RATE, np.arange(len(sound)), sound).astype(np.float32)


def through(sound: np.ndarray, folder: Path, *filters: str) -> np.ndarray:
    """Through filters of ffmpeg."""
    raw, out = folder / "raw.wav", folder / "filtered.wav"
    write(raw, sound)
    subprocess.run([executable(), "-v", "error", "-y", "-i", raw, "-af", ",".join(filters), out], check=True)
    command = [executable(), "-v", "error", "-i", out, "-ac", "1", "-ar", str(RATE), "-f", "f32le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)


_CODECS = {
    "phone.wav": ["-ar", "8000", "-c:a", "pcm_mulaw"],
    "low.opus": ["-c:a", "libopus", "-b:a", "16k"],
    "low.mp3": ["-c:a", "libmp3lame", "-b:a", "40k"],
    "m4a": ["-c:a", "aac", "-b:a", "64k"],
    "flac": ["-c:a", "flac"],
}


def write(path: Path, sound: np.ndarray) -> None:
    """Encode by the name's ending."""
    coding = next((values for ending, values in _CODECS.items() if path.name.endswith(ending)), [])
    command = [executable(), "-v", "error", "-y", "-f", "f32le", "-ar", str(RATE), "-i", "pipe:0", *coding, str(path)]
    subprocess.run(command, input=np.clip(sound, -1, 1).astype("<f4").tobytes(), check=True)


_AGC = "compand=attacks=0.01:decays=0.6:points=-80/-50|-40/-16|-10/-9|0/-8"
_TELEPHONE = "highpass=f=300,lowpass=f=3400"


def foreign_pairs(source: Foreign, folder: Path, seed: int) -> Iterator[Case]:
    """28 pairs that belong together, 12 that do not, 3 that fit at several offsets."""
    for name, make, ending in _TOGETHER:
        rng = np.random.default_rng((seed, *name.encode()))
        sound = make(source, rng)
        start = round(rng.uniform(2, 12) * RATE)
        dub, rate = _DUBS[name.split("/")[1]](sound[start:], rng, folder)
        yield _case(folder, name, sound, dub, ending, offset=start / RATE, rate=rate, tolerance_ms=1000 / 24)
    for name, make in _UNRELATED.items():
        for number in range(3):
            rng = np.random.default_rng((seed, number, *name.encode()))
            yield _case(folder, f"unrelated/{name}{number}", *make(source, rng), "m4a", expect="reject")
    for name, make in _AMBIGUOUS.items():
        rng = np.random.default_rng((seed, *name.encode()))
        yield _case(folder, f"ambiguous/{name}", *make(source, rng), "flac", expect="ambiguous")


EDGES = ("speech", "music", "instruments", "film")


def foreign_edges(source: Foreign, folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[Case]:
    """Rooms and noise from easy to hopeless; every second pair is of two programmes that share no sound."""
    halves = source.half(0), source.half(1)
    for number in numbers:
        rng = np.random.default_rng((seed, 9, number))
        kind, related = EDGES[number // 2 % len(EDGES)], number % 2 == 0
        sound = getattr(halves[0], kind)(rng, 40)
        start, seconds = round(rng.uniform(1, 8) * RATE), rng.uniform(2, 30)
        heard = sound[start:] if related else getattr(halves[1], kind)(rng, 32)
        dub = room(heard[: round(seconds * RATE)], rng, rng.uniform(-24, 0), rng.uniform(0.3, 1.8))
        dub = noise(dub, rng, rng.uniform(-15, 15))
        ending = ("flac", "m4a", "phone.wav")[int(rng.integers(3))]
        truth = {"offset": start / RATE} if related else {"expect": "reject"}
        yield _case(folder, f"{kind}/{'edge' if related else 'stranger'}", sound, dub, ending, **truth)


def _case(folder: Path, name: str, master: np.ndarray, dub: np.ndarray, ending: str, **truth: object) -> Case:
    stem = name.replace("/", "_")
    paths = folder / f"{stem}_m.flac", folder / f"{stem}_d.{ending}"
    write(paths[0], master)
    write(paths[1], dub)
    return Case(name, *paths, **truth)  # type: ignore[arg-type]


_Dub = Callable[[np.ndarray, np.random.Generator, Path], tuple[np.ndarray, float]]
_DUBS: dict[str, _Dub] = {
    "codec": lambda s, rng, _: (s, 1.0),
    "room": lambda s, rng, _: (noise(room(s, rng, -8, 0.6), rng, 20), 1.0),
    "far": lambda s, rng, _: (noise(room(s, rng, -14, 1.0), rng, 15), 1.0),
    "hall": lambda s, rng, _: (noise(room(s, rng, -16, 1.8), rng, 15), 1.0),
    "television": lambda s, rng, f: (through(noise(room(s, rng, -10, 0.5), rng, 12), f, _AGC, _TELEPHONE), 1.0),
    "phone": lambda s, rng, f: (through(noise(room(s, rng, -12, 0.8), rng, 12), f, _TELEPHONE, _AGC), 1.0),
    "noisy": lambda s, rng, _: (noise(s, rng, -3), 1.0),
    "pitch_kept": lambda s, rng, f: (through(s, f, f"atempo={25 / 24}"), 25 / 24),
    "wow": lambda s, rng, _: (wandering(s, rng, 0.001, 25), 1.0),
    "pal": lambda s, rng, _: (np.interp(np.arange(0, len(s) - 1, 25 / 24), np.arange(len(s)), s).astype("f4"), 25 / 24),
}

_TOGETHER: tuple[tuple[str, Callable[[Foreign, np.random.Generator], np.ndarray], str], ...] = tuple(
    (f"{sound}/{dub}", getattr(Foreign, sound), ending)
    for sound, dub, ending in (
        ("speech", "codec", "low.opus"),
        ("music", "codec", "low.mp3"),
        ("instruments", "codec", "phone.wav"),
        ("film", "codec", "m4a"),
        *((sound, dub, "m4a") for sound in ("speech", "music", "film") for dub in ("room", "far", "hall")),
        *((sound, dub, "phone.wav") for sound in ("speech", "music", "film") for dub in ("television", "phone")),
        ("instruments", "room", "m4a"),
        ("speech", "noisy", "m4a"),
        ("music", "noisy", "m4a"),
        ("speech", "pitch_kept", "m4a"),
        ("music", "pitch_kept", "m4a"),
        ("film", "pitch_kept", "m4a"),
        ("speech", "wow", "m4a"),
        ("film", "wow", "m4a"),
        ("film", "pal", "m4a"),
    )
)


def _strangers(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return source.film(rng), room(source.film(rng, 60), rng, -10, 0.7)


def _same_loop(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    loop = source.loop(rng, 80)
    start = round(rng.uniform(0, 4) * RATE)
    return source.speech(rng, 70) + 0.5 * loop[: 70 * RATE], source.speech(rng, 60) + 0.5 * loop[start:][: 60 * RATE]


def _same_effects(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    effects = [source.effect(rng) for _ in range(5)]
    both = [source.film(rng, 70), source.film(rng, 60)]
    for sound in both:
        for effect in effects:
            at = int(rng.integers(len(sound) - len(effect)))
            sound[at : at + len(effect)] += effect
    return both[0], both[1]


def _same_voice(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return source.speech(rng, 75, 0), source.speech(rng, 60, 0)


_Pair = Callable[[Foreign, np.random.Generator], tuple[np.ndarray, np.ndarray]]
_UNRELATED: dict[str, _Pair] = {
    "strangers": _strangers,
    "same_loop": _same_loop,
    "same_effects": _same_effects,
    "same_voice": _same_voice,
}


def _looped(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    loop = source.music(rng, 8)
    return np.tile(loop, 15), np.tile(loop, 6)[round(1.7 * RATE) : round(38 * RATE)]


def _twice(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    jingle, sound = source.music(rng, 7), source.speech(rng, 120)
    for at in (20, 90):
        sound[at * RATE : (at + 7) * RATE] = jingle
    return sound, jingle


def _drums(source: Foreign, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    loop = source.loop(rng, 90)
    return loop, loop[round(0.5 * RATE) : 40 * RATE]


_AMBIGUOUS: dict[str, _Pair] = {"looped": _looped, "twice": _twice, "drums": _drums}


def _fit(sound: np.ndarray, seconds: float) -> np.ndarray:
    count = round(seconds * RATE)
    return np.tile(sound, int(np.ceil(count / max(len(sound), 1))))[:count].copy()
