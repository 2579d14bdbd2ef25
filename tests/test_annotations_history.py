"""Exports as of an earlier time or job version, the comparison of two exports, splits and the overview."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from annotations_project import PROJECT, SETTINGS, Project, described, noted, read_folder
from running import current

from sheaf import clock
from sheaf.annotations import schema
from sheaf.annotations.checks import splits_disjoint
from sheaf.annotations.domain import ANNOTATIONS
from sheaf.annotations.overview import classification_options, describe
from sheaf.annotations.sample import project as sample_project
from sheaf.annotations.writers.diff import diff_annotations
from sheaf.annotations.writers.splits import split_statistics, suggest_splits
from sheaf.errors import NotFoundError, UsageError
from sheaf.report import Report
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.fixture
def grown(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Three ingests, a day apart; a box more each time, and the image's bytes change at the second."""
    project.tables["jobs"] = [{"id": "j", "task_id": 1, "version": 1}]
    image = project.image("1.png", None, job_id="j")
    for day in range(3):
        monkeypatch.setattr(clock, "now", lambda day=day: START + timedelta(days=day))
        project.tables["jobs"][0]["version"] = day + 1
        project.file("1.png", compress_level=0 if day else 9)
        project.box(image, (0.1, 0.1, 0.2 + day / 10, 0.9))
        project.ingest()
        monkeypatch.setattr(clock, "now", lambda day=day: START + timedelta(days=day, hours=1))
        assert project.deliver().unchanged  # so there is no further state
    return project


@pytest.mark.parametrize(
    ("value", "boxes"),
    [
        ("2026-03-01T12:00:00Z", 1),
        ("2026-03-02T11:59:59", 1),
        ("2026-03-02T14:00:00+02:00", 2),
        ("2030-01-01", 3),
    ],
)
def test_as_of_a_time(grown: Project, value: str, boxes: int) -> None:
    found = grown.export("detection", version_mode="timestamp", version_value=value, include_images=True)
    assert len(found.annotations) == boxes
    assert found.report["snapshot"].startswith(f"2026-03-0{boxes}T12:00:00")
    newest = grown.export("detection", include_images=True)
    same_bytes = found.zip.read("images/train/1.png") == newest.zip.read("images/train/1.png")
    assert same_bytes is (boxes > 1)


def test_unavailable_times_and_versions_fail_before_a_version_is_taken(grown: Project) -> None:
    for filter_, mode, value, message in (
        ({}, "timestamp", "2026-02-28", "no snapshot as old as 2026-02-28"),
        ({}, "timestamp", "yesterday", "must be a time"),
        ({}, "timestamp", None, "must be a time"),
        ({"job": "j"}, "job_version", "7", "there are 1, 2, 3"),
        ({"job": "j"}, "job_version", "two", "must be the number"),
        ({}, "job_version", "2", "needs the job"),
    ):
        with pytest.raises(UsageError, match=message):
            grown.export("detection", filter_, version_mode=mode, version_value=value)
    assert not list(grown.store.list("exports"))


def test_of_a_job_version(grown: Project) -> None:
    found = grown.export("detection", {"job": "j"}, version_mode="job_version", version_value="2")
    assert len(found.annotations) == 2


def test_a_state_is_found_under_a_refusal_and_by_its_newest_reading(grown: Project) -> None:
    grown.tables["images"][0]["file_path"] = "../up.png"
    assert grown.deliver().generation.refused
    found = grown.export("detection", version_mode="timestamp", version_value="2026-03-02")
    assert len(found.annotations) == 1
    grown.tables["images"][0]["file_path"] = "1.png"
    grown.tables["jobs"][0]["status"] = "done"
    grown.ingest()  # version 3 once more
    newest = grown.export("detection", {"job": "j"}, version_mode="job_version", version_value="3")
    assert newest.manifest.made_from[0].generations == {"records": 5}


def test_a_state_of_a_project_that_was_never_read_says_so(project: Project) -> None:
    with pytest.raises(NotFoundError, match="has no records yet"):
        project.export("detection", version_mode="timestamp", version_value="2026-03-02")
    with pytest.raises(NotFoundError, match="has no records yet"):
        project.export("detection", {"job": "j"}, version_mode="job_version", version_value="2")


def test_tables_are_kept_once_and_only_when_they_changed(grown: Project) -> None:
    place = ANNOTATIONS.place(ANNOTATIONS.reading, PROJECT)
    files = [item.path for item in grown.store.list(place.folder) if item.path.endswith(".parquet")]
    assert generations.numbers(grown.store, place) == [1, 2, 3]
    # and the numbers; jobs, boxes and numbers changed twice, images once
    assert len(files) == len(schema.TABLES) + 1 + 2 + 2 + 2 + 1


def test_what_changed_between_two_exports(project: Project) -> None:
    images = [project.image(f"{number}.jpg") for number in range(4)]
    for image in images[:3]:
        project.box(image)
        project.box(image, label=2)
    project.ingest()
    first = project.export("detection")
    project.tables["images"].pop(0)  # with its two boxes
    project.tables["detections"][2]["x_max"] = 0.9  # one changed
    project.tables["detections"].pop(4)  # one removed
    project.box(images[3], id="later")
    project.box(project.image("9.jpg", id="new"), id="last")
    project.ingest()
    second = project.export("detection")

    def folder(published: object) -> Path:
        return Path(str(project.store.root)) / str(published)

    found = diff_annotations(folder(first.published.export.path), folder(second.published.export.path))
    assert found == {
        "images": {"added": 1, "removed": 1, "changed": 3},
        "annotations": {"added": 2, "removed": 3, "changed": 1},
        "added_images": ["9.jpg"],
        "removed_images": ["0.jpg"],
        "changed_images": ["1.jpg", "2.jpg", "3.jpg"],
    }
    same = diff_annotations(folder(first.published.export.path), folder(first.published.export.path))
    assert same["images"] == same["annotations"] == {"added": 0, "removed": 0, "changed": 0}
    with pytest.raises(NotFoundError):
        diff_annotations(folder("nowhere"), folder(second.published.export.path))


