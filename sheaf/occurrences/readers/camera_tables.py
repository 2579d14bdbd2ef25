"""Deployments, media and observations, as data of cameras are exchanged, turned into the tables of Antenna.

Here: which occurrence an observation is, on which media it was seen, to which session it belongs; the ids that texts
get. Not here: reading the files of a format (the modules that have `found`), what rows must be (`ingest`).

The three tables are called and have the columns that Camtrap DP 1.0 gives them (https://camtrap-dp.tdwg.org/data),
with `_at`, the place that a row is from (`several_files`); several may be from one. An observation of an event is one
occurrence, and the observations of single media that belong to it are its detections; where an event has none of its
own, each observation of a medium is one. An observation of people is kept as one whatever it hangs on, and with it all
media that it may be about, so that none of them is shown. Times of a deployment are compared as moments: what was
written without an offset has that of its zone, as it is published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from sheaf import sql
from sheaf.errors import InputError
from sheaf.occurrences import clocks
from sheaf.occurrences import input_tables as tables
from sheaf.occurrences.input_tables import DATE_ONLY, Source
from sheaf.occurrences.readers.arrived import Arrived, arrange
from sheaf.occurrences.readers.fields import clock, degrees, written_offset
from sheaf.occurrences.readers.several_files import origin, with_origin
from sheaf.occurrences.working_database import table_of
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

COLUMNS: Mapping[str, Sequence[str]] = {
    "deployments": (
        *("deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty"),
        *("countryCode", "deploymentStart", "deploymentEnd"),
    ),
    "media": ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic"),
    "observations": (
        *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
        *("observationType", "scientificName", "count", "individualID"),
        *("bboxX", "bboxY", "bboxWidth", "bboxHeight"),
        *("classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability"),
        *("observationTags", "observationComments"),
    ),
}
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
_NOT_LOOKED_AT = "('blank', 'unclassified')"

# Numbers stay what they are, so that what Sheaf publishes comes back with its ids. Other texts get one that is the
# same in every delivery, beyond the numbers, and below 2^53, above which JavaScript cannot tell them apart.
_MACROS = """
CREATE OR REPLACE MACRO hashed(text) AS 4503599627370496 + (md5_number_lower(text) % 4503599627370496)::BIGINT;
CREATE OR REPLACE MACRO key_of(text, kind) AS CASE
    WHEN regexp_full_match(text, '(' || kind || '-)?(0|[1-9][0-9]{0,14})')
    THEN CAST(regexp_extract(text, '[0-9]+$') AS BIGINT) ELSE hashed(kind || '/' || text) END;
CREATE OR REPLACE MACRO clock(text) AS $clock;
CREATE OR REPLACE MACRO written(text) AS $written;
CREATE OR REPLACE MACRO moment(text, zone, minutes) AS CASE WHEN coalesce(written(text) <> $date_only, false)
    THEN epoch_us(clock(text)) - written(text)::BIGINT * 60000000
    ELSE coalesce(epoch_us(timezone(zone, clock(text))), epoch_us(clock(text)) - minutes * 60000000) END;
CREATE OR REPLACE MACRO tag(tags, name) AS
    nullif(trim(regexp_extract(tags, '(?:^|\\|)\\s*' || name || '\\s*:\\s*([^|]*)', 1)), '');
"""
# What is written without an offset, where the zone is not known, is taken to have the middle one of its media.
_PREPARE = f"""
CREATE TABLE dp_clock AS SELECT deploymentID, any_value(zone) AS zone,
    coalesce(quantile_disc(minutes, 0.5), 0)::BIGINT AS minutes
FROM (SELECT deploymentID, zone, NULL AS minutes FROM dp_zone UNION ALL
    SELECT deploymentID, NULL, nullif(written(timestamp), {DATE_ONLY}) FROM dp_media) GROUP BY 1;
CREATE TABLE dp_taken AS SELECT *, row_number() OVER (ORDER BY deploymentID, moment, _at) AS number
FROM (SELECT m.*, moment(m.timestamp, c.zone, c.minutes) AS moment
    FROM dp_media m LEFT JOIN dp_clock c USING (deploymentID))
