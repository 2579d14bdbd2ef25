"""What people download from Wildlife Insights and iNaturalist comes in as what it is, and says nothing false."""

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from occurrences_inbox import SETTINGS, Row, archive, export, ingested, made, rows, tsv

from sheaf.occurrences import schema
from sheaf.store.store import Store
from sheaf.tables.generations import Generation
from sheaf.tables.pinned import Tables

FOX = {"class": "Mammalia", "order": "Carnivora", "family": "Canidae", "genus": "Vulpes", "species": "vulpes",
       "common_name": "Red Fox"}  # fmt: skip
PROJECT: Row = {"project_id": 2000123, "project_name": "Foxes of the ford", "project_objectives": "Where foxes drink.",
                "metadata_license": "CC-BY", "image_license": "CC-BY"}  # fmt: skip
FORD: Row = {"project_id": 2000123, "deployment_id": "ford-2021", "placename": "Ford", "longitude": 8.2,
             "latitude": 47.1, "start_date": "2021-06-01 00:00:00", "end_date": "2021-07-01 00:00:00",
             "fuzzed": "False"}  # fmt: skip


def image(number: int, minute: int, **more: object) -> Row:
    return {
        "project_id": 2000123, "deployment_id": "ford-2021", "image_id": f"img-{number}", "filename": f"{number}.jpg",
        "location": f"https://img.example.org/{number}.jpg", "is_blank": 0, "identified_by": "Ada Field",
        "wi_taxon_id": "aefa-1", **FOX, "timestamp": f"2021-06-05 18:{minute:02}:00", "number_of_objects": 1,
        "individual_id": "", "cv_confidence": "", "license": "CC-BY", **more,
    }  # fmt: skip


NOTHING = dict.fromkeys(FOX, "")
IMAGES = [
    image(1, 0, number_of_objects=3),
    image(2, 1, identified_by="Computer vision", cv_confidence=0.93),
    image(2, 1, genus="Canis", species="lupus", common_name="Wolf"),
    image(3, 2, **NOTHING, is_blank=1),
    image(4, 3, **dict.fromkeys(FOX, "No CV Result")),
    image(5, 4, genus="Homo", species="sapiens", common_name="Human-Camera Trapper"),
    image(6, 5, **{**NOTHING, "class": "Aves", "common_name": "Bird"}, license="CC-BY-NC"),
    image(7, 6, deployment_id="nowhere"),
    image(8, 7, timestamp="yesterday"),
    image(9, 8, project_id=7),
]
OBSERVATION: Row = {
    "id": 901, "observed_on": "2021-06-05", "time_observed_at": "2021-06-06 01:33:00 UTC",
    "time_zone": "Pacific Time (US & Canada)", "quality_grade": "research", "license": "CC-BY", "user_login": "bo",
    "image_url": "https://static.example.org/901.jpg", "captive_cultivated": "false", "place_guess": "Mill Creek",
    "latitude": 37.87, "longitude": -122.26, "positional_accuracy": 12, "private_latitude": 11.111,
    "public_positional_accuracy": 12, "coordinates_obscured": "false", "scientific_name": "Vanessa cardui",
    "common_name": "Painted Lady", "taxon_id": 48548, "taxon_order_name": "Lepidoptera",
    "taxon_species_name": "Vanessa cardui", "description": "under my window",
}  # fmt: skip


def put_csv(path: Path, given: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in given for name in row)))
        writer.writeheader()
        writer.writerows(given)


def put_insights(folder: Path, images: Sequence[Row] = IMAGES, stations: Sequence[Row] = (FORD,)) -> Path:
    other = {**FORD, "project_id": 7, "deployment_id": "theirs"}
    put_csv(folder / "projects.csv", [{**PROJECT, "project_id": 7, "project_name": "Theirs"}, PROJECT])
    put_csv(folder / "cameras.csv", [{"project_id": 2000123, "camera_id": 1, "make": "Reconyx"}])
    put_csv(folder / "deployments.csv", [*stations, other])
    put_csv(folder / "images_2000123.csv", images)
    return folder


