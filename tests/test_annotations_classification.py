"""Classification: classes from tags or labels, manifests and folders, and names that could do harm."""

import json
from pathlib import Path
from typing import Any

import pytest
from annotations_project import Project

from sheaf.annotations.readers.paths import class_folder, distinct, normal, unsafe_path
from sheaf.annotations.writers.archive import Archive
from sheaf.errors import InputError, UsageError, VerificationError
from sheaf.exports.series import Written
from sheaf.store.store import Store


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "signs", Store.open(str(tmp_path / "store")))


@pytest.fixture
def tagged(project: Project) -> Project:
    """Four images with files: animal tags in one category, light in another."""
    for path, task, tags in (
        ("x/1.png", 1, ("animal/cat", "light/day")),
        ("y/1.png", 1, ("animal/cat", "light/night")),
        ("y/2.png", 2, ("animal/dog", "light/day")),
        ("z.png", 2, ()),
    ):
        project.tag(project.image(path, task), *tags)
        project.file(path)
    project.ingest()
    return project


def test_manifest(tagged: Project) -> None:
    found = tagged.export("classification", category="animal", include_images=True)
    assert found.manifest_rows == [
        "image_path,class_name,split",
        "images/x/1.png,cat,train",
        "images/y/1.png,cat,train",
        "images/y/2.png,dog,val",
        "images/z.png,,val",
    ]
    assert {row.split(",")[0] for row in found.manifest_rows[1:]} == {n for n in found.names if n.startswith("images/")}
    assert found.report["class_counts"] == {"cat": 2, "dog": 1}
    assert found.report["warnings"] == ["1 images have no class."]
    bare = tagged.export("classification", category="animal")
    assert bare.names == ["manifest.csv", "report.json"]
    assert bare.manifest_rows == found.manifest_rows


def test_image_folder(tagged: Project) -> None:
    found = tagged.export("classification", category="animal", format="image_folder")
    assert [name for name in found.names if name != "report.json"] == [
        "train/cat/x__1.png",
        "train/cat/y__1.png",
        "val/dog/y__2.png",
    ]
    assert found.zip.read("val/dog/y__2.png") == (tagged.folder / "images" / "y/2.png").read_bytes()
    assert found.report["dropped"] == {"no class": 1}
    assert found.report["split_counts"] == {"train": 2, "val": 1, "test": 0, "none": 0}


def test_free_form_classes_and_conflicts(tagged: Project) -> None:
    classes = json.dumps({"pet at night": ["light/night"], "pet": ["animal/cat", "animal/dog"]})
    with pytest.raises(InputError, match=r"such as y/1\.png \(pet at night, pet\)"):
        tagged.export("classification", classes=classes)
    skipped = tagged.export("classification", classes=classes, on_conflict="skip")
    assert skipped.report["dropped"] == {"several classes": 1}
    assert len(skipped.manifest_rows) == 4
    first = tagged.export("classification", classes=classes, on_conflict="first")
    assert first.report["class_counts"] == {"pet": 2, "pet at night": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": "plant"}, "no tag category 'plant': there are animal, light"),
        ({"classes": '{"a": ["animal/cow"]}'}, "no tag 'animal/cow'"),
        ({"classes": "{"}, "not valid JSON"),
        ({"classes": '{"a": "animal/cat"}'}, "classes"),
        ({"classes": "{}", "category": "animal"}, "either category or classes"),
        ({"format": "coco_json"}, "format"),
        ({"format": "image_folder", "include_unassigned": True}, "needs format=manifest_csv"),
        ({"version_value": "3"}, "version_mode"),
    ],
)
def test_impossible_requests(tagged: Project, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tagged.export("classification", **options)


def test_classes_without_a_mapping(tagged: Project, tmp_path: Path) -> None:
    chosen = tagged.export("classification")
    assert chosen.report["class_counts"] == {"cat": 2, "dog": 1}
    assert any("there are also light" in warning for warning in chosen.report["warnings"])
    tagged.tables["image_tags"] = [{"image_id": "i1", "label_id": 2}]
    tagged.ingest()
    assert tagged.export("classification").report["class_counts"] == {"tree": 1}
    plain = Project(tmp_path / "plain", Store.open(str(tmp_path / "plain-store")))
    plain.image("1.jpg")
    plain.ingest()
    with pytest.raises(InputError, match="nothing to classify by"):
        plain.export("classification")


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".", "CON", "nul.txt", "dot.", "space ", " lead", "a:b", "50%", "a\tb", "\\"]
)
def test_class_names_become_one_safe_folder(project: Project, name: str) -> None:
    image = project.image("1.png")
    project.file("1.png")
    project.tables["tag_categories"] = [{"id": 1, "name": "c"}]
    project.tables["tags"] = [{"id": 1, "name": name, "category_id": 1}]
    project.tables["shared_image_tags"] = [{"image_id": image, "tag_id": 1}]
    project.ingest()
    found = project.export("classification", format="image_folder")
    (entry,) = [entry for entry in found.names if entry != "report.json"]
    assert unsafe_path(entry) is None
    assert entry.count("/") == 2
    assert found.report["class_folders"] == {name.strip(): entry.split("/")[1]}


