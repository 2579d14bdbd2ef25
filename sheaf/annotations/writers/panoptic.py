"""The panoptic export: for each image a PNG in which every pixel belongs to one object or to none, and what they are.

`coco_panoptic` is COCO's own form: the colour of a pixel is the id of its segment, R + 256 G + 65536 B, and 0 is none.
`class_png` is what semantic segmentation trains on: the value of a pixel is the category's id, and 0 is background.
Where objects overlap, the smaller one is on top, and crowds lie below all others. A box without a mask covers nothing
and is counted. Format: https://cocodataset.org/#format-data.
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.readers.paths import distinct
from sheaf.annotations.writers.archive import Archive
from sheaf.annotations.writers.coco import Categories, CocoWriter, categories
from sheaf.annotations.writers.image_bytes import write_images
from sheaf.annotations.writers.matching import in_scope, in_set, positions
from sheaf.annotations.writers.report import REPORT, Counts, write_report, written
from sheaf.annotations.writers.request import PanopticOptions
from sheaf.annotations.writers.selection import NO_SPLIT, ORDER, Selection, count_splits, in_one_file, select
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import opened

if TYPE_CHECKING:
    import zipfile

    Pixels = np.ndarray[Any, np.dtype[Any]]

CLASSES = "classes.json"
_MOST_SEGMENTS = 1 << 24
_HIDDEN = "hidden by other objects"
_NO_MASK = "a box without a mask"


def write_panoptic(draft: Draft) -> Written:
    """Write a PNG for each image, and the JSON of each split or the list of classes."""
    draft, warnings = in_one_file(draft, include_unassigned=True)
    options: PanopticOptions = draft.options
    classes = categories(draft.tables, options)
    selection = select(draft.tables, draft.partition, draft.filter, options, with_files=options.include_images)
    selection.warnings.extend(warnings)
    reader = CocoWriter(draft, "segmentation", selection, classes)
    tally = _Tally(Counter(), Counter(selection.dropped))
    tally.dropped.update(_boxes_only(selection, classes))
    path = draft.folder / f"{draft.partition}_panoptic.zip"
    with Archive(path) as archive:
        if options.format == "class_png":
            with archive.document(CLASSES) as stream:
                stream.write(orjson.dumps([{"id": 0, "name": "background"}, *classes.rows()]))
        for split in ORDER:
            images = selection.images.filter(in_set(selection.images["split"], pa.array([split], pa.string())))
            if len(images):
                _write_split(archive, draft, _suffix(split), images, reader, classes, tally)
        if options.include_images and not draft.preview:
            names, splits = (selection.images[column].to_pylist() for column in ("name", "split"))
            entries = [f"images{_folder(split)}/{name}" for name, split in zip(names, splits, strict=True)]
            write_images(archive, draft, selection.images, entries)
        counts = _counts(selection, classes, tally)
        write_report(archive, draft, "panoptic", selection, counts)
    return written(counts, {path.name: counts.annotation_count})


def verify_panoptic(folder: Path, written: Written) -> None:
    """Read every PNG back: its size, its segments or classes, and of each segment area and box.

    Raises:
        VerificationError: naming the first fault.
    """
    (path,) = folder.glob("*.zip")
    with opened(path) as archive:
        if broken := archive.testzip():
            raise VerificationError(f"{path.name}: {broken} does not match its checksum.")
        report = orjson.loads(archive.read(REPORT))
        names = archive.namelist()
        if CLASSES in names:
            numbers = [row["id"] for row in orjson.loads(archive.read(CLASSES))]
            masks = [name for name in names if name.startswith("masks")]
            for name in masks:
                if not np.isin(_pixels(archive, name), numbers).all():
                    raise VerificationError(f"{name} has a pixel of no class.")
            images, segments = len(masks), report["annotation_count"]
        else:
            found = [_check_document(archive, name) for name in names if name.endswith(".json") and name != REPORT]
            images, segments = (sum(numbers) for numbers in zip(*found, strict=True))
    if (images, segments) != (report["image_count"], report["annotation_count"]) or images != written.record_count:
        raise VerificationError(f"{path.name}: the pictures do not hold what the report says.")


@dataclass
class _Tally:
    """What was painted so far: objects by class, what was left out by reason, images with any object."""

    per_class: Counter[int]
    dropped: Counter[str]
    annotated: int = 0


def _suffix(split: str) -> str:
    return "" if split == NO_SPLIT else f"_{split}"


def _folder(split: str) -> str:
    return "" if split == NO_SPLIT else f"/{split}"


def _write_split(
    archive: Archive,
    draft: Draft,
    suffix: str,
    images: pa.Table,
    reader: CocoWriter,
    classes: Categories,
    tally: _Tally,
) -> None:
    by_class = draft.options.format == "class_png"
    folder = f"masks{suffix.replace('_', '/')}" if by_class else f"annotations/panoptic{suffix}"
    columns = ("number", "name", "width", "height")
    pictures = distinct(f"{name.rpartition('.')[0] or name}.png" for name in images["name"].to_pylist())
    objects = groupby(reader.masks(images), lambda row: row["image_id"])
    waiting = next(objects, None)
    lines = []
    for number, _, width, height, picture in zip(
        *(images[column].to_pylist() for column in columns), pictures, strict=True
    ):
        rows: list[dict[str, Any]] = []
        if waiting and waiting[0] == number:
            rows = list(waiting[1])
            waiting = next(objects, None)
        canvas = _painted(rows, width, height)
        segments = list(_segments(rows, canvas))
        tally.dropped.update([_HIDDEN] * (len(rows) - len(segments)))
        tally.per_class.update(segment["category_id"] for segment in segments)
        tally.annotated += bool(segments)
        lines.append(orjson.dumps({"image_id": number, "file_name": picture, "segments_info": segments}))
        if not draft.preview:
            value_of = np.zeros(len(rows) + 1, np.uint32)
            value_of[1:] = [row["category_id"] for row in rows] if by_class else _ids(rows)
            archive.image(f"{folder}/{picture}", [_png(value_of[canvas], max(classes.numbers), by_class=by_class)])
    if not by_class:
        with archive.document(f"annotations/panoptic{suffix}.json") as stream:
            things = ({"isthing": 1, **row} for row in classes.rows())
            reader.head(stream, map(orjson.dumps, things), images)
            stream.write(b",\n".join(lines) + b"\n]}\n")


def _painted(rows: list[dict[str, Any]], width: int, height: int) -> "Pixels":
    """For each pixel which of the rows it belongs to, from 1; 0 for none."""
    from pycocotools import mask

    canvas = np.zeros((height, width), np.int32)
    order = sorted(range(len(rows)), key=lambda at: (not rows[at]["iscrowd"], -rows[at]["area"], at))
    for at in order:
        shape: Any = rows[at]["segmentation"]
        packed: Any = mask.merge(mask.frPyObjects(shape, height, width)) if isinstance(shape, list) else shape
        canvas[mask.decode(packed).astype(bool)] = at + 1
    return canvas


def _ids(rows: list[dict[str, Any]]) -> list[int]:
    """Ids of the segments of an image: those of their annotations, where they fit into a colour."""
    own = [row["id"] for row in rows]
    return own if max(own, default=0) < _MOST_SEGMENTS else list(range(1, len(rows) + 1))


def _segments(rows: list[dict[str, Any]], canvas: "Pixels") -> Iterator[dict[str, Any]]:
    """The rows of which anything is to be seen, as COCO's `segments_info`."""
    areas = np.bincount(canvas.ravel(), minlength=len(rows) + 1).tolist()
    for at, (row, key) in enumerate(zip(rows, _ids(rows), strict=True), 1):
        if areas[at]:
            seen = canvas == at
            yield {
                "id": key,
                "category_id": row["category_id"],
                "area": areas[at],
                "bbox": _extent(seen),
                "iscrowd": row["iscrowd"],
            }


