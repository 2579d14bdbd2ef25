"""Annotations, start here: the steps that make a project's tables, and the datasets made of them.

Not here: what a project looks like when it comes (`fields`), nor its tables (`schema`).
"""

from sheaf.annotations import choices, schema
from sheaf.annotations.writers.request import (
    AnnotationsFilter,
    ClassificationOptions,
    CocoOptions,
    DetectionOptions,
    ExportOptions,
    HuggingFaceOptions,
    ImageFolderOptions,
    PanopticOptions,
    SegmentationOptions,
    YoloOptions,
)
from sheaf.exports.series import Series
from sheaf.later import later
from sheaf.steps import Check, Choices, Domain, Step
from sheaf.tables.pinned import Tables


def check_request(tables: Tables, filter_: AnnotationsFilter, options: ExportOptions) -> None:
    """Refuse tags, tasks, jobs and labels that the project does not have.

    Raises:
        UsageError: naming what there is.
    """
    from sheaf.annotations.writers.coco import categories
    from sheaf.annotations.writers.matching import job_scope, tag_ids

    job_scope(tables, filter_)
    tag_ids(tables, (*filter_.include_tags, *filter_.exclude_tags))
    if isinstance(options, CocoOptions | YoloOptions | HuggingFaceOptions | PanopticOptions):
        categories(tables, options)


def offered(tables: Tables) -> tuple[str, ...]:
    """The series that the project has anything for; the others would be empty."""
    found = {
        "classification": tables.rows(schema.IMAGE_TAGS) + tables.rows(schema.IMAGE_LABELS),
        "detection": tables.rows(schema.DETECTIONS),
        "segmentation": tables.rows(schema.SEGMENTATIONS),
    }
    return tuple(name for name, count in found.items() if count)


READ = Step(
    name=schema.RECORDS,
    description="Images, tasks, tags, labels, boxes and masks of a project, cleaned, with every correction counted.",
    writes=(*schema.TABLES, schema.NUMBERS),
    settings=("normalised_limit", "drawn_on"),
    version=9,
    checks=(
        Check(
            "splits_disjoint",
            "No image, and no copy of one, is in two splits.",
            later("sheaf.annotations.checks:splits_disjoint"),
        ),
    ),
    pool="ingest",
)
OVERVIEW = Step(
    name="overview",
    description="Class balance, split statistics and a contact sheet of annotated images.",
    reads=(
        schema.IMAGES,
        schema.TASKS,
        schema.JOBS,
        schema.PLACEMENTS,
        schema.LABELS,
        schema.DETECTIONS,
        schema.SEGMENTATIONS,
    ),
    writes=(),
    work=later("sheaf.annotations.overview:describe"),
    version=2,
    kinds=("png",),
)

CLASSIFICATION = Series(
    domain=schema.DOMAIN,
    name="classification",
    title="Classification Export",
    description="One class per image: a manifest.csv, or folders split/class/file as ImageFolder readers expect.",
    tables=schema.TABLES,
    write=later("sheaf.annotations.writers.classification:write_classification"),
    verify=later("sheaf.annotations.writers.verify:verify_classification"),
    version=2,
    compare=later("sheaf.annotations.writers.diff:diff_annotations"),
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
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
    write=later("sheaf.annotations.writers.coco:write_detection"),
    verify=later("sheaf.annotations.writers.verify:verify_coco"),
    version=2,
    compare=later("sheaf.annotations.writers.diff:diff_annotations"),
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
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
    write=later("sheaf.annotations.writers.coco:write_segmentation"),
    verify=later("sheaf.annotations.writers.verify:verify_coco"),
    version=2,
    compare=later("sheaf.annotations.writers.diff:diff_annotations"),
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
    options=SegmentationOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "coco"),
)

IMAGE_FOLDER = Series(
    domain=schema.DOMAIN,
    name="image_folder",
    title="Image Folder Export",
    description="One class per image as folders split/class/file, with a latest of its own.",
    tables=schema.TABLES,
    write=later("sheaf.annotations.writers.classification:write_image_folder"),
    verify=later("sheaf.annotations.writers.verify:verify_classification"),
    version=2,
    compare=later("sheaf.annotations.writers.diff:diff_annotations"),
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
    options=ImageFolderOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "imagefolder"),
)
YOLO = Series(
    domain=schema.DOMAIN,
    name="yolo",
    title="YOLO Export",
    description="YOLO text files for detection, segmentation or oriented boxes, with images and data.yaml.",
    tables=schema.TABLES,
    write=later("sheaf.annotations.writers.yolo:write_yolo"),
    verify=later("sheaf.annotations.writers.yolo:verify_yolo"),
    version=3,
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
    options=YoloOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "yolo"),
)

HUGGINGFACE = Series(
    domain=schema.DOMAIN,
    name="huggingface",
    title="Hugging Face Export",
    description="Images by split with metadata.jsonl and a dataset card, as load_dataset reads them.",
    tables=schema.TABLES,
    write=later("sheaf.annotations.writers.huggingface:write_huggingface"),
    verify=later("sheaf.annotations.writers.huggingface:verify_huggingface"),
    version=2,
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
    options=HuggingFaceOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "imagefolder"),
)

PANOPTIC = Series(
    domain=schema.DOMAIN,
    name="panoptic",
    title="Panoptic Export",
    description="A PNG for each image in which every pixel says its object, as COCO panoptic, or its class.",
    tables=schema.TABLES,
    write=later("sheaf.annotations.writers.panoptic:write_panoptic"),
    verify=later("sheaf.annotations.writers.panoptic:verify_panoptic"),
    version=2,
    tells_account=True,
    check=check_request,
    as_of=later("sheaf.annotations.writers.earlier:as_of"),
    options=PanopticOptions,
    filter=AnnotationsFilter,
    kinds=("zip", "coco", "png"),
)

REPORT_HTML = Series(
    domain=schema.DOMAIN,
    name="report_html",
    title="Project Report",
    description="The project as one page to read: annotated images, splits, classes, sizes, and what was not used.",
    tables=schema.TABLES,
    write=later("sheaf.annotations.writers.report_html:write_report_html"),
    verify=later("sheaf.annotations.writers.report_html:verify_report_html"),
    version=2,
    tells_account=True,
    kinds=("html",),
)

ANNOTATIONS = Domain(
    name=schema.DOMAIN,
    kind=schema.KIND,
    steps=(READ, OVERVIEW),
    series=(CLASSIFICATION, IMAGE_FOLDER, DETECTION, SEGMENTATION, YOLO, HUGGINGFACE, PANOPTIC, REPORT_HTML),
    offered=offered,
    in_one_run=10,
    choices=Choices(choices.TABLES, choices.facts, choices.values),
    licence=choices.licence,
)