def noted(store: Store, generation: Generation, project: str) -> set[tuple[str, str, str | None, int | None]]:
    found = Tables(store, project, {"records": generation}).rejects("records")
    return {(row["table"], row["code"], row["file"], row["line"]) for batch in found for row in batch.to_pylist()}


@pytest.fixture(scope="module")
def insights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Generation]:
    """A store with a download of Wildlife Insights, and what was read."""
    folder = tmp_path_factory.mktemp("insights")
    store = Store.open(str(folder / "store"))
    read = made(store, put_insights(folder / "p2000123"), project="p2000123")["records"]
    return store, read.generation


def test_a_download_of_wildlife_insights_is_occurrences(insights: tuple[Store, Generation]) -> None:
    store, _ = insights
    found = rows(store, schema.OCCURRENCES_TABLE, "p2000123")
    shown = [
        (row["scientific_name"], row["individual_count"], row["verified_by"], row["prediction_score"])
        for row in sorted(found, key=lambda row: (row["first_appearance"] is None, str(row["first_appearance"]),
                                                  row["scientific_name"] or ""))
    ]  # fmt: skip
    assert shown == [
        ("Vulpes vulpes", 3, "Ada Field", None), ("Canis lupus", 1, "Ada Field", None),
        ("Vulpes vulpes", 1, None, 0.93), (None, 1, "Ada Field", None), ("Aves", 1, "Ada Field", None),
        ("Vulpes vulpes", 1, "Ada Field", None),
    ]  # fmt: skip
    (fox,) = [row for row in found if row["individual_count"] == 3]
    assert (fox["kingdom"], fox["family"], fox["common_name"]) == ("Animalia", "Canidae", "Red Fox")
    assert {row["deployment_name"] for row in found} == {"Ford"}
    (about,) = rows(store, schema.DATASET, "p2000123")
    assert (about["name"], about["licence"], about["description"]) == (
        "Foxes of the ford", "CC-BY-4.0", "Where foxes drink.",
    )  # fmt: skip


def test_images_are_shown_under_the_licence_of_the_data_only_and_none_with_people(
    insights: tuple[Store, Generation],
) -> None:
    store, _ = insights
    shown = {row["capture_url"] for row in rows(store, schema.DETECTIONS, "p2000123")} - {None}
    assert sorted(url.rpartition("/")[2] for url in shown) == ["1.jpg", "2.jpg", "8.jpg"]


def test_what_was_not_used_of_a_download_adds_up(insights: tuple[Store, Generation]) -> None:
    store, generation = insights
    accounts = {one.table: one for one in generation.account}
    assert all(one.adds_up for one in generation.account)
    assert (accounts["images"].seen, accounts["images"].left_out) == (10, {"another project": 1})
    assert accounts["observations"].left_out == {"blank": 1, "not classified": 1}
    assert noted(store, generation, "p2000123") >= {
        ("main_occurrence", "no_parent", "images_2000123.csv", 9),
        ("main_detection", "not_a_time", "images_2000123.csv", 10),
    }


@pytest.mark.parametrize("zipped", [False, True])
def test_parts_of_a_download_are_read_as_one(
    tmp_path: Path, local_store: Store, insights: tuple[Store, Generation], zipped: bool
) -> None:
    folder = put_insights(tmp_path / "whole")
    (folder / "images_2000123.csv").unlink()
    for number, images in enumerate((IMAGES[:3], IMAGES[2:]), 1):  # one row of an image of three is in both
        put_csv(folder / f"images_{number}.csv", images)
    if zipped:
        (tmp_path / "zips").mkdir()
        for number in (1, 2):
            with zipfile.ZipFile(tmp_path / "zips" / f"{number}.zip", "w") as opened:
                for name in ("projects.csv", "deployments.csv", f"images_{number}.csv"):
                    opened.write(folder / name, f"download/{name}")
        folder = tmp_path / "zips"
    wanted = rows(insights[0], schema.OCCURRENCES_TABLE, "p2000123")
    generation = made(local_store, folder, project="p2000123")["records"].generation
    assert rows(local_store, schema.OCCURRENCES_TABLE, "p2000123") == wanted
    accounts = {one.table: one for one in generation.account}
    assert all(one.adds_up for one in generation.account)
    assert (accounts["images_1.csv"].seen, accounts["images_2.csv"].seen, accounts["images"].seen) == (3, 8, 10)
    assert accounts["images_2.csv"].left_out == {"also in images_1.csv": 1}
    assert ("main_occurrence", "no_parent", "images_2.csv", 7) in noted(local_store, generation, "p2000123")


