"""Reading a project from version 2 of Antenna's API into an inbox folder.

Here: paging, what a page lost or gave twice, one object into rows of tables. Not here: checking the rows
(`ingest`). Every occurrence is asked for by itself, since only so its detections and predictions come
with it: for large projects the database (`postgres`) is the better source. The API does not tell which
images are in a capture set, so capture sets are not read and cannot be filtered by.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from sheaf.errors import NotFoundError, SourceError
from sheaf.occurrences.input_tables import SOURCES
from sheaf.occurrences.readers.ingest import project_id_of
from sheaf.occurrences.sources.mirror import replacing
from sheaf.outside.http import Limits, Service

_PAGE = 200
_LIMITS = Limits(read_s=60, total_s=300)
_ATTEMPTS = 3  # readings of a list until its count fits

Row = dict[str, Any]


@dataclass
class _Rows:
    """Rows by table and id: what comes twice is kept once, the last time as it came."""

    tables: dict[str, dict[Any, Row]] = field(default_factory=lambda: {source.name: {} for source in SOURCES})

    def add(self, table: str, item: Mapping[str, Any] | None, **more: Any) -> Any:
        """Make a row of an object; returns its id, None for no object.

        A key `x_id` is found as `x_id`, as the id in the object `x`, as a number `x` or at the end
        of a link `x`.
        """
        if not isinstance(item, Mapping) or item.get("id") is None:
            return None
        row = {**item, **more}
        columns = next(source.columns for source in SOURCES if source.name == table)
        found = {name: row.get(name, _key(row.get(name.removesuffix("_id")))) for name in columns}
        known = self.tables[table].get(item["id"], {})
        self.tables[table][item["id"]] = {**known, **{k: v for k, v in found.items() if v is not None}}
        return item["id"]


def service(url: str, token: str | None = None) -> Service:
    """The API as it is asked."""
    headers = {"Authorization": f"Token {token}"} if token else {}
    return Service(url, headers=headers, limits=_LIMITS, secrets=[token or ""], follow_redirects=True)


def refresh(url: str, project: str, folder: Path, token: str | None = None) -> dict[str, int]:
    """Make an inbox folder equal to what the API shows of a project.

    Args:
        url: such as `https://api.example.org/api/v2`.
        folder: replaced as a whole when everything was read, untouched otherwise.
        token: of a user who may see the project; projects that are no drafts need none.

    Returns:
        How many rows of each table were read.

    Raises:
        SourceError: the API cannot be reached, refuses, or never gives as many objects as it counts.
        NotFoundError: it shows no such project.
    """
    rows = _Rows()
    with closing(service(url, token)) as api:
        _read_project(api, project_id_of(project), rows)
    with replacing(folder) as new:
        for table, found in rows.tables.items():
            if found or next(source.needed for source in SOURCES if source.name == table):
                option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
                lines = (orjson.dumps(found[key], option=option) for key in sorted(found))
                (new / f"{table}.ndjson").write_bytes(b"".join(lines))
    return {table: len(found) for table, found in rows.tables.items()}


def _read_project(api: Service, project: int, rows: _Rows) -> None:
    found = _get(api, f"projects/{project}/")
    owner = found.get("owner")
    rows.add("main_project", found, owner_id=rows.add("users_user", owner) or _key(owner))
    for member in found.get("members") or []:
        if isinstance(member, Mapping) and member.get("role"):
            user = rows.add("users_user", member)
            rows.tables["main_project_members"][user] = {"project_id": project, "user_id": user, "role": member["role"]}
    of_project = {"project_id": project}
    for item in _pages(api, "deployments/", of_project):
        rows.add("main_deployment", item, project_id=project)
    for item in _pages(api, "events/", of_project):
        rows.add("main_event", item, project_id=project)
    for item in _pages(api, "captures/", of_project):
        rows.add("main_sourceimage", item, project_id=project)
    # without apply_defaults=false the list leaves out what the project's default filters hide
    for item in _pages(api, "occurrences/", {**of_project, "apply_defaults": "false"}):
        _add_occurrence(rows, _get(api, f"occurrences/{item['id']}/"), project)


def _add_occurrence(rows: _Rows, item: Row, project: int) -> None:
    occurrence = rows.add(
        "main_occurrence",
        item,
        project_id=project,
        determination_id=_add_taxon(rows, item.get("determination")) or item.get("determination_id"),
    )
    for detection in item.get("detections") or []:
        capture = detection.get("capture")
        image = rows.add("main_sourceimage", capture, project_id=project) or _key(capture)
        if image is not None and image not in rows.tables["main_sourceimage"]:
            rows.add("main_sourceimage", {"id": image}, project_id=project)
        algorithm = rows.add("ml_algorithm", detection.get("detection_algorithm"))
        found = rows.add(
            "main_detection",
            detection,
            occurrence_id=occurrence,
            source_image_id=image,
            detection_algorithm_id=algorithm,
            path=detection.get("url"),
        )
        for classification in detection.get("classifications") or []:
            rows.add(
                "main_classification",
                classification,
                detection_id=found,
                taxon_id=_add_taxon(rows, classification.get("taxon")),
                algorithm_id=rows.add("ml_algorithm", classification.get("algorithm")),
                timestamp=classification.get("timestamp") or classification.get("created_at"),
            )
    for identification in item.get("identifications") or []:
        rows.add(
            "main_identification",
            identification,
            occurrence_id=occurrence,
            user_id=rows.add("users_user", identification.get("user")),
            taxon_id=_add_taxon(rows, identification.get("taxon")),
        )


def _add_taxon(rows: _Rows, item: Row | None) -> Any:
    if not isinstance(item, Mapping):
        return None
    parents = [{key: parent.get(key) for key in ("id", "name", "rank")} for parent in item.get("parents") or []]
    return rows.add("main_taxon", item, parents_json=parents)


def _pages(api: Service, path: str, query: Mapping[str, Any]) -> Iterator[Row]:
    """All objects of a list, each once.

    Pages of a list that changes while it is read lose and repeat objects; so it is read again until as
    many different ids came as it counts.
    """
    found: dict[int, Row] = {}
    count = None
    for _ in range(_ATTEMPTS):
        offset, count = 0, None
        while count is None or offset < count:
            page = _get(api, path, {**query, "ordering": "created_at", "limit": _PAGE, "offset": offset})
            count = page["count"]
            found |= {item["id"]: item for item in page["results"]}
            if not page["results"]:
                break
            offset += len(page["results"])
        if len(found) == count:
            yield from found.values()
            return
        if len(found) > (count or 0):  # some were deleted meanwhile: start afresh
            found = {}
    raise SourceError(f"{api.url}/{path} counts {count} objects but gave {len(found)}: try again later.")


def _get(api: Service, path: str, query: Mapping[str, Any] | None = None) -> Row:
    """One JSON object."""
    answer = api.ask("GET", path, params=dict(query or {}))
    if answer.status == 404:
        raise NotFoundError(f"{answer.url} does not exist, or its project is not shown to us.")
    if answer.status != 200:
        raise SourceError(f"{answer.url} answered {answer.status}: check the address and the token.")
    found = answer.json()
    if not isinstance(found, dict):
        raise SourceError(f"{answer.url} answered with a list instead of an object.")
    return found


def _key(value: Any) -> Any:
    """The id in a reference: a number, an object, or a link that ends with it."""
    if isinstance(value, Mapping):
        return value.get("id")
    if isinstance(value, str):
        last = value.rstrip("/").rsplit("/", 1)[-1]
        return int(last) if last.isdecimal() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
