"""`batch.json`, in any of its three shapes, to validated rows.

The shapes are the source system's JSON export, this system's superset of it, and what the admin
page's button saves (`exportedAt`, decimals as strings, `inoculation` always null). They differ in
which keys are present, so one reader serves all. Not here: values computed from others (`corrections`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from sheaf.errors import InputError
from sheaf.fermentation import schema
from sheaf.fermentation.plan import Plan
from sheaf.fermentation.readers.fields import FieldError, read_row, repair_text, shorten
from sheaf.outside.files import read_bytes
from sheaf.tables.rejects import Rejects
from sheaf.tables.table import Table

FILE = "batch.json"
MOST_BYTES = 8 * 1024 * 1024
SOURCE_SYSTEM = "bioprocess-twin"

# Section of the file, its table, and whether it is a list.
_SECTIONS: tuple[tuple[str, Table, bool], ...] = (
    ("calibrations", schema.CALIBRATIONS, True),
    ("inoculation", schema.INOCULATIONS, False),
    ("samples", schema.SAMPLES, True),
    ("failures", schema.FAILURES, True),
    ("closure", schema.CLOSURES, False),
    ("media_preparation", schema.MEDIA_PREPARATIONS, False),
    ("process_changes", schema.PROCESS_CHANGES, True),
)
_EXPECTED = {"calibrations", "inoculation", "samples", "failures"}  # in every shape
_COMPUTED = {"feed_events", "yields"}  # of our own export; they are computed again
_KNOWN = {"batch", "schema_version", "source", "made_with", "exportedAt"} | {section for section, _, _ in _SECTIONS}
_RECOMPUTED = {"elapsed_hours", "flags", "superseded_by", "slope_percent_recomputed"}
_NO_INOCULUM = "no_inoculum"
_EXPECTED_EXTRA = {"batch_id", "cryo_vial_id", "runtime_hours", "current_timepoint_hours"} | _RECOMPUTED


@dataclass
class BatchFile:
    """What a `batch.json` holds.

    Attributes:
        rows: validated rows by table name.
        sections: rows of `sections`: which were there, and what of them could not be used.
        warnings: sentences for the operator.
        refused: where the rows are that could not be used, each with the reason.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sections: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def batch(self) -> dict[str, Any]:
        """The batch's own row."""
        return self.rows["batches"][0]


def read_batch_file(path: Path, default_id: str, plan: Plan, naive_timezone: str | None, rejects: Rejects) -> BatchFile:
    """Read one `batch.json`.

    Args:
        path: the file.
        default_id: the batch id to use when the file names none.
        plan: knows the phases.
        naive_timezone: zone of times that carry none; None refuses them.
        rejects: takes the rows that cannot be used, and counts all there are.

    Raises:
        InputError: the file as a whole cannot be used.
    """
    found = BatchFile()
    document = _load(path, rejects)
    batch = _read_batch(document, default_id, plan, naive_timezone, rejects)
    found.rows["batches"] = [batch]
    _warn_unknown("the file", document.keys() - _KNOWN - _COMPUTED, found.warnings)
    _warn_unknown(
        "batch", document["batch"].keys() - set(schema.BATCHES.schema.names) - _EXPECTED_EXTRA, found.warnings
    )
    if missing := sorted(_EXPECTED - document.keys()):
        found.warnings.append(f"{FILE}: no {', '.join(missing)} in the file: what they would say is not known.")
    for section, table, many in _SECTIONS:
        before = len(found.refused)
        _read_section(section, table, many, document.get(section), batch, naive_timezone, rejects, found)
        refused = found.refused[before:]
        found.sections.append(
            {
                "section": table.name,
                "state": "absent" if _is_absent(section, many, document) else "read",
                "rows": len(found.rows[table.name]),
                "rejected": len(refused),
                "rejects": "; ".join(refused) or None,
            }
        )
    return found


def _is_absent(section: str, many: bool, document: Mapping[str, Any]) -> bool:
    """Whether nobody knows what a section holds: a list is empty by `[]`, one object by null."""
    return section not in document or (many and document[section] is None)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice: of two sections either may tell of contamination."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shorten(key)} stands twice in one object")
        found[key] = value
    return found


