"""Other formats of the field, in and out: what comes in by one door goes out by another and is still the same."""

import io
import json
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.json as pa_json
import pytest
import yaml
from annotations_project import SERIES, SETTINGS, Export, Project, noted, read_folder
from PIL import Image
from pycocotools import mask
from running import current

from sheaf.annotations import schema
from sheaf.annotations.domain import ANNOTATIONS
from sheaf.annotations.sample import project as sample_project
from sheaf.annotations.writers.yolo_text import lines
from sheaf.errors import UsageError, VerificationError
from sheaf.exports.publish import Request, publish
from sheaf.exports.series import Written
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def unpacked(export: Export, folder: Path) -> Path:
    export.zip.extractall(folder)
    return folder


def drawn(export: Export) -> list[tuple[str, str, Any]]:
    """Every object as image, class and the pixels it covers."""
    found = []
    for document in export.documents:
        images = {image["id"]: image for image in document["images"]}
        names = {row["id"]: row["name"] for row in document["categories"]}
        for row in document["annotations"]:
            image, shape = images[row["image_id"]], row["segmentation"]
            packed: Any = shape
            if isinstance(shape, list):
                packed = mask.merge(mask.frPyObjects(shape, image["height"], image["width"]))
            found.append((image["file_name"], names[row["category_id"]], packed))
    return sorted(found, key=lambda item: (item[0], item[1], *mask.toBbox(item[2]).tolist()))


def overlap(one: Any, other: Any) -> float:
    found: Any = mask.iou([one], [other], [0])
    return float(found[0, 0])


def test_coco_to_yolo_to_coco_keeps_every_object(store: Store, tmp_path: Path) -> None:
    (key,) = sample_project.write(tmp_path / "inbox")
    read_folder(tmp_path / "inbox" / "annotations" / key, store, key)
    first = Export(store, SERIES["segmentation"], Request(key, None, {"exif": "transpose"}))
    yolo = Export(store, SERIES["yolo"], Request(key, None, {"task": "segment"}))
    assert yolo.report["annotation_count"] + yolo.report["dropped"].get("a crowd, which YOLO does not know", 0) >= 41
    folder = unpacked(yolo, tmp_path / "again")
    made = read_folder(folder, store, "again")
    assert noted(made) == {}
    second = Export(store, SERIES["segmentation"], Request("again"))
    # an object that has only a box is an outline in YOLO
    outlines = [item for item in drawn(second) if item[0] in first.paths]
    assert len(drawn(second)) == yolo.report["annotation_count"]
    assert len(outlines) >= len(drawn(first))
    left = list(outlines)
    for path, name, shape in drawn(first):
        best = max(
            ((overlap(shape, other), at) for at, (p, n, other) in enumerate(left) if (p, n) == (path, name)),
            default=(0.0, -1),
        )
        assert best[0] >= 0.99, (path, name)
        left.pop(best[1])


