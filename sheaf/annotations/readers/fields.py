"""The rows a source delivers, table by table, counted and checked field by field.

The names are those of the annotation server's database; a file needs only the fields without a
default. Not here: where rows come from (`table_files`, `coco`, `postgres`), and what rows mean to
each other (`catalogue`, `objects`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sheaf.annotations.findings import Finding
from sheaf.outside.models import first_problem
from sheaf.tables.rejects import Rejects


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it came, with the file and line it came from."""

    values: Mapping[str, Any]
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Batch:
    """Boxes or masks one after another in columns, for those that are plain, and as rows, for all others.

    Attributes:
        keys, image_ids, label_ids: as the rows have them.
        boxes: x, y, width and height, px, as they came.
        shapes, areas: lists of rings and what is stated of their area, as they came.
        scores, attributes, extras: as they came.
        links: key of the mask of a box, or of the box of a mask.
        maybe_plain: whether nothing but these columns is to be known of it.
        row: any of them as a row; asked for once.
    """

    keys: list[str]
    image_ids: list[str | None]
    label_ids: list[str | None]
    boxes: list[Any]
    shapes: list[Any]
    areas: list[Any]
    scores: list[Any]
    attributes: list[Any]
    extras: list[Any]
    links: list[str | None]
    maybe_plain: list[bool]
    row: Callable[[int], Row]


@dataclass(frozen=True)
class Source:
    """Where one project's rows come from.

    Attributes:
        rows: the rows of a table by its name, in the source's order; none for a table it does not have.
        images: the folder that image paths are relative to.
        pixels: whether coordinates are pixels of the image's declared size; else they are fractions of it.
        words: what the source calls our fields, where it calls them otherwise.
        batches: boxes and masks, where they come as COCO has them, in place of `rows`.
    """

    rows: Callable[[str], Iterator[Row]]
    images: Path | None = None
    pixels: bool = False
    words: Mapping[str, str] = field(default_factory=dict)
    batches: Callable[[], Iterator[tuple[Batch, Batch]]] | None = None


ROUNDING = 1e-3
"""By so much a confidence may be above 1: models write 1.0000001."""

_DEEPEST = 100
_EXACT = 2**53
"""The largest number up to which every whole number is one that a float can hold."""


def _text(value: Any) -> Any:
    if type(value) is str:
        return value.strip()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float) and value.is_integer():
        if abs(value) > _EXACT:
            raise ValueError("the number is too large to be read exactly: write it as text")
        return str(int(value))  # a column of whole numbers with gaps, as pandas writes it
    return str(value).strip()