def _load(path: Path, rejects: Rejects) -> dict[str, Any]:
    again = "export the batch as JSON again"
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        document = json.loads(text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise InputError(f"{FILE} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{FILE} is not valid JSON: {error.msg}, {where}; {again}.") from error
    except RecursionError as error:
        raise InputError(f"{FILE} is not a batch: it is nested too deeply; {again}.") from error
    except ValueError as error:
        raise InputError(f"{FILE} is not valid JSON: {error}; {again}.") from error
    if not isinstance(document, dict):
        raise InputError(f"{FILE} is not a batch: it must hold one JSON object with the key 'batch'; {again}.")
    if not isinstance(document.get("batch"), dict):
        raise InputError(f"{FILE} is not a batch: the key 'batch' with the batch's fields is missing; {again}.")
    try:
        _repair(document, rejects)
    except RecursionError as error:
        raise InputError(f"{FILE} is not a batch: it is nested too deeply; {again}.") from error
    return document


def _repair(document: dict[str, Any], rejects: Rejects) -> None:
    """Repair, in place, texts that were decoded wrongly on their way here."""

    def repaired(value: Any) -> Any:
        if isinstance(value, str):
            return repair_text(value)
        if isinstance(value, dict):
            return {key: repaired(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [repaired(inner) for inner in value]
        return value

    tables = {section: table.name for section, table, _ in _SECTIONS}
    for section, before in document.items():
        after = document[section] = repaired(before)
        rows = sum(a != b for a, b in zip(before, after, strict=True)) if isinstance(before, list) else before != after
        if rows:
            reason = "Texts were UTF-8 read as Mac Roman and have been repaired."
            table = tables.get(section, schema.BATCHES.name)
            rejects.change(table, "mac_roman_text", reason, rows=int(rows), file=FILE, primary_key=section)


def _read_batch(
    document: Mapping[str, Any], default_id: str, plan: Plan, naive_timezone: str | None, rejects: Rejects
) -> dict[str, Any]:
    source = document.get("source")
    source = source if isinstance(source, dict) else {}
    given = dict(document["batch"])
    given["batch_id"] = given.get("batch_id") or default_id
    given["source_system"] = source.get("system") or SOURCE_SYSTEM
    given["source_version"] = source.get("version")
    rejects.saw(schema.BATCHES.name, 1)
    try:
        batch = read_row(schema.BATCHES.schema, given, naive_timezone)
        if not 0 <= batch["batch_number"] <= 9999:
            raise FieldError("out_of_range", f"batch_number {batch['batch_number']} is not between 0 and 9999")
        if batch["phase"] not in plan.phases:
            known = ", ".join(plan.phases)
            raise FieldError("unknown_value", f"phase {shorten(batch['phase'])} is not one of {known}")
    except FieldError as error:
        rejects.add(schema.BATCHES.name, error.code, f"{error}.", file=FILE, primary_key="batch", raw=as_json(given))
        raise InputError(f"{FILE}: the batch cannot be used: {error}.") from error
    return batch


def _read_section(
    section: str,
    table: Table,
    many: bool,
    given: Any,
    batch: Mapping[str, Any],
    naive_timezone: str | None,
    rejects: Rejects,
    found: BatchFile,
) -> None:
    rows = found.rows[table.name] = []
    if given is None:
        return
    objects = _objects(section, many, given)
    rejects.saw(table.name, len(objects))
    next_id = _ids_after(objects)
    used: set[int] = set()
    unknown: set[str] = set()
    for position, item in enumerate(objects, start=1):
        key = f"{section}[{position}]"
        try:
            item = _entry(item, table, batch["batch_id"])
            given_values = {name: value for name, value in item.items() if name not in _RECOMPUTED}
            row_id = item.get("id") if item.get("id") is not None else next_id()
            row = read_row(table.schema, {**given_values, "id": row_id, "batch_id": batch["batch_id"]}, naive_timezone)
            if row["id"] in used:
                raise FieldError("repeated_key", f"id {row['id']} is already used by an earlier entry")
        except FieldError as error:
            rejects.add(table.name, error.code, f"{error}.", file=FILE, primary_key=key, raw=as_json(item))
            found.refused.append(f"{key}: {error}")
            if error.code == _NO_INOCULUM:
                raise InputError(f"{FILE} cannot be used: {error}; export the batch again.") from error
            continue
        used.add(row["id"])
        unknown |= item.keys() - set(table.schema.names) - _EXPECTED_EXTRA
        rows.append(row)
    _warn_unknown(section, unknown, found.warnings)


def _objects(section: str, many: bool, given: Any) -> list[Any]:
    """The entries of a section, as they are."""
    if not isinstance(given, list if many else dict):
        wanted = "a list" if many else "one object or null"
        raise InputError(f"{FILE} cannot be used: {section!r} must be {wanted}; export the batch as JSON again.")
    return given if isinstance(given, list) else [given]


def _entry(item: Any, table: Table, batch_id: str) -> dict[str, Any]:
    """An entry that is one, and of this batch."""
    if not isinstance(item, dict):
        raise FieldError("not_an_object", "the entry is not an object")
    if item.get("batch_id", batch_id) != batch_id:
        raise FieldError("other_batch", f"batch_id {shorten(item['batch_id'])} is another batch")
    return _one_inoculum(item) if table is schema.INOCULATIONS else item


def _one_inoculum(item: dict[str, Any]) -> dict[str, Any]:
    """The column was renamed in the source system: both names are accepted, the new one wins."""
    if not {"inoculum_source", "cryo_vial_id"} & item.keys():
        raise FieldError(_NO_INOCULUM, "the inoculation has neither 'inoculum_source' nor 'cryo_vial_id'")
    return {**item, "inoculum_source": item.get("inoculum_source") or item.get("cryo_vial_id")}


def _ids_after(objects: list[Any]) -> Callable[[], int]:
    """Ids for entries without one: after the largest id given, else the position in the file."""
    given = [item["id"] for item in objects if isinstance(item, dict) and isinstance(item.get("id"), int)]
    last = max([0, *given])

    def following() -> int:
        nonlocal last
        last += 1
        return last

    return following


def _warn_unknown(where: str, keys: set[str], warnings: list[str]) -> None:
    if keys:
        names = ", ".join(shorten(key) for key in sorted(keys, key=ascii))
        warnings.append(f"{FILE}: unknown keys in {where} are ignored: {names}.")


def as_json(item: Any) -> str:
    """An entry as it may be kept among the rejects: ASCII, so that no broken text gets into a table."""
    try:
        return json.dumps(item, default=str)
    except RecursionError:
        return "(nested too deeply to show)"
