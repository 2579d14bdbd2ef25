"""Frame rates as exact fractions, and offsets written as SMPTE timecode (ST 12-1).

A frame number is one rounding of the whole offset; hours, minutes, seconds and frames are then
counted from it, so no field can overflow. Drop-frame counting is for 29.97 and 59.94 only.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sheaf.media.sync.probe import Probe

RATES = {
    "23.976": Fraction(24000, 1001),
    "24": Fraction(24),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
    "50": Fraction(50),
    "59.94": Fraction(60000, 1001),
    "60": Fraction(60),
}

_HIGH = tuple(Fraction(rate, scale) for rate, scale in ((48000, 1001), (48, 1), (100, 1), (120000, 1001), (120, 1)))


def nearest_rate(fps: float) -> Fraction:
    """The usual rate a printed one such as 23.98 stands for, also 48, 100 and 120; a rare one such as 12.5 doubled.

    Timecode counts at the rates that editors have, so what is near none of them (a phone's 29.27) goes to the nearest.
    """
    while fps < 20:
        if fps <= 0.5:
            return RATES["24"]
        fps *= 2
    usual = (*RATES.values(), *_HIGH)
    return min(usual, key=lambda rate: abs(float(rate) / fps - 1))


def frames(seconds: float, rate: Fraction) -> int:
    """Whole frames nearest to a time; halves go away from zero."""
    count = abs(Fraction(seconds)) * rate
    whole = int(count + Fraction(1, 2))
    return whole if seconds >= 0 else -whole


def frame_offsets(seconds: float) -> dict[str, float]:
    """An offset in frames of every rate, to a thousandth of a frame."""
    return {name: round(float(Fraction(seconds) * rate), 3) for name, rate in RATES.items()}


DROPPING = (RATES["29.97"], RATES["59.94"])
"""Rates whose timecode may leave out frame numbers."""


def start_seconds(found: Probe) -> float | None:
    """Seconds since midnight at which a file starts, by its timecode track or the time stamp of a broadcast wave."""
    if found.start_samples is not None:
        return found.start_samples / found.tracks[0].sample_rate
    if not found.timecode or not found.frame_rate:
        return None
    return counted(found.timecode, found.frame_rate)


def apart(first: float, second: float, day: float) -> float:
    """From one time of day to another, s: the shorter way, be it over midnight."""
    return (second - first + day / 2) % day - day / 2


def day_seconds(rate: Fraction, *, drop: bool) -> float:
    """How long timecode takes to come back to its beginning: at 29.97 frames 86.4 s more than a day, or 86 ms less."""
    return counted("24:00:00;00" if drop else "24:00:00:00", rate)


def counted(written: str, rate: Fraction) -> float:
    """Seconds from 00:00:00:00 to a timecode, `;` before the frames for drop-frame counting."""
    hours, minutes, seconds, frame = (int(part) for part in written.replace(";", ":").split(":"))
    count = ((hours * 60 + minutes) * 60 + seconds) * round(rate) + frame
    if ";" in written and rate in DROPPING:
        whole = hours * 60 + minutes
        count -= (whole - whole // 10) * (round(rate) // 15)
    return float(count / rate)


def timecode(seconds: float, rate: Fraction, *, drop: bool = False) -> str:
    """An offset as `[-]HH:MM:SS:FF`, or with `;` before the frames for drop-frame counting.

    Args:
        seconds: signed; the sign is written in front.
        rate: frames per second, exact.
        drop: leave out the frame numbers 0 and 1 (0 to 3 at 59.94) of every minute that is no
            multiple of ten, so that the timecode keeps to the clock.

    Raises:
        ValueError: drop-frame counting at another rate.
    """
    count = frames(seconds, rate)
    base = round(rate)
    number = abs(count)
    if drop:
        if rate not in DROPPING:
            raise ValueError("Drop-frame timecode exists for 29.97 and 59.94 frames per second only.")
        number = _with_dropped_numbers(number, base)
    minutes, rest = divmod(number, base * 60)
    hours, minutes = divmod(minutes, 60)
    second, frame = divmod(rest, base)
    sign = "-" if count < 0 else ""
    return f"{sign}{hours:02}:{minutes:02}:{second:02}{';' if drop else ':'}{frame:02}"


def _with_dropped_numbers(count: int, base: int) -> int:
    dropped = base // 15  # 2 numbers a minute at 29.97, 4 at 59.94
    per_minute = base * 60 - dropped
    per_ten = base * 600 - 9 * dropped
    tens, rest = divmod(count, per_ten)
    minutes = 0 if rest < base * 60 else (rest - base * 60) // per_minute + 1
    return count + dropped * (9 * tens + minutes)
