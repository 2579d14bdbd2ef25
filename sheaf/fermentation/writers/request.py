"""The filters and options of the fermentation exports."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from sheaf.exports.options import Options, check_range


class HoursFilter(Options):
    """Which part of a batch an export holds; what is not given does not restrict.

    Attributes:
        min_hours: only what is this long after inoculation, in hours, or later.
        max_hours: only what is this long after inoculation, in hours, or earlier.
    """

    min_hours: float | None = None
    max_hours: float | None = None

    def keeps_hours(self, hours: float | None) -> bool:
        """Whether a moment passes; a moment without elapsed hours passes only where none are asked for."""
        if self.min_hours is None and self.max_hours is None:
            return True
        if hours is None:
            return False
        low = float("-inf") if self.min_hours is None else self.min_hours
        high = float("inf") if self.max_hours is None else self.max_hours
        return low <= hours <= high


class SampleFilter(HoursFilter):
    """Which samples an export holds; what is not given does not restrict.

    Attributes:
        contamination_detected: only samples with this flag; samples without a record count as false.
        has_dcw: only samples with (or without) a dry cell weight.
    """

    contamination_detected: bool | None = None
    has_dcw: bool | None = None

    @model_validator(mode="after")
    def _hours_have_an_end(self) -> Self:
        check_range(self, "min_hours", "max_hours")
        return self

    def keeps(self, sample: Mapping[str, Any]) -> bool:
        """Whether a row of `samples` or `training_samples` passes."""
        contaminated, has_dcw = bool(sample["contamination_detected"]), sample["dcw_g_per_l"] is not None
        if self.contamination_detected not in (None, contaminated) or self.has_dcw not in (None, has_dcw):
            return False
        return self.keeps_hours(sample["elapsed_hours"])


class CampaignFilter(SampleFilter):
    """Which batches and samples a campaign export holds.

    Attributes:
        phase: only batches of these phases.
        batches: only these partitions.
    """

    phase: list[str] | None = None
    batches: list[str] | None = None

    def keeps_batch(self, partition: str, phase: str) -> bool:
        """Whether a batch passes."""
        if self.phase is not None and phase not in self.phase:
            return False
        return self.batches is None or partition in self.batches


class TrainingOptions(Options):
    """How training features are computed.

    Attributes:
        gas_balance: `inert` infers the outlet flow from nitrogen; `upstream` is the source system's formula.
    """

    gas_balance: Literal["inert", "upstream"] = "inert"


class SensorsOptions(Options):
    """How sensors are laid out for a spreadsheet.

    Attributes:
        step_s: length of a step of the grid in seconds.
        decimal: `point` parts cells by commas; `comma` writes decimal commas and parts cells by semicolons.
    """

    step_s: Literal[30, 60, 300, 600, 1800, 3600] = 30
    decimal: Literal["point", "comma"] = "point"


class CampaignOptions(Options):
    """Which batches a campaign export takes.

    Attributes:
        include: `eligible` takes eligible training batches; `all` takes every complete batch.
    """

    include: Literal["eligible", "all"] = "eligible"


class CampaignTrainingOptions(CampaignOptions, TrainingOptions):
    """Options of the campaign's training table."""
