"""Builds batch folders for the fermentation tests."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sheaf.exports.series import Draft, Series, Written
from sheaf.fermentation.features import build_features
from sheaf.fermentation.ingest import ingest
from sheaf.fermentation.series import FERMENTATION
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.training import build_training
from sheaf.report import Report
from sheaf.store import Store

T0 = datetime(2025, 10, 21, 10, 30, tzinfo=UTC)
SETTINGS = FermentationSettings()
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
    """Constant sensors at the given seconds after inoculation, except the silent ones."""
    return [
        (at(seconds=second), name, value)
        for name, value in values.items()
        for second in seconds
        if silent is None or second not in silent
    ]


def run(
    store: Store, folder: Path, batch: str = "batch-1", settings: FermentationSettings = SETTINGS
) -> tuple[Report, Report, Report]:
    """Ingest one folder and build what follows from it."""
    return (
        ingest(folder, store, batch, settings),
        build_features(store, batch, settings),
        build_training(store, batch, settings),
    )


def series(name: str) -> Series:
    return next(entry for entry in FERMENTATION.series if entry.name == name)


def export(
    store: Store, name: str, folder: Path, batch: str = "batch-1", filters: Any = None, options: Any = None
) -> Written:
    """Write one series into `folder` and verify it."""
    entry = series(name)
    folder.mkdir(parents=True)
    written = entry.write(
        Draft(
            store=store,
            partition="campaign" if entry.campaign else batch,
            folder=folder,
            filter=entry.filter.of(filters or {}, "filter"),
            options=entry.options.of(options or {}, "option"),
            now=datetime(2025, 10, 22, 15, 0, tzinfo=UTC),
            version=1,
        )
    )
    entry.verify(folder, written)
    return written
