"""What a director takes home: shots, stage results, the report, and whose every event was."""

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from matches_logs import PLATE_1, PLATE_2, TIMER, Match, beep, button, hit, ndjson, put, shot, stop, string

from sheaf.errors import VerificationError
from sheaf.exports.publish import Request, publish
from sheaf.exports.series import Written
from sheaf.matches.domain import MATCHES
from sheaf.matches.settings import MatchesSettings
from sheaf.matches.writers import events_ndjson, match_report

DESCRIBED = f"""
name: Plates & Co
devices:
- {{id: '{TIMER}', kind: timer, stage: S1, bay: '1'}}
- {{id: '{PLATE_1}', target: Left}}
- {{id: '{PLATE_2}', target: Right}}
squad:
- {{stage: S1, string: 1, shooter: Ada}}
- {{stage: S1, string: 2, shooter: Ada}}
- {{stage: S1, string: 3, shooter: "=cmd()"}}
"""


@pytest.fixture
def match(tmp_path: Path) -> Match:
    match = Match(tmp_path)
    put(match.folder, "match.yaml", DESCRIBED.encode())
    last = [button(60), beep(62), shot(63), hit(63.5, PLATE_2), shot(64.2), stop(66)]
    match.log(*string(0, shots=2), *string(30, gap=1.5), *last)
    match.read()
    return match


def made(match: Match, series: str, **options: Any) -> Path:
    request = Request(match.name, options=options)
    export = publish(match.store, MATCHES, MATCHES.series_named(series), request, MatchesSettings()).export
    return Path(match.store.url.removeprefix("file://")) / export.path


def table(match: Match, series: str) -> list[dict[str, str]]:
    (path,) = made(match, series).glob("*.csv")
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_shots_have_times_targets_and_shooters(match: Match) -> None:
    rows = table(match, "shots_csv")
    shown = ("run_id", "shot_no", "since_beep_s", "split_s", "draw_s", "target", "delay_ms", "status", "shooter")
    assert [tuple(row[name] for name in shown) for row in (rows[0], rows[1], rows[-1])] == [
        ("run_1", "1", "1.75", "", "1.75", "Left", "500.0", "hit", "Ada"),
        ("run_1", "2", "3.75", "2.0", "", "Left", "500.0", "hit", "Ada"),
        ("run_3", "2", "2.2", "1.2", "", "", "", "miss", "'=cmd()"),
    ]


def test_results_add_up_for_each_stage_and_shooter(match: Match) -> None:
    ada, other = table(match, "stage_results")
    assert ada["shooter"] == "'=cmd()" or other["shooter"] == "'=cmd()"
    ada, other = (ada, other) if ada["shooter"] == "Ada" else (other, ada)
    shown = ("strings", "shots", "hits", "misses", "total_time_s", "best_string_s", "mean_string_s", "best_split_s")
    assert [ada[name] for name in shown] == ["2", "5", "5", "0", "8.5", "3.75", "4.25", "1.5"]
    assert [other[name] for name in shown[:4]] == ["1", "2", "1", "1"]
    assert (ada["best_first_shot_s"], other["mean_first_shot_s"]) == ("1.75", "1.0")


def test_every_event_says_where_it_was_shot_and_by_whom(match: Match) -> None:
    (path,) = made(match, "events_ndjson").glob("*.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    shown = ("run_id", "stage", "bay", "string", "shooter", "target")
    assert [tuple(event[name] for name in shown) for event in (events[0], events[3])] == [
        ("run_1", "S1", "1", 1, "Ada", None),
        ("run_1", "S1", "1", 1, "Ada", "Left"),
    ]


@pytest.mark.parametrize(("by", "wanted"), [("stage", ["S1"]), ("bay", ["1"]), ("shooter", ["=cmd()", "Ada"])])
def test_parquet_is_partitioned_by_where_and_whom(match: Match, by: str, wanted: list[str]) -> None:
    (folder,) = (path for path in made(match, "analytics_parquet", partition_by=by).iterdir() if path.is_dir())
    found = ds.dataset(folder, partitioning="hive").to_table()
    assert found.num_rows == 24
    assert sorted({str(value) for value in found[by].to_pylist()}) == wanted


def test_the_report_says_what_is_suspicious_worst_first(match: Match) -> None:
    match.log(
        *string(0), button(100), beep(102), shot(104), *string(200)[2:], button(300), beep(302), shot(303), shot(303.03)
    )
    match.read(accept_loss=True)
    (path,) = made(match, "match_report").glob("*.html")
    page = path.read_text(encoding="utf-8")
    assert "<h1>Plates &amp; Co</h1>" in page
    worst, milder = page.index("its start was lost"), page.index("shots were reported more than once")
    assert page.index("What is suspicious") < worst < milder < page.index("Runs in time")
    assert page.count("<svg") >= 3
    assert PLATE_1 in page


def test_a_report_that_loads_something_is_not_published(tmp_path: Path) -> None:
    page = "".join(f'<section id="{name}"></section>' for name in match_report._SECTIONS)
    (tmp_path / "m_report.html").write_text(page + "<script src='x.js'></script>")
    with pytest.raises(VerificationError, match="refers to script"):
        match_report.verify(tmp_path, Written(0))


def test_numbers_that_no_json_has_do_not_pass_verification(tmp_path: Path) -> None:
    good = b'{"_type":"schema"}\n{"timestamp_iso":"2025-09-14T10:00:00Z","event_type":"other","raw_data":{"x":"NaN"}}\n'
    (tmp_path / "m.jsonl").write_bytes(good)
    events_ndjson.verify(tmp_path, Written(1, {"m.jsonl": 1}))
    (tmp_path / "m.jsonl").write_bytes(good.replace(b'"NaN"', b"NaN"))
    with pytest.raises(VerificationError, match="no JSON"):
        events_ndjson.verify(tmp_path, Written(1, {"m.jsonl": 1}))


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "matches.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "inbox/matches/m1/logs/log.ndjson", ndjson(*string(0)))
    scope: dict[str, Any] = {}
    exec(compile(code, "matches.md", "exec"), scope)
    path = tmp_path / "store" / scope["export"]("m1", "events_ndjson", events="shot_detected")
    (file,) = path.glob("*.jsonl")
    assert file.read_text().count("shot_detected") > 3
    os.utime(tmp_path / "inbox/matches/m1/logs/log.ndjson", (1e9, 1e9))
    assert scope["offload"](tmp_path / "inbox/matches/m1/logs", 30).endswith(".zip")
