"""Tasks, jobs, images, tags and labels of a project: the rows that annotations refer to.

Rows that refer to nothing, or that claim what another row has, go to the rejects. Not here: boxes
and masks (`objects`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sheaf.annotations import image_files
from sheaf.annotations.geometry import Frame
from sheaf.annotations.paths import normal, unsafe_path
from sheaf.annotations.rows import (
    ImageFileRow,
    ImageLabelRow,
    ImageRow,
    ImageTagRow,
    JobRow,
    KeypointsRow,
    LabelRow,
    Row,
    Source,
    TagCategoryRow,
    TagRow,
    TaskRow,
    checked,
    reject,
)
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.tables import Rejects

SIZE_FROM_FILE = "declared size differs from the file: the file's is used"
NO_PARENT = "the parent label is unknown or the hierarchy has a loop: no parent"


@dataclass(frozen=True, slots=True)
class Place:
    """What a source's image id stands for: an image, in a job or in none, and how coordinates there are given."""

    image_id: str
    job_id: str | None
    frame: Frame


@dataclass
class Catalogue:
    """The small tables of a project, and what its annotations need to find their place.

    Attributes:
        rows: rows of our tables by table name.
        places: by the image id that annotations use.
        order: rank of an image by its path.
        files: image files by digest.
        corrections: rows of the corrections table, also those of boxes and masks.
    """

    source: Source
    settings: AnnotationsSettings
    rejects: Rejects
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    files: dict[str, Path] = field(default_factory=dict)
    corrections: list[dict[str, str]] = field(default_factory=list)

    def correct(self, table: str, key: str, correction: str) -> None:
        """Note that a row was kept after a change."""
        self.corrections.append({"table": table, "primary_key": key, "correction": correction})


def read_catalogue(source: Source, settings: AnnotationsSettings, rejects: Rejects) -> Catalogue:
    """Read everything but boxes and masks."""
    catalogue = Catalogue(source, settings, rejects)
    _read_tasks(catalogue)
    _read_images(catalogue)
    _read_tags(catalogue)
    _read_labels(catalogue)
    _read_image_labels(catalogue)
    return catalogue


def _unique(catalogue: Catalogue, table: str, model: Any) -> Iterator[tuple[Any, Row]]:
    """The usable rows of a table, each id once."""
    seen: set[str] = set()
    for item, row in checked(catalogue.source, table, model, catalogue.rejects):
        if item.id in seen:
            reject(catalogue.rejects, table, "the id is there already", row)
        else:
            seen.add(item.id)
            yield item, row


def _read_tasks(catalogue: Catalogue) -> None:
    tasks = {
        task.id: {"task_id": task.id, "name": task.name or task.id, "split": task.split, "status": task.status}
        for task, _ in _unique(catalogue, "tasks", TaskRow)
    }
    jobs = []
    for job, row in _unique(catalogue, "jobs", JobRow):
        if job.task_id not in tasks:
            reject(catalogue.rejects, "jobs", "its task is not in the tasks", row)
            continue
        jobs.append({"job_id": job.id, "task_id": job.task_id, "version": job.version, "status": job.status})
    catalogue.rows["tasks"] = sorted(tasks.values(), key=lambda task: task["task_id"])
    catalogue.rows["jobs"] = jobs


@dataclass(slots=True)
class _Image:
    """An image file while the rows that name it are gathered; `row` is where it came from first."""

    image_id: str
    raw_path: str
    location: str
    declared: tuple[int, int] | None
    row: Row


def _read_images(catalogue: Catalogue) -> None:
    images, pool = _image_files(catalogue)
    placed = _placed_rows(catalogue, images, pool)
    usable = _measure(catalogue, images)
    catalogue.order = {image["image_id"]: rank for rank, image in enumerate(usable)}
    catalogue.rows["images"] = usable
    sizes = {image["image_id"]: (image["width"], image["height"], image["orientation"] >= 5) for image in usable}
    for image in images.values():
        if image.image_id in sizes:
            frame = _frame(catalogue, sizes[image.image_id], image.declared)
            catalogue.places[image.image_id] = Place(image.image_id, None, frame)
    placements: dict[tuple[str, str], int] = {}
    for key, image_id, job_id, declared in placed:
        if image_id not in sizes:
            continue
        catalogue.places[key] = Place(image_id, job_id, _frame(catalogue, sizes[image_id], declared))
        if job_id is not None:
            placements[image_id, job_id] = 0
    for keypoints, row in checked(catalogue.source, "keypoints", KeypointsRow, catalogue.rejects):
        place = catalogue.places.get(keypoints.image_id)
        if place is None:
            reject(catalogue.rejects, "keypoints", "its image is not in the images", row)
        elif place.job_id is not None:
            placements[place.image_id, place.job_id] += 1
    catalogue.rows["placements"] = [
        {"image_id": image_id, "job_id": job_id, "keypoints": count}
        for (image_id, job_id), count in sorted(
            placements.items(), key=lambda item: (catalogue.order[item[0][0]], item)
        )
    ]


