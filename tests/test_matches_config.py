"""The `data_export` block of a bridge's configuration, and the sample match from end to end."""

from pathlib import Path

import orjson
import pytest
from matches_logs import START, Match, accounted, ndjson, put, string

from pipelines.cli.partitions import tell_read
from sheaf.errors import InputError
from sheaf.exports.publish import Request, publish
from sheaf.matches import schema
from sheaf.matches.domain import MATCHES
from sheaf.matches.readers.bridge_config import load_data_export
from sheaf.matches.sample import match as sample_match
from sheaf.matches.settings import MatchesSettings

BLOCK = {
    "enabled": True,
    "export_dir": "exports",
    "auto_export": {"enabled": False, "interval_hours": 24, "formats": ["csv", "ndjson"]},
    "formats": {
        "csv": {"enabled": True, "include_debug": False},
        "ndjson": {"enabled": True, "schema_version": "1.0.0", "include_raw_data": True},
        "parquet": {"enabled": True, "compression": "gzip", "partition_by": None},
    },
    "offload": {"auto_offload": False, "retention_days": 30, "delete_after_offload": False},
}


def test_the_documented_block_loads_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "dev_config.json"
    path.write_bytes(orjson.dumps({"mqtt": {"enabled": True}, "data_export": BLOCK}))
    config = load_data_export(path)
    assert config == load_data_export(BLOCK) == load_data_export({"data_export": {}})
    assert config.series() == {"runs_csv": {}, "events_ndjson": {}, "analytics_parquet": {}}
    assert config.offload.retention_days == 30


def test_what_it_says_becomes_options() -> None:
    config = load_data_export(
        {
            "auto_export": {"enabled": True, "formats": ["parquet", "ndjson"]},
            "formats": {
                "csv": {"enabled": False},
                "ndjson": {"include_raw_data": False},
                "parquet": {"compression": "zstd", "partition_by": "date"},
            },
            "timezone": "America/Chicago",
            "correlation": {"gate_ms": 90},
        }
    )
    assert config.series() == {
        "events_ndjson": {"include_raw_data": False},
        "analytics_parquet": {"compression": "zstd", "partition_by": "date"},
    }
    assert load_data_export({"enabled": False}).series() == {}


