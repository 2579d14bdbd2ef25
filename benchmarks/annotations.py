"""How fast a large project becomes a COCO ZIP, and how much memory that takes.

    .venv/bin/python benchmarks/annotations.py [--images 100000] [--per-image 10] [--only NAME]

`--only COCO` does what has COCO in its name. Seconds of a processor are told beside those of the clock.

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
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from running import current, run_steps

from sheaf.annotations import schema
from sheaf.annotations.domain import ANNOTATIONS, DETECTION, READ, SEGMENTATION, YOLO
from sheaf.annotations.readers.image_files import look_at, stored_path
from sheaf.annotations.readers.ingest import ingest
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.exports.options import Options
from sheaf.exports.series import Draft, Series
from sheaf.report import Report
from sheaf.store.store import Store
from sheaf.tables.parquet import Rows, from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table
from sheaf.tables.work import Work

PROJECT = "large"
_SIZE = (1920, 1080)
_POINTS = 10
_CHUNK = 50_000
_SPLITS = ("train", "train", "train", "train", "train", "train", "train", "train", "val", "test")


def main() -> None:
    """Run everything and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--per-image", type=int, default=10)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"{folder}/store")
        _prepare(store, asked.images, asked.per_image)
        print(f"{asked.images} images, {asked.images * asked.per_image} polygons of {_POINTS} points")
        for name, work in (
            ("COCO ZIP", _export),
            ("verify it", _verify),
            ("YOLO ZIP, outlines", _yolo),
            ("YOLO ZIP, boxes", _yolo_boxes),
            ("read it as COCO", _read),
            ("orjson stream, no ZIP", _orjson_stream),
            ("json.dump", _json_dump),
        ):
            if asked.only in name:
                _measured(name, work, folder)
    for name, files in (("images into a ZIP", _images), ("decoding check", _decoding)):
        if asked.only in name:
            with tempfile.TemporaryDirectory() as folder:
                files(Path(folder))


def _prepare(store: Store, images: int, per_image: int) -> None:
    """Tables as an ingest leaves them."""
    ids = [f"i{number:07d}" for number in range(images)]
    paths = [f"camera-{number % 50:02d}/{number:07d}.jpg" for number in range(images)]
    order = sorted(range(images), key=paths.__getitem__)
    fixed = {"width": _SIZE[0], "height": _SIZE[1], "orientation": 1}
    placed = [{"image_id": ids[n], "job_id": _SPLITS[n % 10], "keypoints": 0} for n in order]
    rows: dict[Table, list[dict[str, Any]]] = {
        schema.IMAGES: [
            {"image_id": ids[n], "file_path": paths[n], "number": rank, **fixed} for rank, n in enumerate(order, 1)
        ],
        schema.PLACEMENTS: placed,
        schema.LABELS: [_label(number) for number in range(80)],
    }
    _commit(store, sorted(set(_SPLITS)), rows, _polygons(ids, order, per_image))


def _commit(
    store: Store, splits: Sequence[str], rows: Mapping[Table, list[dict[str, Any]]], segmentations: Rows | None = None
) -> None:
    """A generation of the reading step with one task and job for each split; other tables are empty."""
    split_rows = {
        schema.TASKS: [{"task_id": split, "name": split, "split": split} for split in splits],
        schema.JOBS: [{"job_id": split, "task_id": split, "version": 1} for split in splits],
    }
    given = split_rows | dict(rows)

    def read(_folder: Path, work: Work) -> Report:
        for table in READ.writes:
            work.write(table, from_rows(table, given.get(table, [])))
        if segmentations is not None:
            work.write(schema.SEGMENTATIONS, segmentations)
        return Report()

    with tempfile.TemporaryDirectory() as nothing:
        run_steps(store, ANNOTATIONS, PROJECT, AnnotationsSettings(), Path(nothing), read, only=[READ.name])


def _draft(store: Store, series: Series, folder: Path, options: Options) -> Draft:
    """What the writer of a canonical export gets, with some options."""
    folder.mkdir()
    members, now = {PROJECT: current(store, ANNOTATIONS, PROJECT)}, datetime(2026, 1, 1, tzinfo=UTC)
    return Draft(store, PROJECT, members, folder, series.filter(), options, AnnotationsSettings(), now, 1)


def _label(number: int) -> dict[str, Any]:
    return {
        "label_id": str(number),
        "name": f"class {number}",
        "supercategory": "",
        "position": number,
        "number": number + 1,
    }


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
            "number": list(range(start * per_image + 1, start * per_image + count + 1)),
            "shape": ["polygon"] * count,
            "segmentation": [orjson.dumps([ring]).decode() for ring in rings],
        }
        empty = [None] * count
        fields = schema.SEGMENTATIONS.schema
        yield pa.RecordBatch.from_arrays(
            [pa.array(values.get(field.name, empty), type=field.type) for field in fields], schema=fields
        )


