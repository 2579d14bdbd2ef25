"""One project into typed tables: from its inbox folder or from a server's database.

Not here: what single rows become (`images`, `labels`, `objects`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sheaf.annotations import schema
from sheaf.annotations.findings import by_sentence
from sheaf.annotations.readers import image_files
from sheaf.annotations.readers.catalogue import Catalogue
from sheaf.annotations.readers.coco import coco_source, document_source, has_coco_folder, is_coco
from sheaf.annotations.readers.datumaro import datumaro_documents, datumaro_root
from sheaf.annotations.readers.fields import Source
from sheaf.annotations.readers.images import read_images
from sheaf.annotations.readers.label_studio import label_studio_documents
from sheaf.annotations.readers.labels import read_about, read_image_labels, read_labels, read_tags, read_tasks
from sheaf.annotations.readers.numbers import Numbers
from sheaf.annotations.readers.objects import read_objects, unlink_missing
from sheaf.annotations.readers.table_files import inbox_source, with_splits
from sheaf.annotations.readers.xml_files import cvat_documents, cvat_file, is_voc, voc_documents
from sheaf.annotations.readers.yolo import yolo_data, yolo_source
from sheaf.errors import InputError
from sheaf.report import Report
from sheaf.tables.accounts import Kind
from sheaf.tables.parquet import from_rows
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

if TYPE_CHECKING:
    from sheaf.tables.parquet import Rows


def ingest(folder: Path, work: Work) -> Report:
    """Read one inbox folder into its tables, and keep its images.

    Args:
        folder: holds a file per table and `images/`, or `coco/instances_<split>.json` and `images/`; only read.

    Returns:
        As `write_project`.

    Raises:
        InputError: the folder holds no project, or one of its files cannot be read at all.
    """
    if source := _of_another_format(folder, work.rejects):
        return write_project(with_splits(source, folder, work.rejects), work)
    source, warnings = inbox_source(folder, work.partition, work.rejects, work.scratch)
    return write_project(source, work, warnings)


def _of_another_format(folder: Path, rejects: Rejects) -> Source | None:
    """What comes as a dataset of one of the formats of the field; None for tables."""
    if root := datumaro_root(folder):
        return document_source(root, datumaro_documents(root, rejects), rejects)
    if not has_coco_folder(folder) and (documents := label_studio_documents(folder, rejects)):
        return document_source(folder, documents, rejects)
    if is_coco(folder):
        return coco_source(folder, rejects)
    if data := yolo_data(folder):
        return yolo_source(folder, data, rejects)
    if path := cvat_file(folder):
        return document_source(folder, cvat_documents(folder, path, rejects), rejects)
    if is_voc(folder):
        return document_source(folder, voc_documents(folder), rejects)
    return None


def write_project(source: Source, work: Work, warnings: tuple[str, ...] = ()) -> Report:
    """Clean the rows of a source and write them; image bytes go into the store by their digest.

    Args:
        warnings: what there is to say about the source.

    Returns:
        Counts (`images`, `images_without_file`, `detections`, `segmentations`, …, and `corrected: <how>`),
        and warnings.

    Raises:
        InputError: no image of the project can be used, or a file changed while it was read.
    """
    catalogue = Catalogue(source, work.settings, work.rejects)
    read_tasks(catalogue)
    read_images(catalogue)
    read_tags(catalogue)
    read_labels(catalogue)
    read_image_labels(catalogue)
    read_about(catalogue)
    images = catalogue.rows["images"]
    if not images:
        reasons = "; ".join(work.rejects.sentences()) or "the images table is empty"
        raise InputError(f"{work.partition} has no image that can be used: {reasons}.")
    numbers = Numbers(work.store, work.partition, keeps_own=source.pixels)
    numbers.of_images(images)
    numbers.of_labels(catalogue.rows["labels"])
    missing = sum(image["sha256"] is None for image in images)
    preview = tuple(images[:10])
    data: dict[str, Rows] = {table.name: from_rows(table, catalogue.rows[table.name]) for table in schema.SMALL_TABLES}
    catalogue.rows.clear()  # they would be much of what is held while annotations are read
    del images
    detections, segmentations = read_objects(catalogue, work.scratch)
    detections = unlink_missing(detections, "segmentation_id", segmentations["segmentation_id"])
    segmentations = unlink_missing(segmentations, "detection_id", detections["detection_id"])
    detections, segmentations = numbers.of_annotations(detections, segmentations)
    image_files.keep(work.store, work.partition, catalogue.files, work.scratch)
    data |= {"detections": detections.batches(), "segmentations": segmentations.batches()}
    del detections, segmentations
    work.write(schema.NUMBERS, from_rows(schema.NUMBERS, numbers.rows()))
    counts = {table.name: work.write(table, data.pop(table.name)).rows for table in schema.TABLES}
    if missing:
        warnings = (*warnings, f"{missing} of {counts['images']} images have no file below images/.")
    corrected = by_sentence(work.rejects.accounts({}), Kind.CHANGE)
    return Report(
        counts=counts
        | {"corrections": sum(corrected.values()), "images_without_file": missing}
        | {f"corrected: {how}": rows for how, rows in corrected.items()},
        warnings=warnings,
        preview=preview,
    )
