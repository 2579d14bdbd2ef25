"""What people ask of a media batch before they look at its results: its facts, tags, methods and models.

Not here: what a CSV may say (`readers/batch_csv`), nor how it is listed (`sheaf/choices.py`).
"""

from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from sheaf.errors import NotFoundError, StoreError
from sheaf.media import schema
from sheaf.media.batch_record import read_record
from sheaf.media.methods import Method, Model
from sheaf.media.settings import MediaSettings
from sheaf.tables.pinned import Tables

_ENDS = ("completed", "no_match", "failed")
TABLES = (schema.BATCHES, schema.PAIRS, schema.RESULTS)
METHODS = {
    Method.MFCC: "mel-frequency cepstral coefficients: timbre, the usual choice",
    Method.ONSET: "onsets: music, percussion, cuts",
    Method.SPECTRAL: "spectral shape: ambience and effects",
    Method.CORRELATION: "the waveform itself: identical recordings",
    Method.AI: "embeddings of a model: re-recorded or processed sound",
}


def facts(tables: Tables) -> dict[str, Any]:
    """The CSV it came from, what was said about it, where it is, and how its pairs ended."""
    columns = ["csv_file", "description", "priority", "items_total"]
    batch = tables.row(schema.BATCHES, columns)
    ended: dict[str, Any] = {}
    if schema.RESULTS in tables:
        statuses = Counter(tables.read(schema.RESULTS, ["status"])["status"].to_pylist())
        ended = {one: statuses[one] for one in _ENDS}
    with suppress(NotFoundError, StoreError):  # without its record a batch is known by its tables
        record = read_record(tables.store, tables.partition)
        batch |= {"status": record.status.value, "progress": f"{record.progress:g} %"}
        if record.estimated_completion:
            batch["estimated_completion"] = record.estimated_completion.replace(microsecond=0)
        ended = {one: getattr(record, f"items_{one}") for one in _ENDS}
    return batch | ended


def values(tables: Tables) -> dict[str, dict[str, str]]:
    """The tags of its pairs."""
    tags: Counter[str] = Counter()
    for names in tables.read(schema.PAIRS, ["tags"])["tags"].to_pylist():
        tags.update(names)
    return {"tags": {name: f"{count} pairs" for name, count in sorted(tags.items())}}


def of_site(settings: MediaSettings) -> dict[str, dict[str, str]]:
    """What a CSV may ask for on this machine: methods, and models with whether they are installed."""
    return {"methods": {str(method): meaning for method, meaning in METHODS.items()}, "ai_model": _models(settings)}


def installed(model: Model, settings: MediaSettings) -> bool:
    """Whether a model can be used: its file is set and there, and what runs it is installed."""
    if model is Model.SPECTRAL:
        return True
    path = settings.models.get(model)
    return path is not None and path.is_file() and find_spec("onnxruntime") is not None


def _models(settings: MediaSettings) -> dict[str, str]:
    found = {}
    for model in Model:
        path = settings.models.get(model)
        if model is Model.SPECTRAL:
            found[str(model)] = "built in"
        elif path is None:
            found[str(model)] = f"not installed: set `media.models.{model}` to its ONNX file"
        elif not path.is_file():
            found[str(model)] = f"not installed: {path} does not exist"
        elif not installed(model, settings):
            found[str(model)] = "not installed: it needs onnxruntime (the extra `ai`)"
        else:
            found[str(model)] = "installed"
    return found