@pytest.mark.case("matches/data-export-keys-without-effect")
@pytest.mark.case("core/bridge-config-ignored")
def test_what_an_export_does_not_do_is_named_with_what_does_it() -> None:
    config = load_data_export(
        {
            "export_dir": "out",
            "auto_export": {"enabled": True, "interval_hours": 1, "formats": ["csv"]},
            "formats": {"csv": {"include_debug": True}},
            "offload": {"auto_offload": True, "retention_days": 7, "delete_after_offload": True},
            "timezone": "Pacific/Auckland",
            "correlation": {"window_ms": 900},
        }
    )
    told = "\n".join(config.elsewhere("m1"))
    for key in ("auto_export", "export_dir", "include_debug", "offload", "timezone", "correlation"):
        assert f"Not applied here: {key}" in told.replace("formats.csv.", "")
    assert "days_old: 7, delete_source: true" in told
    assert "correlation: {window_ms: 900.0}" in told
    assert load_data_export({"export_dir": "exports", "formats": {}}).elsewhere("m1") == ()


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"formats": {"csv": {"delimiter": ";"}}}, "unknown key 'formats.csv.delimiter'"),
        ({"formats": {"parquet": {"compression": "lzma"}}}, "formats.parquet.compression='lzma'"),
        ({"formats": {"ndjson": {"schema_version": "2.0"}}}, "schema_version"),
        ({"offload": {"retention_days": -1}}, "offload.retention_days=-1"),
    ],
)
def test_anything_else_is_an_error_that_names_the_key(block: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_data_export({"data_export": block})


@pytest.fixture
def match(tmp_path: Path) -> Match:
    return Match(tmp_path)


def configured(match: Match, **block: object) -> None:
    put(match.folder, "config.json", orjson.dumps({"mqtt": {"enabled": True}, "data_export": block}))


NAIVE = [{**record, "timestamp_iso": record["timestamp_iso"].removesuffix("Z")} for record in string(0)]


def test_the_configuration_beside_the_logs_holds_for_its_match(match: Match) -> None:
    match.log(*NAIVE)
    configured(match, timezone="America/Chicago", correlation={"window_ms": 400, "estimate_offsets": False})
    read = match.read()
    (run,) = match.rows(schema.RUNS)
    assert run["start_time"] == START.replace(hour=15)
    assert run["impacts_correlated"] == 0
    assert (read.counts["files"], read.counts["unknown_files"]) == (1, 0)
    assert "Of the data_export block these keys hold for this match: timezone, correlation." in read.warnings


@pytest.mark.parametrize("described", [b"", b"data_export: {}"], ids=["alone", "beside match.yaml"])
def test_a_configuration_that_says_nothing_of_exports_is_named(match: Match, described: bytes) -> None:
    match.log(*string(0))
    put(match.folder, "match.yaml", described)
    put(match.folder, "config.json", orjson.dumps({"formats": {"csv": {"enabled": False}}}))
    read = match.read()
    assert "config.json has no key data_export, nothing of it holds for this match." in read.warnings
    assert read.codes() == {}


@pytest.mark.parametrize("place", ["match.yaml", "config.json"])
def test_match_yaml_goes_before_the_block_wherever_it_is(match: Match, place: str) -> None:
    match.log(*NAIVE)
    block = {"timezone": "America/Chicago", "correlation": {"window_ms": 400, "estimate_offsets": False}}
    own = {"timezone": "Asia/Tokyo", "correlation": {"window_ms": 900}}
    if place == "config.json":
        configured(match, **block)
    put(match.folder, "match.yaml", orjson.dumps(own | ({"data_export": block} if place == "match.yaml" else {})))
    match.read()
    (run,) = match.rows(schema.RUNS)
    assert (run["start_time"], run["impacts_correlated"]) == (START.replace(hour=1), 3)


@pytest.mark.parametrize(
    ("block", "left_out"),
    [
        ({}, set()),
        ({"enabled": False}, {"runs_csv", "events_ndjson", "analytics_parquet"}),
        ({"formats": {"csv": {"enabled": False}}}, {"runs_csv"}),
        ({"auto_export": {"enabled": True, "formats": ["csv"]}}, {"events_ndjson", "analytics_parquet"}),
        ({"auto_export": {"enabled": False, "formats": ["csv"]}}, set()),
        (
            {"auto_export": {"enabled": True, "formats": ["parquet"]}, "formats": {"parquet": {"enabled": False}}},
            {"runs_csv", "events_ndjson", "analytics_parquet"},
        ),
    ],
)
def test_the_formats_that_it_wants_are_published_unasked(match: Match, block: dict, left_out: set[str]) -> None:
    match.log(*string(0))
    configured(match, **block)
    match.read()
    assert MATCHES.offered
    assert {series.name for series in MATCHES.series} - set(MATCHES.offered(match.tables)) == left_out


def test_keys_without_meaning_for_a_match_are_named(match: Match) -> None:
    match.log(*string(0))
    configured(
        match,
        export_dir="out",
        auto_export={"enabled": True, "interval_hours": 1, "formats": ["csv", "parquet"]},
        formats={"csv": {"include_debug": True}, "parquet": {"compression": "zstd", "partition_by": "date"}},
        offload={"auto_offload": True, "retention_days": 7},
    )
    told = "\n".join(match.read().warnings)
    for key in ("export_dir='out'", "auto_export.interval_hours=1", "formats.csv.include_debug", "offload"):
        assert f"Without meaning here: {key}" in told
    assert "analytics_parquet --option compression=zstd --option partition_by=date" in told
    assert "hold for this match: auto_export.formats." in told


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "data_export.timezone: 'Mars/Olympus' is no IANA time zone"),
        ({"export_directory": "x"}, "unknown key 'export_directory'"),
    ],
)
def test_a_match_with_a_configuration_that_cannot_be_meant_is_refused(match: Match, block: dict, said: str) -> None:
    match.log(*string(0))
    configured(match, **block)
    assert said in (match.read().refused or "")


