"""Each format holds what its description says, whatever the texts are, and its check notices what is broken."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from occurrences_inbox import (
    SETTINGS,
    Tables,
    archive,
    built,
    classification,
    content,
    csv_rows,
    detection,
    draft,
    export,
    identification,
    json_rows,
    project,
    series,
    tsv,
)

from sheaf.errors import UsageError, VerificationError
from sheaf.exports.publish import Request, publish
from sheaf.exports.records import read_latest
from sheaf.exports.series import Written
from sheaf.names import SeriesId
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.occurrences.writers.dwca_terms import SPEC_FILES
from sheaf.occurrences.writers.occurrences_api_json import ascii_json
from sheaf.occurrences.writers.occurrences_simple_csv import COLUMNS
from sheaf.occurrences.writers.selection import InOrder, select
from sheaf.occurrences.writers.text_lines import delimited, one_line, quoted
from sheaf.store.store import Store

FORMATS = [("occurrences_simple_csv", {}), ("occurrences_api_json", {}), ("dwca", {}), ("dwca", {"profile": "gbif"})]
HOSTILE = [
    "tab\there",
    "line\nbreak\r\n",
    'quote " here "',
    '"',
    ",;",
    "=1+1",
    "nul\x00bell\x07",
    "\u202eright to left",
    "\ufffd\ufeff",
    "NULL",
    "\\N",
    "<b>&amp;</b> ]]>",
    "'; DROP TABLE occurrences; --",
    "🦋 É",
    "  padded  ",
    "$rows ${x} {y} %s",
    "\u2028\u0085",
]


def two_nights() -> Tables:
    """Three occurrences of two nights and two stations: a verified one, a plain one, a name that is no taxon."""
    tables = project()
    event, first = tables["main_event"][0], tables["main_occurrence"][0]
    tables["main_deployment"].append({"id": 2, "name": "Wood", "project_id": 1})
    tables["main_event"].append(
        {**event, "id": 2, "deployment_id": 2, "start": "2024-06-20T21:00:00", "end": "2024-06-20T21:50:00"}
    )
    later = {"event_id": 2, "deployment_id": 2}
    tables["main_occurrence"].append({**first, **later, "id": 11, "determination_id": 3, "determination_score": 0.4})
    tables["main_occurrence"].append({**first, **later, "id": 12, "determination_id": 5, "determination_score": None})
    moment = {"timestamp": "2024-06-20T21:10:00"}
    tables["main_detection"] += [detection(110, 11, 1, **moment), detection(111, 11, 2, **moment)]
    tables["main_detection"] += [detection(120, 12, 2, **moment)]
    tables["main_classification"] += [classification(1100, 110, 3, 0.4)]
    tables["main_identification"] = [
        identification(1, 3, 4, "2024-07-03T10:00:00", agreed_with_prediction_id=1001, comment="Worn,\n“sure”")
    ]
    tables["main_sourceimagecollection"] = [
        {"id": 7, "name": "First image", "project_id": 1},
        {"id": 8, "name": "Nothing", "project_id": 1},
        {"id": 9, "name": "Theirs", "project_id": 2},
    ]
    tables["main_sourceimagecollection_images"] = [{"sourceimagecollection_id": 7, "sourceimage_id": 1}]
    return tables


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store with two nights; to be copied, not to be changed."""
    folder = tmp_path_factory.mktemp("two-nights")
    built(Store.open(str(folder / "store")), two_nights(), folder / "p1")
    return folder / "store"


@pytest.fixture
def published(tmp_path: Path, built_once: Path) -> Store:
    shutil.copytree(built_once, tmp_path / "store")
    return Store.open(str(tmp_path / "store"))


GOLDEN = (
    ",".join(COLUMNS)
    + """
10,1,"Saturday, Jun 15-16 2024",1,Meadow,1,Moth Nights,4,Noctua pronuba,0.9,True,Noctua pronuba,Moths,0.9,\
"Bo, Lind",1,Moths,,True,2,2024-06-15 23:00:00,2024-06-15 23:22:01,0:22:01,\
https://img.example.org/crop/101.jpg,"[100, 200, 150, 280]",50,80,https://img.example.org/trap/night/2.jpg
11,2,"Thursday, Jun 20 2024",2,Wood,1,Moth Nights,3,Noctua,0.4,False,Noctua,Moths,0.4,,0,,,True,2,\
2024-06-20 21:10:00,2024-06-20 21:10:00,0:00:00,https://img.example.org/crop/110.jpg,"[100, 200, 150, 280]",50,80,\
https://img.example.org/trap/night/1.jpg
12,2,"Thursday, Jun 20 2024",2,Wood,1,Moth Nights,5,Not a Moth,,False,,,,,0,,,,1,2024-06-20 21:10:00,\
2024-06-20 21:10:00,0:00:00,https://img.example.org/crop/120.jpg,"[100, 200, 150, 280]",50,80,\
https://img.example.org/trap/night/2.jpg
"""
)


