"""`stage_results`: one row for each stage and shooter, as scoring programs and spreadsheets take it.

A string counts from the beep to its last shot, as a timer shows it. Runs without shots, and those whose times a clock
that was set has made unknown, are counted as strings but give no times.
"""

from pathlib import Path

import pyarrow as pa

from sheaf import duck
from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.analysis.events_stream import counts, warnings
from sheaf.matches.writers import csv_text

HEADER = (
    *("match_id", "stage", "shooter", "strings", "shots", "hits", "misses", "total_time_s", "best_string_s"),
    *("mean_string_s", "best_split_s", "mean_split_s", "best_first_shot_s", "mean_first_shot_s", "flagged_strings"),
)

_OF_SHOTS = pa.schema(
    [schema.SHOTS.schema.field(name) for name in ("run_id", "shot_no", "since_beep_s", "split_s", "status")]
)
_OF_RUNS = ["run_id", "stage", "string", "shooter", "shots_detected", "flags"]

_RESULTS = """
WITH strings AS (
    SELECT run_id, max(since_beep_s) AS string_s, min(since_beep_s) FILTER (shot_no = 1) AS first_s,
           count(*) FILTER (status = 'hit') AS hits, count(*) FILTER (status = 'miss') AS misses,
           min(split_s) FILTER (split_s > 0) AS best, sum(split_s) FILTER (split_s > 0) AS splits_s,
           count(*) FILTER (split_s > 0) AS splits
    FROM shots GROUP BY run_id
)
SELECT $match AS match_id, runs.stage, runs.shooter, count(*) AS strings, sum(shots_detected)::BIGINT AS shots,
       CASE WHEN $sensed THEN coalesce(sum(hits), 0)::BIGINT END AS hits,
       CASE WHEN $sensed THEN coalesce(sum(misses), 0)::BIGINT END AS misses,
       sum(string_s) AS total_time_s, min(string_s) AS best_string_s, avg(string_s) AS mean_string_s,
       min(best) AS best_split_s, sum(splits_s) / nullif(sum(splits), 0) AS mean_split_s,
       min(first_s) AS best_first_shot_s, avg(first_s) AS mean_first_shot_s,
       count(*) FILTER (flags NOT IN ('', 'no_summary')) AS flagged_strings
FROM runs LEFT JOIN strings USING (run_id)
WHERE string IS NOT NULL
GROUP BY runs.stage, runs.shooter
ORDER BY runs.stage NULLS LAST, total_time_s NULLS LAST, runs.shooter NULLS LAST
"""


def write(draft: Draft) -> Written:
    """Write `match_<id>_stage_results.csv`."""
    tables = draft.tables
    total = tables.row(schema.TOTALS, ["impacts", "orphan_impacts"])
    sensed = total["impacts"] + total["orphan_impacts"] > 0
    with duck.connect(memory_limit="96MB", threads=1, temp_directory=str(draft.folder.parent)) as connection:
        connection.register("runs", tables.read(schema.RUNS, _OF_RUNS))
        shots = tables.batches(schema.SHOTS, _OF_SHOTS.names)
        connection.register("shots", pa.RecordBatchReader.from_batches(_OF_SHOTS, shots))
        found = connection.sql(_RESULTS, params={"match": draft.partition, "sensed": sensed}).to_arrow_table()
    name = f"match_{draft.partition}_stage_results.csv"
    with (draft.folder / name).open("wb") as file:
        file.write(f"{','.join(HEADER)}\n".encode())
        for batch in found.to_batches():
            file.write(csv_text.lines([batch.column(field) for field in HEADER]))
    return Written(found.num_rows, {name: found.num_rows}, counts(tables), warnings(tables))


def verify(folder: Path, written: Written) -> None:
    """Read the CSV back: header and number of rows."""
    ((name, rows),) = written.rows.items()
    csv_text.verify(folder / name, HEADER, rows)
