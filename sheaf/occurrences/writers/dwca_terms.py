"""The Darwin Core terms of an archive: one list for each file drives its columns and meta.xml.

Here: what a term and a file are, and the two files of the specification. Not here: the files that GBIF
wants beyond (`dwca_gbif_terms`), writing (`dwca`).

Each column is SQL: on `o`, a row of `occurrences`, or `e`, one of `events`; `d` is the row of `dataset`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sheaf.occurrences.clocks import seconds
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.schema import RANKS
from sheaf.occurrences.writers.text_lines import one_line

DWC = "http://rs.tdwg.org/dwc/terms/"
DCTERMS = "http://purl.org/dc/terms/"

DESCRIPTION = (  # of the protocol, where the settings have none
    "Cameras take images automatically; animals are detected and classified by algorithms, and identifications are "
    "reviewed by people."
)
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
        of: of what it is: of the `taxon` or `event` of the occurrence, which `o` is then; the `list` of addresses that
            are beside it; an `address` of a row of the file; else of such a row.
    """

    uri: str
    sql: str
    text: bool = False
    of: str = ""

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
        sources: SQL after FROM, of events `e`, or of rows `o` with a `position`, in its order, with `$rows` for the
            condition on positions; rows of the first come before those of the next of the same position.
        order: SQL of the order of events.
        beside: SQL of rows of `position` and `text`, in order, of which each occurrence has a list.
        each: the lines that a row of the source has, as what `$…` is in the terms; `$given` is null where it has not.
    """

    name: str
    row_type: str
    counted_as: str
    terms: tuple[Term, ...]
    sources: tuple[str, ...]
    order: str = ""
    beside: str = ""
    each: tuple[Mapping[str, str], ...] = ()

    @property
    def by_event(self) -> bool:
        """Whether rows are events, written in one go."""
        return bool(self.order)


def dwc(name: str, sql: str, *, text: bool = False, of: str = "") -> Term:
    """A term of Darwin Core."""
    return Term(DWC + name, sql, text, of)


def dcterms(name: str, sql: str, *, text: bool = False, of: str = "") -> Term:
    """A term of Dublin Core."""
    return Term(DCTERMS + name, sql, text, of)


def urn(kind: str, id_: str) -> str:
    """SQL of an identifier, with `$slug` for the dataset's; null for a null id."""
    return f"'urn:ami:{kind}:$slug:' || {id_}"


def offset(minutes: str) -> str:
    """SQL of an offset such as `+02:00`; empty where nobody knows it."""
    return (
        f"CASE WHEN {minutes} IS NULL THEN '' ELSE CASE WHEN {minutes} < 0 THEN '-' ELSE '+' END"
        f" || left((TIME '00:00' + to_minutes(abs({minutes})::BIGINT))::VARCHAR, 5) END"
    )


def iso_time(value: str, minutes: str) -> str:
    """SQL of a wall time with its offset, where that is known; of a date alone the date."""
    return (
        f"CASE WHEN {minutes} = {DATE_ONLY} THEN strftime({value}, '%Y-%m-%d')"
        f" ELSE strftime({value}, '%Y-%m-%dT%H:%M:%S') || {offset(minutes)} END"
    )


def time_of_day(value: str, minutes: str) -> str:
    """SQL of the time of a day with its offset; null where only the day is known."""
    return (
        f"CASE WHEN {minutes} IS DISTINCT FROM {DATE_ONLY} THEN strftime({value}, '%H:%M:%S') || {offset(minutes)} END"
    )


def degrees(value: str) -> str:
    """SQL of a coordinate, to a tenth of a metre."""
    return f"CAST(round({value}, 6) AS VARCHAR)"