def test_csv_is_as_described(published: Store) -> None:
    found = export(published, "occurrences_simple_csv")
    assert content(published, found).decode() == GOLDEN
    assert len(COLUMNS) == 28
    assert [file.path for file in found.manifest.files] == ["moth-nights_export-v1.csv"]


def test_durations_are_written_as_python_does(tmp_path: Path, local_store: Store) -> None:
    durations = {
        "2024-06-15T23:00:00": "0:00:00",
        "2024-06-16T22:59:59": "23:59:59",
        "2024-06-16T23:00:00": "1 day, 0:00:00",
        "2024-06-18T01:02:03": "2 days, 2:02:03",
    }
    tables = project()
    for number, last in enumerate(durations, 20):
        tables["main_occurrence"].append({**tables["main_occurrence"][0], "id": number})
        tables["main_detection"] += [detection(number, number, 1), detection(100 * number, number, 1, timestamp=last)]
    built(local_store, tables, tmp_path / "p1")
    assert [row["duration"] for row in csv_rows(local_store)[1:]] == list(durations.values())


def test_json_has_the_keys_of_the_api_in_their_order(published: Store) -> None:
    first, second, third = json_rows(published)
    assert list(first) == [
        "id", "details", "event", "deployment", "first_appearance_timestamp", "first_appearance_time", "duration",
        "duration_label", "determination", "detections_count", "detection_images", "determination_score",
        "determination_details", "best_machine_prediction", "identifications", "created_at", "updated_at",
        "determination_id", "detections", "predictions",
    ]  # fmt: skip
    assert first["details"] == "/api/v2/occurrences/10/"
    assert first["event"] == {
        "id": 1,
        "name": "Saturday, Jun 15-16 2024",
        "details": "/api/v2/events/1/",
        "date_label": "Jun 15-16 2024",
    }
    assert (first["duration"], first["first_appearance_time"]) == ("P0DT00H22M01S", "23:00:00")
    assert first["first_appearance_timestamp"] == "2024-06-15T23:00:00"
    assert first["determination"]["parent"]["name"] == "Noctua"
    assert [parent["name"] for parent in first["determination"]["parents"]] == ["Animalia", "Lepidoptera", "Noctua"]
    assert [found["id"] for found in first["detections"]] == [101, 100]
    assert first["detection_images"] == [f"https://img.example.org/crop/{number}.jpg" for number in (101, 100)]
    assert [found["id"] for found in first["detections"][0]["classifications"]] == [1001]
    assert first["detections"][0]["bbox"] == [100, 200, 150, 280]
    assert list(first["detections"][0]) == [
        "id", "details", "timestamp", "url", "capture", "width", "height", "bbox", "occurrence", "classifications",
    ]  # fmt: skip
    assert [found["id"] for found in first["predictions"]] == [1001]
    assert list(first["predictions"][0]["taxon"]) == [
        "id", "name", "rank", "details", "gbif_taxon_key", "fieldguide_id", "inat_taxon_id", "cover_image_url",
        "cover_image_credit", "parent", "parents",
    ]  # fmt: skip
    assert first["predictions"][0]["algorithm"]["version_name"] == "v3"
    assert first["identifications"][0]["comment"] == "Worn,\n“sure”"
    assert first["identifications"][0]["user"]["name"] == "Bo, Lind"
    assert first["determination_details"]["identification"]["id"] == 1
    assert first["determination_details"]["prediction"] is None
    assert second["determination_details"]["prediction"]["id"] == 1100
    assert first["best_machine_prediction"]["score"] == 0.9
    assert (third["best_machine_prediction"], third["predictions"], third["identifications"]) == (None, [], [])
    assert third["determination_score"] is None


