"""Finished items as rows of the tables, and rows as the batch and the items that documents show."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sheaf.media import schema
from sheaf.media.batch_record import BatchStatus, FinishedItem
from sheaf.media.result import Status
from sheaf.media.sync.repair import repair_command
from sheaf.media.sync.timecode import frame_offsets
from sheaf.media.words import places

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
    "precision",
    "offset_uncertainty_seconds",
    "coverage",
    "ambiguous_with",
    "contradiction",
    "method_used",
    "rate",
    "drift_ppm",
    "segments",
    "method_results",
    "requested_model",
    "model_available",
    "master_track",
    "dub_track",
    "master_start",
    "dub_start",
    "master_ltc",
    "dub_ltc",
    "timecode_offset_seconds",
    "timecode_offset_from",
    "dub_sample_rate",
    "dub_tracks",
    "master_seconds",
    "dub_seconds",
    "warnings",
    "timeline",
    "overlay",
)


def result_row(pair: Mapping[str, Any], item: FinishedItem | None) -> dict[str, Any]:
    """One row of the table of results; `item` is None for a pair whose row cannot be used."""
    row: dict[str, Any] = dict.fromkeys(schema.RESULTS.schema.names) | {name: pair[name] for name in _ASKED}
    if item is None:
        return {**row, "status": Status.FAILED}
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


MOST_HEARD = 200
"""Pairs of a batch that are kept to listen to: 53 kB of a page for each; a page of more would not open well."""


def snippet_rows(items: Iterable[FinishedItem]) -> list[dict[str, Any]]:
    """The rows of the table of snippets."""
    return [
        {"item_id": item.item_id, "before": b64decode(heard.before), "after": b64decode(heard.after)}
        for item in items
        if item.result and (heard := item.result.snippets)
    ]


def unsatisfied(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What run page and manifests say: models that did not run, then items without an answer; twenty at most."""
    found = []
    for model in dict.fromkeys(row["ai_model"] for row in rows if row["ai_model"]):
        without = [row["item_id"] for row in rows if row["ai_model"] == model and row["model_available"] is False]
        unused = [row["item_id"] for row in rows if row["ai_model"] == model and "ai" not in row["methods"]]
        if without:
            found.append(f"{model} did not run, the built-in spectral embedding was used: {_some(without)}.")
        if unused:
            found.append(f"{model} was not used, since the method ai is not among the methods: {_some(unused)}.")
    found += [f"{row['item_id']}: {row['error_message']}" for row in rows if row["error_code"]]
    found += [f"{row['item_id']}: {_unanswered(row)}" for row in rows if row["status"] == Status.NO_MATCH]
    return tuple(found[:20])


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(items[:5]) + more


def _unanswered(row: Mapping[str, Any]) -> str:
    if row["ambiguous_with"]:
        return f"ambiguous, it fits {places(row['ambiguous_with'])} alike."
    return "no match was found."


def whole_batch(batch: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The batch as documents show it: what was asked, and what its results say of it together."""
    analysed = [row for row in rows if row["analysed_at"]]
    took = [timedelta(seconds=row["analysis_seconds"]) for row in analysed]
    all_failed = all(row["status"] == Status.FAILED for row in rows)
    return {
        **batch,
        "status": BatchStatus.FAILED if all_failed else BatchStatus.COMPLETED,
        "started_at": min((row["analysed_at"] - s for row, s in zip(analysed, took, strict=True)), default=None),
        "finished_at": max((row["analysed_at"] for row in analysed), default=None),
        "processing_seconds": round(
            _busy([(row["analysed_at"] - s, s) for row, s in zip(analysed, took, strict=True)]), 3
        ),
    }


def _busy(spans: Sequence[tuple[datetime, timedelta]]) -> float:
    """Seconds in which at least one pair was analysed: the batch's own time, however many ran side by side."""
    total, until = timedelta(), None
    for start, length in sorted(spans):
        end = start + length
        total += max(end - max(start, until or start), timedelta())
        until = max(end, until or end)
    return total.total_seconds()


def as_time(moment: datetime | None) -> str | None:
    """A time as documents write it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def as_item(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of results as the item that `results_json` shows."""
    item: dict[str, Any] = {
        name: row[name]
        for name in ("item_id", "master_file", "dub_file", "methods", "ai_model", "description", "tags", "status")
    }
    item["error"] = {"code": row["error_code"], "message": row["error_message"]} if row["error_code"] else None
    item["analysed_at"] = as_time(row["analysed_at"])
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
        "precision": row["precision"],
        "offset_uncertainty_seconds": row["offset_uncertainty_seconds"],
        "coverage": row["coverage"],
        "ambiguous_with": row["ambiguous_with"],
        "contradiction": row["contradiction"],
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
        "master_track": row["master_track"],
        "dub_track": row["dub_track"],
        "dub_tracks": row["dub_tracks"],
        "master_start": row["master_start"],
        "dub_start": row["dub_start"],
        "master_ltc": row["master_ltc"],
        "dub_ltc": row["dub_ltc"],
        "timecode_offset_seconds": row["timecode_offset_seconds"],
        "timecode_offset_from": row["timecode_offset_from"],
        "repair_command": repair_command(row["dub_file"], row),
        "analysis_id": row["analysis_id"],
        "analysis_seconds": row["analysis_seconds"],
        "warnings": row["warnings"],
    }
