"""A few seconds to listen to: the master on the left, the dub on the right, before and after the correction.

As MP3, which every browser plays; always of the same length and rate, so that pages with many of them stay small.
"""

import base64
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from sheaf.media.result import Segment, Snippets
from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.ffmpeg import executable

_SECONDS = 5.0
_PATIENCE_S = 30
_LEVEL = 0.7  # of full scale: either file is heard whatever its level
_SIDES = "[0:a]asplit[one][two];[one]pan=stereo|c0=c0|c1=c1[before];[two]pan=stereo|c0=c0|c1=c2[after]"
_BARE = ("-bitexact", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3")
_MP3 = ("-c:a", "libmp3lame", "-b:a", "32k", "-compression_level", "7", "-joint_stereo", "0", *_BARE)


def snippets(master: Recording, dub: Recording, piece: Segment, middle: float) -> Snippets | None:
    """The sound around a moment of the dub.

    Args:
        piece: where that moment belongs.
        middle: on the dub's clock, s.

    Returns:
        None where this ffmpeg cannot write MP3.
    """
    start = max(piece.offset_seconds + piece.rate * middle - _SECONDS / 2, 0.0)
    heard = [
        _taken(master, start, 1.0),
        _taken(dub, start, 1.0),
        _taken(dub, (start - piece.offset_seconds) / piece.rate, 1 / piece.rate),
    ]
    return _encoded(np.stack(heard, axis=1))


def _taken(recording: Recording, start: float, speed: float) -> np.ndarray:
    """Sound from a moment on, played at a speed."""
    count = round(_SECONDS * RATE)
    first = int(np.floor(start * RATE))
    samples = recording.read(first, int(count * speed) + 2)
    if speed != 1:
        samples = np.interp(np.arange(count) * speed, np.arange(len(samples)), samples)
    samples = samples[:count]
    return samples * (_LEVEL / max(float(np.abs(samples).max()), 1e-4))


def _encoded(sides: np.ndarray) -> Snippets | None:
    data = (sides * 32767).astype("<i2").tobytes()
    with tempfile.TemporaryDirectory(prefix="sheaf-media-") as folder:
        files = [Path(folder) / f"{name}.mp3" for name in ("before", "after")]
        outputs = [part for file in files for part in ("-map", f"[{file.stem}]", *_MP3, str(file))]
        command = [executable(), "-v", "error", "-y", "-f", "s16le", "-ar", str(RATE), "-ac", "3", "-i", "pipe:0"]
        try:
            subprocess.run(  # noqa: S603 - a fixed command; the paths are ours
                [*command, "-filter_complex", _SIDES, *outputs],
                input=data,
                capture_output=True,
                timeout=_PATIENCE_S,
                check=True,
            )
            before, after = (base64.b64encode(file.read_bytes()).decode() for file in files)
        except (subprocess.SubprocessError, OSError):
            return None
    return Snippets(before=before, after=after)
