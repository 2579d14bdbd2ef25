"""What Label Studio exports as JSON, as COCO documents: a list of tasks with their annotations.

Rectangles (turned about their upper left corner), ellipses, polygons, painted masks and points are objects, in percent
of the picture that the browser showed; a point that belongs to another region is one of its keypoints. A choice for the
whole image is a tag, whose category is the control it was made with; what was said of a region is an attribute. Of a
task one annotation is used: the ground truth, else the newest.

Format: https://labelstud.io/guide/task_format. Not here: what becomes of a COCO document (`coco`).
"""

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from sheaf.annotations.findings import NOT_AN_OBJECT, Finding
from sheaf.annotations.readers import places, turned
from sheaf.annotations.readers.brush import opacity
from sheaf.annotations.readers.builder import Builder, Point, Points
from sheaf.annotations.readers.coco import MOST_BYTES, SPLIT, Document
from sheaf.annotations.readers.coco_annotations import TURNED_BY
from sheaf.annotations.readers.geometry import ELLIPSE, UnusableError, ellipse
from sheaf.annotations.readers.masks import packed
from sheaf.annotations.readers.paths import is_image_name, unsafe_path
from sheaf.errors import InputError
from sheaf.outside.files import find, open_file, read_bytes, top_files
from sheaf.outside.json_lists import loads
from sheaf.tables.rejects import Rejects

_NO_IMAGE = Finding("no_file_named", "its data names no image")
_NO_LABEL = Finding("missing_value", "the region has no label")
_NO_SIZE = Finding("no_size", "it does not say original_width and original_height, of which it is percent")
_TURNED = Finding("image_turned", "it was drawn on the picture turned in Label Studio: turned back with it")
_CANNOT_TURN = Finding(
    "image_rotation", "it was drawn on a picture that was turned by other than 90 degrees, or painted on a turned one"
)
_SHOWN = {0: 1, 90: 6, 180: 3, 270: 8}
"""EXIF orientations that show a picture as Label Studio does, by the degrees by which it was turned there."""
_NO_NUMBER = Finding("not_a_number", "value: a coordinate is missing or no number")
_NO_REGION = Finding("no_shape", "Sheaf reads rectangles, ellipses, polygons, painted masks, points and choices only")
_UNFINISHED = "its task has no annotation that was submitted"
_SKIPPED = "its task was skipped"
_CANCELLED = "in an annotation that was cancelled"
_OTHER = "in another annotation of the task than its ground truth or newest"
_PREDICTED = "a prediction"
_RELATION = "a relation between regions"
_POINT = "point"
_UPLOADED = re.compile(r"[0-9a-f]{8}-")
_Result = dict[str, Any]


def label_studio_documents(folder: Path, rejects: Rejects) -> list[Document]:
    """The exports of Label Studio that lie in a folder, as COCO documents; none where there are none.

    Raises:
        InputError: one is JSON-MIN, which does not say enough, or has no task with an annotation.
    """
    exports = [(path, tasks) for path in top_files(folder) if (tasks := _tasks(path)) is not None]
    names = _Names(folder, [task for _, tasks in exports for task in tasks])
    labels: dict[str, int] = {}
    points: Points = {}
    documents = []
    for path, tasks in exports:
        reader = _Reader(path, Builder(labels, points), names, rejects)
        for number, task in enumerate(tasks, 1):
            reader.read(task, number)
        if tasks and not reader.used:
            raise InputError(f"{path} has no task with an annotation that was submitted: label some, and export again.")
        documents.append((path, reader.builder))
    return [Document(folder, path, made.document, made.labels_of_images, made.tags) for path, made in documents]


def _tasks(path: Path) -> list[Any] | None:
    """The tasks of an export; None for a file that is none."""
    if path.suffix.lower() != ".json":
        return None
    with open_file(path) as file:
        if not file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            return None
    data = read_bytes(path, MOST_BYTES).removeprefix(b"\xef\xbb\xbf")
    try:
        tasks = loads(data)
    except orjson.JSONDecodeError:
        return None
    first = next((task for task in tasks if isinstance(task, dict)), {})
    if isinstance(first.get("data"), dict) and {"annotations", "completions", "predictions"} & set(first):
        return tasks
    if {"annotation_id", "annotator", "lead_time"} & set(first):
        raise InputError(f"{path} is JSON-MIN of Label Studio, which does not say enough: export it as JSON.")
    return None


