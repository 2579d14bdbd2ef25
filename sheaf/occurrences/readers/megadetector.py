"""Reading what MegaDetector found (its batch output, format 1.0 to 1.5), with a CSV of the deployments beside it.

Here: finding the two files, which detections count, whose time and place an image has. Not here: what that becomes
(`camera_tables`). Format: https://github.com/agentmorris/MegaDetector/blob/main/megadetector/api/batch_processing/README.md
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf.errors import InputError
from sheaf.occurrences.readers.camera_tables import COLUMNS, CameraTables, document
from sheaf.occurrences.readers.several_files import at, header, load_parts, parts
from sheaf.outside.files import key_of, named, read_bytes, top_files
from sheaf.tables.rejects import Rejects
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

_DEPLOYMENTS = "deployments.csv"
_MOST = 2 << 30
_THRESHOLD = 0.2  # what MegaDetector 5 calls typical; the file may say another one
_PARTS = 7  # of a label of SpeciesNet
_PERSON_FROM = 0.1  # a person that was missed is shown to everybody, an empty image that is withheld harms nobody
_KINDS = {"animal": "animal", "person": "human", "human": "human", "vehicle": "vehicle"}
_Images = list[tuple[int, Any]]
_EXIF_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d:\d\d:\d\d.*)")


def found(folder: Path, project: int, work: Work, database: "duckdb.DuckDBPyConnection") -> CameraTables | None:
    """What a folder holds of MegaDetector; None where it holds no `deployments.csv` with a JSON.

    Raises:
        InputError: one of the two cannot be read, or is something else.
    """
    deployments = named(folder, [_DEPLOYMENTS]).get(_DEPLOYMENTS)
    documents = [path for path in top_files(folder) if path.suffix.lower() == ".json"]
    if deployments is None or not documents:
        return None
    if (there := header(deployments)) and key_of("deploymentID") not in there:
        raise InputError(f"{deployments} has no column deploymentID, the folder that its images are in.")
    load_parts(database, "dp_deployments", parts("deployments", [deployments], work.rejects), COLUMNS["deployments"])
    found = database.execute("SELECT deploymentID FROM dp_deployments WHERE deploymentID IS NOT NULL").fetchall()
    stations = [one for (one,) in found]
    before: dict[str, tuple[str, Any]] = {}
    media, observations, names = [], [], set()
    for part, path in enumerate(documents):
        said = document(read_bytes(path, _MOST), path)
        if not isinstance(said, dict) or not isinstance(said.get("images"), list):
            raise InputError(f"{path} has no list of images: it is no output of MegaDetector.")
        images = list(enumerate(said["images"], 1))
        if len(documents) > 1:
            images = _new(images, path, before, work.rejects)
        more_media, more_observations = _rows(said, images, part, path, stations, work.rejects)
        media += more_media
        observations += more_observations
        names |= set(_labels(said).values())
    work.rejects.used("images", len(media))
    for name, rows in (("media", media), ("observations", observations)):
        schema = pa.schema([*(pa.field(column, pa.string()) for column in COLUMNS[name]), pa.field("_at", pa.int64())])
        database.register("given", pa.Table.from_pylist(rows, schema))
        database.execute(f"CREATE TABLE dp_{name} AS FROM given")
        database.unregister("given")
    paths = {"deployments": [deployments], "media": documents, "observations": documents}
    taxa = [taxon for label in sorted(names) if (taxon := _taxon(label))]
    delivered = CameraTables(paths, {"id": project, "name": f"p{project}"}, documents[0], taxa)
    delivered.prepare(database, work)
    return delivered


def _new(images: _Images, path: Path, before: dict[str, tuple[str, Any]], rejects: Rejects) -> _Images:
    """The images of one of several results, without those of which one before has said the same.

    Args:
        before: which result has an image, and what it says of it; gets those of this one.
    """
    found, repeated = [], Counter[str]()
    for number, image in images:
        file = str(_object(image).get("file") or "")
        first, same = before.setdefault(file, (path.name, image)) if file else (path.name, image)
        if first == path.name:
            found.append((number, image))
        elif same == image:
            repeated[first] += 1
        else:
            found.append((number, {"file": file, "elsewhere": first}))
    for first, rows in repeated.items():
        rejects.left_out(path.name, f"also in {first}", rows)
    rejects.saw(path.name, len(images))
    rejects.used(path.name, len(found))
    return found


def _rows(
    said: Mapping[str, Any], images: _Images, part: int, path: Path, stations: Sequence[str], rejects: Rejects
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Media and observations of one result; the line of an image is its number in the list."""
    about = _object(said.get("info"))
    typical = _object(about.get("detector_metadata")).get("typical_detection_threshold")
    threshold = typical if isinstance(typical, int | float) else _THRESHOLD
    detector = str(about.get("detector") or "MegaDetector")
    classifier = str(about.get("classifier") or detector)
    kinds, labels = _object(said.get("detection_categories")), _labels(said)
    media, observations, uncertain = [], [], 0
    rejects.saw("images", len(images))
    for number, image in images:
        file = _object(image).get("file")
        station = _station(str(file), stations)
        seen_on_it = _object(image).get("detections") or []
        elsewhere = _object(image).get("elsewhere")
        if not file or station is None or elsewhere or image.get("failure") or not _are_detections(seen_on_it):
            code, reason = (
                ("repeated_key", f"{elsewhere} has it too, and says something else of it: keep one of them")
                if elsewhere else
                ("failed", f"MegaDetector could not use it: {image.get('failure') or 'its detections are none'}")
                if file and station else
                ("no_deployment", "Its path has no folder that is a deploymentID of deployments.csv") if file else
                ("no_file", "It names no file")
            )  # fmt: skip
            rejects.add("images", code, reason, file=path.name, line=number, raw=image)
            continue
        taken, place = _time(image), {"deploymentID": station, "mediaID": file, "_at": at(part, number)}
        media.append({**place, "timestamp": taken, "filePublic": "false"})
        seen = {**place, "eventStart": taken, "eventEnd": taken, "observationLevel": "media"}
        kept = 0
        for index, one in enumerate(seen_on_it):
            score, kind = one.get("conf"), _KINDS.get(str(kinds.get(str(one.get("category")), "")).lower(), "unknown")
            if not isinstance(score, int | float) or score < (_PERSON_FROM if kind == "human" else threshold):
                uncertain += 1
                continue
            kept += 1
            box = one.get("bbox") or []
            label, of_label = _label(one.get("classifications"), labels)
            observations.append({
                **seen, "observationID": f"{file}#{index}", "observationType": kind,
                "scientificName": label if kind == "animal" else None, "classificationMethod": "machine",
                "classifiedBy": classifier if label else detector,
                "classificationProbability": str(of_label if label else score),
                **(dict(zip(("bboxX", "bboxY", "bboxWidth", "bboxHeight"), map(str, box), strict=True))
                   if len(box) == 4 else {}),
            })  # fmt: skip
        if not kept:
            observations.append({**seen, "observationID": file, "observationType": "blank"})
    rejects.saw("detections", uncertain)
    rejects.left_out("detections", f"a score below {threshold:g} (people: {_PERSON_FROM:g})", uncertain)
    return media, observations


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _are_detections(found: Any) -> bool:
    """Whether detections have the form that the format gives them."""
    return isinstance(found, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("bbox") or [], list)
        and isinstance(one.get("classifications") or [], list)
        and all(isinstance(of, list) and len(of) == 2 and isinstance(of[1], int | float)
                for of in one.get("classifications") or [])
        for one in found
    )  # fmt: skip


