"""Rows into tables: every flaw of geometry, names and references has its answer, and each is counted."""

import errno
import hashlib
import math
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotations_project import PROJECT, SERIES, Export, Project, described, noted, read_folder
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask

from sheaf.annotations import schema
from sheaf.annotations.findings import Finding
from sheaf.annotations.readers import geometry, masks
from sheaf.annotations.readers.geometry import Frame, UnusableError
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import RefusedError, StaleError, StoreError
from sheaf.exports.publish import Request
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind
from sheaf.tables.work import Work

FRAME = Frame(100, 50, 100, 50, 1.001)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.mark.parametrize(
    ("corners", "expected", "corrections"),
    [
        ((0.1, 0.2, 0.5, 0.6), (10, 10, 40, 20), []),
        ((0.5, 0.6, 0.1, 0.2), (10, 10, 40, 20), [geometry.SWAPPED]),
        ((-0.1, 0.2, 0.5, 1.0005), (0, 10, 50, 40), [geometry.CLIPPED]),
    ],
)
def test_boxes(corners: tuple[float, ...], expected: tuple[float, ...], corrections: list[Finding]) -> None:
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
    packed: Any = mask.encode(picture)
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
    project.mask(image, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    project.mask(image, None, rle=None)
    project.tables["jobs"] = [{"id": "j", "task_id": 99}]
    made = project.deliver()
    assert made.report.counts["detections"] == 1
    assert noted(made) == {
        "detections not_fractions": 1,
        "detections out_of_range": 1,
        "detections repeated_key": 1,
        "detections unknown_image": 1,
        "detections unknown_label": 1,
        "jobs unknown_task": 1,
        "segmentations no_shape": 1,
    }
    (batch,) = project.current.rejects("records")
    found = {row["code"]: row for row in batch.to_pylist()}
    assert (found["unknown_image"]["file"], found["unknown_image"]["line"]) == ("detections.ndjson", 3)
    assert found["unknown_image"]["reason"] == "its image is not in the images"
    assert found["out_of_range"]["reason"] == "confidence: input should be less than or equal to 1.001"
    assert found["not_fractions"]["primary_key"] == "d2"
    assert made.generation.checks["readable"].passed
    assert not made.generation.checks["rejects"].passed


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
    made = project.deliver()
    assert [row["file_path"] for row in project.rows(schema.IMAGES)] == ["good.jpg"]
    assert noted(made) == {"images unsafe_path" if path else "images no_file_named": 1}


def test_a_link_out_of_the_images_folder_is_not_followed(project: Project, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    project.file("inside.png")
    Image.new("RGB", (3, 3)).save(secret)
    link = project.folder / "images" / "out.png"
    link.symlink_to(secret)
    project.image("inside.png")
    project.image("out.png")
    assert noted(project.deliver()) == {"images no_regular_file": 1}
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    assert [item.path for item in project.store.list("images") if digest in item.path] == []
    link.unlink()
    link.symlink_to("inside.png")
    project.ingest()
    assert {row["file_path"]: row["sha256"] is not None for row in project.rows(schema.IMAGES)} == {
        "inside.png": True,
        "out.png": True,
    }


def test_accents_spelled_in_two_ways_are_one_name(project: Project) -> None:
    project.image("caf\u00e9.png")
    project.image("cafe\u0301.png")
    project.file("cafe\u0301.png")
    made = project.deliver()
    (image,) = project.rows(schema.IMAGES)
    assert image["file_path"] == "caf\u00e9.png"
    assert image["sha256"]
    assert noted(made) == {"images other_spelling": 1}


def test_sizes_come_from_headers(project: Project) -> None:
    project.image("unknown.png", size=None)
    project.image("wrong.png", size=(7, 7))
    project.image("nothing.png", size=None)
    project.image("text.png")
    for name in ("unknown.png", "wrong.png"):
        project.file(name, (60, 40))
    (project.folder / "images" / "text.png").write_bytes(b"no image")
    made = project.deliver()
    assert {row["file_path"]: (row["width"], row["height"]) for row in project.rows(schema.IMAGES)} == {
        "unknown.png": (60, 40),
        "wrong.png": (60, 40),
    }
    assert noted(made) == {"images no_size": 1, "images unreadable_image": 1}
    assert noted(made, Kind.CHANGE) == {"images size_from_file": 1}
    (batch,) = project.current.rejects("records")
    (change,) = (row for row in batch.to_pylist() if row["kind"] == "change")
    assert (change["reason"], change["primary_key"]) == (
        "declared size differs from the file: the file's is used",
        "i2",
    )
    assert made.report.counts["corrected: declared size differs from the file: the file's is used"] == 1


def test_an_annotation_made_twice_in_two_jobs_is_one(project: Project) -> None:
    first = project.image("1.jpg", 1)
    second = project.image("1.jpg", 2)
    project.tables["tasks"][1]["split"] = "train"
    project.box(first)
    project.box(second)
    project.box(second, (0.3, 0.3, 0.4, 0.4))
    project.ingest()
    assert [row["job_ids"] for row in project.rows(schema.DETECTIONS)] == [["task 1", "task 2"], ["task 2"]]
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
    made = project.deliver()
    supers = {row["name"]: row["supercategory"] for row in project.rows(schema.LABELS)}
    assert supers == {"car": "vehicle", "egg": "", "hen": "", "taxi": "vehicle", "vehicle": ""}
    assert made.report.counts["corrected: the parent label is unknown or the hierarchy has a loop: no parent"] == 2
    assert noted(made) == {"labels bad_value": 1}
    assert noted(made, Kind.CHANGE)["labels merged_name"] == 1


def test_csv_and_parquet_say_the_same_as_ndjson(project: Project, tmp_path: Path) -> None:
    image = project.image("1.jpg")
    project.mask(image, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]], attributes={"night": True})
    project.box(image, created_at="2026-01-02T03:04:05+02:00")
    project.ingest()
    expected = [project.rows(table) for table in schema.TABLES]
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
        made = read_folder(folder, store)
        assert not noted(made)
        again = Project(folder, store)
        assert [again.rows(table) for table in schema.TABLES] == expected


