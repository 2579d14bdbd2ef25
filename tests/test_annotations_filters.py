"""Which images an export holds: the filter's truth table, splits, missing files, leaks."""

import random
from pathlib import Path
from typing import Any

import pytest
from annotations_project import Project

from sheaf.errors import InputError, UsageError, VerificationError
from sheaf.store.store import Store


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.fixture
def tagged(project: Project) -> Project:
    """Six images: two red, one blue, one both, two neither."""
    for name, tags in (("1", "r"), ("2", "r"), ("3", "b"), ("4", "rb"), ("5", ""), ("6", "")):
        image = project.image(f"{name}.jpg")
        project.tag(image, *(f"colour/{ {'r': 'red', 'b': 'blue'}[tag] }" for tag in tags))
    project.ingest()
    return project


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"include_tags": "colour/red,colour/blue"}, "1234"),
        ({"include_tags": "colour/red,colour/blue", "include_match": "all"}, "4"),
        ({"exclude_tags": "colour/red,colour/blue"}, "56"),
        ({"exclude_tags": ["colour/red", "colour/blue"], "exclude_match": "all"}, "12356"),
        ({"include_tags": "colour/red", "exclude_tags": "colour/blue"}, "12"),
        ({}, "123456"),
    ],
)
def test_tags_include_and_exclude(tagged: Project, filter_: dict[str, str], expected: str) -> None:
    assert tagged.export("detection", filter_).paths == [f"{name}.jpg" for name in expected]


def test_nothing_matched_fails_and_publishes_nothing(tagged: Project) -> None:
    filter_ = {"include_tags": "colour/red", "search": "no such file"}
    for ask in (tagged.export, tagged.preview):
        with pytest.raises(InputError, match="No image of signs matches"):
            ask("detection", filter_)
    assert not [item.path for item in tagged.store.list("exports") if item.path.endswith(".zip")]


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ({"include_tags": "colour/green"}, "no tag 'colour/green': there are colour/blue, colour/red"),
        ({"tasks": "9"}, "no task '9'"),
        ({"job": "9"}, "no job '9'"),
        ({"colour": "red"}, "Unknown filter 'colour'"),
        ({"width_min": "wide"}, "width_min"),
    ],
)
def test_unknown_names_are_usage_errors_before_a_version_is_taken(
    tagged: Project, filter_: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tagged.export("detection", filter_)
    assert not list(tagged.store.list("exports"))


@pytest.fixture
def varied(project: Project) -> Project:
    """Images of several folders, sizes and numbers of annotations, in two tasks."""
    a = project.image("a/One.jpg", 1, size=(100, 50))
    ab = project.image("ab/two.jpg", 1, size=(200, 100))
    project.image("a/b/three_%.png", 2, size=(50, 100))
    dup = project.image("dup/one.jpg", 2, size=(100, 100))
    project.box(a)
    project.box(a, (0.2, 0.2, 0.9, 0.9))
    project.mask(ab, [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    project.tables["image_tags"] = [{"image_id": dup, "label_id": 2}]
    project.file("a/One.jpg")
    project.ingest()
    return project


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"path": "a"}, ["a/One.jpg", "a/b/three_%.png"]),
        ({"path": "a/b,ab/"}, ["a/b/three_%.png", "ab/two.jpg"]),
        ({"search": "ONE"}, ["a/One.jpg", "dup/one.jpg"]),
        ({"search": "dup", "path": "a"}, None),
        ({"search": "_%"}, ["a/b/three_%.png"]),
        ({"glob": "A/*.jpg"}, ["a/One.jpg"]),
        ({"width_min": 100, "width_max": 100}, ["a/One.jpg", "dup/one.jpg"]),
        ({"height_min": 0, "height_max": 50}, ["a/One.jpg"]),
        ({"aspect_ratio_min": "2", "aspect_ratio_max": "2"}, ["a/One.jpg", "ab/two.jpg"]),
        ({"file_size_min": 0}, ["a/One.jpg"]),
        ({"bbox_count_min": 1}, ["a/One.jpg"]),
        ({"bbox_count_max": 0, "polygon_count_max": 0}, ["a/b/three_%.png", "dup/one.jpg"]),
        ({"polygon_count_min": 1}, ["ab/two.jpg"]),
        ({"annotated": "true"}, ["a/One.jpg", "ab/two.jpg", "dup/one.jpg"]),
        ({"annotated": "false"}, ["a/b/three_%.png"]),
        ({"tasks": "2"}, ["a/b/three_%.png", "dup/one.jpg"]),
        ({"job": "task 1", "tasks": "2"}, ["a/One.jpg", "ab/two.jpg"]),
    ],
)
def test_each_family(varied: Project, filter_: dict[str, Any], expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match="No image"):
            varied.export("detection", filter_)
    else:
        assert varied.export("detection", filter_).paths == sorted(expected)


