"""What is published says nothing false about time, species and place, and nothing that isn't the public's."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import frictionless
import pytest
from occurrences_inbox import (
    SETTINGS,
    Row,
    Tables,
    archive,
    built,
    classification,
    content,
    csv_rows,
    detection,
    export,
    identification,
    ingested,
    json_rows,
    made,
    project,
    put,
    rows,
    tsv,
)
from running import run_steps
from test_occurrences_packages import put_package, seen
from test_occurrences_platforms import FORD, image, put_insights

from sheaf.occurrences import schema
from sheaf.occurrences.analysis.names import Meant, Name, understand
from sheaf.occurrences.clocks import spans
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.readers.ingest import ingest
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.occurrences.writers.camtrap_dp import TABLES
from sheaf.store.store import Store

SERIES = ("occurrences_simple_csv", "occurrences_api_json", "dwca", "camtrap_dp", "taxa_csv", "season_html")


def add(tables: Tables, number: int, taxon: int = 4, event: int = 1, station: int = 1, **seen: Any) -> None:
    """One more occurrence with one detection."""
    first = tables["main_occurrence"][0]
    tables["main_occurrence"].append(
        {**first, "id": number, "determination_id": taxon, "event_id": event, "deployment_id": station}
    )
    tables["main_detection"].append(detection(number * 10, number, 1, **seen))


def published_text(store: Store, settings: OccurrencesSettings = SETTINGS) -> str:
    """Everything that a reader of any series can see."""
    texts = []
    for name, options in [*((name, None) for name in SERIES), ("dwca", {"profile": "gbif"})]:
        found = export(store, name, options=options, settings=settings)
        data = content(store, found)
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as opened:
                texts += [opened.read(one).decode() for one in opened.namelist()]
        else:
            texts.append(data.decode())
        texts.append(found.manifest.model_dump_json(exclude={"made_with", "account"}))
    return "\n".join(texts)


def package(store: Store, settings: OccurrencesSettings = SETTINGS) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content(store, export(store, "camtrap_dp", settings=settings)))) as opened:
        found: dict[str, Any] = {
            name: list(csv.DictReader(io.StringIO(opened.read(f"{name}.csv").decode()))) for name in TABLES
        }
        return found | {"package": json.loads(opened.read("datapackage.json"))}


@pytest.mark.case("occurrences/zoned-times-shifted")
def test_utc_becomes_the_stations_time_and_other_offsets_stay(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_detection"] = []
    add(tables, 20, timestamp="2024-06-15T21:00:00Z")
    add(tables, 21, timestamp="2024-06-15T23:00:00+02:00")
    add(tables, 22, timestamp="2024-06-15T17:00:00-04:00")
    add(tables, 23, timestamp="2024-06-15T23:00:00")
    built(local_store, tables, tmp_path / "p1")
    times = [row["eventTime"] for row in tsv(archive(local_store)["occurrence.txt"])]
    assert times == ["23:00:00+02:00", "23:00:00+02:00", "17:00:00-04:00", "23:00:00+02:00"]
    warnings = export(local_store, "occurrences_simple_csv").manifest.warnings
    assert any("that of their coordinates is taken: Europe/Zurich (1)" in warning for warning in warnings)


def test_a_zone_comes_from_the_data_then_the_settings_then_the_coordinates(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    station = tables["main_deployment"][0]
    tables["main_deployment"] += [
        {**station, "id": 2, "time_zone": "Asia/Kolkata"},
        {**station, "id": 3, "latitude": None, "longitude": None},
        {**station, "id": 4, "time_zone": "Nowhere/Land"},
    ]
    built(local_store, tables, tmp_path / "p1")
    found = {row["id"]: (row["time_zone"], row["time_zone_from"]) for row in rows(local_store, schema.DEPLOYMENTS)}
    assert found == {
        1: ("Europe/Zurich", "coordinates"), 2: ("Asia/Kolkata", "data"), 3: (None, None),
        4: ("Europe/Zurich", "coordinates"),
    }  # fmt: skip
    settings = SETTINGS.model_copy(update={"time_zone": "America/Lima"})
    built(local_store, tables, tmp_path / "p1", settings)
    found = {row["id"]: row["time_zone_from"] for row in rows(local_store, schema.DEPLOYMENTS)}
    assert found == {1: "settings", 2: "data", 3: "settings", 4: "settings"}


def test_the_hours_in_which_clocks_change_have_no_offset(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_detection"] = []
    wanted = {
        "2024-10-27T01:59:59": "01:59:59+02:00", "2024-10-27T02:30:00": "02:30:00", "2024-10-27T03:00:00":
        "03:00:00+01:00", "2024-03-31T01:30:00": "01:30:00+01:00", "2024-03-31T02:30:00": "02:30:00",
        "2024-03-31T03:00:00": "03:00:00+02:00", "2024-10-27T00:30:00Z": "02:30:00+02:00",
        "2024-10-27T01:30:00Z": "02:30:00+01:00",
    }  # fmt: skip
    for number, time in enumerate(wanted, 20):
        add(tables, number, timestamp=time)
    built(local_store, tables, tmp_path / "p1")
    assert [row["eventTime"] for row in tsv(archive(local_store)["occurrence.txt"])] == list(wanted.values())


def test_a_night_in_which_clocks_are_turned_is_as_long_as_it_was(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    first = tables["main_event"][0]
    nights = {
        ("2024-10-26T22:00:00", "2024-10-27T06:00:00"): "9h 0m",
        ("2024-03-30T22:00:00", "2024-03-31T06:00:00"): "7h 0m",
        ("2024-10-27T02:50:00+02:00", "2024-10-27T02:10:00+01:00"): "20m",
        ("2024-10-27T00:50:00Z", "2024-10-27T01:10:00Z"): "20m",
    }
    tables["main_event"] = [
        {**first, "id": id_, "start": start, "end": end} for id_, (start, end) in enumerate(nights, 1)
    ]
    tables["main_detection"] = []
    add(tables, 20, event=3, timestamp="2024-10-27T02:50:00+02:00")
    tables["main_detection"].append(detection(999, 20, 1, timestamp="2024-10-27T02:10:00+01:00"))
    built(local_store, tables, tmp_path / "p1")
    efforts = {row["eventID"][-1]: row["samplingEffort"] for row in tsv(archive(local_store)["event.txt"])}
    assert efforts == {str(id_): effort for id_, effort in enumerate(nights.values(), 1)}
    (seen,) = csv_rows(local_store)
    assert (seen["first_appearance_timestamp"], seen["duration"]) == ("2024-10-27 02:50:00", "0:20:00")
    assert json_rows(local_store)[0]["duration"] == "P0DT00H20M00S"
    found = package(local_store)
    (of_event,) = [row for row in found["observations"] if row["scientificName"] and not row["mediaID"]]
    assert (of_event["eventStart"], of_event["eventEnd"]) == ("2024-10-27T02:50:00+02:00", "2024-10-27T02:10:00+01:00")
    assert found["deployments"][0]["coordinateUncertainty"] == "", "nobody said how well it is known"


def test_a_name_of_a_file_that_a_package_does_not_allow_costs_its_address(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_sourceimage"][0]["path"] = "cards/2026..07/a.jpg"
    built(local_store, tables, tmp_path / "p1")
    assert [row["filePublic"] for row in package(local_store)["media"]].count("false") == 1
    said = export(local_store, "camtrap_dp").manifest.warnings
    assert "Addresses of 1 images are not in the package: it allows no two dots within one." in said


@pytest.mark.parametrize("zone", ["Europe/Zurich", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_spans_say_what_the_zone_says(zone: str) -> None:
    first, last = datetime(2023, 1, 1), datetime(2025, 1, 1)
    found = list(spans(zone, first, last))
    for hour in range(0, 2 * 365 * 24, 7):
        at = first + timedelta(hours=hour)
        (minutes,) = [minutes for start, end, minutes in found if start <= at < end]
        offset = ZoneInfo(zone).utcoffset(at.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone)))
        assert offset == timedelta(minutes=minutes)


def test_a_session_without_a_usable_time_takes_that_of_its_images(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_event"][0] |= {"start": "15/06/2024 22:00", "end": None}
    built(local_store, tables, tmp_path / "p1")
    (event,) = tsv(archive(local_store)["event.txt"])
    assert (event["eventDate"], event["eventTime"]) == ("2024-06-15", "23:00:00+02:00")
    warnings = export(local_store, "dwca").manifest.warnings
    assert "1 rows of main_event: start is not a date with a time." in warnings


@pytest.mark.case("occurrences/own-time-and-empty-nights")
def test_nights_in_which_nothing_was_found_are_events(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    event = tables["main_event"][0]
    tables["main_event"].append({**event, "id": 2, "start": "2024-06-16T22:00:00", "end": "2024-06-17T03:00:00"})
    tables["main_event"].append({**event, "id": 3, "start": "2024-06-17T22:00:00", "end": "2024-06-18T03:00:00"})
    add(tables, 30, taxon=5, event=3)  # Not a Moth
    built(local_store, tables, tmp_path / "p1")
    for profile in ("spec", "gbif"):
        files = archive(local_store, profile)
        assert [row["eventID"][-1] for row in tsv(files["event.txt"])] == ["1", "2", "3"]
        assert len(tsv(files["occurrence.txt"])) == 1
    assert [row["samplingEffortValue"] for row in tsv(archive(local_store, "gbif")["humboldt.txt"])] == ["30"] * 3
    by_date = archive(local_store, date_from="2024-06-16", date_to="2024-06-16")
    assert [row["eventID"][-1] for row in tsv(by_date["event.txt"])] == ["2"]
    assert len(tsv(archive(local_store, verified="false")["event.txt"])) == 1  # says nothing of other nights
    found = package(local_store)
    assert [row["observationID"] for row in found["observations"] if row["observationType"] == "blank"] == [
        "event-2",
        "event-3",
    ]


NAMES = {
    ("Noctua cf. pronuba", "SPECIES"): Name("Noctua", "GENUS", "cf. pronuba"),
    ("Insecta indet.", "UNKNOWN"): Name("Insecta", "CLASS", "indet."),
    ("Lepidoptera sp.", "SPECIES"): Name("Lepidoptera", "ORDER", "sp."),
    ("Strigiformes indet.", "SPECIES"): Name("Strigiformes", "ORDER", "indet."),
    ("Xylota indet.", "UNKNOWN"): Name("Xylota", "UNKNOWN", "indet."),
    ("bird sp.", "UNKNOWN"): Name("bird", "UNKNOWN", "sp."),
    ("Mammalia", "UNKNOWN"): Name("Mammalia", "CLASS"),
    ("Influenza A virus (A/Iowa/1976)", "UNKNOWN"): Name("Influenza A virus (A/Iowa/1976)", "UNKNOWN"),
    ("Homo sapien", "SPECIES"): Name("", "UNKNOWN", person=True),
    ("пусто", "UNKNOWN"): Name("", "UNKNOWN"),
    ("人", "UNKNOWN"): Name("", "UNKNOWN", person=True),
    ("Noctua aff. pronuba", "SPECIES"): Name("Noctua", "GENUS", "aff. pronuba"),
    ("Canis lupus cf. dingo", "SUBSPECIES"): Name("Canis lupus", "SPECIES", "cf. dingo"),
    ("Noctua sp.", "SPECIES"): Name("Noctua", "GENUS", "sp."),
    ("Noctua sp. 2", "UNKNOWN"): Name("Noctua", "GENUS", "sp. 2"),
    ("Noctuidae spp.", "FAMILY"): Name("Noctuidae", "FAMILY", "spp."),
    ("Noctua pronuba?", "SPECIES"): Name("Noctua", "GENUS", "pronuba?"),
    ("Noctua pronuba (?)", "SPECIES"): Name("Noctua", "GENUS", "pronuba?"),
    ("Noctua ?pronuba", "SPECIES"): Name("Noctua", "GENUS", "?pronuba"),
    ("Noctua pronuba/comes", "SPECIES"): Name("Noctua", "GENUS", "pronuba/comes"),
    ("Noctua aff.janthe", "SPECIES"): Name("Noctua", "GENUS", "aff.janthe"),
    ("Noctua_pronuba", "UNKNOWN"): Name("Noctua pronuba", "UNKNOWN"),
    ("nan", "SPECIES"): Name("", "UNKNOWN"),
    ("Noctua pronuba agg.", "SPECIES"): Name("Noctua pronuba", "SPECIES", "agg."),
    ("Quercus x rosacea", "SPECIES"): Name("Quercus ×rosacea", "SPECIES"),
    ("Anas crecca × Anas acuta", "SPECIES"): Name("Anas crecca × Anas acuta", "UNKNOWN"),
    ("Canis lupus subsp. dingo", "SUBSPECIES"): Name("Canis lupus subsp. dingo", "SUBSPECIES"),
    ("Manis javanica", "SPECIES"): Name("Manis javanica", "SPECIES"),
    ("Nothocrax", "GENUS"): Name("Nothocrax", "GENUS"),
    ("Animal", "UNKNOWN"): Name("Animalia", "KINGDOM"),
}


def test_a_name_is_what_was_determined_and_the_rest_is_a_qualifier() -> None:
    assert {given: understand(*given, []) for given in NAMES} == NAMES
    genus = [("Noctua", "GENUS")]
    for spelt in ("NOCTUA PRONUBA", "noctua pronuba"):
        assert understand(spelt, "SPECIES", genus).scientific == "Noctua pronuba"
    assert understand("brown moth", "SPECIES", genus).scientific == "brown moth", "no genus is called so"
    assert understand("cf. Noctua", "GENUS", [("Noctuidae", "FAMILY")]) == Name("Noctuidae", "FAMILY", "cf. Noctua")


@pytest.mark.case("occurrences/impossible-dates")
def test_dates_that_cannot_be_are_read_or_told_of_and_none_is_quiet(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    times = {
        1: "2051-07-01T21:30:00", 2: "1970-01-01T00:00:12", 3: "2024-07-02T04:00:00", 4: "2024:07:01 21:00:00",
        5: "20240701T210000", 6: "2024-07-01T24:00:00", 7: "01/07/2024 21:00", 8: "2024-02-30T21:00:00",
    }  # fmt: skip
    first, tables["main_event"] = tables["main_event"][0], []
    for number, start in times.items():
        end = "2024-07-01T21:00:00" if number == 3 else None
        tables["main_event"].append({**first, "id": number, "start": start, "end": end})
        add(tables, number * 10 + 100, event=number, timestamp=None)
    built(local_store, tables, tmp_path / "p1")
    events = {row["eventID"].rpartition(":")[2]: row for row in tsv(archive(local_store)["event.txt"])}
    assert {key: row["eventDate"] for key, row in events.items() if key not in "78"} == {
        "1": "2051-07-01", "2": "1970-01-01", "3": "2024-07-02", "4": "2024-07-01", "5": "2024-07-01",
        "6": "2024-07-02",
    }  # fmt: skip
    for name in SERIES:
        said = export(local_store, name).manifest.warnings
        assert (
            "2 rows of main_event: start is before 1990 or after today: the clock was wrong; published as it is."
            in said
        )
        assert "1 rows of main_event: end is before start: kept without an end." in said
        assert "2 rows of main_event: start is not a date with a time." in said


# Names that GBIF's name parser publishes as examples in its tests, with what it makes of them (github.com/gbif/
# name-parser). Where Darwin Core has a place of its own for a qualifier, the name ends before it, as everywhere here.
PARSED = [
    ("Diodia teres Walter", "Diodia teres", "SPECIES", "", "Walter"),
    ("Zophosis persis (Chatanay 1914)", "Zophosis persis", "SPECIES", "", "(Chatanay 1914)"),
    ("Agrostis hyemalis (Walter) Britton, Sterns, & Poggenb.", "Agrostis hyemalis", "SPECIES", "",
     "(Walter) Britton, Sterns, & Poggenb."),
    ("Gracillaria v-flava Haworth, 1828", "Gracillaria v-flava", "SPECIES", "", "Haworth, 1828"),
    ("Anniella nigra FISCHER 1885", "Anniella nigra", "SPECIES", "", "FISCHER 1885"),
    ("Angiopteris d'urvilleana de Vriese", "Angiopteris d'urvilleana", "SPECIES", "", "de Vriese"),
    ("Megistocera tenuis (van der Wulp, 1885)", "Megistocera tenuis", "SPECIES", "", "(van der Wulp, 1885)"),
    ("Cirsium creticum d'Urv.", "Cirsium creticum", "SPECIES", "", "d'Urv."),
    ("Calycostylis aurantiaca Hort. ex Vilmorin", "Calycostylis aurantiaca", "SPECIES", "", "Hort. ex Vilmorin"),
    ("Nitocris (Nitocris) similis Breuning, 1956", "Nitocris (Nitocris) similis", "SPECIES", "", "Breuning, 1956"),
    ("Acripeza Guérin-Ménéville 1838", "Acripeza", "SPECIES", "", "Guérin-Ménéville 1838"),
    ("Woodsiaceae (Hooker) Herter", "Woodsiaceae", "SPECIES", "", "(Hooker) Herter"),
    ("Huaiyuanella Xing, Yan & Yin, 1984", "Huaiyuanella", "SPECIES", "", "Xing, Yan & Yin, 1984"),
    ("Caveasphaera Xiao & Knoll, 2000", "Caveasphaera", "SPECIES", "", "Xiao & Knoll, 2000"),
    ("†Titanoptera", "Titanoptera", "SPECIES", "", ""),
    ("Poa pratensis subsp. anceps (Gaudin) Dumort., 1824", "Poa pratensis subsp. anceps", "SUBSPECIES", "",
     "(Gaudin) Dumort., 1824"),
    ("Abies alba ssp. alpina Mill.", "Abies alba ssp. alpina", "SUBSPECIES", "", "Mill."),
    ("Baccharis microphylla Kunth var. rhomboidea Wedd. ex Sch. Bip.", "Baccharis microphylla var. rhomboidea",
     "VARIETY", "", "Wedd. ex Sch. Bip."),
    ("Hexaconthium pachydermum forma legitime Cortese & Bjørklund 1998", "Hexaconthium pachydermum forma legitime",
     "FORM", "", "Cortese & Bjørklund 1998"),
    ("Cirsium creticum d'Urv. subsp. creticum", "Cirsium creticum subsp. creticum", "SUBSPECIES", "", ""),
    ("Trisulcus aff. nana  Petrushevskaya, 1971", "Trisulcus", "GENUS", "aff. nana", ""),
    ("Trisulcus aff. nana  (Popofsky, 1913), Petrushevskaya, 1971", "Trisulcus", "GENUS", "aff. nana", ""),
    ("Achillea millefolium agg. L.", "Achillea millefolium", "SPECIES", "agg.", "L."),
    ("Strumigenys koningsbergeri-group", "Strumigenys koningsbergeri", "SPECIES", "group", ""),
    ("Selenophorus parumpunctatus species group", "Selenophorus parumpunctatus", "SPECIES", "species group", ""),
    ("Monomorium monomorium group", "Monomorium monomorium", "SPECIES", "group", ""),
    ("Achillea millefolium sensu latu", "Achillea millefolium", "SPECIES", "sensu latu", ""),
    ("Achillea millefolium s.str.", "Achillea millefolium", "SPECIES", "s.str.", ""),
    ("×Pyrocrataegus willei L.L. Daniel", "×Pyrocrataegus willei", "SPECIES", "", "L.L. Daniel"),
    (" X Pyrocrataegus willei L. L. Daniel", "×Pyrocrataegus willei", "SPECIES", "", "L. L. Daniel"),
    ("Pyrocrataegus ×willei L. L. Daniel", "Pyrocrataegus ×willei", "SPECIES", "", "L. L. Daniel"),
    ("Pyrocrataegus X willei L. L. Daniel", "Pyrocrataegus ×willei", "SPECIES", "", "L. L. Daniel"),
    ("Pyrocrataegus willei ×libidi  L.L.Daniel", "Pyrocrataegus willei ×libidi", "UNKNOWN", "", "L.L.Daniel"),
    ("Pyrocrataegus willei nothosubsp. libidi  L.L.Daniel", "Pyrocrataegus willei nothosubsp. libidi", "SUBSPECIES",
     "", "L.L.Daniel"),
    ("Polypodium  x vulgare nothosubsp. mantoniae (Rothm.) Schidlay", "Polypodium ×vulgare nothosubsp. mantoniae",
     "SUBSPECIES", "", "(Rothm.) Schidlay"),
    ("Rattus rattus or R. norvegicus", "Rattus", "GENUS", "rattus or R. norvegicus", ""),
    ("Rattus cf. R. norvegicus", "Rattus", "GENUS", "cf. R. norvegicus", ""),
    ("Rattus cf R. norvegicus", "Rattus", "GENUS", "cf R. norvegicus", ""),
    ("Noctuidae cf. Noctua", "Noctuidae", "FAMILY", "cf. Noctua", ""),
    ("Noctua pronuba cf.", "Noctua", "GENUS", "pronuba cf.", ""),
    ("? Noctua pronuba", "Noctua", "GENUS", "pronuba?", ""),
    ("Yponomeuta malinellus/padella agg.", "Yponomeuta", "GENUS", "malinellus/padella agg.", ""),
    ("Myotis mystacinus/brandtii/alcathoe", "Myotis", "GENUS", "mystacinus/brandtii/alcathoe", ""),
    ("Noctua pronuba auct. non L.", "Noctua pronuba", "SPECIES", "", "auct. non L."),
    ("Noctua BOLD:AAA1234", "Noctua", "GENUS", "BOLD:AAA1234", ""),
    ("BOLD:AAA1234", "BOLD:AAA1234", "UNKNOWN", "", ""),
    ("Brown rat or mouse", "Brown rat or mouse", "SPECIES", "", ""),
    ("indet.", "", "UNKNOWN", "", ""),
    *((formula, formula.strip().replace(" X ", " × ").replace(" x ", " × "), "UNKNOWN", "", "") for formula in (
        "Asplenium rhizophyllum DC. x ruta-muraria E.L. Braun 1939", "Asplenium rhizophyllum x ruta-muraria",
        "Arthopyrenia hyalospora X Hydnellum scrobiculatum", "Arthopyrenia hyalospora × ? ",
        "Salix aurita L. × S. caprea L.", "Mentha aquatica L. × M. arvensis L. × M. spicata L.",
        "Acer campestre x lobelii")),
]  # fmt: skip


@pytest.mark.parametrize(("given", "name", "rank", "qualifier", "author"), PARSED)
def test_a_name_is_understood_as_gbifs_parser_does(
    given: str, name: str, rank: str, qualifier: str, author: str
) -> None:
    assert understand(given, "SPECIES", []) == Name(name, rank, qualifier, authorship=author)


@pytest.mark.parametrize(
    "name",
    [
        *("Snow leopard", "Ghost moth", "Boat-billed heron", "Rain quail", "Bicycle lizard", "Hunter's hartebeest"),
        *("Train bearer", "Wind scorpion", "Auto stick insect", "Wind-blown moth"),
    ],
)
def test_an_animal_may_begin_with_a_word_that_is_none(name: str) -> None:
    assert understand(name, "UNKNOWN", []) == Name(name, "UNKNOWN")


@pytest.mark.parametrize("name", ["Red Fox", "Large Yellow Underwing", "Black-tailed Godwit"])
def test_an_english_name_has_no_author(name: str) -> None:
    assert understand(name, "SPECIES", []).scientific == name


def test_an_author_within_a_name_is_published_as_such(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_taxon"][3] |= {"name": "Noctua pronuba (Linnaeus, 1758)", "author": "", "authorship_date": None}
    built(local_store, tables, tmp_path / "p1")
    (found,) = tsv(archive(local_store, "gbif")["occurrence.txt"])
    assert (found["scientificName"], found["scientificNameAuthorship"]) == ("Noctua pronuba", "(Linnaeus, 1758)")


@pytest.mark.parametrize(
    ("name", "person"),
    [
        *((name, False) for name in ("Empty frame", "Wind (grass)", "Vehicle 2", "Camera check - north")),
        *((name, False) for name in ("Blank", "EMPTY", "Vehicle", "vehicle: car", "Misfire", "Set-up", "Setup_Pickup")),
        *(
            (name, False)
            for name in ("Not a Moth", "non-moth", "No animal", "Unknown moth", "Fehlauslösung", "Véhicule")
        ),
        *((name, True) for name in ("Human", "homo sapiens", "Homo sapiens sapiens", "Person", "Mensch", "Humain")),
        *((name, True) for name in ("Human: hiker", "humano", "Menneske")),
        *((name, True) for name in ("Homo sp.", "cf. Homo sapiens", "Homo cf. sapiens", "H. sapiens", "Men", "Women")),
        *(
            (name, True)
            for name in ("hunters", "homme", "femme", "chasseur", "Hombre", "Mujer", "Mann", "Frau", "Jäger")
        ),
        *(
            (name, True)
            for name in ("poacher", "Dog with Handler", "Vulpes vulpes/Homo sapiens", "Vehicle with person")
        ),
        *((name, True) for name in ("Human: hiker", "humano", "Menneske", "Person walking", "Hunter (two)")),
    ],
)
def test_what_is_no_taxon_is_known_however_it_is_written(name: str, person: bool) -> None:
    found = understand(name, "UNKNOWN", [])
    assert (found.is_taxon, found.person) == (False, person)


@pytest.mark.parametrize(
    "name", ["Pheidole megacephala Hunter", "Formica Mann, 1919", "Canis lupus", "Danaus plexippus", "German shepherd"]
)
def test_who_named_an_animal_is_not_on_its_image(name: str) -> None:
    assert understand(name, "UNKNOWN", []).is_taxon


def test_people_and_their_pictures_are_not_published(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_taxon"].append({"id": 8, "name": "Homo Sapiens", "rank": "SPECIES"})
    image = tables["main_sourceimage"][0]
    tables["main_sourceimage"].append({**image, "id": 3, "path": "forest/ranger.jpg"})
    add(tables, 30, taxon=8, source_image_id=3, path="https://img.example.org/crop/somebody.jpg")
    add(tables, 31, source_image_id=3, path="https://img.example.org/crop/moth-on-a-hat.jpg")  # on the same image
    # nor where a machine alone saw somebody, or a person did, or a row cannot be used
    for number in (4, 5, 6, 7):
        tables["main_sourceimage"].append({**image, "id": number, "path": f"forest/ranger.jpg?{number}"})
        add(tables, 28 + number, source_image_id=number, path=f"https://img.example.org/{number}/hat.jpg")
    add(tables, 40, source_image_id=4)
    add(tables, 41, source_image_id=5, occurrence_id=None)
    tables["main_occurrence"] = [row for row in tables["main_occurrence"] if row["id"] != 41]
    tables["main_occurrence"][-1]["determination_id"] = None
    tables["main_classification"] += [classification(4000, 400, 8, 0.5), classification(4001, 410, 8, 0.5)]
    tables["main_identification"] = [
        {**identification(1, 3, 8, "2024-07-03T10:00:00", comment="It is Ada."), "occurrence_id": 34}
    ]
    add(tables, 42, taxon=8, event=99, source_image_id=7)  # there is no such session
    built(local_store, tables, tmp_path / "p1")
    text = published_text(local_store)
    assert not [part for part in ("ranger.jpg", "somebody.jpg", "hat.jpg", "It is Ada", "Homo Sapiens") if part in text]
    for profile in ("spec", "gbif"):
        names = {row["scientificName"] for row in tsv(archive(local_store, profile)["occurrence.txt"])}
        assert names == {"Noctua pronuba"}
    assert "1 occurrences are not in the archive: people." in export(local_store, "dwca").manifest.warnings


LYNX: Row = {"id": 8, "name": "Lynx lynx", "rank": "SPECIES", "gbif_taxon_key": 2435240}
SYNONYM: Row = {"id": 9, "name": "Felis lynx", "rank": "SPECIES", "synonym_of_id": 8}
SECRETS = ("46.123", "7.654", "Den Valley", "DenValley", "under the rock", "lynx-1.jpg")


def with_a_lynx(taxon: int = 8) -> Tables:
    tables = project()
    tables["main_taxon"] += [LYNX, SYNONYM, {"id": 10, "name": "Lynx lynx carpathicus", "rank": "SUBSPECIES"}]
    tables["main_project"][0]["description"] = "Cameras, also in Den Valley 3."
    tables["main_deployment"].append(
        {"id": 2, "name": "Den Valley 3", "project_id": 1, "latitude": 46.123456, "longitude": 7.654321}
    )
    tables["main_event"].append({**tables["main_event"][0], "id": 2, "deployment_id": 2})
    tables["main_sourceimage"].append(
        {
            **tables["main_sourceimage"][0],
            "id": 3,
            "path": "DenValley/46.123456_7.654321/lynx-1.jpg",
            "deployment_id": 2,
            "event_id": 2,
        }
    )
    add(tables, 30, taxon, 2, 2, source_image_id=3, path="https://img.example.org/DenValley/lynx-1.jpg")
    add(tables, 31, 4, 2, 2, source_image_id=3)
    tables["main_identification"] = [
        {**identification(1, 3, taxon, "2024-07-03T10:00:00"), "occurrence_id": 30, "comment": "under the rock"}
    ]
    return tables


@pytest.mark.case("occurrences/sensitive-lynx")
@pytest.mark.parametrize(
    ("wanted", "taxon"),
    [
        ("LYNX  lynx", 10),
        ("Felis lynx", 8),
        pytest.param(2435240, 8, marks=pytest.mark.campaign),
        pytest.param("lynx lynx", 8, marks=pytest.mark.campaign),
        pytest.param("Lynx lynx", 9, marks=pytest.mark.campaign),
        pytest.param("Lynx", 8, marks=pytest.mark.campaign),
        pytest.param("Lynx lynx (Linnaeus, 1758)", 8, marks=pytest.mark.campaign),
    ],
)
def test_a_sensitive_place_is_in_no_file_of_any_series(
    tmp_path: Path, local_store: Store, wanted: str | int, taxon: int
) -> None:
    settings = SETTINGS.model_copy(update={"sensitive_taxa": (wanted,)})
    built(local_store, with_a_lynx(taxon), tmp_path / "p1", settings)
    text = published_text(local_store, settings)
    assert not [secret for secret in SECRETS if secret in text]
    event = tsv(archive(local_store, settings=settings)["event.txt"])[1]
    assert (event["decimalLatitude"], event["decimalLongitude"], event["locationID"]) == ("46.15", "7.65", "Station 2")
    assert int(event["coordinateUncertaintyInMeters"]) > 6000
    other = tsv(archive(local_store, settings=settings)["event.txt"])[0]
    assert (other["decimalLatitude"], other["locationID"]) == ("47.3921", "Meadow")


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        *((name, True) for name in ("Lynx_lynx", "†Lynx lynx", "Lynx (Lynx) lynx", "Lynx ?lynx", "cf. Lynx lynx")),
        *((name, True) for name in ("Lynx lynx/pardinus", "Lynx pardinus/lynx", "Lynx pardinus × Lynx lynx")),
        *((name, True) for name in ("LYNX LYNX", "L. lynx", "Lynx\u00a0lyn\u00adx", "Felis silvestris or Lynx lynx")),
        *((name, True) for name in ("Lynx cf. lynx", "Lynx lynx?", "Lynx lynx carpathicus (Kratochvil, 1963)")),
        *(
            (name, False)
            for name in ("Lynx", "Lynx sp.", "Lynx rufus", "Lynx (Lynx) rufus", "Felis lynxiana", "L. rufus")
        ),
    ],
)
def test_a_sensitive_name_means_every_name_that_may_be_it(name: str, hidden: bool) -> None:
    lynx = (1, "Lynx lynx", 2435240, None, [])
    synonym, double = (2, "Felis lynx", None, 1, []), (3, "Eurasischer Luchs", 2435240, None, [])
    meant = Meant([lynx, synonym, double, (4, name, None, None, []), (5, "kitten", None, None, [(4, name)])])
    for wanted in ("lynx LYNX", "Lynx lynx (Linnaeus, 1758)", "Lynx (Lynx) lynx", "Felis lynx", 2435240, "2435240"):
        assert meant.by(wanted) == {1, 2, 3, *((4, 5) if hidden else ())}
    assert meant.by("Felis linx") == set()


def camera_trap(folder: Path) -> None:
    """A Camtrap DP whose only station has seen a lynx."""
    put_package(
        folder,
        [seen("o-1", "media", 0, scientificName="Lynx lynx", observationComments="under the rock")],
        deployments=[{"deploymentID": "d-1", "locationName": "Den Valley 3", "latitude": 46.123456,
                      "longitude": 7.654321}],
        media=[{"mediaID": "m-0", "deploymentID": "d-1", "timestamp": "2024-06-15T23:00:00+02:00",
                "filePath": "https://img.example.org/DenValley/lynx-1.jpg", "filePublic": "true"}],
    )  # fmt: skip


def insights(folder: Path) -> None:
    """A download of Wildlife Insights of the same."""
    lynx = image(1, 0, genus="Lynx", species="lynx", family="Felidae", common_name="Eurasian Lynx", project_id=1,
                 deployment_id="Den Valley 3", location="https://img.example.org/DenValley/lynx-1.jpg")  # fmt: skip
    station = {**FORD, "project_id": 1, "deployment_id": "Den Valley 3", "placename": "Den Valley 3",
               "latitude": 46.123456, "longitude": 7.654321}  # fmt: skip
    put_insights(folder, [lynx], [station])


@pytest.mark.parametrize("deliver", [camera_trap, pytest.param(insights, marks=pytest.mark.campaign)])
def test_a_sensitive_place_of_a_camera_trap_is_in_no_file_either(
    tmp_path: Path, local_store: Store, deliver: Callable[[Path], None]
) -> None:
    deliver(tmp_path / "p1")
    settings = SETTINGS.model_copy(update={"sensitive_taxa": ("lynx lynx",), "licence": "CC-BY-4.0"})
    made(local_store, tmp_path / "p1", settings)
    text = published_text(local_store, settings)
    assert "Lynx lynx" in text
    assert not [secret for secret in SECRETS if secret in text]
    (event,) = tsv(archive(local_store, settings=settings)["event.txt"])
    assert (event["decimalLatitude"], event["decimalLongitude"]) == ("46.15", "7.65")


def test_a_sensitive_taxon_that_the_project_does_not_have_stops_it(tmp_path: Path, local_store: Store) -> None:
    settings = SETTINGS.model_copy(update={"sensitive_taxa": ("Lynx linx",)})
    folder = put(tmp_path / "p1", with_a_lynx())
    found = run_steps(local_store, OCCURRENCES, "p1", settings, folder, ingest)["occurrences"].generation
    assert "sensitive_taxa names 'Lynx linx', which is no taxon of p1" in (found.refused or "")


def test_nothing_that_is_not_the_publics_is_in_any_file(tmp_path: Path, local_store: Store) -> None:
    secrets = {
        "path": "https://s3.example.org/a/secret-1.jpg?X-Amz-Signature=abc",
        "public_base_url": "http://10.1.2.3:9000/secret-2/",
    }
    more = (
        "https://user:secret-3@img.example.org/a.jpg", "https://img.example.org/secret-4.jpg?token=x",
        "http://minio.internal/secret-5.jpg", "http://localhost:9000/secret-6.jpg", "s3://bucket/secret-7.jpg",
        "http://camera-server/secret-8.jpg", "https://x.blob.core.windows.net/secret-9.jpg?sv=1&sig=q",
        "https://img.example.org/secret-10.jpg%3FX-Amz-Signature%3Dabc",
        "C:\\Users\\secret-11\\a.jpg", "/home/secret-12/a.jpg", "/data/secret-13.jpg", "~/secret-14.jpg",
        *(f"https://img.example.org/{query}" for query in (
            "1.jpg?temp_url_sig=secret-20&e=1", "d.aspx?UniqueId=1&tempauth=eysecret-21", "6.jpg?rlkey=secret-22",
            "7.jpg?q-ak=secret-23", "8.jpg?hdnts=exp=1~acl=/*~hmac=secret-24", "9.jpg?__token__=secret-25",
            "?sign=secret-26", "?user=ada&pass=secret-27", "?x-api-key=secret-28", "?access_key=secret-29",
            "?client_secret=secret-30", "?email=ada%40secret-31.org", "eyJhbGciOiJI.eyJTRUNSRVQy.secret-32/1.jpg",
            "?u=http%3A%2F%2F10.0.0.1%2Fsecret-33.jpg", "?u=http%253A%252F%252Fada%253Asecret-34%2540cam.example.org",
        )),
        *(f"http://{host}/secret-40.jpg" for host in (
            "nas.home.arpa", "foo.localhost", "10.1", "0x7f.1", "2130706433", "0177.0.0.1", "198.18.0.1", "10%2e0.0.1",
        )),
    )  # fmt: skip
    tables = project()
    tables["main_detection"][0]["path"] = secrets["path"]
    tables["main_sourceimage"][0]["public_base_url"] = secrets["public_base_url"]
    tables["main_detection"][1]["path"] = public = "https://img.example.org/%E9t%C3%A9%20%25/a%FF.jpg?w=640"
    for number, path in enumerate(more, 40):
        add(tables, number, path=path)
    mail, url = (
        "secret@mail.example.org",
        "see https://img.example.org/b.jpg?access_token=secret-10 or Bearer secret-11abc",
    )
    told = (
        "Authorization: Token secret-50b09199c62b; Authorization: Basic secret-51dXNlcj; password: secret-52;"
        " github_pat_11ABCDEFG0secret53abcdefghijklmnopq AIzaSysecret54-abcdefghijklmnopqrstuvwx"
        " mailto:ada%40secret-55.org"
        " \\\\nas01.lab.local\\secret-56\\x.jpg file:///home/ada/secret-57.jpg see 10.0.0.5/secret-58 please"
        " see nas.local:8080/secret-59 https://uni.example.org/d.aspx?tempauth=eysecret-60 Jörg.secretMüller@example.de"
        " on /home/secret-61/a.jpg C:\\secret-62\\a.jpg"
    )
    tables["users_user"] = [{"id": 1, "name": mail}, {"id": 2, "name": mail}]
    for table, column in (
        ("main_project", "description"), ("main_project", "rights_holder"), ("main_deployment", "name"),
        ("ml_algorithm", "name"), ("main_taxon", "common_name_en"), ("main_taxon", "author"),
    ):  # fmt: skip
        for row in tables[table]:
            row[column] = f"By {mail}, {url}"
    tables["main_project"][0]["description"] += (
        f" from http://nas, http://secret-nas:90/a. {told} How: https://protocols.example.org/nights."
    )
    tables["main_identification"] = [identification(1, 2, 4, "2024-07-03T10:00:00", comment=f"{mail} {url} {told}")]
    built(local_store, tables, tmp_path / "p1")
    text = published_text(local_store)
    assert [line for line in text.splitlines() if "secret" in line] == []
    assert csv_rows(local_store)[0]["verified_by"] == "user:2"
    assert "How: https://protocols.example.org/nights." in archive(local_store)["eml.xml"]
    comment = rows(local_store, schema.IDENTIFICATIONS)[0]["comment"]
    assert "see [address withheld] please see [address withheld]" in comment
    assert public in text


def test_without_a_number_a_value_is_lost_and_not_the_station(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", project())
    path = folder / "main_deployment.ndjson"
    path.write_text(path.read_text().replace("47.3921", "NaN"))
    boxes = folder / "main_detection.ndjson"
    boxes.write_text(boxes.read_text().replace("[100, ", '["NaN", ', 1))
    made = ingested(local_store, folder)
    assert {of.table: of.used for of in made.generation.account}["main_detection"] == 2
    assert made.generation.refused is None
    run_steps(local_store, OCCURRENCES, "p1", SETTINGS, folder, ingest, only=["occurrences"])
    sizes = [
        one["width"]
        for one in json.loads(content(local_store, export(local_store, "occurrences_api_json")))[0]["detections"]
    ]
    assert sizes == [50, None]


def test_a_camera_trap_package_is_valid_for_frictionless(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_deployment"].append({"id": 2, "name": "Without a place", "project_id": 1})
    tables["main_event"].append({**tables["main_event"][0], "id": 2, "deployment_id": 2})
    add(tables, 30, event=2, station=2)
    tables["main_sourceimage"][1]["public_base_url"] = ""
    built(local_store, tables, tmp_path / "p1")
    found = export(local_store, "camtrap_dp")
    with zipfile.ZipFile(io.BytesIO(content(local_store, found))) as opened:
        opened.extractall(tmp_path / "package")
    described = json.loads((tmp_path / "package" / "datapackage.json").read_text())
    for resource in described["resources"]:  # the schemas lie on the network: ours say the same
        fields = TABLES[resource["name"]]
        resource["schema"] = {
            "fields": [
                {"name": one.name, "type": "string", "constraints": {"required": one.needed, "pattern": one.pattern}}
                for one in fields
            ],
            "primaryKey": fields[0].name,
        }
    described.pop("profile")
    (tmp_path / "package" / "datapackage.json").write_text(json.dumps(described))
    report = frictionless.validate(str(tmp_path / "package" / "datapackage.json"))
    assert report.valid, report.flatten(["rowNumber", "fieldName", "message"])
    both = package(local_store)
    assert [row["deploymentID"] for row in both["deployments"]] == ["1"]
    assert [(row["mediaID"], row["filePublic"], row["filePath"]) for row in both["media"]] == [
        ("1", "true", "https://img.example.org/trap/night/1.jpg"),
        ("2", "false", "withheld/2"),
    ]
    event, *media = both["observations"]
    assert (event["observationLevel"], event["eventStart"], event["scientificName"]) == (
        "event", "2024-06-15T23:00:00+02:00", "Noctua pronuba",
    )  # fmt: skip
    assert [row["mediaID"] for row in media] == ["1", "2"]
    assert float(media[0]["bboxX"]) == pytest.approx(100 / 4096, abs=1e-6)
    assert float(media[0]["bboxHeight"]) == pytest.approx(80 / 2160, abs=2e-6)
    assert described["taxonomic"] == [
        {
            "scientificName": "Noctua pronuba", "taxonRank": "species", "kingdom": "Animalia", "order": "Lepidoptera",
            "genus": "Noctua", "vernacularNames": {"eng": "Large Yellow Underwing"},
        }
    ]  # fmt: skip
    assert any("1 occurrences are not in the package" in warning for warning in found.manifest.warnings)


def test_the_list_of_taxa_counts_days_and_stations(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_deployment"].append({**tables["main_deployment"][0], "id": 2, "name": "Wood"})
    tables["main_event"].append({**tables["main_event"][0], "id": 2, "deployment_id": 2})
    add(tables, 30, event=2, station=2, timestamp="2024-06-17T23:00:00")
    add(tables, 31, event=2, station=2, timestamp="2024-06-17T23:30:00")
    add(tables, 32, taxon=5)
    built(local_store, tables, tmp_path / "p1")
    (row,) = csv.DictReader(io.StringIO(content(local_store, export(local_store, "taxa_csv")).decode()))
    assert {key: row[key] for key in ("scientificName", "occurrences", "firstDate", "lastDate", "peakDate")} == {
        "scientificName": "Noctua pronuba", "occurrences": "3", "firstDate": "2024-06-15", "lastDate": "2024-06-17",
        "peakDate": "2024-06-17",
    }  # fmt: skip
    assert (row["stations"], row["byStation"]) == ("2", "Wood: 2 | Meadow: 1")


def test_a_date_alone_is_published_as_a_date_and_never_as_midnight(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_event"][0] |= {"start": "2024-06-15", "end": "2024-06-15"}
    tables["main_detection"] = []
    add(tables, 10, timestamp="2024-06-15")
    add(tables, 20, timestamp="2024-06-15T00:00:00+02:00")
    built(local_store, tables, tmp_path / "p1")
    for profile in ("spec", "gbif"):
        files = archive(local_store, profile)
        (event,) = tsv(files["event.txt"])
        assert (event["eventDate"], event["eventTime"], event["samplingEffort"]) == ("2024-06-15", "", "")
        assert [(row["eventDate"], row["eventTime"]) for row in tsv(files["occurrence.txt"])] == [
            ("2024-06-15", ""), ("2024-06-15", "00:00:00+02:00"),
        ]  # fmt: skip
    first, other = csv_rows(local_store)
    assert (first["first_appearance_timestamp"], first["duration"]) == ("2024-06-15", "")
    assert (other["first_appearance_timestamp"], other["duration"]) == ("2024-06-15 00:00:00", "0:00:00")
    first = json.loads(content(local_store, export(local_store, "occurrences_api_json")))[0]
    assert (first["first_appearance_timestamp"], first["first_appearance_time"], first["duration"]) == (
        "2024-06-15", None, None,
    )  # fmt: skip
    assert first["detections"][0]["timestamp"] == "2024-06-15"
    assert package(local_store)["observations"] == []  # which wants moments


def test_a_sensitive_station_is_named_nowhere_however_it_is_written(tmp_path: Path, local_store: Store) -> None:
    tables = with_a_lynx()
    tables["main_project"][0]["name"] = "Cats of den-valley_3"
    station = tables["main_deployment"][1]
    tables["main_deployment"] += [
        {**station, "id": 3, "name": "Spring 2024", "latitude": 46.1235},  # the same place in another season
        {**station, "id": 4, "name": "DEN VALLEY 3", "latitude": None, "longitude": None},
        {"id": 5, "name": "Coral Post", "project_id": 1, "latitude": -16.8, "longitude": 179.9999},
        {"id": 6, "name": "Palm Post", "project_id": 1, "latitude": -16.8, "longitude": -179.9999},  # 20 m from there
    ]
    for number, other in ((3, 3), (4, 4), (5, 5), (6, 6)):
        tables["main_event"].append({**tables["main_event"][0], "id": number, "deployment_id": other})
        add(tables, number * 10 + 30, LYNX["id"] if other == 5 else 4, number, other)
    tables["main_sourceimagecollection"] = [{"id": 7, "name": "Den Valley 3, June", "project_id": 1}]
    for number, name in enumerate(("Den_Valley3", "Far from Dén  Valley 3"), 7):
        tables["main_deployment"].append({"id": number, "name": name, "project_id": 1, "latitude": 60.512 + number})
        tables["main_deployment"][-1]["longitude"] = 10.5
        tables["main_event"].append({**tables["main_event"][0], "id": number, "deployment_id": number})
        add(tables, number * 10 + 30, 4, number, number, path=f"https://img.example.org/Den%20valley%203/{number}.jpg")
    tables["main_identification"] += [
        {**identification(7, 3, 4, "2024-07-03T10:00:00", comment=f"as in {place}"), "occurrence_id": 10 + number}
        for number, place in ((0, "DEN-VALLEY 3"), (80, "50 %ff"), (100, "46,1234 7,65"))
    ]
    settings = SETTINGS.model_copy(update={"sensitive_taxa": ("Lynx lynx",), "title": "Cats in Den  Valley 3"})
    built(local_store, tables, tmp_path / "p1", settings)
    text = published_text(local_store, settings)
    assert "den-valley" not in text.lower()
    assert not [
        secret
        for secret in (
            *SECRETS,
            "Spring 2024",
            "DEN VALLEY",
            "Den  Valley",
            "Coral Post",
            "Palm Post",
            "Den_V",
            "Dén",
            "Den%20",
            "46,123",
            "67.512",
        )
        if secret in text
    ]
    assert {row["name"] for row in rows(local_store, schema.COLLECTIONS)} == {"[place withheld], June"}
    assert rows(local_store, schema.DATASET)[0]["slug"] == "cats-of-place-withheld"
