"""Fermentation batches as the specification 000 prints them: login, batches by status, their export as a file."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from pipelines.http.access import The, Tries, Viewer
from pipelines.http.answers import Json, send, time
from sheaf import listing
from sheaf.coherence import last_good
from sheaf.domains import domain_named
from sheaf.errors import NotFoundError
from sheaf.exports.records import read_latest, read_manifest
from sheaf.names import ExportId, SeriesId

router = APIRouter(prefix="/api/v1", tags=["Fermentation batches (000)"])
_TRIES = Tries()


class Login(BaseModel):
    """A name and its password."""

    username: str = Field(max_length=200)
    password: str = Field(max_length=2000)


@router.post("/auth/login")
def login(the: The, request: Request, asked: Login) -> Response:
    """A token for a name; it expires. After five failures a minute has to pass."""
    keys = (f"name {asked.username}", f"address {request.client.host if request.client else ''}")
    _TRIES.check(*keys)
    user = the.users.login(asked.username, asked.password)
    if user is None:
        _TRIES.failed(*keys)
        raise HTTPException(401, "Name or password is wrong.", headers={"WWW-Authenticate": "Bearer"})
    seconds = the.settings.serve.token_hours * 3600
    return Json(
        {
            "access_token": the.users.token(user, seconds),
            "token_type": "bearer",
            "expires_in": int(seconds),
            "user": {"username": user.name, "role": user.role},
        }
    )


class Format(StrEnum):
    """How a batch is exported."""

    CSV = "csv"
    MARKDOWN = "markdown"
    JSON = "json"

    @property
    def series(self) -> str:
        """The series that it is."""
        return {"csv": "samples_csv", "markdown": "batch_report", "json": "batch_json"}[self.value]

    @property
    def ending(self) -> str:
        """How its file ends; a report has pictures beside it."""
        return {"csv": ".csv", "markdown": ".md", "json": ".json"}[self.value]


class State(StrEnum):
    """Where a batch stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    ABORTED = "aborted"


@router.get("/batches")
def batches(
    the: The,
    user: Viewer,
    status: State | None = None,
    phase: str | None = None,
    vessel_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The batches, newest first."""
    wanted = {"status": status, "phase": phase, "vessel_id": vessel_id}
    found = [
        batch
        for partition in listing.names(the.store, domain_named("fermentation"))
        for batch in _batch(the, partition)
        if all(value is None or batch[name] == value for name, value in wanted.items())
    ]
    found.sort(key=lambda batch: (batch["created_at"] or "", batch["batch_id"]), reverse=True)
    return Json(found[offset : offset + limit])


@router.get("/batches/{batch_id}")
def batch_(the: The, user: Viewer, batch_id: str) -> Response:
    """One batch by its id or by the name of its partition."""
    return Json(next(iter(_batch(the, _partition(the, batch_id)))))


@router.get("/batches/{batch_id}/export", operation_id="export_batch")
def export_batch(
    the: The,
    user: Viewer,
    request: Request,
    batch_id: str,
    format_: Annotated[Format, Query(alias="format")] = Format.MARKDOWN,
) -> Response:
    """The newest published samples (csv), report (markdown) or whole record (json) of a batch."""
    partition = _partition(the, batch_id)
    series = SeriesId("fermentation", partition, format_.series)
    latest = read_latest(the.store, series)
    if latest is None:
        raise NotFoundError(
            f"Nothing has been published of batch {batch_id} yet: run `sheaf run fermentation {partition}`."
        )
    export = ExportId(series, latest.version)
    file = next(file for file in read_manifest(the.store, export).files if file.path.endswith(format_.ending))
    return send(the, request, export, file)


def _partition(the: The, batch_id: str) -> str:
    try:
        return listing.find(the.store, domain_named("fermentation"), batch_id)
    except NotFoundError:
        raise HTTPException(404, f"Batch {batch_id} not found") from None


def _batch(the: The, partition: str) -> list[dict[str, Any]]:
    """The batch as a list of one; empty where its delivery could not be used."""
    from sheaf.fermentation import schema

    tables = last_good(the.store, domain_named("fermentation"), partition, [schema.BATCHES])
    if schema.BATCHES not in tables:
        return []
    (row,) = tables.read(schema.BATCHES).to_pylist()
    begun, ended = row["inoculated_at"], row["completed_at"]
    hours = round((ended - begun).total_seconds() / 3600, 2) if begun and ended else None
    row |= {name: time(row[name]) for name in ("created_at", "inoculated_at", "completed_at")}
    return [{**row, "runtime_hours": hours, "partition": partition}]
