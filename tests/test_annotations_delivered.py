"""What tools and people really deliver: whose data it is, COCO of every habit, pictures that are none."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from annotations_project import PROJECT, SERIES, SETTINGS, Export, Project, described, noted, read_folder
from PIL import Image
from running import current
from typer.testing import CliRunner

import sheaf
from pipelines.cli.main import app
from sheaf.annotations import schema
from sheaf.annotations.domain import ANNOTATIONS
from sheaf.annotations.findings import Finding
from sheaf.annotations.readers.image_files import ImageFacts, look_at
from sheaf.annotations.settings import AnnotationsSettings, ProjectSettings
from sheaf.annotations.writers.splits import suggest_splits
from sheaf.errors import UsageError, VerificationError
from sheaf.exports.publish import Request, preview
from sheaf.outside import child
from sheaf.running import Made
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind, rejected_lines

BOX = {"image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 40]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def coco(*boxes: Any, **more: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": "1.png", "width": 100, "height": 50}
    return {"images": [image], "annotations": list(boxes), "categories": [{"id": 5, "name": "car"}], **more}


def put(path: Path, document: Any, *pictures: str, before: bytes = b"") -> None:
    """A COCO file, and images below the folder of the project."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before + json.dumps(document).encode())
    for name in pictures:
        picture = path.parents[1] / name if path.parent.name != "signs" else path.parent / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50), "red").save(picture)


def counts(made: Made) -> tuple[float, float]:
    assert made.generation.refused is None
    return made.report.counts["images"], made.report.counts["detections"]


def two_projects(project: Project) -> dict[str, list[dict[str, Any]]]:
    """Tables as a dump of a server with two projects has them; 7 is another one's."""
    return {
        "projects": [{"id": 3, "slug": PROJECT}, {"id": 7, "slug": "birds"}],
        "tasks": [{"id": n, "name": "t", "split": "train", "project_id": n} for n in (3, 7)],
        "jobs": [{"id": 10 * n, "task_id": n} for n in (3, 7)],
        "shared_images": [{"id": f"s{n}", "file_path": f"{n}.png", "width": 100, "height": 50} for n in (3, 7)],
        "images": [{"id": f"i{n}", "shared_image_id": f"s{n}", "job_id": 10 * n} for n in (3, 7)],
        "labels": [{"id": n, "name": name, "project_id": n} for n, name in ((3, "car"), (7, "owl"))],
        "tag_categories": [{"id": n, "name": "light", "project_id": n} for n in (3, 7)],
        "tags": [{"id": n, "name": "day", "category_id": n, "project_id": n} for n in (3, 7)],
        "shared_image_tags": [{"shared_image_id": f"s{n}", "tag_id": n, "project_id": n} for n in (3, 7)],
        "image_tags": [{"image_id": f"i{n}", "label_id": n} for n in (3, 7)],
        "detections": [
            {"id": n, "image_id": f"i{n}", "label_id": n, "x_min": 0.1, "y_min": 0.1, "x_max": 0.5, "y_max": 0.5}
            for n in (3, 7)
        ],
    }


def test_only_the_rows_of_the_project_come_in(project: Project) -> None:
    project.tables = two_projects(project)
    made = project.deliver()
    assert made.generation.refused is None
    assert noted(made) == {}
    assert [row["file_path"] for row in project.rows(schema.IMAGES)] == ["3.png"]
    assert [row["name"] for row in project.rows(schema.LABELS)] == ["car"]
    for table in (schema.TASKS, schema.JOBS, schema.TAGS, schema.IMAGE_TAGS, schema.IMAGE_LABELS, schema.DETECTIONS):
        assert len(project.rows(table)) == 1, table.name
    left_out = {account.table: account.left_out for account in made.generation.account}
    assert left_out.pop("detections") == {"of another project": 1}
    assert set(map(str, left_out.values())) == {"{'of another project': 1}"}


