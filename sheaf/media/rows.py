"""Finished items as rows of the tables, and rows as the items that documents show."""

from collections.abc import Mapping, Sequence
from typing import Any

from sheaf import clock
from sheaf.media import schema
from sheaf.media.batch_record import BatchRecord, FinishedItem
from sheaf.media.result import Status
from sheaf.media.timecode import frame_offsets

_ASKED = (
    "item_id",
    "master_file",
    "dub_file",
    "methods",
    "ai_model",
    "description",
    "tags",
    "error_code",
    "error_message",
)
_FOUND = (
    "offset_seconds",
    "offset_samples",
    "timecode",
    "frame_rate",
    "confidence",
    "method_used",
    "rate",
    "drift_ppm",
    "segments",
    "method_results",
    "requested_model",
    "model_available",
    "master_seconds",
    "dub_seconds",
    "warnings",
    "timeline",
    "overlay",
)


def result_row(pair: Mapping[str, Any], item: FinishedItem | None) -> dict[str, Any]:
    """One row of the table of results; a pair that nobody analysed is cancelled, or failed for its own fault."""
    row: dict[str, Any] = dict.fromkeys(schema.RESULTS.schema.names) | {name: pair[name] for name in _ASKED}
    if pair["error_code"]:
        return {**row, "status": Status.FAILED}
    if item is None:
        return {
            **row,
            "status": Status.CANCELLED,
            "error_code": "CANCELLED",
            "error_message": "The batch was cancelled before this pair was analysed.",
        }
    row |= {
        "status": item.status,
        "error_code": item.error.code if item.error else None,
        "error_message": item.error.message if item.error else None,
        "analysed_at": item.analysed_at,
        "analysis_id": f"{item.analysed_at:%Y%m%d_%H%M%S}_{item.fingerprint[:8]}",
        "analysis_seconds": item.analysis_seconds,
    }
    if item.result:
        found = item.result.model_dump(mode="json")
        row |= {name: found[name] for name in _FOUND}
        row["channels"] = [{"channel": role, **offset} for role, offset in found["channels"].items()]
    return row


def batch_row(record: BatchRecord, items: Sequence[FinishedItem]) -> dict[str, Any]:
    """The one row of the table of batches."""
    return {
        "batch_id": record.batch_id,
        "csv_file": record.csv_file,
        "csv_sha256": record.csv_sha256,
        "description": record.options.description,
        "priority": record.options.priority,
        "status": record.status,
        "items_total": record.items_total,
        "started_at": record.started_at or clock.now(),
        "finished_at": record.finished_at,
        "processing_seconds": round(sum(item.analysis_seconds for item in items), 3),
    }


def as_item(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of results as the item that `results_json` shows."""
    item: dict[str, Any] = {
        name: row[name]
        for name in ("item_id", "master_file", "dub_file", "methods", "ai_model", "description", "tags", "status")
    }
    item["error"] = {"code": row["error_code"], "message": row["error_message"]} if row["error_code"] else None
    item["analysed_at"] = row["analysed_at"].isoformat().replace("+00:00", "Z") if row["analysed_at"] else None
    item["result"] = _as_result(row) if row["confidence"] is not None else None
    return item


def _as_result(row: Mapping[str, Any]) -> dict[str, Any]:
    offset = row["offset_seconds"]
    return {
        "offset_seconds": offset,
        "offset_samples": row["offset_samples"],
        "offset_frames": None if offset is None else frame_offsets(offset),
        "timecode": row["timecode"],
        "frame_rate": row["frame_rate"],
        "confidence": row["confidence"],
        "method_used": row["method_used"],
        "rate": row["rate"],
        "drift_ppm": row["drift_ppm"],
        "segments": row["segments"],
        "channels": {
            entry["channel"]: {"offset_seconds": entry["offset_seconds"], "confidence": entry["confidence"]}
            for entry in row["channels"]
        },
        "method_results": row["method_results"],
        "requested_model": row["requested_model"],
        "model_available": row["model_available"],
        "analysis_id": row["analysis_id"],
        "analysis_seconds": row["analysis_seconds"],
        "warnings": row["warnings"],
    }
