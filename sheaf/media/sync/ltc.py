"""Linear timecode (LTC) that was recorded as sound beside the sound: which channel it is on, and what it says.

80 bits for each frame of the picture, one after another in biphase mark: the level changes at the start of each bit,
and within it once more for a 1. A frame ends with a sync word. Format: SMPTE ST 12-1, linear time and control code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sheaf.media.sync.decode import RATE, Recording, channel_mix
from sheaf.media.sync.fourier import irfft, rfft
from sheaf.media.sync.timecode import RATES, counted, day_seconds, timecode

_BLOCK = 2 * RATE
_MOST_BLOCKS = 10  # looked into, spread over the recording: the code runs through it, or is not there
_FRAME = re.compile("[01]{64}0011111111111101")
_BAND = (200.0, 6000.0)  # Hz: the code has little below and nothing that is needed above
_SHORT, _BETWEEN, _LONG = (1e-6 * RATE * us for us in (150, 330, 620))
"""Samples from change to change: half a bit is 208 µs at 30 frames to 261 µs at 23.976, a whole one twice that."""
_LEAST_CHANGES = 1500 * _BLOCK / RATE
_LEAST_FRAMES = 10
_AGREE = 0.8  # of the frames that are read in one block
_OFF_SPEED = 0.005
_RATES = tuple(RATES[name] for name in ("23.976", "24", "25", "29.97", "30"))


@dataclass(frozen=True)
class Ltc:
    """What the code says.

    Attributes:
        channel: the role of the channel it is on.
        start_seconds: since midnight, when the recording starts.
        rate: frames per second.
        drop: whether frame numbers are left out.
    """

    channel: str
    start_seconds: float
    rate: Fraction
    drop: bool

    @property
    def start(self) -> str:
        """The same as timecode."""
        return timecode(self.start_seconds, self.rate, drop=self.drop)


def find_ltc(recording: Recording) -> Ltc | None:
    """The code of the first channel that holds any; None where none does."""
    count = max(min(_MOST_BLOCKS, recording.samples // _BLOCK), 1)
    for role in recording.channels:
        weights = channel_mix(recording, role)
        for start in np.linspace(0, max(recording.samples - _BLOCK, 0), count).astype(int):
            read = read_ltc(recording.read(int(start), _BLOCK, weights))
            if read:
                seconds, rate, drop = read
                return Ltc(role, (seconds - start / RATE) % day_seconds(rate, drop=drop), rate, drop)
    return None


def read_ltc(samples: np.ndarray) -> tuple[float, Fraction, bool] | None:
    """What the code in a piece of sound says at its first sample.

    Args:
        samples: at `RATE`.

    Returns:
        Seconds since midnight, frames per second, and whether numbers are left out; None where ten frames at least
        do not say the same.
    """
    changes = _changes(samples)
    lengths = np.diff(changes)
    usual = (lengths > _SHORT) & (lengths < _LONG)
    if len(changes) < _LEAST_CHANGES * len(samples) / _BLOCK or usual.mean() < 0.5:
        return None
    bits, times = _bits(changes, lengths)
    frames = [(_written(found[0]), times[found.start()], times[found.end()]) for found in _FRAME.finditer(bits)]
    return _agreed([(written, start, end) for written, start, end in frames if written])


def _changes(samples: np.ndarray) -> np.ndarray:
    """Where the level changes its sign, between samples; noise around zero changes nothing."""
    spectrum = rfft(samples.astype(np.float32), len(samples))
    frequencies = np.arange(len(spectrum)) * RATE / len(samples)
    spectrum[(frequencies < _BAND[0]) | (frequencies > _BAND[1])] = 0
    wave = irfft(spectrum, len(samples))
    clear = np.flatnonzero(np.abs(wave) > 0.3 * max(float(np.std(wave)), 1e-6))
    sides = np.sign(wave[clear])
    at = np.flatnonzero(sides[1:] != sides[:-1])
    first, last = clear[at], clear[at + 1]
    return first + (last - first) * wave[first] / (wave[first] - wave[last])


def _bits(changes: np.ndarray, lengths: np.ndarray) -> tuple[str, list[float]]:
    """The bits as text, `x` where what is heard is none, and where each begins; one more place than bits."""
    bits, times, place = [], [], 0
    kinds = np.where((lengths < _SHORT) | (lengths > _LONG), 2, np.where(lengths < _BETWEEN, 0, 1)).tolist()
    while place < len(kinds):
        times.append(float(changes[place]))
        if kinds[place] == 1:
            bits.append("0")
        elif kinds[place] == 0 and place + 1 < len(kinds) and kinds[place + 1] == 0:
            bits.append("1")
            place += 1
        else:
            bits.append("x")
        place += 1
    times.append(float(changes[min(place, len(changes) - 1)]))
    return "".join(bits), times


def _written(frame: str) -> str:
    """The timecode of one frame of bits; empty where it is none."""

    def number(first: int, count: int) -> int:
        return int(frame[first : first + count][::-1], 2)

    values = [10 * number(*tens) + number(*ones) for tens, ones in _DIGITS]
    if any(number(*ones) > 9 for _, ones in _DIGITS) or any(
        value >= most for value, most in zip(values, (24, 60, 60, 30), strict=True)
    ):
        return ""
    hours, minutes, seconds, count = values
    return f"{hours:02}:{minutes:02}:{seconds:02}{';' if frame[10] == '1' else ':'}{count:02}"


_DIGITS = (((56, 2), (48, 4)), ((40, 3), (32, 4)), ((24, 3), (16, 4)), ((8, 2), (0, 4)))
"""First bit and number of bits of tens and ones, for hours, minutes, seconds and frames."""


def _agreed(frames: list[tuple[str, float, float]]) -> tuple[float, Fraction, bool] | None:
    """What most frames say together: they count one by one, at the speed of their rate."""
    if len(frames) < _LEAST_FRAMES:
        return None
    length = float(np.median([end - start for _, start, end in frames]))
    drop = 2 * sum(";" in written for written, _, _ in frames) > len(frames) and _off(RATES["29.97"], length) < 0.02
    base = RATES["29.97"] if drop else _nearest([RATES[name] for name in ("24", "25", "30")], length)
    written = [one.replace(":", ";") if drop else one.replace(";", ":") for one, _, _ in frames]
    numbers = np.array([round(counted(one, base) * base) for one in written], np.float64)
    day = round(day_seconds(base, drop=drop) * base)
    numbers = numbers[0] + (numbers - numbers[0] + day / 2) % day - day / 2  # counted on over midnight
    starts = np.array([start for _, start, _ in frames])
    from_first = starts - (numbers - numbers[0]) * length
    agree = np.abs(from_first - np.median(from_first)) < length / 4
    if agree.sum() < _LEAST_FRAMES or agree.mean() < _AGREE or np.ptp(numbers[agree]) < _LEAST_FRAMES - 1:
        return None
    length = float(np.polyfit(numbers[agree], starts[agree], 1)[0])
    rate = base if drop else _nearest(_RATES, length)
    if round(rate) != round(base) or _off(rate, length) > _OFF_SPEED:
        return None
    seconds = numbers[agree] / float(rate) - starts[agree] / RATE
    return float(np.median(seconds)), rate, drop


def _nearest(rates: Sequence[Fraction], length: float) -> Fraction:
    return min(rates, key=lambda rate: _off(rate, length))


def _off(rate: Fraction, length: float) -> float:
    """How far a rate is from frames of a length in samples, as a share."""
    return abs(float(rate) * length / RATE - 1)
