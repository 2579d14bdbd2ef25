"""The series `camtrap_dp`: a Camera Trap Data Package (https://camtrap-dp.tdwg.org), version 1.0.

Here: the zip, its three tables, its description, and reading all of it back. Not here: choosing occurrences
(`selection`).

A deployment is a station from its first to its last session. An occurrence is an observation of an event, each of its
detections one of a single file, tagged with the occurrence: nothing else in a package says which belong together.
Sessions in which nothing was found are events that are blank.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sheaf import sql
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import Zip, opened
from sheaf.licences import GBIF_LICENCES
from sheaf.occurrences import schema
from sheaf.occurrences.clocks import outermost
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.writers.dwca_terms import iso_time
from sheaf.occurrences.writers.selection import remarks, select
from sheaf.occurrences.writers.text_lines import delimited, one_line, quoted

if TYPE_CHECKING:
    from sheaf.occurrences.writers.selection import Selection

_OFFICIAL = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/"
_RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
_NUMBER = r"-?\d+(\.\d+)?(e-?\d+)?"


@dataclass(frozen=True)
class Field:
    """One column of a table.

    Attributes:
        name: as Camtrap DP calls it.
        sql: its value; null is an empty cell.
        pattern: what a value must look like.
        needed: whether it must have one.
        text: whether the value is somebody's text, which may hold anything.
    """

    name: str
    sql: str = "NULL"
    pattern: str = ".*"
    needed: bool = False
    text: bool = False

    @property
    def value(self) -> str:
        """SQL of the cell."""
        return quoted(one_line(self.sql), '[",\\r\\n]') if self.text else self.sql


def _unused(*names: str) -> tuple[Field, ...]:
    """Columns of the standard that Sheaf knows nothing about; readers expect all of them."""
    return tuple(Field(name) for name in names)


DEPLOYMENTS = (
    Field("deploymentID", "d.id", needed=True),
    Field("locationID", "d.id"),
    Field("locationName", "d.name", text=True),
    Field("latitude", "round(d.latitude, 6)", _NUMBER, needed=True),
    Field("longitude", "round(d.longitude, 6)", _NUMBER, needed=True),
    Field("coordinateUncertainty", "CAST(at_least(ceil(d.uncertainty), 1) AS BIGINT)", r"[1-9]\d*"),
    Field("deploymentStart", iso_time("d.first.at", "d.first.minutes"), _MOMENT, needed=True),
    Field("deploymentEnd", iso_time("d.last.at", "d.last.minutes"), _MOMENT, needed=True),
    *_unused("setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight", "cameraDepth", "cameraTilt"),
    *_unused("cameraHeading", "detectionDistance", "timestampIssues", "baitUse", "featureType", "habitat"),
    *_unused("deploymentGroups", "deploymentTags"),
    Field(
        "deploymentComments",
        "CASE WHEN d.sensitive THEN 'The exact position, the name of the station and its images are withheld' END",
        text=True,
    ),
)
MEDIA = (
    Field("mediaID", "m.capture_id", needed=True),
    Field("deploymentID", "m.deployment_id", needed=True),
    *_unused("captureMethod"),
    Field("timestamp", iso_time("m.at", "m.minutes"), _MOMENT, needed=True),
    Field("filePath", "coalesce(m.url, 'withheld/' || m.capture_id)", r"[^./~](?!.*\.\.).*", needed=True, text=True),
    Field("filePublic", "CASE WHEN m.url IS NULL THEN 'false' ELSE 'true' END", "true|false", needed=True),
    *_unused("fileName"),
    Field(
        "fileMediatype",
        """CASE WHEN regexp_matches(lower(m.url), '\\.png([?#]|$)') THEN 'image/png'
        WHEN regexp_matches(lower(m.url), '\\.tiff?([?#]|$)') THEN 'image/tiff'
        WHEN regexp_matches(lower(m.url), '\\.webp([?#]|$)') THEN 'image/webp' ELSE 'image/jpeg' END""",
        "(image|video|audio)/.*",
        needed=True,
    ),
    *_unused("exifData", "favorite", "mediaComments"),
)
OBSERVATIONS = (
    Field("observationID", "o.key", needed=True),
    Field("deploymentID", "o.deployment_id", needed=True),
    Field("mediaID", "o.media_id"),
    Field("eventID", "o.event_id"),
    Field("eventStart", iso_time("o.first", "o.first_minutes"), _MOMENT, needed=True),
    Field("eventEnd", iso_time("o.last", "o.last_minutes"), _MOMENT, needed=True),
    Field("observationLevel", "o.level", "media|event", needed=True),
    Field("observationType", "o.kind", "animal|human|blank", needed=True),
    *_unused("cameraSetupType"),
    Field("scientificName", "o.scientific_name", text=True),
    Field("count", "o.individuals", r"[1-9]\d*"),
    *_unused("lifeStage", "sex", "behavior", "individualID", "individualPositionRadius", "individualPositionAngle"),
    *_unused("individualSpeed"),
    Field("bboxX", "o.box[1]", _NUMBER),
    Field("bboxY", "o.box[2]", _NUMBER),
    Field("bboxWidth", "o.box[3]", _NUMBER),
    Field("bboxHeight", "o.box[4]", _NUMBER),
    Field("classificationMethod", "CASE WHEN o.kind = 'animal' THEN o.method END", "human|machine"),
    Field("classifiedBy", "CASE WHEN o.kind = 'animal' THEN o.classified_by END", text=True),
    Field("classificationTimestamp", f"CASE WHEN known(o.at_minutes) IS NOT NULL"
          f" THEN {iso_time('o.at', 'o.at_minutes')} END", _MOMENT),
    Field("classificationProbability", "o.probability", _NUMBER),
    Field("observationTags", "concat_ws(' | ', 'occurrence:' || o.tagged, 'qualifier:' || o.remark)", text=True),
    Field("observationComments", "o.remark", text=True),
)  # fmt: skip
TABLES: Mapping[str, Sequence[Field]] = {"deployments": DEPLOYMENTS, "media": MEDIA, "observations": OBSERVATIONS}

_STATIONS = "SELECT d.longitude, d.latitude, d.sensitive FROM sampled e JOIN deployments d ON d.id = e.deployment_id"
# DuckDB's greatest and least leave out what is null: nothing would be the other value
_MACROS = """
CREATE MACRO at_least(v, low) AS CASE WHEN v IS NOT NULL THEN greatest(v, low) END;
CREATE MACRO allowed(url) AS CASE WHEN NOT regexp_matches(url, '^[./~]|[.][.]') THEN url END;
CREATE MACRO in_range(v) AS CASE WHEN v IS NOT NULL THEN round(least(greatest(v, 0), 1), 6) END;
"""
_VIEWS = f"""
CREATE MACRO known(minutes) AS nullif(minutes, {DATE_ONLY});  -- of a date alone no moment is known
CREATE TABLE usable AS  -- sessions whose moments are known, at places that are known
SELECT e.id, e.deployment_id, e.start, e.start_offset, coalesce(e."end", e.start) AS "end",
    CASE WHEN e."end" IS NULL THEN e.start_offset ELSE e.end_offset END AS end_offset