WHERE moment IS NOT NULL;
CREATE TABLE dp_twice AS SELECT eventID FROM dp_observations WHERE eventID IS NOT NULL
GROUP BY 1 HAVING count(DISTINCT deploymentID) > 1;
CREATE TABLE dp_seen AS SELECT o.*, row_number() OVER (ORDER BY o._at, o.observationID) AS _row,
    CASE WHEN o.eventID IS NULL THEN concat_ws('/', o.deploymentID, 'on', substr(o.eventStart, 1, 10))
        WHEN o.eventID IN (FROM dp_twice) THEN concat_ws('/', o.deploymentID, o.eventID) ELSE o.eventID END AS event,
    CASE WHEN lower(trim(observationLevel)) = 'media' AND mediaID IS NOT NULL THEN 'media' ELSE 'event' END AS level,
    coalesce(lower(trim(observationType)), 'unknown') AS kind,
    moment(eventStart, c.zone, c.minutes) AS first, coalesce(moment(eventEnd, c.zone, c.minutes)
        + CASE written(eventEnd) WHEN {DATE_ONLY} THEN 86399999999 ELSE 0 END, moment(eventStart, c.zone, c.minutes))
        AS last,
    concat_ws(' ', CASE coalesce(lower(trim(observationType)), 'unknown') WHEN 'animal'
        THEN coalesce(scientificName, 'Animalia') WHEN 'human' THEN 'human'
        ELSE coalesce(scientificName, lower(trim(observationType)), 'unknown') END,
        tag(observationTags, 'qualifier')) AS name
FROM dp_observations o LEFT JOIN dp_clock c USING (deploymentID);
CREATE TABLE dp_looked AS FROM dp_seen WHERE kind NOT IN {_NOT_LOOKED_AT};
CREATE TABLE dp_of_event AS FROM dp_looked WHERE level = 'event';
CREATE TABLE dp_of_media AS SELECT m.*, coalesce(
    (SELECT min(e._row) FROM dp_of_event e WHERE e.deploymentID IS NOT DISTINCT FROM m.deploymentID
        AND e.observationID IN (m.said, 'occurrence-' || m.said)),
    like_it.of) AS of
FROM (SELECT *, tag(observationTags, 'occurrence') AS said FROM dp_looked WHERE level = 'media') m
LEFT JOIN (
    SELECT m._row, coalesce(min(e._row) FILTER (e.individualID = m.individualID), min(e._row)) AS of
    FROM dp_looked m JOIN dp_of_event e ON e.deploymentID = m.deploymentID AND e.event = m.event AND e.name = m.name
        AND coalesce(m.first BETWEEN e.first AND e.last, true)
    WHERE m.level = 'media' GROUP BY 1
) like_it USING (_row);
CREATE TABLE dp_alone AS SELECT *, CASE WHEN individualID IS NULL THEN _row
    ELSE min(_row) OVER (PARTITION BY deploymentID, event, name, individualID) END AS of_individual
FROM dp_of_media WHERE of IS NULL AND (kind = 'human' OR event NOT IN (SELECT event FROM dp_of_event));
CREATE TABLE dp_occurrence AS
SELECT * EXCLUDE (said, of, of_individual), key_of(observationID, 'occurrence') AS key FROM dp_alone
WHERE _row = of_individual
UNION ALL BY NAME SELECT *, key_of(observationID, 'occurrence') AS key FROM dp_of_event;
CREATE TABLE dp_base AS SELECT deploymentID, min(number) - 1 AS before FROM dp_taken GROUP BY 1;
CREATE TABLE dp_wide AS SELECT o._row, unnest(generate_series(coalesce(a.number, b.before) + 1,
    coalesce(z.number, b.before))) AS number
FROM (FROM dp_of_event WHERE first IS NOT NULL AND (kind = 'human' OR _row NOT IN (
    SELECT of FROM dp_of_media WHERE of IS NOT NULL))) o
JOIN dp_base b USING (deploymentID)
ASOF LEFT JOIN dp_taken a ON a.deploymentID = o.deploymentID AND o.first > a.moment
ASOF LEFT JOIN dp_taken z ON z.deploymentID = o.deploymentID AND o.last >= z.moment;
CREATE TABLE dp_detection AS
SELECT m._at, o.key AS occurrence, key_of(m.observationID, 'detection') AS key, m.mediaID, m.eventStart AS shown_at,
    m.bboxX, m.bboxY, m.bboxWidth, m.bboxHeight, m.classificationMethod, m.classifiedBy, m.classificationTimestamp,
    m.classificationProbability, m.name
FROM (SELECT * EXCLUDE (said) FROM dp_of_media WHERE of IS NOT NULL UNION ALL
    SELECT * EXCLUDE (said, of, of_individual), of_individual AS of FROM dp_alone) m
JOIN dp_occurrence o ON o._row = m.of
UNION ALL BY NAME
SELECT o._at, o.key AS occurrence, hashed(concat('detection/', o.observationID, '/', t.mediaID)) AS key, t.mediaID,
    t.timestamp AS shown_at, o.classificationMethod, o.classifiedBy, o.classificationTimestamp,
    o.classificationProbability, o.name
