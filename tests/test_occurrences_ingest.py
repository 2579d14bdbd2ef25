"""What arrives is kept or rejected with its reason, whatever the format, and half a dump is refused."""

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from occurrences_inbox import SETTINGS, Tables, classification, detection, ingested, project, put

from sheaf import tables
from sheaf.errors import InputError
from sheaf.occurrences import schema, source_tables
from sheaf.occurrences.inbox import read_file
from sheaf.occurrences.ingest import ingest
from sheaf.store import Store


def rejects(store: Store) -> list[tuple[str, str, str]]:
    rows = tables.read(store, schema.REJECTS, "p1").to_pylist()
    return [(row["table"], row["primary_key"], row["reason"]) for row in rows]


def rows(store: Store, name: str) -> list[dict[str, Any]]:
    source = next(source for source in source_tables.SOURCES if source.name == name)
    return tables.read(store, source.table, "p1").to_pylist()


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
        report = ingest(tmp_path / kind / "p1", Store.open(str(tmp_path / f"{kind}-store")), "p1", SETTINGS)
        assert report.rejects == {}
        found.append({version.table: version.sha256 for version in report.tables})
    assert found[0] == found[1] == found[2]


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("main_occurrence", {"id": "ten"}, "id is not a whole number"),
    ("main_occurrence", {"id": 3.7}, "id is not a whole number"),
    ("main_occurrence", {"id": None}, "id is empty"),
    ("main_occurrence", {"determination_id": 77}, "determination_id leads to no row of main_taxon"),
    ("main_occurrence", {"event_id": 77}, "event_id leads to no row of main_event"),
    ("main_occurrence", {"determination_score": 1.2}, "determination_score is not between 0 and 1"),
    ("main_occurrence", {"determination_score": "NaN"}, "determination_score is not a finite number"),
    ("main_occurrence", {"determination_score": "-inf"}, "determination_score is not a finite number"),
    ("main_event", {"start": "yesterday"}, "start is not a date with a time"),
    ("main_event", {"start": None}, "start is empty"),
    ("main_event", {"end": "1799-12-31 23:59:59"}, "end is before 1800 or after 2199"),
    ("main_detection", {"timestamp": "2200-01-01"}, "timestamp is before 1800 or after 2199"),
    ("main_detection", {"timestamp": "0001-01-01T00:00:00"}, "timestamp is before 1800 or after 2199"),
    ("main_detection", {"source_image_id": None}, "source_image_id is empty"),
    ("main_classification", {"terminal": "perhaps"}, "terminal is neither true nor false"),
    ("main_taxon", {"name": ""}, "name is empty"),
]


def test_a_broken_row_is_rejected_with_its_reason(tmp_path: Path, local_store: Store) -> None:
    given, whole = project(), project()
    for number, (table, change, _) in enumerate(BROKEN, 5000):
        given[table].append({**whole[table][-1], "id": number, **change})
    ingested(local_store, put(tmp_path / "p1", given))
    found = rejects(local_store)
    assert sorted((table, reason) for table, _, reason in found) == sorted((table, why) for table, _, why in BROKEN)
    keys = {key for _, key, _ in found}
    assert keys - {None} == {str(number) for number, (_, change, _) in enumerate(BROKEN, 5000) if "id" not in change}
    for table in whole:
        assert len(rows(local_store, table)) == len(whole[table]), table


