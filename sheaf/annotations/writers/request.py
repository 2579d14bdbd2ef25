"""What an annotation export can be asked for: the filter, and the options of each series."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, model_validator

from sheaf.exports.options import Options, check_range

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Match = Literal["any", "all"]
_Count = Annotated[int | None, Field(ge=0)]
_Ratio = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]


class AnnotationsFilter(Options):
    """Which images; all keys that are given must hold.

    Attributes:
        include_tags: images with any (or all, by `include_match`) of these, as category/tag.
        include_match: whether an image needs any or all of `include_tags`.
        exclude_tags: not images with any (or all, by `exclude_match`) of these.
        exclude_match: whether any or all of `exclude_tags` leave an image out.
        tasks: ids; images, and the annotations made, in one of these tasks.
        job: id; images, and the annotations made, in this job; it wins over `tasks`.
        annotated: images with or without annotations of any kind.
        search: part of the file name, whatever its case.
        path: folders; `a` holds `a/1.jpg`, not `ab/1.jpg`.
        glob: pattern of the whole path, whatever its case; `*` also matches `/`.
        width_min, width_max, height_min, height_max: pixels as stored, inclusive.
        file_size_min, file_size_max: bytes, inclusive; a missing file never matches.
        aspect_ratio_min, aspect_ratio_max: width divided by height, inclusive.
        bbox_count_min, bbox_count_max, polygon_count_min, polygon_count_max: boxes, and polygons or masks.
    """

    include_tags: tuple[str, ...] = ()
    include_match: Match = "any"
    exclude_tags: tuple[str, ...] = ()
    exclude_match: Match = "any"
    tasks: tuple[str, ...] = ()
    job: str | None = None
    annotated: bool | None = None
    search: str | None = None
    path: tuple[str, ...] = ()
    glob: str | None = None
    width_min: _Count = None
    width_max: _Count = None
    height_min: _Count = None
    height_max: _Count = None
    file_size_min: _Count = None
    file_size_max: _Count = None
    aspect_ratio_min: _Ratio = None
    aspect_ratio_max: _Ratio = None
    bbox_count_min: _Count = None
    bbox_count_max: _Count = None
    polygon_count_min: _Count = None
    polygon_count_max: _Count = None

    @model_validator(mode="after")
    def _ranges_hold_something(self) -> Self:
        for name in type(self).model_fields:
            if name.endswith("_min"):
                check_range(self, name, name.replace("_min", "_max"))
        return self


def _class_map(value: Any) -> Any:
    """`{"class": ["category/tag", …]}` as JSON text, or as it is."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ValueError('it is not valid JSON, such as {"day": ["light/sun", "light/cloud"]}') from error


class ExportOptions(Options):
    """What all three series can be asked for.

    Attributes:
        include_images: put the image files into the ZIP.
        include_unassigned: also images whose task has no split; only where a file is not a split.
        on_missing: an image file that is missing fails the export, or the image is left out and listed.
        on_split_conflict: an image in tasks of different splits fails the export, is left out, or
            goes to test rather than val rather than train.
        on_leak: the same bytes in two splits fail the export, or are warned of.
        exif: sizes and files as stored, or turned as the EXIF orientation says. Annotations that were
            made on the picture as browsers show it need `transpose`.
        version_mode: the last ingest, the newest snapshot not after a time, or the newest in which the
            filter's job had a version.
        version_value: the time (ISO 8601, UTC unless it says otherwise) or the number of the version.
    """

    include_images: bool = False
    include_unassigned: bool = False
    on_missing: Literal["fail", "skip"] = "fail"
    on_split_conflict: Literal["error", "exclude", "test>val>train"] = "error"
    on_leak: Literal["fail", "warn"] = "fail"
    exif: Literal["as_stored", "transpose"] = "as_stored"
    version_mode: Literal["latest", "timestamp", "job_version"] = "latest"
    version_value: str | None = None

    @model_validator(mode="after")
    def _version_has_its_value(self) -> "ExportOptions":
        if self.version_mode == "timestamp":
            self.moment()
        elif self.version_mode == "job_version":
            self.job_version()
        elif self.version_value is not None:
            raise ValueError("version_value needs version_mode=timestamp or version_mode=job_version")
        return self

    def moment(self) -> datetime:
        """The time that `version_mode=timestamp` names."""
        try:
            moment = datetime.fromisoformat(self.version_value or "")
        except ValueError as error:
            raise ValueError("version_value must be a time such as 2026-11-01T00:00:00Z") from error
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def job_version(self) -> int:
        """The version that `version_mode=job_version` names."""
        if not (self.version_value or "").isdecimal():
            raise ValueError("version_value must be the number of a job's version, such as 3")
        return int(self.version_value or "")


