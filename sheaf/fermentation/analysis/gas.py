"""Gas exchange rates of an aerated reactor, from off-gas analysis; `docs/fermentation.md` has the formulas.

Two balances: `inert`, which infers the outlet flow from nitrogen (what goes in unused comes out), and
`upstream`, the source system's formula with the source system's numbers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sheaf.fermentation.plan import Constants

if TYPE_CHECKING:
    import numpy as np

    Values = np.ndarray

_SMALLEST_FORCE = 0.1  # mg/L; below, kLa is a quotient of noise
_O2_MG_PER_MOL = 32_000
_UPSTREAM_VOLUME_L, _UPSTREAM_MOLAR_L, _UPSTREAM_BAR, _UPSTREAM_O2, _UPSTREAM_SATURATION = 0.9, 22.4, 1.013, 0.21, 8.0
_UPSTREAM_BIOMASS = 0.4


@dataclass(frozen=True)
class Gas:
    """What was measured, element by element, NaN where missing.

    Attributes:
        flow_in: inlet gas flow, L/min.
        flow_out: measured outlet flow, L/min; only the upstream balance uses it.
        o2, co2: in the dried off-gas, % v/v.
        pressure: in the headspace, bar.
        do: dissolved oxygen, % of saturation.
        od: in-situ optical density, AU.
        volume_l: liquid, L.
    """

    flow_in: "Values"
    flow_out: "Values"
    o2: "Values"
    co2: "Values"
    pressure: "Values"
    do: "Values"
    od: "Values"
    volume_l: "Values"


@dataclass(frozen=True)
class Noise:
    """Standard errors of what was measured, element by element."""

    flow_in: "Values"
    o2: "Values"
    co2: "Values"


def inert_rates(gas: Gas, constants: Constants, min_our_for_rq: float) -> "dict[str, Values]":
    """CER, OUR (mol/L/h), RQ, kLa (1/h), qO2 and qCO2 (mol/g/h) by the inert gas balance; NaN where unknown.

    Flows are of standard litres, so that no pressure scales them, unless the constants say `actual`. kLa takes the gas
    in the vessel as mixed: its oxygen is that of the outlet.
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        our, cer = _uptake(gas.flow_in, gas.o2, gas.co2, gas, constants)
        rq = np.where(our > min_our_for_rq, cer / our, np.nan)
        relative = np.where(np.isnan(gas.pressure), 1.0, gas.pressure / constants.reference_pressure_bar)
        share = gas.o2 / constants.calibration_o2_percent
        force = constants.saturation_mg_per_l * (share * relative - gas.do / 100)
        kla = np.where(force > _SMALLEST_FORCE, our * _O2_MG_PER_MOL / force, np.nan)
        biomass = np.where(gas.od > 0, constants.biomass_g_per_l_per_od * gas.od, np.nan)
        return {"CER": cer, "OUR": our, "RQ": rq, "kLa": kla, "qO2": our / biomass, "qCO2": cer / biomass}


def _uptake(flow_in: "Values", o2: "Values", co2: "Values", gas: Gas, constants: Constants) -> "tuple[Values, Values]":
    import numpy as np

    y_o2, y_co2 = o2 / 100, co2 / 100
    y_o2_in, y_co2_in = constants.inlet_o2_percent / 100, constants.inlet_co2_percent / 100
    scale = gas.pressure / constants.reference_pressure_bar if constants.gas_flow == "actual" else 1.0
    entering = 60 * flow_in * scale / constants.molar_volume_l  # mol/h
    entering = np.where(entering > 0, entering, np.nan)  # where no gas flows, what leaves tells nothing
    leaving = entering * (1 - y_o2_in - y_co2_in) / (1 - y_o2 - y_co2)
    our = (entering * y_o2_in - leaving * y_o2) / gas.volume_l
    cer = (leaving * y_co2 - entering * y_co2_in) / gas.volume_l
    return our, cer


def rate_errors(gas: Gas, noise: Noise, constants: Constants) -> "dict[str, Values]":
    """Standard errors of CER and OUR, mol/L/h: the effect of each gas reading's error, added in quadrature.

    That of the volume is not in: what adds up over the vessel does not depend on it.
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        our, cer = _uptake(gas.flow_in, gas.o2, gas.co2, gas, constants)
        varied = (
            _uptake(gas.flow_in + noise.flow_in, gas.o2, gas.co2, gas, constants),
            _uptake(gas.flow_in, gas.o2 + noise.o2, gas.co2, gas, constants),
            _uptake(gas.flow_in, gas.o2, gas.co2 + noise.co2, gas, constants),
        )
        return {
            "OUR_se": np.sqrt(sum((found - our) ** 2 for found, _ in varied)),
            "CER_se": np.sqrt(sum((found - cer) ** 2 for _, found in varied)),
        }


def upstream_rates(gas: Gas, min_our_for_rq: float) -> "dict[str, Values]":
    """The same six by the source system's formula: its volume, its constants, inlet CO2 ignored, pressure scaling."""
    import numpy as np

    y_o2, y_co2 = gas.o2 / 100, gas.co2 / 100
    with np.errstate(divide="ignore", invalid="ignore"):
        outlet = np.where(np.isnan(gas.flow_out), gas.flow_in, gas.flow_out)
        relative = gas.pressure / _UPSTREAM_BAR
        scale = 60 * relative / _UPSTREAM_VOLUME_L / _UPSTREAM_MOLAR_L
        cer = gas.flow_in * y_co2 * scale
        our = (gas.flow_in * _UPSTREAM_O2 - outlet * y_o2) * scale
        rq = np.where(our > min_our_for_rq, cer / our, np.nan)
        force = _UPSTREAM_SATURATION * relative * (1 - gas.do / 100)
        kla = np.where(force > _SMALLEST_FORCE, our * _O2_MG_PER_MOL / force, np.nan)
        biomass = np.where(gas.od > 0, _UPSTREAM_BIOMASS * gas.od, np.nan)
        rates = {"CER": cer, "OUR": our, "RQ": rq, "kLa": kla, "qO2": our / biomass, "qCO2": cer / biomass}
        return {f"{name}_upstream": values for name, values in rates.items()}
