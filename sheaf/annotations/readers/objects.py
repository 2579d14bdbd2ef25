"""Boxes and masks of a project: cleaned many at once where they are plain, else one by one; kept in columns, by image.

An annotation made twice with the same label and shape, in two jobs of one image, becomes one that
belongs to both. Not here: what makes a shape usable (`geometry`, `plain`), nor their order (`ordered`).
"""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.annotations.findings import AMBIGUOUS_IMAGE, REPEATED_KEY, UNKNOWN_IMAGE, UNKNOWN_LABEL, Finding
from sheaf.annotations.readers import geometry, masks, plain, turned
from sheaf.annotations.readers.catalogue import Catalogue, Place
from sheaf.annotations.readers.coco_annotations import SOURCE
from sheaf.annotations.readers.fields import (
    Batch,
    DetectionRow,
    ObjectRow,
    Row,
    SegmentationRow,
    as_json,
    fitting,
    reject,
)
from sheaf.annotations.readers.geometry import Frame, Shape, UnusableError
from sheaf.annotations.readers.ordered import Ordered, Pile
from sheaf.annotations.readers.server_keypoints import keypoint_boxes
from sheaf.annotations.schema import DETECTIONS, SEGMENTATIONS
from sheaf.tables.table import Table

_CHUNK = 32 * 1024
_ABOVE_1 = Finding("confidence_above_1", "its confidence is above 1 by rounding: 1 is used")
_MADE_AGAIN = "the same in another job of the image"
Drawn = tuple[Shape, Frame, bool]
"""A shape, the picture it was drawn on, and whether that is the one that EXIF shows."""

_DIGITS = re.compile(r"\d+")  # so that `m10` comes after `m9`


def read_objects(catalogue: Catalogue, scratch: Path) -> tuple[Ordered, Ordered]:
    """The boxes, and the polygons and masks, ready to be written; `scratch` takes working files."""
    boxes, shapes = _boxes(catalogue, scratch), _shapes(catalogue, scratch)
    source = catalogue.source
    if source.batches is None:
        for reading in (boxes, shapes):
            for row in source.rows(reading.table.name):
                reading.add(row)
        for row in keypoint_boxes(catalogue):
            boxes.add(row)
    else:
        _add_batches(catalogue, source.batches(), boxes, shapes)
    return boxes.columns.finish(), shapes.columns.finish()


def _add_batches(
    catalogue: Catalogue, batches: Iterator[tuple[Batch, Batch]], boxes: "_Reading", shapes: "_Reading"
) -> None:
    spots = _Spots(catalogue)
    for of_boxes, of_shapes in batches:
        boxes.add_batch(of_boxes, spots)
        shapes.add_batch(of_shapes, spots)


def _boxes(catalogue: Catalogue, scratch: Path) -> "_Reading":

    def shape(item: DetectionRow, place: Place) -> Drawn:
        corners, frame = (item.x_min, item.y_min, item.x_max, item.y_max), place.frame
        found = geometry.box(corners, item.rotation, frame)
        return (masks.crowd(found, frame) if item.iscrowd else found), frame, place.shown

    def own(item: DetectionRow, found: Shape) -> dict[str, Any]:
        return {"detection_id": item.id, "outline": found.segmentation, "segmentation_id": item.segmentation_id}

    def many(batch: Batch, sizes: Any) -> plain.Plain:
        return plain.boxes(batch.boxes, sizes)

    return _Reading(catalogue, DETECTIONS, DetectionRow, shape, own, many, "segmentation_id", scratch)


