"""One batch folder of the inbox into typed tables: `batch.json`, and the sensor file if there is one."""

from pathlib import Path
from typing import Any

from sheaf import duck
from sheaf.errors import InputError
from sheaf.fermentation import schema
from sheaf.fermentation.plan import Plan
from sheaf.fermentation.readers.batch_file import FILE, BatchFile, read_batch_file
from sheaf.fermentation.readers.corrections import complete_calibrations, complete_samples
from sheaf.fermentation.readers.sensor_points import read_sensor_points
from sheaf.fermentation.settings import FermentationSettings
from sheaf.outside.files import named
from sheaf.report import Report
from sheaf.tables.parquet import from_rows
from sheaf.tables.work import Work


def ingest(folder: Path, work: Work) -> Report:
    """Read one batch folder and write its tables.

    Args:
        folder: holds `batch.json` and, if there are any, `sensors.{parquet,csv,csv.gz,lp}`; only read.
        work: where the tables and rejects go.

    Returns:
        Counts (`samples`, `sensor_points`, `sensors`, …), warnings, and the first samples.

    Raises:
        InputError: the folder as a whole cannot be used.
    """
    settings: FermentationSettings = work.settings
    record = named(folder, [FILE]).get(FILE)
    if record is None:
        raise InputError(f"{folder} has no {FILE}: export the batch as JSON and put it there.")
    with duck.connect() as connection:
        connection.execute(f"SET temp_directory = {duck.quoted(work.scratch)}")
        connection.execute("SET memory_limit = '192MB'")  # beyond that it works in the scratch folder
        file = read_batch_file(record, work.partition, settings.plan, settings.naive_timezone, work.rejects)
        points = read_sensor_points(folder, file.batch, settings, work.rejects, connection)
        file.rows["samples"] = complete_samples(
            file.rows["samples"], file.batch, settings.plan, settings.duplicate_sample_minutes, work.rejects
        )
        complete_calibrations(file.rows["calibrations"])
        for table in schema.RECORDS:
            work.write(table, from_rows(table, file.rows[table.name]))
        work.write(schema.SECTIONS, from_rows(schema.SECTIONS, [*file.sections, dict(points.section)]))
        work.write(schema.VOLUME_EVENTS, from_rows(schema.VOLUME_EVENTS, _volume_events(file)))
        written = work.write(schema.SENSORS_TABLE, points.batches())
    return Report(
        counts=_counts(file) | {"sensors": len(points.sensors), "sensor_points": written.rows},
        warnings=(*file.warnings, *_record_warnings(file, settings.plan), *points.warnings),
        preview=tuple(file.rows["samples"][:10]),
    )


def _volume_events(file: BatchFile) -> list[dict[str, Any]]:
    """Medium, inoculum and samples, as far as the record tells their volumes."""
    found: list[dict[str, Any]] = []
    for medium in file.rows["media_preparations"]:
        if medium["final_volume_l"] is not None:
            found.append({"time": None, "kind": "medium", "volume_ml": medium["final_volume_l"] * 1000})
    for inoculum in file.rows["inoculations"]:
        if inoculum["inoculum_volume_ml"] is not None:
            found.append({"time": None, "kind": "inoculum", "volume_ml": inoculum["inoculum_volume_ml"]})
    for sample in file.rows["samples"]:
        if sample["sample_volume_ml"] and sample["superseded_by"] is None:
            found.append({"time": sample["sampled_at"], "kind": "sample", "volume_ml": -sample["sample_volume_ml"]})
    return found


def _record_warnings(file: BatchFile, plan: Plan) -> list[str]:
    batch, warnings = file.batch, []
    inoculation = next(iter(file.rows["inoculations"]), None)
    low, high = plan.batches
    if not low <= batch["batch_number"] <= high:
        warnings.append(f"Batch number {batch['batch_number']} is outside the campaign's {low} to {high}.")
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
    superseded = [row for row in file.rows["samples"] if row["superseded_by"] is not None]
    warnings += [f"Sample {row['id']} is superseded by sample {row['superseded_by']}." for row in superseded]
    return warnings


def _counts(file: BatchFile) -> dict[str, int]:
    samples = file.rows["samples"]
    return {
        "samples": len(samples),
        "samples_superseded": sum(row["superseded_by"] is not None for row in samples),
        "samples_with_dcw": sum(row["dcw_g_per_l"] is not None for row in samples),
        "calibrations": len(file.rows["calibrations"]),
        "failures": len(file.rows["failures"]),
    }
