"""Media batches as the specification 001 prints them: upload, start, status, results, cancel, methods, health.

A CSV that was uploaded waits outside of the inbox, and becomes a batch of the inbox when it is started. Errors are
`{"success": false, "error": …, "timestamp": …}`.
"""

import os
import time as clock_time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import yaml
from fastapi import APIRouter, Form, HTTPException, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from pipelines.http.access import Researcher, The, Viewer
from pipelines.http.answers import Json, now, send, time
from sheaf import __version__
from sheaf.errors import NotFoundError, UsageError
from sheaf.exports.records import read_latest, read_manifest
from sheaf.media.batch_record import (
    BatchRecord,
    BatchStatus,
    FinishedItem,
    read_items,
    read_record,
    request_cancel,
)
from sheaf.media.choices import METHODS, installed
from sheaf.media.methods import Model
from sheaf.media.readers.batch_csv import MAX_BYTES, BatchCsv, parse_batch_csv
from sheaf.media.readers.batch_options import BatchOptions, Priority
from sheaf.media.schema import DOMAIN
from sheaf.names import ExportId, SeriesId, check_partition
from sheaf.outside.addresses import without_secrets

router = APIRouter(prefix="/api/v1", tags=["Media batches (001)"])
ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED)
_GUESS_S = 30.0  # for a pair, before one is finished


class Start(BaseModel):
    """How a batch is run."""

    model_config = ConfigDict(extra="forbid")

    parallel_jobs: int | None = Field(default=None, ge=1, le=64)
    priority: Priority | None = None
    notification_webhook: str | None = None


@router.post("/analysis/batch/upload-csv")
async def upload(
    the: The,
    user: Researcher,
    file: UploadFile,
    description: Annotated[str, Form(max_length=2000)] = "",
    priority: Annotated[Priority, Form()] = Priority.NORMAL,
    notification_webhook: Annotated[str | None, Form()] = None,
) -> Response:
    """Keep a CSV of pairs until it is started. The same bytes again are the same batch."""
    data = await file.read(MAX_BYTES + 1)
    name = Path(file.filename or "batch.csv").name
    sheet = parse_batch_csv(name, data, the.settings.media.methods)
    _check_webhook(notification_webhook)
    said = {"description": description, "priority": priority, "notification_webhook": notification_webhook}
    options = BatchOptions.model_validate(said)
    batch = _keep(the, sheet, data, options)
    return Json(
        {
            "success": True,
            "batch_id": batch,
            "items_count": len(sheet.rows),
            "items": [{**row.asked, "status": "failed" if row.fault else "pending"} for row in sheet.rows],
            "message": f"Batch uploaded successfully with {len(sheet.rows)} items",
            "timestamp": now(),
        }
    )


@router.post("/analysis/batch/{batch_id}/start")
def start(the: The, user: Researcher, batch_id: str, how: Start | None = None) -> Response:
    """Start a batch that was uploaded, or one that was cancelled or failed."""
    how = how or Start()
    _check_webhook(how.notification_webhook)
    waiting = _waiting(the, batch_id)
    if waiting is None:
        record = _record(the, batch_id)
        if record.status not in (BatchStatus.CANCELLED, BatchStatus.FAILED):
            raise UsageError(f"Batch {batch_id} is {record.status} already")
        total = record.items_total
    else:
        total = len(_sheet(the, waiting).rows)
        _into_the_inbox(the, waiting, how)
    the.launcher.media_batch(batch_id)
    jobs = how.parallel_jobs or the.settings.media.parallel_jobs
    return Json(
        {
            "success": True,
            "batch_id": batch_id,
            "status": "processing",
            "progress": 0.0,
            "items_total": total,
            "items_completed": 0,
            "items_processing": min(jobs, total),
            "items_failed": 0,
            "estimated_completion": time(datetime.now(UTC) + timedelta(seconds=_GUESS_S * total / jobs)),
            "message": f"Batch processing started with {jobs} parallel jobs",
            "timestamp": now(),
        }
    )


@router.get("/analysis/batch/{batch_id}/status")
def status(the: The, user: Viewer, batch_id: str, include_details: bool = False) -> Response:
    """How far a batch is."""
    record, sheet = _stand(the, batch_id)
    answer: dict[str, Any] = {
        "success": True,
        "batch_id": batch_id,
        # what is being published cannot be had yet
        "status": BatchStatus.PROCESSING if record.status is BatchStatus.PUBLISHING else record.status,
        "progress": record.progress,
        "items_total": record.items_total,
        "items_completed": record.items_completed,
        "items_no_match": record.items_no_match,
        "items_processing": record.items_processing,
        "items_failed": record.items_failed,
        "estimated_completion": time(record.estimated_completion),
        "timestamp": now(),
    }
    if include_details:
        answer["items_details"] = _details(the, batch_id, record, sheet)
    return Json(answer)


