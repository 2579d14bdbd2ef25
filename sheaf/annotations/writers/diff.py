"""What changed between two exports of annotations: images and annotations added, removed, changed.

Exports number their images and annotations anew, so images are compared by split and path, and
annotations by what they say. Not here: filters, options and files (`sheaf.exports.diff`).
"""

import csv
import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from sheaf.annotations.writers.classification import HEADER, MANIFEST
from sheaf.annotations.writers.coco_lines import read_lines
from sheaf.annotations.writers.report import REPORT
from sheaf.errors import NotFoundError
from sheaf.exports.zips import opened


def diff_annotations(folder_a: Path, folder_b: Path) -> dict[str, Any]:
    """Compare the ZIPs of two exports of one series.

    Args:
        folder_a: holds the files of the earlier export.
        folder_b: holds the files of the later one.

    Returns:
        `images` and `annotations`, each with the numbers `added`, `removed` and `changed`, and
        `added_images`, `removed_images`, `changed_images`: paths, at most 100 of each. An image is
        changed when its size, split or any annotation on it differs; of annotations of one label that
        differ on one image, as many as both versions have there count as changed.

    Raises:
        NotFoundError: a folder holds no export of this domain.
    """
    old, new = _read(folder_a), _read(folder_b)
    annotations = Counter(added=0, removed=0, changed=0)
    changed = []
    for path in old.keys() & new.keys():
        before, after = old[path], new[path]
        if before != after:
            changed.append(path)
        annotations.update(_compare(before[1], after[1]))
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    annotations["added"] += sum(new[path][1].total() for path in added)
    annotations["removed"] += sum(old[path][1].total() for path in removed)
    return {
        "images": {"added": len(added), "removed": len(removed), "changed": len(changed)},
        "annotations": dict(annotations),
        "added_images": added[:100],
        "removed_images": removed[:100],
        "changed_images": sorted(changed)[:100],
    }


# Of an image: its size and split, and its annotations as (label, digest of the rest), counted.
_Image = tuple[tuple[Any, ...], Counter[tuple[str, str]]]


def _read(folder: Path) -> dict[str, _Image]:
    found = sorted(folder.glob("*.zip"))
    if len(found) != 1:
        raise NotFoundError(f"{folder} holds no export of annotations.")
    images: dict[str, _Image] = {}
    with opened(found[0]) as archive:
        names = archive.namelist()
        for name in names:
            if name.startswith("annotations/"):
                _read_coco(archive, name, images)
        if MANIFEST in names:
            with io.TextIOWrapper(archive.open(MANIFEST), encoding="utf-8", newline="") as text:
                for row in csv.DictReader(text):
                    path, label, split = (row[column] for column in HEADER)
                    images[path] = (split,), Counter([(label, "")] if label else [])
        elif not images:
            report = orjson.loads(archive.read(REPORT))
            classes = {folder: name for name, folder in report["class_folders"].items()}
            for name in names:
                if name != REPORT:
                    split, label, file = name.split("/")
                    images[file] = (split,), Counter([(classes[label], "")])
    return images


def _read_coco(archive: zipfile.ZipFile, name: str, images: dict[str, _Image]) -> None:
    labels: dict[int, str] = {}
    paths: dict[int, str] = {}
    split = name.removeprefix("annotations/instances").removeprefix("_").removesuffix(".json")
    with archive.open(name) as stream:
        for section, item in read_lines(stream, name):
            if section == "categories":
                labels[item["id"]] = item["name"]
            elif section == "images":
                paths[item["id"]] = item["file_name"]
                facts = (item["width"], item["height"], split or item.get("split"))
                images[item["file_name"]] = facts, Counter()
            else:
                rest = {key: value for key, value in item.items() if key not in ("id", "image_id", "category_id")}
                digest = hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
                images[paths[item["image_id"]]][1][labels[item["category_id"]], digest] += 1


def _compare(before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]) -> dict[str, int]:
    """Annotations of one image: what only one version has is changed where the other has its label as well."""
    gone: Counter[str] = Counter()
    come: Counter[str] = Counter()
    for rest, counted in ((before - after, gone), (after - before, come)):
        for (label, _), count in rest.items():
            counted[label] += count
    changed = (gone & come).total()
    return {"added": come.total() - changed, "removed": gone.total() - changed, "changed": changed}
