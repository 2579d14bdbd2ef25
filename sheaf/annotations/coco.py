"""The COCO export: one JSON per split (or a single one), one object per line, streamed.

Boxes and shapes are in pixels of the exported image. Numbering is dense over the whole export, so
that the files of its splits can be joined. Format: https://cocodataset.org/#format-data
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.archive import Archive
from sheaf.annotations.export_report import Counts, write_report, written
from sheaf.annotations.image_export import write_images
from sheaf.annotations.matching import in_scope, in_set, positions
from sheaf.annotations.requests import CocoOptions, DetectionOptions, SegmentationOptions
from sheaf.annotations.selection import NO_SPLIT, Selection, count_splits, select, tables_for
from sheaf.annotations.snapshots import ProjectTables
from sheaf.annotations.turned import TURNED_MASK, turn
from sheaf.errors import UsageError
from sheaf.exports.series import Draft, Written
from sheaf.tables import Table

Kind = Literal["detection", "segmentation"]
_COLUMNS = ["image_id", "label_id", "x", "y", "width", "height", "area", "is_crowd", "confidence", "attributes"]


def write_detection(draft: Draft) -> Written:
    """Write bounding boxes."""
    return _write(draft, "detection")


def write_segmentation(draft: Draft) -> Written:
    """Write polygons and masks."""
    return _write(draft, "segmentation")


@dataclass(frozen=True)
class Categories:
    """The classes of an export: label ids, the ids that COCO gets, and names, in one order."""

    label_ids: pa.Array
    numbers: list[int]
    names: list[str]
    parents: list[str]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Entries of the COCO list."""
        for number, name, parent in zip(self.numbers, self.names, self.parents, strict=True):
            yield {"id": number, "name": name, "supercategory": parent}


def categories(tables: ProjectTables, options: CocoOptions) -> Categories:
    """The labels that are asked for, in the project's order.

    Raises:
        UsageError: a label the project does not have, or ids that cannot be kept.
    """
    labels = sorted(tables.read(schema.LABELS).to_pylist(), key=lambda label: label["position"])
    known = {label["name"] for label in labels}
    for name in options.labels:
        if name not in known:
            raise UsageError(f"The project has no label {name!r}: there are {', '.join(sorted(known)[:20]) or 'none'}.")
    if options.labels:
        labels = [label for label in labels if label["name"] in options.labels]
    numbers = list(range(1, len(labels) + 1))
    if options.category_ids == "stable":
        if wrong := next((label for label in labels if not label["label_id"].isdecimal()), None):
            raise UsageError(
                f"category_ids=stable needs labels numbered by their source, but the id of {wrong['name']!r} is "
                f"{wrong['label_id']!r}: ask for category_ids=dense."
            )
        numbers = [int(label["label_id"]) for label in labels]
    return Categories(
        pa.array([label["label_id"] for label in labels], pa.string()),
        numbers,
        [label["name"] for label in labels],
        [label["supercategory"] for label in labels],
    )


def _write(draft: Draft, kind: Kind) -> Written:
    options: CocoOptions = draft.options
    tables = tables_for(draft.store, draft.partition, draft.filter, options)
    classes = categories(tables, options)
    selection = select(tables, draft.partition, draft.filter, options, with_files=options.include_images)
    path = draft.folder / f"{draft.partition}_{kind}.zip"
    writer = _Writer(draft, kind, selection, classes)
    with Archive(path) as archive:
        for name, split in _files(selection, options):
            with archive.document(f"annotations/{name}") as stream:
                writer.document(stream, split)
        counts = writer.counts()
        if options.include_images and not draft.preview:
            write_images(archive, draft, selection.images, _image_names(selection, options))
        write_report(archive, draft, kind, selection, counts)
    return written(counts, {Path(path).name: counts.annotation_count})


def _files(selection: Selection, options: CocoOptions) -> list[tuple[str, str | None]]:
    """File names with the split each holds; None for all of them."""
    if options.splits == "single":
        return [("instances.json", None)]
    present = dict.fromkeys(selection.images["split"].to_pylist())
    return [(f"instances_{split}.json", split) for split in present]


def _image_names(selection: Selection, options: CocoOptions) -> list[str]:
    """Archive entries of the images; below the folder of a split, `file_name` is the path."""
    names, splits = selection.images["name"].to_pylist(), selection.images["split"].to_pylist()
    if options.splits == "single":
        return [f"images/{name}" for name in names]
    return [f"images/{split}/{name}" for name, split in zip(names, splits, strict=True)]


