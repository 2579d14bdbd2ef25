"""Which images an export holds: the filter, then splits, missing files and leaks, each counted.

Preview and export both come through `select`, so that they cannot differ. Not here: which
annotations of an image are written (`coco`, `classification`).
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.annotations import schema, snapshots
from sheaf.annotations.paths import distinct
from sheaf.annotations.requests import SPLITS, AnnotationsFilter, ExportOptions
from sheaf.annotations.snapshots import ProjectTables
from sheaf.errors import InputError, UsageError, VerificationError
from sheaf.store import Store

NO_SPLIT = "none"
ORDER = (*SPLITS, NO_SPLIT)


@dataclass(frozen=True)
class Selection:
    """The images of an export, in the order in which they are written.

    Attributes:
        tables: where they and their annotations are read from.
        images: rows of the images table with `split` (or `none`) and `name`, their path in the export,
            by split and path; width and height are those of the export (turned, where asked for).
        scope: the jobs whose annotations count; None for all.
        unassigned: matching images that have no split, whether or not they are left out.
        dropped: images that were left out, by reason.
        missing: paths of images that were left out because their file is missing.
        warnings: what the reader of the export should know.
    """

    tables: ProjectTables
    images: pa.Table
    scope: pa.Array | None
    unassigned: int
    dropped: Counter[str]
    missing: list[str]
    warnings: list[str]


def tables_for(store: Store, project: str, filter_: AnnotationsFilter, options: ExportOptions) -> ProjectTables:
    """The state of the project that the options ask for.

    Raises:
        UsageError: there is no such state.
    """
    if options.version_mode == "timestamp":
        return snapshots.as_of(store, project, options.moment())
    if options.version_mode == "job_version":
        if filter_.job is None:
            raise UsageError("version_mode=job_version needs the job: add the filter job=<id>.")
        return snapshots.of_job_version(store, project, filter_.job, options.job_version())
    return snapshots.current(store, project)


def select(
    tables: ProjectTables, project: str, filter_: AnnotationsFilter, options: ExportOptions, *, with_files: bool
) -> Selection:
    """Resolve a filter and the options that decide about whole images.

    Raises:
        UsageError: a tag, task or job that the project does not have.
        InputError: no image is left, an image has two splits, or an image file is missing.
        VerificationError: the same bytes are in two splits.
    """
    images = tables.read(schema.IMAGES)
    scope = job_scope(tables, filter_)
    kept = np.flatnonzero(_matches(tables, images, filter_, scope))
    if not len(kept):
        raise InputError(f"No image of {project} matches the filter: nothing is exported. Widen it.")
    warnings: list[str] = []
    dropped: Counter[str] = Counter()

    splits = image_splits(tables, images, scope)
    kept, chosen = _resolve_conflicts(images, kept, splits, options, dropped)
    assigned = chosen != ORDER.index(NO_SPLIT)
    unassigned = int((~assigned).sum())
    if unassigned and not options.include_unassigned:
        dropped["no split"] += unassigned
        kept, chosen = kept[assigned], chosen[assigned]
    if not len(kept):
        raise InputError(
            f"None of the {unassigned} matching images of {project} has a split: assign their "
            "tasks to train, val or test, or ask for include_unassigned=true."
        )
    missing: list[str] = []
    if with_files:
        there = images["sha256"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)[kept]
        missing = images["file_path"].take(kept[~there]).to_pylist()
        if missing and options.on_missing == "fail":
            raise InputError(
                f"{len(missing)} image files of {project} are missing, such as {', '.join(missing[:5])}: put them "
                "below images/, or ask for on_missing=skip."
            )
        if missing:
            dropped["image file is missing"] += len(missing)
        kept, chosen = kept[there], chosen[there]
        if not len(kept):
            raise InputError(f"All matching image files of {project} are missing: put them below images/.")
    _check_leaks(images, kept, chosen, options, warnings)
    return Selection(
        tables,
        _ordered(images, kept, chosen, options, warnings),
        scope,
        unassigned,
        dropped,
        missing,
        warnings,
    )


def count_splits(images: pa.Table, selection: Selection) -> dict[str, int]:
    """Images by split, and under `none` those that have no split."""
    counts = Counter(images["split"].to_pylist())
    return {split: counts[split] for split in SPLITS} | {NO_SPLIT: selection.unassigned}


def job_scope(tables: ProjectTables, filter_: AnnotationsFilter) -> pa.Array | None:
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


def tag_ids(tables: ProjectTables, names: Iterable[str]) -> list[str]:
    """Ids of tags named as category/tag.

    Raises:
        UsageError: naming the tags there are.
    """
    known = {f"{tag['category']}/{tag['name']}": tag["tag_id"] for tag in tables.read(schema.TAGS).to_pylist()}
    for name in names:
        if name not in known:
            raise UsageError(f"The project has no tag {name!r}: there are {', '.join(list(known)[:20]) or 'none'}.")
    return [known[name] for name in names]


def _matches(
    tables: ProjectTables, images: pa.Table, filter_: AnnotationsFilter, scope: pa.Array | None
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
    tables: ProjectTables, images: pa.Table, filter_: AnnotationsFilter, scope: pa.Array | None
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


def _tagged(tables: ProjectTables, images: pa.Table, names: Iterable[str]) -> "np.ndarray[Any, Any]":
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


def _count(tables: ProjectTables, table: Any, images: pa.Table, scope: pa.Array | None) -> "np.ndarray[Any, Any]":
    """Annotations per image."""
    ids = images["image_id"].combine_chunks()
    counts = np.zeros(len(images), np.int64)
    for batch in tables.batches(table, ["image_id", "job_ids"]):
        at = positions(batch.column("image_id"), ids)
        counts += np.bincount(at[in_scope(batch, scope)], minlength=len(images))
    return counts


def image_splits(tables: ProjectTables, images: pa.Table, scope: pa.Array | None) -> "np.ndarray[Any, Any]":
    """The splits of the tasks each image is in, within the scope: per image one bit for each of `SPLITS`."""
    split_of = {task["task_id"]: task["split"] for task in tables.read(schema.TASKS).to_pylist()}
    jobs = tables.read(schema.JOBS)
    bits = [
        0 if (split := split_of[task]) is None else 1 << SPLITS.index(split) for task in jobs["task_id"].to_pylist()
    ]
    placements = tables.read(schema.PLACEMENTS, ["image_id", "job_id"])
    if scope is not None:
        placements = placements.filter(in_set(placements["job_id"], scope))
    found = np.zeros(len(images), np.int8)
    at = positions(placements["image_id"], images["image_id"].combine_chunks())
    job_at = positions(placements["job_id"], jobs["job_id"].combine_chunks())
    np.bitwise_or.at(found, at, np.array(bits, np.int8)[job_at])
    return found


def _resolve_conflicts(
    images: pa.Table, kept: Any, splits: "np.ndarray[Any, Any]", options: ExportOptions, dropped: Counter[str]
) -> tuple[Any, Any]:
    """The split of every image that stays, as its place in `ORDER`; one in several goes as the options say."""
    several = kept[np.isin(splits[kept], (0, 1, 2, 4), invert=True)]
    if len(several) and options.on_split_conflict == "error":
        shown = ", ".join(images["file_path"].take(several[:5]).to_pylist())
        raise InputError(
            f"{len(several)} images are in tasks of different splits, such as {shown}: correct the tasks, or ask "
            "for on_split_conflict=exclude or test>val>train."
        )
    if len(several) and options.on_split_conflict == "exclude":
        dropped["in tasks of different splits"] += len(several)
        kept = kept[~np.isin(kept, several)]
    highest = np.array([ORDER.index(NO_SPLIT), 0, 1, 1, 2, 2, 2, 2])  # of the bits: test before val before train
    return kept, highest[splits[kept]]


def _check_leaks(images: pa.Table, kept: Any, chosen: Any, options: ExportOptions, warnings: list[str]) -> None:
    """The same bytes must not be in two splits."""
    split_of: dict[str, tuple[int, int]] = {}
    leaks = []
    digests = images["sha256"].take(kept).to_pylist()
    for position, (digest, split) in enumerate(zip(digests, chosen.tolist(), strict=True)):
        if digest is None or ORDER[split] == NO_SPLIT:
            continue
        first, where = split_of.setdefault(digest, (split, position))
        if first != split:
            leaks.append((where, position))
    if not leaks:
        return
    a, b = (images["file_path"][int(kept[position])].as_py() for position in leaks[0])
    text = f"{len(leaks)} images have the same bytes as one in another split, such as {a} and {b}"
    if options.on_leak == "fail":
        raise VerificationError(f"{text}: remove one of them, or ask for on_leak=warn.")
    warnings.append(f"{text}.")


def _ordered(images: pa.Table, kept: Any, chosen: Any, options: ExportOptions, warnings: list[str]) -> pa.Table:
    """The images by split and path, with their names in the export."""
    order = np.argsort(chosen, kind="stable")  # the table is by path already
    found = images.take(kept[order])
    names = distinct(found["file_path"].to_pylist())
    turned = found["orientation"].to_numpy()
    if options.exif == "transpose":
        swap = turned >= 5
        width, height = found["width"].to_numpy(), found["height"].to_numpy()
        sizes = np.where(swap, height, width), np.where(swap, width, height)
        for name, values in zip(("width", "height"), sizes, strict=True):
            found = found.set_column(found.schema.get_field_index(name), found.schema.field(name), pa.array(values))
    elif count := int((turned != 1).sum()):
        warnings.append(
            f"{count} images carry an EXIF rotation and are exported as stored: if they were annotated as browsers "
            "show them, ask for exif=transpose."
        )
    renamed = sum(name != path for name, path in zip(names, found["file_path"].to_pylist(), strict=True))
    if renamed:
        warnings.append(f"{renamed} images were renamed because another differs only in upper and lower case.")
    split = pa.array(ORDER, pa.string()).take(pa.array(chosen[order]))
    return found.append_column("split", split).append_column("name", pa.array(names, pa.string()))
