"""`runs_csv`: one row for each run; the specification's seven columns first."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import csv
from pathlib import Path

import pyarrow as pa

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
            match = pa.repeat(draft.partition, batch.num_rows)
            columns = (match if name == "match_id" else batch.column(name) for name in HEADER)
            writer.writerows(zip(*(_cells(column) for column in columns), strict=True))
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


def _is_share(text: str) -> bool:
    try:
        return text == "" or 0 <= float(text) <= 1
    except ValueError:
        return False


def _cells(column: pa.Array) -> list[object]:
    """A column as it is written; the writer leaves a null empty and gives numbers as Python does."""
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        return iso(column).to_pylist()
    if pa.types.is_floating(column.type):
        return [None if value is None else round(value, 6) for value in column.to_pylist()]
    if pa.types.is_string(column.type):
        # A spreadsheet would run such a text as a formula.
        return pc.replace_substring_regex(column, r"\A([=+@-])", r"'\1").to_pylist()
    return column.to_pylist()


def iso(times: pa.Array) -> pa.Array:
    """`2025-09-14T10:00:00Z`, with milliseconds only where they are not zero."""
    import pyarrow.compute as pc

    text = pc.strftime(
        pc.floor_temporal(times, unit="millisecond").cast(pa.timestamp("ms", "UTC")), "%Y-%m-%dT%H:%M:%SZ"
    )
    return pc.replace_substring(text, ".000Z", "Z")