def test_yolo_boxes_are_laid_out_as_ultralytics_reads_them(tmp_path: Path, store: Store) -> None:
    project = Project(tmp_path / "signs", store)
    for name, task in (("a/1.png", 1), ("2.jpg", 2), ("2.png", 2)):
        image = project.image(name, task)
        project.file(name)
        project.box(image, label=2)
    project.box(image, iscrowd=True)
    project.mask(image, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    project.ingest()
    found = project.export("yolo")
    data = yaml.safe_load(found.zip.read("data.yaml"))
    assert data["names"] == {0: "car", 1: "tree"}
    assert (data["train"], data["val"], data["nc"]) == ("images/train", "images/val", 2)
    images = [name for name in found.names if name.startswith("images/")]
    labels = {name for name in found.names if name.startswith("labels/")}
    assert labels == {f"labels/{name[7:].rpartition('.')[0]}.txt" for name in images}
    assert len(labels) == 3
    assert found.zip.read("labels/train/a/1.txt") == b"1 0.3 0.4 0.4 0.4\n"
    assert found.report["dropped"] == {"a crowd, which YOLO does not know": 1}
    assert found.report["annotation_count"] == 4
    corners = project.export("yolo", task="obb").zip.read("labels/train/a/1.txt")
    assert corners == b"1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n"
    again = read_folder(unpacked(found, tmp_path / "again"), store, "again")
    assert noted(again) == {}
    assert again.report.counts["detections"] == 4
    splits = {row["split"] for row in current(store, ANNOTATIONS, "again").read(schema.TASKS).to_pylist()}
    assert splits == {"train", "val"}


def test_numbers_of_yolo_are_what_python_prints() -> None:
    def printed(value: float) -> str:
        return f"{value:.6f}".rstrip("0").rstrip(".")

    halves = [place / 192_000 for place in range(12, 192_000, 24 * 7)]  # rounded up or down by their last bit
    values = [0.0, 1.0, 0.1, 1e-6, 4e-7, 0.999_999_6, 0.000_12, 1 / 128, 3 / 128, *halves]
    values += [0.5] * (-len(values) % 4)
    labels = np.arange(len(values) // 4) % 13
    text, ends = lines(labels, np.array(values), np.full(len(labels), 4))
    rows = [" ".join(map(printed, values[at : at + 4])) for at in range(0, len(values), 4)]
    assert text.decode().splitlines() == [f"{label} {row}" for label, row in zip(labels, rows, strict=True)]
    assert np.diff(ends, prepend=0).tolist() == [len(line) + 1 for line in text.splitlines()]


def test_lines_that_are_no_yolo_are_rejected_by_themselves(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "signs"
    for part in ("images", "labels"):
        (folder / "train" / part).mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(folder / "train" / "images" / "1.png")
    (folder / "data.yaml").write_text("names: [car]\n")
    (folder / "train" / "labels" / "1.txt").write_text(
        "0 .5 .5 .2 .2\n0 .5\nx 1 2 3 4\n7 .5 .5 .2 .2\n\n0 .1 .1 .5 .1 .5 .5\n"
    )
    made = read_folder(folder, store)
    assert noted(made) == {"detections not_yolo": 2, "detections unknown_label": 1}
    assert (made.report.counts["detections"], made.report.counts["segmentations"]) == (1, 1)
    (folder / "data.yaml").write_text("nc: 1\n")
    assert "names no classes" in (read_folder(folder, store).generation.refused or "")


VOC = """<annotation><filename>{name}.jpg</filename><size><width>100</width><height>50</height></size>
<object><name>car</name><difficult>1</difficult>
<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>25</ymax></bndbox></object></annotation>"""


def test_pascal_voc_comes_in(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "signs"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for name, split in (("1", "train"), ("2", "val")):
        Image.new("RGB", (100, 50)).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(VOC.format(name=name))
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{name}\n")
    made = read_folder(folder, store)
    assert noted(made) == {}
    found = Export(store, SERIES["detection"], Request("signs", None, {"on_leak": "warn"}))
    (row,) = found.coco("val")["annotations"]
    assert row["bbox"] == [10, 5, 20, 20]
    assert row["attributes"] == {"difficult": "1"}
    (folder / "Annotations" / "2.xml").write_text("<annotation>")
    assert "2.xml is not valid XML" in (read_folder(folder, store).generation.refused or "")


CVAT = """<?xml version="1.0"?><annotations><meta><task><labels><label><name>car</name></label></labels></task></meta>
<image id="0" name="a/1.png" subset="Train" width="100" height="50">
<box label="car" xtl="40" ytl="20" xbr="60" ybr="30" rotation="90"/>
<box label="car" xtl="10" ytl="5.5" xbr="30" ybr="25.5" occluded="1"><attribute name="colour">red</attribute></box>
<polygon label="tree" points="1,1;20,1;20,20"/><tag label="car"/>
<mask label="car" rle="2,2,2" left="4" top="3" width="3" height="2"/></image></annotations>"""


def test_cvat_xml_comes_in(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "signs"
    folder.mkdir()
    (folder / "annotations.xml").write_text(CVAT)
    made = read_folder(folder, store)
    assert noted(made) == {}
    assert noted(made, Kind.CHANGE) == {"detections rotated": 1}
    turned, row = Export(store, SERIES["detection"], Request("signs")).coco()["annotations"]
    assert turned["bbox"] == [45, 15, 10, 20], "about its centre"
    labelled = Export(store, SERIES["classification"], Request("signs"))
    assert labelled.manifest_rows[1:] == ["images/a/1.png,car,train"], "a tag is a label of the whole image"
    assert row["bbox"] == [10, 5.5, 20, 20]
    assert row["attributes"] == {"colour": "red", "occluded": True}
    tree, car = sorted(
        Export(store, SERIES["segmentation"], Request("signs")).coco()["annotations"], key=lambda row: -row["area"]
    )
    assert tree["segmentation"] == [[1, 1, 20, 1, 20, 20]]
    pixels = np.argwhere(mask.decode(car["segmentation"]))
    assert pixels.tolist() == [[3, 6], [4, 4]]
    assert json.dumps(car["image_id"]) == json.dumps(tree["image_id"])


def test_ellipses_and_points_of_cvat_are_kept_and_lines_are_rejected(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "signs"
    folder.mkdir()
    shapes = """<ellipse label="tree" cx="50" cy="25" rx="20" ry="10" rotation="90"/>
    <points label="car" points="10,20;30,40"/><skeleton label="man"><points label="a" points="5,6" occluded="1"/>
    <points label="b" points="9,8" outside="1"/><points label="c" points="15,26"/></skeleton>
    <polyline label="car" points="1,1;2,2"/><ellipse label="car" cx="5"/>"""
    nodes = "".join(f'<circle data-node-id="{at}" data-label-name="{name}"/>' for at, name in enumerate("cab"))
    edges = '<line data-node-from="0" data-node-to="1"/><line data-node-from="2" data-node-to="0"/>'
    drawn = f"<name>man</name><type>skeleton</type><svg>{escape(edges + nodes)}</svg>"
    labels = f"<labels><label>{drawn}</label><label><name>a</name><parent>man</parent></label>"
    given = CVAT.replace("</image>", f"{shapes}</image>").replace("<labels>", labels)
    (folder / "annotations.xml").write_text(given)
    made = read_folder(folder, store)
    assert noted(made) == {"detections missing_value": 2}
    assert noted(made, Kind.CHANGE)["segmentations ellipse"] == 1
    boxes = Export(store, SERIES["detection"], Request("signs")).coco()
    points, skeleton = (row for row in boxes["annotations"] if "keypoints" in row)
    assert points["bbox"] == [10, 20, 20, 20]
    assert (skeleton["bbox"], skeleton["keypoints"]) == ([5, 6, 10, 20], [5, 6, 1, 0, 0, 0, 15, 26, 2])
    (man,) = (row for row in boxes["categories"] if "keypoints" in row)
    assert (man["keypoints"], man["skeleton"]) == (["a", "b", "c"], [[3, 1], [2, 3]])
    assert "a" not in [row["name"] for row in boxes["categories"]], "a point is no class"
    masks = Export(store, SERIES["segmentation"], Request("signs")).annotations
    assert [40, 5, 20, 40] in [row["bbox"] for row in masks]


def ls(kind: str, value: dict[str, Any], key: str, **more: Any) -> dict[str, Any]:
    """A result of Label Studio."""
    size = {"original_width": 100, "original_height": 50, "image_rotation": 0}
    return {"id": key, "type": kind, "from_name": kind, "to_name": "img", **size, "value": value, **more}


def rectangle(key: str, label: str = "car", rotation: float = 0, **more: Any) -> dict[str, Any]:
    """One that begins in the middle of the picture."""
    sides = {"x": 50, "y": 50, "width": 20, "height": 20, "rotation": rotation}
    return ls("rectanglelabels", {**sides, "rectanglelabels": [label]}, key, **more)


def task(image: str, *results: Any, **more: Any) -> dict[str, Any]:
    return {"data": {"image": image}, "annotations": [{"id": 1, "result": [*results]}], **more}


def painted(width: int, height: int, pixels: list[int]) -> list[int]:
    """Label Studio's mask: runs of opaque pixels, each as red, green, blue and opacity; the last runs one by one."""
    text = f"{4 * width * height:032b}{7:05b}" + "".join(f"{bits - 1:04b}" for bits in (3, 6, 9, 16))
    values = [255 * (at // 4 in pixels) for at in range(4 * width * height)]
    at = 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at]:
            end += 1
        if end < len(values):
            text += f"1{3:02b}{end - at - 1:016b}{values[at]:08b}"
        else:
            end = min(end, at + 8)
            text += f"0{0:02b}{end - at - 1:03b}" + "".join(f"{value:08b}" for value in values[at:end])
        at = end
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def label_studio(folder: Path, *tasks: Any, files: tuple[str, ...] = ("1.png",)) -> None:
    for number, name in enumerate(files):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50), (number, 9, 9)).save(folder / "images" / name)
    (folder / "project-1-at-2026-01-01.json").write_text(json.dumps(tasks))


def test_shapes_of_label_studio_are_where_they_were_drawn(tmp_path: Path, store: Store) -> None:
    polygon = {"points": [[10, 10], [20, 10], [20, 40]], "closed": True, "polygonlabels": ["tree"]}
    brush = {"format": "rle", "rle": painted(100, 50, [205, 206, 305]), "brushlabels": ["tree"]}
    nameless = ls("rectangle", {"x": 0, "y": 0, "width": 10, "height": 10, "rotation": 0}, "e")
    label_studio(
        tmp_path / "signs",
        task(
            "/data/upload/3/0123abcd-1.png",
            rectangle("a"),
            rectangle("b", rotation=90),
            ls("polygonlabels", polygon, "c"),
            ls("brushlabels", brush, "d"),
            nameless,
            ls("labels", {**nameless["value"], "labels": ["tree"]}, "e"),
            ls("choices", {**nameless["value"], "choices": ["old"]}, "e", from_name="age"),
            ls("keypointlabels", {"x": 5, "y": 5, "width": 1, "keypointlabels": ["wheel"]}, "f"),
        ),
    )
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {}
    boxes = Export(store, SERIES["detection"], Request("signs")).coco(None)
    found = {(row["category_id"], *row["bbox"]): row for row in boxes["annotations"]}
    names = {row["name"]: row["id"] for row in boxes["categories"]}
    assert set(found) == {
        (names["car"], 50.0, 25.0, 20.0, 10.0),
        (names["car"], 40.0, 25.0, 10.0, 20.0),  # a quarter clockwise about its upper left corner
        (names["tree"], 0.0, 0.0, 10.0, 5.0),
        (names["wheel"], 4.5, 2.0, 1.0, 1.0),  # around the point
    }
    assert found[names["tree"], 0.0, 0.0, 10.0, 5.0]["attributes"] == {"age": "old"}
    tree, brushed = Export(store, SERIES["segmentation"], Request("signs")).coco(None)["annotations"]
    assert tree["segmentation"] == [[10, 5, 20, 5, 20, 20]]
    assert np.argwhere(mask.decode(brushed["segmentation"])).tolist() == [[2, 5], [2, 6], [3, 5]]


def test_what_label_studio_drew_on_a_turned_picture_is_turned_back(tmp_path: Path, store: Store) -> None:
    corner = {"x": 0, "y": 0, "width": 10, "height": 20, "rotation": 0, "rectanglelabels": ["car"]}
    polygon = {"points": [[0, 0], [10, 0], [10, 20]], "polygonlabels": ["tree"]}
    label_studio(
        tmp_path / "signs",
        task(
            "1.png",
            *[ls("rectanglelabels", corner, f"r{by}", image_rotation=by) for by in (90, 180, 270)],
            ls("rectanglelabels", {**corner, "x": 60, "rotation": 90}, "t", image_rotation=90),
            ls("polygonlabels", polygon, "p", image_rotation=90),
            ls("brushlabels", {"rle": painted(100, 50, [205]), "brushlabels": ["tree"]}, "b", image_rotation=90),
        ),
    )
    read = read_folder(tmp_path / "signs", store)
    assert noted(read) == {"detections image_rotation": 1}
    assert noted(read, Kind.CHANGE)["detections image_turned"] == 5
    boxes = Export(store, SERIES["detection"], Request("signs")).annotations
    assert sorted(row["bbox"] for row in boxes) == [
        [0, 20, 5, 20],
        [0, 45, 20, 5],  # what is the upper left corner, turned by 90 degrees, is the lower left one
        [80, 0, 20, 5],
        [90, 40, 10, 10],
    ]
    (tree,) = Export(store, SERIES["segmentation"], Request("signs")).annotations
    assert tree["segmentation"] == [[0, 50, 0, 45, 20, 45]]


def test_ellipses_and_points_of_label_studio_are_kept(tmp_path: Path, store: Store) -> None:
    oval = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 90, "ellipselabels": ["tree"]}

    def point(key: str, name: str, x: float, **more: Any) -> dict[str, Any]:
        return ls("keypointlabels", {"x": x, "y": 60, "width": 1, "keypointlabels": [name]}, key, **more)

    label_studio(
        tmp_path / "signs",
        task(
            "1.png",
            ls("ellipselabels", oval, "o"),
            rectangle("a"),
            point("p", "wheel", 52, parentID="a"),
            point("q", "lamp", 60, parentID="a"),
            point("r", "wheel", 5),
        ),
        task("2.png", rectangle("b"), point("s", "door", 51, parentID="b")),
        files=("1.png", "2.png"),
    )
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {}
    assert noted(made, Kind.CHANGE) == {"detections box_of_keypoints": 1, "segmentations ellipse": 1}
    (drawn_oval,) = Export(store, SERIES["segmentation"], Request("signs")).annotations
    assert drawn_oval["bbox"] == [45, 5, 10, 40], "20 px to each side of the centre, turned by a quarter"
    assert drawn_oval["area"] == pytest.approx(np.pi * 20 * 5, rel=0.003)
    boxes = Export(store, SERIES["detection"], Request("signs")).coco(None)
    categories = {row["name"]: row for row in boxes["categories"]}
    assert categories["car"]["keypoints"] == ["door", "lamp", "wheel"]
    found = {(row["category_id"], row["bbox"][0]): row for row in boxes["annotations"]}
    car, wheel = categories["car"]["id"], categories["wheel"]["id"]
    by_image = [row["keypoints"] for row in boxes["annotations"] if row["category_id"] == car]
    assert by_image == [[0, 0, 0, 60, 30, 2, 52, 30, 2], [51, 30, 2, 0, 0, 0, 0, 0, 0]]
    assert (found[wheel, 4.5]["bbox"], found[wheel, 4.5]["num_keypoints"]) == ([4.5, 29.5, 1, 1], 1)


def datumaro(*annotations: dict[str, Any], name: str = "1", **more: Any) -> dict[str, Any]:
    """A subset of one image."""
    each = [{"id": 0, "attributes": {}, "group": 0, "label_id": 0, **one} for one in annotations]
    item = {"id": name, "annotations": each, "attr": {"frame": 4}, "image": {"path": f"{name}.png", "size": [50, 100]}}
    labels = [{"name": name, "parent": parent} for name, parent in (("car", "vehicle"), ("tree", ""))]
    points = [{"label_id": 1, "labels": ["top", "root"], "joints": [[1, 2]]}]
    categories = {"label": {"labels": labels}, "points": {"items": points}}
    return {"dm_format_version": "1.0", "media_type": 2, "infos": {}, "categories": categories, "items": [item, *more]}


def test_datumaro_comes_in(tmp_path: Path, store: Store) -> None:
    root = tmp_path / "signs" / "dataset"
    packed: Any = mask.encode(np.asfortranarray(np.eye(50, 100, dtype=np.uint8)))
    crowd = {"counts": packed["counts"].decode(), "size": packed["size"]}
    train = datumaro(
        {"type": "bbox", "bbox": [1, 2, 30, 20], "group": 3, "attributes": {"occluded": True}},
        {"type": "polygon", "points": [1, 2, 20, 2, 20, 22], "group": 3},
        {"type": "polygon", "points": [25, 2, 31, 2, 31, 22], "group": 3},
        {"type": "mask", "rle": crowd, "attributes": {"is_crowd": True}},
        {"type": "ellipse", "points": [40, 10, 60, 30], "label_id": 1},
        {"type": "points", "points": [70, 10, 71, 40], "visibility": [2, 1], "label_id": 1},
        {"type": "bbox", "bbox": [40, 20, 20, 10], "attributes": {"rotation": 90}},
        {"type": "label", "label_id": 1},
        {"type": "caption", "caption": "a street"},
        {"type": "polyline", "points": [1, 1, 2, 2]},
        {"type": "bbox", "bbox": [1, 2, 3, 4], "label_id": 9},
        {"type": "bbox", "bbox": [1, 2]},
    )
    val = datumaro({"type": "bbox", "bbox": [5, 5, 10, 10]})
    val["items"].append(7)
    for split, document in (("train", train), ("val", val)):
        (root / "images" / split).mkdir(parents=True)
        Image.new("RGB", (100, 50), (9, len(split), 9)).save(root / "images" / split / "1.png")
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{split}.json").write_text(json.dumps(document))
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {
        "detections missing_value": 1,
        "detections no_shape": 1,
        "detections unknown_label": 1,
        "images not_an_object": 1,
    }
    assert noted(made, Kind.CHANGE) == {
        "detections box_of_keypoints": 1,
        "detections rotated": 1,
        "segmentations ellipse": 1,
    }
    boxes = Export(store, SERIES["detection"], Request("signs"))
    assert boxes.paths == ["train/1.png", "val/1.png"]
    rows = {tuple(row["bbox"]): row for row in boxes.coco()["annotations"]}
    assert set(rows) == {(1, 2, 30, 20), (45, 15, 10, 20), (70, 10, 1, 30)}
    assert rows[1, 2, 30, 20]["attributes"] == {"occluded": True}
    assert rows[70, 10, 1, 30]["keypoints"] == [70, 10, 2, 71, 40, 1]
    categories = {row["name"]: row for row in boxes.coco()["categories"]}
    assert (categories["car"]["supercategory"], categories["tree"]["keypoints"]) == ("vehicle", ["top", "root"])
    (image,) = boxes.coco()["images"]
    assert (image["captions"], image["frame"]) == (["a street"], 4)
    masks = Export(store, SERIES["segmentation"], Request("signs")).coco()["annotations"]
    assert sorted(row["iscrowd"] for row in masks) == [0, 0, 1]
    assert [len(row["segmentation"]) for row in masks if row["bbox"] == [1, 2, 30, 20]] == [2], (
        "one object of two parts"
    )
    labels = Export(store, SERIES["classification"], Request("signs")).manifest_rows[1:]
    assert "images/train/1.png,tree,train" in labels


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("/data/upload/0123abcd-1.png", "0123abcd-1.png"),
        ("/data/upload/7/0123abcd-1.png", "1.png"),
        ("/data/local-files/?d=photos/a%20b/1.png", "a b/1.png"),
        ("/data/local-files/?d=photos%5Ca%5C1.png", "photos/a/1.png"),
        ("C:\\photos\\a\\1.png", "a/1.png"),
        ("s3://bucket/photos/1.png", "photos/1.png"),
        ("https://host/x/1.png?X-Amz-Signature=0", "1.png"),
    ],
)
def test_images_of_label_studio_are_found_where_they_lie_now(
    tmp_path: Path, store: Store, source: str, file: str
) -> None:
    label_studio(tmp_path / "signs", task(source, rectangle("a")), files=(file,))
    assert noted(read_folder(tmp_path / "signs", store)) == {}
    (row,) = current(store, ANNOTATIONS, "signs").read(schema.IMAGES).to_pylist()
    assert (row["file_path"], row["sha256"] is not None) == (file, True)


def test_one_annotation_of_a_task_counts_and_the_others_are_counted(tmp_path: Path, store: Store) -> None:
    def made(key: int, *results: Any, **more: Any) -> dict[str, Any]:
        return {"id": key, "result": [*results], "created_at": f"2026-01-0{key}", **more}

    several = [
        made(1, rectangle("old"), rectangle("older")),
        made(2, rectangle("new", "tree")),
        made(3, rectangle("newest"), was_cancelled=True),
    ]
    label_studio(
        tmp_path / "signs",
        {"data": {"image": "a/1.png"}, "annotations": several, "predictions": [made(1, *map(rectangle, "pqr"))]},
        {"data": {"image": "b/1.png"}, "annotations": [made(1, rectangle("x"), ground_truth=True), *several[1:2]]},
        {"data": {"image": "c.png"}, "annotations": [made(1, was_cancelled=True)]},
        {"data": {"image": "d.png"}, "annotations": []},
        task("e.png", rectangle("t", image_rotation=45), ls("rectanglelabels", {"x": "?", "rectanglelabels": []}, "v")),
        {"data": {"text": "no picture"}, "annotations": [made(1)]},
        files=("a/1.png", "b/1.png", "e.png"),
    )
    read = read_folder(tmp_path / "signs", store)
    assert noted(read) == {
        "images no_file_named": 1,
        "detections image_rotation": 1,
        "detections not_a_number": 1,
    }
    left_out = {why: rows for account in read.generation.account for why, rows in account.left_out.items()}
    assert left_out == {
        "a prediction": 3,
        "in an annotation that was cancelled": 1,
        "its task was skipped": 1,
        "its task has no annotation that was submitted": 1,
        "in another annotation of the task than its ground truth or newest": 3,
    }
    found = Export(store, SERIES["detection"], Request("signs"))
    names = {row["id"]: row["name"] for row in found.coco(None)["categories"]}
    assert sorted(names[row["category_id"]] for row in found.annotations) == ["car", "tree"]
    assert found.paths == ["a/1.png", "b/1.png", "e.png"]


def test_what_label_studio_cannot_say_is_told(tmp_path: Path, store: Store) -> None:
    runs = painted(100, 50, [205])
    bad = [runs[:9], [*runs[:3], runs[3] + 1, *runs[4:]], [300], "runs", runs[:4]]
    masks = [ls("brushlabels", {"rle": each, "brushlabels": ["car"]}, f"m{number}") for number, each in enumerate(bad)]
    unlabelled = ls("rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": []}, "u")
    label_studio(tmp_path / "signs", task("1.png", rectangle("a"), *masks, unlabelled, 7), 8)
    assert noted(read_folder(tmp_path / "signs", store)) == {
        "detections unreadable_counts": 4,
        "detections counts_do_not_fill": 1,
        "detections missing_value": 1,
        "detections not_an_object": 1,
        "images not_an_object": 1,
    }
    label_studio(tmp_path / "signs", {"data": {"image": "1.png"}, "annotations": []})
    assert "label some" in (read_folder(tmp_path / "signs", store).generation.refused or "")
    label_studio(tmp_path / "signs", {"image": "1.png", "annotator": 1, "lead_time": 3})
    assert "JSON-MIN" in (read_folder(tmp_path / "signs", store).generation.refused or "")


def test_hugging_face_sees_the_splits_that_there_are_and_one_type_in_each_column(tmp_path: Path, store: Store) -> None:
    project = Project(tmp_path / "signs", store)
    for name, task_id in (("train/test_1.jpg", 1), ("val/1.png", 1), ("train.png", 2)):
        project.file(name)
        project.box(project.image(name, task_id), label=2, corners=(0.1, 0.2, 0.5, 0.6))
    project.mask(project.image("bare.png", 2), [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    project.file("bare.png")
    project.image("gone.png", 2)
    project.ingest()
    found = project.export("huggingface", on_missing="skip")
    folders = {name.split("/")[0] for name in found.names if "/" in name}
    assert folders == {"train", "validation"}
    for word in ("train", "val", "test", "dev", "eval"):  # whatever datasets takes for a split, folders apart
        assert not [name for name in found.names if "/" in name and word in name.split("/")[1]]
    card = yaml.safe_load(found.zip.read("README.md").decode().split("---\n")[1])
    assert [entry["split"] for entry in card["configs"][0]["data_files"]] == ["train", "validation"]
    types = []
    for folder in sorted(folders):
        data = found.zip.read(f"{folder}/metadata.jsonl")
        types.append(pa_json.read_json(io.BytesIO(data)).schema)
        files = {json.loads(line)["file_name"] for line in data.splitlines()}
        assert files == {name.split("/")[1] for name in found.names if name.startswith(f"{folder}/")} - {
            "metadata.jsonl"
        }
    assert types[0] == types[1], "datasets refuses metadata whose columns differ"
    rows = [json.loads(line) for line in found.zip.read("validation/metadata.jsonl").splitlines()]
    assert [(row["path"], row["objects"]["categories"]) for row in rows] == [("bare.png", [0]), ("train.png", [1])]
    assert rows[1]["objects"]["bbox"] == [[10.0, 10.0, 40.0, 20.0]]
    numbers = {image["file_name"]: image["id"] for image in project.export("detection").coco("val")["images"]}
    assert rows[1]["image_id"] == numbers["train.png"]
    with pytest.raises(UsageError, match="metadata are of files"):
        project.export("huggingface", include_images=False)


def test_a_page_shows_what_a_project_holds(tmp_path: Path, store: Store) -> None:
    project = Project(tmp_path / "signs", store)
    project.tables["labels"][0]["name"] = "<b>car"
    for name, task_id in (("1.png", 1), ("2.png", 2)):
        project.file(name)
        project.box(project.image(name, task_id), label=task_id)
    project.box("i1", (0.5, 0.5, 0.5, 0.5))
    project.ingest()
    found = publish(store, ANNOTATIONS, SERIES["report_html"], Request("signs"), SETTINGS)
    assert found.manifest.canonical
    page = store.get(f"{found.export.path}/report.html").decode()
    assert "2 images, 2 boxes" in page
    assert "data:image/png;base64," in page
    assert "<td>&lt;b&gt;car<td class=n>1<td class=n>0<td class=n>0<td class=n>1" in page, "one in train"
    assert "<td>detections<td>reject<td>the box has no area<td class=n>1" in page
    assert "<td>Boxes<td class=n>2<td class=n>0<td class=n>0" in page
    assert "There is no version before this one" in page
    project.image("3.png", 1)
    project.tables["images"].pop(0)
    moved, gone = project.tables["detections"][1], project.tables["detections"].pop(0)
    moved["x_max"] = 0.7
    project.box("i2", label=1)
    project.ingest(accept=True)
    later = publish(store, ANNOTATIONS, SERIES["report_html"], Request("signs"), SETTINGS)
    page = store.get(f"{later.export.path}/report.html").decode()
    since = page[page.index('<section id="since">') : page.index('<section id="splits">')]
    assert "Since version 1 of" in since
    assert "<td>Images<td class=n>1<td class=n>1<td class=n>0" in since
    assert "<td>Boxes<td class=n>1<td class=n>1<td class=n>1" in since, gone
    assert "<td>&lt;b&gt;car" not in since, "one came and one went"
    assert "Images added: 3.png" in since
    assert "Images removed: 1.png" in since


def test_panoptic_pictures_hold_what_their_json_says(tmp_path: Path, store: Store) -> None:
    project = Project(tmp_path / "signs", store)
    first, second = project.image("a/1.jpg"), project.image("a/1.png", 2)
    project.mask(first, [[0, 0], [0.5, 0], [0.5, 1], [0, 1]])  # 50 x 50 px, below the smaller one
    project.mask(first, [[0.4, 0], [0.6, 0], [0.6, 0.2], [0.4, 0.2]], label=2)
    project.mask(first, [[0.42, 0.1], [0.44, 0.1], [0.44, 0.12], [0.42, 0.12]], id="below", iscrowd=True)
    project.box(second)
    project.ingest()
    found = project.export("panoptic")
    document = json.loads(found.zip.read("annotations/panoptic_train.json"))
    (annotation,) = document["annotations"]
    pixels = np.asarray(Image.open(io.BytesIO(found.zip.read(f"annotations/panoptic_train/{annotation['file_name']}"))))
    ids = pixels.astype(int) @ [1, 256, 65536]
    assert annotation["file_name"] == "a/1.png"
    big, small = annotation["segments_info"]
    assert (big["area"], big["bbox"], big["iscrowd"]) == (50 * 50 - 10 * 10, [0, 0, 50, 50], 0)
    assert (small["area"], small["bbox"]) == (20 * 10, [40, 0, 20, 10])
    assert {int(value) for value in np.unique(ids)} == {0, big["id"], small["id"]}
    assert (ids[0, 45], ids[0, 5], ids[0, 99]) == (small["id"], big["id"], 0)
    assert {row["id"]: row["isthing"] for row in document["categories"]} == {1: 1, 2: 1}
    assert found.report["dropped"] == {"a box without a mask": 1, "hidden by other objects": 1}
    assert (found.report["image_count"], found.report["annotation_count"]) == (2, 2)
    shown = project.preview("panoptic")
    assert (shown.counts["dropped"], shown.record_count) == (found.report["dropped"], 2)
    of_segmentation = {row["id"] for row in project.export("segmentation").annotations}
    assert {big["id"], small["id"]} <= of_segmentation, "the same ids as elsewhere"
    by_class = project.export("panoptic", format="class_png")
    classes = np.asarray(Image.open(io.BytesIO(by_class.zip.read("masks/train/a/1.png"))))
    assert (classes[0, 45], classes[0, 5], classes[0, 99]) == (2, 1, 0)
    assert [row["name"] for row in json.loads(by_class.zip.read("classes.json"))] == ["background", "car", "tree"]


def test_panoptic_pictures_that_differ_are_found(tmp_path: Path, store: Store) -> None:
    project = Project(tmp_path / "signs", store)
    project.tables["tasks"] = []
    project.mask(project.image("1.jpg", None), [[0, 0], [0.5, 0], [0.5, 1], [0, 1]])
    project.ingest()
    data = project.export("panoptic").zip
    for name, change in (
        ("annotations/panoptic/1.png", lambda _: _png_of(Image.new("RGB", (100, 50), (1, 0, 0)))),
        ("annotations/panoptic/1.png", lambda _: b"no picture"),
        ("annotations/panoptic.json", lambda text: text.replace(b'"bbox":[0,0,50,50]', b'"bbox":[0,0,50,49]')),
        ("annotations/panoptic.json", lambda text: text.replace(b'"file_name":"1.png"', b'"file_name":"2.png"')),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        with zipfile.ZipFile(folder / "x.zip", "w") as archive:
            for entry in data.namelist():
                archive.writestr(entry, change(data.read(entry)) if entry == name else data.read(entry))
        with pytest.raises(VerificationError):
            SERIES["panoptic"].verify(folder, Written(1))


def _png_of(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_what_is_odd_in_a_file_costs_itself_or_nothing(tmp_path: Path, store: Store) -> None:
    huge = '<mask label="car" rle="999999999999" left="0" top="0" width="1000000" height="1000000"/></image>'
    points = [{"points": value, "polygonlabels": ["tree"]} for value in (None, "x", [[1]])]
    regions = [ls("polygonlabels", value, f"p{at}", original_width=100.0) for at, value in enumerate(points)]
    for name in ("cvat", "voc", "signs"):
        (tmp_path / name).mkdir()
    (tmp_path / "cvat" / "annotations.xml").write_text(CVAT.replace("</image>", huge))
    assert noted(read_folder(tmp_path / "cvat", store)) == {"segmentations no_shape": 1}
    label_studio(tmp_path / "signs", task("1.png", rectangle("a"), *regions))
    assert noted(read_folder(tmp_path / "signs", store)) == {"detections not_a_number": 3}
    (tmp_path / "voc" / "JPEGImages").mkdir()
    (tmp_path / "voc" / "Annotations").mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "voc" / "JPEGImages" / "1.jpg")
    (tmp_path / "voc" / "Annotations" / "1.xml").write_text(
        "<annotation><filename>1</filename><size><width>0</width><height>0</height></size><object><name>car</name>"
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"
    )
    read = read_folder(tmp_path / "voc", store)
    assert (noted(read), read.report.counts["images_without_file"]) == ({}, 0)


def test_poses_and_scores_of_yolo_are_kept(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "signs"
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "images" / "train").mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(folder / "images" / "train" / "a.png")
    (folder / "data.yaml").write_text("names: [man]\nkpt_shape: [2, 3]\n")
    lines = "0 .5 .5 .2 .2 .45 .4 2 .55 .6 1\n0 .5 .5 .2 .4 .75\n0 .1 .1 .2 .1 .2 .2\n"
    (folder / "labels" / "train" / "a.txt").write_text(lines)
    assert noted(read_folder(folder, store)) == {}
    found = Export(store, SERIES["detection"], Request("signs")).coco()
    pose, scored = found["annotations"]
    assert (pose["bbox"], pose["keypoints"]) == ([40, 20, 20, 10], [45, 20, 2, 55, 30, 1])
    assert (scored["bbox"], scored["score"]) == ([40, 15, 20, 20], 0.75)
    assert found["categories"][0]["keypoints"] == ["1", "2"]