FROM events e JOIN deployments d ON d.id = e.deployment_id
WHERE e.start IS NOT NULL AND known(e.start_offset) IS NOT NULL AND d.latitude IS NOT NULL
    AND (e."end" IS NULL OR known(e.end_offset) IS NOT NULL);
CREATE TABLE shown AS SELECT o.position, o.id, o.event_id, e.deployment_id, o.is_person
FROM chosen o JOIN usable e ON e.id = o.event_id
WHERE (is_taxon OR is_person) AND (known(first_offset) IS NOT NULL OR first_appearance IS NULL);
CREATE TABLE sampled AS SELECT * FROM usable e WHERE id IN (SELECT event_id FROM shown) OR $sampled;
"""
_DEPLOYED = f"""(
    SELECT d.*, {outermost("arg_min", "e.start", "e.start_offset")} AS first,
        {outermost("arg_max", 'e."end"', "e.end_offset")} AS last
    FROM deployments d JOIN sampled e ON e.deployment_id = d.id GROUP BY ALL
) d ORDER BY d.id"""
_TAKEN = """(
    SELECT d.capture_id, any_value(s.deployment_id) AS deployment_id, allowed(any_value(d.capture_url)) AS url,
        any_value(coalesce(d.capture_time, d.timestamp)) AS at,
        any_value(CASE WHEN d.capture_time IS NULL THEN d.timestamp_offset ELSE d.capture_offset END) AS minutes
    FROM detections d JOIN shown s USING (position)
    WHERE known(CASE WHEN d.capture_time IS NULL THEN d.timestamp_offset ELSE d.capture_offset END) IS NOT NULL
    GROUP BY d.capture_id
) m ORDER BY m.capture_id"""
_KIND = "CASE WHEN c.is_person THEN 'human' ELSE 'animal' END"
_OF_EVENTS = f"""(
    SELECT 'occurrence-' || c.id AS key, s.deployment_id, NULL AS media_id, s.event_id,
        coalesce(c.first_appearance, e.start) AS first, coalesce(c.first_offset, e.start_offset) AS first_minutes,
        coalesce(CASE WHEN known(c.last_offset) IS NOT NULL THEN c.last_appearance END, c.first_appearance, e."end")
            AS last,
        coalesce(known(c.last_offset), c.first_offset, e.end_offset) AS last_minutes,
        'event' AS level, {_KIND} AS kind, c.scientific_name, c.individual_count AS individuals, NULL::DOUBLE[] AS box,
        CASE WHEN c.verified THEN 'human' ELSE 'machine' END AS method, c.identified_by AS classified_by,
        c.identified_at AS at, c.identified_offset AS at_minutes,
        CASE WHEN NOT c.verified AND NOT c.is_person THEN c.determination_score END AS probability,
        c.qualifier AS remark, NULL AS tagged, c.position, 0 AS part
    FROM occurrences c JOIN shown s USING (position) JOIN usable e ON e.id = s.event_id WHERE c.$rows
) o ORDER BY o.position"""
_OF_MEDIA = f"""(
    SELECT 'detection-' || d.id AS key, s.deployment_id, d.capture_id AS media_id, s.event_id,
        d.timestamp AS first, d.timestamp_offset AS first_minutes, d.timestamp AS last,
        d.timestamp_offset AS last_minutes, 'media' AS level, {_KIND} AS kind, c.scientific_name, 1 AS individuals,
        CASE WHEN b.share[3] > b.share[1] AND b.share[4] > b.share[2] THEN
            [b.share[1], b.share[2], round(b.share[3] - b.share[1], 6), round(b.share[4] - b.share[2], 6)] END AS box,
        CASE WHEN c.verified THEN 'human' ELSE 'machine' END AS method, c.identified_by AS classified_by,
        c.identified_at AS at, c.identified_offset AS at_minutes,
        CASE WHEN NOT c.verified AND NOT c.is_person THEN d.score END AS probability, c.qualifier AS remark,
        c.id AS tagged, d.position, d.id AS part
    FROM (SELECT *, CASE WHEN json_valid(bbox) THEN from_json(bbox, '["DOUBLE"]') END AS px FROM detections
        WHERE $rows AND known(timestamp_offset) IS NOT NULL
        AND known(CASE WHEN capture_time IS NULL THEN timestamp_offset ELSE capture_offset END) IS NOT NULL) d
    JOIN shown s USING (position) JOIN occurrences c USING (position),
    LATERAL (SELECT CASE WHEN len(d.px) = 4 AND list_max(d.px) <= 1 THEN list_transform(d.px, lambda v: in_range(v))
        WHEN len(d.px) = 4 AND d.capture_width > 0 AND d.capture_height > 0 THEN [
            in_range(d.px[1] / d.capture_width), in_range(d.px[2] / d.capture_height),
            in_range(d.px[3] / d.capture_width), in_range(d.px[4] / d.capture_height)] END AS share) b
) o ORDER BY o.position, o.part"""
_BLANK = """(
    SELECT 'event-' || e.id AS key, e.deployment_id, NULL AS media_id, e.id AS event_id, e.start AS first,
        e.start_offset AS first_minutes, e."end" AS last, e.end_offset AS last_minutes, 'event' AS level,
        'blank' AS kind, NULL AS scientific_name, NULL AS individuals, NULL::DOUBLE[] AS box, NULL AS method,
        NULL AS classified_by, NULL::TIMESTAMP AS at, NULL::SMALLINT AS at_minutes, NULL AS probability, NULL AS remark,
        NULL AS tagged
    FROM sampled e WHERE e.id NOT IN (
        SELECT event_id FROM chosen WHERE event_id IS NOT NULL AND (is_taxon OR is_person))
) o ORDER BY o.first, o.event_id"""


def write_camtrap_dp(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.zip`."""
    with select(draft, [schema.EVENTS, schema.DEPLOYMENTS, schema.DETECTIONS]) as chosen:
        chosen.database.execute(_MACROS)
        chosen.database.execute(_VIEWS.replace("$sampled", chosen.sampled))
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.zip"
        counts = {}
        ranges = [f"position BETWEEN {start} AND {end - 1}" for start, end in chosen.ranges()]
        by_range = [source.replace("$rows", rows) for rows in ranges for source in (_OF_EVENTS, _OF_MEDIA)]
        with Zip(path, hashed=False) as archive:
            counts["deployments"] = _write_table(archive, chosen, "deployments", [_DEPLOYED])
            counts["media"] = _write_table(archive, chosen, "media", [_TAKEN])
            counts["observations"] = _write_table(archive, chosen, "observations", [*by_range, _BLANK])
            description = orjson.dumps(_description(draft, chosen), option=orjson.OPT_INDENT_2)
            archive.add_document("datapackage.json", description)
        ((left_out,),) = chosen.rows("SELECT (SELECT count(*) FROM chosen) - (SELECT count(*) FROM shown)")
        ((forbidden,),) = chosen.rows(
            """SELECT count(DISTINCT capture_id) FROM detections JOIN shown USING (position)
            WHERE capture_url IS NOT NULL AND allowed(capture_url) IS NULL"""
        )
    warnings = []
    if forbidden:
        warnings.append(f"Addresses of {forbidden} images are not in the package: it allows no two dots within one.")
    if left_out:
        warnings.append(
            f"{left_out} occurrences are not in the package: it wants a taxon, a station with coordinates, and times "
            "with an offset from UTC."
        )
    if not chosen.dataset["licence"]:
        warnings.append("No licence is set: the package names none.")
    rows = counts["observations"]
    return Written(rows, {path.name: rows}, counts, (*warnings, *remarks(draft)))