class _Names:
    """Where the images of the tasks are: what they were called in Label Studio is seldom where they lie now."""

    def __init__(self, folder: Path, tasks: list[Any]) -> None:
        self._folder = folder
        sources = {source for task in tasks if (source := _source(task))}
        self._found = places.found({source: _names(_parts(source)) for source in sources}, self._is_there)

    def of(self, source: str) -> str:
        """The path of an image below `images/`."""
        return self._found[source]

    def _is_there(self, name: str) -> bool:
        near = (f"images/{name}", name)
        return any(unsafe_path(place) is None and find(self._folder, place) is not None for place in near)


def _names(parts: list[str]) -> list[str]:
    """What a file may be called: less and less of its path, last the name it had before it was uploaded."""
    names = places.ends("/".join(parts))
    return [*names, parts[-1][9:]] if parts and _UPLOADED.match(parts[-1]) else names


def _source(task: Any) -> str | None:
    """What a task calls its image."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return None
    texts = [value for value in data.values() if isinstance(value, str) and not value.startswith("data:")]
    return next((text for text in texts if is_image_name("/".join(_parts(text)))), None)


def _parts(source: str) -> list[str]:
    """The parts of a path, from an address, a path of Label Studio's storages, or one of Windows."""
    text = source.strip()
    if "?d=" in text:
        text = unquote(text.partition("?d=")[2].partition("&")[0])
    elif "://" in text or text.startswith("/data/"):
        try:
            text = unquote(urlsplit(text).path)
        except ValueError:
            return []
        text = re.sub(r"^/data/upload/(\d+/)?", "", text)
    text = re.sub(r"^[A-Za-z]:", "", text.replace("\\", "/"))
    return [part for part in text.split("/") if part not in ("", ".")]