def _export(folder: str) -> str:
    target = Path(folder, "export")
    written = SEGMENTATION.write(_draft(Store.open(f"{folder}/store"), SEGMENTATION, target, SEGMENTATION.options()))
    size = next(target.glob("*.zip")).stat().st_size
    return f"{written.counts['annotation_count']} annotations, {size / 1e6:.0f} MB"


def _yolo(folder: str) -> str:
    return _labels(folder, "segment")


def _yolo_boxes(folder: str) -> str:
    return _labels(folder, "detect")


def _labels(folder: str, task: str) -> str:
    options = YOLO.options.of({"task": task, "include_images": False}, "option")
    written = YOLO.write(_draft(Store.open(f"{folder}/store"), YOLO, Path(folder, f"yolo-{task}"), options))
    return f"{written.counts['image_count']} label files, {written.counts['annotation_count']} lines"


def _read(folder: str) -> str:
    """The whole ingest of what `_export` wrote, without image files."""
    inbox = Path(folder, "inbox")
    with zipfile.ZipFile(next(Path(folder, "export").glob("*.zip"))) as archive:
        for name in archive.namelist():
            if name.startswith("annotations/"):
                archive.extract(name, inbox)
    store = Store.open(f"{folder}/other")
    made = run_steps(store, ANNOTATIONS, PROJECT, AnnotationsSettings(), inbox, ingest, only=[READ.name])[READ.name]
    return f"{made.report.counts['segmentations']} polygons"


def _verify(folder: str) -> str:
    from sheaf.exports.series import Written

    SEGMENTATION.verify(Path(folder, "export"), Written(_tables(folder).rows(schema.IMAGES)))
    return "with pycocotools"


def _tables(folder: str) -> Tables:
    return current(Store.open(f"{folder}/store"), ANNOTATIONS, PROJECT)


def _annotations(folder: str) -> Iterator[list[dict[str, Any]]]:
    wanted = ["image_id", "label_id", "x", "y", "width", "height", "area", "segmentation"]
    number = 0
    for batch in _tables(folder).batches(schema.SEGMENTATIONS, wanted):
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
    seconds, cpu, before, peak, note = queue.get()
    process.join()
    print(
        f"{name:24} {seconds:6.1f} s  {cpu:6.1f} CPU s  {peak - before:6.0f} MB above {before:.0f} MB  {note}",
        flush=True,
    )


def _child(work: Callable[[str], str], folder: str, queue: Any) -> None:
    import pandas  # noqa: F401 - Arrow imports it where it is installed
    import pyarrow.parquet  # noqa: F401 - part of every run

    before = _peak()
    start, cpu = time.perf_counter(), time.process_time()
    note = work(folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    queue.put((seconds, cpu, before, _peak(), note))


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
                "number": number + 1,
            }
        )
    placed = [{"image_id": row["image_id"], "job_id": "train", "keypoints": 0} for row in rows]
    _commit(store, ["train"], {schema.IMAGES: rows, schema.PLACEMENTS: placed, schema.LABELS: [_label(0)]})
    megabytes = 300.0
    options = DETECTION.options.of({"include_images": True}, "option")
    seconds = []
    for attempt in range(3):
        draft = _draft(store, DETECTION, folder / f"export-{attempt}", options)
        start = time.perf_counter()
        DETECTION.write(draft)
        seconds.append(time.perf_counter() - start)
    copied = []
    for attempt in range(3):
        start = time.perf_counter()
        subprocess.run([shutil.which("cp") or "cp", "-r", source, folder / f"copy-{attempt}"], check=True)
        copied.append(time.perf_counter() - start)
    print(f"{'images into a ZIP':24} {megabytes / min(seconds):6.0f} MB/s, cp -r {megabytes / min(copied):.0f} MB/s")


def _decoding(folder: Path) -> None:
    """1000 JPEG files of 1600 x 1200: the check beside what decodes them only, drafted, in as many processes."""
    from PIL import Image

    noise = np.random.default_rng(1).integers(0, 255, (75, 100, 3), np.uint8)
    paths = [folder / f"{number}.jpg" for number in range(1000)]
    Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC).save(paths[0], quality=90)
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)
    list(look_at(paths[:100]))  # the children have started
    seconds = {look_at: [], _bare: []}
    for _ in range(3):
        for work, took in seconds.items():
            start = time.perf_counter()
            list(work(paths))
            took.append(time.perf_counter() - start)
    checked, bare = (len(paths) / min(took) for took in seconds.values())
    compared = f"bare draft decoding {bare:.0f} images/s: {checked / bare:.2f} x"
    print(f"{'decoding check':24} {checked:6.0f} images/s, {compared}")


def _bare(paths: Sequence[Path]) -> list[None]:
    with multiprocessing.Pool(os.cpu_count()) as pool:
        return pool.map(_draft_decoded, paths, 16)


def _draft_decoded(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))
        image.load()


if __name__ == "__main__":
    main()