def _write_table(archive: Zip, chosen: "Selection", name: str, sources: Sequence[str]) -> int:
    fields = TABLES[name]
    line = delimited([field.value for field in fields], ",")
    rows = 0
    with archive.member(f"{name}.csv") as entry:
        entry.write(",".join(field.name for field in fields).encode() + b"\n")
        for lines in chosen.lines([f"SELECT {line} FROM {source}" for source in sources]):
            entry.write(lines.data)
            rows += lines.count
    return rows


def _spatial(box: tuple[float, float, float, float] | None) -> dict[str, Any]:
    """The box of the stations as GeoJSON, in two where it lies across 180 degrees (RFC 7946, 3.1.9)."""
    if box is None:
        return {"type": "Polygon", "coordinates": []}
    west, east, north, south = box
    parts = [(west, east)] if west <= east else [(west, 180), (-180, east)]
    polygons = [[[[a, south], [b, south], [b, north], [a, north], [a, south]]] for a, b in parts]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _description(draft: Draft, chosen: "Selection") -> dict[str, Any]:
    data = chosen.dataset
    ((first, last),) = chosen.rows('SELECT min(start)::DATE, max("end")::DATE FROM sampled')
    taxa = chosen.rows(
        f"""SELECT o.scientific_name, lower(o.scientific_rank), {sql.names(_RANKS)},
                min(o.common_name) FILTER (o.qualifier IS NULL)
            FROM occurrences o JOIN shown s USING (position) WHERE o.is_taxon
            GROUP BY ALL ORDER BY ALL"""
    )
    contacts = [
        {"title": one["name"], "role": "contact"}
        | ({"email": one["email"]} if one["email"] else {})
        | ({"path": f"https://orcid.org/{one['orcid']}"} if one["orcid"] else {})
        | ({"organization": one["organisation"]} if one["organisation"] else {})
        for one in orjson.loads(data["contacts"])
    ]
    holder = [{"title": data["rights_holder"], "role": "rightsHolder"}] if data["rights_holder"] else []
    licence = GBIF_LICENCES.get(data["licence"])
    named = {"name": licence.name, "path": licence.url} if licence else {"title": data["licence"]}
    licences = {"licenses": [{**named, "scope": scope} for scope in ("data", "media")]} if data["licence"] else {}
    day = draft.now.date().isoformat()
    return {
        "profile": f"{_OFFICIAL}camtrap-dp-profile.json",
        "name": data["slug"],
        "id": f"urn:ami:dataset:{data['slug']}",
        "created": draft.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "title": data["title"],
        "description": data["description"],
        "contributors": [*contacts, *holder, {"title": data["publisher"], "role": "publisher"}],
        **licences,
        "project": {
            "title": data["title"],
            "description": data["protocol_description"] or data["protocol"],
            "samplingDesign": data["sampling_design"],
            "captureMethod": orjson.loads(data["capture_method"]),
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        },
        "spatial": _spatial(chosen.box(_STATIONS)),
        "temporal": {"start": str(first or day), "end": str(last or day)},
        "taxonomic": [_taxon(*found) for found in taxa],
        "resources": [
            {
                "name": name,
                "path": f"{name}.csv",
                "profile": "tabular-data-resource",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "schema": f"{_OFFICIAL}{name}-table-schema.json",
            }
            for name in TABLES
        ],
    }


