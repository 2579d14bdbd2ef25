"""The files of an archive as GBIF wants it: events and occurrences with more terms, and three extensions.

Here: Humboldt (sampling effort), Simple Multimedia and extended MeasurementOrFact, with terms that are
registered for their row types (https://rs.gbif.org/extensions.html). Not here: the specification's files
(`dwca_terms`).
"""

from sheaf.occurrences.writers import dwca_terms
from sheaf.occurrences.writers.dwca_terms import DESCRIPTION, DWC, DwcFile, Term, dcterms, dwc, iso_time, urn
from sheaf.occurrences.writers.text_lines import one_line

_ECO = "http://rs.tdwg.org/eco/terms/"
_OBIS = "http://rs.iobis.org/obis/terms/"
_GBIF = "http://rs.gbif.org/terms/1.0/"
_WHOLE_URL = "(starts_with(url, 'https://') OR starts_with(url, 'http://'))"

_LICENCE = dcterms("license", "(SELECT url FROM licence)")
_RIGHTS_HOLDER = dcterms("rightsHolder", "d.rights_holder", text=True)


def _one_day(part: str) -> str:
    """Parts of a date only where the event is of one day, as GBIF's checklist wants it."""
    return f"CASE WHEN coalesce(NOT ({dwca_terms.MULTI_DAY}), true) THEN {part}(e.start) END"


_EVENT = DwcFile(
    "event.txt",
    DWC + "Event",
    "events",
    (
        dwca_terms.EVENT_ID,
        dwca_terms.EVENT_DATE,
        dwca_terms.EVENT_TIME,
        dwc("year", _one_day("year")),
        dwc("month", _one_day("month")),
        dwc("day", _one_day("day")),
        *dwca_terms.EFFORT,
        dwc("locationID", urn("deployment", "e.deployment_id")),
        dwc("locality", "e.deployment_name", text=True),
        dwc("countryCode", "e.country_code"),
        dwc("decimalLatitude", dwca_terms.degrees("e.latitude")),
        dwc("decimalLongitude", dwca_terms.degrees("e.longitude")),
        dwc("geodeticDatum", "CASE WHEN e.latitude IS NOT NULL THEN 'EPSG:4326' END"),
        *dwca_terms.WITHHELD,
        dwca_terms.DATASET_NAME,
        _LICENCE,
        _RIGHTS_HOLDER,
        dcterms("modified", iso_time("e.updated_at", "e.updated_offset")),
    ),
    (dwca_terms.EVENT_SOURCE,),
    order="e.start, e.id",
)
_OCCURRENCE = DwcFile(
    "occurrence.txt",
    DWC + "Occurrence",
    "occurrences",
    (
        *dwca_terms.RECORD,
        dwc("scientificNameAuthorship", dwca_terms.of_whole_name("o.authorship"), text=True, of="taxon"),
        *dwca_terms.TAXONOMY,
        dwc("identifiedBy", "o.identified_by", text=True),
        dwc("dateIdentified", iso_time("o.identified_at", "o.identified_offset")),
        dwca_terms.VERIFICATION,
        _LICENCE,
        _RIGHTS_HOLDER,
        dwc("associatedMedia", "", of="list"),
        dwca_terms.MODIFIED,
        *dwca_terms.OWN_TIME,
        *dwca_terms.AS_WRITTEN,
    ),
    (dwca_terms.OCCURRENCE_SOURCE,),
    beside=f"""SELECT position, url AS text FROM (
        SELECT position, capture_url AS url, min(capture_time) AS taken FROM detections WHERE $rows GROUP BY ALL
    ) WHERE {_WHOLE_URL} ORDER BY position, taken, url""",
)


def _eco(name: str, sql: str, *, text: bool = False) -> Term:
    return Term(_ECO + name, sql, text)


_HUMBOLDT = DwcFile(
    "humboldt.txt",
    _ECO + "Event",
    "humboldt rows",
    (
        dwca_terms.EVENT_ID,
        _eco("isSamplingEffortReported", "'true'"),
        _eco("samplingEffortValue", "e.captures_count"),
        _eco("samplingEffortUnit", "'images'"),
        _eco("samplingEffortProtocol", "'Images taken in one session: ' || d.protocol", text=True),
        _eco("isAbsenceReported", "'false'"),  # of a taxon that was not seen there is no row
        _eco("targetTaxonomicScope", "nullif(d.target_taxon, '')", text=True),
        _eco("inventoryTypes", "'restrictedSearch'"),
        _eco("protocolNames", "d.protocol", text=True),
        _eco(
            "protocolDescriptions",
            f"coalesce(nullif(d.protocol_description, ''), '{DESCRIPTION}')",
            text=True,
        ),
        _eco("hasMaterialSamples", "'false'"),  # images are no material samples
    ),
    (dwca_terms.EVENT_SOURCE,),
    order="e.start, e.id",
)

