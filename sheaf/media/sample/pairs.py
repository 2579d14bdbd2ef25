"""Sample pairs for the demo: a media batch as a dubbing studio would have left it in the inbox.

Five short pairs with one story each, the CSV that names them and the batch's options. Fixed seeds:
every run writes the same bytes.
"""

import csv
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sheaf.errors import UsageError
from sheaf.media.sample.synthesis import RATE, Scene, scene, shifted, stretched

_NAME = "harbour_dubs"
_SECONDS = 24


@dataclass(frozen=True)
class _Pair:
    name: str
    description: str
    methods: str
    tags: str


_PAIRS = (
    _Pair("arrival", "Dub 1.208 s late", "mfcc,onset", "demo,offset"),
    _Pair("night_watch", "Foreign voices over the same music, 0.48 s early", "onset,spectral,ai", "demo,language"),
    _Pair("regatta", "Played 300 millionths too fast by a free-running recorder", "", "demo,drift"),
    _Pair("lighthouse", "2.5 s cut out of the dub", "mfcc,onset,spectral", "demo,edit"),
    _Pair("wrong_reel", "The dub of another programme", "mfcc,onset,spectral", "demo,unrelated"),
)


def write(inbox: Path) -> list[str]:
    """Write the batch into `inbox/media`.

    Returns:
        Names of the CSV files, without folder.

    Raises:
        UsageError: there is such a batch already.
    """
    folder = inbox / "media"
    sheet = folder / f"{_NAME}.csv"
    if sheet.exists():
        raise UsageError(f"{sheet} exists already: the sample is only written where nothing is lost.")
    media = folder / _NAME
    media.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(_PAIRS):
        programme = scene(_SECONDS, 7, number)
        _write_wave(media / f"{pair.name}_master.wav", programme.mix)
        _write_wave(media / f"{pair.name}_dub.wav", _dub(pair.name, programme, np.random.default_rng((8, number))))
    (folder / f"{_NAME}.yaml").write_text(
        "description: Harbour series, evening dubs\npriority: normal\nparallel_jobs: 2\n", encoding="utf-8"
    )
    with sheet.open("w", encoding="utf-8", newline="") as file:  # last: it announces what is complete
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["master_file", "dub_file", "methods", "ai_model", "description", "tags"])
        for pair in _PAIRS:
            model = "wav2vec2" if "ai" in pair.methods else ""
            files = [f"{_NAME}/{pair.name}_{which}.wav" for which in ("master", "dub")]
            writer.writerow([*files, pair.methods, model, pair.description, pair.tags])
    return [sheet.name]


def _dub(name: str, programme: Scene, rng: np.random.Generator) -> np.ndarray:
    if name == "arrival":
        return shifted(programme.mix, -1.208, rng)
    if name == "night_watch":
        return shifted(programme.effects + programme.foreign(10), 0.48, rng)
    if name == "regatta":
        return stretched(programme.mix, 1.0003)
    if name == "lighthouse":
        cut, gap = 11 * RATE, round(2.5 * RATE)
        return shifted(np.concatenate([programme.mix[:cut], programme.mix[cut + gap :]]), -0.6, rng)
    return scene(_SECONDS, 9).mix


def _write_wave(path: Path, samples: np.ndarray) -> None:
    """16-bit PCM at half the rate of synthesis, by averaging neighbours; enough for a demo."""
    half = samples[: len(samples) // 2 * 2].reshape(-1, 2).mean(axis=1)
    peak = max(float(np.max(np.abs(half))), 1e-9)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE // 2)
        file.writeframes((half / peak * 0.89 * 32767).astype("<i2").tobytes())
