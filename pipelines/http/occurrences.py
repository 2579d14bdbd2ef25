"""Exports of occurrences as the specification 002 prints them, at `/api/v2/exports/`."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from pipelines.cli.show import human_size
from pipelines.http.access import Admin, Researcher, The, Viewer
from pipelines.http.answers import Json, download, time
from pipelines.http.service import number_of
from sheaf import choices, listing
from sheaf.domains import domain_named
from sheaf.errors import NotFoundError, UsageError
from sheaf.exports import outcome
from sheaf.exports.history import contents
from sheaf.exports.records import Record, Status
from sheaf.exports.spec import ExportSpec

DOMAIN = "occurrences"
router = APIRouter(prefix="/api/v2/exports", tags=["Occurrences (002)"])
_STATES = {
    Status.PENDING: ("PENDING", 0.0),
    Status.PROCESSING: ("STARTED", 0.5),
    Status.COMPLETED: ("SUCCESS", 1.0),
    Status.FAILED: ("FAILURE", 1.0),
    Status.DELETED: ("REVOKED", 1.0),
}


class Wanted(BaseModel):
    """An export to make; `project` is its number, or the name of its partition."""

    model_config = ConfigDict(extra="forbid")

    project: int | str | None = None
    format: str = ""
    filters: dict[str, Any] | None = None


class Change(BaseModel):
    """What can be changed of an export."""

    model_config = ConfigDict(extra="forbid")

    name: str


@router.post("/", status_code=201)
def create(the: The, user: Researcher, request: Request, wanted: Wanted) -> Response:
    """Make an export; it is there when `file_url` is."""
    series = _series(wanted.format)
    if wanted.project is None:
        raise HTTPException(400, {"project": ["It is missing: give the number of a project."]})
    partition = _project(the, wanted.project)
    asked = ExportSpec(domain=DOMAIN, partition=partition, series=series, filter=wanted.filters or {})
    try:
        record = the.create(asked, user.name)
    except UsageError as error:
        raise HTTPException(400, {"filters": [str(error)]}) from None
    return Json(_told(the, request, record), 201)


@router.get("/")
def exports(
    the: The,
    user: Viewer,
    request: Request,
    project_id: str | None = None,
    project: str | None = None,
    of: Annotated[str | None, Query(alias="format")] = None,
    status: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Exports, newest first, of a project, a format or a state of the job."""
    wanted = project_id or project
    partition = _project(the, wanted) if wanted else None
    series, states = _series(of) if of else None, _named(status) if status else set(Status)
    found = [
        record
        for record in the.records(DOMAIN, partition)
        if record.status in states - {Status.DELETED} and series in (None, record.series)
    ]
    page = contents(the.store, found[offset : offset + limit])
    at = request.url.include_query_params
    return Json(
        {
            "count": len(found),
            "next": str(at(offset=offset + limit)) if offset + limit < len(found) else None,
            "previous": str(at(offset=max(offset - limit, 0))) if offset else None,
            "results": [_told(the, request, record) for record in page],
        }
    )


@router.get("/{export_id}/")
def export(the: The, user: Viewer, request: Request, export_id: int) -> Response:
    """One export."""
    return Json(_told(the, request, _record(the, export_id)))


@router.get("/{export_id}/file/")
def file(the: The, user: Viewer, request: Request, export_id: int) -> Response:
    """Its file, where `file_url` leads."""
    return download(the, request, _record(the, export_id).id)


@router.put("/{export_id}/")
@router.patch("/{export_id}/")
def update(the: The, user: Admin, request: Request, export_id: int, change: Change) -> Response:
    """Call it otherwise; what it holds cannot be changed."""
    record = outcome.rename(the.store, _record(the, export_id).id, change.name, user.name)
    return Json(_told(the, request, the.changed(record.id)))


@router.delete("/{export_id}/", status_code=204)
def delete(the: The, user: Researcher, export_id: int) -> Response:
    """Delete its file; its record stays."""
    the.changed(outcome.delete(the.store, _record(the, export_id).id, user.name).id)
    return Response(status_code=204)


def _record(the: The, export_id: int) -> Record:
    record = the.record(DOMAIN, "", export_id)
    if record.status is Status.DELETED:
        raise NotFoundError(f"Export {export_id} was deleted.")
    return next(contents(the.store, [record]))


def _project(the: The, project: int | str) -> str:
    try:
        return listing.find(the.store, domain_named(DOMAIN), str(project))
    except NotFoundError as error:
        raise HTTPException(400, {"project": [str(error)]}) from None


def _series(name: str) -> str:
    try:
        return domain_named(DOMAIN).series_named(name).name
    except UsageError as error:
        raise HTTPException(400, {"format": [str(error)]}) from None


def _named(state: str) -> set[Status]:
    """What a state of a job is here."""
    found = {status for status, (name, _) in _STATES.items() if state.upper() in (name, status.upper())}
    if not found:
        names = ", ".join(name for name, _ in _STATES.values())
        raise HTTPException(400, {"status": [f"There is no state {state!r}: there are {names}."]})
    return found


def _told(the: The, request: Request, record: Record) -> dict[str, Any]:
    facts = listing.facts(the.store, domain_named(DOMAIN), record.partition)
    project, number = int(facts.get("id") or 0), number_of(record)
    state, progress = _STATES[record.status]
    done = record.status is Status.COMPLETED
    return {
        "id": number,
        "user": record.requested_by,
        "project": project,
        "format": record.series,
        "filters": record.filter,
        "filters_display": _display(the, record),
        "job": {
            "id": number,
            "name": record.name,
            "project": project,
            "progress": {
                "summary": {"status": state, "progress": progress},
                "stages": [{"key": "exporting_data", "name": "Exporting data", "status": state, "progress": progress}],
            },
            "result": {"error": record.error} if record.error else None,
        },
        "file_url": str(request.url_for("file", export_id=number)) if done else None,
        "record_count": record.record_count,
        "file_size": record.size,
        "file_size_display": human_size(record.size) if record.size is not None else None,
        "created_at": time(record.created_at),
        "updated_at": time(record.finished_at or record.heartbeat_at),
    }


def _display(the: The, record: Record) -> dict[str, Any]:
    """The filter with names in the place of ids; a collection also as clients of Antenna read it."""
    if not record.filter:
        return {}
    known = choices.values(the.store, domain_named(DOMAIN), record.partition)
    shown: dict[str, Any] = {key: known.get(key, {}).get(str(value), value) for key, value in record.filter.items()}
    if (collection := record.filter.get("collection_id")) is not None:
        name = known.get("collection_id", {}).get(str(collection), f"Collection {collection} was not found.")
        shown["collection"] = {"id": collection, "name": name}
    return shown
