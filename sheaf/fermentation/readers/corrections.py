"""Values of a sample or calibration that follow from others, computed as the source's triggers do.

The source rounds, half away from zero; here only the label `timepoint_hours` is rounded, all else keeps its digits
until it is printed. A stored value that disagrees, in the source's digits, with what it is computed from is stale: it
is replaced, flagged and noted as a change. Which samples correct others, and which labels cannot be, is found here too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sheaf.fermentation.plan import Labels, Plan
from sheaf.fermentation.readers.batch_file import FILE
from sheaf.fermentation.readers.fields import FieldError, quantise
from sheaf.tables.rejects import Rejects

_PH_SLOPE_MV = Decimal("59.16")  # ideal electrode at 25 °C, mV per pH
_LINEAR_OD = 1.0  # the procedure asks for dilution above


def complete_samples(
    samples: Sequence[dict[str, Any]],
    batch: Mapping[str, Any],
    plan: Plan,
    duplicate_minutes: float,
    rejects: Rejects,
) -> list[dict[str, Any]]:
    """Compute what follows from the samples' own values, and mark corrected repeats.

    Args:
        samples: rows of the `samples` table.
        batch: the batch's row.
        plan: what labels can be, and when two samples are taken on purpose.
        duplicate_minutes: of samples of one person within so many minutes the highest id counts; 0 for none.
        rejects: takes the values that are corrected or left empty, and those that are doubtful.

    Returns:
        The rows, by time point (empty last), time and id.
    """
    for row in samples:
        row["flags"] = []
        _complete_timepoint(row, batch["inoculated_at"], rejects)
        _complete_od(row, rejects)
        _complete_dcw(row, rejects)
        _doubt_labels(row, plan.labels, rejects)
    if duplicate_minutes:
        _mark_superseded(samples, batch, plan, timedelta(minutes=duplicate_minutes))
    for row in samples:
        row["flags"] = " ".join(row["flags"]) or None
    return sorted(samples, key=_sample_order)


def _sample_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: time point with empty last, then time, then id."""
    return row["timepoint_hours"] is None, row["timepoint_hours"] or 0.0, row["sampled_at"], row["id"]