def test_tables_of_several_projects_need_to_say_which_is_meant(project: Project) -> None:
    project.tables = two_projects(project)
    del project.tables["projects"]
    refused = project.deliver().generation.refused or ""
    assert "several projects (3, 7): say which is signs by a table projects" in refused
    for rows in project.tables.values():
        rows[:] = [{**row, "project_id": 3} if "project_id" in row else row for row in rows]
    assert project.deliver().generation.refused is None


def test_a_link_among_the_images_costs_that_image_only(project: Project, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        project.box(project.image(name))
        project.file(name)
    secret = tmp_path / "secret.png"
    (project.folder / "images" / "2.png").rename(secret)
    (project.folder / "images" / "2.png").symlink_to(secret)
    made = project.deliver()
    assert noted(made) == {"images no_regular_file": 1, "detections unknown_image": 1}
    assert [row["file_path"] for row in project.rows(schema.IMAGES)] == ["1.png"]
    (project.folder / "images" / "2.png").unlink()
    assert not project.deliver().unchanged


def test_the_counts_have_one_name_everywhere(project: Project) -> None:
    for task in (1, 2, None):
        project.box(project.image(f"{task}.png", task))
    project.ingest()
    found = project.export("detection")
    shown = project.preview("detection")
    expected = {"class_counts": {"car": 2}, "split_counts": {"train": 1, "val": 1, "test": 0, "none": 1}}
    expected |= {"dropped": {"no split": 1}, "image_count": 2, "annotation_count": 2}
    for counted in (found.report, dict(shown.counts), found.manifest.counts):
        assert {name: counted[name] for name in expected} == expected


def test_a_split_that_leaks_is_a_problem_of_the_manifest(project: Project) -> None:
    for name, task in (("1.png", 1), ("2.png", 2)):
        project.box(project.image(name, task))
    data = project.file("1.png")
    (project.folder / "images" / "2.png").write_bytes(data)
    project.ingest()
    (problem,) = project.export("detection", on_leak="warn").manifest.problems
    assert (problem.check, problem.step) == ("splits_disjoint", "records")


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("coco/instances_default.json", "images/1.png"),
        ("coco/instances_train.json", "images/train/1.png"),
        ("annotations/instances_train2017.json", "images/train2017/1.png"),
        ("annotations/instances_train2017.json", "train2017/1.png"),
        ("instances_train.json", "train/1.png"),
        ("train/_annotations.coco.json", "train/1.png"),
        ("labels.json", "data/1.png"),
        ("result.json", "images/1.png"),
    ],
)
def test_coco_is_found_where_tools_put_it(store: Store, tmp_path: Path, path: str, images: str) -> None:
    put(tmp_path / "signs" / path, coco({"id": 1, **BOX}), images)
    made = read_folder(tmp_path / "signs", store)
    assert counts(made) == (1, 1)
    (row,) = current(store, ANNOTATIONS, PROJECT).read(schema.IMAGES).to_pylist()
    assert (row["file_path"], row["sha256"] is not None) == ("1.png", True)


@pytest.mark.case("annotations/doubled-annotation-ids")
@pytest.mark.case("annotations/label-studio-windows-paths")
@pytest.mark.case("annotations/no-annotation-ids")
@pytest.mark.case("annotations/root-class-named-like-child")
@pytest.mark.parametrize(
    ("document", "changes"),
    [
        (coco({**BOX}, {**BOX}), {"detections id_given": 2}),
        (coco({"id": 1, **BOX}, {"id": 1, **BOX}), {"detections id_given": 1}),
        (coco({"id": "a", **BOX, "image_id": 1.0}, {"id": 2.0, **BOX, "category_id": "5"}), {}),
        (coco({"id": 1, **BOX, "score": 1.0000001}, {"id": 2, **BOX}), {"detections confidence_above_1": 1}),
        (
            coco({"id": 1, **BOX}, {"id": 2, **BOX}, images=[{"id": "1", "file_name": ".\\images\\1.png"}]),
            {"images slashes": 1},
        ),
        (
            coco({"id": 1, **BOX}, {"id": 2, **BOX, "category_id": 0},
                 categories=[{"id": 0, "name": "car", "supercategory": "none"}, {"id": 5, "name": "car"}]),
            {"labels merged_name": 1},
        ),
    ],
)  # fmt: skip
def test_habits_of_tools_are_read_and_noted(
    store: Store, tmp_path: Path, document: dict[str, Any], changes: dict[str, int]
) -> None:
    put(tmp_path / "signs" / "coco" / "instances_train.json", document, "images/1.png", before=b"\xef\xbb\xbf")
    made = read_folder(tmp_path / "signs", store)
    assert counts(made) == (1, 2)
    assert noted(made) == {}
    assert noted(made, Kind.CHANGE) == changes
    found = Export(store, SERIES["detection"], Request(PROJECT))
    assert len({row["id"] for row in found.annotations}) == 2
    assert [row["name"] for row in found.coco()["categories"]] == ["car"]


