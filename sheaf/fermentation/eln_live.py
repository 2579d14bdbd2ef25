"""Batches of a live ELN, or of the inbox, with their sensors from InfluxDB where that is configured.

What the systems hold is brought into the form of an inbox folder and read by the same code, so
that equal data give equal tables wherever they come from. Every state of a record that was ever
read is kept as a revision: the ELN edits rows in place and keeps none itself.
"""

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sheaf import clock, tables
from sheaf.errors import SheafError, SourceError
from sheaf.fermentation import schema
from sheaf.fermentation.batch_file import FILE
from sheaf.fermentation.eln import Eln, Run
from sheaf.fermentation.influx import InfluxSensors
from sheaf.fermentation.records import FieldError, read_time
from sheaf.fermentation.sensor_files import FILES
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.vessel_window import Window, settings_hash, window_of
from sheaf.names import PARTITION_KEY
from sheaf.report import Report
from sheaf.scratch import scratch_folder
from sheaf.sources import Offer, State
from sheaf.store import Store


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
            try:
                of_sensors = self._sensor_state(runs[found.batch], list(runs.values())) if found.batch in runs else ""
            except SourceError as error:
                yield State(found.batch, problem=str(error))
            else:
                yield State(found.batch, f"{found.text} {of_sensors}".strip())

    def ingest(self, store: Store, partition: str) -> Report:
        """Read record and sensors of one batch into tables."""
        record = self.eln.record(partition)
        runs = self.eln.runs() if self.settings.sensors else []
        with scratch_folder(store) as folder:
            report = ingest_record(record.document, runs, store, partition, self.settings, folder)
        keep_revision(store, partition, record.document)
        return replace(report, warnings=(*record.warnings, *report.warnings))

    def check(self) -> str:
        """Try both connections."""
        found = self.eln.check()
        if self.settings.sensors:
            found += f"; sensors in {InfluxSensors(self.settings.sensors).check()}"
        return found

    def _sensor_state(self, own: Run, runs: Sequence[Run]) -> str:
        """Changes when the sensors of a batch should be read again.

        While it runs, every so many minutes. Afterwards, when points arrive late: as long as that may
        happen they are counted. When that time is over they are read for a last time.
        """
        settings = self.settings.sensors
        if settings is None:
            return ""
        try:
            window = window_of(own, runs, settings)
        except SheafError as error:
            return hashlib.sha256(str(error).encode()).hexdigest()[:16]
        if window is None:
            return ""
        where = f"{settings_hash(settings)} {window.vessel} {window.start:%Y%m%dT%H%M%S}"
        if window.stop is None:
            return f"{where} running {clock.now().timestamp() // (settings.refresh_minutes * 60):.0f}"
        if clock.now() > window.stop + timedelta(hours=settings.late_hours):
            return f"{where} {window.stop:%Y%m%dT%H%M%S}"
        count = InfluxSensors(settings).count(window.selection(settings, list(self.settings.names())))
        return f"{where} {window.stop:%Y%m%dT%H%M%S} {count}"


def ingest_folder(folder: Path, store: Store, batch: str, settings: FermentationSettings) -> Report:
    """Read a folder of the inbox; where it has no sensors file, they come from InfluxDB if that is configured."""
    from sheaf.fermentation.ingest import ingest

    if settings.sensors is None or not (folder / FILE).is_file() or any((folder / name).is_file() for name in FILES):
        return ingest(folder, store, batch, settings)
    runs = []
    for key in tables.partitions(store, schema.BATCHES):
        (row,) = tables.read(store, schema.BATCHES, key).to_pylist()
        runs.append(Run(key, row["vessel_id"], row["inoculated_at"], row["completed_at"]))
    with scratch_folder(store) as scratch:
        return ingest_record((folder / FILE).read_bytes(), runs, store, batch, settings, scratch)


def ingest_record(
    document: bytes, runs: Sequence[Run], store: Store, batch: str, settings: FermentationSettings, folder: Path
) -> Report:
    """Read a record and, where they are configured, its sensors in InfluxDB.

    Args:
        document: JSON as in `batch.json`.
        runs: all batches that may have used the same vessel.
        store: where the tables go.
        batch: the partition.
        settings: of the domain.
        folder: an empty working folder.

    Raises:
        InputError: the batch cannot be given sensors: its vessel is not mapped, or was used twice at the same time.
        SourceError: InfluxDB cannot be asked, or has no such bucket.
    """
    from sheaf.fermentation.ingest import ingest

    (folder / FILE).write_bytes(document)
    window = _window(document, batch, runs, settings)
    if settings.sensors and window:
        chosen = window.selection(settings.sensors, list(settings.names()))
        InfluxSensors(settings.sensors).fetch(chosen, folder / "sensors.parquet")
    return ingest(folder, store, batch, settings)


def _window(document: bytes, batch: str, runs: Sequence[Run], settings: FermentationSettings) -> Window | None:
    """None also for a record that cannot be read: why is for `ingest` to say."""
    if settings.sensors is None:
        return None
    try:
        row: dict[str, Any] = json.loads(document)["batch"]
        times = [
            None if row.get(key) is None else read_time(row[key], settings.naive_timezone)
            for key in ("inoculated_at", "completed_at")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, FieldError):
        return None
    return window_of(Run(batch, row.get("vessel_id"), *times), runs, settings.sensors)


def keep_revision(store: Store, batch: str, document: bytes) -> None:
    """Keep what the ELN said, unless it is what it said the last time."""
    folder = f"revisions/fermentation/{batch}"
    hash_ = hashlib.sha256(document).hexdigest()[:16]
    before = max((item.path for item in store.list(folder)), default="")
    if not before.endswith(f"-{hash_}.json"):
        store.create(f"{folder}/{clock.now():%Y%m%dT%H%M%S.%fZ}-{hash_}.json", document)
