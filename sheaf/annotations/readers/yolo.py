"""YOLO datasets as a project: `labels/…/<name>.txt` beside `images/…/<name>.<ending>`, and `data.yaml`.

A line of four numbers after the class is a box; a longer one is an outline, also the four corners of an oriented box.
The split is the folder's name. Format: https://docs.ultralytics.com/datasets/.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sheaf.annotations.findings import Finding
from sheaf.annotations.readers.coco import SPLIT
from sheaf.annotations.readers.fields import Row, Source
from sheaf.annotations.readers.paths import is_image_name
from sheaf.errors import InputError
from sheaf.outside.files import files, lines, named
from sheaf.outside.yaml_files import read_yaml
from sheaf.tables.rejects import Rejects

DATA = ("data.yaml", "data.yml", "dataset.yaml")
_NOT_A_LINE = Finding("not_yolo", "the line is not a class and numbers: x, y, width, height, or points of an outline")


def yolo_data(folder: Path) -> Path | None:
    """The `data.yaml` of a YOLO dataset; None where the folder is none."""
    return next(iter(named(folder, DATA).values()), None)


def yolo_source(folder: Path, data: Path, rejects: Rejects) -> Source:
    """The tables of a YOLO dataset.

    Raises:
        InputError: data.yaml names no classes, or cannot be read.
    """
    content = read_yaml(data, InputError)
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise InputError(f"{data} names no classes: it must hold names, a list or a map from number to name.")
    shape = content.get("kpt_shape") if isinstance(content, dict) else None
    if not isinstance(shape, list) or len(shape) != 2 or type(shape[0]) is not int or shape[1] not in (2, 3):
        shape = [0, 2]
    dataset = _Dataset(folder, {str(number): str(name) for number, name in names.items()}, shape, rejects)
    tables = {
        "tasks": dataset.tasks,
        "labels": dataset.labels,
        "images": dataset.images,
        "detections": dataset.detections,
        "segmentations": dataset.segmentations,
    }
    return Source(lambda table: tables[table]() if table in tables else iter(()), folder)


class _Dataset:
    def __init__(self, folder: Path, names: dict[str, str], points: list[int], rejects: Rejects) -> None:
        self._names, self._rejects = names, rejects
        self._points, self._of_point = points  # how many keypoints an object has, and how many numbers each
        found = dict(files(folder, is_image_name))
        self._images = sorted(name for name in found if is_image_name(name))
        self._labels = {name: _label_file(name, found) for name in self._images}

    def tasks(self) -> Iterator[Row]:
        for split in sorted({_split(name) or "all" for name in self._images}):
            yield Row({"id": split, "name": split, "split": SPLIT.get(split)})

    def labels(self) -> Iterator[Row]:
        for number, name in self._names.items():
            order = int(number) if number.isdecimal() else None
            extra = {"keypoints": [str(point) for point in range(1, self._points + 1)]} if self._points else None
            yield Row({"id": number, "name": name, "sort_order": order, "extra": extra})

    def images(self) -> Iterator[Row]:
        short = [_short(name) for name in self._images]
        for name, path in zip(self._images, short, strict=True):
            path = name if short.count(path) > 1 else path
            yield Row({"id": name, "file_path": path, "location": name, "task_id": _split(name) or "all"}, name)

    def detections(self) -> Iterator[Row]:
        for row, label, numbers in self._lines("detections"):
            if len(numbers) in (4, 5) or self._is_pose(numbers):
                x, y, width, height = numbers[:4]
                corners = {"x_min": x - width / 2, "y_min": y - height / 2}
                corners |= {"x_max": x + width / 2, "y_max": y + height / 2}
                more = {"keypoints": self._keypoints(numbers[4:])} if self._is_pose(numbers) else {}
                score = {"confidence": numbers[4]} if len(numbers) == 5 else {}
                yield Row({**row.values, "label_id": label, **corners, **score, **more}, row.file, row.line)

    def segmentations(self) -> Iterator[Row]:
        for row, label, numbers in self._lines(None):
            if len(numbers) > 5 and not self._is_pose(numbers):
                points = [list(point) for point in zip(numbers[0::2], numbers[1::2], strict=True)]
                yield Row({**row.values, "label_id": label, "polygon": points}, row.file, row.line)

    def _is_pose(self, numbers: list[float]) -> bool:
        return self._points > 0 and len(numbers) == 4 + self._points * self._of_point

    def _keypoints(self, numbers: list[float]) -> list[float]:
        """x, y and visibility of each point; where visibility is not given, a point at 0, 0 is not labelled."""
        each = [numbers[at : at + self._of_point] for at in range(0, len(numbers), self._of_point)]
        return [value for x, y, *seen in each for value in (x, y, int(seen[0]) if seen else 2 * bool(x or y))]

    def _lines(self, table: str | None) -> Iterator[tuple[Row, str, list[float]]]:
        """Every line that is one; the others are rejected as rows of `table`, if one is given."""
        for image, path in self._labels.items():
            for number, line in enumerate(lines(path), 1) if path else ():
                parts = line.split()
                if not parts:
                    continue
                values: dict[str, Any] = {"id": f"{image}#{number}", "image_id": image, "source": "import"}
                try:
                    label, numbers = str(int(float(parts[0]))), [float(part) for part in parts[1:]]
                except (ValueError, OverflowError):
                    label, numbers = "", []
                if len(numbers) in (4, 5) or self._is_pose(numbers) or (len(numbers) >= 6 and not len(numbers) % 2):
                    yield Row(values, path.name if path else None, number), label, numbers
                elif table:
                    self._rejects.saw(table, 1)
                    shown = line[:200].decode(errors="replace")
                    self._rejects.add(table, *_NOT_A_LINE, file=path.name if path else None, line=number, raw=shown)


def _split(name: str) -> str | None:
    return next((SPLIT[part.lower()] for part in name.split("/")[:-1] if part.lower() in SPLIT), None)


def _short(name: str) -> str:
    """The path without the folders that only say that it is an image, and of which split."""
    *folders, file = name.split("/")
    return "/".join([folder for folder in folders if folder.lower() not in ("images", *SPLIT)] + [file])


def _label_file(image: str, found: dict[str, Path | None]) -> Path | None:
    """The labels of an image: in the folder `labels` where it has `images`, or beside it."""
    *folders, file = image.split("/")
    stem = file.rpartition(".")[0]
    for position in reversed([at for at, folder in enumerate(folders) if folder == "images"]):
        name = "/".join([*folders[:position], "labels", *folders[position + 1 :], f"{stem}.txt"])
        if name in found:
            return found[name]
    return found.get("/".join([*folders, f"{stem}.txt"]))
