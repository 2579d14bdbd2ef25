"""Which images an export holds: the filter, then splits, missing files and leaks, each counted.

Preview and export both come through `select`, so that they cannot differ. Not here: which
annotations of an image are written (`coco`, `classification`).
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.readers.paths import distinct, unpackable
from sheaf.annotations.writers.matching import in_set, job_scope, matching, positions
from sheaf.annotations.writers.request import SPLITS, AnnotationsFilter, ExportOptions
from sheaf.errors import InputError, VerificationError
from sheaf.exports.series import Draft
from sheaf.tables.pinned import Tables

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

    tables: Tables
    images: pa.Table
    scope: pa.Array | None
    unassigned: int
    dropped: Counter[str]
    missing: list[str]
    warnings: list[str]


def select(
    tables: Tables, project: str, filter_: AnnotationsFilter, options: ExportOptions, *, with_files: bool
) -> Selection:
    """Resolve a filter and the options that decide about whole images.

    Raises:
        UsageError: a tag, task or job that the project does not have.
        InputError: no image is left, an image has two splits, or an image file is missing.
        VerificationError: the same bytes are in two splits.
    """
    images = tables.read(schema.IMAGES)
    scope = job_scope(tables, filter_)
    kept = np.flatnonzero(matching(tables, images, filter_, scope))
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
            f"None of the {unassigned} matching images of {project} has a split: name a COCO "
            "file instances_train.json, assign tasks to train, val or test, let `sheaf splits suggest` propose one, or "
            "ask for include_unassigned=true."
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


def in_one_file(draft: Draft, **options: Any) -> tuple[Draft, list[str]]:
    """The request as a project that knows no splits can meet it, and the warning that says so.

    A tool without splits (CVAT writes `instances_default.json`) has still made a dataset.

    Args:
        options: what puts images without a split into one file.
    """
    tables = draft.tables
    known = [*tables.read(schema.TASKS, ["split"])["split"].to_pylist()]
    known += tables.read(schema.IMAGES, ["split"])["split"].unique().to_pylist()
    if any(known):
        return draft, []
    warning = (
        f"Nothing of {draft.partition} has a split, so all images are in one file: name a COCO file "
        "instances_train.json, assign tasks to train, val or test, or let `sheaf splits suggest` propose one."
    )
    return replace(draft, options=draft.options.model_copy(update=options)), [warning]


def count_splits(images: pa.Table, selection: Selection) -> dict[str, int]:
    """Images by split, and under `none` those that have no split."""
    counts = Counter(images["split"].to_pylist())
    return {split: counts[split] for split in SPLITS} | {NO_SPLIT: selection.unassigned}


def image_splits(tables: Tables, images: pa.Table, scope: pa.Array | None) -> "np.ndarray[Any, Any]":
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
    for position, split in enumerate(images["split"].to_pylist()):
        if split is not None:
            found[position] = 1 << SPLITS.index(split)
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
    names = distinct(unpackable(path) for path in found["file_path"].to_pylist())
    turned = found["orientation"].to_numpy()
    if options.exif == "transpose":
        swap = turned >= 5
        width, height = found["width"].to_numpy(), found["height"].to_numpy()
        sizes = np.where(swap, height, width), np.where(swap, width, height)
        for name, values in zip(("width", "height"), sizes, strict=True):
            found = found.set_column(found.schema.get_field_index(name), found.schema.field(name), pa.array(values))
    elif count := int((turned != 1).sum()):
        warnings.append(
            f"{count} images carry an EXIF rotation and are exported as stored, boxes with them: a loader that turns "
            "them (OpenCV, browsers) needs exif=transpose."
        )
    renamed = sum(name != path for name, path in zip(names, found["file_path"].to_pylist(), strict=True))
    if renamed:
        warnings.append(
            f"{renamed} images were renamed because Windows could not unpack them, or another differs in case only."
        )
    split = pa.array(ORDER, pa.string()).take(pa.array(chosen[order]))
    found = found.set_column(found.schema.get_field_index("split"), "split", split)
    return found.append_column("name", pa.array(names, pa.string()))
