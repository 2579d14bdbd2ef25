"""The four formats: what their files hold, their options, and their verification."""

import csv
import io
import json
import sqlite3
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matches_logs import Match, beep, button, hit, ndjson, put, shot, stop, string, summary

from sheaf.errors import InputError, UsageError, VerificationError
from sheaf.exports.publish import Published, Request, preview, publish
from sheaf.exports.series import Series, Written
from sheaf.matches import schema
from sheaf.matches.domain import ANALYTICS_PARQUET, EVENTS_NDJSON, MATCH_ARCHIVE, MATCHES, RUNS_CSV
from sheaf.matches.settings import MatchesSettings
from sheaf.matches.writers import csv_text
from sheaf.matches.writers.analytics_parquet import ANALYTICS_SCHEMA


@pytest.fixture
def match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Match:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")
    return Match(tmp_path)


def export(match: Match, series: Series, filter_: dict[str, Any] | None = None, **options: Any) -> Published:
    return publish(match.store, MATCHES, series, Request(match.name, filter_, options), MatchesSettings())


def files(match: Match, published: Published) -> dict[str, bytes]:
    return {file.path: match.store.get(f"{published.export.path}/{file.path}") for file in published.manifest.files}


def test_runs_csv_has_the_header_and_numbers_of_the_specification(match: Match) -> None:
    impacts = [hit(5.526), hit(7.526), hit(9.526), hit(13.526)]
    shots = [shot(5), shot(7), shot(9), shot(11), shot(13)]
    match.log(button(0), beep(2.25), *shots, *impacts, stop(29.99), summary(30, 30, 5, 4))
    match.read()
    ((name, data),) = files(match, export(match, RUNS_CSV)).items()
    lines = data.decode().split("\n")
    assert name == "match_m1_runs.csv"
    assert lines[0].startswith(
        "run_id,start_time,end_time,duration_seconds,shots_detected,impacts_detected,correlation_success_rate,match_id,"
    )
    assert lines[1].startswith("run_1,2025-09-14T10:00:00Z,2025-09-14T10:00:30Z,30.0,5,4,0.8,m1,completed,Timer,")
    assert lines[2:] == [""]


def test_a_run_without_shots_has_no_rate_and_a_match_without_runs_a_header(match: Match) -> None:
    path = match.log(button(0), beep(2), stop(4.25))
    match.read()
    (data,) = files(match, export(match, RUNS_CSV)).values()
    (row,) = csv.DictReader(data.decode().splitlines())
    assert (row["shots_detected"], row["correlation_success_rate"], row["end_time"]) == (
        "0",
        "",
        "2025-09-14T10:00:04.250Z",
    )
    path.write_bytes(b"\n")
    match.log({"_type": "schema"})
    match.read(accept_loss=True)
    (data,) = files(match, export(match, RUNS_CSV)).values()
    assert data.decode().count("\n") == 1


def test_texts_cannot_run_as_formulas_nor_end_a_cell_or_a_line(match: Match) -> None:
    odd = ["=cmd()", 'a\rb,"c"\n', " -1"]
    for start, device in enumerate(odd):
        match.log(button(60 * start, device_id=device), stop(60 * start + 4, device_id=device), name=f"{start}.ndjson")
    match.read()
    (data,) = files(match, export(match, RUNS_CSV)).values()
    rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
    assert [row["start_device_id"] for row in rows] == ["'=cmd()", *odd[1:]]


def test_numbers_are_written_as_python_writes_them() -> None:
    numbers = [0.0, -0.0, 2.0, 0.25, 1e-7, 1.5e-6, 9.9e-5, 1e-4, -1 / 3, 389.0, 123456789.1234565, 1e15, 1e16]
    expected = "".join(f"{round(number, 6)},\n" for number in numbers)
    assert bytes(csv_text.lines([pa.array(numbers), pa.nulls(len(numbers), pa.string())])).decode() == expected