def _frame(catalogue: Catalogue, size: tuple[int, int, bool], declared: tuple[int, int] | None) -> Frame:
    width, height, turned = size
    if not catalogue.source.pixels:
        return Frame(width, height, width, height, catalogue.settings.normalised_limit, turned)
    over = declared or (width, height)
    return Frame(width, height, width / over[0], height / over[1], turned=turned)


def _image_files(catalogue: Catalogue) -> tuple[dict[str, _Image], dict[str, _Image]]:
    """Images of the pool by path and by their id; only those of this project where the source knows others."""
    members = {str(row.values.get("shared_image_id")) for row in catalogue.source.rows("project_images")}
    images: dict[str, _Image] = {}
    pool: dict[str, _Image] = {}
    for file, row in _unique(catalogue, "shared_images", ImageFileRow):
        if members and file.id not in members:
            continue
        if image := _add_image(catalogue, images, "shared_images", file, file.file_path, row):
            if image.row is not row:
                reject(catalogue.rejects, "shared_images", "the image path belongs to another image already", row)
            else:
                pool[file.id] = image
    return images, pool


def _add_image(
    catalogue: Catalogue, images: dict[str, _Image], table: str, item: Any, path: str, row: Row
) -> _Image | None:
    """The image of a path, made when it is new; None (and a reject) when the path cannot be used."""
    if reason := unsafe_path(path):
        reject(catalogue.rejects, table, reason, row)
        return None
    known = images.get(normal(path))
    if known is None:
        declared = (item.width, item.height) if item.width and item.height else None
        location = item.location if item.location and not unsafe_path(item.location) else path
        known = images[normal(path)] = _Image(item.id, path, location, declared, row)
    elif known.raw_path != path:
        reject(catalogue.rejects, table, "the image path differs from another only in how accents are spelled", row)
        return None
    return known


def _placed_rows(
    catalogue: Catalogue, images: dict[str, _Image], pool: dict[str, _Image]
) -> list[tuple[str, str, str | None, tuple[int, int] | None]]:
    """Image rows as (their id, image id, job id, declared size); adds images and the jobs that tasks imply."""
    jobs = {job["job_id"] for job in catalogue.rows["jobs"]}
    tasks = {task["task_id"] for task in catalogue.rows["tasks"]}
    taken = {image.image_id for image in images.values()}
    placed = []
    for item, row in _unique(catalogue, "images", ImageRow):
        job_id = item.job_id
        if job_id is not None and job_id not in jobs:
            reject(catalogue.rejects, "images", "its job is not in the jobs", row)
            continue
        if job_id is None and item.task_id is not None:
            if item.task_id not in tasks:
                reject(catalogue.rejects, "images", "its task is not in the tasks", row)
                continue
            job_id = f"task {item.task_id}"
            if job_id not in jobs:
                jobs.add(job_id)
                catalogue.rows["jobs"].append({"job_id": job_id, "task_id": item.task_id, "version": 1, "status": None})
        if item.shared_image_id in pool:
            image = pool[item.shared_image_id]
        elif path := item.file_path or item.s3_key or item.filename:
            if item.id in taken and normal(path) not in images:
                reject(catalogue.rejects, "images", "its id belongs to another image already", row)
                continue
            image = _add_image(catalogue, images, "images", item, path, row)
            if image is None:
                continue
        else:
            reason = "its shared image is not in the project" if item.shared_image_id else "it names no file"
            reject(catalogue.rejects, "images", reason, row)
            continue
        taken.add(image.image_id)
        declared = (item.width, item.height) if item.width and item.height else image.declared
        image.declared = image.declared or declared
        placed.append((item.id, image.image_id, job_id, declared))
    catalogue.rows["jobs"].sort(key=lambda job: job["job_id"])
    return placed


def _measure(catalogue: Catalogue, images: dict[str, _Image]) -> list[dict[str, Any]]:
    """Rows of the images table, by path: sizes from the files where there are files."""
    usable = []
    for path, image in sorted(images.items()):
        file = image_files.find(catalogue.source.images, image.location)
        facts = None
        if file is not None:
            try:
                facts = image_files.inspect(file)
            except ValueError as error:
                reject(catalogue.rejects, "images", str(error), image.row)
                continue
            catalogue.files[facts.sha256] = file
        size = (facts.width, facts.height) if facts else image.declared
        if size is None:
            reject(catalogue.rejects, "images", "its size is not known and its file is missing", image.row)
            continue
        if facts and image.declared and image.declared != size:
            turned = facts.orientation >= 5 and image.declared == size[::-1]
            if catalogue.source.pixels and not turned:
                reject(catalogue.rejects, "images", "its declared size differs from its file's", image.row)
                continue
            if not turned:
                catalogue.correct("images", image.image_id, SIZE_FROM_FILE)
        usable.append(
            {
                "image_id": image.image_id,
                "file_path": path,
                "width": size[0],
                "height": size[1],
                "orientation": facts.orientation if facts else 1,
                "file_size": facts.file_size if facts else None,
                "sha256": facts.sha256 if facts else None,
            }
        )
    return usable


