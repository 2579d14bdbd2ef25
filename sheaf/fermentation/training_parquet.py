"""`training_samples.parquet` and `features_30s.parquet` of one batch.

All samples that are not superseded are in, and all windows, with `eligible` and `split` beside them. The gas balance
that was asked for is under the plain names (`CER`, `OUR`, …) and named in the files' metadata.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from sheaf import duck, tables
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.identity import provisional

SAMPLES_FILE, FEATURES_FILE = "training_samples.parquet", "features_30s.parquet"
_REQUIRED = ("batch_id", "split", "eligible", "ineligible_reason", "pH", "DO", "temp", "OD", "CER", "OUR", "mu")


def write_training_parquet(draft: Draft) -> Written:
    """Write samples with features, and the feature windows."""
    batch = tables.read(draft.store, schema.BATCHES, draft.partition).to_pylist()[0]
    samples = tables.read(draft.store, schema.TRAINING_SAMPLES, draft.partition)
    kept = samples.filter(pa.array([draft.filter.keeps(row) for row in samples.to_pylist()], pa.bool_()))
    windows = tables.read(draft.store, schema.FEATURES, draft.partition)
    hours = windows.column("elapsed_hours").to_pylist()
    windows = windows.filter(pa.array([draft.filter.keeps_hours(value) for value in hours], pa.bool_()))
    windows = _with_verdict(windows, tables.read(draft.store, schema.ELIGIBILITY, draft.partition))
    write_parquet(draft.folder / SAMPLES_FILE, kept, draft.options.gas_balance)
    write_parquet(draft.folder / FEATURES_FILE, windows, draft.options.gas_balance)
    warnings = provisional(batch)
    if batch["phase"] == "C":
        warnings.append("Phase C is the hold-out: use it to test a model, never to train one.")
    unmatched = kept.column("match_status").to_pylist().count("none")
    if unmatched:
        warnings.append(f"Samples without sensor data near them, whose features are empty: {unmatched}.")
    return Written(
        record_count=kept.num_rows,
        rows={SAMPLES_FILE: kept.num_rows, FEATURES_FILE: windows.num_rows},
        counts={
            "samples": kept.num_rows,
            "windows": windows.num_rows,
            "eligible": kept.column("eligible").to_pylist().count(True),
            "without_features": unmatched,
        },
        warnings=tuple(warnings),
    )


def _with_verdict(windows: pa.Table, eligibility: pa.Table) -> pa.Table:
    """Say on every window whether its batch may be used for training, as the samples do."""
    at = windows.schema.get_field_index("split") + 1
    for name in ("ineligible_reason", "eligible"):
        field = eligibility.schema.field(name)
        value = eligibility.column(name)[0].as_py()
        windows = windows.add_column(at, field, pa.array([value] * windows.num_rows, field.type))
    return windows


def write_parquet(path: Path, data: pa.Table, gas_balance: str) -> None:
    """Write one table with the chosen gas balance under the plain names."""
    import pyarrow.parquet as pq

    data = with_gas_balance(data, gas_balance)
    metadata = {"gas_balance": gas_balance, "window_s": "30"}
    pq.write_table(data.replace_schema_metadata(metadata), path, compression="zstd")


def with_gas_balance(data: pa.Table, gas_balance: str) -> pa.Table:
    """Keep one of the two gas balances; the columns stay where they are."""
    if gas_balance == "upstream":
        for name in schema.GAS_RATES:
            data = data.set_column(
                data.schema.get_field_index(name),
                data.schema.field(f"{name}_upstream").with_name(name),
                data.column(f"{name}_upstream"),
            )
    return data.drop_columns([f"{name}_upstream" for name in schema.GAS_RATES])


def verify_training_parquet(folder: Path, written: Written) -> None:
    """Read the files back with DuckDB.

    Raises:
        VerificationError: a file has not the promised rows or columns.
    """
    for name, count in written.rows.items():
        own = ("window_start", "window_end") if name == FEATURES_FILE else ("sampled_at", "match_status")
        verify_parquet(folder / name, count, (*_REQUIRED, *own))


def verify_parquet(path: Path, count: int, columns: Sequence[str]) -> None:
    """Read one file back with DuckDB, which is independent of the library that wrote it.

    Raises:
        VerificationError: it has other rows or lacks a column.
    """
    import duckdb

    with duck.connect() as connection:
        try:
            result = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            found = [entry[0] for entry in result.description or ()]
            rows = len(result.fetchall())
        except duckdb.Error as error:
            raise VerificationError(f"{path.name} cannot be read: {error}") from error
    if missing := [name for name in columns if name not in found]:
        raise VerificationError(f"{path.name} has no column {', '.join(missing)}.")
    if rows != count:
        raise VerificationError(f"{path.name} has {rows} rows instead of {count}.")