def _station(file: str, stations: Sequence[str]) -> str | None:
    """The deployment whose folder an image is in; the innermost one, or the only one."""
    path = "/" + file.replace("\\", "/")
    ends = {one: path.rfind(f"/{_folder(one)}/") + len(_folder(one)) for one in stations if f"/{_folder(one)}/" in path}
    return max(ends, key=lambda one: (ends[one], len(one))) if ends else stations[0] if len(stations) == 1 else None


def _folder(station: str) -> str:
    return station.replace("\\", "/").strip("/")


def _time(image: Mapping[str, Any]) -> str | None:
    exif = image.get("exif_metadata")
    if isinstance(exif, list):
        exif = {str(pair[0]): pair[1] for pair in exif if isinstance(pair, list) and len(pair) == 2}
    tags = _object(exif)
    taken = image.get("datetime") or tags.get("DateTimeOriginal") or tags.get("DateTime")
    matched = _EXIF_TIME.fullmatch(str(taken).strip()) if taken else None
    return f"{matched[1]}-{matched[2]}-{matched[3]}T{matched[4]}" if matched else str(taken) if taken else None


def _labels(said: Mapping[str, Any]) -> Mapping[str, str]:
    """What each class is called, by the description that is a taxon where there is one."""
    names, described = (_object(said.get(f"classification_{of}")) for of in ("categories", "category_descriptions"))
    return {key: str(described[key] if _taxon(str(described.get(key))) else name) for key, name in names.items()}


def _label(said: Any, labels: Mapping[str, Any]) -> tuple[str | None, float]:
    """The best classification, as a name."""
    best = max(said or [], key=lambda one: one[1], default=None)
    if best is None:
        return None, 0.0
    label = str(labels.get(str(best[0]), best[0]))
    if taxon := _taxon(label):
        return taxon["scientificName"], best[1]
    parts = label.split(";")
    return (label if len(parts) != _PARTS else parts[-1].strip() or None), best[1]


def _taxon(label: str) -> dict[str, Any] | None:
    """What SpeciesNet says in `id;class;order;family;genus;species;common name`; None where that names no taxon."""
    parts = [part.strip() for part in label.split(";")]
    if len(parts) != _PARTS or not any(parts[1:5]):
        return None
    *_, species, common = parts
    ranks = ("class", "order", "family", "genus")
    above: dict[str, str] = dict(zip(ranks, (part.capitalize() for part in parts[1:5]), strict=True))
    rank = next(of for of in reversed(above) if above[of])
    name = f"{above['genus']} {species}" if above["genus"] and species else above[rank]
    return {
        "scientificName": name,
        "taxonRank": "species" if name != above[rank] else rank,
        "kingdom": "Animalia",
        **{of: value or None for of, value in above.items()},
        "vernacularNames": {"eng": common or None},
    }
