"""The units in which sensors are recorded: spellings (UCUM's and the usual ones), and what converts into what.

Here: a small table of what fermentation instruments write. Not here: which unit a sensor has (`plan`). A unit that is
not listed is compared as it is spelled and converts into nothing.
"""

import re
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit as `reference = value * factor + offset`, within its dimension."""

    dimension: str
    factor: float = 1.0
    offset: float = 0.0


_SPELLINGS: dict[str, tuple[Unit, tuple[str, ...]]] = {
    "°C": (Unit("temperature"), ("Cel", "degC", "deg C", "C", "℃")),
    "K": (Unit("temperature", 1.0, -273.15), ("Kelvin",)),
    "°F": (Unit("temperature", 5 / 9, -160 / 9), ("[degF]", "degF")),
    "bar": (Unit("pressure"), ("bara",)),
    "mbar": (Unit("pressure", 0.001), ("hPa",)),
    "kPa": (Unit("pressure", 0.01), ()),
    "Pa": (Unit("pressure", 1e-5), ()),
    "atm": (Unit("pressure", 1.01325), ()),
    "psi": (Unit("pressure", 0.0689475729), ("[psi]", "psia")),
    "mmHg": (Unit("pressure", 0.00133322387), ("mm[Hg]", "Torr")),
    "%": (Unit("share"), ("% v/v", "%{vol}", "vol%", "vol-%", "%sat", "% sat", "%DO", "percent")),
    "fraction": (Unit("share", 100.0), ("1", "mol/mol")),
    "ppm": (Unit("share", 1e-4), ("[ppm]", "ppmv")),
    "L/min": (Unit("flow"), ("l/min", "slpm", "SLPM", "sL/min", "sl/min", "NL/min", "Nl/min", "lpm")),
    "mL/min": (Unit("flow", 0.001), ("ml/min", "sccm", "mLn/min")),
    "L/h": (Unit("flow", 1 / 60), ("l/h", "sL/h", "sl/h", "NL/h")),
    "mL/h": (Unit("flow", 0.001 / 60), ("ml/h",)),
    "kg": (Unit("mass"), ()),
    "g": (Unit("mass", 0.001), ()),
    "mg": (Unit("mass", 1e-6), ()),
    "L": (Unit("volume"), ("l",)),
    "mL": (Unit("volume", 0.001), ("ml",)),
    "rpm": (Unit("speed"), ("1/min", "/min", "{rev}/min", "{rpm}", "min-1", "RPM")),
    "rps": (Unit("speed", 60.0), ("1/s", "Hz")),
    "AU": (Unit("absorbance"), ("A.U.", "a.u.", "{AU}", "[AU]", "OD")),
    "pH": (Unit("acidity"), ("[pH]", "{pH}", "-")),
}
_UNITS = {name: unit for first, (unit, others) in _SPELLINGS.items() for name in (first, *others)}


def unit_of(spelling: str) -> Unit:
    """What a spelling stands for; an unknown one is a dimension of its own.

    UCUM puts remarks into braces (`%{sat}`) and may write a quotient as a product (`L.min-1`); several signs look like
    that of a degree.
    """
    plain = re.sub(r"[º˚]", "°", spelling.strip())
    quotient = re.sub(r"^(\w+)[.·]([a-z]+)(?:-1|⁻¹)$", r"\1/\2", plain)
    spelled = (plain, plain.replace(" ", ""), quotient, re.sub(r"(?<=.)\{[^{}]*\}$", "", plain))
    return next((_UNITS[each] for each in spelled if each in _UNITS), Unit(plain))


def is_unit(spelling: str) -> bool:
    """Whether a spelling is one of those that are known."""
    return unit_of(spelling).dimension != unit_of("").dimension and unit_of(spelling) in _UNITS.values()


def conversion(given: str, wanted: str) -> tuple[float, float] | None:
    """Factor and offset with which `wanted = value * factor + offset`; None where there are none."""
    one, other = unit_of(given), unit_of(wanted)
    if one.dimension != other.dimension:
        return None
    if one == other:
        return 1.0, 0.0
    return one.factor / other.factor, (one.offset - other.offset) / other.factor


def convertible(wanted: str) -> list[str]:
    """The units that convert into another, by their first spelling."""
    dimension = unit_of(wanted).dimension
    return [name for name, (unit, _) in _SPELLINGS.items() if unit.dimension == dimension] or [wanted]
