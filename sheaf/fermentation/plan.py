"""The campaign's run plan as data: sensors with units and bounds, schedule, phases, labels, constants of the vessel.

The default is `plans/pichia.yaml`, which says what every key means. Another organism, a feed pump or another laboratory
is a YAML file of the same shape (`fermentation.plan`) that holds what differs: sensors are added or changed by name,
`null` takes one out, and `inherit: false` starts from nothing. Not here: how a site reads its files (`settings`).
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sheaf.errors import UsageError
from sheaf.fermentation.units import unit_of
from sheaf.outside.yaml_files import read_yaml

Role = Literal["pH", "DO", "temp", "OD", "flow_in", "flow_out", "o2", "co2", "pressure", "weight", "base", "feed"]
"""What a sensor is to the formulas; `base` and `feed` may be several pumps, of the others there is one each."""

_UNITS: dict[Role, str] = {
    **{"pH": "pH", "DO": "%", "temp": "°C", "OD": "AU", "flow_in": "L/min", "flow_out": "L/min", "o2": "%", "co2": "%"},
    **{"pressure": "bar", "weight": "kg", "base": "mL/min", "feed": "mL/min"},
}
"""The units of the formulas."""

DEFAULT = Path(__file__).parent / "plans" / "pichia.yaml"


_GAS: tuple[Role, ...] = ("flow_in", "o2", "co2")
_FOLLOWS_FROM: dict[str, tuple[Role, ...]] = {
    **{"pH": ("pH",), "DO": ("DO",), "temp": ("temp",), "OD": ("OD",), "mu": ("OD",)},
    **dict.fromkeys(("CER", "OUR", "RQ"), _GAS),
    **{"kLa": (*_GAS, "DO"), "qO2": (*_GAS, "OD"), "qCO2": (*_GAS, "OD")},
}
"""The sensors without which there is no such feature."""


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the smaller bound stands first, not {bounds[0]:g} before {bounds[1]:g}")
    return bounds


Bounds = Annotated[tuple[float, float], AfterValidator(_in_order)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sensor(_Part):
    """One sensor.

    Attributes:
        unit: unit of the stored values.
        description: what it measures.
        role: what it is to the formulas; None for one that is only summarised.
        expected: values outside are used and marked, for noise and drift do not stop at a bound.
        possible: values outside are no readings of this sensor in this unit and are rejected.
        min_peak: a whole series that never rises above this was recorded in another unit.
        noise: standard deviation of one reading, in `unit`; None takes it from the readings.
        rate_hz: points per second that are promised; None takes what comes.
        hold_s: how long a value holds for a sensor that is logged on change; None for one that is sampled.
        frozen_s: a sensor that reads exactly the same for so long hangs; None where only its noise tells.
        aliases: other names under which its data arrive.
        optional: whether a batch without it lacks nothing.
    """

    unit: str
    description: str = ""
    role: Role | None = None
    expected: Bounds | None = None
    possible: Bounds | None = None
    min_peak: float | None = None
    noise: float | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    hold_s: float | None = Field(default=None, gt=0)
    frozen_s: float | None = Field(default=None, gt=0)
    aliases: tuple[str, ...] = ()
    optional: bool = False


class Phase(_Part):
    """One phase of the campaign.

    Attributes:
        split: whether its batches train a model or test it.
        replicate_hours: hours at which two samples are taken on purpose; the end is one as well where there are any.
    """

    split: Literal["train", "holdout"] = "train"
    replicate_hours: tuple[float, ...] = ()


class Labels(_Part):
    """What a label can be; one outside is marked and not trained on.

    Attributes:
        od600: OD600 times dilution, AU.
        dcw_g_per_l: dry cell weight, g/L.
        dcw_per_od: dry cell weight per OD600, g/L/AU.
        dcw_error_g_per_l: what a dry cell weight may be off by, so that small ones are not judged by their ratio.
        dcw_noise_g_per_l: standard error of one dry cell weight.
    """

    od600: Bounds = (0.0, 300.0)
    dcw_g_per_l: Bounds = (0.0, 150.0)
    dcw_per_od: Bounds = (0.1, 1.0)
    dcw_error_g_per_l: float = 0.3
    dcw_noise_g_per_l: float = 0.1


class Plausible(_Part):
    """What a derived value can be; one outside by more than five standard errors is empty. None is without bounds.

    Attributes:
        OUR, CER: gas rates, mol/L/h.
        mu: specific growth rate, 1/h.
        RQ: CO2 given off per O2 taken up: an analyser in another unit than declared is off by a hundred.
    """

    OUR: Bounds | None = None
    CER: Bounds | None = None
    mu: Bounds | None = None
    RQ: Bounds | None = None


class Constants(_Part):
    """Constants of vessel and gas; `docs/fermentation.md` has the formulas that use them.

    Attributes:
        vessel_volume_l: liquid at inoculation, L, where the record does not tell.
        molar_volume_l: litres per mole under the conditions for which the flow meters are made.
        gas_flow: `standard` for mass flow controllers; `actual` for meters that tell the volume at headspace pressure.
        reference_pressure_bar: pressure of `molar_volume_l`, of an `actual` flow, and of the DO calibration.
        inlet_o2_percent: oxygen in the inlet gas, % v/v.
        inlet_co2_percent: carbon dioxide in the inlet gas, % v/v.
        calibration_o2_percent: oxygen in the gas with which DO was set to 100 %, % v/v.
        saturation_mg_per_l: dissolved oxygen at 100 %.
        biomass_g_per_l_per_od: biomass per unit of in-situ OD, for specific rates only, never for DCW.
        density_kg_per_l: density of the broth, for volumes from weight.
        substrate: key of the medium's substrate in the record (`media_preparation`), for yields.
        o2_noise_percent: uncertainty of the oxygen analyser after calibration, % v/v.
        co2_noise_percent: uncertainty of the carbon dioxide analyser after calibration, % v/v.
        drift_percent_per_day: by how much both may drift in a day, % v/v.
        flow_noise_percent: uncertainty of the inlet flow, % of the reading.
        volume_noise_percent: uncertainty of the liquid volume, %: evaporation, foam, what pumps are off by.
        baseline_o2_percent: how far the analyser may be from the inlet gas over sterile medium, % v/v O2; beyond that
            nobody knows which of the two is wrong, and no gas rate is computed.
        baseline_co2_percent: the same for CO2.
        feed_g_per_ml: substrate in the feed, g/mL; None where it is not known.
        substrate_noise_percent: uncertainty of the amount of substrate in medium and feed, %.
    """

    vessel_volume_l: float = Field(default=1.0, gt=0)
    molar_volume_l: float = Field(default=22.414, gt=0)
    gas_flow: Literal["standard", "actual"] = "standard"
    reference_pressure_bar: float = Field(default=1.01325, gt=0)
    inlet_o2_percent: float = Field(default=20.95, ge=0, lt=100)
    inlet_co2_percent: float = Field(default=0.04, ge=0, lt=100)
    calibration_o2_percent: float = Field(default=20.95, gt=0, lt=100)
    saturation_mg_per_l: float = Field(default=8.0, gt=0)
    biomass_g_per_l_per_od: float = Field(default=0.4, gt=0)
    density_kg_per_l: float = Field(default=1.0, gt=0)
    substrate: str = "glycerol_g"
    o2_noise_percent: float = Field(default=0.01, ge=0)
    co2_noise_percent: float = Field(default=0.01, ge=0)
    drift_percent_per_day: float = Field(default=0.02, ge=0)
    flow_noise_percent: float = Field(default=1.0, ge=0)
    volume_noise_percent: float = Field(default=2.0, ge=0)
    baseline_o2_percent: float = Field(default=0.5, ge=0)
    baseline_co2_percent: float = Field(default=0.3, ge=0)
    feed_g_per_ml: float | None = Field(default=None, gt=0)
    substrate_noise_percent: float = Field(default=1.0, ge=0)


class Plan(_Part):
    """A whole run plan.

    Attributes:
        name: what it is called.
        batches: smallest and largest batch number.
        phases: phases by letter.
        sensors: sensors by tag, in the order of their columns.
        needed: features, or sensors, without which a sample counts as not matched.
        schedule_hours: hours at which a sample is due; one at depletion is due as well.
        schedule_tolerance_hours: how far from it a sample may be.
        depletion_sample: whether a sample at depletion is due, and a DO spike expected.
        runtime_hours: shortest and longest run.
        max_hours: hours after which a running batch is stale.
        labels: what a label can be.
        plausible: what derived values can be.
        constants: constants of vessel and gas.
    """

    name: str
    batches: tuple[int, int] = (1, 9999)
    phases: dict[str, Phase] = {"A": Phase()}
    sensors: dict[str, Sensor]
    needed: tuple[str, ...] = ()
    schedule_hours: tuple[float, ...] = ()
    schedule_tolerance_hours: float = Field(default=0.25, ge=0)
    depletion_sample: bool = False
    runtime_hours: Bounds = (0.0, 10_000.0)
    max_hours: float = 36.0
    labels: Labels = Labels()
    plausible: Plausible = Plausible()
    constants: Constants = Constants()

    @model_validator(mode="after")
    def _names_are_one(self) -> Self:
        names: dict[str, str] = {}
        for tag, sensor in self.sensors.items():
            for name in (tag, *sensor.aliases):
                if names.setdefault(name, tag) != tag:
                    raise ValueError(f"the plan calls two sensors {name!r}: {names[name]} and {tag}")
        for role in ("pH", "DO", "temp", "OD", "flow_in", "flow_out", "o2", "co2", "pressure", "weight"):
            if len(found := self.of_role(role)) > 1:
                raise ValueError(f"the plan gives the role {role} to {' and '.join(found)}: give it to one")
        return self

    @model_validator(mode="after")
    def _formulas_have_what_they_take(self) -> Self:
        if not self.sensors:
            raise ValueError("the plan has no sensors")
        for tag, sensor in self.sensors.items():
            if sensor.role and unit_of(sensor.unit) != unit_of(_UNITS[sensor.role]):
                raise ValueError(
                    f"the plan has {tag} in {sensor.unit!r}, but the formulas take {sensor.role} in "
                    f"{_UNITS[sensor.role]}: take that, and say in fermentation.units what it is recorded in"
                )
        for name in self.needed:
            roles = _FOLLOWS_FROM.get(name, ())
            if lacking := [role for role in roles if not self.of_role(role)]:
                raise ValueError(f"the plan needs {name}, but has no sensor with the role {lacking[0]}")
            if name not in _FOLLOWS_FROM and name not in self.sensors:
                known = ", ".join(dict.fromkeys([*_FOLLOWS_FROM, *self.sensors]))
                raise ValueError(f"the plan needs {name!r}, which is neither a feature nor a sensor ({known})")
        return self

    def of_role(self, role: str) -> list[str]:
        """The tags of the sensors with a role."""
        return [tag for tag, sensor in self.sensors.items() if sensor.role == role]

    def needed_sensors(self) -> list[str]:
        """The tags of the sensors that the needed features follow from."""
        roles = {role for feature in self.needed for role in _FOLLOWS_FROM.get(feature, ())}
        if "flow_in" in roles and self.constants.gas_flow == "actual":
            roles.add("pressure")
        named = set(self.needed) - _FOLLOWS_FROM.keys()
        return [tag for tag, sensor in self.sensors.items() if sensor.role in roles or tag in named]

    def phase(self, letter: str) -> Phase:
        """A phase; one that the plan does not know trains."""
        return self.phases.get(letter, Phase())


def load_plan(value: Any, folder: Path) -> dict[str, Any]:
    """What a plan says, with the default plan below it.

    Args:
        value: None, the path of a YAML file, or what such a file holds.
        folder: what a relative path is relative to.

    Raises:
        UsageError: there is no such file, or it is no YAML.
    """
    if isinstance(value, str | Path):
        path = folder / value
        if not path.is_file():
            raise UsageError(f"fermentation.plan names {path}, which does not exist.")
        value = read_yaml(path, UsageError)
    own: dict[str, Any] = dict(value or {})
    if own.pop("inherit", True) is False:
        return own
    return _merged(default_document(), own)


@cache
def default_document() -> dict[str, Any]:
    """The default plan as its file has it; the parser in C will do for a file that is Sheaf's own."""
    import yaml

    return yaml.load(DEFAULT.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe


@cache
def default_plan() -> Plan:
    """The default plan."""
    return Plan.model_validate(default_document())


def _merged(below: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Keys of `own` over those of `below`, mapping by mapping; a sensor or phase that is null is taken out."""
    found = dict(below)
    for key, value in own.items():
        before = found.get(key)
        if value is None and key in found:
            del found[key]
        elif isinstance(value, dict) and isinstance(before, dict):
            found[key] = _merged(before, value)
        else:
            found[key] = value
    return found
