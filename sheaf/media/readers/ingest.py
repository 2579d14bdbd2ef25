"""What is delivered of a batch into its tables: the batch, its pairs, and the files they name.

A bad row becomes a failed item with its reason. Which files there are is the source's question (`inbox`).
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from sheaf import clock
from sheaf.errors import InputError, NotFoundError, StoreError
from sheaf.media import schema
from sheaf.media.batch_record import BatchRecord, BatchStatus, read_record, write_record
from sheaf.media.methods import Method, Model
from sheaf.media.readers.batch_csv import BatchCsv, BatchRow, parse_batch_csv
from sheaf.media.readers.batch_options import BatchOptions
from sheaf.media.readers.content import Located
from sheaf.report import Report
from sheaf.store.store import Store
from sheaf.tables.parquet import from_rows
from sheaf.tables.work import Work


@dataclass(frozen=True)
class Ordered:
    """What is delivered of one batch.

    Attributes:
        csv_name: the CSV, without folder.
        csv_data: its bytes.
        options: how the batch is run.
        problem: why its options cannot be used, as a sentence; empty where they can.
        faults: files that cannot be analysed, by the name in the CSV: code and sentence.
        located: the files that can, and the models, with the hashes of what they hold.
    """

    csv_name: str
    csv_data: bytes
    options: BatchOptions
    problem: str
    faults: dict[str, tuple[str, str]]
    located: Located

    @property
    def name(self) -> str:
        """A hash of all of it but places and times."""
        digest = hashlib.sha256(self.csv_data)
        parts = [self.csv_name, self.problem or self.options.model_dump_json()]
        parts += [f"{name}\0{file.sha256}" for name, file in self.located.files.items()]
        parts += [f"{name}\0{code}\0{sentence}" for name, (code, sentence) in self.faults.items()]
        parts += [f"{model}\0{file.sha256}" for model, file in self.located.models.items()]
        for part in parts:
            digest.update(f"\n{part}".encode())
        return digest.hexdigest()[:32]


def ingest(ordered: Ordered, work: Work) -> Report:
    """Write the tables of one batch, and keep its record up to date.

    Returns:
        Counts (`items`, `bad_rows`) and the first pairs.

    Raises:
        InputError: the CSV or its options cannot be used.
    """
    sheet = parse_batch_csv(ordered.csv_name, ordered.csv_data, work.settings.methods)
    _keep_record(work.store, work.partition, sheet, ordered)
    if ordered.problem:
        raise InputError(ordered.problem)
    rows = [_pair(row, ordered) for row in sheet.rows]
    bad = [row for row in rows if row["error_code"]]
    for row in bad:
        work.rejects.add(
            schema.PAIRS.name,
            row["error_code"].lower(),
            row["error_message"],
            file=sheet.name,
            line=row["line"],
            primary_key=row["item_id"],
            raw={key: row[key] for key in ("master_file", "dub_file", "methods", "ai_model")},
        )
    work.rejects.saw(schema.PAIRS.name, len(sheet.rows))
    work.rejects.used(schema.PAIRS.name, len(rows) - len(bad))
    work.write(schema.PAIRS, from_rows(schema.PAIRS, rows))
    files = [{"name": name, "sha256": file.sha256, "size": file.size} for name, file in ordered.located.files.items()]
    work.write(schema.FILES, from_rows(schema.FILES, files))
    work.write(schema.BATCHES, from_rows(schema.BATCHES, [_batch(work.partition, sheet, ordered.options)]))
    return Report(
        counts={"items": len(rows), "bad_rows": len(bad)},
        preview=tuple({key: row[key] for key in ("item_id", "master_file", "dub_file")} for row in rows[:10]),
    )


def _keep_record(store: Store, batch: str, sheet: BatchCsv, ordered: Ordered) -> None:
    """Let who waits for the batch see it; one that ran already keeps its progress."""
    try:
        record = read_record(store, batch)
        if ordered.problem:
            return
    except (NotFoundError, StoreError):  # a new one, or one that is damaged
        record = BatchRecord(
            batch_id=batch,
            csv_file=sheet.name,
            csv_sha256=sheet.sha256,
            options=ordered.options,
            status=BatchStatus.FAILED if ordered.problem else BatchStatus.PENDING,
            items_total=len(sheet.rows),
            created_at=clock.now(),
        )
    write_record(
        store,
        record.model_copy(update={"csv_file": sheet.name, "options": ordered.options, "items_total": len(sheet.rows)}),
    )


def _batch(batch: str, sheet: BatchCsv, options: BatchOptions) -> dict[str, Any]:
    return {
        "batch_id": batch,
        "csv_file": sheet.name,
        "csv_sha256": sheet.sha256,
        "description": options.description,
        "priority": options.priority,
        "timeout_seconds": options.timeout_seconds,
        "items_total": len(sheet.rows),
        "repair": options.repair,
    }


def _pair(row: BatchRow, ordered: Ordered) -> dict[str, Any]:
    fault = row.fault or ordered.faults.get(row.master_file) or ordered.faults.get(row.dub_file)
    code, message = fault or (None, None)
    model = ordered.located.models.get(Model(row.ai_model)) if not fault and row.ai_model else None
    return {
        **row.asked,
        "error_code": code,
        "error_message": message,
        "line": row.line,
        "master_track": row.tracks[0],
        "dub_track": row.tracks[1],
        "model_sha256": model.sha256 if model and Method.AI in row.methods else None,
    }
