"""`batch_{n}_phase_{p}_samples.csv`: the specification's ten columns of one batch's samples.

Superseded samples are left out, their corrections are in. Numbers are written in their shortest form,
booleans as `True`/`False`, times in ISO 8601 with `+00:00`; only NULL is blank. Lines end in LF.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.readers.fields import quantise
from sheaf.fermentation.writers.names import export_name, provisional

COLUMNS = (
    "batch_id",
    "batch_number",
    "phase",
    "timepoint_hours",
    "od600_raw",
    "od600_dilution_factor",
    "od600_calculated",
    "dcw_g_per_l",
    "contamination_detected",
    "sampled_at",
)


def write_samples_csv(draft: Draft) -> Written:
    """Write the samples of one batch."""
    batch = draft.tables.read(schema.BATCHES).to_pylist()[0]
    samples = draft.tables.read(schema.SAMPLES).to_pylist()
    current = [row for row in samples if row["superseded_by"] is None]
    wanted = [row for row in current if draft.filter.keeps(row)]
    name = f"{export_name(batch)}_samples.csv"
    write_sample_rows(draft.folder / name, sample_rows(batch, wanted))
    warnings = provisional(batch)
    if len(current) < len(samples):
        warnings.append(f"{len(samples) - len(current)} superseded samples are left out; the JSON has them.")
    return Written(
        record_count=len(wanted),
        rows={name: len(wanted)},
        counts={"samples": len(wanted), "contaminated": sum(bool(row["contamination_detected"]) for row in wanted)},
        warnings=tuple(warnings),
    )


def sample_rows(batch: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of one batch's samples, in their order: by time point, as the table has them."""
    return [[as_cell(_printed(name, {**batch, **row}[name])) for name in COLUMNS] for row in samples]


_DIGITS = {
    field.name: (field.metadata or {})[b"numeric"].decode()
    for field in schema.SAMPLES.schema
    if b"numeric" in (field.metadata or {})
}


def _printed(name: str, value: Any) -> Any:
    """A number with the digits that the source's column has; here, at the end, it is rounded."""
    if value is None or name not in _DIGITS:
        return value
    return float(quantise(Decimal(str(value)), _DIGITS[name]))


def write_sample_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write header and rows as UTF-8 with LF."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def as_cell(value: Any) -> str:
    """A value as the specification's export writes it; zero is a value, only None is blank."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def verify_sample_csv(folder: Path, written: Written) -> None:
    """Read the file back with the `csv` module.

    Raises:
        VerificationError: header, row count, line ends or a cell are not as promised.
    """
    for name, count in written.rows.items():
        text = (folder / name).read_bytes().decode("utf-8")
        if "\r" in text and '"' not in text:
            raise VerificationError(f"{name} has carriage returns.")
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
        if not rows or tuple(rows[0]) != COLUMNS:
            raise VerificationError(f"{name} has not the ten columns of the format.")
        if len(rows) - 1 != count:
            raise VerificationError(f"{name} has {len(rows) - 1} rows instead of {count}.")
        for line, row in enumerate(rows[1:], start=2):
            _verify_row(name, line, row)


def _verify_row(name: str, line: int, row: Sequence[str]) -> None:
    try:
        cells = dict(zip(COLUMNS, row, strict=True))
        int(cells["batch_number"])
        for column in COLUMNS[3:8]:
            float(cells[column] or 0)
        if cells["contamination_detected"] not in ("True", "False", ""):
            raise ValueError("contamination_detected is not True or False")
        if datetime.fromisoformat(cells["sampled_at"]).utcoffset() is None:
            raise ValueError("sampled_at has no zone")
    except ValueError as error:
        raise VerificationError(f"{name}, line {line}: {error}.") from error
