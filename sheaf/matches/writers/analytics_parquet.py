"""`analytics_parquet`: the events with run and correlation, one fixed schema, optionally partitioned."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sheaf import duck, memory
from sheaf.errors import UsageError, VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.analysis.events_stream import counts, events, warnings
from sheaf.matches.analysis.runs_tables import load_manifest
from sheaf.matches.writers.request import PARTITION_COLUMNS, ParquetOptions
from sheaf.tables.pinned import Tables
from sheaf.tables.table import FLAG, INTEGER, REAL, TEXT, UTC_TIME, arrow_schema, column

ROW_GROUP = 64 * 1024
_AT_ONCE = 16 * 1024  # which is what a row group holds
_KEPT = 4
"""Row groups after which free memory goes back: it lies in pieces, and the next one needs larger ones."""
_MOST_PARTITIONS = 10_000
_REPEATING = [*PARTITION_COLUMNS, "details"]
"""Columns in which values repeat; a dictionary of all others would cost time and space."""

ANALYTICS_SCHEMA = arrow_schema(
    [
        column("timestamp_iso", UTC_TIME, "When it happened", null=False),
        column("event_type", pa.dictionary(pa.int32(), pa.string()), "Canonical name", null=False),
        column("device", TEXT, "Timer, Sensor or Bridge"),
        column("device_id", TEXT, "Device"),
        column("device_position", TEXT, "Bay or plate"),
        column("details", TEXT, "Free text of the source"),
        column("session_id", TEXT, "Session of the process that wrote it"),
        column("run_id", TEXT, "The run it belongs to"),
        column("match_id", TEXT, "The match", null=False),
        column("seq", INTEGER, "Sequence number of the process that wrote it"),
        column("shot_number", schema.SMALL, "Shot in its run, else as the timer says"),
        column("shot_time_s", REAL, "Time since the beep as the timer says", "s"),
        column("split_s", REAL, "Time since the previous shot", "s"),
        column("magnitude", REAL, "Strength of an impact"),
        column("delay_ms", REAL, "Time from the shot to its impact", "ms"),
        column("matched", FLAG, "Whether shot and impact found each other"),
        column("raw_data", TEXT, "The record as it came, as JSON"),
        column("source_file", TEXT, "File below the match folder", null=False),
        column("source_line", INTEGER, "Line in that file"),
        column("stage", TEXT, "Stage of its run"),
        column("bay", TEXT, "Bay of its run"),
        column("string", schema.SMALL, "Number of its run at that stage and bay"),
        column("shooter", TEXT, "Who shot the run"),
        column("target", TEXT, "Target of the sensor of an impact"),
    ],
    metadata={"schema_version": "1.0.0"},
)
"""What a file holds, whatever it is partitioned by."""


def check(tables: Tables, _filter: object, options: ParquetOptions) -> None:
    """Refuse a partitioning that would make too many files."""
    if options.partition_by == "run_id":
        runs = tables.row(schema.TOTALS, ["runs"])["runs"]
        if runs > _MOST_PARTITIONS:
            raise UsageError(
                f"Match {tables.partition!r} has {runs} runs: partition_by=run_id is possible up to {_MOST_PARTITIONS}."
            )


def write(draft: Draft) -> Written:
    """Write `match_<id>_analytics.parquet`, or a folder `match_<id>_analytics` with one folder per partition."""
    folder = draft.folder
    name = f"match_{draft.partition}_analytics"
    if draft.options.partition_by is None:
        rows = {f"{name}.parquet": _write_file(draft, folder / f"{name}.parquet")}
    else:
        # Without events there are no partitions, but the columns should still be found.
        rows = _write_partitions(draft, folder / name) or {
            f"{name}.parquet": _write_file(draft, folder / f"{name}.parquet")
        }
    return Written(sum(rows.values()), rows, counts(draft.tables), warnings(draft.tables))


def verify(folder: Path, written: Written) -> None:
    """Read every page back with DuckDB, and the metadata with pyarrow: columns, codec, rows."""
    codecs = set()
    for name, rows in written.rows.items():
        found, used = _read_back(folder / name)
        codecs |= used
        if found != rows:
            raise VerificationError(f"{name} holds {found} rows, but {rows} were written.")
    if len(codecs) > 1:
        raise VerificationError(f"The files use several codecs: {', '.join(sorted(codecs))}.")


def _read_back(path: Path) -> tuple[int, set[str]]:
    """Rows and codecs of a file whose every page can be read."""
    import duckdb
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = set(ANALYTICS_SCHEMA.names) - set(file.schema_arrow.names)
            meta = file.metadata
            codecs = {meta.row_group(group).column(0).compression for group in range(meta.num_row_groups)}
        with duck.connect(memory_limit="128MB", threads=2) as connection:
            query = "SELECT count(*), count(COLUMNS(*)) FROM read_parquet(?)"
            ((rows, *_),) = connection.execute(query, [str(path)]).fetchall()
    except (pa.ArrowException, OSError, duckdb.Error) as error:
        raise VerificationError(f"{path.name} cannot be read back: {str(error).splitlines()[0]}") from error
    # Only the column that names the partition's folder may be missing from the file.
    if missing - {path.parent.name.partition("=")[0]}:
        raise VerificationError(f"{path.name} lacks the columns {', '.join(sorted(missing))}.")
    return rows, codecs


def _write_file(draft: Draft, path: Path) -> int:
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(
        path,
        ANALYTICS_SCHEMA,
        compression=draft.options.compression,
        compression_level=_level(draft.options.compression),
        use_dictionary=_REPEATING,  # type: ignore[arg-type]  # names of columns do as well
    ) as writer:
        for number, batch in enumerate(_rows(draft)):  # which reads ahead itself
            writer.write_batch(batch, row_group_size=ROW_GROUP)
            rows += batch.num_rows
            if number % _KEPT == 0:
                memory.give_back()
    return rows


def _write_partitions(draft: Draft, folder: Path) -> dict[str, int]:
    import pyarrow.dataset as ds

    by = draft.options.partition_by
    table_schema = ANALYTICS_SCHEMA
    if by not in table_schema.names:
        table_schema = table_schema.append(pa.field(by, pa.string()))
    elif by == "event_type":
        table_schema = table_schema.set(table_schema.get_field_index(by), pa.field(by, pa.string()))
    zone = load_manifest(draft.tables).zone.key
    rows: dict[str, int] = {}

    def note(file: "ds.WrittenFile") -> None:
        rows[Path(file.path).relative_to(folder.parent).as_posix()] = file.metadata.num_rows

    form = ds.ParquetFileFormat()
    folder.mkdir()
    ds.write_dataset(
        pa.RecordBatchReader.from_batches(table_schema, _with_partition(_rows(draft), by, zone, table_schema)),
        folder,
        format=form,
        file_options=form.make_write_options(
            compression=draft.options.compression,
            compression_level=_level(draft.options.compression),
            use_dictionary=_REPEATING,
        ),
        partitioning=ds.partitioning(pa.schema([(by, pa.string())]), flavor="hive"),
        basename_template="part-{i}.parquet",
        max_partitions=_MOST_PARTITIONS,
        max_rows_per_group=ROW_GROUP,
        use_threads=False,  # else rows change places
        file_visitor=note,
    )
    return dict(sorted(rows.items()))


def _with_partition(
    batches: Iterator[pa.RecordBatch], by: str, zone: str, table_schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc

    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names}
        if by == "date":
            local = pc.local_timestamp(columns["timestamp_iso"].cast(pa.timestamp("us", zone)))
            columns["date"] = local.cast(pa.date32()).cast(pa.string())
        elif by == "session":
            columns["session"] = columns["session_id"]
        else:
            columns[by] = columns[by].cast(pa.string())
        yield pa.RecordBatch.from_arrays([columns[name] for name in table_schema.names], schema=table_schema)


def _rows(draft: Draft) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc

    wanted = ANALYTICS_SCHEMA
    for batch in events(draft.tables, draft.filter.events, without=("byte_offset", "dialect"), at_once=_AT_ONCE):
        columns = {name: batch.column(name) for name in batch.schema.names}
        columns["timestamp_iso"] = columns["ts"]
        columns["event_type"] = columns["event_type"].dictionary_encode()
        columns["match_id"] = pa.array([draft.partition]).take(pa.array([0] * batch.num_rows, pa.int32()))
        columns["shot_number"] = pc.coalesce(columns["shot_no"], columns["shot_number"])
        columns["raw_data"] = columns["raw"]
        yield pa.RecordBatch.from_arrays(
            [columns[name].cast(wanted.field(name).type) for name in wanted.names], schema=wanted
        )


def _level(codec: str) -> int | None:
    """The level that costs the least time, of codecs that have levels; the default of gzip is among the slowest."""
    return 1 if codec in ("gzip", "brotli", "zstd") else None
