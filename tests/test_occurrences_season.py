"""The page of a season shows what the other series say, and is whole without a network."""

import re
from pathlib import Path

from occurrences_inbox import SETTINGS, built, content, detection, draft, export, project

from sheaf.occurrences.writers.season_html import _map, verify_season, write_season
from sheaf.store.store import Store


def test_a_season_is_drawn_by_place_hour_date_and_taxon(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_deployment"] += [
        {"id": 2, "name": "Wood <b>", "project_id": 1, "latitude": 47.4921, "longitude": 8.1444},
        {"id": 3, "name": "Nowhere", "project_id": 1},
    ]
    first, event = tables["main_occurrence"][0], tables["main_event"][0]
    for number, (taxon, station, at) in enumerate(
        [(2, 2, "2024-06-17T23:10:00"), (4, 2, "2024-06-17"), (4, 3, "2024-06-18T01:00:00"), (5, 2, None)], 20
    ):
        tables["main_event"].append({**event, "id": number, "deployment_id": station})
        tables["main_occurrence"].append(
            {**first, "id": number, "determination_id": taxon, "event_id": number, "deployment_id": station}
        )
        tables["main_detection"].append(detection(number * 10, number, 1, timestamp=at))
    built(local_store, tables, tmp_path / "p1")
    published = export(local_store, "season_html")
    page = content(local_store, published).decode()
    assert "<p>4 occurrences of 2 taxa at 3 stations, 2024-06-15 to 2024-06-18.</p>" in page
    said = re.findall("<title>([^<]*)</title></(circle|rect)>", page)
    assert [text for text, kind in said if kind == "circle"] == ["Wood &lt;b&gt;: 2", "Meadow: 1"]
    assert [text for text, kind in said if kind == "rect"] == [
        "01:00: 1", "23:00: 2", "2024-06-15: 1", "2024-06-17: 2", "2024-06-18: 1",
    ]  # fmt: skip
    assert "1 stations have no coordinates" in page
    assert "1 occurrences have no time of day" in page
    line = re.search('polyline class="line" points="([^"]*)"', page)
    assert line is not None
    assert [of.split(",")[1] for of in line[1].split()] == ["120.0", "60.0", "60.0", "0.0", "0.0"]
    assert re.findall("<tr><td><i>([^<]*)</i>", page) == ["Noctua pronuba", "Lepidoptera"]
    assert published.manifest.counts == {"taxa": 2, "stations": 3}


def test_a_project_without_anything_has_a_page_too(tmp_path: Path, local_store: Store) -> None:
    built(local_store, project(), tmp_path / "p1")
    page = content(local_store, export(local_store, "season_html", date_from="2030-01-01")).decode()
    assert page.count("<section") == 5
    assert "Nothing was found." in page
    folder = tmp_path / "out"
    folder.mkdir()
    verify_season(folder, write_season(draft(local_store, "season_html", folder, SETTINGS)))


def test_a_map_is_true_to_scale_also_across_the_date_line() -> None:
    found = _map([("a", 60.0, 179.9, False, 1), ("b", 60.2, -179.9, True, 4)])
    assert found is not None
    (west, south), (east, north) = ((float(one["x"]), float(one["y"])) for one in found["dots"])
    assert abs((east - west) / (south - north) - 0.5) < 0.01  # a degree of longitude is half of one of latitude
    assert [one["kind"] for one in found["dots"]] == ["dot", "cell"]
    wide = _map([("a", 47.0, 8.0, False, 1), ("b", 47.0, 9.0, False, 1)])
    assert wide is not None
    assert [one["side"] for one in wide["dots"]] == ["start", "end"]  # names stay within the frame
