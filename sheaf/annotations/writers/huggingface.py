"""The Hugging Face export: a folder per split with its images and `metadata.jsonl`, and a dataset card.

`datasets.load_dataset` reads the unpacked folder, by its card or as "imagefolder". It takes a folder or a file name
with `train`, `val` or `test` in it for a split, so files are called after the image's id and their path is a column.
Classes count from 0 in the order of the category ids. Format: https://huggingface.co/docs/datasets/image_dataset.
"""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import yaml

from sheaf.annotations import schema
from sheaf.annotations.writers.archive import Archive
from sheaf.annotations.writers.coco import Categories, CocoWriter, categories
from sheaf.annotations.writers.image_bytes import write_images
from sheaf.annotations.writers.matching import in_set
from sheaf.annotations.writers.report import REPORT, Counts, write_report, written
from sheaf.annotations.writers.request import HuggingFaceOptions
from sheaf.annotations.writers.selection import select
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import opened
from sheaf.tables.pinned import Tables

CARD, METADATA = "README.md", "metadata.jsonl"
FOLDERS = {"train": "train", "val": "validation", "test": "test"}


def write_huggingface(draft: Draft) -> Written:
    """Write images, metadata and card."""
    options: HuggingFaceOptions = draft.options
    classes = categories(draft.tables, options)
    selection = select(draft.tables, draft.partition, draft.filter, options, with_files=True)
    writer = CocoWriter(draft, "detection", selection, classes)
    place = {number: position for position, number in enumerate(classes.numbers)}
    path = draft.folder / f"{draft.partition}_huggingface.zip"
    empty = []
    with Archive(path) as archive:
        for split, folder in FOLDERS.items():
            images = selection.images.filter(in_set(selection.images["split"], pa.array([split], pa.string())))
            objects: dict[int, list[dict[str, Any]]] = {}
            for row in writer.boxes(images):
                objects.setdefault(row["image_id"], []).append(row)
            if not len(images):
                continue
            if not objects:
                empty.append(folder)
            with archive.document(f"{folder}/{METADATA}") as stream:
                stream.writelines(_lines(images, objects, place))
            if not draft.preview:
                write_images(archive, draft, images, [f"{folder}/{name}" for name in _names(images)])
        counts = writer.counts()
        if empty:
            counts.warnings.append(
                f"No image of {' and '.join(empty)} has an annotation: datasets cannot tell what its columns are."
            )
        with archive.document(CARD) as stream:
            stream.write(_card(draft.partition, draft.tables, counts, classes).encode())
        write_report(archive, draft, "huggingface", selection, counts)
    return written(counts, {path.name: counts.annotation_count})


def verify_huggingface(folder: Path, written: Written) -> None:
    """Check the columns, files and counts of every split, and that the card names them all.

    Raises:
        VerificationError: naming the first fault.
    """
    (path,) = folder.glob("*.zip")
    images = annotations = 0
    with opened(path) as archive:
        if broken := archive.testzip():
            raise VerificationError(f"{path.name}: {broken} does not match its checksum.")
        report = orjson.loads(archive.read(REPORT))
        names = set(archive.namelist()) - {CARD, REPORT}
        tables = sorted(name for name in names if name.endswith(f"/{METADATA}"))
        for name in tables:
            split = name.removesuffix(METADATA)
            for line in archive.read(name).splitlines():
                row = orjson.loads(line)
                sizes = {len(values) for values in row["objects"].values()}
                if f"{split}{row['file_name']}" not in names or len(sizes) != 1:
                    raise VerificationError(f"{name}: {line.decode()[:80]!r} names no file, or is not whole.")
                names.remove(f"{split}{row['file_name']}")
                images, annotations = images + 1, annotations + sizes.pop()
        card = yaml.safe_load(archive.read(CARD).decode().split("---\n")[1])
    found = sorted(f"{each['split']}/{METADATA}" for each in card["configs"][0]["data_files"])
    if names != set(tables) or found != tables:
        raise VerificationError(f"{path.name}: its files are not those of the metadata and the card.")
    if (images, annotations) != (report["image_count"], report["annotation_count"]) or images != written.record_count:
        raise VerificationError(f"{path.name}: the metadata do not hold what the report says.")


def _names(images: pa.Table) -> list[str]:
    """A name for each image in which nobody sees a split."""
    endings = [name.rpartition(".")[2].lower() for name in images["name"].to_pylist()]
    return [f"{number:08d}.{ending}" for number, ending in zip(images["number"].to_pylist(), endings, strict=True)]


def _lines(images: pa.Table, objects: dict[int, list[dict[str, Any]]], place: dict[int, int]) -> list[bytes]:
    """A line for each image; numbers are written so that each column has one type."""
    found = []
    for name, row in zip(_names(images), images.to_pylist(), strict=True):
        rows = objects.get(row["number"], [])
        entry = {
            "file_name": name,
            "image_id": row["number"],
            "path": row["file_path"],
            "width": row["width"],
            "height": row["height"],
            "objects": {
                "id": [each["id"] for each in rows],
                "bbox": [[float(number) for number in each["bbox"]] for each in rows],
                "area": [float(each["area"]) for each in rows],
                "iscrowd": [each["iscrowd"] for each in rows],
                "categories": [place[each["category_id"]] for each in rows],
            },
        }
        found.append(orjson.dumps(entry) + b"\n")
    return found


def _card(project: str, tables: Tables, counts: Counts, classes: Categories) -> str:
    splits = {split: count for split in FOLDERS if (count := counts.split_counts[split])}
    head = {
        "pretty_name": project,
        "task_categories": ["object-detection"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": FOLDERS[split], "path": f"{FOLDERS[split]}/**"} for split in splits],
            }
        ],
    }
    licences = next(
        (orjson.loads(row["value"]) for row in tables.read(schema.ABOUT).to_pylist() if row["name"] == "licenses"), []
    )
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n",
        f"# {project}\n",
        f"{counts.image_count} images with {counts.annotation_count} boxes: "
        + ", ".join(f"{count} in {FOLDERS[split]}" for split, count in splits.items())
        + ".\n",
        "    from datasets import load_dataset\n"
        '    dataset = load_dataset("imagefolder", data_dir="<this folder, unpacked>")\n',
        "`objects.bbox` is x, y, width and height in pixels of the picture; `objects.categories` counts from 0:\n",
        "| category | class | boxes |\n|---|---|---|\n"
        + "".join(
            f"| {at} | {name.replace('|', ' ')} | {counts.class_counts.get(name, 0)} |\n"
            for at, name in enumerate(classes.names)
        ),
        "`image_id` and `objects.id` are the same in every version, and `path` is what the file was called.\n",
    ]
    if licences:
        named = [f"- {licence.get('name')} {licence.get('url') or ''}".rstrip() for licence in licences]
        parts.append("Licences of the images:\n\n" + "\n".join(named) + "\n")
    return "\n".join(parts)
