"""The batches of the inbox, and which batches are partitions already.

A batch without a sensors file gets its points from InfluxDB where that is configured. The sensors know no batch, so
that other batches in the same vessel have to be known: those are all that were ever read, wherever from.
"""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sheaf.errors import InputError, SheafError
from sheaf.fermentation import schema
from sheaf.fermentation.readers.batch_file import FILE, MOST_BYTES
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.sources.eln import Run, number_and_phase
from sheaf.fermentation.sources.identity import Known, already, other_names
from sheaf.later import later
from sheaf.outside.files import named, read_bytes
from sheaf.outside.inbox import InboxSource, partition_folder
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Place
from sheaf.tables.pinned import Tables

_STEP = "records"


def _place(partition: str) -> Place:
    return Place(schema.BATCHES.domain, _STEP, schema.BATCHES.kind, partition)


@dataclass(frozen=True)
class BatchInbox:
    """The folders of the domain as a source.

    Attributes:
        root: the inbox.
        store_url: the store that knows which other batches there were.
        settings: of the domain, with those of the sensors.
    """

    root: Path
    store_url: str
    settings: FermentationSettings
    name: str = "inbox"
    authoritative: bool = False
    _runs: dict[str, Run] = field(default_factory=dict, repr=False, compare=False)
    _known: dict[str, Known] = field(default_factory=dict, repr=False, compare=False)

    def offers(self) -> Offer:
        """The folders; an inbox that cannot be read raises, it is not empty."""
        offer = self._folders.offers()
        return replace(offer, other_names=other_names(self._of_folders(offer.partitions)))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The fingerprint of each folder, and of its sensors where the folder has none."""
        for state in self._folders.states(partitions):
            if state.problem:
                yield state
                continue
            try:
                of_sensors = self._sensor_state(state.partition)
            except SheafError as error:
                yield State(state.partition, problem=str(error))
            else:
                yield replace(state, token=f"{state.token} {of_sensors}".strip())

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """One folder; its record and the points of the database where it has no sensors file.

        A batch that is another partition already is refused, so that it is in no export twice.
        """
        own = next(iter(self._of_folders([partition])), None)
        new = own is not None and generations.current(store, _place(partition)) is None
        if own and new and (other := already(own, self._read_before(store))):
            called = own.batch_id or own.called
            raise InputError(
                f"Batch {called} is the partition {other} already, so {partition} is not read: name the folder so."
            )
        if record := self._record_alone(partition):
            from sheaf.fermentation.sources import live_sensors

            runs = self._known_runs(store)
            yield live_sensors.deliver(read_bytes(record, MOST_BYTES), partition, runs, self.settings, folder, store)
        else:
            with self._folders.deliver(store, partition, folder) as delivery:
                yield delivery

    def check(self) -> str:
        """How many batches wait there, and whether their sensors can be asked for."""
        found = self._folders.check()
        if self.settings.sensors:
            from sheaf.fermentation.sources.influx import InfluxSensors

            found += f"; sensors in {InfluxSensors(self.settings.sensors).check()}"
        return found

    def known(self) -> list[Known]:
        """The folders, then the partitions that were read before, each with the batch that it is."""
        try:
            folders = self._of_folders(self._folders.offers().partitions)
        except SheafError:  # its own tick says so
            folders = []
        return [*folders, *self._read_before(self._store)]

    def _of_folders(self, partitions: Sequence[str]) -> list[Known]:
        """Which batches folders are; a record that cannot be read tells nothing here."""
        found = []
        for partition in partitions:
            try:
                record = named(partition_folder(self.root, schema.BATCHES.domain, partition), [FILE]).get(FILE)
                if record is None:
                    continue
                state = record.stat()
                key = f"{partition} {state.st_mtime_ns} {state.st_size}"
                if key not in self._known:
                    row = json.loads(read_bytes(record, MOST_BYTES))["batch"]
                    batch_id = row.get("batch_id")
                    self._known[key] = Known(partition, str(batch_id) if batch_id else None, *number_and_phase(row))
                found.append(self._known[key])
            except (SheafError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
        return found

    def _read_before(self, store: Store) -> list[Known]:
        """Which batches the partitions are that were ever read."""
        found = []
        for partition in generations.partitions(store, schema.BATCHES.domain, _STEP, schema.BATCHES.kind):
            if partition not in self._known:
                generation = generations.current(store, _place(partition))
                if generation is None:
                    continue
                tables = Tables(store, partition, {_STEP: generation})
                row = tables.row(schema.BATCHES, ["batch_id", "batch_number", "phase"])
                from_folder = generation.source == self.name and row["batch_id"] == partition
                batch_id = None if from_folder else row["batch_id"]
                self._known[partition] = Known(partition, batch_id, row["batch_number"], row["phase"])
            found.append(self._known[partition])
        return found

    @property
    def _folders(self) -> InboxSource:
        return InboxSource(self.root, schema.BATCHES.domain, later("sheaf.fermentation.readers.ingest:ingest"))

    @cached_property
    def _store(self) -> Store:
        return Store.open(self.store_url)

    def _record_alone(self, partition: str) -> Path | None:
        """The record of a batch whose sensors have to be asked for; None where they have not."""
        if self.settings.sensors is None:
            return None
        from sheaf.fermentation.readers.sensor_files import FILES

        folder = partition_folder(self.root, schema.BATCHES.domain, partition)
        found = named(folder, [FILE, *FILES])
        return found.get(FILE) if len(found) == 1 else None

    def _sensor_state(self, partition: str) -> str:
        record = self._record_alone(partition)
        if record is None:
            return ""
        from sheaf.fermentation.sources import live_sensors

        own = live_sensors.run_of(read_bytes(record, MOST_BYTES), partition, self.settings)
        return live_sensors.sensor_state(own, self._known_runs(self._store), self.settings) if own else ""

    def _known_runs(self, store: Store) -> list[Run]:
        """When each batch that was ever read occupied its vessel."""
        found = []
        for partition in generations.partitions(store, schema.BATCHES.domain, _STEP, schema.BATCHES.kind):
            if generation := generations.current(store, _place(partition)):
                tables = Tables(store, partition, {_STEP: generation})
                path = tables.file(schema.BATCHES).path
                if path not in self._runs:  # what lies there never changes
                    row = tables.row(schema.BATCHES, ["vessel_id", "inoculated_at", "completed_at"])
                    self._runs[path] = Run(partition, row["vessel_id"], row["inoculated_at"], row["completed_at"])
                found.append(self._runs[path])
        return found
