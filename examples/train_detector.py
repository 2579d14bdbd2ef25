"""Train a detector on the published boxes of a project, with torchvision.

Usage: python examples/train_detector.py PROJECT [STORE] [--steps 20]

STORE is a folder or s3://…; without it, where the commands publish. Needs torch and torchvision beside Sheaf:
`pip install torch torchvision`. The boxes come from the COCO file of a split, the images from the store, each compared
with its sha256. A small network begins from nothing, so this shows how data get there, not what can be reached.
"""

import argparse
import io
import json
import zipfile
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.transforms.functional import pil_to_tensor

import sheaf


class Boxes(Dataset[tuple[torch.Tensor, dict[str, torch.Tensor]]]):
    """The images of a split that have boxes, as torchvision's detectors take them.

    Args:
        project: the partition.
        split: `train`, `val` or `test`.
        store: where it is published.
    """

    def __init__(self, project: str, split: str = "train", store: str | None = None) -> None:
        self.export = sheaf.open(f"annotations/{project}/detection", store)
        with zipfile.ZipFile(io.BytesIO(self.export.read())) as archive:
            coco = json.loads(archive.read(f"annotations/instances_{split}.json"))
        self.names = {category["id"]: category["name"] for category in coco["categories"]}
        drawn: dict[int, list[dict[str, Any]]] = {}
        for annotation in coco["annotations"]:
            drawn.setdefault(annotation["image_id"], []).append(annotation)
        self.items = [(image, drawn[image["id"]]) for image in coco["images"] if image["id"] in drawn]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image, drawn = self.items[index]
        pixels = Image.open(io.BytesIO(self.export.image(image["store_path"]))).convert("RGB")
        x, y, width, height = torch.tensor([one["bbox"] for one in drawn]).T
        target = {
            "boxes": torch.stack([x, y, x + width, y + height], dim=1),
            "labels": torch.tensor([one["category_id"] for one in drawn]),
        }
        return pil_to_tensor(pixels) / 255, target


def train(boxes: Boxes, steps: int) -> list[float]:
    """Train for some steps; the loss of each."""
    torch.manual_seed(1)
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=max(boxes.names) + 1)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    losses: list[float] = []
    while len(losses) < steps:
        for batch in DataLoader(boxes, batch_size=8, shuffle=True, collate_fn=list):
            images, targets = zip(*batch, strict=True)
            loss = torch.stack(list(network(images, targets).values())).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses[:steps]


def main() -> None:
    """Print what there is to train on, and how the loss falls."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("project")
    parser.add_argument("store", nargs="?")
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    boxes = Boxes(asked.project, store=asked.store)
    print(f"{boxes.export.name}: {len(boxes)} images to train on, classes {', '.join(boxes.names.values())}")
    losses = train(boxes, asked.steps)
    print(f"loss {losses[0]:.2f} in the first step, {losses[-1]:.2f} in the last of {asked.steps}")


if __name__ == "__main__":
    main()
