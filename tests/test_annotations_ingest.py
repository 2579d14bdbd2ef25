"""Rows into tables: every flaw of geometry, names and references has its answer, and each is counted."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotations_project import PROJECT, Project
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask

from sheaf import tables
from sheaf.annotations import geometry, masks, schema
from sheaf.annotations.geometry import Frame, UnusableError
from sheaf.annotations.ingest import ingest
from sheaf.annotations.overview import describe
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import InputError
from sheaf.store import Store

FRAME = Frame(100, 50, 100, 50, 1.001)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


def rows(project: Project, table: tables.Table) -> list[dict[str, Any]]:
    return tables.read(project.store, table, PROJECT).to_pylist()


@pytest.mark.parametrize(
    ("corners", "expected", "corrections"),
    [
        ((0.1, 0.2, 0.5, 0.6), (10, 10, 40, 20), []),
        ((0.5, 0.6, 0.1, 0.2), (10, 10, 40, 20), [geometry.SWAPPED]),
        ((-0.1, 0.2, 0.5, 1.0005), (0, 10, 50, 40), [geometry.CLIPPED]),
    ],
)
def test_boxes(corners: tuple[float, ...], expected: tuple[float, ...], corrections: list[str]) -> None:
    shape = geometry.box(corners, 0, FRAME)
    assert (shape.x, shape.y, shape.width, shape.height) == expected
    assert shape.area == shape.width * shape.height
    assert shape.corrections == corrections


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ((0.1, 0.2, 0.1, 0.6), "no area"),
        ((0.1, 0.2, 0.100001, 0.6), "no area"),
        ((-0.5, 0.2, -0.1, 0.6), "outside"),
        ((10, 20, 50, 60), "larger than 1"),
        ((0.1, math.nan, 0.5, 0.6), "not a number"),
        ((0.1, 0.2, math.inf, 0.6), "not a number"),
    ],
)
def test_boxes_that_cannot_be_used(corners: tuple[float, ...], reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        geometry.box(corners, 0, FRAME)


def test_a_turned_box_is_its_hull_and_keeps_its_corners() -> None:
    shape = geometry.box((0.4, 0.4, 0.6, 0.6), 90, FRAME)  # 20 x 10 px about (50, 25)
    assert (shape.x, shape.y, shape.width, shape.height) == (45, 15, 10, 20)
    assert sorted(orjson.loads(shape.segmentation or "")[0]) == sorted([55, 15, 55, 35, 45, 35, 45, 15])
    assert geometry.ROTATED in shape.corrections


def test_polygons_of_several_parts_have_one_box_and_the_area_of_their_union() -> None:
    square = [[0.0, 0.0], [0.2, 0.0], [0.2, 0.4], [0.0, 0.4]]
    shifted = [[x + 0.1, y] for x, y in square]
    shape = geometry.polygon(geometry.read_rings([square, shifted], FRAME), FRAME)
    assert (shape.x, shape.y, shape.width, shape.height) == (0, 0, 30, 20)
    assert shape.area == 600  # twice 400, of which 200 are shared
    assert len(orjson.loads(shape.segmentation or "")) == 2


def test_polygons_are_corrected() -> None:
    over = geometry.polygon([[(-10, 10), (20, 10), (20, 30), (-10, 30)]], FRAME)
    assert (over.x, over.width, over.area) == (0, 20, 400)
    assert over.corrections == [geometry.CLIPPED]
    bow = geometry.polygon([[(0, 0), (40, 40), (40, 0), (0, 40)]], FRAME)
    assert bow.corrections == [geometry.SELF_INTERSECTING]
    assert bow.area == pytest.approx(800, rel=0.1)  # the shoelace would say 0
    short = geometry.polygon([[(1, 1), (2, 2)], [(0, 0), (10, 0), (10, 10)]], FRAME)
    assert short.corrections == [geometry.SHORT_PART]
    closed = geometry.polygon([[(0, 0), (10, 0), (10, 10), (0, 0)]], FRAME)
    assert orjson.loads(closed.segmentation or "") == [[0, 0, 10, 0, 10, 10]]


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([], "empty"),
        ("circle", "empty"),
        ([[0.1, 0.1], [0.2, 0.2]], "fewer than 3"),
        ([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], "no area"),
        ([[0.1, 0.1], [0.2, "x"], [0.3, 0.3]], "no pair of numbers"),
        ([[0.1, 0.1], [0.2, None], [0.3, 0.1]], "no pair of numbers"),
        ([[1.5, 0.1], [2, 0.2], [1.5, 0.3]], "larger than 1"),
        ([[-0.5, 0.1], [-0.2, 0.2], [-0.5, 0.3]], "outside"),
        ([0.1, 0.2, 0.3], "no pair"),
    ],
)
def test_polygons_that_cannot_be_used(polygon: Any, reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        geometry.polygon(geometry.read_rings(polygon, FRAME), FRAME)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["size", "counts"]), inner),
        max_leaves=20,
    )
)
@settings(deadline=None)
def test_any_polygon_or_mask_is_used_or_refused(value: Any) -> None:
    for read in (
        lambda: geometry.polygon(geometry.read_rings(value, FRAME), FRAME),
        lambda: masks.rle(value, FRAME),
    ):
        try:
            shape = read()
        except UnusableError:
            continue
        assert shape.area > 0
        assert 0 <= shape.x <= shape.x + shape.width <= 100.01


@given(st.lists(st.lists(st.tuples(st.floats(-50, 150), st.floats(-50, 100)), max_size=8), min_size=1, max_size=3))
@settings(deadline=None)
def test_polygons_stay_in_the_image(rings: list[list[tuple[float, float]]]) -> None:
    try:
        shape = geometry.polygon(rings, FRAME)
    except UnusableError:
        return
    numbers = [number for part in orjson.loads(shape.segmentation or "") for number in part]
    assert min(numbers) >= 0
    assert max(numbers[0::2]) <= 100
    assert max(numbers[1::2]) <= 50
    assert shape.area > 0


@given(st.binary(min_size=5000, max_size=5000).map(lambda data: np.frombuffer(data, np.uint8) % 2))
@settings(deadline=None)
def test_compressed_and_plain_masks_are_the_same(flat: Any) -> None:
    picture = np.asfortranarray(flat.reshape((50, 100), order="F"))
    packed = mask.encode(picture)
    edges = np.flatnonzero(np.diff(flat)) + 1
    plain = [*([0] if flat[0] else []), *np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()]
    assume(flat.any())
    one = masks.rle({"size": [50, 100], "counts": packed["counts"].decode()}, FRAME)
    two = masks.rle({"size": [50, 100], "counts": plain}, FRAME)
    assert one == two
    assert one.area == picture.sum()


@pytest.mark.parametrize(
    ("rle", "reason"),
    [
        ({"size": [100, 50], "counts": [5000]}, "size differs"),
        ({"size": [50, 100], "counts": [10, 10]}, "do not fill"),
        ({"size": [50, 100], "counts": [-1, 5001]}, "cannot be read"),
        ({"size": [50, 100], "counts": "\u00ff~"}, "cannot be read"),
        ({"size": [50, 100], "counts": "o" * 100}, "cannot be read"),
        ({"size": [50, 100], "counts": [5000]}, "empty"),
        ([1, 2], "not an object"),
    ],
)
def test_masks_that_cannot_be_used(rle: Any, reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        masks.rle(rle, FRAME)


def test_good_rows_go_on_and_bad_ones_are_kept_with_reason_and_line(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image)
    project.box(image, (3, 3, 9, 9))
    project.box("nobody")
    project.box(image, label=99)
    project.box(image, id="d1")
    project.box(image, confidence=2)
    project.mask(image, None, rle=None)
    project.tables["jobs"] = [{"id": "j", "task_id": 99}]
    report = project.ingest()
    assert report.counts["detections"] == 1
    assert report.rejects == {
        "coordinates are larger than 1: fractions of width and height are expected, not pixels": 1,
        "its image is not in the images": 1,
        "its label is not in the labels": 1,
        "the id is there already": 1,
        "confidence: input should be less than or equal to 1": 1,
        "it has neither a polygon nor an RLE mask": 1,
        "its task is not in the tasks": 1,
    }
    lines = {row["reason"]: (row["file"], row["line"]) for row in rows(project, schema.REJECTS)}
    assert lines["its image is not in the images"] == ("detections.ndjson", 3)


@pytest.mark.parametrize(
    "path",
    [
        "../up.jpg",
        "/etc/passwd",
        "a//b.jpg",
        "a/./b.jpg",
        "C:/x.jpg",
        "a\\b.jpg",
        "nul\0.jpg",
        "~/x.jpg",
        "x" * 300,
        "",
    ],
)
def test_hostile_paths_are_rejected(project: Project, path: str) -> None:
    project.image("good.jpg")
    project.image(path)
    report = project.ingest()
    assert [row["file_path"] for row in rows(project, schema.IMAGES)] == ["good.jpg"]
    assert sum(report.rejects.values()) == 1


def test_a_link_out_of_the_images_folder_is_not_followed(project: Project, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    project.file("inside.png")
    secret.write_bytes((project.folder / "images" / "inside.png").read_bytes())
    (project.folder / "images" / "out.png").symlink_to(secret)
    project.image("inside.png")
    project.image("out.png")
    project.ingest()
    found = {row["file_path"]: row["sha256"] is not None for row in rows(project, schema.IMAGES)}
    assert found == {"inside.png": True, "out.png": False}


def test_accents_spelled_in_two_ways_are_one_name(project: Project) -> None:
    project.image("caf\u00e9.png")
    project.image("cafe\u0301.png")
    project.file("cafe\u0301.png")
    report = project.ingest()
    (image,) = rows(project, schema.IMAGES)
    assert image["file_path"] == "caf\u00e9.png"
    assert image["sha256"]
    assert list(report.rejects) == ["the image path differs from another only in how accents are spelled"]


def test_sizes_come_from_headers(project: Project) -> None:
    project.image("unknown.png", size=None)
    project.image("wrong.png", size=(7, 7))
    project.image("nothing.png", size=None)
    project.image("text.png")
    for name in ("unknown.png", "wrong.png"):
        project.file(name, (60, 40))
    (project.folder / "images" / "text.png").write_bytes(b"no image")
    report = project.ingest()
    assert {row["file_path"]: (row["width"], row["height"]) for row in rows(project, schema.IMAGES)} == {
        "unknown.png": (60, 40),
        "wrong.png": (60, 40),
    }
    assert report.rejects == {
        "its size is not known and its file is missing": 1,
        "the image file cannot be read as an image": 1,
    }
    assert [row["correction"] for row in rows(project, schema.CORRECTIONS)] == [
        "declared size differs from the file: the file's is used"
    ]


def test_an_annotation_made_twice_in_two_jobs_is_one(project: Project) -> None:
    first = project.image("1.jpg", 1)
    second = project.image("1.jpg", 2)
    project.tables["tasks"][1]["split"] = "train"
    project.box(first)
    project.box(second)
    project.box(second, (0.3, 0.3, 0.4, 0.4))
    project.ingest()
    assert [row["job_ids"] for row in rows(project, schema.DETECTIONS)] == [["task 1", "task 2"], ["task 2"]]
    assert len(project.export("detection").annotations) == 2
    assert len(project.export("detection", {"tasks": "1"}).annotations) == 1


def test_label_hierarchy_gives_the_supercategory_and_survives_a_loop(project: Project) -> None:
    project.image("1.jpg")
    project.tables["labels"] = [
        {"id": 1, "name": "vehicle"},
        {"id": 2, "name": "car", "parent_id": 1},
        {"id": 3, "name": "taxi", "parent_id": 2},
        {"id": 4, "name": "egg", "parent_id": 5},
        {"id": 5, "name": "hen", "parent_id": 4},
        {"id": 6, "name": "car"},
        {"id": 7, "name": " "},
    ]
    report = project.ingest()
    supers = {row["name"]: row["supercategory"] for row in rows(project, schema.LABELS)}
    assert supers == {"car": "vehicle", "egg": "", "hen": "", "taxi": "vehicle", "vehicle": ""}
    assert report.counts["corrected: the parent label is unknown or the hierarchy has a loop: no parent"] == 2
    assert sum(report.rejects.values()) == 2


def test_csv_and_parquet_say_the_same_as_ndjson(project: Project, tmp_path: Path) -> None:
    image = project.image("1.jpg")
    project.mask(image, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]], attributes={"night": True})
    project.box(image, created_at="2026-01-02T03:04:05+02:00")
    project.ingest()
    expected = [rows(project, table) for table in schema.TABLES]
    for kind in ("csv", "parquet"):
        folder = tmp_path / kind
        folder.mkdir()
        for name, content in project.tables.items():
            flat = [
                {
                    key: orjson.dumps(value).decode() if isinstance(value, list | dict) else value
                    for key, value in row.items()
                }
                for row in content
            ]
            if kind == "parquet":
                pq.write_table(pa.Table.from_pylist(flat), folder / f"{name}.parquet")
            else:
                import csv

                with (folder / f"{name}.csv").open("w", newline="") as file:
                    writer = csv.DictWriter(file, flat[0])
                    writer.writeheader()
                    writer.writerows(flat)
        store = Store.open(str(tmp_path / f"store-{kind}"))
        report = ingest(folder, store, PROJECT, AnnotationsSettings())
        assert not report.rejects
        assert [tables.read(store, table, PROJECT).to_pylist() for table in schema.TABLES] == expected


def test_broken_files_are_refused_or_their_lines_rejected(project: Project) -> None:
    project.image("1.jpg")
    project.write()
    (project.folder / "detections.ndjson").write_text('{"id": 1\n[1]\n\n')
    report = ingest(project.folder, project.store, PROJECT, AnnotationsSettings())
    assert report.rejects == {"the line is not a JSON object": 2}
    (project.folder / "notes.txt").write_text("hello")
    (project.folder / "tags.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"tags\.parquet is not a readable Parquet file"):
        ingest(project.folder, project.store, PROJECT, AnnotationsSettings())
    (project.folder / "tags.parquet").rename(project.folder / "images.csv")
    with pytest.raises(InputError, match="are the same table"):
        ingest(project.folder, project.store, PROJECT, AnnotationsSettings())


def test_a_folder_without_project_says_what_belongs_there(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "coco-only" / "coco").mkdir(parents=True)
    with pytest.raises(InputError, match="no images table"):
        ingest(tmp_path, store, PROJECT, AnnotationsSettings())
    with pytest.raises(InputError, match="instances_<split>"):
        ingest(tmp_path / "coco-only", store, PROJECT, AnnotationsSettings())
    with pytest.raises(InputError, match="does not exist"):
        ingest(tmp_path / "nothing", store, PROJECT, AnnotationsSettings())


def test_nothing_usable_raises_and_leaves_the_last_good_state(project: Project) -> None:
    project.image("1.jpg")
    project.ingest()
    project.tables["images"][0]["file_path"] = "../1.jpg"
    with pytest.raises(InputError, match="no image that can be used"):
        project.ingest()
    assert project.export("detection").paths == ["1.jpg"]


def test_equal_input_gives_equal_tables(project: Project, tmp_path: Path) -> None:
    for number in range(5):
        image = project.image(f"{number}.jpg")
        project.box(image)
        project.tag(image, "light/day")
    first = project.ingest()
    other = Project(tmp_path / "other", Store.open(str(tmp_path / "other-store")))
    other.tables = {
        name: rows[::-1] if name in ("detections", "images") else rows for name, rows in project.tables.items()
    }
    second = other.ingest()
    assert {item.table: item.sha256 for item in first.tables} == {item.table: item.sha256 for item in second.tables}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


def mangled(row: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A row some of whose values are anything, or that is no row at all."""
    fields = {key: st.just(value) | st.just(value) | JSON for key, value in row.items()}
    return st.fixed_dictionaries({}, optional=fields) | JSON


