"""Whatever stands in a log: no crash, and every line is accounted for."""

import gzip
import tempfile
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matches_logs import Match, Read, accounted, beep, button, hit, line, ndjson, put, shot, stop, string

from sheaf.matches import schema
from sheaf.matches.readers.log_blocks import LogFile

quick = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD = [orjson.dumps(record) for record in string(0)]
CSV = [
    b"Datetime,Type,Device,DeviceID,DevicePosition,Details",
    b"9/9/25 8:44:05.10am,String,Timer,DC:1A,Bay 1,Shot detected",
    b'9/9/25 8:44:05.10am,String,Timer,DC:1A,Bay 1,"open',
]
CONSOLE = [
    b"[2025-09-14 10:00:02] INFO: Start Beep ------- String #1 at 10:00:02.250",
    b"[2025-99-14 10:00:02] INFO: x",
]

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    [
        *("timestamp_iso", "timestamp", "datetime", "type", "event_type", "device", "device_id", "details", "data"),
        *("seq", "ts_ms", "msg", "hms", "current_shot", "current_time", "raw_hex", "raw_data", "_type", "magnitude"),
    ]
)
texts = st.sampled_from(
    ["2025-09-14T10:00:00Z", "9999-12-31T23:59:59", "0001-01-01T00:00:00", "1/1/25 1:00:00am", "HIT", "event"]
)
objects = st.dictionaries(keys, values | texts, max_size=8).map(
    lambda content: orjson.dumps(content, default=str) if _fits(content) else b"{}"
)
lines = st.one_of(
    st.sampled_from(GOOD + CSV + CONSOLE),
    objects,
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
    st.just(b""),
    st.just(b"\0" * 40),
    st.sampled_from(GOOD).map(lambda text: b"\0\0" + text),
    st.integers(1, 80).map(lambda cut: GOOD[0][:cut]),
    st.just(b'{"details":"' + b"x" * 3000 + b'"}'),
    st.sampled_from(GOOD).map(lambda text: text.replace(b"Timer", b"T\xe9mer")),
)


def _fits(content: dict[str, Any]) -> bool:
    try:
        orjson.dumps(content)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True


def read(data: bytes) -> tuple[Read, Match]:
    """Read and analyse a match of one file."""
    match = Match(Path(tempfile.mkdtemp()))
    put(match.folder, "logs/any.log", data)
    return match.read(max_line_bytes=2000), match


@quick
@given(st.lists(lines, max_size=25), st.booleans(), st.booleans())
def test_every_line_is_accounted_for(content: list[bytes], ended: bool, packed: bool) -> None:
    data = b"\n".join(content) + (b"\n" if ended and content else b"")
    report, match = read(gzip.compress(data) if packed else data)
    account = report.account()
    if report.refused:  # nothing of it could be used
        assert account.rejected or report.account("sources").left_out == {"unknown": 1}
        assert not account.used
        assert account.adds_up
        return
    counts = report.counts
    assert accounted(report)
    if not counts["unknown_files"] and not data.startswith((b"\xff\xfe", b"\xfe\xff")) and counts["lines_read"]:
        seen = data.removeprefix(b"\xef\xbb\xbf")
        assert counts["lines_read"] == seen.count(b"\n") + (not seen.endswith(b"\n"))
    assert sum(row["kind"] == "reject" for row in match.rejects()) == counts["rejected"]
    assert len(match.rows(schema.EVENTS)) == counts["events"]
    assert len(match.rows(schema.EVENT_RUNS)) == counts["events"]


@quick
@given(st.binary(max_size=400))
def test_random_bytes_never_crash(data: bytes) -> None:
    report, _ = read(data)
    assert report.refused or accounted(report)


@quick
@given(st.lists(st.sampled_from(["reject", "blank", "nul", "long"]), max_size=10), st.randoms(use_true_random=False))
def test_good_lines_survive_any_neighbours(dirt: list[str], random: Any) -> None:
    bad = {"reject": b"{oops", "blank": b"", "nul": b"\0\0\0", "long": b"y" * 5000}
    content = [*GOOD]
    for kind in dirt:
        content.insert(random.randrange(len(content) + 1), bad[kind])
    report, match = read(b"\n".join(content) + b"\n")
    counts = report.counts
    assert counts["events"] == len(GOOD)
    assert counts["rejected"] == len(dirt) - dirt.count("blank")
    sources = {row["source_line"] for row in match.rows(schema.EVENTS)}
    assert [content[number - 1] for number in sorted(sources)] == GOOD


