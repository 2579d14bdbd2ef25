"""One class per image: a `manifest.csv`, or folders `split/class/file`, as two series with a `latest` each.

Classes come from tags (of one category, or any of them by a map) or from the labels of whole images.
"""

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.readers.paths import class_folder, distinct, short_name
from sheaf.annotations.writers.archive import Archive
from sheaf.annotations.writers.image_bytes import write_images
from sheaf.annotations.writers.matching import in_scope, positions
from sheaf.annotations.writers.report import Counts, write_report, written
from sheaf.annotations.writers.request import ClassificationOptions, ClassOptions, ImageFolderOptions
from sheaf.annotations.writers.selection import Selection, count_splits, in_one_file, select
from sheaf.errors import InputError, UsageError
from sheaf.exports.series import Draft, Written
from sheaf.tables.pinned import Tables

MANIFEST = "manifest.csv"
HEADER = ("image_path", "class_name", "split")
ClassMap = dict[str, list[str]]


def write_classification(draft: Draft) -> Written:
    """Write one class per image, as a manifest unless folders are asked for."""
    return _write(draft, "classification")


def write_image_folder(draft: Draft) -> Written:
    """Write one class per image, as folders."""
    return _write(draft, "image_folder")


def _write(draft: Draft, series: str) -> Written:
    folders = draft.options.format == "image_folder"
    draft, warnings = (draft, []) if folders else in_one_file(draft, include_unassigned=True)
    options: ClassificationOptions | ImageFolderOptions = draft.options
    tables = draft.tables
    selection = select(tables, draft.partition, draft.filter, options, with_files=options.include_images or folders)
    selection.warnings.extend(warnings)
    given, source = classes_of_images(tables, draft.partition, selection, options)
    images, classes, counts = _decide(draft.partition, selection, given, options)
    if source:
        counts.warnings.append(source)
    path = draft.folder / f"{draft.partition}_{series}.zip"
    with Archive(path) as archive:
        if folders:
            names, mapping = _folder_names(images, classes)
        else:
            names, mapping = [f"images/{name}" for name in images["name"].to_pylist()], {}
            _write_manifest(archive, names, classes, images["split"].to_pylist())
        if (folders or options.include_images) and not draft.preview:
            write_images(archive, draft, images, names)
        write_report(archive, draft, series, selection, counts, class_folders=mapping)
    return written(counts, {Path(path).name: counts.image_count})


def classes_of_images(
    tables: Tables, project: str, selection: Selection, options: ClassOptions
) -> tuple[list[list[str]], str | None]:
    """The classes of every selected image, in the order of the classes, and a warning where the choice was Sheaf's.

    Raises:
        UsageError: a category or tag that the project does not have.
        InputError: the project has neither tags nor labels of whole images.
    """
    tags = sorted(tables.read(schema.TAGS).to_pylist(), key=lambda tag: tag["position"])
    names = {f"{tag['category']}/{tag['name']}": tag["tag_id"] for tag in tags}
    by_category: dict[str, ClassMap] = {}
    for tag in tags:
        by_category.setdefault(tag["category"], {})[tag["name"]] = [tag["tag_id"]]
    if options.classes is not None:
        for tag in (tag for wanted in options.classes.values() for tag in wanted):
            if tag not in names:
                raise UsageError(f"The project has no tag {tag!r}: there are {', '.join(list(names)[:20]) or 'none'}.")
        return _from_tags(
            tables, selection, {name: [names[tag] for tag in of] for name, of in options.classes.items()}
        ), None
    if options.category is not None:
        if options.category not in by_category:
            known = ", ".join(by_category) or "none"
            raise UsageError(f"The project has no tag category {options.category!r}: there are {known}.")
        return _from_tags(tables, selection, by_category[options.category]), None
    if tables.read(schema.IMAGE_LABELS, ["image_id"]).num_rows:
        return _from_labels(tables, selection), None
    if not by_category:
        raise InputError(f"{project} has neither tags nor labels of whole images: there is nothing to classify by.")
    first, *others = by_category
    warning = f"Classes are the tags of {first!r}; there are also {', '.join(others)}: choose with category=."
    return _from_tags(tables, selection, by_category[first]), warning if others else None


