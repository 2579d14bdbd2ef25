"""The tables of one annotation project, as they are kept after cleaning.

Geometry is in pixels of the stored image (before any EXIF rotation), origin top left. Not here:
what a source delivers (`fields`) and how it becomes these tables (`ingest`).
"""

import pyarrow as pa

from sheaf.tables.table import UTC_TIME, Table, column

DOMAIN = "annotations"
KIND = "project"
RECORDS = "records"
"""The step that reads what a source delivers."""

_TEXT, _INT, _REAL = pa.string(), pa.int64(), pa.float64()
_JOBS = pa.list_(_TEXT)

TASKS = Table(
    DOMAIN,
    "tasks",
    KIND,
    pa.schema(
        [
            column("task_id", _TEXT, "Identifier in the source", null=False),
            column("name", _TEXT, "Name of the task", null=False),
            column("split", _TEXT, "train, val or test; empty when the task is not assigned to a split"),
            column("status", _TEXT, "Where the work stands, as the source says"),
        ]
    ),
    "Pieces of work; each gives its images a split.",
)
JOBS = Table(
    DOMAIN,
    "jobs",
    KIND,
    pa.schema(
        [
            column("job_id", _TEXT, "Identifier in the source", null=False),
            column("task_id", _TEXT, "The task it belongs to", null=False),
            column("version", _INT, "Version of the job's annotations, counted by the source", null=False),
            column("status", _TEXT, "Where the work stands, as the source says"),
        ]
    ),
    "Portions of a task that one annotator works on.",
)
IMAGES = Table(
    DOMAIN,
    "images",
    KIND,
    pa.schema(
        [
            column("image_id", _TEXT, "Identifier in the source", null=False),
            column("file_path", _TEXT, "Path below the images root, Unicode NFC", null=False),
            column("width", pa.int32(), "Width as stored", "pixel", null=False),
            column("height", pa.int32(), "Height as stored", "pixel", null=False),
            column("orientation", pa.int8(), "EXIF orientation 1 to 8; 1 is upright", null=False),
            column("file_size", _INT, "Size of the file", "byte"),
            column("sha256", _TEXT, "Digest of the file's bytes; empty when the file is missing"),
            column(
                "split", _TEXT, "train, val or test, where it was given to the image itself; it wins over its tasks"
            ),
            column("near", _INT, "Perceptual hash of the picture as shown, 64 bits; empty without a file"),
            column("number", _INT, "Its id in COCO files; it never changes", null=False),
            column("extra", _TEXT, "What else the source says of it, as a JSON object, such as its licence"),
        ]
    ),
    "Every image of the project once, by path.",
    needed="images",
)
PLACEMENTS = Table(
    DOMAIN,
    "placements",
    KIND,
    pa.schema(
        [
            column("image_id", _TEXT, "The image", null=False),
            column("job_id", _TEXT, "A job it was given to", null=False),
            column("keypoints", pa.int32(), "Keypoint annotations made there", null=False),
        ]
    ),
    "Which jobs work on an image; it may be none or several.",
)
TAGS = Table(
    DOMAIN,
    "tags",
    KIND,
    pa.schema(
        [
            column("tag_id", _TEXT, "Identifier in the source", null=False),
            column("category", _TEXT, "Name of the tag category", null=False),
            column("name", _TEXT, "Name of the tag; unique in its category", null=False),
            column("position", pa.int32(), "Order of categories, then of tags in them, from 0", null=False),
        ]
    ),
    "Tags by category.",
)
IMAGE_TAGS = Table(
    DOMAIN,
    "image_tags",
    KIND,
    pa.schema(
        [
            column("image_id", _TEXT, "The image", null=False),
            column("tag_id", _TEXT, "The tag", null=False),
        ]
    ),
    "Which tags an image has.",
)
LABELS = Table(
    DOMAIN,
    "labels",
    KIND,
    pa.schema(
        [
            column("label_id", _TEXT, "Identifier in the source", null=False),
            column("name", _TEXT, "Name; unique in the project", null=False),
            column("parent_id", _TEXT, "The label above it"),
            column("supercategory", _TEXT, "Name of the root of its hierarchy; empty for a root", null=False),
            column("position", pa.int32(), "Order of the labels, from 0", null=False),
            column("number", _INT, "Its id in COCO files; it never changes", null=False),
            column("extra", _TEXT, "What else the source says of it, as a JSON object, such as its licence"),
        ]
    ),
    "What an annotation can say.",
)
IMAGE_LABELS = Table(
    DOMAIN,
    "image_labels",
    KIND,
    pa.schema(
        [
            column("image_id", _TEXT, "The image", null=False),
            column("label_id", _TEXT, "The label", null=False),
            column("confidence", _REAL, "0 to 1, from a model"),
            column("source", _TEXT, "manual, import or model:<id>"),
            column("job_ids", _JOBS, "Jobs in which it was given", null=False),
        ]
    ),
    "Labels of whole images.",
    needed="annotations",
)

