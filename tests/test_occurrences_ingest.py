"""What arrives is kept or rejected with its reason, whatever the format, and half a dump is refused."""

import csv
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from occurrences_inbox import (
    SETTINGS,
    Row,
    Tables,
    built,
    classification,
    detection,
    identification,
    ingested,
    project,
    put,
)
from occurrences_inbox import rows as rows_of
from running import run_steps

from sheaf.occurrences.domain import OCCURRENCES, READING
from sheaf.occurrences.input_tables import SOURCES
from sheaf.occurrences.readers.ingest import ingest
from sheaf.running import How, Made
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.accounts import Account, Kind
from sheaf.tables.pinned import Tables as Pinned


def noted(store: Store, made: Made) -> list[Row]:
    """All that a reading noted as not used, changed or faulty; a refused one too."""
    found = Pinned(store, "p1", {READING.name: made.generation}).rejects(READING.name)
    return [row for batch in found for row in batch.to_pylist()]


def rejects(store: Store, made: Made) -> list[tuple[str, str, str]]:
    return [(row["table"], row["primary_key"], row["reason"]) for row in noted(store, made)]


def account(made: Made, table: str) -> Account:
    return next(of for of in made.generation.account if of.table == table)


def rows(store: Store, name: str) -> list[Row]:
    return rows_of(store, next(source.table for source in SOURCES if source.name == name))


def refusal(store: Store, folder: Path) -> str:
    """Why a folder cannot be used."""
    refused = ingested(store, folder).generation.refused
    assert refused is not None
    return refused


def as_csv(folder: Path, given: Tables) -> None:
    folder.mkdir(parents=True)
    for name, found in given.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in found for key in row)))
            writer.writeheader()
            for row in found:
                writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})


def as_parquet(folder: Path, given: Tables) -> None:
    folder.mkdir(parents=True)
    for name, found in given.items():
        names = dict.fromkeys(key for row in found for key in row)
        table = pa.table({key: [row.get(key) for row in found] for key in names})
        pq.write_table(table, folder / f"{name}.parquet")


def test_the_three_formats_give_the_same_tables(tmp_path: Path) -> None:
    put(tmp_path / "ndjson" / "p1", project())
    as_csv(tmp_path / "csv" / "p1", project())
    as_parquet(tmp_path / "parquet" / "p1", project())
    found = []
    for kind in ("ndjson", "csv", "parquet"):
        made = ingested(Store.open(str(tmp_path / f"{kind}-store")), tmp_path / kind / "p1")
        assert all(of.adds_up and of.seen == of.used and not of.reasons for of in made.generation.account)
        found.append(made.generation.data_version)
    assert found[0] == found[1] == found[2]


def test_what_is_wrong_is_said_of_parquet_as_of_text(tmp_path: Path) -> None:
    """Parquet is read once more for the rows as they came."""
    given = project()
    given["main_detection"] += [
        detection(102, 999, 1),
        detection(103, 10, 1, bbox=[1, 2]),
        detection(104, 10, 1, detection_score=2.5),
    ]
    put(tmp_path / "ndjson" / "p1", given)
    as_parquet(tmp_path / "parquet" / "p1", given)
    found = []
    for kind in ("ndjson", "parquet"):
        store = Store.open(str(tmp_path / f"{kind}-store"))
        said = noted(store, ingested(store, tmp_path / kind / "p1"))
        assert all(json.loads(row["raw"])["path"].endswith(f"{row['primary_key']}.jpg") for row in said)
        found.append([(row["kind"], row["code"], row["primary_key"], row["line"]) for row in said])
    assert found[0] == found[1]
    assert sorted(found[1]) == [
        ("change", "out_of_range", "104", 5),
        ("fault", "bad_box", "103", 4),
        ("reject", "no_parent", "102", 3),
    ]


