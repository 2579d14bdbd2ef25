"""Boxes and polygons in pixels: what can be used, what is corrected, what is dropped.

Every function returns a `Shape` with the corrections it needed, or raises `UnusableError`. Pixel
coordinates have their origin at the top left, y down; areas are in square pixels. Format: COCO
(https://cocodataset.org/#format-data). Not here: run-length masks (`masks`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import ne
from typing import Any

import orjson

from sheaf.annotations.findings import Finding

CLIPPED = Finding("clipped", "clipped to the image")
SWAPPED = Finding("swapped_corners", "corners in the wrong order, swapped")
ROTATED = Finding("rotated", "rotated box: its upright hull is the box")
ELLIPSE = Finding("ellipse", "an ellipse: kept as a polygon of 64 points")
SHORT_PART = Finding("short_part", "a part with fewer than 3 points left out")
SELF_INTERSECTING = Finding("crosses_itself", "the polygon crosses itself: kept, area taken from its mask")
NEW_BOX = Finding("box_computed", "stated box differs from the shape: box computed")
NEW_AREA = Finding("area_computed", "stated area differs from the shape: area computed")
_DECIMALS = 2
_OF_AN_ELLIPSE = 64  # covers 99.8 % of it


class UnusableError(Exception):
    """A shape that cannot be used: what is wrong with it, as a code and a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.finding = Finding(code, sentence)


