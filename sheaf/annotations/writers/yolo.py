"""The YOLO export: a text file per image, `data.yaml`, and the images, as ultralytics loads them.

A line is the class and fractions of width and height: a box by centre and size, an outline point by point, or four
corners. Classes count from 0 in the order of the category ids. An outline of several parts becomes one, joined by
lines without width; a mask becomes its outline. Crowds have no place in YOLO and are counted.
Format: https://docs.ultralytics.com/datasets/.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import yaml

from sheaf.annotations import schema
from sheaf.annotations.readers.paths import distinct
from sheaf.annotations.readers.turned import turn_box, turn_segmentation
from sheaf.annotations.writers.archive import Archive
from sheaf.annotations.writers.coco import Categories, categories
from sheaf.annotations.writers.image_bytes import write_images
from sheaf.annotations.writers.matching import in_scope, positions
from sheaf.annotations.writers.report import REPORT, Counts, write_report, written
from sheaf.annotations.writers.request import YoloOptions
from sheaf.annotations.writers.selection import Selection, count_splits, select
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import opened
from sheaf.tables.table import Table

DATA = "data.yaml"
_COLUMNS = ["image_id", "label_id", "x", "y", "width", "height", "is_crowd"]
_NUMBERS = {"detect": 4, "obb": 8}


def write_yolo(draft: Draft) -> Written:
    """Write labels, images and data.yaml."""
    options: YoloOptions = draft.options
    classes = categories(draft.tables, options)
    selection = select(draft.tables, draft.partition, draft.filter, options, with_files=options.include_images)
    images = selection.images
    entries = _entries(images)
    lines, counts = _lines(selection, classes, options)
    path = draft.folder / f"{draft.partition}_yolo.zip"
    with Archive(path) as archive:
        with archive.document(DATA) as stream:
            stream.write(_data_yaml(images, classes, options, counts.warnings))
        for entry, found in zip(entries, lines, strict=True):
            with archive.document(f"labels/{entry.rpartition('.')[0]}.txt") as stream:
                stream.write(b"".join(found))
        if options.include_images and not draft.preview:
            write_images(archive, draft, images, [f"images/{entry}" for entry in entries])
        write_report(archive, draft, "yolo", selection, counts)
    return written(counts, {Path(path).name: counts.annotation_count})


def verify_yolo(folder: Path, written: Written) -> None:
    """Check classes, coordinates and counts of every label file, and that each image has one.

    Raises:
        VerificationError: naming the first fault.
    """
    (path,) = folder.glob("*.zip")
    annotations = 0
    with opened(path) as archive:
        if broken := archive.testzip():
            raise VerificationError(f"{path.name}: {broken} does not match its checksum.")
        report = orjson.loads(archive.read(REPORT))
        data = yaml.safe_load(archive.read(DATA))
        names = archive.namelist()
        labels = [name for name in names if name.startswith("labels/")]
        of_images = {f"labels/{name[7:].rpartition('.')[0]}.txt" for name in names if name.startswith("images/")}
        if of_images and of_images != set(labels):
            raise VerificationError(f"{path.name}: the images are not those of the labels.")
        wanted = _NUMBERS.get(report["options"]["task"])
        for name in labels:
            for line in archive.read(name).splitlines():
                number, *rest = line.split()
                values = [float(value) for value in rest]
                fits = len(values) == wanted if wanted else len(values) >= 6 and not len(values) % 2
                if int(number) not in data["names"] or not fits or min(values) < 0 or max(values) > 1:
                    raise VerificationError(f"{name}: {line.decode()[:80]!r} is no line of YOLO.")
                annotations += 1
    if annotations != report["annotation_count"] or report["image_count"] != written.record_count != len(labels):
        raise VerificationError(f"{path.name}: the label files do not hold what the report says.")


def _entries(images: pa.Table) -> list[str]:
    """`split/name` of each image; no two of a split share their name but for the ending, as their labels would."""
    wanted = [
        f"{split}/{name}" for split, name in zip(*(images[c].to_pylist() for c in ("split", "name")), strict=True)
    ]
    stems = distinct(name.rpartition(".")[0] or name for name in wanted)
    return [f"{stem}.{name.rpartition('.')[2]}" for stem, name in zip(stems, wanted, strict=True)]


def _data_yaml(images: pa.Table, classes: Categories, options: YoloOptions, warnings: list[str]) -> bytes:
    splits = list(dict.fromkeys(images["split"].to_pylist()))
    warnings += [
        f"There is no image in {name}, which ultralytics needs." for name in ("train", "val") if name not in splits
    ]
    data = {
        "path": ".",
        **{split: f"images/{split}" for split in splits},
        "task": options.task,
        "nc": len(classes.names),
        "names": dict(enumerate(classes.names)),
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def _lines(selection: Selection, classes: Categories, options: YoloOptions) -> tuple[list[list[bytes]], Counts]:
    images = selection.images
    lines: list[list[bytes]] = [[] for _ in range(len(images))]
    dropped, per_class = Counter(selection.dropped), Counter[str]()
    for at, label, points, crowd in _objects(selection, classes, options):
        if crowd:
            dropped["a crowd, which YOLO does not know"] += 1
            continue
        numbers = " ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in points)
        lines[at].append(f"{label} {numbers}\n".encode())
        per_class[classes.names[label]] += 1
    warnings = list(selection.warnings)
    if bare := sum(not found for found in lines):
        warnings.append(f"Images without annotations: {bare}.")
    return lines, Counts(
        image_count=len(images),
        annotation_count=per_class.total(),
        class_counts={name: per_class[name] for name in classes.names if per_class[name]},
        split_counts=count_splits(images, selection),
        dropped=dict(dropped),
        warnings=warnings,
    )


def _objects(
    selection: Selection, classes: Categories, options: YoloOptions
) -> Iterator[tuple[int, int, list[float], bool]]:
    """Position of the image, class, fractions, and whether it is a crowd, of every object."""
    kinds: list[tuple[Table, str, str | None]] = [
        (schema.DETECTIONS, "outline", "segmentation_id" if options.task == "segment" else None),
        (schema.SEGMENTATIONS, "segmentation", None if options.task == "segment" else "detection_id"),
    ]
    images = selection.images
    ids = images["image_id"].combine_chunks()
    sizes = list(zip(images["width"].to_pylist(), images["height"].to_pylist(), strict=True))
    turns = images["orientation"].to_pylist() if options.exif == "transpose" else [1] * len(images)
    for table, shape_column, twin in kinds:
        columns = [*_COLUMNS, shape_column, "job_ids", *([twin] if twin else [])]
        for batch in selection.tables.batches(table, columns):
            image_at = positions(batch.column("image_id"), ids)
            class_at = positions(batch.column("label_id"), classes.label_ids)
            wanted = (image_at >= 0) & (class_at >= 0) & in_scope(batch, selection.scope)
            if twin:  # the other table has it
                wanted &= batch.column(twin).is_null().to_numpy(zero_copy_only=False)
            picked = batch.filter(pa.array(wanted))
            values = zip(*(picked.column(name).to_pylist() for name in (*_COLUMNS[2:], shape_column)), strict=True)
            for at, label, (*box, crowd, shape) in zip(
                image_at[wanted].tolist(), class_at[wanted].tolist(), values, strict=True
            ):
                size, turn = sizes[at], turns[at]
                if turn != 1:
                    stored = size[::-1] if turn >= 5 else size
                    box = turn_box(tuple(box), turn, *stored)
                    shape = shape and turn_segmentation(shape, turn, *stored)
                points = _points(box, shape, options.task)
                fractions = [min(max(value / size[place % 2], 0.0), 1.0) for place, value in enumerate(points)]
                yield at, label, fractions, crowd


def _points(box: Any, shape: str | None, task: str) -> list[float]:
    x, y, width, height = box
    if task == "detect":
        return [x + width / 2, y + height / 2, width, height]
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    if not shape:
        return corners
    value: Any = orjson.loads(shape)
    rings = _outlines(value) if isinstance(value, dict) else value
    if task == "obb":
        return rings[0] if len(rings) == 1 and len(rings[0]) == 8 else corners
    return _joined(rings) or corners


def _outlines(mask: Any) -> list[list[float]]:
    """The outlines of a mask along the edges of its pixels, those of holes too."""
    import shapely
    from pycocotools import mask as masks

    picture: Any = np.pad(masks.decode(mask), ((1, 1), (0, 0))).astype(np.int8)
    columns, starts = np.nonzero(np.diff(picture, axis=0).T == 1)
    _, ends = np.nonzero(np.diff(picture, axis=0).T == -1)
    whole = shapely.simplify(shapely.union_all(shapely.box(columns, starts, columns + 1, ends)), 0)
    parts = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return [[number for point in ring.coords[:-1] for number in point] for ring in rings]


def _joined(rings: list[list[float]]) -> list[float]:
    """Several rings as one: from the first point of the first to each other ring, around it, and back."""
    if not rings:
        return []
    start = rings[0][:2]
    found = list(rings[0])
    for ring in rings[1:]:
        found += [*start, *ring, *ring[:2]]
    return found if len(rings) == 1 else [*found, *start]