FROM dp_wide w JOIN dp_taken t USING (number) JOIN dp_occurrence o ON o._row = w._row
WHERE t.mediaID NOT IN (SELECT mediaID FROM dp_of_media m WHERE m.of = o._row);
CREATE TABLE dp_unseen AS FROM dp_occurrence WHERE key NOT IN (SELECT occurrence FROM dp_detection);
"""
_MACHINE, _HUMAN = (f"lower(trim(classificationMethod)) = '{of}'" for of in ("machine", "human"))
_BOX = """CASE WHEN coalesce(bboxX, bboxY, bboxWidth, bboxHeight) IS NULL THEN '[]'
    WHEN TRY_CAST(bboxX AS DOUBLE) + TRY_CAST(bboxY AS DOUBLE) + TRY_CAST(bboxWidth AS DOUBLE)
        + TRY_CAST(bboxHeight AS DOUBLE) IS NULL THEN concat_ws(' ', bboxX, bboxY, bboxWidth, bboxHeight)
    ELSE CAST(to_json([TRY_CAST(bboxX AS DOUBLE), TRY_CAST(bboxY AS DOUBLE),
        round(TRY_CAST(bboxX AS DOUBLE) + TRY_CAST(bboxWidth AS DOUBLE), 6),
        round(TRY_CAST(bboxY AS DOUBLE) + TRY_CAST(bboxHeight AS DOUBLE), 6)]) AS VARCHAR) END"""

_QUERIES: Mapping[str, str] = {
    tables.USER.name: f"""SELECT hashed('user/' || classifiedBy) AS id, classifiedBy AS name, min(_at) AS _at
        FROM dp_occurrence WHERE {_HUMAN} AND classifiedBy IS NOT NULL GROUP BY 2""",
    tables.ALGORITHM.name: f"""SELECT hashed('algorithm/' || classifiedBy) AS id, classifiedBy AS name,
        classifiedBy AS key, min(_at) AS _at FROM dp_detection WHERE {_MACHINE} AND classifiedBy IS NOT NULL
        GROUP BY 2""",
    tables.DEPLOYMENT.name: """SELECT key_of(deploymentID, 'deployment') AS id,
        coalesce(locationName, locationID, deploymentID) AS name, latitude, longitude,
        coordinateUncertainty AS coordinate_uncertainty, countryCode AS country_code, _at FROM dp_deployments""",
    tables.EVENT.name: """SELECT key_of(s.event, 'event') AS id, key_of(s.deploymentID, 'deployment') AS deployment_id,
        arg_min(s.eventStart, coalesce(s.first, 0)) AS start,
        arg_max(coalesce(s.eventEnd, s.eventStart), coalesce(s.last, 0)) AS "end",
        any_value(c.count) AS captures_count, min(s._at) AS _at
        FROM dp_seen s LEFT JOIN (
            SELECT e.event, coalesce(max(z.number), max(b.before)) - coalesce(max(a.number), max(b.before)) AS count
            FROM (SELECT event, deploymentID, min(first) AS first, max(last) AS last FROM dp_seen
                WHERE first IS NOT NULL GROUP BY ALL) e JOIN dp_base b USING (deploymentID)
            ASOF LEFT JOIN dp_taken a ON a.deploymentID = e.deploymentID AND e.first > a.moment
            ASOF LEFT JOIN dp_taken z ON z.deploymentID = e.deploymentID AND e.last >= z.moment GROUP BY 1
        ) c USING (event) GROUP BY s.event, s.deploymentID""",
    tables.IMAGE.name: """SELECT key_of(mediaID, 'media') AS id, timestamp,
        key_of(deploymentID, 'deployment') AS deployment_id,
        CASE WHEN lower(trim(filePublic)) IN ('true', '1') AND contains(filePath, '://') THEN filePath END AS path, _at
        FROM dp_media""",
    tables.OCCURRENCE.name: f"""SELECT key AS id, hashed('taxon/' || name) AS determination_id,
        CASE WHEN {_HUMAN} THEN '1.0' ELSE classificationProbability END AS determination_score,
        key_of(event, 'event') AS event_id, key_of(deploymentID, 'deployment') AS deployment_id,
        "count" AS individual_count, $basis AS basis_of_record, _at
        FROM dp_occurrence WHERE key IN (SELECT occurrence FROM dp_detection)""",
    tables.DETECTION.name: f"""SELECT key AS id, key_of(mediaID, 'media') AS source_image_id,
        occurrence AS occurrence_id, shown_at AS timestamp, {_BOX} AS bbox, _at FROM dp_detection""",
    tables.CLASSIFICATION.name: f"""SELECT key AS id, key AS detection_id, hashed('taxon/' || name) AS taxon_id,
        CASE WHEN classifiedBy IS NOT NULL THEN hashed('algorithm/' || classifiedBy) END AS algorithm_id,
        classificationProbability AS score, classificationTimestamp AS timestamp, _at
        FROM dp_detection WHERE {_MACHINE}""",
    tables.IDENTIFICATION.name: f"""SELECT key AS id, key AS occurrence_id,
        CASE WHEN classifiedBy IS NOT NULL THEN hashed('user/' || classifiedBy) END AS user_id,
        hashed('taxon/' || name) AS taxon_id, classificationTimestamp AS created_at,
        observationComments AS comment, _at FROM dp_occurrence WHERE {_HUMAN}""",
}
_FILE_OF = {tables.DEPLOYMENT.name: "deployments", tables.IMAGE.name: "media"}


@dataclass(frozen=True)
class CameraTables:
    """A delivery whose three tables are in the working database, as `dp_deployments` and so on.

    Attributes:
        paths: the files that they are from, those of a table in the order in which `_at` counts them.
        project: the row of `main_project`.
        described: where that is from.
        taxa: what is said of names: rank, ancestors, English name, GBIF key; the keys are those of Camtrap DP,
            and `inaturalist`, the key there.
        basis: what the records are, in a word of Darwin Core.
    """

    paths: Mapping[str, Sequence[Path]]
    project: Mapping[str, Any]
    described: Path
    taxa: Sequence[Mapping[str, Any]] = ()
    basis: str = "MachineObservation"
    whole: bool = field(default=False, init=False)

    def prepare(self, database: "duckdb.DuckDBPyConnection", work: Work) -> None:
        """Find occurrences and their detections, and account for the observations that are none.

        Raises:
            InputError: no deployment can be used, without which nothing has a place.
        """
        rejects, stations = work.rejects, self.paths["deployments"]
        why = rejects.sentences("deployments")
        if why and database.execute("SELECT count(*) FROM dp_deployments").fetchall() == [(0,)]:
            raise InputError(f"{stations[0]} has no usable deployment: {why[0]}.")
        said = {"clock": clock("trim(text)"), "written": written_offset("trim(text)"), "date_only": DATE_ONLY}
        database.execute(Template(_MACROS).safe_substitute(said))
        _find_zones(database, work.settings.time_zone)
        self._set_apart_unnamed(database, rejects)
        database.execute(_PREPARE)
        ((blank, unlooked, told, kept),) = database.execute(
            """SELECT count(*) FILTER (kind = 'blank'), count(*) FILTER (kind = 'unclassified'),
                count(*) FILTER (level = 'media' AND kind NOT IN ('blank', 'unclassified')
                    AND _row IN (SELECT _row FROM dp_of_media WHERE of IS NULL)
                    AND _row NOT IN (SELECT _row FROM dp_alone)), count(*) FROM dp_seen"""
        ).fetchall()
        rejects.saw("observations", kept)
        rejects.left_out("observations", "blank", blank)
        rejects.left_out("observations", "not classified", unlooked)
        rejects.left_out("observations", "the event has its own", told)
        unseen = database.execute("SELECT _at, observationID FROM dp_unseen ORDER BY _at").fetchall()
        for line, key in unseen:
            reason = "No medium of the deployment is of its time: nothing shows it"
            rejects.add("observations", "no_media", reason, primary_key=key,
                        **origin(self.paths["observations"], line))  # fmt: skip
        rejects.used("observations", kept - blank - unlooked - told - len(unseen))

    def _set_apart_unnamed(self, database: "duckdb.DuckDBPyConnection", rejects: Rejects) -> None:
        """Reject observations without an id, but for those of people: they withhold media whatever they are called."""
        database.execute(
            """UPDATE dp_observations SET "observationID" = 'unnamed/' || _at
            WHERE nullif(trim("observationID"), '') IS NULL AND lower(trim("observationType")) = 'human'"""
        )
        unnamed = database.execute(
            """DELETE FROM dp_observations WHERE nullif(trim("observationID"), '') IS NULL RETURNING _at"""
        ).fetchall()
        rejects.saw("observations", len(unnamed))
        for (line,) in sorted(unnamed):
            rejects.add("observations", "empty", "observationID is empty",
                        **origin(self.paths["observations"], line))  # fmt: skip

    def bring(self, database: "duckdb.DuckDBPyConnection", source: Source, rejects: Rejects) -> Arrived | None:
        """As in `Delivered`."""
        if source is tables.PROJECT:
            _register(database, [{**self.project, "_at": 1}])
            query, paths = "SELECT * FROM given", [self.described]
        elif source is tables.TAXON:
            found = database.execute(
                "SELECT name, hashed('taxon/' || name), min(_at) FROM dp_occurrence GROUP BY 1 ORDER BY 3"
            ).fetchall()
            _register(database, _taxa(found, self.taxa))
            query = """SELECT coalesce(id, hashed('taxon/' || name)) AS id, * EXCLUDE (id) REPLACE (
                CASE WHEN len(parents_json) > 0 THEN to_json(list_transform(parents_json, lambda p:
                    {'id': hashed('taxon/' || p.name), 'name': p.name, 'rank': p.rank})) END AS parents_json)
                FROM given"""
            paths = self.paths["observations"]
        elif source.name in _QUERIES:
            query = _QUERIES[source.name].replace("$basis", sql.literal(self.basis))
            paths = self.paths[_FILE_OF.get(source.name, "observations")]
        else:
            return None
        arrived = arrange(database, source, with_origin(query, paths), paths[0])
        if source in (tables.PROJECT, tables.TAXON):
            database.unregister("given")
        return arrived


def _find_zones(database: "duckdb.DuckDBPyConnection", given: str) -> None:
    """Make `dp_zone`: in which zone each deployment's clock is, by the settings or its coordinates."""
    north, east = (degrees(f"trim({axis})", axis) for axis in ("latitude", "longitude"))
    known = {zone for (zone,) in database.execute("SELECT name FROM pg_timezone_names()").fetchall()}
    found = database.execute(
        f"""SELECT "deploymentID", north, east, coalesce(north BETWEEN -90 AND 90 AND east BETWEEN -180 AND 180
            AND (north <> 0 OR east <> 0), false) FROM (
            SELECT "deploymentID", {north} AS north, {east} AS east FROM dp_deployments)"""
    ).fetchall()
    zones = ((key, given or (clocks.zone_at(north, east) if placed else None)) for key, north, east, placed in found)
    rows = [(key, zone) for key, zone in zones if zone in known]
    table_of(database, "dp_zone", ("deploymentID", "zone"), ("VARCHAR", "VARCHAR"), rows)