def test_boxes_of_an_id_that_two_images_have_are_of_neither(store: Store, tmp_path: Path) -> None:
    document = coco(
        {"id": 1, **BOX}, {"id": 2, **BOX, "image_id": 2}, {"id": 3, **BOX, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    )
    image = document["images"][0]
    document["images"] += [{**image, "file_name": "2.png"}, {**image, "id": 2, "file_name": "3.png"}]
    put(tmp_path / "signs" / "coco" / "instances_train.json", document)
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {
        "images ambiguous_id": 2,
        "detections ambiguous_image": 2,
        "segmentations ambiguous_image": 1,
    }
    assert Export(store, SERIES["detection"], Request(PROJECT)).paths == ["3.png"]
    document["images"][1]["file_name"] = "1.png"  # the same image twice is one
    put(tmp_path / "signs" / "coco" / "instances_train.json", document)
    assert noted(read_folder(tmp_path / "signs", store)) == {"images repeated_key": 1}


@pytest.mark.parametrize("path", ["C:\\data\\a\\1.png", "/home/me/a/1.png", "\\\\server\\share\\1.png", "~/a/1.png"])
def test_files_of_another_machine_are_found_by_the_end_of_their_path(store: Store, tmp_path: Path, path: str) -> None:
    document = coco({"id": 1, **BOX}, {"id": 2, **BOX, "image_id": 2})
    document["images"].append({**document["images"][0], "id": 2, "file_name": "D:/other/gone.png"})
    document["images"][0]["file_name"] = path
    put(tmp_path / "signs" / "coco" / "instances_train.json", document, "images/train/1.png")
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {}
    assert noted(made, Kind.CHANGE)["images absolute_path"] == 2
    gone, found = current(store, ANNOTATIONS, PROJECT).read(schema.IMAGES).to_pylist()[::-1]
    assert (found["file_path"], found["sha256"] is not None) == ("1.png", True)
    assert (gone["file_path"], gone["sha256"]) == ("other/gone.png", None)


def test_two_paths_of_another_machine_are_not_one_file(store: Store, tmp_path: Path) -> None:
    document = coco()
    document["images"] = [{**document["images"][0], "id": n, "file_name": f"C:\\{n}\\1.png"} for n in (1, 2)]
    put(tmp_path / "signs" / "coco" / "instances_train.json", document, "images/1.png")
    read_folder(tmp_path / "signs", store)
    rows = current(store, ANNOTATIONS, PROJECT).read(schema.IMAGES).to_pylist()
    assert [(row["file_path"], row["sha256"]) for row in rows] == [("1/1.png", None), ("2/1.png", None)]


def test_a_table_that_may_be_cut_off_is_told_in_the_line_of_the_run(project: Project) -> None:
    project.box(project.image("1.png"))
    project.write()
    (project.folder / "detections.ndjson").unlink()
    table = project.folder / "detections.csv"
    table.write_text("id,image_id,label_id,x_min,y_min,x_max,y_max\nd1,i1,1,0.1,0.2,0.5,0.6")
    made = read_folder(project.folder, project.store)
    (line,) = rejected_lines("annotations", PROJECT, made.generation.account)
    assert line.startswith("detections: The last line has no line end: if the file was cut off, ")
    assert line.endswith("sheaf rejects annotations signs --all")
    assert line in Export(project.store, SERIES["detection"], Request(PROJECT)).manifest.warnings


def test_keypoints_without_a_box_get_the_box_that_spans_them(store: Store, tmp_path: Path) -> None:
    points = {
        "id": 1,
        "image_id": 1,
        "category_id": 5,
        "keypoints": [10, 20, 2, 30, 24, 1, 0, 0, 0],
        "num_keypoints": 2,
    }
    one = {"id": 2, "image_id": 1, "category_id": 5, "keypoints": [50, 20, 2]}
    none = {"id": 3, "image_id": 1, "category_id": 5, "keypoints": [0, 0, 0]}
    put(tmp_path / "signs" / "coco" / "instances_train.json", coco(points, one, none))
    made = read_folder(tmp_path / "signs", store)
    assert noted(made) == {"detections missing_value": 1}
    assert noted(made, Kind.CHANGE) == {"detections box_of_keypoints": 3}
    rows = Export(store, SERIES["detection"], Request(PROJECT)).annotations
    assert [(row["bbox"], row["keypoints"]) for row in rows] == [
        ([10, 20, 20, 4], points["keypoints"]),
        ([49.5, 19.5, 1, 1], one["keypoints"]),
    ]


def test_a_test_file_without_annotations_is_images_only(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "signs" / "coco" / "instances_train.json", coco({"id": 1, **BOX}))
    put(
        tmp_path / "signs" / "coco" / "instances_test.json",
        {"images": [{"id": 1, "file_name": "t.png", "width": 9, "height": 9}]},
    )
    made = read_folder(tmp_path / "signs", store)
    assert counts(made) == (2, 1)
    assert Export(store, SERIES["detection"], Request(PROJECT)).report["split_counts"]["test"] == 1


def test_what_is_refused_is_named_in_the_words_of_the_field(store: Store, tmp_path: Path) -> None:
    wrong = [{"id": 1, **BOX, "bbox": [1, 2]}, {"id": 2, **BOX, "category_id": None}, {"id": 3, **BOX, "score": 7}]
    put(tmp_path / "signs" / "coco" / "instances_train.json", coco({"id": 4, **BOX}, *wrong))
    read_folder(tmp_path / "signs", store)
    (batch,) = current(store, ANNOTATIONS, PROJECT).rejects("records")
    found = [(row["file"], row["line"], row["reason"].split(":")[0]) for row in batch.to_pylist()]
    name = "instances_train.json"
    assert found == [(name, 2, "bbox"), (name, 3, "category_id"), (name, 4, "score")]


@pytest.mark.case("annotations/coco-licences-lost")
def test_what_sheaf_has_no_column_for_comes_back(store: Store, tmp_path: Path) -> None:
    more = {"caption": "walks", "track_id": 7, "keypoints": [6, 7, 2, 0, 0, 0], "num_keypoints": 1}
    document = coco(
        {"id": 31, **BOX, **more, "attributes": {"occluded": True}}, info={"description": "Signs", "year": 2025}
    )
    document["licenses"] = [{"id": 4, "name": "CC BY 2.0", "url": "https://example.org/by"}]
    document["images"][0] |= {"id": 71, "license": 4, "coco_url": "https://example.org/1.png", "date_captured": "2025"}
    document["annotations"][0]["image_id"] = 71
    document["categories"][0] |= {"keypoints": ["head", "tail"], "skeleton": [[1, 2]], "supercategory": "thing"}
    put(tmp_path / "signs" / "coco" / "instances_train.json", document)
    other = coco(licenses=[{"id": 4, "name": "CC0", "url": "https://example.org/0"}], categories=document["categories"])
    other["images"][0] |= {"file_name": "2.png", "license": 4}
    put(tmp_path / "signs" / "coco" / "instances_val.json", other)
    read_folder(tmp_path / "signs", store)
    found = Export(store, SERIES["detection"], Request(PROJECT))
    train, val = found.coco("train"), found.coco("val")
    assert train["info"] == document["info"]
    assert train["images"] == document["images"]
    assert [{**row, "area": None, "iscrowd": None} for row in train["annotations"]] == [
        {**document["annotations"][0], "category_id": 1, "area": None, "iscrowd": None}
    ]
    assert train["categories"] == [{**document["categories"][0], "id": 1}]
    names = {row["id"]: row["name"] for row in val["licenses"]}
    assert names[train["images"][0]["license"]] == "CC BY 2.0"
    assert names[val["images"][0]["license"]] == "CC0"


@pytest.mark.case("annotations/image-formats")
def test_every_picture_is_decoded_before_it_is_used(project: Project) -> None:
    whole = project.file("whole.jpg", (400, 300), quality=95)
    for name in ("whole.jpg", "cut.jpg", "text.jpg"):
        project.image(name, size=None)
    (project.folder / "images" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (project.folder / "images" / "text.jpg").write_bytes(b"no picture")
    for name, mode in (("cmyk.jpg", "CMYK"), ("deep.png", "I;16"), ("still.webp", "RGB")):
        project.image(name, size=None)
        Image.new(mode, (40, 30)).save(project.folder / "images" / name)
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    project.image("moving.gif", size=None)
    frames[0].save(project.folder / "images" / "moving.gif", save_all=True, append_images=frames[1:])
    made = project.deliver()
    assert noted(made) == {"images damaged_image": 1, "images unreadable_image": 1}
    assert noted(made, Kind.FAULT) == {
        "images image_cmyk": 1,
        "images image_depth": 1,
        "images image_format": 2,
        "images image_frames": 1,
    }


def test_a_picture_that_kills_its_decoder_costs_only_itself(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("RGB", (100, 50)).save(path)
    Image.new("L", (9000, 9000)).save(paths[1])
    first, second, third = look_at(paths, memory=160 * 1024 * 1024)
    assert isinstance(first, ImageFacts)
    assert isinstance(second, Finding)
    assert second.code in ("too_many_pixels", "damaged_image")
    assert isinstance(third, ImageFacts)
    (late,) = look_at(paths[:1], memory=child.MEMORY + 1, seconds=0.0)  # of a child that has still to start
    assert isinstance(late, Finding)
    assert "too long" in late.sentence


def test_a_large_picture_is_read(project: Project) -> None:
    project.image("large.png", size=None)
    (project.folder / "images").mkdir(parents=True)
    Image.new("1", (20_000, 18_500)).save(project.folder / "images" / "large.png")
    made = project.deliver()
    assert noted(made) == {}
    assert noted(made, Kind.FAULT) == {"images image_not_decoded": 1}
    assert project.rows(schema.IMAGES)[0]["width"] == 20_000


def test_names_that_windows_cannot_unpack_are_made_safe(project: Project) -> None:
    for name in ("con.png", "a/nul.tar.png", "b?.png", "dot./x.png"):
        project.image(name)
        project.file(name)
    project.ingest()
    found = project.export("detection", include_images=True)
    assert found.paths == ["a/nul_.tar.png", "b%3F.png", "con_.png", "dot%2E/x.png"]
    assert all(f"images/train/{path}" in found.names for path in found.paths)


def test_ids_stay_over_any_edits(project: Project) -> None:  # noqa: C901 - the edits are the test
    import random

    chance = random.Random(5)
    known: dict[Any, int] = {}
    for number in range(6):
        project.box(project.image(f"{number}.jpg"), id=f"first{number}")
    for step in range(20):
        images, boxes, labels = (project.tables[name] for name in ("images", "detections", "labels"))
        match chance.choice(["image", "box", "label", "rename", "gone", "box gone", "label gone", "moved"]):
            case "image":
                project.image(f"{chance.random()}.jpg", id=f"new{step}")
            case "box":
                project.box(chance.choice(images)["id"], id=f"box{step}", label=labels[-1]["id"])
            case "label":
                labels.append({"id": 100 + step, "name": f"a{chance.random()}"})
            case "rename":
                known.pop(("label", labels[0]["name"]), None)
                labels[0]["name"] = f"renamed{step}"
            case "gone":
                gone = images.pop(0)["id"]
                boxes[:] = [box for box in boxes if box["image_id"] != gone]
            case "box gone":
                boxes.pop()
            case "label gone" if len(labels) > 2:
                gone = labels.pop(1)["id"]
                boxes[:] = [box for box in boxes if box["label_id"] != gone]
            case _:
                boxes[-1]["x_min"] = 0.05
        project.ingest(accept=True)
        found = {("label", row["name"]): row["number"] for row in project.rows(schema.LABELS)}
        found |= {("image", row["file_path"]): row["number"] for row in project.rows(schema.IMAGES)}
        found |= {("box", row["detection_id"]): row["number"] for row in project.rows(schema.DETECTIONS)}
        for key, number in found.items():
            assert known.setdefault(key, number) == number
        for kind in ("label", "image", "box"):
            used = [number for (of, _), number in known.items() if of == kind]
            assert len(set(used)) == len(used), "a number was given to another"
    document = project.export("detection").coco()
    assert {image["file_name"]: image["id"] for image in document["images"]}.items() <= {
        name: number for (kind, name), number in known.items() if kind == "image"
    }.items()


def test_a_renamed_label_keeps_its_number(project: Project) -> None:
    project.box(project.image("1.jpg"), label=2)
    project.ingest()
    project.tables["labels"][1]["name"] = "bush"
    project.tables["labels"].insert(0, {"id": 9, "name": "aspen"})
    project.ingest()
    found = project.export("detection")
    assert {row["name"]: row["id"] for row in found.coco()["categories"]} == {"car": 1, "bush": 2, "aspen": 3}
    assert found.annotations[0]["category_id"] == 2


@pytest.mark.case("annotations/two-tags")
@pytest.mark.case("front-door/coco-latest-no-images")
def test_what_latest_holds_stands_in_the_settings(project: Project) -> None:
    settings = AnnotationsSettings(
        projects={PROJECT: ProjectSettings(canonical={"detection": {"include_images": True}})}
    )
    project.box(project.image("1.jpg"))
    project.file("1.jpg")
    project.deliver(settings)
    found = Export(project.store, SERIES["detection"], Request(PROJECT), settings)
    assert "images/train/1.jpg" in found.names
    assert found.manifest.canonical
    plain = Export(project.store, SERIES["detection"], Request(PROJECT, None, {"include_images": False}), settings)
    (entry,) = plain.coco()["images"]
    opened = sheaf.open(str(plain.published.export), project.store.url)
    assert opened.image(entry["store_path"]) == found.zip.read("images/train/1.jpg")
    with pytest.raises(UsageError, match="is no image of annotations"):
        opened.image(f"{opened.name}/manifest.json")
    project.store.put(entry["store_path"], b"another image")
    with pytest.raises(VerificationError, match="differs from the image that was annotated"):
        opened.image(entry["store_path"])


def test_images_without_a_split_can_be_asked_for_alone(project: Project) -> None:
    project.box(project.image("1.jpg", None))
    project.ingest()
    assert project.export("detection", include_unassigned=True).coco(None)["images"][0]["split"] is None
    project.tables["splits"] = [{"file_path": "1.jpg", "split": "val"}, {"file_path": "no.jpg", "split": "val"}]
    made = project.deliver()
    assert noted(made) == {"splits unknown_image": 1}
    assert len(project.export("detection").coco("val")["images"]) == 1


def test_preview_of_nothing_asked_for_is_the_same(project: Project) -> None:
    project.box(project.image("1.jpg"))
    project.ingest()
    assert preview(project.store, ANNOTATIONS, SERIES["detection"], Request(PROJECT), SETTINGS).record_count == 1
    assert orjson.loads(project.export("detection").zip.read("report.json"))["image_count"] == 1


def scene(shade: int) -> Image.Image:
    """A picture with something in it, other for each number."""
    picture = Image.new("L", (90, 80))
    for place in range(72):
        level = (place * place * (shade + 3) + place * 31 * shade) % 200
        picture.paste(level + 20, (place % 9 * 10, place // 9 * 10, place % 9 * 10 + 10, place // 9 * 10 + 10))
    return picture


def test_nearly_the_same_pictures_are_seen_and_stay_together(project: Project) -> None:
    for number in range(6):
        project.image(f"{number}.jpg", 1 + number % 2, size=None)
        (project.folder / "images").mkdir(parents=True, exist_ok=True)
        scene(number).save(project.folder / "images" / f"{number}.jpg", quality=95)
    scene(0).resize((180, 160)).save(project.folder / "images" / "1.jpg", quality=40)
    project.ingest()
    assert "2 images are nearly the same picture as one in another split." in described(project.store).report.warnings
    found = suggest_splits(project.current, {"train": 1, "val": 1})
    assert found["0.jpg"] == found["1.jpg"]
    assert set(found.values()) == {"train", "val"}


def test_a_proposed_split_is_kept_and_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    store = Store.open(str(tmp_path / "store"))
    images = [{"id": n, "file_name": f"{n % 4}/{n}.png", "width": 100, "height": 50} for n in range(40)]
    boxes = [{"id": n, **BOX, "image_id": n} for n in range(40)]
    path, splits = tmp_path / "signs" / "coco" / "instances_default.json", tmp_path / "signs" / "splits.csv"
    put(path, coco(*boxes[:30], images=images[:30]))
    assert noted(read_folder(tmp_path / "signs", store)) == {}
    command = ["splits", "suggest", PROJECT, "--group-by", "folder", "--shares", "train=2,val=1,test=1"]
    result = CliRunner().invoke(app, [*command, "--output", str(splits)])
    assert result.exit_code == 0, result.output
    rows = dict(line.split(",") for line in splits.read_text().splitlines()[1:])
    assert len({(name.split("/")[0], split) for name, split in rows.items()}) == 4, "a folder stays together"
    assert set(rows.values()) == {"train", "val", "test"}
    put(path, coco(*boxes, images=images))
    read_folder(tmp_path / "signs", store)
    assert len(Export(store, SERIES["detection"], Request(PROJECT)).paths) == 30
    assert CliRunner().invoke(app, [*command, "--output", str(splits)]).exit_code == 0
    later = dict(line.split(",") for line in splits.read_text().splitlines()[1:])
    assert len(later) == 40
    assert rows.items() <= later.items()
    wrong = CliRunner().invoke(app, ["splits", "suggest", PROJECT, "--shares", "train"])
    assert "'train' is no share" in str(wrong.exception)


@pytest.mark.case("annotations/cvat-instances-default")
@pytest.mark.parametrize(
    "names",
    [
        ["coco/instances_default.json"],
        ["annotations/instances_default.json"],
        ["_annotations.coco.json"],
        ["annotations/_annotations.coco.json"],
        ["coco/instances_first.json", "coco/instances_second.json"],
    ],
)
def test_a_dataset_of_a_tool_without_splits_is_one_file(tmp_path: Path, store: Store, names: list[str]) -> None:
    folder = tmp_path / "signs"
    for number, name in enumerate(names):
        document = coco(BOX)
        document["images"][0]["file_name"] = f"{number}.png"
        put(folder / name, document, f"images/{number}.png")
    read_folder(folder, store)
    whole = Export(store, SERIES["detection"], Request("signs"))
    assert len(whole.coco(None)["images"]) == len(whole.coco(None)["annotations"]) == len(names)
    assert "instances_train.json" in whole.manifest.warnings[0]
    assert whole.manifest.canonical
    (folder / "splits.csv").write_text("file_path,split\n0.png,train\n")
    read_folder(folder, store)  # now splits are known: what has none is left out
    found = Export(store, SERIES["detection"], Request("signs"))
    assert found.paths == ["0.png"]
    assert found.report["dropped"] == ({"no split": 1} if len(names) > 1 else {})