def test_ndjson_has_one_schema_record_and_every_event(match: Match) -> None:
    odd = shot(50, device_position="".join(map(chr, range(300))) + "\u2028", session_id="s1", extra={"a": [1, None]})
    match.log(*string(0), odd)
    match.read()
    (data,) = files(match, export(match, EVENTS_NDJSON)).values()
    head, *events = [json.loads(line) for line in data.decode().split("\n")[:-1]]
    assert (head["_type"], head["_version"]) == ("schema", "1.0.0")
    assert set(events[0]) == {"_schema_version", *head["fields"]}
    assert len(events) == 11
    assert events[2] == {
        "_schema_version": "1.0.0",
        "timestamp_iso": "2025-09-14T10:00:04Z",
        "event_type": "shot_detected",
        "device": "Timer",
        "device_id": "60:09:C3:1F:DC:1A",
        "device_position": "Bay 1",
        "details": "Shot detected",
        "session_id": None,
        "seq": None,
        "run_id": "run_1",
        "match_id": "m1",
        "stage": None,
        "bay": "Bay 1",
        "string": 1,
        "shooter": None,
        "target": None,
        "_source_file": "logs/main.ndjson",
        "_source_line": 3,
        "raw_data": shot(4),
    }
    assert events[-1]["device_position"] == odd["device_position"]
    assert events[-1]["raw_data"] == odd
    assert events[-1]["run_id"] is None


def test_the_event_filter_knows_canonical_names_and_source_types(match: Match) -> None:
    match.log(*string(0))
    match.read()
    wanted = {"shot_detected,impact_detected": 6, "StringSummary": 1, "string_summary, shot_detected": 4}
    for names, count in wanted.items():
        published = export(match, EVENTS_NDJSON, {"events": names})
        assert published.manifest.record_count == count
        assert export(match, ANALYTICS_PARQUET, {"events": names}).manifest.record_count == count
    with pytest.raises(UsageError, match="known are"):
        export(match, EVENTS_NDJSON, {"events": "Nope"})


def test_raw_data_can_be_left_out(match: Match) -> None:
    match.log(*string(0))
    match.read()
    (data,) = files(match, export(match, EVENTS_NDJSON, include_raw_data="false")).values()
    assert b"raw_data" not in data


def test_an_export_read_in_again_has_the_same_events(match: Match, tmp_path: Path) -> None:
    match.log(*string(0))
    match.read()
    (data,) = files(match, export(match, EVENTS_NDJSON)).values()
    again = Match(tmp_path / "again")
    put(again.folder, "logs/export.jsonl", data)
    again.read()
    names = ("ts", "event_type", "device", "device_id", "details", "seq")
    assert [[row[name] for name in names] for row in again.rows(schema.EVENTS)] == [
        [row[name] for name in names] for row in match.rows(schema.EVENTS)
    ]
    assert again.rows(schema.RUNS) == match.rows(schema.RUNS)
    put(match.folder, "logs/export.jsonl", data)
    assert match.read().counts["duplicates"] == 10


def test_parquet_has_the_fixed_schema_and_what_the_analysis_says(match: Match, tmp_path: Path) -> None:
    match.log(*string(0))
    match.read()
    ((name, data),) = files(match, export(match, ANALYTICS_PARQUET)).items()
    path = put(tmp_path, name, data)
    table = pq.read_table(path)
    assert table.schema.equals(ANALYTICS_SCHEMA)
    assert table.schema.metadata[b"schema_version"] == b"1.0.0"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "GZIP"
    second = table.to_pylist()[4]
    assert (second["event_type"], second["run_id"], second["shot_number"]) == ("shot_detected", "run_1", 2)
    assert (second["split_s"], second["delay_ms"], second["matched"]) == (2.0, 500.0, True)


@pytest.mark.parametrize("codec", ["brotli", "lz4", "zstd", "snappy", "none"])
def test_parquet_in_every_codec(match: Match, tmp_path: Path, codec: str) -> None:
    match.log(*string(0))
    match.read()
    ((name, data),) = files(match, export(match, ANALYTICS_PARQUET, compression=codec)).items()
    found = pq.ParquetFile(put(tmp_path, name, data)).metadata.row_group(0).column(0).compression
    assert found == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())


def test_parquet_partitioned_by_local_date_session_and_column(match: Match, tmp_path: Path) -> None:
    put(match.folder, "match.yaml", b"timezone: America/Chicago\n")
    match.log(shot(0), shot(68_400 - 1, session_id="a/b"), shot(68_400))  # Chicago's midnight is 5:00 UTC
    match.read()
    found = files(match, export(match, ANALYTICS_PARQUET, partition_by="date", compression="zstd"))
    folder = "match_m1_analytics"
    assert list(found) == [f"{folder}/date=2025-09-14/part-0.parquet", f"{folder}/date=2025-09-15/part-0.parquet"]
    for name, data in found.items():
        put(tmp_path / "out", name, data)
    everything = tmp_path / "out" / "**" / "*.parquet"
    query = f"SELECT date, count(*) FROM read_parquet('{everything}') GROUP BY 1 ORDER BY 1"
    assert [count for _, count in duckdb.execute(query).fetchall()] == [2, 1]
    found = files(match, export(match, ANALYTICS_PARQUET, partition_by="session"))
    assert {name.split("/")[1] for name in found} == {"session=__HIVE_DEFAULT_PARTITION__", "session=a%2Fb"}
    found = files(match, export(match, ANALYTICS_PARQUET, partition_by="event_type"))
    assert {name.split("/")[1] for name in found} == {"event_type=shot_detected"}