BROKEN: list[tuple[str, dict[str, Any], str, str]] = [  # what a row cannot be without
    ("main_occurrence", {"id": "ten"}, "not_a_whole_number", "id is not a whole number"),
    ("main_occurrence", {"id": 3.7}, "not_a_whole_number", "id is not a whole number"),
    ("main_occurrence", {"id": None}, "empty", "id is empty"),
    ("main_occurrence", {"determination_id": 77}, "no_parent", "determination_id leads to no row of main_taxon"),
    ("main_occurrence", {"event_id": 77}, "no_parent", "event_id leads to no row of main_event"),
    ("main_detection", {"source_image_id": None}, "empty", "source_image_id is empty"),
    ("main_classification", {"terminal": "perhaps"}, "not_a_truth_value", "terminal is neither true nor false"),
    ("main_taxon", {"name": ""}, "empty", "name is empty"),
    ("main_taxon", {"name": "", "parents_json": "x"}, "empty", "name is empty"),
]
LOST: list[tuple[str, dict[str, Any], str]] = [  # what a row only loses
    ("main_occurrence", {"determination_score": 1.2}, "out_of_range"),
    ("main_occurrence", {"determination_score": "NaN"}, "not_a_number"),
    ("main_occurrence", {"determination_score": "-inf"}, "not_a_number"),
    ("main_occurrence", {"event_id": "e"}, "not_a_whole_number"),
    ("main_event", {"start": "yesterday"}, "not_a_time"),
    ("main_event", {"start": "01/07/2026 21:00"}, "not_a_time"),
    ("main_event", {"start": "2026-02-30T21:00:00"}, "not_a_time"),
    *(
        ("main_event", {"start": f"2024-06-15 {text}"}, "not_a_time")
        for text in (
            "21:00:00+24:00",
            "21:00:00 EST",
            "21:00:00 Mars/Olympus",
            "21:00:00 PM AM",
            "13:00 AM",
            "21:00 час",
        )
    ),
    ("main_event", {"start": "epoch"}, "not_a_time"),
    ("main_event", {"end": "1799-12-31 23:59:59"}, "out_of_range"),
    ("main_detection", {"timestamp": "2200-01-01"}, "out_of_range"),
    ("main_detection", {"timestamp": "0001-01-01T00:00:00"}, "out_of_range"),
    ("main_deployment", {"time_zone": "Mars/Olympus"}, "bad_time_zone"),
    ("main_event", {"end": "2024-06-14T22:00:00"}, "end_before_start"),
]


def test_a_broken_row_is_rejected_with_its_reason(tmp_path: Path, local_store: Store) -> None:
    given, whole = project(), project()
    for number, (table, change, _, _) in enumerate(BROKEN, 5000):
        given[table].append({**whole[table][-1], "id": number, **change})
    made = ingested(local_store, put(tmp_path / "p1", given))
    found = noted(local_store, made)
    assert {row["kind"] for row in found} == {"reject"}
    told = sorted((row["table"], row["code"], row["reason"]) for row in found)
    assert told == sorted((table, code, why) for table, _, code, why in BROKEN)
    keys = {row["primary_key"] for row in found}
    assert keys - {None} == {str(number) for number, (_, change, *_) in enumerate(BROKEN, 5000) if "id" not in change}
    for table in whole:
        assert len(rows(local_store, table)) == len(whole[table]), table
        of = account(made, table)
        assert (of.seen, of.used, of.adds_up) == (len(given[table]), len(whole[table]), True)


def test_a_value_that_cannot_be_used_is_lost_and_its_row_is_not(tmp_path: Path, local_store: Store) -> None:
    given, whole = project(), project()
    for number, (table, change, _) in enumerate(LOST, 5000):
        given[table].append({**whole[table][-1], "id": number, **change})
    made = ingested(local_store, put(tmp_path / "p1", given))
    told = [(row["kind"], row["table"], row["code"], row["primary_key"]) for row in noted(local_store, made)]
    expected = [("change", table, code, str(number)) for number, (table, _, code) in enumerate(LOST, 5000)]
    assert sorted(told) == sorted(expected)
    for number, (table, change, _) in enumerate(LOST, 5000):
        (row,) = [row for row in rows(local_store, table) if row["id"] == number]
        assert [row[name] for name in change] == [None]
        assert account(made, table).adds_up


