"""Datumaro's own JSON as COCO documents: `annotations/<subset>.json` beside `images/<subset>/`, often below `dataset/`.

Boxes, polygons, masks, ellipses and points are objects; those of one group and label are one object, as Datumaro itself
takes them. A label is one of the whole image, a caption is kept with the image.

Format: https://open-edge-platform.github.io/datumaro/latest/docs/data-formats/formats/datumaro.html.
Not here: what becomes of a COCO document (`coco`).
"""

import re
from pathlib import Path
from typing import Any

import orjson

from sheaf.annotations.findings import NOT_AN_OBJECT, Finding
from sheaf.annotations.readers.builder import Builder
from sheaf.annotations.readers.coco import MOST_BYTES, SPLIT, Document
from sheaf.annotations.readers.coco_annotations import TURNED_BY
from sheaf.annotations.readers.geometry import ELLIPSE, ellipse
from sheaf.annotations.readers.paths import unsafe_path
from sheaf.errors import InputError
from sheaf.outside.files import find, open_file, read_bytes, top_files
from sheaf.outside.json_lists import loads
from sheaf.tables.rejects import Rejects

_FOLDERS = ("dataset", ".")
_HEAD = 1024 * 1024
_OWN = re.compile(rb'"dm_format_version"\s*:|"categories"\s*:\s*\{')  # COCO's categories are a list
_NO_IMAGE = Finding("no_file_named", "it has neither an id nor an image with a path")
_NO_LABEL = Finding("unknown_label", "its label_id is none of the labels in categories")
_NO_SHAPE = Finding(
    "no_shape", "Sheaf reads labels, boxes, polygons, masks, ellipses, points and captions of Datumaro only"
)
_SHAPES = ("bbox", "polygon", "mask", "ellipse", "points")
_Item = dict[str, Any]


def datumaro_root(folder: Path) -> Path | None:
    """The folder that holds `annotations/` and `images/` of a Datumaro dataset; None where there is none."""
    return next((folder / name for name in _FOLDERS if _files(folder / name)), None)


def datumaro_documents(root: Path, rejects: Rejects) -> list[Document]:
    """Each subset as a COCO document.

    Raises:
        InputError: a file is not JSON of Datumaro.
    """
    contents = [(path, _load(path)) for path in _files(root)]
    names: dict[str, int] = {}
    about: dict[str, _Item] = {}
    for _, content in contents:
        for label, of_label in _labels(content).items():
            names.setdefault(label, len(names) + 1)
            about.setdefault(label, {}).update(of_label)
    documents = []
    for path, content in contents:
        reader = _Reader(root, path, content, Builder(names, about=about), rejects)
        for number, item in enumerate(content["items"], 1):
            reader.read(item, number)
        built = reader.builder
        documents.append(Document(root, path, built.document, built.labels_of_images))
    return documents


def _files(root: Path) -> list[Path]:
    if not (root / "annotations").is_dir():
        return []
    return [path for path in top_files(root / "annotations") if path.suffix.lower() == ".json" and _is_own(path)]


def _is_own(path: Path) -> bool:
    with open_file(path) as file:
        return _OWN.search(file.read(_HEAD)) is not None


def _load(path: Path) -> _Item:
    try:
        content = loads(read_bytes(path, MOST_BYTES).removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON ({error}): export it again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("items"), list):
        raise InputError(f"{path} is not a file of Datumaro: it must hold the list items.")
    return content


def _labels(content: _Item) -> dict[str, _Item]:
    """Names of the labels in the order of their ids, with what else is said of each."""
    categories = _object(content.get("categories"))
    found: dict[str, _Item] = {}
    for label in _list(_object(categories.get("label")).get("labels")):
        parent = label.get("parent")
        found[str(label.get("name"))] = {"supercategory": parent} if parent else {}
    names = list(found)
    for points in _list(_object(categories.get("points")).get("items")):
        if (name := _at(names, points.get("label_id"))) is not None:
            found[name] |= {"keypoints": points.get("labels") or [], "skeleton": points.get("joints") or []}
    return found


