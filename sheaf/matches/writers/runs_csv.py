"""`runs_csv`: one row for each run; the specification's seven columns first."""

from pathlib import Path

import pyarrow as pa

from sheaf import duck
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.analysis.events_stream import counts, warnings
from sheaf.matches.writers import csv_text

HEADER = (
    *("run_id", "start_time", "end_time", "duration_seconds", "shots_detected", "impacts_detected"),
    *("correlation_success_rate", "match_id", "status", "start_device", "start_device_id", "last_shot_time"),
    *("last_impact_time", "impacts_correlated", "uncorrelated_impacts", "flags"),
    *("stage", "bay", "string", "shooter", "shots_doubled", "shots_lost"),
)


def write(draft: Draft) -> Written:
    """Write `match_<id>_runs.csv`: UTF-8, LF, header also without runs, sorted by number."""
    name, rows = f"match_{draft.partition}_runs.csv", 0
    with (draft.folder / name).open("wb") as file:
        file.write(f"{','.join(HEADER)}\n".encode())
        for batch in draft.tables.batches(schema.RUNS):
            rows += batch.num_rows
            match = pa.repeat(draft.partition, batch.num_rows)
            columns = (match if field == "match_id" else batch.column(field) for field in HEADER)
            file.write(csv_text.lines(list(columns)))
    return Written(rows, {name: rows}, counts(draft.tables), warnings(draft.tables))


def verify(folder: Path, written: Written) -> None:
    """Read the CSV back: header, number of rows, ids in order, rates between 0 and 1."""
    import duckdb

    ((name, rows),) = written.rows.items()
    with duck.connect(memory_limit="128MB", threads=2, temp_directory=str(folder.parent)) as connection:
        try:
            found = csv_text.read_back(connection, folder / name)
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
