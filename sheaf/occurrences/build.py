"""From a project's checked tables to its occurrences and all that hangs on them.

Here: which detection, prediction and identification is the best, names, ancestry, order. Scores that
are missing never win: nulls come last everywhere. Not here: what an export shows of it.
"""

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from sheaf import tables
from sheaf.occurrences import schema, source_tables
from sheaf.occurrences.licence import recognise
from sheaf.occurrences.season import season_plots
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.occurrences.work import open_tables, write_query
from sheaf.report import Report
from sheaf.store import Store
from sheaf.tables import Table, TableVersion

if TYPE_CHECKING:
    import duckdb

_PREVIEW = 20

# A relative path is resolved as browsers do it: what follows the last slash of the base is replaced.
_MACROS = r"""
CREATE MACRO joined(base, path) AS CASE
    WHEN regexp_matches(path, '^[A-Za-z][A-Za-z0-9+.-]*://') THEN path
    WHEN base IS NULL OR base = '' THEN NULL
    WHEN regexp_matches(base, '^[^/]+://[^/]*$') THEN base || '/' || ltrim(path, '/')
    ELSE regexp_replace(base, '[^/]*$', '') || ltrim(path, '/') END;
CREATE MACRO date_label(first, last) AS strftime(first, '%b ') || day(first)
    || CASE WHEN last::DATE <> first::DATE THEN '-' || day(last) ELSE '' END || ' ' || year(first);
CREATE MACRO shown(name, id) AS coalesce(nullif(trim(name), ''), 'user:' || id);
CREATE MACRO at_rank(parents, own_rank, own_name, wanted) AS coalesce(
    list_filter(parents, lambda p: upper(p.rank) = wanted)[1].name,
    CASE WHEN upper(own_rank) = wanted THEN own_name END);
"""

_DEPLOYMENTS = """
SELECT d.id, d.name, d.latitude, d.longitude, d.id IN (
    SELECT coalesce(o.deployment_id, e.deployment_id) FROM main_occurrence o
    LEFT JOIN main_event e ON e.id = o.event_id
    JOIN taxon t ON t.id = o.determination_id
    WHERE list_has_any(list_append(list_transform(t.parents, lambda p: p.name), t.name), $sensitive::VARCHAR[])
) AS sensitive
FROM (
    SELECT id, name, CASE WHEN latitude <> 0 OR longitude <> 0 THEN latitude END AS latitude,
        CASE WHEN latitude <> 0 OR longitude <> 0 THEN longitude END AS longitude
    FROM main_deployment
) d ORDER BY d.id
"""

_EVENTS = """
SELECT e.id, e.deployment_id, d.name AS deployment_name, d.latitude, d.longitude,
    coalesce(d.sensitive, false) AS sensitive, e.start, e."end",
    greatest(coalesce(e.captures_count, 0), 0) AS captures_count,
    strftime(e.start, '%A, ') || date_label(e.start, e."end") AS name,
    date_label(e.start, e."end") AS date_label, e.updated_at
FROM main_event e LEFT JOIN deployment d ON d.id = e.deployment_id
ORDER BY e.start, e.id
"""

_TAXON = r"""
CREATE TABLE taxon AS
SELECT id, name, upper(rank) AS rank,
    coalesce(from_json(parents_json, '[{"id":"BIGINT","name":"VARCHAR","rank":"VARCHAR"}]'), []) AS parents,
    NOT regexp_matches(lower(name), '^(not|non|no|unknown|unidentified|unclassified)\b') AS is_taxon,
    common_name_en, gbif_taxon_key, inat_taxon_id, fieldguide_id, author, authorship_date
FROM main_taxon
"""

