"""What odd files of a table mean is decided once: every reader of such files behaves as this suite says."""

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

from sheaf.errors import InputError
from sheaf.outside.table_files import LINE, TableFile, read_batches, read_rows, table_file
from sheaf.tables.rejects import Kind, Rejects

KNOWN = ("id", "name")
ROWS = [("1", "a"), ("2", "b")]


def read(path: Path, folder: Path) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Both ways of reading, which must agree: rows as text, and what was wrong as kind, code, line and byte."""
    found = []
    for way in ("rows", "batches"):
        rejects = Rejects(folder)
        file = TableFile(path, "things", rejects)
        if way == "rows":
            rows = [row for _, row in read_rows(file, KNOWN)]
        else:
            rows = read_batches(file, KNOWN).read_all().to_pylist()
        noted = [row for batch in rejects.batches() for row in batch.to_pylist()]
        wrong = [f"{row['kind']} {row['code']} {row['line']} {row['byte_offset']}" for row in noted]
        (account,) = rejects.accounts({"things": len(rows)}) if noted else (None,)
        assert account is None or account.seen == sum(row["kind"] == Kind.REJECT for row in noted)
        texts = [tuple(_text(row.get(name)) for name in KNOWN) for row in rows]
        found.append((texts, wrong))
    assert found[0] == found[1]
    return found[0]


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


@pytest.mark.case("core/ndjson-bom")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.csv", b"id,name\n1,a\n2,b\n"),
        ("windows.csv", b"id,name\r\n1,a\r\n2,b\r\n"),
        ("old_mac.csv", b"id,name\r1,a\r2,b\r"),
        ("mark.csv", b"\xef\xbb\xbfid,name\n1,a\n2,b\n"),
        ("blank_lines.csv", b"id,name\n\n1,a\n\n2,b\n\n"),
        ("quoted.csv", b'"id","name"\n"1","a"\n"2","b"\n'),
        ("blanks_after_commas.csv", b'id, name\n1, a\n2, "b"\n'),
        ("semicolons.csv", b'id;name\n"1";a\n2;b\n'),
        ("tabs.csv", b"id\tname\n1\ta\n2\tb\n"),
        ("other_order.csv", b"name,more,id\na,x,1\nb,y,2\n"),
        ("ENDING.CSV", b"id,name\n1,a\n2,b\n"),
        ("plain.ndjson", b'{"id":"1","name":"a"}\n{"id":"2","name":"b"}\n'),
        ("windows.ndjson", b'{"id":"1","name":"a"}\r\n{"id":"2","name":"b"}\r\n'),
        ("old_mac.ndjson", b'{"id":"1","name":"a"}\r{"id":"2","name":"b"}\r'),
        ("mark.ndjson", b'\xef\xbb\xbf{"id":"1","name":"a"}\n{"id":"2","name":"b"}\n'),
        ("blank_lines.ndjson", b'\n{"id":"1","name":"a"}\n  \n{"id":"2","name":"b"}\n\n'),
        ("no_last_line_end.ndjson", b'{"id":"1","name":"a"}\n{"id":"2","name":"b"}'),
        ("nested.ndjson", b'{"id":"1","name":"a","x":{"id":1}}\n{"id":"2","name":"b","y":[":","\\":"]}\n'),
    ],
)
def test_files_that_mean_the_same_are_read_as_the_same(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert read(path, tmp_path) == (ROWS, [])


@pytest.mark.case("core/table-files-two-readers")
@pytest.mark.parametrize(
    ("name", "data", "rows", "wrong"),
    [
        ("short.csv", b"id,name\n1\n2,b\n", [("2", "b")], ["reject wrong_width 2 8"]),
        ("long.csv", b"id,name\n1,a,x\n2,b\n", [("2", "b")], ["reject wrong_width 2 8"]),
        ("not_utf8.csv", b"id,name\n1,\xff\n2,b\n", [("2", "b")], ["reject not_utf8 2 8"]),
        ("zeros.csv", b"id,name\n1,a\n2,\0\0\n", [("1", "a")], ["reject not_text 3 12"]),
        ("cut_maybe.csv", b"id,name\n1,a\n2,b", ROWS, ["fault no_line_end 3 12"]),
        ("names_only.csv", b"id,name", [], ["fault no_line_end 1 0"]),
        ("long_cell.csv", b'id,name\n1,"a\nb"\n2,b,c\n', [("1", "a\nb")], ["reject wrong_width 4 16"]),
        ("mark_first.csv", b"\xef\xbb\xbfid,name\n1\n", [], ["reject wrong_width 2 11"]),
        ("old_mac.csv", b"id,name\r1,a\r2\r", [("1", "a")], ["reject wrong_width 3 12"]),
        ("empty_cell.csv", b'id,name\n1,\n2,""\n', [("1", None), ("2", None)], []),
        (
            "not_a_number.ndjson",
            b'{"id":NaN}\n{"id":"2"}\n',
            [(None, None), ("2", None)],
            ["change not_strict_json 1 0"],
        ),
        (
            "too_large_beside_none.ndjson",
            b'{"id":NaN,"name":1e999}\n',
            [(None, None)],
            ["change not_strict_json 1 0"],
        ),
        (
            "not_a_number_last.ndjson",
            b'{"id":"2"}\n{"id":NaN}',
            [("2", None), (None, None)],
            ["change not_strict_json 2 11"],
        ),
        ("half_a_letter.ndjson", b'{"id":"\\ud800"}\n', [("?", None)], ["change not_strict_json 1 0"]),
        ("not_utf8.ndjson", b'{"id":"\xff"}\n{"id":"2"}\n', [("2", None)], ["reject not_utf8 1 0"]),
        ("not_json.ndjson", b'{"id":"1"}\n{"id":\n{"id":"2"}\n', [("1", None), ("2", None)], ["reject not_json 2 11"]),
        ("a_list.ndjson", b'[1]\n{"id":"2"}\n', [("2", None)], ["reject not_an_object 1 0"]),
        ("twice.ndjson", b'{"id":1,"id":3}\n{"id":"2"}\n', [("2", None)], ["reject repeated_column 1 0"]),
        ("empty.ndjson", b"", [], []),
        ("only_a_mark.ndjson", b"\xef\xbb\xbf", [], []),
    ],
)
def test_what_is_no_row_is_rejected_with_its_place(
    tmp_path: Path, name: str, data: bytes, rows: list[Any], wrong: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert read(path, tmp_path) == (rows, wrong)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cut.csv", b"id,name\n1,a\n2", "ends in the middle of line 3: it was only half written"),
        ("cut.ndjson", b'{"id":1,"name":"a"}\n{"id":2,"na', "ends in the middle of line 2"),
        ("open_quote.csv", b'id,name\n1,"a\n2,b\n', "line 2: .*only half written"),
        ("twice.csv", b"id,name,name\n1,a,b\n", "names the column name twice"),
        ("another.csv", b"uid,title\n1,a\n", "no column of this table .*: its columns are id, name"),
        ("wide.csv", "id,name\n1,a\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("wide.ndjson", '{"id":1}\n'.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("zeros.csv", b"\0" * 100, "bytes of zero"),
        ("empty.csv", b"", "is empty: its first line must name the columns"),
        ("blank.csv", b"\n\n", "is empty"),
        ("no.parquet", b"PAR1", "not a whole Parquet file"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for way in (lambda file: list(read_rows(file, KNOWN)), lambda file: read_batches(file, KNOWN).read_all()):
        with pytest.raises(InputError, match=message) as error:
            way(TableFile(path, "things", Rejects(tmp_path)))
        assert str(path) in str(error.value)


def test_parquet_follows_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": ["a", "b"], "more": [1, 2], "id": ["1", "2"]}), path)
    assert read(path, tmp_path) == (ROWS, [])
    file = TableFile(path, "things", Rejects(tmp_path))
    assert read_batches(file, KNOWN).read_all()[LINE].to_pylist() == [1, 2]
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"]), path)
    for way in (lambda: list(read_rows(file, KNOWN)), lambda: read_batches(file, KNOWN).read_all()):
        with pytest.raises(InputError, match="names the column id twice"):
            way()


def test_a_table_in_two_files_is_refused(tmp_path: Path) -> None:
    assert table_file(tmp_path, "t") is None
    (tmp_path / "T.CSV").write_text("id\n")
    found = table_file(tmp_path, "t")
    assert found is not None
    assert found.name == "T.CSV"
    (tmp_path / "t.ndjson").write_text("")
    with pytest.raises(InputError, match="remove all but one"):
        table_file(tmp_path, "t")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**62), TEXT), max_size=20))
def test_text_formats_give_back_what_was_written(tmp_path: Path, written: list[tuple[int, str]]) -> None:
    ndjson, table = tmp_path / "t.ndjson", tmp_path / "t.csv"
    ndjson.write_text("".join(json.dumps({"id": k, "name": v}) + "\n" for k, v in written), encoding="utf-8")
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("name", "id"), *((v, k) for k, v in written)])
    for path in (ndjson, table):
        rows, wrong = read(path, tmp_path)
        assert [(int(key), name or "") for key, name in rows] == written
        assert wrong == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200), st.text('id,name"\r\n{}:1', max_size=60).map(lambda text: b"id\n" + text.encode())
    ),
    st.sampled_from(["csv", "ndjson", "parquet"]),
)
def test_any_bytes_are_read_rejected_or_refused(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        read(path, tmp_path)