def test_json_is_plain_ascii(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_deployment"][0]["name"] = "Été 🦋"
    built(local_store, tables, tmp_path / "p1")
    data = content(local_store, export(local_store, "occurrences_api_json"))
    assert data.isascii()
    assert json.loads(data)[0]["deployment"]["name"] == "Été 🦋"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escapes_mean_the_same_text(text: str) -> None:
    escaped = ascii_json(json.dumps(text, ensure_ascii=False).encode())
    assert escaped.isascii()
    assert json.loads(escaped) == text


def test_the_archive_of_the_specification(published: Store) -> None:
    files = archive(published)
    assert list(files) == ["event.txt", "occurrence.txt", "meta.xml", "eml.xml"]
    first, second = tsv(files["event.txt"])
    assert first == {
        "eventID": "urn:ami:event:moth-nights:1",
        "eventDate": "2024-06-15/2024-06-16",
        "eventTime": "22:00:00+02:00",
        "year": "2024",
        "month": "6",
        "day": "15",
        "samplingProtocol": "automated camera",
        "sampleSizeValue": "30",
        "sampleSizeUnit": "images",
        "samplingEffort": "5h 30m",
        "locationID": "Meadow",
        "decimalLatitude": "47.3921",
        "decimalLongitude": "8.0444",
        "geodeticDatum": "WGS84",
        "datasetName": "Moth Nights",
        "modified": "2024-07-02T11:30:00",
        "coordinateUncertaintyInMeters": "",
        "dataGeneralizations": "",
        "informationWithheld": "",
    }
    assert (second["eventDate"], second["samplingEffort"], second["decimalLatitude"]) == ("2024-06-20", "50m", "")
    verified, plain = tsv(files["occurrence.txt"])  # what is no taxon is not among them
    assert verified == {
        "eventID": "urn:ami:event:moth-nights:1",
        "occurrenceID": "urn:ami:occurrence:moth-nights:10",
        "basisOfRecord": "MachineObservation",
        "occurrenceStatus": "present",
        "scientificName": "Noctua pronuba",
        "taxonRank": "species",
        "kingdom": "Animalia",
        "phylum": "",
        "class": "",
        "order": "Lepidoptera",
        "family": "",
        "genus": "Noctua",
        "specificEpithet": "pronuba",
        "vernacularName": "Large Yellow Underwing",
        "taxonID": "1776234",
        "individualCount": "1",
        "identificationVerificationStatus": "verified",
        "modified": "2024-07-02T11:30:00",
        "eventDate": "2024-06-15",
        "eventTime": "23:00:00+02:00",
        "verbatimIdentification": "Noctua pronuba",
        "identificationQualifier": "",
    }
    assert (plain["identificationVerificationStatus"], plain["genus"]) == ("unverified", "Noctua")


def test_meta_xml_names_the_columns_of_the_files(published: Store) -> None:
    files = archive(published)
    root = ET.fromstring(files["meta.xml"])
    text = "{http://rs.tdwg.org/dwc/text/}"
    for described, file in zip(root, SPEC_FILES, strict=True):
        assert described.get("rowType") == file.row_type
        names = [field.get("term", "").rsplit("/", 1)[-1] for field in described.findall(f"{text}field")]
        assert names == files[file.name].split("\n", 1)[0].split("\t")
    assert [described.tag.removeprefix(text) for described in root] == ["core", "extension"]


def test_the_archive_for_gbif(published: Store) -> None:
    files = archive(published, "gbif")
    events, occurrences = tsv(files["event.txt"]), tsv(files["occurrence.txt"])
    assert (events[0]["year"], events[1]["day"]) == ("", "20")
    assert (events[0]["locationID"], events[0]["locality"]) == ("urn:ami:deployment:moth-nights:1", "Meadow")
    assert (events[0]["geodeticDatum"], events[1]["geodeticDatum"]) == ("EPSG:4326", "")
    assert [row["scientificName"] for row in occurrences] == ["Noctua pronuba", "Noctua"]
    assert (occurrences[0]["identifiedBy"], occurrences[1]["identifiedBy"]) == ("Bo, Lind", "Moths v3")
    assert occurrences[0]["dateIdentified"] == "2024-07-03T10:00:00"
    assert occurrences[0]["scientificNameAuthorship"] == "Linnaeus, 1758"
    assert occurrences[0]["license"] == "http://creativecommons.org/licenses/by/4.0/legalcode"
    assert occurrences[0]["associatedMedia"].split(" | ") == [
        "https://img.example.org/trap/night/1.jpg",
        "https://img.example.org/trap/night/2.jpg",
    ]
    effort = tsv(files["humboldt.txt"])
    assert (effort[0]["samplingEffortValue"], effort[0]["isAbsenceReported"]) == ("30", "false")
    media = tsv(files["multimedia.txt"])
    whole = [row["identifier"] for row in media if not row["occurrenceID"]]
    assert [url.rsplit("/", 1)[-1] for url in whole] == ["1.jpg", "2.jpg", "1.jpg", "2.jpg"]
    assert sum(bool(row["occurrenceID"]) for row in media) == 4
    assert {row["format"] for row in media} == {"image/jpeg"}
    facts = tsv(files["extendedmeasurementorfact.txt"])
    assert [(row["measurementType"], row["measurementValue"], row["measurementDeterminedBy"]) for row in facts[:3]] == [
        ("classificationScore", "0.900000", "Moths"),
        ("detectionScore", "0.750000", "Finder"),
        ("boundingBox", "[100, 200, 150, 280]", "Finder"),
    ]


def test_signed_addresses_are_not_published(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_detection"][0]["path"] = "https://s3.example.org/crop.jpg?X-Amz-Signature=abc"
    tables["main_sourceimage"][0]["path"] = "night/1.jpg?Expires=9&Signature=x"
    built(local_store, tables, tmp_path / "p1")
    files = archive(local_store, "gbif")
    assert "Signature" not in files["multimedia.txt"] + files["occurrence.txt"]


def test_stations_of_sensitive_taxa_are_shown_to_gbif_in_a_cell(tmp_path: Path, local_store: Store) -> None:
    settings = SETTINGS.model_copy(update={"sensitive_taxa": ("Noctua",), "coordinate_uncertainty_m": 10.0})
    built(local_store, two_nights(), tmp_path / "p1", settings)
    event = tsv(archive(local_store, "gbif", settings=settings)["event.txt"])[0]
    assert (event["decimalLatitude"], event["decimalLongitude"]) == ("47.35", "8.05")
    assert (event["locality"], event["coordinateUncertaintyInMeters"]) == ("Station 1", "6736")
    assert "0.1 degrees" in event["dataGeneralizations"]
    text = "".join(archive(local_store, "gbif", settings=settings).values())
    assert "47.39" not in text
    assert "Meadow" not in text
    assert tsv(archive(local_store, settings=settings)["event.txt"])[0]["decimalLatitude"] == "47.35"


def metadata(store: Store, settings: OccurrencesSettings = SETTINGS) -> ET.Element:
    found = ET.fromstring(archive(store, settings=settings)["eml.xml"]).find("dataset")
    assert found is not None
    return found


def test_metadata_names_people_licence_and_coverage_but_no_address(tmp_path: Path, local_store: Store) -> None:
    tables = two_nights()
    tables["users_user"][0]["email"] = "ada@example.org"
    built(local_store, tables, tmp_path / "p1")
    found = metadata(local_store)
    assert [element.tag for element in found] == [
        "title", "creator", "metadataProvider", "pubDate", "language", "abstract", "intellectualRights", "coverage",
        "contact", "methods",
    ]  # fmt: skip
    assert found.findtext("creator/individualName/surName") == "Ada Field"
    link = found.find("intellectualRights/para/ulink")
    assert link is not None
    assert link.get("url") == "http://creativecommons.org/licenses/by/4.0/legalcode"
    assert found.findtext(".//westBoundingCoordinate") == "8.0444"
    assert found.findtext(".//beginDate/calendarDate") == "2024-06-15"
    assert "@" not in "".join(found.itertext())


def test_the_box_of_stations_on_both_sides_of_180_degrees_does_not_span_the_world(
    tmp_path: Path, local_store: Store
) -> None:
    tables = two_nights()
    for station, longitude in zip(tables["main_deployment"], (179.25, -179.5), strict=True):
        station |= {"latitude": 47.3921, "longitude": longitude}
    built(local_store, tables, tmp_path / "p1")
    found = metadata(local_store)
    assert found.findtext(".//westBoundingCoordinate") == "179.25"
    assert found.findtext(".//eastBoundingCoordinate") == "-179.5"
    with zipfile.ZipFile(io.BytesIO(content(local_store, export(local_store, "camtrap_dp")))) as package:
        spatial = json.loads(package.read("datapackage.json"))["spatial"]
    assert spatial["type"] == "MultiPolygon"
    assert [[min(ring), max(ring)] for (ring,) in spatial["coordinates"]] == [
        [[179.25, 47.3921], [180, 47.3921]],
        [[-180, 47.3921], [-179.5, 47.3921]],
    ]


def test_the_publishers_own_address_is_shown(tmp_path: Path, local_store: Store) -> None:
    settings = SETTINGS.model_copy(update={"publisher": "Museum", "contact_email": "data@museum.example"})
    built(local_store, project(), tmp_path / "p1", settings)
    found = metadata(local_store, settings)
    assert found.findtext("contact/electronicMailAddress") == "data@museum.example"
    assert found.findtext("creator/organizationName") == "Museum"


@pytest.mark.parametrize(
    ("licence", "shown"), [("", "No licence is given"), ("All rights reserved", "All rights reserved")]
)
def test_without_a_licence_of_gbif_only_the_specifications_archive_is_made(
    tmp_path: Path, local_store: Store, licence: str, shown: str
) -> None:
    tables = project()
    tables["main_project"][0]["license"] = licence
    built(local_store, tables, tmp_path / "p1")
    made = export(local_store, "dwca")
    assert sum("licence" in warning for warning in made.manifest.warnings) == 1
    assert shown in archive(local_store)["eml.xml"]
    assert "creativecommons" not in archive(local_store)["eml.xml"]
    with pytest.raises(UsageError, match="CC-BY-NC"):
        export(local_store, "dwca", options={"profile": "gbif"})


def test_a_licence_from_the_settings_serves_projects_without_one(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_project"][0]["license"] = ""
    settings = SETTINGS.model_copy(update={"licence": "cc0"})
    built(local_store, tables, tmp_path / "p1", settings)
    assert "publicdomain/zero/1.0" in archive(local_store, "gbif", settings=settings)["eml.xml"]


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"collection_id": "7"}, [10, 11]),
    ({"collection_id": 8}, []),
    ({"collection_id": None}, [10, 11, 12]),
    ({"taxon_id": "2"}, [10, 11]),
    ({"taxon_id": "4"}, [10]),
    ({"taxon_id": "5"}, [12]),
    ({"verified": "true"}, [10]),
    ({"verified": "false"}, [11, 12]),
    ({"min_score": "0.4"}, [10, 11]),
    ({"min_score": "0.41"}, [10]),
    ({"deployment_id": "2"}, [11, 12]),
    ({"date_from": "2024-06-16"}, [11, 12]),
    ({"date_to": "2024-06-15"}, [10]),
    ({"date_from": "2024-06-15", "date_to": "2024-06-15"}, [10]),
    ({"apply_default_filters": "true"}, [10]),
    ({"apply_default_filters": "false"}, [10, 11, 12]),
    ({"collection_id": "7", "verified": "false"}, [11]),
]


