"""The `data_export` block of the bridge's configuration, as its documentation shows it.

It loads as it stands; unknown keys are errors. Here: what it says of one match, be it in the folder of the match or
given to one export, and a sentence for each key that has no meaning there, with the setting that does it. Not here:
doing it (`match_yaml`, `sheaf/matches/domain.py`, `pipelines/cli`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sheaf.errors import InputError
from sheaf.matches.settings import Correlation
from sheaf.outside.models import explain
from sheaf.outside.yaml_files import read_json

Format = Literal["csv", "ndjson", "parquet"]
SERIES: dict[Format, str] = {"csv": "runs_csv", "ndjson": "events_ndjson", "parquet": "analytics_parquet"}
"""The series of each format of a bridge; it knows no others."""

BLOCK = "data_export"


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AutoExport(_Block):
    """Which formats to export without being asked, and how often."""

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
        return {SERIES[name]: options[name] for name in options if getattr(self.formats, name).enabled}

    def unasked(self) -> tuple[str, ...]:
        """The series of a bridge's formats that are published without being asked for, by this block."""
        wanted = self.auto_export.formats if self.auto_export.enabled else tuple(SERIES)
        return tuple(name for name in self.series() if name in {SERIES[format_] for format_ in wanted})

    def holds(self) -> tuple[str, ...]:
        """The keys that are followed for the match in whose folder the block is, as they are written."""
        given = [name for name in ("timezone", "correlation") if name in self.model_fields_set]
        given += [f"formats.{name}.enabled" for name in SERIES if not getattr(self.formats, name).enabled]
        given += ["auto_export.formats"] if self.auto_export.enabled else []
        return (*given, *([] if self.enabled else ["enabled"]))

    def without_meaning(self, match: str) -> tuple[str, ...]:
        """What the block asks for and its match does not do, where it lies in the folder of the match."""
        told = [*self._never(match)]
        auto = self.auto_export
        if "enabled" in auto.model_fields_set and not auto.enabled:
            told.append(
                "auto_export.enabled is false: what is new is published by the sensor, the schedule and `sheaf run`; "
                "to publish none of these formats set `enabled` of the whole block to false."
            )
        if auto.enabled and "interval_hours" in auto.model_fields_set:
            told.append(
                f"auto_export.interval_hours={auto.interval_hours}: a match is published as soon as its logs have been "
                "quiet for a while (the sensor), and at the time that `nightly` in sheaf.yaml says."
            )
        for name, options in self.series().items():
            if options:
                values = " ".join(f"--option {key}={str(value).lower()}" for key, value in options.items())
                told.append(
                    f"options of {name}: what is published unasked has its default ones; "
                    f"`sheaf export matches {match} {name} {values}` makes the other."
                )
        return tuple(f"Without meaning here: {text}" for text in told)

    def elsewhere(self, match: str) -> tuple[str, ...]:
        """What the block asks for and an export of one match does not do: a sentence for each, with what does it."""
        told = [] if self.enabled else ["enabled is false: nothing was exported."]
        auto = self.auto_export
        if auto.enabled:
            wanted = ", ".join(SERIES[name] for name in auto.formats)
            told.append(
                f"auto_export (every {auto.interval_hours} h: {wanted}): the schedule that `nightly` in sheaf.yaml "
                "sets exports every match; `sheaf dev` runs it."
            )
        told += self._never(match)
        if self.timezone is not None:
            told.append(f"timezone: write `timezone: {self.timezone}` into match.yaml of {match} and run it again.")
        if "correlation" in self.model_fields_set:
            values = ", ".join(
                f"{key}: {value}" for key, value in self.correlation.model_dump(exclude_unset=True).items()
            )
            told.append(f"correlation: write `correlation: {{{values}}}` into match.yaml of {match} and run it again.")
        return tuple(f"Not applied here: {text}" for text in told)

    def _never(self, match: str) -> Iterator[str]:
        """What no export of a match does, wherever it is asked for."""
        offload = self.offload
        if self.export_dir != "exports":
            yield (
                f"export_dir={self.export_dir!r}: exports go to the store (`store_url` in sheaf.yaml); "
                f"`sheaf download matches/{match}/<series>/latest {self.export_dir}` copies one."
            )
        if self.formats.csv.include_debug:
            yield "formats.csv.include_debug: a table of runs has no debug records; events_ndjson holds them."
        if offload.auto_offload or offload.delete_after_offload:
            yield (
                "offload: set matches.offload {source_dir: …, "
                f"days_old: {offload.retention_days}, delete_source: {str(offload.delete_after_offload).lower()}}} "
                "in sheaf.yaml and turn on the schedule offload_match_logs_schedule."
            )


def load_data_export(source: Path | Mapping[str, Any]) -> DataExport:
    """Read the block from a configuration file or a dictionary.

    Args:
        source: the whole configuration, of which only `data_export` is read, or the block itself.

    Raises:
        InputError: no JSON, an unknown key, or an impossible value, naming the key.
    """
    where = str(source) if isinstance(source, Path) else BLOCK
    content = read_json(source) if isinstance(source, Path) else source
    if not isinstance(content, Mapping):
        raise InputError(f"{where} must be a JSON object with the key {BLOCK!r}.")
    try:
        return DataExport.model_validate(content.get(BLOCK, content))
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from error
