"""A sample campaign for the demo: six batches as the laboratory would have left them in the inbox.

Here: which batches there are. Not here: what was noted by hand (`records`), how a culture
grows and what the sensors say of it (`process`). Fixed dates and seeds, so that every run
writes the same bytes.
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from sheaf.errors import UsageError
from sheaf.fermentation.sample.process import Culture, Gap, Log, write_log
from sheaf.fermentation.sample.records import Batch, record


def _start(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, 20, 30, tzinfo=UTC)


_CAMPAIGN = (
    Batch("batch-12-b", 12, "B", _start(2026, 3, 2), Culture(0.20, 0.295)),
    Batch(
        "batch-13-b",
        13,
        "B",
        _start(2026, 3, 9),
        Culture(0.17, 0.300),
        gaps=(
            Gap(5.2, 5.2 + 150 / 3600),
            Gap(9.40, 9.40 + 95 / 3600, "DO"),
            Gap(14.10, 14.10 + 40 / 3600, "Off_Gas_CO2"),
        ),
        undried=1,
        failure={
            "deviation_level": 1,
            "category": "Sensor_Failure",
            "description": "Data logger restarted after an update, all sensors silent for two and a half minutes.",
            "root_cause": "Automatic update was not disabled.",
            "corrective_action": "Updates are now installed between batches.",
            "start_h": 5.2,
            "end_h": 5.25,
        },
    ),
    Batch(
        "batch-14-b",
        14,
        "B",
        _start(2026, 3, 16),
        Culture(0.22, 0.290),
        contaminated_from_h=16.0,
        misread_at_h=5.9,
        harvest="Disposal",
        failure={
            "deviation_level": 3,
            "category": "Contamination",
            "description": "Rod-shaped bacteria seen under the microscope at 16 h and confirmed on plates.",
            "root_cause": "Septum of the sampling port was worn.",
            "corrective_action": "Run to depletion for the record, culture autoclaved, septum replaced.",
            "start_h": 16.0,
            "end_h": None,
        },
        notes="Kept running to depletion after contamination was found; not for training.",
    ),
    Batch(
        "batch-15-b",
        15,
        "B",
        _start(2026, 3, 23),
        Culture(0.19, 0.295),
        status="aborted",
        ends_h=13.5,
        schedule_h=(0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 13.0),
        gaps=(Gap(9.2, 10.9), Gap(12.6, 13.2, "DO")),
        outcome="Aborted_Sensor_Failure",
        harvest="Disposal",
        failure={
            "deviation_level": 2,
            "category": "Sensor_Failure",
            "description": "Network switch of the bench failed, no readings reached the database for 1.7 hours.",
            "root_cause": "Power supply of the switch.",
            "corrective_action": "Switch replaced; batch aborted when the DO probe failed as well.",
            "start_h": 9.2,
            "end_h": 10.9,
        },
    ),
    Batch("batch-16-c", 16, "C", _start(2026, 3, 30), Culture(0.21, 0.290), undried=1, notes="Hold-out batch."),
    Batch(
        "batch-17-c",
        17,
        "C",
        _start(2026, 4, 6),
        Culture(0.20, 0.300),
        vessel="V-FR-02",
        status="running",
        ends_h=10.0,
        schedule_h=(0.0, 2.0, 4.0, 6.0, 8.0),
        undried=2,
    ),
)


def write(inbox: Path, only: str | None = None) -> list[str]:
    """Write the sample campaign below `inbox/fermentation/`, replacing what an earlier call wrote.

    Args:
        inbox: the inbox root.
        only: one partition key, to write just that batch.

    Returns:
        The partition keys that were written, sorted.

    Raises:
        UsageError: `only` is not a batch of the campaign.
    """
    chosen = [batch for batch in _CAMPAIGN if only in (None, batch.key)]
    if not chosen:
        known = ", ".join(batch.key for batch in _CAMPAIGN)
        raise UsageError(f"The sample campaign has no batch {only!r}: choose one of {known}.")
    for batch in chosen:
        folder = inbox / "fermentation" / batch.key
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(batch.number)
        noted = orjson.dumps(record(batch, rng), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        # One hour before inoculation shows the probes at rest, half an hour after closing is what the logger keeps.
        after_h = 0.0 if batch.status == "running" else 0.5
        log = Log(batch.inoculated_at, -1.0, batch.runtime_h + after_h, batch.gaps)
        write_log(folder / "sensors.parquet", batch.culture, log, batch.sample_hours, rng)
        (folder / "batch.json").write_bytes(noted)
    return [batch.key for batch in chosen]
