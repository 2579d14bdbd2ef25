"""What a site configures for its fermentation batches: its run plan, and how its files are read."""

from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sheaf.errors import UsageError
from sheaf.fermentation.plan import Constants, Plan, default_plan, load_plan
from sheaf.fermentation.source_settings import ElnSettings, InfluxSettings
from sheaf.fermentation.units import conversion, convertible


class FermentationSettings(BaseModel):
    """Settings of the fermentation domain.

    Attributes:
        plan: the run plan: a YAML file (relative to the configuration), or what differs from the default plan.
        sources: live systems that hold batch records, beside the inbox.
        sensors: the database that holds their sensor series.
        naive_timezone: how to read times without a zone, such as `Pacific/Auckland`; None refuses them.
        line_protocol_precision: unit of the times in `sensors.lp`.
        date_order: `dmy` or `mdy`, for files that write days and months in numbers alone; None refuses them.
        vessels: vessel of the batch records to vessel of sensor files in which there are several.
        ignore_tags: tags and columns of sensor files that tell no series apart, such as `quality`.
        units: declared unit by sensor, where it is not the plan's; values are converted from it.
        aliases: further names of sensors in the files, to the plan's tag.
        rates_hz: points per second by sensor that a batch must not fall below; where none, what comes is taken.
        hold_s: seconds for which a value holds, by sensor that is logged on change; beside the plan's.
        sensor_hours: points outside these hours relative to inoculation are rejected.
        duplicate_sample_minutes: a sample this soon after another one corrects it; 0 takes every sample as its own.
        match_tolerance_s: age in seconds of a feature window that still matches a sample.
        match_nearest_s: age in seconds up to which a window is used but flagged `nearest`.
        match_look_ahead: whether `nearest` may be a window after the sample (leaks the future).
        offgas_baseline: `sterile` corrects the analyser by what it read of the inlet gas before inoculation, `none`
            takes it as it is.
        volume: liquid from the `record` (fill, inoculum, pumps, samples), its change from the vessel's `weight`, or
            `constant`.
        vessel_volume_l: liquid at inoculation in litres, instead of the record's or the plan's.
        molar_volume_l: litres per mole of gas under the conditions of the flow meters, instead of the plan's.
        reference_pressure_bar: pressure for which they hold, instead of the plan's.
        inlet_o2_percent: oxygen in the inlet gas, % v/v, instead of the plan's.
        inlet_co2_percent: carbon dioxide in the inlet gas, % v/v, instead of the plan's.
        saturation_mg_per_l: dissolved oxygen at 100 %, instead of the plan's.
        biomass_g_per_l_per_od: biomass per unit of in-situ OD, instead of the plan's; never for DCW.
        min_our_for_rq: below this OUR (mol/L/h) RQ is noise and left empty.
        mu_minutes: length in minutes of the trailing regression for µ.
        min_completeness: share of expected points from which a window counts as complete.
        gap_s: silence of a sensor in seconds from which it is reported as a gap.
        max_dropout: share of missing sensor points from which a batch is not used for training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: Plan = Field(default_factory=default_plan)
    sources: tuple[ElnSettings, ...] = ()
    sensors: InfluxSettings | None = None
    naive_timezone: str | None = None
    line_protocol_precision: Literal["ns", "us", "ms", "s"] = "ns"
    date_order: Literal["dmy", "mdy"] | None = None
    vessels: dict[str, str] = {}
    ignore_tags: tuple[str, ...] = ()
    units: dict[str, str] = {}
    aliases: dict[str, str] = {}
    rates_hz: dict[str, float] = {}
    hold_s: dict[str, float] = {}
    sensor_hours: tuple[float, float] = (-24.0, 240.0)
    duplicate_sample_minutes: float = Field(default=10.0, ge=0)
    match_tolerance_s: float = Field(default=60.0, ge=0)
    match_nearest_s: float = Field(default=300.0, ge=0)
    match_look_ahead: bool = False
    offgas_baseline: Literal["sterile", "none"] = "sterile"
    volume: Literal["record", "weight", "constant"] = "record"
    vessel_volume_l: float | None = Field(default=None, gt=0)
    molar_volume_l: float | None = Field(default=None, gt=0)
    reference_pressure_bar: float | None = Field(default=None, gt=0)
    inlet_o2_percent: float | None = Field(default=None, ge=0, lt=100)
    inlet_co2_percent: float | None = Field(default=None, ge=0, lt=100)
    saturation_mg_per_l: float | None = Field(default=None, gt=0)
    biomass_g_per_l_per_od: float | None = Field(default=None, gt=0)
    min_our_for_rq: float = Field(default=0.001, ge=0)
    mu_minutes: float = Field(default=20.0, ge=2)
    min_completeness: float = Field(default=0.9, gt=0, le=1)
    gap_s: float = Field(default=30.0, gt=0)
    max_dropout: float = Field(default=0.01, gt=0)

    @field_validator("plan", mode="before")
    @classmethod
    def _read_plan(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Plan):
            return value
        if value is not None and not isinstance(value, str | dict):
            raise ValueError("a plan is the name of a YAML file, or a mapping of what differs from the default plan")
        try:
            return load_plan(value, Path((info.context or {}).get("folder", ".")))
        except UsageError as error:
            raise ValueError(str(error).removesuffix(".")) from None

    @field_validator("naive_timezone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(f"{zone!r} is not a time zone such as Pacific/Auckland") from error
        return zone

    @field_validator("sources")
    @classmethod
    def _each_once(cls, sources: tuple[ElnSettings, ...]) -> tuple[ElnSettings, ...]:
        if len({source.kind for source in sources}) < len(sources):
            raise ValueError("each kind of source may be configured once")
        return sources

    @field_validator("rates_hz", "hold_s")
    @classmethod
    def _positive(cls, values: dict[str, float]) -> dict[str, float]:
        if wrong := sorted(name for name, value in values.items() if not value > 0):
            raise ValueError(f"{wrong[0]} must be above 0")
        return values

    @model_validator(mode="after")
    def _known_sensors(self) -> Self:
        known = self.plan.sensors
        named = {"units": self.units, "rates_hz": self.rates_hz, "hold_s": self.hold_s}
        for key, sensors in (*named.items(), ("aliases", self.aliases.values())):
            if unknown := sorted(set(sensors) - known.keys()):
                raise ValueError(f"{key}: {unknown[0]!r} is not a sensor of the plan ({', '.join(known)})")
        for name, unit in self.units.items():
            target = known[name].unit
            if conversion(unit, target) is None:
                choices = ", ".join(convertible(target))
                raise ValueError(f"units: {name} cannot be declared in {unit!r}, only in {choices}")
        return self

    def unit(self, sensor: str) -> str:
        """The unit in which a sensor's values arrive."""
        return self.units.get(sensor, self.plan.sensors[sensor].unit)

    def held_s(self, sensor: str) -> float | None:
        """How long a value of a sensor that is logged on change holds; None for one that is sampled."""
        return self.hold_s.get(sensor, self.plan.sensors[sensor].hold_s)

    def names(self) -> dict[str, str]:
        """Every accepted sensor name, to the plan's tag."""
        known = {alias: tag for tag, sensor in self.plan.sensors.items() for alias in (tag, *sensor.aliases)}
        return known | self.aliases

    def constants(self) -> Constants:
        """The plan's constants with what the site sets instead."""
        own = {name: value for name in Constants.model_fields if (value := getattr(self, name, None)) is not None}
        return self.plan.constants.model_copy(update=own)
