"""One batch folder of the inbox into typed tables.

Reads `batch.json` and the sensor file, checks them, and writes every record table of the batch, or
only its rejects when the input as a whole cannot be used: then the tables of the last good input stay.
"""

from datetime import datetime
from pathlib import Path

from sheaf import duck, tables
from sheaf.errors import InputError
from sheaf.fermentation import schema
from sheaf.fermentation.batch_file import FILE, BatchFile, read_batch_file
from sheaf.fermentation.derived import complete_calibrations, complete_samples
from sheaf.fermentation.sensor_points import SensorPoints, read_sensor_points
from sheaf.fermentation.settings import FermentationSettings
from sheaf.report import Report
from sheaf.scratch import scratch_folder
from sheaf.store import Store
from sheaf.tables import Rejects


def ingest(folder: Path, store: Store, batch: str, settings: FermentationSettings) -> Report:
    """Read one batch folder and write its tables.

    Args:
        folder: holds `batch.json` and, if there are any, `sensors.{parquet,csv,csv.gz,lp}`; only read.
        store: where the tables go.
        batch: the partition, normally the folder's name.
        settings: zone, units, aliases and rules.

    Returns:
        Counts (`samples`, `sensor_points`, `sensor_points_seen`, `sensors`, `rejects`, `blocked`, …),
        rejects by reason, and warnings. `blocked` is 1 when the input could not be used as a whole.

    Raises:
        InputError: there is no such folder, or no `batch.json` in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist or is no folder: put {FILE} of the batch there.")
    if not (folder / FILE).is_file():
        raise InputError(f"{folder} has no {FILE}: export the batch as JSON and put it there.")
    rejects = Rejects()
    with scratch_folder(store) as scratch, duck.connect() as connection:
        connection.execute(f"SET temp_directory = '{str(scratch).replace(chr(39), chr(39) * 2)}'")
        connection.execute("SET memory_limit = '1GB'")  # beyond that it works in the scratch folder
        file = read_batch_file(folder / FILE, batch, settings.naive_timezone, rejects)
        if file is None:
            return _blocked(store, batch, rejects)
        points = read_sensor_points(folder, _start(file), settings, rejects, connection)
        if points is None:
            return _blocked(store, batch, rejects)
        warnings = [*file.warnings, *_record_warnings(file)]
        file.rows["samples"] = complete_samples(
            file.rows["samples"], file.batch, settings.duplicate_sample_minutes, warnings
        )
        complete_calibrations(file.rows["calibrations"])
        written = [
            tables.write(store, table, batch, tables.from_rows(table, file.rows[table.name]))
            for table in schema.RECORDS
        ]
        written.append(tables.write(store, schema.SENSORS_TABLE, batch, points.batches()))
        # Last, so that a refusal is lifted only when all the tables hold the new input.
        written.append(_write_rejects(store, batch, rejects))
    return Report(
        tables=tuple(written),
        counts=_counts(file, points, rejects),
        rejects=rejects.by_reason(),
        warnings=(*warnings, *points.warnings),
        preview=tuple(file.rows["samples"][:10]),
    )


def _start(file: BatchFile) -> datetime | None:
    return file.batch["inoculated_at"] or file.batch["created_at"]


def _blocked(store: Store, batch: str, rejects: Rejects) -> Report:
    reasons = tuple(row["reason"] for row in rejects.rows if row["blocking"])
    return Report(
        tables=(_write_rejects(store, batch, rejects),),
        counts={"rejects": len(rejects.rows), "blocked": 1},
        rejects=rejects.by_reason(),
        warnings=tuple(f"{reason} The tables of the last good input stay." for reason in reasons),
    )


def _write_rejects(store: Store, batch: str, rejects: Rejects) -> tables.TableVersion:
    return tables.write(store, schema.REJECTS, batch, tables.from_rows(schema.REJECTS, rejects.rows))


def _record_warnings(file: BatchFile) -> list[str]:
    batch, warnings = file.batch, []
    inoculation = next(iter(file.rows["inoculations"]), None)
    if not 1 <= batch["batch_number"] <= 18:
        warnings.append(f"Batch number {batch['batch_number']} is outside the campaign's 1 to 18.")
    if batch["status"] == "running":
        warnings.append("The batch is still running: everything about it is provisional.")
    if batch["inoculated_at"] is None and file.rows["samples"]:
        warnings.append("The batch has samples but no inoculation time, so they have no time point.")
    if batch["completed_at"] is not None and batch["inoculated_at"] is None:
        warnings.append("The batch is completed but was never inoculated.")
    if inoculation and inoculation["inoculated_at"] not in (None, batch["inoculated_at"]):
        warnings.append(
            f"The inoculation says {inoculation['inoculated_at']} but the batch says {batch['inoculated_at']}; "
            "the batch's time is used."
        )
    return warnings


def _counts(file: BatchFile, points: SensorPoints, rejects: Rejects) -> dict[str, int]:
    samples = file.rows["samples"]
    return {
        "samples": len(samples),
        "samples_superseded": sum(row["superseded_by"] is not None for row in samples),
        "samples_with_dcw": sum(row["dcw_g_per_l"] is not None for row in samples),
        "calibrations": len(file.rows["calibrations"]),
        "failures": len(file.rows["failures"]),
        "records_seen": 1 + sum(file.seen.values()),
        "records": sum(len(rows) for rows in file.rows.values()),
        "sensors": len(points.sensors),
        "sensor_points": points.good,
        "sensor_points_seen": points.seen,
        "sensor_points_rejected": points.seen - points.good,
        "rejects": len(rejects.rows),
        "blocked": 0,
    }
