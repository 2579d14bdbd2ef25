"""Take a real COCO subset through import and export, and let independent readers judge the result.

Usage: python .ci/annotations_checks.py SHARED_DIR

SHARED_DIR holds `data/annotations/` (COCO files and images) and `tools/check_coco.py`. Prints a line for each
check and exits with 1 when one failed. Hugging Face `datasets` and datumaro run in environments of their own
(`uv run --with …`), so that they stay out of the product's.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from command import Home
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sheaf.annotations.sample import project as sample_project

LOAD_FOLDERS = """
import json, sys
from datasets import load_dataset
found = load_dataset("imagefolder", data_dir=sys.argv[1])
names = {name: part.features["label"].names for name, part in found.items()}
print(json.dumps({
    name: sorted([names[name][row["label"]], row["image"].size[0], row["image"].size[1]] for row in part)
    for name, part in found.items()
}))
"""
LOAD_COCO = """
import json, sys
from collections import Counter
import datumaro
found = datumaro.Dataset.import_from(sys.argv[1], "coco")
names = [one.name for one in found.categories()[datumaro.AnnotationType.label]]
boxes = Counter()
for item in found:
    height, width = item.media_as(datumaro.Image).data.shape[:2]
    for one in item.annotations:
        if one.type == datumaro.AnnotationType.bbox:
            assert one.x >= 0 and one.y >= 0 and one.x + one.w <= width + 1 and one.y + one.h <= height + 1, item.id
            boxes[f"{item.subset} {names[one.label]}"] += 1
