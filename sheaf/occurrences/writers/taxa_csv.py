"""The series `taxa_csv`: what was found in a project, one line for each taxon.

Here: first and last date, peak, counts by station. Not here: choosing occurrences (`selection`).
"""

import csv
from pathlib import Path

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.occurrences.writers.selection import remarks, select
from sheaf.occurrences.writers.text_lines import delimited, one_line, quoted


def _text(value: str) -> str:
    return quoted(one_line(value), '[",\\r\\n]')


COLUMNS = {
    "scientificName": _text("t.scientific_name"),
    "taxonRank": "lower(t.rank)",
    "vernacularName": _text("t.common_name"),
    "family": _text("t.family"),
    "order": _text('t."order"'),
    "gbifTaxonKey": "t.gbif_taxon_key",
    "occurrences": "t.occurrences",
    "verified": "t.verified",
    "firstDate": "t.first",
    "lastDate": "t.last",
    "peakDate": "t.peak",
    "peakOccurrences": "t.peak_occurrences",
    "stations": "t.stations",
    "byStation": _text("t.by_station"),
}
SOURCE = """
WITH o AS (
    SELECT *, coalesce(first_appearance, event_start)::DATE AS day FROM chosen WHERE is_taxon
), days AS (
    SELECT scientific_name, day, count(*) AS n FROM o WHERE day IS NOT NULL GROUP BY ALL
), peak AS (
    SELECT scientific_name, arg_max(day, (n, -epoch(day))) AS peak, max(n) AS peak_occurrences FROM days GROUP BY 1
), stations AS (
    SELECT scientific_name, deployment_name, count(*) AS n FROM o WHERE deployment_name IS NOT NULL GROUP BY ALL
), by_station AS (
    SELECT scientific_name, count(*) AS stations,
        string_agg(deployment_name || ': ' || n, ' | ' ORDER BY n DESC, deployment_name) AS by_station
    FROM stations GROUP BY 1
), t AS (
    SELECT scientific_name, min(scientific_rank) AS rank, min(family) AS family,
        min(common_name) FILTER (qualifier IS NULL) AS common_name,
        min("order") AS "order", min(gbif_taxon_key) FILTER (qualifier IS NULL) AS gbif_taxon_key,
        count(*) AS occurrences, count(*) FILTER (verified) AS verified, min(day) AS first, max(day) AS last
    FROM o GROUP BY 1
)
SELECT * FROM t LEFT JOIN peak USING (scientific_name) LEFT JOIN by_station USING (scientific_name)
"""


def write_taxa(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.csv`."""
    with select(draft, []) as chosen:
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.csv"
        line = delimited(list(COLUMNS.values()), ",")
        rows = 0
        with path.open("wb") as file:
            file.write(",".join(COLUMNS).encode() + b"\n")
            for lines in chosen.lines([f"SELECT {line} FROM ({SOURCE}) t ORDER BY occurrences DESC, scientific_name"]):
                file.write(lines.data)
                rows += lines.count
        ((left_out,),) = chosen.rows("SELECT count(*) FILTER (NOT is_taxon) FROM chosen")
    warnings = [f"{left_out} occurrences are people or no taxa and are not counted."] if left_out else []
    return Written(rows, {path.name: rows}, warnings=(*warnings, *remarks(draft)))


def verify_taxa(folder: Path, written: Written) -> None:
    """Read the file with Python's csv module: columns, widths, each taxon once.

    Raises:
        VerificationError: naming what is wrong.
    """
    (path,) = folder.glob("*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    if header != list(COLUMNS) or any(len(row) != len(COLUMNS) for row in rows):
        raise VerificationError(f"{path.name} does not hold the columns of the format in every line.")
    if len({row[0] for row in rows}) != len(rows) or len(rows) != written.record_count:
        raise VerificationError(
            f"{path.name} holds {len(rows)} lines, or a taxon twice; {written.record_count} expected."
        )
