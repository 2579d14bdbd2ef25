"""Logs as other programs write them: arrays, other times and line ends, numbers that are none; and locked databases."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from matches_logs import Match, ndjson, put, string

from sheaf.exports.publish import Request, publish
from sheaf.matches import schema
from sheaf.matches.domain import MATCHES
from sheaf.matches.readers.log_blocks import elements
from sheaf.matches.settings import MatchesSettings

LINES = string(0)


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def read(match: Match, data: bytes, name: str = "logs/log.ndjson") -> list[dict[str, Any]]:
    put(match.folder, name, data)
    assert match.read().refused is None
    return match.rows(schema.RUNS)


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_a_json_array_is_read_element_by_element(match: Match, indent: int | None) -> None:
    odd = LINES[0] | {"details": 'Timer Start Button pressed, "quoted, [odd]\\" }', "more": {"a": [1, {"b": "\n"}]}}
    (run,) = read(match, json.dumps([odd, *LINES[1:]], indent=indent).encode() + b"\n", "logs/all.json")
    assert (run["shots_detected"], run["flags"]) == (3, "")
    assert [row["source_line"] for row in match.rows(schema.EVENTS)] == list(range(1, len(LINES) + 1))
    assert json.loads(match.rows(schema.EVENTS)[0]["raw"]) == odd


def test_what_is_wrong_in_an_array_costs_only_itself(match: Match) -> None:
    text = json.dumps(LINES).replace(json.dumps(LINES[3]), "oops")
    put(match.folder, "logs/all.json", text.encode())
    report = match.read()
    assert (report.counts["events"], report.codes()) == (len(LINES) - 1, {"corrupt_json": 1})


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_an_array_may_be_cut_into_chunks_anywhere(size: int) -> None:
    text = json.dumps([{"a": "\\\\", "b": '"'}, {"c": ["x, y", {}]}]).encode()
    lines = b"".join(elements(iter([text[at : at + size] for at in range(0, len(text), size)]))).splitlines()
    assert [json.loads(line) for line in lines] == json.loads(text)


def as_number(scale: float) -> Any:
    from datetime import datetime

    return lambda text: round(datetime.fromisoformat(text).timestamp() * scale, 3 if scale == 1 else None)


@pytest.mark.parametrize(
    "time_of",
    [
        as_number(1),
        as_number(1e3),
        as_number(1e6),
        as_number(1e9),
        lambda text: str(as_number(1)(text)),
        lambda text: text.replace("Z", "z"),
        lambda text: text.replace("T", " ").replace("Z", " UTC"),
        lambda text: text.replace("Z", " gmt"),
    ],
)
def test_times_as_others_write_them(match: Match, time_of: Any) -> None:
    (run,) = read(match, ndjson(*(line | {"timestamp_iso": time_of(line["timestamp_iso"])} for line in LINES)))
    assert run["start_time"].isoformat() == "2025-09-14T10:00:00+00:00"
    assert (run["shots_detected"], run["duration_seconds"]) == (3, 11.01)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", "\n"], ids=["", "with another at the end"])
def test_line_ends_of_an_old_mac(match: Match, encoding: str, end: str) -> None:
    (run,) = read(match, (ndjson(*LINES).decode().replace("\n", "\r") + end).encode(encoding))
    assert run["shots_detected"] == 3


@pytest.mark.case("matches/nan-in-published-ndjson")
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("company", [b"", b"{broken\n"])
def test_numbers_that_are_none_become_null_whatever_stands_beside_them(
    match: Match, value: str, company: bytes
) -> None:
    lines = [json.dumps(line) for line in LINES]
    lines[2] = lines[2][:-1] + f', "more": {{"x": [{value}, 1.5]}}}}'
    read(match, "\n".join(lines).encode() + b"\n" + company)
    event = match.rows(schema.EVENTS)[2]
    assert orjson.loads(event["raw"])["more"] == {"x": [None, 1.5]}
    changes = [row for row in match.rejects() if row["kind"] == "change"]
    assert [(row["code"], row["line"]) for row in changes] == [("not_finite_number", 3)]
    assert value in changes[0]["raw"]
    export = publish(
        match.store, MATCHES, MATCHES.series_named("events_ndjson"), Request(match.name), MatchesSettings()
    )
    files = [
        path for path in match.store.list(f"exports/matches/{match.name}/events_ndjson/") if path.path.endswith("jsonl")
    ]
    assert export.export.version == 1
    assert all(orjson.loads(line) for file in files for line in match.store.get(file.path).splitlines())


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("1e999", "not_finite_number"),
        ("-1E+999", "not_finite_number"),
        ("9" * 320, "not_finite_number"),
        ('"a \\ud83d b"', "half_a_character"),
        ('"\\udc00"', "half_a_character"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"{broken\n"])
def test_a_value_that_is_none_costs_the_value_and_not_its_line(match: Match, value: str, code: str, end: bytes) -> None:
    lines = [json.dumps(line) for line in LINES]
    lines[2] = lines[2][:-1] + f', "more": [{value}, 1.5]}}'
    (run,) = read(match, "\n".join(lines).encode() + b"\n" + end)
    assert (run["shots_detected"], run["flags"]) == (3, "")
    assert orjson.loads(match.rows(schema.EVENTS)[2]["raw"])["more"] == [None, 1.5]
    changes = [row for row in match.rejects() if row["kind"] == "change"]
    assert [(row["code"], row["line"]) for row in changes] == [(code, 3)]


def test_a_last_line_without_its_end_is_mended_like_any_other(match: Match) -> None:
    read(match, ndjson(*LINES) + json.dumps(LINES[2]).encode()[:-1] + b', "more": NaN}')
    assert [(row["code"], row["line"]) for row in match.rejects()] == [("not_finite_number", len(LINES) + 1)]


ODD = [
    '"x": 1e999',
    '"x": 01',
    '"x": .5',
    '"x": 1.',
    '"x": +1',
    '"x": 0x10',
    '"x": "\\ud800"',
    '"x": "\t"',
    '"x": "\x7f"',
    "'x': 1",
    '"x": 1,',
    '"x": 1 /* why */',
    '"x": "NaN"',
    '"x": nan',
    '"x": inf',
    '"x": True',
    '"x": 123456789012345678901234567890',
    '"seq": 18446744073709551616',
    '"seq": 1.5',
    '"device": 7',
    '"device": null, "device": "Timer"',
    '"details": "Shot detected", "details": "Connected"',
    '"x": ' + "[" * 200 + "]" * 200,
    '"x": ' + "[" * 2000 + "]" * 2000,
]


@pytest.mark.parametrize(
    "odd", [pytest.param(odd, marks=pytest.mark.campaign if number % 4 else ()) for number, odd in enumerate(ODD)]
)
def test_whether_a_line_is_kept_does_not_depend_on_its_neighbours(odd: str, tmp_path: Path) -> None:
    verdicts = []
    far = ndjson(*LINES * 50) + b"{broken\n"  # more than what is read one by one for its sake
    for name, company in (("alone", b""), ("corrupt", b"{broken\n"), ("far", far)):
        match = Match(tmp_path / name)
        line = json.dumps(LINES[2])[:-1] + f", {odd}}}"
        put(match.folder, "logs/log.ndjson", ndjson(*LINES[:2]) + line.encode() + b"\n" + ndjson(*LINES[3:]) + company)
        report = match.read()
        events = [row for row in match.rows(schema.EVENTS) if row["source_line"] == 3]
        verdicts.append((events, [row for row in match.rejects() if row["line"] == 3]))
        assert not report.refused
        assert all(orjson.loads(row["raw"]) for row in events)
    assert verdicts[0] == verdicts[1] == verdicts[2]


HOLDER = """
import sqlite3, sys
holder = sqlite3.connect(sys.argv[1])
holder.execute("CREATE TABLE timer_events (ts_ns, event_type)")
holder.commit()
holder.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.case("matches/db-locked-hangs")
def test_a_locked_database_ends_in_time_and_the_match_goes_on_without_it(tmp_path: Path) -> None:
    match = Match(tmp_path)
    match.log(*LINES)
    path = put(match.folder, "db/site.db", b"")
    # In a process of its own: whoever closes a file loses the locks that it has on it.
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        begun = time.monotonic()
        report = match.read(database_timeout_s=0.5)
        assert time.monotonic() - begun < 20
        assert any("was locked for 0.5 s" in warning for warning in report.warnings)
        assert report.counts["runs"] == 1
