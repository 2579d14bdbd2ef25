"""The `data_export` block of the bridge's configuration, as its documentation shows it.

It loads as it stands and says what to export with which options; unknown keys are errors. What a single export
cannot do (schedules, folders, how a match is read) is named, with the setting that does it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sheaf.errors import InputError
from sheaf.matches.settings import Correlation
from sheaf.outside.models import explain
from sheaf.outside.yaml_files import read_json

Format = Literal["csv", "ndjson", "parquet"]
_SERIES: dict[Format, str] = {"csv": "runs_csv", "ndjson": "events_ndjson", "parquet": "analytics_parquet"}


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AutoExport(_Block):
    """Whether and how often to export without being asked; a schedule does that."""

    enabled: bool = False
    interval_hours: int = Field(default=24, ge=1)
    formats: tuple[Format, ...] = ("csv", "ndjson")


class Csv(_Block):
    """`include_debug` is accepted for compatibility: a run table has no debug records to include."""

    enabled: bool = True
    include_debug: bool = False


class Ndjson(_Block):
    """Version 1.0.0 is the only one there is."""

    enabled: bool = True
    schema_version: Literal["1.0.0"] = "1.0.0"
    include_raw_data: bool = True


class Parquet(_Block):
    """As the options of `analytics_parquet`."""

    enabled: bool = True
    compression: Literal["gzip", "brotli", "lz4", "zstd", "snappy", "none"] = "gzip"
    partition_by: str | None = None


class Formats(_Block):
    """The three formats."""

    csv: Csv = Csv()
    ndjson: Ndjson = Ndjson()
    parquet: Parquet = Parquet()


class Offload(_Block):
    """What becomes of old logs."""

    auto_offload: bool = False
    retention_days: int = Field(default=30, ge=0)
    delete_after_offload: bool = False


class DataExport(_Block):
    """The whole block; `timezone` and `correlation` are additions to it."""

    enabled: bool = True
    export_dir: str = "exports"
    auto_export: AutoExport = AutoExport()
    formats: Formats = Formats()
    offload: Offload = Offload()
    timezone: str | None = None
    correlation: Correlation = Correlation()

    def series(self) -> dict[str, dict[str, Any]]:
        """The enabled series with the options that differ from their defaults."""
        if not self.enabled:
            return {}
        ndjson, parquet = self.formats.ndjson, self.formats.parquet
        options: dict[Format, dict[str, Any]] = {
            "csv": {},
            "ndjson": {} if ndjson.include_raw_data else {"include_raw_data": False},
            "parquet": parquet.model_dump(include={"compression", "partition_by"}, exclude_defaults=True),
        }
        return {_SERIES[name]: options[name] for name in options if getattr(self.formats, name).enabled}

    def elsewhere(self, match: str) -> tuple[str, ...]:
        """What the block asks for and an export of one match does not do: a sentence for each, with what does it."""
        given = self.model_fields_set
        auto, offload = self.auto_export, self.offload
        told = []
        if not self.enabled:
            told.append("enabled is false: nothing was exported.")
        if auto.enabled:
            wanted = ", ".join(_SERIES[name] for name in auto.formats)
            told.append(
                f"auto_export (every {auto.interval_hours} h: {wanted}): the schedule that `nightly` in sheaf.yaml "
                "sets exports every match in all its series; `sheaf dev` runs it."
            )
        if self.export_dir != "exports":
            told.append(
                f"export_dir={self.export_dir!r}: exports go to the store (`store_url` in sheaf.yaml); "
                f"`sheaf download matches/{match}/<series>/latest {self.export_dir}` copies one."
            )
        if self.formats.csv.include_debug:
            told.append("formats.csv.include_debug: a table of runs has no debug records; events_ndjson holds them.")
        if offload.auto_offload or offload.delete_after_offload:
            told.append(
                "offload: set matches.offload {source_dir: …, "
                f"days_old: {offload.retention_days}, delete_source: {str(offload.delete_after_offload).lower()}}} "
                "in sheaf.yaml and turn on the schedule offload_match_logs_schedule."
            )
        if self.timezone is not None:
            told.append(f"timezone: write `timezone: {self.timezone}` into match.yaml of {match} and run it again.")
        if "correlation" in given:
            values = ", ".join(
                f"{key}: {value}" for key, value in self.correlation.model_dump(exclude_unset=True).items()
            )
            told.append(f"correlation: write `correlation: {{{values}}}` into match.yaml of {match} and run it again.")
        return tuple(f"Not applied here: {text}" for text in told)


def load_data_export(source: Path | Mapping[str, Any]) -> DataExport:
    """Read the block from a configuration file or a dictionary.

    Args:
        source: the whole configuration, of which only `data_export` is read, or the block itself.

    Raises:
        InputError: no JSON, an unknown key, or an impossible value, naming the key.
    """
    where = str(source) if isinstance(source, Path) else "data_export"
    content = read_json(source) if isinstance(source, Path) else source
    if not isinstance(content, Mapping):
        raise InputError(f"{where} must be a JSON object with the key 'data_export'.")
    try:
        return DataExport.model_validate(content.get("data_export", content))
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from error