@router.get("/analysis/batch/{batch_id}/results")
def results(the: The, user: Viewer, request: Request, batch_id: str, export_format: str = "json") -> Response:
    """What was found, once the batch has ended: as JSON, or as a CSV (`export_format=csv`)."""
    if export_format not in ("json", "csv"):
        raise UsageError(f"There is no format {export_format!r}: there are json and csv.")
    record, _ = _stand(the, batch_id)
    if record.status not in (BatchStatus.COMPLETED, BatchStatus.FAILED):
        raise UsageError(f"Batch {batch_id} is {record.status}: it has results when it has ended")
    if export_format == "csv":
        return _report(the, request, batch_id, "results_csv")
    document = _document(the, batch_id)
    errors = [(item.get("error") or {}).get("code") for item in document["results"]]
    if errors and set(errors) == {"timeout"}:
        raise HTTPException(408, f"Analysis timeout: no pair of batch {batch_id} was analysed in time")
    summary = document["summary"]
    return Json(
        {
            "success": True,
            "batch_id": batch_id,
            "status": document["status"],
            "summary": summary | {"average_confidence": summary["average_confidence"] or 0.0},
            "results": document["results"],
            "download_links": {
                "json_report": f"/api/v1/reports/{batch_id}.json",
                "csv_export": f"/api/v1/reports/{batch_id}.csv",
            },
            "timestamp": now(),
        }
    )


@router.get("/reports/{batch_id}.json")
def json_report(the: The, user: Viewer, request: Request, batch_id: str) -> Response:
    """The results as they were published, as JSON."""
    return _report(the, request, batch_id, "results_json")


@router.get("/reports/{batch_id}.csv")
def csv_export(the: The, user: Viewer, request: Request, batch_id: str) -> Response:
    """The results as they were published, as CSV."""
    return _report(the, request, batch_id, "results_csv")


@router.delete("/analysis/batch/{batch_id}")
def cancel(the: The, user: Researcher, batch_id: str) -> Response:
    """Cancel a batch: one that waits is forgotten, one that runs ends within seconds and keeps what is finished."""
    waiting = _waiting(the, batch_id)
    if waiting is not None:
        for path in (waiting, waiting.with_suffix(".yaml")):
            path.unlink(missing_ok=True)
    else:
        record, _ = _stand(the, batch_id)
        if record.status in ENDED or record.status is BatchStatus.PUBLISHING:
            raise UsageError(f"Batch {batch_id} is {record.status}: only one that waits or runs can be cancelled")
        with suppress(NotFoundError):
            request_cancel(the.store, batch_id)
    return Json(
        {
            "success": True,
            "batch_id": batch_id,
            "status": "cancelled",
            "message": f"Batch {batch_id} cancelled",
            "timestamp": now(),
        }
    )


@router.get("/analysis/methods")
def methods(the: The, user: Viewer) -> Response:
    """The methods, and the models of `ai` with whether they can be used here."""
    return Json(
        {
            "success": True,
            "methods": [{"name": method, "description": meaning} for method, meaning in METHODS.items()],
            "ai_models": [{"name": model, "available": installed(model, the.settings.media)} for model in Model],
            "timestamp": now(),
        }
    )


@router.get("/health")
def health(the: The) -> Response:
    """Whether the server answers and the store does."""
    the.store.names("exports")
    return Json({"success": True, "status": "healthy", "version": __version__, "timestamp": now()})


def _check_webhook(webhook: str | None) -> None:
    try:
        without_secrets(webhook or "")
    except ValueError as error:
        raise UsageError(f"notification_webhook cannot be used: {error}.") from None


def _keep(the: The, sheet: BatchCsv, data: bytes, options: BatchOptions) -> str:
    """Write a CSV beside those that wait; its time is its arrival, from which the batch has its name."""
    known = [path.stem for path in the.uploads.glob(f"batch_*_{sheet.sha256[:8]}.csv")] if the.uploads.is_dir() else []
    for batch in (*known, *the.store.folders("batches/media")):
        if batch.endswith(f"_{sheet.sha256[:8]}"):
            if batch in known:
                _write(the.uploads / f"{batch}.yaml", _said(options))
            return batch
    arrived = int(clock_time.time())
    batch = f"batch_{datetime.fromtimestamp(arrived, UTC):%Y%m%d_%H%M%S}_{sheet.sha256[:8]}"
    the.uploads.mkdir(parents=True, exist_ok=True)
    _write(the.uploads / f"{batch}.yaml", _said(options))
    path = the.uploads / f"{batch}.csv"
    _write(path, data)
    os.utime(path, (arrived, arrived))
    return batch


