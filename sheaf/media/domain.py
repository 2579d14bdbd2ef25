"""Start here: the steps of a media batch, and what is published from it."""

from sheaf.exports.series import Series
from sheaf.later import later
from sheaf.media import choices, schema
from sheaf.media.result import ENGINE_VERSION
from sheaf.steps import Check, Choices, Domain, Step
from sheaf.tables.pinned import Tables

_PAIRS = Step(
    name="pairs",
    description="The pairs a batch asks for, each with its files found or the reason why not.",
    writes=(schema.PAIRS, schema.FILES, schema.BATCHES),
    version=2,
    settings=("methods",),
    kinds=("parquet",),
    pool="ingest",
)
_RESULTS = Step(
    name="results",
    description=(
        "Offset, confidence, drift and edits of each pair; items are kept as they finish, so a new run goes on."
    ),
    reads=(schema.PAIRS, schema.FILES, schema.BATCHES),
    writes=(schema.RESULTS, schema.SNIPPETS),
    work=later("sheaf.media.analysis.batch:analyse_batch"),
    settings=("timeout_seconds", "max_hours"),
    tuning=("parallel_jobs", "cluster"),
    version=ENGINE_VERSION,
    checks=(
        Check("failed", "At most one pair in ten failed.", later("sheaf.media.checks:few_failed")),
        Check("no_match", "At most half of the pairs are without a match.", later("sheaf.media.checks:few_unmatched")),
        Check("confidence", "The offsets that were found are sure on average.", later("sheaf.media.checks:sure")),
    ),
    kinds=("parquet", "ffmpeg"),
    pool="media",
)

_TABLES = (schema.BATCHES, schema.RESULTS)
_RESULTS_JSON = Series(
    domain="media",
    name="results_json",
    description="All pairs of one batch with offset, confidence, drift, edits and channels, as JSON.",
    tables=_TABLES,
    write=later("sheaf.media.writers.results_json:write_results_json"),
    verify=later("sheaf.media.writers.results_json:verify_results_json"),
    version=2,
    kinds=("json",),
    published=later("sheaf.media.batch_record:close_published"),
)
_RESULTS_CSV = Series(
    domain="media",
    name="results_csv",
    description="One line for each pair of one batch, for spreadsheets.",
    tables=_TABLES,
    write=later("sheaf.media.writers.results_csv:write_results_csv"),
    verify=later("sheaf.media.writers.results_csv:verify_results_csv"),
    kinds=("csv",),
    row_key=("item_id",),
)
_REPORT_HTML = Series(
    domain="media",
    name="report_html",
    description="The batch as one page to read: offsets, pictures and sound before and after, drift and edits.",
    tables=(*_TABLES, schema.SNIPPETS),
    write=later("sheaf.media.writers.report_html:write_report_html"),
    verify=later("sheaf.media.writers.report_html:verify_report_html"),
    version=4,
    kinds=("html",),
)
_TIMELINE = Series(
    domain="media",
    name="timeline",
    description="Each dub laid on its master to the frame, for editors: OpenTimelineIO, FCPXML, CMX 3600 EDL.",
    tables=_TABLES,
    write=later("sheaf.media.writers.timeline:write_timeline"),
    verify=later("sheaf.media.writers.timeline:verify_timeline"),
    version=2,
    kinds=("otio", "fcpxml", "edl"),
)
_REPAIRED_WAV = Series(
    domain="media",
    name="repaired_wav",
    description="Every dub of one batch laid on its master as a new file, where enough of it is found there.",
    tables=(*_TABLES, schema.FILES),
    write=later("sheaf.media.writers.repaired_wav:write_repaired_wav"),
    verify=later("sheaf.media.writers.repaired_wav:verify_repaired_wav"),
    version=3,
    kinds=("wav", "csv"),
)


def offered(tables: Tables) -> tuple[str, ...]:
    """All series; corrected dubs only where the options of the batch ask for them, since they are as large as films."""
    batch = tables.row(schema.BATCHES, ["repair"])
    return tuple(one.name for one in _SERIES if one is not _REPAIRED_WAV or batch["repair"])


_SERIES = (_RESULTS_JSON, _RESULTS_CSV, _REPORT_HTML, _TIMELINE, _REPAIRED_WAV)
MEDIA = Domain(
    name="media",
    kind=schema.KIND,
    steps=(_PAIRS, _RESULTS),
    series=_SERIES,
    offered=offered,
    in_one_run=1,  # a batch is minutes to hours of analysis: each has a run of its own, which can be cancelled
    choices=Choices(choices.TABLES, choices.facts, choices.values, choices.of_site),
)
