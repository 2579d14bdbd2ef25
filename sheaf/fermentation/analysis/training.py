"""Samples joined with the features of their moment, and whether they may be used for training.

The join is on UTC time, one row for each sample, never on rounded hours, and for each sensor and feature by itself: it
takes the newest 30 s window of the run that has it and had ended when the sample was taken. `<feature>_age_s` is sample
time minus end of that window; `match_status` tells of the needed feature that is worst:

- `exact`: less than 30 s, so it is the newest window there can be;
- `within_tol`: at most the tolerance (60 s);
- `nearest`: at most 5 min;
- `none`: there is none so near, and the feature is empty.

A window before inoculation is of the sterile medium and never matches. A window after the sample is never used unless
`match_look_ahead` is set; then `nearest` may be one that starts within 5 min after the sample (with a negative age).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf.clock import microseconds
from sheaf.fermentation import schema
from sheaf.fermentation.analysis.eligibility import Evidence, judge, reasons
from sheaf.fermentation.analysis.facts import frozen_told
from sheaf.fermentation.analysis.features import batch_key
from sheaf.fermentation.analysis.gaps import Gaps, sensor_coverage
from sheaf.fermentation.analysis.plots import growth_plot
from sheaf.fermentation.analysis.run import run_times
from sheaf.fermentation.analysis.windows import WINDOW_S, WINDOW_US
from sheaf.fermentation.analysis.yields import NEEDED, batch_yields
from sheaf.fermentation.plan import Plan
from sheaf.fermentation.settings import FermentationSettings
from sheaf.report import Report
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import numpy as np

MATCHES = ("exact", "within_tol", "nearest", "none")


def build_training(work: Work) -> Report:
    """Build `training_samples`, `sample_sensors`, `eligibility`, `rules` and `yields` of one batch.

    Superseded samples have no row; their correction has one.

    Returns:
        Counts (`samples`, one for each match status, `eligible`, `dropout_percent`, `gaps`), warnings
        about gaps at samples and about eligibility, and the growth curve.

    Raises:
        NotFoundError: the batch has not been ingested, or has no features yet.
    """
    tables, settings = work.tables, work.settings
    info = tables.read(schema.BATCHES).to_pylist()[0]
    all_samples = tables.read(schema.SAMPLES).to_pylist()
    samples = [row for row in all_samples if row["superseded_by"] is None]
    features = tables.read(schema.FEATURES)
    coverage = sensor_coverage(tables, settings)
    facts = tables.read(schema.SENSOR_FACTS).to_pylist()
    closure = _one(tables, schema.CLOSURES)
    rules = judge(
        Evidence(
            batch=info,
            samples=all_samples,
            failures=tables.read(schema.FAILURES).to_pylist(),
            closure=closure,
            inoculation=_one(tables, schema.INOCULATIONS),
            sections={row["section"]: row for row in tables.read(schema.SECTIONS).to_pylist()},
            dropout=coverage.dropout,
            absent=coverage.absent,
            frozen=_frozen(facts, coverage.run_s, settings),
            slow=coverage.slow,
            unit_changed=[row["sensor"] for row in facts if row["unit_changed_at"] is not None],
            implausible=_implausible(features),
        ),
        settings.plan,
        settings.max_dropout,
    )
    why_not = reasons(rules)
    span = run_times(tables)
    needed = set(settings.plan.needed_sensors())
    joined = Join(features, tables.read(schema.SENSOR_WINDOWS), span, settings)
    rows, sensor_rows = [], []
    for sample in samples:
        row = joined.features_of(sample)
        row["in_run"] = _in_run(sample["sampled_at"], *span, settings.plan)
        of_sensors = joined.sensors_of(sample, facts)
        frozen = [each["sensor"] for each in of_sensors if each["frozen"] and each["sensor"] in needed]
        own = [*why_not, *_sample_reasons(sample, row, joined.missing(row), frozen)]
        rows.append(
            row | batch_key(info, settings) | {"eligible": not own, "ineligible_reason": "; ".join(own) or None}
        )
        sensor_rows += of_sensors
    verdict = {
        **batch_key(info, settings),
        "status": info["status"],
        "eligible": not why_not,
        "ineligible_reason": "; ".join(why_not) or None,
        "dropout": coverage.dropout,
    }
    good = [sample for sample, row in zip(samples, rows, strict=True) if row["in_run"] and not _label_reasons(sample)]
    yields = batch_yields(good, joined.arrays, _one(tables, schema.MEDIA_PREPARATIONS), closure, settings.plan)
    work.write(schema.TRAINING_SAMPLES, from_rows(schema.TRAINING_SAMPLES, rows))
    work.write(schema.SAMPLE_SENSORS, from_rows(schema.SAMPLE_SENSORS, sensor_rows))
    work.write(schema.ELIGIBILITY, from_rows(schema.ELIGIBILITY, [verdict]))
    work.write(schema.RULES, from_rows(schema.RULES, [rule.as_row() for rule in rules]))
    work.write(schema.YIELDS, from_rows(schema.YIELDS, [batch_key(info, settings) | yields]))
    return Report(
        counts=_counts(rows, verdict, coverage.gaps),
        warnings=(
            *_match_warnings(work.partition, rows, coverage.gaps),
            *([f"{work.partition} is not eligible for training: {verdict['ineligible_reason']}."] if why_not else []),
        ),
        preview=tuple({key: row[key] for key in _SHOWN} for row in rows[:10]),
        plots=lambda: {"Growth curve": growth_plot(all_samples, features)},
    )


def _frozen(facts: Sequence[Mapping[str, Any]], run_s: float, settings: FermentationSettings) -> list[str]:
    """Sensors that are needed and were frozen for too much of the run."""
    needed = settings.plan.needed_sensors()
    longest = settings.max_dropout * run_s
    return [frozen_told(row) for row in facts if row["sensor"] in needed and row["frozen_s"] > longest]


def _implausible(features: pa.Table) -> dict[str, float]:
    """What was not plausible, with the share of the run's windows."""
    rows = features.select(["in_run", "invalid"]).to_pylist()
    inside = [row["invalid"] or "" for row in rows if row["in_run"]]
    kinds = sorted({kind for text in set(inside) for kind in text.split()})
    return {kind: sum(kind in text.split() for text in inside) / len(inside) for kind in kinds}


