"""The rows a source delivers, table by table, checked field by field.

The names are those of the annotation server's database; a file needs only the fields without a
default. Not here: where rows come from (`inbox`, `coco_input`, `postgres`), and what rows mean to
each other (`catalogue`, `objects`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sheaf.tables import Rejects


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it came, with the file and line it came from."""

    values: Mapping[str, Any]
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Source:
    """Where one project's rows come from.

    Attributes:
        rows: the rows of a table by its name, in the source's order; none for a table it does not have.
        images: the folder that image paths are relative to.
        pixels: whether coordinates are pixels of the image's declared size; else they are fractions of it.
    """

    rows: Callable[[str], Iterator[Row]]
    images: Path | None = None
    pixels: bool = False


def _text(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with gaps, as pandas writes it
    return str(value).strip()


def _json(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Key = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=255)]
Name = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=255)]
Json = Annotated[Any, BeforeValidator(_json)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Time = Annotated[datetime, AfterValidator(_utc)]
Split = Annotated[
    Literal["train", "val", "test"] | None, BeforeValidator(lambda value: None if value in ("", "none") else value)
]


class _Input(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


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

    id: Key
    file_path: Annotated[str, Field(min_length=1, max_length=1024)]
    width: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    height: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    location: str | None = None


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


class ImageLabelRow(_Input):
    """A label of a whole image: `image_tags` of the server."""

    image_id: Key
    label_id: Key
    confidence: Annotated[Number, Field(ge=0, le=1)] | None = None
    source: str | None = None


class ObjectRow(_Input):
    """What boxes and masks have in common."""

    id: Key
    image_id: Key
    label_id: Key
    confidence: Annotated[Number, Field(ge=0, le=1)] | None = None
    source: str | None = None
    attributes: Json = None
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
    segmentation_id: Key | None = None


class SegmentationRow(ObjectRow):
    """A polygon (one ring of points, or a list of rings) or an RLE mask."""

    format: str | None = None
    polygon: Json = None
    rle: Json = None
    bbox: list[Number] | None = None
    detection_id: Key | None = None


class KeypointsRow(_Input):
    """Keypoints of an image; only counted."""

    image_id: Key


R = TypeVar("R", bound=BaseModel)


def checked(source: Source, table: str, model: type[R], rejects: Rejects) -> Iterator[tuple[R, Row]]:
    """The rows of a table that fit its model; the others go to the rejects with the field that is wrong."""
    for row in source.rows(table):
        try:
            yield model.model_validate({key: value for key, value in row.values.items() if value is not None}), row
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else "row"
            reject(rejects, table, f"{field}: {first['msg'].lower()}", row)


def reject(rejects: Rejects, table: str, reason: str, row: Row) -> None:
    """Keep a row that cannot be used, with where it came from."""
    rejects.add(table, reason, file=row.file, line=row.line, primary_key=row.values.get("id"), raw=dict(row.values))