_TAXA = """
SELECT id, name, rank, is_taxon, {ranks},
    CASE WHEN rank = 'SPECIES' AND is_taxon AND regexp_full_match(name, '[A-Z][a-zë-]+ [a-zë-]+')
        THEN split_part(name, ' ', 2) END AS specific_epithet,
    common_name_en AS common_name, gbif_taxon_key, inat_taxon_id, fieldguide_id,
    author || coalesce(', ' || nullif(regexp_extract(authorship_date, '[0-9]{{4}}'), ''), '') AS authorship,
    list_transform(parents, lambda p: p.id) AS ancestors, CAST(to_json(parents) AS VARCHAR) AS parents,
    (NOT EXISTS (FROM main_project_default_filters_include_taxa) OR list_has_any(lineage,
        (SELECT list(taxon_id) FROM main_project_default_filters_include_taxa)))
    AND NOT coalesce(list_has_any(lineage,
        (SELECT list(taxon_id) FROM main_project_default_filters_exclude_taxa)), false) AS shown_by_default
FROM (SELECT *, list_append(list_transform(parents, lambda p: p.id), id) AS lineage FROM taxon) ORDER BY id
"""

_PLACE = """
CREATE TABLE place AS
SELECT o.id, row_number() OVER (ORDER BY e.start NULLS LAST, o.event_id NULLS LAST, o.id) - 1 AS position
FROM main_occurrence o LEFT JOIN main_event e ON e.id = o.event_id
WHERE o.determination_id IS NOT NULL
AND o.id IN (SELECT occurrence_id FROM main_detection WHERE bbox IS NOT NULL AND occurrence_id IS NOT NULL)
"""

_DETECTIONS = """
SELECT p.position, d.occurrence_id, d.id, d.source_image_id AS capture_id,
    coalesce(d.timestamp, i.timestamp) AS timestamp, d.bbox, abs(d.box[3] - d.box[1]) AS width,
    abs(d.box[4] - d.box[2]) AS height, coalesce(joined($media_url, d.path), nullif(d.path, '')) AS url,
    joined(i.public_base_url, i.path) AS capture_url, i.timestamp AS capture_time, d.detection_score,
    d.detection_algorithm_id AS algorithm_id, s.score
FROM (
    SELECT * REPLACE (replace(bbox, ',', ', ') AS bbox),
        CASE WHEN json_valid(bbox) THEN CASE WHEN json_type(bbox) = 'ARRAY' AND json_array_length(bbox) = 4
            THEN from_json(bbox, '["DOUBLE"]') END END AS box
    FROM main_detection WHERE bbox IS NOT NULL
) d
JOIN place p ON p.id = d.occurrence_id
LEFT JOIN main_sourceimage i ON i.id = d.source_image_id
LEFT JOIN (SELECT detection_id, max(score) AS score FROM main_classification GROUP BY detection_id) s
    ON s.detection_id = d.id
ORDER BY p.position, d.id
"""

_PREDICTIONS = """
SELECT d.position, c.detection_id, c.id, c.taxon_id, c.algorithm_id, c.applied_to_id, c.score, c.terminal,
    c.created_at, c.timestamp
FROM main_classification c JOIN detections d ON d.id = c.detection_id
WHERE c.taxon_id IS NOT NULL ORDER BY d.position, c.id
"""

_IDENTIFICATIONS = """
SELECT p.position, i.id, i.user_id, shown(u.name, i.user_id) AS user_name, i.taxon_id, i.withdrawn, i.comment,
    i.created_at
FROM main_identification i JOIN place p ON p.id = i.occurrence_id LEFT JOIN users_user u ON u.id = i.user_id
ORDER BY p.position, i.created_at DESC NULLS LAST, i.id DESC
"""

