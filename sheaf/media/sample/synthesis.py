"""Synthetic programme sound: speech-like dialogue, music and effects, from a seed.

For the demo and the benchmark, which must know the truth exactly and need no recordings. It only
has to be as varied as a programme, not to be listened to: voiced syllables with formants,
fricatives and pauses; chords, melody and drums; room tone, steps and slams.
"""

from dataclasses import dataclass

import numpy as np

RATE = 48000

# First three formants (Hz) of a few vowels (after Peterson & Barney 1952).
_VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (660, 1720, 2410),
)


@dataclass(frozen=True)
class Scene:
    """One programme as separate sounds of equal length, RATE samples per second.

    Attributes:
        effects: music and effects, which an international version keeps.
        dialogue: the original language.
        slots: when somebody speaks (start and length in samples).
    """

    effects: np.ndarray
    dialogue: np.ndarray
    slots: list[tuple[int, int]]

    @property
    def mix(self) -> np.ndarray:
        """The programme as it is heard."""
        return self.effects + self.dialogue

    def foreign(self, *seed: int) -> np.ndarray:
        """Another voice speaking at about the same times, as in a translation."""
        rng = np.random.default_rng(seed)
        moved = [(start + round(rng.normal(0, 0.05) * RATE), length) for start, length in self.slots]
        return speech(len(self.effects), moved, rng)


def scene(seconds: float, *seed: int) -> Scene:
    """A programme of a given length; equal seeds give equal samples."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    effects = 0.5 * music(count, rng) + 0.5 * foley(count, rng)
    slots = _phrases(count, rng)
    return Scene(effects, speech(count, slots, rng), slots)


def speech(count: int, slots: list[tuple[int, int]], rng: np.random.Generator) -> np.ndarray:
    """Phrases of syllables at given places (start and length in samples)."""
    out = np.zeros(count, np.float32)
    pitch = rng.uniform(90, 220)
    for start, length in slots:
        at = max(start, 0)
        while at < min(start + length, count):
            syllable = _syllable(pitch, rng)[: count - at]
            out[at : at + len(syllable)] += syllable
            at += round(len(syllable) * rng.uniform(0.9, 1.15))
    return out


def _phrases(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    slots, at = [], round(rng.uniform(0.2, 1.5) * RATE)
    while at < count:
        length = round(rng.uniform(1.0, 3.5) * RATE)
        slots.append((at, length))
        at += length + round(rng.exponential(1.2) * RATE)
    return slots


def _syllable(pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A noisy consonant, then a vowel whose pitch and formants glide."""
    consonant = round(rng.uniform(0.02, 0.09) * RATE)
    vowel = round(rng.uniform(0.08, 0.28) * RATE)
    noise = rng.standard_normal(consonant).astype(np.float32)
    noise = np.diff(noise, prepend=0) if rng.random() < 0.5 else noise
    noise *= 0.02 * np.hanning(consonant)
    time = np.arange(vowel) / RATE
    start, end = pitch * rng.uniform(0.85, 1.25, 2)
    phase = 2 * np.pi * (start * time + 0.5 * (end - start) * time**2 / max(time[-1], 1e-6))
    phase = phase.astype(np.float32)
    tone = np.zeros(vowel, np.float32)
    formants = _VOWELS[rng.integers(len(_VOWELS))]
    for harmonic in range(1, 26):
        frequency = harmonic * 0.5 * (start + end)
        gain = sum(1 / (1 + ((frequency - formant) / 110) ** 2) / rank for rank, formant in enumerate(formants, 1))
        tone += np.float32((gain + 0.02) / harmonic**0.4) * np.sin(harmonic * phase + np.float32(rng.uniform(0, 6.28)))
    tone *= rng.uniform(0.03, 0.09) * np.hanning(vowel)
    return np.concatenate([noise, tone]).astype(np.float32)


def music(count: int, rng: np.random.Generator) -> np.ndarray:
    """Chords, a random melody and drums at a steady beat that no player quite keeps."""
    out = np.zeros(count, np.float32)
    beat = 60 / rng.uniform(76, 132)
    root = rng.integers(45, 57)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    time = 0.0
    while time < count / RATE:
        degree = rng.integers(0, 6)
        for step in (0, 2, 4):
            _note(out, time + rng.normal(0, 0.006), root + scale[degree + step], 4 * beat, 0.045, 3, rng)
        for half in range(8):
            at = time + half * beat / 2
            if rng.random() < 0.6:
                pitch = root + 12 + scale[rng.integers(0, 10)]
                _note(
                    out, at + rng.normal(0, 0.008), pitch, beat * rng.uniform(0.4, 1.4), rng.uniform(0.02, 0.07), 4, rng
                )
            if half % 2 == 0:
                _drum(out, at + rng.normal(0, 0.004), half % 4 == 0, rng)
        time += 4 * beat
    return out


