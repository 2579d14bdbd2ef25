"""The series `occurrences_simple_csv`: one line for each occurrence, 28 columns.

UTF-8 without BOM, comma, line feed, quotes only where needed, nothing for null, `True` and `False`.
"""

import csv
from pathlib import Path

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.occurrences.clocks import seconds
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.writers.selection import remarks, select
from sheaf.occurrences.writers.text_lines import delimited, quoted


def _text(name: str) -> str:
    return quoted(name, '[",\\r\\n]')


def _flag(value: str) -> str:
    return f"CASE WHEN {value} THEN 'True' WHEN NOT ({value}) THEN 'False' END"


def _time(name: str, offset: str) -> str:
    date, time = (f"strftime({name}, '{form}')" for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S"))
    return f"CASE WHEN {offset} = {DATE_ONLY} THEN {date} ELSE {time} END"


def pixels(value: str) -> str:
    """A length as its box gives it: whole numbers without a fraction."""
    return f"CASE WHEN {value} = trunc({value}) THEN CAST({value} AS BIGINT)::VARCHAR ELSE {value}::VARCHAR END"


SECONDS = seconds("first_appearance", "first_offset", "last_appearance", "last_offset")
TIMED = f"coalesce({DATE_ONLY} NOT IN (first_offset, last_offset), true)"  # both ends have a time of day
DURATION = (  # as Python prints a timedelta: 0:22:01, 1 day, 2:00:00
    f"CASE WHEN {TIMED} THEN CASE WHEN {SECONDS} >= 172800 THEN {SECONDS} // 86400 || ' days, '"
    f" WHEN {SECONDS} >= 86400 THEN '1 day, ' ELSE '' END"
    f" || {SECONDS} % 86400 // 3600 || strftime(first_appearance::DATE + to_seconds({SECONDS} % 3600), ':%M:%S') END"
)
COLUMNS = {
    "id": "id",
    "event_id": "event_id",
    "event_name": _text("event_name"),
    "deployment_id": "deployment_id",
    "deployment_name": _text("deployment_name"),
    "project_id": "(SELECT project_id FROM dataset)",
    "project_name": _text("(SELECT name FROM dataset)"),
    "determination_id": "determination_id",
    "determination_name": _text("determination_name"),
    "determination_score": "determination_score",
    "verification_status": _flag("verified"),
    "best_machine_prediction_name": _text("prediction_name"),
    "best_machine_prediction_algorithm": _text("prediction_algorithm"),
    "best_machine_prediction_score": "prediction_score",
    "verified_by": _text("verified_by"),
    "participant_count": "participant_count",
    "agreed_with_algorithm": _text("agreed_with_algorithm"),
    "agreed_with_user": _text("agreed_with_user"),
    "determination_matches_machine_prediction": _flag("determination_id = prediction_taxon_id"),
    "detections_count": "detections_count",
    "first_appearance_timestamp": _time("first_appearance", "first_offset"),
    "last_appearance_timestamp": _time("last_appearance", "last_offset"),
    "duration": _text(DURATION),
    "best_detection_url": _text("detection_url"),
    "best_detection_bbox": _text("detection_bbox"),
    "best_detection_width": pixels("detection_width"),
    "best_detection_height": pixels("detection_height"),
    "best_detection_capture_url": _text("detection_capture_url"),
}


def write_csv(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.csv`."""
    rows = 0
    with select(draft, []) as chosen:
        line = delimited(list(COLUMNS.values()), ",")
        queries = [
            f"SELECT {line} FROM chosen WHERE position >= {start} AND position < {end} ORDER BY position"
            for start, end in chosen.ranges()
        ]
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.csv"
        with path.open("wb") as file:
            file.write(",".join(COLUMNS).encode() + b"\n")
            for lines in chosen.lines(queries):
                file.write(lines.data)
                rows += lines.count
    return Written(rows, {path.name: rows}, warnings=remarks(draft))


def verify_csv(folder: Path, written: Written) -> None:
    """Read the file with Python's csv module: columns, widths, unique ids, number of rows.

    Raises:
        VerificationError: naming the first line that is wrong.
    """
    (path,) = folder.glob("*.csv")
    ids = set()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        if next(reader, None) != list(COLUMNS):
            raise VerificationError(f"{path.name} does not begin with the {len(COLUMNS)} columns of the format.")
        try:
            for row in reader:
                if len(row) != len(COLUMNS):
                    raise VerificationError(f"{path.name}, line {reader.line_num}: {len(row)} values.")
                ids.add(int(row[0]))
        except (csv.Error, ValueError) as error:
            raise VerificationError(f"{path.name}, line {reader.line_num}: {error}.") from error
    if len(ids) != written.record_count:
        raise VerificationError(f"{path.name} holds {len(ids)} occurrences, {written.record_count} were written.")