def test_folders_of_different_names_differ() -> None:
    names = ["a/b", "a%2Fb", "..", "%2E%2E", "CON", "con", "x.", "x%2E", "x", " x"]
    folders = [class_folder(name) for name in names]
    assert len(set(folders)) == len(names)


def test_classes_that_differ_in_case_only_are_refused(project: Project) -> None:
    for number, tag in enumerate(("Cat", "cat")):
        image = project.image(f"{number}.png")
        project.file(f"{number}.png")
        project.tag(image, f"animal/{tag}")
    project.ingest()
    with pytest.raises(InputError, match="'Cat' and 'cat' need the same folder"):
        project.export("classification", format="image_folder")


def test_no_two_files_share_a_name(project: Project) -> None:
    for path in ("a/b.png", "a__b.png", "A__B.png", "a/" + "long" * 60 + ".png"):
        project.tag(project.image(path), "c/x")
        project.file(path)
    project.ingest()
    found = project.export("classification", format="image_folder")
    names = [name for name in found.names if name != "report.json"]
    assert len({normal(name).casefold() for name in names}) == 4
    assert distinct(["a.png", "A.png", "a.png"])[0] == "a.png"


def test_formulas_and_commas_stay_what_they_are(project: Project) -> None:
    project.tag(project.image('=cmd,"x".png'), "c/,")
    project.ingest()
    found = project.export("classification")
    assert found.manifest_rows[1] == '"images/=cmd,%22x%22.png",",",train'


def test_verification_finds_a_wrong_manifest(tagged: Project, tmp_path: Path) -> None:
    import zipfile

    good = tagged.export("classification", category="animal")
    folder = tmp_path / "changed"
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("report.json", good.zip.read("report.json"))
        archive.writestr("manifest.csv", good.zip.read("manifest.csv").replace(b"images/z.png,,val\n", b""))
    from annotations_project import SERIES

    with pytest.raises(VerificationError, match="There are 3 images, the report says 4"):
        SERIES["classification"].verify(folder, Written(4))


@pytest.mark.parametrize("name", ["../out", "/root", "a/../b", "C:/x", "a\\b", "once.txt", "ONCE.txt"])
def test_no_entry_leaves_the_archive_or_is_there_twice(tmp_path: Path, name: str) -> None:
    with Archive(tmp_path / "x.zip") as archive:
        archive.image("once.txt", [b"x"])
        with pytest.raises(InputError):
            archive.image(name, [b"y"])


def test_folders_and_manifest_have_a_latest_each(tagged: Project) -> None:
    manifest = tagged.export("classification")
    folders = tagged.export("image_folder")
    asked = tagged.export("classification", format="image_folder")
    assert [found.manifest.canonical for found in (manifest, folders, asked)] == [True, True, False]
    files = [name for name in folders.names if name != "report.json"]
    assert files == [name for name in asked.names if name != "report.json"]
    assert all(name.count("/") == 2 for name in files)
    with pytest.raises(UsageError, match="a folder for each split"):
        tagged.export("image_folder", include_unassigned=True)
