"""Some consecutive events of a match in columns, as the search for runs takes them.

Not here: what becomes of them (`run_search`, `run_search_clean`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sheaf.matches.readers.clocks import BEYOND_US
from sheaf.tables.table import UTC_TIME, arrow_type

COLUMNS = (
    *("event_no", "ts", "event_type", "device", "device_id", "device_position", "details"),
    *("shot_number", "shot_time_s", "split_s", "timer_shots", "ambiguous_time"),
)
TEXTS = ("event_type", "device", "device_id", "device_position", "details")
"""Columns that may come as dictionaries, which is faster."""

KINDS = (
    *("timer_start_button", "timer_start_beep", "timer_stop_button", "string_summary", "timer_shot_detail"),
    *("shot_detected", "impact_detected"),
)
"""The types that matter for runs, by their code in `Events.kind`."""

BUTTON, BEEP, STOP, SUMMARY, TOLD, SHOT, IMPACT = range(len(KINDS))
STEP_US = 2_000_000
"""A time that lies further back than this means that the clock was set back."""
LONGEST_US = 656_000_000
"""No string lasts longer: a timer counts to 655.35 s."""


@dataclass(slots=True)
class Event:
    """One event; `ts` in microseconds since 1970 UTC, and so `latest`, the latest of this and all before."""

    number: int
    ts: int
    type: str
    device: str | None
    device_id: str | None
    position: str | None
    details: str | None
    shot_number: int | None
    shot_time_s: float | None
    split_s: float | None
    timer_shots: int | None
    ambiguous: bool
    latest: int

    @property
    def behind(self) -> int | None:
        """The latest time so far, where this one shows that the clock was set back since, or was never set."""
        return self.latest if self.latest - self.ts > STEP_US or self.ts >= BEYOND_US else None

    @property
    def sensor(self) -> str:
        """What an impact's sensor is known by."""
        return self.device_id or self.position or ""


class Events:
    """The events of a batch that matter for runs.

    Args:
        latest: the latest time before them.
        from_zero: timers that number their shots from 0; in here all count from 1, and 0 is no number.

    Attributes:
        number, ts, kind, ambiguous, numbered: of each; a shot is numbered when its timer gave it a number.
        latest: of each, the latest time of it and all before.
        device, device_id, position, details: of each, as a dictionary.
    """

    def __init__(self, batch: pa.RecordBatch, latest: int = 0, from_zero: Set[str] = frozenset()) -> None:
        import pyarrow.compute as pc

        kind = pc.index_in(batch.column("event_type").cast(pa.string()), pa.array(KINDS))
        batch = batch.select(COLUMNS)
        if kind.null_count:
            batch, kind = batch.filter(kind.is_valid()), kind.drop_null()
        batch = batch.set_column(COLUMNS.index("shot_number"), "shot_number", _numbers(batch, from_zero))
        self.kind = kind.to_numpy()
        self.number = batch.column("event_no").to_numpy()
        self.ts = batch.column("ts").cast(pa.int64()).to_numpy()
        self.latest = np.maximum.accumulate(np.maximum(np.where(self.ts < BEYOND_US, self.ts, 0), latest))
        self.ambiguous = batch.column("ambiguous_time").to_numpy(zero_copy_only=False)
        self.numbered = batch.column("shot_number").is_valid().to_numpy(zero_copy_only=False)
        self.device, self.device_id, self.position, self.details = (
            _encoded(batch.column(name)) for name in ("device", "device_id", "device_position", "details")
        )
        self._batch = batch

    def __len__(self) -> int:
        return len(self.number)

    def one_by_one(self, start: int, end: int) -> Iterator[Event]:
        """The events of some places."""
        part = self._batch.slice(start, end - start)
        columns = [column.cast(pa.int64()) if column.type == arrow_type(UTC_TIME) else column for column in part]
        values = [*(column.to_pylist() for column in columns), self.latest[start:end].tolist()]
        return (Event(*row) for row in zip(*values, strict=True))


def codes(column: pa.DictionaryArray) -> np.ndarray:
    """The number of each value; -1 for none."""
    return column.indices.fill_null(-1).to_numpy(zero_copy_only=False)


def _numbers(batch: pa.RecordBatch, from_zero: Set[str]) -> pa.Array:
    """The number of each shot, from 1."""
    import pyarrow.compute as pc

    number = batch["shot_number"]
    if number.null_count == len(number):
        return number
    if from_zero:
        counts_so = pc.is_in(batch["device_id"].cast(pa.string()).fill_null(""), pa.array(from_zero, pa.string()))
        counts_so = pc.and_(counts_so, pc.equal(batch["event_type"].cast(pa.string()), "shot_detected"))
        number = pc.if_else(counts_so, pc.add(number, pa.scalar(1, number.type)), number)
    return pc.if_else(pc.equal(number, 0), pa.scalar(None, number.type), number)


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