def test_filters_choose_occurrences(published: Store) -> None:
    for filter_, ids in FILTERS:
        made = export(published, "occurrences_simple_csv", **filter_)
        rows = csv.DictReader(io.StringIO(content(published, made).decode()))
        assert [int(row["id"]) for row in rows] == ids, filter_
        assert made.manifest.record_count == made.manifest.files[0].rows == len(ids)


@pytest.mark.parametrize(("filter_", "ids"), [FILTERS[0], FILTERS[3], FILTERS[6], FILTERS[8], FILTERS[-1]])
def test_filters_choose_the_same_in_every_format(published: Store, filter_: dict[str, Any], ids: list[int]) -> None:
    assert [row["id"] for row in json_rows(published, **filter_)] == ids
    files = archive(published, **filter_)
    rows = tsv(files["occurrence.txt"])
    assert [int(row["occurrenceID"].rsplit(":", 1)[-1]) for row in rows] == ids
    assert {row["eventID"] for row in tsv(files["event.txt"])} == {row["eventID"] for row in rows}


def test_a_filtered_export_never_becomes_latest(published: Store) -> None:
    series_id = SeriesId("occurrences", "p1", "occurrences_simple_csv")
    export(published, "occurrences_simple_csv", verified="true")
    assert read_latest(published, series_id) is None
    export(published, "occurrences_simple_csv")
    export(published, "occurrences_simple_csv", verified="true")
    latest = read_latest(published, series_id)
    assert latest is not None
    assert latest.version == 2


