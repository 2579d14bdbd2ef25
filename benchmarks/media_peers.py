"""Other tools that find the offset of two media files, each in an environment of its own.

They need versions of NumPy and SciPy that exclude each other and Sheaf's, so each is installed from PyPI
into a folder that is kept between runs, and asked by a few lines of its own API.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sheaf.media.sync.ffmpeg import executable

_AUDIO_OFFSET_FINDER = """
import json, sys
from audio_offset_finder.audio_offset_finder import find_offset_between_files
found = find_offset_between_files(sys.argv[1], sys.argv[2])
print(json.dumps({"offset": float(found["time_offset"]), "score": float(found["standard_score"])}))
"""
_SYNCSTART = """
import json, sys
import matplotlib
matplotlib.use("Agg")
matplotlib.use = lambda *_, **__: None  # it asks for a window
master, dub = sys.argv[1:3]
sys.argv = ["syncstart", "-q", "-n", "-s", "-t", "300", master, dub]
from syncstart import file_offset
late, seconds = file_offset()
print(json.dumps({"offset": float(seconds) if late == master else -float(seconds), "score": None}))
"""
_AUDALIGN = """
import contextlib, io, json, sys
import audalign
with contextlib.redirect_stdout(io.StringIO()):
    found = audalign.recognize(sys.argv[2], sys.argv[1], recognizer=audalign.FingerprintRecognizer())
match = list(found["match_info"].values())[0] if found else None
print(json.dumps({"offset": float(match["offset_seconds"][0]) if match else None, "score": None}))
"""


@dataclass(frozen=True)
class Peer:
    """One tool; `accepts` is the score from which its own documentation calls a match good."""

    name: str
    program: str
    accepts: float | None = None


PEERS = (
    Peer("audio-offset-finder", _AUDIO_OFFSET_FINDER, 10.0),
    Peer("syncstart", _SYNCSTART),
    Peer("audalign", _AUDALIGN),
)


def install(peer: Peer, folder: Path) -> Path | None:
    """The interpreter of the tool's own environment; None when it cannot be made here."""
    python, whole = (folder / peer.name / name for name in ("bin/python", "installed"))
    if whole.exists():
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / peer.name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", peer.name], check=True)
    except subprocess.CalledProcessError:
        return None
    whole.touch()
    return python


def ask(peer: Peer, python: Path, master: Path, dub: Path, folder: Path) -> float | None:
    """The offset the tool stands by; None when it finds none, is unsure, or fails."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    if not (tools / "ffmpeg").exists():
        (tools / "ffmpeg").symlink_to(executable())
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    command = [str(python), "-W", "ignore", "-c", peer.program, str(master), str(dub)]
    try:
        asked = subprocess.run(command, capture_output=True, env=environment, timeout=300, cwd=folder, check=True)
        answer = json.loads(asked.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return None
    if answer["offset"] is None or (peer.accepts is not None and not answer["score"] >= peer.accepts):
        return None
    return answer["offset"]
