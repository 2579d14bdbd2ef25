"""Values of a sample or calibration that follow from others, computed as the source's triggers do.

Rounding is half away from zero, as in PostgreSQL. A stored value that disagrees with what it is
computed from is stale: it is replaced, flagged and reported.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sheaf.fermentation.plan import (
    HOLDOUT_PHASE,
    REPLICATE_HOURS,
    SCHEDULE_TOLERANCE_HOURS,
)
from sheaf.fermentation.records import FieldError, quantise

_PH_SLOPE_MV = Decimal("59.16")  # ideal electrode at 25 °C, mV per pH
_LINEAR_OD = 1.0  # the procedure asks for dilution above


def complete_samples(
    samples: Sequence[dict[str, Any]], batch: Mapping[str, Any], duplicate_minutes: float, warnings: list[str]
) -> list[dict[str, Any]]:
    """Compute what follows from the samples' own values, and mark corrected repeats.

    Args:
        samples: rows of the `samples` table.
        batch: the batch's row.
        duplicate_minutes: of samples this close together the highest id counts.
        warnings: takes one sentence for each stale or impossible value.

    Returns:
        The rows, by time point (empty last), time and id.
    """
    for row in samples:
        flags: list[str] = []
        _complete_timepoint(row, batch["inoculated_at"], flags, warnings)
        _complete_od(row, flags, warnings)
        _complete_dcw(row, flags, warnings)
        row["flags"] = flags
    _mark_superseded(samples, batch, timedelta(minutes=duplicate_minutes), warnings)
    for row in samples:
        row["flags"] = " ".join(row["flags"]) or None
    return sorted(samples, key=_sample_order)


def _sample_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: time point with empty last, then time, then id."""
    return row["timepoint_hours"] is None, row["timepoint_hours"] or 0.0, row["sampled_at"], row["id"]


def _complete_timepoint(row: dict[str, Any], start: datetime | None, flags: list[str], warnings: list[str]) -> None:
    if start is None:
        row["elapsed_hours"] = None
        return
    elapsed = row["sampled_at"] - start
    row["elapsed_hours"] = elapsed / timedelta(hours=1)
    hours = Decimal(elapsed // timedelta(microseconds=1)) / 3_600_000_000
    _replace(row, "timepoint_hours", hours, "6,2", "timepoint_stale", flags, warnings)


def _complete_od(row: dict[str, Any], flags: list[str], warnings: list[str]) -> None:
    raw, factor = row["od600_raw"], row["od600_dilution_factor"]
    if factor is not None:
        _replace(
            row, "od600_calculated", Decimal(str(raw)) * Decimal(str(factor)), "8,4", "od600_stale", flags, warnings
        )
    if factor == 1 and raw > _LINEAR_OD:
        flags.append("od600_above_linear_range")


def _complete_dcw(row: dict[str, Any], flags: list[str], warnings: list[str]) -> None:
    volume, tare, dry = (
        row[key] for key in ("dcw_sample_volume_ml", "dcw_filter_wet_weight_g", "dcw_filter_dry_weight_g")
    )
    problem = None
    if volume is not None and tare is not None and dry is not None:
        if volume == 0:
            problem = "the filtered volume is 0"
        elif dry <= tare:
            problem = "the dry filter weighs no more than its tare"
        else:
            grams = Decimal(str(dry)) - Decimal(str(tare))
            value = grams / Decimal(str(volume)) * 1000
            _replace(row, "dcw_g_per_l", value, "8,3", "dcw_stale", flags, warnings)
    elif row["dcw_g_per_l"] is not None and row["dcw_g_per_l"] < 0:
        problem = "it is negative"
    if problem:
        warnings.append(f"Sample {row['id']}: dcw_g_per_l is left empty because {problem}.")
        row["dcw_g_per_l"] = None
        flags.append("dcw_impossible")


def _replace(
    row: dict[str, Any], key: str, value: Decimal, size: str, flag: str, flags: list[str], warnings: list[str]
) -> None:
    try:
        computed = float(quantise(value, size))
    except FieldError as error:
        warnings.append(f"Sample {row['id']}: {key} is left empty because {value:g} {error}.")
        row[key] = None
        flags.append(flag)
        return
    if row[key] is not None and row[key] != computed:
        warnings.append(f"Sample {row['id']}: {key} was {row[key]} but follows as {computed}; the latter is used.")
        flags.append(flag)
    row[key] = computed


def _mark_superseded(
    samples: Sequence[dict[str, Any]], batch: Mapping[str, Any], within: timedelta, warnings: list[str]
) -> None:
    """There is no way to edit a sample in the source, so a correction arrives as a later row."""
    last = max((row["sampled_at"] for row in samples), default=None)
    for row in samples:
        later = [
            other["id"]
            for other in samples
            if other["id"] > row["id"]
            and abs(other["sampled_at"] - row["sampled_at"]) <= within
            and not (other["replicate"] or row["replicate"])
        ]
        intended = batch["phase"] == HOLDOUT_PHASE and _is_replicate_moment(row, last)
        row["superseded_by"] = max(later) if later and not intended else None
        if row["superseded_by"] is not None:
            row["flags"].append("superseded")
            warnings.append(
                f"Sample {row['id']} is superseded by sample {row['superseded_by']}, taken within {within}."
            )


def _is_replicate_moment(row: Mapping[str, Any], last: datetime | None) -> bool:
    hours = row["elapsed_hours"]
    if hours is None or last is None:
        return False
    at_end = last - row["sampled_at"] <= timedelta(hours=SCHEDULE_TOLERANCE_HOURS)
    return at_end or any(abs(hours - moment) <= SCHEDULE_TOLERANCE_HOURS for moment in REPLICATE_HOURS)


def complete_calibrations(calibrations: Sequence[dict[str, Any]]) -> None:
    """Recompute the slope of pH electrodes: |Δreading / Δbuffer| / 59.16 mV × 100.

    A recorded slope stays as recorded; the recomputed one stands beside it.
    """
    for row in calibrations:
        slope = row["slope_percent_recomputed"] = _ph_slope(row)
        if row["slope_percent"] is None:
            row["slope_percent"] = slope


def _ph_slope(row: Mapping[str, Any]) -> float | None:
    values = [row[key] for key in ("buffer_low_value", "buffer_high_value", "reading_low", "reading_high")]
    if row["probe_type"] != "pH" or None in values:
        return None
    buffer_low, buffer_high, reading_low, reading_high = (Decimal(str(value)) for value in values)
    if buffer_high == buffer_low:
        return None
    try:
        slope = abs((reading_high - reading_low) / (buffer_high - buffer_low)) / _PH_SLOPE_MV * 100
        return float(quantise(slope, "5,2"))
    except FieldError:
        return None
