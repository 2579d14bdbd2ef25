"""The matches domain: start here. What is made of the logs of a match, and what is published from it."""

from sheaf.exports.series import Series
from sheaf.later import later
from sheaf.matches import choices, schema
from sheaf.matches.writers.request import ArchiveOptions, EventFilter, NdjsonOptions, ParquetOptions
from sheaf.steps import Check, Choices, Domain, Step
from sheaf.tables.pinned import Tables

EVENTS = Step(
    "events",
    "Events of all logs and databases of a match in UTC, each once, with the file and line it came from.",
    writes=(schema.EVENTS, schema.SOURCES, schema.MATCH, schema.PROGRESS),
    settings=("timezone", "max_line_bytes"),
    version=6,
    checks=(
        Check(
            "open",
            "No log ends in the middle of a line, as one still being written does.",
            later("sheaf.matches.checks:is_closed"),
        ),
    ),
    pool="ingest",
)

RUNS = Step(
    "runs",
    "Runs with their counts, impacts correlated with shots one to one, and the delay of each sensor.",
    reads=(schema.EVENTS, schema.MATCH),
    writes=(schema.RUNS, schema.TOTALS, schema.SENSORS, schema.EVENT_RUNS),
    work=later("sheaf.matches.analysis.runs_tables:build_runs"),
    settings=("correlation", "min_split_ms"),
    version=12,
    checks=(
        Check(
            "count_mismatch",
            "Timer summaries agree with the shots that were seen.",
            later("sheaf.matches.checks:summaries_agree"),
        ),
        Check("uncorrelated", "Most shots have an impact.", later("sheaf.matches.checks:shots_have_impacts")),
    ),
    kinds=("parquet",),
)

SHOTS = Step(
    "shots",
    "Shots and impacts, a row for each: time, split, and what was hit; with split chart and sensor delays.",
    reads=(schema.EVENTS, schema.EVENT_RUNS, schema.RUNS, schema.SENSORS, schema.MATCH, schema.TOTALS),
    writes=(schema.SHOTS, schema.IMPACTS),
    version=2,
    work=later("sheaf.matches.analysis.shots:build_shots"),
)

_EVENT_TABLES = (schema.EVENTS, schema.EVENT_RUNS, schema.RUNS, schema.MATCH, schema.TOTALS)

RUNS_CSV = Series(
    "matches",
    "runs_csv",
    "One row per run: times, shots, impacts, and the share of shots with an impact.",
    (schema.RUNS, schema.MATCH, schema.TOTALS),
    later("sheaf.matches.writers.runs_csv:write"),
    later("sheaf.matches.writers.runs_csv:verify"),
    version=2,
    kinds=("csv",),
    row_key=("run_id",),
)

EVENTS_NDJSON = Series(
    "matches",
    "events_ndjson",
    "Every event as a JSON line after a schema record, with the original record on request.",
    _EVENT_TABLES,
    later("sheaf.matches.writers.events_ndjson:write"),
    later("sheaf.matches.writers.events_ndjson:verify"),
    options=NdjsonOptions,
    filter=EventFilter,
    version=2,
    kinds=("ndjson",),
)

ANALYTICS_PARQUET = Series(
    "matches",
    "analytics_parquet",
    "Every event with its run and correlation in typed columns, partitioned on request.",
    _EVENT_TABLES,
    later("sheaf.matches.writers.analytics_parquet:write"),
    later("sheaf.matches.writers.analytics_parquet:verify"),
    check=later("sheaf.matches.writers.analytics_parquet:check"),
    options=ParquetOptions,
    filter=EventFilter,
    version=2,
    kinds=("parquet",),
)

MATCH_ARCHIVE = Series(
    "matches",
    "match_archive",
    "Logs, databases, all exports and checksums of the match in one zip.",
    (*_EVENT_TABLES, schema.SENSORS, schema.SOURCES),
    later("sheaf.matches.writers.match_archive:write"),
    later("sheaf.matches.writers.match_archive:verify"),
    options=ArchiveOptions,
    version=3,
    kinds=("zip",),
)

SHOTS_CSV = Series(
    "matches",
    "shots_csv",
    "One row per shot: time, split, draw, target, delay, hit or miss, with stage, string and shooter.",
    (schema.SHOTS, schema.RUNS, schema.MATCH, schema.TOTALS),
    later("sheaf.matches.writers.shots_csv:write"),
    later("sheaf.matches.writers.shots_csv:verify"),
    kinds=("csv",),
    row_key=("run_id", "shot_no"),
)

STAGE_RESULTS = Series(
    "matches",
    "stage_results",
    "One row per stage and shooter: strings, times, splits, first shots, hits and misses.",
    (schema.SHOTS, schema.RUNS, schema.MATCH, schema.TOTALS),
    later("sheaf.matches.writers.stage_results:write"),
    later("sheaf.matches.writers.stage_results:verify"),
    version=3,
    kinds=("csv",),
    row_key=("stage", "shooter"),
)

MATCH_REPORT = Series(
    "matches",
    "match_report",
    "The match as one page: what is suspicious, runs in time, splits, delays, how each sensor does.",
    (schema.RUNS, schema.SHOTS, schema.IMPACTS, schema.SENSORS, schema.MATCH, schema.TOTALS),
    later("sheaf.matches.writers.match_report:write"),
    later("sheaf.matches.writers.match_report:verify"),
    version=3,
    kinds=("html",),
)

_ALL = (RUNS_CSV, SHOTS_CSV, STAGE_RESULTS, MATCH_REPORT, EVENTS_NDJSON, ANALYTICS_PARQUET, MATCH_ARCHIVE)


def offered(tables: Tables) -> tuple[str, ...]:
    """The series that are published unasked: all, unless the configuration of a bridge wants fewer of its formats."""
    from sheaf.matches.analysis.runs_tables import load_manifest
    from sheaf.matches.readers.bridge_config import SERIES

    names = tuple(series.name for series in _ALL)
    bridge = load_manifest(tables).data_export
    if bridge is None:
        return names
    wanted = bridge.unasked()
    return tuple(name for name in names if name in wanted or name not in SERIES.values())


MATCHES = Domain(
    "matches",
    "match",
    (EVENTS, RUNS, SHOTS),
    _ALL,
    offered=offered,
    in_one_run=10,
    choices=Choices(choices.TABLES, choices.facts, choices.values),
)
