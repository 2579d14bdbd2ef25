"""Decoding one sound track to a scratch file on disk, and reading it back in pieces.

Presentation time: container start times, edit lists and gaps in the timestamps count, so that
sample n of what is read here is heard n / RATE seconds after the file starts to play. Memory
stays at a few megabytes whatever the length; the scratch file has no name and goes with the
process.
"""

import mmap
import os
import re
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from sheaf.media.errors import (
    MediaError,
    NoAudioError,
    SilentError,
    TimedOutError,
    ToolError,
    TooLongError,
    TooShortError,
    UnreadableError,
)
from sheaf.media.sync.ffmpeg import reading
from sheaf.media.sync.probe import PROBE_SECONDS, Probe, Track, parse

if TYPE_CHECKING:
    from sheaf.media.sync.ltc import Ltc

RATE = 16000
"""Samples per second of all analysis."""

MINIMUM_SECONDS = 0.5
SILENCE = 1e-4  # -80 dB below full scale, as the standard deviation of the loudest channel
_BLOCK = 1 << 20
# Gaps in the timestamps are filled with silence from half a packet on; smaller jitter is left alone.
PRESENTATION_TIME = "first_pts=0:async=1:min_hard_comp=0.012"
_TO_PRESENTATION_TIME = f"aresample={RATE}:{PRESENTATION_TIME}"
# Not every packet by itself, of which there are fifty for a second of sound.
_AS_WAVE = ("-f", "wav", "-c:a", "pcm_s16le", "-bitexact", "-flush_packets", "0", "pipe:1")
# Of these ffmpeg takes the start of the streams that it decodes for the start of the file, so all are read.
_OWN_CLOCK = ("mpegts", "mpeg", "vob", "asf", "ogg", "dvd", "wtv")
_LEAST_RATE = 250  # bytes for a second of sound; a header that promises more seconds is not believed
_PACKET = 0.02  # s, about
_DAMAGED = 0.25  # share of packets; of encrypted ones the decoder takes more than half for some kind of sound
_MOST_JOINED = 8  # channels of one sound
_LOUDER = "volume=60dB"  # for float and 24-bit files far below what 16 bits hold
_ROLES = ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR")  # bits of a WAVE channel mask


@dataclass
class Recording:
    """Decoded sound on disk.

    Attributes:
        samples: per channel.
        channels: roles such as `FL`; `M` for mono, `c0`, `c1`, … where the file names none.
        weights: how the channels are mixed into the programme that is compared.
        level: standard deviation of that programme, full scale = 1.
        warnings: what ffmpeg complained about while it decoded.
        probe: the file it is from.
        sound: which of its tracks it is; several, where they are its channels.
        ltc: timecode that was recorded as sound on one of its channels.
    """

    file: IO[bytes]
    samples: int
    channels: tuple[str, ...]
    weights: np.ndarray
    covariance: np.ndarray
    warnings: tuple[str, ...] = ()
    probe: Probe | None = field(default=None, repr=False)
    sound: range = range(1)
    ltc: "Ltc | None" = None

    @property
    def seconds(self) -> float:
        """Length."""
        return self.samples / RATE

    @property
    def track(self) -> Track | None:
        """The track that it is, or the first of them."""
        return self.probe.tracks[self.sound[0]] if self.probe else None

    @property
    def level(self) -> float:
        """Standard deviation of the programme, full scale = 1."""
        return float(np.sqrt(max(self.weights @ self.covariance @ self.weights, 0.0)))

    def read(self, start: int, count: int, weights: np.ndarray | None = None) -> np.ndarray:
        """`count` samples of the programme from sample `start`, zeros outside the recording.

        Args:
            weights: another mix of the channels than the programme.
        """
        out = np.zeros(count, np.float32)
        first, last = max(start, 0), min(start + count, self.samples)
        if first < last:
            width = 2 * len(self.channels)
            raw = os.pread(self.file.fileno(), (last - first) * width, first * width)
            block = np.frombuffer(raw, np.int16).reshape(-1, len(self.channels))
            mix = (self.weights if weights is None else weights).astype(np.float32) / 32768
            out[first - start : first - start + len(block)] = block @ mix if len(mix) > 1 else block[:, 0] * mix[0]
        return out

    def blocks(self, count: int, overlap: int = 0) -> Iterator[np.ndarray]:
        """The programme in pieces of `count` samples, each followed by `overlap` samples of the next."""
        for start in range(0, self.samples, count):
            yield self.read(start, count + overlap)

    def heard_as(self, weights: np.ndarray) -> "Recording":
        """The same sound on disk, mixed in another way."""
        return replace(self, weights=weights)

    def without(self, role: str) -> "Recording":
        """The same, its programme mixed of the other channels; as it is where nothing sounds there."""
        covariance, index = self.covariance.copy(), self.channels.index(role)
        covariance[index, :] = covariance[:, index] = 0
        heard = np.sqrt(covariance.diagonal().max()) >= SILENCE
        return replace(self, weights=principal_mix(covariance)) if heard else self

    def close(self) -> None:
        """Give the disk space back."""
        self.file.close()