_OCCURRENCES = """
WITH seen AS (
    SELECT position, count(*) AS detections_count, min(timestamp) AS first_appearance,
        max(timestamp) AS last_appearance,
        arg_max(struct_pack(id, url, bbox, width, height, capture_url), (coalesce(score, -1), -id)) AS best
    FROM detections GROUP BY position
), predicted AS (
    SELECT position, arg_max(struct_pack(id, taxon_id, algorithm_id, score, at := coalesce(timestamp, created_at)),
        (terminal, coalesce(score, -1), id)) AS best
    FROM predictions GROUP BY position
), identified AS (
    SELECT position, count(DISTINCT user_id) AS participants,
        arg_max(struct_pack(id, user_name, at := created_at),
            (coalesce(created_at, '0001-01-01'::TIMESTAMP), id)) AS best
    FROM identifications WHERE NOT withdrawn GROUP BY position
), agreed AS (
    SELECT i.id, a.name AS algorithm, shown(u.name, other.user_id) AS user_name FROM main_identification i
    LEFT JOIN main_classification c ON c.id = i.agreed_with_prediction_id
    LEFT JOIN ml_algorithm a ON a.id = c.algorithm_id
    LEFT JOIN main_identification other ON other.id = i.agreed_with_identification_id
    LEFT JOIN users_user u ON u.id = other.user_id
)
SELECT p.position, o.id, o.event_id, e.name AS event_name, e.start AS event_start,
    coalesce(o.deployment_id, e.deployment_id) AS deployment_id, d.name AS deployment_name, o.determination_id,
    t.name AS determination_name, o.determination_score, t.rank, t.is_taxon, {ranks}, t.specific_epithet,
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
    seen.detections_count, seen.first_appearance, seen.last_appearance, seen.best.id AS detection_id,
    seen.best.url AS detection_url, seen.best.bbox AS detection_bbox, seen.best.width AS detection_width,
    seen.best.height AS detection_height, seen.best.capture_url AS detection_capture_url, o.created_at, o.updated_at
FROM main_occurrence o JOIN place p ON p.id = o.id JOIN taxa t ON t.id = o.determination_id
JOIN seen ON seen.position = p.position
LEFT JOIN predicted ON predicted.position = p.position
LEFT JOIN identified ON identified.position = p.position
LEFT JOIN agreed ON agreed.id = identified.best.id
LEFT JOIN taxa pt ON pt.id = predicted.best.taxon_id
LEFT JOIN ml_algorithm a ON a.id = predicted.best.algorithm_id
LEFT JOIN events e ON e.id = o.event_id
LEFT JOIN deployment d ON d.id = coalesce(o.deployment_id, e.deployment_id)
ORDER BY p.position
"""

_COLLECTION_OCCURRENCES = """
SELECT DISTINCT c.sourceimagecollection_id AS collection_id, d.position
FROM main_sourceimagecollection_images c JOIN detections d ON d.capture_id = c.sourceimage_id ORDER BY ALL
"""


def build_occurrences(store: Store, project: str, settings: OccurrencesSettings) -> Report:
    """Make the tables of `schema` from those that `ingest` wrote.

    Raises:
        NotFoundError: the project was never ingested.
    """
    with open_tables(store, project, [source.table for source in source_tables.SOURCES]) as database:
        database.execute(_MACROS)
        database.execute(_TAXON)
        written = [_write_dataset(store, database, project, settings)]

        def make(table: Table, query: str, keep_as: str | None = None, **parameters: Any) -> None:
            """Write a table; those that later queries need are kept in the database too."""
            name = keep_as or table.name
            database.execute(f'CREATE TABLE "{name}" AS {query}', parameters or None)
            columns = ", ".join(f'"{column}"' for column in table.schema.names)
            written.append(write_query(store, table, project, database, f'SELECT {columns} FROM "{name}"'))

        ranks = ", ".join(f"at_rank(parents, rank, name, '{rank.upper()}') AS \"{rank}\"" for rank in schema.RANKS)
        make(schema.DEPLOYMENTS, _DEPLOYMENTS, "deployment", sensitive=list(settings.sensitive_taxa))
        make(schema.EVENTS, _EVENTS)
        make(schema.TAXA, _TAXA.format(ranks=ranks))
        make(schema.ALGORITHMS, "SELECT * EXCLUDE (task_type) FROM ml_algorithm ORDER BY id")
        make(schema.COLLECTIONS, "SELECT id, name FROM main_sourceimagecollection ORDER BY id")
        make(schema.MEMBERS, "SELECT user_id, lower(role) AS role FROM main_project_members ORDER BY ALL")
        database.execute(_PLACE)
        make(schema.DETECTIONS, _DETECTIONS, media_url=settings.media_url)
        make(schema.PREDICTIONS, _PREDICTIONS)
        make(schema.IDENTIFICATIONS, _IDENTIFICATIONS)
        make(schema.COLLECTION_OCCURRENCES, _COLLECTION_OCCURRENCES)
        named = ", ".join(f't."{rank}"' for rank in schema.RANKS)
        make(schema.OCCURRENCES_TABLE, _OCCURRENCES.format(ranks=named))
        return _report(database, sorted(written, key=_as_declared))


