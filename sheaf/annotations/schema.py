"""The tables of one annotation project, as they are kept after cleaning.

Geometry is in pixels of the stored image (before any EXIF rotation), origin top left. Not here:
what a source delivers (`fields`) and how it becomes these tables (`ingest`).
"""

from sheaf.tables.table import FLAG, INTEGER, REAL, TEXT, UTC_TIME, ListOf, Table, column

DOMAIN = "annotations"
KIND = "project"
RECORDS = "records"
"""The step that reads what a source delivers."""

_JOBS = ListOf(TEXT)

TASKS = Table(
    DOMAIN,
    "tasks",
    KIND,
    (
        column("task_id", TEXT, "Identifier in the source", null=False),
        column("name", TEXT, "Name of the task", null=False),
        column("split", TEXT, "train, val or test; empty when the task is not assigned to a split"),
        column("status", TEXT, "Where the work stands, as the source says"),
    ),
    "Pieces of work; each gives its images a split.",
)
JOBS = Table(
    DOMAIN,
    "jobs",
    KIND,
    (
        column("job_id", TEXT, "Identifier in the source", null=False),
        column("task_id", TEXT, "The task it belongs to", null=False),
        column("version", INTEGER, "Version of the job's annotations, counted by the source", null=False),
        column("status", TEXT, "Where the work stands, as the source says"),
    ),
    "Portions of a task that one annotator works on.",
)
IMAGES = Table(
    DOMAIN,
    "images",
    KIND,
    (
        column("image_id", TEXT, "Identifier in the source", null=False),
        column("file_path", TEXT, "Path below the images root, Unicode NFC", null=False),
        column("width", "int32", "Width as stored", "pixel", null=False),
        column("height", "int32", "Height as stored", "pixel", null=False),
        column("orientation", "int8", "EXIF orientation 1 to 8; 1 is upright", null=False),
        column("file_size", INTEGER, "Size of the file", "byte"),
        column("sha256", TEXT, "Digest of the file's bytes; empty when the file is missing"),
        column("split", TEXT, "train, val or test, where it was given to the image itself; it wins over its tasks"),
        column("near", INTEGER, "Perceptual hash of the picture as shown, 64 bits; empty without a file"),
        column("number", INTEGER, "Its id in COCO files; it never changes", null=False),
        column("extra", TEXT, "What else the source says of it, as a JSON object, such as its licence"),
    ),
    "Every image of the project once, by path.",
    needed="images",
)
PLACEMENTS = Table(
    DOMAIN,
    "placements",
    KIND,
    (
        column("image_id", TEXT, "The image", null=False),
        column("job_id", TEXT, "A job it was given to", null=False),
        column("keypoints", "int32", "Keypoint annotations made there", null=False),
    ),
    "Which jobs work on an image; it may be none or several.",
)
TAGS = Table(
    DOMAIN,
    "tags",
    KIND,
    (
        column("tag_id", TEXT, "Identifier in the source", null=False),
        column("category", TEXT, "Name of the tag category", null=False),
        column("name", TEXT, "Name of the tag; unique in its category", null=False),
        column("position", "int32", "Order of categories, then of tags in them, from 0", null=False),
    ),
    "Tags by category.",
)
IMAGE_TAGS = Table(
    DOMAIN,
    "image_tags",
    KIND,
    (
        column("image_id", TEXT, "The image", null=False),
        column("tag_id", TEXT, "The tag", null=False),
    ),
    "Which tags an image has.",
)
LABELS = Table(
    DOMAIN,
    "labels",
    KIND,
    (
        column("label_id", TEXT, "Identifier in the source", null=False),
        column("name", TEXT, "Name; unique in the project", null=False),
        column("parent_id", TEXT, "The label above it"),
        column("supercategory", TEXT, "Name of the root of its hierarchy; empty for a root", null=False),
        column("position", "int32", "Order of the labels, from 0", null=False),
        column("number", INTEGER, "Its id in COCO files; it never changes", null=False),
        column("extra", TEXT, "What else the source says of it, as a JSON object, such as its licence"),
    ),
    "What an annotation can say.",
)
IMAGE_LABELS = Table(
    DOMAIN,
    "image_labels",
    KIND,
    (
        column("image_id", TEXT, "The image", null=False),
        column("label_id", TEXT, "The label", null=False),
        column("confidence", REAL, "0 to 1, from a model"),
        column("source", TEXT, "manual, import or model:<id>"),
        column("job_ids", _JOBS, "Jobs in which it was given", null=False),
    ),
    "Labels of whole images.",
    needed="annotations",
)

