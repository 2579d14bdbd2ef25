"""What the sample campaign's laboratory noted by hand: one batch with its samples, calibrations, failures and closure.

Here: the JSON record of a batch, in the shape of the laboratory's system. Not here: which batches
there are (`campaign`) and what the sensors say (`process`).
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np

from sheaf.fermentation.sample.process import BASE_ML_PER_G, OD_PER_DCW, Culture, Gap

_SCHEDULE_H = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_DCW_VOLUME_ML = 5.0


@dataclass(frozen=True)
class Batch:
    """One batch of the campaign; hours count from inoculation.

    Attributes:
        key: its partition key, the name of its folder.
        ends_h: when it was stopped before depletion, or up to when a running one is recorded.
        schedule_h: when samples were due.
        gaps: when sensors were silent.
        undried: how many of the last samples still wait for their dry weight.
        misread_at_h: when a sample with a negative optical density was sent in.
        failure: the deviation report, with `start_h` and `end_h`.
    """

    key: str
    number: int
    phase: str
    inoculated_at: datetime
    culture: Culture
    vessel: str = "V-FR-01"
    status: str = "complete"
    ends_h: float | None = None
    schedule_h: tuple[float, ...] = _SCHEDULE_H
    gaps: tuple[Gap, ...] = ()
    contaminated_from_h: float | None = None
    undried: int = 0
    misread_at_h: float | None = None
    failure: dict[str, Any] = field(default_factory=dict)
    outcome: str = "Complete"
    harvest: str | None = "Cell_Banking"
    notes: str | None = None

    @property
    def sample_hours(self) -> list[float]:
        """When samples were drawn: on schedule, and once more at depletion when the batch got there."""
        hours = list(self.schedule_h)
        if self.ends_h is None:
            hours.append(self.culture.depletion_h + 0.15)
        return hours

    @property
    def runtime_h(self) -> float:
        """From inoculation to closing, or to the end of what is recorded."""
        return self.ends_h or self.culture.depletion_h + 1.5


def record(batch: Batch, rng: np.random.Generator) -> dict[str, Any]:
    """The batch and all that belongs to it, as the laboratory's system would export it."""
    samples = _samples(batch, rng)
    closed_at = None if batch.status == "running" else _at(batch, batch.runtime_h)
    return {
        "schema_version": 1,
        "source": {"system": "sheaf sample campaign", "version": "1"},
        "batch": {
            "batch_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"sheaf:sample-campaign/{batch.key}")),
            "batch_number": batch.number,
            "phase": batch.phase,
            "vessel_id": batch.vessel,
            "operator_id": "tech01",
            "status": batch.status,
            "created_at": _at(batch, -3.0),
            "created_by": "tech01",
            "inoculated_at": _at(batch, 0.0),
            "completed_at": closed_at,
            "notes": batch.notes,
        },
        "media_preparation": _media(batch),
        "calibrations": _calibrations(batch),
        "inoculation": _inoculation(batch),
        "samples": samples,
        "process_changes": [],
        "failures": _failures(batch),
        "closure": _closure(batch, samples, closed_at) if closed_at else None,
    }


def _at(batch: Batch, hours: float) -> str:
    """Time of day of an hour of the batch, ISO 8601 with `+00:00`, to the second."""
    return (batch.inoculated_at + timedelta(seconds=round(hours * 3600))).isoformat()


def _rounded(value: float, digits: int) -> float:
    """Half up, as the laboratory's database rounds."""
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def _media(batch: Batch) -> dict[str, Any]:
    amounts = {
        "phosphoric_acid_ml": 26.7,
        "calcium_sulfate_g": 0.93,
        "potassium_sulfate_g": 18.2,
        "magnesium_sulfate_g": 14.9,
        "potassium_hydroxide_g": 4.13,
        "glycerol_g": 40.0,
    }
    return {
        "recipe_name": "Fermentation_Basal_Salts_4pct_Glycerol",
        **amounts,
        "final_volume_l": 0.9,
        "autoclave_cycle": f"AC-2026-{batch.number:03d}",
        "sterility_verified": True,
        "prepared_at": _at(batch, -20.0),
        "prepared_by": "tech02",
        "notes": None,
    }


def _calibrations(batch: Batch) -> list[dict[str, Any]]:
    # probe, buffers and what the probe read in them: mV for pH, the buffer's own unit for the others
    probes = [
        ("pH", 4.01, 7.0, 176.4, 0.6),
        ("DO", 0.0, 100.0, 0.1, 99.8),
        ("Temp", 25.0, 35.0, 25.1, 34.9),
        ("OffGas_O2", 0.0, 20.9, 0.02, 20.88),
        ("OffGas_CO2", 0.0, 5.0, 0.0, 4.98),
    ]
    rows = []
    for number, (probe, low, high, reading_low, reading_high) in enumerate(probes):
        slope = abs((reading_high - reading_low) / (high - low)) / 59.16 * 100 if probe == "pH" else None
        rows.append(
            {
                "id": batch.number * 100 + number,
                "probe_type": probe,
                "buffer_low_value": low,
                "buffer_high_value": high,
                "buffer_low_lot": f"{probe}-L-2601",
                "buffer_high_lot": f"{probe}-H-2601",
                "reading_low": reading_low,
                "reading_high": reading_high,
                "slope_percent": None if slope is None else _rounded(slope, 2),
                "response_time_sec": 22 if probe == "DO" else None,
                "drift_from_previous": None,
                "pass": True,
                "control_active": True,
                "calibrated_at": _at(batch, -2.0 + number / 6),
                "calibrated_by": "tech01",
                "notes": None,
            }
        )
    return rows


