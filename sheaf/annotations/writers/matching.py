"""Which images a filter keeps: every family of the filter as one test per image.

Also how annotations find their image among others, which every writer needs. Not here: splits, missing
files and leaks (`selection`).
"""

import fnmatch
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.writers.request import AnnotationsFilter
from sheaf.errors import UsageError
from sheaf.tables.pinned import Tables


def job_scope(tables: Tables, filter_: AnnotationsFilter) -> pa.Array | None:
    """The jobs that a filter limits an export to; None for no limit."""
    if not filter_.job and not filter_.tasks:
        return None
    jobs = tables.read(schema.JOBS).to_pylist()
    if filter_.job:
        if filter_.job not in {job["job_id"] for job in jobs}:
            raise UsageError(f"The project has no job {filter_.job!r}.")
        return pa.array([filter_.job], pa.string())
    tasks = set(tables.read(schema.TASKS)["task_id"].to_pylist())
    if unknown := [task for task in filter_.tasks if task not in tasks]:
        raise UsageError(f"The project has no task {unknown[0]!r}: there are {', '.join(sorted(tasks)[:20])}.")
    return pa.array([job["job_id"] for job in jobs if job["task_id"] in filter_.tasks], pa.string())


def tag_ids(tables: Tables, names: Iterable[str]) -> list[str]:
    """Ids of tags named as category/tag.

    Raises:
        UsageError: naming the tags there are.
    """
    known = {f"{tag['category']}/{tag['name']}": tag["tag_id"] for tag in tables.read(schema.TAGS).to_pylist()}
    for name in names:
        if name not in known:
            raise UsageError(f"The project has no tag {name!r}: there are {', '.join(list(known)[:20]) or 'none'}.")
    return [known[name] for name in names]


def matching(
    tables: Tables, images: pa.Table, filter_: AnnotationsFilter, scope: pa.Array | None
) -> "np.ndarray[Any, Any]":
    """One truth value per image."""
    kept = np.ones(len(images), bool)
    if scope is not None:
        placements = tables.read(schema.PLACEMENTS)
        kept &= _has(images, placements["image_id"].filter(in_set(placements["job_id"], scope)))
    if filter_.include_tags:
        having = _tagged(tables, images, filter_.include_tags)
        kept &= having.any(0) if filter_.include_match == "any" else having.all(0)
    if filter_.exclude_tags:
        having = _tagged(tables, images, filter_.exclude_tags)
        kept &= ~(having.any(0) if filter_.exclude_match == "any" else having.all(0))
    if filter_.search or filter_.path or filter_.glob:
        wanted = _path_test(filter_)
        kept &= np.fromiter((wanted(path) for path in images["file_path"].to_pylist()), bool, len(images))
    width, height = images["width"].to_numpy(), images["height"].to_numpy()
    kept &= _within(width, filter_.width_min, filter_.width_max)
    kept &= _within(height, filter_.height_min, filter_.height_max)
    kept &= _within(width / height, filter_.aspect_ratio_min, filter_.aspect_ratio_max)
    if filter_.file_size_min is not None or filter_.file_size_max is not None:
        sizes = images["file_size"].to_pandas().to_numpy(float)  # NaN where the file is missing: never within
        kept &= _within(sizes, filter_.file_size_min, filter_.file_size_max) & ~np.isnan(sizes)
    return kept & _annotation_tests(tables, images, filter_, scope)


def _annotation_tests(
    tables: Tables, images: pa.Table, filter_: AnnotationsFilter, scope: pa.Array | None
) -> "np.ndarray[Any, Any]":
    kept = np.ones(len(images), bool)
    bounds = (filter_.bbox_count_min, filter_.bbox_count_max, filter_.polygon_count_min, filter_.polygon_count_max)
    if filter_.annotated is None and all(bound is None for bound in bounds):
        return kept
    boxes = _count(tables, schema.DETECTIONS, images, scope)
    masks = _count(tables, schema.SEGMENTATIONS, images, scope)
    kept &= _within(boxes, filter_.bbox_count_min, filter_.bbox_count_max)
    kept &= _within(masks, filter_.polygon_count_min, filter_.polygon_count_max)
    if filter_.annotated is not None:
        placements = tables.read(schema.PLACEMENTS)
        if scope is not None:
            placements = placements.filter(in_set(placements["job_id"], scope))
        keypoints = placements["image_id"].filter(pa.array(placements["keypoints"].to_numpy() > 0))
        labelled = _count(tables, schema.IMAGE_LABELS, images, scope) > 0
        kept &= ((boxes > 0) | (masks > 0) | labelled | _has(images, keypoints)) == filter_.annotated
    return kept


def in_set(values: Any, wanted: Any) -> Any:
    """Which values are among the wanted ones."""
    import pyarrow.compute as pc

    return pc.call_function("is_in", [values], pc.SetLookupOptions(value_set=wanted))


def positions(values: Any, among: Any) -> "np.ndarray[Any, Any]":
    """Where each value is in `among`; -1 where it is not."""
    import pyarrow.compute as pc

    found = pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=among))
    return found.fill_null(-1).to_numpy(zero_copy_only=False)


def in_scope(batch: pa.RecordBatch, scope: pa.Array | None) -> "np.ndarray[Any, Any]":
    """Which annotations of a batch were made in the jobs that count."""
    if scope is None:
        return np.ones(batch.num_rows, bool)
    jobs: Any = batch.column("job_ids")
    inside = np.zeros(batch.num_rows, bool)
    import pyarrow.compute as pc

    parents = pc.call_function("list_parent_indices", [jobs]).to_numpy()
    hits = in_set(jobs.flatten(), scope).to_numpy(zero_copy_only=False)
    inside[parents[hits]] = True
    return inside


def _has(images: pa.Table, ids: Any) -> "np.ndarray[Any, Any]":
    return in_set(images["image_id"], ids).to_numpy()


def _tagged(tables: Tables, images: pa.Table, names: Iterable[str]) -> "np.ndarray[Any, Any]":
    """One row per tag, one truth value per image."""
    given = tables.read(schema.IMAGE_TAGS)
    wanted = [in_set(given["tag_id"], pa.array([tag], pa.string())) for tag in tag_ids(tables, names)]
    return np.array([_has(images, given["image_id"].filter(rows)) for rows in wanted])


def _path_test(filter_: AnnotationsFilter) -> Any:
    search = filter_.search.casefold() if filter_.search else ""
    folders = tuple(folder.strip("/") + "/" for folder in filter_.path)
    glob = re.compile(fnmatch.translate(filter_.glob.casefold())) if filter_.glob else None

    def wanted(path: str) -> bool:
        return (
            search in path.rsplit("/", 1)[-1].casefold()
            and (not folders or path.startswith(folders))
            and (glob is None or glob.match(path.casefold()) is not None)
        )

    return wanted


def _within(values: Any, low: float | None, high: float | None) -> Any:
    inside = np.ones(len(values), bool)
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    return inside


def _count(tables: Tables, table: Any, images: pa.Table, scope: pa.Array | None) -> "np.ndarray[Any, Any]":
    """Annotations per image."""
    ids = images["image_id"].combine_chunks()
    counts = np.zeros(len(images), np.int64)
    for batch in tables.batches(table, ["image_id", "job_ids"]):
        at = positions(batch.column("image_id"), ids)
        counts += np.bincount(at[in_scope(batch, scope)], minlength=len(images))
    return counts