def load(path: Path, *, deadline: float, max_seconds: float) -> Recording:
    """Look into a file and decode the sound that players choose, or the first that can be heard.

    One start of ffmpeg does both where the file holds one plain sound track, as most do: starting it costs as much as
    decoding a minute.

    Raises:
        MediaError: as `probe` and `decode` do.
    """
    command = [*reading(path), "-map", "0:a:0", "-vn", "-sn", "-dn", "-af", _TO_PRESENTATION_TIME, *_AS_WAVE]
    with _scratch() as scratch:
        with _running(command, path, deadline, telling=True) as (stdout, complaints):
            found = parse(path, complaints.banner(path))
            plain = len(found.tracks) == 1 and found.start >= 0 and not _has_own_clock(found)
            if plain:
                _require_short(path, found, max_seconds)
            received = _receive(path, stdout, scratch, max_seconds) if plain else None
        if received:
            recording = _recording(path, scratch, received, complaints, found, range(1))
            return _audible(recording, path, found, deadline, max_seconds)
        scratch.close()
    useless: MediaError | None = None
    for sound in in_order(found):
        try:
            return decode(path, found, sound=sound, deadline=deadline, max_seconds=max_seconds)
        except (SilentError, UnreadableError) as error:
            useless = useless or error
    raise useless or NoAudioError(f"{path} has no sound track.")


def decode(path: Path, probe: Probe, *, deadline: float, max_seconds: float, sound: range | None = None) -> Recording:
    """Decode one sound of a file.

    Args:
        deadline: `time.monotonic()` at which to give up.
        max_seconds: longest sound that is accepted.
        sound: of which tracks; None for the one that players choose.

    Raises:
        UnreadableError, SilentError, TooShortError, TooLongError, TimedOutError, ToolError: nothing to compare.
    """
    _require_short(path, probe, max_seconds)
    recording = _decode(path, probe, sound or in_order(probe)[0], deadline, max_seconds)
    return _audible(recording, path, probe, deadline, max_seconds)


def _told(path: Path, probe: Probe) -> float | None:
    """How long a file says it is, s, where it can be."""
    return probe.duration if probe.duration and path.stat().st_size / probe.duration >= _LEAST_RATE else None


def _require_short(path: Path, probe: Probe, max_seconds: float) -> None:
    told = _told(path, probe)
    if told and told > max_seconds:
        raise TooLongError(f"{path} is {told:.0f} s long, at most {max_seconds:.0f} s are analysed.")