def _from_tags(tables: Tables, selection: Selection, classes: ClassMap) -> list[list[str]]:
    given = tables.read(schema.IMAGE_TAGS)
    at = positions(given["image_id"], selection.images["image_id"].combine_chunks()).tolist()
    tags_of: list[set[str]] = [set() for _ in range(len(selection.images))]
    for position, tag in zip(at, given["tag_id"].to_pylist(), strict=True):
        if position >= 0:
            tags_of[position].add(tag)
    return [[name for name, wanted in classes.items() if tags.intersection(wanted)] for tags in tags_of]


def _from_labels(tables: Tables, selection: Selection) -> list[list[str]]:
    labels = sorted(tables.read(schema.LABELS).to_pylist(), key=lambda label: label["position"])
    order = {label["label_id"]: (label["position"], label["name"]) for label in labels}
    ids = selection.images["image_id"].combine_chunks()
    found: list[list[tuple[int, str]]] = [[] for _ in range(len(ids))]
    for batch in tables.batches(schema.IMAGE_LABELS, ["image_id", "label_id", "job_ids"]):
        at = np.where(in_scope(batch, selection.scope), positions(batch.column("image_id"), ids), -1)
        for position, label in zip(at.tolist(), batch.column("label_id").to_pylist(), strict=True):
            if position >= 0:
                found[position].append(order[label])
    return [[name for _, name in sorted(labels)] for labels in found]


def _decide(
    project: str, selection: Selection, given: list[list[str]], options: ClassificationOptions | ImageFolderOptions
) -> tuple[pa.Table, list[str], Counts]:
    """One class per image, or none; in folders an image without class has no place."""
    dropped = Counter(selection.dropped)
    warnings = list(selection.warnings)
    conflicts = [position for position, names in enumerate(given) if len(names) > 1]
    if conflicts and options.on_conflict == "error":
        path, several = selection.images["file_path"][conflicts[0]].as_py(), ", ".join(given[conflicts[0]])
        raise InputError(
            f"{len(conflicts)} images of {project} have several classes, such as {path} ({several}): correct them, "
            "choose another category, or ask for on_conflict=skip or on_conflict=first."
        )
    bare = sum(not names for names in given)
    keep = np.ones(len(given), bool)
    if options.on_conflict == "skip":
        keep[conflicts] = False
        dropped["several classes"] += len(conflicts)
    if options.format == "image_folder":
        keep &= np.array([bool(names) for names in given])
        dropped["no class"] += bare
    elif bare:
        warnings.append(f"{bare} images have no class.")
    if not keep.any():
        raise InputError(f"No image of {project} has a class: nothing is exported. Choose another category.")
    images = selection.images.filter(pa.array(keep))
    classes = [names[0] if names else "" for names, kept in zip(given, keep.tolist(), strict=True) if kept]
    counted = Counter(name for name in classes if name)
    counts = Counts(
        image_count=len(images),
        annotation_count=counted.total(),
        class_counts=dict(sorted(counted.items())),
        split_counts=count_splits(images, selection),
        dropped={reason: count for reason, count in dropped.items() if count},
        warnings=warnings,
    )
    return images, classes, counts


def _write_manifest(archive: Archive, paths: list[str], classes: list[str], splits: list[str]) -> None:
    with archive.document(MANIFEST) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(zip(paths, classes, splits, strict=True))


def _folder_names(images: pa.Table, classes: list[str]) -> tuple[list[str], dict[str, str]]:
    """Entries `split/class/file`, where the file's folders became part of its name, and folders by class.

    Raises:
        InputError: two classes need the same folder, or one cannot be a folder.
    """
    mapping: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in sorted(set(classes)):
        try:
            folder = class_folder(name)
        except ValueError as error:
            raise InputError(f"The images cannot be put into folders: {error}.") from error
        if (owner := owners.setdefault(folder.casefold(), name)) != name:
            raise InputError(f"Classes {owner!r} and {name!r} need the same folder {folder!r}: rename one of them.")
        mapping[name] = folder
    flat = [short_name(name.replace("/", "__")) for name in images["name"].to_pylist()]
    wanted = [
        f"{split}/{mapping[name]}/{file}"
        for split, name, file in zip(images["split"].to_pylist(), classes, flat, strict=True)
    ]
    return distinct(wanted), mapping