@pytest.mark.parametrize("name", ["occurrences_simple_csv", "dwca"])
def test_a_filter_that_makes_no_sense_allocates_nothing(published: Store, name: str) -> None:
    for filter_ in (
        {"collection_id": "99"},
        {"collection_id": "9"},
        {"collection_id": "abc"},
        {"collection": "7"},
        {"taxon_id": "99"},
        {"deployment_id": "99"},
        {"min_score": "1.5"},
        {"min_score": "nan"},
        {"date_from": "soon"},
        {"date_from": "2024-07-01", "date_to": "2024-06-01"},
        {"verified": "perhaps"},
    ):
        with pytest.raises(UsageError):
            publish(published, OCCURRENCES, series(name), Request("p1", filter_), SETTINGS)
    assert list(published.list("exports")) == []


@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_nothing_to_show_is_an_export_too(tmp_path: Path, local_store: Store, name: str, options: Any) -> None:
    tables = project()
    tables |= {key: [] for key in ("main_occurrence", "main_detection", "main_classification")}
    built(local_store, tables, tmp_path / "p1")
    made = export(local_store, name, options=options)
    assert made.manifest.record_count == made.manifest.files[0].rows == 0
    if name == "occurrences_api_json":
        assert json.loads(content(local_store, made)) == []