def _shapes(catalogue: Catalogue, scratch: Path) -> "_Reading":

    def shape(item: SegmentationRow, place: Place) -> Drawn:
        frame, shown = place.frame, place.shown
        if item.polygon is not None:
            found = geometry.polygon(geometry.read_rings(item.polygon, frame), frame)
            found = masks.crowd(found, frame) if item.iscrowd else found
        elif item.rle is not None:
            size = item.rle.get("size") if isinstance(item.rle, dict) else None
            if place.orientation >= 5 and size == [frame.width, frame.height]:  # drawn on the other picture
                frame, shown = frame.other, not shown
            found = masks.rle(item.rle, frame)
        else:
            raise UnusableError("no_shape", "it has neither a polygon nor an RLE mask")
        if catalogue.source.pixels and frame.scale_x == frame.scale_y == 1:
            found = geometry.with_stated(found, item.bbox, item.area, is_crowd=item.iscrowd)
        return found, frame, shown

    def own(item: SegmentationRow, found: Shape) -> dict[str, Any]:
        text = found.segmentation or ""
        return {
            "segmentation_id": item.id,
            "shape": "rle" if text.startswith("{") else "polygon",
            "segmentation": text,
            "detection_id": item.detection_id,
        }

    def many(batch: Batch, sizes: Any) -> plain.Plain:
        return plain.polygons(batch.shapes, batch.boxes, batch.areas, sizes)

    return _Reading(catalogue, SEGMENTATIONS, SegmentationRow, shape, own, many, "detection_id", scratch)


def unlink_missing(data: Ordered, link: str, there: pa.Array) -> Ordered:
    """Forget the twin of a box or mask where the twin could not be used."""
    import pyarrow.compute as pc

    found = pc.call_function("is_in", [data[link]], pc.SetLookupOptions(value_set=there))
    memory.give_back()  # the table of what is there
    if found.true_count == len(found) - data[link].null_count:
        return data
    return data.with_column(link, pc.call_function("if_else", [found, data[link], pa.scalar(None, pa.string())]))