def test_broken_files_are_refused_or_their_lines_rejected(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image)
    project.write()
    with (project.folder / "detections.ndjson").open("a") as file:
        file.write('{"id": 1\n[1]\n\n')
    made = read_folder(project.folder, project.store)
    assert noted(made) == {"detections not_json": 1, "detections not_an_object": 1}
    (account,) = (account for account in made.generation.account if account.table == "detections")
    assert (account.seen, account.used) == (3, 1)
    (project.folder / "notes.txt").write_text("hello")
    (project.folder / "tags.parquet").write_bytes(b"no parquet")
    refused = read_folder(project.folder, project.store).generation.refused
    assert "tags.parquet is not a whole Parquet file" in (refused or "")
    (project.folder / "tags.parquet").rename(project.folder / "images.csv")
    assert "are the same table" in (read_folder(project.folder, project.store).generation.refused or "")
    assert len(project.rows(schema.DETECTIONS)) == 1


def test_a_line_with_more_cells_than_the_header_is_rejected(project: Project) -> None:
    project.image("1.jpg")
    project.write()
    (project.folder / "labels.ndjson").unlink()
    (project.folder / "labels.csv").write_text("id,name\n1,car\n2,tree,green\n")
    made = read_folder(project.folder, project.store)
    assert noted(made) == {"labels wrong_width": 1}


def test_a_folder_without_project_says_what_belongs_there(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "coco-only" / "coco").mkdir(parents=True)
    assert "no images table" in (read_folder(tmp_path / "empty", store).generation.refused or "")
    assert "instances_<split>" in (read_folder(tmp_path / "coco-only", store).generation.refused or "")


def test_nothing_usable_is_refused_and_leaves_the_last_good_state(project: Project) -> None:
    project.image("1.jpg")
    project.ingest()
    project.export("detection")
    project.tables["images"][0]["file_path"] = "../1.jpg"
    made = project.deliver()
    assert "no image that can be used: the image path has empty" in (made.generation.refused or "")
    assert [row["file_path"] for row in project.rows(schema.IMAGES)] == ["1.jpg"]
    with pytest.raises(RefusedError, match="no image that can be used"):
        project.export("detection")
    project.tables["images"][0]["file_path"] = "2.jpg"
    project.ingest()
    assert project.export("detection").paths == ["2.jpg"]


