"""Batches of a live ELN, with their sensors from InfluxDB where that is configured.

What the systems hold is brought into the form of an inbox folder and read by the same code, so
that equal data give equal tables wherever they come from. Every state of a record that was ever
read is kept as a revision: the ELN edits rows in place and keeps none itself.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sheaf import clock
from sheaf.errors import SourceError
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.sources.eln import Eln, Run
from sheaf.fermentation.sources.identity import Known, other_names, partitions_of
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.names import PARTITION_KEY
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store


@dataclass(frozen=True)
class ElnSource:
    """One ELN, with the sensors that belong to its batches.

    Attributes:
        eln: where records come from.
        settings: of the domain, with those of the sensors.
        inbox: knows which batches are partitions already, under which names.
    """

    eln: Eln
    settings: FermentationSettings
    inbox: BatchInbox | None = None
    authoritative: bool = True

    @property
    def name(self) -> str:
        """`eln_rest` or `eln_postgres`."""
        return self.eln.name

    def offers(self) -> Offer:
        """The batches of the ELN, by id or by the partition that each is already."""
        runs = self.eln.runs()
        partitions = self._partitions(runs)
        names = sorted(set(partitions.values()))
        return Offer(
            tuple(name for name in names if PARTITION_KEY.fullmatch(name)),
            tuple(name for name in names if not PARTITION_KEY.fullmatch(name)),
            other_names=other_names(Known(partitions[run.batch], run.batch, run.number, run.phase) for run in runs),
        )

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The fingerprint of each record, and what tells of its sensors."""
        from sheaf.fermentation.sources.live_sensors import sensor_state

        ids, runs = self._ids_and_runs()
        names = [ids.get(partition, partition) for partition in partitions]
        of = dict(zip(names, partitions, strict=True))
        for found in self.eln.fingerprints(names):
            partition = of[found.batch]
            if found.problem:
                yield State(partition, problem=found.problem)
                continue
            own = runs.get(partition)
            try:
                of_sensors = sensor_state(own, list(runs.values()), self.settings) if own else ""
            except SourceError as error:
                yield State(partition, problem=str(error))
            else:
                yield State(partition, f"{found.text} {of_sensors}".strip())

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """Record and sensors of one batch, as files."""
        from sheaf.fermentation.sources.live_sensors import deliver, with_warnings

        ids, runs = self._ids_and_runs()
        record = self.eln.record(ids.get(partition, partition))
        keep_revision(store, partition, record.document)
        delivery = deliver(record.document, partition, list(runs.values()), self.settings, folder, store)
        yield with_warnings(delivery, record.warnings)

    def _partitions(self, runs: Sequence[Run]) -> dict[str, str]:
        return partitions_of(runs, self.inbox.known() if self.inbox else ())

    def _ids_and_runs(self) -> tuple[dict[str, str], dict[str, Run]]:
        """The ids of the partitions that are called otherwise, and the runs by partition where sensors need them."""
        if not self.settings.sensors and not (self.inbox and self.inbox.known()):
            return {}, {}
        runs = self.eln.runs()
        partitions = self._partitions(runs)
        ids = {partition: batch for batch, partition in partitions.items() if partition != batch}
        if not self.settings.sensors:
            return ids, {}
        return ids, {partitions[run.batch]: replace(run, batch=partitions[run.batch]) for run in runs}

    def check(self) -> str:
        """Try both connections."""
        found = self.eln.check()
        if self.settings.sensors:
            from sheaf.fermentation.sources.influx import InfluxSensors

            found += f"; sensors in {InfluxSensors(self.settings.sensors).check()}"
        return found


def keep_revision(store: Store, batch: str, document: bytes) -> None:
    """Keep what the ELN said, unless it is what it said the last time."""
    folder = f"revisions/fermentation/{batch}"
    hash_ = hashlib.sha256(document).hexdigest()[:16]
    before = max((item.path for item in store.list(folder)), default="")
    if not before.endswith(f"-{hash_}.json"):
        store.create(f"{folder}/{clock.now():%Y%m%dT%H%M%S.%fZ}-{hash_}.json", document)
