"""Reading a download of Wildlife Insights: projects, deployments, images and sequences, found by their headers.

Here: which file is which, which rows are the project's, what a row of `images` says, or of `sequences` where a project
names what is on a whole sequence. Not here: what that becomes (`camera_tables`). Columns:
https://www.wildlifeinsights.org/get-started/download (data dictionary). `cameras` says nothing that is published.
Times are those of the camera's clock, names of `identified_by` those of people but for `Computer Vision`. Licences are
those of version 4.0, as the platform offers no other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf import sql
from sheaf.errors import InputError
from sheaf.licences import current
from sheaf.occurrences.readers.camera_tables import RANKS, CameraTables
from sheaf.occurrences.readers.several_files import header, load_parts, origin, parts
from sheaf.outside.files import top_files
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

_MARKS = {  # that no other table has, or no other format
    "projects": {"project_id", "project_name", "metadata_license"},
    "deployments": {"project_id", "deployment_id", "placename", "latitude", "longitude"},
    "images": {"deployment_id", "image_id", "timestamp"},
    "sequences": {"deployment_id", "sequence_id", "wi_taxon_id", "start_time"},
}
_NAMED = (
    *("is_blank", "identified_by", "class", "order", "family", "genus", "species", "common_name", "individual_id"),
    "cv_confidence",
)
_COLUMNS = {
    "projects": ("project_id", "project_name", "project_objectives", "metadata_license", "image_license"),
    "deployments": ("project_id", "deployment_id", "placename", "longitude", "latitude", "fuzzed"),
    "images": (
        *("project_id", "deployment_id", "image_id", "sequence_id", "location", "timestamp", "number_of_objects"),
        *("license", *_NAMED),
    ),
    "sequences": ("project_id", "deployment_id", "sequence_id", "start_time", "end_time", "group_size", *_NAMED),
}
_FUZZED = "fuzzed_coordinates", "Wildlife Insights blurred the place and does not say how far: kept without coordinates"

_MACROS = """
CREATE MACRO wi_word(text) AS CASE WHEN lower(trim(text)) IN ('', 'no cv result', 'unknown', 'na', 'n/a', 'none')
    THEN NULL ELSE trim(text) END;
CREATE MACRO wi_flag(text) AS coalesce(lower(trim(text)) IN ('1', '1.0', 'true', 'yes'), false);
"""
_TABLES = f"""
CREATE TABLE wi_named AS
SELECT deployment_id, image_id, image_id AS key, 'media' AS level, timestamp AS first, timestamp AS last,
    number_of_objects, {sql.names(_NAMED)}, _at
FROM wi_images WHERE $mine AND coalesce(sequence_id NOT IN (SELECT sequence_id FROM wi_sequences WHERE $mine
    AND sequence_id IS NOT NULL), true)
UNION ALL SELECT deployment_id, NULL, sequence_id, 'event', start_time, coalesce(end_time, start_time), group_size,
    {sql.names(_NAMED)}, _at FROM wi_sequences WHERE $mine;
CREATE TABLE dp_deployments AS SELECT deployment_id AS "deploymentID", NULL AS "locationID",
    coalesce(nullif(trim(placename), ''), deployment_id) AS "locationName",
    CASE WHEN NOT wi_flag(fuzzed) THEN latitude END AS latitude,
    CASE WHEN NOT wi_flag(fuzzed) THEN longitude END AS longitude,
    NULL::VARCHAR AS "coordinateUncertainty", NULL::VARCHAR AS "countryCode", _at FROM wi_deployments WHERE $mine;
CREATE TABLE wi_seen AS SELECT *, CASE WHEN wi_word(genus) IS NOT NULL AND wi_word(species) IS NOT NULL
        THEN CASE WHEN contains(trim(species), ' ') THEN trim(species) ELSE trim(genus) || ' ' || trim(species) END
        ELSE coalesce(wi_word(genus), wi_word(family), wi_word("order"), wi_word(class), wi_word(common_name))
        END AS name,
    CASE WHEN wi_word(identified_by) IS NULL OR lower(trim(identified_by)) IN ('computer vision', 'cv')
        THEN 'machine' ELSE 'human' END AS method
