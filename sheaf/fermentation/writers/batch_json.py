"""`batch_{n}_phase_{p}.json`: the whole record of one batch, a superset of the source system's export.

The source's keys come first and are unchanged; what it leaves out follows, with what was computed of the batch as a
whole (`feed_events`, `yields`) and the settings it was made with as `made_with`. Reading the file back with
`batch_file` gives the same tables.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.writers.names import export_name, provisional
from sheaf.tables.table import Table

SCHEMA_VERSION = "1.0"

# The source's keys in its order; every other column of the table follows.
_FIRST: Mapping[str, tuple[str, ...]] = {
    "batches": (
        *("batch_id", "batch_number", "phase", "vessel_id", "operator_id", "status"),
        *("created_at", "inoculated_at", "completed_at", "notes"),
    ),
    "calibrations": (
        *("probe_type", "buffer_low_value", "buffer_high_value", "reading_low", "reading_high"),
        *("slope_percent", "pass", "calibrated_by", "calibrated_at"),
    ),
    "inoculations": (
        *("cryo_vial_id", "inoculum_od600", "inoculum_volume_ml", "go_decision"),
        *("microscopy_observations", "inoculated_by"),
    ),
    "samples": (
        *("timepoint_hours", "od600_raw", "od600_dilution_factor", "od600_calculated", "dcw_g_per_l"),
        *("contamination_detected", "microscopy_observations", "sampled_by", "sampled_at"),
    ),
    "failures": (
        *("deviation_level", "category", "description", "root_cause", "corrective_action"),
        *("reported_by", "reported_at"),
    ),
    "closures": (
        *("final_od600", "total_runtime_hours", "glycerol_depletion_time_hours", "outcome"),
        *("closed_by", "approved_by", "notes"),
    ),
}
_LISTS = ("calibrations", "samples", "failures", "process_changes", "feed_events")
_OBJECTS = ("inoculation", "closure", "media_preparation")


def write_batch_json(draft: Draft) -> Written:
    """Write the record of one batch."""
    import orjson

    def rows(table: Table) -> list[dict[str, Any]]:
        return [_ordered(table.name, row) for row in draft.tables.read(table).to_pylist()]

    def one(table: Table) -> dict[str, Any] | None:
        return next(iter(rows(table)), None)

    batch = draft.tables.read(schema.BATCHES).to_pylist()[0]
    source = {"system": batch.pop("source_system"), "version": batch.pop("source_version")}
    document = {
        "schema_version": SCHEMA_VERSION,
        "source": source,
        "batch": _ordered("batches", batch),
        "calibrations": rows(schema.CALIBRATIONS),
        "inoculation": one(schema.INOCULATIONS),
        "samples": rows(schema.SAMPLES),
        "failures": rows(schema.FAILURES),
        "closure": one(schema.CLOSURES),
        "media_preparation": one(schema.MEDIA_PREPARATIONS),
        "process_changes": rows(schema.PROCESS_CHANGES),
        "feed_events": rows(schema.FEED_EVENTS),
        "yields": one(schema.YIELDS),
        "made_with": draft.made_with,
    }
    name = f"{export_name(batch)}.json"
    (draft.folder / name).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    counts = {key: len(document[key]) for key in _LISTS}
    return Written(
        record_count=1,
        counts=counts | {key: int(document[key] is not None) for key in _OBJECTS},
        warnings=tuple(provisional(batch)),
    )


def _ordered(table: str, row: dict[str, Any]) -> dict[str, Any]:
    row = dict(row)
    if table == "inoculations":
        row["cryo_vial_id"] = row["inoculum_source"]  # the source renamed the column: both names are given
    if table != "batches":
        row.pop("batch_id", None)
    first = {key: row.pop(key) for key in _FIRST.get(table, ())}
    return first | row


def verify_batch_json(folder: Path, written: Written) -> None:
    """Read the file back with the standard library: the source's keys are there, the counts are right.

    Raises:
        VerificationError: something is missing.
    """
    files = list(folder.glob("*.json"))
    if len(files) != 1:
        raise VerificationError(f"There are {len(files)} JSON files instead of one.")
    name = files[0].name
    try:
        document = json.loads(files[0].read_bytes().decode("utf-8"))
    except ValueError as error:
        raise VerificationError(f"{name} is not JSON: {error}.") from error
    _need(name, "batch", [document.get("batch")], _FIRST["batches"])
    for key in _LISTS:
        if not isinstance(document.get(key), list) or len(document[key]) != written.counts[key]:
            raise VerificationError(f"{name} has not {written.counts[key]} entries in {key!r}.")
        _need(name, key, document[key], _FIRST.get(key, ()))
    for key, table in (("inoculation", "inoculations"), ("closure", "closures"), ("media_preparation", "")):
        if key not in document or (document[key] is not None) != bool(written.counts[key]):
            raise VerificationError(f"{name}: {key!r} is not as it was written.")
        _need(name, key, [document[key]] if document[key] else [], _FIRST.get(table, ()))


def _need(name: str, where: str, entries: Sequence[Any], keys: Sequence[str]) -> None:
    for entry in entries:
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise VerificationError(f"{name}: {where} has no {', '.join(missing)}.")
