"""`runs_csv`: one row for each run; the specification's seven columns first."""

import csv
from datetime import datetime
from pathlib import Path

from sheaf import tables
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.events_stream import counts, warnings

HEADER = (
    *("run_id", "start_time", "end_time", "duration_seconds", "shots_detected", "impacts_detected"),
    *("correlation_success_rate", "match_id", "status", "start_device", "start_device_id", "last_shot_time"),
    *("last_impact_time", "impacts_correlated", "uncorrelated_impacts", "flags"),
)


def write(draft: Draft) -> Written:
    """Write `match_<id>_runs.csv`."""
    return write_to(draft, draft.folder / f"match_{draft.partition}_runs.csv")


def write_to(draft: Draft, path: Path) -> Written:
    """Write the CSV: UTF-8, LF, header also without runs, sorted by start time."""
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for batch in tables.batches(draft.store, schema.RUNS, draft.partition):
            rows += batch.num_rows
            for run in batch.to_pylist():
                writer.writerow(_cell({"match_id": draft.partition, **run}[name]) for name in HEADER)
    found = warnings(draft.store, draft.partition)
    return Written(rows, {path.name: rows}, counts(draft.store, draft.partition), found)


def verify(folder: Path, written: Written) -> None:
    """Read the CSV back: header, number of rows, ids in order, rates between 0 and 1."""
    ((name, rows),) = written.rows.items()
    with (folder / name).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != HEADER:
            raise VerificationError(f"{name} has another header than it should.")
        number = 0
        for number, row in enumerate(reader, 1):
            rate = row["correlation_success_rate"]
            if row["run_id"] != f"run_{number}" or None in row.values() or not _is_share(rate):
                raise VerificationError(f"{name} line {number + 1} is not a valid run.")
    if number != rows:
        raise VerificationError(f"{name} holds {number} runs, but {rows} were written.")


def iso(when: datetime) -> str:
    """`2025-09-14T10:00:00Z`, with milliseconds only where they are not zero."""
    fraction = f".{when.microsecond // 1000:03d}" if when.microsecond >= 1000 else ""
    return when.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def _is_share(text: str) -> bool:
    try:
        return text == "" or 0 <= float(text) <= 1
    except ValueError:
        return False


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, float):
        return repr(round(value, 6))
    text = str(value)
    # A spreadsheet would run such a text as a formula.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