def _json(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# lengths stand before `_text`, so that pydantic checks them in its core: behind it, it calls Python for each
Key = Annotated[str, Field(min_length=1, max_length=255), BeforeValidator(_text)]
LongKey = Annotated[str, Field(min_length=1, max_length=2048), BeforeValidator(_text)]
"""Of an annotation: it may hold the path of its image."""
Name = Annotated[str, Field(min_length=1, max_length=255), BeforeValidator(_text)]
Json = Annotated[Any, BeforeValidator(_json)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Confidence = Annotated[Number, Field(ge=0, le=1 + ROUNDING)]
Time = Annotated[datetime, AfterValidator(_utc)]
Split = Annotated[
    Literal["train", "val", "test"] | None, BeforeValidator(lambda value: None if value in ("", "none") else value)
]


class _Input(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ProjectRow(_Input):
    """A project: which one the folder is, where its tables hold several."""

    id: Key
    slug: str | None = None
    name: str | None = None
    project_id: Key | None = None


class TaskRow(_Input):
    """A task."""

    id: Key
    name: str = ""
    split: Split = None
    status: str | None = None


class JobRow(_Input):
    """A job of a task."""

    id: Key
    task_id: Key
    version: int = 1
    status: str | None = None


class ImageFileRow(_Input):
    """An image file; `shared_images` of the server, or the image's own row in a file."""

    extra: Json = None

    id: Key
    file_path: Annotated[str, Field(min_length=1, max_length=1024)]
    width: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    height: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    location: str | None = None


class ProjectImageRow(_Input):
    """An image of the pool that belongs to the project: `project_images` of the server."""

    shared_image_id: Key


class ImageRow(_Input):
    """An image in a job; the file is `shared_image_id`'s, or its own `file_path` (or `s3_key`, `filename`)."""

    id: Key
    shared_image_id: Key | None = None
    file_path: str | None = None
    s3_key: str | None = None
    filename: str | None = None
    job_id: Key | None = None
    task_id: Key | None = None
    width: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    height: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    location: str | None = None
    extra: Json = None


class TagCategoryRow(_Input):
    """A tag category."""

    id: Key
    name: Name
    sidebar_order: int = 0


class TagRow(_Input):
    """A tag."""

    id: Key
    name: Name
    category_id: Key


class ImageTagRow(_Input):
    """A tag of an image: `shared_image_tags` of the server."""

    tag_id: Key
    shared_image_id: Key | None = None
    image_id: Key | None = None


class LabelRow(_Input):
    """A label."""

    id: Key
    name: Name
    parent_id: Key | None = None
    supercategory: str | None = None
    sort_order: int | None = None
    extra: Json = None


class ImageLabelRow(_Input):
    """A label of a whole image: `image_tags` of the server."""

    image_id: Key
    label_id: Key
    confidence: Confidence | None = None
    source: str | None = None


class ObjectRow(_Input):
    """What boxes and masks have in common."""

    id: LongKey
    image_id: Key
    label_id: Key
    confidence: Confidence | None = None
    source: str | None = None
    attributes: Json = None
    keypoints: Json = None
    extra: Json = None
    created_at: Time | None = None
    iscrowd: bool = False
    area: Number | None = None


class DetectionRow(ObjectRow):
    """A box by its corners, as drawn before it was turned by `rotation` degrees about its centre."""

    x_min: Number
    y_min: Number
    x_max: Number
    y_max: Number
    rotation: Number = 0.0
    segmentation_id: LongKey | None = None


class SegmentationRow(ObjectRow):
    """A polygon (one ring of points, or a list of rings) or an RLE mask."""

    format: str | None = None
    polygon: Json = None
    rle: Json = None
    bbox: list[Number] | None = None
    detection_id: LongKey | None = None


class AboutRow(_Input):
    """What a source says of the whole: `info` and `licenses` of a COCO file."""

    name: Name
    value: Json


class SplitRow(_Input):
    """The split of one image, by its path; it wins over those of its tasks."""

    file_path: Annotated[str, Field(min_length=1, max_length=1024)]
    split: Split = None


class KeypointsRow(_Input):
    """Keypoints of one object: `points` are objects with name, x, y and visibility, the box may be stated."""

    image_id: Key
    id: Key | None = None
    label_id: Key | None = None
    points: Json = None
    bbox_x_min: Number | None = None
    bbox_y_min: Number | None = None
    bbox_x_max: Number | None = None
    bbox_y_max: Number | None = None
    confidence: Confidence | None = None
    source: str | None = None
    attributes: Json = None
    created_at: Time | None = None


R = TypeVar("R", bound=BaseModel)

COLUMNS = {
    table: tuple(model.model_fields)
    for table, model in {
        "projects": ProjectRow,
        "tasks": TaskRow,
        "jobs": JobRow,
        "shared_images": ImageFileRow,
        "project_images": ProjectImageRow,
        "images": ImageRow,
        "tag_categories": TagCategoryRow,
        "tags": TagRow,
        "shared_image_tags": ImageTagRow,
        "labels": LabelRow,
        "image_tags": ImageLabelRow,
        "detections": DetectionRow,
        "segmentations": SegmentationRow,
        "keypoints": KeypointsRow,
        "splits": SplitRow,
    }.items()
}
"""The tables that a source can have, with the columns that are read."""

_MEANT_FOR = {"shared_image_tags": "image_tags", "image_tags": "image_labels"}
_CODES = {
    "missing": "missing_value",
    "finite_number": "not_a_number",
    "float_parsing": "not_a_number",
    "float_type": "not_a_number",
    "int_parsing": "not_a_number",
    "int_type": "not_a_number",
    "int_from_float": "not_a_number",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "datetime_type": "not_a_time",
    "datetime_parsing": "not_a_time",
    "datetime_from_date_parsing": "not_a_time",
}
_NOT_ALLOWED = "bad_value"


def as_key(value: Any) -> str | None:
    """A key as the models read it; None for nothing, and for what is no key."""
    try:
        found = _text(value)
    except ValueError:
        return None
    return found if isinstance(found, str) and found else None


def as_json(value: Any) -> str | None:
    """A value as JSON, the same for equal values; None for nothing. What lies too deep to be written is left out."""
    if value in (None, {}, []):
        return None
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return orjson.dumps(_shallow(value, _DEEPEST), option=orjson.OPT_SORT_KEYS).decode()


def _shallow(value: Any, most: int) -> Any:
    if isinstance(value, dict):
        return {key: _shallow(item, most - 1) for key, item in value.items()} if most else None
    if isinstance(value, list):
        return [_shallow(item, most - 1) for item in value] if most else None
    return value


def meant_for(table: str) -> str:
    """The table that the rows of a delivered one are meant for, as accounts and rejects name it.

    The server calls tags and labels of images otherwise than we do; a delivered table that none of ours
    is made of keeps its name.
    """
    return _MEANT_FOR.get(table, table)


def checked(source: Source, table: str, model: type[R], rejects: Rejects) -> Iterator[tuple[R, Row]]:
    """The rows of a table that fit its model, all counted; the others are rejected for the field that is wrong."""
    for row in source.rows(table):
        if item := fitting(source, table, model, row, rejects):
            yield item, row


def fitting(source: Source, table: str, model: type[R], row: Row, rejects: Rejects) -> R | None:
    """A row as its model; counted, and rejected for the field that is wrong where it does not fit."""
    rejects.saw(meant_for(table), 1)
    try:
        return model.model_validate({key: value for key, value in row.values.items() if value is not None})
    except ValidationError as error:
        found = first_problem(error)
        name = found.key.partition(".")[0] or "row"
        name = source.words.get(name, name)
        finding = Finding(_CODES.get(found.kind, _NOT_ALLOWED), f"{name}: {found.reason.lower()}")
        reject(rejects, table, finding, row)
        return None


def reject(rejects: Rejects, table: str, finding: Finding, row: Row, rows: int = 1) -> None:
    """Keep a row that cannot be used, with where it came from.

    Args:
        table: the delivered table.
        rows: how many rows it stands for.
    """
    rejects.add(
        meant_for(table),
        finding.code,
        finding.sentence,
        rows=rows,
        file=row.file,
        line=row.line,
        primary_key=row.values.get("id"),
        raw=dict(row.values),
    )