TIMES = {
    "2024-06-16T02:00:00Z": ("2024-06-16 02:00:00", 0),
    "2024-06-16 05:00:00+03": ("2024-06-16 05:00:00", 180),
    "2024-06-16 05:00:00-0330": ("2024-06-16 05:00:00", -210),
    "2024-01-15 12:00:00.5+05:45": ("2024-01-15 12:00:00.500000", 345),
    "2024:06:15 23:00:00": ("2024-06-15 23:00:00", None),
    "20240615T230000": ("2024-06-15 23:00:00", None),
    "20240615T230000+0200": ("2024-06-15 23:00:00", 120),
    "2024-06-15T24:00:00": ("2024-06-16 00:00:00", None),
    "2024-06-15 23:00": ("2024-06-15 23:00:00", None),
    "2024-06-15 11:00:00 PM": ("2024-06-15 23:00:00", None),
    "2024-06-15 12:30 a.m. UTC": ("2024-06-15 00:30:00", 0),
    "2024-06-15 23:00:00 GMT": ("2024-06-15 23:00:00", 0),
    "2024-06-15 23:00:00 UTC+2": ("2024-06-15 23:00:00", 120),
    "2024-06-15T23:00:00+02:00[Europe/Oslo]": ("2024-06-15 23:00:00", 120),
    "2024-06-15 23:00:00 America/New_York": ("2024-06-15 23:00:00", -240),
    "2024-11-03 01:30:00 America/New_York": ("2024-11-03 01:30:00", None),
    "2024-06-15T23:00:00,5Z": ("2024-06-15 23:00:00.500000", 0),
    "20240615T230000.5Z": ("2024-06-15 23:00:00.500000", 0),
}


