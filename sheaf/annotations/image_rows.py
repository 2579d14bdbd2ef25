"""Images of a project: which file each row means, in which job it is, and how large it is.

Several rows may place one image in several jobs. Not here: reading a file's header (`image_files`).
"""

from dataclasses import dataclass
from typing import Any

from sheaf.annotations import image_files
from sheaf.annotations.catalogue import Catalogue, Place, unique
from sheaf.annotations.geometry import Frame
from sheaf.annotations.paths import normal, unsafe_path
from sheaf.annotations.rows import ImageFileRow, ImageRow, KeypointsRow, Row, checked, reject

SIZE_FROM_FILE = "declared size differs from the file: the file's is used"


@dataclass(slots=True)
class _Image:
    """An image file while the rows that name it are gathered; `row` is where it came from first."""

    image_id: str
    raw_path: str
    location: str
    declared: tuple[int, int] | None
    row: Row


def read_images(catalogue: Catalogue) -> None:
    """Fill the images and placements, and the places by which annotations find their image."""
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
    for file, row in unique(catalogue, "shared_images", ImageFileRow):
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
    for item, row in unique(catalogue, "images", ImageRow):
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
