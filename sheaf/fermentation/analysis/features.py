"""Windows of the sensors to features: growth, gas exchange, volume, totals, completeness.

Here: what follows from the windows' means. Not here: the windows (`windows`), formulas (`gas`, `growth`, `volume`,
`totals`), which window belongs to a sample (`training`).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf.clock import microseconds
from sheaf.fermentation import schema
from sheaf.fermentation.analysis import gas
from sheaf.fermentation.analysis.facts import frozen_told, sensor_facts
from sheaf.fermentation.analysis.frozen import frozen_stretches
from sheaf.fermentation.analysis.growth import growth_rate
from sheaf.fermentation.analysis.plots import gas_plot, growth_rate_plot
from sheaf.fermentation.analysis.run import run_times, sensor_series
from sheaf.fermentation.analysis.totals import carried, feed_events, gap_error, total
from sheaf.fermentation.analysis.volume import volumes
from sheaf.fermentation.analysis.windows import WINDOW_S, WINDOW_US, Windows, sensor_windows, together
from sheaf.fermentation.plan import Plan
from sheaf.fermentation.settings import FermentationSettings
from sheaf.report import Report
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import numpy as np

    Sensor = tuple[str, np.ndarray, np.ndarray]


def build_features(work: Work) -> Report:
    """Build `features`, `sensor_windows`, `sensor_facts` and `feed_events` of one batch from its `sensors` table.

    Returns:
        Counts (`windows`, `windows_complete`, `windows_without_data`, `sensors`, `feed_events`), warnings and plots.

    Raises:
        NotFoundError: the batch has not been ingested.
    """
    tables, settings = work.tables, work.settings
    info = tables.read(schema.BATCHES).to_pylist()[0]
    start, end = run_times(tables)
    windows, facts = _sensor_by_sensor(tables, start, end, settings)
    columns, fed, warnings = feature_columns(
        windows, start, end, tables.read(schema.VOLUME_EVENTS).to_pylist(), facts, settings
    )
    count = windows.count
    columns |= {name: [value] * count for name, value in batch_key(info, settings).items()}
    columns["vessel_id"] = [info["vessel_id"]] * count
    data = pa.table([_array(columns[field.name], field) for field in schema.FEATURES.schema], schema.FEATURES.schema)
    work.write(schema.FEATURES, data)
    work.write(schema.SENSOR_WINDOWS, windows.table())
    work.write(schema.SENSOR_FACTS, from_rows(schema.SENSOR_FACTS, facts))
    work.write(schema.FEED_EVENTS, from_rows(schema.FEED_EVENTS, fed))
    complete = sum(columns["complete"]) if count else 0
    return Report(
        counts={
            "windows": count,
            "windows_complete": int(complete),
            "windows_without_data": sum(bool(share == 0) for share in columns["completeness"]),
            "sensors": len(windows.sensors),
            "feed_events": len(fed),
        },
        warnings=(*warnings, *_fact_warnings(facts))
        if count
        else ("There are no sensor points, so there are no feature windows.",),
        preview=tuple(_preview(data)),
        plots=lambda: {"Growth rate": growth_rate_plot(data), "Gas exchange": gas_plot(data)} if count else {},
    )


def _sensor_by_sensor(
    tables: Tables, start: datetime | None, end: datetime | None, settings: FermentationSettings
) -> tuple[Windows, list[dict[str, Any]]]:
    """The windows of a batch, and the rows of `sensor_facts`; memory stays that of two sensors' points."""
    found, facts = {}, []
    for name, times, values in _one_ahead(sensor_series(tables)):
        first = len(times) if start is None or settings.held_s(name) else times.searchsorted(microseconds(start))
        last = len(times) if end is None else times.searchsorted(microseconds(end), side="right")
        frozen = frozen_stretches(times[first:last], values[first:last], settings.plan.sensors[name])
        found[name] = sensor_windows(name, times, values, frozen, settings)
        facts.append(sensor_facts(name, times, values, frozen, settings))
    return together(found), facts


def _one_ahead(series: "Iterator[Sensor]") -> "Iterator[Sensor]":
    """The same sensors; the next one is read while one is worked on."""
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next, series, None)
        while (item := coming.result()) is not None:
            coming = beside.submit(next, series, None)
            yield item