_OBJECT = [
    column("image_id", _TEXT, "The image", null=False),
    column("label_id", _TEXT, "The label", null=False),
    column("x", _REAL, "Left edge of the bounding box", "pixel", null=False),
    column("y", _REAL, "Top edge of the bounding box", "pixel", null=False),
    column("width", _REAL, "Width of the bounding box", "pixel", null=False),
    column("height", _REAL, "Height of the bounding box", "pixel", null=False),
    column("area", _REAL, "Area of the object: of the box, or of the union of its parts", "pixel^2", null=False),
    column("is_crowd", pa.bool_(), "Whether it stands for a group of objects", null=False),
    column("confidence", _REAL, "0 to 1, from a model"),
    column("source", _TEXT, "manual, import or model:<id>"),
    column("attributes", _TEXT, "Further attributes as a JSON object"),
    column("keypoints", _TEXT, "x, y, visibility of each keypoint in a row, as JSON; 0 is not labelled", "pixel"),
    column("extra", _TEXT, "What else the source says of it, as a JSON object, such as its track"),
    column("number", _INT, "Its id in COCO files; it never changes", null=False),
    column("created_at", UTC_TIME, "When it was made"),
    column("job_ids", _JOBS, "Jobs in which it was made", null=False),
]
DETECTIONS = Table(
    DOMAIN,
    "detections",
    KIND,
    pa.schema(
        [
            column("detection_id", _TEXT, "Identifier in the source", null=False),
            *_OBJECT,
            column("outline", _TEXT, "The rotated box as COCO segmentation JSON; empty when it is upright"),
            column("segmentation_id", _TEXT, "Mask of the same object, where there is one"),
        ]
    ),
    "Bounding boxes, by image path, time and id.",
    needed="annotations",
)
SEGMENTATIONS = Table(
    DOMAIN,
    "segmentations",
    KIND,
    pa.schema(
        [
            column("segmentation_id", _TEXT, "Identifier in the source", null=False),
            *_OBJECT,
            column("shape", _TEXT, "polygon or rle", null=False),
            column("segmentation", _TEXT, "COCO segmentation JSON: list of rings, or compressed RLE", null=False),
            column("detection_id", _TEXT, "Box of the same object, where there is one"),
        ]
    ),
    "Polygons and masks, by image path, time and id.",
    needed="annotations",
)
ABOUT = Table(
    DOMAIN,
    "about",
    KIND,
    pa.schema(
        [
            column("name", _TEXT, "info or licenses", null=False),
            column("value", _TEXT, "As JSON, as the source has it", null=False),
        ]
    ),
    "What the source says of the whole project.",
    may_be_empty=True,
)
NUMBERS = Table(
    DOMAIN,
    "numbers",
    KIND,
    pa.schema(
        [
            column("kind", _TEXT, "image, annotation or label", null=False),
            column("label", _TEXT, "Name of the label; empty for the highest number of all images or annotations"),
            column("label_id", _TEXT, "Identifier of the label when it was last there"),
            column("number", _INT, "A number that is never given to another", null=False),
        ]
    ),
    "Which ids of COCO files are taken for ever, also by what was deleted.",
)
SMALL_TABLES = (IMAGES, TASKS, JOBS, PLACEMENTS, TAGS, IMAGE_TAGS, LABELS, IMAGE_LABELS, ABOUT)
TABLES = (*SMALL_TABLES, DETECTIONS, SEGMENTATIONS)
"""What exports are made from."""
