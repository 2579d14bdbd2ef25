"""Simulated batches of which growth, gas exchange, volume and yields are known, and what five kinds of instruments say.

Biomass grows exponentially until the substrate is used up. All errors are drawn from what the plan states of its
instruments: calibration, drift, flow, volume, dry weight. Not here: what is compared (`test_fermentation_truth`).
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

T0 = datetime(2025, 10, 21, 10, 30, 7, tzinfo=UTC)
KINDS = ("ideal", "multiplexed", "on_change", "drifting", "gappy")
FEED = 0.5  # g/mL
PLAN = {
    "sensors": {"Feed_Pump": {"unit": "mL/min", "role": "feed", "expected": [0, 5], "optional": True}},
    "constants": {"feed_g_per_ml": FEED},
}
HOLD = dict.fromkeys(("Off_Gas_O2", "Off_Gas_CO2", "Gas_Flow_Inlet", "DO", "pH", "Temp_Broth"), 86400.0)
_STEP_S = 5
_NOISE = {"OD": 0.03, "Off_Gas_O2": 0.008, "Off_Gas_CO2": 0.006, "Gas_Flow_Inlet": 0.002, "DO": 0.4, "pH": 0.008,
          "Temp_Broth": 0.02}  # fmt: skip
_DEADBAND = {"OD": 0.05, "Off_Gas_O2": 0.02, "Off_Gas_CO2": 0.02, "Gas_Flow_Inlet": 0.01, "DO": 1.0, "pH": 0.02,
             "Temp_Broth": 0.05}  # fmt: skip


@dataclass
class Batch:
    """The truth of one batch on a grid of seconds since inoculation.

    Attributes:
        seconds: the grid, from an hour before inoculation.
        values: `X` (g/L), `OUR`, `CER` (mol/L/h), `mu` (1/h), `volume_l`, `O2_mol`, `CO2_mol`, `feed_ml`, `base_ml`.
        y_xs: biomass per substrate, g/g.
        y_xo: biomass per oxygen between first and last sample, g/mol.
        depletion_h: when the substrate is used up.
        end_h: end of the run.
        sample_hours: when 10 mL were drawn.
        glycerol_g: in the medium.
    """

    seconds: np.ndarray
    values: dict[str, np.ndarray] = field(default_factory=dict)
    y_xs: float = 0.0
    y_xo: float = 0.0
    depletion_h: float = 0.0
    end_h: float = 0.0
    sample_hours: tuple[float, ...] = ()
    glycerol_g: float = 40.0

    def at(self, name: str, moment: datetime) -> float:
        """A true value at a moment."""
        return float(np.interp((moment - T0).total_seconds(), self.seconds, self.values[name]))


def simulate(rng: np.random.Generator, fed: bool = False) -> Batch:
    """One batch: µ 0.18 to 0.24 1/h, depletion after 17 to 20 h, samples of 10 mL, base, evaporation, maybe feed."""
    mu, y_xs = rng.uniform(0.18, 0.24), rng.uniform(0.45, 0.55)
    o2_per_g, co2_per_g = rng.uniform(0.03, 0.04), rng.uniform(0.024, 0.03)
    maintenance, evaporation = rng.uniform(0, 0.0004), max(rng.normal(1.0, 0.4), 0.0)  # mol/g/h, mL/h
    batch = Batch(np.arange(-3600, 24 * 3600, _STEP_S), y_xs=y_xs, glycerol_g=round(rng.uniform(36, 42), 2))
    target = rng.uniform(17.0, 19.5)
    mass = batch.glycerol_g * y_xs * 0.93 / math.exp(mu * target)
    volume, substrate, o2, co2, base, feed = 1.0, batch.glycerol_g, 0.0, 0.0, 0.0, 0.0
    pulses = (6.0, 9.0, 12.0) if fed else ()
    due = [0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0]
    rows: list[tuple[float, ...]] = []
    taken, first_mass, drawn, o2_at_first, last_hour = [], 0.0, 0.0, 0.0, None
    step = _STEP_S / 3600
    for second in batch.seconds:
        hour = second / 3600
        if second < 0:
            rows.append((0.0, 0.0, 0.0, 0.0, volume, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
            continue
        growing = substrate > 0
        if not growing and not batch.depletion_h:
            batch.depletion_h, last_hour = round(hour, 2), hour + 0.1
            due.append(last_hour)
        if due and hour >= due[0] - 1e-9:
            if not taken:
                first_mass, o2_at_first = mass, o2
            taken.append(hour)
            batch.y_xo = (mass - first_mass + drawn) / (o2 - o2_at_first) if len(taken) > 1 else 0.0
            share = 0.010 / volume
            drawn += mass * share
            mass, substrate, volume = mass * (1 - share), substrate * (1 - share), volume - 0.010
            due.pop(0)
        x = mass / volume
        formed = mu * mass if growing else 0.0  # g/h
        pump = next((1.0 for pulse in pulses if pulse <= hour < pulse + 1 / 6), 0.0)  # mL/min
        rate, carbon = formed * o2_per_g + maintenance * mass, formed * co2_per_g + 0.9 * maintenance * mass
        rows.append((x, rate / volume, carbon / volume, formed / mass, volume, o2, co2, feed, base, pump, formed))
        mass, o2, co2 = mass + formed * step, o2 + rate * step, co2 + carbon * step
        substrate += (pump * 60 * FEED - formed / y_xs) * step
        base, feed = base + 1.05 * formed * step, feed + pump * 60 * step
        volume += (1.05 * formed + pump * 60 - evaporation) * step / 1000
        if last_hour and hour > last_hour + 0.3:
            break
    names = ("X", "OUR", "CER", "mu", "volume_l", "O2_mol", "CO2_mol", "feed_ml", "base_ml", "pump", "formed")
    batch.seconds = batch.seconds[: len(rows)]
    batch.values = dict(zip(names, np.array(rows).T, strict=True))
    batch.sample_hours, batch.end_h = tuple(taken), float(batch.seconds[-1]) / 3600
    return batch


def record(batch: Batch, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """The batch as `batch.json`; every rule of the plan holds."""

    def at(hour: float) -> str:
        return (T0 + timedelta(hours=hour)).isoformat()

    def sample(hour: float) -> dict[str, Any]:
        x = float(np.interp(hour * 3600, batch.seconds, batch.values["X"]))
        return {"sampled_at": at(hour), "od600_raw": round(x / 0.33 / 50, 5), "od600_dilution_factor": 50.0,
                "dcw_g_per_l": round(x + rng.normal(0, 0.1), 3), "sample_volume_ml": 10.0,
                "contamination_detected": False, "sampled_by": "t"}  # fmt: skip

    return {
        "batch": {"batch_id": f"batch-{number}", "batch_number": number, "phase": "B", "vessel_id": "V-1",
                  "operator_id": "t", "status": "complete", "created_at": at(-2), "inoculated_at": at(0),
                  "completed_at": at(batch.end_h)},
        "calibrations": [],
        "inoculation": {"inoculum_source": "C", "inoculum_od600": 5, "inoculum_volume_ml": 100.0, "go_decision": True},
        "samples": [sample(hour) for hour in batch.sample_hours],
        "failures": [],
        "closure": {"total_runtime_hours": round(batch.end_h, 2), "do_spike_observed": True, "outcome": "Complete",
                    "glycerol_depletion_time_hours": batch.depletion_h},
        "media_preparation": {"glycerol_g": batch.glycerol_g, "final_volume_l": 0.9},
    }  # fmt: skip


def readings(batch: Batch, kind: str, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What instruments of a kind say: seconds since inoculation and values, by sensor."""
    every = {"on_change": 10, "multiplexed": 20}.get(kind, 30)
    hours = batch.seconds / 3600
    entering = 60 * 1.0 / 22.414 * (1 + rng.normal(0, 0.01))  # what really flows, where the meter says 1 L/min
    our, cer = (batch.values[name] * batch.values["volume_l"] for name in ("OUR", "CER"))
    o2, co2 = entering * 0.2095 - our, entering * 0.0004 + cer
    leaving = entering * (1 - 0.2095 - 0.0004) + o2 + co2
    days = np.maximum(hours, 0) / 24
    drift = 1.0 if kind == "drifting" else 0.3
    said = {
        "OD": batch.values["X"] / 0.4,
        "Off_Gas_O2": 100 * o2 / leaving * (1 + rng.normal(0, 0.002)) + rng.normal(0, 0.02 * drift) * days,
        "Off_Gas_CO2": 100 * co2 / leaving + rng.normal(0, 0.02) + rng.normal(0, 0.02 * drift) * days,
        "Gas_Flow_Inlet": np.ones_like(hours),
        "DO": np.clip(95 - 600 * batch.values["OUR"], 5, 100),
        "pH": np.full_like(hours, 5.0),
        "Temp_Broth": np.full_like(hours, 30.0),
    }
    found = {}
    for name, values in said.items():
        period = 300 if kind == "multiplexed" and name.startswith("Off_Gas") else every
        kept = np.flatnonzero(batch.seconds % period == 0)
        seen = values[kept] + rng.normal(0, _NOISE[name], len(kept))
        if kind == "on_change":
            changes = _changes(seen, _DEADBAND[name])
            kept, seen = kept[changes], seen[changes]
        found[name] = (batch.seconds[kept], np.round(seen, 4))
    pumped = np.flatnonzero(batch.seconds % every == 0)
    found["Base_Pump_Rate"] = (batch.seconds[pumped], 1.05 * batch.values["formed"][pumped] / 60)
    if batch.values["pump"].any():
        found["Feed_Pump"] = (batch.seconds[pumped], batch.values["pump"][pumped])
    if kind == "gappy":
        for start in rng.uniform(1, batch.end_h - 3, 3):
            length = rng.uniform(0.3, 1.5)
            for name, (seconds, values) in found.items():
                there = (seconds < start * 3600) | (seconds > (start + length) * 3600)
                found[name] = (seconds[there], values[there])
    return found


def _changes(values: np.ndarray, deadband: float) -> np.ndarray:
    kept, last = [], math.inf
    for at, value in enumerate(values):
        if abs(value - last) >= deadband or not kept:
            kept.append(at)
            last = value
    return np.array(kept)


def write_sensors(path: Path, found: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """As `sensors.parquet`."""
    zero = round(T0.timestamp())
    times = np.concatenate([seconds for seconds, _ in found.values()]) + zero
    names = np.repeat(list(found), [len(seconds) for seconds, _ in found.values()])
    data = {
        "time": pa.array(times * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
        "sensor": pa.array(names.tolist()),
        "value": pa.array(np.concatenate([values for _, values in found.values()])),
    }
    pq.write_table(pa.table(data), path)