class _Reader:
    """Reads one subset, item by item."""

    def __init__(self, root: Path, path: Path, content: _Item, builder: Builder, rejects: Rejects) -> None:
        self.builder = builder
        self._root, self._file, self._subset, self._rejects = root, path.name, path.stem, rejects
        self._names = list(_labels(content))

    def read(self, item: Any, number: int) -> None:
        """One image, with all that is said of it."""
        if not isinstance(item, dict):
            self._reject("images", NOT_AN_OBJECT, number, item)
            return
        picture = _object(item.get("image"))
        name = picture.get("path") or (f"{item['id']}.jpg" if item.get("id") else None)
        if not name:
            self._reject("images", _NO_IMAGE, number, item)
            return
        every = _list(item.get("annotations"))
        captions = [one.get("caption") for one in every if one.get("type") == "caption"]
        extra = {"datumaro_id": item.get("id"), **_object(item.get("attr")), "captions": captions}
        if not captions:
            del extra["captions"]
        split = SPLIT.get(self._subset.lower())
        image = self.builder.image(self._place(str(name)), _size(picture.get("size")), split, extra)
        self._annotations(image, [one for one in every if one.get("type") != "caption"], number)

    def _annotations(self, image: int, every: list[_Item], number: int) -> None:
        groups: dict[Any, list[_Item]] = {}
        for at, one in enumerate(every):
            label, kind = _at(self._names, one.get("label_id")), one.get("type")
            if kind != "label" and kind not in _SHAPES:
                self._reject("detections", _NO_SHAPE, number, one)
            elif label is None:
                self._reject("image_labels" if kind == "label" else "detections", _NO_LABEL, number, one)
            elif kind == "label":
                self.builder.label(image, label)
            else:
                groups.setdefault((label, one["group"]) if one.get("group") else (label, None, at), []).append(one)
        for (label, *_), group in groups.items():
            for values, attributes in self._objects(group, number):
                self.builder.annotation(image, label, values, attributes)

    def _place(self, name: str) -> str:
        """The path below `images/`, where newer versions have a folder for each subset."""
        nested = f"{self._subset}/{name}"
        return nested if unsafe_path(nested) is None and find(self._root, f"images/{nested}") else name

    def _objects(self, group: list[_Item], number: int) -> list[tuple[_Item, _Item]]:
        """The objects of a group in COCO's terms with their attributes: one, unless it has two boxes or masks."""
        found: list[tuple[_Item, _Item]] = []
        for one in group:
            attributes = _object(one.get("attributes"))
            values = self._shape(one, attributes, number)
            if found and not found[0][0].keys() & values.keys():
                found[0][0].update(values)
            elif found and one["type"] == "polygon" and isinstance(found[0][0].get("segmentation"), list):
                found[0][0]["segmentation"] += values["segmentation"]
            else:
                crowd = attributes.pop("is_crowd", False)
                found.append(({**values, "iscrowd": crowd} if crowd else values, attributes))
        return found

    def _shape(self, one: _Item, attributes: _Item, number: int) -> _Item:
        points: Any = one.get("points") if isinstance(one.get("points"), list) else []
        match one["type"]:
            case "bbox":
                return {"bbox": one.get("bbox") or [0], TURNED_BY: attributes.pop("rotation", None)}
            case "mask":
                return {"segmentation": one.get("rle") or {}}
            case "points":
                seen = one.get("visibility") or [2] * (len(points) // 2)
                flat = zip(points[0::2], points[1::2], seen, strict=False)
                return {"keypoints": [value for point in flat for value in point]}
            case "ellipse" if _is_box(points):
                self._rejects.change("segmentations", *ELLIPSE, file=self._file, line=number)
                x0, y0, x1, y1 = points
                return {"segmentation": [ellipse((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2)]}
        return {"segmentation": [points or [0]]}

    def _reject(self, table: str, finding: Finding, number: int, raw: Any) -> None:
        self._rejects.saw(table, 1)
        self._rejects.add(table, *finding, file=self._file, line=number, raw=raw)


def _size(value: Any) -> _Item:
    """Width and height of an image, whose size is height and width; nothing where it is not known."""
    return {"width": value[1], "height": value[0]} if isinstance(value, list) and len(value) == 2 else {}


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(type(number) in (int, float) for number in value)


def _at(names: list[str], number: Any) -> str | None:
    return names[number] if type(number) is int and 0 <= number < len(names) else None


def _object(value: Any) -> _Item:
    return dict(value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[_Item]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