COCO = st.fixed_dictionaries(
    {
        "images": st.lists(
            mangled({"id": 1, "file_name": "1.png", "width": 100, "height": 50, "split": "train"}), max_size=3
        ),
        "annotations": st.lists(
            mangled(
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": [1, 2, 30, 20],
                    "segmentation": [[1, 2, 31, 2, 31, 22]],
                    "area": 300,
                    "iscrowd": 0,
                    "score": 0.5,
                    "keypoints": [],
                    "attributes": {},
                }
            ),
            max_size=4,
        ),
        "categories": st.lists(mangled({"id": 1, "name": "car", "supercategory": "vehicle"}), max_size=2),
    }
)


@given(COCO)
@settings(deadline=None, max_examples=40)
def test_any_coco_file_is_read_or_refused(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "signs", "coco")
        place.mkdir(parents=True)
        (place / "instances_train.json").write_bytes(orjson.dumps(document))
        store = Store.open(f"{folder}/store")
        try:
            report = ingest(place.parent, store, PROJECT, AnnotationsSettings())
        except InputError:
            return
        assert report.counts["images"] > 0


@given(
    st.lists(
        mangled({"id": 1, "image_id": "i1", "label_id": 1, "polygon": [[0, 0], [1, 0], [1, 1]], "rle": None}),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=30)
def test_any_row_is_kept_or_rejected(rows_: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder, "signs"), Store.open(f"{folder}/store"))
        project.image("1.jpg", id="i1")
        project.tables["segmentations"] = rows_
        report = project.ingest()
        assert report.counts["segmentations"] + sum(report.rejects.values()) == len(rows_)


def test_a_damaged_picture_does_not_stop_the_others(project: Project) -> None:
    for name in ("1.jpg", "2.jpg"):
        project.box(project.image(name))
        data = project.file(name, exif=b"Exif\0\0not a block")
    (project.folder / "images" / "2.jpg").write_bytes(data[:-40])
    report = project.ingest()
    assert report.counts["images"] == 2
    assert "contact sheet" in describe(project.store, PROJECT).plots