@quick
@given(st.lists(st.integers(0, len(GOOD) - 1), max_size=15))
def test_repeated_lines_count_once(again: list[int]) -> None:
    report, _ = read(b"\n".join([*GOOD, *(GOOD[index] for index in again)]) + b"\n")
    assert (report.counts["events"], report.counts["duplicates"]) == (len(GOOD), len(again))


@quick
@given(st.integers(0, sum(len(text) + 1 for text in GOOD)))
def test_a_file_cut_anywhere_has_at_most_one_pending_line(cut: int) -> None:
    data = (b"\n".join(GOOD) + b"\n")[:cut]
    report, _ = read(data)
    counts = report.counts
    whole = data.count(b"\n") + (len(data) > 0 and data[-1:] == b"}" and data.count(b"\n") < len(GOOD))
    assert counts["events"] == whole
    assert counts["pending"] == (counts["lines_read"] - whole)
    assert counts["rejected"] == 0


records = st.lists(
    st.tuples(st.sampled_from([button, beep, shot, hit, stop]), st.floats(0, 40)).map(lambda made: made[0](made[1])),
    max_size=30,
)


@quick
@given(records)
def test_any_order_of_events_makes_sane_runs(made: list[dict[str, Any]]) -> None:
    report, match = read(
        ndjson(*made, line(41, "String Time: 1.00s; Shots Detected: 1; Impacts Detected: 0", "Bridge"))
    )
    counts = report.counts
    runs = match.rows(schema.RUNS)
    assert [run["run_no"] for run in runs] == list(range(1, len(runs) + 1))
    starts = [run["start_time"] for run in runs]
    assert starts == sorted(starts) or any("clock_step" in run["flags"] for run in runs)
    shots = sum(run["shots_detected"] + run["shots_doubled"] for run in runs)
    assert shots + counts["orphan_shots"] == match.types().count("shot_detected")
    assert sum(run["impacts_detected"] for run in runs) + counts["orphan_impacts"] == match.types().count(
        "impact_detected"
    )
    for run in runs:
        assert run["impacts_correlated"] + run["uncorrelated_impacts"] == run["impacts_detected"]
        assert run["correlation_success_rate"] is None or 0 <= run["correlation_success_rate"] <= 1


@quick
@given(st.binary(max_size=3000), st.integers(5, 400), st.integers(1, 50))
@example(b"\r\0", 5, 1)
@example(b"\rb\r", 5, 1)
def test_blocks_hold_every_byte_of_a_file(data: bytes, max_line: int, chunk: int) -> None:
    folder = Path(tempfile.mkdtemp())
    text = b"a" + data  # no byte order mark, no gzip
    path = put(folder, "x", text)
    lines_of = [row for block in LogFile(path, max_line).blocks() for row in block.lines(max_line)]
    tails = [block.tail for block in LogFile(path, max_line).blocks() if block.tail]
    mac = b"\n" not in text and b"\r" in text.rstrip(b"\r")
    parts = text.split(b"\r" if mac else b"\n")
    assert [row.number for row in lines_of] == list(range(1, len(parts)))
    for row in lines_of:
        expected = parts[row.number - 1]
        assert text[row.offset :].startswith(expected[:10])
        assert row.too_long == (len(expected) > max_line)
        assert row.too_long or row.raw == expected
    assert [tail.raw for tail in tails if not tail.too_long] == (
        [parts[-1]] if parts[-1] and len(parts[-1]) <= max_line else []
    )


def test_a_refused_input_is_no_crash(tmp_path: Path) -> None:
    match = Match(tmp_path)
    put(match.folder, "match.yaml", b"\xff\xfe\x00")
    match.log(shot(1))
    assert "not valid YAML" in str(match.read().refused)