def _note(
    out: np.ndarray, at: float, pitch: float, seconds: float, loud: float, harmonics: int, rng: np.random.Generator
) -> None:
    start = max(round(at * RATE), 0)
    count = min(round(seconds * RATE), len(out) - start)
    if count <= 64:
        return
    time = np.arange(count, dtype=np.float32) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12) * (1 + rng.normal(0, 5e-4))
    decay = np.minimum(time / 0.008, 1) * np.exp(-time * rng.uniform(1.2, 3)) * np.minimum((time[-1] - time) / 0.02, 1)
    for harmonic in range(1, harmonics + 1):
        wave = np.sin(2 * np.pi * frequency * harmonic * time + np.float32(rng.uniform(0, 6.28)))
        out[start : start + count] += loud / harmonic**1.3 * wave * decay


def _drum(out: np.ndarray, at: float, low: bool, rng: np.random.Generator) -> None:
    start = max(round(at * RATE), 0)
    count = min(9600, len(out) - start)
    if count <= 64:
        return
    time = np.arange(count, dtype=np.float32) / RATE
    if low:
        fall = 55 + 60 * np.exp(-time * 30) + rng.uniform(-3, 3)
        out[start : start + count] += rng.uniform(0.1, 0.2) * np.sin(2 * np.pi * fall * time) * np.exp(-time * 14)
    out[start : start + count] += rng.normal(0, 0.03, count).astype(np.float32) * np.exp(-time * 70)


def foley(count: int, rng: np.random.Generator) -> np.ndarray:
    """Room tone with steps, slams and whooshes of random colour."""
    hiss = rng.standard_normal(count).astype(np.float32)
    out = 0.002 * np.convolve(hiss, np.ones(8, np.float32) / 3, mode="same")
    at = rng.uniform(0, 1)
    while at < count / RATE:
        start = round(at * RATE)
        length = min(round(rng.uniform(0.05, 0.7) * RATE), count - start)
        if length > 400:
            burst = band(
                rng.standard_normal(length).astype(np.float32), low := rng.uniform(80, 2500), low * rng.uniform(2, 6)
            )
            out[start : start + length] += burst * np.exp(-np.arange(length) / length * 5) * rng.uniform(0.05, 0.4)
        at += rng.exponential(1.6)
    return out.astype(np.float32)


def band(signal: np.ndarray, low: float, high: float) -> np.ndarray:
    """Only the frequencies between two (Hz), without any delay."""
    spectrum = np.fft.rfft(signal)
    frequency = np.fft.rfftfreq(len(signal), 1 / RATE)
    rise = np.clip((frequency / low - 0.8) / 0.4, 0, 1)
    fall = np.clip((1.2 - frequency / high) / 0.4, 0, 1)
    return np.fft.irfft(spectrum * (rise * fall), len(signal)).astype(np.float32)


def shifted(programme: np.ndarray, offset: float, rng: np.random.Generator) -> np.ndarray:
    """A dub with that offset (s): behind near-silent leader when negative, its head cut off when positive."""
    samples = round(offset * RATE)
    if samples >= 0:
        return programme[samples:]
    leader = (rng.standard_normal(-samples) * 2e-5).astype(np.float32)
    return np.concatenate([leader, programme])


def stretched(signal: np.ndarray, rate: float) -> np.ndarray:
    """The signal played so that `rate` seconds of it last one; pitch moves too.

    Exact to the band limit: the transform is evaluated on a finer grid, then cubic in between.
    """
    finer = 4
    block, margin = 1 << 16, 64
    count = int((len(signal) - 1) / rate)
    out = np.empty(count, np.float32)
    for start in range(0, count, block):
        wanted = np.arange(start, min(start + block, count)) * rate
        first = int(wanted[0]) - margin
        last = int(wanted[-1]) + margin + 2
        piece = np.zeros(last - first, np.float32)
        inside = slice(max(first, 0), min(last, len(signal)))
        piece[inside.start - first : inside.stop - first] = signal[inside]
        size = 1 << (len(piece) - 1).bit_length()
        dense = np.fft.irfft(np.fft.rfft(piece, size), size * finer) * finer
        at = (wanted - first) * finer
        base = at.astype(np.int64)
        t = at - base
        p0, p1, p2, p3 = (dense[base + step] for step in (-1, 0, 1, 2))
        out[start : start + len(wanted)] = p1 + 0.5 * t * (
            p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))
        )
    return out
