"""Sound files that the media tests share; made once, from seeds."""

import os
import subprocess
import wave
from pathlib import Path

import numpy as np

from sheaf.media.ffmpeg import executable
from sheaf.media.synthesis import RATE, scene


def programme(seconds: float = 20, seed: int = 1) -> np.ndarray:
    return scene(seconds, 100, seed).mix


def write_wave(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """16-bit PCM; samples of shape (n,) or (n, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def write_endless(path: Path, samples: np.ndarray, hours: int) -> Path:
    """A file that is hours long but takes no space: after its first samples come holes."""
    data = bytearray(write_wave(path, samples, 8000).read_bytes())
    size = hours * 3600 * 8000 * 2
    data[4:8], data[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(data)
    os.truncate(path, size + 44)
    return path


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([executable(), "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def moved(samples: np.ndarray, offset: float) -> np.ndarray:
    """A dub with that offset in seconds."""
    count = round(offset * RATE)
    return samples[count:] if count >= 0 else np.concatenate([np.zeros(-count, np.float32), samples])
