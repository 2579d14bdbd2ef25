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
from sheaf.media.sync.ffmpeg import reading
from sheaf.media.sync.timecode import nearest_rate

PROBE_SECONDS = 30

_FORMAT = re.compile(r"^Input #0, (\S+), from ", re.M)
_START = re.compile(r"^  Duration: .*, start: (-?\d+\.\d+)", re.M)
_DURATION = re.compile(r"^  Duration: (?:(\d+):(\d\d):(\d\d\.\d+)|N/A)", re.M)
_STREAM = re.compile(r"^ {2,6}Stream #0:(\d+)(?:\[\w+\])?(?:\((\w+)\))?: (Audio|Video): (.*)$")
_NUMBER = re.compile(r"^ {2,6}Stream #0:(\d+)")
_AUDIO = re.compile(r"(\d+) Hz, ([^,]+)")
_FLAGS = re.compile(r"\(([a-z ]+)\)")
_FPS = re.compile(r"([\d.]+)(k?) fps\b")
_BASE = re.compile(r"([\d.]+)(k?) tbr\b")
_TITLE = re.compile(r"^\s+title\s*: (.*)$")
_TIMECODE = re.compile(r"^\s+timecode\s*: (\d\d:\d\d:\d\d[:;.]\d\d\d?)\s*$", re.M | re.I)  # Matroska shouts
_BEXT = re.compile(r"^\s+time_reference\s*: (\d+)\s*$", re.M | re.I)
_VARIABLE = 0.004  # share by which mean and nominal frame rate differ at least, where frames come as they like


@dataclass(frozen=True)
class Track:
    """One sound track; `index` counts sound tracks from 0, `layout` is ffmpeg's name such as `5.1(side)`.

    Attributes:
        language: as three letters; empty where the file doesn't say.
        title: as the file names it.
        default: whether players choose it unasked.
        programme: False for a commentary or a description for the blind.
    """

    index: int
    codec: str
    sample_rate: int
    layout: str
    language: str = ""
    title: str = ""
    default: bool = False
    programme: bool = True

    @property
    def label(self) -> str:
        """How it is called in results: `2 (eng, Dialogue)`."""
        said = ", ".join(part for part in (self.language, self.title) if part)
        return f"{self.index + 1} ({said})" if said else str(self.index + 1)


@dataclass(frozen=True)
class Probe:
    """What a file holds.

    Attributes:
        duration: in seconds; None when the container doesn't say.
        tracks: its sound tracks, at least one.
        frame_rate: of its picture, exact; None without a picture.
        variable: whether the picture's frames come at no steady rate.
        timecode: of its first frame, where the file carries one.
        start_samples: its start since midnight in samples of its sound, where a broadcast wave says so.
        container: as ffmpeg calls it.
        start: time of its first packet, s.
    """

    duration: float | None
    tracks: tuple[Track, ...]
    frame_rate: Fraction | None
    timecode: str | None
    variable: bool = False
    start_samples: int | None = None
    container: str = ""
    start: float = 0.0

    @property
    def best_tracks(self) -> list[Track]:
        """The tracks in the order in which they are worth a try: the default one, programmes before commentaries."""
        return sorted(self.tracks, key=lambda track: (not track.programme, not track.default, track.index))


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
    container = _FORMAT.search(said)
    if not container:
        reason = said.strip().splitlines()[-1].split(": ")[-1].rstrip(".") if said.strip() else "ffmpeg said nothing"
        if "whitelist" in said:
            reason = "Sheaf does not read its format: it is no sound, or may name further files"
        if not path.stat().st_size:
            reason = "it is empty. Copy it again"
        raise UnreadableError(f"{path} cannot be read as a media file: {reason}.")
    tracks: list[Track] = []
    frame_rate, variable, sound = None, False, False
    for line in _in_order(said):
        stream = _STREAM.match(line)
        if stream:
            _, language, kind, details = stream.groups()
            sound = kind == "Audio"
            if kind == "Video" and frame_rate is None and "(attached pic)" not in details:
                frame_rate, variable = _picture(details)
            elif sound and (track := _track(len(tracks), language or "", details)):
                tracks.append(track)
            else:
                sound = False
        elif sound and (title := _TITLE.match(line)):
            tracks[-1] = Track(**{**tracks[-1].__dict__, "title": title[1].strip()})
    if not tracks:
        raise NoAudioError(f"{path} has no sound track.")
    timecode, bext, start = _TIMECODE.search(said), _BEXT.search(said), _START.search(said)
    return Probe(
        _seconds(said),
        tuple(tracks),
        frame_rate,
        timecode[1].replace(".", ";") if timecode else None,
        variable,
        int(bext[1]) if bext else None,
        container[1],
        float(start[1]) if start else 0.0,
    )


def _in_order(said: str) -> list[str]:
    """The lines about each stream in the order of the streams: ffmpeg lists those of a group first."""
    blocks: list[tuple[int, list[str]]] = [(-1, [])]
    for line in said.splitlines():
        number = _NUMBER.match(line)
        if number:
            blocks.append((int(number[1]), []))
        blocks[-1][1].append(line)
    return [line for _, lines in sorted(blocks, key=lambda block: block[0]) for line in lines]


def _track(index: int, language: str, details: str) -> Track | None:
    sound = _AUDIO.search(details)
    if not sound or not int(sound[1]):
        return None
    flags = set(_FLAGS.findall(details))
    return Track(
        index,
        details.split()[0].strip(","),
        int(sound[1]),
        sound[2].strip(),
        "" if language == "und" else language,
        "",
        "default" in flags,
        not flags & {"comment", "visual impaired", "descriptions", "hearing impaired"},
    )


def _picture(details: str) -> tuple[Fraction | None, bool]:
    """The frame rate, and whether it varies: a phone's frames come as they like, near a usual rate."""
    fps, base = (_rate(pattern.search(details)) for pattern in (_FPS, _BASE))
    if not fps:
        return None, False
    variable = bool(base) and abs(fps / base - 1) > _VARIABLE and abs(2 * fps / base - 1) > _VARIABLE
    return nearest_rate(base if variable and base and base <= 120.5 else fps), variable


def _rate(found: "re.Match[str] | None") -> float:
    return float(found[1]) * (1000 if found[2] else 1) if found else 0.0


def _seconds(said: str) -> float | None:
    found = _DURATION.search(said)
    if not found or found[1] is None:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
