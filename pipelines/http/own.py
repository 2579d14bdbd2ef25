"""Sheaf's own resources: domains, partitions, choices, preview, exports, saved filters, activity, rejects."""

import itertools
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from pipelines.cli.partitions import newest_generations, noted
from pipelines.http.access import Admin, Researcher, The, Viewer
from pipelines.http.answers import Json, download
from sheaf import activity, attention, choices, clock, listing
from sheaf.domains import DOMAINS, domain_named
from sheaf.errors import NotFoundError
from sheaf.exports import outcome, pins, saved_filters
from sheaf.exports.describe import BESIDE, described
from sheaf.exports.history import contents, resolve
from sheaf.exports.records import Status, read_manifest, read_record
from sheaf.exports.spec import ExportSpec
from sheaf.names import ExportId
from sheaf.tables.accounts import Kind

router = APIRouter(prefix="/api/v1", tags=["Sheaf"])
Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.get("/domains")
def domains(the: The, user: Viewer) -> Response:
    """The domains with their series and how many partitions each has."""
    return Json(
        [
            {
                "domain": domain.name,
                "kind": domain.kind,
                "partitions": len(listing.names(the.store, domain)),
                "series": [
                    {"series": one.name, "description": one.description, "campaign": one.campaign, "formats": one.kinds}
                    for one in domain.series
                ],
            }
            for domain in DOMAINS.values()
        ]
    )


@router.get("/domains/{domain}/partitions")
def partitions(the: The, user: Viewer, domain: str) -> Response:
    """The partitions of a domain with their facts and newest exports."""
    return Json(list(listing.listed(the.store, domain_named(domain))))


@router.get("/domains/{domain}/partitions/{partition}")
def partition_(the: The, user: Viewer, domain: str, partition: str) -> Response:
    """One partition, by its name or by the id it has where it comes from."""
    found = domain_named(domain)
    return Json(listing.look_at(the.store, found, listing.find(the.store, found, partition)))


@router.get("/domains/{domain}/partitions/{partition}/rejects")
def rejects(
    the: The, user: Viewer, domain: str, partition: str, kind: Kind | None = None, limit: Limit = 50
) -> Response:
    """What was not used of the newest delivery, with file, line and reason; or what was changed or is at fault."""
    found = domain_named(domain)
    newest = newest_generations(the.store, found, listing.find(the.store, found, partition))
    return Json(list(itertools.islice(noted(the.store, newest, {kind or Kind.REJECT}), limit)))


@router.get("/domains/{domain}/choices")
def choices_(the: The, user: Viewer, domain: str, partition: str | None = None, series: str | None = None) -> Response:
    """Every filter and option with type, meaning, allowed values, and the values that a partition has."""
    found = domain_named(domain)
    wanted = found.series_named(series) if series else None
    partition = listing.find(the.store, found, partition) if partition else None
    return Json(choices.choices(the.store, found, the.settings.of(found.name), partition, wanted))


@router.post("/exports/preview")
def preview(the: The, user: Viewer, asked: ExportSpec) -> Response:
    """Counts and warnings of an export; nothing is written."""
    return Json(the.preview(asked, user.name))


@router.post("/exports", status_code=201)
def create(the: The, user: Researcher, asked: ExportSpec, response: Response) -> Response:
    """Make an export. It is pending at first; ask for it again until it is completed or failed.

    What would be the same as the newest one like it is that one: 200 instead of 201.
    """
    record = the.create(asked.model_copy(update={"requested_by": None}), user.name)
    return Json(record, 201 if record.status.is_open else 200, headers={"Location": f"/api/v1/exports/{record.id}"})


@router.get("/exports")
def exports(
    the: The,
    user: Viewer,
    domain: str | None = None,
    partition: str | None = None,
    series: str | None = None,
    since: datetime | None = None,
    name: str | None = None,
    status: Status | None = None,
    limit: Limit = 1000,
) -> Response:
    """Exports, newest first."""
    if domain:
        found = domain_named(domain)
        partition = listing.find(the.store, found, partition) if partition else None
        if series:
            found.series_named(series)
    records = (
        record
        for record in the.records(domain, partition)
        if series in (None, record.series)
        and status in (None, record.status)
        and (since is None or record.created_at >= clock.aware(since))
        and (name is None or name.casefold() in record.name.casefold())
    )
    found = contents(the.store, list(itertools.islice(records, limit)))
    return Json([the.encoded(record) for record in found])


def _named(the: The, domain: str, partition: str, series: str, version: str) -> ExportId:
    return resolve(the.store, f"{domain}/{partition}/{series}/{version}")


_EXPORT = "/exports/{domain}/{partition}/{series}/{version}"


@router.get(_EXPORT)
def export(the: The, user: Viewer, domain: str, partition: str, series: str, version: str) -> Response:
    """One export, as `v3`, `latest` or `@tag`: its record, and its manifest once it is completed."""
    name = _named(the, domain, partition, series, version)
    record = read_record(the.store, name)
    manifest = read_manifest(the.store, name) if record.status is Status.COMPLETED else None
    tags = pins.tags_of(pins.read_pins(the.store, name.series), name.version)
    return Json({"record": record, "manifest": manifest, "tags": tags})


