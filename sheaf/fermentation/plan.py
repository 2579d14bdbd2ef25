"""The campaign's run plan as data: the 19 sensors, their units and bounds, and the sampling schedule.

Here: facts of the plan that nobody configures. What a site may change is in `settings`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sensor:
    """One sensor of the plan.

    Attributes:
        name: the plan's tag.
        unit: unit of the stored values.
        low: values below are not physical, in `unit`.
        high: values above are not physical, in `unit`.
        description: what it measures.
        aliases: other names under which its data arrive (the measurement names).
        rate_hz: points per second that the plan promises.
        min_peak: a whole series that never rises above this was recorded in another unit.
    """

    name: str
    unit: str
    low: float
    high: float
    description: str
    aliases: tuple[str, ...] = ()
    rate_hz: float = 1.0
    min_peak: float | None = None


SENSORS = (
    Sensor("pH", "pH", 2, 10, "pH of the broth"),
    # Full saturation reads about 100 % with noise on both sides, and more with oxygen enrichment.
    Sensor("DO", "%", 0, 120, "Dissolved oxygen, percent of saturation", min_peak=1.5),
    Sensor("OD", "AU", 0, 100, "In-situ optical density"),
    Sensor("Gas_MFC_air", "L/min", 0, 3, "Air flow of the mass flow controller"),
    Sensor("Stir_SP", "rpm", 0, 1200, "Stirrer set point"),
    Sensor("Stir_torque", "%", 0, 100, "Stirrer torque"),
    Sensor("Weight", "kg", 0, 15, "Weight of the vessel", rate_hz=0.1),
    Sensor("Heater_PID_out", "%", 0, 100, "Heater output"),
    Sensor("Base_Pump_Rate", "mL/min", 0, 15, "Base pump rate"),
    Sensor("Temp_Broth", "°C", 20, 40, "Broth temperature", ("broth",)),
    Sensor("Temp_pH_Probe", "°C", 20, 40, "Temperature at the pH probe", ("ph_probe",)),
    Sensor("Temp_DO_Probe", "°C", 20, 40, "Temperature at the DO probe", ("do_probe",)),
    Sensor("Temp_Stirrer_Motor", "°C", 15, 100, "Stirrer motor temperature", ("stirrer_motor",)),
    Sensor("Temp_Exhaust", "°C", 20, 50, "Exhaust temperature", ("exhaust",)),
    Sensor("Reactor_Pressure", "bar", 0.8, 1.6, "Headspace pressure", ("headspace",)),
    Sensor("Off_Gas_CO2", "% v/v", 0, 10, "Carbon dioxide in the off-gas", ("co2",)),
    Sensor("Off_Gas_O2", "% v/v", 15, 25, "Oxygen in the off-gas", ("o2",)),
    Sensor("Gas_Flow_Inlet", "L/min", 0, 3, "Inlet gas flow", ("flow_in",)),
    Sensor("Gas_Flow_Outlet", "L/min", 0, 3.5, "Outlet gas flow (optional)", ("flow_out",)),
)
BY_NAME = {sensor.name: sensor for sensor in SENSORS}

# Stored value = declared value * factor + offset, for the units a sensor may be declared in.
CONVERSIONS: dict[tuple[str, str], tuple[float, float]] = {
    ("kPa", "bar"): (0.01, 0.0),
    ("mbar", "bar"): (0.001, 0.0),
    ("Pa", "bar"): (1e-5, 0.0),
    ("K", "°C"): (1.0, -273.15),
    ("°F", "°C"): (5 / 9, -160 / 9),
    ("fraction", "%"): (100.0, 0.0),
    ("fraction", "% v/v"): (100.0, 0.0),
    ("mL/min", "L/min"): (0.001, 0.0),
    ("L/min", "mL/min"): (1000.0, 0.0),
    ("g", "kg"): (0.001, 0.0),
}

SCHEDULE_HOURS = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # and one at glycerol depletion
SCHEDULE_TOLERANCE_HOURS = 0.25
REPLICATE_HOURS = (0.0, 8.0)  # phase C samples twice on purpose here, and at the end
RUNTIME_HOURS = (16.0, 26.0)
HOLDOUT_PHASE = "C"