_LASTED = seconds("e.start", "e.start_offset", 'e."end"', "e.end_offset")
MULTI_DAY = 'e."end"::DATE > e.start::DATE'
EVENT_ID = dwc("eventID", urn("event", "e.id"))
EVENT_DATE = dwc(
    "eventDate",
    f"strftime(e.start, '%Y-%m-%d') || CASE WHEN {MULTI_DAY} THEN strftime(e.\"end\", '/%Y-%m-%d') ELSE '' END",
)
EVENT_TIME = dwc("eventTime", time_of_day("e.start", "e.start_offset"))
EFFORT = (
    dwc("samplingProtocol", "d.protocol", text=True),
    dwc("sampleSizeValue", "e.captures_count"),
    dwc("sampleSizeUnit", "'images'"),
    dwc(
        "samplingEffort",
        f"""CASE WHEN {_LASTED} >= 0 AND coalesce({DATE_ONLY} NOT IN (e.start_offset, e.end_offset), true) THEN
        CASE WHEN {_LASTED} >= 3600 THEN {_LASTED} // 3600 || 'h ' ELSE '' END
        || {_LASTED} % 3600 // 60 || 'm' END""",
    ),
)
WITHHELD = (
    dwc("coordinateUncertaintyInMeters", "CAST(ceil(e.uncertainty) AS BIGINT)"),
    dwc(
        "dataGeneralizations",
        "CASE WHEN e.sensitive AND e.latitude IS NOT NULL"
        " THEN 'Coordinates are the centre of a cell of ' || d.cell || ' degrees' END",
    ),
    dwc(
        "informationWithheld",
        "CASE WHEN e.sensitive THEN 'Exact position and name of the station, its images and remarks' END",
    ),
)
DATASET_NAME = dwc("datasetName", "d.name", text=True)
EVENT_SOURCE = "sampled e, dataset d WHERE true"

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
        dwc("decimalLatitude", degrees("e.latitude")),
        dwc("decimalLongitude", degrees("e.longitude")),
        dwc("geodeticDatum", "CASE WHEN e.latitude IS NOT NULL THEN 'WGS84' END"),
        DATASET_NAME,
        dcterms("modified", iso_time("e.updated_at", "e.updated_offset")),
        *WITHHELD,
    ),
    (EVENT_SOURCE,),
    order="e.start, e.id",
)


def of_whole_name(value: str) -> str:
    """SQL of what is known of a name as it was written, which is not of what was determined in part, as with `cf.`."""
    return f"CASE WHEN o.qualifier IS NULL THEN {value} END"


OCCURRENCE_EVENT_ID = dwc("eventID", urn("event", "o.event_id"))
OCCURRENCE_ID = dwc("occurrenceID", urn("occurrence", "o.id"))
RECORD = (
    OCCURRENCE_EVENT_ID,
    OCCURRENCE_ID,
    dwc("basisOfRecord", "o.basis_of_record"),
    dwc("occurrenceStatus", "'present'"),
    dwc("scientificName", "o.scientific_name", text=True, of="taxon"),
)
TAXONOMY = (
    dwc(
        "taxonRank",
        f"CASE WHEN lower(o.scientific_rank) IN {_KNOWN_RANKS} THEN lower(o.scientific_rank) END",
        of="taxon",
    ),
    *(dwc(rank, f'o."{rank}"', text=True, of="taxon") for rank in RANKS),
    dwc("specificEpithet", "o.specific_epithet", of="taxon"),
    dwc("vernacularName", of_whole_name("o.common_name"), text=True, of="taxon"),
    dwc("taxonID", of_whole_name("o.gbif_taxon_key"), of="taxon"),
    dwc("individualCount", "o.individual_count"),
)
VERIFICATION = dwc("identificationVerificationStatus", "CASE WHEN o.verified THEN 'verified' ELSE 'unverified' END")
MODIFIED = dcterms("modified", iso_time("o.updated_at", "o.updated_offset"))
OWN_TIME = (  # when it was seen, which is not all of its session
    dwc("eventDate", "strftime(coalesce(o.first_appearance, o.event_start), '%Y-%m-%d')"),
    dwc("eventTime", time_of_day("o.first_appearance", "o.first_offset")),
)
AS_WRITTEN = (
    dwc("verbatimIdentification", "o.name", text=True, of="taxon"),
    dwc("identificationQualifier", "o.qualifier", text=True, of="taxon"),
)
OCCURRENCE_SOURCE = "shown o, dataset d WHERE $rows"

SPEC_OCCURRENCE = DwcFile(
    "occurrence.txt",
    DWC + "Occurrence",
    "occurrences",
    (*RECORD, *TAXONOMY, VERIFICATION, MODIFIED, *OWN_TIME, *AS_WRITTEN),
    (OCCURRENCE_SOURCE,),
)

SPEC_FILES = (SPEC_EVENT, SPEC_OCCURRENCE)
