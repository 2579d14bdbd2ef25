"""A sample project for the demo and for tests: drawn shapes, annotated in every way the domain knows.

Three tasks are the splits; images are tagged with ground and light. There are boxes (one of them
turned), triangles, bars seen in two parts, and discs as masks. One box reaches over the edge and
one polygon has two points, so that a correction and a reject can be seen. The same on every call.
"""

import csv
import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

PROJECT = "drawn-shapes"
SIZE = (200, 150)
_SPLITS = {"train": 12, "val": 4, "test": 4}
_GROUNDS = {"sand": (222, 205, 160), "grass": (150, 190, 120), "asphalt": (120, 120, 128)}
_LIGHTS = {"bright": 1.0, "dim": 0.6}
_LABELS = ("shape", "tile", "triangle", "bar", "disc")
_COLOURS = {"tile": (200, 60, 50), "triangle": (50, 90, 200), "bar": (240, 240, 235), "disc": (235, 170, 40)}
Point = tuple[float, float]
Rows = list[dict[str, Any]]


def write(inbox: Path) -> list[str]:
    """Write the sample below `inbox/annotations/`, replacing what an earlier call wrote.

    Returns:
        The partition keys that were written.
    """
    folder = inbox / "annotations" / PROJECT
    rng = random.Random(20260401)  # noqa: S311 - drawings, not secrets
    images: Rows = []
    tags: Rows = []
    detections: Rows = []
    segmentations: Rows = []
    for task, (split, count) in enumerate(_SPLITS.items(), 1):
        for number in range(1, count + 1):
            path = f"{split}-camera/{number:03d}.png"
            image_id = len(images) + 1
            ground, light = rng.choice(list(_GROUNDS)), rng.choice(list(_LIGHTS))
            scene = _Scene(image_id, rng, detections, segmentations)
            if number > 1 or split != "test":  # one picture stays empty
                scene.draw(_GROUNDS[ground])
            picture = scene.picture(_GROUNDS[ground], _LIGHTS[light])
            (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(folder / "images" / path)
            images.append({"id": image_id, "file_path": path, "task_id": task})
            tags += [{"image_id": image_id, "tag_id": ground}, {"image_id": image_id, "tag_id": light}]
    segmentations.append(
        {"id": "m-two-points", "image_id": 1, "label_id": 3, "format": "polygon", "polygon": [[0.1, 0.1], [0.2, 0.2]]}
    )
    _csv(folder, "tasks", [{"id": n, "name": f"{name} camera", "split": name} for n, name in enumerate(_SPLITS, 1)])
    _csv(folder, "images", images)
    _csv(folder, "tag_categories", [_category(1, "ground", 0), _category(2, "light", 1)])
    _csv(
        folder,
        "tags",
        [{"id": name, "name": name, "category_id": 1} for name in _GROUNDS]
        + [{"id": name, "name": name, "category_id": 2} for name in _LIGHTS],
    )
    _csv(folder, "shared_image_tags", tags)
    _csv(folder, "labels", [_label(number, name) for number, name in enumerate(_LABELS, 1)])
    _ndjson(folder, "detections", detections)
    _ndjson(folder, "segmentations", segmentations)
    return [PROJECT]


def _category(number: int, name: str, order: int) -> dict[str, Any]:
    return {"id": number, "name": name, "sidebar_order": order}


def _label(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "name": name, "parent_id": 1 if number > 1 else None, "sort_order": number}


class _Scene:
    """One picture: shapes are drawn and annotated together."""

    def __init__(self, image_id: int, rng: random.Random, detections: Rows, segmentations: Rows) -> None:
        self._image_id, self._rng = image_id, rng
        self._detections, self._segmentations = detections, segmentations
        self._polygons: list[tuple[str, list[Point]]] = []
        self._discs: list[tuple[float, float, float]] = []

    def draw(self, ground: tuple[int, int, int]) -> None:
        """Put shapes into the picture, each in its own quarter so that none hides another."""
        width, height = SIZE
        kinds = ["tile", "triangle", "bar", "disc"]
        self._rng.shuffle(kinds)
        for quarter, kind in enumerate(kinds[: self._rng.randint(2, 4)]):
            x, y = (0.25 + 0.5 * (quarter % 2)) * width, (0.25 + 0.5 * (quarter // 2)) * height
            size = self._rng.uniform(14, 26)
            getattr(self, f"_{kind}")(x, y, size)

    def picture(self, ground: tuple[int, int, int], light: float) -> "Image":
        """The drawing."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", SIZE, _lit(ground, light))
        pen = ImageDraw.Draw(image)
        for kind, points in self._polygons:
            pen.polygon(points, fill=_lit(_COLOURS[kind], light), outline=_lit((40, 40, 40), light))
        for disc in self._discs:
            _draw_disc(pen, disc, _lit(_COLOURS["disc"], light))
        return image

    def _tile(self, x: float, y: float, size: float) -> None:
        turn = 30.0 if self._rng.random() < 0.3 else 0.0
        if self._image_id == 1:
            x, turn = size * 0.5, 0.0  # over the left edge
        self._polygons.append(("tile", _turned(x, y, size, size * 0.6, turn)))
        x_min, y_min = (x - size) / SIZE[0], (y - size * 0.6) / SIZE[1]
        x_max, y_max = (x + size) / SIZE[0], (y + size * 0.6) / SIZE[1]
        self._box("tile", (x_min, y_min, x_max, y_max), rotation=turn)

    def _triangle(self, x: float, y: float, size: float) -> None:
        points = [(x, y - size), (x + size, y + size * 0.8), (x - size, y + size * 0.8)]
        self._polygons.append(("triangle", points))
        self._mask("triangle", {"format": "polygon", "polygon": _normalised(points)})

    def _bar(self, x: float, y: float, size: float) -> None:
        """A bar behind a post: one object in two parts."""
        parts = [_turned(x + side * size * 0.7, y, size * 0.5, size * 0.25, 0.0) for side in (-1, 1)]
        self._polygons += [("bar", part) for part in parts]
        self._mask("bar", {"format": "polygon", "polygon": [_normalised(part) for part in parts]})

    def _disc(self, x: float, y: float, size: float) -> None:
        self._discs.append((x, y, size))
        key = self._mask("disc", {"format": "rle", "rle": _disc_mask((x, y, size))})
        box = ((x - size) / SIZE[0], (y - size) / SIZE[1], (x + size) / SIZE[0], (y + size) / SIZE[1])
        self._segmentations[-1]["detection_id"] = self._box("disc", box, segmentation_id=key)

    def _box(self, kind: str, corners: tuple[float, ...], **more: Any) -> str:
        key = f"d{len(self._detections) + 1}"
        named = dict(zip(("x_min", "y_min", "x_max", "y_max"), (round(value, 6) for value in corners), strict=True))
        self._detections.append({**self._common(key, kind), **named, **more})
        return key

    def _mask(self, kind: str, shape: Mapping[str, Any]) -> str:
        key = f"m{len(self._segmentations) + 1}"
        self._segmentations.append({**self._common(key, kind), **shape})
        return key

    def _common(self, key: str, kind: str) -> dict[str, Any]:
        return {"id": key, "image_id": self._image_id, "label_id": _LABELS.index(kind) + 1, "source": "manual"}


def _turned(x: float, y: float, half_width: float, half_height: float, degrees: float) -> list[Point]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = (
        (-half_width, -half_height),
        (half_width, -half_height),
        (half_width, half_height),
        (-half_width, half_height),
    )
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in corners]


def _normalised(points: Iterable[Point]) -> list[list[float]]:
    return [[round(x / SIZE[0], 6), round(y / SIZE[1], 6)] for x, y in points]


def _lit(colour: tuple[int, int, int], light: float) -> tuple[int, ...]:
    return tuple(int(part * light) for part in colour)


def _draw_disc(pen: "ImageDraw", disc: tuple[float, float, float], fill: Any) -> None:
    x, y, radius = disc
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _disc_mask(disc: tuple[float, float, float]) -> dict[str, Any]:
    """Uncompressed COCO RLE: runs of background and object, down the columns."""
    import numpy as np
    from PIL import Image, ImageDraw

    image = Image.new("L", SIZE)
    _draw_disc(ImageDraw.Draw(image), disc, 1)
    flat = np.asarray(image).flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return {"size": [SIZE[1], SIZE[0]], "counts": [0, *runs] if flat[0] else runs}


def _csv(folder: Path, table: str, rows: Rows) -> None:
    with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _ndjson(folder: Path, table: str, rows: Rows) -> None:
    (folder / f"{table}.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
