"""Gas exchange rates of an aerated reactor, from off-gas analysis.

Two balances: `inert`, which infers the outlet flow from nitrogen (what goes in unused comes out), and
`upstream`, the source system's formula, which takes the outlet flow as measured, or equal to the inlet
flow, and ignores carbon dioxide in the inlet gas.
"""

from typing import TYPE_CHECKING

from sheaf.fermentation.settings import FermentationSettings

if TYPE_CHECKING:
    import numpy as np

    Values = np.ndarray


def gas_rates(
    *,
    flow_in: "Values",
    flow_out: "Values | None",
    o2: "Values",
    co2: "Values",
    pressure: "Values",
    do: "Values",
    od: "Values",
    balance: str,
    settings: FermentationSettings,
) -> "dict[str, Values]":
    """CER, OUR (mol/L/h), RQ, kLa (1/h), qO2 and qCO2 (mol/g/h), element by element; NaN where unknown.

    Args:
        flow_in: inlet gas flow in L/min.
        flow_out: measured outlet flow in L/min, NaN where missing; only the upstream balance uses it.
        o2: oxygen in the off-gas, % v/v.
        co2: carbon dioxide in the off-gas, % v/v.
        pressure: headspace pressure in bar.
        do: dissolved oxygen in % of saturation.
        od: in-situ optical density in AU, for the biomass in qO2 and qCO2.
        balance: `inert` or `upstream`.
        settings: volume, gas constants and masks.
    """
    import numpy as np

    y_o2, y_co2 = o2 / 100, co2 / 100
    y_o2_in, y_co2_in = settings.inlet_o2_percent / 100, settings.inlet_co2_percent / 100
    with np.errstate(divide="ignore", invalid="ignore"):
        if balance == "inert":
            outlet = flow_in * (1 - y_o2_in - y_co2_in) / (1 - y_o2 - y_co2)
            produced = outlet * y_co2 - flow_in * y_co2_in
        else:
            outlet = flow_in if flow_out is None else np.where(np.isnan(flow_out), flow_in, flow_out)
            produced = flow_in * y_co2
        relative_pressure = pressure / settings.reference_pressure_bar
        to_rate = 60 * relative_pressure / settings.vessel_volume_l / settings.molar_volume_l
        cer = produced * to_rate
        our = (flow_in * y_o2_in - outlet * y_o2) * to_rate
        rq = np.where(our > settings.min_our_for_rq, cer / our, np.nan)
        # The driving force in mg/L; below 0.1 the quotient is noise.
        force = settings.saturation_mg_per_l * relative_pressure * (1 - do / 100)
        kla = np.where(force > 0.1, our * 32_000 / force, np.nan)
        biomass = np.where(od > 0, settings.biomass_g_per_l_per_od * od, np.nan)
        return {"CER": cer, "OUR": our, "RQ": rq, "kLa": kla, "qO2": our / biomass, "qCO2": cer / biomass}
