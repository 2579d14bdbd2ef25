"""COCO in and out: what is written is COCO, the same bytes each time, and comes back as it was."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from annotations_project import PROJECT, SERIES, SETTINGS, Export, Project, noted, read_folder
from PIL import Image, ImageOps
from pycocotools import mask as masks
from pycocotools.coco import COCO
from running import current

from sheaf.annotations import schema
from sheaf.annotations.domain import ANNOTATIONS, offered
from sheaf.annotations.sample import project as sample_project
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import InputError, RefusedError, UsageError, VerificationError
from sheaf.exports.publish import Request, preview, publish
from sheaf.exports.series import Written
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind

TRIANGLE = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Store, str]:
    """The sample project, ingested."""
    store = Store.open(str(tmp_path / "store"))
    (key,) = sample_project.write(tmp_path / "inbox")
    read_folder(tmp_path / "inbox" / "annotations" / key, store, key)
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
    assert [image["id"] for image in train["images"] + val["images"]] == [1, 3, 2]
    assert train["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 20], "area": 800, "iscrowd": 0}
    ]
    assert val["annotations"][0] | {"bbox": None} == {
        "id": 2,
        "image_id": 2,
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
    read_folder(tmp_path / "inbox" / "annotations" / sample[1], other, sample[1])
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


@pytest.mark.case("annotations/exif-frames")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shown", [False, True])
def test_shapes_follow_the_picture_they_were_drawn_on(tmp_path: Path, orientation: int, shown: bool) -> None:
    """A white block in an image: whatever EXIF says and wherever it was drawn, box and shapes lie on it."""
    stored = np.zeros((40, 60), np.uint8)
    stored[8:18, 30:50] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    folder = tmp_path / "signs"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(stored).save(folder / "images" / "1.png", exif=exif)
    with Image.open(folder / "images" / "1.png") as image:
        drawn_on = np.asarray(ImageOps.exif_transpose(image) if shown else image)
    (top, *_, bottom), (left, *_, right) = (np.flatnonzero(drawn_on.any(axis)).tolist() for axis in (1, 0))
    across, down = right + 1 - left, bottom + 1 - top
    ring = [left, top, left + across, top, left + across, top + down, left, top + down]
    runs: Any = masks.encode(np.asfortranarray(drawn_on > 0).astype(np.uint8))
    rle = {"size": runs["size"], "counts": runs["counts"].decode()}
    box = {"image_id": 1, "category_id": 5, "bbox": [left, top, across, down], "keypoints": [left, top, 2, 0, 0, 0]}
    size = {"width": drawn_on.shape[1], "height": drawn_on.shape[0]}
    drawn = [{"id": 1, **box, "segmentation": [ring]}, {"id": 2, **box, "segmentation": rle}]
    write_coco(folder, train=document({"id": 1, "file_name": "1.png", **size}, annotations=drawn))
    store = Store.open(str(tmp_path / "store"))
    clear = orientation in (1, 5, 6, 7, 8)
    settings = AnnotationsSettings(drawn_on="shown" if shown and not clear else "stored")
    made = read_folder(folder, store, settings=settings)
    assert ("images unclear_frame" in noted(made, Kind.FAULT)) != clear
    for how in ("as_stored", "transpose"):
        options = {"include_images": True, "exif": how}
        found = Export(store, SERIES["segmentation"], Request(PROJECT, None, options), settings)
        with Image.open(io.BytesIO(found.zip.read("images/train/1.png"))) as image:
            picture = np.asarray(image) > 0
        (entry,) = found.coco()["images"]
        assert (entry["height"], entry["width"]) == picture.shape
        coco: Any = read_with_pycocotools(found.coco(), tmp_path)
        for row in found.annotations:
            assert (coco.annToMask(row).astype(bool) == picture).all()
            x, y, width, height = (int(number) for number in row["bbox"])
            assert picture[y : y + height, x : x + width].all()
            assert width * height == picture.sum()
            corners = {(x, y), (x + width, y), (x, y + height), (x + width, y + height)}
            assert tuple(row["keypoints"][:2]) in corners
            assert row["keypoints"][3:] == [0, 0, 0]


def write_coco(folder: Path, **documents: dict[str, Any]) -> None:
    (folder / "coco").mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / "coco" / f"instances_{name}.json").write_bytes(orjson.dumps(document))


def document(*images: Any, annotations: Any = (), categories: Any = ({"id": 5, "name": "car"},)) -> Any:
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def picture(number: int, path: str) -> dict[str, Any]:
    return {"id": number, "file_name": path, "width": 100, "height": 50}


def test_coco_comes_back_as_it_was(sample: tuple[Store, str], tmp_path: Path) -> None:
    first = export(sample, "segmentation", include_images=True, category_ids="stable")
    folder = tmp_path / "again"
    first.zip.extractall(folder)
    (folder / "annotations").rename(folder / "coco")
    made = read_folder(folder, sample[0], "again")
    assert not noted(made)
    assert made.report.counts["corrections"] == 0
    second = export((sample[0], "again"), "segmentation", include_images=True, category_ids="stable")
    for split in ("train", "val", "test"):
        assert second.coco(split)["images"] == first.coco(split)["images"]
        again, before = (sorted(one.coco(split)["annotations"], key=lambda row: row["id"]) for one in (second, first))
        assert again == before
        assert second.coco(split)["categories"] == first.coco(split)["categories"]
    assert offered(current(sample[0], ANNOTATIONS, "again")) == ("detection", "segmentation")


def test_one_name_in_two_splits_is_two_images_where_there_are_two_files(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    folder = tmp_path / "signs"
    box = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 40], "iscrowd": 0}
    write_coco(folder, train2017=document(picture(1, "1.png"), annotations=[box]), val=document(picture(1, "1.png")))
    for place, shade in (("train2017", 10), ("val", 200)):
        (folder / "images" / place).mkdir(parents=True)
        Image.new("L", (100, 50), shade).save(folder / "images" / place / "1.png")
    read_folder(folder, store)
    found = Export(store, SERIES["detection"], Request(PROJECT, None, {"include_images": True}))
    assert found.paths == ["train/1.png", "val/1.png"]
    assert [len(found.coco(split)["annotations"]) for split in ("train", "val")] == [1, 0]
    for place in ("train2017", "val"):
        (folder / "images" / place / "1.png").unlink()
    read_folder(folder, store)
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
    made = read_folder(tmp_path / "signs", store)
    shapes = current(store, ANNOTATIONS, PROJECT).read(schema.SEGMENTATIONS).to_pylist()
    assert [(row["x"], row["width"], row["area"]) for row in shapes] == [
        (10.4, 20, 401.5),
        (10, 20, 400),
        (10, 90, 1800),
    ]
    assert made.report.counts["detections"] == 4
    assert noted(made) == {"detections missing_value": 1}
    assert noted(made, Kind.CHANGE) == {
        "segmentations area_computed": 1,
        "segmentations box_computed": 1,
        "segmentations clipped": 1,
        "detections clipped": 1,
    }
    assert made.report.counts["corrected: stated area differs from the shape: area computed"] == 1


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ({"train": []}, "not a COCO file"),
        ({"train": {"annotations": []}}, "must hold the list images"),
        ({"train": {"images": [], "annotations": {}}}, "annotations must be a list"),
        ({"train": document(), "val": document(categories=[{"id": 5, "name": "bus"}])}, "make the categories"),
        ({"train": document()}, "no image that can be used"),
    ],
)
def test_coco_that_cannot_be_used(tmp_path: Path, documents: dict[str, Any], message: str) -> None:
    write_coco(tmp_path / "signs", **documents)
    made = read_folder(tmp_path / "signs", Store.open(str(tmp_path / "store")))
    assert message in (made.generation.refused or "")


@pytest.mark.case("annotations/stale-latest")
def test_annotations_that_mean_no_image_are_refused_and_the_last_ones_stay(tmp_path: Path) -> None:
    store, folder = Store.open(str(tmp_path / "store")), tmp_path / "signs"
    images = picture(1, "1.png"), picture(2, "2.png")
    boxes = [{"id": n, "image_id": n, "category_id": 5, "bbox": [1, 2, 30, 40]} for n in (1, 2)]
    write_coco(folder, train=document(*images, annotations=boxes))
    read_folder(folder, store)
    first = Export(store, SERIES["detection"], Request(PROJECT))
    lost = [{**row, "image_id": row["image_id"] + 7} for row in boxes]
    write_coco(folder, train=document(*images, annotations=lost))
    refused = "All 2 annotations were rejected: its image is not in the images"
    assert read_folder(folder, store).generation.refused == refused
    with pytest.raises(RefusedError, match=refused):
        Export(store, SERIES["detection"], Request(PROJECT))
    write_coco(folder, train=document(*images, annotations=boxes))
    read_folder(folder, store)
    assert Export(store, SERIES["detection"], Request(PROJECT)).published.export == first.published.export


@pytest.mark.case("annotations/export-crash")
def test_what_was_asked_for_and_cannot_be_made_says_why(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    box = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 40]}
    write_coco(tmp_path / "signs", train=document(picture(1, "1.png"), annotations=[box]))
    read_folder(tmp_path / "signs", store)
    assert offered(current(store, ANNOTATIONS, PROJECT)) == ("detection",)
    for ask in (publish, preview):
        with pytest.raises(InputError, match="signs has neither tags nor labels of whole images: there is nothing to"):
            ask(store, ANNOTATIONS, SERIES["classification"], Request(PROJECT), SETTINGS)


def test_every_item_of_a_coco_file_is_accounted_for_once(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    box = {"image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 40]}
    annotations = [
        {"id": 1, **box, "segmentation": [[1, 2, 31, 2, 31, 42]]},
        {"id": 2, **box, "segmentation": [[]]},  # no mask, as some tools say it
        {"id": 3, "image_id": 1, "category_id": 5, "segmentation": [[1, 2, 31, 2, 31, 42]]},
        {"id": 4, "image_id": 1, "category_id": 5, "keypoints": [1, 2, 2]},
        "no object",
    ]
    first = document(picture(1, "1.png"), 7, annotations=annotations, categories=[{"id": 5, "name": "car"}, None])
    write_coco(tmp_path / "signs", train=first, train2017=document(picture(2, "2.png")))
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {
        "detections not_an_object": 1,
        "images not_an_object": 1,
        "labels not_an_object": 1,
    }
    account = {found.table: (found.seen, found.used, found.left_out) for found in made.generation.account}
    assert account == {
        "detections": (4, 3, {}),
        "images": (3, 2, {}),
        "keypoints": (1, 1, {}),
        "labels": (3, 1, {"in another file or earlier in this one": 1}),
        "segmentations": (2, 2, {}),
        "tasks": (1, 1, {}),
    }


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
    read_folder(tmp_path / "inbox" / "annotations" / key, s3_store, key)
    options = {"include_images": True}
    assert export((s3_store, key), "detection", **options).data == export(sample, "detection", **options).data


def test_coordinates_are_not_blown_up_by_rounding(project: Project) -> None:
    image = project.image("1.jpg", size=(3, 3))
    project.mask(image, [[1 / 3, 1 / 3], [2 / 3, 1 / 3], [2 / 3, 2 / 3]])
    project.ingest()
    (row,) = project.export("segmentation").annotations
    assert np.array(row["segmentation"][0]).tolist() == [1, 1, 2, 1, 2, 2]