@dataclass(frozen=True, slots=True)
class Frame:
    """How coordinates are given: `x * scale_x` and `y * scale_y` are pixels of a `width` by `height` image.

    The image is the picture they were drawn on, which may be as EXIF shows it. `limit` is the largest
    coordinate that is possible, where they are fractions; infinite for pixels.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    limit: float = math.inf

    @property
    def other(self) -> "Frame":
        """The picture turned by a quarter."""
        return Frame(self.height, self.width, self.scale_y, self.scale_x, self.limit)


@dataclass(frozen=True, slots=True)
class Shape:
    """A usable shape: bounding box `x, y, width, height`, area, COCO segmentation JSON, and corrections."""

    x: float
    y: float
    width: float
    height: float
    area: float
    segmentation: str | None = None
    corrections: list[Finding] = field(default_factory=list)


def box(corners: Sequence[float], rotation: float, frame: Frame) -> Shape:
    """A box from x_min, y_min, x_max, y_max, turned clockwise by `rotation` degrees about its centre.

    A turned box keeps its four corners as segmentation; the box is then their upright hull.

    Raises:
        UnusableError: it is empty or outside the image.
    """
    _check_range(corners, frame)
    corrections = []
    x0, y0, x1, y1 = corners
    if x0 > x1 or y0 > y1:
        corrections.append(SWAPPED)
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    if x0 == x1 or y0 == y1:
        raise UnusableError("no_area", "the box has no area")
    x0, x1, y0, y1 = x0 * frame.scale_x, x1 * frame.scale_x, y0 * frame.scale_y, y1 * frame.scale_y
    if rotation % 360:
        corrections.append(ROTATED)
        turned = polygon([_turned(x0, y0, x1, y1, rotation)], frame)
        return Shape(
            turned.x,
            turned.y,
            turned.width,
            turned.height,
            round(turned.width * turned.height, 4),
            turned.segmentation,
            corrections + turned.corrections,
        )
    left, top, right, bottom = max(x0, 0.0), max(y0, 0.0), min(x1, frame.width), min(y1, frame.height)
    if left >= right or top >= bottom:
        raise UnusableError("outside", "the box is outside the image")
    if (left, top, right, bottom) != (x0, y0, x1, y1):
        corrections.append(CLIPPED)
    x, y = round(left, _DECIMALS), round(top, _DECIMALS)
    width, height = round(right - left, _DECIMALS), round(bottom - top, _DECIMALS)
    if not width or not height:
        raise UnusableError("no_area", "the box has no area")
    return Shape(x, y, width, height, round(width * height, 4), None, corrections)


def _turned(x0: float, y0: float, x1: float, y1: float, degrees: float) -> list[tuple[float, float]]:
    centre_x, centre_y, angle = (x0 + x1) / 2, (y0 + y1) / 2, math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return [
        (
            centre_x + (x - centre_x) * cos - (y - centre_y) * sin,
            centre_y + (x - centre_x) * sin + (y - centre_y) * cos,
        )
        for x, y in corners
    ]


def ellipse(x: float, y: float, across: float, down: float, rotation: float = 0.0) -> list[float]:
    """An ellipse as a flat ring of points.

    Args:
        x, y: its centre.
        across, down: its radii, before it was turned.
        rotation: degrees by which it is turned clockwise about its centre.
    """
    turn = math.radians(rotation)
    ring: list[float] = []
    for step in range(_OF_AN_ELLIPSE):
        angle = 2 * math.pi * step / _OF_AN_ELLIPSE
        right, below = across * math.cos(angle), down * math.sin(angle)
        ring += [
            x + right * math.cos(turn) - below * math.sin(turn),
            y + right * math.sin(turn) + below * math.cos(turn),
        ]
    return ring


def read_rings(value: Any, frame: Frame) -> list[list[tuple[float, float]]]:
    """Rings in pixels from one ring of points, a list of such rings, or COCO's flat lists.

    Raises:
        UnusableError: it has another form, or coordinates that cannot be.
    """
    if not isinstance(value, list) or not value:
        raise UnusableError("no_shape", "the polygon is empty")
    if isinstance(value[0], list) and len(value[0]) == 2 and not isinstance(value[0][0], list):
        value = [value]  # one ring of points
    elif not isinstance(value[0], list):
        value = [value]  # one flat ring
    rings = []
    for ring in value:
        flat = _flat(ring)
        _check_range(flat, frame)
        points = zip(flat[0::2], flat[1::2], strict=True)
        rings.append([(x * frame.scale_x, y * frame.scale_y) for x, y in points])
    return rings


def _flat(ring: Any) -> list[float]:
    if not isinstance(ring, list):
        raise UnusableError("not_points", "the polygon is not a list of points")
    if ring and isinstance(ring[0], list):
        if any(not isinstance(point, list) or len(point) != 2 for point in ring):
            raise UnusableError("not_points", "the polygon has something that is no pair of numbers")
        ring = [number for point in ring for number in point]
    if len(ring) % 2 or not set(map(type, ring)) <= {float, int}:
        raise UnusableError("not_points", "the polygon has something that is no pair of numbers")
    return ring


def _check_range(numbers: Sequence[float], frame: Frame) -> None:
    if not all(map(math.isfinite, numbers)):
        raise UnusableError("not_a_number", "a coordinate is not a number")
    if numbers and max(numbers) > frame.limit:
        raise UnusableError(
            "not_fractions", "coordinates are larger than 1: fractions of width and height are expected, not pixels"
        )


def polygon(rings: list[list[tuple[float, float]]], frame: Frame) -> Shape:
    """A polygon of one or several parts, clipped to the image; the box spans all parts.

    Raises:
        UnusableError: no part has three points and an area, or all are outside the image.
    """
    import shapely

    parts, corrections = _parts(rings, frame)
    outlines = [shapely.polygons(part) for part in parts]
    areas = [_shoelace(part) for part in parts]
    if all(outline.is_valid for outline in outlines):
        area = areas[0] if len(parts) == 1 else shapely.union_all(outlines).area
    else:
        corrections.append(SELF_INTERSECTING)
        area = _mask_area(parts, frame)
    kept = [part for part, size in zip(parts, areas, strict=True) if size > 0 or SELF_INTERSECTING in corrections]
    area = round(area, 4)
    xs, ys = [x for part in kept for x, _ in part], [y for part in kept for _, y in part]
    if not kept or not area or min(xs) == max(xs) or min(ys) == max(ys):
        raise UnusableError("no_area", "the polygon has no area")
    text = orjson.dumps([[number for point in part for number in point] for part in kept]).decode()
    return Shape(
        min(xs),
        min(ys),
        round(max(xs) - min(xs), _DECIMALS),
        round(max(ys) - min(ys), _DECIMALS),
        area,
        text,
        list(dict.fromkeys(corrections)),
    )


def _parts(
    rings: list[list[tuple[float, float]]], frame: Frame
) -> tuple[list[list[tuple[float, float]]], list[Finding]]:
    """The parts of a polygon inside the image, and what was corrected to get them; raises where nothing is left."""
    parts: list[list[tuple[float, float]]] = []
    corrections: list[Finding] = []
    for ring in rings:
        points = _without_repeats(ring)
        if len(points) < 3:
            corrections.append(SHORT_PART)
        elif _is_inside(points, frame):
            parts.append(points)
        else:
            corrections.append(CLIPPED)
            parts += _clipped(points, frame)
    if not parts:
        if CLIPPED in corrections:
            raise UnusableError("outside", "it is outside the image")
        raise UnusableError("too_few_points", "the polygon has fewer than 3 points")
    return parts, corrections


def _is_inside(points: list[tuple[float, float]], frame: Frame) -> bool:
    xs, ys = zip(*points, strict=True)
    return min(xs) >= 0 and max(xs) <= frame.width and min(ys) >= 0 and max(ys) <= frame.height


def _without_repeats(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Rounded points without repetitions in a row; a closing point is no point of its own."""
    points = [(round(x, _DECIMALS), round(y, _DECIMALS)) for x, y in ring]
    if not all(map(ne, points, points[1:])):
        points = [point for point, _ in groupby(points)]
    if len(points) > 1 and points[0] == points[-1]:
        points.pop()
    return points


