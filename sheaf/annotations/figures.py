"""Small pictures of a project for the run page: how many of each class, and a few annotated images.

PNG bytes under 50 kB that depend on the data alone.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from sheaf import tables
from sheaf.annotations import schema
from sheaf.annotations.image_files import stored_path
from sheaf.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_LIMIT = 50_000
_CLASSES = 25
_TILE = (240, 180)
_TILES = 6


def class_balance_plot(counts: Mapping[str, Mapping[str, int]]) -> bytes:
    """Bars of the most frequent labels: `counts` is annotations by kind (boxes, masks) and label name."""
    from matplotlib.figure import Figure

    totals: dict[str, int] = {}
    for of_kind in counts.values():
        for name, count in of_kind.items():
            totals[name] = totals.get(name, 0) + count
    shown = sorted(totals, key=lambda name: (-totals[name], name))[:_CLASSES][::-1]
    figure = Figure(figsize=(7, 1.3 + 0.22 * max(len(shown), 1)), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    at = list(range(len(shown)))
    for row, (kind, of_kind) in enumerate(counts.items()):
        axes.barh([y + 0.2 - 0.4 * row for y in at], [of_kind.get(name, 0) for name in shown], height=0.4, label=kind)
    axes.set_yticks(at, [name if len(name) <= 30 else name[:29] + "…" for name in shown], parse_math=False)
    axes.set_xlabel("annotations")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def contact_sheet(store: Store, project: str) -> bytes | None:
    """A few images with their boxes and outlines; None when no annotated image has a file.

    Images are taken at even distances among the annotated ones, in the order of their paths.
    """
    from PIL import Image

    images = tables.read(store, schema.IMAGES, project)
    boxes = tables.read(store, schema.DETECTIONS, project, ["image_id", "x", "y", "width", "height"])
    masks = tables.read(store, schema.SEGMENTATIONS, project, ["image_id", "segmentation"])
    annotated = {*boxes["image_id"].unique().to_pylist(), *masks["image_id"].unique().to_pylist()}
    usable = [row for row in images.to_pylist() if row["sha256"] and row["image_id"] in annotated]
    if not usable:
        return None
    step = max(len(usable) / _TILES, 1)
    chosen = [usable[int(position * step)] for position in range(min(_TILES, len(usable)))]
    sheet = Image.new("RGB", (_TILE[0] * 3, _TILE[1] * -(-len(chosen) // 3)), "white")
    for position, row in enumerate(chosen):
        try:
            with Image.open(io.BytesIO(store.get(stored_path(project, row["sha256"])))) as image:
                tile = _tile(image, row, _of(boxes, row), _of(masks, row))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # its header could be read, its pixels cannot: the place stays empty
        sheet.paste(tile, (position % 3 * _TILE[0], position // 3 * _TILE[1]))
    return _small_png(sheet)


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


def _small_png(sheet: "Picture") -> bytes:
    """A palette PNG, in fewer colours and then smaller until it is under the limit."""
    from PIL import Image

    for colours, scale in ((64, 1.0), (24, 1.0), (16, 0.7), (8, 0.5), (4, 0.3)):
        size = (max(int(sheet.width * scale), 1), max(int(sheet.height * scale), 1))
        out = io.BytesIO()
        sheet.resize(size).quantize(colours, dither=Image.Dither.NONE).save(out, format="PNG", optimize=True)
        if len(out.getvalue()) < _LIMIT:
            break
    return out.getvalue()
