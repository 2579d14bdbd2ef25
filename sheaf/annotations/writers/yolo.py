"""The YOLO export: a text file per image, `data.yaml`, and the images, as ultralytics loads them.

A line is the class and fractions of width and height: a box by centre and size, an outline point by point, or four
corners. Classes count from 0 in the order of the category ids. An outline of several parts becomes one, joined by
lines without width; a mask becomes its outline. Crowds have no place in YOLO and are counted.
Format: https://docs.ultralytics.com/datasets/.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import yaml

from sheaf.annotations import schema
from sheaf.annotations.readers.paths import distinct
from sheaf.annotations.readers.turned import turn_box, turn_segmentation
from sheaf.annotations.writers import yolo_text
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
            archive.numbers(f"labels/{entry.rpartition('.')[0]}.txt", b"".join(found))
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
    dropped = Counter(selection.dropped)
    per_class = np.zeros(len(classes.names), np.int64)
    for found in _objects(selection, classes, options):
        if crowds := int(found.crowd.sum()):
            dropped["a crowd, which YOLO does not know"] += crowds
        kept = found.kept()
        if not len(kept.image):
            continue
        text, ends = yolo_text.lines(kept.label, *_fractions(kept, options.task))
        first = np.flatnonzero(np.diff(kept.image, prepend=-1))  # of the objects of one image in a row
        starts = np.concatenate([[0], ends])[first].tolist()
        for at, start, end in zip(kept.image[first].tolist(), starts, [*starts[1:], len(text)], strict=True):
            lines[at].append(text[start:end])
        per_class += np.bincount(kept.label, minlength=len(per_class))
    warnings = list(selection.warnings)
    if bare := sum(not found for found in lines):
        warnings.append(f"Images without annotations: {bare}.")
    return lines, Counts(
        image_count=len(images),
        annotation_count=int(per_class.sum()),
        class_counts={name: count for name, count in zip(classes.names, per_class.tolist(), strict=True) if count},
        split_counts=count_splits(images, selection),
        dropped=dict(dropped),
        warnings=warnings,
    )


@dataclass(frozen=True)
class _Objects:
    """Some objects in columns, on their images as these are exported.

    Attributes:
        image, label: position of the image, and class.
        size: width and height of the image, px.
        box: x, y, width and height, px.
        shape: COCO segmentation JSON, where there is one.
        crowd: whether it is a crowd.
    """

    image: Any
    label: Any
    size: Any
    box: Any
    shape: pa.Array
    crowd: Any

    def kept(self) -> "_Objects":
        """Those that are no crowds."""
        if not self.crowd.any():
            return self
        own = ~self.crowd
        shapes = self.shape.filter(pa.array(own))
        return _Objects(self.image[own], self.label[own], self.size[own], self.box[own], shapes, self.crowd[own])


def _objects(selection: Selection, classes: Categories, options: YoloOptions) -> Iterator[_Objects]:
    """The objects of an export, in batches in the order of the tables."""
    kinds: list[tuple[Table, str, str | None]] = [
        (schema.DETECTIONS, "outline", "segmentation_id" if options.task == "segment" else None),
        (schema.SEGMENTATIONS, "segmentation", None if options.task == "segment" else "detection_id"),
    ]
    images = selection.images
    ids = images["image_id"].combine_chunks()
    sizes = np.stack([images["width"].to_numpy(), images["height"].to_numpy()], 1).astype(float)
    turns = images["orientation"].to_numpy() if options.exif == "transpose" else np.ones(len(images), np.int8)
    for table, shape_column, twin in kinds:
        drawn = [shape_column] if options.task != "detect" else []
        columns = [*_COLUMNS, *drawn, "job_ids", *([twin] if twin else [])]
        for batch in selection.tables.batches(table, columns):
            image_at = positions(batch.column("image_id"), ids)
            class_at = positions(batch.column("label_id"), classes.label_ids)
            wanted = (image_at >= 0) & (class_at >= 0) & in_scope(batch, selection.scope)
            if twin:  # the other table has it
                wanted &= batch.column(twin).is_null().to_numpy(zero_copy_only=False)
            picked, image_at = batch.filter(pa.array(wanted)), image_at[wanted]
            box = np.stack([picked.column(name).to_numpy() for name in ("x", "y", "width", "height")], 1)
            crowd = picked.column("is_crowd").to_numpy(zero_copy_only=False)
            shapes = picked.column(shape_column) if drawn else pa.nulls(len(box), pa.string())
            size, turned = sizes[image_at], turns[image_at]
            if (turned != 1).any():
                shapes = _turn(box, shapes, size, turned)
            yield _Objects(image_at, class_at[wanted], size, box, shapes, crowd)


def _turn(box: Any, shapes: pa.Array, size: Any, turned: Any) -> pa.Array:
    """Turn the boxes, in place, and the shapes of objects whose images are turned."""
    texts: list[str | None] = shapes.to_pylist()
    for at in np.flatnonzero(turned != 1).tolist():
        width, height = map(int, size[at])
        how = int(turned[at]), *((height, width) if turned[at] >= 5 else (width, height))
        box[at] = turn_box(tuple(box[at].tolist()), *how)
        if shape := texts[at]:
            texts[at] = turn_segmentation(shape, *how)
    return pa.array(texts, pa.string())


def _fractions(found: _Objects, task: str) -> tuple[Any, Any]:
    """The numbers of all objects, as fractions of width and height in turns, and how many each has."""
    x, y, width, height = found.box.T
    if task == "detect":
        points = np.stack([x + width / 2, y + height / 2, width, height], 1)
        lengths = np.full(len(points), 4)
    else:
        corners = np.stack([x, y, x + width, y, x + width, y + height, x, y + height], 1)
        points, lengths = _rings(found.shape, corners, task)
    fractions = points.reshape(-1, 2) / np.repeat(found.size, lengths // 2, axis=0)
    return np.clip(fractions, 0.0, 1.0).ravel(), lengths


def _rings(shapes: pa.Array, corners: Any, task: str) -> tuple[Any, Any]:
    """The outline of each object, or the corners of its box: the numbers of all, and how many each has."""
    single = _are_single(shapes)
    lengths, numbers = np.full(len(shapes), 8), np.empty(0)
    if single.any():
        numbers, lengths[single] = _numbers(shapes.filter(pa.array(single)))
    if task == "obb":  # of an outline of other than four corners, the box
        four = np.ones(len(shapes), bool)
        four[single] = lengths[single] == 8
        numbers = numbers[np.repeat(four[single], lengths[single])]
        single, lengths = single & four, np.where(four, lengths, 8)
    outline = _of_four if task == "obb" else _outline
    others: dict[int, list[float]] = {}
    for at in np.flatnonzero(~single).tolist():
        shape = shapes[at].as_py()
        others[at] = (outline(orjson.loads(shape)) if shape else None) or corners[at].tolist()
        lengths[at] = len(others[at])
    points = np.empty(int(lengths.sum()))
    of_single = np.repeat(single, lengths)
    points[of_single] = numbers
    points[~of_single] = np.fromiter(chain.from_iterable(others.values()), np.float64)
    return points, lengths


def _are_single(shapes: pa.Array) -> Any:
    """Which shapes are one ring: lists of a single list."""
    import pyarrow.compute as pc

    is_list = pc.call_function("starts_with", [shapes], pc.MatchSubstringOptions("[["))
    letters, starts = _letters(shapes)
    brackets = np.diff(np.searchsorted(np.flatnonzero(letters == ord("[")), starts))
    return is_list.fill_null(False).to_numpy(zero_copy_only=False) & (brackets == 2)


def _numbers(rings: pa.Array) -> tuple[Any, Any]:
    """The numbers of shapes of one ring each, one after another, and how many each has: read as one column."""
    letters, starts = _letters(rings)
    text = letters.tobytes()[2:-2].replace(b"]][[", b",")
    commas = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(","))
    later = starts[1:-1] - 3 * np.arange(1, len(rings))  # where they begin in the text, but for the first
    lengths = np.diff(np.searchsorted(commas, later), prepend=0, append=len(commas) + 1)
    digits = text.replace(b",", b"")
    ends = np.concatenate([[0], commas - np.arange(len(commas)), [len(digits)]]).astype(np.int32)
    numbers = pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(digits))
    return numbers.cast(pa.float64()).to_numpy(), lengths


def _letters(texts: pa.Array) -> tuple[Any, Any]:
    """The bytes of all texts, one after another, and where each begins, and the last ends."""
    _, ends, letters = texts.buffers()
    if letters is None:  # nothing but empty ones
        return np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int32)
    starts = np.frombuffer(ends, np.int32)[texts.offset :][: len(texts) + 1]
    return np.frombuffer(letters, np.uint8)[starts[0] : starts[-1]], starts - starts[0]


def _outline(shape: Any) -> list[float] | None:
    """The outline of an object as one ring; None where it has no shape."""
    if isinstance(shape, list) and len(shape) == 1:
        return shape[0]
    return shape and _joined(_outlines(shape) if isinstance(shape, dict) else shape)


def _of_four(shape: Any) -> list[float] | None:
    """The outline of an object that has four corners; None for every other."""
    rings = _outlines(shape) if isinstance(shape, dict) else shape or ()
    return rings[0] if len(rings) == 1 and len(rings[0]) == 8 else None


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
