"""The occurrences of one export, walked through in order with bounded memory.

Here: opening the tables, choosing by filter, ranges of positions, lines of text as bytes. Not here: what
a line holds (`dwca_terms`, `occurrences_simple_csv`, `occurrences_api_json`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft
from sheaf.occurrences import schema
from sheaf.occurrences.working_database import ROWS, open_tables
from sheaf.occurrences.writers.request import condition, sampled
from sheaf.store.scratch import scratch_folder
from sheaf.tables.rejects import Kind
from sheaf.tables.table import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_AT_ONCE = 2 * 1024  # rows in one piece of a result
_BUFFER = "1MB"  # of rows that are made before they are asked for
_HIGHEST = (1 << 63) - 1
_T = TypeVar("_T")


@dataclass(frozen=True)
class Lines:
    """Some whole lines of text, ready to be written."""

    data: memoryview
    count: int


class Selection:
    """The view `chosen` on the occurrences that an export shows, and the row of `dataset`.

    Attributes:
        sampled: which events `e` belong to it even where nothing was found, as SQL.
    """

    def __init__(
        self, database: "duckdb.DuckDBPyConnection", dataset: dict[str, Any], wanted: str, sampled: str
    ) -> None:
        self.database = database
        self.dataset = dataset
        self.sampled = sampled
        database.execute(f"CREATE VIEW chosen AS SELECT * FROM occurrences WHERE {wanted}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The result of a small query."""
        return self.database.execute(query).fetchall()

    def box(self, stations: str) -> tuple[float, float, float, float] | None:
        """West, east, north and south of some stations, in degrees; None without coordinates.

        Stations more than half of the world apart lie across 180 degrees, where west is the larger number. A sensitive
        one is as wide as its cell.

        Args:
            stations: SQL of their `longitude`, `latitude`, and whether they are `sensitive`.
        """
        ((west, east, north, south, across),) = self.rows(
            f"""WITH e AS (SELECT s.*, CASE WHEN s.sensitive THEN d.cell / 2 ELSE 0 END AS half
                FROM ({stations}) s, dataset d),
            span AS (SELECT max(longitude) - min(longitude) > 180 AS across FROM e),
            turned AS (SELECT * REPLACE (CASE WHEN across AND longitude < 0 THEN longitude + 360 ELSE longitude END
                AS longitude) FROM e, span)
            SELECT min(longitude - half), max(longitude + half), least(max(latitude + half), 90),
                greatest(min(latitude - half), -90), any_value(across) FROM turned"""
        )
        if west is None:
            return None
        if across:
            return west, round(east - 360, 6), north, south
        return max(west, -180), min(east, 180), north, south

    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of positions that end with a session and hold some ten thousand occurrences, in order.

        What belongs to a session is found within one range.
        """
        found = self.rows("SELECT min(position), max(position) + 1 FROM occurrences GROUP BY event_id ORDER BY 1")
        ranges: list[tuple[int, int]] = []
        start = 0
        for index, (_, end) in enumerate(found):
            if end - start >= ROWS or index == len(found) - 1:
                ranges.append((start, end))
                start = end
        return ranges

    def lines(self, queries: Sequence[str]) -> Iterator[Lines]:
        """Run queries that give one text column, each while the result of the one before is used.

        Args:
            queries: in the order of the file; each text holds whole lines.
        """
        for texts in self.ahead(partial(self.arrow, query) for query in queries):
            chunks = deque(texts.column(0).chunks)
            del texts  # each piece is let go when it is written
            while chunks:
                chunk = chunks.popleft()
                yield Lines(text_bytes(chunk), len(chunk))

    def ahead(self, calls: Iterable[Callable[[], _T]]) -> Iterator[_T]:
        """What the calls return, each called while the result of the one before is used."""
        with ThreadPoolExecutor(1) as thread:
            waiting: deque[Future[_T]] = deque()
            for call in calls:
                waiting.append(thread.submit(call))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            if waiting:
                yield waiting.popleft().result()

    def arrow(self, query: str) -> "pa.Table":
        """The result of a query, from any thread."""
        return self.database.cursor().sql(query).to_arrow_table(_AT_ONCE)

    def in_position_order(self, query: str) -> "InOrder":
        """The rows of a query on one table that belong to chosen occurrences, read while they are taken.

        Whether they do is looked up in a row of bits: a join would not keep them in order.
        """
        ((last,),) = self.rows("SELECT max(position) FROM occurrences")
        cursor = self.database.cursor()
        bits = f"bitstring_agg(position, 0, {last or 0})"
        cursor.execute(f"SET VARIABLE chosen = (SELECT {bits} FROM chosen)")
        cursor.execute(f"SET streaming_buffer_size = '{_BUFFER}'")
        query = f"{query} WHERE get_bit(getvariable('chosen')::BIT, position::INTEGER) = 1"
        return InOrder(cursor.sql(query).to_arrow_reader(_AT_ONCE))

    def in_order(self, query: str) -> "pa.Table":
        """The result of a query by its column `position`; rows of one position stay as they come.

        Joins do not keep the order in which rows are stored, and to have DuckDB sort whole lines takes as long as
        making them.
        """
        import numpy as np
        import pyarrow as pa

        found = self.arrow(query)
        positions = found.column("position").to_numpy()
        if (positions[1:] >= positions[:-1]).all():
            return found
        return found.take(pa.array(np.argsort(positions, kind="stable")))


class InOrder:
    """Rows by position, of which the next ones are taken."""

    def __init__(self, rows: "pa.RecordBatchReader") -> None:
        self._rows = rows
        self._waiting: deque[pa.RecordBatch] = deque()
        self._last = -1

    def position_of(self, row: int) -> int:
        """The position of the row that comes so many rows on; the highest possible where there are not so many.

        Raises:
            VerificationError: the rows are not stored in order.
        """
        before = 0
        for index in count():
            if index == len(self._waiting) and not self._read():
                return _HIGHEST
            batch = self._waiting[index]
            if row < before + len(batch):
                return batch.column("position")[row - before].as_py()
            before += len(batch)
        raise AssertionError

    def until(self, last: int) -> "pa.Table":
        """The rows that are left up to a position.

        Raises:
            VerificationError: they are not stored in order.
        """
        import numpy as np
        import pyarrow as pa

        taken = []
        while self._waiting or self._read():
            batch = self._waiting.popleft()
            end = int(np.searchsorted(batch.column("position").to_numpy(), last, side="right"))
            taken.append(batch.slice(0, end))
            if end < len(batch):
                self._waiting.appendleft(batch.slice(end))
                break
        return pa.Table.from_batches(taken, self._rows.schema)

    def _read(self) -> bool:
        """Read on, if anything is left."""
        batch = next(self._rows, None)
        if batch is None:
            return False
        if len(batch):
            positions = batch.column("position").to_numpy()
            if positions[0] < self._last or (positions[1:] < positions[:-1]).any():
                raise VerificationError("The tables are not in the order of the occurrences: run the step occurrences.")
            self._last = positions[-1]
        self._waiting.append(batch)
        return True


@contextmanager
def select(draft: Draft, wanted: Sequence[Table], also: str = "true") -> Iterator[Selection]:
    """Open the tables a writer needs, with its filter applied.

    Args:
        wanted: beside those that the filter itself needs.
        also: a further condition on occurrences.
    """
    needed = {
        table.name: table
        for table in (
            *wanted,
            schema.OCCURRENCES_TABLE,
            schema.DATASET,
            schema.TAXA,
            schema.COLLECTION_OCCURRENCES,
        )
    }
    dataset = draft.tables.read(schema.DATASET).to_pylist()[0]
    with (
        scratch_folder(draft.store) as folder,
        open_tables(folder, draft.tables, list(needed.values())) as database,
    ):
        yield Selection(database, dataset, f"({condition(draft.filter)}) AND {also}", sampled(draft.filter))


def text_bytes(texts: "pa.StringArray") -> memoryview:
    """The bytes of a whole text column, which Arrow keeps in one piece: no copy, no loop over rows."""
    import pyarrow as pa

    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return memoryview(b"")
    width = 8 if pa.types.is_large_string(texts.type) else 4
    numbers = memoryview(offsets).cast("q" if width == 8 else "i")
    return memoryview(data)[numbers[texts.offset] : numbers[texts.offset + len(texts)]]


def remarks(draft: Draft) -> tuple[str, ...]:
    """What a reader should know of the records behind an export: values that were lost or are odd, doubtful times."""
    lines = []
    for generation in draft.tables.generations.values():
        lines += [
            f"{reason.rows} rows of {account.table}: {reason.reason}."
            for account in generation.account
            for reason in account.reasons
            if reason.kind is not Kind.REJECT
        ]
        lines += generation.warnings if generation.step == schema.BUILT else []
    return tuple(lines)
