"""Checking an export before it is published, by reading its ZIP back.

COCO goes through pycocotools, in portions so that memory stays bounded; manifests through Arrow's
CSV reader; images are compared with the ZIP's own checksums.
"""

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from sheaf.annotations.readers.paths import unsafe_path
from sheaf.annotations.writers.classification import HEADER, MANIFEST
from sheaf.annotations.writers.coco_lines import read_lines
from sheaf.annotations.writers.report import REPORT
from sheaf.errors import VerificationError
from sheaf.exports.series import Written
from sheaf.exports.zips import opened

_PORTION = 20_000
_MASKS = 500  # decoded per portion


def verify_coco(folder: Path, written: Written) -> None:
    """Check ids, references, geometry and counts of every COCO file, and that its images are there.

    Raises:
        VerificationError: naming the first fault.
    """
    images = annotations = 0
    with _opened(folder) as archive:
        report = _checked_report(archive, written)
        entries = {name for name in archive.namelist() if name.startswith("images/")}
        for name in archive.namelist():
            if name.startswith("annotations/"):
                found = _check_document(archive, name, entries)
                images, annotations = images + found[0], annotations + found[1]
    if (images, annotations) != (report["image_count"], report["annotation_count"]):
        raise VerificationError(
            f"The COCO files hold {images} images and {annotations} annotations, the report says "
            f"{report['image_count']} and {report['annotation_count']}."
        )
    if entries and len(entries) != images:
        raise VerificationError(f"The ZIP holds {len(entries)} image files for {images} images.")


def verify_classification(folder: Path, written: Written) -> None:
    """Check the manifest or the folders against the report.

    Raises:
        VerificationError: naming the first fault.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    with _opened(folder) as archive:
        report = _checked_report(archive, written)
        files = [name for name in archive.namelist() if name not in (MANIFEST, REPORT)]
        if MANIFEST not in archive.namelist():
            folders = set(report["class_folders"].values())
            for name in files:
                if name.count("/") != 2 or name.split("/")[1] not in folders:
                    raise VerificationError(f"{name} is not of the form split/class/file.")
            paths = files
        else:
            types = pa_csv.ConvertOptions(column_types=dict.fromkeys(HEADER, pa.string()))
            newlines = pa_csv.ParseOptions(newlines_in_values=True)
            table = pa_csv.read_csv(io.BytesIO(archive.read(MANIFEST)), parse_options=newlines, convert_options=types)
            if tuple(table.column_names) != HEADER:
                raise VerificationError(f"{MANIFEST} has the columns {table.column_names}.")
            paths = table["image_path"].to_pylist()
            if files and set(files) != set(paths):
                raise VerificationError(f"The image files in the ZIP are not those of {MANIFEST}.")
    if len(set(paths)) != report["image_count"]:
        raise VerificationError(f"There are {len(set(paths))} images, the report says {report['image_count']}.")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[zipfile.ZipFile]:
    """The one ZIP of an export, whole and with safe names."""
    (path,) = folder.glob("*.zip")
    with opened(path) as archive:
        for name in archive.namelist():
            if reason := unsafe_path(name):
                raise VerificationError(f"{path.name} holds {name!r}: {reason}.")
        if broken := archive.testzip():
            raise VerificationError(f"{path.name}: {broken} does not match its checksum.")
        yield archive


def _checked_report(archive: zipfile.ZipFile, written: Written) -> dict[str, Any]:
    report = orjson.loads(archive.read(REPORT))
    if report["image_count"] != written.record_count:
        raise VerificationError(f"{REPORT} counts {report['image_count']} images, {written.record_count} were written.")
    return report


def _check_document(archive: zipfile.ZipFile, name: str, entries: set[str]) -> tuple[int, int]:
    """Images and annotations of one file."""
    sizes: dict[int, tuple[int, int]] = {}
    categories: dict[int, dict[str, Any]] = {}
    names: set[str] = set()
    annotations = 0
    seen: set[int] = set()
    portion: list[dict[str, Any]] = []
    split = name.removeprefix("annotations/instances").removeprefix("_").removesuffix(".json")
    with archive.open(name) as stream:
        for section, item in read_lines(stream, name):
            if section == "categories":
                categories[item["id"]] = item
            elif section == "images":
                entry = "/".join(part for part in ("images", split, item["file_name"]) if part)
                if entries and entry not in entries:
                    raise VerificationError(f"{name}: {entry} is not in the ZIP.")
                if item["id"] in sizes or item["file_name"] in names or min(item["width"], item["height"]) < 1:
                    raise VerificationError(f"{name}: image {item['id']} is there twice or has no size.")
                names.add(item["file_name"])
                sizes[item["id"]] = item["width"], item["height"]
            else:
                annotations += 1
                if item["id"] in seen:
                    raise VerificationError(f"{name}: annotation {item['id']} is there twice.")
                seen.add(item["id"])
                portion.append(item)
                if len(portion) == _PORTION:
                    _check_portion(name, portion, sizes, categories)
                    portion = []
    _check_portion(name, portion, sizes, categories)
    return len(sizes), annotations


def _check_portion(
    name: str,
    portion: list[dict[str, Any]],
    sizes: dict[int, tuple[int, int]],
    categories: dict[int, dict[str, Any]],
) -> None:
    from pycocotools import mask
    from pycocotools.coco import COCO

    for item in portion:
        if item["image_id"] not in sizes or item["category_id"] not in categories:
            raise VerificationError(
                f"{name}: annotation {item['id']} refers to an image or category that is not there."
            )
        (width, height), (x, y, across, down) = sizes[item["image_id"]], item["bbox"]
        inside = x >= -1 and y >= -1 and x + across <= width + 1 and y + down <= height + 1
        if not inside or across <= 0 or down <= 0 or item["area"] <= 0:
            raise VerificationError(f"{name}: annotation {item['id']} has no area or is outside its image.")
    used = {item["image_id"] for item in portion}
    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": number, "width": sizes[number][0], "height": sizes[number][1]} for number in used],
        "annotations": portion,
        "categories": list(categories.values()),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    drawn = [item for item in portion if "segmentation" in item]
    for item in drawn[:: len(drawn) // _MASKS + 1]:
        encoded = coco.annToRLE(item)
        width, height = sizes[item["image_id"]]
        if list(encoded["size"]) != [height, width] or (item["iscrowd"] and not mask.area(encoded)):
            raise VerificationError(f"{name}: the mask of annotation {item['id']} cannot be drawn on its image.")
