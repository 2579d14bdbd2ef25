"""`shots_csv`: one row for each shot: when, how long after the one before, what it hit, and whose it was."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from pathlib import Path

import pyarrow as pa

from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.analysis.events_stream import OfRuns, counts, warnings
from sheaf.matches.writers import csv_text

HEADER = (
    *("run_id", "shot_no", "time", "since_beep_s", "split_s", "draw_s", "target", "sensor", "delay_ms", "status"),
    *("match_id", "stage", "bay", "string", "shooter"),
)


def write(draft: Draft) -> Written:
    """Write `match_<id>_shots.csv`; `draw_s` is the time from the beep to the first shot of a run."""
    import pyarrow.compute as pc

    name, rows = f"match_{draft.partition}_shots.csv", 0
    of_runs = OfRuns(draft.tables)
    with (draft.folder / name).open("wb") as file:
        file.write(f"{','.join(HEADER)}\n".encode())
        for batch in draft.tables.batches(schema.SHOTS):
            number = pc.utf8_slice_codeunits(batch.column("run_id"), 4).cast(pa.int32())
            first = pc.equal(batch.column("shot_no"), 1)
            columns = {
                **{field: batch.column(field) for field in batch.schema.names},
                **of_runs.of(number),
                "draw_s": pc.if_else(first, batch.column("since_beep_s"), pa.scalar(None, pa.float64())),
                "match_id": pa.repeat(draft.partition, batch.num_rows),
            }
            file.write(csv_text.lines([columns[field] for field in HEADER]))
            rows += batch.num_rows
    return Written(rows, {name: rows}, counts(draft.tables), warnings(draft.tables))


def verify(folder: Path, written: Written) -> None:
    """Read the CSV back: header and number of rows."""
    ((name, rows),) = written.rows.items()
    csv_text.verify(folder / name, HEADER, rows)