def test_what_hangs_on_a_rejected_row_is_rejected_too(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_event"][0]["start"] = "never"
    ingested(local_store, put(tmp_path / "p1", given))
    assert rejects(local_store) == [
        ("main_event", "1", "start is not a date with a time"),
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
    ingested(local_store, put(tmp_path / "p1", given))
    assert [row["taxon_id"] for row in rows(local_store, "main_classification") if row["id"] == 1000] == [4]
    assert (
        rejects(local_store)
        == [("main_classification", "1000", "The id is used more than once: the first row is kept")] * 2
    )


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(91, 8), (47, 181), (47, None), ("NaN", 8), ("north", 8), (float(10**30), 1)]
)
def test_a_station_with_impossible_coordinates_stays_without_them(
    tmp_path: Path, local_store: Store, latitude: Any, longitude: Any
) -> None:
    given = project()
    given["main_deployment"][0] |= {"latitude": latitude, "longitude": longitude}
    ingested(local_store, put(tmp_path / "p1", given))
    (station,) = rows(local_store, "main_deployment")
    assert (station["latitude"], station["longitude"]) == (None, None)
    ((table, key, reason),) = rejects(local_store)
    assert (table, key) == ("main_deployment", "1")
    assert "kept without coordinates" in reason


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
    ingested(local_store, put(tmp_path / "p1", given))
    assert rows(local_store, "main_taxon")[3]["parents_json"] is None
    ((table, key, found),) = rejects(local_store)
    assert (table, key) == ("main_taxon", "4")
    assert reason in found