def _complete_timepoint(row: dict[str, Any], start: datetime | None, rejects: Rejects) -> None:
    if start is None:
        row["elapsed_hours"] = None
        return
    elapsed = row["sampled_at"] - start
    row["elapsed_hours"] = elapsed / timedelta(hours=1)
    hours = Decimal(elapsed // timedelta(microseconds=1)) / 3_600_000_000
    _replace(row, "timepoint_hours", hours, "6,2", "timepoint_stale", rejects, as_label=True)


def _complete_od(row: dict[str, Any], rejects: Rejects) -> None:
    raw, factor = row["od600_raw"], row["od600_dilution_factor"]
    if factor is not None:
        _replace(row, "od600_calculated", Decimal(str(raw)) * Decimal(str(factor)), "8,4", "od600_stale", rejects)
    if factor == 1 and raw > _LINEAR_OD:
        code, above = "od600_above_linear_range", f"od600_raw {raw:g} is above {_LINEAR_OD:g} and was not diluted"
        row["flags"].append(code)
        rejects.fault("samples", code, f"{above}, so it reads too low.", file=FILE, primary_key=row["id"])


def _complete_dcw(row: dict[str, Any], rejects: Rejects) -> None:
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
            _replace(row, "dcw_g_per_l", value, "8,3", "dcw_stale", rejects)
    elif row["dcw_g_per_l"] is not None and row["dcw_g_per_l"] < 0:
        problem = "it is negative"
    if problem:
        _change(row, "dcw_g_per_l", None, "dcw_impossible", f"is left empty because {problem}", rejects)


def _replace(
    row: dict[str, Any], key: str, value: Decimal, size: str, flag: str, rejects: Rejects, *, as_label: bool = False
) -> None:
    try:
        computed = float(quantise(value, size))
    except FieldError as error:
        _change(row, key, None, flag, f"is left empty because {value:g} {error}", rejects)
        return
    if row[key] is not None and float(quantise(Decimal(str(row[key])), size)) != computed:
        _change(row, key, computed, flag, f"was {row[key]} but follows as {computed}; the latter is used", rejects)
    row[key] = computed if as_label else float(value)


def _doubt_labels(row: dict[str, Any], labels: Labels, rejects: Rejects) -> None:
    """A label that cannot be (weights typed in mg, a forgotten dilution) stays, but nobody trains on it."""
    od, dcw = row["od600_calculated"], row["dcw_g_per_l"]
    doubts = []
    if od is not None and not labels.od600[0] <= od <= labels.od600[1]:
        doubts.append(("od600_implausible", f"OD600 {od:g} is outside {labels.od600[0]:g} to {labels.od600[1]:g}"))
    if dcw is not None:
        low, high = labels.dcw_g_per_l
        if not low <= dcw <= high:
            doubts.append(("dcw_implausible", f"DCW {dcw:g} g/L is outside {low:g} to {high:g}"))
        elif od is not None:
            low, high = (ratio * od for ratio in labels.dcw_per_od)
            if not low - labels.dcw_error_g_per_l <= dcw <= high + labels.dcw_error_g_per_l:
                said = f"DCW {dcw:g} g/L does not go with OD600 {od:g}: {low:.3g} to {high:.3g} g/L were to be expected"
                doubts.append(("dcw_implausible", said))
    for flag, said in doubts:
        row["flags"].append(flag)
        rejects.fault("samples", flag, f"Sample {row['id']}: {said}.", file=FILE, primary_key=row["id"])


def _change(row: dict[str, Any], key: str, value: float | None, flag: str, what: str, rejects: Rejects) -> None:
    rejects.change("samples", flag, f"Sample {row['id']}: {key} {what}.", file=FILE, primary_key=row["id"])
    row[key] = value
    row["flags"].append(flag)


def _mark_superseded(
    samples: Sequence[dict[str, Any]], batch: Mapping[str, Any], plan: Plan, within: timedelta
) -> None:
    """There is no way to edit a sample in the source, so a correction arrives as a later row.

    It is one of the same person about the same moment: rows that follow each other closely are one sample, corrected,
    if all of them lie within the time given, and a series of samples if they do not. What names the same filter is
    one sample, what names different ones is not.
    """
    last = max((row["sampled_at"] for row in samples), default=None)
    hours = plan.phase(batch["phase"]).replicate_hours
    for row in samples:
        row["superseded_by"] = None
    single = [
        row
        for row in sorted(samples, key=lambda row: (row["sampled_at"], row["id"]))
        if not row["replicate"] and not (hours and _is_replicate_moment(row, last, hours, plan))
    ]
    chains: list[list[dict[str, Any]]] = []
    for row in single:
        chain = next((chain for chain in reversed(chains) if _follows(chain[-1], row, within)), None)
        if chain is None:
            chains.append([row])
        else:
            chain.append(row)
    for chain in chains:
        if chain[-1]["sampled_at"] - chain[0]["sampled_at"] <= within:
            _keep_newest(chain)
        else:
            _keep_newest_of_each_filter(chain)


def _follows(before: Mapping[str, Any], row: Mapping[str, Any], within: timedelta) -> bool:
    if row["sampled_at"] - before["sampled_at"] > within:
        return False
    different = (
        before[key] is not None and row[key] is not None and before[key] != row[key]
        for key in ("sampled_by", "dcw_filter_id")
    )
    return not any(different)


def _keep_newest(rows: Sequence[dict[str, Any]]) -> None:
    kept = max(row["id"] for row in rows)
    for row in rows:
        if row["id"] != kept:
            row["superseded_by"] = kept
            row["flags"].append("superseded")


def _keep_newest_of_each_filter(rows: Sequence[dict[str, Any]]) -> None:
    for filter_id in {row["dcw_filter_id"] for row in rows} - {None}:
        _keep_newest([row for row in rows if row["dcw_filter_id"] == filter_id])


def _is_replicate_moment(
    row: Mapping[str, Any], last: datetime | None, replicate_hours: Sequence[float], plan: Plan
) -> bool:
    hours, tolerance = row["elapsed_hours"], plan.schedule_tolerance_hours
    if hours is None or last is None:
        return False
    at_end = last - row["sampled_at"] <= timedelta(hours=tolerance)
    return at_end or any(abs(hours - moment) <= tolerance for moment in replicate_hours)


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
