"""Builds batch folders for the fermentation tests."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from running import current, run_steps

from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.writers.wide import with_sensors
from sheaf.report import Report
from sheaf.running import How, Made
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.accounts import Account
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

T0 = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)
SETTINGS = FermentationSettings()
PLAN = SETTINGS.plan.model_dump(mode="json")
SCHEDULE = (0, 2, 4, 6, 8, 12, 16, 20)
STEADY = {  # plan tag, value
    "pH": 5.0,
    "DO": 60.0,
    "Temp_Broth": 30.0,
    "Reactor_Pressure": 1.013,
    "Off_Gas_CO2": 1.0,
    "Off_Gas_O2": 20.0,
    "Gas_Flow_Inlet": 1.0,
    "OD": 10.0,
}
INLET = {"Off_Gas_CO2": 0.04, "Off_Gas_O2": 20.95}
"""What the analysers read over sterile medium."""


def at(hours: float = 0.0, seconds: float = 0.0) -> datetime:
    """A moment after inoculation."""
    return T0 + timedelta(hours=hours, seconds=seconds)


def sample(hours: float, **values: Any) -> dict[str, Any]:
    return {
        "od600_raw": 0.5,
        "od600_dilution_factor": 10.0,
        "contamination_detected": False,
        "sampled_at": at(hours).isoformat(),
        "sampled_by": "tech01",
        **values,
    }


def record(**changes: Any) -> dict[str, Any]:
    """A batch that meets every acceptance rule, with `changes` on top; `batch=` is merged."""
    batch = {
        "batch_id": "batch-1",
        "batch_number": 1,
        "phase": "A",
        "vessel_id": "V-FR-01",
        "operator_id": "tech01",
        "status": "complete",
        "created_at": "2025-10-21T08:00:00+00:00",
        "inoculated_at": T0.isoformat(),
        "completed_at": at(20.25).isoformat(),
        "notes": None,
        **changes.pop("batch", {}),
    }
    return {
        "batch": batch,
        "calibrations": [
            {"probe_type": "pH", "buffer_low_value": 4.0, "buffer_high_value": 7.0, "reading_low": -177.0,
             "reading_high": 0.0, "pass": True, "calibrated_by": "tech01"},
        ],
        "inoculation": {"cryo_vial_id": "CRYO-1", "inoculum_od600": 4.2, "inoculum_volume_ml": 100.0,
                        "go_decision": True, "microscopy_observations": None, "inoculated_by": "tech01"},
        "samples": [sample(hours) for hours in SCHEDULE],
        "failures": [],
        "closure": {"final_od600": 58.1, "total_runtime_hours": 20.0, "glycerol_depletion_time_hours": 20.0,
                    "do_spike_observed": True, "outcome": "Complete", "closed_by": "tech01", "approved_by": "eng01",
                    "notes": None},
        **changes,
    }  # fmt: skip


def put_batch(folder: Path, document: Any, sensors: str | None = None, name: str = "sensors.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "batch.json").write_text(text, encoding="utf-8")
    if sensors is not None:
        (folder / name).write_text(sensors, encoding="utf-8", newline="")
    return folder


def sensor_csv(points: list[tuple[datetime, str, Any]]) -> str:
    return "time,sensor,value\n" + "".join(f"{time.isoformat()},{name},{value}\n" for time, name, value in points)


def steady_points(
    seconds: range, values: dict[str, float] = STEADY, silent: range | None = None
) -> list[tuple[datetime, str, float]]:
    """Constant sensors at the given seconds after inoculation, except the silent ones; inlet gas before it.

    Each twitches at every full hour, by a millionth: one that never changes is frozen.
    """
    sterile = INLET if values is STEADY else {}
    return [
        (
            at(seconds=second),
            name,
            value * (1 + 1e-6 * (second % 3600 == 0))
            if second > 0
            else value
            if second == 0
            else sterile.get(name, value),
        )
        for name, value in values.items()
        for second in seconds
        if silent is None or second not in silent
    ]


def all_steps(
    store: Store,
    folder: Path,
    batch: str = "batch-1",
    settings: FermentationSettings = SETTINGS,
    how: How | None = None,
) -> dict[str, Made]:
    """Read one folder and build what follows from it; nothing does from what is refused."""
    return run_steps(store, FERMENTATION, batch, settings, folder, ingest, how=how)


def read(store: Store, folder: Path, batch: str = "batch-1", settings: FermentationSettings = SETTINGS) -> Made:
    """Only read one folder."""
    return run_steps(store, FERMENTATION, batch, settings, folder, ingest, only=["records"])["records"]


def run(
    store: Store, folder: Path, batch: str = "batch-1", settings: FermentationSettings = SETTINGS
) -> tuple[Report, Report, Report]:
    """The reports of all steps of a batch that can be used."""
    records, features, training = all_steps(store, folder, batch, settings).values()
    return records.report, features.report, training.report


def rows_of(store: Store, table: Table, batch: str = "batch-1") -> list[dict[str, Any]]:
    """The rows of the last good table."""
    return current(store, FERMENTATION, batch).read(table).to_pylist()


def wide_rows(store: Store, table: Table, batch: str = "batch-1") -> list[dict[str, Any]]:
    """Rows of `features` or `training_samples` with columns for every sensor, as exports have them."""
    found = current(store, FERMENTATION, batch)
    of_samples = table is schema.TRAINING_SAMPLES
    long, key = (schema.SAMPLE_SENSORS, "sample_id") if of_samples else (schema.SENSOR_WINDOWS, "window_start")
    return with_sensors(found.read(table), found.read(long), key, PLAN).to_pylist()


def hashes(store: Store, *tables: Table, batch: str = "batch-1") -> dict[str, str]:
    """The data versions of the last good tables."""
    found = current(store, FERMENTATION, batch)
    return {table.name: found.file(table).sha256 for table in tables}


def notes(store: Store, batch: str = "batch-1", table: str | None = None) -> list[dict[str, Any]]:
    """What the newest reading did not use, changed or doubts."""
    newest = generations.newest(store, FERMENTATION.place(FERMENTATION.reading, batch))
    assert newest
    tables = Tables(store, batch, {newest.step: newest})
    found = [row for piece in tables.rejects(newest.step) for row in piece.to_pylist()]
    return [row for row in found if table in (None, row["table"])]


def accounts(one: Made) -> dict[str, Account]:
    """What became of the delivered rows, by table; all of it adds up."""
    found = {account.table: account for account in one.generation.account}
    assert all(account.adds_up for account in found.values())
    return found


def codes(one: Made, table: str) -> dict[str, int]:
    """How many rows of a table share a code, of whatever kind."""
    account = accounts(one).get(table)
    return {reason.code: reason.rows for reason in account.reasons} if account else {}


def export(
    store: Store,
    name: str,
    folder: Path,
    batch: str = "batch-1",
    filters: Any = None,
    options: Any = None,
    settings: FermentationSettings = SETTINGS,
) -> Written:
    """Write one series into `folder` and verify it."""
    entry = FERMENTATION.series_named(name)
    place = FERMENTATION.place(FERMENTATION.reading, batch)
    known = generations.partitions(store, place.domain, place.step, place.kind)
    folder.mkdir(parents=True)
    written = entry.write(
        Draft(
            store=store,
            partition="campaign" if entry.campaign else batch,
            members={key: current(store, FERMENTATION, key) for key in (known if entry.campaign else [batch])},
            folder=folder,
            filter=entry.filter.of(filters or {}, "filter"),
            options=entry.options.of(options or {}, "option"),
            settings=settings,
            now=datetime(2025, 10, 22, 15, 0, tzinfo=UTC),
            version=1,
        )
    )
    entry.verify(folder, written)
    return written
