"""The formats in which media batches are published."""

from sheaf.exports.series import Domain, Series
from sheaf.media import schema
from sheaf.media.report_html import verify_report_html, write_report_html
from sheaf.media.results_csv import verify_results_csv, write_results_csv
from sheaf.media.results_json import verify_results_json, write_results_json

_TABLES = (schema.BATCHES, schema.RESULTS)

_RESULTS_JSON = Series(
    domain="media",
    name="results_json",
    description="All pairs of one batch with offset, confidence, drift, edits and channels, as JSON.",
    tables=_TABLES,
    write=write_results_json,
    verify=verify_results_json,
    kinds=("json",),
)
_RESULTS_CSV = Series(
    domain="media",
    name="results_csv",
    description="One line for each pair of one batch, for spreadsheets.",
    tables=_TABLES,
    write=write_results_csv,
    verify=verify_results_csv,
    kinds=("csv",),
    row_key=("item_id",),
)
_REPORT_HTML = Series(
    domain="media",
    name="report_html",
    description="The batch as one page to read: offsets, pictures before and after, drift and edits.",
    tables=_TABLES,
    write=write_report_html,
    verify=verify_report_html,
    kinds=("html",),
)

MEDIA = Domain(
    name="media",
    kind=schema.KIND,
    rejects=schema.REJECTS,
    series=(_RESULTS_JSON, _RESULTS_CSV, _REPORT_HTML),
)