def slug_of(name: str, project: str) -> str:
    """A project's name in file names and identifiers: lower-case ASCII letters and digits, the rest `-`.

    Example:
        >>> slug_of("Vermont – Été 2024", "p7")
        'vermont-ete-2024'
        >>> slug_of("東京", "p7")
        'p7'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or project


def _write_dataset(
    store: Store, database: "duckdb.DuckDBPyConnection", project: str, settings: OccurrencesSettings
) -> TableVersion:
    found = database.execute(
        """SELECT p.id, p.name, p.description, p.draft, p.default_filters_score_threshold, p.license,
            p.rights_holder, coalesce(u.name, '')
        FROM main_project p LEFT JOIN users_user u ON u.id = p.owner_id WHERE p.id = ?""",
        [int(project[1:])],
    ).fetchall()
    id_, name, description, draft, threshold, licence, rights_holder, owner = found[0]
    row = {
        "project_id": id_,
        "name": name,
        "description": description,
        "slug": _frozen_slug(store, project) or slug_of(name, project),
        "draft": draft,
        "score_threshold": threshold,
        "licence": recognise(licence or settings.licence),
        "rights_holder": rights_holder or settings.rights_holder,
        "publisher": settings.publisher or name,
        "owner": owner,
        "contact_name": settings.contact_name or owner,
        "contact_email": settings.contact_email,
        "api_url": settings.api_url.rstrip("/"),
        "country_code": settings.country_code,
        "coordinate_uncertainty": settings.coordinate_uncertainty_m,
        "target_taxon": _target_taxon(database),
        "cell": settings.sensitive_cell_degrees,
    }
    return tables.write(store, schema.DATASET, project, tables.from_rows(schema.DATASET, [row]))


def _target_taxon(database: "duckdb.DuckDBPyConnection") -> str:
    """The lowest taxon that is, or is above, every taxon that the default filters include."""
    lineages = database.execute(
        """SELECT list_append(list_transform(parents, lambda p: p.name), name)
        FROM taxon WHERE id IN (SELECT taxon_id FROM main_project_default_filters_include_taxa) ORDER BY id"""
    ).fetchall()
    shared = [names for names in zip(*(lineage for (lineage,) in lineages), strict=False) if len(set(names)) == 1]
    return shared[-1][0] if shared else ""


def _frozen_slug(store: Store, project: str) -> str | None:
    """The slug that published identifiers contain: from the first export on it stays as it is."""
    if not store.folders(f"exports/occurrences/{project}") or store.size(schema.DATASET.path(project)) is None:
        return None
    return tables.read(store, schema.DATASET, project, ["slug"])["slug"][0].as_py()


def _as_declared(version: TableVersion) -> int:
    return [table.name for table in schema.DERIVED].index(version.table)


def _report(database: "duckdb.DuckDBPyConnection", written: list[TableVersion]) -> Report:
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
    warnings = []
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
    return Report(tuple(written), counts, warnings=tuple(warnings), preview=rows, plots=season_plots(database))