def _extent(seen: "Pixels") -> list[int]:
    """The box of what is true, in px."""
    columns, lines = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    x, y = int(columns[0]), int(lines[0])
    return [x, y, int(columns[-1]) - x + 1, int(lines[-1]) - y + 1]


def _png(values: "Pixels", highest: int, *, by_class: bool) -> bytes:
    from PIL import Image

    if not by_class:
        picture = Image.fromarray(np.stack([values & 255, values >> 8 & 255, values >> 16], 2).astype(np.uint8))
    elif highest > 255:
        picture = Image.fromarray(values.astype(np.uint16))
    else:
        picture = Image.fromarray(values.astype(np.uint8))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _boxes_only(selection: Selection, classes: Categories) -> Counter[str]:
    ids = selection.images["image_id"].combine_chunks()
    count = 0
    columns = ["image_id", "label_id", "segmentation_id", "job_ids"]
    for batch in selection.tables.batches(schema.DETECTIONS, columns):
        wanted = (positions(batch.column("image_id"), ids) >= 0) & in_scope(batch, selection.scope)
        wanted &= positions(batch.column("label_id"), classes.label_ids) >= 0
        count += int((wanted & batch.column("segmentation_id").is_null().to_numpy(zero_copy_only=False)).sum())
    return Counter({_NO_MASK: count} if count else {})


