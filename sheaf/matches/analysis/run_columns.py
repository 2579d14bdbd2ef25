"""What the search for runs found, in columns. Not here: the search (`run_search`)."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

RUN_SCHEMA = pa.schema(
    [
        *(
            (name, pa.int32())
            for name in ("opened", "shots_detected", "shots_doubled", "shots_lost", "impacts_detected")
        ),
        *((name, pa.int64()) for name in ("start", "beep", "end", "last_shot", "last_impact")),
        ("duration_seconds", pa.float64()),
        *(
            (name, pa.dictionary(pa.int32(), pa.string()))
            for name in ("status", "start_device", "start_device_id", "stage", "bay", "flags")
        ),
    ]
)


@dataclass
class Found:
    """What the state machine found; runs are numbered from 0 in the order they opened.

    All times are microseconds since 1970 UTC, as one clock would have shown them.
    """

    runs: list[pa.RecordBatch] = field(default_factory=list)
    orphans: Counter[str] = field(default_factory=Counter)
    sensors: list[str] = field(default_factory=list)
    run_of_event: "array[int]" = field(default_factory=lambda: array("i"))  # -1 for none; the last ones may be missing
    shot_event: "array[int]" = field(default_factory=lambda: array("i"))
    shot_run: "array[int]" = field(default_factory=lambda: array("i"))
    shot_ts: "array[int]" = field(default_factory=lambda: array("q"))
    impact_event: "array[int]" = field(default_factory=lambda: array("i"))
    impact_run: "array[int]" = field(default_factory=lambda: array("i"))
    impact_ts: "array[int]" = field(default_factory=lambda: array("q"))
    impact_sensor: "array[int]" = field(default_factory=lambda: array("i"))
    moved: dict[int, int] = field(default_factory=dict)  # event: its time as the clock would have shown it


def in_order(runs: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The runs as they opened; they were noted as they closed."""
    table = pa.Table.from_batches(runs, RUN_SCHEMA)
    opened = table["opened"].to_numpy()
    return table.combine_chunks().to_batches() if (np.diff(opened) > 0).all() else table.sort_by("opened").to_batches()


def extend(column: "array[Any]", values: np.ndarray) -> None:
    """Append many values at once."""
    column.frombytes(values.astype(column.typecode).tobytes())
