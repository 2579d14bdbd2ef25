"""Reading a Camera Trap Data Package 1.0 (https://camtrap-dp.tdwg.org), in a folder or in a zip.

Here: finding the package, its description, its three tables as they came. Not here: what they become (`camera_tables`).
"""

import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sheaf.errors import InputError
from sheaf.occurrences.readers.arrived import load
from sheaf.occurrences.readers.camera_tables import COLUMNS, CameraTables, document
from sheaf.outside.files import named, read_bytes, top_files
from sheaf.outside.table_files import LINE, TableFile, read_batches
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

DESCRIPTION = "datapackage.json"
_MOST_DESCRIPTION = 64 << 20
_MOST_TABLE = 16 << 30
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
    place = _unpacked(folder, work) if DESCRIPTION not in named(folder, [DESCRIPTION]) else folder
    if place is None:
        return None
    described = named(place, [DESCRIPTION])[DESCRIPTION]
    about = document(read_bytes(described, _MOST_DESCRIPTION), described)
    paths = {name: _path(about, name, place, described) for name in COLUMNS}
    for name, path in paths.items():
        read = read_batches(TableFile(path, name, work.rejects), COLUMNS[name])
        for column in _NEEDED[name]:
            if column not in read.schema.names:
                raise InputError(f"{path} has no column {column}, which Camtrap DP 1.0 asks for.")
        load(database, f"dp_{name}", read, path)
        database.execute(f"ALTER TABLE dp_{name} RENAME COLUMN {LINE} TO _at")
    delivered = CameraTables(paths, _project(about, project), described, _list(about, "taxonomic"))
    delivered.prepare(database, work.rejects)
    return delivered


def _path(about: Any, name: str, place: Path, described: Path) -> Path:
    """Where a table is."""
    resource = next((one for one in _list(about, "resources") if one.get("name") == name), None)
    if resource is None:
        raise InputError(f"{described} describes no resource {name}: it is no Camtrap DP.")
    path = resource.get("path")
    if not isinstance(path, str) or "/" in path or not path.lower().endswith(".csv"):
        raise InputError(f"{described}: the path of {name} is {path!r}; put the CSV beside it and name that.")
    there = named(place, [path])
    if path not in there:
        raise InputError(f"{described} names {path}, which is not there.")
    return there[path]


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
        "license": str(licence.get("name") or licence.get("title") or licence.get("path") or ""),
        "rights_holder": str(holder.get("title") or ""),
    }


def _unpacked(folder: Path, work: Work) -> Path | None:
    """A folder with the package of the only zip file of a folder; None where that is no package."""
    zips = [path for path in top_files(folder) if path.suffix.lower() == ".zip"]
    if not zips:
        return None
    if len(zips) > 1:
        raise InputError(f"{folder}: there are {zips[0].name} and {zips[1].name}: keep one package.")
    place = work.scratch / "package"
    place.mkdir()
    try:
        with zipfile.ZipFile(zips[0]) as archive:
            inside = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            description = min((name for name in inside if PurePosixPath(name).name == DESCRIPTION), key=len, default="")
            if not description:
                raise InputError(f"{zips[0]} holds no {DESCRIPTION}: it is no data package.")
            top = description.removesuffix(DESCRIPTION)
            for name, info in inside.items():
                own = name.removeprefix(top)
                if name.startswith(top) and "/" not in own and own.lower().endswith((".csv", ".json")):
                    if info.file_size > _MOST_TABLE:
                        raise InputError(f"{zips[0]}: {name} is larger than {_MOST_TABLE >> 30} GB: deliver a folder.")
                    with archive.open(info) as source, (place / PurePosixPath(own).name).open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{zips[0]} is no whole zip file ({error}): copy it again.") from error
    return place
