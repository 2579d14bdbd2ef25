"""`results.csv`: one line for each item of a batch, for spreadsheets."""

import csv
from pathlib import Path
from typing import Any

import orjson

from sheaf import duck
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.media.analysis.rows import unsatisfied
from sheaf.media.writers.results_json import counts, read_batch

_NAME = "results.csv"
COLUMNS = (
    "item_id",
    "master_file",
    "dub_file",
    "status",
    "offset_seconds",
    "offset_samples",
    "timecode",
    "frame_rate",
    "confidence",
    "precision",
    "offset_uncertainty_seconds",
    "coverage",
    "ambiguous_with",
    "contradiction",
    "method_used",
    "rate",
    "drift_ppm",
    "segments",
    "channels",
    "method_results",
    "methods",
    "ai_model",
    "model_available",
    "master_track",
    "dub_track",
    "timecode_offset_seconds",
    "warnings",
    "description",
    "tags",
    "error_code",
    "error_message",
    "analysis_id",
    "analysis_seconds",
)


def write_results_csv(draft: Draft) -> Written:
    """Write the lines; lists of records are cells of JSON, lists of words are separated by commas."""
    _, rows = read_batch(draft.tables)
    with (draft.folder / _NAME).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return Written(record_count=len(rows), rows={_NAME: len(rows)}, counts=counts(rows), warnings=unsatisfied(rows))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        if all(isinstance(word, str) for word in value):
            return ",".join(value)
        return orjson.dumps(value).decode()
    return str(value)


def verify_results_csv(folder: Path, written: Written) -> None:
    """Read the file with DuckDB.

    Raises:
        VerificationError: columns or number of lines are not what was written.
    """
    with duck.connect() as connection:
        found = connection.read_csv(str(folder / _NAME), header=True, all_varchar=True)
        columns, rows = tuple(found.columns), len(found.fetchall())
    if columns != COLUMNS:
        raise VerificationError(f"{_NAME} has the columns {', '.join(columns)}.")
    if rows != written.record_count:
        raise VerificationError(f"{_NAME} has {rows} lines, {written.record_count} items were written.")
