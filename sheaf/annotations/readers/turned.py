"""Boxes, shapes and keypoints on images that EXIF turns or mirrors: from the shown picture to the stored one and back.

Pixels, origin top left, y down. An orientation is EXIF's, 1 to 8: what a viewer does with the stored picture.
Format: Exif 2.32, tag 0x0112. Not here: which picture a shape was drawn on (`images`).
"""

from dataclasses import replace
from typing import Any

import orjson

from sheaf.annotations.readers.geometry import Shape

Box = tuple[float, float, float, float]
BACK = {6: 8, 8: 6}
"""The orientations that others undo; each of the rest undoes itself."""


def back(orientation: int) -> int:
    """The orientation that undoes one."""
    return BACK.get(orientation, orientation)


def turn_point(x: float, y: float, orientation: int, width: float, height: float) -> tuple[float, float]:
    """Where a point of a `width` by `height` picture lies once the picture is turned."""
    match orientation:
        case 2:
            x, y = width - x, y
        case 3:
            x, y = width - x, height - y
        case 4:
            x, y = x, height - y
        case 5:
            x, y = y, x
        case 6:
            x, y = height - y, x
        case 7:
            x, y = height - y, width - x
        case 8:
            x, y = y, width - x
    return round(x, 2), round(y, 2)


def turn_box(box: Box, orientation: int, width: float, height: float) -> Box:
    """A box `x, y, width, height` of a `width` by `height` picture once the picture is turned."""
    if orientation == 1:
        return box
    x, y, across, down = box
    (x0, y0), (x1, y1) = (
        turn_point(x, y, orientation, width, height),
        turn_point(x + across, y + down, orientation, width, height),
    )
    return min(x0, x1), min(y0, y1), round(abs(x1 - x0), 2), round(abs(y1 - y0), 2)


def turn_segmentation(text: str, orientation: int, width: int, height: int) -> str:
    """A COCO segmentation as JSON: rings, or a compressed mask."""
    if orientation == 1:
        return text
    value: Any = orjson.loads(text)
    if isinstance(value, dict):
        return _turned_mask(value, orientation)
    rings = [
        [
            number
            for x, y in zip(ring[0::2], ring[1::2], strict=True)
            for number in turn_point(x, y, orientation, width, height)
        ]
        for ring in value
    ]
    return orjson.dumps(rings).decode()


def _turned_mask(value: Any, orientation: int) -> str:
    import numpy as np
    from pycocotools import mask

    picture: Any = mask.decode(value)
    match orientation:
        case 2:
            picture = picture[:, ::-1]
        case 3:
            picture = picture[::-1, ::-1]
        case 4:
            picture = picture[::-1]
        case 5:
            picture = picture.T
        case 6:
            picture = np.rot90(picture, -1)
        case 7:
            picture = picture[::-1, ::-1].T
        case 8:
            picture = np.rot90(picture)
    packed: Any = mask.encode(np.asfortranarray(picture))
    return orjson.dumps({"size": packed["size"], "counts": packed["counts"].decode()}).decode()


def turn_keypoints(keypoints: list[Any], orientation: int, width: int, height: int) -> list[Any]:
    """Keypoints as COCO has them, `x, y, visibility` in a row; one that is not labelled stays at 0, 0."""
    if orientation == 1:
        return keypoints
    found: list[Any] = []
    for x, y, seen in zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True):
        found += [*(turn_point(x, y, orientation, width, height) if seen else (x, y)), seen]
    return found


def turn_shape(shape: Shape, orientation: int, width: int, height: int) -> Shape:
    """A shape that was drawn on a `width` by `height` picture, once the picture is turned."""
    if orientation == 1:
        return shape
    x, y, across, down = turn_box((shape.x, shape.y, shape.width, shape.height), orientation, width, height)
    text = shape.segmentation and turn_segmentation(shape.segmentation, orientation, width, height)
    return replace(shape, x=x, y=y, width=across, height=down, segmentation=text)
