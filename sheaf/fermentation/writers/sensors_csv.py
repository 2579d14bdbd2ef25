"""`batch_{n}_phase_{p}_sensors.csv`: a column for each sensor on a common grid, for a spreadsheet.

Values are means over the steps of the grid, in the plan's units, which stand in the header; what follows from gas
and OD comes last. UTF-8 with the mark by which spreadsheets know it; times are UTC, as spreadsheets read them. With
`decimal=comma` numbers have decimal commas and cells are parted by semicolons. Raw points are in no spreadsheet: there
are a million.
"""

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.writers.names import export_name, provisional

if TYPE_CHECKING:
    import numpy as np

_TIME, _HOURS = "Time (UTC)", "Elapsed [h]"
_DERIVED = ("CER", "OUR", "RQ", "mu", "volume_l")
_DIGITS = 7


def write_sensors_csv(draft: Draft) -> Written:
    """Write the sensors of one batch."""
    batch = draft.tables.read(schema.BATCHES).to_pylist()[0]
    windows = draft.tables.read(schema.SENSOR_WINDOWS)
    features = draft.tables.read(schema.FEATURES)
    units = {name: sensor["unit"] for name, sensor in draft.made_with["plan"]["sensors"].items()}
    steps, columns = _grid(windows, features, units, draft.options.step_s)
    start = batch["inoculated_at"]
    name = f"{export_name(batch)}_sensors.csv"
    comma = draft.options.decimal == "comma"
    count = 0
    with (draft.folder / name).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";" if comma else ",", lineterminator="\n")
        writer.writerow([_TIME, _HOURS, *columns])
        for row in _rows(steps, columns, start, draft):
            writer.writerow([cell.replace(".", ",") if comma else cell for cell in row])
            count += 1
    return Written(
        record_count=count,
        rows={name: count},
        counts={"steps": count, "sensors": len(set(windows.column("sensor").to_pylist()))},
        warnings=tuple(provisional(batch)),
    )


def _grid(
    windows: pa.Table, features: pa.Table, units: dict[str, str], step_s: int
) -> "tuple[np.ndarray, dict[str, np.ndarray]]":
    """Start of every step in microseconds since the epoch, and means by the name of the column."""
    import numpy as np

    step = step_s * 1_000_000
    begins = features.column("window_start").cast("int64").to_numpy()
    if not len(begins):
        return np.zeros(0, np.int64), {}
    first, last = begins[0] // step, begins[-1] // step
    steps = np.arange(first, last + 1)

    def means(at: "np.ndarray", values: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
        there = ~np.isnan(values)
        number = (at[there] // step - first).astype(int)
        weight = np.bincount(number, weights[there], len(steps))
        total = np.bincount(number, (values * weights)[there], len(steps))
        return np.divide(total, weight, out=np.full(len(steps), np.nan), where=weight > 0)

    names = windows.column("sensor").combine_chunks().dictionary_encode()
    codes = names.indices.to_numpy()
    at = windows.column("window_start").cast("int64").to_numpy()
    mean, count = windows.column("mean").to_numpy(), windows.column("count").to_numpy()
    codes_of = {name: code for code, name in enumerate(names.dictionary.to_pylist())}
    columns = {}
    for name, unit in units.items():
        if name in codes_of:
            own = codes == codes_of[name]
            # A value that was only held has no points; it counts as one.
            columns[f"{name} [{unit}]"] = means(at[own], mean[own], np.maximum(count[own], 1).astype(float))
    for name in _DERIVED:
        notes = features.schema.field(name).metadata or {}
        columns[f"{name} [{notes.get(b'unit', b'1').decode()}]"] = means(
            begins, features.column(name).to_numpy(), np.ones(len(begins))
        )
    return steps * step, columns


def _rows(
    steps: "np.ndarray", columns: "dict[str, np.ndarray]", start: datetime | None, draft: Draft
) -> Iterator[list[str]]:
    import numpy as np

    zero = None if start is None else round(start.timestamp() * 1_000_000)
    times = steps.astype("datetime64[us]").astype(str)
    for number, us in enumerate(steps.tolist()):
        hours = None if zero is None else (us - zero) / 3600e6
        if not draft.filter.keeps_hours(hours):
            continue
        values = [values[number] for values in columns.values()]
        cells = ["" if np.isnan(value) else f"{value:.{_DIGITS}g}" for value in values]
        yield [times[number][:19].replace("T", " "), "" if hours is None else f"{hours:.6f}", *cells]


def verify_sensors_csv(folder: Path, written: Written) -> None:
    """Read the file back with the `csv` module.

    Raises:
        VerificationError: header, row count or a cell are not as promised.
    """
    for name, count in written.rows.items():
        text = (folder / name).read_bytes().decode("utf-8-sig")
        semicolons = text.startswith(f"{_TIME};")
        rows: list[list[Any]] = list(csv.reader(text.splitlines(), delimiter=";" if semicolons else ",", strict=True))
        if not rows or rows[0][:2] != [_TIME, _HOURS]:
            raise VerificationError(f"{name} does not begin with {_TIME} and {_HOURS}.")
        if len(rows) - 1 != count:
            raise VerificationError(f"{name} has {len(rows) - 1} rows instead of {count}.")
        for line, row in enumerate(rows[1:], start=2):
            try:
                datetime.fromisoformat(row[0])
                for cell in row[1:]:
                    float(cell.replace(",", ".") or 0)
            except ValueError as error:
                raise VerificationError(f"{name}, line {line}: {error}.") from error
            if len(row) != len(rows[0]):
                raise VerificationError(f"{name}, line {line} has {len(row)} cells instead of {len(rows[0])}.")