def batch_key(info: Mapping[str, Any], settings: FermentationSettings) -> dict[str, Any]:
    """The columns that name a batch in every table of features."""
    split = settings.plan.phase(info["phase"]).split
    return {key: info[key] for key in ("batch_id", "batch_number", "phase")} | {"split": split}


def feature_columns(
    windows: Windows,
    start: datetime | None,
    end: datetime | None,
    events: Sequence[Mapping[str, Any]],
    facts: Sequence[Mapping[str, Any]],
    settings: FermentationSettings,
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """All columns of `features` that follow from the sensors' windows.

    Args:
        windows: of the batch.
        start, end: of the run; without a start nothing is in it.
        events: rows of `volume_events`.
        facts: rows of `sensor_facts`.
        settings: plan, constants, length of the µ regression.

    Returns:
        Columns by name, one row for every window from the first with data to the last, also where there is none;
        rows of `feed_events`; warnings.
    """
    import numpy as np

    if not windows.count:
        return {field.name: [] for field in schema.FEATURES.schema}, [], []
    begins = windows.begins_us
    ends = begins + WINDOW_US
    empty = np.full(windows.count, np.nan)
    columns: dict[str, Any] = {
        "window_start": begins.astype("datetime64[us]"),
        "window_end": ends.astype("datetime64[us]"),
        "elapsed_hours": empty,
        "in_run": np.zeros(windows.count, bool),
    }
    if start is not None:
        columns["elapsed_hours"] = (ends / 1e6 - start.timestamp()) / 3600
        stop = np.iinfo(np.int64).max if end is None else microseconds(end)
        columns["in_run"] = (begins >= microseconds(start)) & (ends <= stop)
    fed: list[dict[str, Any]] = []
    warnings: list[str] = []
    columns |= _derived(windows, columns, start, events, facts, settings, fed, warnings)
    columns |= _completeness(windows, facts, settings)
    return columns, fed, warnings


def _derived(
    windows: Windows,
    columns: "Mapping[str, np.ndarray]",
    start: datetime | None,
    events: Sequence[Mapping[str, Any]],
    facts: Sequence[Mapping[str, Any]],
    settings: FermentationSettings,
    fed: list[dict[str, Any]],
    warnings: list[str],
) -> dict[str, Any]:
    import numpy as np

    plan, constants = settings.plan, settings.constants()

    def of_role(role: str, column: str = "mean") -> "np.ndarray":
        return windows.on_grid(next(iter(plan.of_role(role)), None), column)

    in_run, most = columns["in_run"], int(settings.match_nearest_s // WINDOW_S)
    hours = columns["elapsed_hours"] - WINDOW_S / 7200  # the middle of the window
    derived: dict[str, Any] = {name: of_role(name) for name in ("pH", "DO", "temp", "OD")}
    od_held = of_role("OD", "held") == 1
    # The inoculum itself is a step in OD, not growth: a line across it would be a spike.
    culture = np.where(in_run & ~od_held, derived["OD"], np.nan)
    derived["mu"], derived["mu_se"] = growth_rate(culture, WINDOW_S, settings.mu_minutes, _share(culture, in_run))
    pumped = {role: _pumped(windows, role, in_run, hours, most, settings) for role in ("base", "feed")}
    both = np.nan_to_num(pumped["base"]) + np.nan_to_num(pumped["feed"])
    derived["base_ml"], derived["feed_ml"] = pumped["base"], pumped["feed"]
    derived["volume_l"] = volumes(windows.begins_us + WINDOW_US, start, events, both, of_role("weight"), settings)
    pumps = [(name, carried(windows.on_grid(name), most)) for name in plan.of_role("feed") if name in windows.rows]
    fed += feed_events(pumps, in_run, windows.begins_us, columns["elapsed_hours"])
    begun = np.array([microseconds(row["start"]) for row in fed], np.int64)
    derived["feed_events"] = np.searchsorted(np.sort(begun), windows.begins_us, side="right")
    newest = np.sort(begun)[np.maximum(derived["feed_events"] - 1, 0)] if len(begun) else np.zeros(windows.count)
    since = (windows.begins_us + WINDOW_US - newest) / 3600e6
    derived["feed_age_h"] = np.where(derived["feed_events"] > 0, since, np.nan)
    o2, co2 = of_role("o2"), of_role("co2")
    # A rate is as new as the newest of its analysers; flow, pressure and the other gas may be older.
    fresh = ~np.isnan(o2) | ~np.isnan(co2)
    measured = gas.Gas(
        flow_in=carried(of_role("flow_in"), most),
        flow_out=carried(of_role("flow_out"), most),
        o2=np.where(fresh, carried(o2, most), np.nan),
        co2=np.where(fresh, carried(co2, most), np.nan),
        pressure=carried(of_role("pressure"), most),
        do=carried(derived["DO"], most),
        od=carried(derived["OD"], most),
        volume_l=derived["volume_l"],
    )
    derived |= gas.upstream_rates(measured, settings.min_our_for_rq)
    corrected, inlet = _with_baseline(measured, columns, settings, warnings)
    derived |= gas.inert_rates(corrected, constants, settings.min_our_for_rq)
    errors = gas.rate_errors(corrected, _noise(windows, columns, corrected, facts, settings), constants)
    derived |= errors
    derived["qS"] = _fed_substrate(windows, measured, most, settings)
    derived["invalid"] = _without_the_impossible(derived, inlet, plan, warnings, in_run)
    for name, rate in (("O2_mol", "OUR"), ("CO2_mol", "CER")):
        per_vessel = derived[rate] * derived["volume_l"]
        derived[name] = total(per_vessel, in_run, hours)
        # An analyser's error is the same all along: it adds up, it does not cancel.
        error = total(errors[f"{rate}_se"] * derived["volume_l"] + 0 * per_vessel, in_run, hours)
        derived[f"{name}_se"] = error + gap_error(per_vessel, in_run, hours, settings.match_nearest_s / 3600)
        of_volume = derived[rate] * constants.volume_noise_percent / 100
        derived[f"{rate}_se"] = np.hypot(derived[f"{rate}_se"], of_volume)
    return derived


def _fed_substrate(windows: Windows, measured: gas.Gas, most: int, settings: FermentationSettings) -> "np.ndarray":
    """Substrate that is fed per biomass estimated from OD, g/g/h; NaN without a feed whose content is known."""
    import numpy as np

    constants = settings.constants()
    rates = [carried(windows.on_grid(name), most) for name in settings.plan.of_role("feed") if name in windows.rows]
    if not rates or constants.feed_g_per_ml is None:
        return np.full(windows.count, np.nan)
    biomass = np.where(measured.od > 0, constants.biomass_g_per_l_per_od * measured.od, np.nan) * measured.volume_l
    return np.sum(rates, axis=0) * 60 * constants.feed_g_per_ml / biomass


_GAS_RATES = ("CER", "OUR", "RQ", "kLa", "qO2", "qCO2")
_CERTAIN = 5.0  # standard errors


def _without_the_impossible(
    derived: dict[str, Any], inlet: bool, plan: Plan, warnings: list[str], in_run: "np.ndarray"
) -> list[str | None]:
    """Empty what cannot be, in place, and say of each window what that was: a broken instrument is no measurement.

    Oxygen and carbon dioxide are one balance: where one rate cannot be, neither can be trusted.
    """
    import numpy as np

    def impossible(name: str, bounds: tuple[float, float] | None) -> "np.ndarray":
        if bounds is None:
            return np.zeros(len(in_run), bool)
        margin = _CERTAIN * np.nan_to_num(errors[name])
        return (derived[name] < bounds[0] - margin) | (derived[name] > bounds[1] + margin)

    errors = {name: derived[f"{name}_se"] for name in ("OUR", "CER", "mu")}
    with np.errstate(divide="ignore", invalid="ignore"):
        errors["RQ"] = np.hypot(errors["CER"], derived["RQ"] * errors["OUR"]) / derived["OUR"]
    can = plan.plausible
    bounds_of = (("OUR", can.OUR, "mol/L/h"), ("CER", can.CER, "mol/L/h"), ("RQ", can.RQ, ""), ("mu", can.mu, "1/h"))
    wrong = {name: impossible(name, bounds) for name, bounds, _ in bounds_of}
    known, outlet, growth = ~np.isnan(derived["OUR"]), wrong["OUR"] | wrong["CER"] | wrong["RQ"], wrong["mu"]
    for name, bounds, unit in bounds_of:
        found = derived[name][wrong[name] & in_run]
        if len(found) and bounds and (inlet or name == "mu"):
            worst = f"{found[np.argmax(np.abs(found))]:.3g} {unit}".rstrip()
            warnings.append(
                f"{name} cannot be in {len(found)} of {in_run.sum()} windows of the run ({worst} is not "
                f"between {bounds[0]:g} and {bounds[1]:g}): an instrument or the inlet gas is not what the plan says; "
                "what follows from it is empty there."
            )
    gone = outlet if inlet else known
    for name in (*_GAS_RATES, "OUR_se", "CER_se", *(f"{rate}_upstream" for rate in _GAS_RATES)):
        derived[name] = np.where(gone, np.nan, derived[name])
    for name in ("mu", "mu_se"):
        derived[name] = np.where(growth, np.nan, derived[name])
    said = {
        (True, False): "gas_outlet" if inlet else "gas_inlet",
        (False, True): "mu",
        (True, True): "gas_outlet mu" if inlet else "gas_inlet mu",
    }
    return [said.get(each) for each in zip(gone.tolist(), growth.tolist(), strict=True)]


def _share(values: "np.ndarray", in_run: "np.ndarray") -> float:
    """The share of the windows that have a value where the sensor sends as it usually does."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(values) & in_run)
    return 1 / max(float(np.median(np.diff(known))), 1.0) if len(known) > 1 else 1.0


def _pumped(
    windows: Windows,
    role: str,
    in_run: "np.ndarray",
    hours: "np.ndarray",
    most: int,
    settings: FermentationSettings,
) -> "np.ndarray":
    """What the pumps of a role have added since inoculation, in mL; NaN where there is none."""
    import numpy as np

    rates = [carried(windows.on_grid(name), most) for name in settings.plan.of_role(role) if name in windows.rows]
    if not rates:
        return np.full(windows.count, np.nan)
    return total(np.sum(rates, axis=0) * 60, in_run, hours)


_BASELINE_WINDOWS = 120  # an hour


def _with_baseline(
    measured: gas.Gas, columns: "Mapping[str, np.ndarray]", settings: FermentationSettings, warnings: list[str]
) -> tuple[gas.Gas, bool]:
    """Correct the analysers by what they read of inlet gas over sterile medium, in the hour before inoculation.

    Returns:
        The corrected readings, and whether the inlet gas can be what the plan says.
    """
    import dataclasses

    import numpy as np

    if settings.offgas_baseline == "none":
        return measured, True
    constants, before = settings.constants(), columns["elapsed_hours"] <= 0
    read = ~np.isnan(measured.o2) & ~np.isnan(measured.co2) & ~(measured.flow_in <= 0)
    sterile = np.flatnonzero(before & read)[-_BASELINE_WINDOWS:]
    if len(sterile) < 3:
        return measured, True
    o2, co2 = float(np.median(measured.o2[sterile])), float(np.median(measured.co2[sterile]))
    off_o2, off_co2 = o2 - constants.inlet_o2_percent, co2 - constants.inlet_co2_percent
    if abs(off_o2) > constants.baseline_o2_percent or abs(off_co2) > constants.baseline_co2_percent:
        warnings.append(
            f"Before inoculation the analysers read {o2:.3g} % O2 and {co2:.3g} % CO2, too far from the inlet gas "
            f"({constants.inlet_o2_percent:g} and {constants.inlet_co2_percent:g} %) to correct by: no gas rate is "
            "computed. Calibrate them, set inlet_o2_percent, or offgas_baseline: none where it was not aerated."
        )
        return measured, False
    ratio = constants.inlet_o2_percent / o2
    return dataclasses.replace(measured, o2=measured.o2 * ratio, co2=measured.co2 - off_co2), True


def _noise(
    windows: Windows,
    columns: "Mapping[str, np.ndarray]",
    measured: gas.Gas,
    facts: Sequence[Mapping[str, Any]],
    settings: FermentationSettings,
) -> gas.Noise:
    """The standard errors of the windows' means: of the calibration, its drift, and the noise of the readings."""
    import numpy as np

    constants, plan = settings.constants(), settings.plan
    noise = {row["sensor"]: row["noise"] for row in facts}
    days = np.maximum(np.nan_to_num(columns["elapsed_hours"]), 0) / 24

    def error(role: str, calibration: Any, drift_per_day: float) -> "np.ndarray":
        name = next(iter(plan.of_role(role)), "")
        declared = plan.sensors[name].noise if name else None
        one = declared if declared is not None else noise.get(name)
        count = carried(windows.on_grid(name, "count"), int(settings.match_nearest_s // WINDOW_S))
        reading = (one or 0.0) / np.sqrt(np.maximum(np.nan_to_num(count, nan=1.0), 1.0))
        return np.sqrt(calibration**2 + (drift_per_day * days) ** 2 + reading**2)

    return gas.Noise(
        flow_in=error("flow_in", measured.flow_in * constants.flow_noise_percent / 100, 0.0),
        o2=error("o2", constants.o2_noise_percent, constants.drift_percent_per_day),
        co2=error("co2", constants.co2_noise_percent, constants.drift_percent_per_day),
    )


def _completeness(
    windows: Windows, facts: Sequence[Mapping[str, Any]], settings: FermentationSettings
) -> dict[str, Any]:
    """How much of what the sensors of this batch usually send is in each window."""
    import numpy as np

    present = [name for name in settings.plan.sensors if name in windows.rows]
    interval = {row["sensor"]: row["interval_s"] or WINDOW_S for row in facts}
    shares = np.empty((len(present), windows.count))
    for number, name in enumerate(present):
        expected = WINDOW_S / max(interval[name], 1e-6)
        counts = windows.on_grid(name, "count")
        held = windows.on_grid(name, "held") == 1
        if expected >= 2:
            share = np.minimum(np.nan_to_num(counts) / expected, 1.0)
        else:  # what comes seldom is there until the next one is late
            share = np.where(np.isnan(carried(counts, int(np.ceil(1.5 / expected)) - 1)), 0.0, 1.0)
        shares[number] = np.where(held, 1.0, share)
    kinds, of = np.unique(shares == 0, axis=1, return_inverse=True)
    missing = [" ".join(name for name, gone in zip(present, kind, strict=True) if gone) or None for kind in kinds.T]
    return {
        "completeness": shares.mean(axis=0),
        "complete": (shares >= settings.min_completeness).all(axis=0),
        "gap_sensors": [missing[kind] for kind in of.ravel()],
    }


_NAMED = 3


def _fact_warnings(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    warnings = []
    for flag, what in (
        ("slower", "less often than the plan promises"),
        ("faster", "more often than the plan promises"),
    ):
        found = [row for row in facts if flag in (row["flags"] or "").split()]
        if found:
            few = found[:_NAMED] if len(found) > _NAMED + 1 else found
            told = ", ".join(f"{row['sensor']} ({row['interval_s']:g} s, not {row['promised_s']:g} s)" for row in few)
            more = f" and {len(found) - len(few)} more" if len(found) > len(few) else ""
            warnings.append(
                f"Sensors that send {what}: {told}{more}. What is missing is measured against what they send."
            )
    for row in facts:
        flags = (row["flags"] or "").split()
        if "on_change" in flags:
            warnings.append(
                f"{row['sensor']} looks as if it were logged on change: say so by hold_s, or its silences count as "
                "gaps and its means are those of its changes."
            )
        if "unit_changed" in flags:
            warnings.append(
                f"{row['sensor']} changes as if its unit had changed at {row['unit_changed_at']:%Y-%m-%d %H:%M:%S} UTC."
            )
        if "frozen" in flags:
            warnings.append(f"{frozen_told(row)}: look at it, or say by hold_s that it is logged on change.")
        if row["outside"]:
            warnings.append(
                f"{row['outside']} of {row['points']} points of {row['sensor']} are outside of what the plan expects; "
                "they are used."
            )
    return warnings


def _array(values: Any, field: pa.Field) -> pa.Array:
    import numpy as np

    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return pa.array(values, field.type, from_pandas=True)  # NaN means empty
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return pa.array(values.astype(np.int64), pa.int64()).cast(field.type)
    return pa.array(values, field.type)


_SHOWN = ("window_start", "elapsed_hours", "pH", "DO", "temp", "OD", "CER", "OUR", "RQ", "mu", "completeness")


def _preview(data: pa.Table) -> list[dict[str, Any]]:
    return data.select(_SHOWN).slice(0, 10).to_pylist()
