"""Shots and impacts of one match, a row for each: when, in which run, and what it hit or came from.

Put together from the events and what `analysis` says about each. DuckDB does the work, on disk where
it has to. Not here: which impact belongs to which shot (`correlate`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sheaf import duck
from sheaf.matches import schema
from sheaf.matches.analysis import plots
from sheaf.matches.analysis.events_stream import events
from sheaf.matches.analysis.run_events import LONGEST_US
from sheaf.matches.analysis.runs_tables import load_manifest
from sheaf.matches.readers import devices
from sheaf.report import Report
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

_RUNS_AT_ONCE = 2_000
_SCHEMA = pa.schema(
    [
        *(
            schema.EVENTS.schema.field(name)
            for name in (
                *("event_no", "ts", "event_type", "device_id", "device_position"),
                *("shot_number", "shot_time_s", "magnitude"),
            )
        ),
        *(schema.EVENT_RUNS.schema.field(name) for name in ("run_no", "shot_no", "split_s", "delay_ms", "matched")),
        pa.field("run_id", pa.string()),
    ]
)
_KINDS = ("shot_detected", "timer_shot_detail", "impact_detected")


def build_shots(work: Work) -> Report:
    """Write the tables of shots and impacts.

    Returns:
        Counts (`shots`, `misses`, `impacts`, `false_hits`), a preview of the shots, split chart and
        delay histograms.
    """
    tables = work.tables
    known = devices.resolve((), load_manifest(tables).devices).devices
    with duck.connect(
        str(work.scratch / "shots.duckdb"), memory_limit="64MB", temp_directory=str(work.scratch), threads=1
    ) as connection:
        connection.register("targets", _targets({name: device.target for name, device in known.items()}))
        connection.register("runs", tables.read(schema.RUNS, ["run_no", "start_time", "beep_time"]))
        connection.register("of_runs", pa.RecordBatchReader.from_batches(_SCHEMA, _of_runs(tables)))
        connection.execute("CREATE TABLE happened AS SELECT * FROM of_runs")
        total = tables.row(schema.TOTALS, ["impacts", "orphan_impacts"])
        connection.execute(f"SET VARIABLE sensed = {total['impacts'] + total['orphan_impacts'] > 0}")
        connection.execute(_VIEWS)
        shots, impacts = (
            work.write(table, _by_run(connection, query))
            for table, query in ((schema.SHOTS, _SHOTS), (schema.IMPACTS, _IMPACTS))
        )
        ((misses, false_hits),) = connection.execute(
            """
            SELECT (SELECT count(*) FROM shots WHERE NOT matched AND getvariable('sensed')),
                   (SELECT count(*) FROM impacts WHERE NOT matched)
            """
        ).fetchall()
        first = next(iter(tables.batches(schema.SHOTS)), None)
        return Report(
            counts={"shots": shots.rows, "misses": misses, "impacts": impacts.rows, "false_hits": false_hits},
            preview=tuple(first.slice(0, 20).drop_columns("event_no").to_pylist() if first else ()),
            plots=partial(plots.draw, *_drawn(connection, tables)),
        )


_VIEWS = """
CREATE VIEW impacts AS
SELECT *, coalesce(nullif(device_id, ''), nullif(device_position, '')) AS sensor
FROM happened WHERE event_type = 'impact_detected' AND matched IS NOT NULL;

CREATE VIEW shots AS
SELECT * FROM happened WHERE event_type <> 'impact_detected' AND shot_no IS NOT NULL;

-- What the timer wrote about a shot beside the shot itself.
CREATE VIEW told AS
SELECT run_no, shot_number AS shot_no, first(shot_time_s ORDER BY event_no) AS shot_time_s
FROM happened WHERE event_type = 'timer_shot_detail' GROUP BY ALL;
"""

_THESE = "run_no BETWEEN getvariable('first') AND getvariable('last')"

_SHOTS = f"""
SELECT run_id, shot_no, ts AS time,
       CASE WHEN abs(epoch_us(ts - coalesce(beep_time, start_time))) <= {LONGEST_US}
            THEN epoch_us(ts - coalesce(beep_time, start_time)) / 1e6 END AS since_beep_s,
       CASE WHEN shot_no > 1 THEN split_s END AS split_s,
       coalesce(mine.shot_time_s, told.shot_time_s) AS timer_time_s, sensor, target, delay_ms,
       CASE WHEN NOT getvariable('sensed') THEN 'unknown' WHEN matched THEN 'hit' ELSE 'miss' END AS status, event_no
FROM (FROM shots WHERE {_THESE}) mine JOIN runs USING (run_no)
LEFT JOIN (FROM told WHERE {_THESE}) told USING (run_no, shot_no)
LEFT JOIN (SELECT run_no, shot_no, sensor FROM impacts WHERE matched AND {_THESE}) USING (run_no, shot_no)
LEFT JOIN targets USING (sensor)
ORDER BY run_no, shot_no
"""

_IMPACTS = f"""
SELECT run_id, ts AS time, sensor, target, magnitude, shot_no, delay_ms, event_no
FROM impacts LEFT JOIN targets USING (sensor) WHERE {_THESE} ORDER BY run_no, event_no
"""


def _by_run(connection: "duckdb.DuckDBPyConnection", query: str) -> Iterator[pa.RecordBatch]:
    """The answer to a query, some runs at a time, so that memory doesn't grow with the match."""
    ((last,),) = connection.execute("SELECT coalesce(max(run_no), 0) FROM runs").fetchall()
    for first in range(1, last + 1, _RUNS_AT_ONCE):
        connection.execute(f"SET VARIABLE first = {first}; SET VARIABLE last = {first + _RUNS_AT_ONCE - 1}")
        yield from connection.sql(query).to_arrow_table().to_batches()


def _drawn(
    connection: "duckdb.DuckDBPyConnection", tables: Tables
) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, float]]]:
    """Splits, and delays with the offset by sensor."""
    splits = _numbers(connection, "SELECT split_s FROM shots WHERE shot_no > 1 AND split_s >= 0")
    offsets = tables.read(schema.SENSORS, ["sensor", "offset_ms"]).to_pylist()
    query = "SELECT delay_ms FROM impacts WHERE matched AND sensor IS NOT DISTINCT FROM ?"
    delays = {
        row["sensor"] or "unnamed sensor": (_numbers(connection, query, row["sensor"]), row["offset_ms"])
        for row in offsets
    }
    return splits, delays


def _numbers(connection: "duckdb.DuckDBPyConnection", query: str, *values: str | None) -> np.ndarray:
    (column,) = connection.execute(query, list(values)).fetchnumpy().values()
    return np.asarray(column)


def _of_runs(tables: Tables) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc

    needed = {*_SCHEMA.names, "source_type"}
    others = [name for name in schema.EVENTS.schema.names if name not in needed]
    for batch in events(tables, _KINDS, without=others, at_once=16 * 1024):
        if batch.column("corrected_time").null_count < batch.num_rows:
            times = pc.coalesce(batch.column("corrected_time"), batch.column("ts"))
            batch = batch.set_column(batch.schema.get_field_index("ts"), "ts", times)
        yield pa.RecordBatch.from_arrays(
            [batch.column(field.name).cast(field.type) for field in _SCHEMA], schema=_SCHEMA
        )


def _targets(targets: dict[str, str | None]) -> pa.Table:
    return pa.table(
        {"sensor": pa.array(targets.keys(), pa.string()), "target": pa.array(targets.values(), pa.string())}
    )