@pytest.mark.parametrize("format_", ["manifest_csv", "image_folder"])
def test_classifications_are_compared_as_well(project: Project, format_: str) -> None:
    for number in range(3):
        project.tag(project.image(f"{number}.png"), "c/a")
        project.file(f"{number}.png")
    project.ingest()
    first = project.export("classification", format=format_)
    project.tag("i1", "c/b")
    project.tables["shared_image_tags"].pop(0)
    project.tables["images"].pop(2)
    project.tables["shared_image_tags"].pop(1)
    project.ingest()
    second = project.export("classification", format=format_)
    root = Path(str(project.store.root))
    found = diff_annotations(root / first.published.export.path, root / second.published.export.path)
    assert found["images"] == {"added": 0, "removed": 1, "changed": 1}


def test_split_statistics_count_leaks_and_conflicts(project: Project) -> None:
    for name, task in (("1.png", 1), ("2.png", 2), ("3.png", 1), ("3.png", 2), ("4.png", None)):
        project.box(project.image(name, task))
    data = project.file("1.png")
    (project.folder / "images" / "2.png").write_bytes(data)
    read = project.deliver()
    assert split_statistics(project.current) == [
        {"split": "train", "images": 1, "boxes": 1, "masks": 0, "leaking": 1, "near": 0},
        {"split": "val", "images": 1, "boxes": 1, "masks": 0, "leaking": 1, "near": 0},
        {"split": "test", "images": 0, "boxes": 0, "masks": 0, "leaking": 0, "near": 0},
        {"split": "none", "images": 1, "boxes": 1, "masks": 0, "leaking": 0, "near": 0},
        {"split": "several", "images": 1, "boxes": 1, "masks": 0, "leaking": 0, "near": 0},
    ]
    made = described(project.store)
    assert made.report.warnings == (
        "2 images have the same bytes as one in another split.",
        "1 images are in tasks of different splits.",
    )
    verdict = read.generation.checks["splits_disjoint"]
    assert not verdict.passed
    assert verdict.detail == "2 images have the same bytes as one in another split. 1 images are in tasks of " + (
        "different splits."
    )


def test_splits_are_disjoint_only_where_that_can_be_seen(project: Project) -> None:
    def verdict() -> tuple[bool, str]:
        project.ingest()
        found = splits_disjoint(project.current, Report(), SETTINGS)
        return found.passed, found.detail

    project.image("0.png", None)
    assert verdict() == (True, "no image is in a split")
    project.image("1.png", 1)
    assert verdict() == (True, "1 images in train")  # without a file, but there is only one split
    project.image("2.png", 2)
    assert verdict() == (False, "2 of 2 images have no file, so copies of them cannot be seen.")
    for name in ("1.png", "2.png"):
        project.file(name)
    assert verdict() == (True, "1 images in train, 1 images in val")
    (project.folder / "images" / "2.png").write_bytes((project.folder / "images" / "1.png").read_bytes())
    assert verdict() == (False, "2 images have the same bytes as one in another split.")
    project.file("2.png")
    project.image("2.png", 1)
    assert verdict() == (False, "1 images are in tasks of different splits.")


def test_suggested_splits_share_out_every_label_and_keep_copies_together(project: Project) -> None:
    for number in range(100):
        image = project.image(f"{number:03}.png")
        project.box(image, label=1)
        if number % 10 == 0:
            project.box(image, (0.2, 0.2, 0.3, 0.3), label=2)
    data = project.file("003.png")
    (project.folder / "images" / "004.png").write_bytes(data)
    project.ingest()
    shares = {"train": 8, "val": 1, "test": 1}
    found = suggest_splits(project.current, shares)
    assert found == suggest_splits(project.current, shares)
    assert found["003.png"] == found["004.png"]
    for paths, train in ((list(found), 80), ([path for path in found if path.endswith("0.png")], 8)):
        assert abs([found[path] for path in paths].count("train") - train) <= 1
    assert len(found) == 100


def test_the_overview_of_the_sample(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    (key,) = sample_project.write(tmp_path / "inbox")
    made = read_folder(tmp_path / "inbox" / "annotations" / key, store, key)
    assert noted(made) == {"segmentations too_few_points": 1}
    assert made.report.counts["corrected: clipped to the image"] == 1
    overview = described(store, key)
    found = overview.report
    assert overview.generation.tables == {}
    assert made.generation.checks["splits_disjoint"].passed
    assert made.generation.checks["splits_disjoint"].detail == ("12 images in train, 4 images in val, 4 images in test")
    assert found.counts["images"] == 20
    assert [row["split"] for row in found.preview] == ["train", "val", "test"]
    assert {title: png[:4] for title, png in found.plots().items()} == {
        "class balance": b"\x89PNG",
        "contact sheet": b"\x89PNG",
    }
    assert max(len(png) for png in found.plots().values()) < 50_000
    assert described(store, key).unchanged
    tables = current(store, ANNOTATIONS, key)
    assert describe(Work(tables, SETTINGS, tmp_path, Rejects(tmp_path))).plots() == found.plots()
    options = classification_options(tables)
    assert list(options) == ["ground", "light"]
    assert sum(options["ground"].values()) == sum(options["light"].values()) == 20


def test_the_sample_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        sample_project.write(tmp_path / name)
    sample_project.write(tmp_path / "a")
    contents = [
        {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("a", "b")
    ]
    assert contents[0] == contents[1]
    assert sum(map(len, contents[0].values())) < 200_000