class _Reader:
    """Reads one export, task by task."""

    def __init__(self, path: Path, builder: Builder, names: _Names, rejects: Rejects) -> None:
        self.builder, self.used = builder, 0
        self._file, self._names, self._rejects = path.name, names, rejects

    def read(self, task: Any, number: int) -> None:
        """One task: its image, and what the annotation that counts says of it."""
        if not isinstance(task, dict):
            self._reject("images", NOT_AN_OBJECT, number, task)
            return
        chosen = self._chosen(task)
        if chosen is None:
            return
        self.used += 1
        source = _source(task)
        if source is None:
            self._reject("images", _NO_IMAGE, number, task.get("data"))
            return
        self._image(task, number, source, self._regions(chosen, number))

    def _chosen(self, task: dict[str, Any]) -> dict[str, Any] | None:
        """The annotation of a task that counts; all others are counted as left out."""
        for prediction in _list(task.get("predictions")):
            self._leave_out(_PREDICTED, prediction)
        finished, cancelled = [], False
        for annotation in _list(task.get("annotations")) or _list(task.get("completions")):
            if annotation.get("was_cancelled") or annotation.get("skipped"):
                self._leave_out(_CANCELLED, annotation)
                cancelled = True
            else:
                finished.append(annotation)
        if not finished:
            self._rejects.saw("images", 1)
            self._rejects.left_out("images", _SKIPPED if cancelled else _UNFINISHED, 1)
            return None
        chosen = max(finished, key=_weight)
        for annotation in finished:
            if annotation is not chosen:
                self._leave_out(_OTHER, annotation)
        return chosen

    def _regions(self, annotation: dict[str, Any], number: int) -> dict[str, list[_Result]]:
        """The results of an annotation by the region that they say something of."""
        regions: dict[str, list[_Result]] = {}
        results = annotation.get("result")
        for at, result in enumerate(results if isinstance(results, list) else ()):
            if isinstance(result, dict):
                regions.setdefault(str(result.get("id") or f"result {at}"), []).append(result)
            else:
                self._reject("detections", NOT_AN_OBJECT, number, result)
        return regions

    def _image(self, task: dict[str, Any], number: int, source: str, regions: dict[str, list[_Result]]) -> None:
        size = _size(regions)
        splits = [SPLIT.get(str(task["data"].get(name)).lower()) for name in ("split", "subset")]
        extra: dict[str, Any] = {"label_studio_id": task["id"]} if task.get("id") is not None else {}
        tags: dict[tuple[str, str], None] = {}
        shapes: dict[str, dict[str, Any]] = {}
        for key, results in regions.items():
            if any(result.get("type") == "relation" for result in results):
                self._leave_out(_RELATION, {"result": results})
            elif not any(_draws(result) for result in results):
                for result in results:
                    self._of_the_whole(result, number, extra, tags)
            else:
                try:
                    shapes[key] = _shape(results, size)
                except UnusableError as error:
                    self._reject("detections", error.finding, number, results[0])
        image = self.builder.image(self._names.of(source), size or {}, next(filter(None, splits), None), extra)
        self.builder.tags += [(image, category, tag) for category, tag in tags]
        points = self._points(shapes, regions)
        for key, values in shapes.items():
            self._object(image, key, values, regions[key], number, points.get(key))

    def _points(
        self, shapes: dict[str, dict[str, Any]], regions: dict[str, list[_Result]]
    ) -> dict[str, dict[str, Point]]:
        """The keypoints of each region by their label; points that belong to another region are no objects then."""
        found: dict[str, dict[str, Point]] = {}
        for key in [key for key, values in shapes.items() if _POINT in values]:
            parent = next((result["parentID"] for result in regions[key] if result.get("parentID")), None)
            labels = [label for result in regions[key] for label in _labels(result)]
            of_parent = found.get(str(parent), {})
            if len(labels) == 1 and _POINT not in shapes.get(str(parent), {_POINT: 0}) and labels[0] not in of_parent:
                found.setdefault(str(parent), {})[labels[0]] = shapes.pop(key)[_POINT]
        return found

    def _of_the_whole(
        self, result: _Result, number: int, extra: dict[str, Any], tags: dict[tuple[str, str], None]
    ) -> None:
        """What was said of the whole image."""
        name = str(result.get("from_name") or result.get("type"))
        if choices := _list_of_text(_value(result).get("choices")):
            tags |= dict.fromkeys((name, choice) for choice in choices)
        elif (said := _said(result)) is not None:
            extra[name] = said
        else:
            self._reject("detections", _NO_REGION, number, result)

    def _object(
        self,
        image: int,
        key: str,
        values: dict[str, Any],
        results: list[_Result],
        number: int,
        points: dict[str, Point] | None,
    ) -> None:
        """A region, once for each of its labels."""
        point = values.pop(_POINT, None)
        if any("radiusX" in _value(result) for result in results):
            self._rejects.change("segmentations", *ELLIPSE, file=self._file, line=number)
        if any(result.get("image_rotation") for result in results):
            self._rejects.change("detections", *_TURNED, file=self._file, line=number)
        labels = dict.fromkeys(label for result in results for label in _labels(result))
        attributes = {
            str(result.get("from_name") or result.get("type")): said
            for result in results
            if not _labels(result) and (said := _said(result)) is not None
        }
        for _ in range(0 if labels else 1 + len(points or ())):
            self._reject("detections", _NO_LABEL, number, results[0])
        for at, label in enumerate(labels):
            own = {label: point} if point else points
            self.builder.annotation(image, label, values, attributes, key if at == 0 else f"{key}/{label}", own)

    def _reject(self, table: str, finding: Finding, number: int, raw: Any) -> None:
        self._rejects.saw(table, 1)
        self._rejects.add(table, *finding, file=self._file, line=number, raw=raw)

    def _leave_out(self, why: str, annotation: dict[str, Any]) -> None:
        count = len(_list(annotation.get("result")))
        self._rejects.saw("detections", count)
        self._rejects.left_out("detections", why, count)


def _weight(annotation: dict[str, Any]) -> tuple[bool, str, str]:
    """Ground truth before the rest, then the newest."""
    changed = annotation.get("updated_at") or annotation.get("created_at")
    return bool(annotation.get("ground_truth")), str(changed), str(annotation.get("id")).zfill(20)


