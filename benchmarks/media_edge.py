"""Pairs at the edge of what can be found, and unrelated ones: where a confidence has to prove itself.

`edge_pairs` take away, kind by kind, what dub and master have in common, until nothing can be found any more;
`strangers` have nothing in common but what unrelated recordings share: instruments, voices, a metronome,
mains hum, effects from the same library. Pairs of different seeds share no sound.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from media_pairs import Case, encode, noisy

from sheaf.media.sample.synthesis import RATE, Scene, band, foley, music, scene, shifted, speech

_SECONDS = (12, 20, 20, 60)
_Change = Callable[[Scene, float, np.random.Generator], tuple[np.ndarray, float]]


def edge_pairs(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[Case]:
    """Pairs that belong together, each kind in turn and each from easy to hopeless."""
    for number in numbers:
        rng = np.random.default_rng((seed, 3, number))  # not that of the scene: it would draw the same noise
        kind, change = list(EDGES.items())[number % len(EDGES)]
        sound = scene(_seconds(number, EDGES), seed, 1, number)
        offset = round(rng.uniform(-4, 4) * RATE) / RATE
        dub, offset = change(sound, offset, rng)
        yield _case(folder, f"{kind}_{seed}_{number}", kind, sound.mix, dub, expect="match", offset=offset)


def strangers(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[Case]:
    """Pairs that have nothing to do with each other, each kind in turn."""
    for number in numbers:
        kind, make = list(STRANGERS.items())[number % len(STRANGERS)]
        seconds = _seconds(number, STRANGERS)
        rngs = [np.random.default_rng((seed, 2, number, which)) for which in (0, 1)]
        master, dub = (make(rng, seconds, (seed, 2, number)) for rng in rngs)
        yield _case(folder, f"{kind}_{seed}_{number}", kind, master, dub, expect="reject")


def _seconds(number: int, kinds: dict[str, Any]) -> int:
    return _SECONDS[number // len(kinds) % len(_SECONDS)]


def _case(folder: Path, name: str, kind: str, master: np.ndarray, dub: np.ndarray, **truth: object) -> Case:
    paths = folder / f"{name}_m.wav", folder / f"{name}_d.wav"
    encode(paths[0], master)
    encode(paths[1], dub)
    return Case(kind, *paths, **truth)  # type: ignore[arg-type]


def _in_noise(sound: Scene, offset: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    return noisy(shifted(sound.mix, offset, rng), rng.uniform(-22, -6), rng), offset


def _clip(sound: Scene, offset: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """1 to 3 s of the programme, in noise."""
    start = round(rng.uniform(2, 8) * RATE)
    piece = sound.mix[start : start + round(rng.uniform(1, 3) * RATE)]
    return noisy(piece, rng.uniform(-14, 10), rng), start / RATE


def _other_voices(sound: Scene, offset: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Foreign voices over faint music and effects."""
    share = np.exp(rng.uniform(np.log(0.004), np.log(0.4)))
    return shifted(sound.effects * share + sound.foreign(int(rng.integers(1 << 30))), offset, rng), offset


def _muffled(sound: Scene, offset: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Through a wall: the low end only, with noise that is not muffled."""
    dub = band(shifted(sound.mix, offset, rng), 90, rng.uniform(250, 1500))
    return noisy(dub, rng.uniform(-14, 6), rng), offset


def _passage(sound: Scene, offset: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A short stretch of the master inside another programme."""
    start, place = (round(rng.uniform(2, 8) * RATE) for _ in range(2))
    length = round(rng.uniform(0.3, 3) * RATE)
    dub = scene(len(sound.effects) / RATE, int(rng.integers(1 << 30))).mix
    dub[place : place + length] = sound.mix[start : start + length]
    return dub, (start - place) / RATE


def _overlap(sound: Scene, offset: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The end of the master is the start of the dub, in noise."""
    count = len(sound.effects)
    common = round(rng.uniform(0.35, 0.6) * count)
    after = scene(count / RATE, int(rng.integers(1 << 30))).mix[: count - common]
    return noisy(np.concatenate([sound.mix[-common:], after]), rng.uniform(-16, 0), rng), (count - common) / RATE


EDGES: dict[str, _Change] = {
    "in_noise": _in_noise,
    "clip": _clip,
    "other_voices": _other_voices,
    "muffled": _muffled,
    "passage": _passage,
    "overlap": _overlap,
}


def _programme(rng: np.random.Generator, seconds: int, _: tuple[int, ...]) -> np.ndarray:
    return scene(seconds, int(rng.integers(1 << 30))).mix


def _voices(rng: np.random.Generator, seconds: int, _: tuple[int, ...]) -> np.ndarray:
    slots = [(round(start * 3 * RATE + rng.uniform(0, RATE)), 2 * RATE) for start in range(seconds // 3)]
    return speech(seconds * RATE, slots, rng) + 0.1 * foley(seconds * RATE, rng)


def _tunes(rng: np.random.Generator, seconds: int, _: tuple[int, ...]) -> np.ndarray:
    return music(seconds * RATE, rng)


def _metronome(rng: np.random.Generator, seconds: int, both: tuple[int, ...]) -> np.ndarray:
    """A programme under a click that both recordings have, at the same tempo and each made anew."""
    beat = round(60 / np.random.default_rng(both).uniform(60, 160) * RATE)
    sound = _programme(rng, seconds, both)
    decay = np.exp(-np.arange(2400) / 400)
    for at in range(int(rng.integers(beat)), len(sound) - 2400, beat):
        sound[at : at + 2400] += 0.1 * decay * rng.standard_normal(2400)
    return sound


def _library(rng: np.random.Generator, seconds: int, both: tuple[int, ...]) -> np.ndarray:
    """A programme with one to three effects that the other one has too, elsewhere."""
    shared = np.random.default_rng(both)
    sound = _programme(rng, seconds, both)
    for _ in range(int(shared.integers(1, 4))):
        effect = foley(round(shared.uniform(0.2, 0.8) * RATE), shared)
        at = int(rng.integers(len(sound) - len(effect)))
        sound[at : at + len(effect)] += effect
    return sound


def _hum(rng: np.random.Generator, seconds: int, both: tuple[int, ...]) -> np.ndarray:
    """A programme in mains hum with its harmonics."""
    sound = _programme(rng, seconds, both)
    time = np.arange(len(sound)) / RATE
    for order in range(1, 20):
        sound += (0.05 / order) * np.sin(2 * np.pi * 50 * order * time + rng.uniform(0, 6.28)).astype(np.float32)
    return sound


def _snippet(rng: np.random.Generator, seconds: int, both: tuple[int, ...]) -> np.ndarray:
    """1 to 3 s of a programme, or all of it: few windows, and many places for them."""
    sound = _programme(rng, seconds, both)
    return sound if rng.random() < 0.5 else sound[: round(rng.uniform(1, 3) * RATE)]


STRANGERS: dict[str, Callable[[np.random.Generator, int, tuple[int, ...]], np.ndarray]] = {
    "programme": _programme,
    "voices": _voices,
    "tunes": _tunes,
    "metronome": _metronome,
    "library": _library,
    "hum": _hum,
    "snippet": _snippet,
}