def _one(tables: Tables, table: Any) -> dict[str, Any] | None:
    return next(iter(tables.read(table).to_pylist()), None)


class Join:
    """The windows of one batch, to look up what was known at a moment."""

    def __init__(
        self,
        features: pa.Table,
        windows: pa.Table,
        span: tuple[datetime | None, datetime | None],
        settings: FermentationSettings,
    ) -> None:
        """Take the tables `features` and `sensor_windows`, and the run's inoculation and end."""
        import numpy as np

        self._settings, self._features = settings, features
        self._ends = features.column("window_end").cast("int64").to_numpy()
        self._in_run = features.column("in_run").to_numpy(zero_copy_only=False).astype(bool)
        self._known: dict[str, np.ndarray] = {}
        self.arrays = {name: features.column(name).to_numpy() for name in NEEDED}
        self.arrays |= {"ends_us": self._ends, "in_run": self._in_run}
        self._windows = windows
        ends = windows.column("window_start").cast("int64").to_numpy() + WINDOW_US
        start = span[0]
        inside = np.zeros(len(ends), bool) if start is None else ends - WINDOW_US >= microseconds(start)
        sensors = windows.column("sensor").combine_chunks().dictionary_encode()
        codes = sensors.indices.to_numpy()
        self._of_sensor = {
            name: (at, ends[at])
            for number, name in enumerate(sensors.dictionary.to_pylist())
            if len(at := np.flatnonzero((codes == number) & inside))
        }

    def features_of(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of `training_samples` that follow from one sample."""
        import numpy as np

        moment = microseconds(sample["sampled_at"])
        ages: dict[str, float | None] = {}
        row: dict[str, Any] = {"sample_id": sample["id"]} | {key: sample[key] for key in _LABELS}
        for field in schema.FEATURE_VALUES:
            name = field.name
            by = "completeness" if name in _OF_THE_WINDOW else name
            if by not in self._known:
                column = self._features.column(by)
                there = column.is_valid().to_numpy()
                if by == "completeness":
                    there &= column.fill_null(0.0).to_numpy() > 0
                self._known[by] = np.flatnonzero(self._in_run & there)
            known = self._known[by]
            at, age = self._newest(known, self._ends[known], moment)
            row[name] = None if at is None else self._features.column(name)[int(at)].as_py()
            ages[name] = age
        row |= {f"{name}_age_s": ages[name] for name in schema.MATCHED}
        needed = {name: ages[name] if name in ages else self._age(name, moment) for name in self._settings.plan.needed}
        missing = next((name for name, age in needed.items() if age is None), None)
        if missing is not None or not needed:
            return row | {"match_status": "none", "match_delta_s": None, "match_feature": missing}
        worst = max(needed, key=lambda name: self._distance(needed[name]))
        return row | {
            "match_status": self._status(needed[worst]),
            "match_delta_s": needed[worst],
            "match_feature": worst,
        }

    def missing(self, row: Mapping[str, Any]) -> list[str]:
        """Needed features and sensors that a row lacks."""
        moment = microseconds(row["sampled_at"])
        return [
            name
            for name in self._settings.plan.needed
            if (row[f"{name}_age_s"] if name in schema.MATCHED else self._age(name, moment)) is None
        ]

    def _age(self, sensor: str, moment: int) -> float | None:
        """How old the newest window of a sensor is."""
        return self._newest(*self._of_sensor[sensor], moment)[1] if sensor in self._of_sensor else None

    def sensors_of(self, sample: Mapping[str, Any], facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows of `sample_sensors` of one sample."""
        moment = microseconds(sample["sampled_at"])
        changed = {row["sensor"]: row["unit_changed_at"] for row in facts if row["unit_changed_at"] is not None}
        found = []
        for name, (rows, ends) in self._of_sensor.items():
            at, age = self._newest(rows, ends, moment)
            if at is None or age is None:
                continue
            row = self._windows.slice(int(at), 1).to_pylist()[0]
            doubts = []
            if self._status(age) == "nearest":
                doubts.append("old")
            doubts += ["held"] if row["held"] else []
            doubts += ["frozen"] if row["frozen"] else []
            doubts += ["outside"] if row["outside"] else []
            if name in changed and changed[name] <= sample["sampled_at"]:
                doubts.append("unit_changed")
            values = {key: row[key] for key in schema.STATISTICS}
            found.append(
                {
                    "sample_id": sample["id"],
                    "sensor": name,
                    **values,
                    "age_s": age,
                    "validity": " ".join(doubts) or "ok",
                }
            )
        return found

    def _newest(self, rows: "np.ndarray", ends: "np.ndarray", moment: int) -> tuple[int | None, float | None]:
        """The newest of some windows that had ended at a moment, and its age in seconds; None where none is near."""
        import numpy as np

        after = int(np.searchsorted(ends, moment, side="right"))
        candidates = []
        if after:
            candidates.append((moment - int(ends[after - 1])) / 1e6)
        if self._settings.match_look_ahead and after < len(ends):
            candidates.append((moment - int(ends[after])) / 1e6)
        best = min(candidates, key=self._distance, default=None)
        if best is None or self._distance(best) > self._settings.match_nearest_s:
            return None, None
        return int(rows[after - 1 if best >= 0 else after]), best

    def _distance(self, age: float | None) -> float:
        """How far away a window is; one after the sample is never better than `nearest`."""
        if age is None:
            return float("inf")
        return age if age >= 0 else max(self._settings.match_tolerance_s + 1e-6, -age - WINDOW_S)

    def _status(self, age: float | None) -> str:
        distance = self._distance(age)
        if distance > self._settings.match_nearest_s:
            return "none"
        if distance > self._settings.match_tolerance_s:
            return "nearest"
        return "exact" if distance < WINDOW_S else "within_tol"


_OF_THE_WINDOW = ("completeness", "complete", "gap_sensors", "invalid", "feed_events", "feed_age_h")
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


def _in_run(moment: datetime, start: datetime | None, end: datetime | None, plan: Plan) -> bool:
    """From inoculation to the end; a sample of the harvest may be entered a little later."""
    if start is None or moment < start:
        return False
    return end is None or moment <= end + timedelta(hours=plan.schedule_tolerance_hours)


def _label_reasons(sample: Mapping[str, Any]) -> list[str]:
    if sample["od600_calculated"] is None and sample["dcw_g_per_l"] is None:
        return ["no label: neither OD600 nor DCW"]
    flags = (sample["flags"] or "").split()
    return [f"label {flag.replace('_', ' ')}" for flag in flags if flag.endswith("_implausible")]


def _sample_reasons(
    sample: Mapping[str, Any], row: Mapping[str, Any], missing: Sequence[str], frozen: Sequence[str]
) -> list[str]:
    """What rules out one sample of a batch that is good otherwise."""
    if sample["elapsed_hours"] is None:
        return ["sample has no time point"]
    found = []
    if sample["elapsed_hours"] < 0:
        found.append("sample was taken before inoculation")
    elif not row["in_run"]:
        found.append("sample was taken after the end of the run")
    if missing:
        why = f" (not plausible: {row['invalid']})" if row["invalid"] else ""
        found.append(f"no {', '.join(missing)} of the culture near the sample{why}")
    if frozen:
        found.append(f"{', '.join(frozen)} frozen at the sample")
    return [*found, *_label_reasons(sample)]


def _counts(rows: Sequence[Mapping[str, Any]], verdict: Mapping[str, Any], gaps: Gaps | None) -> dict[str, int | float]:
    counts: dict[str, int | float] = {"samples": len(rows)}
    counts |= {f"match_{status}": sum(row["match_status"] == status for row in rows) for status in MATCHES}
    counts |= {"eligible": int(verdict["eligible"])}
    if gaps is not None:
        counts["gaps"] = len(gaps)
    if verdict["dropout"] is not None:
        counts["dropout_percent"] = round(verdict["dropout"] * 100, 3)
    return counts


def _match_warnings(batch: str, rows: Sequence[Mapping[str, Any]], gaps: Gaps | None) -> list[str]:
    warnings = []
    for row in rows:
        if row["match_status"] in ("exact", "within_tol") or row["elapsed_hours"] is None or row["elapsed_hours"] <= 0:
            continue
        around = gaps.longest_around(row["sampled_at"]) if gaps else None
        length = f"a gap of {around.seconds / 60:.0f} min" if around else f"no {row['match_feature']} near it"
        what = f"uses data {row['match_delta_s']:.0f} s away" if row["match_status"] != "none" else "has no features"
        if row["match_status"] == "none" and any(row[f"{name}_age_s"] is not None for name in schema.MATCHED):
            what = f"has no {row['match_feature']}"
        warnings.append(f"{batch}: sample {row['sample_id']} {what} because of {length}.")
    return warnings