def _size(regions: dict[str, list[_Result]]) -> dict[str, int] | None:
    """Width and height of the picture, as the first region that knows them says."""
    for result in (result for results in regions.values() for result in results):
        width: Any = result.get("original_width")
        height: Any = result.get("original_height")
        if type(width) in (int, float) and type(height) in (int, float) and min(width, height) >= 1:
            return {"width": int(width), "height": int(height)}
    return None


def _shape(results: list[_Result], size: dict[str, int] | None) -> dict[str, Any]:
    """A region in COCO's terms, in pixels.

    Raises:
        UnusableError: it is none that COCO knows, or says too little.
    """
    result = next(result for result in results if _draws(result))
    value, rotation = _value(result), result.get("image_rotation") or 0
    if size is None:
        raise UnusableError(*_NO_SIZE)
    shown = _SHOWN.get(rotation % 360) if type(rotation) in (int, float) else None
    if shown is None or (shown != 1 and "rle" in value):
        raise UnusableError(*_CANNOT_TURN)
    width, height = size["width"], size["height"]
    if "rle" in value:
        return {"segmentation": packed(opacity(value["rle"], width, height))}
    if shown >= 5:
        width, height = height, width
    drawn = _drawn(value, width, height)
    return drawn if shown == 1 else _turned_back(drawn, shown, width, height)


def _drawn(value: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """A region in pixels of the picture as it was shown."""
    if "points" in value:
        points = value["points"]
        if not isinstance(points, list) or any(not isinstance(point, list) or len(point) != 2 for point in points):
            raise UnusableError(*_NO_NUMBER)
        return {"segmentation": [[n for x, y in points for n in (_percent(x, width), _percent(y, height))]]}
    x, y = _percent(value.get("x"), width), _percent(value.get("y"), height)
    degrees = _percent(value.get("rotation") or 0, 100)
    if "radiusX" in value:
        radii = _percent(value["radiusX"], width), _percent(value.get("radiusY"), height)
        return {"segmentation": [ellipse(x, y, *radii, degrees)]}
    if "height" not in value:
        return {_POINT: (x, y, 2)}
    across, down = _percent(value.get("width"), width), _percent(value.get("height"), height)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    left = x + (across * cos - down * sin - across) / 2  # where its upper left corner is, once turned about its centre
    top = y + (across * sin + down * cos - down) / 2
    return {"bbox": [left, top, across, down], TURNED_BY: degrees}


def _turned_back(drawn: dict[str, Any], shown: int, width: int, height: int) -> dict[str, Any]:
    """A region that was drawn on a turned picture of that width and height, on the picture as it is."""
    back = turned.back(shown), width, height
    if _POINT in drawn:
        x, y, seen = drawn[_POINT]
        return {_POINT: (*turned.turn_point(x, y, *back), seen)}
    if "bbox" not in drawn:
        (ring,) = drawn["segmentation"]
        points = zip(ring[0::2], ring[1::2], strict=True)
        return {"segmentation": [[n for x, y in points for n in turned.turn_point(x, y, *back)]]}
    x, y, across, down = drawn["bbox"]
    if not drawn[TURNED_BY] % 360:
        return {"bbox": [*turned.turn_box((x, y, across, down), *back)], TURNED_BY: 0}
    x, y = turned.turn_point(x + across / 2, y + down / 2, *back)
    degrees = next(degrees for degrees, orientation in _SHOWN.items() if orientation == shown)
    return {"bbox": [x - across / 2, y - down / 2, across, down], TURNED_BY: drawn[TURNED_BY] - degrees}


def _draws(result: _Result) -> bool:
    return bool({"x", "points", "rle"} & set(_value(result)))


def _percent(value: Any, of: int) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise UnusableError(*_NO_NUMBER)
    return value / 100 * of


def _labels(result: _Result) -> list[str]:
    """The labels that a result gives to its region."""
    return [
        label
        for name, labels in _value(result).items()
        if name == "labels" or name.endswith("labels")
        for label in _list_of_text(labels)
    ]


def _said(result: _Result) -> Any:
    """What a result says in words or numbers; None for one that draws."""
    found = _value(result).get(str(result.get("type")))
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _value(result: _Result) -> dict[str, Any]:
    value = result.get("value")
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _list_of_text(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