def _inoculation(batch: Batch) -> dict[str, Any]:
    vial = f"CRYO-2026-{batch.number:03d}"
    return {
        "id": batch.number,
        "inoculum_source": vial,
        "cryo_vial_id": vial,
        "inoculum_od600": _rounded(batch.culture.start_g_l * OD_PER_DCW * 10, 3),
        "dilution_factor": 10.0,
        "inoculum_volume_ml": 100.0,
        "microscopy_observations": "Budding yeast, no bacteria.",
        "go_decision": True,
        "inoculated_at": _at(batch, 0.0),
        "inoculated_by": "tech01",
    }


def _samples(batch: Batch, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The hand-drawn samples, in order of time.

    The system stamps a sample when its form is sent, some minutes after it was drawn, but within
    the 15 minutes the schedule allows. Optical density is measured after dilution to below 1 AU.
    """
    repeated = [] if batch.misread_at_h is None else [batch.misread_at_h]
    hours = sorted(batch.sample_hours + repeated)
    rows = [_sample(batch, 10 * batch.number + number, hour, rng) for number, hour in enumerate(hours)]
    for hour, row in zip(hours, rows, strict=True):
        if hour in repeated:  # the photometer was zeroed on the culture; the row after it is the repeat
            row.update(od600_raw=-0.312, od600_calculated=_rounded(-0.312 * row["od600_dilution_factor"], 4))
    for row in rows[len(rows) - batch.undried :]:
        row.update(dcw_filter_dry_weight_g=None, dcw_g_per_l=None)
    return rows


def _sample(batch: Batch, identifier: int, hour: float, rng: np.random.Generator) -> dict[str, Any]:
    hour = round(hour * 3600 + rng.integers(60, 300)) / 3600
    cells = float(batch.culture.biomass(np.array([hour]))[0])
    density = cells * OD_PER_DCW * (1 + rng.normal(0, 0.015))
    dilution = next(factor for factor in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0) if density / factor < 1)
    raw = _rounded(density / dilution, 3)
    tare = _rounded(0.0912 + rng.normal(0, 0.0006), 4)
    dry = _rounded(tare + cells * _DCW_VOLUME_ML / 1000 + rng.normal(0, 0.0001), 4)
    contaminated = batch.contaminated_from_h is not None and hour >= batch.contaminated_from_h
    return {
        "id": identifier,
        "timepoint_hours": _rounded(hour, 2),
        "sample_volume_ml": 10.0,
        "od600_raw": raw,
        "od600_dilution_factor": dilution,
        "od600_calculated": _rounded(raw * dilution, 4),
        "dcw_filter_id": f"F-{identifier}",
        "dcw_sample_volume_ml": _DCW_VOLUME_ML,
        "dcw_filter_wet_weight_g": tare,
        "dcw_filter_dry_weight_g": dry,
        "dcw_g_per_l": _rounded((dry - tare) / _DCW_VOLUME_ML * 1000, 3),
        "contamination_detected": contaminated,
        "microscopy_observations": "Rod-shaped bacteria between the yeast cells." if contaminated else None,
        "supernatant_cryovial_id": f"SN-{identifier}",
        "pellet_cryovial_id": f"PE-{identifier}",
        "sampled_at": _at(batch, hour),
        "sampled_by": "tech01" if hour < 10 else "tech02",
    }


def _failures(batch: Batch) -> list[dict[str, Any]]:
    if not batch.failure:
        return []
    told = dict(batch.failure)
    start_h, end_h = told.pop("start_h"), told.pop("end_h")
    reviewed = told["deviation_level"] > 1
    return [
        {
            "id": batch.number,
            **told,
            "deviation_start_time": _at(batch, start_h),
            "deviation_end_time": None if end_h is None else _at(batch, end_h),
            "impact_assessment": None,
            "reported_by": "tech02",
            "reported_at": _at(batch, start_h + 0.5),
            "reviewed_by": "eng01" if reviewed else None,
            "reviewed_at": _at(batch, start_h + 2.0) if reviewed else None,
        }
    ]


def _closure(batch: Batch, samples: list[dict[str, Any]], closed_at: str) -> dict[str, Any]:
    depleted = batch.ends_h is None
    grown = float(batch.culture.biomass(np.array([batch.runtime_h]))[0]) - batch.culture.start_g_l
    return {
        "id": batch.number,
        "final_od600": samples[-1]["od600_calculated"],
        "total_runtime_hours": _rounded(batch.runtime_h, 2),
        "glycerol_depletion_time_hours": _rounded(batch.culture.depletion_h, 2) if depleted else None,
        "do_spike_observed": depleted,
        "max_do_percent": 95.0 if depleted else None,
        "cumulative_base_addition_ml": _rounded(BASE_ML_PER_G * grown, 2),
        "outcome": batch.outcome,
        "harvest_method": batch.harvest,
        "closed_at": closed_at,
        "closed_by": "tech02",
        "approved_by": "eng01",
        "notes": None,
    }
