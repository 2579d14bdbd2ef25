"""One project into typed tables: from its inbox folder or from a server's database.

Tables are written when everything has been read, the rejects last; then the state is kept as a
snapshot. What cannot be used as a whole raises and leaves everything as it was.
"""

from pathlib import Path

import pyarrow as pa

from sheaf import clock, tables
from sheaf.annotations import image_files, schema, snapshots
from sheaf.annotations.catalogue import Catalogue
from sheaf.annotations.coco_input import coco_source, is_coco
from sheaf.annotations.image_rows import read_images
from sheaf.annotations.inbox import inbox_source
from sheaf.annotations.label_rows import read_image_labels, read_labels, read_tags, read_tasks
from sheaf.annotations.objects import by_correction, read_detections, read_segmentations, unlink_missing
from sheaf.annotations.rows import Source
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import InputError
from sheaf.report import Report
from sheaf.store import Store
from sheaf.tables import Rejects


def ingest(folder: Path, store: Store, project: str, settings: AnnotationsSettings) -> Report:
    """Read one inbox folder and write its tables, images and snapshot.

    Args:
        folder: holds a file per table and `images/`, or `coco/instances_<split>.json` and `images/`; only read.
        store: where tables and image bytes go.
        project: the partition, normally the folder's name.
        settings: limits and roots.

    Returns:
        Counts (`images`, `images_without_file`, `detections`, `segmentations`, …, and `corrected: <how>`),
        rejects by reason, and warnings.

    Raises:
        InputError: the folder holds no project, or one of its files cannot be read at all.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist or is no folder: put the project's files there.")
    rejects = Rejects()
    if is_coco(folder):
        return write_project(coco_source(folder, rejects), store, project, settings, rejects, [])
    source, warnings = inbox_source(folder, rejects)
    return write_project(source, store, project, settings, rejects, warnings)


def write_project(
    source: Source, store: Store, project: str, settings: AnnotationsSettings, rejects: Rejects, warnings: list[str]
) -> Report:
    """Clean the rows of a source and write them.

    Raises:
        InputError: no image of the project can be used, or a file changed while it was read.
    """
    catalogue = Catalogue(source, settings, rejects)
    read_tasks(catalogue)
    read_images(catalogue)
    read_tags(catalogue)
    read_labels(catalogue)
    read_image_labels(catalogue)
    if not catalogue.rows["images"]:
        reasons = "; ".join(rejects.by_reason()) or "the images table is empty"
        raise InputError(f"{project} has no image that can be used: {reasons}.")
    detections, segmentations = read_detections(catalogue), read_segmentations(catalogue)
    detections = unlink_missing(detections, "segmentation_id", segmentations["segmentation_id"])
    segmentations = unlink_missing(segmentations, "detection_id", detections["detection_id"])
    image_files.keep(store, project, catalogue.files)

    data: dict[str, pa.Table] = {
        table.name: tables.from_rows(table, catalogue.rows[table.name])
        for table in schema.TABLES
        if table.name in catalogue.rows
    }
    data |= {
        "detections": detections,
        "segmentations": segmentations,
        "corrections": tables.from_rows(schema.CORRECTIONS, catalogue.corrections),
        "rejects": tables.from_rows(schema.REJECTS, rejects.rows),
    }
    written = tuple(tables.write(store, table, project, data[table.name]) for table in schema.TABLES)
    snapshots.keep(store, project, written, clock.now())
    missing = sum(image["sha256"] is None for image in catalogue.rows["images"])
    if missing:
        warnings.append(f"{missing} of {len(catalogue.rows['images'])} images have no file below images/.")
    corrected = by_correction(catalogue.corrections)
    counts = {name: table.num_rows for name, table in data.items()}
    return Report(
        tables=(
            next(item for item in written if item.table == "images"),
            *(item for item in written if item.table != "images"),
        ),
        counts=counts | {"images_without_file": missing} | {f"corrected: {how}": n for how, n in corrected.items()},
        rejects=rejects.by_reason(),
        warnings=tuple(warnings),
        preview=tuple(catalogue.rows["images"][:10]),
    )
