"""The series `dwca`: a Darwin Core Archive with events as its core.

Here: the zip, meta.xml, what an archive cannot hold. Not here: which columns its files have (`dwca_terms`,
`dwca_gbif_terms`), their lines (`dwca_lines`), the metadata (`dwca_eml`), the checks (`dwca_verify`,
`dwca_xml_schemas`).
"""

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sheaf import sql
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import Zip
from sheaf.licences import GBIF_LICENCES
from sheaf.occurrences import schema
from sheaf.occurrences.writers.dwca_eml import Coverage, eml
from sheaf.occurrences.writers.dwca_gbif_terms import GBIF_FILES
from sheaf.occurrences.writers.dwca_lines import file_lines
from sheaf.occurrences.writers.dwca_terms import SPEC_FILES, DwcFile
from sheaf.occurrences.writers.dwca_xml_schemas import check_schemas
from sheaf.occurrences.writers.gbif_issues import count_issues
from sheaf.occurrences.writers.request import Profile
from sheaf.occurrences.writers.selection import remarks, select

if TYPE_CHECKING:
    from sheaf.occurrences.writers.selection import Selection

FILES = {Profile.SPEC: SPEC_FILES, Profile.GBIF: GBIF_FILES}
# GBIF's reader takes quotes as they are; the specification's archive encloses values that hold one.
QUOTE = {Profile.SPEC: '"', Profile.GBIF: ""}
_MODE = 0o600  # as in all archives published so far
_DWC_TEXT = "http://rs.tdwg.org/dwc/text/"


def write_dwca(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.zip`.

    Raises:
        VerificationError: one of its XML documents breaks the schemas that the settings name.
    """
    profile: Profile = draft.options.profile
    wanted = [schema.EVENTS, schema.DEPLOYMENTS]
    if profile is Profile.GBIF:
        wanted += [schema.DETECTIONS, schema.ALGORITHMS]
    with select(draft, wanted) as chosen:
        warnings = leave_out(chosen)
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.zip"
        counts: dict[str, int] = {}
        with Zip(path, _MODE, hashed=False) as archive:
            for file in FILES[profile]:
                counts[file.counted_as] = _write_file(archive, chosen, file, QUOTE[profile])
            archive.add_document("meta.xml", meta_xml(profile))
            archive.add_document("eml.xml", eml(chosen.dataset, _coverage(chosen), draft.now.date()))
        issues = count_issues(chosen, draft.now.date())
    if draft.settings.schemas is not None:
        check_schemas(path, draft.settings.schemas)
    rows = counts["occurrences"]
    return Written(rows, {path.name: rows}, {**counts, "issues": issues}, (*warnings, *remarks(draft)))


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


def leave_out(chosen: "Selection") -> list[str]:
    """Make the views `shown` and `sampled`: the occurrences and events that an archive can hold; says what cannot."""
    chosen.database.execute(
        """CREATE VIEW shown AS SELECT * FROM chosen
        WHERE is_taxon AND event_start IS NOT NULL"""
    )
    chosen.database.execute(
        f"""CREATE VIEW sampled AS SELECT * FROM events e WHERE start IS NOT NULL
        AND (id IN (SELECT event_id FROM shown) OR {chosen.sampled})"""
    )
    licence = GBIF_LICENCES.get(chosen.dataset["licence"])
    url = sql.literal(licence.url if licence else None)
    chosen.database.execute(f"CREATE VIEW licence AS SELECT {url} AS url")
    ((people, no_taxa, homeless, dateless),) = chosen.rows(
        """SELECT count(*) FILTER (is_person), count(*) FILTER (NOT is_taxon AND NOT is_person),
            count(*) FILTER (is_taxon AND event_id IS NULL),
            count(*) FILTER (is_taxon AND event_id IN (SELECT id FROM events WHERE start IS NULL)) FROM chosen"""
    )
    why = {
        "people": people,
        "names that are no taxa": no_taxa,
        "without a session": homeless,
        "of sessions without a usable date": dateless,
    }
    warnings = [f"{count} occurrences are not in the archive: {what}." for what, count in why.items() if count]
    if not chosen.dataset["licence"]:
        warnings.append("No licence is set: the archive says that none is given, and GBIF does not take it.")
    elif licence is None:
        warnings.append(f"The licence {chosen.dataset['licence']!r} is none of those under which GBIF takes data.")
    return warnings


def _write_file(archive: Zip, chosen: "Selection", file: DwcFile, quote: str) -> int:
    rows = 0
    with archive.member(file.name) as entry:
        entry.write("\t".join(term.name for term in file.terms).encode() + b"\n")
        for lines in file_lines(chosen, file, quote):
            entry.write(lines.data)
            rows += lines.count
    return rows


def _coverage(chosen: "Selection") -> Coverage:
    ((occurrences, by_machine),) = chosen.rows(
        "SELECT count(*), coalesce(bool_or(basis_of_record = 'MachineObservation'), true) FROM shown"
    )
    ((events, stations, first, last),) = chosen.rows(
        """SELECT count(*), count(DISTINCT deployment_id), min(start)::DATE,
            max(greatest(start, coalesce("end", start)))::DATE FROM sampled"""
    )
    box = chosen.box("SELECT longitude, latitude, sensitive FROM sampled")
    return Coverage(occurrences, events, stations, box, first, last, by_machine)