@pytest.mark.parametrize("options", [{"compression": "lzma"}, {"partition_by": "mood"}])
def test_impossible_parquet_options_make_no_version(match: Match, options: dict[str, Any]) -> None:
    match.log(*string(0))
    match.read()
    with pytest.raises(UsageError):
        export(match, ANALYTICS_PARQUET, **options)
    assert not list(match.store.list("exports/matches"))


def test_partitioned_parquet_of_a_match_without_events_still_has_columns(match: Match) -> None:
    put(match.folder, "logs/empty.ndjson", b"")
    match.read()
    (name,) = files(match, export(match, ANALYTICS_PARQUET, partition_by="date"))
    assert name == "match_m1_analytics.parquet"


def test_manifests_carry_the_counts(match: Match) -> None:
    match.log(*string(0), shot(60))
    put(match.folder, "logs/more.ndjson", b"{bad\n" + orjson.dumps(shot(60)) + b'\n{"half')
    match.read()
    for series in MATCHES.series:
        assert export(match, series).manifest.counts == {
            "lines_read": 14,
            "events": 11,
            "rejected": 1,
            "pending": 1,
            "duplicates": 1,
            "runs": 1,
            "shots": 3,
            "impacts": 3,
            "orphan_shots": 1,
            "orphan_impacts": 0,
        }


def archive_of(match: Match, tmp_path: Path, **options: Any) -> zipfile.ZipFile:
    ((name, data),) = files(match, export(match, MATCH_ARCHIVE, **options)).items()
    return zipfile.ZipFile(put(tmp_path, name, data))


def test_the_archive_holds_logs_databases_exports_and_their_checksums(match: Match, tmp_path: Path) -> None:
    log = match.log(*string(0), name="logs/main/a.ndjson")
    match.log(*string(0), name="logs/debug/a.ndjson")
    path = put(match.folder, "db/site.db", b"")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (password_hash TEXT)")
        connection.execute("INSERT INTO users VALUES ('secret-hash')")
        connection.execute("CREATE TABLE timer_events (ts_ns INTEGER, event_type TEXT)")
        connection.commit()
    match.read()
    with archive_of(match, tmp_path) as archive:
        assert archive.namelist() == [
            "database/site.db",
            "logs/debug/a.ndjson",
            "logs/main/a.ndjson",
            "exports/match_m1_runs.csv",
            "exports/match_m1_raw.jsonl",
            "exports/match_m1_analytics.parquet",
            "metadata.json",
        ]
        assert archive.read("logs/main/a.ndjson") == log.read_bytes()
        assert b"secret-hash" not in archive.read("database/site.db")
        metadata = json.loads(archive.read("metadata.json"))
    assert (metadata["match_id"], metadata["database_included"]) == ("m1", True)
    assert metadata["formats_included"] == ["csv", "ndjson", "parquet"]
    assert metadata["log_files"] == ["logs/debug/a.ndjson", "logs/main/a.ndjson"]
    assert {entry["path"]: entry.get("rows") for entry in metadata["files"]}["exports/match_m1_raw.jsonl"] == 10


def test_an_archive_of_logs_only_says_so(match: Match, tmp_path: Path) -> None:
    match.log(*string(0))
    match.read()
    with archive_of(match, tmp_path, logs_only=True) as archive:
        assert archive.namelist() == ["logs/main.ndjson", "metadata.json"]
        assert json.loads(archive.read("metadata.json"))["formats_included"] == []


def test_a_log_that_grew_is_archived_as_it_was_read_and_a_changed_one_refused(match: Match, tmp_path: Path) -> None:
    path = match.log(*string(0))
    before = path.read_bytes()
    match.read()
    path.write_bytes(before + b"more\n")
    with archive_of(match, tmp_path) as archive:
        assert archive.read("logs/main.ndjson") == before
    path.write_bytes(b"x" + before[1:])
    with pytest.raises(InputError, match="changed since it was read"):
        export(match, MATCH_ARCHIVE, logs_only=True)
    path.unlink()
    with pytest.raises(InputError, match="is gone"):
        export(match, MATCH_ARCHIVE, logs_only=True)


