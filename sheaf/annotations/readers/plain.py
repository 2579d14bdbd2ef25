"""Boxes and polygons that nothing is wrong with, in columns: thousands at the price of hundreds.

Here is only arithmetic, the same that `geometry` does for one shape, bit by bit. What needs more (a crowd, a mask, a
part outside of the image, a number that is text …) is not plain; it goes through `geometry`, which finds the words.
Not here: which annotations these are (`objects`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

Array = np.ndarray[Any, np.dtype[Any]]
_EXACT = 2.0**53
_NUMBERS = {int, float}


@dataclass
class Plain:
    """Some of a number of shapes, in columns of all of them; where `good` is not set they say nothing.

    Attributes:
        good: which are usable, and need no correction but the following.
        box: x, y, width and height, px.
        area: px^2.
        text: COCO segmentation JSON; empty of boxes.
        clipped: which were cut at the border of the image.
        new_box, new_area: which do not fit the box and area that were stated, so that these were computed.
    """

    good: Array
    box: Array
    area: Array
    text: list[str | None]
    clipped: Array
    new_box: Array
    new_area: Array

    @classmethod
    def none(cls, count: int) -> "Plain":
        """None of so many is plain."""
        nowhere = [np.zeros(count, bool) for _ in range(4)]
        return cls(nowhere[0], np.zeros((count, 4)), np.zeros(count), [None] * count, *nowhere[1:])


def rounded(values: Array, decimals: int) -> Array:
    """As Python rounds, which looks at the exact value; numpy does not where that is nearly a half."""
    scale = 10.0**decimals
    scaled = values * scale
    found = np.rint(scaled) / scale
    unsure = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6 + np.abs(scaled) * 1e-15
    for at in np.argwhere(unsure | (np.abs(scaled) > _EXACT / 8)):
        found[tuple(at)] = round(float(values[tuple(at)]), decimals)
    return found


def boxes(stated: Sequence[Any], sizes: Array) -> Plain:
    """Boxes.

    Args:
        stated: x, y, width and height of each, px, as JSON gives them; None of those that are not asked for.
        sizes: width and height of their images, px.
    """
    found = Plain.none(len(stated))
    at, values = _fours(stated)
    left, top = values[:, 0], values[:, 1]
    right, bottom = left + values[:, 2], top + values[:, 3]
    good = (right > left) & (bottom > top) & ~np.signbit(values).any(1, where=values == 0)
    width, height = sizes[at].T
    x0, y0, x1, y1 = np.maximum(left, 0.0), np.maximum(top, 0.0), np.minimum(right, width), np.minimum(bottom, height)
    good &= (x0 < x1) & (y0 < y1)
    at, good = at[good], [column[good] for column in (x0, y0, x1, y1, left, top, right, bottom)]
    x0, y0, x1, y1 = good[:4]
    box = np.stack([rounded(column, 2) for column in (x0, y0, x1 - x0, y1 - y0)], 1)
    found.good[at] = (box[:, 2] > 0) & (box[:, 3] > 0)
    found.box[at] = box
    found.area[at] = rounded(box[:, 2] * box[:, 3], 4)
    found.clipped[at] = (np.stack(good[:4], 1) != np.stack(good[4:], 1)).any(1)
    return found


def polygons(shapes: Sequence[Any], stated: Sequence[Any], areas: Sequence[Any], sizes: Array) -> Plain:
    """Polygons of one or several rings.

    Args:
        shapes: lists of flat rings, px, as JSON gives them; None of those that are not asked for.
        stated: the box of each, or None; one that is not plain makes the polygon not plain.
        areas: the area of each that was stated, or None.
        sizes: width and height of their images, px.
    """
    found = Plain.none(len(shapes))
    known = [
        at
        for at, (shape, box, area) in enumerate(zip(shapes, stated, areas, strict=True))
        if type(shape) is list
        and _are_rings(shape)
        and (area is None or type(area) in _NUMBERS)
        and (box is None or _is_four(box))
    ]
    rings = _Rings.of([shapes[at] for at in known])
    if rings is None:
        return found
    rings.drop(~rings.inside(sizes[known]))
    rings.drop(~rings.valid())
    at = np.array(known, np.int64)[rings.rows]
    low, high = rings.extent()
    span = rounded(high - low, 2)
    area = rings.areas()
    good = (area > 0) & (low < high).all(1)
    box, new_box, exact = _near(low, span, [stated[row] for row in at.tolist()])
    given = _floats([areas[row] for row in at.tolist()])
    slack = 0.05 * area + 1.5 * (span[:, 0] + span[:, 1]) + 1
    fits = (given > 0) & (np.abs(given - area) <= slack)
    has_area = np.array([areas[row] is not None for row in at.tolist()], bool)
    good &= exact & (np.isfinite(given) | ~has_area)
    found.good[at], found.box[at], found.area[at] = good, box, np.where(has_area & fits, given, area)
    found.new_box[at], found.new_area[at] = new_box, has_area & ~fits
    for row, text in zip(at.tolist(), rings.texts(), strict=True):
        found.text[row] = text
    return found


def _near(low: Array, span: Array, stated: list[Any]) -> tuple[Array, Array, Array]:
    """The stated box where it is within 1 px of the shape's; where it is not; and which stated ones are numbers."""
    values, asked, exact = np.zeros((len(stated), 4)), np.zeros(len(stated), bool), np.ones(len(stated), bool)
    at, numbers = _fours(stated)
    values[at], asked[at] = numbers, True
    exact[[row for row, box in enumerate(stated) if box is not None and not asked[row]]] = False
    x, y, width, height = values.T
    to = rounded(values, 2)
    near = (np.abs(x - low[:, 0]) <= 1) & (np.abs(y - low[:, 1]) <= 1)
    near &= np.abs(x + width - low[:, 0] - span[:, 0]) <= 1
    near &= np.abs(y + height - low[:, 1] - span[:, 1]) <= 1
    near &= asked & (to[:, 2] > 0) & (to[:, 3] > 0)
    return np.where(near[:, None], to, np.concatenate([low, span], 1)), asked & ~near, exact


