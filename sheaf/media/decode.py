"""Decoding one sound track to a scratch file on disk, and reading it back in pieces.

Presentation time: container start times, edit lists and gaps in the timestamps count, so that
sample n of what is read here is heard n / RATE seconds after the file starts to play. Memory
stays at a few megabytes whatever the length; the scratch file has no name and goes with the
process.
"""

import os
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sheaf.media.errors import SilentError, TimedOutError, ToolError, TooLongError, TooShortError, UnreadableError
from sheaf.media.ffmpeg import reading
from sheaf.media.probe import Probe, Track

RATE = 16000
"""Samples per second of all analysis."""

MINIMUM_SECONDS = 0.5
SILENCE = 1e-4  # -80 dB below full scale, as the standard deviation of the loudest channel
_BLOCK = 1 << 20
# Gaps of more than 0.1 s between timestamps are filled with silence; smaller jitter is left alone.
_TO_PRESENTATION_TIME = f"aresample={RATE}:first_pts=0:async=1:min_hard_comp=0.1"
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
    """

    file: IO[bytes]
    samples: int
    channels: tuple[str, ...]
    weights: np.ndarray
    covariance: np.ndarray
    warnings: tuple[str, ...] = ()
    probe: Probe | None = field(default=None, repr=False)

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

    def close(self) -> None:
        """Give the disk space back."""
        self.file.close()


def decode(path: Path, probe: Probe, *, deadline: float, max_seconds: float) -> Recording:
    """Decode the sound of a file: its first track, or all its tracks when each is one channel of a set.

    Args:
        deadline: `time.monotonic()` at which to give up.
        max_seconds: longest sound that is accepted.

    Raises:
        UnreadableError, SilentError, TooShortError, TooLongError, TimedOutError, ToolError: nothing to compare.
    """
    if probe.duration and probe.duration > max_seconds:
        raise TooLongError(f"{path} is {probe.duration:.0f} s long, at most {max_seconds:.0f} s are analysed.")
    command = [*reading(path), *_selection(probe.tracks), "-f", "wav", "-c:a", "pcm_s16le", "-bitexact", "pipe:1"]
    scratch = tempfile.TemporaryFile(prefix="sheaf-media-")  # noqa: SIM115 - lives as long as the recording
    try:
        with _running(command, path, deadline) as (stdout, complaints):
            channels = _read_header(stdout)
            samples, covariance = _copy(path, stdout, scratch, len(channels), max_seconds) if channels else (0, None)
        if covariance is None or not samples:
            reason = complaints[-1] if complaints else "it holds no sound"
            raise UnreadableError(f"{path} cannot be decoded: {reason}.")
        if samples < MINIMUM_SECONDS * RATE:
            raise TooShortError(
                f"{path} holds {samples / RATE:.2f} s of sound, at least {MINIMUM_SECONDS} s are needed."
            )
        if np.sqrt(covariance.diagonal().max()) < SILENCE:
            raise SilentError(f"{path} is silent: its sound never rises above -80 dB.")
    except BaseException:
        scratch.close()
        raise
    return Recording(scratch, samples, channels, principal_mix(covariance), covariance, tuple(complaints[:5]), probe)


def principal_mix(covariance: np.ndarray) -> np.ndarray:
    """The mix of channels with the greatest energy: first principal component of their covariance.

    It is the mid signal for ordinary stereo, the side signal for anti-phase stereo, and the one
    live channel where the others are silent, so nothing can cancel out.
    """
    _, vectors = np.linalg.eigh(covariance)
    weights = vectors[:, -1]
    return weights * np.sign(weights[np.argmax(np.abs(weights))]) / np.sqrt(len(weights))


def _selection(tracks: tuple[Track, ...]) -> list[str]:
    """Separate mono tracks are the channels of one programme, as in many camera and film masters."""
    if len(tracks) > 1 and all(track.layout in ("mono", "1 channels") for track in tracks):
        count = min(len(tracks), 8)
        layout = {2: "stereo", 6: "5.1", 8: "7.1"}.get(count, f"{count}c")
        inputs = "".join(f"[0:a:{index}]{_TO_PRESENTATION_TIME}[t{index}];" for index in range(count))
        names = "".join(f"[t{index}]" for index in range(count))
        return ["-filter_complex", f"{inputs}{names}join=inputs={count}:channel_layout={layout}[all]", "-map", "[all]"]
    return ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", _TO_PRESENTATION_TIME]


@contextmanager
def _running(command: list[str], path: Path, deadline: float) -> Iterator[tuple[IO[bytes], list[str]]]:
    """Run a decoder; it is dead and its complaints are complete when the block is left."""
    command = [command[0], "-loglevel", "error", *command[1:]]
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed command; the path is one argument with a protocol in front
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise ToolError(f"ffmpeg cannot be started: {error.strerror}.") from error
    complaints: list[str] = []
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    def listen() -> None:
        for line in process.stderr or ():
            if len(complaints) < 50:
                complaints.append(line.decode("utf-8", "replace").strip().split("] ")[-1].rstrip("."))

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


def channel_mix(recording: Recording, role: str) -> np.ndarray[Any, Any]:
    """The weights that pick one channel."""
    weights = np.zeros(len(recording.channels))
    weights[recording.channels.index(role)] = 1.0
    return weights
