"""Every event once and in order, from the records of all sources.

Two records are the same event when they agree to 10 ms in time, in type, device and text: the
CSV twin of a log, a copied file, a replay. The n-th such record of one file is the twin of the
n-th of another, so that two real events of one file are both kept. Timer and impact events that
different loggers wrote of the same device (bridge log, timer backup, database, console) are the
same when they are near in time; each keeps at most one partner.

DuckDB does the work, on disk where it has to. Not here: reading sources, meaning of events.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sheaf import duck, sql
from sheaf.matches.readers.dialects import DIALECTS
from sheaf.matches.readers.set_back import SetBack, together
from sheaf.matches.schema import EVENTS

if TYPE_CHECKING:
    import duckdb

_TOLERANCE_US = {"impact_detected": 500_000}  # a sensor is deaf for a second after a hit
_TIMER_TOLERANCE_US = 100_000
_SHARED_TYPES = ("timer_start_beep", "timer_start_button", "timer_stop_button", "shot_detected", "impact_detected")
_BATCH = 4 * 1024
_SORTED = 32 * 1024
"""Rows that are sorted at once."""
_KINDS = ("Timer", "Sensor", "Bridge")
SAME_US = 10_000
"""Two records of one event differ in time by less than this: both are cut to it."""


@dataclass(frozen=True)
class Staged:
    """What was read: Parquet files with `staging.SCHEMA`.

    Attributes:
        folder: where they are.
        files: name of the source by `file_no`.
        ordered: whether reading order is time order already.
        names: full address by the name a source used.
        alike: the only events that can be duplicates within 10 ms; None when that can be any.
        set_back: where clocks were set back.
    """

    folder: Path
    files: tuple[str, ...]
    ordered: bool
    names: Mapping[str, str]
    alike: np.ndarray | None = None
    set_back: Sequence[SetBack] = ()


@dataclass
class Merged:
    """The canonical events, to be read once; `duplicates` by file is known before."""

    duplicates: int
    _connection: "duckdb.DuckDBPyConnection"
    _staged: Staged
    _together: bool

    def batches(self, start: int = 0) -> Iterator[pa.RecordBatch]:
        """The events in order, with the columns of the events table; `start` is the number of the first."""
        names = pa.array(self._staged.names.keys(), pa.string()), pa.array(self._staged.names.values(), pa.string())
        files = pa.array(self._staged.files, pa.string())
        for batch in self._in_order():
            yield _finish(batch, start, files, names)
            start += batch.num_rows

    def _in_order(self) -> Iterator[pa.RecordBatch]:
        if self._together or not self._staged.ordered:
            own = ", set_back, CASE WHEN set_back > 0 THEN ts END" if self._staged.set_back else ""
            query = f"FROM staged WHERE {{}} AND n NOT IN (FROM duplicates) ORDER BY order_ts{own}, file_no, line, n"
            for part in duck.ranges(self._connection, "staged", "order_ts", _SORTED):
                yield from self._connection.sql(query.format(part)).to_arrow_reader(_BATCH)
            return
        # As it was read, and not through DuckDB, which gives no order that it was not asked for.
        import pyarrow.parquet as pq

        drop = self._connection.execute("FROM duplicates ORDER BY n").fetchnumpy()["n"]
        self.close()  # frees its memory
        for path in sorted(self._staged.folder.glob("staged-*.parquet")):
            with pq.ParquetFile(path, pre_buffer=False) as file:  # what is fetched ahead would be kept
                for batch in file.iter_batches(_BATCH):
                    doubled = np.isin(batch.column("n").to_numpy(), drop)
                    yield batch.filter(pa.array(~doubled)) if doubled.any() else batch

    def close(self) -> None:
        """Let go of the working database."""
        self._connection.close()


def _later(shared: Sequence[tuple[SetBack, int]]) -> str:
    """Columns in which events after a clock was set back come after all that came before it in any source."""
    later = " ".join(
        f"WHEN file_no = {one.file_no} AND n >= {one.n} AND order_ts BETWEEN {one.before_us} AND {before_us} "
        f"AND {sql.literal(one.dialect)} IN ('', dialect) THEN {before_us}"
        for one, before_us in shared
    )
    order = f"CASE {later} ELSE order_ts END"
    # An event may have caught up with its own source, and not yet with the others.
    often = f"CASE WHEN {order} > order_ts THEN greatest(set_back, 1) ELSE set_back END"
    return f"* REPLACE ({order} AS order_ts, {often} AS set_back)"


def merge(staged: Staged, memory_mb: int) -> Merged:
    """Find duplicates and prepare the ordered stream."""
    connection = duck.connect(
        str(staged.folder / "merge.duckdb"),
        memory_limit=f"{memory_mb}MB",
        temp_directory=str(staged.folder / "spill"),
        threads=2,
    )
    connection.execute("SET preserve_insertion_order = true")
    pattern = duck.quoted(staged.folder / "staged-*.parquet")
    shared = together(staged.set_back)
    columns = _later(shared) if shared else "*"
    connection.execute(f"CREATE VIEW staged AS SELECT {columns} FROM read_parquet({pattern})")
    connection.execute("CREATE TABLE names (name VARCHAR, full_name VARCHAR)")
    if staged.names:
        connection.executemany("INSERT INTO names VALUES (?, ?)", [list(pair) for pair in staged.names.items()])
    connection.execute("CREATE TABLE duplicates (n BIGINT)")
    if staged.alike is not None:
        connection.register("alike", pa.table({"n": staged.alike}))
    _exact_duplicates(connection, "WHERE n IN (SELECT n FROM alike)" if staged.alike is not None else "")
    _duplicates_of_other_loggers(connection)
    ((count,),) = connection.execute("SELECT count(*) FROM duplicates").fetchall()
    return Merged(count, connection, staged, bool(shared))


def _exact_duplicates(connection: "duckdb.DuckDBPyConnection", which: str) -> None:
    rank = " ".join(f"WHEN {sql.literal(name)} THEN {index}" for index, name in enumerate(DIALECTS))
    connection.execute(
        f"""
        CREATE TABLE keys AS
        SELECT n, file_no, seq, CASE dialect {rank} END AS rank,
               hash(ts // {SAME_US}, event_type, coalesce(full_name, device_id), coalesce(details, raw)) AS k
        FROM staged LEFT JOIN names ON name = device_id {which};

        CREATE TABLE repeated AS
        SELECT * FROM keys WHERE k IN (SELECT k FROM keys GROUP BY k HAVING count(*) > 1);

        INSERT INTO duplicates
        WITH replays AS (
            SELECT *, row_number() OVER (PARTITION BY k, file_no, seq ORDER BY n) AS copy FROM repeated
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY k, file_no ORDER BY n) AS occurrence FROM replays WHERE copy = 1
        ), twins AS (
            SELECT *, row_number() OVER (PARTITION BY k, occurrence ORDER BY rank, n) AS twin FROM numbered
        )
        SELECT n FROM replays WHERE copy > 1 UNION ALL SELECT n FROM twins WHERE twin > 1;

        DROP TABLE repeated;
        DROP TABLE keys;
        """  # only constants
    )


def _duplicates_of_other_loggers(connection: "duckdb.DuckDBPyConnection") -> None:
    dialects = {row[0] for row in connection.execute("SELECT DISTINCT dialect FROM staged").fetchall()}
    if len({DIALECTS[name].logger for name in dialects if DIALECTS[name].hears}) < 2:
        return
    found = connection.sql(
        f"""
        SELECT n, ts, event_type || '/' || coalesce(full_name, device_id, '') AS what, dialect
        FROM staged LEFT JOIN names ON name = device_id
        WHERE event_type IN {_SHARED_TYPES} AND n NOT IN (SELECT n FROM duplicates)
        ORDER BY ts, n
        """  # only constants
    ).to_arrow_table()
    numbers, times = found["n"].to_numpy(), found["ts"].to_numpy()
    what = found["what"].combine_chunks().dictionary_encode()
    kinds = np.asarray(what.indices)
    dialect = np.array(found["dialect"].to_pylist(), dtype=object)
    labels = what.dictionary.to_pylist()

    drop: list[np.ndarray] = []
    kept = np.zeros(len(numbers), bool)
    for logger in DIALECTS.values():
        mine = np.array([DIALECTS[name].logger == logger.name for name in dialect], bool)
        for kind in np.unique(kinds[mine]):
            own = np.flatnonzero(mine & (kinds == kind))
            event_type, _, device = labels[kind].partition("/")
            alike = [other for other, label in enumerate(labels) if _alike(label, event_type, device)]
            others = np.flatnonzero(kept & np.isin(kinds, alike))
            tolerance = logger.exact_us or _TOLERANCE_US.get(event_type, _TIMER_TOLERANCE_US)
            same = _partners(times[own], times[others], tolerance)
            drop.append(numbers[own[same]])
            kept[own[~same]] = True
    numbers = np.concatenate(drop) if drop else np.empty(0, np.int64)
    connection.register("found", pa.table({"n": numbers.astype(np.int64)}))
    connection.execute("INSERT INTO duplicates SELECT n FROM found")
    connection.unregister("found")


def _alike(label: str, event_type: str, device: str) -> bool:
    """The same type and device; a source that does not name the device may mean any."""
    other_type, _, other = label.partition("/")
    return other_type == event_type and (other == device or not other or not device)


def _partners(times: np.ndarray, sorted_others: np.ndarray, tolerance: int) -> np.ndarray:
    """Which of `times` have a partner among the others (both sorted), each of which has at most one."""
    same = np.zeros(len(times), bool)
    at = 0
    others = sorted_others.tolist()
    for index, time in enumerate(times.tolist()):
        while at < len(others) and others[at] < time - tolerance:
            at += 1
        if at < len(others) and others[at] <= time + tolerance:
            same[index] = True
            at += 1
    return same


def _finish(batch: pa.RecordBatch, start: int, files: pa.Array, names: tuple[pa.Array, pa.Array]) -> pa.RecordBatch:
    """Number the events, name their files, and give devices their full address."""
    import pyarrow.compute as pc

    columns = {name: batch.column(name) for name in batch.schema.names}
    full = names[1].take(pc.index_in(columns["device_id"], names[0]))
    columns["device_id"] = pc.coalesce(full, columns["device_id"])
    columns["device"] = _one_spelling(columns["device"])
    columns["event_no"] = pa.array(np.arange(start, start + batch.num_rows))
    columns["source_file"] = files.take(columns["file_no"])
    columns["source_line"] = columns["line"]
    columns["ts"] = columns["ts"].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return pa.RecordBatch.from_arrays([columns[name] for name in EVENTS.schema.names], EVENTS.schema.names)


def _one_spelling(device: pa.Array) -> pa.Array:
    """Kinds of device as `Timer`, `Sensor` and `Bridge`, however a source spells them."""
    import pyarrow.compute as pc

    kinds = pa.array(_KINDS)
    if pc.all(pc.or_(pc.is_in(device, kinds), pc.is_null(device))).as_py():
        return device
    return pc.coalesce(kinds.take(pc.index_in(pc.utf8_capitalize(device), kinds)), device)
