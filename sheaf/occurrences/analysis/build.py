"""From a project's checked tables to its occurrences and all that hangs on them.

Here: which detection, prediction and identification is the best, names, ancestry, order. Scores that
are missing never win: nulls come last everywhere. Not here: what an export shows of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf import clock, duck, sql
from sheaf.errors import InputError
from sheaf.occurrences import clocks, input_tables, schema
from sheaf.occurrences.analysis import names, public
from sheaf.occurrences.analysis.dataset import make_tells_place, name_collections, write_dataset
from sheaf.occurrences.analysis.plots import season_plots
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.working_database import in_turn, open_tables, table_of
from sheaf.report import Report
from sheaf.tables.table import Table
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_PREVIEW = 20
_PART = 32 * 1024  # occurrences that are put together at once: what belongs to them lies together in all tables
_RUN = 256 * 1024  # detections or classifications that are sorted at once, two times beside each other
_RUN_GROUP = 8 * 1024  # rows of a run that are read together
_AT_ONCE = 8 * 1024  # rows that DuckDB turns into Arrow at once
_SAME_PLACE = 0.001  # degrees
_METRES_PER_DEGREE = 111_320  # of latitude, and of longitude at the equator

# A relative path is resolved as browsers do it: what follows the last slash of the base is replaced.
_MACROS = r"""
CREATE MACRO middle(degrees, cell) AS (floor(degrees / cell) + 0.5) * cell;
CREATE MACRO joined(base, path) AS CASE
    WHEN regexp_matches(path, '^[A-Za-z][A-Za-z0-9+.-]*://') THEN path
    WHEN path[1] IN ('~', '\') OR path[2] = ':' THEN path  -- of somebody's machine, whatever base is said
    WHEN base IS NULL OR base = '' THEN NULL
    WHEN regexp_matches(base, '^[^/]+://[^/]*$') THEN base || '/' || ltrim(path, '/')
    ELSE regexp_replace(base, '[^/]*$', '') || ltrim(path, '/') END;
CREATE MACRO plain_words(text) AS
    ' ' || regexp_replace(lower(strip_accents(coalesce(try(url_decode(text)), text))), '[^\pL\pN]+', ' ', 'g') || ' ';
CREATE MACRO plain_name(text) AS replace(plain_words(text), ' ', '');
CREATE MACRO date_label(first, last) AS strftime(first, '%b ') || day(first)
    || CASE WHEN last::DATE <> first::DATE THEN '-' || day(last) ELSE '' END || ' ' || year(first);
CREATE MACRO length_of(first, last) AS CASE WHEN isfinite(last - first) THEN abs(last - first) END;
CREATE MACRO shown(name, id) AS coalesce(nullif(trim(name), ''), 'user:' || id);
CREATE MACRO at_rank(parents, own_rank, own_name, wanted) AS coalesce(
    list_filter(parents, lambda p: upper(p.rank) = wanted)[1].name,
    CASE WHEN upper(own_rank) = wanted THEN own_name END);
"""

# What a rejected row says counts as well: whom or what it shows is seen by whoever looks at the rest of it.
_EVERY = """
CREATE VIEW every_occurrence AS SELECT id, determination_id AS taxon_id, event_id, deployment_id FROM main_occurrence
UNION ALL SELECT id, taxon_id, event_id, deployment_id FROM rejected_keys WHERE "table" = 'main_occurrence';
CREATE VIEW every_detection AS SELECT id, occurrence_id, source_image_id FROM main_detection
UNION ALL SELECT id, occurrence_id, source_image_id FROM rejected_keys WHERE "table" = 'main_detection';
CREATE VIEW every_prediction AS SELECT detection_id, taxon_id FROM main_classification
UNION ALL SELECT detection_id, taxon_id FROM rejected_keys WHERE "table" = 'main_classification';
CREATE VIEW every_identification AS SELECT occurrence_id, taxon_id FROM main_identification WHERE NOT withdrawn
UNION ALL SELECT occurrence_id, taxon_id FROM rejected_keys WHERE "table" = 'main_identification';
CREATE VIEW every_image AS SELECT id, event_id, deployment_id FROM main_sourceimage
UNION ALL SELECT id, event_id, deployment_id FROM rejected_keys WHERE "table" = 'main_sourceimage';
CREATE VIEW every_session AS SELECT id, deployment_id FROM main_event
UNION ALL SELECT id, deployment_id FROM rejected_keys WHERE "table" = 'main_event';
"""
# Where taxa of a kind were seen: by determination, by somebody, or, where nothing is determined, by a machine.
_SEEN = """
CREATE TABLE {kind}_predicted AS SELECT * FROM every_detection
WHERE id IN (SELECT detection_id FROM every_prediction WHERE taxon_id IN (FROM {kind}_taxon));
DELETE FROM {kind}_predicted WHERE occurrence_id IN (SELECT id FROM every_occurrence
    WHERE taxon_id IS NOT NULL AND id IN (SELECT occurrence_id FROM {kind}_predicted));
CREATE TABLE {kind}_occurrence AS SELECT id FROM every_occurrence WHERE taxon_id IN (FROM {kind}_taxon)
UNION SELECT occurrence_id FROM every_identification WHERE taxon_id IN (FROM {kind}_taxon)
UNION SELECT occurrence_id FROM {kind}_predicted;
DELETE FROM {kind}_occurrence WHERE id IS NULL;
CREATE TABLE {kind}_image AS
SELECT source_image_id AS id FROM every_detection WHERE occurrence_id IN (FROM {kind}_occurrence)
UNION SELECT source_image_id FROM {kind}_predicted;
DELETE FROM {kind}_image WHERE id IS NULL;
"""

_STATIONS = f"""
CREATE TABLE station AS
SELECT id, name, time_zone, coordinate_uncertainty, upper(trim(country_code)) AS country_code,
    CASE WHEN latitude <> 0 OR longitude <> 0 THEN latitude END AS latitude,
    CASE WHEN latitude <> 0 OR longitude <> 0 THEN longitude END AS longitude,
    false AS sensitive
FROM main_deployment;
CREATE TABLE sensitive_station AS SELECT * FROM station WHERE id IN (
    WITH occurrences AS (FROM every_occurrence WHERE id IN (FROM sensitive_occurrence)),
    images AS (FROM every_image WHERE id IN (FROM sensitive_image)),
    sessions AS (SELECT event_id FROM occurrences UNION SELECT event_id FROM images)
    SELECT deployment_id FROM occurrences UNION SELECT deployment_id FROM images
    UNION SELECT deployment_id FROM every_session WHERE id IN (FROM sessions)
);
-- a place is the same place under another id, such as that of another season
UPDATE station SET sensitive = true WHERE id IN (SELECT id FROM sensitive_station)
    OR plain_name(name) IN (SELECT plain_name(name) FROM sensitive_station WHERE plain_name(name) <> '')
    OR EXISTS (SELECT 1 FROM sensitive_station s WHERE abs(s.latitude - station.latitude) < {_SAME_PLACE}
        AND abs((s.longitude - station.longitude + 540) % 360 - 180) < {_SAME_PLACE});  -- also across 180 degrees
CREATE TABLE hidden_image AS SELECT id FROM main_sourceimage
WHERE deployment_id IN (SELECT id FROM station WHERE sensitive) OR id IN (FROM sensitive_image)
    OR event_id IN (SELECT id FROM main_event WHERE deployment_id IN (SELECT id FROM station WHERE sensitive));
"""
# Half the diagonal of the cell, in metres, beside what is known of the station itself.
_DEPLOYMENTS = f"""
SELECT s.id, CASE WHEN s.sensitive OR tells_place(s.name) THEN 'Station ' || s.id ELSE s.name END AS name,
    CASE WHEN s.sensitive AND s.latitude IS NOT NULL
        THEN greatest(least(round(middle(s.latitude, d.cell), 6), 90), -90) ELSE s.latitude END
        AS latitude,
    CASE WHEN s.sensitive THEN round((middle(s.longitude, d.cell) + 540) % 360 - 180, 6) ELSE s.longitude END
        AS longitude,
    CASE WHEN s.latitude IS NULL THEN NULL WHEN s.sensitive THEN ceil(
        {_METRES_PER_DEGREE} * d.cell / 2 * sqrt(1 + pow(cos(radians(greatest(0,
            abs(middle(s.latitude, d.cell)) - d.cell / 2))), 2))
        + coalesce(s.coordinate_uncertainty, d.coordinate_uncertainty, 0))
        ELSE coalesce(s.coordinate_uncertainty, d.coordinate_uncertainty) END AS uncertainty,
    coalesce(s.country_code, (SELECT min(code) FROM country c WHERE c.station = CAST(s.id AS VARCHAR)),
        (SELECT min(code) FROM country c WHERE c.station = s.name), nullif(d.country_code, '')) AS country_code,
    s.sensitive, z.zone AS time_zone, z.of AS time_zone_from
FROM station s LEFT JOIN station_zone z ON z.id = s.id, dataset d ORDER BY s.id
"""

_IN_ORDER = f"""CASE WHEN {DATE_ONLY} IN (start_offset, end_offset) THEN "end"::DATE >= start::DATE
    ELSE {clocks.seconds("start", "start_offset", '"end"', "end_offset")} >= 0 END"""
_EVENTS = f"""
WITH taken AS (  -- for sessions without a time of their own
    SELECT event_id, {clocks.outermost("arg_min", "timestamp", "timestamp_offset")} AS first,
        {clocks.outermost("arg_max", "timestamp", "timestamp_offset")} AS last
    FROM main_sourceimage WHERE timestamp IS NOT NULL
        AND event_id IN (SELECT id FROM main_event WHERE start IS NULL) GROUP BY event_id
), timed AS (
    SELECT e.* REPLACE (
        coalesce(e.start, t.first.at) AS start,
        CASE WHEN e.start IS NULL THEN t.first.minutes ELSE e.start_offset END AS start_offset,
        coalesce(e."end", CASE WHEN e.start IS NULL THEN t.last.at END) AS "end",
        CASE WHEN e."end" IS NULL THEN t.last.minutes ELSE e.end_offset END AS end_offset
    ) FROM main_event e LEFT JOIN taken t ON t.event_id = e.id
), placed AS (
    SELECT e.id, e.deployment_id, d.name AS deployment_name, d.latitude, d.longitude, d.uncertainty, d.country_code,
        coalesce(d.sensitive, false) AS sensitive,
        {clocks.wall("a", "e.start", "e.start_offset")} AS start,
        {clocks.minutes("a", "e.start_offset")} AS start_offset,
        {clocks.wall("b", 'e."end"', "e.end_offset")} AS "end", {clocks.minutes("b", "e.end_offset")} AS end_offset,
        greatest(coalesce(e.captures_count, 0), 0) AS captures_count, e.updated_at,
        e.updated_at_offset AS updated_offset
    FROM timed e LEFT JOIN deployment d ON d.id = e.deployment_id
    {clocks.joined("a", "d.time_zone", "e.start", "e.start_offset")}
    {clocks.joined("b", "d.time_zone", 'e."end"', "e.end_offset")}
), ordered AS (
    SELECT * REPLACE (CASE WHEN {_IN_ORDER} THEN "end" END AS "end",
        CASE WHEN {_IN_ORDER} THEN end_offset END AS end_offset) FROM placed
)
SELECT *, coalesce(strftime(start, '%A, ') || date_label(start, "end"), '') AS name,
    coalesce(date_label(start, "end"), '') AS date_label
FROM ordered ORDER BY start NULLS LAST, id
"""

_TAXON = r"""
CREATE TABLE taxon AS
SELECT id, name, upper(rank) AS rank,
    coalesce(from_json(parents_json, '[{"id":"BIGINT","name":"VARCHAR","rank":"VARCHAR"}]'), []) AS parents,
    common_name_en, gbif_taxon_key, inat_taxon_id, fieldguide_id, author, authorship_date, synonym_of_id
FROM main_taxon
"""

_GENUS = "×?[A-Z][a-zë-]+(?: [(][A-Z][a-zë-]+[)])?"  # also with its subgenus
_TAXA = """
SELECT id, CASE WHEN n.is_person THEN 'Homo sapiens' ELSE name END AS name, rank,
    n.is_taxon, n.is_person, n.scientific_name, n.scientific_rank, n.qualifier, {ranks},
    CASE WHEN n.scientific_rank = 'SPECIES' AND regexp_full_match(n.scientific_name, '{genus} [a-zë-]+')
        THEN regexp_extract(n.scientific_name, '[a-zë-]+$') END AS specific_epithet,
    CASE WHEN NOT n.is_person THEN common_name_en END AS common_name, gbif_taxon_key, inat_taxon_id, fieldguide_id,
    coalesce(nullif(rtrim(author, ')')
        || coalesce(', ' || nullif(regexp_extract(authorship_date, '[0-9]{{4}}'), ''), '')
        || CASE WHEN author LIKE '%)' THEN ')' ELSE '' END, ''), n.authorship) AS authorship,
    list_transform(parents, lambda p: p.id) AS ancestors, CAST(to_json(parents) AS VARCHAR) AS parents,
    (NOT EXISTS (FROM main_project_default_filters_include_taxa) OR list_has_any(lineage,
        (SELECT list(taxon_id) FROM main_project_default_filters_include_taxa)))
    AND NOT coalesce(list_has_any(lineage,
        (SELECT list(taxon_id) FROM main_project_default_filters_exclude_taxa)), false) AS shown_by_default
FROM (SELECT *, list_append(list_transform(parents, lambda p: p.id), id) AS lineage FROM taxon)
JOIN meaning n USING (id) ORDER BY id
"""

_PLACE = """
CREATE TABLE place AS
SELECT o.id, row_number() OVER (ORDER BY e.start NULLS LAST, o.event_id NULLS LAST, o.id) - 1 AS position,
    coalesce(o.deployment_id, e.deployment_id) AS deployment_id, d.time_zone AS zone,
    coalesce(d.sensitive, false) OR coalesce(e.sensitive, false) OR o.id IN (FROM sensitive_occurrence)
        OR o.id IN (SELECT occurrence_id FROM main_detection
            WHERE occurrence_id IS NOT NULL AND source_image_id IN (FROM hidden_image)) AS sensitive,
    o.id IN (FROM person_occurrence) AS person, o.event_id, o.determination_id, o.determination_score,
    o.individual_count, o.basis_of_record, o.created_at, o.updated_at, o.updated_at_offset
FROM main_occurrence o LEFT JOIN events e ON e.id = o.event_id
LEFT JOIN deployment d ON d.id = coalesce(o.deployment_id, e.deployment_id)
WHERE o.determination_id IS NOT NULL
AND o.id IN (SELECT DISTINCT occurrence_id FROM main_detection WHERE bbox IS NOT NULL AND occurrence_id IS NOT NULL)
"""

_IMAGES = """
CREATE TABLE image AS
SELECT * REPLACE (CASE WHEN NOT tells_place(url) THEN url END AS url) FROM (
    SELECT id, timestamp, timestamp_offset, width, height, public_url(joined(public_base_url, path)) AS url
    FROM main_sourceimage)
"""
_DETECTED = """
SELECT p.position, t.id, t.occurrence_id, t.source_image_id, t.detection_algorithm_id, t.bbox, t.path, t.timestamp,
    t.timestamp_offset, t.detection_score, s.score
FROM main_detection t JOIN place p ON p.id = t.occurrence_id
LEFT JOIN (
    SELECT detection_id, max(score) AS score FROM main_classification
    WHERE score IS NOT NULL AND detection_id BETWEEN {first} AND {last} GROUP BY detection_id
) s ON s.detection_id = t.id
WHERE t.bbox IS NOT NULL AND t.id BETWEEN {first} AND {last}
"""
_DETECTIONS = f"""
SELECT p.position, d.occurrence_id, d.id, d.source_image_id AS capture_id,
    {clocks.wall("z", "d.at", "d.minutes")} AS timestamp, {clocks.minutes("z", "d.minutes")} AS timestamp_offset,
    d.bbox, CASE WHEN len(d.box) = 4 THEN length_of(d.box[1], d.box[3]) END AS width,
    CASE WHEN len(d.box) = 4 THEN length_of(d.box[2], d.box[4]) END AS height,
    CASE WHEN NOT p.sensitive AND NOT d.person AND NOT tells_place(d.url) THEN public_url(d.url) END AS url,
    CASE WHEN NOT p.sensitive AND NOT d.person THEN d.image_url END AS capture_url,
    {clocks.wall("y", "d.taken", "d.taken_minutes")} AS capture_time,
    {clocks.minutes("y", "d.taken_minutes")} AS capture_offset,
    d.image_width AS capture_width, d.image_height AS capture_height,
    d.detection_score, d.detection_algorithm_id AS algorithm_id, d.score
FROM (
    SELECT t.* REPLACE (replace(t.bbox, ',', ', ') AS bbox), coalesce(t.timestamp, i.timestamp) AS at,
        CASE WHEN t.timestamp IS NULL THEN i.timestamp_offset ELSE t.timestamp_offset END AS minutes,
        i.timestamp AS taken, i.timestamp_offset AS taken_minutes,
        coalesce(joined({{media_url}}, t.path), nullif(t.path, '')) AS url, i.url AS image_url,
        i.width AS image_width, i.height AS image_height, w.id IS NOT NULL AS person,
        CASE WHEN json_valid(t.bbox) THEN from_json(t.bbox, '["DOUBLE"]') END AS box
    FROM (FROM {{runs}} WHERE position BETWEEN {{first}} AND {{last}}) t
    LEFT JOIN image i ON i.id = t.source_image_id LEFT JOIN person_image w ON w.id = t.source_image_id
) d
JOIN (FROM place WHERE position BETWEEN {{first}} AND {{last}}) p ON p.position = d.position
{clocks.joined("z", "p.zone", "d.at", "d.minutes")}
{clocks.joined("y", "p.zone", "d.taken", "d.taken_minutes")}
ORDER BY d.position, d.id
"""

_PREDICTED = """
SELECT d.position, c.detection_id, c.id, c.taxon_id, c.algorithm_id, c.applied_to_id, c.score, c.terminal,
    c.created_at, c.timestamp, c.timestamp_offset, c.created_at_offset AS created_offset
FROM main_classification c JOIN seat d ON d.id = c.detection_id
WHERE c.taxon_id IS NOT NULL AND c.id BETWEEN {first} AND {last}
"""
_PREDICTIONS = """
SELECT position, detection_id, id, taxon_id, algorithm_id, applied_to_id, score, terminal, created_at, timestamp
FROM {runs} WHERE position BETWEEN {first} AND {last} ORDER BY position, id
"""

_IDENTIFICATIONS = """
SELECT p.position, i.id, i.user_id, shown(u.name, i.user_id) AS user_name, i.taxon_id, i.withdrawn,
    CASE WHEN p.sensitive OR p.person OR tells_place(i.comment) THEN '' ELSE i.comment END AS comment,
    i.created_at, i.created_at_offset
FROM main_identification i JOIN place p ON p.id = i.occurrence_id LEFT JOIN users_user u ON u.id = i.user_id
ORDER BY position, i.created_at DESC NULLS LAST, i.id DESC
"""

_AGREED = """
CREATE TABLE agreed AS
SELECT i.id, a.name AS algorithm, shown(u.name, other.user_id) AS user_name FROM main_identification i
LEFT JOIN main_classification c ON c.id = i.agreed_with_prediction_id
LEFT JOIN ml_algorithm a ON a.id = c.algorithm_id
LEFT JOIN main_identification other ON other.id = i.agreed_with_identification_id
LEFT JOIN users_user u ON u.id = other.user_id
"""

_OCCURRENCES = """
WITH seen AS (
    SELECT position, count(*) AS detections_count, {earliest} AS earliest, {latest} AS latest,
        arg_max(id, (coalesce(score, -1), -id)) AS best
    FROM detections WHERE position BETWEEN {first} AND {last} GROUP BY position
), predicted AS (
    SELECT position, arg_max(struct_pack(id, taxon_id, algorithm_id, score,
        at := coalesce(timestamp, created_at), minutes := coalesce(timestamp_offset, created_offset)),
        (terminal, coalesce(score, -1), id)) AS best
    FROM {predicted} WHERE position BETWEEN {first} AND {last} GROUP BY position
), identified AS (
    SELECT position, count(DISTINCT user_id) AS participants,
        arg_max(struct_pack(id, user_name, at := created_at, minutes := created_at_offset),
            (coalesce(created_at, '0001-01-01'::TIMESTAMP), id)) AS best
    FROM identifications
    WHERE NOT withdrawn AND position BETWEEN {first} AND {last} GROUP BY position
)
SELECT o.position, o.id, o.event_id, e.name AS event_name, e.start AS event_start,
    o.deployment_id, d.name AS deployment_name, o.determination_id,
    t.name AS determination_name, o.determination_score, t.rank, t.is_taxon, t.is_person, t.scientific_name,
    t.scientific_rank, t.qualifier, {ranks}, t.specific_epithet,
    t.common_name, t.gbif_taxon_key, t.authorship, t.shown_by_default, identified.best IS NOT NULL AS verified,
    coalesce(identified.participants, 0) AS participant_count, identified.best.user_name AS verified_by,
    identified.best.id AS identification_id, agreed.algorithm AS agreed_with_algorithm,
    agreed.user_name AS agreed_with_user, predicted.best.id AS prediction_id,
    predicted.best.taxon_id AS prediction_taxon_id, pt.name AS prediction_name, a.name AS prediction_algorithm,
    predicted.best.score AS prediction_score,
    CASE WHEN identified.best IS NOT NULL THEN identified.best.user_name
        ELSE a.name || coalesce(' ' || nullif(coalesce(nullif(a.version_name, ''), CAST(a.version AS VARCHAR)), ''), '')
        END AS identified_by,
    CASE WHEN identified.best IS NOT NULL THEN identified.best.at ELSE predicted.best.at END AS identified_at,
    CASE WHEN identified.best IS NOT NULL THEN identified.best.minutes ELSE predicted.best.minutes END
        AS identified_offset,
    seen.detections_count, coalesce(o.individual_count, 1) AS individual_count,
    coalesce(o.basis_of_record, 'MachineObservation') AS basis_of_record,
    seen.earliest.at AS first_appearance, seen.earliest.minutes AS first_offset,
    seen.latest.at AS last_appearance, seen.latest.minutes AS last_offset,
    best.id AS detection_id, best.url AS detection_url, best.bbox AS detection_bbox, best.width AS detection_width,
    best.height AS detection_height, best.capture_url AS detection_capture_url, o.created_at, o.updated_at,
    o.updated_at_offset AS updated_offset
FROM (FROM detections WHERE position BETWEEN {first} AND {last}) best JOIN seen ON seen.best = best.id
JOIN (FROM place WHERE position BETWEEN {first} AND {last}) o ON o.position = seen.position
JOIN taxa t ON t.id = o.determination_id
LEFT JOIN predicted ON predicted.position = o.position
LEFT JOIN identified ON identified.position = o.position
LEFT JOIN agreed ON agreed.id = identified.best.id
LEFT JOIN taxa pt ON pt.id = predicted.best.taxon_id
LEFT JOIN ml_algorithm a ON a.id = predicted.best.algorithm_id
LEFT JOIN events e ON e.id = o.event_id
LEFT JOIN deployment d ON d.id = o.deployment_id
ORDER BY o.position
"""

_COLLECTION_OCCURRENCES = """
SELECT DISTINCT c.sourceimagecollection_id AS collection_id, d.position
FROM main_sourceimagecollection_images c JOIN detections d ON d.capture_id = c.sourceimage_id ORDER BY ALL
"""


def build_occurrences(work: Work) -> Report:
    """Make the tables of `schema` from those that `ingest` wrote.

    Raises:
        NotFoundError: the project was never ingested.
    """
    settings = work.settings
    arrived = [*(source.table for source in input_tables.SOURCES), input_tables.REJECTED]
    with open_tables(work.scratch, work.tables, arrived, public.public_view, _MACROS + public.MACROS) as database:
        database.execute(_TAXON)
        _understand_names(work, database)
        _find_sensitive(work, database)
        database.execute("CREATE TABLE person_taxon AS SELECT id FROM meaning WHERE is_person")
        database.execute(_EVERY + _SEEN.format(kind="person") + _SEEN.format(kind="sensitive"))
        database.execute(_STATIONS)
        make_tells_place(database)
        write_dataset(work, database, schema.BUILT)
        _find_zones(work, database)
        countries = list(settings.country_codes.items())
        table_of(database, "country", ("station", "code"), ("VARCHAR", "VARCHAR"), countries)

        def make(table: Table, query: str, keep_as: str | None = None, **parameters: Any) -> None:
            """Write a table; those that later queries need are kept in the database too."""
            name = sql.name(keep_as or table.name)
            database.execute(f"CREATE TABLE {name} AS {query}", parameters or None)
            columns = sql.names(table.schema.names)
            work.write(table, _batches(database, [f"SELECT {columns} FROM {name}"]))

        def sort(table: Table, source: str, run: str, merged: str, **parameters: str) -> str:
            """Write a large table in order: runs of rows by their ids, each sorted, then all of them range by range.

            Each is small enough for memory. Returns what later queries may read all columns of the runs from.
            """
            folder = work.scratch / f"runs-{table.name}"
            folder.mkdir()

            def sort_run(of: tuple[int, int]) -> None:
                with closing(duck.beside(database)) as one:
                    one.execute(
                        f"COPY ({run.format(first=of[0], last=of[1])} ORDER BY position)"
                        f" TO {duck.quoted(folder / f'{of[0]}.parquet')}"
                        f" (FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE {_RUN_GROUP})"
                    )

            with ThreadPoolExecutor(2) as both:  # one alone leaves a processor idle while it reads and writes
                list(both.map(sort_run, _ranges(database, source)))
            runs = f"read_parquet({duck.quoted(folder / '*.parquet')})"
            queries = (
                merged.format(runs=runs, first=first, last=last, **parameters) for first, last in _parts(database)
            )
            work.write(table, _batches(database, queries))
            return runs

        make(schema.DEPLOYMENTS, _DEPLOYMENTS, "deployment")
        make(schema.EVENTS, _EVENTS)
        make(
            schema.TAXA,
            _TAXA.format(
                genus=_GENUS, ranks=", ".join(f"{_at_rank(rank)} AS {sql.name(rank)}" for rank in schema.RANKS)
            ),
        )
        make(schema.ALGORITHMS, "SELECT * EXCLUDE (task_type) FROM ml_algorithm ORDER BY id")
        name_collections(database)
        make(schema.COLLECTIONS, "SELECT id, name FROM collection ORDER BY id")
        make(schema.MEMBERS, "SELECT user_id, lower(role) AS role FROM main_project_members ORDER BY ALL")
        database.execute(_PLACE)
        database.execute(_IMAGES)
        media_url = sql.literal(settings.media_url)
        detected = sort(schema.DETECTIONS, "main_detection", _DETECTED, _DETECTIONS, media_url=media_url)
        _see(database, schema.DETECTIONS, work.local(schema.DETECTIONS))
        database.execute(f"CREATE TABLE seat AS SELECT id, position::INTEGER AS position FROM {detected}")
        database.execute("DROP TABLE image")
        predicted = sort(schema.PREDICTIONS, "main_classification", _PREDICTED, _PREDICTIONS)
        make(schema.IDENTIFICATIONS, _IDENTIFICATIONS)
        make(schema.COLLECTION_OCCURRENCES, _COLLECTION_OCCURRENCES)
        named = ", ".join(f't."{rank}"' for rank in schema.RANKS)
        database.execute(_AGREED)
        # Joined as it is written: by its estimates DuckDB would keep the rows with all their texts in memory.
        database.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
        parts = (
            _OCCURRENCES.format(
                ranks=named,
                predicted=predicted,
                first=first,
                last=last,
                earliest=clocks.outermost("arg_min", "timestamp", "timestamp_offset"),
                latest=clocks.outermost("arg_max", "timestamp", "timestamp_offset"),
            )
            for first, last in _parts(database)
        )
        work.write(schema.OCCURRENCES_TABLE, _batches(database, parts))
        database.execute("RESET GLOBAL disabled_optimizers")
        _see(database, schema.OCCURRENCES_TABLE, work.local(schema.OCCURRENCES_TABLE))
        return _report(database)


def _parts(database: "duckdb.DuckDBPyConnection") -> Iterator[tuple[int, int]]:
    """First and last positions of what is put together at once."""
    count = database.execute("SELECT count(*) FROM place").fetchall()[0][0]
    for first in range(0, max(count, 1), _PART):
        yield first, first + _PART - 1


def _ranges(database: "duckdb.DuckDBPyConnection", table: str) -> list[tuple[int, int]]:
    """Ranges of ids of rows that are sorted at once: all of them would be more than memory holds."""
    found = database.execute(
        f"""SELECT id FROM (SELECT id, row_number() OVER () AS number FROM {table})
        WHERE number % {_RUN} = 0 ORDER BY 1"""
    ).fetchall()
    ends = [-(1 << 63), *(id_ + 1 for (id_,) in found), 1 << 63]
    return [(first, last - 1) for first, last in pairwise(ends)]


def _see(database: "duckdb.DuckDBPyConnection", table: Table, paths: Sequence[Path]) -> None:
    """Make a view of a table that was written."""
    files = ", ".join(sql.literal(str(path)) for path in paths)
    database.execute(f"CREATE VIEW {sql.name(table.name)} AS FROM read_parquet([{files}])")


def _batches(database: "duckdb.DuckDBPyConnection", queries: Iterable[str]) -> "Iterator[pa.RecordBatch]":
    """The rows of some queries, one after another."""
    for answer in in_turn(database, queries, _AT_ONCE):
        yield from answer


def _at_rank(rank: str) -> str:
    found = f"at_rank(parents, n.scientific_rank, n.scientific_name, '{rank.upper()}')"
    if rank != "genus":
        return found
    binomial = (  # the genus is its first word
        f"regexp_matches(n.scientific_name, '^{_GENUS} [a-z×]')"
        f" AND NOT regexp_matches(n.scientific_name, '{names.VIRUS}')"
    )
    return f"coalesce({found}, CASE WHEN {binomial} THEN split_part(n.scientific_name, ' ', 1) END)"


def _understand_names(work: Work, database: "duckdb.DuckDBPyConnection") -> None:
    """Make the table `meaning`: what each name says."""
    words = names.vocabulary(tuple(work.settings.not_taxa), tuple(work.settings.people))
    found = database.execute("SELECT id, name, rank, parents FROM taxon").fetchall()
    rows = []
    for id_, name, rank, parents in found:
        above = [(parent["name"], (parent["rank"] or "UNKNOWN").upper()) for parent in parents]
        said = names.understand(name, rank, above, words)
        rows.append((id_, said.is_taxon, said.person, said.scientific or None, said.rank, said.qualifier or None,
                     said.authorship or None))  # fmt: skip
    table_of(database, "meaning", ("id", "is_taxon", "is_person", "scientific_name", "scientific_rank", "qualifier",
                                    "authorship"),
              ("BIGINT", "BOOLEAN", "BOOLEAN", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"), rows)  # fmt: skip


def _find_sensitive(work: Work, database: "duckdb.DuckDBPyConnection") -> None:
    """Make the table `sensitive_taxon`: the taxa that the settings name, and all below them.

    Raises:
        InputError: one of them is no taxon of the project: nobody can know what was meant to be hidden.
    """
    wanted = work.settings.sensitive_taxa
    taxa = (
        (id_, name, key, accepted, [(parent["id"], parent["name"]) for parent in parents])
        for id_, name, key, accepted, parents in database.execute(
            "SELECT id, name, gbif_taxon_key, synonym_of_id, parents FROM taxon"
        ).fetchall()
    )
    meant = names.Meant(taxa if wanted else ())
    sensitive: set[int] = set()
    for one in wanted:
        found = meant.by(one)
        if not found:
            raise InputError(
                f"sensitive_taxa names {one!r}, which is no taxon of {work.partition}, neither by name, synonym nor "
                f"GBIF key: correct it, or set it for single projects (occurrences, projects, {work.partition})."
            )
        sensitive |= found
    table_of(database, "sensitive_taxon", ("id",), ("BIGINT",), [(id_,) for id_ in sorted(sensitive)])


def _find_zones(work: Work, database: "duckdb.DuckDBPyConnection") -> None:
    """Make `station_zone`: in which zone each station's clock is, by the data, the settings, or its coordinates."""
    rows = []
    for id_, named, latitude, longitude in database.execute(
        "SELECT id, time_zone, latitude, longitude FROM station"
    ).fetchall():
        if named and (zone := clock.zone_named(named)):
            rows.append((id_, zone, "data"))
        elif work.settings.time_zone:
            rows.append((id_, work.settings.time_zone, "settings"))
        elif latitude is not None and (found := clocks.zone_at(latitude, longitude)):
            rows.append((id_, found, "coordinates"))
    table_of(database, "station_zone", ("id", "zone", "of"), ("BIGINT", "VARCHAR", "VARCHAR"), rows)
    ((first, last),) = database.execute(
        """SELECT min(first), max(last) FROM (
            SELECT min(start) AS first, max(greatest(start, "end")) AS last FROM main_event
            UNION ALL SELECT min(timestamp), max(timestamp) FROM main_sourceimage
            UNION ALL SELECT min(timestamp), max(timestamp) FROM main_detection)"""
    ).fetchall()
    clocks.make_spans(database, [zone for _, zone, _ in rows], first, last)


def _report(database: "duckdb.DuckDBPyConnection") -> Report:
    def numbers(query: str) -> dict[str, int]:
        found = database.execute(query)
        return dict(zip([column[0] for column in found.description or ()], found.fetchall()[0], strict=True))

    counts = numbers(
        """SELECT count(*) AS occurrences, count(*) FILTER (verified) AS verified,
            count(DISTINCT event_id) AS events, count(DISTINCT deployment_id) AS stations,
            count(DISTINCT determination_id) AS taxa, coalesce(sum(detections_count), 0)::BIGINT AS detections,
            count(*) FILTER (event_id IS NULL) AS "occurrences without a session"
        FROM occurrences"""
    )
    counts |= numbers(
        """SELECT count(*) FILTER (latitude IS NULL) AS "stations without coordinates",
        (SELECT count(*) FROM main_occurrence) - (SELECT count(*) FROM place)
            AS "occurrences without a detection or a determination" FROM deployment"""
    )
    ranks = database.execute("SELECT lower(rank), count(*) FROM occurrences GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    counts |= {f"rank {rank}": count for rank, count in ranks}
    warnings = _about_times(database) + _about_addresses(database)
    if left_out := counts["occurrences without a detection or a determination"]:
        warnings.append(f"{left_out} occurrences have no detection or no determination: no export shows them.")
    if without := counts["occurrences without a session"]:
        warnings.append(f"{without} occurrences have no session: a Darwin Core Archive leaves them out.")
    preview = database.execute(
        f"""SELECT id, event_name AS session, deployment_name AS station, determination_name AS determination,
            determination_score AS score, verified, detections_count AS detections
        FROM occurrences ORDER BY position LIMIT {_PREVIEW}"""
    )
    names = [column[0] for column in preview.description or ()]
    rows = tuple(dict(zip(names, row, strict=True)) for row in preview.fetchall())
    return Report(counts, tuple(warnings), rows, season_plots(database))


def _about_times(database: "duckdb.DuckDBPyConnection") -> list[str]:
    """What is not certain about times."""
    lines = []
    found = database.execute(
        "SELECT zone, count(*) FROM station_zone WHERE of = 'coordinates' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
    ).fetchall()
    if found:
        shown = ", ".join(f"{zone} ({count})" for zone, count in found)
        lines.append(f"No time zone is given for some stations; that of their coordinates is taken: {shown}.")
    ((without, unclear, dateless),) = database.execute(
        """SELECT (SELECT count(*) FROM deployment WHERE time_zone IS NULL),
            (SELECT count(*) FROM detections d JOIN place USING (position)
                WHERE d.timestamp IS NOT NULL AND d.timestamp_offset IS NULL AND zone IS NOT NULL),
            (SELECT count(*) FROM occurrences o LEFT JOIN events e ON e.id = o.event_id
                WHERE o.event_id IS NOT NULL AND e.start IS NULL)"""
    ).fetchall()
    if without:
        lines.append(f"{without} stations have no time zone and no coordinates: their times have no offset from UTC.")
    if unclear:
        lines.append(
            f"{unclear} detections are in an hour that clocks go through twice or leave out: no offset is given."
        )
    if dateless:
        lines.append(f"{dateless} occurrences are of a session without a usable date: no archive can hold them.")
    return lines


def _about_addresses(database: "duckdb.DuckDBPyConnection") -> list[str]:
    """How many pictures cannot be shown to everybody, and why."""
    ((private, people, hidden),) = database.execute(
        """SELECT count(*) FILTER (NOT sensitive AND w.id IS NULL), count(*) FILTER (w.id IS NOT NULL),
            count(*) FILTER (sensitive AND w.id IS NULL)
        FROM (FROM detections WHERE url IS NULL OR capture_url IS NULL) d
        JOIN place USING (position) JOIN main_detection m ON m.id = d.id
        LEFT JOIN main_sourceimage i ON i.id = d.capture_id LEFT JOIN person_image w ON w.id = d.capture_id
        WHERE (m.path <> '' AND d.url IS NULL)
            OR (i.path <> '' AND i.public_base_url <> '' AND d.capture_url IS NULL)"""
    ).fetchall()
    why = {
        "their addresses are signed, lead to an internal host or name a hidden station": private,
        "people are on them": people,
        "their station is that of a sensitive taxon": hidden,
    }
    return [f"Pictures of {count} detections are not published: {reason}." for reason, count in why.items() if count]
