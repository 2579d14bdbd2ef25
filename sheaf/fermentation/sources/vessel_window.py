"""Which sensor points belong to a batch: those of its vessel, from shortly before inoculation to shortly after the end.

The sensors know no batch. So the vessel's name is mapped, and two batches in one vessel at the same
time are an error; the hours before and after a batch end where its neighbour begins.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sheaf import clock
from sheaf.errors import InputError
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.fermentation.sources.eln import Run
from sheaf.fermentation.sources.influx_queries import Selection


@dataclass(frozen=True)
class Window:
    """The points of a batch, by the records' clock; `stop` is None while the batch runs."""

    vessel: str
    start: datetime
    stop: datetime | None

    def selection(self, settings: InfluxSettings, sensors: Sequence[str]) -> Selection:
        """What to ask for, by the sensors' clock."""
        ahead = timedelta(seconds=settings.clock_ahead_s)
        return Selection(self.vessel, self.start + ahead, (self.stop or clock.now()) + ahead, sensors)


def window_of(own: Run, runs: Sequence[Run], settings: InfluxSettings) -> Window | None:
    """The window of one batch; None before it is inoculated.

    Args:
        own: the batch.
        runs: all batches that may have used the same vessel, itself included or not.
        settings: vessel map and hours.

    Raises:
        InputError: the vessel is not mapped, or another batch was in it at the same time.
    """
    if own.inoculated_at is None:
        return None
    vessel = settings.vessels.get(own.vessel or "")
    if vessel is None:
        raise InputError(
            f"Vessel {own.vessel!r} of batch {own.batch} is not mapped to a vessel of the sensors: "
            "add it to fermentation.sensors.vessels."
        )
    start = own.inoculated_at - timedelta(hours=settings.before_hours)
    stop = own.completed_at and own.completed_at + timedelta(hours=settings.after_hours)
    for other in runs:
        if (
            other.batch == own.batch
            or other.inoculated_at is None
            or settings.vessels.get(other.vessel or "") != vessel
        ):
            continue
        began, ended = other.inoculated_at, other.completed_at
        if (ended is None or ended > own.inoculated_at) and (own.completed_at is None or began < own.completed_at):
            raise InputError(
                f"Batches {own.batch} and {other.batch} were in vessel {own.vessel} at the same time "
                f"({began:%Y-%m-%d %H:%M} UTC): correct the time of inoculation or completion of one of them."
            )
        if ended is not None and ended <= own.inoculated_at:
            start = max(start, ended)
        elif stop is not None:
            stop = min(stop, began)
    return Window(vessel, start, stop)


def settings_hash(settings: InfluxSettings) -> str:
    """Changes when the sensors are looked for elsewhere or otherwise."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]
