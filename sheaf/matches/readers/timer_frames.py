"""Frames of the AMG shot timer: 14 bytes, big-endian, times in hundredths of a second.

Byte 0 is 1 for an event, byte 1 says which (3 shot, 5 start, 8 stop), bytes 4 to 7 are time and
split.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_EVENTS = {0x03: "shot_detected", 0x05: "timer_start_beep", 0x08: "timer_stop_button"}


@dataclass(frozen=True)
class Frame:
    """A decoded event frame; times in seconds since the beep."""

    event_type: str
    time_s: float
    split_s: float
    string: int


def decode(text: object) -> Frame | None:
    """Decode hexadecimal text; None for anything but a whole event frame.

    Example:
        >>> decode("0103000001070073005700ea0001")
        Frame(event_type='shot_detected', time_s=2.63, split_s=1.15, string=1)
    """
    if not isinstance(text, str) or len(text) != 28:
        return None
    try:
        frame = bytes.fromhex(text)
    except ValueError:
        return None
    if len(frame) != 14 or frame[0] != 1 or frame[1] not in _EVENTS:
        return None
    time, split = struct.unpack(">HH", frame[4:8])
    return Frame(_EVENTS[frame[1]], time / 100, split / 100, frame[13])


def times(told: "pa.DoubleArray", texts: Sequence[object]) -> "pa.DoubleArray":
    """Times since the beep as records tell them, or where they do not, as their frames do."""
    import pyarrow as pa

    if not told.null_count:
        return told
    found = told.to_pylist()
    for place, time in enumerate(found):
        if time is None and (frame := decode(texts[place])):
            found[place] = frame.time_s
    return pa.array(found, pa.float64())
