"""A COCO document in the making, as readers of other formats make one.

Not here: what becomes of it (`coco`), nor any of those formats (`xml_files`, `label_studio`).
"""

from typing import Any


class Builder:
    """Images, annotations and labels, numbered from 1 in the order in which they come.

    Attributes:
        labels_of_images: image and category of each label that was given to a whole image.
        tags: image, tag category and tag of each tag that was given to an image.
    """

    def __init__(self, labels: dict[str, int]) -> None:
        self._labels = labels
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self.labels_of_images: list[tuple[int, int]] = []
        self.tags: list[tuple[int, str, str]] = []

    def image(self, name: str, size: dict[str, Any], split: str | None, extra: dict[str, Any] | None = None) -> int:
        """Add an image; what stands in `extra` is kept with it. Returns its number."""
        number = len(self._images) + 1
        own_split = {"split": split} if split else {}
        self._images.append({**(extra or {}), "id": number, "file_name": name, **size, **own_split})
        return number

    def annotation(
        self, image: int, label: str, values: dict[str, Any], attributes: dict[Any, Any], key: str | None = None
    ) -> None:
        """Add an annotation; `key` is its id in the source, where it has one that stays."""
        number = len(self._annotations) + 1
        entry = {"id": key or number, "image_id": image, "category_id": self._category(label), **values}
        if attributes:
            entry["attributes"] = attributes
        self._annotations.append(entry)

    def label(self, image: int, label: str) -> None:
        """Give a label to a whole image."""
        self.labels_of_images.append((image, self._category(label)))

    def _category(self, label: str) -> int:
        return self._labels.setdefault(label, len(self._labels) + 1)

    @property
    def document(self) -> dict[str, Any]:
        """The COCO document."""
        categories = [{"id": number, "name": name} for name, number in self._labels.items()]
        return {"images": self._images, "annotations": self._annotations, "categories": categories}