def test_preview_summary_report_and_files_agree_for_random_filters(tmp_path: Path) -> None:
    project = Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))
    rng = random.Random(4)
    for number in range(40):
        image = project.image(
            f"{rng.choice('abc')}/{number:02}.jpg", rng.choice((1, 2)), size=(rng.randint(20, 90), 50)
        )
        project.tag(image, f"light/{rng.choice(('day', 'night'))}", *(["extra/wet"] if rng.random() < 0.3 else []))
        for _ in range(rng.randint(0, 3)):
            project.box(image, label=rng.choice((1, 2)))
            project.mask(image, [[0.1, 0.1], [0.9, 0.2], [0.4, 0.8]], label=rng.choice((1, 2)))
    project.ingest()
    keys: dict[str, list[Any]] = {
        "include_tags": ["light/day", "light/night,extra/wet"],
        "exclude_tags": ["extra/wet"],
        "path": ["a", "b,c"],
        "width_min": [30, 50],
        "annotated": ["true", "false"],
        "bbox_count_max": [1, 2],
        "tasks": ["1", "2", "1,2"],
    }
    for _ in range(20):
        filter_ = {key: rng.choice(keys[key]) for key in rng.sample(sorted(keys), 2)}
        for series in ("classification", "detection", "segmentation"):
            options = {"category": "light"} if series == "classification" else {}
            try:
                expected = project.preview(series, filter_, **options)
            except InputError:
                with pytest.raises(InputError):
                    project.export(series, filter_, **options)
                continue
            export = project.export(series, filter_, **options)
            assert export.manifest.counts == expected.counts
            assert export.manifest.warnings == list(expected.warnings) == export.report["warnings"]
            assert export.report["image_count"] == expected.record_count
            if series == "classification":
                assert len(export.manifest_rows) - 1 == expected.record_count
            else:
                assert len(export.paths) == expected.record_count
                assert len(export.annotations) == expected.counts["annotation_count"]
                assert sum(export.report["class_counts"].values()) == len(export.annotations)
            assert sum(export.report["split_counts"].values()) == expected.record_count


def test_images_without_split_are_left_out_and_counted(project: Project) -> None:
    project.tables["tasks"].append({"id": 3, "name": "c", "split": None})
    project.image("1.jpg", 1)
    project.image("2.jpg", 3)
    project.image("3.jpg", None)
    project.ingest()
    export = project.export("detection")
    assert export.paths == ["1.jpg"]
    assert export.report["dropped"] == {"no split": 2}
    assert export.report["split_counts"] == {"train": 1, "val": 0, "test": 0, "none": 2}
    whole = project.export("detection", splits="single", include_unassigned=True)
    assert {image["file_name"]: image["split"] for image in whole.coco(None)["images"]} == {
        "1.jpg": "train",
        "2.jpg": None,
        "3.jpg": None,
    }
    with pytest.raises(UsageError, match="needs splits=single"):
        project.export("detection", include_unassigned=True, splits="per_file")


def test_a_project_without_any_split_says_what_to_do(project: Project) -> None:
    project.image("1.jpg", None)
    project.ingest()
    with pytest.raises(InputError, match="include_unassigned=true"):
        project.export("detection")


def test_an_image_in_two_splits_is_an_error_unless_decided(project: Project) -> None:
    project.image("1.jpg", 1)
    project.image("2.jpg", 1)
    project.image("2.jpg", 2)
    project.ingest()
    with pytest.raises(InputError, match=r"tasks of different splits, such as 2\.jpg"):
        project.export("detection")
    left_out = project.export("detection", on_split_conflict="exclude")
    assert left_out.paths == ["1.jpg"]
    assert left_out.report["dropped"] == {"in tasks of different splits": 1}
    decided = project.export("detection", on_split_conflict="test>val>train")
    assert [image["file_name"] for image in decided.coco("val")["images"]] == ["2.jpg"]
    assert project.export("detection", {"tasks": "1"}).paths == ["1.jpg", "2.jpg"]


def test_the_same_bytes_in_two_splits_fail(project: Project) -> None:
    project.image("1.png", 1)
    project.image("copy.png", 2)
    data = project.file("1.png")
    (project.folder / "images" / "copy.png").write_bytes(data)
    project.ingest()
    for series in ("detection", "segmentation"):
        with pytest.raises(VerificationError, match=r"such as 1\.png and copy\.png"):
            project.export(series)
    warned = project.export("detection", on_leak="warn")
    assert any("same bytes" in warning for warning in warned.report["warnings"])


def test_missing_files_fail_or_are_listed(project: Project) -> None:
    project.image("1.png", 1)
    project.image("gone.png", 1)
    project.file("1.png")
    report = project.ingest()
    assert report.counts["images_without_file"] == 1
    assert project.export("detection").paths == ["1.png", "gone.png"]
    with pytest.raises(InputError, match=r"such as gone\.png"):
        project.export("detection", include_images=True)
    skipped = project.export("detection", include_images=True, on_missing="skip")
    assert skipped.paths == ["1.png"]
    assert skipped.report["missing_images"] == ["gone.png"]
    assert skipped.report["dropped"] == {"image file is missing": 1}
    assert "images/train/1.png" in skipped.names