def test_a_time_is_what_the_clock_showed_with_the_offset_that_was_written(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_detection"] = [detection(100 + number, 10, 1, timestamp=text) for number, text in enumerate(TIMES)]
    made = ingested(local_store, put(tmp_path / "p1", given))
    found = [(str(row["timestamp"]), row["timestamp_offset"]) for row in rows(local_store, "main_detection")]
    assert found == list(TIMES.values())
    assert noted(local_store, made) == []


def test_parquet_times_with_a_zone_are_moments(tmp_path: Path, local_store: Store) -> None:
    given = project()
    for row in given["main_detection"]:
        row["timestamp"] = datetime(2024, 6, 15, 23, tzinfo=ZoneInfo("Europe/Zurich"))
    as_parquet(tmp_path / "p1", given)
    ingested(local_store, tmp_path / "p1")
    found = [(str(row["timestamp"]), row["timestamp_offset"]) for row in rows(local_store, "main_detection")]
    assert found == [("2024-06-15 21:00:00", 0)] * 2


def test_dates_that_no_camera_took_are_used_and_flagged(tmp_path: Path, local_store: Store) -> None:
    given = project()
    times = ["1970-01-01T00:00:12", "2051-07-01T21:30:00", "2024-06-15", "20240615"]
    given["main_detection"] = [detection(100 + number, 10, 1, timestamp=text) for number, text in enumerate(times)]
    made = ingested(local_store, put(tmp_path / "p1", given))
    shown = [str(row["timestamp"])[:10] for row in rows(local_store, "main_detection")]
    assert shown == [*(time[:10] for time in times[:3]), times[2]]
    told = [(row["kind"], row["code"], row["primary_key"]) for row in noted(local_store, made)]
    assert sorted(told) == [
        ("fault", "no_time_of_day", "102"), ("fault", "no_time_of_day", "103"),
        ("fault", "unlikely_date", "100"), ("fault", "unlikely_date", "101"),
    ]  # fmt: skip


def test_what_hangs_on_a_rejected_row_is_rejected_too(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_event"][0]["id"] = "one"
    made = ingested(local_store, put(tmp_path / "p1", given))
    assert made.generation.refused == "All 1 rows of main_event were rejected: id is not a whole number"
    assert rejects(local_store, made) == [
        ("main_event", None, "id is not a whole number"),
        ("main_sourceimage", "1", "event_id leads to no row of main_event"),
        ("main_sourceimage", "2", "event_id leads to no row of main_event"),
        ("main_occurrence", "10", "event_id leads to no row of main_event"),
        ("main_detection", "100", "source_image_id leads to no row of main_sourceimage"),
        ("main_detection", "101", "source_image_id leads to no row of main_sourceimage"),
        ("main_classification", "1000", "detection_id leads to no row of main_detection"),
        ("main_classification", "1001", "detection_id leads to no row of main_detection"),
    ]


def test_of_two_rows_with_one_id_the_first_is_kept(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_classification"] += [classification(1000, 101, 3, 0.1), classification(1000, 101, 2, 0.2)]
    made = ingested(local_store, put(tmp_path / "p1", given))
    assert [row["taxon_id"] for row in rows(local_store, "main_classification") if row["id"] == 1000] == [4]
    assert (
        rejects(local_store, made)
        == [("main_classification", "1000", "The id is used more than once: the first row is kept")] * 2
    )


def test_coordinates_and_countries_are_read_as_people_write_them(tmp_path: Path, local_store: Store) -> None:
    given = project()
    written = [
        ("47,3921", "8,0444", "ch"), ("47° 23' 31.56\" N", "8°02′39.84″E", " CH "), ("S 33.9", "151 12 0 E", None),
        ("33.9 S", "-151.2", "Australia"), ("8.04 E", "47.39 N", None), ("47°75'N", "8", None),
    ]  # fmt: skip
    given["main_deployment"] = [
        {**given["main_deployment"][0], "id": id_, "latitude": latitude, "longitude": longitude, "country_code": code}
        for id_, (latitude, longitude, code) in enumerate(written, 1)
    ]
    ingested(local_store, put(tmp_path / "p1", given))
    found = [(row["latitude"], row["longitude"], row["country_code"]) for row in rows(local_store, "main_deployment")]
    assert found == [
        (47.3921, 8.0444, "ch"), (pytest.approx(47.3921), pytest.approx(8.0444), " CH "), (-33.9, 151.2, None),
        (-33.9, -151.2, None), (None, None, None), (None, None, None),
    ]  # fmt: skip


def test_rows_out_of_order_and_repeated_are_kept_once_in_the_order_of_their_ids(
    tmp_path: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sheaf.occurrences.readers.ingest._PART", 3)
    given = project()
    more = [{**given["main_taxon"][4], "id": id_, "name": f"n{id_}"} for id_ in (40, 9, 22, 9, 31, 8, 15, 40)]
    given["main_taxon"] += [*more, {**more[0], "id": "x"}]
    made = ingested(local_store, put(tmp_path / "p1", given))
    assert [row["id"] for row in rows(local_store, "main_taxon")] == [1, 2, 3, 4, 5, 8, 9, 15, 22, 31, 40]
    repeated = [(row["code"], row["line"]) for row in noted(local_store, made) if row["code"] == "repeated_key"]
    assert repeated == [("repeated_key", 9), ("repeated_key", 13)]
    assert account(made, "main_taxon").adds_up


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(91, 8), (47, 181), (47, None), ("NaN", 8), ("north", 8), (float(10**30), 1)]
)
def test_a_station_with_impossible_coordinates_stays_without_them(
    tmp_path: Path, local_store: Store, latitude: Any, longitude: Any
) -> None:
    given = project()
    given["main_deployment"][0] |= {"latitude": latitude, "longitude": longitude}
    made = ingested(local_store, put(tmp_path / "p1", given))
    (station,) = rows(local_store, "main_deployment")
    assert (station["latitude"], station["longitude"]) == (None, None)
    (row,) = noted(local_store, made)
    assert (row["kind"], row["table"], row["code"]) == ("change", "main_deployment", "bad_coordinates")
    assert (row["primary_key"], row["line"]) == ("1", 1)
    assert "kept without coordinates" in row["reason"]
    assert account(made, "main_deployment").adds_up


@pytest.mark.parametrize(
    ("parents", "reason"),
    [
        ([{"id": 4, "name": "Noctua pronuba", "rank": "SPECIES"}], "goes round in a circle"),
        ("nonsense", "is not a list"),
        ({"id": 1}, "is not a list"),
        ([{"id": "x", "name": "Animalia", "rank": "KINGDOM"}], "is not a list"),
        ([5], "is not a list"),
    ],
)
def test_a_taxon_with_broken_ancestry_stays_without_it(
    tmp_path: Path, local_store: Store, parents: Any, reason: str
) -> None:
    given = project()
    given["main_taxon"][3]["parents_json"] = parents
    made = ingested(local_store, put(tmp_path / "p1", given))
    assert rows(local_store, "main_taxon")[3]["parents_json"] is None
    (row,) = noted(local_store, made)
    assert (row["kind"], row["table"], row["primary_key"]) == ("change", "main_taxon", "4")
    assert reason in row["reason"]
    assert row["code"] == ("circular_ancestors" if "circle" in reason else "bad_ancestors")


def test_two_taxa_that_are_each_others_parent_both_lose_their_ancestry(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_taxon"][2]["parents_json"] = [{"id": 4, "name": "Noctua pronuba", "rank": "SPECIES"}]
    ingested(local_store, put(tmp_path / "p1", given))
    assert [row["parents_json"] is None for row in rows(local_store, "main_taxon")] == [False, False, True, True, False]


def test_a_detection_with_a_strange_box_stays(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_detection"] += [detection(102, 10, 1, bbox="[1, 2"), detection(103, 10, 1, bbox=[1, 2, 3])]
    given["main_detection"].append(detection(104, 10, 1, bbox=None))
    made = ingested(local_store, put(tmp_path / "p1", given))
    assert [row["id"] for row in rows(local_store, "main_detection")] == [100, 101, 102, 103, 104]
    found = [(row["kind"], row["code"], row["primary_key"]) for row in noted(local_store, made)]
    assert found == [("fault", "bad_box", "102"), ("fault", "bad_box", "103")]
    of = account(made, "main_detection")
    assert (of.seen, of.used, of.rejected, of.rows(Kind.FAULT)) == (5, 5, 0, 2)


def test_rows_of_other_projects_are_left_out_but_not_rejected(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_project"].append({"id": 2, "name": "Theirs"})
    given["main_event"].append({**given["main_event"][0], "id": 2, "project_id": 2, "deployment_id": None})
    given["main_occurrence"].append({**given["main_occurrence"][0], "id": 20, "project_id": 2, "event_id": 2})
    given["main_detection"].append(detection(200, 20, 1))
    given["main_classification"].append(classification(2000, 200, 4, 0.5))
    made = ingested(local_store, put(tmp_path / "p1", given))
    assert noted(local_store, made) == []
    assert made.report.counts["rows of other projects"] == 5
    assert made.report.warnings[0] == "5 rows belong to other projects and were left out."
    assert [row["id"] for row in rows(local_store, "main_detection")] == [100, 101]
    for table in ("main_project", "main_event", "main_occurrence", "main_detection", "main_classification"):
        assert account(made, table).left_out == {"another project": 1}
        assert account(made, table).adds_up


def test_only_listed_columns_are_kept(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["users_user"][0]["email"] = "ada@example.org"
    given["main_classification"][0] |= {"logits": [1.0] * 5, "scores": [0.2] * 5}
    ingested(local_store, put(tmp_path / "p1", given))
    for item in local_store.list("tables"):
        assert b"ada@example.org" not in local_store.get(item.path)
    assert rows(local_store, "users_user")[0].keys() == {"id", "name"}


def test_half_a_parquet_file_is_refused(tmp_path: Path, local_store: Store) -> None:
    as_parquet(tmp_path / "p1", project())
    path = tmp_path / "p1" / "main_detection.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    assert "main_detection.parquet is not a whole Parquet file" in refusal(local_store, tmp_path / "p1")


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_a_text_file_that_ends_in_a_row_is_refused(tmp_path: Path, local_store: Store, kind: str) -> None:
    {"ndjson": put, "csv": as_csv}[kind](tmp_path / "p1", project())
    path = tmp_path / "p1" / f"main_detection.{kind}"
    path.write_bytes(path.read_bytes()[:-90])
    assert "only half written" in refusal(local_store, tmp_path / "p1")


def test_text_in_another_encoding_is_one_sentence(tmp_path: Path, local_store: Store) -> None:
    path = put(tmp_path / "p1", project()) / "main_deployment.ndjson"
    path.write_bytes(path.read_text("utf-8").encode("utf-16"))
    assert refusal(local_store, tmp_path / "p1") == f"{path} is UTF-16 text: save it as UTF-8."


def test_a_refused_dump_leaves_the_tables_of_before(tmp_path: Path, local_store: Store) -> None:
    good = ingested(local_store, put(tmp_path / "p1", project())).generation
    path = tmp_path / "p1" / "main_classification.ndjson"
    path.write_bytes(path.read_bytes()[:-30])
    refused = ingested(local_store, tmp_path / "p1").generation
    assert "main_classification.ndjson ends in the middle of line 2" in (refused.refused or "")
    assert all(of.adds_up for of in refused.account)
    assert not refused.checks["readable"].passed
    assert generations.current(local_store, OCCURRENCES.place(READING, "p1")) == good


def test_a_bad_line_inside_a_file_is_rejected_with_its_number(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", project())
    path = folder / "users_user.ndjson"
    path.write_bytes(b'{"id": 9, "name": NaN}\n[1]\n' + path.read_bytes() + b"\xff\n\n")
    made = ingested(local_store, folder)
    assert [(row["file"], row["line"], row["code"], row["reason"]) for row in noted(local_store, made)] == [
        (
            "users_user.ndjson",
            1,
            "not_strict_json",
            "The line holds NaN, Infinity or half a character: read as empty",
        ),
        ("users_user.ndjson", 2, "not_an_object", "The line is not a JSON object"),
        ("users_user.ndjson", 6, "not_utf8", "The line is not valid UTF-8"),
    ]
    of = account(made, "users_user")
    assert (of.seen, of.used, of.rejected) == (6, 4, 2)


def test_a_csv_line_of_another_width_or_encoding_is_rejected(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", {k: v for k, v in project().items() if k != "users_user"})
    (folder / "users_user.csv").write_bytes(b'id,name\n1,Ada\n2,Bo,Lind\n3,\xe9ve\n4,"x\ny"\n5\n6,\xe9,7\n')
    made = ingested(local_store, folder)
    assert [(row["line"], row["code"], row["reason"]) for row in noted(local_store, made)] == [
        (3, "wrong_width", "The line does not have 2 values"),
        (4, "not_utf8", "The line is not valid UTF-8"),
        (7, "wrong_width", "The line does not have 2 values"),
        (8, "wrong_width", "The line does not have 2 values"),
    ]
    assert rows(local_store, "users_user") == [{"id": 1, "name": "Ada"}, {"id": 4, "name": "x\ny"}]
    of = account(made, "users_user")
    assert (of.seen, of.used, of.rejected) == (6, 2, 4)


def test_a_csv_file_without_a_last_line_end_loses_no_line(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", {k: v for k, v in project().items() if k != "users_user"})
    (folder / "users_user.csv").write_bytes(b"id,name\n1,Ada\n2,Bo,Lind\n3,Eve\n4,Cy")
    of = account(ingested(local_store, folder), "users_user")
    assert (of.seen, of.used, of.rejected) == (4, 3, 1)
    assert [row["id"] for row in rows(local_store, "users_user")] == [1, 3, 4]


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, local_store: Store, kind: str) -> None:
    {"ndjson": put, "csv": as_csv}[kind](tmp_path / "p1", project())
    for path in (tmp_path / "p1").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    made = ingested(local_store, tmp_path / "p1")
    assert made.generation.refused is None
    assert noted(local_store, made) == []
    without = ingested(Store.open(str(tmp_path / "plain")), put(tmp_path / "without" / "p1", project()))
    assert made.generation.data_version == without.generation.data_version


def test_what_a_link_table_says_twice_counts_once(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_project_default_filters_include_taxa"] = [{"project_id": 1, "taxon_id": taxon} for taxon in (2, 3, 2)]
    made = ingested(local_store, put(tmp_path / "p1", given))
    of = account(made, "main_project_default_filters_include_taxa")
    assert (of.seen, of.used, of.left_out, of.adds_up) == (3, 2, {"repeated": 1}, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "main_event.ndjson").unlink(), "main_event"),
        (lambda folder: (folder / "main_event.csv").write_text("id,start\n"), "remove all but one"),
        (lambda folder: (folder / "main_project.ndjson").write_text('{"id": 2, "name": "Other"}\n'), "id 1: name the"),
        (lambda folder: (folder / "main_project.ndjson").write_text('{"id": 1}\n'), "id 1: name is empty"),
        (lambda folder: _as_csv_header(folder, "id,id,start\n"), "twice"),
        (lambda folder: _as_csv_header(folder, "id,group_by\n"), "start"),
        (lambda folder: _as_csv_header(folder, 'id,start\n1,"open\n'), "main_event"),
    ],
)
def test_a_folder_that_makes_no_sense_is_refused(tmp_path: Path, local_store: Store, change: Any, message: str) -> None:
    folder = put(tmp_path / "p1", project())
    change(folder)
    made = ingested(local_store, folder)
    assert message in (made.generation.refused or "")
    assert all(of.adds_up for of in made.generation.account)


def _as_csv_header(folder: Path, text: str) -> None:
    (folder / "main_event.ndjson").unlink()
    (folder / "main_event.csv").write_text(text)


def test_a_folder_named_otherwise_is_refused(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "moths", project())
    made = run_steps(local_store, OCCURRENCES, "moths", SETTINGS, folder, ingest)["records"]
    assert "such as p12" in (made.generation.refused or "")


def test_a_delivery_without_usable_rows_of_a_needed_table_changes_nothing(tmp_path: Path, local_store: Store) -> None:
    built(local_store, project(), tmp_path / "p1")
    before = [rows(local_store, source.name) for source in SOURCES]
    for source in SOURCES:
        if not source.needed or source.name == "main_project":
            continue
        given = project()
        for row in given[source.name]:
            row["id"] = "x"
        refused = ingested(local_store, put(tmp_path / "p1", given)).generation
        of = next(of for of in refused.account if of.table == source.name)
        reason = f"All {len(given[source.name])} {source.table.needed} were rejected: id is not a whole number"
        assert refused.refused == reason
        assert (of.used, of.rejected, of.adds_up) == (0, len(given[source.name]), True)
        assert [rows(local_store, source.name) for source in SOURCES] == before


FULL = {
    "main_identification": [identification(1, 1, 4, "2024-07-03T10:00:00")],
    "main_project_members": [{"project_id": 1, "user_id": 1, "role": "researcher"}],
    "main_sourceimagecollection": [{"id": 7, "name": "First image", "project_id": 1}],
    "main_sourceimagecollection_images": [{"sourceimagecollection_id": 7, "sourceimage_id": 1}],
    "main_project_default_filters_include_taxa": [{"project_id": 1, "taxon_id": 2}],
    "main_project_default_filters_exclude_taxa": [{"project_id": 1, "taxon_id": 3}],
}
CLEARED = [  # what people may take back to the last row
    "main_sourceimagecollection",
    "main_sourceimagecollection_images",
    "main_project_default_filters_include_taxa",
    "main_project_default_filters_exclude_taxa",
]


@pytest.mark.parametrize(
    "table",
    [
        "main_classification",
        *(
            pytest.param(table, marks=pytest.mark.campaign)
            for table in ("main_identification", "main_project_members", "users_user")
        ),
    ],
)
def test_a_table_that_became_empty_is_refused_until_somebody_says_yes(
    tmp_path: Path, local_store: Store, table: str
) -> None:
    """A table that is no longer delivered is one that became empty, and without members everybody may export."""
    folder = put(tmp_path / "p1", project() | FULL)
    ingested(local_store, folder)
    before = rows(local_store, table)
    (folder / f"{table}.ndjson").unlink()
    message = refusal(local_store, folder)
    assert f"{table}: {len(before)} → 0" in message
    assert "sheaf run occurrences p1 --accept-loss" in message
    assert rows(local_store, table) == before
    assert ingested(local_store, folder, how=How(accept_loss=True)).generation.refused is None
    assert rows(local_store, table) == []


def test_what_people_may_clear_may_become_empty_and_the_rest_less(tmp_path: Path, local_store: Store) -> None:
    ingested(local_store, put(tmp_path / "p1", project() | FULL))
    fewer = project() | FULL | {table: [] for table in CLEARED}
    for table in ("main_detection", "main_classification"):
        del fewer[table][1:]
    assert ingested(local_store, put(tmp_path / "p1", fewer)).generation.refused is None
    assert [len(rows(local_store, table)) for table in ("main_detection", *CLEARED)] == [1, 0, 0, 0, 0]


VALUES = st.sampled_from(
    [None, "", "x", -1, 0, 1, 2, 3, 4, 10, 77, 2.5, "NaN", True, [1], {"id": 1}, "2024-06-15", 10**30]
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_account_adds_up_whatever_comes(tmp_path: Path, data: st.DataObject) -> None:
    """Rows that came are counted here without the reader."""
    delivered = project() | FULL
    for source in data.draw(st.lists(st.sampled_from(SOURCES), max_size=4)):
        names = st.sampled_from(source.table.schema.names)
        row = st.dictionaries(names, VALUES, max_size=6)
        like = st.builds(lambda row, more: {**row, **more}, st.sampled_from(delivered[source.name] or [{}]), row)
        delivered[source.name] = delivered[source.name] + data.draw(st.lists(like | row, max_size=4))
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        made = ingested(Store.open(f"{folder}/store"), put(Path(folder, "p1"), delivered))
        refused = made.generation.refused
        for of in made.generation.account:
            assert of.adds_up, of
            assert of.seen == len(delivered[of.table]), of
            if refused is None:
                assert of.used == made.generation.tables[of.table].rows
        assert refused is not None or {of.table for of in made.generation.account} == delivered.keys()