def _counts(selection: Selection, classes: Categories, tally: _Tally) -> Counts:
    warnings = list(selection.warnings)
    if bare := len(selection.images) - tally.annotated:
        warnings.append(f"Images without annotations: {bare}.")
    names = dict(zip(classes.numbers, classes.names, strict=True))
    return Counts(
        image_count=len(selection.images),
        annotation_count=tally.per_class.total(),
        class_counts={name: tally.per_class[number] for number, name in names.items() if tally.per_class[number]},
        split_counts=count_splits(selection.images, selection),
        dropped=dict(tally.dropped),
        warnings=warnings,
    )


def _check_document(archive: "zipfile.ZipFile", name: str) -> tuple[int, int]:
    """Images and segments of one file."""
    document = orjson.loads(archive.read(name))
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    known = {category["id"] for category in document["categories"]}
    segments = 0
    for annotation in document["annotations"]:
        entry = f"{name.removesuffix('.json')}/{annotation['file_name']}"
        pixels = _pixels(archive, entry)
        if pixels.shape != sizes.pop(annotation["image_id"], None):
            raise VerificationError(f"{entry} is not as large as its image, or is of none.")
        values, areas = np.unique(pixels, return_counts=True)
        drawn = {value: area for value, area in zip(values.tolist(), areas.tolist(), strict=True) if value}
        told = {segment["id"]: segment["area"] for segment in annotation["segments_info"]}
        if drawn != told or len(told) < len(annotation["segments_info"]):
            raise VerificationError(f"{entry} does not hold the segments that {name} says.")
        for segment in annotation["segments_info"]:
            if segment["category_id"] not in known or _extent(pixels == segment["id"]) != segment["bbox"]:
                raise VerificationError(f"{entry}: segment {segment['id']} has another box, or no category.")
        segments += len(told)
    if sizes:
        raise VerificationError(f"{name}: image {next(iter(sizes))} has no picture.")
    return len(document["images"]), segments


def _pixels(archive: "zipfile.ZipFile", name: str) -> "Pixels":
    """The values of a PNG; of a coloured one the ids."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            values = np.asarray(picture).astype(np.int64)
    except (KeyError, OSError, ValueError) as error:
        raise VerificationError(f"{name} is no picture: {error}.") from error
    return values @ np.array([1, 256, 65536]) if values.ndim == 3 else values
