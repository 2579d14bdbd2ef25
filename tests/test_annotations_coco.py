"""COCO in and out: what is written is COCO, the same bytes each time, and comes back as it was."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from annotations_project import PROJECT, SERIES, Export, Project
from PIL import Image
from pycocotools import mask as masks
from pycocotools.coco import COCO

from sheaf import tables
from sheaf.annotations import sample_project, schema
from sheaf.annotations.ingest import ingest
from sheaf.annotations.series import ANNOTATIONS, offered
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import InputError, UsageError, VerificationError
from sheaf.exports.publish import Request
from sheaf.exports.series import Written
from sheaf.store import Store

TRIANGLE = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Store, str]:
    """The sample project, ingested."""
    store = Store.open(str(tmp_path / "store"))
    (key,) = sample_project.write(tmp_path / "inbox")
    ingest(tmp_path / "inbox" / "annotations" / key, store, key, AnnotationsSettings())
    return store, key


def export(sample: tuple[Store, str], series: str, **options: Any) -> Export:
    store, key = sample
    return Export(store, SERIES[series], Request(key, None, options, always=True))


def read_with_pycocotools(document: dict[str, Any], folder: Path) -> COCO:
    path = folder / "document.json"
    path.write_text(json.dumps(document))
    return COCO(str(path))


def test_layout_numbers_and_order(project: Project) -> None:
    b, a = project.image("b/1.png", 2), project.image("a/1.png", 1)
    project.image("empty.png", 1)
    for path in ("a/1.png", "b/1.png", "empty.png"):
        project.file(path)
    project.box(b, label=2)
    project.box(a, (0.1, 0.2, 0.5, 0.6))
    project.ingest()
    found = project.export("detection", include_images=True)
    assert found.names == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "images/train/a/1.png",
        "images/train/empty.png",
        "images/val/b/1.png",
        "report.json",
    ]
    train, val = found.coco("train"), found.coco("val")
    assert train["categories"] == val["categories"]
    assert [(c["id"], c["name"]) for c in train["categories"]] == [(1, "car"), (2, "tree")]
    assert [image["id"] for image in train["images"] + val["images"]] == [1, 2, 3]
    assert train["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 20], "area": 800, "iscrowd": 0}
    ]
    assert val["annotations"][0] | {"bbox": None} == {
        "id": 2,
        "image_id": 3,
        "category_id": 2,
        "bbox": None,
        "area": 800,
        "iscrowd": 0,
    }
    assert found.report["warnings"] == ["Images without annotations: 1."]
    entries = {entry.filename: entry for entry in found.zip.infolist()}
    assert {entry.date_time for entry in entries.values()} == {(1980, 1, 1, 0, 0, 0)}
    assert entries["images/val/b/1.png"].compress_type == 0
    assert entries["annotations/instances_val.json"].compress_type == 8
    assert found.zip.read("images/val/b/1.png") == (project.folder / "images" / "b/1.png").read_bytes()


def test_the_same_request_gives_the_same_bytes(sample: tuple[Store, str], tmp_path: Path) -> None:
    other = Store.open(str(tmp_path / "other"))
    ingest(tmp_path / "inbox" / "annotations" / sample[1], other, sample[1], AnnotationsSettings())
    for series, options in (("detection", {"include_images": True}), ("segmentation", {"splits": "single"})):
        first, second = export(sample, series, **options), export(sample, series, **options)
        assert first.data == second.data == export((other, sample[1]), series, **options).data


def test_masks_of_every_kind_survive(sample: tuple[Store, str], tmp_path: Path) -> None:
    found = export(sample, "segmentation", splits="single")
    coco: Any = read_with_pycocotools(found.coco(None), tmp_path)
    kinds = {"several parts": 0, "rle": 0}
    for annotation in coco.anns.values():
        assert annotation["area"] == pytest.approx(int(masks.area(coco.annToRLE(annotation))), rel=0.2)
        kinds["rle"] += isinstance(annotation["segmentation"], dict)
        kinds["several parts"] += isinstance(annotation["segmentation"], list) and len(annotation["segmentation"]) > 1
    assert min(kinds.values()) > 5
    assert len(coco.anns) == found.report["annotation_count"] == 41
    assert found.report["rejected_at_ingest"] == {"the polygon has fewer than 3 points": 1}
    assert found.report["corrected_at_ingest"]["clipped to the image"] == 1


def test_boxes_and_masks_of_one_object_are_not_doubled(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image, id="twin box", segmentation_id="twin mask")
    project.mask(image, TRIANGLE, id="twin mask", detection_id="twin box")
    project.mask(image, TRIANGLE, label=2, id="lone mask")
    project.box(image, (0.4, 0.4, 0.6, 0.6), label=2, rotation=90, id="lone box")
    project.box(image, id="widow", segmentation_id="unusable")
    project.mask(image, [[0.1, 0.1]], id="unusable", detection_id="widow")
    project.mask(image, TRIANGLE, id="widower", detection_id="no box")
    project.box(image, (0.1, 0.1, 0.1, 0.1), id="no box", segmentation_id="widower")
    project.ingest()
    assert len(project.export("detection").annotations) == 3
    assert len(project.export("segmentation").annotations) == 3
    derived = project.export("detection", bbox_from_segmentation=True).annotations
    assert [row["category_id"] for row in derived] == [2, 1, 1, 2, 1]
    assert derived[-1]["bbox"] == [10, 5, 40, 20]
    shapes = project.export("segmentation", bbox_to_polygon=True).annotations
    assert len(shapes) == 5
    turned = next(row for row in shapes if row.get("attributes") == {"rotation": 90.0})
    assert turned["area"] == 200
    assert turned["bbox"] == [45, 15, 10, 20]


def test_label_filter_restricts_categories_and_annotations(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image, label=1)
    project.box(image, label=2)
    project.ingest()
    only = project.export("detection", labels="tree")
    assert [(c["id"], c["name"]) for c in only.coco()["categories"]] == [(1, "tree")]
    assert [row["category_id"] for row in only.annotations] == [1]
    stable = project.export("detection", labels="tree", category_ids="stable")
    assert [row["category_id"] for row in stable.annotations] == [2]
    with pytest.raises(UsageError, match="no label 'bush': there are car, tree"):
        project.export("detection", labels="bush")
    project.tables["labels"][0]["id"] = "uuid"
    project.tables["detections"][0]["label_id"] = "uuid"
    project.ingest()
    with pytest.raises(UsageError, match="category_ids=dense"):
        project.export("detection", category_ids="stable")


def test_a_crowd_is_a_mask_everywhere(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image, iscrowd=True)
    project.mask(image, TRIANGLE, iscrowd=True)
    project.ingest()
    for series in ("detection", "segmentation"):
        (row,) = project.export(series).annotations
        assert row["iscrowd"] == 1
        assert masks.area(row["segmentation"]) == pytest.approx(row["area"], rel=0.15)


def test_names_that_differ_in_case_only_stay_apart(project: Project) -> None:
    for path in ("A.png", "a.png"):
        project.image(path)
        project.file(path)
    project.ingest()
    found = project.export("detection", include_images=True)
    names = [name for name in found.names if name.startswith("images/")]
    assert len({name.casefold() for name in names}) == 2
    assert {f"images/train/{path}" for path in found.paths} == set(names)
    assert found.zip.read("images/train/A.png") == (project.folder / "images" / "A.png").read_bytes()


def test_exif_as_stored_or_turned(project: Project) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    image = project.image("1.jpg", size=None)
    project.file("1.jpg", (100, 50), exif=exif)
    project.box(image, (0.1, 0.2, 0.5, 0.6))
    project.mask(image, TRIANGLE)
    project.mask(image, rle={"size": [100, 50], "counts": [2500, 2500]})  # drawn on what a browser shows
    project.mask(image, rle={"size": [50, 100], "counts": [2500, 2500]})  # drawn on the stored pixels
    project.ingest()

    stored = project.export("detection", include_images=True)
    assert any("exif=transpose" in warning for warning in stored.report["warnings"])
    assert stored.coco()["images"][0] | {"id": 0} == {"id": 0, "file_name": "1.jpg", "width": 100, "height": 50}
    assert stored.annotations[0]["bbox"] == [10, 10, 40, 20]
    turned = project.export("detection", include_images=True, exif="transpose")
    assert turned.coco()["images"][0] | {"id": 0} == {"id": 0, "file_name": "1.jpg", "width": 50, "height": 100}
    assert turned.annotations[0]["bbox"] == [5, 20, 20, 40]
    with Image.open(io.BytesIO(turned.zip.read("images/train/1.jpg"))) as picture:
        assert picture.size == (50, 100)
        assert picture.getexif().get(0x0112) is None
    for exif_option, size in (("as_stored", [50, 100]), ("transpose", [100, 50])):
        shapes = project.export("segmentation", exif=exif_option)
        assert shapes.report["dropped"] == {"mask is of the other EXIF orientation": 1}
        assert [row["segmentation"]["size"] for row in shapes.annotations if "size" in row["segmentation"]] == [size]


def write_coco(folder: Path, **documents: dict[str, Any]) -> None:
    (folder / "coco").mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / "coco" / f"instances_{name}.json").write_bytes(orjson.dumps(document))


def document(*images: dict[str, Any], annotations: Any = (), categories: Any = ({"id": 5, "name": "car"},)) -> Any:
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def picture(number: int, path: str) -> dict[str, Any]:
    return {"id": number, "file_name": path, "width": 100, "height": 50}


def test_coco_comes_back_as_it_was(sample: tuple[Store, str], tmp_path: Path) -> None:
    first = export(sample, "segmentation", include_images=True, category_ids="stable")
    folder = tmp_path / "again"
    first.zip.extractall(folder)
    (folder / "annotations").rename(folder / "coco")
    report = ingest(folder, sample[0], "again", AnnotationsSettings())
    assert not report.rejects
    assert report.counts["corrections"] == 0
    second = export((sample[0], "again"), "segmentation", include_images=True, category_ids="stable")
    for split in ("train", "val", "test"):
        assert second.coco(split)["images"] == first.coco(split)["images"]
        assert second.coco(split)["annotations"] == first.coco(split)["annotations"]
        assert second.coco(split)["categories"] == first.coco(split)["categories"]
    assert offered(sample[0], "again") == ("detection", "segmentation")


def test_one_name_in_two_splits_is_two_images_where_there_are_two_files(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    folder = tmp_path / "signs"
    box = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 40], "iscrowd": 0}
    write_coco(folder, train2017=document(picture(1, "1.png"), annotations=[box]), val=document(picture(1, "1.png")))
    for place, shade in (("train2017", 10), ("val", 200)):
        (folder / "images" / place).mkdir(parents=True)
        Image.new("L", (100, 50), shade).save(folder / "images" / place / "1.png")
    ingest(folder, store, PROJECT, AnnotationsSettings())
    found = Export(store, SERIES["detection"], Request(PROJECT, None, {"include_images": True}))
    assert found.paths == ["train/1.png", "val/1.png"]
    assert [len(found.coco(split)["annotations"]) for split in ("train", "val")] == [1, 0]
    for place in ("train2017", "val"):
        (folder / "images" / place / "1.png").unlink()
    ingest(folder, store, PROJECT, AnnotationsSettings())
    with pytest.raises(InputError, match="different splits"):
        Export(store, SERIES["detection"], Request(PROJECT))


def test_stated_boxes_and_areas_are_kept_only_where_they_fit(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    square = {"image_id": 1, "category_id": 5, "iscrowd": 0, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
    annotations = [
        {"id": 1, **square, "bbox": [10.4, 10, 20, 20], "area": 401.5},
        {"id": 2, **square, "bbox": [0, 0, 100, 50], "area": 5000},
        {
            "id": 3,
            **square,
            "segmentation": [[10, 10, 130, 10, 130, 30, 10, 30]],
            "bbox": [10, 10, 120, 20],
            "area": 2400,
        },
        {"id": 4, **square, "segmentation": [], "bbox": [1, 1, 5, 5]},
        {"id": 5, **square, "segmentation": [], "bbox": "wide"},
    ]
    write_coco(tmp_path / "signs", all=document(picture(1, "1.png"), annotations=annotations))
    report = ingest(tmp_path / "signs", store, PROJECT, AnnotationsSettings())
    shapes = tables.read(store, schema.SEGMENTATIONS, PROJECT).to_pylist()
    assert [(row["x"], row["width"], row["area"]) for row in shapes] == [
        (10.4, 20, 401.5),
        (10, 20, 400),
        (10, 90, 1800),
    ]
    assert report.counts["detections"] == 4
    assert report.rejects == {"x_min: field required": 1}
    assert report.counts["corrected: stated area differs from the shape: area computed"] == 1


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ({"train": []}, "not a COCO file"),
        ({"train": {"images": [], "annotations": []}}, "lists images, annotations and categories"),
        ({"train": document(), "val": document(categories=[{"id": 5, "name": "bus"}])}, "make the categories"),
        ({"train": document()}, "no image that can be used"),
    ],
)
def test_coco_that_cannot_be_used(tmp_path: Path, documents: dict[str, Any], message: str) -> None:
    write_coco(tmp_path / "signs", **documents)
    with pytest.raises(InputError, match=message):
        ingest(tmp_path / "signs", Store.open(str(tmp_path / "store")), PROJECT, AnnotationsSettings())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"image_id":1,', '"image_id":99,', 1),
        lambda text: text.replace('"bbox":[10.0', '"bbox":[990.0', 1),
        lambda text: text.replace("},\n{", "}\n{", 1),
        lambda text: text.replace("\n]}\n", "\n"),
        lambda text: "\n".join(line for line in text.splitlines() if '"id":2,"image_id"' not in line) + "\n",
    ],
)
def test_verification_finds_what_is_wrong(project: Project, tmp_path: Path, change: Any) -> None:
    import zipfile

    image = project.image("1.jpg")
    for corners in ((0.1, 0.2, 0.5, 0.6), (0.2, 0.2, 0.5, 0.6), (0.3, 0.2, 0.5, 0.6)):
        project.box(image, corners)
    project.ingest()
    good = project.export("detection")
    folder = tmp_path / "changed"
    folder.mkdir()
    written = Written(1)
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name in good.names:
            text = good.zip.read(name).decode()
            archive.writestr(name, change(text) if name.startswith("annotations/") else text)
    with pytest.raises(VerificationError):
        SERIES["detection"].verify(folder, written)


def test_an_export_over_s3_is_the_same(sample: tuple[Store, str], s3_store: Store, tmp_path: Path) -> None:
    key = sample[1]
    ingest(tmp_path / "inbox" / "annotations" / key, s3_store, key, AnnotationsSettings())
    options = {"include_images": True}
    assert export((s3_store, key), "detection", **options).data == export(sample, "detection", **options).data


def test_the_domain_lists_its_three_series() -> None:
    assert [series.name for series in ANNOTATIONS.series] == ["classification", "detection", "segmentation"]


def test_coordinates_are_not_blown_up_by_rounding(project: Project) -> None:
    image = project.image("1.jpg", size=(3, 3))
    project.mask(image, [[1 / 3, 1 / 3], [2 / 3, 1 / 3], [2 / 3, 2 / 3]])
    project.ingest()
    (row,) = project.export("segmentation").annotations
    assert np.array(row["segmentation"][0]).tolist() == [1, 1, 2, 1, 2, 2]
