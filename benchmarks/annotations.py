"""How fast a large project becomes a COCO ZIP, and how much memory that takes.

    .venv/bin/python benchmarks/annotations.py [--images 100000] [--per-image 10]

Beside it, on the same machine in the same run: `json.dump` of the whole document, and a bare stream
of orjson rows without ZIP, filter or order; both parse the shapes first, as writers that hold Python
objects do. All read the same tables from the store. Then stored images beside `cp`.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from sheaf import tables
from sheaf.annotations import schema
from sheaf.annotations.image_files import stored_path
from sheaf.annotations.series import DETECTION, SEGMENTATION
from sheaf.exports.series import Draft
from sheaf.store import Store

PROJECT = "large"
_SIZE = (1920, 1080)
_POINTS = 10
_CHUNK = 50_000
_EMPTY = (schema.TAGS, schema.IMAGE_TAGS, schema.IMAGE_LABELS, schema.CORRECTIONS, schema.REJECTS)


def main() -> None:
    """Run everything and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--per-image", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"{folder}/store")
        _prepare(store, asked.images, asked.per_image)
        print(f"{asked.images} images, {asked.images * asked.per_image} polygons of {_POINTS} points")
        for name, work in (
            ("COCO ZIP", _export),
            ("verify it", _verify),
            ("orjson stream, no ZIP", _orjson_stream),
            ("json.dump", _json_dump),
        ):
            _measured(name, work, folder)
    with tempfile.TemporaryDirectory() as folder:
        _images(Path(folder))


def _prepare(store: Store, images: int, per_image: int) -> None:
    """Tables as an ingest leaves them."""
    ids = [f"i{number:07d}" for number in range(images)]
    columns = {
        "image_id": ids,
        "file_path": [f"camera-{number % 50:02d}/{number:07d}.jpg" for number in range(images)],
    }
    order = sorted(range(images), key=columns["file_path"].__getitem__)
    fixed = {"width": _SIZE[0], "height": _SIZE[1], "orientation": 1, "file_size": None, "sha256": None}
    _write(store, schema.IMAGES, [{"image_id": ids[n], "file_path": columns["file_path"][n], **fixed} for n in order])
    splits = ("train", "train", "train", "train", "train", "train", "train", "train", "val", "test")
    _write(store, schema.TASKS, [{"task_id": s, "name": s, "split": s} for s in sorted(set(splits))])
    _write(store, schema.JOBS, [{"job_id": s, "task_id": s, "version": 1} for s in sorted(set(splits))])
    _write(store, schema.PLACEMENTS, [{"image_id": ids[n], "job_id": splits[n % 10], "keypoints": 0} for n in order])
    _write(store, schema.LABELS, [_label(number) for number in range(80)])
    for table in (*_EMPTY, schema.DETECTIONS):
        _write(store, table, [])
    tables.write(store, schema.SEGMENTATIONS, PROJECT, _polygons(ids, order, per_image))


def _write(store: Store, table: tables.Table, rows: list[dict[str, Any]]) -> None:
    tables.write(store, table, PROJECT, tables.from_rows(table, rows))


def _label(number: int) -> dict[str, Any]:
    return {"label_id": str(number), "name": f"class {number}", "supercategory": "", "position": number}


