"""Exports and saved filters of annotated projects as the specification 004 prints them."""

import uuid
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from pipelines.http.access import Researcher, The, Viewer
from pipelines.http.answers import Json, download, time
from pipelines.http.own import Filter, checked_filter
from pipelines.http.service import uuid_of
from sheaf import listing
from sheaf.coherence import last_good
from sheaf.domains import domain_named
from sheaf.errors import NotFoundError, UsageError
from sheaf.exports import outcome, saved_filters
from sheaf.exports.history import contents
from sheaf.exports.records import Record, Status
from sheaf.exports.saved_filters import SavedFilter
from sheaf.exports.spec import ExportSpec

DOMAIN = "annotations"
router = APIRouter(prefix="/api/v1/projects/{project_id}", tags=["Annotated projects (004)"])


class Wanted(BaseModel):
    """An export to make.

    Attributes:
        export_mode: classification, detection or segmentation.
        output_format: coco_json, manifest_csv or image_folder.
        filter: which images, as `sheaf choices annotations` names the keys.
        saved_filter_id: a saved filter, below the keys of `filter`.

    What else is said is an option of the mode, such as `include_images` or `labels`.
    """

    model_config = ConfigDict(extra="allow")

    export_mode: str
    output_format: str | None = None
    name: str | None = None
    filter: dict[str, Any] = {}
    saved_filter_id: str | None = None


class Saved(BaseModel):
    """A filter to save."""

    model_config = ConfigDict(extra="forbid")

    name: str
    filter: dict[str, Any]
    description: str = ""


def _project(the: The, project_id: str) -> str:
    return listing.find(the.store, domain_named(DOMAIN), project_id)


def _spec(the: The, project: str, wanted: Wanted) -> ExportSpec:
    options = dict(wanted.model_extra or {})
    if wanted.output_format:
        options["format"] = wanted.output_format
    filter_ = dict(wanted.filter)
    if wanted.saved_filter_id:
        filter_ = _saved(the, project, wanted.saved_filter_id).filter | filter_
    return ExportSpec(
        domain=DOMAIN,
        partition=project,
        series=wanted.export_mode,
        filter=filter_,
        options=options,
        name=wanted.name,
    )


@router.post("/exports/preview")
def preview(the: The, user: Viewer, project_id: str, wanted: Wanted) -> Response:
    """What an export would hold; nothing is written."""
    written = the.preview(_spec(the, _project(the, project_id), wanted), user.name)
    return Json({**_summary(written.record_count, dict(written.counts)), "warnings": written.warnings})


@router.get("/exports/classification-options")
def classification_options(the: The, user: Viewer, project_id: str) -> Response:
    """Tag categories with their tags, and labels, that classes can be made of."""
    from sheaf.annotations import overview, schema

    tables = last_good(the.store, domain_named(DOMAIN), _project(the, project_id), schema.TABLES)
    categories = overview.classification_options(tables)
    return Json(
        {
            "categories": [
                {"name": name, "tags": [{"name": tag, "image_count": count} for tag, count in tags.items()]}
                for name, tags in categories.items()
            ],
            "labels": [{"name": name} for name in tables.read(schema.LABELS, ["name"])["name"].to_pylist()],
        }
    )


@router.post("/exports", status_code=201)
def create(the: The, user: Researcher, project_id: str, wanted: Wanted) -> Response:
    """Make an export; ask for it again until it is completed or failed."""
    record = the.create(_spec(the, _project(the, project_id), wanted), user.name, always=True)
    return Json(_told(record), 201)


@router.get("/exports")
def exports(the: The, user: Viewer, project_id: str) -> Response:
    """The history of exports, newest first."""
    found = [one for one in the.records(DOMAIN, _project(the, project_id)) if one.status is not Status.DELETED]
    return Json([_told(record) for record in contents(the.store, found)])


@router.get("/exports/{export_id}")
def export(the: The, user: Viewer, project_id: str, export_id: uuid.UUID) -> Response:
    """One export."""
    return Json(_told(_record(the, project_id, export_id)))


@router.get("/exports/{export_id}/download")
def download_(the: The, user: Viewer, request: Request, project_id: str, export_id: uuid.UUID) -> Response:
    """Its file."""
    return download(the, request, _record(the, project_id, export_id).id)


