"""Boxes and masks of a project: cleaned one by one, kept in columns, ordered by image.

An annotation made twice with the same label and shape, in two jobs of one image, becomes one that
belongs to both. Not here: what makes a shape usable (`geometry`).
"""

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from sheaf.annotations.findings import AMBIGUOUS_IMAGE, REPEATED_KEY, UNKNOWN_IMAGE, UNKNOWN_LABEL, Finding
from sheaf.annotations.readers import geometry, masks, turned
from sheaf.annotations.readers.catalogue import Catalogue, Place
from sheaf.annotations.readers.fields import DetectionRow, ObjectRow, Row, SegmentationRow, as_json, checked, reject
from sheaf.annotations.readers.geometry import Frame, Shape, UnusableError
from sheaf.annotations.schema import DETECTIONS, SEGMENTATIONS
from sheaf.tables.table import Table

_CHUNK = 32 * 1024
_ABOVE_1 = Finding("confidence_above_1", "its confidence is above 1 by rounding: 1 is used")
_MADE_AGAIN = "the same in another job of the image"
Drawn = tuple[Shape, Frame, bool]
"""A shape, the picture it was drawn on, and whether that is the one that EXIF shows."""

_DIGITS = re.compile(r"\d+")  # so that `m10` comes after `m9`


def read_detections(catalogue: Catalogue) -> pa.Table:
    """The boxes, ready to be written."""

    def shape(item: DetectionRow, place: Place) -> Drawn:
        corners, frame = (item.x_min, item.y_min, item.x_max, item.y_max), place.frame
        found = geometry.box(corners, item.rotation, frame)
        return (masks.crowd(found, frame) if item.iscrowd else found), frame, place.shown

    def own(item: DetectionRow, found: Shape) -> dict[str, Any]:
        return {"detection_id": item.id, "outline": found.segmentation, "segmentation_id": item.segmentation_id}

    return _read(catalogue, DETECTIONS, DetectionRow, shape, own)


def read_segmentations(catalogue: Catalogue) -> pa.Table:
    """The polygons and masks, ready to be written."""

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

    return _read(catalogue, SEGMENTATIONS, SegmentationRow, shape, own)


def unlink_missing(data: pa.Table, link: str, there: pa.ChunkedArray) -> pa.Table:
    """Forget the twin of a box or mask where the twin could not be used."""
    import pyarrow.compute as pc

    found = pc.call_function("is_in", [data[link]], pc.SetLookupOptions(value_set=there))
    kept = pc.call_function("if_else", [found, data[link], pa.scalar(None, pa.string())])
    return data.set_column(data.schema.get_field_index(link), data.schema.field(link), kept)


def _read(
    catalogue: Catalogue,
    table: Table,
    model: type[Any],
    shape: Callable[[Any, Place], Drawn],
    own: Callable[[Any, Shape], dict[str, Any]],
) -> pa.Table:
    columns = _Columns(catalogue, table)
    seen: set[str] = set()
    for item, row in checked(catalogue.source, table.name, model, catalogue.rejects):
        place = catalogue.places.get(item.image_id)
        if item.id in seen:
            finding = REPEATED_KEY
        elif place is None:
            finding = AMBIGUOUS_IMAGE if item.image_id in catalogue.ambiguous else UNKNOWN_IMAGE
        elif item.label_id not in catalogue.labels:
            finding = UNKNOWN_LABEL
        else:
            try:
                found, frame, shown = shape(item, place)
                turn = turned.back(place.orientation) if shown else 1
                found = turned.turn_shape(found, turn, frame.width, frame.height)
                points = _keypoints(item.keypoints, turn, frame)
            except UnusableError as error:
                finding = error.finding
            else:
                seen.add(item.id)
                columns.add(item, row, place, found, {**own(item, found), "keypoints": points})
                continue
        reject(catalogue.rejects, table.name, finding, row)
    return columns.finish()


def _keypoints(value: Any, turn: int, frame: Frame) -> str | None:
    """Keypoints `x, y, visibility`, … in pixels as stored, as JSON."""
    if not value:
        return None
    if not isinstance(value, list) or len(value) % 3 or any(type(number) not in (int, float) for number in value):
        raise UnusableError("not_keypoints", "its keypoints are no x, y, visibility in a row")
    return as_json(turned.turn_keypoints(value, turn, frame.width, frame.height))


class _Columns:
    """Collects rows in Arrow chunks, so that a million of them do not live as Python objects."""

    def __init__(self, catalogue: Catalogue, table: Table) -> None:
        self._catalogue, self._table = catalogue, table
        self._rows: list[dict[str, Any]] = []
        self._chunks: list[pa.RecordBatch] = []
        self._jobs: list[list[str]] = []
        shared: dict[str, int] = {}
        for row in catalogue.rows["placements"]:
            shared[row["image_id"]] = shared.get(row["image_id"], 0) + 1
        self._shared = {image for image, count in shared.items() if count > 1}
        self._made: dict[tuple[Any, ...], list[str]] = {}
        fields = [table.schema.field(name) for name in table.schema.names if name != "job_ids"]
        self._schema = pa.schema([*fields, pa.field("rank", pa.int64()), pa.field("natural", pa.string())])

    def add(self, item: ObjectRow, row: Row, place: Place, shape: Shape, own: dict[str, Any]) -> None:
        jobs = [] if place.job_id is None else [place.job_id]
        label_id = self._catalogue.labels[item.label_id]
        if place.image_id in self._shared:
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
        self._jobs.append(jobs)
        self._rows.append(
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
                "rank": self._catalogue.order[place.image_id],
                "natural": _natural(item.id),
                **own,
            }
        )
        if len(self._rows) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._chunks.append(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def finish(self) -> pa.Table:
        self._flush()
        data = pa.Table.from_batches(self._chunks, schema=self._schema)
        jobs = pa.array(self._jobs, type=self._table.schema.field("job_ids").type)
        data = data.append_column("job_ids", jobs)
        order = ("rank", "created_at", "natural", self._table.schema.names[0])
        return data.sort_by([(name, "ascending") for name in order]).select(self._table.schema.names)


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
