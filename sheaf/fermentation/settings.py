"""What a site configures for its fermentation batches; every default is the run plan's."""

from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sheaf.fermentation.plan import BY_NAME, CONVERSIONS, SENSORS
from sheaf.fermentation.source_settings import ElnSettings, InfluxSettings


class FermentationSettings(BaseModel):
    """Settings of the fermentation domain.

    Attributes:
        sources: live systems that hold batch records, beside the inbox.
        sensors: the database that holds their sensor series.
        naive_timezone: how to read times without a zone, such as `Pacific/Auckland`; None refuses them.
        line_protocol_precision: unit of the times in `sensors.lp`.
        units: declared unit by sensor, where it is not the plan's; values are converted from it.
        aliases: further names of sensors in the files, to the plan's tag.
        rates_hz: expected points per second by sensor, where it is not the plan's.
        sensor_hours: points outside these hours relative to inoculation are rejected.
        duplicate_sample_minutes: of samples this close together the highest id counts.
        match_tolerance_s: age in seconds of a feature window that still matches a sample.
        match_nearest_s: age in seconds up to which a window is used but flagged `nearest`.
        match_look_ahead: whether `nearest` may be a window after the sample (leaks the future).
        vessel_volume_l: liquid volume in litres, for CER, OUR and kLa.
        molar_volume_l: litres per mole of gas under the conditions of the flow meters.
        reference_pressure_bar: pressure for which flows and oxygen saturation hold.
        inlet_o2_percent: oxygen in the inlet gas, % v/v.
        inlet_co2_percent: carbon dioxide in the inlet gas, % v/v.
        saturation_mg_per_l: dissolved oxygen at 100 % and reference pressure.
        biomass_g_per_l_per_od: biomass per unit of in-situ OD, for qO2 and qCO2 only, never for DCW.
        min_our_for_rq: below this OUR (mol/L/h) RQ is noise and left empty.
        mu_minutes: length in minutes of the trailing regression for µ.
        min_completeness: share of expected points from which a window counts as complete.
        gap_s: silence of a sensor in seconds from which it is reported as a gap.
        max_dropout: share of missing sensor points from which a batch is not used for training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[ElnSettings, ...] = ()
    sensors: InfluxSettings | None = None
    naive_timezone: str | None = None
    line_protocol_precision: Literal["ns", "us", "ms", "s"] = "ns"
    units: dict[str, str] = {}
    aliases: dict[str, str] = {}
    rates_hz: dict[str, float] = {}
    sensor_hours: tuple[float, float] = (-24.0, 240.0)
    duplicate_sample_minutes: float = Field(default=10.0, ge=0)
    match_tolerance_s: float = Field(default=60.0, ge=0)
    match_nearest_s: float = Field(default=300.0, ge=0)
    match_look_ahead: bool = False
    vessel_volume_l: float = Field(default=0.9, gt=0)
    molar_volume_l: float = Field(default=22.4, gt=0)
    reference_pressure_bar: float = Field(default=1.013, gt=0)
    inlet_o2_percent: float = Field(default=21.0, ge=0, lt=100)
    inlet_co2_percent: float = Field(default=0.04, ge=0, lt=100)
    saturation_mg_per_l: float = Field(default=8.0, gt=0)
    biomass_g_per_l_per_od: float = Field(default=0.4, gt=0)
    min_our_for_rq: float = Field(default=0.001, ge=0)
    mu_minutes: float = Field(default=20.0, ge=2)
    min_completeness: float = Field(default=0.9, gt=0, le=1)
    gap_s: float = Field(default=30.0, gt=0)
    max_dropout: float = Field(default=0.01, gt=0)

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

    @model_validator(mode="after")
    def _known_sensors(self) -> Self:
        for key, sensors in (("units", self.units), ("rates_hz", self.rates_hz), ("aliases", self.aliases.values())):
            if unknown := sorted(set(sensors) - BY_NAME.keys()):
                raise ValueError(f"{key}: {unknown[0]!r} is not a sensor of the plan ({', '.join(BY_NAME)})")
        for name, unit in self.units.items():
            target = BY_NAME[name].unit
            if unit != target and (unit, target) not in CONVERSIONS:
                known = ", ".join([target, *(given for given, to in CONVERSIONS if to == target)])
                raise ValueError(f"units: {name} cannot be declared in {unit!r}, only in {known}")
        return self

    def unit(self, sensor: str) -> str:
        """The unit in which a sensor's values arrive."""
        return self.units.get(sensor, BY_NAME[sensor].unit)

    def rate_hz(self, sensor: str) -> float:
        """Expected points per second of a sensor."""
        return self.rates_hz.get(sensor, BY_NAME[sensor].rate_hz)

    def names(self) -> dict[str, str]:
        """Every accepted sensor name, to the plan's tag."""
        known = {alias: sensor.name for sensor in SENSORS for alias in (sensor.name, *sensor.aliases)}
        return known | self.aliases
