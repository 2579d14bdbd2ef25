"""Reading a Camera Trap Data Package 1.0 (https://camtrap-dp.tdwg.org).

Here: finding the package, its description, its three tables as they came. Not here: what they become (`camera_tables`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.errors import InputError
from sheaf.licences import recognise
from sheaf.occurrences.readers.camera_tables import COLUMNS, CameraTables, document
from sheaf.occurrences.readers.several_files import header, load_parts, parts
from sheaf.occurrences.readers.unpacked import gunzipped
from sheaf.outside.files import find, key_of, named, read_bytes
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

DESCRIPTION = "datapackage.json"
_TABLES = (".csv", ".csv.gz")
_MOST_DESCRIPTION = 64 << 20
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "deployments": ("deploymentID", "latitude", "longitude"),
    "media": ("mediaID", "deploymentID", "timestamp"),
    "observations": ("observationID", "deploymentID", "eventStart", "observationLevel", "observationType"),
}


def found(folder: Path, project: int, work: Work, database: "duckdb.DuckDBPyConnection") -> CameraTables | None:
    """The package that a folder holds; None where there is none.

    Raises:
        InputError: it cannot be read, or is no Camtrap DP 1.0.
    """
    described = named(folder, [DESCRIPTION]).get(DESCRIPTION)
    if described is None:
        return None
    about = document(read_bytes(described, _MOST_DESCRIPTION), described)
    paths = {name: _paths(about, name, folder, described, work) for name in COLUMNS}
    for name, of_table in paths.items():
        for path in of_table:
            there = header(path)
            for column in _NEEDED[name]:
                if there and key_of(column) not in there:
                    raise InputError(f"{path} has no column {column}, which Camtrap DP 1.0 asks for.")
        load_parts(database, f"dp_{name}", parts(name, of_table, work.rejects), COLUMNS[name])
    delivered = CameraTables(paths, _project(about, project), described, _list(about, "taxonomic"))
    delivered.prepare(database, work)
    return delivered


def _paths(about: Any, name: str, place: Path, described: Path, work: Work) -> Sequence[Path]:
    """The files of a table."""
    resource = next((one for one in _list(about, "resources") if one.get("name") == name), None)
    if resource is None:
        raise InputError(f"{described} describes no resource {name}: it is no Camtrap DP.")
    said = resource.get("path")
    found = []
    for path in said if isinstance(said, list) and said else [said]:
        if not isinstance(path, str) or "://" in path or not path.lower().endswith(_TABLES):
            raise InputError(f"{described}: the path of {name} is {path!r}; put the CSV beside it and name that.")
        there = find(place, path.replace("\\", "/").removeprefix("./")) or named(place, [path]).get(path)
        if there is None:
            raise InputError(f"{described} names {path}, which is not there.")
        found.append(gunzipped(there, work))
    return found


def _list(about: Any, key: str) -> list[dict[str, Any]]:
    values = about.get(key) if isinstance(about, dict) else None
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _project(about: dict[str, Any], project: int) -> dict[str, Any]:
    """What the package says about itself."""
    licence = next((one for one in _list(about, "licenses") if one.get("scope") in ("data", None)), {})
    holder = next((one for one in _list(about, "contributors") if one.get("role") == "rightsHolder"), {})
    of = about.get("project") if isinstance(about.get("project"), dict) else {}
    named_ = about.get("title") or (of or {}).get("title") or about.get("name") or f"p{project}"
    return {
        "id": project,
        "name": str(named_),
        "description": str(about.get("description") or ""),
        "license": recognise(*(str(licence.get(key) or "") for key in ("name", "path", "title"))),
        "rights_holder": str(holder.get("title") or ""),
    }
