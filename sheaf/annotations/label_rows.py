"""Tasks, jobs, tags and labels of a project, and the tags and labels that images have.

Rows that refer to nothing, or that claim what another row has, go to the rejects.
"""

from typing import Any

from sheaf.annotations.catalogue import Catalogue, unique
from sheaf.annotations.rows import (
    ImageLabelRow,
    ImageTagRow,
    JobRow,
    LabelRow,
    TagCategoryRow,
    TagRow,
    TaskRow,
    checked,
    reject,
)

NO_PARENT = "the parent label is unknown or the hierarchy has a loop: no parent"


def read_tasks(catalogue: Catalogue) -> None:
    """Fill the tasks and jobs."""
    tasks = {
        task.id: {"task_id": task.id, "name": task.name or task.id, "split": task.split, "status": task.status}
        for task, _ in unique(catalogue, "tasks", TaskRow)
    }
    jobs = []
    for job, row in unique(catalogue, "jobs", JobRow):
        if job.task_id not in tasks:
            reject(catalogue.rejects, "jobs", "its task is not in the tasks", row)
            continue
        jobs.append({"job_id": job.id, "task_id": job.task_id, "version": job.version, "status": job.status})
    catalogue.rows["tasks"] = sorted(tasks.values(), key=lambda task: task["task_id"])
    catalogue.rows["jobs"] = jobs


def read_tags(catalogue: Catalogue) -> None:
    """Fill the tags by category, and which images have them; the images must be there."""
    categories = {item.id: item for item, _ in unique(catalogue, "tag_categories", TagCategoryRow)}
    tags: dict[tuple[str, str], TagRow] = {}
    for tag, row in unique(catalogue, "tags", TagRow):
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


def read_labels(catalogue: Catalogue) -> None:
    """Fill the labels, each with the root of its hierarchy."""
    labels: dict[str, LabelRow] = {}
    names: set[str] = set()
    for label, row in unique(catalogue, "labels", LabelRow):
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


def read_image_labels(catalogue: Catalogue) -> None:
    """Fill the labels of whole images; images and labels must be there."""
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
