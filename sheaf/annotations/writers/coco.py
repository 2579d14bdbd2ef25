"""The COCO export: one JSON per split (or a single one), one object per line, streamed.

Boxes and shapes are in pixels of the exported image. Ids are those that the project gave (`numbers`): the files of
its splits can be joined, and those of the next version compared. Format: https://cocodataset.org/#format-data
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.readers.image_files import stored_path
from sheaf.annotations.readers.turned import turn_box, turn_keypoints, turn_segmentation
from sheaf.annotations.writers.archive import Archive
from sheaf.annotations.writers.image_bytes import write_images
from sheaf.annotations.writers.matching import in_scope, in_set, positions
from sheaf.annotations.writers.report import Counts, write_report, written
from sheaf.annotations.writers.request import (
    CocoOptions,
    DetectionOptions,
    HuggingFaceOptions,
    PanopticOptions,
    SegmentationOptions,
    YoloOptions,
)
from sheaf.annotations.writers.selection import NO_SPLIT, Selection, count_splits, in_one_file, select
from sheaf.errors import UsageError
from sheaf.exports.series import Draft, Written
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

Kind = Literal["detection", "segmentation"]
_AT_ONCE = 2 * 1024  # lines: of more, their values and texts would be most of what an export holds


class _Annotation(NamedTuple):
    """One annotation as the tables have it, in px; `shape`, `attributes`, `keypoints` and `extra` are JSON."""

    x: float
    y: float
    width: float
    height: float
    area: float
    is_crowd: bool
    confidence: float | None
    attributes: str | None
    keypoints: str | None
    extra: str | None
    number: int
    shape: str | None


_COLUMNS = ["image_id", "label_id", *_Annotation._fields[:-1]]
"""What both tables have; the column of the shape has its own name in each."""


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
    extras: list[str | None]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Entries of the COCO list."""
        for number, name, parent, extra in zip(self.numbers, self.names, self.parents, self.extras, strict=True):
            yield {**_parsed(extra), "id": number, "name": name, "supercategory": parent}


def categories(tables: Tables, options: CocoOptions | YoloOptions | HuggingFaceOptions | PanopticOptions) -> Categories:
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
    labels.sort(key=lambda label: label["number"])
    numbers = list(range(1, len(labels) + 1)) if options.labels else [label["number"] for label in labels]
    if isinstance(options, CocoOptions) and options.category_ids == "stable":
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
        [label["extra"] for label in labels],
    )


def _write(draft: Draft, kind: Kind) -> Written:
    draft, warnings = in_one_file(draft, include_unassigned=True, splits="single")
    options: CocoOptions = draft.options
    classes = categories(draft.tables, options)
    selection = select(draft.tables, draft.partition, draft.filter, options, with_files=options.include_images)
    selection.warnings.extend(warnings)
    path = draft.folder / f"{draft.partition}_{kind}.zip"
    writer = CocoWriter(draft, kind, selection, classes)
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


