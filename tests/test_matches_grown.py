"""A match that is read while its logs grow: as if it had been read at the end, at the cost of what is new."""

import gzip
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matches_logs import PLATE_1, Match, accounted, hit, ndjson, put, shot, string

from sheaf.matches import schema
from sheaf.matches.readers.json_lines import JsonLines
from sheaf.matches.readers.log_blocks import Block
from sheaf.matches.readers.staging import Batch

EVENTS = ("events",)


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


@pytest.fixture
def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines each reading of a block got."""
    seen: list[int] = []
    original = JsonLines.read

    def read(self: JsonLines, block: Block) -> Batch:
        seen.append(block.count)
        return original(self, block)

    monkeypatch.setattr(JsonLines, "read", read)
    return seen


def outcome(match: Match, **settings: Any) -> dict[str, Any]:
    """Everything that is known of a match after it was read as far as its files go today."""
    read = match.read(only=EVENTS, **settings)
    if read.refused:
        return {"refused": read.refused}
    assert accounted(read)
    return {
        "events": read.events.tables["events"].sha256,
        "match": match.rows(schema.MATCH),
        "sources": match.rows(schema.SOURCES),
        "account": {account.table: account for account in read.events.account},
        "warnings": read.warnings,
        "progress": match.rows(schema.PROGRESS),
        "rejects": sorted(match.rejects(), key=repr) if "rejects" in read.events.tables else [],
    }


def at_once(files: dict[str, bytes], **settings: Any) -> dict[str, Any]:
    """The same of files that are read for the first time."""
    with tempfile.TemporaryDirectory() as folder:
        match = Match(Path(folder))
        for name, data in files.items():
            put(match.folder, name, data)
        return outcome(match, **settings)


DIRT = [b"{bad json\n", b"\n", b'{"strange":1}\n', b"\0\0\0\n", b"y" * 3000 + b"\n", b'{"_type":"schema"}\n']
pieces = st.lists(
    st.tuples(st.integers(1, 400), st.sampled_from([b"", *DIRT])).map(lambda made: (made[0] / 10, made[1])), max_size=12
)


def log(of: Sequence[tuple[float, bytes]]) -> bytes:
    """A log of shots and hits that follow each other by some seconds, with dirt between them."""
    at, data = 0.0, b""
    for number, (later, dirt) in enumerate(of):
        at += later
        data += ndjson(shot(at) if number % 3 else hit(at, PLATE_1)) + dirt
    return data


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pieces, pieces, st.lists(st.floats(0, 1), min_size=1, max_size=3), st.booleans())
@example([(1, b"")] * 4, [], [0.4], False)  # in the middle of a line
@example([(1, b"")] * 4, [(0.1, b"")] * 3, [0.5, 0.9], True)
@example([(30, b"{bad json\n")] * 4, [(1, b"")], [0.5], False)
def test_read_piece_by_piece_is_as_read_at_once(
    main: list[tuple[float, bytes]], other: list[tuple[float, bytes]], cuts: list[float], late: bool
) -> None:
    files = {"logs/main.ndjson": log(main), "logs/other.ndjson": log(other)}
    with tempfile.TemporaryDirectory() as folder:
        match = Match(Path(folder))
        for cut in sorted(cuts):
            for name, data in files.items():
                if not (late and "other" in name):  # a file that comes only in the end
                    put(match.folder, name, data[: round(len(data) * cut)])
            match.read(only=EVENTS, max_line_bytes=2000)
        for name, data in files.items():
            put(match.folder, name, data)
        assert outcome(match, max_line_bytes=2000) == at_once(files, max_line_bytes=2000)


def test_only_what_is_new_is_read(match: Match, lines_read: list[int]) -> None:
    first, then = string(0), string(60)
    path = match.log(*first)
    match.read(only=EVENTS)
    assert sum(lines_read) == len(first)
    lines_read.clear()
    path.write_bytes(path.read_bytes() + ndjson(*then))
    found = outcome(match)
    assert sum(lines_read) == len(then)
    assert found["match"][0]["events"] == len(first) + len(then)
    assert found == at_once({"logs/main.ndjson": ndjson(*first, *then)})


@pytest.mark.parametrize(
    "why",
    ["rewritten", "earlier", "renamed", "other settings", "gone", "packed", "a device is told"],
)
def test_what_did_not_only_grow_is_read_as_a_whole(match: Match, lines_read: list[int], why: str) -> None:
    first = ndjson(*string(0), hit(40, "12:E3"))
    files = {"logs/main.ndjson": first, "logs/other.ndjson": ndjson(*string(100))}
    if why == "packed":
        files["logs/other.ndjson"] = gzip.compress(files["logs/other.ndjson"])
    for name, data in files.items():
        put(match.folder, name, data)
    match.read(only=EVENTS)
    lines_read.clear()
    settings: dict[str, Any] = {}
    if why == "rewritten":
        files["logs/main.ndjson"] = ndjson(*string(0, delay=0.4), hit(40, "12:E3")) + ndjson(*string(200))
    elif why == "earlier":
        files["logs/main.ndjson"] += ndjson(*string(60))
    elif why == "renamed":
        files["logs/main2.ndjson"] = files.pop("logs/main.ndjson")
        (match.folder / "logs/main.ndjson").unlink()
    elif why == "other settings":
        files["logs/main.ndjson"] += ndjson(*string(200))
        settings["max_line_bytes"] = 5000
    elif why == "gone":
        files["logs/main.ndjson"] += ndjson(*string(200))
        del files["logs/other.ndjson"]
        (match.folder / "logs/other.ndjson").unlink()
    elif why == "packed":
        files["logs/other.ndjson"] = gzip.compress(ndjson(*string(100), *string(200)))
    else:  # two sensors end alike, so the short name no longer tells which
        files["logs/main.ndjson"] += ndjson(hit(300, "00:00:00:00:12:E3"))
    for name, data in files.items():
        put(match.folder, name, data)
    with_loss = {"accept_loss": True} if why == "gone" else {}
    found = outcome(match, **settings, **with_loss)
    assert sum(lines_read) >= sum(entry["lines"] for entry in found["sources"])
    assert found == at_once(files, **settings)


def test_again_means_everything(match: Match, lines_read: list[int]) -> None:
    match.log(*string(0))
    match.read(only=EVENTS)
    lines_read.clear()
    match.read(only=EVENTS, again=True)
    assert sum(lines_read) == len(string(0))
