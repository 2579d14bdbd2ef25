"""The files of a project's inbox folder, one per table, as rows.

`<table>.parquet`, `<table>.ndjson` or `<table>.csv`, named as the annotation server's tables, beside
`images/`. Not here: what the rows mean (`rows`), nor COCO datasets (`coco_input`).
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from sheaf.annotations.rows import Row, Source
from sheaf.errors import InputError
from sheaf.tables import Rejects

TABLES = (
    "tasks",
    "jobs",
    "shared_images",
    "project_images",
    "images",
    "tag_categories",
    "tags",
    "shared_image_tags",
    "labels",
    "image_tags",
    "detections",
    "segmentations",
    "keypoints",
)
_ENDINGS = (".parquet", ".ndjson", ".csv")


def inbox_source(folder: Path, rejects: Rejects) -> tuple[Source, list[str]]:
    """The tables of an inbox folder, and warnings about files that nobody reads.

    Raises:
        InputError: there is neither an image table, or a table comes in two files.
    """
    found: dict[str, Path] = {}
    ignored = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.name.startswith("."):
            continue
        if path.suffix not in _ENDINGS or path.stem not in TABLES:
            ignored.append(path.name)
        elif path.stem in found:
            raise InputError(f"{folder}: {found[path.stem].name} and {path.name} are the same table: keep one of them.")
        else:
            found[path.stem] = path
    if "images" not in found and "shared_images" not in found:
        raise InputError(
            f"{folder} has no images table: put images.csv, .ndjson or .parquet there, or coco/instances_<split>.json."
        )
    warnings = [f"{name} is no table of an annotation project and was not read." for name in ignored]

    def rows(table: str) -> Iterator[Row]:
        path = found.get(table)
        return _READERS[path.suffix](path, rejects) if path else iter(())

    return Source(rows, folder / "images"), warnings


def _parquet(path: Path, rejects: Rejects) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=8192):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, path.name, number)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: write it again.") from error


def _ndjson(path: Path, rejects: Rejects) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                values = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError:
                values = None
            if isinstance(values, dict):
                yield Row(values, path.name, number)
            else:
                raw = line[:2000].decode(errors="replace")
                rejects.add(path.stem, "the line is not a JSON object", file=path.name, line=number, raw=raw)


def _csv(path: Path, rejects: Rejects) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # a polygon may be longer than the module's 128 kB
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for record in reader:
                values: dict[Any, Any] = {key: None if value == "" else value for key, value in record.items()}
                if None in values:
                    rejects.add(
                        path.stem, "the line has more cells than the header", file=path.name, line=reader.line_num
                    )
                else:
                    yield Row(values, path.name, reader.line_num)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV file ({error}): check its quotes.") from error


_READERS = {".parquet": _parquet, ".ndjson": _ndjson, ".csv": _csv}
