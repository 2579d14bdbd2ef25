"""Data of cameras in the formats of the field come in as what they are, people withheld; what Sheaf publishes, too."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from occurrences_inbox import (
    Row,
    Tables,
    built,
    content,
    csv_rows,
    detection,
    export,
    identification,
    ingested,
    made,
    project,
    put,
    rows,
)

from sheaf.occurrences import schema
from sheaf.store.store import Store
from sheaf.tables.pinned import Tables as Pinned

KEPT = (
    *("id", "event_id", "deployment_id", "deployment_name", "is_taxon", "is_person", "scientific_name", "qualifier"),
    *("kingdom", "order", "genus", "specific_epithet", "common_name", "verified", "identified_by", "identified_at"),
    *("identified_offset", "detections_count", "first_appearance", "first_offset", "last_appearance", "last_offset"),
    *("detection_id", "detection_capture_url", "determination_score"),
)
PACKAGE: dict[str, list[Row]] = {
    "deployments": [
        {"deploymentID": "d-1", "locationName": "Ford", "latitude": 47.1, "longitude": 8.2,
         "coordinateUncertainty": 25},
        {"deploymentID": "d-2", "locationName": "Ridge", "latitude": "high", "longitude": 8.3},
    ],
    "media": [
        {"mediaID": f"m-{number}", "deploymentID": "d-1", "timestamp": f"2024-06-15T23:0{number}:00+02:00",
         "filePath": f"https://img.example.org/{number}.jpg", "filePublic": "false" if number == 4 else "true"}
        for number in range(6)
    ],
    "observations": [],
}  # fmt: skip
SAID = {
    "profile": "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json",
    "title": "Foxes of the ford",
    "licenses": [{"name": "CC-BY-4.0", "scope": "data"}],
    "taxonomic": [{"scientificName": "Vulpes vulpes", "taxonRank": "species", "kingdom": "Animalia",
                   "order": "Carnivora", "vernacularNames": {"eng": "Red fox"}}],
    "resources": [{"name": name, "path": f"{name}.csv"} for name in PACKAGE],
}  # fmt: skip


def seen(key: str, level: str, minute: int, last: int | None = None, **more: Any) -> Row:
    at = f"2024-06-15T23:0{minute}:00+02:00"
    end = at if last is None else f"2024-06-15T23:0{last}:00+02:00"
    return {
        "observationID": key, "deploymentID": "d-1", "eventStart": at, "eventEnd": end, "observationLevel": level,
        "observationType": "animal", "scientificName": "Vulpes vulpes", "eventID": "e-1",
        "mediaID": f"m-{minute}" if level == "media" else "", **more,
    }  # fmt: skip


def put_package(folder: Path, observations: list[Row], **changed: list[Row]) -> Path:
    folder.mkdir(parents=True)
    (folder / "datapackage.json").write_text(json.dumps(SAID))
    for name, given in {**PACKAGE, "observations": observations, **changed}.items():
        columns = list(dict.fromkeys(column for row in given for column in row))
        lines = [columns, *([str(row.get(column, "")) for column in columns] for row in given)]
        (folder / f"{name}.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    return folder


def night() -> Tables:
    """A project with all that can be told apart after it was published."""
    tables = project()
    tables["main_taxon"].append({**tables["main_taxon"][3], "id": 6, "name": "Noctua cf. janthe"})
    tables["main_taxon"].append({"id": 7, "name": "Homo sapiens", "rank": "SPECIES", "parents_json": []})
    first = tables["main_occurrence"][0]
    for number, taxon in ((11, 4), (12, 6), (13, 7)):
        tables["main_occurrence"].append({**first, "id": number, "determination_id": taxon, "determination_score": 1.0})
        tables["main_detection"] += [detection(number * 10, number, 2, bbox=[1024, 540, 2048, 1080])]
    tables["main_identification"] = [identification(1, 1, 4, "2024-07-02T09:00:00+02:00", occurrence_id=11)]
    for one in tables["main_classification"]:
        one["timestamp"] += "Z"  # without an offset no package could hold it
    tables["main_event"].append({**tables["main_event"][0], "id": 2, "start": "2024-06-16T22:00:00", "end": None})
    return tables


def test_what_is_published_as_camtrap_dp_comes_back_as_the_same_occurrences(tmp_path: Path, local_store: Store) -> None:
    built(local_store, night(), tmp_path / "p1")
    before = {row["id"]: row for row in rows(local_store, schema.OCCURRENCES_TABLE)}
    published = content(local_store, export(local_store, "camtrap_dp"))
    events = {row["id"] for row in rows(local_store, schema.EVENTS)}
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "package.zip").write_bytes(published)
    store = Store.open(str(tmp_path / "other"))
    made(store, tmp_path / "again")
    after = {row["id"]: row for row in rows(store, schema.OCCURRENCES_TABLE)}
    assert after.keys() == before.keys()
    for key, row in before.items():
        left_out = {"identified_at", "identified_offset"} if not row["is_taxon"] else set()
        wanted = {column: row[column] for column in KEPT if column not in left_out}
        if row["is_person"]:  # nobody is told more than that
            wanted |= {"identified_by": None, "determination_score": None}
        if row["qualifier"]:  # which is known of the name as it was written
            wanted |= {"common_name": None}
        assert {column: after[key][column] for column in wanted} == wanted
    assert {row["id"] for row in rows(store, schema.EVENTS)} == events
    boxes = [row["bbox"] for row in rows(store, schema.DETECTIONS) if row["id"] == 120]
    assert boxes == ["[0.25, 0.25, 0.5, 0.5]"]
    again = content(store, export(store, "camtrap_dp"))
    with zipfile.ZipFile(io.BytesIO(published)) as one, zipfile.ZipFile(io.BytesIO(again)) as other:
        assert one.read("observations.csv") == other.read("observations.csv")


def test_observations_of_an_event_hold_those_of_its_media(tmp_path: Path, local_store: Store) -> None:
    folder = put_package(tmp_path / "p1", [
        seen("o-1", "event", 0, 2, classificationMethod="human", classifiedBy="Ada Field"),
        seen("o-2", "media", 0, bboxX=0.1, bboxY=0.2, bboxWidth=0.3, bboxHeight=0.4),
        seen("o-3", "media", 2, classificationMethod="machine", classifiedBy="Finder", classificationProbability=0.8),
        seen("o-4", "media", 1, scientificName="Canis lupus"),
        seen("o-5", "event", 5, eventID="e-2", observationType="blank", scientificName=""),
    ])  # fmt: skip
    records = made(local_store, folder)["records"]
    (found,) = rows(local_store, schema.OCCURRENCES_TABLE)
    assert (found["scientific_name"], found["order"], found["common_name"]) == ("Vulpes vulpes", "Carnivora", "Red fox")
    assert (found["detections_count"], found["verified_by"]) == (2, "Ada Field")
    assert found["prediction_score"] == 0.8
    assert len(rows(local_store, schema.EVENTS)) == 2  # a session without an animal is one
    (account,) = [one for one in records.generation.account if one.table == "observations"]
    assert account.left_out == {"blank": 1, "the event has its own": 1}
    assert account.adds_up
    assert {row["name"]: row["uncertainty"] for row in rows(local_store, schema.DEPLOYMENTS)} == {
        "Ford": 25, "Ridge": None,
    }  # fmt: skip


def test_an_observation_of_an_event_alone_was_seen_on_all_media_of_its_time(tmp_path: Path, local_store: Store) -> None:
    observations = [seen("o-1", "event", 1, 3), seen("o-2", "event", 4, 5, eventID=""), seen("o-3", "event", 9)]
    records = made(local_store, put_package(tmp_path / "p1", observations))["records"]
    found = rows(local_store, schema.OCCURRENCES_TABLE)
    assert sorted(row["detections_count"] for row in found) == [2, 3]
    (account,) = [one for one in records.generation.account if one.table == "observations"]
    assert [(one.code, one.rows) for one in account.reasons] == [("no_media", 1)]


@pytest.mark.parametrize(
    ("placed", "media"), [(True, "21:0{}:00Z"), (True, "23:0{}:00+02:00"), (False, "23:0{}:00+02:00")]
)
def test_times_without_a_zone_are_those_of_the_deployment(
    tmp_path: Path, local_store: Store, placed: bool, media: str
) -> None:
    taken = [
        {"mediaID": f"m-{number}", "deploymentID": "d-1", "timestamp": "2024-06-15T" + media.format(number)}
        for number in range(6)
    ]
    place = {"latitude": 47.1, "longitude": 8.2} if placed else {"latitude": "", "longitude": ""}
    folder = put_package(
        tmp_path / "p1",
        [seen("o-1", "event", 1, 3, eventStart="2024:06:15 23:01:00", eventEnd="2024-06-15 23:03:00.000")],
        media=taken, deployments=[{"deploymentID": "d-1", **place}],
    )  # fmt: skip
    made(local_store, folder)
    (found,) = rows(local_store, schema.OCCURRENCES_TABLE)
    assert (found["detections_count"], found["first_appearance"].isoformat(), found["first_offset"]) == (
        3, "2024-06-15T23:01:00", 120,
    )  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True])
def test_a_package_may_lie_in_folders_gzipped_and_in_parts(tmp_path: Path, local_store: Store, zipped: bool) -> None:
    nothing: Row = {"individualID": "NA", "eventID": "NULL"}
    folder = put_package(
        tmp_path / "p1",
        [seen("o-1", "media", 1, **nothing), seen("o-2", "media", 4, **nothing)],
        deployments=[{"DeploymentID": "d-1", "LATITUDE": 47.1, "longitude": 8.2, "countryCode": "NA"}],
    )
    said = json.loads((folder / "datapackage.json").read_text())
    said["resources"][1]["path"] = ["data/media-1.csv.gz", "data/media-2.csv.gz"]
    (folder / "datapackage.json").write_text(json.dumps(said))
    (folder / "data").mkdir()
    header, *lines = (folder / "media.csv").read_bytes().splitlines(keepends=True)
    (folder / "media.csv").unlink()
    for number, some in ((1, lines[:4]), (2, lines[3:])):
        (folder / f"data/media-{number}.csv.gz").write_bytes(gzip.compress(b"".join([header, *some])))
    if zipped:
        (tmp_path / "p2").mkdir()
        with zipfile.ZipFile(tmp_path / "p2" / "package.zip", "w") as opened:
            for path in folder.rglob("*.*"):
                opened.write(path, f"package/{path.relative_to(folder)}")
    generation = made(local_store, tmp_path / "p2" if zipped else folder)["records"].generation
    assert len(rows(local_store, schema.OCCURRENCES_TABLE)) == 2  # no individual, and no event, of the name NA
    assert [row["country_code"] for row in rows(local_store, schema.DEPLOYMENTS)] == ["NA"]  # Namibia
    (account,) = [one for one in generation.account if one.table == "media-2.csv.gz"]
    assert (account.seen, account.left_out) == (3, {"also in media-1.csv.gz": 1})


def test_media_without_an_event_are_occurrences_of_their_own(tmp_path: Path, local_store: Store) -> None:
    folder = put_package(tmp_path / "p1", [
        seen("o-1", "media", 0, eventID=""), seen("o-2", "media", 1, eventID="", individualID="Red"),
        seen("o-3", "media", 2, eventID="", individualID="Red"),
    ])  # fmt: skip
    made(local_store, folder)
    assert sorted(row["detections_count"] for row in rows(local_store, schema.OCCURRENCES_TABLE)) == [1, 2]
    assert len(rows(local_store, schema.EVENTS)) == 1


@pytest.mark.parametrize("level", ["event", "media"])
def test_media_with_people_are_shown_nowhere(tmp_path: Path, local_store: Store, level: str) -> None:
    folder = put_package(tmp_path / "p1", [
        seen("o-1", "event", 0, 2), seen("o-2", "media", 0), seen("o-3", "media", 1), seen("o-4", "media", 2),
        seen("o-5", level, 1, observationType="human", scientificName="Vulpes vulpes"),
        seen("o-6", "event", 4), seen("o-7", "media", 4),
    ])  # fmt: skip
    made(local_store, folder)
    urls = {row["capture_url"] for row in rows(local_store, schema.DETECTIONS)}
    assert urls == {None, "https://img.example.org/0.jpg", "https://img.example.org/2.jpg"}  # 4 is not public
    assert "human" not in {row["determination_name"] for row in csv_rows(local_store) if "img" in str(row)}


def test_what_is_wrong_with_a_package_is_said_with_file_and_line(tmp_path: Path, local_store: Store) -> None:
    folder = put_package(tmp_path / "p1", [
        seen("o-1", "media", 0), seen("o-2", "media", 1, deploymentID="d-9"), seen("o-3", "media", 2, mediaID="m-99"),
        seen("o-4", "media", 3, bboxX="left", bboxY=0, bboxWidth=0, bboxHeight=0), seen("o-1", "media", 5),
    ])  # fmt: skip
    with (folder / "media.csv").open("a") as file:
        file.write("too,short\n")
    generation = made(local_store, folder)["records"].generation
    found = [row for batch in Pinned(local_store, "p1", {"records": generation}).rejects("records")
             for row in batch.to_pylist()]  # fmt: skip
    told = {(row["table"], row["code"], row["file"], row["line"]) for row in found}
    assert told >= {
        ("media", "wrong_width", "media.csv", 8),
        ("main_deployment", "bad_coordinates", "deployments.csv", 3),
        ("main_occurrence", "no_parent", "observations.csv", 3),
        ("main_occurrence", "repeated_key", "observations.csv", 6),
        ("main_detection", "no_parent", "observations.csv", 4),
        ("main_detection", "bad_box", "observations.csv", 5),
    }
    assert all(one.adds_up for one in generation.account)


def test_what_is_no_package_is_refused_with_a_sentence(tmp_path: Path, local_store: Store) -> None:
    def why(folder: Path) -> str:
        return str(ingested(local_store, folder).generation.refused)

    lacking = put_package(tmp_path / "a", [{"observationID": "o-1", "deploymentID": "d-1"}])
    assert "observations.csv has no column eventStart, which Camtrap DP 1.0 asks for" in why(lacking)
    (lacking / "media.csv").unlink()
    assert "names media.csv, which is not there" in why(lacking)
    (lacking / "datapackage.json").write_text('{"resources": [')
    assert "datapackage.json is no JSON" in why(lacking)
    (lacking / "datapackage.json").write_text("[]")
    assert "describes no resource deployments" in why(lacking)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.zip").write_bytes(b"PK\3\4 half")
    assert "x.zip is no whole zip file" in why(tmp_path / "b")


def test_what_lies_beside_tables_of_antenna_is_not_read(tmp_path: Path, local_store: Store) -> None:
    folder = put_package(tmp_path / "p1", [seen("o-1", "media", 0)])
    (folder / "backup.zip").write_bytes(b"no zip")
    made(local_store, put(folder, project()))
    assert [row["id"] for row in rows(local_store, schema.OCCURRENCES_TABLE)] == [10]


def test_what_megadetector_found_is_read_with_the_deployments(tmp_path: Path, local_store: Store) -> None:
    folder = tmp_path / "p1"
    folder.mkdir()
    (folder / "deployments.csv").write_text(
        "deploymentID,locationName,latitude,longitude\nford/a,Ford,47.1,8.2\nridge,Ridge,47.2,8.3\n"
    )
    animal: Row = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    fox = {**animal, "classifications": [["0", 0.7], ["1", 0.2]]}
    images = [
        {"file": "ford/a/1.jpg", "detections": [fox, animal], "datetime": "2024:06:15 23:00:00"},
        {"file": "ford/a/2.jpg", "detections": [animal, {**animal, "category": "2", "conf": 0.15}],
         "exif_metadata": [["DateTimeOriginal", "2024:06:15 23:05:00"]]},
        {"file": "ridge/1.jpg", "detections": [{**animal, "conf": 0.1}], "datetime": "2024-06-15T22:00:00"},
        {"file": "elsewhere/1.jpg", "detections": [animal]},
        {"file": "ridge/2.jpg", "failure": "Failure image access"},
        {"file": "ridge/3.jpg", "detections": [7]}, "no image",
    ]  # fmt: skip
    said = {
        "info": {"detector": "md_v5a", "classifier": "Foxes"}, "images": images,
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "classification_categories": {"0": "red fox", "1": "dog"},
        "classification_category_descriptions": {"0": "7;mammalia;carnivora;canidae;vulpes;vulpes;red fox"},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(said))
    more = {**said, "images": [
        images[0], {**images[1], "detections": [animal]},
        {"file": "D:\\season\\ridge\\100RECNX\\9.jpg", "detections": [animal], "datetime": "2024:06:16 01:00:00"},
    ]}  # fmt: skip
    (folder / "result_2.json").write_text(json.dumps(more))
    generation = made(local_store, folder)["records"].generation
    found = rows(local_store, schema.OCCURRENCES_TABLE)
    assert [(row["scientific_name"], row["is_person"], row["prediction_score"], row["identified_by"]) for row in
            sorted(found, key=lambda row: (row["first_appearance"], -row["prediction_score"]))] == [
        ("Animalia", False, 0.9, "md_v5a"), ("Vulpes vulpes", False, 0.7, "Foxes"),
        ("Animalia", False, 0.9, "md_v5a"), (None, True, 0.15, "md_v5a"), ("Animalia", False, 0.9, "md_v5a"),
    ]  # fmt: skip
    assert {row["deployment_name"] for row in rows(local_store, schema.EVENTS)} == {"Ford", "Ridge"}
    noted = Pinned(local_store, "p1", {"records": generation}).rejects("records")
    told = {(row["code"], row["file"], row["line"]) for batch in noted for row in batch.to_pylist()}
    assert told >= {
        ("no_deployment", "result.json", 4), ("failed", "result.json", 5), ("repeated_key", "result_2.json", 2),
    }  # fmt: skip
    accounts = {one.table: one for one in generation.account}
    assert (accounts["images"].seen, accounts["images"].used, accounts["images"].rejected) == (9, 4, 5)
    assert accounts["result_2.json"].left_out == {"also in result.json": 1}
    assert sum(accounts["detections"].left_out.values()) == 1
    assert all(one.adds_up for one in generation.account)