class CocoOptions(ExportOptions):
    """What the COCO series can be asked for.

    Attributes:
        format: COCO JSON.
        labels: only annotations, and categories, of these label names.
        splits: one file for each split, or a single one in which every image names its split.
        category_ids: 1 to K in the order of the labels, or the source's own numbers.
    """

    format: Literal["coco_json"] = "coco_json"
    labels: tuple[str, ...] = ()
    splits: Literal["per_file", "single"] = "per_file"
    category_ids: Literal["dense", "stable"] = "dense"

    @model_validator(mode="before")
    @classmethod
    def _unassigned_go_into_a_single_file(cls, data: Any) -> Any:
        wanted = isinstance(data, Mapping) and data.get("include_unassigned") not in (None, False, "false")
        return {"splits": "single", **data} if wanted else data

    @model_validator(mode="after")
    def _unassigned_need_a_single_file(self) -> "CocoOptions":
        if self.include_unassigned and self.splits == "per_file":
            raise ValueError("include_unassigned=true needs splits=single")
        return self


class DetectionOptions(CocoOptions):
    """What `detection` can be asked for.

    Attributes:
        bbox_from_segmentation: add the boxes of masks that have no box of their own.
    """

    bbox_from_segmentation: bool = False


class SegmentationOptions(CocoOptions):
    """What `segmentation` can be asked for.

    Attributes:
        bbox_to_polygon: add, as polygons, the boxes that have no mask of their own.
    """

    bbox_to_polygon: bool = False


class YoloOptions(ExportOptions):
    """What `yolo` can be asked for.

    Attributes:
        include_images: put the image files into the ZIP; ultralytics needs them beside the labels.
        exif: as for the other series; ultralytics reads pictures turned, so they are turned.
        format: YOLO text files with a data.yaml.
        task: upright boxes, outlines, or boxes of four corners.
        labels: only annotations, and classes, of these label names.
    """

    include_images: bool = True
    exif: Literal["as_stored", "transpose"] = "transpose"
    format: Literal["yolo"] = "yolo"
    task: Literal["detect", "segment", "obb"] = "detect"
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_file_is_in_a_split(self) -> "YoloOptions":
        if self.include_unassigned:
            raise ValueError("include_unassigned=true cannot be had: YOLO has a folder for each split")
        return self


class HuggingFaceOptions(ExportOptions):
    """What `huggingface` can be asked for.

    Attributes:
        include_images: always; the metadata are of files.
        exif: as for the other series; `datasets` turns pictures when it reads them, so they are turned.
        format: what `datasets.load_dataset("imagefolder")` reads.
        labels: only annotations, and classes, of these label names.
    """

    include_images: bool = True
    exif: Literal["as_stored", "transpose"] = "transpose"
    format: Literal["imagefolder"] = "imagefolder"
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_file_is_in_a_split(self) -> "HuggingFaceOptions":
        if self.include_unassigned:
            raise ValueError("include_unassigned=true cannot be had: there is a folder for each split")
        if not self.include_images:
            raise ValueError("include_images=false cannot be had: the metadata are of files")
        return self


class PanopticOptions(ExportOptions):
    """What `panoptic` can be asked for.

    Attributes:
        format: COCO's panoptic format, or pictures whose pixels are the ids of categories.
        labels: only objects, and categories, of these label names.
    """

    format: Literal["coco_panoptic", "class_png"] = "coco_panoptic"
    labels: tuple[str, ...] = ()


class ClassOptions(ExportOptions):
    """What both series of one class per image can be asked for.

    Attributes:
        category: the tag category whose tags are the classes.
        classes: classes from any tags, `{"class": ["category/tag", …]}`. With neither, classes are the
            labels of whole images or, where there are none, the tags of the first category.
        on_conflict: an image with two classes fails the export, is left out, or gets the first of them.
    """

    category: str | None = None
    classes: Annotated[dict[str, list[str]] | None, BeforeValidator(_class_map)] = None
    on_conflict: Literal["error", "skip", "first"] = "error"

    @model_validator(mode="after")
    def _one_mapping(self) -> Self:
        if self.category is not None and self.classes is not None:
            raise ValueError("give either category or classes")
        return self


class ClassificationOptions(ClassOptions):
    """What `classification` can be asked for.

    Attributes:
        format: a `manifest.csv`, or folders `split/class/file` (always with the images).
    """

    format: Literal["manifest_csv", "image_folder"] = "manifest_csv"

    @model_validator(mode="after")
    def _each_file_is_in_a_split(self) -> Self:
        if self.include_unassigned and self.format == "image_folder":
            raise ValueError("include_unassigned=true needs format=manifest_csv")
        return self


class ImageFolderOptions(ClassOptions):
    """What `image_folder` can be asked for.

    Attributes:
        format: folders `split/class/file`.
    """

    format: Literal["image_folder"] = "image_folder"

    @model_validator(mode="after")
    def _each_file_is_in_a_split(self) -> Self:
        if self.include_unassigned:
            raise ValueError("include_unassigned=true cannot be had: there is a folder for each split")
        return self