def _polygons(ids: list[str], order: list[int], per_image: int) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng(1)
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    for start in range(0, len(order), _CHUNK // per_image):
        at = [n for n in order[start : start + _CHUNK // per_image] for _ in range(per_image)]
        count = len(at)
        centre = rng.uniform((120, 120), (_SIZE[0] - 120, _SIZE[1] - 120), (count, 2))
        radius = rng.uniform(20, 100, (count, _POINTS))
        x = np.round(centre[:, :1] + radius * np.cos(angles), 2)
        y = np.round(centre[:, 1:] + radius * np.sin(angles), 2)
        area = np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(1)) / 2
        rings = np.stack((x, y), 2).reshape(count, -1).tolist()
        keys = [f"{start * per_image + n:09d}" for n in range(count)]
        values: dict[str, Any] = {
            "segmentation_id": keys,
            "image_id": [ids[n] for n in at],
            "label_id": rng.integers(0, 80, count).astype(str).tolist(),
            "x": x.min(1),
            "y": y.min(1),
            "width": np.round(np.ptp(x, 1), 2),
            "height": np.round(np.ptp(y, 1), 2),
            "area": area.round(4),
            "is_crowd": [False] * count,
            "job_ids": [["train"]] * count,
            "shape": ["polygon"] * count,
            "segmentation": [orjson.dumps([ring]).decode() for ring in rings],
        }
        empty = [None] * count
        fields = schema.SEGMENTATIONS.schema
        yield pa.RecordBatch.from_arrays(
            [pa.array(values.get(field.name, empty), type=field.type) for field in fields], schema=fields
        )


def _export(folder: str) -> str:
    store = Store.open(f"{folder}/store")
    target = Path(folder, "export")
    target.mkdir()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    draft = Draft(store, PROJECT, target, SEGMENTATION.filter(), SEGMENTATION.options(), now, 1)
    written = SEGMENTATION.write(draft)
    size = next(target.glob("*.zip")).stat().st_size
    return f"{written.counts['annotation_count']} annotations, {size / 1e6:.0f} MB"


def _verify(folder: str) -> str:
    from sheaf.exports.series import Written

    SEGMENTATION.verify(Path(folder, "export"), Written(_rows(folder, schema.IMAGES)))
    return "with pycocotools"


def _rows(folder: str, table: tables.Table) -> int:
    return tables.read(Store.open(f"{folder}/store"), table, PROJECT, table.schema.names[:1]).num_rows


def _annotations(folder: str) -> Iterator[list[dict[str, Any]]]:
    store = Store.open(f"{folder}/store")
    wanted = ["image_id", "label_id", "x", "y", "width", "height", "area", "segmentation"]
    number = 0
    for batch in tables.batches(store, schema.SEGMENTATIONS, PROJECT, wanted):
        rows = []
        for image, label, x, y, width, height, area, shape in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            number += 1
            rows.append(
                {
                    "id": number,
                    "image_id": image,
                    "category_id": label,
                    "bbox": [x, y, width, height],
                    "area": area,
                    "iscrowd": 0,
                    "segmentation": orjson.loads(shape),
                }
            )
        yield rows


def _orjson_stream(folder: str) -> str:
    path = Path(folder, "stream.json")
    with path.open("wb") as file:
        for rows in _annotations(folder):
            file.write(b",\n".join(map(orjson.dumps, rows)))
    return f"{path.stat().st_size / 1e6:.0f} MB"


def _json_dump(folder: str) -> str:
    path = Path(folder, "dump.json")
    with path.open("w") as file:
        json.dump({"annotations": [row for rows in _annotations(folder) for row in rows]}, file)
    return f"{path.stat().st_size / 1e6:.0f} MB"


def _measured(name: str, work: Callable[[str], str], folder: str) -> None:
    """In a process of its own, so that the memory is its own: seconds, and the peak beyond what imports take."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(work, folder, queue))
    process.start()
    seconds, before, peak, note = queue.get()
    process.join()
    print(f"{name:24} {seconds:6.1f} s  {peak - before:6.0f} MB above {before:.0f} MB  {note}", flush=True)


def _child(work: Callable[[str], str], folder: str, queue: Any) -> None:
    import pandas  # noqa: F401 - Arrow imports it where it is installed
    import pyarrow.parquet  # noqa: F401 - part of every run

    before = _peak()
    start = time.perf_counter()
    note = work(folder)
    seconds = time.perf_counter() - start
    queue.put((seconds, before, _peak(), note))


def _peak() -> float:
    """Largest resident size of this process so far, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _images(folder: Path) -> None:
    """1000 image files of 300 kB, as a ZIP beside `cp`."""
    store = Store.open(str(folder / "store"))
    source = folder / "source"
    source.mkdir()
    rows = []
    for number in range(1000):
        digest = f"{number:064x}"
        data = os.urandom(300_000)
        (source / f"{number}.jpg").write_bytes(data)
        store.put(stored_path(PROJECT, digest), data)
        rows.append(
            {
                "image_id": str(number),
                "file_path": f"{number:04d}.jpg",
                "width": 640,
                "height": 480,
                "orientation": 1,
                "file_size": len(data),
                "sha256": digest,
            }
        )
    _write(store, schema.IMAGES, rows)
    _write(store, schema.TASKS, [{"task_id": "train", "name": "train", "split": "train"}])
    _write(store, schema.JOBS, [{"job_id": "train", "task_id": "train", "version": 1}])
    _write(store, schema.PLACEMENTS, [{"image_id": row["image_id"], "job_id": "train", "keypoints": 0} for row in rows])
    _write(store, schema.LABELS, [_label(0)])
    for table in (*_EMPTY, schema.DETECTIONS, schema.SEGMENTATIONS):
        _write(store, table, [])
    megabytes = 300.0
    options = DETECTION.options.of({"include_images": True}, "option")
    seconds = []
    for attempt in range(3):
        target = folder / f"export-{attempt}"
        target.mkdir()
        start = time.perf_counter()
        DETECTION.write(Draft(store, PROJECT, target, DETECTION.filter(), options, datetime(2026, 1, 1, tzinfo=UTC), 1))
        seconds.append(time.perf_counter() - start)
    copied = []
    for attempt in range(3):
        start = time.perf_counter()
        subprocess.run([shutil.which("cp") or "cp", "-r", source, folder / f"copy-{attempt}"], check=True)
        copied.append(time.perf_counter() - start)
    print(f"{'images into a ZIP':24} {megabytes / min(seconds):6.0f} MB/s, cp -r {megabytes / min(copied):.0f} MB/s")


if __name__ == "__main__":
    main()