def test_two_taxa_that_are_each_others_parent_both_lose_their_ancestry(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_taxon"][2]["parents_json"] = [{"id": 4, "name": "Noctua pronuba", "rank": "SPECIES"}]
    ingested(local_store, put(tmp_path / "p1", given))
    assert [row["parents_json"] is None for row in rows(local_store, "main_taxon")] == [False, False, True, True, False]


def test_a_detection_with_a_strange_box_stays(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_detection"] += [detection(102, 10, 1, bbox="[1, 2"), detection(103, 10, 1, bbox=[1, 2, 3])]
    given["main_detection"].append(detection(104, 10, 1, bbox=None))
    ingested(local_store, put(tmp_path / "p1", given))
    assert [row["id"] for row in rows(local_store, "main_detection")] == [100, 101, 102, 103, 104]
    assert [(key, "four numbers" in reason) for _, key, reason in rejects(local_store)] == [
        ("102", True),
        ("103", True),
    ]


def test_rows_of_other_projects_are_left_out_but_not_rejected(tmp_path: Path, local_store: Store) -> None:
    given = project()
    given["main_project"].append({"id": 2, "name": "Theirs"})
    given["main_event"].append({**given["main_event"][0], "id": 2, "project_id": 2, "deployment_id": None})
    given["main_occurrence"].append({**given["main_occurrence"][0], "id": 20, "project_id": 2, "event_id": 2})
    given["main_detection"].append(detection(200, 20, 1))
    given["main_classification"].append(classification(2000, 200, 4, 0.5))
    report = ingested(local_store, put(tmp_path / "p1", given))
    assert rejects(local_store) == []
    assert report.counts["rows of other projects"] == 5
    assert [row["id"] for row in rows(local_store, "main_detection")] == [100, 101]


def test_times_with_an_offset_become_wall_times_of_the_source(tmp_path: Path, local_store: Store) -> None:
    given = project()
    for row, text in zip(
        (given["main_detection"][0], given["main_detection"][1], given["main_classification"][0]),
        ("2024-06-16T02:00:00Z", "2024-06-16 05:00:00+03", "2024-01-15 12:00:00.5+00:00"),
        strict=True,
    ):
        row["timestamp"] = text
    ingested(local_store, put(tmp_path / "p1", given))
    assert [str(row["timestamp"]) for row in rows(local_store, "main_detection")] == ["2024-06-15 22:00:00"] * 2
    assert str(rows(local_store, "main_classification")[0]["timestamp"]) == "2024-01-15 07:00:00.500000"


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
    with pytest.raises(InputError, match=r"main_detection\.parquet is not a whole Parquet file"):
        ingested(local_store, tmp_path / "p1")


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_a_text_file_that_ends_in_a_row_is_refused(tmp_path: Path, local_store: Store, kind: str) -> None:
    {"ndjson": put, "csv": as_csv}[kind](tmp_path / "p1", project())
    path = tmp_path / "p1" / f"main_detection.{kind}"
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(InputError, match="only half written"):
        ingested(local_store, tmp_path / "p1")


def test_a_refused_dump_leaves_the_tables_of_before(tmp_path: Path, local_store: Store) -> None:
    ingested(local_store, put(tmp_path / "p1", project()))
    before = {item.path: local_store.get(item.path) for item in local_store.list("tables")}
    path = tmp_path / "p1" / "main_classification.ndjson"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError):
        ingested(local_store, tmp_path / "p1")
    assert {item.path: local_store.get(item.path) for item in local_store.list("tables")} == before


def test_a_bad_line_inside_a_file_is_rejected_with_its_number(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", project())
    path = folder / "users_user.ndjson"
    path.write_bytes(b'{"id": 9, "name": NaN}\n[1]\n' + path.read_bytes() + b"\xff\n\n")
    ingested(local_store, folder)
    found = tables.read(local_store, schema.REJECTS, "p1").to_pylist()
    assert [(row["file"], row["line"], row["reason"]) for row in found] == [
        ("users_user.ndjson", 1, "The line is not valid JSON"),
        ("users_user.ndjson", 2, "The line is not a JSON object"),
        ("users_user.ndjson", 6, "The line is not valid JSON"),
    ]
    assert len(rows(local_store, "users_user")) == 3


def test_a_csv_line_of_another_width_or_encoding_is_rejected(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", {k: v for k, v in project().items() if k != "users_user"})
    (folder / "users_user.csv").write_bytes(b'id,name\n1,Ada\n2,Bo,Lind\n3,\xe9ve\n4,"x\ny"\n')
    ingested(local_store, folder)
    found = tables.read(local_store, schema.REJECTS, "p1").to_pylist()
    assert [(row["line"], row["reason"]) for row in found] == [
        (3, "The line does not have 2 values"),
        (4, "The line is not valid UTF-8"),
    ]
    assert rows(local_store, "users_user") == [{"id": 1, "name": "Ada"}, {"id": 4, "name": "x\ny"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "main_event.ndjson").unlink(), "main_event"),
        (lambda folder: (folder / "main_event.csv").write_text("id,start\n"), "remove all but one"),
        (lambda folder: (folder / "main_project.ndjson").write_text('{"id": 2, "name": "Other"}\n'), "id 1"),
        (lambda folder: _as_csv_header(folder, "id,id,start\n"), "twice"),
        (lambda folder: _as_csv_header(folder, "id,group_by\n"), "start"),
        (lambda folder: _as_csv_header(folder, 'id,start\n1,"open\n'), "main_event"),
    ],
)
def test_a_folder_that_makes_no_sense_is_refused(tmp_path: Path, local_store: Store, change: Any, message: str) -> None:
    folder = put(tmp_path / "p1", project())
    change(folder)
    with pytest.raises(InputError, match=message):
        ingested(local_store, folder)


def _as_csv_header(folder: Path, text: str) -> None:
    (folder / "main_event.ndjson").unlink()
    (folder / "main_event.csv").write_text(text)


def test_a_folder_named_otherwise_is_refused(tmp_path: Path, local_store: Store) -> None:
    with pytest.raises(InputError, match="p12"):
        ingest(put(tmp_path / "moths", project()), local_store, "moths", SETTINGS)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**62), TEXT), max_size=20))
def test_text_formats_give_back_what_was_written(tmp_path: Path, written: list[tuple[int, str]]) -> None:
    bad: list[Any] = []
    ndjson, table = tmp_path / "t.ndjson", tmp_path / "t.csv"
    ndjson.write_text("".join(json.dumps({"id": k, "name": v}) + "\n" for k, v in written), encoding="utf-8")
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("name", "id"), *((v, k) for k, v in written)])
    for path in (ndjson, table):
        found = read_file(path, ["id", "name"], lambda *reason: bad.append(reason)).read_all().to_pylist()
        assert [(int(row["id"]), row["name"] or "") for row in found] == written
    assert bad == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["csv", "ndjson", "parquet"]))
def test_any_bytes_are_read_rejected_or_refused(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    path.write_bytes(data)
    bad: list[Any] = []
    with contextlib.suppress(InputError):
        read_file(path, ["id", "name"], lambda *reason: bad.append(reason)).read_all()
