"""An archive is accompanied by what GBIF will say of it, by GBIF's names."""

import json
from pathlib import Path

from occurrences_inbox import NOW, SETTINGS, Row, Tables, archive, built, content, detection, export, project, tsv

from sheaf.store.store import Store


def faulty() -> Tables:
    """Six occurrences more than five issues, at a place that is told too exactly."""
    tables = project()
    tables["main_project"][0] |= {"name": "Moths", "description": "", "license": ""}
    tables["main_deployment"][0] |= {"latitude": 47.392112, "longitude": 8.044}
    tables["main_taxon"].append({"id": 6, "name": "brown moth", "rank": "SPECIES", "parents_json": []})
    first, event = tables["main_occurrence"][0], tables["main_event"][0]
    event["end"] = "2024-06-15T23:50:00"
    tables["main_event"].append({**event, "id": 2, "start": "2051-06-15T22:00:00", "end": None})
    for number, (taxon, session, at) in enumerate(
        [(6, 1, None), (4, 1, "2024-06-16T01:00:00"), (4, 2, "2051-06-15T23:00:00"), (5, 1, None), (4, 1, None)], 20
    ):
        tables["main_occurrence"].append({**first, "id": number, "determination_id": taxon, "event_id": session})
        tables["main_detection"].append(detection(number * 10, number, 1, timestamp=at))
    return tables


def test_issues_have_gbifs_names_counts_and_examples(tmp_path: Path, local_store: Store) -> None:
    assert NOW.year < 2051
    built(local_store, faulty(), tmp_path / "p1")
    published = export(local_store, "validation_json")
    report: Row = json.loads(content(local_store, published))
    counts = {one["issue"]: one["count"] for one in report["issues"]}
    assert counts == {
        "COORDINATE_ROUNDED": 5, "COUNTRY_DERIVED_FROM_COORDINATES": 5, "LICENSE_MISSING_OR_UNKNOWN": 1,
        "RECORDED_DATE_MISMATCH": 1, "RECORDED_DATE_UNLIKELY": 1, "TAXON_MATCH_NONE": 1,
        "TITLE_MISSING_OR_TOO_SHORT": 1,
    }  # fmt: skip
    told = {one["issue"]: one["examples"] for one in report["issues"]}
    assert told["TAXON_MATCH_NONE"] == [{"id": "urn:ami:occurrence:moths:20", "value": "brown moth"}]
    assert told["RECORDED_DATE_MISMATCH"][0]["value"] == "2024-06-16 in an event of 2024-06-15"
    assert len(told["COORDINATE_ROUNDED"]) == 5
    assert report["left_out"][0] == "1 occurrences are not in the archive: names that are no taxa."
    assert published.manifest.counts["issues"] == counts
    assert export(local_store, "dwca").manifest.counts["issues"] == counts  # shown with each archive, too


def test_a_country_is_doubted_only_where_its_time_zones_are_far(tmp_path: Path, local_store: Store) -> None:
    def issues(country: str, latitude: float, longitude: float) -> set[str]:
        tables = project()
        tables["main_deployment"][0] |= {"latitude": latitude, "longitude": longitude}
        settings = SETTINGS.model_copy(update={"country_code": country, "title": "Moths of the valley"})
        built(local_store, tables, tmp_path / "p1", settings)
        counts = export(local_store, "validation_json", settings=settings).manifest.counts["issues"]
        assert isinstance(counts, dict)
        return set(counts)

    assert issues("CH", 47.39, 8.04) == set()
    assert issues("DE", 47.6, 7.6) == set()  # across the Rhine: nobody can know without borders
    assert issues("NO", 47.39, 8.04) == {"COUNTRY_COORDINATE_MISMATCH"}
    assert issues("XX", 47.39, 8.04) == {"COUNTRY_INVALID"}


def test_stations_of_a_project_across_a_border_have_their_own_country(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    for id_, name, more in ((2, "Ford", {"country_code": "de"}), (3, "Mill", {}), (4, "Ridge", {})):
        place = {**tables["main_deployment"][0], "id": id_, "name": name, "latitude": 47.7, "longitude": 8.6, **more}
        tables["main_deployment"].append(place)
        tables["main_event"].append({**tables["main_event"][0], "id": id_, "deployment_id": id_})
    told = {"country_code": "CH", "country_codes": {"Mill": "DE", "4": "NO"}, "title": "Moths of two countries"}
    settings = SETTINGS.model_copy(update=told)
    built(local_store, tables, tmp_path / "p1", settings)
    events = tsv(archive(local_store, "gbif", settings=settings)["event.txt"])
    assert [(row["locality"], row["countryCode"]) for row in events] == [
        ("Meadow", "CH"), ("Ford", "DE"), ("Mill", "DE"), ("Ridge", "NO"),
    ]  # fmt: skip