@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_two_exports_have_the_same_bytes(published: Store, name: str, options: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    first, second = (export(published, name, options=options) for _ in range(2))
    assert first.export != second.export
    assert first.manifest.files[0].sha256 == second.manifest.files[0].sha256


def test_an_unchanged_project_makes_no_new_version(published: Store) -> None:
    again = [publish(published, OCCURRENCES, series("dwca"), Request("p1"), SETTINGS).unchanged for _ in range(2)]
    assert again == [False, True]


def test_hostile_texts_pass_through_every_format(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_project"][0] |= {"name": "".join(HOSTILE), "description": "".join(HOSTILE)}
    tables["main_project"][0] |= {"rights_holder": "".join(HOSTILE)}
    for number, text in enumerate(HOSTILE, 20):
        tables["main_deployment"].append({"id": number, "name": text, "project_id": 1})
        tables["main_event"].append({**tables["main_event"][0], "id": number, "deployment_id": number})
        tables["main_taxon"].append(
            {**tables["main_taxon"][3], "id": number, "name": text + " x", "common_name_en": text, "author": text}
        )
        tables["users_user"].append({"id": number, "name": text})
        tables["ml_algorithm"].append({**tables["ml_algorithm"][0], "id": number, "name": text})
        tables["main_sourceimage"].append({**tables["main_sourceimage"][0], "id": number, "path": text + ".jpg"})
        place = {"id": number, "event_id": number, "deployment_id": number, "determination_id": number}
        tables["main_occurrence"].append({**tables["main_occurrence"][0], **place})
        tables["main_detection"].append({**detection(number, number, 1), "source_image_id": number})
        tables["main_classification"].append(classification(number, number, number, 0.5, algorithm_id=number))
        tables.setdefault("main_identification", []).append(
            {**identification(number, number, number, None), "occurrence_id": number, "comment": text}
        )
    built(local_store, tables, tmp_path / "p1")
    kept = [text.replace("\0", "") for text in HOSTILE]
    rows = csv_rows(local_store)[1:]
    assert [row["deployment_name"] for row in rows] == kept
    assert [row["best_machine_prediction_algorithm"] for row in rows] == kept
    shown = json_rows(local_store)[1:]
    assert [row["identifications"][0]["comment"] for row in shown] == kept
    assert [row["determination"]["name"] for row in shown] == [f"{text} x" for text in kept]
    for profile in ("spec", "gbif"):
        files = archive(local_store, profile)
        quote = csv.QUOTE_MINIMAL if profile == "spec" else csv.QUOTE_NONE
        for name in files.keys() - {"meta.xml", "eml.xml"}:
            found = list(csv.reader(files[name].removesuffix("\n").split("\n"), delimiter="\t", quoting=quote))
            assert {len(row) for row in found} == {len(found[0])}, name
            assert not any(bad in files[name] for bad in ("\0", "\r", "\x07", "\ufffd"))


def test_lines_that_come_out_of_order_are_brought_in_order(tmp_path: Path, published: Store) -> None:
    with select(draft(published, "dwca", tmp_path), []) as chosen:
        query = "SELECT line, position FROM (VALUES ('third', 7), ('first', 1), ('second', 2)) v(line, position)"
        found = chosen.in_order(query)
    assert found.column("line").to_pylist() == ["first", "second", "third"]


def test_rows_are_taken_by_position_and_in_order_only() -> None:
    def of(*positions: int) -> InOrder:
        batches = [pa.record_batch({"position": pa.array([one, one])}) for one in positions]
        return InOrder(pa.RecordBatchReader.from_batches(batches[0].schema, batches))

    rows = of(1, 2, 2, 5)
    assert rows.position_of(3) == 2
    assert [rows.until(last).column("position").to_pylist() for last in (0, 2, 3, 5, 9)] == [
        [], [1, 1, 2, 2, 2, 2], [], [5, 5], [],
    ]  # fmt: skip
    with pytest.raises(VerificationError, match="not in the order"):
        of(2, 1).until(9)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=2))
