"""Shapes on images that EXIF turns by a quarter, in the pixels of the exported image.

Coordinates are fractions of the picture they were drawn on. When the export turns the image, they
are fractions of the turned one; so they are stretched, not rotated. A mask cannot be stretched: it
is kept where its grid is that of the exported image.
"""

from typing import Any

import orjson

Box = tuple[float, float, float, float]
TURNED_MASK = "mask is of the other EXIF orientation"


def turn(box: Box, shape: str | None, size: tuple[int, int], *, transpose: bool) -> tuple[Box, str | None] | None:
    """Box and COCO segmentation for a quarter-turned image; None for a mask of the other orientation.

    Args:
        size: width and height of the exported image in pixels.
        transpose: whether the export turns it; else coordinates stay, and only masks are checked.
    """
    from pycocotools import mask

    width, height = size
    value: Any = orjson.loads(shape) if shape else None
    if isinstance(value, dict):
        if value["size"] != [height, width]:
            return None
        encoded: Any = value
        x, y, across, down = (float(number) for number in mask.toBbox(encoded))
        return (x, y, across, down), shape
    if not transpose:
        return box, shape
    stretch_x, stretch_y = width / height, height / width
    x, y, across, down = box
    moved = (
        round(x * stretch_x, 2),
        round(y * stretch_y, 2),
        round(across * stretch_x, 2),
        round(down * stretch_y, 2),
    )
    if value is None:
        return moved, None
    rings = [
        [round(number * (stretch_y if index % 2 else stretch_x), 2) for index, number in enumerate(ring)]
        for ring in value
    ]
    return moved, orjson.dumps(rings).decode()