print(json.dumps(boxes))
"""
REAL = "coco-by"
REQUESTS = {
    "stable": ("segmentation", "category_ids=stable", "include_images=true"),
    "single": ("segmentation", "splits=single", "include_images=true"),
    "boxes": ("detection", "include_images=true"),
}
failures: list[str] = []


def main(shared: Path) -> None:
    """Run everything."""
    data, checker = shared / "data" / "annotations", shared / "tools" / "check_coco.py"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        home, again = Home(work / "a"), Home(work / "b")
        for each in (home, again):
            place_real(each, data / "coco_by")
        others = [place_other(home, path) for path in sorted((data / "json").glob("*.json"))]
        (sample,) = sample_project.write(home.inbox)
        ran = run_projects(home)
        round_trip(real_exports(home, ran), real_exports(again, run_projects(again)), data / "coco_by", checker)
        for key in filter(None, others):
            for series in ("segmentation", "detection"):
                check(f"check_coco {key} {series}", lambda path=ran[key, series]: run_checker(checker, path))
        request = (sample, "classification", "format=image_folder", "category=ground")
        check("ImageFolder in datasets", lambda: load_with_datasets(export(home, *request), work / "folders"))
        boxes = (REAL, *REQUESTS["boxes"])
        check("COCO in datumaro", lambda: load_with_datumaro(export(home, *boxes), work / "boxes"))
    print(f"{len(failures)} failed" if failures else "all passed")
    sys.exit(bool(failures))


def place_real(home: Home, source: Path) -> None:
    """The subset with images, as a project of two splits."""
    project = home.inbox / "annotations" / REAL
    (project / "coco").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copy(source / f"instances_{split}.json", project / "coco")
        shutil.copytree(source / split, project / "images" / split)


def place_other(home: Home, path: Path) -> str | None:
    """A COCO file of another maker, without images; None for results, which are no annotations."""
    if not isinstance(json.loads(path.read_text("utf-8")), dict):
        return None
    key = path.stem.replace("_", "-")
    target = home.inbox / "annotations" / key / "coco"
    target.mkdir(parents=True)
    shutil.copy(path, target / "instances_train.json")
    return key


def run_projects(home: Home) -> dict[tuple[str, str], Path]:
    """Run all projects; the ZIP of each COCO export by project and series."""
    results = [result for result in home.sheaf("run", "annotations") if result["series"] != "classification"]
    return {(result["partition"], result["series"]): _zip(home, result) for result in results}


def export(home: Home, project: str, series: str, *options: str) -> Path:
    """The ZIP of one export with options."""
    pairs = [part for option in options for part in ("--option", option)]
    (result,) = home.sheaf("export", "annotations", project, series, *pairs)
    return _zip(home, result)


def _zip(home: Home, result: dict[str, Any]) -> Path:
    (path,) = (path for path in home.files(result).values() if path.suffix == ".zip")
    return path


def real_exports(home: Home, ran: dict[tuple[str, str], Path]) -> dict[str, Path]:
    """The exports of the subset: with default options, and as `REQUESTS` say."""
    asked = {key: export(home, REAL, *request) for key, request in REQUESTS.items()}
    return {"dense": ran[REAL, "segmentation"]} | asked


def check(name: str, work: Callable[[], str | None]) -> None:
    """One line: whether it held, and what was found."""
    try:
        detail, passed = work(), True
    except (AssertionError, subprocess.CalledProcessError) as error:
        detail, passed = getattr(error, "stderr", None) or str(error), False
        failures.append(name)
    print(f"{'PASS' if passed else 'FAIL'} {name}{f': {detail}' if detail else ''}", flush=True)


def round_trip(exports: dict[str, Path], again: dict[str, Path], source: Path, checker: Path) -> None:
    """The subset: nothing lost, nothing moved, perfect against itself, and the same bytes from a second home."""
    for key, path in exports.items():
        sparse = ["--sparse-categories"] if key == "stable" else []
        check(f"check_coco {key}", lambda path=path, sparse=sparse: run_checker(checker, path, *sparse))
        check(f"same bytes {key}", lambda path=path, key=key: same_bytes(path, again[key]))
    for split in ("train", "val"):
        given = load((source / f"instances_{split}.json").read_bytes())
        exported = load(zipfile.ZipFile(exports["stable"]).read(f"annotations/instances_{split}.json"))
        check(f"counts and areas {split}", lambda a=given, b=exported: compare(a, b))
        check(f"self AP {split}", lambda a=given, b=exported: self_evaluation(a, b))


def uv(folder: Path) -> str:
    """The program `uv`, fetched where there is none."""
    if found := shutil.which("uv"):
        return found
    fetch = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--target",
        str(folder / "uv"),
    ]
    subprocess.run([*fetch, "uv"], check=True)  # noqa: S603 - our own command
    return str(folder / "uv" / "bin" / "uv")


def elsewhere(target: Path, program: str, *packages: str) -> Any:
    """What a program prints of an unpacked export, in an environment of its own."""
    command = [uv(target.parent), "run", "-q", "--no-project", "--python", sys.executable]
    command += [word for package in packages for word in ("--with", package)]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "python", "-c", program, str(target)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HOME": str(target.parent / "cache")},
    )
    return json.loads(done.stdout.splitlines()[-1])


def load_with_datumaro(path: Path, target: Path) -> str:
    """A COCO archive with images in datumaro: as many boxes of each class in each split, inside their images."""
    zipfile.ZipFile(path).extractall(target)
    found = elsewhere(target, LOAD_COCO, "datumaro")
    expected: dict[str, int] = {}
    for file in (target / "annotations").iterdir():
        coco = json.loads(file.read_text("utf-8"))
        names = {one["id"]: one["name"] for one in coco["categories"]}
        for one in coco["annotations"]:
            key = f"{file.stem.removeprefix('instances_')} {names[one['category_id']]}"
            expected[key] = expected.get(key, 0) + 1
    assert found == expected, {key: (found.get(key), number) for key, number in expected.items()}
    return f"{sum(found.values())} boxes"


def load_with_datasets(path: Path, target: Path) -> str:
    """An ImageFolder in Hugging Face `datasets`: the classes and splits that its report says."""
    zipfile.ZipFile(path).extractall(target)
    report = json.loads((target / "report.json").read_text("utf-8"))
    found = elsewhere(target, LOAD_FOLDERS, "datasets", "pillow")
    splits = {"train": "train", "validation": "val", "val": "val", "test": "test"}
    counts = {splits[name]: len(rows) for name, rows in found.items()}
    assert counts == {split: n for split, n in report["split_counts"].items() if n}, counts
    classes: dict[str, int] = {}
    for rows in found.values():
        for label, _, _ in rows:
            classes[label] = classes.get(label, 0) + 1
    assert classes == report["class_counts"], classes
    return f"{counts} {classes}"


def run_checker(checker: Path, path: Path, *more: str) -> str:
    """The independent validator on one ZIP."""
    command = [sys.executable, checker, path, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    lines = done.stdout.splitlines()
    assert done.returncode == 0, "; ".join(line for line in lines if line.startswith("FAIL"))
    return lines[-1]


def same_bytes(a: Path, b: Path) -> None:
    """Two runs from the same input."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (a, b)]
    assert digests[0] == digests[1], "the ZIPs differ"