class CocoWriter:
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
        self.head(stream, map(orjson.dumps, self._classes.rows()), images, single=split is None)
        _write_lines(stream, self._annotation_lines(images))
        stream.write(b"\n]}\n")
        self._images_written += len(images)

    def head(self, stream: IO[bytes], classes: Iterable[bytes], images: pa.Table, *, single: bool = False) -> None:
        """The beginning of a COCO file, up to its annotations; with `single` each image says its split."""
        about = {row["name"]: orjson.loads(row["value"]) for row in self._draft.tables.read(schema.ABOUT).to_pylist()}
        info = about.get("info") or {"description": f"{self._draft.partition}: {self._kind}", "version": "1.0"}
        head = b'{"info":' + orjson.dumps(info) + b',\n"licenses":' + orjson.dumps(about.get("licenses") or [])
        stream.write(head + b',\n"categories":[\n')
        _write_lines(stream, iter([list(classes)]))
        stream.write(b'\n],\n"images":[\n')
        _write_lines(stream, self._image_lines(images, single=single))
        stream.write(b'\n],\n"annotations":[\n')

    def masks(self, images: pa.Table) -> Iterator[dict[str, Any]]:
        """Every polygon and mask of some images as an entry of COCO, image by image."""
        for lines in self._lines(images, schema.SEGMENTATIONS, ["segmentation"], _shape):
            yield from map(orjson.loads, lines)
        self._images_written += len(images)

    def boxes(self, images: pa.Table) -> Iterator[dict[str, Any]]:
        """Every box of some images as an entry of COCO, also that of a mask without one."""
        for table, more, without in (
            (schema.DETECTIONS, "outline", None),
            (schema.SEGMENTATIONS, "segmentation", "detection_id"),
        ):
            for lines in self._lines(images, table, [more], _box, without=without):
                yield from map(orjson.loads, lines)
        self._images_written += len(images)

    def _image_lines(self, images: pa.Table, *, single: bool) -> Iterator[list[bytes]]:
        columns = ["number", "name", "width", "height", "split", "extra", "sha256"]
        linked = not self._draft.options.include_images
        for batch in images.select(columns).to_batches(max_chunksize=_AT_ONCE):
            lines = []
            for row in batch.to_pylist():
                size = {"width": row["width"], "height": row["height"]}
                entry = {**_parsed(row["extra"]), "id": row["number"], "file_name": row["name"], **size}
                if linked and row["sha256"]:  # so that the name leads somewhere
                    entry["store_path"] = stored_path(self._draft.partition, row["sha256"])
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
        ids_of = images["number"].to_numpy()
        turned = images["orientation"].to_numpy() if self._draft.options.exif == "transpose" else np.ones(len(images))
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
            picked = batch.filter(pa.array(wanted)).select([*_COLUMNS[2:], more[0]])
            for start in range(0, len(image_at), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                values = [column[part].to_pylist() for column in picked.columns]
                values += [image_at[part].tolist(), class_at[part].tolist()]
                lines = []
                for *said, at, class_no in zip(*values, strict=True):
                    found = _Annotation._make(said)
                    if turned[at] != 1:
                        orientation = int(turned[at])
                        found = _turned(found, orientation, *_as_stored(images, at, orientation))
                    row = _parsed(found.extra) | {
                        "id": found.number,
                        "image_id": int(ids_of[at]),
                        "category_id": self._classes.numbers[class_no],
                        "bbox": found[:4],
                        "area": found.area,
                        "iscrowd": int(found.is_crowd),
                    }
                    entry(row, found.shape)
                    if found.keypoints is not None:
                        row["keypoints"] = orjson.Fragment(found.keypoints)
                    if found.confidence is not None:
                        row["score"] = found.confidence
                    if found.attributes is not None:
                        row["attributes"] = orjson.Fragment(found.attributes)
                    lines.append(orjson.dumps(row))
                yield lines
            self._annotations_written += len(image_at)
            self._per_class += np.bincount(class_at, minlength=len(self._per_class))
            self._annotated[self._images_written + image_at] = True

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


def _as_stored(images: pa.Table, at: int, orientation: int) -> tuple[int, int]:
    """Width and height of an image as stored; the selection has those as it is turned."""
    size = images["width"][at].as_py(), images["height"][at].as_py()
    return size[::-1] if orientation >= 5 else size


def _parsed(extra: str | None) -> dict[str, Any]:
    return orjson.loads(extra) if extra else {}


def _turned(found: _Annotation, orientation: int, width: int, height: int) -> _Annotation:
    """An annotation on the picture as EXIF shows it; width and height are those of the stored picture."""
    how = orientation, width, height
    x, y, box_width, box_height = turn_box(found[:4], *how)
    shape = found.shape and turn_segmentation(found.shape, *how)
    keypoints = found.keypoints and orjson.dumps(turn_keypoints(orjson.loads(found.keypoints), *how)).decode()
    return found._replace(x=x, y=y, width=box_width, height=box_height, shape=shape, keypoints=keypoints)


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
