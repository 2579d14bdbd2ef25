"""Boxes and masks of a project: cleaned one by one, kept in columns, ordered by image.

An annotation made twice with the same label and shape, in two jobs of one image, becomes one that
belongs to both. Not here: what makes a shape usable (`geometry`).
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pyarrow as pa

from sheaf.annotations import geometry, masks
from sheaf.annotations.catalogue import Catalogue, Place
from sheaf.annotations.geometry import Shape, UnusableError
from sheaf.annotations.rows import DetectionRow, ObjectRow, SegmentationRow, checked, reject
from sheaf.annotations.schema import DETECTIONS, SEGMENTATIONS
from sheaf.tables import Table

_CHUNK = 32 * 1024
_DIGITS = re.compile(r"\d+")  # so that `m10` comes after `m9`


def read_detections(catalogue: Catalogue) -> pa.Table:
    """The boxes, ready to be written."""

    def shape(item: DetectionRow, place: Place) -> Shape:
        found = geometry.box((item.x_min, item.y_min, item.x_max, item.y_max), item.rotation, place.frame)
        return masks.crowd(found, place.frame) if item.iscrowd else found

    def own(item: DetectionRow, found: Shape) -> dict[str, Any]:
        return {"detection_id": item.id, "outline": found.segmentation, "segmentation_id": item.segmentation_id}

    return _read(catalogue, DETECTIONS, DetectionRow, shape, own)


def read_segmentations(catalogue: Catalogue) -> pa.Table:
    """The polygons and masks, ready to be written."""

    def shape(item: SegmentationRow, place: Place) -> Shape:
        if item.polygon is not None:
            found = geometry.polygon(geometry.read_rings(item.polygon, place.frame), place.frame)
            found = masks.crowd(found, place.frame) if item.iscrowd else found
        elif item.rle is not None:
            found = masks.rle(item.rle, place.frame)
        else:
            raise UnusableError("it has neither a polygon nor an RLE mask")
        if catalogue.source.pixels and place.frame.scale_x == place.frame.scale_y == 1:
            return geometry.with_stated(found, item.bbox, item.area, is_crowd=item.iscrowd)
        return found

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
    shape: Callable[[Any, Place], Shape],
    own: Callable[[Any, Shape], dict[str, Any]],
) -> pa.Table:
    columns = _Columns(catalogue, table)
    seen: set[str] = set()
    for item, row in checked(catalogue.source, table.name, model, catalogue.rejects):
        place = catalogue.places.get(item.image_id)
        if item.id in seen:
            reason = "the id is there already"
        elif place is None:
            reason = "its image is not in the images"
        elif item.label_id not in catalogue.labels:
            reason = "its label is not in the labels"
        else:
            try:
                found = shape(item, place)
            except UnusableError as error:
                reason = str(error)
            else:
                seen.add(item.id)
                columns.add(item, place, found, own(item, found))
                continue
        reject(catalogue.rejects, table.name, reason, row)
    return columns.finish()


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

    def add(self, item: ObjectRow, place: Place, shape: Shape, own: dict[str, Any]) -> None:
        jobs = [] if place.job_id is None else [place.job_id]
        if place.image_id in self._shared:
            key = (place.image_id, item.label_id, shape.x, shape.y, shape.width, shape.height, shape.segmentation)
            made = self._made.setdefault(key, jobs)
            if made is not jobs and jobs and jobs[0] not in made:
                made.extend(jobs)  # the same annotation from another job
                return
        for correction in shape.corrections:
            self._catalogue.correct(self._table.name, item.id, correction)
        self._jobs.append(jobs)
        self._rows.append(
            {
                "image_id": place.image_id,
                "label_id": item.label_id,
                "x": shape.x,
                "y": shape.y,
                "width": shape.width,
                "height": shape.height,
                "area": shape.area,
                "is_crowd": item.iscrowd,
                "confidence": item.confidence,
                "source": item.source,
                "attributes": _attributes(item),
                "created_at": item.created_at,
                "rank": self._catalogue.order[place.image_id],
                "natural": _DIGITS.sub(lambda digits: digits[0].zfill(20), item.id),
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


def _attributes(item: ObjectRow) -> str | None:
    """Attributes as JSON; a box keeps its rotation there."""
    values = dict(item.attributes) if isinstance(item.attributes, dict) else {}
    rotation = getattr(item, "rotation", 0.0)
    if rotation % 360:
        values["rotation"] = rotation
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode() if values else None


def by_correction(corrections: Iterable[dict[str, str]]) -> dict[str, int]:
    """How many rows were changed in each way, most frequent first."""
    counts: dict[str, int] = {}
    for row in corrections:
        counts[row["correction"]] = counts.get(row["correction"], 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
