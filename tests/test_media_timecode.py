"""Timecode as sound: what a recorder wrote on a channel is read to the frame, and where there is none, none is."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import moved, programme, write_wave

from sheaf.media.analysis.pair import analyse_pair
from sheaf.media.sample.synthesis import RATE
from sheaf.media.sync.ltc import read_ltc
from sheaf.media.sync.timecode import RATES, counted, timecode

_SYNC = [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1]


def _frame(written: str) -> list[int]:
    """The 80 bits of one frame, as SMPTE ST 12-1 lays them out; those of the user are 1, 0, 1, 0."""
    hours, minutes, seconds, count = (int(part) for part in written.replace(";", ":").split(":"))
    hours %= 24
    bits = [0] * 64
    for first in range(4, 64, 8):
        bits[first : first + 4] = [1, 0, 1, 0]
    for value, ones, tens, width in ((count, 0, 8, 2), (seconds, 16, 24, 3), (minutes, 32, 40, 3), (hours, 48, 56, 2)):
        bits[ones : ones + 4] = [value % 10 >> bit & 1 for bit in range(4)]
        bits[tens : tens + width] = [value // 10 >> bit & 1 for bit in range(width)]
    bits[10] = int(";" in written)
    return bits + _SYNC


def ltc(start: str, rate: Fraction, seconds: float, at: int = RATE) -> np.ndarray:
    """The sound of timecode from a start on, in biphase mark, a sample of it the mean over that sample."""
    first = round(counted(start, rate) * rate)
    halves = []
    level = 1
    for number in range(first, first + int(seconds * rate) + 1):
        for bit in _frame(timecode(float(Fraction(number) / rate), rate, drop=";" in start)):
            level = -level
            halves.append(level)
            level = -level if bit else level
            halves.append(level)
    area = np.concatenate([[0], np.cumsum(halves)])
    edges = np.arange(round(seconds * at) + 1) * float(160 * rate) / at
    return np.diff(np.interp(edges, np.arange(len(area)), area)).astype(np.float32) * at / float(160 * rate)


@pytest.mark.parametrize(
    ("rate", "start"),
    [
        ("23.976", "01:00:00:00"),
        ("24", "23:59:58:12"),
        ("25", "10:20:30:24"),
        ("29.97", "00:59:59;20"),
        ("29.97", "19:03:00:02"),
        ("30", "02:00:00:00"),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_timecode_on_a_channel_is_read(rate: str, start: str, noise: float) -> None:
    sound = 0.4 * ltc(start, RATES[rate], 3, 16000)
    sound += noise * np.random.default_rng(5).standard_normal(len(sound)).astype(np.float32)
    found = read_ltc(sound[5000:37000])
    assert found is not None
    seconds, fps, drop = found
    assert (fps, drop) == (RATES[rate], ";" in start)
    assert seconds % 86400 == pytest.approx((float(counted(start, fps)) + 5000 / 16000) % 86400, abs=1e-4)


def test_what_is_no_timecode_says_nothing() -> None:
    rng = np.random.default_rng(3)
    square = np.sign(np.sin(np.arange(32000) * 2 * np.pi * 1800 / 16000))
    bits = np.repeat(rng.integers(0, 2, 8000) * 2.0 - 1, 4)
    for sound in (programme(2, 7)[:32000], rng.standard_normal(32000), square, bits, np.zeros(32000)):
        assert read_ltc(sound.astype(np.float32)) is None


@pytest.mark.campaign
def test_two_recorders_with_one_clock(tmp_path: Path) -> None:
    """The code is on the right channel, louder than the sound; what it says stands beside what is measured."""
    sound, rate = programme(14, 71), RATES["29.97"]
    files = []
    for name, start, heard in (("m", "10:00:00;00", sound), ("d", "10:00:02;00", moved(sound, 2.002))):
        code = ltc(start, rate, len(heard) / RATE)[: len(heard)]
        files.append(write_wave(tmp_path / f"{name}.wav", np.stack([0.3 * heard, 0.5 * code], 1)))
    found = analyse_pair(*files)
    assert found.offset_seconds == pytest.approx(2.002, abs=1e-4)
    assert found.timecode_offset_seconds == pytest.approx(2.002, abs=1e-3)
    assert (found.master_ltc, found.dub_ltc, found.timecode) == ("10:00:00;00", "10:00:02;00", "00:00:02;00")
    assert (found.master_start, found.timecode_offset_from) == (None, "LTC on FR")
    assert found.warnings == []  # the code was known, and left out of the programme
    assert found.channels["FL"].offset_seconds == pytest.approx(2.002, abs=1e-4)
