"""Reading a CSV that iNaturalist exports (https://www.inaturalist.org/observations/export), found by its columns.

Here: which observations count, whose place, time and licence a row has. Not here: what that becomes (`camera_tables`).
A place with its accuracy is a station, a day there a session. Never read: private coordinates, descriptions, tags.
The file names no licence of its pictures, so that none is shown. Licences are those of version 4.0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.errors import InputError
from sheaf.licences import GBIF_LICENCES, current
from sheaf.occurrences.readers.camera_tables import RANKS, CameraTables
from sheaf.occurrences.readers.several_files import header, load_parts, parts
from sheaf.outside.files import top_files
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

_MARKS = {"id", "quality_grade", "scientific_name", "latitude", "longitude"}
_NAMED = tuple(f"taxon_{rank}_name" for rank in (*RANKS, "species"))
_COLUMNS = (
    *("id", "observed_on", "time_observed_at", "quality_grade", "license", "captive_cultivated", "place_guess"),
    *("latitude", "longitude", "positional_accuracy", "public_positional_accuracy", "coordinates_obscured"),
    *("scientific_name", "common_name", "taxon_id", *_NAMED),
)
_PROTOCOL = "incidental observation"
_DESCRIBED = (
    "People photograph or record organisms where they meet them, and others confirm on iNaturalist what they are."
)
_COMMUNITY = "iNaturalist community"
_STRICTEST_LAST = ("CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0")

# Obscured coordinates are somewhere within the same cell of 0.2 degrees as the true ones: at most its diagonal away.
_TABLES = f"""
CREATE MACRO inat_flag(text) AS coalesce(lower(trim(text)) IN ('true', 't', '1', 'yes'), false);
CREATE TABLE inat_used AS SELECT *,
    coalesce(nullif(concat_ws(' ', latitude, longitude, accuracy, trim(place_guess)), ''), 'unknown') AS station
FROM (SELECT *, coalesce(regexp_replace(trim(time_observed_at), ' ?UTC$', 'Z'), observed_on) AS seen_at,
    CASE WHEN NOT inat_flag(coordinates_obscured) THEN coalesce(public_positional_accuracy, positional_accuracy)
        ELSE coalesce(public_positional_accuracy, CAST(ceil(22264 * sqrt(1 + pow(cos(radians(
            TRY_CAST(latitude AS DOUBLE))), 2))) AS VARCHAR)) END AS accuracy
    FROM inat WHERE NOT inat_flag(captive_cultivated) AND lower(trim(quality_grade)) IN ('research', 'needs_id'));
CREATE TABLE dp_deployments AS SELECT station AS "deploymentID", NULL AS "locationID",
    trim(concat(min(trim(place_guess)), ' (' || min(latitude) || ', ' || min(longitude) || ')')) AS "locationName",
    min(latitude) AS latitude, min(longitude) AS longitude, min(accuracy) AS "coordinateUncertainty",
    NULL::VARCHAR AS "countryCode", min(_at) AS _at
FROM inat_used GROUP BY station;
CREATE TABLE dp_media AS SELECT 'observation-' || id AS "mediaID", station AS "deploymentID", seen_at AS timestamp,
    NULL::VARCHAR AS "filePath", 'false' AS "filePublic", _at FROM inat_used;
CREATE TABLE dp_observations AS SELECT id AS "observationID", station AS "deploymentID",
    'observation-' || id AS "mediaID", station || ' on ' || observed_on AS "eventID", seen_at AS "eventStart",
    seen_at AS "eventEnd", 'media' AS "observationLevel",
    CASE WHEN nullif(trim(scientific_name), '') IS NULL THEN 'unclassified'
        WHEN lower(trim(scientific_name)) LIKE 'homo %' OR lower(trim(scientific_name)) = 'homo' THEN 'human'
        ELSE 'animal' END AS "observationType",
    trim(scientific_name) AS "scientificName", NULL::VARCHAR AS "count", NULL::VARCHAR AS "individualID",
    NULL::VARCHAR AS "bboxX", NULL::VARCHAR AS "bboxY", NULL::VARCHAR AS "bboxWidth", NULL::VARCHAR AS "bboxHeight",
    CASE WHEN lower(trim(quality_grade)) = 'research' THEN 'human' END AS "classificationMethod",
    CASE WHEN lower(trim(quality_grade)) = 'research' THEN '{_COMMUNITY}' END AS "classifiedBy",
    NULL::VARCHAR AS "classificationTimestamp", NULL::VARCHAR AS "classificationProbability",
    NULL::VARCHAR AS "observationTags", NULL::VARCHAR AS "observationComments", _at
FROM inat_used;
"""


def found(folder: Path, project: int, work: Work, database: "duckdb.DuckDBPyConnection") -> CameraTables | None:
    """The exports that a folder holds, as one: large ones are asked for in parts; None where no CSV has their columns.

    Raises:
        InputError: one cannot be read, or says of no observation when it was.
    """
    paths = [path for path in top_files(folder) if path.suffix.lower() == ".csv" and header(path) >= _MARKS]
    if not paths:
        return None
    for path in paths:
        if not {"observed_on", "time_observed_at"} & header(path):
            raise InputError(f"{path} has no column observed_on: export it again, with the columns of Basic.")
    load_parts(database, "inat", parts("observations", paths, work.rejects), _COLUMNS)
    database.execute(_TABLES)
    _account(database, work.rejects)
    said = {
        "id": project,
        "name": f"p{project}",
        "description": "",
        "license": _licence(database),
        "rights_holder": "",
        "protocol": _PROTOCOL,
        "protocol_description": _DESCRIBED,
    }
    files = {"deployments": paths, "media": paths, "observations": paths}
    delivered = CameraTables(files, said, paths[0], _taxa(database), "HumanObservation")
    delivered.prepare(database, work)
    return delivered


def _account(database: "duckdb.DuckDBPyConnection", rejects: Rejects) -> None:
    ((rows, used, captive),) = database.execute(
        """SELECT count(*), (SELECT count(*) FROM inat_used), count(*) FILTER (inat_flag(captive_cultivated))
        FROM inat"""
    ).fetchall()
    rejects.saw("observations", rows - used)
    rejects.left_out("observations", "captive or cultivated", captive)
    rejects.left_out("observations", "neither of research grade nor to be identified", rows - used - captive)


def _licence(database: "duckdb.DuckDBPyConnection") -> str:
    """The strictest licence of the observations; where one has none that GBIF takes, what they have."""
    texts = [text or "" for (text,) in database.execute("SELECT DISTINCT license FROM inat_used ORDER BY 1").fetchall()]
    names = {current(text) for text in texts}
    if names and names <= GBIF_LICENCES.keys():
        return max(names, key=_STRICTEST_LAST.index)
    return ", ".join(sorted(text or "all rights reserved" for text in texts))


def _taxa(database: "duckdb.DuckDBPyConnection") -> Sequence[Mapping[str, Any]]:
    """What the rows say of their names; the rank is that of the column in which the name stands as well."""
    columns = ", ".join(f"min({column})" for column in _NAMED)
    rows = database.execute(
        f"""SELECT trim(scientific_name), min(common_name), min(taxon_id), {columns} FROM inat_used
        WHERE nullif(trim(scientific_name), '') IS NOT NULL GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    taxa = []
    for name, common, key, *named in rows:
        above = dict(zip((*RANKS, "species"), named, strict=True))
        rank = next((of for of in above if above[of] == name), "")
        taxa.append({"scientificName": name, "taxonRank": rank, **above, "vernacularNames": {"eng": common},
                     "inaturalist": key})  # fmt: skip
    return taxa
