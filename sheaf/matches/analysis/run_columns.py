"""What the search for runs found, in columns, which lie aside as runs close. Not here: the search (`run_search`)."""

from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.matches.analysis.aside import Aside

RUN_SCHEMA = pa.schema(
    [
        *(
            (name, pa.int32())
            for name in ("opened", "shots_detected", "shots_doubled", "shots_lost", "impacts_detected")
        ),
        *((name, pa.int64()) for name in ("order", "start", "beep", "end", "last_shot", "last_impact")),
        ("duration_seconds", pa.float64()),
        *(
            (name, pa.dictionary(pa.int32(), pa.string()))
            for name in ("status", "start_device", "start_device_id", "stage", "bay", "flags")
        ),
    ]
)
SHOT_SCHEMA = pa.schema([("event", pa.int32()), ("run", pa.int32()), ("ts", pa.int64())])
IMPACT_SCHEMA = pa.schema([*SHOT_SCHEMA, ("sensor", pa.int32())])
_AT_ONCE = 64 * 1024


class Found:
    """What the state machine found; runs are numbered from 0 in the order they opened.

    All times are microseconds since 1970 UTC, as one clock would have shown them.

    Attributes:
        runs, shots, impacts: as the runs closed. Each part of shots has all shots of its runs, and the part of impacts
            with the same number has all their impacts. `order` of a run is its start, or the latest time before it
            where a clock was set back.
        orphans: how many shots, stops and summaries belong to no run.
        orphan_impacts: how many impacts belong to no run, by sensor.
        sensors: names of the sensors, which impacts have as numbers.
        run_of_event: -1 for none; the last ones may be missing.
        moved: of events whose time was repaired, the time as the clock would have shown it.
    """

    def __init__(self, scratch: Path) -> None:
        self.runs = Aside(scratch, "closed", RUN_SCHEMA)
        self.shots = Aside(scratch, "shots", SHOT_SCHEMA)
        self.impacts = Aside(scratch, "impacts", IMPACT_SCHEMA)
        self.orphans: Counter[str] = Counter()
        self.orphan_impacts: Counter[str] = Counter()
        self.sensors: list[str] = []
        self.run_of_event: array[int] = array("i")
        self.moved: dict[int, int] = {}
        self._runs: list[pa.RecordBatch] = []
        self._shots, self._impacts = (_columns(schema) for schema in (SHOT_SCHEMA, IMPACT_SCHEMA))

    def close(self, runs: pa.RecordBatch) -> None:
        """Take some runs; their shots and impacts were noted before."""
        self._runs.append(runs)
        if sum(map(len, self._runs)) >= _AT_ONCE:
            self._put_runs()

    def note(self, shots: tuple[Any, ...], impacts: tuple[Any, ...]) -> None:
        """Take all shots and impacts of some runs, in columns as `SHOT_SCHEMA` and `IMPACT_SCHEMA` name them."""
        for columns, more in ((self._shots, shots), (self._impacts, impacts)):
            for column, values in zip(columns.values(), more, strict=True):
                extend(column, values)
        if len(self._shots["run"]) + len(self._impacts["run"]) >= _AT_ONCE:
            self._put_events()

    def finish(self) -> None:
        """Lay aside what is left."""
        self._put_runs()
        self._put_events()

    def _put_runs(self) -> None:
        self.runs.put(pa.Table.from_batches(self._runs, RUN_SCHEMA))
        self._runs = []

    def _put_events(self) -> None:
        for aside, columns in ((self.shots, self._shots), (self.impacts, self._impacts)):
            aside.put(pa.table({name: np.array(column) for name, column in columns.items()}))
            for column in columns.values():
                del column[:]


def extend(column: "array[int]", values: Any) -> None:
    """Append many values at once."""
    column.frombytes(np.asarray(values, column.typecode).tobytes())


def _columns(schema: pa.Schema) -> "dict[str, array[int]]":
    return {field.name: array("q" if field.type == pa.int64() else "i") for field in schema}
