"""Records as they were read, in columns, before they are de-duplicated and put in order.

Every reader fills a `Batch`; `ingest` writes batches to a Parquet file per source. Not here: reading.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.matches.readers.clocks import Moment

_TYPES: dict[str, pa.DataType] = {
    "line": pa.int64(),
    "byte_offset": pa.int64(),
    "ts": pa.int64(),
    "ambiguous_time": pa.bool_(),
    "dialect": pa.string(),
    "source_type": pa.string(),
    "event_type": pa.string(),
    "device": pa.string(),
    "device_id": pa.string(),
    "device_position": pa.string(),
    "details": pa.string(),
    "session_id": pa.string(),
    "seq": pa.int64(),
    "shot_number": pa.int32(),
    "shot_time_s": pa.float64(),
    "split_s": pa.float64(),
    "timer_shots": pa.int32(),
    "magnitude": pa.float64(),
    "raw": pa.string(),
}

SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64()),  # position in reading order over all sources
        pa.field("order_ts", pa.int64()),  # time to sort by, see `ordering` in ingest
        pa.field(
            "set_back", pa.int32()
        ),  # how often the clock was set back since it showed that time; 0 for a right one
        pa.field("file_no", pa.int32()),
        *(pa.field(name, type_) for name, type_ in _TYPES.items()),
    ]
)

REPEATING = [
    *("file_no", "ambiguous_time", "dialect", "source_type", "event_type"),
    *("device", "device_id", "device_position", "details", "session_id"),
]
"""Columns in which values repeat, so that a dictionary is worth its time."""


@dataclass
class Remark:
    """What is wrong with one line, by its code in `faults`."""

    line: int | None
    byte_offset: int | None
    code: str
    raw: bytes | str


@dataclass
class Batch:
    """What became of some lines: events, rejected lines, and counts of the others.

    `lines` = events + rejected + pending + blank + skipped always holds. Events come one by one
    through `add`, or many at once through `take`; `changed` says what was corrected in some of them.
    """

    pieces: list[dict[str, pa.Array]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Remark] = field(default_factory=list)
    changed: list[Remark] = field(default_factory=list)
    lines: int = 0
    pending: int = 0
    blank: int = 0
    skipped: int = 0

    def add(self, dialect: str, moment: Moment, **values: Any) -> None:
        """Append one event; columns that are not named are empty."""
        values["dialect"] = dialect
        values["ts"], values["ambiguous_time"] = moment
        self.rows.append(values)

    def take(self, *some: dict[str, pa.Array]) -> None:
        """Append many events at once, in the order of their lines where they come in several pieces.

        Columns that are not named are empty.
        """
        if self.rows:
            rows = pa.array(self.rows, pa.struct(list(_TYPES.items())))
            self.pieces.append(dict(zip(_TYPES, rows.flatten(), strict=True)))
            self.rows = []
        pieces = [
            {name: columns.get(name, pa.nulls(len(columns["ts"]), kind)) for name, kind in _TYPES.items()}
            for columns in some
        ]
        if len(pieces) > 1:
            together = {name: pa.concat_arrays([piece[name] for piece in pieces]) for name in _TYPES}
            order = pa.array(np.argsort(together["line"].to_numpy(), kind="stable"))
            pieces = [{name: column.take(order) for name, column in together.items()}]
        self.pieces += pieces

    def reject(self, line: int | None, offset: int | None, code: str, raw: bytes | str) -> None:
        """Keep one line that cannot be used."""
        self.rejected.append(Remark(line, offset, code, raw))

    def change(self, line: int | None, offset: int | None, code: str, raw: bytes | str) -> None:
        """Note that the line of an event was not taken as it is."""
        self.changed.append(Remark(line, offset, code, raw))

    def in_order(self) -> None:
        """Put what was rejected and changed into the order of the lines."""
        for remarks in (self.rejected, self.changed):
            remarks.sort(key=lambda remark: remark.line or 0)

    def arrow(self) -> dict[str, pa.Array]:
        """The events' columns as arrays."""
        if self.rows or not self.pieces:
            self.take({"ts": pa.array([], pa.int64())})
        if len(self.pieces) == 1:
            return self.pieces[0]
        return {name: pa.concat_arrays([piece[name] for piece in self.pieces]) for name in _TYPES}
