"""Samples joined with the sensor features of their moment, and whether they may be used for training.

The join is on UTC time, one row for each sample, never on rounded hours. It takes the newest 30 s
window that holds data and had ended when the sample was taken; `match_delta_s` is sample time minus end
of that window:

- `exact`: less than 30 s, so it is the newest window there can be;
- `within_tol`: at most the tolerance (60 s);
- `nearest`: at most 5 min;
- `none`: there is none so near; all features are empty.

A window after the sample is never used unless `match_look_ahead` is set; then `nearest` may be one that
starts within 5 min after the sample (with a negative `match_delta_s`).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from sheaf import tables
from sheaf.fermentation import schema
from sheaf.fermentation.eligibility import ineligible_reasons
from sheaf.fermentation.features import WINDOW_S, batch_key
from sheaf.fermentation.gaps import dropout_share, sensor_gaps
from sheaf.fermentation.plan import SCHEDULE_TOLERANCE_HOURS
from sheaf.fermentation.plots import growth_plot
from sheaf.fermentation.settings import FermentationSettings
from sheaf.report import Report
from sheaf.store import Store

MATCHES = ("exact", "within_tol", "nearest", "none")


def build_training(store: Store, batch: str, settings: FermentationSettings) -> Report:
    """Build `training_samples` and `eligibility` of one batch from its records and features.

    Superseded samples have no row; their correction has one.

    Returns:
        Counts (`samples`, one for each match status, `eligible`, `dropout_percent`, `gaps`), warnings
        about gaps at samples and about eligibility, and the growth curve.

    Raises:
        NotFoundError: the batch has not been ingested, or has no features yet.
    """
    info = tables.read(store, schema.BATCHES, batch).to_pylist()[0]
    all_samples = tables.read(store, schema.SAMPLES, batch).to_pylist()
    samples = [row for row in all_samples if row["superseded_by"] is None]
    features = tables.read(store, schema.FEATURES, batch)
    dropout = dropout_share(store, batch, settings)
    reasons = ineligible_reasons(
        info,
        samples,
        tables.read(store, schema.FAILURES, batch).to_pylist(),
        next(iter(tables.read(store, schema.CLOSURES, batch).to_pylist()), None),
        dropout,
        settings.max_dropout,
    )
    rows = join_samples(samples, features, settings)
    for row, sample in zip(rows, samples, strict=True):
        own = [*reasons, *_sample_reasons(sample)]
        row |= batch_key(info) | {"eligible": not own, "ineligible_reason": "; ".join(own) or None}
    verdict = {
        **batch_key(info),
        "status": info["status"],
        "eligible": not reasons,
        "ineligible_reason": "; ".join(reasons) or None,
        "dropout": dropout,
    }
    written = (
        tables.write(store, schema.TRAINING_SAMPLES, batch, tables.from_rows(schema.TRAINING_SAMPLES, rows)),
        tables.write(store, schema.ELIGIBILITY, batch, tables.from_rows(schema.ELIGIBILITY, [verdict])),
    )
    gaps = sensor_gaps(store, batch, settings)
    return Report(
        tables=written,
        counts=_counts(rows, verdict, gaps),
        warnings=(
            *_match_warnings(batch, rows, gaps),
            *([f"{batch} is not eligible for training: {verdict['ineligible_reason']}."] if reasons else []),
        ),
        preview=tuple({key: row[key] for key in _SHOWN} for row in rows[:10]),
        plots={"Growth curve": growth_plot(all_samples, features)},
    )


def join_samples(
    samples: Sequence[Mapping[str, Any]], features: pa.Table, settings: FermentationSettings
) -> list[dict[str, Any]]:
    """One row for each sample, in their order, with the columns of `training_samples` that follow from it."""
    columns = [field.name for field in schema.FEATURE_VALUES]
    has_data = [share > 0 for share in features.column("completeness").to_pylist()]
    with_data = features.filter(pa.array(has_data, pa.bool_()))
    ends = with_data.column("window_end").to_pylist()
    rows = []
    for sample in samples:
        index, delta, status = _match(sample["sampled_at"], ends, settings)
        values = dict.fromkeys(columns) if index is None else with_data.select(columns).slice(index, 1).to_pylist()[0]
        labels = {key: sample[key] for key in _LABELS}
        rows.append({"sample_id": sample["id"], **labels, **values, "match_status": status, "match_delta_s": delta})
    return rows


_LABELS = (
    "sampled_at",
    "elapsed_hours",
    "timepoint_hours",
    "od600_calculated",
    "dcw_g_per_l",
    "contamination_detected",
)
_SHOWN = ("sample_id", "timepoint_hours", "od600_calculated", "dcw_g_per_l", "match_status", "match_delta_s")
_SHOWN += ("pH", "DO", "temp", "OD", "CER", "OUR", "eligible")


def _match(
    sampled_at: datetime, ends: Sequence[datetime], settings: FermentationSettings
) -> tuple[int | None, float | None, str]:
    """Position of the window, sample time minus its end in seconds, status."""
    after = bisect_right(ends, sampled_at)
    candidates = []
    if after > 0:
        age = (sampled_at - ends[after - 1]).total_seconds()
        candidates.append((age, after - 1, age))
    if settings.match_look_ahead and after < len(ends):
        delta = (sampled_at - ends[after]).total_seconds()
        distance = max(settings.match_tolerance_s, -delta - WINDOW_S)  # never better than `nearest`
        candidates.append((distance + 1e-6, after, delta))
    if not candidates:
        return None, None, "none"
    distance, index, delta = min(candidates)
    if distance > settings.match_nearest_s:
        return None, None, "none"
    if distance > settings.match_tolerance_s:
        return index, delta, "nearest"
    return index, delta, "exact" if distance < WINDOW_S else "within_tol"


def _sample_reasons(sample: Mapping[str, Any]) -> list[str]:
    """What rules out one sample of a batch that is good otherwise."""
    if sample["elapsed_hours"] is None:
        return ["sample has no time point"]
    if sample["elapsed_hours"] < -SCHEDULE_TOLERANCE_HOURS:
        return ["sample was taken before inoculation"]
    return []


def _counts(
    rows: Sequence[Mapping[str, Any]], verdict: Mapping[str, Any], gaps: Sequence[Mapping[str, Any]]
) -> dict[str, int | float]:
    counts: dict[str, int | float] = {"samples": len(rows)}
    counts |= {f"match_{status}": sum(row["match_status"] == status for row in rows) for status in MATCHES}
    counts |= {"eligible": int(verdict["eligible"]), "gaps": len(gaps)}
    if verdict["dropout"] is not None:
        counts["dropout_percent"] = round(verdict["dropout"] * 100, 3)
    return counts


def _match_warnings(batch: str, rows: Sequence[Mapping[str, Any]], gaps: Sequence[Mapping[str, Any]]) -> list[str]:
    warnings = []
    for row in rows:
        if row["match_status"] in ("exact", "within_tol"):
            continue
        around = [gap["seconds"] for gap in gaps if gap["start"] <= row["sampled_at"] <= gap["end"]]
        length = f"a gap of {max(around) / 60:.0f} min" if around else "no sensor data near it"
        what = "has no features" if row["match_status"] == "none" else f"uses data {row['match_delta_s']:.0f} s away"
        warnings.append(f"{batch}: sample {row['sample_id']} {what} because of {length}.")
    return warnings