def test_what_is_on_a_sequence_was_seen_on_its_images(tmp_path: Path, local_store: Store) -> None:
    images = [
        {"project_id": 2000123, "deployment_id": "ford-2021", "image_id": f"img-{minute}", "license": "CC-BY",
         "sequence_id": f"s-{minute // 3}", "timestamp": f"2021-06-05 18:{minute:02}:00",
         "location": f"https://img.example.org/{minute}.jpg"}
        for minute in range(8)
    ]  # fmt: skip
    folder = put_insights(tmp_path / "p", images)

    def sequence(number: int, **more: object) -> Row:
        row = image(number, 0, **more)
        kept = {
            name: value for name, value in row.items() if name not in ("image_id", "filename", "location", "timestamp")
        }
        return {**kept, "sequence_id": f"s-{number}", "start_time": f"2021-06-05 18:{number * 3:02}:00",
                "end_time": f"2021-06-05 18:{number * 3 + 2:02}:00", "group_size": 2}  # fmt: skip

    people = sequence(1, genus="Homo", species="sapiens", common_name="Human")
    put_csv(
        folder / "sequences.csv", [sequence(0), people, sequence(2, **NOTHING, is_blank=1), sequence(3, project_id=7)]
    )
    read = made(local_store, folder, project="p2000123")["records"]
    (fox,) = [row for row in rows(local_store, schema.OCCURRENCES_TABLE, "p2000123") if not row["is_person"]]
    assert (fox["scientific_name"], fox["individual_count"], fox["detections_count"]) == ("Vulpes vulpes", 2, 3)
    shown = {row["capture_url"] for row in rows(local_store, schema.DETECTIONS, "p2000123")} - {None}
    assert sorted(url.rpartition("/")[2] for url in shown) == ["0.jpg", "1.jpg", "2.jpg"]
    accounts = {one.table: one for one in read.generation.account}
    assert all(one.adds_up for one in read.generation.account)
    assert (accounts["sequences"].seen, accounts["sequences"].left_out) == (4, {"another project": 1})
    assert accounts["observations"].left_out["blank"] == 1


def test_blurred_coordinates_of_wildlife_insights_are_not_taken_for_exact_ones(
    tmp_path: Path, local_store: Store
) -> None:
    blurred = {**FORD, "fuzzed": "True"}
    read = made(local_store, put_insights(tmp_path / "p", IMAGES[:1], [blurred]), project="p2000123")["records"]
    (station,) = rows(local_store, schema.DEPLOYMENTS, "p2000123")
    assert station["latitude"] is None
    assert ("main_deployment", "fuzzed_coordinates", "deployments.csv", 2) in noted(
        local_store, read.generation, "p2000123"
    )


def test_an_incomplete_download_is_refused_with_a_sentence(tmp_path: Path, local_store: Store) -> None:
    folder = put_insights(tmp_path / "p1")
    assert "is of the projects 2000123, 7: name the folder p and one of them" in str(
        ingested(local_store, folder).generation.refused
    )
    put_csv(folder.parent / "p9" / "sequences.csv", [
        {"deployment_id": "d", "sequence_id": "s", "wi_taxon_id": "t", "start_time": "2021-06-05 18:00:00"},
    ])  # fmt: skip
    assert "no images.csv beside sequences.csv" in str(ingested(local_store, folder.parent / "p9").generation.refused)
    (folder / "deployments.csv").unlink()
    assert "no deployments.csv beside images_2000123.csv" in str(ingested(local_store, folder).generation.refused)


