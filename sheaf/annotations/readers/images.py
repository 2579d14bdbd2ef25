"""Images of a project: which file each row means, in which job it is, and how large it is.

Several rows may place one image in several jobs. Not here: reading a file's header (`image_files`).
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sheaf.annotations.findings import REPEATED_KEY, UNKNOWN_IMAGE, UNKNOWN_JOB, UNKNOWN_TASK, Finding
from sheaf.annotations.readers import image_files
from sheaf.annotations.readers.catalogue import Catalogue, Place, unique
from sheaf.annotations.readers.fields import (
    ImageFileRow,
    ImageRow,
    KeypointsRow,
    ProjectImageRow,
    Row,
    SplitRow,
    as_json,
    checked,
    reject,
)
from sheaf.annotations.readers.geometry import Frame
from sheaf.annotations.readers.paths import normal, unsafe_path
from sheaf.annotations.readers.server_keypoints import keep_points

SIZE_FROM_FILE = Finding("size_from_file", "declared size differs from the file: the file's is used")
_REPEATED_PATH = Finding("repeated_path", "the image path belongs to another image already")
_OTHER_SPELLING = Finding("other_spelling", "the image path differs from another only in how accents are spelled")
_OTHER_IMAGE = Finding("repeated_key", "its id belongs to another image already")
_AMBIGUOUS = Finding("ambiguous_id", "another image has its id too, and annotations know only that: give each its own")
_NOT_IN_THE_POOL = Finding("unknown_shared_image", "its shared image is not in the project")
_NO_FILE_NAMED = Finding("no_file_named", "it names no file")
_NO_SIZE = Finding("no_size", "its size is not known and its file is missing")
_OTHER_SIZE = Finding("size_differs", "its declared size differs from its file's")
_NO_FILE = Finding("no_regular_file", "its file is a link that leads elsewhere, or no file: put the file itself there")
_UNCLEAR = Finding(
    "unclear_frame",
    "EXIF turns or mirrors it, and its declared size does not tell on which picture annotations were drawn: "
    "`drawn_on` decides",
)
_OTHER_PROJECT = "in the pool, but not of this project"
_IN_NO_JOB = "on an image that is in no job"


@dataclass(slots=True)
class _Image:
    """An image file while the rows that name it are gathered.

    `named` is where it came from first and how many rows name it, by delivered table.
    """

    image_id: str
    raw_path: str
    location: str
    declared: tuple[int, int] | None
    extra: Any = None
    split: str | None = None
    named: dict[str, tuple[Row, int]] = field(default_factory=dict)

    @property
    def origin(self) -> Row:
        """The row that named it first."""
        return next(iter(self.named.values()))[0]

    def named_by(self, table: str, row: Row, rows: int = 1) -> None:
        """A row of a delivered table means this image; with -1 it does no longer."""
        first, before = self.named.get(table, (row, 0))
        self.named[table] = first, before + rows


def read_images(catalogue: Catalogue) -> None:
    """Fill the images and placements, and the places by which annotations find their image."""
    images, pool = _image_files(catalogue)
    placed = _placed_rows(catalogue, images, pool)
    _read_splits(catalogue, images)
    usable = _measure(catalogue, images)
    catalogue.order = {image["image_id"]: rank for rank, image in enumerate(usable)}
    catalogue.rows["images"] = usable
    known = {image["image_id"]: image for image in usable}
    for image in images.values():
        if image.image_id in known:
            catalogue.places[image.image_id] = _place(catalogue, known[image.image_id], None, image.declared)
            _note_unclear(catalogue, known[image.image_id], image)
    catalogue.used("shared_images", sum(image.image_id in known for image in pool.values()))
    placed = [row for row in placed if row.image_id in known]
    catalogue.used("images", len(placed))
    placements: dict[tuple[str, str], int] = {}
    for row in placed:
        catalogue.places[row.row_id] = _place(catalogue, known[row.image_id], row.job_id, row.declared)
        if row.job_id is not None:
            placements[row.image_id, row.job_id] = 0
    for key in catalogue.ambiguous:
        catalogue.places.pop(key, None)
    jobs = Counter(image_id for image_id, _ in placements)
    catalogue.shared = {image_id for image_id, count in jobs.items() if count > 1}
    _count_keypoints(catalogue, placements)
    catalogue.rows["placements"] = [
        {"image_id": image_id, "job_id": job_id, "keypoints": count}
        for (image_id, job_id), count in sorted(
            placements.items(), key=lambda item: (catalogue.order[item[0][0]], item)
        )
    ]


def _count_keypoints(catalogue: Catalogue, placements: dict[tuple[str, str], int]) -> None:
    for keypoints, row in checked(catalogue.source, "keypoints", KeypointsRow, catalogue.rejects):
        place = catalogue.places.get(keypoints.image_id)
        if place is None:
            reject(catalogue.rejects, "keypoints", UNKNOWN_IMAGE, row)
        elif place.job_id is None:
            catalogue.rejects.left_out("keypoints", _IN_NO_JOB, 1)
        elif catalogue.source.pixels or keep_points(catalogue, keypoints, row):  # else the boxes have them
            placements[place.image_id, place.job_id] += 1
    catalogue.used("keypoints", sum(placements.values()))


def _place(catalogue: Catalogue, image: dict[str, Any], job_id: str | None, declared: tuple[int, int] | None) -> Place:
    """How annotations of an image are given: in which picture they were drawn, and in which unit."""
    orientation = image["orientation"]
    size = image["width"], image["height"]
    shown = _drawn_on(size, orientation, declared)
    if shown is None:
        shown = catalogue.settings.drawn_on == "shown"
    width, height = size[::-1] if shown and orientation >= 5 else size
    if catalogue.source.pixels:
        over = declared or (width, height)
        frame = _frame(width, height, width / over[0], height / over[1])
    else:
        frame = _frame(width, height, width, height, catalogue.settings.normalised_limit)
    return Place(image["image_id"], job_id, frame, orientation, shown)


@lru_cache(maxsize=1024)  # most images of a project are of one size
def _frame(width: int, height: int, scale_x: float, scale_y: float, limit: float = math.inf) -> Frame:
    return Frame(width, height, scale_x, scale_y, limit)


def _drawn_on(size: tuple[int, int], orientation: int, declared: tuple[int, int] | None) -> bool | None:
    """Whether annotations were drawn on the picture as EXIF shows it; None where the declared size cannot tell."""
    if orientation == 1:
        return False
    if orientation < 5 or size[0] == size[1] or declared not in (size, size[::-1]):
        return None
    return declared != size


def _note_unclear(catalogue: Catalogue, image: dict[str, Any], found: _Image) -> None:
    size = image["width"], image["height"]
    if _drawn_on(size, image["orientation"], found.declared) is None:
        row = found.origin
        catalogue.rejects.fault(
            "images", *_UNCLEAR, file=row.file, line=row.line, primary_key=image["image_id"], raw=found.raw_path
        )


def _read_splits(catalogue: Catalogue, images: dict[str, _Image]) -> None:
    """Splits that were given to images themselves."""
    used = 0
    for item, row in checked(catalogue.source, "splits", SplitRow, catalogue.rejects):
        image = images.get(normal(item.file_path))
        if image is None:
            reject(catalogue.rejects, "splits", UNKNOWN_IMAGE, row)
        else:
            image.split = item.split
            used += 1
    catalogue.used("splits", used)


def _image_files(catalogue: Catalogue) -> tuple[dict[str, _Image], dict[str, _Image]]:
    """Images of the pool by path and by their id; only those of this project where the source knows others."""
    members = _members(catalogue)
    images: dict[str, _Image] = {}
    pool: dict[str, _Image] = {}
    for file, row in unique(catalogue, "shared_images", ImageFileRow):
        if members is not None and file.id not in members:
            catalogue.rejects.left_out("shared_images", _OTHER_PROJECT, 1)
            continue
        if image := _add_image(catalogue, images, "shared_images", file, file.file_path, row):
            if image.named:
                reject(catalogue.rejects, "shared_images", _REPEATED_PATH, row)
            else:
                image.named_by("shared_images", row)
                pool[file.id] = image
    return images, pool


def _members(catalogue: Catalogue) -> set[str] | None:
    """The images of the pool that are of this project; None where the source does not say.

    Where it says so in rows that cannot be used, none is: another project's images must not come in.
    """
    rows = [item for item, _ in checked(catalogue.source, "project_images", ProjectImageRow, catalogue.rejects)]
    catalogue.used("project_images", len(rows))
    return {item.shared_image_id for item in rows} if catalogue.seen("project_images") else None


def _add_image(
    catalogue: Catalogue, images: dict[str, _Image], table: str, item: Any, path: str, row: Row
) -> _Image | None:
    """The image of a path, made when it is new; None (and a reject) when the path cannot be used."""
    if reason := unsafe_path(path):
        reject(catalogue.rejects, table, Finding("unsafe_path", reason), row)
        return None
    known = images.get(normal(path))
    if known is None:
        declared = (item.width, item.height) if item.width and item.height else None
        location = item.location if item.location and not unsafe_path(item.location) else path
        known = images[normal(path)] = _Image(item.id, path, location, declared, item.extra)
    elif known.raw_path != path:
        reject(catalogue.rejects, table, _OTHER_SPELLING, row)
        return None
    return known


@dataclass(frozen=True, slots=True)
class _Placed:
    """A row of the images: its own id, the image it means, in which job, and the size it declares."""

    row_id: str
    image_id: str
    job_id: str | None
    declared: tuple[int, int] | None


def _placed_rows(catalogue: Catalogue, images: dict[str, _Image], pool: dict[str, _Image]) -> list[_Placed]:
    """The image rows that can be placed; adds images and the jobs that tasks imply."""
    jobs = {job["job_id"] for job in catalogue.rows["jobs"]}
    tasks = {task["task_id"] for task in catalogue.rows["tasks"]}
    taken = {image.image_id for image in images.values()}
    placed = []
    first: dict[str, tuple[Any, Row]] = {}
    for item, row in checked(catalogue.source, "images", ImageRow, catalogue.rejects):
        file = item.shared_image_id or item.file_path or item.s3_key or item.filename
        if item.id in first:
            other = first[item.id][0] != file
            reject(catalogue.rejects, "images", _AMBIGUOUS if other else REPEATED_KEY, row)
            if other:
                catalogue.ambiguous.add(item.id)
            continue
        first[item.id] = file, row
        job_id = _job_of(item, jobs, tasks)
        if isinstance(job_id, Finding):
            reject(catalogue.rejects, "images", job_id, row)
            continue
        if job_id is not None and job_id not in jobs:
            jobs.add(job_id)
            catalogue.rows["jobs"].append({"job_id": job_id, "task_id": item.task_id, "version": 1, "status": None})
        image = _image_of(catalogue, images, pool, taken, item, row)
        if image is None:
            continue
        image.named_by("images", row)
        taken.add(image.image_id)
        declared = (item.width, item.height) if item.width and item.height else image.declared
        image.declared = image.declared or declared
        placed.append((image, _Placed(item.id, image.image_id, job_id, declared)))
    catalogue.rows["jobs"].sort(key=lambda job: job["job_id"])
    for image, row_id in [(image, row.row_id) for image, row in placed if row.row_id in catalogue.ambiguous]:
        reject(catalogue.rejects, "images", _AMBIGUOUS, first[row_id][1])
        image.named_by("images", first[row_id][1], -1)
    for path in [path for path, image in images.items() if not any(rows for _, rows in image.named.values())]:
        del images[path]
    return [row for _, row in placed if row.row_id not in catalogue.ambiguous]


def _job_of(item: ImageRow, jobs: set[str], tasks: set[str]) -> str | Finding | None:
    """The job an image is in: the one it names, or the one that its task stands for."""
    if item.job_id is not None:
        return item.job_id if item.job_id in jobs else UNKNOWN_JOB
    if item.task_id is None:
        return None
    return f"task {item.task_id}" if item.task_id in tasks else UNKNOWN_TASK


def _image_of(
    catalogue: Catalogue,
    images: dict[str, _Image],
    pool: dict[str, _Image],
    taken: set[str],
    item: ImageRow,
    row: Row,
) -> _Image | None:
    """The image a row means, from the pool or by its path; None where the row is rejected."""
    if item.shared_image_id in pool:
        return pool[item.shared_image_id]
    path = item.file_path or item.s3_key or item.filename
    if not path:
        reject(catalogue.rejects, "images", _NOT_IN_THE_POOL if item.shared_image_id else _NO_FILE_NAMED, row)
        return None
    if item.id in taken and normal(path) not in images:
        reject(catalogue.rejects, "images", _OTHER_IMAGE, row)
        return None
    return _add_image(catalogue, images, "images", item, path, row)


def _measure(catalogue: Catalogue, images: dict[str, _Image]) -> list[dict[str, Any]]:
    """Rows of the images table, by path: sizes from the files where there are files."""
    usable = []
    root = catalogue.source.images
    files = {path: image_files.find(root, image.location) for path, image in sorted(images.items())}
    answers = image_files.look_at([file for file in files.values() if file])
    for path, file in files.items():
        image = images[path]
        if file is not None:
            facts = next(answers)
        elif image_files.is_there(root, image.location):
            facts = _NO_FILE
        else:
            facts = None
        if isinstance(facts, Finding):
            _reject_image(catalogue, image, facts)
            continue
        if file is not None and facts is not None:
            catalogue.files[facts.sha256] = file
            for note in facts.notes:
                row = image.origin
                catalogue.rejects.fault("images", *note, file=row.file, line=row.line, primary_key=image.image_id)
        size = _size(catalogue, image, facts)
        if isinstance(size, Finding):
            _reject_image(catalogue, image, size)
            continue
        usable.append(
            {
                "image_id": image.image_id,
                "file_path": path,
                "width": size[0],
                "height": size[1],
                "orientation": facts.orientation if facts else 1,
                "file_size": facts.file_size if facts else None,
                "sha256": facts.sha256 if facts else None,
                "split": image.split,
                "near": facts.near if facts else None,
                "extra": as_json(image.extra),
            }
        )
    return usable


def _size(catalogue: Catalogue, image: _Image, facts: image_files.ImageFacts | None) -> tuple[int, int] | Finding:
    """The size of the file, which corrects a declared one; the declared one where there is no file."""
    if facts is None:
        return image.declared or _NO_SIZE
    size = facts.width, facts.height
    turned = facts.orientation >= 5 and image.declared == size[::-1]
    if image.declared and image.declared != size and not turned:
        if catalogue.source.pixels:
            return _OTHER_SIZE
        catalogue.correct("images", image.image_id, SIZE_FROM_FILE, image.origin)
    return size


def _reject_image(catalogue: Catalogue, image: _Image, finding: Finding) -> None:
    """An image that cannot be used takes with it every row that names it."""
    for table, (row, rows) in image.named.items():
        reject(catalogue.rejects, table, finding, row, rows=rows)
