"""The formats of the matches domain."""

from sheaf.exports.series import Domain, Series
from sheaf.matches import (
    schema,
    write_analytics_parquet,
    write_events_ndjson,
    write_match_archive,
    write_runs_csv,
)
from sheaf.matches.events_stream import EventFilter

_EVENT_TABLES = (schema.EVENTS, schema.EVENT_RUNS, schema.MATCH, schema.TOTALS)

RUNS_CSV = Series(
    "matches",
    "runs_csv",
    "One row per run: times, shots, impacts, and the share of shots with an impact.",
    (schema.RUNS, schema.MATCH, schema.TOTALS),
    write_runs_csv.write,
    write_runs_csv.verify,
    kinds=("csv",),
    row_key=("run_id",),
)

EVENTS_NDJSON = Series(
    "matches",
    "events_ndjson",
    "Every event as a JSON line after a schema record, with the original record on request.",
    _EVENT_TABLES,
    write_events_ndjson.write,
    write_events_ndjson.verify,
    options=write_events_ndjson.NdjsonOptions,
    filter=EventFilter,
    kinds=("ndjson",),
)

ANALYTICS_PARQUET = Series(
    "matches",
    "analytics_parquet",
    "Every event with its run and correlation in typed columns, partitioned on request.",
    _EVENT_TABLES,
    write_analytics_parquet.write,
    write_analytics_parquet.verify,
    check=write_analytics_parquet.check,
    options=write_analytics_parquet.ParquetOptions,
    filter=EventFilter,
    kinds=("parquet",),
)

MATCH_ARCHIVE = Series(
    "matches",
    "match_archive",
    "Logs, databases, all exports and checksums of the match in one zip.",
    (*_EVENT_TABLES, schema.RUNS, schema.SENSORS, schema.SOURCES, schema.REJECTS),
    write_match_archive.write,
    write_match_archive.verify,
    options=write_match_archive.ArchiveOptions,
    kinds=("zip",),
)

MATCHES = Domain("matches", "match", schema.REJECTS, (RUNS_CSV, EVENTS_NDJSON, ANALYTICS_PARQUET, MATCH_ARCHIVE))
