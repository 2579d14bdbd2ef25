"""`training_samples.parquet` of one batch, and below it its windows, `features_30s.parquet`, feeds and yields.

Who reads the folder gets the samples: a folder that starts with `_` is passed over (pandas, Arrow, Spark), and
`*.parquet` finds nothing in it (DuckDB).

All samples that are not superseded are in, and all windows, with `eligible` and `split` beside them, and columns for
every sensor of the plan. The gas balance that was asked for is under the plain names (`CER`, `OUR`, …). The files'
metadata name it, and with `sheaf:made_with` the settings that the values follow from, as JSON.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sheaf import duck
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.analysis.windows import WINDOW_S
from sheaf.fermentation.writers.names import provisional
from sheaf.fermentation.writers.wide import with_sensors

if TYPE_CHECKING:
    import duckdb

MADE_WITH = "sheaf:made_with"
"""Key of the files' metadata."""
SAMPLES_FILE, FEATURES_FILE = "training_samples.parquet", "_features_30s/features_30s.parquet"
_OF_THE_BATCH = {
    "_feed_events/feed_events.parquet": schema.FEED_EVENTS,
    "_yields/yields.parquet": schema.YIELDS,
}
_REQUIRED = ("batch_id", "split", "eligible", "ineligible_reason", "pH", "DO", "temp", "OD", "CER", "OUR", "mu")


def write_training_parquet(draft: Draft) -> Written:
    """Write samples with features, and the feature windows."""
    batch = draft.tables.read(schema.BATCHES).to_pylist()[0]
    samples = draft.tables.read(schema.TRAINING_SAMPLES)
    kept = samples.filter(pa.array([draft.filter.keeps(row) for row in samples.to_pylist()], pa.bool_()))
    windows = draft.tables.read(schema.FEATURES)
    hours = windows.column("elapsed_hours").to_pylist()
    windows = windows.filter(pa.array([draft.filter.keeps_hours(value) for value in hours], pa.bool_()))
    windows = _with_verdict(windows, draft.tables.read(schema.ELIGIBILITY))
    plan = draft.made_with["plan"]
    kept = with_sensors(kept, draft.tables.read(schema.SAMPLE_SENSORS), "sample_id", plan)
    windows = with_sensors(windows, draft.tables.read(schema.SENSOR_WINDOWS), "window_start", plan)
    write_parquet(draft, SAMPLES_FILE, kept)
    write_parquet(draft, FEATURES_FILE, windows)
    rows = {SAMPLES_FILE: kept.num_rows, FEATURES_FILE: windows.num_rows}
    for name, table in _OF_THE_BATCH.items():
        data = draft.tables.read(table)
        _write(draft, name, data, {})
        rows[name] = data.num_rows
    warnings = provisional(batch)
    if plan["phases"][batch["phase"]]["split"] == "holdout":
        warnings.append(f"Phase {batch['phase']} is the hold-out: use it to test a model, never to train one.")
    unmatched = kept.column("match_status").to_pylist().count("none")
    if unmatched:
        warnings.append(f"Samples without sensor data near them, whose features are empty: {unmatched}.")
    return Written(
        record_count=kept.num_rows,
        rows=rows,
        counts={
            "samples": kept.num_rows,
            "windows": windows.num_rows,
            "eligible": kept.column("eligible").to_pylist().count(True),
            "without_features": unmatched,
        },
        warnings=tuple(warnings),
    )


def _with_verdict(windows: pa.Table, eligibility: pa.Table) -> pa.Table:
    """Say on every window whether it may be used for training, as the samples do; outside of the run none may."""
    at = windows.schema.get_field_index("split") + 1
    verdict = eligibility.to_pylist()[0]
    in_run = windows.column("in_run").to_pylist()
    reasons = [
        "; ".join(filter(None, (verdict["ineligible_reason"], None if inside else "window is outside of the run")))
        or None
        for inside in in_run
    ]
    eligible = [verdict["eligible"] and inside for inside in in_run]
    for name, values in (("ineligible_reason", reasons), ("eligible", eligible)):
        field = eligibility.schema.field(name)
        windows = windows.add_column(at, field, pa.array(values, field.type))
    return windows


def write_parquet(draft: Draft, name: str, data: pa.Table) -> None:
    """Write one table with the chosen gas balance under the plain names."""
    balance = draft.options.gas_balance
    _write(draft, name, with_gas_balance(data, balance), {"gas_balance": balance, "window_s": str(WINDOW_S)})


def _write(draft: Draft, name: str, data: pa.Table, metadata: dict[str, str]) -> None:
    import pyarrow.parquet as pq

    metadata = metadata | {MADE_WITH: json.dumps(draft.made_with, sort_keys=True, ensure_ascii=False)}
    (draft.folder / name).parent.mkdir(exist_ok=True)
    pq.write_table(data.replace_schema_metadata(metadata), draft.folder / name, compression="zstd")


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
    """Read the files back with DuckDB, which is independent of the library that wrote them.

    Raises:
        VerificationError: a file has not the promised rows or columns.
    """
    with duck.connect() as connection:
        for name, count in written.rows.items():
            if name in _OF_THE_BATCH:
                _verify(connection, folder / name, count, _OF_THE_BATCH[name].schema.names)
                continue
            own = ("window_start", "window_end") if name == FEATURES_FILE else ("sampled_at", "match_status")
            _verify(connection, folder / name, count, (*_REQUIRED, *own))


def _verify(connection: "duckdb.DuckDBPyConnection", path: Path, count: int, columns: Sequence[str]) -> None:
    import duckdb

    try:
        found = connection.sql("SELECT * FROM read_parquet(?)", params=[str(path)]).to_arrow_table()
    except duckdb.Error as error:
        raise VerificationError(f"{path.name} cannot be read: {error}") from error
    if missing := [name for name in columns if name not in found.column_names]:
        raise VerificationError(f"{path.name} has no column {', '.join(missing)}.")
    if found.num_rows != count:
        raise VerificationError(f"{path.name} has {found.num_rows} rows instead of {count}.")
