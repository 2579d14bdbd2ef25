"""Whether a batch may be used for training, by the run plan's acceptance rules; what is not known does not hold.

Checked: complete, runtime, DO spike, sampling schedule, sensors, plausible rates, deviations, contamination.
Not checked, because no record tells: how late forms were entered, and outliers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sheaf.fermentation.plan import Plan
from sheaf.fermentation.readers.fields import shorten

Row = Mapping[str, Any]


class Verdict(StrEnum):
    """The three answers."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rule:
    """One rule with its answer.

    Attributes:
        rule: what has to hold, as a sentence.
        verdict: the answer.
        reason: why it does not hold or is not known; empty where it holds.
        settle: what would settle it, where it is not known.
        rows: rows of the record that it rests on, such as `samples/3`.
    """

    rule: str
    verdict: Verdict
    reason: str = ""
    settle: str = ""
    rows: tuple[str, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """As a row of `rules`."""
        return {
            "rule": self.rule,
            "verdict": str(self.verdict),
            "reason": self.reason or None,
            "settle": self.settle or None,
            "rows": " ".join(self.rows) or None,
        }


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        batch: row of `batches`.
        samples: rows of `samples`, superseded ones included.
        failures: rows of `failures`.
        closure: row of `closures`.
        inoculation: row of `inoculations`.
        sections: rows of `sections`, by section; one that is missing here was not there.
        dropout: share of the run in which sensors were silent; None where that cannot be told.
        absent: sensors that the plan needs and that sent nothing in the run.
        frozen: clauses on those of them that read the same for longer than they can, for too much of the run.
        slow: sensors that send less than was promised.
        unit_changed: sensors whose unit seems to have changed.
        implausible: derived values that cannot be, with the share of the run in which they are not.
    """

    batch: Row
    samples: Sequence[Row] = ()
    failures: Sequence[Row] = ()
    closure: Row | None = None
    inoculation: Row | None = None
    sections: Mapping[str, Row] | None = None
    dropout: float | None = None
    absent: Sequence[str] = ()
    frozen: Sequence[str] = ()
    slow: Sequence[str] = ()
    unit_changed: Sequence[str] = ()
    implausible: Mapping[str, float] = field(default_factory=dict)

    def unread(self, section: str, what: str) -> "Iterator[tuple[str, str]]":
        """Why not all of a section is known, and what would settle it."""
        found = (self.sections or {}).get(section)
        if found is None or found["state"] != "read":
            yield (
                f"the record has no section {section}",
                f"export the record with its {section}, or give the role SELECT",
            )
        elif found["rejected"]:
            reason = f"{found['rejected']} {what}(s) could not be read"
            yield reason, f"correct and deliver again: {found['rejects']}"


def judge(evidence: Evidence, plan: Plan, max_dropout: float) -> list[Rule]:
    """Every rule with its answer, in a fixed order."""
    return [
        _complete(evidence),
        _inoculated(evidence),
        _runtime(evidence, plan),
        *([_spike(evidence)] if plan.depletion_sample else []),
        _schedule(evidence, plan),
        _sensors(evidence, max_dropout),
        _plausible(evidence, max_dropout),
        _deviations(evidence),
        _clean(evidence),
    ]


def reasons(rules: Sequence[Rule]) -> list[str]:
    """Why a batch is not eligible; empty where it is."""
    return [rule.reason for rule in rules if rule.verdict is not Verdict.HOLDS]


def _answer(
    rule: str,
    failing: Sequence[str],
    unknown: Sequence[tuple[str, str]] = (),
    rows: Sequence[str] = (),
) -> Rule:
    """What fails for certain decides; then what is not known."""
    if failing:
        return Rule(rule, Verdict.FAILS, "; ".join(failing), rows=tuple(rows))
    if unknown:
        said = "; ".join(reason for reason, _ in unknown)
        return Rule(rule, Verdict.UNKNOWN, said, "; ".join(dict.fromkeys(how for _, how in unknown)), tuple(rows))
    return Rule(rule, Verdict.HOLDS, rows=tuple(rows))


def _complete(evidence: Evidence) -> Rule:
    status, closure = evidence.batch["status"], evidence.closure
    failing = [] if status == "complete" else [f"status is {status}"]
    if closure is not None and closure["outcome"] != "Complete":
        failing.append(f"outcome is {closure['outcome']}")
    return _answer("The batch is complete.", failing, rows=_ids("closures", [closure] if closure else []))


def _inoculated(evidence: Evidence) -> Rule:
    failing = ["not inoculated"] if evidence.batch["inoculated_at"] is None else []
    inoculation = evidence.inoculation
    if inoculation is not None and not inoculation["go_decision"]:
        failing.append("the inoculation was a NO-GO")
    unknown = [] if inoculation else [*evidence.unread("inoculations", "inoculation")]
    unknown = [each for each in unknown if "could not be read" in each[0]]  # some systems never tell of it
    return _answer("It was inoculated.", failing, unknown)


def _runtime(evidence: Evidence, plan: Plan) -> Rule:
    batch, closure = evidence.batch, evidence.closure
    runtime = closure["total_runtime_hours"] if closure else None
    if runtime is None and batch["inoculated_at"] and batch["completed_at"]:
        runtime = (batch["completed_at"] - batch["inoculated_at"]) / timedelta(hours=1)
    low, high = plan.runtime_hours
    rule = f"It ran {low:g} to {high:g} h."
    if runtime is None:
        return _answer(rule, [], [("runtime is not known", "close the batch with its runtime")])
    wrong = [] if low <= runtime <= high else [f"runtime {runtime:.1f} h is outside {low:g} to {high:g} h"]
    return _answer(rule, wrong, rows=_ids("closures", [closure] if closure else []))


def _spike(evidence: Evidence) -> Rule:
    closure = evidence.closure
    rule = "Dissolved oxygen spiked at depletion."
    if closure is None or closure["do_spike_observed"] is None:
        return _answer(rule, [], [("no record of a DO spike", "close the batch and say whether there was one")])
    return _answer(rule, [] if closure["do_spike_observed"] else ["no DO spike observed"])


def _schedule(evidence: Evidence, plan: Plan) -> Rule:
    current = [row for row in evidence.samples if row["superseded_by"] is None]
    taken = [row["elapsed_hours"] for row in current if row["elapsed_hours"] is not None]

    def missing(moment: float) -> bool:
        return not any(abs(hours - moment) <= plan.schedule_tolerance_hours for hours in taken)

    failing: list[str] = []
    unknown: list[tuple[str, str]] = []
    if gone := [f"{moment:g} h" for moment in plan.schedule_hours if missing(moment)]:
        failing.append(f"no sample at {', '.join(gone)}")
    if plan.depletion_sample:
        depletion = evidence.closure["glycerol_depletion_time_hours"] if evidence.closure else None
        if depletion is None:
            unknown.append(("glycerol depletion time is not known", "close the batch with the time of depletion"))
        elif missing(depletion):
            failing.append(f"no sample at glycerol depletion ({depletion:g} h)")
    if failing and (unread := [*evidence.unread("samples", "sample")]):  # it may be one of these
        unknown, failing = [*((reason, unread[0][1]) for reason in failing), *unread, *unknown], []
    return _answer("Samples were taken on schedule.", failing, unknown, _ids("samples", current))


def _sensors(evidence: Evidence, max_dropout: float) -> Rule:
    rule = (
        f"Sensors were silent for less than {max_dropout:.0%} of the run, in units that stayed, and none that is "
        "needed was absent or frozen."
    )
    failing: list[str] = []
    unknown: list[tuple[str, str]] = []
    if evidence.dropout is None:
        unknown.append(("no sensor data", "deliver the sensors of the run"))
    elif evidence.dropout >= max_dropout:
        failing.append(f"sensor dropout {evidence.dropout:.2%} is not below {max_dropout:.0%}")
    if evidence.absent:
        said = f"no points of {', '.join(evidence.absent)} in the run"
        unknown.append((said, "deliver them, or take what follows from them out of `needed` in the plan"))
    for said in evidence.frozen:
        unknown.append((said, "look at the sensor; say by hold_s that it is logged on change, if it is"))
    points = (evidence.sections or {}).get("sensors")
    lost = points["rejected"] / max(points["rows"] + points["rejected"], 1) if points else 0.0
    if points and lost >= max_dropout:
        said = f"{points['rejected']} sensor points ({lost:.1%}) could not be used"
        unknown.append((said, f"correct and deliver again: {points['rejects']}"))
    if evidence.slow:
        failing.append(f"{', '.join(evidence.slow)} sent less often than rates_hz promises")
    if evidence.unit_changed:
        names = ", ".join(evidence.unit_changed)
        unknown.append((f"the unit of {names} seems to change during the run", "deliver the sensors in one unit"))
    return _answer(rule, failing, unknown)


_INSTRUMENTS = {
    "gas_inlet": ("the off-gas before inoculation is not the plan's inlet gas", "calibrate, or set inlet_o2_percent"),
    "gas_outlet": ("gas rates cannot be", "look at off-gas analyser, inlet gas and flow; then correct or declare them"),
    "mu": ("growth rates cannot be", "look at the OD probe"),
}


def _plausible(evidence: Evidence, most: float) -> Rule:
    unknown = [
        (f"{_INSTRUMENTS[kind][0]} in {share:.1%} of the run", _INSTRUMENTS[kind][1])
        for kind, share in evidence.implausible.items()
        if share >= most
    ]
    return _answer(f"What follows from the sensors can be, but for {most:.0%} of the run.", [], unknown)


def _deviations(evidence: Evidence) -> Rule:
    failures = evidence.failures
    failing = []
    unknown = [*evidence.unread("failures", "deviation")]
    if critical := sum(row["deviation_level"] >= 3 for row in failures):
        failing.append(f"{critical} critical deviation(s)")
    for row in failures:
        if row["deviation_level"] < 1:
            said = f"deviation {row['id']} has the level {row['deviation_level']}"
            unknown.append((said, "say whether it is minor (1), major (2) or critical (3)"))
    major = [row for row in failures if row["deviation_level"] == 2]
    if len(major) > 1:
        failing.append(f"{len(major)} major deviations")
    elif major and not major[0]["reviewed_by"]:
        failing.append("a major deviation is not reviewed")
    return _answer(
        "No critical deviation, and at most one major one, reviewed.",
        failing,
        unknown,
        _ids("failures", failures),
    )


_CATEGORIES = {
    *("Contamination", "DO_Crash", "DO_Crash_No_Control", "pH_Excursion", "pH_Drift_No_Control", "Temp_Excursion"),
    *("Sensor_Failure", "Power_Outage", "Sampling_Missed", "O2_Enrichment_Used", "Other"),
}
"""What the source system calls deviations; nobody knows what another word says of contamination."""


def _clean(evidence: Evidence) -> Rule:
    failing: list[str] = []
    unknown: list[tuple[str, str]] = []
    contaminated = [row for row in evidence.samples if row["contamination_detected"]]
    if any(row["superseded_by"] is None for row in contaminated):
        failing.append("contamination in a sample")
    for row in contaminated:
        if row["superseded_by"] is not None:
            by = row["superseded_by"]
            said = f"sample {row['id']} was contaminated, and sample {by} that corrects it is not said to settle it"
            unknown.append((said, f"mark one of samples {row['id']} and {by} as replicate, or correct the flag"))
    silent = [row for row in evidence.samples if row["contamination_detected"] is None and row["superseded_by"] is None]
    if silent:
        ids = ", ".join(str(row["id"]) for row in silent)
        unknown.append((f"no record of contamination for sample {ids}", "say whether contamination was seen"))
    reported = [row for row in evidence.failures if "contamin" in row["category"].casefold()]
    if reported:
        failing.append("contamination reported as a deviation")
    for row in evidence.failures:
        if row not in reported and row["category"] not in _CATEGORIES:
            said = f"deviation {row['id']} is of the category {shorten(row['category'])}, which may be contamination"
            unknown.append((said, f"take one of {', '.join(sorted(_CATEGORIES))}"))
    unknown += evidence.unread("samples", "sample")
    unknown += [
        (f"{reason}, and may tell of contamination", how) for reason, how in evidence.unread("failures", "deviation")
    ]
    return _answer(
        "No contamination.", failing, unknown, _ids("samples", [*contaminated, *silent]) + _ids("failures", reported)
    )


def _ids(table: str, rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(f"{table}/{row['id']}" for row in rows if "id" in row)
