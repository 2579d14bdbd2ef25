"""Write a wav2vec 2.0 model as the ONNX file that `media.models` of sheaf.yaml can name.

    python deploy/export_onnx.py models/wav2vec2-base /srv/models/wav2vec2.onnx

Sheaf itself needs none of what this script needs, so give it an environment of its own:

    pip install torch transformers onnx onnxruntime

FOLDER is what `Wav2Vec2Model.save_pretrained` writes, or a model repository that was downloaded whole
(config.json and the weights); nothing is fetched here. Then, in sheaf.yaml:

    media:
      models: {wav2vec2: /srv/models/wav2vec2.onnx}

The file takes 16 kHz mono samples, float32 of shape (1, n), and returns the last hidden state, (1, frames,
dimensions), a vector every 20 ms for the usual models. Samples are brought to mean 0 and deviation 1 inside the
model, as its own feature extractor does. The export is run once with ONNX Runtime and compared with the
original before it gets its name.

YAMNet is a TensorFlow model and not exported here: bring an ONNX file of it.
"""

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

RATE = 16000
OPSET = 17
MOST_DIFFERENCE = 1e-2  # between the model and its export, for values of about 1


def main() -> None:
    """Read the arguments, export, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a wav2vec 2.0 model of transformers, on disk")
    parser.add_argument("target", metavar="FILE", type=Path, help="the .onnx file to write")
    asked = parser.parse_args()
    try:
        frames, dimensions, difference = export(asked.folder, asked.target)
    except (OSError, ValueError) as error:
        sys.exit(f"{asked.folder} was not exported: {error}")
    print(f"{asked.target}: 20 s give {frames} vectors of {dimensions}; off by {difference:.1e} at most")


def export(folder: Path, target: Path) -> tuple[int, int, float]:
    """Write the model of `folder` to `target`, which appears only when it is whole and right.

    Returns:
        Vectors for 20 s of sound, their dimensions, and the largest difference between the model and its export.

    Raises:
        OSError: a file is missing or cannot be written.
        ValueError: the folder holds another kind of model, or the export answers otherwise than the model.
    """
    if target.suffix != ".onnx":
        raise ValueError(f"{target} must end in .onnx.")
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "wav2vec2":
        raise ValueError(f"config.json says model_type {kind!r}, only 'wav2vec2' is exported.")

    import torch
    from transformers import Wav2Vec2Model

    class Embedding(torch.nn.Module):
        """Samples in, last hidden state out."""

        def __init__(self) -> None:
            super().__init__()
            # Other kinds of attention branch on what they see, which a trace cannot keep.
            self.model = Wav2Vec2Model.from_pretrained(str(folder), local_files_only=True, attn_implementation="eager")

        def forward(self, samples: torch.Tensor) -> torch.Tensor:
            centred = samples - samples.mean(dim=-1, keepdim=True)
            scaled = centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + 1e-7)
            return self.model(scaled).last_hidden_state

    model = Embedding().eval()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as name, torch.no_grad():
        partial = Path(name) / target.name
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the tracer doubts every Python condition, and this exporter is the old one
            torch.onnx.export(
                model,
                (torch.randn(1, 5 * RATE),),
                str(partial),
                input_names=["samples"],
                output_names=["embeddings"],
                dynamic_axes={"samples": {1: "n"}, "embeddings": {1: "frames"}},
                opset_version=OPSET,
                dynamo=False,  # one file, weights included, for models up to 2 GB
            )
        made = sorted(path.name for path in Path(name).iterdir())
        if made != [target.name]:
            raise ValueError(f"the model is too large for one file ({len(made)} were needed).")
        frames, dimensions, difference = _compare(model, partial)
        if not difference <= MOST_DIFFERENCE:
            raise ValueError(f"the export answers otherwise than the model, by up to {difference:g}.")
        partial.replace(target)
    return frames, dimensions, difference


def _compare(model, path: Path) -> tuple[int, int, float]:
    """Run both on 20 s of noise, the length Sheaf uses and not the one that was traced."""
    import onnxruntime
    import torch

    samples = torch.randn(1, 20 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = model(samples).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["embeddings"], {"samples": samples.numpy()})[0]
    if found.shape != expected.shape:
        raise ValueError(f"the export returns the shape {found.shape}, the model {expected.shape}.")
    return found.shape[1], found.shape[2], float(abs(found - expected).max())


if __name__ == "__main__":
    main()
