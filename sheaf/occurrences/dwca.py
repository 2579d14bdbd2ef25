"""The series `dwca`: a Darwin Core Archive with events as its core.

Here: the zip, its files in a streaming way, meta.xml. Not here: which columns they have (`terms`,
`gbif_terms`), the metadata (`eml`), the check (`dwca_check`).
"""

import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sheaf.exports.series import Draft, Written
from sheaf.occurrences import schema
from sheaf.occurrences.eml import FALLBACK_LICENCE, Coverage, eml
from sheaf.occurrences.gbif_terms import GBIF_FILES
from sheaf.occurrences.licence import GBIF_LICENCES
from sheaf.occurrences.lines import delimited, quoted
from sheaf.occurrences.request import Profile
from sheaf.occurrences.selection import select
from sheaf.occurrences.terms import SPEC_FILES, DwcFile, Term

if TYPE_CHECKING:
    from sheaf.occurrences.selection import Selection

FILES = {Profile.SPEC: SPEC_FILES, Profile.GBIF: GBIF_FILES}
# GBIF's reader takes quotes as they are; the specification's archive encloses values that hold one.
QUOTE = {Profile.SPEC: '"', Profile.GBIF: ""}
_LEVEL = 1  # zlib's default takes four times as long for a twentieth less
_DWC_TEXT = "http://rs.tdwg.org/dwc/text/"


def write_dwca(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.zip`."""
    profile: Profile = draft.options.profile
    wanted = [schema.EVENTS]
    if profile is Profile.GBIF:
        wanted += [schema.DETECTIONS, schema.ALGORITHMS]
    with select(draft, wanted) as chosen:
        warnings = _leave_out(chosen, profile)
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.zip"
        counts = {}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for file in FILES[profile]:
                counts[file.counted_as] = _write_file(archive, chosen, file, QUOTE[profile])
            archive.writestr(_entry("meta.xml"), meta_xml(profile))
            archive.writestr(_entry("eml.xml"), eml(chosen.dataset, _coverage(chosen, profile), draft.now.date()))
    rows = counts["occurrences"]
    return Written(rows, {path.name: rows}, counts, tuple(warnings))


def meta_xml(profile: Profile) -> bytes:
    """The description of the archive's files, from the same lists as their columns."""
    root = ET.Element("archive", {"xmlns": _DWC_TEXT, "metadata": "eml.xml"})
    for index, file in enumerate(FILES[profile]):
        described = ET.SubElement(
            root,
            "extension" if index else "core",
            {
                "rowType": file.row_type,
                "encoding": "UTF-8",
                "fieldsTerminatedBy": "\\t",
                "linesTerminatedBy": "\\n",
                "fieldsEnclosedBy": QUOTE[profile],
                "ignoreHeaderLines": "1",
            },
        )
        ET.SubElement(ET.SubElement(described, "files"), "location").text = file.name
        ET.SubElement(described, "coreid" if index else "id", {"index": "0"})
        for column, term in enumerate(file.terms):
            ET.SubElement(described, "field", {"index": str(column), "term": term.uri})
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _leave_out(chosen: "Selection", profile: Profile) -> list[str]:
    """Make the view `shown`: what an archive with events as its core can hold."""
    condition = "event_id IS NOT NULL" + (" AND is_taxon" if profile is Profile.GBIF else "")
    chosen.database.execute(f"CREATE VIEW shown AS SELECT * FROM chosen WHERE {condition}")
    licence = GBIF_LICENCES.get(chosen.dataset["licence"] or FALLBACK_LICENCE)
    url = f"'{licence.url}'" if licence else "NULL"
    chosen.database.execute(f"CREATE VIEW licence AS SELECT {url} AS url")
    ((homeless, no_taxa),) = chosen.rows(
        "SELECT count(*) FILTER (event_id IS NULL), count(*) FILTER (event_id IS NOT NULL AND NOT is_taxon) FROM chosen"
    )
    warnings = []
    if homeless:
        warnings.append(f"{homeless} occurrences have no session and are not in the archive.")
    if no_taxa and profile is Profile.GBIF:
        warnings.append(f"{no_taxa} occurrences have a name that is no taxon and are not in the archive.")
    if not chosen.dataset["licence"]:
        warnings.append(f"No licence is set: the archive names {FALLBACK_LICENCE}, as its specification does.")
    elif licence is None:
        warnings.append(f"The licence {chosen.dataset['licence']!r} is none of those under which GBIF takes data.")
    return warnings


def _write_file(archive: zipfile.ZipFile, chosen: "Selection", file: DwcFile, quote: str) -> int:
    line = delimited([_column(term, quote) for term in file.terms], "\t")
    query = f"SELECT {line} FROM {file.source} ORDER BY {file.order}"
    rows = 0
    with archive.open(file.name, "w", force_zip64=True) as entry:
        entry.write("\t".join(term.name for term in file.terms).encode() + b"\n")
        for lines in chosen.lines([query.replace("$rows", wanted) for wanted in _conditions(chosen, file)]):
            entry.write(lines.data)
            rows += lines.count
    return rows


def _conditions(chosen: "Selection", file: DwcFile) -> Iterator[str]:
    if file.by_event:
        yield "true"
        return
    for start, end in chosen.ranges():
        yield f"position BETWEEN {start} AND {end - 1}"


def _column(term: Term, quote: str) -> str:
    return quoted(term.value, quote) if term.text and quote else term.value


def _entry(name: str) -> zipfile.ZipInfo:
    """A file of the archive with the date that all of them have: 1 January 1980, the zip format's zero."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _coverage(chosen: "Selection", profile: Profile) -> Coverage:
    ((occurrences,),) = chosen.rows("SELECT count(*) FROM shown")
    # the box of a sensitive station is that of its cell
    ((events, stations, first, last, west, east, north, south),) = chosen.rows(
        f"""WITH e AS (SELECT events.*, CASE WHEN sensitive AND {profile is Profile.GBIF} THEN d.cell END AS cell
            FROM events, dataset d WHERE id IN (SELECT event_id FROM shown))
        SELECT count(*), count(DISTINCT deployment_id), min(start)::DATE,
            max(greatest(start, coalesce("end", start)))::DATE,
            min(coalesce(floor(longitude / cell) * cell, longitude)),
            max(coalesce(ceil(longitude / cell) * cell, longitude)),
            max(coalesce(ceil(latitude / cell) * cell, latitude)),
            min(coalesce(floor(latitude / cell) * cell, latitude)) FROM e"""
    )
    box = (west, east, north, south) if west is not None else None
    return Coverage(occurrences, events, stations, box, first, last)