def _is_four(box: Any) -> bool:
    return type(box) is list and len(box) == 4


def _fours(stated: Sequence[Any]) -> tuple[Array, Array]:
    """Those that are four finite numbers, and these."""
    at = [row for row, box in enumerate(stated) if _is_four(box)]
    flat = list(chain.from_iterable([stated[row] for row in at]))
    if not set(map(type, flat)) <= _NUMBERS:
        at = [row for row in at if set(map(type, stated[row])) <= _NUMBERS]
        flat = list(chain.from_iterable([stated[row] for row in at]))
    values = _floats(flat).reshape(-1, 4)
    usable = (np.abs(values) < _EXACT).all(1)  # also not of NaN
    return np.array(at, np.int64)[usable], values[usable]


def _floats(numbers: Iterable[Any]) -> Array:
    """Numbers as floats; NaN for None, and for what no float can hold."""
    listed = list(numbers)
    try:
        return np.array(listed, np.float64)  # None becomes NaN
    except OverflowError:
        return np.array([number if number is None or abs(number) < _EXACT else np.nan for number in listed], np.float64)


def _are_rings(shape: list[Any]) -> bool:
    """Whether it has the form of flat rings of three points and more."""
    for ring in shape:
        if type(ring) is not list or len(ring) < 6 or len(ring) % 2:
            return False
    return bool(shape)


