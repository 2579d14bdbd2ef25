"""Annotations of COCO files as boxes and masks: in columns, for what is plain, and as rows.

An annotation with a mask becomes a box and a mask of one object. Not here: the other lists of a file, and which key an
annotation gets (`coco`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sheaf.annotations.readers.fields import Batch, Row

SOURCE = "import"
TURNED_BY = "sheaf_turned_by"
"""In documents made of other formats: degrees by which a box is turned clockwise about its centre."""
_OWN_FIELDS = {
    "images": {"id", "file_name", "width", "height", "split"},
    "categories": {"id", "name", "supercategory"},
    "annotations": {
        *("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "score", "attributes"),
        *("keypoints", TURNED_BY),
    },
}


def as_id(value: Any) -> str | None:
    """An id as text: 1, 1.0 and "1" are the same, as tools that go through tables or text write them."""
    if type(value) is int:
        return str(value)
    if value is None or isinstance(value, bool | list | dict):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text) or None


def extra_of(kind: str, item: dict[str, Any]) -> dict[str, Any] | None:
    """What an item says beyond what Sheaf has a column for."""
    if item.keys() <= _OWN_FIELDS[kind]:
        return None
    return {name: value for name, value in item.items() if name not in _OWN_FIELDS[kind]} or None


@dataclass
class Annotations:
    """Some annotations of a file.

    Attributes:
        name: the file, as messages call it.
        numbers: where they stand in its list, from 1.
        items: what stands there.
        images: the keys of their images.
        keys: their own.
        shapes: the segmentation of each; None also for a list of empty rings, which is how some tools say none.
    """

    name: str
    numbers: Sequence[int]
    items: list[dict[str, Any]]
    images: list[str | None]
    keys: list[str]
    shapes: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        """Find the segmentations."""
        self.shapes = [_shape(item) for item in self.items]

    def boxes(self) -> Batch:
        """The boxes; of what has none, but a mask, the mask says it all."""
        boxes = [item.get("bbox") for item in self.items]
        at = [n for n, box in enumerate(boxes) if not (box in (None, []) and self.shapes[n])]
        links = [key if shape else None for key, shape in zip(self.keys, self.shapes, strict=True)]
        return self._batch(at, self._box, boxes, [None] * len(boxes), links)

    def masks(self) -> Batch:
        """The polygons and masks."""
        at = [n for n, shape in enumerate(self.shapes) if shape]
        boxes = [item.get("bbox") or None for item in self.items]
        links = [key if box else None for key, box in zip(self.keys, boxes, strict=True)]
        return self._batch(at, self._mask, boxes, [item.get("area") for item in self.items], links)

    def is_spanned(self, at: int) -> bool:
        """Whether an annotation has neither box nor mask, but keypoints, which the box spans then."""
        item = self.items[at]
        return item.get("bbox") in (None, []) and not self.shapes[at] and bool(item.get("keypoints"))

    def _batch(
        self, at: list[int], row: Callable[[int], Row], boxes: list[Any], areas: list[Any], links: list[str | None]
    ) -> Batch:
        items = [self.items[n] for n in at]
        return Batch(
            keys=[self.keys[n] for n in at],
            image_ids=[self.images[n] for n in at],
            label_ids=[as_id(item.get("category_id")) for item in items],
            boxes=[boxes[n] for n in at],
            shapes=[self.shapes[n] for n in at],
            areas=[areas[n] for n in at],
            scores=[item.get("score") for item in items],
            attributes=[item.get("attributes") for item in items],
            extras=[extra_of("annotations", item) for item in items],
            links=[links[n] for n in at],
            maybe_plain=[not (item.get("iscrowd") or item.get("keypoints") or item.get(TURNED_BY)) for item in items],
            row=lambda n: row(at[n]),
        )

    def _box(self, at: int) -> Row:
        item, values = self.items[at], self._common(at)
        bbox = _around(item["keypoints"]) if self.is_spanned(at) else item.get("bbox")
        if self.shapes[at]:
            values["segmentation_id"] = self.keys[at]
        if isinstance(bbox, list) and len(bbox) == 4 and all(type(part) in (int, float) for part in bbox):
            x, y, width, height = bbox
            values |= {"x_min": x, "y_min": y, "x_max": x + width, "y_max": y + height}
            values["rotation"] = item.get(TURNED_BY)
        return Row(values, self.name, self.numbers[at])

    def _mask(self, at: int) -> Row:
        item, shape = self.items[at], self.shapes[at]
        values = self._common(at) | {"bbox": item.get("bbox") or None, "area": item.get("area")}
        values["rle" if isinstance(shape, dict) else "polygon"] = shape
        if item.get("bbox"):
            values["detection_id"] = self.keys[at]
        return Row(values, self.name, self.numbers[at])

    def _common(self, at: int) -> dict[str, Any]:
        item = self.items[at]
        return {
            "id": self.keys[at],
            "image_id": self.images[at],
            "label_id": as_id(item.get("category_id")),
            "iscrowd": item.get("iscrowd") or False,
            "confidence": item.get("score"),
            "attributes": item.get("attributes"),
            "keypoints": item.get("keypoints") or None,
            "extra": extra_of("annotations", item),
            "source": SOURCE,
        }


def _shape(item: dict[str, Any]) -> Any:
    shape = item.get("segmentation")
    return None if isinstance(shape, list) and all(ring == [] for ring in shape) else shape


def _around(keypoints: Any) -> list[float] | None:
    """The box that spans the keypoints that are labelled; None where none is, or where they are none."""
    if not isinstance(keypoints, list) or any(type(number) not in (int, float) for number in keypoints):
        return None
    points = [(x, y) for x, y, seen in zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=False) if seen]
    if not points:
        return None
    box: list[tuple[float, float]] = []
    for numbers in zip(*points, strict=True):
        low, high = min(numbers), max(numbers)
        across = max(high - low, 1)
        box.append(((low + high - across) / 2, across))
    (x, width), (y, height) = box
    return [x, y, width, height]