def _read_tags(catalogue: Catalogue) -> None:
    categories = {item.id: item for item, _ in _unique(catalogue, "tag_categories", TagCategoryRow)}
    tags: dict[tuple[str, str], TagRow] = {}
    for tag, row in _unique(catalogue, "tags", TagRow):
        if tag.category_id not in categories:
            reject(catalogue.rejects, "tags", "its category is not in the tag categories", row)
        elif (categories[tag.category_id].name, tag.name) in tags:
            reject(catalogue.rejects, "tags", "its category has a tag of that name already", row)
        else:
            tags[categories[tag.category_id].name, tag.name] = tag
    ordered = sorted(
        tags.items(),
        key=lambda item: (categories[item[1].category_id].sidebar_order, item[0][0].casefold(), item[0], item[1].id),
    )
    catalogue.rows["tags"] = [
        {"tag_id": tag.id, "category": category, "name": name, "position": position}
        for position, ((category, name), tag) in enumerate(ordered)
    ]
    known = {tag.id for _, tag in ordered}
    given: set[tuple[str, str]] = set()
    for item, row in checked(catalogue.source, "shared_image_tags", ImageTagRow, catalogue.rejects):
        place = catalogue.places.get(item.shared_image_id or item.image_id or "")
        if place is None or item.tag_id not in known:
            missing = "image is not in the images" if place is None else "tag is not in the tags"
            reject(catalogue.rejects, "shared_image_tags", f"its {missing}", row)
        else:
            given.add((place.image_id, item.tag_id))
    catalogue.rows["image_tags"] = [
        {"image_id": image, "tag_id": tag}
        for image, tag in sorted(given, key=lambda item: (catalogue.order[item[0]], item[1]))
    ]


def _read_labels(catalogue: Catalogue) -> None:
    labels: dict[str, LabelRow] = {}
    names: set[str] = set()
    for label, row in _unique(catalogue, "labels", LabelRow):
        if label.name in names:
            reject(catalogue.rejects, "labels", "there is a label of that name already", row)
        else:
            names.add(label.name)
            labels[label.id] = label
    ordered = sorted(
        labels.values(),
        key=lambda item: (
            item.sort_order if item.sort_order is not None else float("inf"),
            item.name.casefold(),
            item.id,
        ),
    )
    rows = []
    for position, label in enumerate(ordered):
        root, sound = _root(label, labels)
        if not sound:
            catalogue.correct("labels", label.id, NO_PARENT)
        rows.append(
            {
                "label_id": label.id,
                "name": label.name,
                "parent_id": label.parent_id if sound else None,
                "supercategory": label.supercategory or (root.name if root is not label else ""),
                "position": position,
            }
        )
    catalogue.rows["labels"] = rows
    catalogue.labels = set(labels)


def _root(label: LabelRow, labels: dict[str, LabelRow]) -> tuple[LabelRow, bool]:
    """The label at the top of the hierarchy, and whether the way there is sound; else the label itself."""
    seen, at = {label.id}, label
    while at.parent_id is not None:
        parent = labels.get(at.parent_id)
        if parent is None or parent.id in seen:
            return label, False
        seen.add(parent.id)
        at = parent
    return at, True


def _read_image_labels(catalogue: Catalogue) -> None:
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for item, row in checked(catalogue.source, "image_tags", ImageLabelRow, catalogue.rejects):
        place = catalogue.places.get(item.image_id)
        if place is None or item.label_id not in catalogue.labels:
            missing = "image is not in the images" if place is None else "label is not in the labels"
            reject(catalogue.rejects, "image_tags", f"its {missing}", row)
            continue
        found = given.setdefault(
            (place.image_id, item.label_id),
            {
                "image_id": place.image_id,
                "label_id": item.label_id,
                "confidence": item.confidence,
                "source": item.source,
                "job_ids": [],
            },
        )
        if place.job_id is not None and place.job_id not in found["job_ids"]:
            found["job_ids"].append(place.job_id)
    catalogue.rows["image_labels"] = [
        row for _, row in sorted(given.items(), key=lambda item: (catalogue.order[item[0][0]], item[0][1]))
    ]
