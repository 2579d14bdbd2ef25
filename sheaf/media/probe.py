"""What is in a media file: its sound tracks, length, frame rate and start timecode.

Read from what ffmpeg says about the file, since the ffmpeg of a plain installation comes
without ffprobe. The name of the file is never trusted.
"""

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sheaf.media.errors import NoAudioError, TimedOutError, UnreadableError
from sheaf.media.ffmpeg import reading
from sheaf.media.timecode import nearest_rate

PROBE_SECONDS = 30

_DURATION = re.compile(r"^  Duration: (?:(\d+):(\d\d):(\d\d\.\d+)|N/A)", re.M)
_STREAM = re.compile(r"^  Stream #0:(\d+).*?: (Audio|Video): (.*)$", re.M)
_AUDIO = re.compile(r"(\d+) Hz, ([^,]+)")
_FPS = re.compile(r"([\d.]+) fps\b")
_TIMECODE = re.compile(r"^\s+timecode\s*: (\d\d:\d\d:\d\d[:;]\d\d)\s*$", re.M)


@dataclass(frozen=True)
class Track:
    """One sound track; `index` counts sound tracks from 0, `layout` is ffmpeg's name such as `5.1(side)`."""

    index: int
    codec: str
    sample_rate: int
    layout: str


@dataclass(frozen=True)
class Probe:
    """What a file holds.

    Attributes:
        duration: in seconds; None when the container doesn't say.
        tracks: its sound tracks, at least one.
        frame_rate: of its picture, exact; None without a picture.
        timecode: of its first frame, where the file carries one.
    """

    duration: float | None
    tracks: tuple[Track, ...]
    frame_rate: Fraction | None
    timecode: str | None


def probe(path: Path) -> Probe:
    """Look into a file.

    Raises:
        MissingFileError, UnreadableError, NoAudioError, TimedOutError: it cannot be analysed.
    """
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed command; the path is one argument with a protocol in front
            reading(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(f"{path} could not be opened within {PROBE_SECONDS} s.") from error
    return parse(path, asked.stderr.decode("utf-8", "replace"))


def parse(path: Path, said: str) -> Probe:
    """Read ffmpeg's description of one input.

    Raises:
        UnreadableError: ffmpeg could not open it.
        NoAudioError: it holds no sound track.
    """
    if "\nInput #0, " not in f"\n{said}":
        reason = said.strip().splitlines()[-1].split(": ")[-1].rstrip(".") if said.strip() else "ffmpeg said nothing"
        raise UnreadableError(f"{path} cannot be read as a media file: {reason}.")
    tracks, frame_rate = [], None
    for _, kind, details in _STREAM.findall(said):
        if kind == "Video" and frame_rate is None and "(attached pic)" not in details:
            fps = _FPS.search(details)
            frame_rate = nearest_rate(float(fps[1])) if fps else None
        elif kind == "Audio":
            sound = _AUDIO.search(details)
            if sound and int(sound[1]):
                tracks.append(Track(len(tracks), details.split()[0].strip(","), int(sound[1]), sound[2].strip()))
    if not tracks:
        raise NoAudioError(f"{path} has no sound track.")
    timecode = _TIMECODE.search(said)
    return Probe(_seconds(said), tuple(tracks), frame_rate, timecode[1] if timecode else None)


def _seconds(said: str) -> float | None:
    found = _DURATION.search(said)
    if not found or found[1] is None:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
