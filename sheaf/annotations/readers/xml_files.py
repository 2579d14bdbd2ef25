"""XML annotations as COCO documents: Pascal VOC (a file per image) and CVAT for images (`annotations.xml`).

Formats: http://host.robots.ox.ac.uk/pascal/VOC/, https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/.
Not here: what becomes of a COCO document (`coco`).
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.annotations.readers.brush import MOST_PIXELS
from sheaf.annotations.readers.builder import Builder, Point
from sheaf.annotations.readers.coco import Document
from sheaf.annotations.readers.coco_annotations import TURNED_BY
from sheaf.annotations.readers.geometry import ELLIPSE, ellipse
from sheaf.annotations.readers.masks import packed
from sheaf.errors import InputError
from sheaf.outside.files import MOST_FILES, files, find, named, read_bytes
from sheaf.tables.rejects import Rejects

if TYPE_CHECKING:
    from lxml.etree import _Element

MOST_BYTES = 512 * 1024 * 1024
_VOC = re.compile(r"(?:annotations/)?(?:.*/)?[^/]+\.xml", re.IGNORECASE)
_SETS = ("train", "val", "test")


def cvat_file(folder: Path) -> Path | None:
    """The `annotations.xml` of CVAT; None where there is none."""
    return named(folder, ["annotations.xml"]).get("annotations.xml")


def cvat_documents(folder: Path, path: Path, rejects: Rejects) -> list[Document]:
    """A CVAT file as a COCO document; an image's `subset` is its split.

    Raises:
        InputError: it is not XML of CVAT for images.
    """
    root = _parsed(path)
    if root.tag != "annotations" or root.find("image") is None:
        raise InputError(f"{path} is not a CVAT file for images: its root must be annotations, with elements image.")
    labels = [label for label in root.iterfind(".//labels/label") if not label.findtext("parent")]  # no points of one
    names = dict.fromkeys(label.findtext("name") or "" for label in labels)
    edges = {label.findtext("name") or "": _cvat_edges(label) for label in labels}
    points = {label: {name for edge in found for name in edge} for label, found in edges.items() if found}
    about: dict[str, dict[str, Any]] = {}
    builder = Builder({name: number for number, name in enumerate(names, 1)}, points, about)
    for element in root.iterfind("image"):
        size = {"width": _number(element.get("width")), "height": _number(element.get("height"))}
        split = (element.get("subset") or "").lower() or None
        own = {"cvat_id": element.get("id")} if element.get("id") else {}
        image = builder.image(element.get("name") or "", size, split, own)
        for shape in element:
            if shape.tag == "tag":
                builder.label(image, shape.get("label") or "")
            elif isinstance(shape.tag, str):
                values = _cvat_shape(shape, size)
                if shape.tag == "ellipse" and "segmentation" in values:
                    rejects.change("segmentations", *ELLIPSE, file=path.name, line=shape.sourceline)
                attributes = {found.get("name"): found.text for found in shape.iterfind("attribute")}
                occluded = {"occluded": True} if shape.get("occluded") == "1" else {}
                of_skeleton = _cvat_skeleton(shape) if shape.tag == "skeleton" else None
                builder.annotation(
                    image, shape.get("label") or "", values, {**occluded, **attributes}, points=of_skeleton
                )
    for label in points:  # now that every point is known
        place = {name: number for number, name in enumerate(sorted(points[label]), 1)}
        about[label] = {"skeleton": [[place[name] for name in edge] for edge in edges.get(label, [])]}
    return [Document(folder, path, builder.document, builder.labels_of_images)]


def _cvat_edges(label: "_Element") -> list[tuple[str, str]]:
    """The lines of a skeleton's drawing, which stands in its label as text: names of the points they join."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] (lxml has no types)

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True)
    drawing = etree.fromstring(f"<svg>{label.findtext('svg') or ''}</svg>", parser)
    names = {node.get("data-node-id"): node.get("data-label-name") for node in drawing.iter("{*}circle")}
    lines = [[names.get(line.get(f"data-node-{end}")) for end in ("from", "to")] for line in drawing.iter("{*}line")]
    return [(start, end) for start, end in lines if start and end]