class Rename(BaseModel):
    """A new name for an export."""

    name: str = Field(min_length=1, max_length=200)


@router.patch(_EXPORT)
def rename(the: The, user: Admin, domain: str, partition: str, series: str, version: str, wanted: Rename) -> Response:
    """Call an export otherwise; its files and its version stay."""
    name = _named(the, domain, partition, series, version)
    outcome.rename(the.store, name, wanted.name, user.name)
    return Json(the.changed(name))


@router.delete(_EXPORT)
def delete(the: The, user: Researcher, domain: str, partition: str, series: str, version: str) -> Response:
    """Delete the files of an export; its record stays, and its number is never used again."""
    name = _named(the, domain, partition, series, version)
    outcome.delete(the.store, name, user.name)
    return Json(the.changed(name))


@router.put(_EXPORT + "/tags/{tag}")
def pin(the: The, user: Researcher, domain: str, partition: str, series: str, version: str, tag: str) -> Response:
    """Give a version a tag: `@tag` names it from then on in place of its number, and it cannot be deleted."""
    name = _named(the, domain, partition, series, version)
    pinned = pins.pin(the.store, name, tag, user.name)
    the.changed(name)
    return Json({"export": str(name), "tag": tag, "pinned": pinned})


@router.delete(_EXPORT + "/tags/{tag}")
def unpin(the: The, user: Researcher, domain: str, partition: str, series: str, version: str, tag: str) -> Response:
    """Take a tag away; the version stays."""
    name = _named(the, domain, partition, series, version)
    if pins.tagged(the.store, name.series, tag) != name:
        raise NotFoundError(f"{name} has no tag @{tag}.")
    pins.unpin(the.store, name.series, tag, user.name)
    the.changed(name)
    return Json({"export": str(name), "tag": tag, "pinned": None})


@router.get(_EXPORT + "/download")
def download_(
    the: The, user: Viewer, request: Request, domain: str, partition: str, series: str, version: str
) -> Response:
    """The file of an export, or all its files in one ZIP; with ranges, and its sha256 as ETag."""
    return download(the, request, _named(the, domain, partition, series, version))


@router.get(_EXPORT + "/files/{path:path}")
def file(
    the: The, user: Viewer, request: Request, domain: str, partition: str, series: str, version: str, path: str
) -> Response:
    """One file of an export, as its manifest names it; or what describes it, made on demand, as if it lay there."""
    export = _named(the, domain, partition, series, version)
    if standard := BESIDE.get(path):
        return Response(
            described(the.store, domain_named(domain), export, standard),
            media_type="application/ld+json" if standard == "croissant" else "application/json",
        )
    return download(the, request, export, path)


class Filter(BaseModel):
    """A filter to save; without a partition it is for all of the domain."""

    domain: str
    partition: str | None = None
    name: str
    filter: dict[str, Any]
    description: str = ""


@router.get("/filters")
def filters(the: The, user: Viewer, domain: str | None = None, partition: str | None = None) -> Response:
    """Saved filters; of a partition all that it can use."""
    if domain and partition:
        found = domain_named(domain)
        return Json(list(saved_filters.usable(the.store, domain, listing.find(the.store, found, partition))))
    return Json(saved_filters.listing(the.store, domain))


@router.post("/filters", status_code=201)
def save_filter(the: The, user: Researcher, wanted: Filter) -> Response:
    """Save a new filter."""
    saved = checked_filter(the, wanted, user.name)
    saved_filters.save(the.store, saved)
    return Json(saved, 201)


@router.put("/filters")
def update_filter(the: The, user: Researcher, wanted: Filter) -> Response:
    """Replace a saved filter."""
    saved = checked_filter(the, wanted, user.name)
    saved_filters.update(the.store, saved)
    return Json(saved)


@router.delete("/filters")
def delete_filter(the: The, user: Researcher, domain: str, name: str, partition: str | None = None) -> Response:
    """Forget a saved filter."""
    saved = saved_filters.load(the.store, domain_named(domain).name, partition, name)
    saved_filters.delete(the.store, saved, user.name)
    return Json(saved)


def checked_filter(the: The, wanted: Filter, who: str) -> saved_filters.SavedFilter:
    """A filter that can be saved."""
    domain = domain_named(wanted.domain)
    partition = listing.find(the.store, domain, wanted.partition) if wanted.partition else None
    choices.check_filter(domain, partition, wanted.filter)
    return saved_filters.SavedFilter(
        domain=wanted.domain,
        partition=partition,
        name=wanted.name,
        filter=wanted.filter,
        description=wanted.description,
        saved_by=who,
        saved_at=clock.now(),
    )


@router.get("/activity")
def activity_(the: The, user: Viewer, since: datetime | None = None, limit: Limit = 50) -> Response:
    """What happened, newest first."""
    return Json(list(activity.newest(the.store, clock.aware(since) if since else None, limit)))


@router.get("/attention")
def attention_(the: The, user: Viewer, domain: str | None = None) -> Response:
    """What needs a person, worst first: damage, refused deliveries, failed exports, what is overdue, checks."""
    return Json(attention.needs(the.store, [domain_named(domain)] if domain else DOMAINS.values()))