def test_any_texts_fit_on_one_line(texts: list[str]) -> None:
    kept = delimited([quoted("a", '[",\\r\\n]'), quoted("b", '[",\\r\\n]')], ",")
    cleaned = delimited([one_line("a"), one_line("b")], "\t")
    with duckdb.connect() as database:
        query = f"SELECT {kept}, {cleaned} FROM (SELECT ?::VARCHAR AS a, ?::VARCHAR AS b)"
        ((line, tabbed),) = database.execute(query, texts).fetchall()
    assert list(csv.reader(io.StringIO(line, newline=""), strict=True)) == [texts]
    assert tabbed.count("\t") == tabbed.count("\n") == 1
    assert not any(ord(letter) < 32 for letter in tabbed.replace("\t", "").replace("\n", ""))


def broken_archive(folder: Path, change: Callable[[dict[str, str]], None], store: Store) -> Written:
    """An archive that was changed after it was written."""
    dwca = series("dwca")
    folder.mkdir()
    written = dwca.write(draft(store, "dwca", folder))
    dwca.verify(folder, written)
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as found:
        files = {name: found.read(name).decode() for name in found.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return written


def replace(name: str, old: str, new: str) -> Callable[[dict[str, str]], None]:
    def change(files: dict[str, str]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("eml.xml"), "no profile"),
        (lambda files: files.update({"../evil.txt": ""}), "no profile"),
        (replace("occurrence.txt", "moth-nights:11\t", "moth-nights:10\t"), "more than once"),
        (replace("event.txt", "event:moth-nights:2", "event:moth-nights:1"), "more than once"),
        (replace("occurrence.txt", "event:moth-nights:2", "event:moth-nights:3"), "there is no event"),
        (replace("occurrence.txt", "Noctua pronuba", ""), "scientificName is empty"),
        (replace("occurrence.txt", "basisOfRecord", "basis"), "names of its columns"),
        (replace("meta.xml", "terms/genus", "terms/tribe"), "does not describe"),
        (replace("meta.xml", "</archive>", ""), "cannot be read"),
        (replace("eml.xml", "pubDate>", "date>"), "no pubDate"),
        (lambda files: files.update({"event.txt": "\n".join(files["event.txt"].split("\n")[:2]) + "\n"}), "holds 1"),
    ],
)
def test_the_check_of_archives_notices(tmp_path: Path, published: Store, change: Any, message: str) -> None:
    written = broken_archive(tmp_path / "out", change, published)
    with pytest.raises(VerificationError, match=message):
        series("dwca").verify(tmp_path / "out", written)


@pytest.mark.parametrize("name", ["occurrences_simple_csv", "occurrences_api_json"])
@pytest.mark.parametrize("cut", [b"\n11,", b'{"id":11', b"id"])
def test_the_check_of_text_files_notices(tmp_path: Path, published: Store, name: str, cut: bytes) -> None:
    kind = series(name)
    (tmp_path / "out").mkdir()
    written = kind.write(draft(published, name, tmp_path / "out"))
    kind.verify(tmp_path / "out", written)
    (path,) = (tmp_path / "out").iterdir()
    data = path.read_bytes()
    if cut not in data:
        return
    path.write_bytes(data.replace(cut, b"\n10," if cut.startswith(b"\n") else cut[:-1] + b"0", 1))
    with pytest.raises(VerificationError):
        kind.verify(tmp_path / "out", written)