def test_a_database_that_changed_is_not_archived_beside_events_of_before(match: Match) -> None:
    path = match.folder / "live.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE timer_events (ts_ns INTEGER, event_type TEXT)")
        connection.execute("INSERT INTO timer_events VALUES (1757844000000000000, 'START')")
        connection.commit()
        put(match.folder, "match.yaml", b"logs: ['*.db']\n")
        match.read()
        export(match, MATCH_ARCHIVE)
        connection.execute("INSERT INTO timer_events VALUES (1757844003000000000, 'SHOT')")
        connection.commit()
        with pytest.raises(InputError, match=r"live\.db-wal changed since it was read: run `sheaf run matches m1`"):
            publish(match.store, MATCHES, MATCH_ARCHIVE, Request(match.name, always=True), MatchesSettings())
        assert match.read().counts["events"] == 2
        export(match, MATCH_ARCHIVE)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"live\.db changed since it was read"):
        publish(match.store, MATCHES, MATCH_ARCHIVE, Request(match.name, always=True), MatchesSettings())


def test_the_archive_says_with_what_it_was_made(match: Match, tmp_path: Path) -> None:
    put(match.folder, "logs/main.ndjson", ndjson(*string(0)) + b"{bad\n[1]\n")
    match.read()
    with archive_of(match, tmp_path) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert metadata["manifest"]["correlation"]["expected_delay_ms"] == 526
    assert metadata["rejected_by_reason"] == {"corrupt_json": 1, "not_an_object": 1}
    put(match.folder, "match.yaml", b"correlation: {expected_delay_ms: 400}\n")
    match.read()
    with archive_of(match, tmp_path) as archive:
        assert json.loads(archive.read("metadata.json"))["manifest"]["correlation"]["expected_delay_ms"] == 400


@pytest.mark.parametrize("series", MATCHES.series, ids=lambda series: series.name)
def test_equal_input_gives_equal_files_and_no_second_version(match: Match, tmp_path: Path, series: Series) -> None:
    other = Match(tmp_path / "other")
    for each in (match, other):
        each.log(*string(0), *string(60))
        each.read()
    assert files(match, export(match, series)) == files(other, export(other, series))
    assert export(match, series).unchanged


@pytest.mark.parametrize("series", MATCHES.series, ids=lambda series: series.name)
def test_verification_notices_a_damaged_file(match: Match, tmp_path: Path, series: Series) -> None:
    match.log(*string(0))
    match.read()
    published = export(match, series)
    for name, data in files(match, published).items():
        put(tmp_path / "export", name, data[: len(data) * 2 // 3])
    rows = {file.path: file.rows or 0 for file in published.manifest.files}
    with pytest.raises(VerificationError):
        series.verify(tmp_path / "export", Written(published.manifest.record_count, rows))


@pytest.mark.parametrize("series", MATCHES.series, ids=lambda series: series.name)
def test_a_preview_counts_what_the_export_would_hold(match: Match, series: Series) -> None:
    match.log(*string(0))
    match.read()
    seen = preview(match.store, MATCHES, series, Request(match.name), MatchesSettings())
    assert seen.counts["events"] == 10
    assert not list(match.store.list("exports"))


def test_times_in_the_archive_name_come_from_the_given_clock(match: Match) -> None:
    match.log(*string(0))
    match.read()
    (file,) = export(match, MATCH_ARCHIVE).manifest.files
    assert file.path == f"match_m1_{datetime.fromtimestamp(1760000000, UTC):%Y%m%d_%H%M%S}.zip"


def test_an_archive_is_the_same_whether_or_not_its_exports_were_published_or_damaged_since(match: Match) -> None:
    match.log(*string(0))
    match.read()
    request = Request(match.name, always=True)
    archives = [files(match, export(match, MATCH_ARCHIVE))]
    for published in (export(match, RUNS_CSV), export(match, ANALYTICS_PARQUET)):
        archives.append(files(match, publish(match.store, MATCHES, MATCH_ARCHIVE, request, MatchesSettings())))
        match.store.put(f"{published.export.path}/{published.manifest.files[0].path}", b"damaged")
    archives.append(files(match, publish(match.store, MATCHES, MATCH_ARCHIVE, request, MatchesSettings())))
    assert all(archive == archives[0] for archive in archives)
