"""Decoding one sound track to a scratch file on disk, and reading it back in pieces.

Presentation time: container start times, edit lists and gaps in the timestamps count, so that
sample n of what is read here is heard n / RATE seconds after the file starts to play. Memory
stays at a few megabytes whatever the length; the scratch file has no name and goes with the
process.
"""

import mmap
import os
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

from sheaf.media.errors import SilentError, TimedOutError, ToolError, TooLongError, TooShortError, UnreadableError
from sheaf.media.sync.ffmpeg import reading
from sheaf.media.sync.probe import Probe, Track

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
# Of these ffmpeg takes the start of the streams that it decodes for the start of the file, so all are read.
_OWN_CLOCK = ("mpegts", "mpeg", "vob", "asf", "ogg", "dvd", "wtv")
_LEAST_RATE = 250  # bytes for a second of sound; a header that promises more seconds is not believed
_PACKET = 0.02  # s, about
_DAMAGED = 0.25  # share of packets; of encrypted ones the decoder takes more than half for some kind of sound
_MOST_JOINED = 8  # channels of one sound for which ffmpeg has a layout
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
        probe, track: the file it is from, and which of its tracks it is.
        ltc: timecode that was recorded as sound on one of its channels.
    """

    file: IO[bytes]
    samples: int
    channels: tuple[str, ...]
    weights: np.ndarray
    covariance: np.ndarray
    warnings: tuple[str, ...] = ()
    probe: Probe | None = field(default=None, repr=False)
    track: Track | None = None
    ltc: "Ltc | None" = None

    @property
    def seconds(self) -> float:
        """Length."""
        return self.samples / RATE

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
            out[first - start : first - start + len(block)] = block @ mix
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


def decode(path: Path, probe: Probe, *, deadline: float, max_seconds: float, track: int | None = None) -> Recording:
    """Decode the sound of a file: one track, or all its tracks when each is one channel of a set.

    Args:
        deadline: `time.monotonic()` at which to give up.
        max_seconds: longest sound that is accepted.
        track: which track, from 0; None for the one that players choose.

    Raises:
        UnreadableError, SilentError, TooShortError, TooLongError, TimedOutError, ToolError: nothing to compare.
    """
    told = probe.duration if probe.duration and path.stat().st_size / probe.duration >= _LEAST_RATE else None
    if told and told > max_seconds:
        raise TooLongError(f"{path} is {told:.0f} s long, at most {max_seconds:.0f} s are analysed.")
    recording = _decode(path, probe, track, deadline, max_seconds)
    if np.sqrt(recording.covariance.diagonal().max()) < SILENCE:
        recording.close()
        recording = _decode(path, probe, track, deadline, max_seconds, louder=True)
        if np.sqrt(recording.covariance.diagonal().max()) < SILENCE:
            recording.close()
            raise SilentError(f"{path} is silent: its sound never rises above -80 dB.")
        recording.warnings = ("its sound is below -80 dB and was analysed 60 dB louder", *recording.warnings)
    if probe.duration and not told:
        recording.warnings = (
            f"its header says {probe.duration:.0f} s, it holds {recording.seconds:.0f} s",
            *recording.warnings,
        )
    return recording


def _decode(
    path: Path, probe: Probe, track: int | None, deadline: float, max_seconds: float, *, louder: bool = False
) -> Recording:
    chosen = probe.best_tracks[0].index if track is None else track
    command = [*reading(path, probe.start), *_selection(probe, chosen, alone=track is not None, louder=louder)]
    command += ["-f", "wav", "-c:a", "pcm_s16le", "-bitexact", "pipe:1"]
    if any(name in _OWN_CLOCK for name in probe.container.split(",")):
        command += ["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "null", "-"]
    scratch = tempfile.TemporaryFile(prefix="sheaf-media-")  # noqa: SIM115 - lives as long as the recording
    try:
        with _running(command, path, deadline) as (stdout, complaints):
            channels = _read_header(stdout)
            samples, covariance = _copy(path, stdout, scratch, len(channels), max_seconds) if channels else (0, None)
        if covariance is None or not samples:
            reason = complaints.first or "it holds no sound"
            raise UnreadableError(f"{path} cannot be decoded: {_why(path, reason)}.")
        if complaints.refused * _PACKET > _DAMAGED * samples / RATE:
            raise UnreadableError(
                f"{path} cannot be decoded: {_why(path, f'too many of its packets are damaged ({complaints.first})')}."
            )
        if samples < MINIMUM_SECONDS * RATE:
            raise TooShortError(
                f"{path} holds {samples / RATE:.2f} s of sound, at least {MINIMUM_SECONDS} s are needed."
            )
    except BaseException:
        scratch.close()
        raise
    said = tuple(complaints.lines[:5])
    return Recording(
        scratch, samples, channels, principal_mix(covariance), covariance, said, probe, probe.tracks[chosen]
    )


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


def _selection(probe: Probe, track: int, *, alone: bool, louder: bool) -> list[str]:
    """Separate mono tracks are the channels of one programme, as in many camera and film masters."""
    chain = f"{_TO_PRESENTATION_TIME},{_LOUDER}" if louder else _TO_PRESENTATION_TIME
    if not alone and laid_apart(probe.tracks):
        return ["-filter_complex", joined(sounds(probe.tracks)[0], chain), "-map", "[all]"]
    return ["-map", f"0:a:{track}", "-vn", "-sn", "-dn", "-af", chain]


def joined(indexes: Sequence[int], chain: str, name: str = "all") -> str:
    """Filters that make one sound `[all]` of tracks that are its channels, each of them first through a chain."""
    count = len(indexes)
    layout = {2: "stereo", 6: "5.1", 8: "7.1"}.get(count, f"{count}c")
    inputs = "".join(f"[0:a:{index}]{chain}[t{index}];" for index in indexes)
    names = "".join(f"[t{index}]" for index in indexes)
    return f"{inputs}{names}join=inputs={count}:channel_layout={layout}[{name}]"


def laid_apart(tracks: Sequence[Track]) -> bool:
    """Whether each track is one channel of one programme."""
    return len(tracks) > 1 and all(track.layout in ("mono", "1 channels") for track in tracks)


def sounds(tracks: Sequence[Track]) -> list[range]:
    """Which tracks are one sound: each by itself, or, where they are the channels of a programme, up to eight."""
    at_once = _MOST_JOINED if laid_apart(tracks) else 1
    return [range(first, min(first + at_once, len(tracks))) for first in range(0, len(tracks), at_once)]


_REFUSALS = ("submitting packet to decoder", "Error while decoding stream")  # of newer ffmpegs, and up to 6


class _Complaints:
    """What ffmpeg says while it decodes.

    Attributes:
        lines: the first of them.
        refused: packets that the decoder did not take.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.refused = 0

    @property
    def first(self) -> str:
        return self.lines[0] if self.lines else ""

    def hear(self, line: str) -> None:
        self.refused += any(words in line for words in _REFUSALS)
        if len(self.lines) < 50:
            self.lines.append(line.strip().split("] ")[-1].rstrip("."))


@contextmanager
def _running(command: list[str], path: Path, deadline: float) -> Iterator[tuple[IO[bytes], _Complaints]]:
    """Run a decoder; it is dead and its complaints are complete when the block is left."""
    command = [command[0], "-loglevel", "error", *command[1:]]
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
            complaints.hear(line.decode("utf-8", "replace"))

    timer = threading.Timer(max(deadline - time.monotonic(), 0), expire)
    listener = threading.Thread(target=listen, daemon=True)
    assert process.stdout is not None
    try:
        timer.start()
        listener.start()
        yield process.stdout, complaints
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
        products += np.einsum("ni,nj->ij", block, block)
        sums += block.sum(axis=0, dtype=np.float64)
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