FROM wi_named;
CREATE TABLE dp_media AS SELECT image_id AS "mediaID", arg_min(deployment_id, _at) AS "deploymentID",
    arg_min(timestamp, _at) AS timestamp, arg_min(location, _at) AS "filePath",
    CASE WHEN arg_min(coalesce(license, ''), _at) IN $public THEN 'true' ELSE 'false' END AS "filePublic",
    min(_at) AS _at FROM wi_images WHERE $mine GROUP BY image_id;
CREATE TABLE dp_observations AS SELECT
    key || '#' || row_number() OVER (PARTITION BY key ORDER BY name, individual_id, _at) AS "observationID",
    deployment_id AS "deploymentID", image_id AS "mediaID", NULL::VARCHAR AS "eventID", first AS "eventStart",
    last AS "eventEnd", level AS "observationLevel",
    CASE WHEN lower(trim(genus)) = 'homo' OR lower(trim(common_name)) LIKE 'human%' THEN 'human'
        WHEN wi_flag(is_blank) OR lower(trim(common_name)) = 'blank' THEN 'blank'
        WHEN name IS NULL THEN 'unclassified' ELSE 'animal' END AS "observationType",
    name AS "scientificName", nullif(trim(number_of_objects), '0') AS "count",
    nullif(trim(individual_id), '') AS "individualID", NULL::VARCHAR AS "bboxX", NULL::VARCHAR AS "bboxY",
    NULL::VARCHAR AS "bboxWidth", NULL::VARCHAR AS "bboxHeight", method AS "classificationMethod",
    CASE WHEN method = 'machine' THEN 'Wildlife Insights' ELSE trim(identified_by) END AS "classifiedBy",
    NULL::VARCHAR AS "classificationTimestamp",
    CASE WHEN method <> 'machine' THEN NULL WHEN TRY_CAST(cv_confidence AS DOUBLE) > 1  -- a percentage
        THEN CAST(TRY_CAST(cv_confidence AS DOUBLE) / 100 AS VARCHAR) ELSE cv_confidence END
        AS "classificationProbability",
    NULL::VARCHAR AS "observationTags", NULL::VARCHAR AS "observationComments", _at
FROM wi_seen;
"""


def found(folder: Path, project: int, work: Work, database: "duckdb.DuckDBPyConnection") -> CameraTables | None:
    """The download that a folder holds; None where no file has the columns of its images.

    Raises:
        InputError: a table is missing, or cannot be read, or it is of several other projects.
    """
    paths = _paths(folder)
    if "images" not in paths:
        if "sequences" in paths:
            raise InputError(
                f"{folder} has sequences of Wildlife Insights, but no images.csv beside {paths['sequences'][0].name}:"
                " only images say what a sequence was seen on."
            )
        return None
    if "deployments" not in paths:
        raise InputError(
            f"{folder} has images of Wildlife Insights, but no deployments.csv beside {paths['images'][0].name}."
        )
    for name, of_table in paths.items():
        before = len(paths["images"]) if name == "sequences" else 0  # observations are of both
        load_parts(database, f"wi_{name}", parts(name, of_table, work.rejects), _COLUMNS[name], before)
    if "sequences" not in paths:
        columns = ", ".join(f"{sql.name(column)} VARCHAR" for column in _COLUMNS["sequences"])
        database.execute(f"CREATE TABLE wi_sequences ({columns}, _at BIGINT)")
    mine = _mine(database, paths, project)
    about = _about(database, mine) if "projects" in paths else {}
    licence = current(about.get("metadata_license") or "")
    public = _public(database, about.get("image_license") or "", licence)
    database.execute(_MACROS)
    database.execute(_TABLES.replace("$mine", mine).replace("$public", public))
    _account(database, paths, mine, work.rejects)
    described = paths.get("projects", paths["images"])
    said = {
        "id": project,
        "name": about.get("project_name") or f"p{project}",
        "description": about.get("project_objectives") or "",
        "license": licence,
        "rights_holder": "",
    }
    seen = [*paths["images"], *paths.get("sequences", ())]
    files = {"deployments": paths["deployments"], "media": paths["images"], "observations": seen}
    delivered = CameraTables(files, said, described[0], _taxa(database))
    delivered.prepare(database, work)
    return delivered


def _paths(folder: Path) -> dict[str, list[Path]]:
    """The files of each table that is there: large projects have several of images."""
    there: dict[str, list[Path]] = {}
    for path in top_files(folder):
        if path.suffix.lower() == ".csv":
            columns = header(path)
            for name, marks in _MARKS.items():
                if marks <= columns:
                    there.setdefault(name, []).append(path)
    return there


def _mine(database: "duckdb.DuckDBPyConnection", paths: Mapping[str, Sequence[Path]], project: int) -> str:
    """SQL of which rows are the project's: all of a download of one, those of its id of a download of several."""
    ids = [
        one
        for (one,) in database.execute(
            """SELECT DISTINCT project_id FROM (SELECT project_id FROM wi_images
            UNION ALL SELECT project_id FROM wi_deployments) WHERE project_id IS NOT NULL ORDER BY 1"""
        ).fetchall()
    ]
    if len(ids) < 2:
        return "true"
    if str(project) not in ids:
        raise InputError(
            f"{paths['images'][0]} is of the projects {', '.join(ids[:5])}: name the folder p and one of them."
        )
    return f"project_id IS NOT DISTINCT FROM '{project}'"


