"""Whether a batch may be used for training, by the run plan's acceptance rules.

Checked: complete, runtime, DO spike, sampling schedule, sensor dropout, deviations, contamination. Not
checked, because no record tells: how late forms were entered, and outliers.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sheaf.fermentation.plan import RUNTIME_HOURS, SCHEDULE_HOURS, SCHEDULE_TOLERANCE_HOURS

Row = Mapping[str, Any]


def ineligible_reasons(
    batch: Row,
    samples: Sequence[Row],
    failures: Sequence[Row],
    closure: Row | None,
    dropout: float | None,
    max_dropout: float,
) -> list[str]:
    """The acceptance rules that do not hold, in a fixed order; empty when the batch is eligible.

    Args:
        batch: row of `batches`.
        samples: rows of `samples` that are not superseded.
        failures: rows of `failures`.
        closure: row of `closures`.
        dropout: share of missing sensor points, None when there are no sensor data.
        max_dropout: share from which a batch is refused.
    """
    reasons = []
    if batch["status"] != "complete":
        reasons.append(f"status is {batch['status']}")
    if batch["inoculated_at"] is None:
        reasons.append("not inoculated")
    if closure is not None and closure["outcome"] != "Complete":
        reasons.append(f"outcome is {closure['outcome']}")
    reasons += _runtime_reasons(batch, closure)
    reasons += _depletion_reasons(closure)
    reasons += _schedule_reasons(samples, closure)
    if dropout is None:
        reasons.append("no sensor data")
    elif dropout >= max_dropout:
        reasons.append(f"sensor dropout {dropout:.2%} is not below {max_dropout:.0%}")
    reasons += _deviation_reasons(failures)
    if any(row["contamination_detected"] for row in samples):
        reasons.append("contamination in a sample")
    return reasons


def _runtime_reasons(batch: Row, closure: Row | None) -> list[str]:
    runtime = closure["total_runtime_hours"] if closure else None
    if runtime is None and batch["inoculated_at"] and batch["completed_at"]:
        runtime = (batch["completed_at"] - batch["inoculated_at"]) / timedelta(hours=1)
    low, high = RUNTIME_HOURS
    if runtime is None:
        return ["runtime is not known"]
    return [] if low <= runtime <= high else [f"runtime {runtime:.1f} h is outside {low:g} to {high:g} h"]


def _depletion_reasons(closure: Row | None) -> list[str]:
    if closure is None or closure["do_spike_observed"] is None:
        return ["no record of a DO spike"]
    return [] if closure["do_spike_observed"] else ["no DO spike observed"]


def _schedule_reasons(samples: Sequence[Row], closure: Row | None) -> list[str]:
    taken = [row["elapsed_hours"] for row in samples if row["elapsed_hours"] is not None]

    def missing(moment: float) -> bool:
        return not any(abs(hours - moment) <= SCHEDULE_TOLERANCE_HOURS for hours in taken)

    reasons = []
    gone = [f"{moment:g} h" for moment in SCHEDULE_HOURS if missing(moment)]
    if gone:
        reasons.append(f"no sample at {', '.join(gone)}")
    depletion = closure["glycerol_depletion_time_hours"] if closure else None
    if depletion is None:
        reasons.append("glycerol depletion time is not known")
    elif missing(depletion):
        reasons.append(f"no sample at glycerol depletion ({depletion:g} h)")
    return reasons


def _deviation_reasons(failures: Sequence[Row]) -> list[str]:
    reasons = []
    if critical := sum(row["deviation_level"] >= 3 for row in failures):
        reasons.append(f"{critical} critical deviation(s)")
    major = [row for row in failures if row["deviation_level"] == 2]
    if len(major) > 1:
        reasons.append(f"{len(major)} major deviations")
    elif major and not major[0]["reviewed_by"]:
        reasons.append("a major deviation is not reviewed")
    if any(row["category"] == "Contamination" for row in failures):
        reasons.append("contamination reported as a deviation")
    return reasons
