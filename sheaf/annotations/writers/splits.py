"""How a project is split: what is in each split, and how it could be split evenly."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from sheaf.annotations import schema
from sheaf.annotations.analysis.near import near_pairs
from sheaf.annotations.writers.request import SPLITS
from sheaf.annotations.writers.selection import NO_SPLIT, image_splits
from sheaf.errors import UsageError
from sheaf.tables.pinned import Tables

CONFLICT = "several"
_NAMES = (NO_SPLIT, "train", "val", CONFLICT, "test", CONFLICT, CONFLICT, CONFLICT)  # by the bits of the splits


@dataclass(frozen=True)
class Homes:
    """Where the images of a project are, by path.

    Attributes:
        image_ids: the images.
        splits: the split of each, `none`, or `several` where its tasks are of different ones.
        leaking: whether its bytes are also in another split.
        near: whether a picture that is nearly the same, but of other bytes, is in another split.
        without_file: how many are in a split but have no file, so that copies of them cannot be seen.
    """

    image_ids: list[str]
    splits: list[str]
    leaking: list[bool]
    near: list[bool]
    without_file: int


def homes(tables: Tables) -> Homes:
    """Find out in which splits the images of a project, and their bytes, are."""
    images = tables.read(schema.IMAGES, ["image_id", "sha256", "split", "near"])
    splits = [_NAMES[bits] for bits in image_splits(tables, images, None).tolist()]
    digests = images["sha256"].to_pylist()
    of_digest: dict[str, set[str]] = {}
    for digest, split in zip(digests, splits, strict=True):
        if digest and split in SPLITS:
            of_digest.setdefault(digest, set()).add(split)
    placed = list(zip(digests, splits, strict=True))
    return Homes(
        images["image_id"].to_pylist(),
        splits,
        [split in SPLITS and len(of_digest.get(digest, ())) > 1 for digest, split in placed],
        _near(images["near"].to_pylist(), digests, splits),
        sum(digest is None and split in SPLITS for digest, split in placed),
    )


def _near(hashes: list[int | None], digests: list[str | None], splits: list[str]) -> list[bool]:
    found = [False] * len(splits)
    for one, other in near_pairs(hashes):
        apart = splits[one] != splits[other] and {splits[one], splits[other]} <= set(SPLITS)
        if apart and digests[one] != digests[other]:
            found[one] = found[other] = True
    return found


def split_statistics(tables: Tables) -> list[dict[str, Any]]:
    """One row per split (also `none` and `several`): images, boxes, masks, and images that another split has as well.

    `leaking` are those of the same bytes, `near` those of nearly the same picture.
    """
    found = homes(tables)
    by_image = dict(zip(found.image_ids, found.splits, strict=True))
    counts = {name: Counter[str]() for name in ("images", "boxes", "masks", "leaking", "near")}
    counts["images"].update(found.splits)
    for name, table in (("boxes", schema.DETECTIONS), ("masks", schema.SEGMENTATIONS)):
        for batch in tables.batches(table, ["image_id"]):
            counts[name].update(by_image[image] for image in batch.column("image_id").to_pylist())
    counts["leaking"].update(split for split, leaks in zip(found.splits, found.leaking, strict=True) if leaks)
    counts["near"].update(split for split, near in zip(found.splits, found.near, strict=True) if near)
    return [
        {"split": split, **{name: counted[split] for name, counted in counts.items()}}
        for split in (*SPLITS, NO_SPLIT, CONFLICT)
        if counts["images"][split] or split in SPLITS
    ]


def leak_warnings(splits: list[dict[str, Any]]) -> list[str]:
    """What statistics of the splits say of images that are in several."""
    warnings = []
    leaking, near = (sum(row[name] for row in splits) for name in ("leaking", "near"))
    several = sum(row["images"] for row in splits if row["split"] == CONFLICT)
    if leaking:
        warnings.append(f"{leaking} images have the same bytes as one in another split.")
    if near:
        warnings.append(f"{near} images are nearly the same picture as one in another split.")
    if several:
        warnings.append(f"{several} images are in tasks of different splits.")
    return warnings


def suggest_splits(  # noqa: C901 - one algorithm
    tables: Tables, shares: Mapping[str, float], group_by: str | None = None, *, keep: bool = False
) -> dict[str, str]:
    """A split for every image, so that each label is shared out as `shares` says as nearly as possible.

    Images of the same bytes or of nearly the same picture stay together. Iterative stratification: the label with
    the fewest images left is dealt first, each image to the split that lacks that label most.
    Source: Sechidis, Tsoumakas, Vlahavas (2011), https://doi.org/10.1007/978-3-642-23808-6_10.

    Args:
        shares: parts by split, such as `{"train": 0.8, "val": 0.1, "test": 0.1}`; they are scaled to 1.

        group_by: what else stays together: images of one `folder`, of one `capture` (what their source says in
            `date_captured`), or with the same tag of a category (`tag:<category>`).
        keep: leave images that are in a split where they are; what belongs to them joins them.

    Returns:
        Split by image path.

    Raises:
        UsageError: `group_by` is none of these, or a share is no positive number.
    """
    if not shares or min(shares.values()) < 0 or sum(shares.values()) <= 0:
        raise UsageError("Shares must be positive numbers, such as train=0.8,val=0.1,test=0.1.")
    groups = _groups(tables, group_by)
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
    now = _assigned(tables) if keep else {}

    def place(position: int, label: Any) -> None:
        lack = lacking.get(label, {})
        split = max(parts, key=lambda name: (lack.get(name, 0.0), room[name], name))
        chosen[position] = split
        room[split] -= len(groups[position][0])
        for other in groups[position][1]:
            lacking[other][split] -= 1

    for position, (paths, labels) in enumerate(groups):
        if home := next((now[path] for path in paths if path in now), None):
            chosen[position] = home
            if home in room:
                room[home] -= len(paths)
                for label in labels:
                    lacking[label][home] -= 1
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


def _assigned(tables: Tables) -> dict[str, str]:
    """The splits that images are in, by path."""
    paths = tables.read(schema.IMAGES, ["file_path"])["file_path"].to_pylist()
    return {path: split for path, split in zip(paths, homes(tables).splits, strict=True) if split in SPLITS}


def _groups(tables: Tables, group_by: str | None) -> list[tuple[Sequence[str], list[str]]]:
    """Images that must stay together, with the labels on them; by the first path."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = tables.read(schema.IMAGES).to_pylist()
    labels: dict[str, set[str]] = {}
    for table in (schema.DETECTIONS, schema.SEGMENTATIONS, schema.IMAGE_LABELS):
        for row in tables.read(table, ["image_id", "label_id"]).to_pylist():
            labels.setdefault(row["image_id"], set()).add(row["label_id"])
    pairs = [*near_pairs([image["near"] for image in images])]
    for keys in ([image["sha256"] for image in images], _keys_of(tables, images, group_by)):
        first: dict[Any, int] = {}
        pairs += [(first.setdefault(key, position), position) for position, key in enumerate(keys) if key is not None]
    ones, others = zip(*pairs, strict=True) if pairs else ((), ())
    links = coo_array((np.ones(len(pairs), np.int8), (ones, others)), shape=(len(images), len(images)))
    belongs = connected_components(links, directed=False)[1].tolist() if images else []
    groups: dict[int, tuple[list[str], set[str]]] = {}
    for position, image in enumerate(images):
        paths, found = groups.setdefault(belongs[position], ([], set()))
        paths.append(image["file_path"])
        found |= labels.get(image["image_id"], set())
    return [(paths, sorted(found)) for paths, found in groups.values()]


def _keys_of(tables: Tables, images: list[dict[str, Any]], group_by: str | None) -> list[Any]:
    """What images of one group have in common; None for an image of no group."""
    kind, _, category = (group_by or "").partition(":")
    if not group_by:
        return [None] * len(images)
    if group_by == "folder":
        return [image["file_path"].rpartition("/")[0] for image in images]
    if group_by == "capture":
        return [orjson.loads(image["extra"] or "{}").get("date_captured") for image in images]
    tags = {row["tag_id"] for row in tables.read(schema.TAGS).to_pylist() if row["category"] == category}
    if kind != "tag" or not tags:
        raise UsageError(f"Images cannot be grouped by {group_by!r}: use folder, capture or tag:<category>.")
    having = {
        row["image_id"]: row["tag_id"] for row in tables.read(schema.IMAGE_TAGS).to_pylist() if row["tag_id"] in tags
    }
    return [having.get(image["image_id"]) for image in images]