def test_a_delivery_all_of_whose_annotations_were_rejected_is_refused(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image)
    project.mask(image, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    project.tables["image_tags"] = [{"image_id": image, "label_id": 1}]
    project.ingest()
    before = {table.name: project.rows(table) for table in schema.TABLES}
    for table in ("detections", "segmentations", "image_tags"):
        for row in project.tables[table]:
            row["image_id"] = "nobody"
    refused = project.deliver().generation
    assert refused.refused == "All 3 annotations were rejected: its image is not in the images"
    assert not refused.checks["readable"].passed
    assert {table.name: project.rows(table) for table in schema.TABLES} == before
    assert project.deliver(accept=True).generation.refused is None, "somebody said yes"


def test_one_kind_of_annotations_may_be_rejected_where_another_is_good(project: Project) -> None:
    """A box without size beside good polygons costs the box, not the night."""
    image = project.image("1.jpg")
    project.box("nobody")
    project.mask(image, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    made = project.deliver().generation
    assert made.refused is None
    assert [(of.table, of.rejected) for of in made.account if of.rejected] == [("detections", 1)]


@pytest.mark.parametrize(
    ("delivered", "lost"),
    [
        ("detections", "detections: 2 → 0"),
        ("image_tags", "image_labels: 1 → 0"),
        ("shared_image_tags", "image_tags: 1 → 0"),
        ("tasks", "tasks: 2 → 0"),
    ],
)
def test_what_would_vanish_altogether_is_kept_until_somebody_says_yes(
    project: Project, delivered: str, lost: str
) -> None:
    image = project.image("1.jpg", None)
    project.box(image)
    project.box(image, (0.3, 0.3, 0.4, 0.4))
    project.tag(image, "light/day")
    project.tables["image_tags"] = [{"image_id": image, "label_id": 1}]
    project.ingest()
    all_of_it, project.tables[delivered] = project.tables[delivered], []
    refused = project.deliver().generation.refused or ""
    assert f"less ({lost})" in refused
    assert "--accept-loss" in refused
    project.tables[delivered] = all_of_it[:1]  # what people curate may become less
    project.ingest()
    project.tables[delivered] = []
    project.ingest(accept=True)


def test_a_limit_that_was_changed_reaches_the_tables_and_the_export(project: Project) -> None:
    image = project.image("1.jpg")
    project.box(image)
    project.box(image, (0.5, 0.2, 1.03, 0.6))
    strict = project.deliver()
    assert noted(strict) == {"detections not_fractions": 1}
    lenient = AnnotationsSettings(normalised_limit=1.05)
    with pytest.raises(StaleError, match=r"normalised_limit was 1.001 and is 1.05"):
        Export(project.store, SERIES["detection"], Request(PROJECT), lenient)
    made = project.deliver(lenient)
    assert not made.unchanged
    found = Export(project.store, SERIES["detection"], Request(PROJECT), lenient)
    assert [row["bbox"] for row in found.annotations] == [[10, 10, 40, 20], [50, 10, 50, 20]]
    assert found.manifest.made_with == {"normalised_limit": 1.05, "drawn_on": "stored"}
    other = lenient.model_copy(update={"images_root": Path("elsewhere")})
    assert project.deliver(other).unchanged


def test_the_same_delivery_is_not_read_again(project: Project) -> None:
    project.box(project.image("1.jpg"))
    project.ingest()
    for path in project.folder.iterdir():
        os.utime(path, (1, 1))
    assert project.deliver().unchanged


def test_equal_input_gives_equal_tables(project: Project, tmp_path: Path) -> None:
    for number in range(5):
        image = project.image(f"{number}.jpg")
        project.box(image)
        project.tag(image, "light/day")
    first = project.deliver().generation
    other = Project(tmp_path / "other", Store.open(str(tmp_path / "other-store")))
    other.tables = {
        name: rows[::-1] if name in ("detections", "images") else rows for name, rows in project.tables.items()
    }
    second = other.deliver().generation
    assert {name: file.sha256 for name, file in first.tables.items()} == {
        name: file.sha256 for name, file in second.tables.items()
    }


def test_every_row_of_a_pool_is_accounted_for(project: Project) -> None:
    project.tables |= {
        "images": [
            {"id": "placed", "shared_image_id": "pool", "task_id": 1},
            {"id": "again", "shared_image_id": "pool", "task_id": 2},
            {"id": "broken 1", "shared_image_id": "broken", "task_id": 1},
            {"id": "broken 2", "shared_image_id": "broken", "task_id": 2},
            {"id": "foreign", "shared_image_id": "foreign", "task_id": 1},
            {"id": "lost", "shared_image_id": "pool", "job_id": "no job"},
        ],
        "shared_images": [
            {"id": "pool", "file_path": "1.png", "width": 100, "height": 50},
            {"id": "lonely", "file_path": "2.png", "width": 100, "height": 50},
            {"id": "twin", "file_path": "2.png"},
            {"id": "broken", "file_path": "3.png"},
            {"id": "foreign", "file_path": "4.png"},
        ],
        "project_images": [
            *({"shared_image_id": key} for key in ("pool", "lonely", "twin", "broken")),
            {"shared_image_id": None},
        ],
        "tag_categories": [{"id": 1, "name": "light"}],
        "tags": [{"id": 1, "name": "day", "category_id": 1}],
        "shared_image_tags": [{"shared_image_id": "pool", "tag_id": 1}, {"image_id": "again", "tag_id": 1}],
        "image_tags": [
            {"image_id": "placed", "label_id": 1},
            {"image_id": "again", "label_id": 1},
            {"image_id": "lonely", "label_id": 9},
        ],
        "keypoints": [{"image_id": "placed"}, {"image_id": "pool"}, {"image_id": "nobody"}],
    }
    project.box("placed")
    project.box("again")
    made = project.deliver()
    account = {
        found.table: (found.seen, found.used, found.rejected, found.left_out) for found in made.generation.account
    }
    assert account == {
        "detections": (2, 1, 0, {"the same in another job of the image": 1}),
        "image_labels": (3, 1, 1, {"given to the image already": 1}),
        "image_tags": (2, 1, 0, {"given to the image already": 1}),
        "images": (6, 2, 4, {}),
        "keypoints": (3, 1, 1, {"on an image that is in no job": 1}),
        "labels": (2, 2, 0, {}),
        "project_images": (5, 4, 1, {}),
        "shared_images": (5, 2, 2, {"in the pool, but not of this project": 1}),
        "tag_categories": (1, 1, 0, {}),
        "tags": (1, 1, 0, {}),
        "tasks": (2, 2, 0, {}),
    }
    assert noted(made)["images no_size"] == 2  # both rows that name the image that cannot be used
    assert noted(made)["images unknown_shared_image"] == 1


def test_another_projects_images_stay_out_where_the_list_of_ours_cannot_be_read(project: Project) -> None:
    project.tables["shared_images"] = [{"id": "pool", "file_path": "1.png", "width": 100, "height": 50}]
    project.tables["project_images"] = [{"shared_image_id": None}]
    assert "no image that can be used" in (project.deliver().generation.refused or "")


def test_a_disk_that_fills_up_between_two_tables_leaves_no_mix(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are renumbered; the boxes that belong to the new numbers do not get written."""
    for name in ("a.jpg", "b.jpg"):
        project.image(name, id=f"{name} id")
    for _ in range(3):
        project.box("a.jpg id")
    project.box("b.jpg id")

    def boxes() -> dict[str, int]:
        document = project.export("detection").coco()
        names = {image["id"]: image["file_name"] for image in document["images"]}
        return dict(Counter(names[row["image_id"]] for row in document["annotations"]))

    project.ingest()
    assert boxes() == {"a.jpg": 3, "b.jpg": 1}
    first, second = project.tables["images"]
    first["file_path"], second["file_path"] = second["file_path"], first["file_path"]
    project.box("a.jpg id", (0.2, 0.2, 0.3, 0.3))
    write = Work.write

    def full(work: Work, table: Any, data: Any) -> Any:
        if table is schema.DETECTIONS:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(work, table, data)

    monkeypatch.setattr(Work, "write", full)
    with pytest.raises(StoreError, match="full"):
        project.deliver()
    assert boxes() == {"a.jpg": 3, "b.jpg": 1}
    monkeypatch.undo()
    project.ingest()
    assert boxes() == {"a.jpg": 1, "b.jpg": 4}


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
@settings(deadline=None, max_examples=15)
def test_any_coco_file_is_read_or_refused(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "signs", "coco")
        place.mkdir(parents=True)
        (place / "instances_train.json").write_bytes(orjson.dumps(document))
        made = read_folder(place.parent, Store.open(f"{folder}/store"))  # whose account adds up
        assert made.generation.refused or made.report.counts["images"] > 0


@given(
    st.lists(
        mangled({"id": 1, "image_id": "i1", "label_id": 1, "polygon": [[0, 0], [1, 0], [1, 1]], "rle": None}),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=12)
def test_any_row_is_kept_or_rejected(rows_: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder, "signs"), Store.open(f"{folder}/store"))
        project.image("1.jpg", id="i1")
        project.tables["segmentations"] = rows_
        made = project.deliver()
        (used,) = (of.used for of in made.generation.account if of.table == "segmentations") if rows_ else (0,)
        assert used + sum(noted(made).values()) == len(rows_)
        assert (made.generation.refused is not None) == (bool(rows_) and not used)


HOSTILE = {
    "tasks": {"id": 1, "name": "a", "split": "train"},
    "jobs": {"id": "j", "task_id": 1, "version": 1},
    "shared_images": {"id": "pool", "file_path": "1.png", "width": 100, "height": 50},
    "project_images": {"shared_image_id": "pool"},
    "images": {"id": "i1", "shared_image_id": "pool", "job_id": "j", "file_path": "1.png", "width": 100, "height": 50},
    "tag_categories": {"id": 1, "name": "light"},
    "tags": {"id": 1, "name": "day", "category_id": 1},
    "shared_image_tags": {"shared_image_id": "pool", "tag_id": 1},
    "labels": {"id": 1, "name": "car", "parent_id": 1},
    "image_tags": {"image_id": "i1", "label_id": 1, "confidence": 0.5},
    "detections": {"id": 1, "image_id": "i1", "label_id": 1, "x_min": 0.1, "y_min": 0.1, "x_max": 0.9, "y_max": 0.9},
    "segmentations": {"id": 1, "image_id": "i1", "label_id": 1, "polygon": [[0, 0], [1, 0], [1, 1]]},
    "keypoints": {"image_id": "i1"},
}


@given(
    st.fixed_dictionaries({name: st.lists(st.just(row) | mangled(row), max_size=3) for name, row in HOSTILE.items()})
)
@settings(deadline=None, max_examples=15)
def test_every_row_of_any_project_is_accounted_for(delivered: dict[str, list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder, "signs"), Store.open(f"{folder}/store"))
        project.tables = delivered
        made = project.deliver()  # whose account adds up
        seen = sum(account.seen for account in made.generation.account)
        assert made.generation.refused or seen == sum(map(len, delivered.values()))


def test_a_damaged_picture_does_not_stop_the_others(project: Project) -> None:
    for name in ("1.jpg", "2.jpg"):
        project.box(project.image(name))
        data = project.file(name, exif=b"Exif\0\0not a block")
    (project.folder / "images" / "2.jpg").write_bytes(data[:-40])
    made = project.deliver()
    assert [row["file_path"] for row in project.rows(schema.IMAGES)] == ["1.jpg"]
    assert noted(made) == {"images damaged_image": 1, "detections unknown_image": 1}
    assert "contact sheet" in described(project.store).report.plots()


def test_keypoints_of_a_server_are_objects(project: Project) -> None:
    project.image("a.jpg", id="i1")
    head, tail = {"name": "head", "x": 0.5, "y": 0.5, "visibility": 1}, {"name": "tail", "x": 0.25, "y": 0.5}
    (label,) = {row["id"] for row in project.tables["labels"][:1]}
    row = {"image_id": "i1", "label_id": label}
    project.tables["keypoints"] = [
        {**row, "id": "k1", "points": [head, tail]},
        {**row, "id": "k2", "points": [tail], "bbox_x_min": 0, "bbox_y_min": 0, "bbox_x_max": 1, "bbox_y_max": 1},
        {**row, "id": "k3", "points": [{"name": "head", "x": "?"}]},
    ]
    assert noted(project.deliver()) == {"keypoints not_keypoints": 1}
    found = project.export("detection").coco()
    image = found["images"][0]
    width, height = image["width"], image["height"]
    one, other = found["annotations"]
    assert one["bbox"] == [width / 4, height / 2 - 0.5, width / 4, 1]
    assert one["keypoints"] == [width / 2, height / 2, 1, width / 4, height / 2, 2]
    assert (other["bbox"], other["keypoints"][:3]) == ([0, 0, width, height], [0, 0, 0])
    assert next(row["keypoints"] for row in found["categories"] if "keypoints" in row) == ["head", "tail"]
