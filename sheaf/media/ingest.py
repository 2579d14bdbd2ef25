"""One batch CSV of the inbox into the table of pairs, with a record of the batch.

A bad row becomes a failed item with its reason; a CSV that cannot be used at all is refused with a
reason file beside it.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sheaf import clock, tables
from sheaf.errors import InputError, NotFoundError
from sheaf.media import schema
from sheaf.media.batch_csv import BatchCsv, BatchRow, read_batch_csv
from sheaf.media.batch_options import read_batch_options
from sheaf.media.batch_record import BatchRecord, known_batch, read_record, write_record
from sheaf.media.errors import MediaError
from sheaf.media.paths import find_media
from sheaf.media.settings import MediaSettings
from sheaf.report import Report
from sheaf.store import Store
from sheaf.tables import Rejects

T = TypeVar("T")


def batch_id(csv_path: Path, store: Store) -> str:
    """The name of the batch a CSV asks for: `batch_<UTC arrival>_<first 8 hex of its sha256>`.

    The file's time is its arrival, so that the name doesn't change from look to look; the same
    bytes again, under whatever name, are the batch that is known already.

    Raises:
        InputError: the CSV cannot be used; the reason is also written beside it.
    """
    sheet = _read(csv_path, MediaSettings())
    arrived = datetime.fromtimestamp(int(csv_path.stat().st_mtime), UTC)
    return known_batch(store, sheet.sha256) or f"batch_{arrived:%Y%m%d_%H%M%S}_{sheet.sha256[:8]}"


def ingest(csv_path: Path, store: Store, batch: str, settings: MediaSettings) -> Report:
    """Read one CSV and write its pairs.

    Args:
        csv_path: the batch; an optional `<name>.yaml` beside it holds options of the batch.
        store: where the tables go.
        batch: the partition, from `batch_id`.
        settings: media roots and defaults.

    Returns:
        Counts (`items`, `bad_rows`), bad rows by reason.

    Raises:
        InputError: the CSV as a whole cannot be used; the reason is also written beside it.
    """
    sheet = _read(csv_path, settings)
    options = _refusing(csv_path, lambda: read_batch_options(csv_path))
    roots = settings.roots or (csv_path.parent,)
    rejects = Rejects()
    rows = [_pair(row, roots) for row in sheet.rows]
    for row in rows:
        if row["error_code"]:
            rejects.add(
                "pairs",
                row["error_message"],
                file=csv_path.name,
                line=row["line"],
                primary_key=row["item_id"],
                raw={key: row[key] for key in ("master_file", "dub_file", "methods", "ai_model")},
            )
    record = BatchRecord(
        batch_id=batch,
        csv_file=sheet.name,
        csv_sha256=sheet.sha256,
        options=options,
        items_total=len(rows),
        created_at=clock.now(),
    )
    with suppress(NotFoundError):  # a batch that ran already keeps its progress
        record = read_record(store, batch).model_copy(update={"options": options, "items_total": len(rows)})
    write_record(store, record)
    written = (
        tables.write(store, schema.PAIRS, batch, tables.from_rows(schema.PAIRS, rows)),
        tables.write(store, schema.REJECTS, batch, tables.from_rows(schema.REJECTS, rejects.rows)),
    )
    return Report(
        tables=written,
        counts={"items": len(rows), "bad_rows": len(rejects.rows)},
        rejects=rejects.by_reason(),
        preview=tuple({key: row[key] for key in ("item_id", "master_file", "dub_file")} for row in rows[:10]),
    )


def _read(csv_path: Path, settings: MediaSettings) -> BatchCsv:
    return _refusing(csv_path, lambda: read_batch_csv(csv_path, settings.methods))


def _refusing(csv_path: Path, read: Callable[[], T]) -> T:
    """Leave the reason beside a CSV that is refused, and take it away once the CSV is accepted."""
    reason = csv_path.with_name(csv_path.name + ".rejected.txt")
    try:
        found = read()
    except InputError as error:
        with suppress(OSError):  # an inbox that cannot be written still gets its answer from the run
            if not reason.is_file() or reason.read_text(encoding="utf-8") != f"{error}\n":
                reason.write_text(f"{error}\n", encoding="utf-8")
        raise
    with suppress(OSError):
        reason.unlink(missing_ok=True)
    return found


def _pair(row: BatchRow, roots: tuple[Path, ...]) -> dict[str, Any]:
    fault, paths = row.fault, {}
    if fault is None:
        try:
            paths = {"master_path": str(find_media(row.master_file, roots))}
            paths |= {"dub_path": str(find_media(row.dub_file, roots))}
        except MediaError as error:
            fault, paths = (error.code, str(error)), {}
    code, message = fault or (None, None)
    return {
        "item_id": row.item_id,
        "master_file": row.master_file,
        "dub_file": row.dub_file,
        "methods": list(row.methods),
        "ai_model": row.ai_model,
        "description": row.description,
        "tags": list(row.tags),
        "error_code": code,
        "error_message": message,
        "line": row.line,
        "master_path": paths.get("master_path"),
        "dub_path": paths.get("dub_path"),
    }