@router.delete("/exports/{export_id}", status_code=204)
def delete(the: The, user: Researcher, project_id: str, export_id: uuid.UUID) -> Response:
    """Delete its file; its record stays, and its number is never used again."""
    the.changed(outcome.delete(the.store, _record(the, project_id, export_id).id, user.name).id)
    return Response(status_code=204)


@router.get("/saved-filters")
def filters(the: The, user: Viewer, project_id: str) -> Response:
    """The saved filters that the project can use."""
    return Json([_filter(saved) for saved in saved_filters.usable(the.store, DOMAIN, _project(the, project_id))])


@router.post("/saved-filters", status_code=201)
def save_filter(the: The, user: Researcher, project_id: str, wanted: Saved) -> Response:
    """Save a new filter."""
    saved = _checked(the, _project(the, project_id), wanted, user.name)
    saved_filters.save(the.store, saved)
    return Json(_filter(saved), 201)


@router.get("/saved-filters/{filter_id}")
def filter_(the: The, user: Viewer, project_id: str, filter_id: str) -> Response:
    """One saved filter."""
    return Json(_filter(_saved(the, _project(the, project_id), filter_id)))


@router.put("/saved-filters/{filter_id}")
def update_filter(the: The, user: Researcher, project_id: str, filter_id: str, wanted: Saved) -> Response:
    """Replace a saved filter, or rename it."""
    before = _saved(the, _project(the, project_id), filter_id)
    after = _checked(the, before.partition, wanted, user.name)
    if before.name != after.name:
        saved_filters.rename(the.store, before, after.name, user.name)
    saved_filters.update(the.store, after)
    return Json(_filter(after))


@router.delete("/saved-filters/{filter_id}", status_code=204)
def delete_filter(the: The, user: Researcher, project_id: str, filter_id: str) -> Response:
    """Forget a saved filter; exports made with it are not touched."""
    saved_filters.delete(the.store, _saved(the, _project(the, project_id), filter_id), user.name)
    return Response(status_code=204)


def _checked(the: The, partition: str | None, wanted: Saved, who: str) -> SavedFilter:
    if not wanted.filter:
        raise UsageError("Say what the filter keeps: it has no key.")
    return checked_filter(the, Filter(domain=DOMAIN, partition=partition, **wanted.model_dump()), who)


def _saved(the: The, project: str, filter_id: str) -> SavedFilter:
    for saved in saved_filters.usable(the.store, DOMAIN, project):
        if _filter(saved)["id"] == filter_id:
            return saved
    raise NotFoundError(f"There is no saved filter {filter_id} of project {project}.")


def _filter(saved: SavedFilter) -> dict[str, Any]:
    """Its id follows from its name, so that it is the same on every server."""
    key = f"sheaf-filter:{saved.domain}/{saved.partition or ''}/{saved.name}"
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
        "name": saved.name,
        "filter": saved.filter,
        "description": saved.description,
        "shared": saved.partition is None,
        "created_by": saved.saved_by,
        "created_at": time(saved.saved_at),
    }


def _record(the: The, project_id: str, export_id: uuid.UUID) -> Record:
    record = the.record(DOMAIN, _project(the, project_id), str(export_id))
    if record.status is Status.DELETED:
        raise NotFoundError(f"Export {export_id} was deleted.")
    return next(contents(the.store, [record]))


def _told(record: Record) -> dict[str, Any]:
    done = record.status is Status.COMPLETED
    return {
        "id": uuid_of(record),
        "name": record.name,
        "version_number": record.version,
        "export_mode": record.series,
        "output_format": record.options.get("format"),
        "status": record.status,
        "filter": record.filter,
        "summary": _summary(record.record_count or 0, record.counts) if done else None,
        "artifact_size_bytes": record.size,
        "error_message": record.error,
        "created_by": record.requested_by,
        "created_at": time(record.created_at),
        "completed_at": time(record.finished_at) if done else None,
    }


def _summary(images: int, counts: dict[str, Any]) -> dict[str, Any]:
    """Counts in the specification's names."""
    return {
        "image_count": images,
        "annotation_count": counts.get("annotation_count", 0),
        "class_distribution": counts.get("class_counts", {}),
        "split_distribution": counts.get("split_counts", {}),
        "dropped": counts.get("dropped", {}),
    }