def load(data: bytes) -> Any:
    """A document in pycocotools."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file, contextlib.redirect_stdout(io.StringIO()):
        file.write(data)
        file.flush()
        return COCO(file.name)


def by_image(coco: Any) -> dict[str, list[dict[str, Any]]]:
    """Annotations by file name, in an order that numbering does not change."""
    found: dict[str, list[dict[str, Any]]] = {image["file_name"]: [] for image in coco.imgs.values()}
    for annotation in coco.anns.values():
        found[coco.imgs[annotation["image_id"]]["file_name"]].append(annotation)
    for annotations in found.values():
        annotations.sort(key=lambda item: (item["category_id"], item["iscrowd"], item["area"], item["bbox"]))
    return found


def compare(source: Any, exported: Any) -> str:
    """Every annotation: category, crowd, area and box as they were, mask with IoU of at least 0.99."""
    before, after = by_image(source), by_image(exported)
    assert before.keys() == after.keys(), "images differ"
    assert source.cats.keys() == exported.cats.keys(), "categories differ"
    worst, count = 1.0, 0
    for name, annotations in before.items():
        assert len(annotations) == len(after[name]), f"{name}: numbers differ"
        for a, b in zip(annotations, after[name], strict=True):
            count += 1
            assert (a["category_id"], a["iscrowd"], a["area"]) == (b["category_id"], b["iscrowd"], b["area"]), (a, b)
            assert np.allclose(a["bbox"], b["bbox"], atol=0.01), (a["bbox"], b["bbox"])
            overlap = float(masks.iou([source.annToRLE(a)], [exported.annToRLE(b)], [0])[0][0])
            worst = min(worst, overlap)
            assert overlap >= 0.99, f"{name}: IoU {overlap}"
    return f"{count} annotations, worst mask IoU {worst:.4f}"


def self_evaluation(source: Any, exported: Any) -> str:
    """The export as detections against the source: average precision must be 1."""
    numbers = {image["file_name"]: image["id"] for image in source.imgs.values()}
    found = [
        {
            "image_id": numbers[exported.imgs[item["image_id"]]["file_name"]],
            "category_id": item["category_id"],
            "bbox": item["bbox"],
            "segmentation": exported.annToRLE(item),
            "score": 1.0,
        }
        for item in exported.anns.values()
        if not item["iscrowd"]
    ]
    scores = []
    for kind in ("bbox", "segm"):
        with contextlib.redirect_stdout(io.StringIO()):
            boxes = [{key: value for key, value in item.items() if key != "segmentation"} for item in found]
            evaluation = COCOeval(source, source.loadRes(boxes if kind == "bbox" else found), kind)
            evaluation.params.maxDets = [1, 100, 1000]
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        scores.append(float(precision[precision > -1].mean()))
    assert min(scores) > 0.999, f"AP {scores}"
    return f"AP {scores[0]:.3f} (boxes), {scores[1]:.3f} (masks)"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
