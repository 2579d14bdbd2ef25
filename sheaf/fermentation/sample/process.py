"""A simulated glycerol batch: what a *Pichia* culture does in a 1 L vessel and what 19 instruments say of it.

Here: growth, gas exchange and the plant as functions of time, and the sensor log written from
them. Not here: which batches the sample campaign has and what was noted by hand (`campaign`).
Everything is a closed formula of the time since inoculation. Readings come every 5 or 10 s, so that
a batch is 240 000 of them: one a second shows nothing more and takes six times as long to read.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

Hours = np.ndarray
"""Hours since inoculation, float64."""

OD_PER_DCW = 1 / 0.33
"""AU per g/L of dry cells."""
_GLYCEROL_G_L = 36.0
"""40 g/L medium, diluted by 100 mL inoculum into 900 mL."""
_YIELD = 0.5
"""g dry cells per g glycerol."""
_CAPACITY_G_L = 24.0
"""Where the logistic curve would end if glycerol did not run out first."""
_O2_PER_G, _CO2_PER_G = 0.0179, 0.0134
"""mol per g glycerol: the carbon and electron balance of glycerol to biomass (CH1.8O0.5N0.2, 26 g/C-mol)."""
_GAS_MOL_H = 60 / 22.4
"""1 L/min of inlet air, at 0 °C and 1 atm."""
_O2_IN, _CO2_IN = 0.21, 0.0004
_C_STAR_MOL_L = 0.25e-3
"""Oxygen in saturated medium (8 mg/L)."""


@dataclass(frozen=True)
class Culture:
    """How one batch grows.

    Attributes:
        start_g_l: dry cells per litre just after inoculation.
        mu_max: largest specific growth rate, 1/h.
        lag_h: time constant of the lag phase, h.
    """

    start_g_l: float
    mu_max: float
    lag_h: float = 0.6

    @property
    def depletion_h(self) -> float:
        """When the glycerol is used up, hours since inoculation."""
        grid = np.arange(0, 60, 0.01)
        return float(np.interp(self.start_g_l + _YIELD * _GLYCEROL_G_L, self._unlimited(grid), grid))

    def biomass(self, hours: Hours) -> np.ndarray:
        """Dry cells, g/L; nothing before inoculation, and no growth after depletion."""
        grown = self._unlimited(np.clip(hours, 0, self.depletion_h))
        return np.where(hours < 0, 0.0, grown)

    def growth(self, hours: Hours) -> np.ndarray:
        """Dry cells formed, g/L/h; it fades within minutes after depletion."""
        biomass = self.biomass(hours)
        awake = 1 - np.exp(-np.maximum(hours, 0) / self.lag_h)
        fading = np.exp(-np.maximum(hours - self.depletion_h, 0) * 60 / 4)
        return self.mu_max * awake * biomass * (1 - biomass / _CAPACITY_G_L) * fading

    def _unlimited(self, hours: Hours) -> np.ndarray:
        """Logistic growth after a lag (Verhulst, with time slowed down while cells adapt)."""
        active = hours - self.lag_h * (1 - np.exp(-hours / self.lag_h))
        return _CAPACITY_G_L / (1 + (_CAPACITY_G_L / self.start_g_l - 1) * np.exp(-self.mu_max * active))


BASE_ML_PER_G = 1.05
"""Ammonia solution added per gram of cells formed, at 1 L."""


@dataclass(frozen=True)
class Instrument:
    """One sensor: deviation of its noise and resolution, both in its own unit, and seconds between readings."""

    noise: float
    resolution: float
    period_s: int = 5


INSTRUMENTS = {
    "pH": Instrument(0.008, 0.01),
    "DO": Instrument(0.4, 0.1),
    "OD": Instrument(0.03, 0.01),
    "Gas_MFC_air": Instrument(0.002, 0.001, period_s=10),
    "Stir_SP": Instrument(0.0, 1.0, period_s=10),
    "Stir_torque": Instrument(0.3, 0.1, period_s=10),
    "Weight": Instrument(0.0006, 0.001, period_s=10),
    "Heater_PID_out": Instrument(0.8, 0.1, period_s=10),
    "Base_Pump_Rate": Instrument(0.0007, 0.001),
    "Temp_Broth": Instrument(0.02, 0.01, period_s=10),
    "Temp_pH_Probe": Instrument(0.02, 0.01, period_s=10),
    "Temp_DO_Probe": Instrument(0.02, 0.01, period_s=10),
    "Temp_Stirrer_Motor": Instrument(0.1, 0.1, period_s=10),
    "Temp_Exhaust": Instrument(0.05, 0.1, period_s=10),
    "Reactor_Pressure": Instrument(0.0008, 0.001, period_s=10),
    "Off_Gas_CO2": Instrument(0.006, 0.01),
    "Off_Gas_O2": Instrument(0.008, 0.01),
    "Gas_Flow_Inlet": Instrument(0.002, 0.001),
    "Gas_Flow_Outlet": Instrument(0.003, 0.001),
}
_NEVER_NEGATIVE = {"DO", "OD", "Base_Pump_Rate", "Heater_PID_out", "Off_Gas_CO2"}


def true_values(culture: Culture, hours: Hours, sample_hours: list[float]) -> dict[str, np.ndarray]:
    """What every sensor would read without noise, by tag; each array is as long as `hours`."""
    biomass, growth = culture.biomass(hours), culture.growth(hours)
    our = growth / _YIELD * _O2_PER_G + 0.00015 * biomass  # mol/L/h; the second term is maintenance
    cer = growth / _YIELD * _CO2_PER_G + 0.00014 * biomass
    inert, oxygen, carbon = _GAS_MOL_H * (1 - _O2_IN - _CO2_IN), _GAS_MOL_H * _O2_IN - our, _GAS_MOL_H * _CO2_IN + cer
    gas_out = inert + oxygen + carbon

    # Stirring follows oxygen demand so that DO stays near 40 %; kLa = 400/h at 1000 rpm, with its square.
    # The controller forgets a high demand only slowly, which is why DO shoots up at depletion.
    last = our[np.searchsorted(hours, culture.depletion_h) - 1]
    after = np.maximum(hours - culture.depletion_h, 0)
    demand = np.where(after > 0, np.maximum(our, last * np.exp(-after / 0.5)), our)
    stirring = np.clip(1000 * np.sqrt(demand / (0.6 * 400 * _C_STAR_MOL_L)), 500, 1000)
    k_la = 400 * (stirring / 1000) ** 2
    dissolved = 100 * (1 - our / (k_la * _C_STAR_MOL_L))

    slow = np.sin(2 * np.pi * hours / 0.7)
    drawn = sum(((hours >= sample) * 0.010 for sample in sample_hours), np.zeros_like(hours))
    one = np.ones_like(hours)
    return {
        "pH": 5.0 + 0.015 * slow,
        "DO": dissolved,
        "OD": biomass * OD_PER_DCW,
        "Gas_MFC_air": one,
        "Stir_SP": stirring,
        "Stir_torque": 8 + 0.022 * stirring + 0.15 * biomass,
        "Weight": 4.2 + BASE_ML_PER_G * biomass / 1000 - 0.0015 * np.maximum(hours, 0) - drawn,
        "Heater_PID_out": 32 - 450 * our + 2 * slow,
        "Base_Pump_Rate": BASE_ML_PER_G * growth / 60,
        "Temp_Broth": 30.0 + 0.04 * slow,
        "Temp_pH_Probe": 30.05 + 0.04 * slow,
        "Temp_DO_Probe": 29.96 + 0.04 * slow,
        "Temp_Stirrer_Motor": 24 + 0.022 * stirring,
        "Temp_Exhaust": 27.5 + 20 * our,
        "Reactor_Pressure": 1.02 * one,
        "Off_Gas_CO2": 100 * carbon / gas_out,
        "Off_Gas_O2": 100 * oxygen / gas_out,
        "Gas_Flow_Inlet": one,
        "Gas_Flow_Outlet": gas_out / _GAS_MOL_H,
    }


@dataclass(frozen=True)
class Gap:
    """Hours since inoculation in which readings are absent, of all sensors or of the named one."""

    start_h: float
    end_h: float
    sensor: str | None = None


@dataclass(frozen=True)
class Log:
    """What the sensor log of one batch covers: hours since inoculation, without the gaps."""

    inoculated_at: datetime
    start_h: float
    end_h: float
    gaps: tuple[Gap, ...] = ()


def write_log(path: Path, culture: Culture, log: Log, sample_hours: list[float], rng: np.random.Generator) -> None:
    """Write one batch's sensor log in long form: `time` (UTC), `sensor`, `value`; one row group per sensor.

    Args:
        path: the Parquet file.
        culture: how the batch grows.
        log: which time it covers and where readings are absent.
        sample_hours: when 10 mL were drawn.
        rng: source of the noise; equal state gives an equal file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("time", pa.timestamp("us", tz="UTC")), ("sensor", pa.string()), ("value", pa.float64())])
    seconds = np.arange(math.ceil(log.start_h * 3600), math.floor(log.end_h * 3600) + 1)
    hours = seconds / 3600
    values = true_values(culture, hours, sample_hours)
    zero_us = int(log.inoculated_at.timestamp()) * 1_000_000
    encoding = {"time": "DELTA_BINARY_PACKED"}
    dictionaries: Any = ["sensor", "value"]  # the stubs know only bool
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=dictionaries, column_encoding=encoding
    ) as writer:
        for number, (sensor, instrument) in enumerate(INSTRUMENTS.items()):
            kept = _present(sensor, hours, log.gaps) & (seconds % instrument.period_s == 0)
            readings = _read(sensor, values[sensor][kept], rng)
            arrived_us = zero_us + seconds[kept] * 1_000_000 + number * 7_000  # each sensor has its place in the second
            columns = [
                pa.array(arrived_us, pa.int64()).cast(schema.field("time").type),
                pa.repeat(pa.scalar(sensor), len(readings)),
                pa.array(readings),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(readings))


def _present(sensor: str, hours: Hours, gaps: tuple[Gap, ...]) -> np.ndarray:
    kept = np.ones(len(hours), dtype=bool)
    for gap in gaps:
        if gap.sensor in (None, sensor):
            kept &= (hours < gap.start_h) | (hours >= gap.end_h)
    return kept


def _read(sensor: str, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise and round to what the instrument shows."""
    instrument = INSTRUMENTS[sensor]
    noisy = truth + rng.normal(0, instrument.noise, len(truth)) if instrument.noise else truth
    if sensor in _NEVER_NEGATIVE:
        noisy = np.maximum(noisy, 0)
    return np.round(noisy, max(0, round(-math.log10(instrument.resolution))))
