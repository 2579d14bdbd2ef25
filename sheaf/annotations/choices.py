"""What people ask of a project before they export it: its facts, and the values that filters can name.

Not here: the models of filters and options (`writers/request`), nor how they are listed (`sheaf/choices.py`).
"""

from collections import Counter
from typing import Any

import orjson

from sheaf.annotations import schema
from sheaf.licences import address
from sheaf.tables.pinned import Tables

TABLES = schema.TABLES


def facts(tables: Tables) -> dict[str, Any]:
    """How many images, annotations, tags and labels the project has."""
    counted = (schema.IMAGES, schema.TASKS, schema.LABELS, schema.TAGS, schema.DETECTIONS, schema.SEGMENTATIONS)
    return {table.name: tables.rows(table) for table in counted}


def values(tables: Tables) -> dict[str, dict[str, str]]:
    """Tags as category/tag, categories, labels, tasks and jobs."""
    from sheaf.annotations.overview import classification_options

    categories = classification_options(tables)
    tags = {
        f"{category}/{tag}": f"{count} images"
        for category, counts in categories.items()
        for tag, count in counts.items()
    }
    drawn: Counter[str] = Counter()
    for table in (schema.DETECTIONS, schema.SEGMENTATIONS, schema.IMAGE_LABELS):
        for batch in tables.batches(table, ["label_id"]):
            drawn.update(batch.column("label_id").to_pylist())
    labels = tables.read(schema.LABELS, ["label_id", "name"]).to_pylist()
    tasks = {task["task_id"]: task for task in tables.read(schema.TASKS).to_pylist()}
    return {
        "include_tags": tags,
        "exclude_tags": tags,
        "category": {category: f"{len(counts)} tags" for category, counts in categories.items()},
        "labels": {label["name"]: f"{drawn[label['label_id']]} annotations" for label in labels},
        "tasks": {key: " ".join(filter(None, (task["name"], task["split"]))) for key, task in tasks.items()},
        "job": {
            job["job_id"]: f"version {job['version']} of {tasks[job['task_id']]['name']}"
            for job in tables.read(schema.JOBS).to_pylist()
        },
    }


def licence(tables: Tables) -> str:
    """The licence of the images, where the source names one for all: its address, else what it is called."""
    about = {row["name"]: orjson.loads(row["value"]) for row in tables.read(schema.ABOUT).to_pylist()}
    named = about.get("licenses") or []
    return address(*(str(named[0].get(key) or "") for key in ("url", "name"))) if len(named) == 1 else ""
