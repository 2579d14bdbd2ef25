"""What an operator may set for all matches; `match.yaml` says what is special about one."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sheaf.cron import check_cron


class Correlation(BaseModel):
    """How impacts are assigned to shots; all times in milliseconds.

    Attributes:
        window_ms: an impact later than this after a shot cannot belong to it.
        expected_delay_ms: delay assumed for a sensor whose own cannot be estimated.
        delay_tolerance_ms: how far a delay may be from the expected one when it is not estimated.
        gate_ms: how far a delay may be from the estimated one at most; less where a sensor is more regular than that.
        estimate_offsets: whether each sensor's delay is estimated over the match.
        min_pairs: matched pairs that an estimate needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_ms: float = Field(default=1520.0, gt=0, le=60_000)
    expected_delay_ms: float = Field(default=526.0, ge=0, le=60_000)
    delay_tolerance_ms: float = Field(default=663.0, gt=0, le=60_000)
    gate_ms: float = Field(default=125.0, gt=0, le=10_000)
    estimate_offsets: bool = True
    min_pairs: int = Field(default=5, ge=2)


class OffloadSettings(BaseModel):
    """What the scheduled offload does; the schedule is off until somebody turns it on.

    Attributes:
        source_dir: the folder of old logs; without one nothing is offloaded.
        days_old: files older than this many days are taken.
        delete_source: remove files once they are whole in a verified archive.
        cutoff_by: what counts as a file's age.
        schedule: cron expression.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source_dir: Path | None = None
    days_old: float = Field(default=30.0, ge=0)
    delete_source: bool = False
    cutoff_by: Literal["mtime", "event_time"] = "mtime"
    schedule: str = "30 3 * * *"

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        return check_cron(value)


class MatchesSettings(BaseModel):
    """Settings of the matches domain.

    Attributes:
        timezone: of naive times in matches whose `match.yaml` names none; without both they count as UTC.
        max_line_bytes: a longer line is rejected without being loaded.
        min_split_ms: a shot without a number that follows another sooner than this is its echo and counted as doubled.
        memory_mb: what de-duplication and sorting may hold before they use the disk.
        database_timeout_s: how long to wait for a locked database.
        correlation: used where `match.yaml` has no `correlation`.
        offload: the scheduled offload of old logs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: str | None = None
    max_line_bytes: int = Field(default=64 * 1024, ge=1024)
    min_split_ms: float = Field(default=60.0, ge=0, le=5_000)
    memory_mb: int = Field(default=96, ge=64)
    database_timeout_s: float = Field(default=10.0, gt=0)
    correlation: Correlation = Correlation()
    offload: OffloadSettings = OffloadSettings()
