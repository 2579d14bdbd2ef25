"""The Darwin Core terms of an archive: one list for each file drives its columns and meta.xml.

Here: what a term and a file are, and the two files of the specification. Not here: the files that GBIF
wants beyond (`gbif_terms`), writing (`dwca`).

Each column is SQL: on `o`, a row of `occurrences`, or `e`, one of `events`; `d` is the row of `dataset`.
"""

from dataclasses import dataclass

from sheaf.occurrences.lines import one_line
from sheaf.occurrences.schema import RANKS

DWC = "http://rs.tdwg.org/dwc/terms/"
DCTERMS = "http://purl.org/dc/terms/"

SAMPLING_PROTOCOL = "automated light trap with camera"
_KNOWN_RANKS = (  # those of Antenna, and others of GBIF's vocabulary of ranks that it could hold
    *("kingdom", "phylum", "subphylum", "class", "subclass", "order", "suborder", "infraorder"),
    *("superfamily", "family", "subfamily", "tribe", "subtribe", "genus", "subgenus"),
    *("species", "subspecies", "variety", "form"),
)


@dataclass(frozen=True)
class Term:
    """One column.

    Attributes:
        uri: the term.
        sql: its value; null is an empty field.
        text: whether the value is somebody's text, which may hold anything.
    """

    uri: str
    sql: str
    text: bool = False

    @property
    def name(self) -> str:
        """The bare name, as the header has it."""
        return self.uri.rsplit("/", 1)[-1]

    @property
    def value(self) -> str:
        """SQL of the value, safe to be put on a line."""
        return one_line(self.sql) if self.text else self.sql


@dataclass(frozen=True)
class DwcFile:
    """One file of an archive; its first term is the id of the core.

    Attributes:
        name: file name.
        row_type: what a row is.
        counted_as: name of the number of rows in a report.
        terms: the columns.
        source: SQL after FROM, with `$rows` for the condition on positions where rows hang on occurrences.
        order: SQL of the order of rows.
        by_event: whether rows are events, written in one go.
    """

    name: str
    row_type: str
    counted_as: str
    terms: tuple[Term, ...]
    source: str
    order: str
    by_event: bool = False


def dwc(name: str, sql: str, *, text: bool = False) -> Term:
    """A term of Darwin Core."""
    return Term(DWC + name, sql, text)


def dcterms(name: str, sql: str, *, text: bool = False) -> Term:
    """A term of Dublin Core."""
    return Term(DCTERMS + name, sql, text)


def urn(kind: str, id_: str) -> str:
    """SQL of an identifier; null for a null id."""
    return f"'urn:ami:{kind}:' || d.slug || ':' || {id_}"


def iso_time(value: str) -> str:
    """SQL of a wall time without a zone."""
    return f"strftime({value}, '%Y-%m-%dT%H:%M:%S')"


def _degrees(value: str) -> str:
    return f"CAST(round({value}, 6) AS VARCHAR)"


MULTI_DAY = 'e."end"::DATE > e.start::DATE'
EVENT_ID = dwc("eventID", urn("event", "e.id"))
EVENT_DATE = dwc(
    "eventDate",
    f"strftime(e.start, '%Y-%m-%d') || CASE WHEN {MULTI_DAY} THEN strftime(e.\"end\", '/%Y-%m-%d') ELSE '' END",
)
EVENT_TIME = dwc("eventTime", "strftime(e.start, '%H:%M:%S')")
EFFORT = (
    dwc("samplingProtocol", f"'{SAMPLING_PROTOCOL}'"),
    dwc("sampleSizeValue", "e.captures_count"),
    dwc("sampleSizeUnit", "'images'"),
    dwc(
        "samplingEffort",
        """CASE WHEN e."end" >= e.start THEN
        CASE WHEN date_diff('second', e.start, e."end") >= 3600
            THEN date_diff('second', e.start, e."end") // 3600 || 'h ' ELSE '' END
        || date_diff('second', e.start, e."end") % 3600 // 60 || 'm' END""",
    ),
)
DATASET_NAME = dwc("datasetName", "d.name", text=True)
EVENT_SOURCE = "events e, dataset d WHERE e.id IN (SELECT event_id FROM shown)"

SPEC_EVENT = DwcFile(
    "event.txt",
    DWC + "Event",
    "events",
    (
        EVENT_ID,
        EVENT_DATE,
        EVENT_TIME,
        dwc("year", "year(e.start)"),
        dwc("month", "month(e.start)"),
        dwc("day", "day(e.start)"),
        *EFFORT,
        dwc("locationID", "e.deployment_name", text=True),
        dwc("decimalLatitude", _degrees("e.latitude")),
        dwc("decimalLongitude", _degrees("e.longitude")),
        dwc("geodeticDatum", "'WGS84'"),
        DATASET_NAME,
        dcterms("modified", iso_time("e.updated_at")),
    ),
    EVENT_SOURCE,
    "e.start, e.id",
    by_event=True,
)

OCCURRENCE_EVENT_ID = dwc("eventID", urn("event", "o.event_id"))
OCCURRENCE_ID = dwc("occurrenceID", urn("occurrence", "o.id"))
RECORD = (
    OCCURRENCE_EVENT_ID,
    OCCURRENCE_ID,
    dwc("basisOfRecord", "'MachineObservation'"),
    dwc("occurrenceStatus", "'present'"),
    dwc("scientificName", "o.determination_name", text=True),
)
TAXONOMY = (
    dwc("taxonRank", f"CASE WHEN lower(o.rank) IN {_KNOWN_RANKS} THEN lower(o.rank) END"),
    *(dwc(rank, f'o."{rank}"', text=True) for rank in RANKS),
    dwc("specificEpithet", "o.specific_epithet"),
    dwc("vernacularName", "o.common_name", text=True),
    dwc("taxonID", "o.gbif_taxon_key"),
    dwc("individualCount", "'1'"),
)
VERIFICATION = dwc("identificationVerificationStatus", "CASE WHEN o.verified THEN 'verified' ELSE 'unverified' END")
MODIFIED = dcterms("modified", iso_time("o.updated_at"))
OCCURRENCE_SOURCE = "shown o, dataset d WHERE $rows"

SPEC_OCCURRENCE = DwcFile(
    "occurrence.txt",
    DWC + "Occurrence",
    "occurrences",
    (*RECORD, *TAXONOMY, VERIFICATION, MODIFIED),
    OCCURRENCE_SOURCE,
    "o.position",
)

SPEC_FILES = (SPEC_EVENT, SPEC_OCCURRENCE)
