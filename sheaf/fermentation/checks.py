"""What is checked of a batch: its calibrations, and whether its sensors were silent or frozen while it ran."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sheaf.fermentation import schema
from sheaf.fermentation.analysis.facts import frozen_told
from sheaf.fermentation.analysis.gaps import Gap, sensor_coverage
from sheaf.fermentation.settings import FermentationSettings
from sheaf.report import Report
from sheaf.tables.generations import Verdict
from sheaf.tables.pinned import Tables

_MIN_SLOPE, _MAX_SLOPE = 95.0, 105.0
_MAX_RESPONSE_S = 30
_EXPECTED_PROBES = ("pH", "DO", "Temp")
_SHOWN_GAPS = 3


def calibration(tables: Tables, _report: Report, _settings: FermentationSettings) -> Verdict:
    """Whether the probes can be trusted; the newest record of each counts."""
    newest = _newest(tables.read(schema.CALIBRATIONS).to_pylist())
    problems = [f"{probe} was not calibrated." for probe in _EXPECTED_PROBES if probe not in newest]
    for probe, row in newest.items():
        if not row["pass"]:
            problems.append(f"{probe}: the newest calibration failed.")
        problems += _slope_problems(row)
        response = row["response_time_sec"]
        if probe == "DO" and response is not None and response > _MAX_RESPONSE_S:
            problems.append(f"DO: the response time of {response} s is above {_MAX_RESPONSE_S} s.")
    if problems:
        return Verdict(passed=False, detail=" ".join(problems))
    slope = newest["pH"]["slope_percent"]
    told = "no pH slope is known" if slope is None else f"the pH slope is {slope:g} %"
    return Verdict(passed=True, detail=f"{len(newest)} probes passed; {told}.")


def _newest(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    oldest = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(rows, key=lambda row: (row["calibrated_at"] or oldest, row["id"]))
    return {row["probe_type"]: row for row in ordered}


def _slope_problems(row: Mapping[str, Any]) -> list[str]:
    given, computed = row["slope_percent"], row["slope_percent_recomputed"]
    if row["probe_type"] != "pH" or computed is None:
        return []
    problems = []
    if given is not None and abs(given - computed) > 0.05:
        problems.append(f"pH: the recorded slope is {given:g} % but buffers and readings give {computed:g} %.")
    if computed < 5:
        problems.append("pH: the readings look like pH units instead of mV, so the slope says nothing.")
    elif not _MIN_SLOPE <= computed <= _MAX_SLOPE:
        problems.append(f"pH: the slope of {computed:g} % is outside {_MIN_SLOPE:g} to {_MAX_SLOPE:g} %.")
    return problems


def sensor_gaps(tables: Tables, _report: Report, settings: FermentationSettings) -> Verdict:
    """Whether no sensor was silent for long between inoculation and the end of the run."""
    found = sensor_coverage(tables, settings)
    if found.gaps is None:
        return Verdict(passed=False, detail=f"Not checked: {found.unknown}.")
    missing = f"{max(found.dropout or 0.0, 0.0):.2%} of the expected points are missing"
    if not len(found.gaps):
        return Verdict(passed=True, detail=f"none of {found.sensors} sensors was silent for long; {missing}.")
    longest = ", ".join(_told(gap) for gap in found.gaps.longest(_SHOWN_GAPS))
    return Verdict(passed=False, detail=f"{len(found.gaps)} gaps, the longest: {longest}; {missing}.")


def frozen_sensors(tables: Tables, _report: Report, settings: FermentationSettings) -> Verdict:
    """Whether no sensor read exactly the same for longer than it can, and each that is needed sent anything."""
    facts = tables.read(schema.SENSOR_FACTS).to_pylist()
    there = {row["sensor"] for row in facts}
    frozen = [f"{frozen_told(row)}." for row in facts if row["frozen_s"]]
    if missing := [name for name in settings.plan.needed_sensors() if name not in there]:
        return Verdict(passed=False, detail=" ".join([f"Not known of {', '.join(missing)}: no points.", *frozen]))
    if frozen:
        return Verdict(passed=False, detail=" ".join(frozen))
    return Verdict(passed=True, detail=f"none of {len(facts)} sensors was frozen.")


def _told(gap: Gap) -> str:
    return f"{gap.sensor} for {gap.seconds:.0f} s from {gap.start:%Y-%m-%d %H:%M:%S} UTC"