class _Reading:
    """Reads one table of boxes or masks.

    Args:
        shape: the shape of a row.
        own: what only this table says of it.
        many: those of a batch that are plain, on images of the sizes given.
        link: the column that refers to the other table.
        scratch: takes working files.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        table: Table,
        model: type[Any],
        shape: Callable[[Any, Place], Drawn],
        own: Callable[[Any, Shape], dict[str, Any]],
        many: Callable[[Batch, Any], plain.Plain],
        link: str,
        scratch: Path,
    ) -> None:
        self._catalogue, self.table, self._model = catalogue, table, model
        self._shape, self._own, self._many = shape, own, many
        self.columns = _Columns(catalogue, table, link, scratch)
        self._seen: set[str] = set()

    def add(self, row: Row) -> None:
        """Add a row, or reject it."""
        catalogue, name = self._catalogue, self.table.name
        item = fitting(catalogue.source, name, self._model, row, catalogue.rejects)
        if item is None:
            return
        place = catalogue.places.get(item.image_id)
        if item.id in self._seen:
            finding = REPEATED_KEY
        elif place is None:
            finding = AMBIGUOUS_IMAGE if item.image_id in catalogue.ambiguous else UNKNOWN_IMAGE
        elif item.label_id not in catalogue.labels:
            finding = UNKNOWN_LABEL
        else:
            try:
                found, frame, shown = self._shape(item, place)
                turn = turned.back(place.orientation) if shown else 1
                found = turned.turn_shape(found, turn, frame.width, frame.height)
                points = _keypoints(item.keypoints, turn, frame)
            except UnusableError as error:
                finding = error.finding
            else:
                if catalogue.source.batches is None:  # there, keys are given, each once
                    self._seen.add(item.id)
                self.columns.add(item, row, place, found, {**self._own(item, found), "keypoints": points})
                return
        reject(catalogue.rejects, name, finding, row)

    def add_batch(self, batch: Batch, spots: "_Spots") -> None:
        """Add what is plain of a batch as columns, and all else as rows."""
        at, labels = spots.of(batch)
        found = self._many(batch, spots.sizes[at])
        said = zip(batch.maybe_plain, batch.keys, batch.scores, batch.attributes, strict=True)
        good = found.good & (at >= 0) & (labels >= 0) & np.array([_is_plain(*of) for of in said], bool)
        noted = ~good | found.clipped | found.new_box | found.new_area
        for n in np.flatnonzero(noted).tolist():
            row = batch.row(n)
            if not good[n]:
                self.add(row)
                continue
            for which, correction in (
                (found.clipped, geometry.CLIPPED),
                (found.new_box, geometry.NEW_BOX),
                (found.new_area, geometry.NEW_AREA),
            ):
                if which[n]:
                    self._catalogue.correct(self.table.name, batch.keys[n], correction, row)
        if good.any():
            self._catalogue.rejects.saw(self.table.name, int(good.sum()))
            self.columns.add_plain(batch, found, np.flatnonzero(good), spots, at, labels)


def _is_plain(maybe: bool, key: str, score: Any, attributes: Any) -> bool:
    return (
        maybe
        and 0 < len(key) <= 2048
        and (score is None or (type(score) in (int, float) and 0 <= score <= 1))
        and (attributes is None or type(attributes) is dict)
    )


class _Spots:
    """Where plain annotations may lie, and what they may say, as numbers."""

    def __init__(self, catalogue: Catalogue) -> None:
        places = {
            key: place
            for key, place in catalogue.places.items()
            if place.frame.scale_x == place.frame.scale_y == 1
            and not place.shown
            and place.image_id not in catalogue.shared
        }
        self._at = {key: at for at, key in enumerate(places)}
        self.sizes = np.array([(place.frame.width, place.frame.height) for place in places.values()] or [(0, 0)], float)
        self.ranks = pa.array([catalogue.order[place.image_id] for place in places.values()], pa.int64())
        self.image_ids = pa.array([place.image_id for place in places.values()], pa.string())
        self.jobs = pa.array([place.job_id for place in places.values()], pa.string())
        self._label_at = {key: at for at, key in enumerate(catalogue.labels)}
        self.label_ids = pa.array(list(catalogue.labels.values()), pa.string())

    def of(self, batch: Batch) -> tuple[Any, Any]:
        """The spots of images and of labels; -1 where there is none for what is plain."""
        at = [self._at.get(key, -1) if key else -1 for key in batch.image_ids]
        labels = [self._label_at.get(key, -1) if key else -1 for key in batch.label_ids]
        return np.array(at, np.int64), np.array(labels, np.int64)


def _keypoints(value: Any, turn: int, frame: Frame) -> str | None:
    """Keypoints `x, y, visibility`, … in pixels as stored, as JSON."""
    if not value:
        return None
    if not isinstance(value, list) or len(value) % 3 or not all(map(_is_number, value)):
        raise UnusableError("not_keypoints", "its keypoints are no x, y, visibility in a row")
    if not frame.scale_x == frame.scale_y == 1:
        scales = (frame.scale_x, frame.scale_y, 1)
        value = [round(number * scales[at % 3], 2) if at % 3 < 2 else number for at, number in enumerate(value)]
    return as_json(turned.turn_keypoints(value, turn, frame.width, frame.height))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


class _Columns:
    """Collects rows in Arrow chunks, so that a million of them do not live as Python objects."""

    def __init__(self, catalogue: Catalogue, table: Table, link: str, scratch: Path) -> None:
        self._catalogue, self._table, self._link = catalogue, table, link
        self._rows: list[dict[str, Any]] = []
        self._of_shared: list[dict[str, Any]] = []
        self._made: dict[tuple[Any, ...], list[str]] = {}
        fields = [*table.schema, pa.field("rank", pa.int64()), pa.field("natural", pa.string())]
        self._schema = pa.schema(fields)
        self._pile = Pile(scratch / f"ordered-{table.name}", self._schema, len(catalogue.order))

    def add(self, item: ObjectRow, row: Row, place: Place, shape: Shape, own: dict[str, Any]) -> None:
        jobs = [] if place.job_id is None else [place.job_id]
        label_id = self._catalogue.labels[item.label_id]
        is_shared = place.image_id in self._catalogue.shared
        if is_shared:
            key = (place.image_id, label_id, shape.x, shape.y, shape.width, shape.height, shape.segmentation)
            made = self._made.setdefault(key, jobs)
            if made is not jobs and jobs and jobs[0] not in made:
                made.extend(jobs)
                self._catalogue.rejects.left_out(self._table.name, _MADE_AGAIN, 1)
                return
        if item.confidence is not None and item.confidence > 1:
            self._catalogue.correct(self._table.name, item.id, _ABOVE_1, row)
        for correction in shape.corrections:
            self._catalogue.correct(self._table.name, item.id, correction, row)
        (self._of_shared if is_shared else self._rows).append(
            {
                "image_id": place.image_id,
                "label_id": label_id,
                "x": shape.x,
                "y": shape.y,
                "width": shape.width,
                "height": shape.height,
                "area": shape.area,
                "is_crowd": item.iscrowd,
                "confidence": None if item.confidence is None else min(item.confidence, 1.0),
                "source": item.source,
                "attributes": _attributes(item),
                "extra": as_json(item.extra),
                "number": 0,  # given when all are there
                "created_at": item.created_at,
                "job_ids": jobs,
                "rank": self._catalogue.order[place.image_id],
                "natural": _natural(item.id),
                **own,
            }
        )
        if len(self._rows) >= _CHUNK:
            self._flush()

    def add_plain(self, batch: Batch, found: plain.Plain, good: Any, spots: _Spots, at: Any, labels: Any) -> None:
        """Those of a batch that are good, by their places in it."""
        of, count, where = good.tolist(), len(good), pa.array(at[good])
        keys = [batch.keys[n] for n in of]
        links = pa.array([batch.links[n] for n in of], pa.string())
        values: dict[str, Any] = {
            self._table.schema.names[0]: pa.array(keys, pa.string()),
            "image_id": spots.image_ids.take(where),
            "label_id": spots.label_ids.take(pa.array(labels[good])),
            **{name: found.box[good, n] for n, name in enumerate(("x", "y", "width", "height"))},
            "area": found.area[good],
            "is_crowd": np.zeros(count, bool),
            "confidence": [batch.scores[n] for n in of],
            "source": [SOURCE] * count,
            "attributes": [as_json(batch.attributes[n]) for n in of],
            "extra": [as_json(batch.extras[n]) for n in of],
            "number": np.zeros(count, np.int64),
            "job_ids": _lists(spots.jobs.take(where)),
            "rank": spots.ranks.take(where),
            "natural": list(map(_natural, keys)),
            self._link: links,
            "shape": ["polygon"] * count,
            "segmentation": [found.text[n] for n in of],
        }
        arrays = [
            _array(values[of.name], of.type) if of.name in values else pa.nulls(count, of.type) for of in self._schema
        ]
        self._pile.add(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def _flush(self) -> None:
        if self._rows:
            self._pile.add(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def finish(self) -> Ordered:
        self._rows += self._of_shared
        self._flush()
        key = self._table.schema.names[0]
        by = ("rank", "created_at", "natural", key)
        return self._pile.in_order(by, self._table.schema, (key, self._link))


def _array(values: Any, of: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, of)


def _lists(values: pa.Array) -> pa.Array:
    """Each value as a list of it; none as an empty one."""
    there = values.is_valid().to_numpy(zero_copy_only=False)
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *there]), pa.int32()), values.drop_null())


def _natural(key: str) -> str:
    """What sorts the ids of one image as people count."""
    own = key.rpartition("#")[2]
    return own.zfill(20) if own.isdecimal() else _DIGITS.sub(lambda digits: digits[0].zfill(20), key)


def _attributes(item: ObjectRow) -> str | None:
    """Attributes as JSON; a box keeps its rotation there."""
    values = dict(item.attributes) if isinstance(item.attributes, dict) else {}
    rotation = getattr(item, "rotation", 0.0)
    if rotation % 360:
        values["rotation"] = rotation
    return as_json(values)
