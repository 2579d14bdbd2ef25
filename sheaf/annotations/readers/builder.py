"""A COCO document in the making, as readers of other formats make one.

Not here: what becomes of it (`coco`), nor any of those formats (`xml_files`, `label_studio`, `datumaro`).
"""

from collections.abc import Mapping
from typing import Any

Point = tuple[float, float, int]
"""x and y of a keypoint, px, and how it is seen: 0 not labelled, 1 hidden, 2 visible."""
Points = dict[str, set[str]]
"""The names of the keypoints that objects of a label have."""


class Builder:
    """Images, annotations and labels, numbered from 1 in the order in which they come.

    Attributes:
        labels_of_images: image and category of each label that was given to a whole image.
        tags: image, tag category and tag of each tag that was given to an image.
    """

    def __init__(
        self,
        labels: dict[str, int],
        points: Points | None = None,
        about: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Begin a document.

        Args:
            labels: numbers of the labels; several documents of one project share them.
            points: keypoints by label, shared as well, where objects have them by name.
            about: what else there is to say of a label.
        """
        self._labels, self._points, self._about = (
            labels,
            {} if points is None else points,
            {} if about is None else about,
        )
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._named_points: list[tuple[dict[str, Any], str, Mapping[str, Point]]] = []
        self.labels_of_images: list[tuple[int, int]] = []
        self.tags: list[tuple[int, str, str]] = []

    def image(self, name: str, size: dict[str, Any], split: str | None, extra: dict[str, Any] | None = None) -> int:
        """Add an image; what stands in `extra` is kept with it. Returns its number."""
        number = len(self._images) + 1
        own_split = {"split": split} if split else {}
        self._images.append({**(extra or {}), "id": number, "file_name": name, **size, **own_split})
        return number

    def annotation(
        self,
        image: int,
        label: str,
        values: dict[str, Any],
        attributes: dict[Any, Any],
        key: str | None = None,
        points: Mapping[str, Point] | None = None,
    ) -> None:
        """Add an annotation.

        Args:
            key: its id in the source, where it has one that stays.
            points: its keypoints by name.
        """
        number = len(self._annotations) + 1
        entry = {"id": key or number, "image_id": image, "category_id": self._category(label), **values}
        if attributes:
            entry["attributes"] = attributes
        if points:
            self._points.setdefault(label, set()).update(points)
            self._named_points.append((entry, label, points))
        self._annotations.append(entry)

    def label(self, image: int, label: str) -> None:
        """Give a label to a whole image."""
        self.labels_of_images.append((image, self._category(label)))

    def _category(self, label: str) -> int:
        return self._labels.setdefault(label, len(self._labels) + 1)

    @property
    def document(self) -> dict[str, Any]:
        """The COCO document; keypoints are in the order of their names, so ask when all documents are read."""
        for entry, label, points in self._named_points:
            every = [points.get(name, (0, 0, 0)) for name in sorted(self._points[label])]
            labelled = sum(seen > 0 for *_, seen in every)
            entry |= {
                "keypoints": [number for point in every for number in point],
                "num_keypoints": labelled,
            }
        named = {label: {"keypoints": sorted(points)} for label, points in self._points.items()}
        categories = [
            {**named.get(name, {}), **self._about.get(name, {}), "id": number, "name": name}
            for name, number in self._labels.items()
        ]
        return {"images": self._images, "annotations": self._annotations, "categories": categories}