def _about(database: "duckdb.DuckDBPyConnection", mine: str) -> dict[str, Any]:
    rows = database.sql(f"SELECT * FROM wi_projects WHERE {mine} ORDER BY _at LIMIT 1").to_arrow_table().to_pylist()
    return rows[0] if rows else {}


def _public(database: "duckdb.DuckDBPyConnection", of_project: str, licence: str) -> str:
    """SQL of the licences with which images can be shown: that of the data, as nothing else is said of them."""
    texts = [text or "" for (text,) in database.execute("SELECT DISTINCT license FROM wi_images").fetchall()]
    shown = [text for text in texts if licence and current(text or of_project) == licence]
    return f"({', '.join(map(sql.literal, sorted(shown)))})" if shown else "(NULL)"


def _account(
    database: "duckdb.DuckDBPyConnection", paths: Mapping[str, Sequence[Path]], mine: str, rejects: Rejects
) -> None:
    for name in ("images", "sequences"):
        if name in paths:
            found = database.execute(f"SELECT count(*), count(*) FILTER ({mine}) FROM wi_{name}").fetchall()
            ((rows, own),) = found
            rejects.saw(name, rows)
            rejects.used(name, own)
            rejects.left_out(name, "another project", rows - own)
    fuzzed = f"SELECT _at, deployment_id FROM wi_deployments WHERE wi_flag(fuzzed) AND {mine} ORDER BY _at"
    for line, key in database.execute(fuzzed).fetchall():
        rejects.change("main_deployment", *_FUZZED, primary_key=key, **origin(paths["deployments"], line))


def _taxa(database: "duckdb.DuckDBPyConnection") -> Sequence[Mapping[str, Any]]:
    """What the rows say of their names: ancestors, and the rank that follows from which of them are given."""
    rows = database.execute(
        """SELECT name, min(wi_word(class)), min(wi_word("order")), min(wi_word(family)), min(wi_word(genus)),
            min(wi_word(species)), min(wi_word(common_name)) FROM wi_seen
        WHERE name IS NOT NULL AND coalesce(wi_word(class), wi_word(genus)) IS NOT NULL GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    taxa = []
    for name, class_, order, family, genus, species, common in rows:
        above = dict(zip(RANKS, ("Animalia", None, class_, order, family, genus), strict=True))
        rank = "species" if genus and species else next((of for of in reversed(RANKS) if above[of] == name), "")
        taxa.append({"scientificName": name, "taxonRank": rank, **above, "vernacularNames": {"eng": common}})
    return taxa
