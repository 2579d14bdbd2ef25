"""A COCO dataset as a project: `coco/instances_<split>.json` beside `images/`, each split a task.

An annotation with a mask becomes a box and a mask of one object. Two files may use one image name
for two images (each in `images/<split>/`); the same annotation id in two files is no clash.

Format: https://cocodataset.org/#format-data
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from sheaf.annotations.paths import unsafe_path
from sheaf.annotations.rows import Row, Source
from sheaf.errors import InputError
from sheaf.tables import Rejects

_FILE = re.compile(r"instances(?:_(.+))?\.json")
_SPLIT = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def is_coco(folder: Path) -> bool:
    """Whether the project comes as COCO files."""
    return (folder / "coco").is_dir()


def coco_source(folder: Path, rejects: Rejects) -> Source:
    """The tables of a COCO dataset.

    Raises:
        InputError: there is no `instances_<split>.json`, or one of them is not COCO.
    """
    files = {path: _load(path) for path in sorted((folder / "coco").iterdir()) if _FILE.fullmatch(path.name)}
    if not files:
        raise InputError(f"{folder / 'coco'} holds no instances_<split>.json: put the COCO files there.")
    dataset = _Dataset(folder, {path.name: document for path, document in files.items()}, rejects)
    tables = {
        "tasks": dataset.tasks,
        "labels": dataset.labels,
        "images": dataset.images,
        "detections": dataset.detections,
        "segmentations": dataset.segmentations,
        "keypoints": dataset.keypoints,
    }
    return Source(lambda table: tables[table]() if table in tables else iter(()), folder / "images", pixels=True)


def _load(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON ({error}): export it again.") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in lists):
        raise InputError(f"{path} is not a COCO file: it must hold the lists images, annotations and categories.")
    return document


class _Dataset:
    def __init__(self, folder: Path, documents: dict[str, dict[str, Any]], rejects: Rejects) -> None:
        self._folder, self._documents, self._rejects = folder / "images", documents, rejects

    def _items(self, kind: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """File, number in its list, and item; what is no object is rejected."""
        for name, document in self._documents.items():
            for number, item in enumerate(document[kind], 1):
                if isinstance(item, dict):
                    yield name, number, item
                else:
                    self._rejects.add(kind, f"{kind} holds something that is no object", file=name, raw=item)

    def tasks(self) -> Iterator[Row]:
        for name, document in self._documents.items():
            splits = {_own_split(item) for item in document["images"] if isinstance(item, dict)}
            for split in sorted(splits, key=str):
                task = _task(name, split)
                yield Row({"id": task, "name": task, "split": _SPLIT.get(split or _split_name(name))}, name)

    def labels(self) -> Iterator[Row]:
        seen: dict[str, Any] = {}
        for name, number, item in self._items("categories"):
            key = str(item.get("id"))
            if key in seen:
                if seen[key] != item.get("name"):
                    raise InputError(
                        f"{name}: category {key} is {item.get('name')!r} here and {seen[key]!r} before: make the "
                        "categories of all splits the same."
                    )
                continue
            seen[key] = item.get("name")
            order = item.get("id") if isinstance(item.get("id"), int) else None
            yield Row({**item, "sort_order": order, "supercategory": item.get("supercategory") or ""}, name, number)

    def images(self) -> Iterator[Row]:
        owners: dict[Any, set[str]] = {}
        for name, _, item in self._items("images"):
            owners.setdefault(str(item.get("file_name")), set()).add(name)
        for name, number, item in self._items("images"):
            path = str(item.get("file_name") or "")
            nested = [f"{_folder(name)}/{path}", f"{_split_name(name)}/{path}"]
            location = next((place for place in nested if self._is_file(place)), path)
            if location != path and len(owners[path]) > 1:
                path = nested[1]  # the same name in two splits, each with its own file
            values = {
                "id": _key(name, item.get("id")),
                "file_path": path,
                "location": location,
                "task_id": _task(name, _own_split(item)),
                "width": item.get("width"),
                "height": item.get("height"),
            }
            yield Row(values, name, number)

    def _is_file(self, path: str) -> bool:
        return unsafe_path(path) is None and (self._folder / path).is_file()

    def detections(self) -> Iterator[Row]:
        for name, number, item in self._items("annotations"):
            bbox = item.get("bbox")
            if bbox is None and item.get("segmentation"):
                continue  # the mask says it all
            values = _common(name, item)
            if item.get("segmentation"):
                values["segmentation_id"] = values["id"]
            if isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(part, int | float) for part in bbox):
                x, y, width, height = bbox
                values |= {"x_min": x, "y_min": y, "x_max": x + width, "y_max": y + height}
            yield Row(values, name, number)

    def segmentations(self) -> Iterator[Row]:
        for name, number, item in self._items("annotations"):
            shape = item.get("segmentation")
            if not shape:
                continue
            values = _common(name, item) | {"bbox": item.get("bbox"), "area": item.get("area")}
            values["rle" if isinstance(shape, dict) else "polygon"] = shape
            if item.get("bbox") is not None:
                values["detection_id"] = values["id"]
            yield Row(values, name, number)

    def keypoints(self) -> Iterator[Row]:
        for name, number, item in self._items("annotations"):
            if item.get("keypoints"):
                yield Row({"image_id": _key(name, item.get("image_id"))}, name, number)


def _common(name: str, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _key(name, item.get("id")),
        "image_id": _key(name, item.get("image_id")),
        "label_id": item.get("category_id"),
        "iscrowd": item.get("iscrowd") or False,
        "confidence": item.get("score"),
        "attributes": item.get("attributes"),
        "source": "import",
    }


def _folder(name: str) -> str:
    """`train2017` of `instances_train2017.json`."""
    match = _FILE.fullmatch(name)
    return (match[1] if match else None) or ""


def _split_name(name: str) -> str:
    """`train` of `instances_train2017.json`; a name that is no split stays as it is."""
    plain = re.sub(r"\d+$", "", _folder(name).lower())
    return plain if plain in _SPLIT else _folder(name)


def _own_split(item: dict[str, Any]) -> str | None:
    """The split that an image of a single-file export names itself."""
    split = item.get("split")
    return split if isinstance(split, str) and split in _SPLIT else None


def _task(name: str, split: str | None) -> str:
    return split or _split_name(name) or "all"


def _key(name: str, value: Any) -> str | None:
    """Ids are unique in a file only, so they carry its split."""
    return None if value is None else f"{_split_name(name) or 'all'}:{value}"