def _cvat_shape(shape: "_Element", size: dict[str, Any]) -> dict[str, Any]:
    """A shape in COCO's terms; without box and outline where COCO has no such."""
    tag = str(shape.tag)
    if tag == "box":
        x0, y0, x1, y1 = (_number(shape.get(name)) for name in ("xtl", "ytl", "xbr", "ybr"))
        if x0 is None or y0 is None or x1 is None or y1 is None:
            return {"bbox": []}
        return {"bbox": [x0, y0, x1 - x0, y1 - y0], TURNED_BY: _number(shape.get("rotation"))}
    if tag == "polygon":
        points = [_number(number) for point in (shape.get("points") or "").split(";") for number in point.split(",")]
        return {"segmentation": [points]}
    if tag == "ellipse":
        cx, cy, rx, ry, turned = (_number(shape.get(name)) for name in ("cx", "cy", "rx", "ry", "rotation"))
        if cx is None or cy is None or rx is None or ry is None:
            return {"bbox": []}
        return {"segmentation": [ellipse(cx, cy, rx, ry, turned or 0)]}
    if tag == "points":
        points = [_number(number) for point in (shape.get("points") or "").split(";") for number in point.split(",")]
        seen = [value for x, y in zip(points[0::2], points[1::2], strict=False) for value in (x, y, 2)]
        return {"keypoints": seen, "num_keypoints": len(seen) // 3}
    if tag == "mask":
        runs = [_number(shape.get(name)) for name in ("left", "top", "width", "height")] + [shape.get("rle")]
        return {"segmentation": _cvat_mask(runs, size["width"], size["height"])}
    return {"bbox": []}  # a line, or a skeleton without points: rejected, so that it is told


def _cvat_skeleton(shape: "_Element") -> dict[str, Point]:
    """The keypoints of a skeleton by their label; those outside of the picture count as not labelled."""
    found: dict[str, Point] = {}
    for point in shape.iterfind("points"):
        x, y = ([_number(number) for number in (point.get("points") or "").split(",")] + [None, None])[:2]
        if x is None or y is None:
            continue
        seen = 0 if point.get("outside") == "1" else 1 if point.get("occluded") == "1" else 2
        found[point.get("label") or str(len(found) + 1)] = (x, y, seen) if seen else (0.0, 0.0, 0)
    return found


def is_voc(folder: Path) -> bool:
    """Whether the folder holds Pascal VOC: `Annotations/*.xml`."""
    return bool(_voc_files(folder))


def voc_documents(folder: Path) -> list[Document]:
    """Pascal VOC files as a COCO document; the lists in `ImageSets` say the splits, or folders named after them.

    Raises:
        InputError: a file is not XML of VOC.
    """
    splits = _image_sets(folder)
    builder = Builder({})
    last = folder
    for name, path in _voc_files(folder):
        root, last = _parsed(path), path
        if root.tag != "annotation":
            raise InputError(f"{path} is not a Pascal VOC file: its root must be annotation.")
        stem = path.stem
        file = (root.findtext("filename") or f"{stem}.jpg").strip()
        names = [
            file,
            *(f"{name}{ending}" for name in dict.fromkeys((file, stem)) for ending in (".jpg", ".png", ".jpeg")),
        ]
        places = [f"{above}{name}" for name in names for above in ("images/", "JPEGImages/")]
        file = next((place.removeprefix("images/") for place in places if find(folder, place)), file)
        size = {"width": _number(root.findtext("size/width")), "height": _number(root.findtext("size/height"))}
        folders = [part.lower() for part in name.split("/")[:-1]]
        split = splits.get(stem) or next((part for part in folders if part in _SETS), None)
        image = builder.image(file, size, split)
        for item in root.iterfind("object"):
            corners = [_number(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
            box = None
            if None not in corners:
                x0, y0, x1, y1 = (float(number or 0) for number in corners)
                box = [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1]  # VOC counts pixels from 1 and includes the last
            kept = {key: text for key in ("pose", "truncated", "difficult", "occluded") if (text := item.findtext(key))}
            builder.annotation(image, (item.findtext("name") or "").strip(), {"bbox": box}, kept)
    return [Document(folder, last, builder.document)]


def _voc_files(folder: Path) -> list[tuple[str, Path]]:
    return [
        (name, path)
        for name, path in files(folder, lambda _: True)
        if path and _VOC.fullmatch(name) and "annotations" in (part.lower() for part in name.split("/")[:-1])
    ][:MOST_FILES]


def _image_sets(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for split in _SETS:
        path = find(folder, f"ImageSets/Main/{split}.txt")
        if path:
            for line in read_bytes(path, MOST_BYTES).decode(errors="replace").split("\n"):
                if line.strip():
                    found[line.split()[0]] = split
    return found


def _cvat_mask(values: list[Any], width: Any, height: Any) -> Any:
    """CVAT's mask, runs along the rows of a rectangle, as COCO's, runs down the columns of the image."""
    import numpy as np

    left, top, across, down, text = values
    try:
        runs = [int(run) for run in str(text).split(",")]
        left, top, across, down = (int(number) for number in (left, top, across, down))
        if sum(runs) != across * down or across * down > int(height) * int(width) or min(runs) < 0:
            return {"size": None}  # before it is unpacked
        if int(height) * int(width) > MOST_PIXELS:
            return {"size": None}
        inside = np.repeat(np.arange(len(runs)) % 2, runs).reshape(down, across)
        picture = np.zeros((int(height), int(width)), np.uint8, order="F")
        picture[top : top + down, left : left + across] = inside
    except (ValueError, TypeError):
        return {"size": None}  # rejected as any mask that cannot be read
    return packed(picture)


def _number(text: str | None) -> float | int | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def _parsed(path: Path) -> "_Element":
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] (lxml has no types)

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(read_bytes(path, MOST_BYTES), parser)
    except etree.XMLSyntaxError as error:
        raise InputError(f"{path} is not valid XML ({error}): export it again.") from error
