"""Where the sensors of a batch were silent while it ran, and how much is missing in all.

A gap is a stretch without a point, found from the times themselves: a sensor that fails sends nothing,
not NaN. What is missing is measured as time against the sensor's usual interval, so that no burst of points makes up
for a silence. Not here: what follows from it (`checks`, `eligibility`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sheaf.clock import as_time, microseconds
from sheaf.fermentation.analysis.run import run_times, sensor_series, usual_interval_us
from sheaf.fermentation.settings import FermentationSettings
from sheaf.tables.pinned import Tables

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Gap:
    """A silence of one sensor between two points, or between a point and the edge of the run."""

    sensor: str
    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start).total_seconds()


class Gaps:
    """Silences longer than is allowed; a slow sensor may have tens of thousands."""

    def __init__(self, names: Sequence[str], sensor: "np.ndarray", start: "np.ndarray", end: "np.ndarray") -> None:
        """Take them as columns.

        Args:
            names: sensors, in alphabetical order.
            sensor: position of the sensor of each gap among the names.
            start, end: microseconds since the epoch.
        """
        self._names, self._sensor, self._start, self._end = names, sensor, start, end

    def __len__(self) -> int:
        return len(self._start)

    def longest(self, most: int) -> list[Gap]:
        """The longest, longest first."""
        import numpy as np

        order = np.lexsort((self._sensor, self._start, self._start - self._end))[:most]
        return [self._gap(at) for at in order]

    def longest_around(self, moment: datetime) -> Gap | None:
        """The longest of those in which a moment lies."""
        import numpy as np

        us = microseconds(moment)
        around = np.flatnonzero((self._start <= us) & (us <= self._end))
        if not len(around):
            return None
        return self._gap(around[np.argmax(self._end[around] - self._start[around])])

    def _gap(self, at: "np.intp") -> Gap:
        return Gap(self._names[int(self._sensor[at])], as_time(self._start[at]), as_time(self._end[at]))


@dataclass(frozen=True)
class Coverage:
    """How completely the sensors covered the run, from inoculation to its end.

    Attributes:
        gaps: where they were silent; None where that cannot be told.
        dropout: time in which sensors were silent longer than is usual, as a share of the run, mean of the sensors that
            sent anything; None where that cannot be told.
        run_s: how long the run was.
        sensors: how many sent anything.
        absent: sensors that a feature the plan needs follows from, and that sent nothing in the run.
        slow: sensors that send less often than `rates_hz` promises.
        unknown: why nothing can be told, as a clause; empty where it can.
    """

    gaps: Gaps | None = None
    dropout: float | None = None
    run_s: float = 0.0
    sensors: int = 0
    absent: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    unknown: str = ""


_LATE = 1.5
"""A point that comes after so many usual intervals is late: one is missing."""


def sensor_coverage(tables: Tables, settings: FermentationSettings) -> Coverage:
    """Look for silences between inoculation and closure, or the last point while the batch runs.

    Args:
        tables: with `batches`, `closures` and `sensors`.
        settings: promised rates, hold, and the silence from which it is a gap.
    """
    import numpy as np

    start, stop = run_times(tables)
    if start is None:
        return Coverage(unknown="the batch was not inoculated")
    all_times = {name: times for name, times, _ in sensor_series(tables)}
    if not all_times:
        return Coverage(unknown="there are no sensor points")
    begin = microseconds(start)
    end = max(int(times[-1]) for times in all_times.values()) if stop is None else microseconds(stop)
    if end <= begin:
        return Coverage(sensors=len(all_times), unknown="the run has no length")
    names, shares, slow, present = sorted(all_times), [], [], set()
    of, starts, ends = [], [], []
    for number, name in enumerate(names):
        times = all_times[name]
        interval = usual_interval_us(times) or settings.gap_s * 1e6
        promised = settings.rates_hz.get(name)
        if promised and interval > _LATE * 1e6 / promised:
            slow.append(name)
        interval = max(interval, 1.0)
        held = (settings.held_s(name) or 0) * 1e6
        usual = max(interval, held)
        inside = times[(times >= begin) & (times <= end)]
        if len(inside):
            present.add(name)
        points = np.concatenate(([begin], inside, [end]))
        steps = np.diff(points)
        shares.append(float((steps[steps > _LATE * interval] - usual).clip(min=0).sum()) / (end - begin))
        # A slow sensor is silent between two points; two missing ones in a row are a gap.
        long = np.flatnonzero(steps > max(settings.gap_s * 1e6, 2.5 * interval, held))
        of.append(np.full(len(long), number))
        starts.append(points[long])
        ends.append(points[long + 1])
    return Coverage(
        gaps=Gaps(names, np.concatenate(of), np.concatenate(starts), np.concatenate(ends)),
        dropout=float(np.mean(shares)),
        run_s=(end - begin) / 1e6,
        sensors=len(names),
        absent=tuple(name for name in settings.plan.needed_sensors() if name not in present),
        slow=tuple(slow),
    )
