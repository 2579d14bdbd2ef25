"""Which timers number their shots from 0.

Some do, and some say 0 of every shot: those give no numbers. Not here: what numbers tell of a string (`run_shots`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections import Counter

import numpy as np
import pyarrow as pa

from sheaf.matches import schema
from sheaf.tables.pinned import Tables

_COLUMNS = ("event_type", "device_id", "shot_number")


def from_zero(tables: Tables) -> frozenset[str]:
    """Ids of the timers of a match that count their shots from 0: where half of the ones at least follow a 0."""
    import pyarrow.compute as pc

    last: dict[str, np.ndarray] = {}
    ones: Counter[str] = Counter()
    after_zero: Counter[str] = Counter()
    for batch in tables.batches(schema.EVENTS, _COLUMNS, _COLUMNS[:2]):
        if batch["shot_number"].null_count == len(batch):
            continue
        shots = batch.filter(pc.equal(batch["event_type"].cast(pa.string()), "shot_detected"))
        shots = shots.filter(shots["shot_number"].is_valid())
        timer, number = shots["device_id"].cast(pa.string()).fill_null(""), shots["shot_number"].to_numpy()
        for name in timer.unique().to_pylist():
            mine = number[pc.equal(timer, name).to_numpy(zero_copy_only=False)]
            mine = np.concatenate([last.get(name, np.array([-1])), mine])
            before, after = mine[:-1], mine[1:]
            opening = (after == 1) & (before != 1)  # one that is told again does not count again
            ones[name] += int(opening.sum())
            after_zero[name] += int((before[opening] == 0).sum())
            last[name] = mine[-1:]
    return frozenset(name for name, count in after_zero.items() if count and 2 * count >= ones[name])