def _said(options: BatchOptions) -> bytes:
    return yaml.safe_dump(options.model_dump(mode="json", exclude_defaults=True)).encode()


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)


def _waiting(the: The, batch: str) -> Path | None:
    """The CSV of a batch that nobody has started yet; its name comes from a client."""
    path = the.uploads / f"{_checked(batch)}.csv"
    return path if path.is_file() else None


def _checked(batch: str) -> str:
    try:
        return check_partition(batch)
    except UsageError:
        raise _unknown(batch) from None


def _unknown(batch: str) -> NotFoundError:
    return NotFoundError(f"Batch {batch[:100]} not found")


def _into_the_inbox(the: The, waiting: Path, how: Start) -> None:
    """Options first: the CSV is seen as soon as it is there."""
    folder = the.settings.inbox / DOMAIN
    folder.mkdir(parents=True, exist_ok=True)
    options = yaml.safe_load(waiting.with_suffix(".yaml").read_bytes()) or {}
    options |= how.model_dump(mode="json", exclude_none=True)
    _write(folder / f"{waiting.stem}.yaml", _said(BatchOptions.model_validate(options)))
    waiting.replace(folder / waiting.name)
    waiting.with_suffix(".yaml").unlink(missing_ok=True)


def _sheet(the: The, path: Path) -> BatchCsv:
    return parse_batch_csv(path.name, path.read_bytes(), the.settings.media.methods)


def _record(the: The, batch: str) -> BatchRecord:
    try:
        return read_record(the.store, _checked(batch))
    except NotFoundError:
        raise _unknown(batch) from None


def _stand(the: The, batch: str) -> tuple[BatchRecord, BatchCsv | None]:
    """Where a batch is, whoever has it at the moment: the uploads, the inbox, or the store."""
    waiting = _waiting(the, batch)
    with suppress(NotFoundError):
        if waiting is None:
            return _record(the, batch), None
    path = waiting or the.settings.inbox / DOMAIN / f"{batch}.csv"
    if not path.is_file():
        raise _unknown(batch)
    sheet = _sheet(the, path)
    return (
        BatchRecord(
            batch_id=batch,
            csv_file=path.name,
            csv_sha256=sheet.sha256,
            options=BatchOptions(),
            status=BatchStatus.PENDING if waiting else BatchStatus.PROCESSING,
            items_total=len(sheet.rows),
            created_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        ),
        sheet,
    )


def _details(the: The, batch: str, record: BatchRecord, sheet: BatchCsv | None) -> list[dict[str, Any]]:
    if record.status in (BatchStatus.COMPLETED, BatchStatus.FAILED):
        found = _document(the, batch)["results"]
        return [{name: item[name] for name in ("item_id", "status", "result", "error") if item[name]} for item in found]
    done: dict[str, FinishedItem] = read_items(the.store, batch) if sheet is None else {}
    told = []
    for number in range(1, record.items_total + 1):
        name = f"item_{number:03d}"
        item = done.get(name)
        line: dict[str, Any] = {"item_id": name, "status": item.status if item else "pending"}
        if item and item.result and item.result.offset_seconds is not None:
            line["result"] = {
                "offset_seconds": item.result.offset_seconds,
                "confidence": item.result.confidence,
                "method_used": item.result.method_used,
            }
        told.append(line)
    waiting = [line for line in told if line["status"] == "pending"]
    for line in waiting[: record.items_processing]:
        line["status"] = "processing"
    return told


def _latest(the: The, batch: str, series: str) -> tuple[ExportId, Any]:
    found = SeriesId(DOMAIN, _checked(batch), series)
    latest = read_latest(the.store, found)
    if latest is None:
        raise NotFoundError(f"Batch {batch} has no results yet")
    export = ExportId(found, latest.version)
    return export, read_manifest(the.store, export).files[0]


def _report(the: The, request: Request, batch: str, series: str) -> Response:
    export, file = _latest(the, batch, series)
    return send(the, request, export, file)


def _document(the: The, batch: str) -> dict[str, Any]:
    export, file = _latest(the, batch, "results_json")
    return orjson.loads(the.store.get(f"{export.path}/{file.path}"))
