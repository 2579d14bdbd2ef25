"""The `data_export` block of the bridge's configuration, as its documentation shows it.

It loads as it stands and says what to export with which options; unknown keys are errors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sheaf.errors import InputError
from sheaf.matches.manifest import explain
from sheaf.matches.settings import Correlation, MatchesSettings

Format = Literal["csv", "ndjson", "parquet"]
_SERIES: dict[Format, str] = {"csv": "runs_csv", "ndjson": "events_ndjson", "parquet": "analytics_parquet"}


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AutoExport(_Block):
    """Whether and how often to export without being asked."""

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

    def nightly(self) -> tuple[str, ...]:
        """The series that are exported without being asked."""
        wanted = [_SERIES[name] for name in self.auto_export.formats] if self.auto_export.enabled else []
        return tuple(name for name in self.series() if name in wanted)

    def settings(self) -> MatchesSettings:
        """The settings of the matches domain that the block implies."""
        return MatchesSettings(timezone=self.timezone, correlation=self.correlation)


def load_data_export(source: Path | Mapping[str, Any]) -> DataExport:
    """Read the block from a configuration file or a dictionary.

    Args:
        source: the whole configuration, of which only `data_export` is read, or the block itself.

    Raises:
        InputError: no JSON, an unknown key, or an impossible value, naming the key.
    """
    where = str(source) if isinstance(source, Path) else "data_export"
    if isinstance(source, Path):
        try:
            content = orjson.loads(source.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise InputError(f"{source} cannot be read as JSON: {error}.") from error
    else:
        content = source
    if not isinstance(content, Mapping):
        raise InputError(f"{where} must be a JSON object with the key 'data_export'.")
    try:
        return DataExport.model_validate(content.get("data_export", content))
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from error