@dataclass
class _Rings:
    """The rings of some shapes: points rounded, without those that repeat the one before or close the ring.

    Attributes:
        rows: which shapes they are of.
        parts: how many rings each shape has.
        lengths: how many points each ring has.
        points: x and y of all.
        outlines: the rings as polygons, once `valid` was asked for.
    """

    rows: Array
    parts: Array
    lengths: Array
    points: Array
    outlines: Array | None = None

    @classmethod
    def of(cls, shapes: list[list[list[Any]]]) -> "_Rings | None":
        """The rings of shapes that `_are_rings`; None where there are none."""
        rows = list(range(len(shapes)))
        flat = list(chain.from_iterable(chain.from_iterable(shapes)))
        if not set(map(type, flat)) <= _NUMBERS:
            rows = [row for row in rows if all(set(map(type, ring)) <= _NUMBERS for ring in shapes[row])]
            flat = list(chain.from_iterable(chain.from_iterable([shapes[row] for row in rows])))
        if not rows:
            return None
        parts = np.array([len(shapes[row]) for row in rows])
        lengths = np.array([len(ring) // 2 for row in rows for ring in shapes[row]])
        values = _floats(flat)
        found = cls(np.array(rows), parts, lengths, values.reshape(-1, 2))
        # -0.0 has its own ways to be the smallest
        usable = found._each(((np.abs(values) < _EXACT) & ~np.signbit(values)).reshape(-1, 2).all(1))
        found.drop(~usable)
        if not len(found.rows):
            return None
        found.points = rounded(found.points, 2)
        found._without_repeats()
        return found if len(found.rows) else None

    def _each(self, of_points: Any) -> Array:
        """Of which shapes something holds for all points."""
        return np.logical_and.reduceat(np.logical_and.reduceat(of_points, self._starts()), self._first())

    def _starts(self) -> Array:
        return np.cumsum(self.lengths) - self.lengths

    def _first(self) -> Array:
        return np.cumsum(self.parts) - self.parts

    def drop(self, which: Array) -> None:
        """Leave out some shapes."""
        if not which.any():
            return
        rings = np.repeat(~which, self.parts)
        self.points = self.points[np.repeat(rings, self.lengths)]
        self.lengths, self.parts, self.rows = self.lengths[rings], self.parts[~which], self.rows[~which]
        self.outlines = None if self.outlines is None else self.outlines[rings]

    def _without_repeats(self) -> None:
        starts = self._starts()
        kept = np.ones(len(self.points), bool)
        kept[1:] = (self.points[1:] != self.points[:-1]).any(1)
        kept[starts] = True
        lengths = np.add.reduceat(kept, starts, dtype=np.int64)
        if not kept.all():
            self.points, self.lengths, starts = self.points[kept], lengths, np.cumsum(lengths) - lengths
        closed = (self.points[starts] == self.points[starts + self.lengths - 1]).all(1) & (self.lengths > 1)
        if closed.any():
            kept = np.ones(len(self.points), bool)
            kept[(starts + self.lengths - 1)[closed]] = False
            self.points, self.lengths = self.points[kept], self.lengths - closed
        self.drop(~np.logical_and.reduceat(self.lengths >= 3, self._first()))

    def inside(self, sizes: Array) -> Array:
        """Which shapes lie in their images as a whole; the images are those of all shapes that were given."""
        if not len(self.rows):
            return np.zeros(0, bool)
        return self._each((self.points <= np.repeat(sizes[self.rows], self._counts(), axis=0)).all(1))

    def _counts(self) -> Array:
        return np.add.reduceat(self.lengths, self._first())

    def valid(self) -> Array:
        """Which shapes have no ring that crosses itself."""
        import shapely

        if not len(self.rows):
            return np.zeros(0, bool)
        rings = shapely.linearrings(self.points, indices=np.repeat(np.arange(len(self.lengths)), self.lengths))
        outlines: Any = shapely.polygons(rings)
        self.outlines = outlines
        return np.logical_and.reduceat(shapely.is_valid(outlines), self._first())

    def extent(self) -> tuple[Array, Array]:
        """The smallest and largest x and y of each shape."""
        if not len(self.rows):
            return np.zeros((0, 2)), np.zeros((0, 2))
        starts, first = self._starts(), self._first()
        low, high = np.minimum.reduceat(self.points, starts), np.maximum.reduceat(self.points, starts)
        return np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)

    def areas(self) -> Array:
        """The area of each shape, that of the union of its rings; 0 where a ring has none."""
        import shapely

        if self.outlines is None:
            return np.zeros(0)
        starts = self._starts()
        following = np.arange(1, len(self.points) + 1)
        following[starts + self.lengths - 1] = starts
        (x0, y0), (x1, y1) = self.points.T, self.points[following].T
        products, ends = (x0 * y1 - x1 * y0).tolist(), (starts + self.lengths).tolist()
        # summed by Python, whose sum some versions of it make more exact than numpy's
        own = [abs(sum(products[start:end])) / 2 for start, end in zip(starts.tolist(), ends, strict=True)]
        found = []
        for first, parts in zip(self._first().tolist(), self.parts.tolist(), strict=True):
            if parts == 1:
                found.append(own[first])
            elif min(own[first : first + parts]) > 0:
                found.append(float(shapely.union_all(self.outlines[first : first + parts]).area))
            else:
                found.append(0.0)
        return rounded(np.array(found), 4)

    def texts(self) -> list[str]:
        """Each shape as COCO segmentation JSON."""
        flat = self.points.ravel().tolist()
        ends = (2 * np.cumsum(self.lengths)).tolist()
        rings = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        lasts = np.cumsum(self.parts).tolist()
        return [orjson.dumps(rings[start:end]).decode() for start, end in zip([0, *lasts], lasts, strict=False)]
