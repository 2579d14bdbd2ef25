"""How a project is split: what is in each split, and how it could be split evenly."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sheaf import tables
from sheaf.annotations import schema, snapshots
from sheaf.annotations.requests import SPLITS
from sheaf.annotations.selection import NO_SPLIT, image_splits
from sheaf.store import Store

CONFLICT = "several"
_NAMES = (NO_SPLIT, "train", "val", CONFLICT, "test", CONFLICT, CONFLICT, CONFLICT)  # by the bits of the splits


def split_statistics(store: Store, project: str) -> list[dict[str, Any]]:
    """One row per split (also `none` and `several`): images, boxes, masks, and images whose bytes another split has."""
    current = snapshots.current(store, project)
    images = current.read(schema.IMAGES, ["image_id", "sha256"])
    splits = [_NAMES[bits] for bits in image_splits(current, images, None).tolist()]
    by_image = dict(zip(images["image_id"].to_pylist(), splits, strict=True))
    homes: dict[str, set[str]] = {}
    for digest, split in zip(images["sha256"].to_pylist(), splits, strict=True):
        if digest and split in SPLITS:
            homes.setdefault(digest, set()).add(split)
    counts = {name: Counter[str]() for name in ("images", "boxes", "masks", "leaking")}
    counts["images"].update(splits)
    for name, table in (("boxes", schema.DETECTIONS), ("masks", schema.SEGMENTATIONS)):
        for batch in current.batches(table, ["image_id"]):
            counts[name].update(by_image[image] for image in batch.column("image_id").to_pylist())
    counts["leaking"].update(
        split
        for digest, split in zip(images["sha256"].to_pylist(), splits, strict=True)
        if split in SPLITS and len(homes.get(digest, ())) > 1
    )
    return [
        {"split": split, **{name: counted[split] for name, counted in counts.items()}}
        for split in (*SPLITS, NO_SPLIT, CONFLICT)
        if counts["images"][split] or split in SPLITS
    ]


def suggest_splits(store: Store, project: str, shares: Mapping[str, float]) -> dict[str, str]:
    """A split for every image, so that each label is shared out as `shares` says as nearly as possible.

    Images with the same bytes stay together. Iterative stratification: the label with the fewest
    images left is dealt first, each image to the split that lacks that label most.
    Source: Sechidis, Tsoumakas, Vlahavas (2011), https://doi.org/10.1007/978-3-642-23808-6_10.

    Args:
        shares: parts by split, such as `{"train": 0.8, "val": 0.1, "test": 0.1}`; they are scaled to 1.

    Returns:
        Split by image path.
    """
    groups = _groups(store, project)
    total = sum(shares.values())
    parts = {split: share / total for split, share in shares.items()}
    number = sum(len(paths) for paths, _ in groups)
    room = {split: part * number for split, part in parts.items()}
    frequency = Counter(label for _, labels in groups for label in labels)
    lacking = {label: {split: part * count for split, part in parts.items()} for label, count in frequency.items()}
    having: dict[Any, list[int]] = {}
    for position, (_, labels) in enumerate(groups):
        for label in labels:
            having.setdefault(label, []).append(position)
    chosen: dict[int, str] = {}

    def place(position: int, label: Any) -> None:
        lack = lacking.get(label, {})
        split = max(parts, key=lambda name: (lack.get(name, 0.0), room[name], name))
        chosen[position] = split
        room[split] -= len(groups[position][0])
        for other in groups[position][1]:
            lacking[other][split] -= 1

    left = [(count, str(label), label) for label, count in frequency.items()]
    heapq.heapify(left)
    while left:
        count, key, label = heapq.heappop(left)
        open_positions = [position for position in having[label] if position not in chosen]
        if len(open_positions) != count and open_positions:
            heapq.heappush(left, (len(open_positions), key, label))
            having[label] = open_positions
            continue
        for position in open_positions:
            place(position, label)
    for position in range(len(groups)):
        if position not in chosen:
            place(position, None)
    return {path: chosen[position] for position, (paths, _) in enumerate(groups) for path in paths}


def _groups(store: Store, project: str) -> list[tuple[Sequence[str], list[str]]]:
    """Images that must stay together, with the labels on them; by path."""
    images = tables.read(store, schema.IMAGES, project, ["image_id", "file_path", "sha256"]).to_pylist()
    labels: dict[str, set[str]] = {}
    for table in (schema.DETECTIONS, schema.SEGMENTATIONS, schema.IMAGE_LABELS):
        for row in tables.read(store, table, project, ["image_id", "label_id"]).to_pylist():
            labels.setdefault(row["image_id"], set()).add(row["label_id"])
    groups: dict[str, tuple[list[str], set[str]]] = {}
    for image in images:
        paths, found = groups.setdefault(image["sha256"] or image["image_id"], ([], set()))
        paths.append(image["file_path"])
        found |= labels.get(image["image_id"], set())
    return [(paths, sorted(found)) for paths, found in groups.values()]