_OBJECT = [
    column("image_id", TEXT, "The image", null=False),
    column("label_id", TEXT, "The label", null=False),
    column("x", REAL, "Left edge of the bounding box", "pixel", null=False),
    column("y", REAL, "Top edge of the bounding box", "pixel", null=False),
    column("width", REAL, "Width of the bounding box", "pixel", null=False),
    column("height", REAL, "Height of the bounding box", "pixel", null=False),
    column("area", REAL, "Area of the object: of the box, or of the union of its parts", "pixel^2", null=False),
    column("is_crowd", FLAG, "Whether it stands for a group of objects", null=False),
    column("confidence", REAL, "0 to 1, from a model"),
    column("source", TEXT, "manual, import or model:<id>"),
    column("attributes", TEXT, "Further attributes as a JSON object"),
    column("keypoints", TEXT, "x, y, visibility of each keypoint in a row, as JSON; 0 is not labelled", "pixel"),
    column("extra", TEXT, "What else the source says of it, as a JSON object, such as its track"),
    column("number", INTEGER, "Its id in COCO files; it never changes", null=False),
    column("created_at", UTC_TIME, "When it was made"),
    column("job_ids", _JOBS, "Jobs in which it was made", null=False),
]
DETECTIONS = Table(
    DOMAIN,
    "detections",
    KIND,
    (
        column("detection_id", TEXT, "Identifier in the source", null=False),
        *_OBJECT,
        column("outline", TEXT, "The rotated box as COCO segmentation JSON; empty when it is upright"),
        column("segmentation_id", TEXT, "Mask of the same object, where there is one"),
    ),
    "Bounding boxes, by image path, time and id.",
    needed="annotations",
)
SEGMENTATIONS = Table(
    DOMAIN,
    "segmentations",
    KIND,
    (
        column("segmentation_id", TEXT, "Identifier in the source", null=False),
        *_OBJECT,
        column("shape", TEXT, "polygon or rle", null=False),
        column("segmentation", TEXT, "COCO segmentation JSON: list of rings, or compressed RLE", null=False),
        column("detection_id", TEXT, "Box of the same object, where there is one"),
    ),
    "Polygons and masks, by image path, time and id.",
    needed="annotations",
)
ABOUT = Table(
    DOMAIN,
    "about",
    KIND,
    (
        column("name", TEXT, "info or licenses", null=False),
        column("value", TEXT, "As JSON, as the source has it", null=False),
    ),
    "What the source says of the whole project.",
    may_be_empty=True,
)
NUMBERS = Table(
    DOMAIN,
    "numbers",
    KIND,
    (
        column("kind", TEXT, "image, annotation or label", null=False),
        column("label", TEXT, "Name of the label; empty for the highest number of all images or annotations"),
        column("label_id", TEXT, "Identifier of the label when it was last there"),
        column("number", INTEGER, "A number that is never given to another", null=False),
    ),
    "Which ids of COCO files are taken for ever, also by what was deleted.",
)
SMALL_TABLES = (IMAGES, TASKS, JOBS, PLACEMENTS, TAGS, IMAGE_TAGS, LABELS, IMAGE_LABELS, ABOUT)
TABLES = (*SMALL_TABLES, DETECTIONS, SEGMENTATIONS)
"""What exports are made from."""