def test_an_export_of_inaturalist_is_observations_of_people(tmp_path: Path, local_store: Store) -> None:
    put_csv(tmp_path / "observations-1.csv", [
        OBSERVATION,
        {**OBSERVATION, "id": 902, "time_observed_at": "", "license": "CC-BY-NC", "quality_grade": "needs_id"},
        {**OBSERVATION, "id": 903, "captive_cultivated": "true"},
        {**OBSERVATION, "id": 904, "quality_grade": "casual"},
        {**OBSERVATION, "id": 905, "coordinates_obscured": "true", "latitude": 37.9, "positional_accuracy": 5,
         "public_positional_accuracy": ""},
        {**OBSERVATION, "id": "", "observed_on": "2021-07-01"},
    ])  # fmt: skip
    folder = tmp_path / "p1"
    folder.mkdir()
    with zipfile.ZipFile(folder / "observations-1.csv.zip", "w") as opened:  # as it is downloaded
        opened.write(tmp_path / "observations-1.csv", "observations-1.csv")
    generation = made(local_store, folder)["records"].generation
    assert all(one.adds_up for one in generation.account)
    (account,) = [one for one in generation.account if one.table == "observations"]
    assert account.left_out == {"captive or cultivated": 1, "neither of research grade nor to be identified": 1}
    assert ("observations", "empty", "observations-1.csv", 7) in noted(local_store, generation, "p1")
    found = {row["occurrenceID"].rpartition(":")[2]: row for row in tsv(archive(local_store, "gbif")["occurrence.txt"])}
    assert {key: (row["eventDate"], row["eventTime"], row["identificationVerificationStatus"])
            for key, row in found.items()} == {
        "901": ("2021-06-05", "18:33:00-07:00", "verified"), "902": ("2021-06-05", "", "unverified"),
        "905": ("2021-06-05", "18:33:00-07:00", "verified"),
    }  # fmt: skip
    assert {(row["basisOfRecord"], row["scientificName"], row["taxonRank"]) for row in found.values()} == {
        ("HumanObservation", "Vanessa cardui", "species")
    }
    events = tsv(archive(local_store, "gbif")["event.txt"])
    assert {row["samplingProtocol"] for row in events} == {"incidental observation"}
    assert sorted(int(row["coordinateUncertaintyInMeters"]) for row in events) == [12, 28361]
    (about,) = rows(local_store, schema.DATASET)
    assert about["licence"] == "CC-BY-NC-4.0"  # the strictest
    text = "".join(archive(local_store, "gbif").values())
    assert not [part for part in ("11.111", "under my window", "static.example.org") if part in text]


def test_exports_of_inaturalist_that_overlap_are_one(tmp_path: Path, local_store: Store) -> None:
    put_csv(tmp_path / "p1" / "2020.csv", [OBSERVATION, {**OBSERVATION, "id": 902}])
    put_csv(tmp_path / "p1" / "2021.csv", [{**OBSERVATION, "id": 902}, {**OBSERVATION, "id": 903}])
    generation = made(local_store, tmp_path / "p1")["records"].generation
    assert sorted(row["id"] for row in rows(local_store, schema.OCCURRENCES_TABLE)) == [901, 902, 903]
    (account,) = [one for one in generation.account if one.table == "2021.csv"]
    assert (account.seen, account.left_out) == (2, {"also in 2020.csv": 1})


def test_observations_without_a_licence_are_not_given_one(tmp_path: Path, local_store: Store) -> None:
    put_csv(tmp_path / "p1" / "inat.csv", [OBSERVATION, {**OBSERVATION, "id": 902, "license": ""}])
    settings = SETTINGS.model_copy(update={"licence": "CC-BY-4.0"})
    made(local_store, tmp_path / "p1", settings)
    (about,) = rows(local_store, schema.DATASET)
    assert about["licence"] == "CC-BY, all rights reserved"
    warnings = export(local_store, "dwca", settings=settings).manifest.warnings
    assert any("none of those under which GBIF takes data" in one for one in warnings)
