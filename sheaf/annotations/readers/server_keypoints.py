"""Keypoints of an annotation server's table, as boxes that have them: a box spans its points where none is stated.

Which points the objects of a label have is what its rows name, in the order in which they first do. Not here: where
the images are (`images`), nor what a box must be (`objects`).
"""

from typing import Any

from sheaf.annotations.findings import Finding
from sheaf.annotations.readers.catalogue import Catalogue
from sheaf.annotations.readers.fields import KeypointsRow, Row, reject
from sheaf.annotations.readers.geometry import Frame

_NO_POINTS = Finding("not_keypoints", "its points are no list of objects with name, x and y")
_NO_LABEL = Finding("no_label", "it has no label or no points: it is counted, but no object")
_CORNERS = ("bbox_x_min", "bbox_y_min", "bbox_x_max", "bbox_y_max")


def keep_points(catalogue: Catalogue, item: KeypointsRow, row: Row) -> bool:
    """Keep a row for `keypoint_boxes`, or only its count; False where it was rejected."""
    points = item.points
    if item.label_id is None or not points:
        catalogue.rejects.fault("keypoints", *_NO_LABEL, file=row.file, line=row.line, primary_key=item.id)
        return True
    if not isinstance(points, list) or not all(map(_is_point, points)):
        reject(catalogue.rejects, "keypoints", _NO_POINTS, row)
        return False
    names = catalogue.points.setdefault(item.label_id, {})
    for point in points:
        names.setdefault(str(point["name"]), len(names))
    catalogue.keypoints.append((item, row))
    return True


def _is_point(point: Any) -> bool:
    return isinstance(point, dict) and "name" in point and all(type(point.get(key)) in (int, float) for key in "xy")


def keypoint_boxes(catalogue: Catalogue) -> list[Row]:
    """The rows that were kept, as rows of boxes."""
    found = []
    for number, (item, row) in enumerate(catalogue.keypoints, 1):
        names = catalogue.points[str(item.label_id)]
        flat: list[Any] = [0, 0, 0] * len(names)
        for point in item.points:
            at = 3 * names[str(point["name"])]
            seen = point.get("visibility")
            flat[at : at + 3] = [point["x"], point["y"], seen if seen in (0, 1, 2) else 2]
        stated = [getattr(item, corner) for corner in _CORNERS]
        corners = _around(flat, catalogue.places[item.image_id].frame) if None in stated else stated
        values = {
            "id": f"keypoints {item.id or number}",
            "image_id": item.image_id,
            "label_id": item.label_id,
            "keypoints": flat,
            "confidence": item.confidence,
            "source": item.source,
            "attributes": item.attributes,
            "created_at": item.created_at,
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), corners, strict=True)),
        }
        found.append(Row(values, row.file, row.line))
    return found


def _around(flat: list[Any], frame: Frame) -> list[float | None]:
    """The corners of the box that spans the points that are labelled, at least 1 px wide and high."""
    points = [flat[at : at + 2] for at in range(0, len(flat), 3) if flat[at + 2]]
    if not points:
        return [None] * 4
    low, high = [], []
    for numbers, scale in zip(zip(*points, strict=True), (frame.scale_x, frame.scale_y), strict=True):
        middle, half = (min(numbers) + max(numbers)) / 2, max(max(numbers) - min(numbers), 1 / scale) / 2
        low.append(middle - half)
        high.append(middle + half)
    return [*low, *high]
