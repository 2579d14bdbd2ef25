"""The `ai` method: embeddings of short stretches, compared over every lag.

`spectral` is built in (statistics of the band energies). `wav2vec2` and `yamnet` run the ONNX
file the user names through ONNX Runtime, an optional package: any model that takes 16 kHz mono
samples, shape (n,) or (1, n), and returns vectors over time, shape (…, frames, dimensions).
Embeddings only propose; the waveform decides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sheaf.media.errors import MediaError
from sheaf.media.methods import Model
from sheaf.media.result import PairOptions
from sheaf.media.sync.candidates import Candidate, search
from sheaf.media.sync.decode import RATE, Recording
from sheaf.media.sync.features import Spectrum

_NAMES = {Model.WAV2VEC2: "Wav2Vec2", Model.YAMNET: "YAMNet", Model.SPECTRAL: "spectral embedding"}
_CHUNK_SECONDS = 20.0
_DIMENSIONS = 48
_SPECTRAL_HOP = 0.1


class ModelError(MediaError):
    """A model file is there but cannot be used."""

    code = "MODEL"


@dataclass(frozen=True)
class Embedded:
    """What `ai` proposes, and whether the model that was asked for is what ran; `reason` says why not."""

    candidates: list[Candidate]
    requested: Model
    available: bool
    reason: str = ""

    @property
    def label(self) -> str:
        """How `method_used` names it."""
        if self.available:
            return f"AI ({_NAMES[self.requested]})"
        return "AI (spectral embedding, fallback)"


def search_embeddings(
    master: Recording, dub: Recording, spectrum_m: Spectrum, spectrum_d: Spectrum, options: PairOptions
) -> Embedded:
    """Candidates from embeddings; from the built-in ones when the model asked for is not there.

    Raises:
        ModelError: the model file exists but cannot be run.
    """
    requested = options.ai_model or Model.SPECTRAL
    session = None if requested is Model.SPECTRAL else _session(options.models.get(requested))
    if session is None:
        views = [_spectral(item) for item in (spectrum_m, spectrum_d)]
        hop = round(_SPECTRAL_HOP / spectrum_m.hop) * spectrum_m.hop
    else:
        runs = [_run(session, recording) for recording in (master, dub)]
        hop = runs[0][1]
        views = _reduce(runs[0][0], runs[1][0])
    found = search(views[0], views[1], hop, uncertainty=hop)
    available = requested is Model.SPECTRAL or session is not None
    return Embedded(found, requested, available, "" if available else _why_not(options.models.get(requested)))


def _spectral(spectrum: Spectrum) -> np.ndarray:
    """Mean and spread of each band over half a second, every tenth of a second."""
    step = round(_SPECTRAL_HOP / spectrum.hop)
    width = 5 * step
    sums = np.cumsum(np.pad(spectrum.energies.astype(np.float64), ((0, 0), (1, width))), axis=1)
    squares = np.cumsum(np.pad(spectrum.energies.astype(np.float64) ** 2, ((0, 0), (1, width))), axis=1)
    at = np.arange(0, spectrum.energies.shape[1], step)
    mean = (sums[:, at + width] - sums[:, at]) / width
    spread = np.sqrt(np.maximum((squares[:, at + width] - squares[:, at]) / width - mean**2, 0))
    return _unit(np.concatenate([mean, spread]))


def _why_not(path: Path | None) -> str:
    if path is None:
        return "is not configured (media.models)"
    return "has no model file" if not path.is_file() else "needs ONNX Runtime (pip install 'sheaf[ai]')"


def _session(path: Path | None) -> Any:
    """An ONNX session, or None when there is no file or no ONNX Runtime."""
    if path is None or not path.is_file():
        return None
    try:
        import onnxruntime
    except ImportError:
        return None
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    quiet.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), quiet, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has no common error type
        raise ModelError(f"{path} is not a model that ONNX Runtime can load: {_first_line(error)}") from error


def _run(session: Any, recording: Recording) -> tuple[np.ndarray, float]:
    """Vectors over time (dimensions, frames) and seconds per vector."""
    wanted = session.get_inputs()[0]
    rank = len(wanted.shape)
    parts, heard = [], 0.0
    for samples in recording.blocks(int(_CHUNK_SECONDS * RATE)):
        feed = samples if rank == 1 else samples.reshape((1,) * (rank - 1) + (-1,))
        try:
            outputs = session.run(None, {wanted.name: feed.astype(np.float32)})
        except Exception as error:  # the runtime has no common error type
            raise ModelError(f"The model failed on 16 kHz mono samples: {_first_line(error)}") from error
        vectors = max(
            (np.asarray(out) for out in outputs if np.ndim(out) >= 2), key=lambda a: a.shape[-1], default=None
        )
        if vectors is None or not vectors.size:
            raise ModelError("The model returns no vectors over time.")
        parts.append(vectors.reshape(-1, vectors.shape[-1]))
        heard += _CHUNK_SECONDS
    frames = len(parts[0])
    return np.concatenate(parts).T.astype(np.float64), _CHUNK_SECONDS / frames


def _reduce(master: np.ndarray, dub: np.ndarray) -> list[np.ndarray]:
    """Both on the principal axes of the master, whitened, so that no single dimension decides."""
    mean = master.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.cov(master - mean) + 1e-9 * np.eye(len(master)))
    axes = vectors[:, ::-1][:, :_DIMENSIONS]
    return [_unit(axes.T @ (view - mean)) for view in (master, dub)]


def _unit(rows: np.ndarray) -> np.ndarray:
    change = np.diff(rows, axis=1, prepend=rows[:, :1])
    change -= change.mean(axis=1, keepdims=True)
    return change / np.maximum(change.std(axis=1, keepdims=True), 1e-6)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unknown reason"])[0][:200]
