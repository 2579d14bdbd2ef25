"""Yields and mean specific rates of a batch between its first and last dry cell weight.

`docs/fermentation.md` has the formulas. Not here: what is known at a moment of the run (`features`), for these are
known at its end only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sheaf.clock import microseconds
from sheaf.fermentation import schema
from sheaf.fermentation.plan import Plan

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]

NEEDED = ("volume_l", "O2_mol", "O2_mol_se", "CO2_mol", "CO2_mol_se", "base_ml", "feed_ml")
"""Columns of `features` that yields follow from, beside `ends_us` and `in_run`."""


def batch_yields(
    samples: Sequence[Row], features: "Mapping[str, np.ndarray]", medium: Row | None, closure: Row | None, plan: Plan
) -> dict[str, Any]:
    """The columns of `yields` that follow from samples, features and record; None for what is not known.

    Args:
        samples: rows of `samples` of the run whose labels can be, by time.
        features: `ends_us`, `in_run` and `NEEDED` of each window.
        medium: row of `media_preparations`.
        closure: row of `closures`.
        plan: substrate and errors.
    """
    key = {"batch_id", "batch_number", "phase", "split"}
    found: dict[str, Any] = {name: None for name in schema.YIELDS.schema.names if name not in key}
    missing: list[str] = []
    found |= {name: _last(features, name) for name in ("base_ml", "feed_ml")}
    weighed = [row for row in samples if row["dcw_g_per_l"] is not None and row["elapsed_hours"] is not None]
    if len(weighed) < 2:
        missing.append("fewer than two dry cell weights")
        return found | {"validity": "; ".join(missing)}
    first, last = weighed[0], weighed[-1]
    v_first, v_last = (_at(features, "volume_l", row) for row in (first, last))
    if v_first is None or v_last is None:
        missing.append("the volume is not known at a dry cell weight")
        return found | {"validity": "; ".join(missing)}
    grams = last["dcw_g_per_l"] * v_last - first["dcw_g_per_l"] * v_first
    course = _course(samples, weighed, features)
    grams += sum(row.biomass_g for row in course)
    error = math.hypot(
        plan.labels.dcw_noise_g_per_l * math.hypot(v_first, v_last),
        last["dcw_g_per_l"] * v_last * plan.constants.volume_noise_percent / 100,
    )
    found |= {"hours": last["elapsed_hours"] - first["elapsed_hours"], "biomass_g": grams, "biomass_g_se": error}
    for name in ("O2_mol", "CO2_mol"):
        at_first, at_last = (_at(features, name, row) for row in (first, last))
        if at_last is not None and at_first is not None:
            found[name] = at_last - at_first
            found[f"{name}_se"] = _at(features, f"{name}_se", last)
    substrate = _substrate(features, first, last, medium, closure, plan, missing)
    if substrate is not None:
        substrate = _used_up(*substrate, grams, course, plan.constants.feed_g_per_ml or 0.0)
        found["substrate_g"], found["substrate_g_se"] = substrate
    if found["O2_mol"] is None:
        missing.append("oxygen uptake is not known up to the last dry cell weight")
    if grams <= 0:
        missing.append("no biomass was formed")
    else:
        found |= _ratio("Y_XS", (grams, error), substrate)
        found |= _ratio("Y_XO", (grams, error), (found["O2_mol"], found["O2_mol_se"]))
    biomass_h = _biomass_hours(weighed, features)
    if biomass_h is not None:
        relative = math.hypot(error / grams if grams > 0 else 0.0, plan.constants.volume_noise_percent / 100)
        over = (biomass_h, biomass_h * relative)
        found |= _ratio("qS_mean", substrate, over)
        found |= _ratio("qO2_mean", (found["O2_mol"], found["O2_mol_se"]), over)
        found |= _ratio("qCO2_mean", (found["CO2_mol"], found["CO2_mol_se"]), over)
    return found | {"validity": "; ".join(missing) or None}


def _ratio(
    name: str, above: tuple[float | None, float | None] | None, below: tuple[float | None, float | None] | None
) -> dict[str, float]:
    """A quotient of two values with errors, and its error; nothing where one is not known or not above zero."""
    if above is None or below is None or above[0] is None or not below[0] or below[0] <= 0:
        return {}
    value = above[0] / below[0]
    relative = math.hypot((above[1] or 0.0) / above[0] if above[0] else 0.0, (below[1] or 0.0) / below[0])
    return {name: value, f"{name}_se": abs(value) * relative}


def _substrate(
    features: "Mapping[str, np.ndarray]",
    first: Row,
    last: Row,
    medium: Row | None,
    closure: Row | None,
    plan: Plan,
    missing: list[str],
) -> tuple[float, float] | None:
    """Substrate that was used up, with its error, in g; None, with the reason, where that is not known."""
    constants = plan.constants
    of_medium = (medium or {}).get(constants.substrate)
    if of_medium is None:
        missing.append(f"no {constants.substrate} in the record")
    depletion = (closure or {}).get("glycerol_depletion_time_hours")
    if depletion is None or last["elapsed_hours"] < depletion - plan.schedule_tolerance_hours:
        missing.append("no dry cell weight after the substrate was used up")
    at_first, at_last = (_at(features, "feed_ml", row) for row in (first, last))
    fed_ml = (at_last or 0.0) - (at_first or 0.0)
    if _silent(features, "feed_ml", first, last):
        missing.append("a feed pump was silent, and what it fed is not known")
        return None
    if fed_ml and constants.feed_g_per_ml is None:
        missing.append("the plan does not say what is in the feed (feed_g_per_ml)")
    elif of_medium is not None and not any("used up" in reason for reason in missing):
        grams = of_medium + fed_ml * (constants.feed_g_per_ml or 0.0)
        return grams, grams * constants.substrate_noise_percent / 100
    return None


@dataclass(frozen=True)
class _Drawn:
    """One sample that took broth away.

    Attributes:
        share: of the liquid in the vessel.
        biomass_g: in the sample.
        formed_g: biomass that had been formed since the first sample, in the vessel and in samples before.
        fed_ml: feed that had been added since the first sample.
    """

    share: float
    biomass_g: float
    formed_g: float
    fed_ml: float


def _course(samples: Sequence[Row], weighed: Sequence[Row], features: "Mapping[str, np.ndarray]") -> list[_Drawn]:
    """What left the vessel with samples from the first weighed one on, and before the last.

    What was in a sample that was not weighed is taken from its neighbours, on a logarithmic scale.
    """
    import numpy as np

    hours = np.array([row["elapsed_hours"] for row in weighed])
    logs = np.log([max(row["dcw_g_per_l"], 1e-3) for row in weighed])
    start = weighed[0]["dcw_g_per_l"] * (_at(features, "volume_l", weighed[0]) or 0.0)
    fed_at_start = _at(features, "feed_ml", weighed[0]) or 0.0
    found: list[_Drawn] = []
    for row in samples:
        at, ml, volume = row["elapsed_hours"], row["sample_volume_ml"], _at(features, "volume_l", row)
        if not ml or not volume or at is None or not hours[0] <= at < hours[-1]:
            continue
        known = row["dcw_g_per_l"]
        density = known if known is not None else float(np.exp(np.interp(at, hours, logs)))
        formed = density * volume - start + sum(one.biomass_g for one in found)
        fed = (_at(features, "feed_ml", row) or 0.0) - fed_at_start
        found.append(_Drawn(ml / 1000 / volume, ml / 1000 * density, formed, fed))
    return found


_ROUNDS = 50
_UNSURE = 0.2  # of what left with samples: nobody has measured it


def _used_up(grams: float, error: float, biomass: float, course: Sequence[_Drawn], feed: float) -> tuple[float, float]:
    """Substrate less what left unused with samples, and its error, in g.

    What was left of the substrate at a sample follows from the biomass that had been formed by then and the yield,
    which follows from it: a few rounds agree.
    """
    lost = 0.0
    for _ in range(_ROUNDS if biomass > 0 else 0):
        per_biomass, lost_now = (grams - lost) / biomass, 0.0
        fed = course[-1].fed_ml if course else 0.0
        for one in course:
            there = grams - (fed - one.fed_ml) * feed - lost_now - max(one.formed_g, 0.0) * per_biomass
            lost_now += max(there, 0.0) * one.share
        lost = min(lost_now, grams / 2)
    return grams - lost, math.hypot(error, _UNSURE * lost)


def _biomass_hours(weighed: Sequence[Row], features: "Mapping[str, np.ndarray]") -> float | None:
    """Integral of biomass in the vessel over time between first and last dry cell weight, in g·h.

    Between two samples biomass is taken to grow exponentially, so that its mean is the logarithmic one.
    """
    total = 0.0
    for before, after in pairwise(weighed):
        volumes = [_at(features, "volume_l", row) for row in (before, after)]
        a, b = (max(row["dcw_g_per_l"], 1e-3) * (v or 0.0) for row, v in zip((before, after), volumes, strict=True))
        if not a or not b:
            return None
        mean = a if math.isclose(a, b) else (b - a) / math.log(b / a)
        total += mean * (after["elapsed_hours"] - before["elapsed_hours"])
    return total or None


def _silent(features: "Mapping[str, np.ndarray]", name: str, first: Row, last: Row) -> bool:
    """Whether a pump that sent anything did not do so all the time between two samples."""
    import numpy as np

    known = ~np.isnan(features[name])
    ends = features["ends_us"]
    between = (ends > microseconds(first["sampled_at"])) & (ends <= microseconds(last["sampled_at"]))
    return bool(known.any() and not known[between & features["in_run"]].all())


def _last(features: "Mapping[str, np.ndarray]", name: str) -> float | None:
    """The newest value of the run."""
    import numpy as np

    known = np.flatnonzero(features["in_run"] & ~np.isnan(features[name]))
    return float(features[name][known[-1]]) if len(known) else None


def _at(features: "Mapping[str, np.ndarray]", name: str, sample: Row) -> float | None:
    """The newest value of the run that was known when a sample was taken; None where that is not of its time.

    For a sample before the first window the liquid is that of the first, and what adds up is nothing.
    """
    import numpy as np

    known = np.flatnonzero(features["in_run"] & ~np.isnan(features[name]))
    moment = microseconds(sample["sampled_at"])
    before = int(np.searchsorted(features["ends_us"][known], moment, side="right")) - 1
    at = known[max(before, 0)] if len(known) else None
    if at is None or abs(moment - int(features["ends_us"][at])) > _RECENT_US:
        return None
    return 0.0 if before < 0 and name != "volume_l" else float(features[name][at])


_RECENT_US = 600 * 1_000_000
"""Two rounds of an analyser that is shared by vessels."""