def _clipped(points: list[tuple[float, float]], frame: Frame) -> list[list[tuple[float, float]]]:
    import shapely

    outline = shapely.Polygon(points)
    if not outline.is_valid:
        outline = shapely.make_valid(outline)
    inside = shapely.clip_by_rect(outline, 0, 0, frame.width, frame.height)
    found = shapely.get_parts(inside)
    rings = [_without_repeats(list(part.exterior.coords)) for part in found if part.geom_type == "Polygon"]
    return [ring for ring in rings if len(ring) >= 3]


def _shoelace(points: list[tuple[float, float]]) -> float:
    """https://en.wikipedia.org/wiki/Shoelace_formula."""
    following = points[1:] + points[:1]
    return abs(sum([x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, following, strict=True)])) / 2


def _mask_area(parts: list[list[tuple[float, float]]], frame: Frame) -> float:
    from pycocotools import mask

    flat: Any = [[number for point in part for number in point] for part in parts]
    return float(mask.area(mask.merge(mask.frPyObjects(flat, frame.height, frame.width))))


def with_stated(shape: Shape, bbox: Sequence[float] | None, area: float | None, *, is_crowd: bool) -> Shape:
    """Keep the box and area a COCO file states where they fit the shape; else the computed ones stay.

    A stated box may differ by 1 px, an area by 5 % and the rasterisation of the outline; crowds, whose
    areas COCO did not take from the masks, by 1 % of the box and 40 % of the area.
    """
    corrections = list(shape.corrections)
    x, y, width, height = shape.x, shape.y, shape.width, shape.height
    if bbox is not None:
        if len(bbox) == 4 and _near_box(shape, bbox, is_crowd):
            x, y, width, height = (round(float(number), _DECIMALS) for number in bbox)
        elif CLIPPED not in corrections:
            corrections.append(NEW_BOX)
    stated = shape.area
    if area is not None and CLIPPED not in corrections:
        slack = (0.4 if is_crowd else 0.05) * shape.area + 1.5 * (shape.width + shape.height) + 1
        if area > 0 and abs(area - shape.area) <= slack:
            stated = area
        else:
            corrections.append(NEW_AREA)
    return Shape(x, y, width, height, stated, shape.segmentation, corrections)


def _near_box(shape: Shape, bbox: Sequence[float], is_crowd: bool) -> bool:
    slack = max(1.0, 0.01 * max(shape.width, shape.height)) if is_crowd else 1.0
    x, y, width, height = bbox
    return (
        abs(x - shape.x) <= slack
        and abs(y - shape.y) <= slack
        and abs(x + width - shape.x - shape.width) <= slack
        and abs(y + height - shape.y - shape.height) <= slack
        and round(width, _DECIMALS) > 0
        and round(height, _DECIMALS) > 0
    )