_FORMAT = """CASE WHEN ends_with(url, '.jpg') THEN 'image/jpeg'
    WHEN regexp_matches(lower(url), '\\.jpe?g([?#]|$)') THEN 'image/jpeg'
    WHEN regexp_matches(lower(url), '\\.png([?#]|$)') THEN 'image/png'
    WHEN regexp_matches(lower(url), '\\.(tiff?)([?#]|$)') THEN 'image/tiff'
    WHEN regexp_matches(lower(url), '\\.webp([?#]|$)') THEN 'image/webp' END"""
_MULTIMEDIA = DwcFile(
    "multimedia.txt",
    _GBIF + "Multimedia",
    "media",
    (
        dwc("eventID", urn("event", "o.id"), of="event"),
        dwc("occurrenceID", urn("occurrence", "o.occurrence_id")),
        dcterms("type", "'StillImage'"),
        dcterms("format", _FORMAT),
        dcterms("identifier", "o.url", of="address"),
        dcterms("created", iso_time("o.taken", "o.minutes")),
        _LICENCE,
        _RIGHTS_HOLDER,
        dcterms("creator", "nullif(d.publisher, '')", text=True),
        dcterms("description", "o.description"),
    ),
    (
        f"""(
            SELECT NULL AS occurrence_id, min(m.capture_time) AS taken, min(m.capture_offset) AS minutes,
                m.capture_url AS url, 'Whole image' AS description, min(s.position) AS position
            FROM detections m JOIN shown s USING (position)
            WHERE $rows AND m.capture_url IS NOT NULL AND {_WHOLE_URL.replace("url", "m.capture_url")}
            GROUP BY s.event_id, m.capture_url ORDER BY min(s.position), m.capture_url
        ) o, dataset d""",
        f"""(
            SELECT occurrence_id, timestamp AS taken, timestamp_offset AS minutes, url,
                'Crop of a detection' AS description, position
            FROM detections WHERE $rows AND url IS NOT NULL AND {_WHOLE_URL}
        ) o, dataset d""",
    ),
)


def _score(kind: str, value: str, by: str) -> dict[str, str]:
    return {"$given": value, "$kind": kind, "$value": f"printf('%.6f', {value})", "$unit": "proportion", "$by": by}


_MEASUREMENTS = DwcFile(
    "extendedmeasurementorfact.txt",
    _OBIS + "ExtendedMeasurementOrFact",
    "measurements",
    (
        dwc("eventID", urn("event", "o.event_id")),
        dwc("occurrenceID", urn("occurrence", "o.id")),
        dwc("measurementID", urn("occurrence", "o.id") + " || ':$kind'"),
        dwc("measurementType", "'$kind'"),
        dwc("measurementValue", "$value"),
        dwc("measurementUnit", "'$unit'"),
        dwc("measurementDeterminedBy", "$by"),
    ),
    (
        f"""(
            SELECT s.position, s.event_id, s.id, s.prediction_score, s.algorithm, m.detection_score, m.bbox, a.name
            FROM (SELECT *, {one_line("prediction_algorithm")} AS algorithm FROM shown WHERE $rows) s
            LEFT JOIN detections m ON m.position = s.position AND m.id = s.detection_id
            LEFT JOIN (SELECT id, {one_line("name")} AS name FROM algorithms) a ON a.id = m.algorithm_id
        ) o""",
    ),
    each=(
        _score("classificationScore", "o.prediction_score", "o.algorithm"),
        _score("detectionScore", "o.detection_score", "o.name"),
        {"$given": "o.bbox", "$kind": "boundingBox", "$value": one_line("o.bbox"), "$unit": "pixels", "$by": "o.name"},
    ),
)

GBIF_FILES = (_EVENT, _OCCURRENCE, _HUMBOLDT, _MULTIMEDIA, _MEASUREMENTS)
