"""Run-length masks: checked before pycocotools sees them, and outlines turned into them.

Format: COCO's RLE, runs of background and object down the columns, plain or compressed
(https://github.com/cocodataset/cocoapi).
"""

import math
from dataclasses import replace
from typing import Any

import orjson

from sheaf.annotations.readers.geometry import Frame, Shape, UnusableError


def rle(value: Any, frame: Frame) -> Shape:
    """A run-length mask `{size: [height, width], counts}`; counts as a list or COCO's compressed text.

    Raises:
        UnusableError: its size is not the image's, its counts do not fill it, or it is empty.
    """
    from pycocotools import mask

    if not isinstance(value, dict) or "counts" not in value:
        raise UnusableError("no_shape", "the mask is not an object with size and counts")
    size: Any = value.get("size")
    if size != [frame.height, frame.width]:
        raise UnusableError("size_differs", "the mask's size differs from the image's")
    height, width = size
    counts = value["counts"]
    runs = _runs(counts) if isinstance(counts, str) else counts
    # pycocotools trusts the runs, so they are checked before it sees them
    if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs):
        raise UnusableError("unreadable_counts", "the mask's counts cannot be read")
    if sum(runs) != frame.height * frame.width:
        raise UnusableError("counts_do_not_fill", "the mask's counts do not fill the image")
    unpacked: Any = {"size": size, "counts": runs}
    packed: Any = mask.frPyObjects(unpacked, height, width)
    area = float(mask.area(packed))
    if not area:
        raise UnusableError("no_area", "the mask is empty")
    x, y, across, down = (float(number) for number in mask.toBbox(packed))
    text = orjson.dumps({"size": size, "counts": packed["counts"].decode()}).decode()
    return Shape(x, y, across, down, area, text)


def packed(picture: Any) -> dict[str, Any]:
    """A picture, height by width, as COCO's compressed RLE; what is not 0 is the object."""
    import numpy as np
    from pycocotools import mask

    found: Any = mask.encode(np.asfortranarray(picture != 0, np.uint8))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}


def crowd(shape: Shape, frame: Frame) -> Shape:
    """The shape as RLE, which is how COCO keeps a group; a box without outline becomes its pixels.

    Raises:
        UnusableError: the outline covers no pixel.
    """
    from pycocotools import mask

    parts = orjson.loads(shape.segmentation) if shape.segmentation else None
    if isinstance(parts, dict):
        return shape
    if parts is None:
        x0, y0 = math.floor(shape.x), math.floor(shape.y)
        x1, y1 = math.ceil(shape.x + shape.width), math.ceil(shape.y + shape.height)
        parts = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    packed: Any = mask.merge(mask.frPyObjects(parts, frame.height, frame.width))
    if not mask.area(packed):
        raise UnusableError("no_area", "the mask is empty")
    text = orjson.dumps({"size": packed["size"], "counts": packed["counts"].decode()}).decode()
    return replace(shape, segmentation=text)


def _runs(text: str) -> list[int]:
    """Decode COCO's compressed counts: five bits per character, each run a difference to the one before last."""
    runs: list[int] = []
    position, codes = 0, text.encode("ascii", "replace")
    while position < len(codes):
        value = shift = 0
        more = True
        while more:
            if position == len(codes) or not 48 <= codes[position] < 112 or shift > 60:
                raise UnusableError("unreadable_counts", "the mask's counts cannot be read")
            bits = codes[position] - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            shift += 5
            position += 1
            if not more and bits & 16:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
