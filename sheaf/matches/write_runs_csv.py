"""`runs_csv`: one row for each run; the specification's seven columns first."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from sheaf import duck, tables
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.clocks import utc_text
from sheaf.matches.events_stream import counts, warnings

HEADER = (
    *("run_id", "start_time", "end_time", "duration_seconds", "shots_detected", "impacts_detected"),
    *("correlation_success_rate", "match_id", "status", "start_device", "start_device_id", "last_shot_time"),
    *("last_impact_time", "impacts_correlated", "uncorrelated_impacts", "flags"),
)


def write(draft: Draft) -> Written:
    """Write `match_<id>_runs.csv`."""
    name = f"match_{draft.partition}_runs.csv"
    with (draft.folder / name).open("wb") as file:
        rows = write_to(draft, file.write)
    found = warnings(draft.store, draft.partition)
    return Written(rows, {name: rows}, counts(draft.store, draft.partition), found)


def write_to(draft: Draft, write: Callable[[bytes], object]) -> int:
    """Give out the CSV: UTF-8, LF, header also without runs, sorted by start time; returns how many runs there are."""
    write(f"{','.join(HEADER)}\n".encode())
    rows = 0
    for batch in tables.batches(draft.store, schema.RUNS, draft.partition):
        rows += batch.num_rows
        match = pa.repeat(draft.partition, batch.num_rows)
        columns = (match if name == "match_id" else batch.column(name) for name in HEADER)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*map(_cells, columns), strict=True))
        write(text.getvalue().encode())
    return rows


def verify(folder: Path, written: Written) -> None:
    """Read the CSV back: header, number of rows, ids in order, rates between 0 and 1."""
    import duckdb

    ((name, rows),) = written.rows.items()
    with duck.connect(memory_limit="128MB", threads=2, temp_directory=str(folder.parent)) as connection:
        try:
            found = connection.read_csv(
                str(folder / name), header=True, all_varchar=True, sep=",", quotechar='"', escapechar='"'
            )
            if tuple(found.columns) != HEADER:
                raise VerificationError(f"{name} has another header than it should.")
            ((number, good),) = connection.execute(
                """
                SELECT count(*), count(*) FILTER (
                    run_id = 'run_' || row AND (rate IS NULL OR try_cast(rate AS DOUBLE) BETWEEN 0 AND 1)
                ) FROM (SELECT run_id, correlation_success_rate AS rate, row_number() OVER () AS row FROM found)
                """
            ).fetchall()
        except duckdb.Error as error:
            raise VerificationError(f"{name} cannot be read back: {str(error).splitlines()[0]}") from error
    if (number, good) != (rows, rows):
        raise VerificationError(f"{name} holds {min(number, good)} valid runs, but {rows} were written.")


def _cells(column: pa.Array) -> list[object]:
    """A column as it is written; the writer leaves a null empty and gives numbers as Python does."""
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        column = utc_text(column.cast(pa.timestamp("ms"), safe=False))
    elif pa.types.is_floating(column.type):
        return [None if value is None else round(value, 6) for value in column.to_pylist()]
    elif pa.types.is_string(column.type):
        # A spreadsheet would run such a text as a formula.
        column = pc.replace_substring_regex(column, r"\A([=+@-])", r"'\1")
    return column.to_pylist()
