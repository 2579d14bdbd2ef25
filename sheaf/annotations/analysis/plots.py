"""Small pictures of a project for the run page: how many of each class, and a few annotated images.

Not here: how a figure is made and kept small (`figures`).
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from sheaf import figures
from sheaf.annotations import schema
from sheaf.annotations.readers.image_files import stored_path
from sheaf.tables.pinned import Tables

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_CLASSES = 25
_TILE = (240, 180)
_TILES = 6


def class_balance_plot(counts: Mapping[str, Mapping[str, int]]) -> bytes:
    """Bars of the most frequent labels: `counts` is annotations by kind (boxes, masks) and label name."""
    totals: dict[str, int] = {}
    for of_kind in counts.values():
        for name, count in of_kind.items():
            totals[name] = totals.get(name, 0) + count
    shown = sorted(totals, key=lambda name: (-totals[name], name))[:_CLASSES][::-1]
    figure = figures.figure(7, 1.3 + 0.22 * max(len(shown), 1))
    axes = figure.add_subplot()
    at = list(range(len(shown)))
    for row, (kind, of_kind) in enumerate(counts.items()):
        axes.barh([y + 0.2 - 0.4 * row for y in at], [of_kind.get(name, 0) for name in shown], height=0.4, label=kind)
    axes.set_yticks(at, [figures.label(name) for name in shown])
    axes.set_xlabel("annotations")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figures.png(figure)


def contact_sheet(tables: Tables) -> bytes | None:
    """A few images with their boxes and outlines; None when no annotated image has a file.

    Images are taken at even distances among the annotated ones, in the order of their paths.
    """
    from PIL import Image

    images = tables.read(schema.IMAGES)
    boxes = tables.read(schema.DETECTIONS, ["image_id", "x", "y", "width", "height"])
    masks = tables.read(schema.SEGMENTATIONS, ["image_id", "segmentation"])
    annotated = {*boxes["image_id"].unique().to_pylist(), *masks["image_id"].unique().to_pylist()}
    usable = [row for row in images.to_pylist() if row["sha256"] and row["image_id"] in annotated]
    if not usable:
        return None
    step = max(len(usable) / _TILES, 1)
    chosen = [usable[int(position * step)] for position in range(min(_TILES, len(usable)))]
    sheet = Image.new("RGB", (_TILE[0] * 3, _TILE[1] * -(-len(chosen) // 3)), "white")
    for position, row in enumerate(chosen):
        try:
            with Image.open(io.BytesIO(tables.store.get(stored_path(tables.partition, row["sha256"])))) as image:
                tile = _tile(image, row, _of(boxes, row), _of(masks, row))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # its header could be read, its pixels cannot: the place stays empty
        sheet.paste(tile, (position % 3 * _TILE[0], position // 3 * _TILE[1]))
    return figures.small_png(sheet)


def _of(annotations: pa.Table, image: Mapping[str, Any]) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    wanted = pc.call_function("equal", [annotations["image_id"], pa.scalar(image["image_id"])])
    return annotations.filter(wanted).slice(0, 200).to_pylist()


def _tile(
    image: "Picture", row: Mapping[str, Any], boxes: list[dict[str, Any]], masks: list[dict[str, Any]]
) -> "Picture":
    from PIL import ImageDraw

    image.draft("RGB", (_TILE[0] * 2, _TILE[1] * 2))  # lets a JPEG be decoded small
    tile = image.convert("RGB")
    tile.thumbnail(_TILE)
    pen = ImageDraw.Draw(tile)
    scale_x, scale_y = tile.width / row["width"], tile.height / row["height"]
    for mask in masks:
        rings = orjson.loads(mask["segmentation"])
        for ring in rings if isinstance(rings, list) else ():
            points = [(x * scale_x, y * scale_y) for x, y in zip(ring[0::2], ring[1::2], strict=True)]
            pen.line([*points, points[0]], fill=(255, 220, 0), width=1)
    for box in boxes:
        x, y = box["x"] * scale_x, box["y"] * scale_y
        pen.rectangle((x, y, x + box["width"] * scale_x, y + box["height"] * scale_y), outline=(255, 0, 200))
    return tile
