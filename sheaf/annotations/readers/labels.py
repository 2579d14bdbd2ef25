"""Tasks, jobs, tags and labels of a project, and the tags and labels that images have.

Rows that refer to nothing, or that claim what another row has, go to the rejects.
"""

from typing import Any

from sheaf.annotations.findings import UNKNOWN_IMAGE, UNKNOWN_LABEL, UNKNOWN_TAG, UNKNOWN_TASK, Finding
from sheaf.annotations.readers.catalogue import Catalogue, unique
from sheaf.annotations.readers.fields import (
    AboutRow,
    ImageLabelRow,
    ImageTagRow,
    JobRow,
    LabelRow,
    Row,
    TagCategoryRow,
    TagRow,
    TaskRow,
    as_json,
    checked,
    reject,
)

NO_PARENT = Finding("no_parent", "the parent label is unknown or the hierarchy has a loop: no parent")
_UNKNOWN_CATEGORY = Finding("unknown_category", "its category is not in the tag categories")
_REPEATED_TAG = Finding("repeated_name", "its category has a tag of that name already")
_SAME_LABEL = Finding("merged_name", "there is a label of that name already: both are one")
_SAME_NAME = "of the name of another"
_REPEATED = "given to the image already"


def read_tasks(catalogue: Catalogue) -> None:
    """Fill the tasks and jobs."""
    tasks = {
        task.id: {"task_id": task.id, "name": task.name or task.id, "split": task.split, "status": task.status}
        for task, _ in unique(catalogue, "tasks", TaskRow)
    }
    jobs = []
    for job, row in unique(catalogue, "jobs", JobRow):
        if job.task_id not in tasks:
            reject(catalogue.rejects, "jobs", UNKNOWN_TASK, row)
            continue
        jobs.append({"job_id": job.id, "task_id": job.task_id, "version": job.version, "status": job.status})
    catalogue.rows["tasks"] = sorted(tasks.values(), key=lambda task: task["task_id"])
    catalogue.rows["jobs"] = jobs
    catalogue.used("jobs", len(jobs))


def read_tags(catalogue: Catalogue) -> None:
    """Fill the tags by category, and which images have them; the images must be there."""
    categories = {item.id: item for item, _ in unique(catalogue, "tag_categories", TagCategoryRow)}
    catalogue.used("tag_categories", len(categories))
    tags: dict[tuple[str, str], TagRow] = {}
    for tag, row in unique(catalogue, "tags", TagRow):
        if tag.category_id not in categories:
            reject(catalogue.rejects, "tags", _UNKNOWN_CATEGORY, row)
        elif (categories[tag.category_id].name, tag.name) in tags:
            reject(catalogue.rejects, "tags", _REPEATED_TAG, row)
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
            reject(catalogue.rejects, "shared_image_tags", UNKNOWN_IMAGE if place is None else UNKNOWN_TAG, row)
        elif (place.image_id, item.tag_id) in given:
            catalogue.rejects.left_out("image_tags", _REPEATED, 1)
        else:
            given.add((place.image_id, item.tag_id))
    catalogue.rows["image_tags"] = [
        {"image_id": image, "tag_id": tag}
        for image, tag in sorted(given, key=lambda item: (catalogue.order[item[0]], item[1]))
    ]


def read_labels(catalogue: Catalogue) -> None:
    """Fill the labels, each with the root of its hierarchy."""
    labels: dict[str, LabelRow] = {}
    origins: dict[str, Row] = {}
    names: dict[str, str] = {}
    for label, row in unique(catalogue, "labels", LabelRow):
        if label.name in names:
            catalogue.correct("labels", label.id, _SAME_LABEL, row)
            catalogue.rejects.left_out("labels", _SAME_NAME, 1)
        else:
            names[label.name] = label.id
            labels[label.id], origins[label.id] = label, row
        catalogue.labels[label.id] = names[label.name]
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
        root, sound = _root(label, labels, catalogue.labels)
        if not sound:
            catalogue.correct("labels", label.id, NO_PARENT, origins[label.id])
        rows.append(
            {
                "label_id": label.id,
                "name": label.name,
                "parent_id": catalogue.labels[label.parent_id] if sound and label.parent_id else None,
                "supercategory": label.supercategory or (root.name if root is not label else ""),
                "position": position,
                "extra": as_json(_with_points(label, catalogue.points.get(label.id))),
            }
        )
    catalogue.rows["labels"] = rows


def _with_points(label: LabelRow, points: dict[str, int] | None) -> Any:
    """What else there is to say of a label, with the names of its keypoints."""
    return (
        {**(label.extra if isinstance(label.extra, dict) else {}), "keypoints": list(points)} if points else label.extra
    )


def _root(label: LabelRow, labels: dict[str, LabelRow], merged: dict[str, str]) -> tuple[LabelRow, bool]:
    """The label at the top of the hierarchy, and whether the way there is sound; else the label itself."""
    seen, at = {label.id}, label
    while at.parent_id is not None:
        parent = labels.get(merged.get(at.parent_id, ""))
        if parent is None or parent.id in seen:
            return label, False
        seen.add(parent.id)
        at = parent
    return at, True


def read_image_labels(catalogue: Catalogue) -> None:
    """Fill the labels of whole images; images and labels must be there."""
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for item, row in checked(catalogue.source, "image_tags", ImageLabelRow, catalogue.rejects):
        place = catalogue.places.get(item.image_id)
        if place is None or item.label_id not in catalogue.labels:
            reject(catalogue.rejects, "image_tags", UNKNOWN_IMAGE if place is None else UNKNOWN_LABEL, row)
            continue
        key = place.image_id, catalogue.labels[item.label_id]
        if key in given:
            catalogue.rejects.left_out("image_labels", _REPEATED, 1)
        found = given.setdefault(
            key,
            {
                "image_id": place.image_id,
                "label_id": key[1],
                "confidence": None if item.confidence is None else min(item.confidence, 1.0),
                "source": item.source,
                "job_ids": [],
            },
        )
        if place.job_id is not None and place.job_id not in found["job_ids"]:
            found["job_ids"].append(place.job_id)
    catalogue.rows["image_labels"] = [
        row for _, row in sorted(given.items(), key=lambda item: (catalogue.order[item[0][0]], item[0][1]))
    ]


def read_about(catalogue: Catalogue) -> None:
    """Fill what the source says of the whole."""
    catalogue.rows["about"] = [
        {"name": item.name, "value": as_json(item.value) or "null"}
        for item, _ in checked(catalogue.source, "about", AboutRow, catalogue.rejects)
    ]