def test_two_blocks_for_one_match_are_refused(match: Match) -> None:
    match.log(*string(0))
    configured(match)
    put(match.folder, "match.yaml", b"data_export: {enabled: true}\n")
    assert "both have data_export" in (match.read().refused or "")


def test_what_was_read_is_told_file_by_file(match: Match, capfd: pytest.CaptureFixture[str]) -> None:
    match.log(*string(0))
    put(match.folder, "logs/other.ndjson", ndjson(*string(100)) + b"{broken\n{unfin")
    tell_read(match.store, MATCHES, match.name)
    assert capfd.readouterr() == ("", "")
    match.read()
    tell_read(match.store, MATCHES, match.name)
    out, told = capfd.readouterr()
    assert not out
    assert "read matches/m1: logs/main.ndjson, bridge_log, 10 lines, 0 rejected, " in told
    assert "read matches/m1: logs/other.ndjson, bridge_log, 12 lines, 1 rejected, 1 unfinished, " in told
    assert "events: 22 seen, 20 used, 1 rejected, 1 pending" in told


def test_a_configuration_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{nope")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load_data_export(tmp_path / "x.json")


def test_the_sample_match_goes_all_the_way(tmp_path: Path) -> None:
    match = Match(tmp_path, *sample_match.write(tmp_path / "inbox"))
    read = match.read()
    assert accounted(read)
    assert (read.counts["pending"], read.counts["unknown_files"]) == (1, 0)
    assert read.codes() == {"corrupt_json": 2, "nul_bytes": 2, "not_an_object": 2}
    assert (read.counts["runs"], read.counts["incomplete"], read.counts["shots"]) == (12, 1, 92)
    assert read.counts["count_mismatches"] == 0
    assert [name for name, verdict in read.checks.items() if not verdict.passed] == ["open"]
    delays = {row["sensor"]: row["offset_ms"] for row in match.rows(schema.SENSORS)}
    assert delays == pytest.approx(sample_match.DELAYS_MS, abs=10)
    for series in MATCHES.series:
        publish(match.store, MATCHES, series, Request(match.name), MatchesSettings())


def test_the_sample_match_is_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        sample_match.write(tmp_path / name)
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b")
    )
    assert first == second
    assert len(first) == 6


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        (b"start: 2025-09-14\nend: 2025-09-14\n", "end is not after start"),
        (b"start: 2025-09-15T08:00\nend: 2025-09-14T08:00Z\n", "end is not after start"),
        (b"end: 20250915\n", "write it as 2025-09-13T08:00"),
        (b"end: '1757923200'\n", "write it as 2025-09-13T08:00"),
        (b"start: 2026-09-14\n", "All 10 events lie outside of start and end in match.yaml"),
        (b"devices:\n- {id: 'aa:bb:cc:dd:12:e3', bay: A}\n- {id: AABBCCDD12E3, bay: B}\n", "is listed twice"),
    ],
)
def test_what_cannot_be_meant_in_match_yaml_is_refused(match: Match, yaml: bytes, said: str) -> None:
    put(match.folder, "match.yaml", yaml)
    match.log(*string(0))
    assert said in str(match.read().refused)


def test_what_match_yaml_leaves_out_or_names_for_nothing_is_said(match: Match) -> None:
    put(
        match.folder,
        "match.yaml",
        b"end: 2025-09-14T10:00:20Z\ndevices:\n- {id: 'DC:1A', kind: timer, stage: S1}\n- {id: '00:00:00:00:00:01'}\n",
    )
    match.log(*string(0), *string(30))
    read = match.read()
    assert [run["stage"] for run in match.rows(schema.RUNS)] == ["S1"]
    said = " ".join(read.warnings)
    assert "Events outside of start and end in match.yaml, which are left out: 10." in said
    assert "never heard (is an address mistyped?): 00:00:00:00:00:01." in said