def _audible(recording: Recording, path: Path, probe: Probe, deadline: float, max_seconds: float) -> Recording:
    """A recording, decoded again and louder where it is nearly silent, with what its header has wrong."""
    if np.sqrt(recording.covariance.diagonal().max()) < SILENCE:
        recording.close()
        recording = _decode(path, probe, recording.sound, deadline, max_seconds, louder=True)
        if np.sqrt(recording.covariance.diagonal().max()) < SILENCE:
            recording.close()
            raise SilentError(f"{path} is silent: its sound never rises above -80 dB.")
        recording.warnings = ("its sound is below -80 dB and was analysed 60 dB louder", *recording.warnings)
    if probe.duration and not _told(path, probe):
        recording.warnings = (
            f"its header says {probe.duration:.0f} s, it holds {recording.seconds:.0f} s",
            *recording.warnings,
        )
    return recording


def _decode(
    path: Path, probe: Probe, sound: range, deadline: float, max_seconds: float, *, louder: bool = False
) -> Recording:
    command = [*reading(path, probe.start), *_selection(sound, louder=louder)]
    command += _AS_WAVE
    if _has_own_clock(probe):
        command += ["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "null", "-"]
    with _scratch() as scratch:
        with _running(command, path, deadline) as (stdout, complaints):
            received = _receive(path, stdout, scratch, max_seconds)
        return _recording(path, scratch, received, complaints, probe, sound)


def _has_own_clock(probe: Probe) -> bool:
    return any(name in _OWN_CLOCK for name in probe.container.split(","))


@contextmanager
def _scratch() -> Iterator[IO[bytes]]:
    """A file without a name, closed where something goes wrong."""
    scratch = tempfile.TemporaryFile(prefix="sheaf-media-")  # noqa: SIM115 - lives as long as the recording
    try:
        yield scratch
    except BaseException:
        scratch.close()
        raise


_Received = tuple[tuple[str, ...], int, np.ndarray | None]
"""Channels, samples in each, and their covariance."""


def _receive(path: Path, stdout: IO[bytes], scratch: IO[bytes], max_seconds: float) -> _Received:
    """What a decoder writes, to the scratch file."""
    channels = _read_header(stdout)
    if not channels:
        return (), 0, None
    return channels, *_copy(path, stdout, scratch, len(channels), max_seconds)


def _recording(
    path: Path, scratch: IO[bytes], received: _Received, complaints: "_Complaints", probe: Probe, sound: range
) -> Recording:
    channels, samples, covariance = received
    if covariance is None or not samples:
        reason = complaints.first or "it holds no sound"
        raise UnreadableError(f"{path} cannot be decoded: {_why(path, reason)}.")
    if complaints.refused * _PACKET > _DAMAGED * samples / RATE:
        raise UnreadableError(
            f"{path} cannot be decoded: {_why(path, f'too many of its packets are damaged ({complaints.first})')}."
        )
    if samples < MINIMUM_SECONDS * RATE:
        raise TooShortError(f"{path} holds {samples / RATE:.2f} s of sound, at least {MINIMUM_SECONDS} s are needed.")
    said = tuple(complaints.lines[:5])
    if len(sound) > 1 and (len(sound) not in _USUAL or len(probe.tracks) > len(sound)):
        channels = tuple(f"c{index}" for index in sound)  # nobody knows which is on the left
    return Recording(scratch, samples, channels, principal_mix(covariance), covariance, said, probe, sound)


def _why(path: Path, reason: str) -> str:
    """A reason for a person: packets that no decoder understands are often encrypted, and a MP4 then says so."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(b"sinf")
        if at >= 0 and data.find(b"schm", at, at + 256) >= 0:
            return "its sound is encrypted. Bring a file without copy protection"
    return reason


def principal_mix(covariance: np.ndarray) -> np.ndarray:
    """The mix of channels with the greatest energy: first principal component of their covariance.

    It is the mid signal for ordinary stereo, the side signal for anti-phase stereo, and the one
    live channel where the others are silent, so nothing can cancel out.
    """
    _, vectors = np.linalg.eigh(covariance)
    weights = vectors[:, -1]
    return weights * np.sign(weights[np.argmax(np.abs(weights))]) / np.sqrt(len(weights))


def _selection(sound: range, *, louder: bool) -> list[str]:
    chain = f"{_TO_PRESENTATION_TIME},{_LOUDER}" if louder else _TO_PRESENTATION_TIME
    if len(sound) > 1:
        return ["-filter_complex", joined(sound, chain), "-map", "[all]"]
    return ["-map", f"0:a:{sound[0]}", "-vn", "-sn", "-dn", "-af", chain]


def joined(indexes: Sequence[int], chain: str, name: str = "all") -> str:
    """Filters that make one sound `[all]` of tracks that are its channels, each of them first through a chain."""
    roles = _LAYOUTS[len(indexes)]
    inputs = "".join(f"[0:a:{index}]{chain}[t{index}];" for index in indexes)
    names = "".join(f"[t{index}]" for index in indexes)
    places = "|".join(f"{number}.0-{role}" for number, role in enumerate(roles))  # else the first would be the centre
    return f"{inputs}{names}join=inputs={len(roles)}:channel_layout={'+'.join(roles)}:map={places}[{name}]"


_LAYOUTS = {
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Of so many channels; usual are those of 2, 6 and 8."""
_USUAL = (2, 6, 8)


def laid_apart(tracks: Sequence[Track]) -> bool:
    """Whether each track is one channel of one programme, as in many camera and film masters, and no language of it."""
    mono = all(track.layout in ("mono", "1 channels") for track in tracks)
    return len(tracks) > 1 and mono and len({track.language for track in tracks}) == 1


def sounds(tracks: Sequence[Track]) -> list[range]:
    """Which tracks are one sound: each by itself, or, where they are the channels of a programme, up to eight."""
    at_once = _MOST_JOINED if laid_apart(tracks) else 1
    return [range(first, min(first + at_once, len(tracks))) for first in range(0, len(tracks), at_once)]


def in_order(found: Probe) -> list[range]:
    """The sounds of a file in the order in which they are worth a try."""
    if laid_apart(found.tracks):
        return sounds(found.tracks)
    return [range(track.index, track.index + 1) for track in found.best_tracks]


_REFUSALS = ("submitting packet to decoder", "Error while decoding stream")  # of newer ffmpegs, and up to 6


_LEVEL = re.compile(r"(\[[^\]]+ @ \w+\] )?\[(\w+)\] (.*)")
_FAULTS = ("error", "fatal", "panic")


class _Complaints:
    """What ffmpeg says while it decodes: of errors only, or of all with their levels, which begin with the file.

    Attributes:
        lines: the first of them.
        refused: packets that the decoder did not take.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.refused = 0
        self._banner: list[str] = []
        self._described = threading.Event()

    @property
    def first(self) -> str:
        return self.lines[0] if self.lines else ""

    def banner(self, path: Path) -> str:
        """What it says of the file, once it has said all of it.

        Raises:
            TimedOutError: it does not.
        """
        if not self._described.wait(PROBE_SECONDS):
            raise TimedOutError(f"{path} could not be opened within {PROBE_SECONDS} s.")
        return "\n".join(self._banner)

    def end(self) -> None:
        """It says no more."""
        self._described.set()

    def tell(self, line: str) -> None:
        """One line of all that it says."""
        found = _LEVEL.match(line)
        context, level, said = found.groups("") if found else ("", "info", line.rstrip("\n"))
        if said.startswith(("Stream mapping:", "Output #")):
            self._described.set()
        if not self._described.is_set():
            self._banner.append(context + said)
        if level in _FAULTS:
            self.hear(context + said)

    def hear(self, line: str) -> None:
        """One complaint."""
        self.refused += any(words in line for words in _REFUSALS)
        if len(self.lines) < 50:
            self.lines.append(line.strip().split("] ")[-1].rstrip("."))


@contextmanager
def _running(
    command: list[str], path: Path, deadline: float, *, telling: bool = False
) -> Iterator[tuple[IO[bytes], _Complaints]]:
    """Run a decoder; it is dead and its complaints are complete when the block is left.

    Args:
        telling: it also says what the file is.
    """
    level = ["-nostats", "-loglevel", "level+info"] if telling else ["-loglevel", "error"]
    command = [command[0], *level, *command[1:]]
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed command; the path is one argument with a protocol in front
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise ToolError(f"ffmpeg cannot be started: {error.strerror}.") from error
    complaints = _Complaints()
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    def listen() -> None:
        for line in process.stderr or ():
            (complaints.tell if telling else complaints.hear)(line.decode("utf-8", "replace"))
        complaints.end()

    timer = threading.Timer(max(deadline - time.monotonic(), 0), expire)
    listener = threading.Thread(target=listen, daemon=True)
    assert process.stdout is not None
    try:
        timer.start()
        listener.start()
        yield process.stdout, complaints
    except UnreadableError:
        if not expired.is_set():
            raise
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        listener.join(timeout=5)
        process.stdout.close()
        if process.stderr:
            process.stderr.close()
    if expired.is_set():
        raise TimedOutError(f"{path} was not decoded in time.")


def _read_header(stdout: IO[bytes]) -> tuple[str, ...]:
    """The channel roles from a WAVE header; empty when there is none. Leaves the stream at the samples."""
    if len(stdout.read(12)) < 12:
        return ()
    roles: tuple[str, ...] = ()
    while len(chunk := stdout.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            break
        body = stdout.read(size)
        if name == b"fmt ":
            count = struct.unpack_from("<H", body, 2)[0]
            mask = struct.unpack_from("<I", body, 20)[0] if len(body) >= 24 else 0
            named = tuple(role for bit, role in enumerate(_ROLES) if mask >> bit & 1)
            plain = {1: ("M",), 2: ("FL", "FR")}.get(count, tuple(f"c{index}" for index in range(count)))
            roles = named if len(named) == count > 2 else plain
    return roles


def _copy(
    path: Path, stdout: IO[bytes], scratch: IO[bytes], channels: int, max_seconds: float
) -> tuple[int, np.ndarray]:
    """Samples to the scratch file; returns how many, and the covariance of the channels."""
    width, samples, rest = 2 * channels, 0, b""
    products, sums = np.zeros((channels, channels)), np.zeros(channels)
    while data := stdout.read(_BLOCK):
        data = rest + data
        whole = len(data) // width * width
        data, rest = data[:whole], data[whole:]
        scratch.write(data)
        block = np.frombuffer(data, np.int16).reshape(-1, channels).astype(np.float32) / 32768
        products += block.T @ block
        sums += np.ones(len(block), np.float32) @ block  # ten times as quick as a sum over rows
        samples += len(block)
        if samples > max_seconds * RATE:
            raise TooLongError(f"{path} is longer than {max_seconds:.0f} s, the most that is analysed.")
    scratch.flush()
    mean = sums / max(samples, 1)
    return samples, products / max(samples, 1) - np.outer(mean, mean)


def other_mixes(recording: Recording) -> list[tuple[str, np.ndarray]]:
    """Channels that the programme hides, loudest first: the sound beside a timecode, a language beside another."""
    programme, found = recording.weights, []
    for index, role in enumerate(recording.channels):
        own = float(recording.covariance[index, index])
        shared = float(recording.covariance[index] @ programme)
        code = recording.ltc is not None and recording.ltc.channel == role
        if len(recording.channels) > 1 and np.sqrt(max(own, 0.0)) >= SILENCE and not code:
            likeness = abs(shared) / max(np.sqrt(own) * recording.level, 1e-12)
            if likeness < _OWN_SOUND:
                found.append((own, role))
    return [(role, channel_mix(recording, role)) for _, role in sorted(found, key=lambda item: -item[0])]


_OWN_SOUND = 0.7  # correlation with the programme below which a channel has something to say that isn't heard there


def channel_mix(recording: Recording, role: str) -> np.ndarray[Any, Any]:
    """The weights that pick one channel."""
    weights = np.zeros(len(recording.channels))
    weights[recording.channels.index(role)] = 1.0
    return weights
