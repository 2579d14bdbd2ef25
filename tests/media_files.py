"""Sound files that the media tests share, made once from seeds, and batches of them as they are run."""

import os
import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from running import run_steps

from sheaf.media.domain import MEDIA
from sheaf.media.sample.synthesis import RATE, scene
from sheaf.media.settings import MediaSettings
from sheaf.media.sources.inbox import MediaInbox
from sheaf.media.sync.ffmpeg import executable
from sheaf.running import How, Made
from sheaf.sources import Sources
from sheaf.store.store import Store


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


def sheet(folder: Path, rows: Sequence[str], name: str = "batch.csv", header: str = "master_file,dub_file") -> Path:
    """The CSV of a batch."""
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def batch_of(store: Store, csv_path: Path, settings: MediaSettings) -> str:
    """How the batch of a CSV in `inbox/media` is called."""
    offered = MediaInbox(csv_path.parent.parent, store.url, settings).offers()
    return next(batch for batch, name in offered.notes.items() if name == csv_path.name)


def run_batch(
    store: Store,
    csv_path: Path,
    settings: MediaSettings,
    *,
    only: Sequence[str] | None = None,
    how: How | None = None,
) -> dict[str, Made]:
    """Run the steps of the batch of a CSV in `inbox/media`."""
    source = MediaInbox(csv_path.parent.parent, store.url, settings)
    batch = batch_of(store, csv_path, settings)
    return run_steps(store, MEDIA, batch, settings, Sources({"media": (source,)}), only=only, how=how)
