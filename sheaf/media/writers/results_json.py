"""`results.json`: the batch and all its items as one document, in the specification's shape."""

from pathlib import Path
from typing import Any

import orjson

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.media import schema
from sheaf.media.analysis.rows import as_item, as_time, unsatisfied, whole_batch
from sheaf.media.result import ACCEPTED, Status
from sheaf.tables.pinned import Tables

_NAME = "results.json"


def read_batch(tables: Tables) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The batch as a whole and the rows of its items, in the order of the CSV."""
    rows = tables.read(schema.RESULTS).to_pylist()
    return whole_batch(tables.read(schema.BATCHES).to_pylist()[0], rows), rows


def write_results_json(draft: Draft) -> Written:
    """Write the document."""
    batch, rows = read_batch(draft.tables)
    document = {
        "batch_id": batch["batch_id"],
        "status": batch["status"],
        "description": batch["description"],
        "priority": batch["priority"],
        "started_at": as_time(batch["started_at"]),
        "finished_at": as_time(batch["finished_at"]),
        "summary": summary(batch, rows),
        "results": [as_item(row) for row in rows],
    }
    (draft.folder / _NAME).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    return Written(record_count=len(rows), rows={_NAME: len(rows)}, counts=counts(rows), warnings=unsatisfied(rows))


def summary(batch: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals as the specification names them; the confidence is the mean over completed items."""
    sure = [row["confidence"] for row in rows if row["status"] == Status.COMPLETED]
    return {
        "items_total": len(rows),
        **counts(rows),
        "average_confidence": round(sum(sure) / len(sure), 3) if sure else None,
        "processing_time_seconds": batch["processing_seconds"],
    }


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Items by status."""
    return {f"items_{status}": sum(row["status"] == status for row in rows) for status in Status}


def verify_results_json(folder: Path, written: Written) -> None:
    """Read the document back: every item once, an offset exactly where the status says so.

    Raises:
        VerificationError: naming the first item that is wrong.
    """
    document = orjson.loads((folder / _NAME).read_bytes())
    items = document["results"]
    if len(items) != written.record_count or len({item["item_id"] for item in items}) != len(items):
        raise VerificationError(f"{_NAME} does not hold each of the {written.record_count} items once.")
    for item in items:
        found = item["result"] or {}
        offset = found.get("offset_seconds")
        if (offset is not None) != (item["status"] == Status.COMPLETED):
            raise VerificationError(f"{_NAME}: {item['item_id']} is {item['status']} with the offset {offset}.")
        if offset is not None and found["confidence"] < ACCEPTED:
            raise VerificationError(f"{_NAME}: {item['item_id']} has an offset with confidence {found['confidence']}.")
        if (item["error"] is not None) != (item["status"] in (Status.FAILED, Status.CANCELLED)):
            raise VerificationError(f"{_NAME}: {item['item_id']} is {item['status']} with the error {item['error']}.")
    stated = document["summary"]
    if any(stated[name] != count for name, count in written.counts.items()):
        raise VerificationError(f"{_NAME}: the summary does not count its items.")