def _register(database: "duckdb.DuckDBPyConnection", rows: Sequence[Mapping[str, Any]]) -> None:
    database.register("given", pa.Table.from_pylist([dict(row) for row in rows]))


def _taxa(found: Sequence[tuple[str, int, int]], said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `main_taxon`: the names that were used, and the ancestors that are known of them."""
    known = {str(one.get("scientificName")): one for one in said}
    rows, above = {}, {}
    for name, id_, line in found:
        one = known.get(name) or next((known[of] for of in _beginnings(name) if of in known), {})
        own = str(one.get("taxonRank") or "").upper() or "UNKNOWN"
        parents = [
            {"name": str(one[rank]), "rank": rank.upper()}
            for rank in RANKS
            if one.get(rank) and str(one[rank]) != name and rank.upper() != own
        ]
        key = str(one.get("taxonID") or "")
        rows[name] = {
            "id": id_, "name": name, "rank": own, "parents_json": parents, "_at": line,
            "common_name_en": _english(one.get("vernacularNames")),
            "gbif_taxon_key": key.rpartition("/")[2] if "gbif.org/species/" in key else None,
            "inat_taxon_id": one.get("inaturalist"),
        }  # fmt: skip
        for index, parent in enumerate(parents):
            above.setdefault(parent["name"], {
                "id": None, "name": parent["name"], "rank": parent["rank"], "parents_json": parents[:index],
                "_at": line, "common_name_en": None, "gbif_taxon_key": None, "inat_taxon_id": None,
            })  # fmt: skip
    return [*rows.values(), *(row for name, row in above.items() if name not in rows)] or [_NO_TAXON]


def _english(names: Any) -> str | None:
    name = names.get("eng") if isinstance(names, dict) else None
    return name if isinstance(name, str) else None


_NO_TAXON: dict[str, Any] = {
    "id": None, "name": "Animalia", "rank": "KINGDOM", "parents_json": [{"name": "", "rank": ""}][:0], "_at": 1,
    "common_name_en": None, "gbif_taxon_key": None, "inat_taxon_id": None,
}  # fmt: skip


def _beginnings(name: str) -> list[str]:
    """What a name with a qualifier begins with, longest first."""
    words = name.split()
    return [" ".join(words[:count]) for count in range(len(words) - 1, 0, -1)]


def document(data: bytes, path: Path) -> Any:
    """A JSON document that others wrote.

    Raises:
        InputError: it is none.
    """
    try:
        return orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON ({error}): was it only half written?") from error
