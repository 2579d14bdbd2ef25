"""The exports of annotations, and which of them a project has anything for."""

from typing import Any

from sheaf.annotations import schema
from sheaf.annotations.classification import write_classification
from sheaf.annotations.coco import categories, write_detection, write_segmentation
from sheaf.annotations.diff import diff_annotations
from sheaf.annotations.matching import job_scope, tag_ids
from sheaf.annotations.requests import (
    AnnotationsFilter,
    ClassificationOptions,
    CocoOptions,
    DetectionOptions,
    ExportOptions,
    SegmentationOptions,
)
from sheaf.annotations.selection import tables_for
from sheaf.annotations.verify import verify_classification, verify_coco
from sheaf.exports.series import Domain, Series
from sheaf.store import Store


def check_request(store: Store, project: str, filter_: AnnotationsFilter, options: ExportOptions) -> None:
    """Refuse tags, tasks, jobs, labels and versions that the project does not have.

    Raises:
        UsageError: naming what there is.
    """
    tables = tables_for(store, project, filter_, options)
    job_scope(tables, filter_)
    tag_ids(tables, (*filter_.include_tags, *filter_.exclude_tags))
    if isinstance(options, CocoOptions):
        categories(tables, options)


def offered(store: Store, project: str) -> tuple[str, ...]:
    """The series that the project's last ingest has anything for; the others would be empty."""
    from sheaf import tables

    def rows(*of: Any) -> int:
        return sum(tables.read(store, table, project, table.schema.names[:1]).num_rows for table in of)

    found = {
        "classification": rows(schema.IMAGE_TAGS, schema.IMAGE_LABELS),
        "detection": rows(schema.DETECTIONS),
        "segmentation": rows(schema.SEGMENTATIONS),
    }
    return tuple(name for name, count in found.items() if count)


CLASSIFICATION = Series(
    domain=schema.DOMAIN,
    name="classification",
    title="Classification Export",
    description="One class per image: a manifest.csv, or folders split/class/file as ImageFolder readers expect.",
    tables=schema.TABLES,
    write=write_classification,
    verify=verify_classification,
    compare=diff_annotations,
    check=check_request,
    options=ClassificationOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "csv", "imagefolder"),
)
DETECTION = Series(
    domain=schema.DOMAIN,
    name="detection",
    title="Detection Export",
    description="Bounding boxes as COCO JSON, one file per split.",
    tables=schema.TABLES,
    write=write_detection,
    verify=verify_coco,
    compare=diff_annotations,
    check=check_request,
    options=DetectionOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "coco"),
)
SEGMENTATION = Series(
    domain=schema.DOMAIN,
    name="segmentation",
    title="Segmentation Export",
    description="Polygons and RLE masks as COCO JSON, one file per split.",
    tables=schema.TABLES,
    write=write_segmentation,
    verify=verify_coco,
    compare=diff_annotations,
    check=check_request,
    options=SegmentationOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "coco"),
)
ANNOTATIONS = Domain(
    schema.DOMAIN, schema.KIND, schema.REJECTS, (CLASSIFICATION, DETECTION, SEGMENTATION), offered=offered
)