def _taxon(name: str, rank: str, *more: str | None) -> dict[str, Any]:
    *above, common = more
    known = rank in (*_RANKS, "species", "subspecies")
    return (
        {"scientificName": name}
        | ({"taxonRank": rank} if known else {})
        | {of: value for of, value in zip(_RANKS, above, strict=True) if value}
        | ({"vernacularNames": {"eng": common}} if common else {})
    )


def verify_camtrap_dp(folder: Path, written: Written) -> None:
    """Read the package back: columns, needed and well-formed values, unique ids, references, numbers of rows.

    Raises:
        VerificationError: naming the first line that is wrong.
    """
    (path,) = folder.glob("*.zip")
    ids: dict[str, set[str]] = {}
    with opened(path) as archive:
        if sorted(archive.namelist()) != sorted(["datapackage.json", *(f"{name}.csv" for name in TABLES)]):
            raise VerificationError(f"{path.name} does not hold a description and three tables.")
        described = orjson.loads(archive.read("datapackage.json"))
        if [one["name"] for one in described["resources"]] != list(TABLES):
            raise VerificationError("datapackage.json does not describe the three tables.")
        for name, fields in TABLES.items():
            ids[name] = _check_table(archive, name, fields, ids)
            if len(ids[name]) != written.counts[name]:
                raise VerificationError(f"{name}.csv holds {len(ids[name])} rows, not {written.counts[name]}.")