class _Writer:
    """Writes the documents one after the other and counts what they hold."""

    def __init__(self, draft: Draft, kind: Kind, selection: Selection, classes: Categories) -> None:
        self._draft, self._kind, self._selection, self._classes = draft, kind, selection, classes
        self._images_written = self._annotations_written = 0
        self._per_class = np.zeros(len(classes.numbers), np.int64)
        self._annotated = np.zeros(len(selection.images), bool)
        self._dropped: Counter[str] = Counter(selection.dropped)

    def document(self, stream: IO[bytes], split: str | None) -> None:
        """One COCO file: the images of a split, or all."""
        images = self._selection.images
        if split is not None:
            images = images.filter(in_set(images["split"], pa.array([split], pa.string())))
        info = {"description": f"{self._draft.partition}: {self._kind}", "version": "1.0"}
        stream.write(b'{"info":' + orjson.dumps(info) + b',\n"licenses":[],\n"categories":[\n')
        _write_lines(stream, iter([[orjson.dumps(row) for row in self._classes.rows()]]))
        stream.write(b'\n],\n"images":[\n')
        _write_lines(stream, self._image_lines(images, single=split is None))
        stream.write(b'\n],\n"annotations":[\n')
        _write_lines(stream, self._annotation_lines(images))
        stream.write(b"\n]}\n")
        self._images_written += len(images)

    def _image_lines(self, images: pa.Table, *, single: bool) -> Iterator[list[bytes]]:
        number = self._images_written
        for batch in images.select(["name", "width", "height", "split"]).to_batches(max_chunksize=2048):
            lines = []
            for row in batch.to_pylist():
                number += 1
                entry = {"id": number, "file_name": row["name"], "width": row["width"], "height": row["height"]}
                if single:
                    entry["split"] = None if row["split"] == NO_SPLIT else row["split"]
                lines.append(orjson.dumps(entry))
            yield lines

    def _annotation_lines(self, images: pa.Table) -> Iterator[list[bytes]]:
        if self._kind == "detection":
            yield from self._lines(images, schema.DETECTIONS, ["outline"], _box)
            if isinstance(self._draft.options, DetectionOptions) and self._draft.options.bbox_from_segmentation:
                yield from self._lines(images, schema.SEGMENTATIONS, ["segmentation"], _box, without="detection_id")
        else:
            yield from self._lines(images, schema.SEGMENTATIONS, ["segmentation"], _shape)
            if isinstance(self._draft.options, SegmentationOptions) and self._draft.options.bbox_to_polygon:
                yield from self._lines(images, schema.DETECTIONS, ["outline"], _outline, without="segmentation_id")

    def _lines(
        self, images: pa.Table, table: Table, more: list[str], entry: Any, without: str | None = None
    ) -> Iterator[list[bytes]]:
        """Annotations of the images, in the order of the table, as JSON; `without` leaves out twins."""
        ids = images["image_id"].combine_chunks()
        turned = images["orientation"].to_numpy() >= 5
        exif = self._draft.options.exif
        columns = [*_COLUMNS, *more, "job_ids", *([without] if without else [])]
        for batch in self._selection.tables.batches(table, columns):
            image_at = positions(batch.column("image_id"), ids)
            class_at = positions(batch.column("label_id"), self._classes.label_ids)
            wanted = (image_at >= 0) & (class_at >= 0) & in_scope(batch, self._selection.scope)
            if without:
                wanted &= batch.column(without).is_null().to_numpy(zero_copy_only=False)
            if not wanted.any():
                continue
            image_at, class_at = image_at[wanted], class_at[wanted]
            batch = batch.filter(pa.array(wanted))
            usable = np.ones(len(image_at), bool)
            values = [batch.column(name).to_pylist() for name in (*_COLUMNS[2:], more[0])]
            lines = []
            for position, (x, y, width, height, area, crowd, confidence, attributes, shape) in enumerate(
                zip(*values, strict=True)
            ):
                at = int(image_at[position])
                if turned[at]:
                    size = images["width"][at].as_py(), images["height"][at].as_py()
                    moved = turn((x, y, width, height), shape, size, transpose=exif == "transpose")
                    if moved is None:
                        usable[position] = False
                        self._dropped[TURNED_MASK] += 1
                        continue
                    (x, y, width, height), shape = moved
                self._annotations_written += 1
                row = {
                    "id": self._annotations_written,
                    "image_id": self._images_written + at + 1,
                    "category_id": self._classes.numbers[class_at[position]],
                    "bbox": [x, y, width, height],
                    "area": area,
                    "iscrowd": int(crowd),
                }
                entry(row, shape)
                if confidence is not None:
                    row["score"] = confidence
                if attributes is not None:
                    row["attributes"] = orjson.Fragment(attributes)
                lines.append(orjson.dumps(row))
            self._per_class += np.bincount(class_at[usable], minlength=len(self._per_class))
            self._annotated[self._images_written + image_at[usable]] = True
            yield lines

    def counts(self) -> Counts:
        """What all documents together hold."""
        warnings = list(self._selection.warnings)
        bare = int((~self._annotated).sum())
        if not self._annotations_written:
            warnings.append("No annotations found for the selected images.")
        elif bare:
            warnings.append(f"Images without annotations: {bare}.")
        return Counts(
            image_count=self._images_written,
            annotation_count=self._annotations_written,
            class_counts={
                name: count for name, count in zip(self._classes.names, self._per_class.tolist(), strict=True) if count
            },
            split_counts=count_splits(self._selection.images, self._selection),
            dropped=dict(self._dropped),
            warnings=warnings,
        )


def _box(row: dict[str, Any], shape: str | None) -> None:
    """A box; a crowd carries its mask, since COCO knows no crowd without one."""
    if row["iscrowd"] and shape:
        row["segmentation"] = orjson.Fragment(shape)
    else:
        row["area"] = round(row["bbox"][2] * row["bbox"][3], 4)


def _shape(row: dict[str, Any], shape: str) -> None:
    row["segmentation"] = orjson.Fragment(shape)


def _outline(row: dict[str, Any], shape: str | None) -> None:
    """A box as a polygon of four corners, turned where the box was."""
    if shape is None:
        x, y, width, height = row["bbox"]
        right, bottom = round(x + width, 2), round(y + height, 2)
        row["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
        return
    row["segmentation"] = orjson.Fragment(shape)
    if not row["iscrowd"]:
        row["area"] = round(sum(_ring_area(ring) for ring in orjson.loads(shape)), 4)


def _ring_area(ring: list[float]) -> float:
    xs, ys = np.array(ring[0::2]), np.array(ring[1::2])
    return float(abs(np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1))) / 2)


def _write_lines(stream: IO[bytes], groups: Iterator[list[bytes]]) -> None:
    """Lines with commas between them, not after the last."""
    comma = b""
    for lines in groups:
        if lines:
            stream.write(comma + b",\n".join(lines))
            comma = b",\n"
