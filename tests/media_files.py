"""Sound files that the media tests share; made once, from seeds."""

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


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([executable(), "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def moved(samples: np.ndarray, offset: float) -> np.ndarray:
    """A dub with that offset in seconds."""
    count = round(offset * RATE)
    return samples[count:] if count >= 0 else np.concatenate([np.zeros(-count, np.float32), samples])