def _check_table(archive: zipfile.ZipFile, name: str, fields: Sequence[Field], ids: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    checks = [(index, field, re.compile(field.pattern).fullmatch) for index, field in enumerate(fields)
              if field.needed or field.pattern != ".*"]  # fmt: skip
    references = {"deploymentID": "deployments", "mediaID": "media"}
    led = [(index, ids[references[field.name]]) for index, field in enumerate(fields)
           if index and field.name in references]  # fmt: skip
    for line, row in _rows(archive, name, fields):
        for index, field, matches in checks:
            if (field.needed and not row[index]) or (row[index] and not matches(row[index])):
                raise VerificationError(f"{name}.csv, line {line}: {field.name} cannot be {row[index]!r}.")
        for index, known in led:
            if row[index] and row[index] not in known:
                raise VerificationError(f"{name}.csv, line {line}: {fields[index].name} {row[index]} leads nowhere.")
        if row[0] in found:
            raise VerificationError(f"{name}.csv, line {line}: {row[0]} is used more than once.")
        found.add(row[0])
    return found


def _rows(archive: zipfile.ZipFile, name: str, fields: Sequence[Field]) -> Iterator[tuple[int, list[str]]]:
    with archive.open(f"{name}.csv") as entry, io.TextIOWrapper(entry, "utf-8", newline="") as text:
        reader = csv.reader(text, strict=True)
        if next(reader, None) != [field.name for field in fields]:
            raise VerificationError(f"{name}.csv does not begin with the columns of the standard.")
        for row in reader:
            if len(row) != len(fields):
                raise VerificationError(f"{name}.csv, line {reader.line_num}: {len(row)} values.")
            yield reader.line_num, row
