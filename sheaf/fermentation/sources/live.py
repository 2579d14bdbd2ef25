"""Batches of a live ELN, with their sensors from InfluxDB where that is configured.

What the systems hold is brought into the form of an inbox folder and read by the same code, so
that equal data give equal tables wherever they come from. Every state of a record that was ever
read is kept as a revision: the ELN edits rows in place and keeps none itself.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sheaf import clock
from sheaf.errors import SourceError
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.sources.eln import Eln
from sheaf.fermentation.sources.influx import InfluxSensors
from sheaf.fermentation.sources.live_sensors import deliver, sensor_state, with_warnings
from sheaf.names import PARTITION_KEY
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store


@dataclass(frozen=True)
class ElnSource:
    """One ELN, with the sensors that belong to its batches.

    Attributes:
        eln: where records come from.
        settings: of the domain, with those of the sensors.
    """

    eln: Eln
    settings: FermentationSettings
    authoritative: bool = True

    @property
    def name(self) -> str:
        """`eln_rest` or `eln_postgres`."""
        return self.eln.name

    def offers(self) -> Offer:
        """The batches of the ELN, by id."""
        names = [run.batch for run in self.eln.runs()]
        return Offer(
            tuple(name for name in names if PARTITION_KEY.fullmatch(name)),
            tuple(name for name in names if not PARTITION_KEY.fullmatch(name)),
        )

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The fingerprint of each record, and what tells of its sensors."""
        runs = {run.batch: run for run in self.eln.runs()} if self.settings.sensors else {}
        for found in self.eln.fingerprints(partitions):
            if found.problem:
                yield State(found.batch, problem=found.problem)
                continue
            own = runs.get(found.batch)
            try:
                of_sensors = sensor_state(own, list(runs.values()), self.settings) if own else ""
            except SourceError as error:
                yield State(found.batch, problem=str(error))
            else:
                yield State(found.batch, f"{found.text} {of_sensors}".strip())

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """Record and sensors of one batch, as files."""
        record = self.eln.record(partition)
        keep_revision(store, partition, record.document)
        runs = self.eln.runs() if self.settings.sensors else []
        yield with_warnings(deliver(record.document, partition, runs, self.settings, folder, store), record.warnings)

    def check(self) -> str:
        """Try both connections."""
        found = self.eln.check()
        if self.settings.sensors:
            found += f"; sensors in {InfluxSensors(self.settings.sensors).check()}"
        return found


def keep_revision(store: Store, batch: str, document: bytes) -> None:
    """Keep what the ELN said, unless it is what it said the last time."""
    folder = f"revisions/fermentation/{batch}"
    hash_ = hashlib.sha256(document).hexdigest()[:16]
    before = max((item.path for item in store.list(folder)), default="")
    if not before.endswith(f"-{hash_}.json"):
        store.create(f"{folder}/{clock.now():%Y%m%dT%H%M%S.%fZ}-{hash_}.json", document)
