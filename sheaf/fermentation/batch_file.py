"""`batch.json`, in any of its three shapes, to validated rows.

The shapes are the source system's JSON export, this system's superset of it, and what the admin
page's button saves (`exportedAt`, decimals as strings, `inoculation` always null). They differ in
which keys are present, so one reader serves all. Not here: values computed from others (`derived`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from sheaf.fermentation import schema
from sheaf.fermentation.records import FieldError, read_row, repair_text, shorten
from sheaf.tables import Rejects, Table

FILE = "batch.json"
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
_KNOWN = {"batch", "schema_version", "source", "exportedAt"} | {section for section, _, _ in _SECTIONS}
_RECOMPUTED = {"elapsed_hours", "flags", "superseded_by", "slope_percent_recomputed"}
_EXPECTED_EXTRA = {"batch_id", "cryo_vial_id", "runtime_hours", "current_timepoint_hours"} | _RECOMPUTED


@dataclass
class BatchFile:
    """What a `batch.json` holds.

    Attributes:
        rows: validated rows by table name.
        seen: how many rows the file held, by table name.
        warnings: sentences for the operator.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def batch(self) -> dict[str, Any]:
        """The batch's own row."""
        return self.rows["batches"][0]


def read_batch_file(path: Path, default_id: str, naive_timezone: str | None, rejects: Rejects) -> BatchFile | None:
    """Read one `batch.json`.

    Args:
        path: the file.
        default_id: the batch id to use when the file names none.
        naive_timezone: zone of times that carry none; None refuses them.
        rejects: takes the rows that cannot be used; one blocking row if the file cannot.

    Returns:
        The rows, or None when the file as a whole cannot be used.
    """
    found = BatchFile()
    document = _load(path, rejects)
    if document is None:
        return None
    document = _repair(document, found.warnings)
    batch = _read_batch(document, default_id, naive_timezone, rejects)
    if batch is None:
        return None
    found.rows["batches"] = [batch]
    _warn_unknown("the file", document.keys() - _KNOWN, found.warnings)
    _warn_unknown(
        "batch", document["batch"].keys() - set(schema.BATCHES.schema.names) - _EXPECTED_EXTRA, found.warnings
    )
    if missing := sorted(_EXPECTED - document.keys()):
        found.warnings.append(f"{FILE}: no {', '.join(missing)} in the file; taken as empty.")
    for section, table, many in _SECTIONS:
        if not _read_section(section, table, many, document.get(section), batch, naive_timezone, rejects, found):
            return None
    return found


def _load(path: Path, rejects: Rejects) -> dict[str, Any] | None:
    def refuse(reason: str, line: int | None = None) -> None:
        rejects.add("batches", reason, file=FILE, line=line, blocking=True)

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"), parse_float=Decimal, parse_constant=no_constant)
    except OSError as error:
        return refuse(f"The file cannot be read: {error.strerror}.")
    except UnicodeDecodeError as error:
        return refuse(f"The file is not UTF-8 text (byte {error.start}): save it as UTF-8.")
    except json.JSONDecodeError as error:
        return refuse(f"The file is not valid JSON: {error.msg}, column {error.colno}.", error.lineno)
    except RecursionError:
        return refuse("The file is not a batch: it is nested too deeply.")
    except ValueError as error:
        return refuse(f"The file is not valid JSON: {error}.")
    if not isinstance(document, dict):
        return refuse("The file is not a batch: it must hold one JSON object with the key 'batch'.")
    if not isinstance(document.get("batch"), dict):
        return refuse("The file is not a batch: the key 'batch' with the batch's fields is missing.")
    return document


def _repair(document: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Repair texts that were decoded wrongly on their way here."""
    repaired = 0

    def walk(value: Any) -> Any:
        nonlocal repaired
        if isinstance(value, str):
            better = repair_text(value)
            repaired += better != value
            return better
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return value

    result = walk(document)
    if repaired:
        warnings.append(f"{FILE}: {repaired} texts were UTF-8 read as Mac Roman and have been repaired.")
    return result


def _read_batch(
    document: Mapping[str, Any], default_id: str, naive_timezone: str | None, rejects: Rejects
) -> dict[str, Any] | None:
    source = document.get("source")
    source = source if isinstance(source, dict) else {}
    given = dict(document["batch"])
    given["batch_id"] = given.get("batch_id") or default_id
    given["source_system"] = source.get("system") or SOURCE_SYSTEM
    given["source_version"] = source.get("version")
    try:
        batch = read_row(schema.BATCHES.schema, given, naive_timezone)
        if not 0 <= batch["batch_number"] <= 9999:
            raise FieldError(f"batch_number {batch['batch_number']} is not between 0 and 9999")
    except FieldError as error:
        rejects.add("batches", f"The batch cannot be used: {error}.", file=FILE, raw=as_json(given), blocking=True)
        return None
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
) -> bool:
    """Read one section; False when the file cannot be used because of it."""
    rows = found.rows[table.name] = []
    found.seen[table.name] = 0
    if given is None:
        return True
    if not isinstance(given, list if many else dict):
        wanted = "a list" if many else "one object or null"
        rejects.add(table.name, f"The file cannot be used: {section!r} must be {wanted}.", file=FILE, blocking=True)
        return False
    objects: list[Any] = given if isinstance(given, list) else [given]
    found.seen[table.name] = len(objects)
    next_id = _ids_after(objects)
    used: set[int] = set()
    unknown: set[str] = set()
    for position, item in enumerate(objects, start=1):
        key = f"{section}[{position}]"
        try:
            if not isinstance(item, dict):
                raise FieldError("the entry is not an object")
            if item.get("batch_id", batch["batch_id"]) != batch["batch_id"]:
                raise FieldError(f"batch_id {shorten(item['batch_id'])} is another batch")
            item = _one_inoculum(item) if table is schema.INOCULATIONS else item
            given_values = {name: value for name, value in item.items() if name not in _RECOMPUTED}
            row_id = item.get("id") if item.get("id") is not None else next_id()
            row = read_row(table.schema, {**given_values, "id": row_id, "batch_id": batch["batch_id"]}, naive_timezone)
            if row["id"] in used:
                raise FieldError(f"id {row['id']} is already used by an earlier entry")
        except MissingInoculumError as error:
            rejects.add(table.name, f"The file cannot be used: {error}.", file=FILE, primary_key=key, blocking=True)
            return False
        except FieldError as error:
            rejects.add(table.name, f"{error}.", file=FILE, primary_key=key, raw=as_json(item))
            continue
        used.add(row["id"])
        unknown |= item.keys() - set(table.schema.names) - _EXPECTED_EXTRA
        rows.append(row)
    _warn_unknown(section, unknown, found.warnings)
    return True


class MissingInoculumError(FieldError):
    """The inoculation names its source neither in the old way nor in the new one."""


def _one_inoculum(item: dict[str, Any]) -> dict[str, Any]:
    """The column was renamed in the source system: both names are accepted, the new one wins."""
    if not {"inoculum_source", "cryo_vial_id"} & item.keys():
        raise MissingInoculumError("the inoculation has neither 'inoculum_source' nor 'cryo_vial_id'")
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
