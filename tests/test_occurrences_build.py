"""Best detection, prediction and identification, names, order and ancestry follow the rules of the format."""

import os
from pathlib import Path
from typing import Any

import pytest
from occurrences_inbox import (
    SETTINGS,
    Row,
    Tables,
    built,
    classification,
    detection,
    export,
    identification,
    made,
    project,
    put,
)
from occurrences_inbox import rows as rows_of
from running import run_steps

from sheaf.errors import NotFoundError, RefusedError
from sheaf.licences import recognise
from sheaf.occurrences import schema
from sheaf.occurrences.analysis.dataset import slug_of
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.readers.ingest import ingest
from sheaf.occurrences.sample import season as sample_season
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind
from sheaf.tables.table import Table


def rows(store: Store, table: Table = schema.OCCURRENCES_TABLE) -> list[Row]:
    return rows_of(store, table)


def occurrence(store: Store, given: Tables, folder: Path) -> Row:
    """The only occurrence of a project."""
    built(store, given, folder)
    (row,) = rows(store)
    return row


def test_terminal_predictions_come_before_higher_scores(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_classification"] += [classification(1002, 100, 2, 0.99, terminal=False)]
    row = occurrence(local_store, given, tmp_path / "p1")
    assert (row["prediction_id"], row["prediction_name"], row["prediction_score"]) == (1001, "Noctua pronuba", 0.9)


def test_a_prediction_without_a_score_never_wins(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_classification"] += [classification(1002, 100, 2, None)]
    assert occurrence(local_store, given, tmp_path / "p1")["prediction_id"] == 1001


def test_of_equal_predictions_the_newest_id_wins(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_classification"] += [classification(1002, 100, 3, 0.9)]
    assert occurrence(local_store, given, tmp_path / "p1")["prediction_name"] == "Noctua"


def test_the_best_detection_has_the_highest_classification_score(tmp_path: Path, local_store: Store) -> None:
    row = occurrence(local_store, project(), tmp_path / "p1")
    assert row["detection_id"] == 101
    assert row["detection_capture_url"] == "https://img.example.org/trap/night/2.jpg"
    assert (row["detection_width"], row["detection_height"], row["detection_bbox"]) == (50, 80, "[100, 200, 150, 280]")


def test_of_equal_detections_the_lowest_id_wins_and_one_without_score_never_does(
    tmp_path: Path, local_store: Store
) -> None:
    given = project()
    given["main_classification"][0]["score"] = 0.9
    given["main_detection"].append(detection(99, 10, 1))
    assert occurrence(local_store, given, tmp_path / "p1")["detection_id"] == 100


def test_a_detection_that_found_nothing_does_not_count(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_detection"].append(detection(102, 10, 1, bbox=None, timestamp="2024-06-15T22:00:00"))
    given["main_classification"].append(classification(1002, 102, 2, 1.0))
    row = occurrence(local_store, given, tmp_path / "p1")
    assert (row["detections_count"], str(row["first_appearance"])) == (2, "2024-06-15 23:00:00")
    assert row["prediction_id"] == 1001


def test_occurrences_without_detection_or_determination_are_left_out(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_occurrence"] += [{**given["main_occurrence"][0], "id": 11}]
    given["main_occurrence"] += [{**given["main_occurrence"][0], "id": 12, "determination_id": None}]
    given["main_detection"] += [detection(102, 12, 1)]
    report = built(local_store, given, tmp_path / "p1")
    assert [row["id"] for row in rows(local_store)] == [10]
    assert any(warning.startswith("2 occurrences have no detection") for warning in report.warnings)


def test_the_newest_identification_that_is_not_withdrawn_counts(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_identification"] = [
        identification(1, 1, 4, "2024-07-03T10:00:00"),
        identification(2, 3, 3, "2024-07-04T10:00:00"),
        identification(3, 2, 2, "2024-07-05T10:00:00", withdrawn=True),
        identification(4, 1, 2, None),
    ]
    row = occurrence(local_store, given, tmp_path / "p1")
    assert (row["verified"], row["identification_id"], row["verified_by"]) == (True, 2, "Bo, Lind")
    assert row["participant_count"] == 2


def test_only_withdrawn_identifications_verify_nothing(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_identification"] = [identification(1, 1, 4, "2024-07-03T10:00:00", withdrawn=True)]
    row = occurrence(local_store, given, tmp_path / "p1")
    assert (row["verified"], row["verified_by"], row["participant_count"]) == (False, None, 0)


def test_of_identifications_of_one_moment_the_highest_id_counts(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_identification"] = [identification(k, k, 4, "2024-07-03T10:00:00") for k in (3, 1, 2)]
    row = occurrence(local_store, given, tmp_path / "p1")
    assert (row["identification_id"], row["verified_by"]) == (3, "Bo, Lind")


def test_agreement_names_the_algorithm_and_the_person(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_identification"] = [
        identification(1, 2, 4, "2024-07-03T10:00:00"),
        identification(2, 1, 4, "2024-07-04T10:00:00", agreed_with_identification_id=1, agreed_with_prediction_id=1000),
    ]
    row = occurrence(local_store, given, tmp_path / "p1")
    assert (row["agreed_with_user"], row["agreed_with_algorithm"]) == ("user:2", "Moths")
    assert (row["identified_by"], str(row["identified_at"])) == ("Ada Field", "2024-07-04 10:00:00")


def test_without_people_the_algorithm_identified_it(tmp_path: Path, local_store: Store) -> None:
    row = occurrence(local_store, project(), tmp_path / "p1")
    assert (row["identified_by"], str(row["identified_at"])) == ("Moths v3", "2024-06-20 08:00:00")


def test_order_is_by_session_start_then_session_then_id(tmp_path: Path, local_store: Store) -> None:
    given = project()
    event, first = given["main_event"][0], given["main_occurrence"][0]
    given["main_event"] += [{**event, "id": 2, "start": "2024-06-01T22:00:00"}, {**event, "id": 3}]
    places = [(11, 3), (12, 2), (13, 1), (14, None), (9, 3)]
    given["main_occurrence"] += [{**first, "id": id_, "event_id": session} for id_, session in places]
    given["main_detection"] += [detection(200 + id_, id_, 1) for id_, _ in places]
    report = built(local_store, given, tmp_path / "p1")
    assert [row["id"] for row in rows(local_store)] == [12, 10, 13, 9, 11, 14]
    assert [row["position"] for row in rows(local_store)] == list(range(6))
    assert report.counts["occurrences without a session"] == 1
    assert [row["position"] for row in rows(local_store, schema.DETECTIONS)] == [0, 1, 1, 2, 3, 4, 5]


def test_sessions_are_named_by_their_days(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_event"] = [
        {"id": number, "project_id": 1, "start": start, "end": end}
        for number, (start, end) in enumerate(
            [
                ("2024-06-05T01:00:00", "2024-06-05T03:00:00"),
                ("2024-06-15T22:00:00", "2024-06-16T03:00:00"),
                ("2024-06-16T22:00:00", None),
                ("2024-06-30T22:00:00", "2024-07-01T03:00:00"),
            ],
            1,
        )
    ]
    built(local_store, given, tmp_path / "p1")
    assert [row["name"] for row in rows(local_store, schema.EVENTS)] == [
        "Wednesday, Jun 5 2024",
        "Saturday, Jun 15-16 2024",
        "Sunday, Jun 16 2024",
        "Sunday, Jun 30-1 2024",
    ]


def test_image_addresses_are_joined_as_browsers_do(tmp_path: Path, local_store: Store) -> None:
    given = project()
    addresses = [
        ("https://a.org/x/", "/1.jpg", "https://a.org/x/1.jpg"),
        ("https://a.org/x", "1.jpg", "https://a.org/1.jpg"),
        ("https://a.org", "n/1.jpg", "https://a.org/n/1.jpg"),
        (None, "1.jpg", None),
        ("", "1.jpg", None),
        ("https://a.org/", "https://b.org/1.jpg", "https://b.org/1.jpg"),
    ]
    given["main_sourceimage"] = [
        {"id": number, "public_base_url": base, "path": path} for number, (base, path, _) in enumerate(addresses, 1)
    ]
    given["main_detection"] = [{**detection(100, 10, 1), "id": k, "source_image_id": k} for k in range(1, 7)]
    built(local_store, given, tmp_path / "p1")
    assert [row["capture_url"] for row in rows(local_store, schema.DETECTIONS)] == [url for _, _, url in addresses]


def test_crops_that_are_media_keys_get_the_configured_address(tmp_path: Path, local_store: Store) -> None:
    given = project()
    for row in given["main_detection"]:
        row["path"] = "detections/1.jpg"
    settings = SETTINGS.model_copy(update={"media_url": "https://media.example.org/"})
    built(local_store, given, tmp_path / "p1", settings)
    assert rows(local_store)[0]["detection_url"] == "https://media.example.org/detections/1.jpg"


def test_ranks_come_from_the_ancestors_or_the_taxon_itself(tmp_path: Path, local_store: Store) -> None:
    built(local_store, project(), tmp_path / "p1")
    found = {row["name"]: row for row in rows(local_store, schema.TAXA)}
    assert found["Animalia"]["kingdom"] == "Animalia"
    species = found["Noctua pronuba"]
    assert [species[rank] for rank in schema.RANKS] == ["Animalia", None, None, "Lepidoptera", None, "Noctua"]
    assert (species["specific_epithet"], species["authorship"]) == ("pronuba", "Linnaeus, 1758")
    assert species["ancestors"] == [1, 2, 3]
    assert found["Not a Moth"]["specific_epithet"] is None
    assert [row["name"] for row in found.values() if not row["is_taxon"]] == ["Not a Moth"]


def test_zero_zero_is_no_position(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_deployment"][0] |= {"latitude": 0, "longitude": 0.0}
    report = built(local_store, given, tmp_path / "p1")
    assert report.counts["stations without coordinates"] == 1
    assert rows(local_store, schema.EVENTS)[0]["latitude"] is None


def test_default_filters_apply_to_descendants(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_project_default_filters_include_taxa"] = [{"project_id": 1, "taxon_id": 2}]
    given["main_project_default_filters_exclude_taxa"] = [{"project_id": 1, "taxon_id": 3}]
    built(local_store, given, tmp_path / "p1")
    shown = {row["name"] for row in rows(local_store, schema.TAXA) if row["shown_by_default"]}
    assert shown == {"Lepidoptera"}
    assert rows(local_store, schema.DATASET)[0]["target_taxon"] == "Lepidoptera"


def test_the_slug_stays_once_something_was_published(tmp_path: Path, local_store: Store) -> None:
    def slug(name: str) -> str:
        given = project()
        given["main_project"][0]["name"] = name
        built(local_store, given, tmp_path / "p1")
        return rows(local_store, schema.DATASET)[0]["slug"]

    assert slug("Moth Nights") == "moth-nights"
    assert slug("Moths by Night") == "moths-by-night"
    export(local_store, "occurrences_simple_csv")
    assert slug("Renamed") == "moths-by-night"


@pytest.mark.parametrize(
    ("name", "slug"), [("Été – à Genève!", "ete-a-geneve"), ("東京", "p7"), ("a" * 200, "a" * 60), ("  -A- ", "a")]
)
def test_slugs_are_plain(name: str, slug: str) -> None:
    assert slug_of(name, "p7") == slug


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CC0", "CC0-1.0"),
        ("cc0-1.0", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC-BY", "CC-BY"),
        ("CC BY-1.0", "CC BY-1.0"),
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/deed.en", "CC-BY-NC-4.0"),
        ("CC BY-SA 4.0", "CC BY-SA 4.0"),
        ("CC BY 3.0", "CC BY 3.0"),
        ("https://creativecommons.org/licenses/by-nd/4.0/", "https://creativecommons.org/licenses/by-nd/4.0/"),
        ("All rights reserved", "All rights reserved"),
        ("CC_BY_4_0", "CC-BY-4.0"),
        ("CC0_1_0", "CC0-1.0"),
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("cc by 4.0", "CC-BY-4.0"),
        ("CCBY 4.0", "CC-BY-4.0"),
        ("CC BY\u00a04.0", "CC-BY-4.0"),
        ("CC BY 4.0 International License", "CC-BY-4.0"),
        ("Attribution 4.0 International (CC BY 4.0)", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution (CC BY 4.0) License", "CC-BY-4.0"),
        ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"),
        ("Public Domain (CC0 1.0)", "CC0-1.0"),
        ("http://creativecommons.org/licenses/by/4.0", "CC-BY-4.0"),
        ("creativecommons.org/licenses/by/4.0/legalcode.de?ref=chooser-v1", "CC-BY-4.0"),
        ("Creative Commons Attribution (CC-BY) 4.0 License", "CC-BY-4.0"),
        ("Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0 License", "CC-BY-NC-4.0"),
        ("CC BY 4.0 International Public License", "CC-BY-4.0"),
        ("Creative Commons CC BY 4.0", "CC-BY-4.0"),
        ("CC\u2013BY\u20134.0.", "CC-BY-4.0"),
        ("https://spdx.org/licenses/CC-BY-4.0.html", "CC-BY-4.0"),
        ("CC BY 4", "CC-BY-4.0"),
        ("CC_BY_3_0", "CC_BY_3_0"),
        ("CC BY-NC-SA 4.0", "CC BY-NC-SA 4.0"),
        ("CC-BY 4.0-ish", "CC-BY 4.0-ish"),
        ("public domain", "public domain"),
    ],
)
def test_licences_are_recognised_however_they_are_written(text: str, name: str) -> None:
    assert recognise(text) == name


def test_the_middle_of_a_cell_lies_on_this_earth(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    places = [(90.0, 180.0), (-90.0, -180.0), (71.2, 179.9)]
    station = tables["main_deployment"][0]
    tables["main_deployment"] = [
        {**station, "id": id_, "name": str(id_), "latitude": latitude, "longitude": longitude}
        for id_, (latitude, longitude) in enumerate(places, 1)
    ]
    first = tables["main_occurrence"][0]
    for id_ in (2, 3):
        tables["main_occurrence"].append({**first, "id": 100 + id_, "deployment_id": id_})
    settings = SETTINGS.model_copy(update={"sensitive_taxa": ("Noctua pronuba",), "sensitive_cell_degrees": 0.7})
    built(local_store, tables, tmp_path / "p1", settings)
    found = [(row["latitude"], row["longitude"]) for row in rows(local_store, schema.DEPLOYMENTS)]
    assert found == [(89.95, -179.75), (-89.95, -180.25 + 360), (71.05, -179.75)]


def test_a_project_that_was_never_ingested_is_not_found(local_store: Store) -> None:
    with pytest.raises(NotFoundError, match="sheaf run occurrences p9"):
        run_steps(local_store, OCCURRENCES, "p9", SETTINGS, Path(), ingest, only=["occurrences"])


def test_the_sample_season_shows_what_there_is_to_see(tmp_path: Path, local_store: Store) -> None:
    assert sample_season.write(tmp_path) == ["p1", "p2"]
    reports: dict[str, Any] = {}
    for key in ("p1", "p2"):
        found = made(local_store, tmp_path / "occurrences" / key, project=key)
        assert sum(account.rows(Kind.REJECT) for account in found["records"].generation.account) == 2
        reports[key] = found["occurrences"].report
    counts = reports["p1"].counts
    assert counts["detections"] > 4000
    assert counts["stations"] == 3
    assert counts["stations without coordinates"] == 1
    assert 0 < counts["verified"] < counts["occurrences"]
    assert {"rank species", "rank genus", "rank family", "rank order", "rank unknown"} <= counts.keys()
    assert reports["p2"].counts["verified"] == 0
    plots = reports["p1"].plots()
    assert set(plots) == {"Season", "Top taxa", "Stations"}
    assert all(png.startswith(b"\x89PNG") and len(png) < 50_000 for png in plots.values())
    assert reports["p1"].preview[0]["station"] == "Meadow"


def test_the_same_input_gives_the_same_tables_and_plots(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        sample_season.write(tmp_path / name)
        store = Store.open(str(tmp_path / f"{name}-store"))
        season = made(store, tmp_path / name / "occurrences" / "p1")["occurrences"]
        found.append((season.generation.data_version, season.report.plots(), season.report.preview))
    assert found[0] == found[1]


@pytest.mark.campaign
def test_a_store_that_is_no_folder_gives_the_same_exports(
    tmp_path: Path, local_store: Store, s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    folder, found = put(tmp_path / "p1", project()), []
    for store in (local_store, s3_store):
        made(store, folder)
        found.append([export(store, series.name).manifest.files for series in OCCURRENCES.series])
    assert found[0] == found[1]


def test_the_same_files_are_not_read_again(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", project())
    made(local_store, folder)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert all(found.unchanged for found in made(local_store, folder).values())


def test_predictions_are_not_replaced_by_none(tmp_path: Path, local_store: Store) -> None:
    """Of classifications without a taxon nothing can be made: the tables of before stay, and exports say why."""
    built(local_store, project(), tmp_path / "p1")
    before = rows(local_store, schema.PREDICTIONS)
    given = project()
    for row in given["main_classification"]:
        row["taxon_id"] = None
    folder = put(tmp_path / "p1", given)
    refused = run_steps(local_store, OCCURRENCES, "p1", SETTINGS, folder, ingest)["occurrences"].generation
    assert "predictions: 2 → 0" in (refused.refused or "")
    assert rows(local_store, schema.PREDICTIONS) == before
    for series in OCCURRENCES.series:
        with pytest.raises(RefusedError, match="predictions: 2 → 0"):
            export(local_store, series.name)


def test_capture_sets_may_be_taken_back(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_sourceimagecollection"] = [{"id": 7, "name": "First image", "project_id": 1}]
    given["main_sourceimagecollection_images"] = [{"sourceimagecollection_id": 7, "sourceimage_id": 1}]
    tables = (schema.COLLECTIONS, schema.COLLECTION_OCCURRENCES)
    for left, count in ((given, 1), (given | {"main_sourceimagecollection": []}, 0)):
        built(local_store, left, tmp_path / "p1")
        assert [len(rows(local_store, table)) for table in tables] == [count, count]
