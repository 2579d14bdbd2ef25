"""The configuration: where things are, when exports are made, and what each domain may set.

Everything has a default. `SHEAF_HOME/sheaf.yaml` (or the file `SHEAF_CONFIG` names) overrides
it; the environment overrides that. Secrets come from the environment only.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import UsageError
from sheaf.fermentation.settings import FermentationSettings
from sheaf.matches.settings import MatchesSettings
from sheaf.media.settings import MediaSettings
from sheaf.occurrences.settings import OccurrencesSettings


class Settings(BaseModel):
    """The whole configuration.

    Attributes:
        home: holds `inbox/`, `store/` and `dagster/` unless they are moved.
        store_url: the object store: a directory, `s3://bucket/prefix`, or what else obstore knows.
        inbox: the folder in which records arrive.
        timezone: zone of the nightly schedule.
        nightly: cron expression of the nightly exports.
        quiet_seconds: how long a partition must not have changed before it is read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path
    store_url: str
    inbox: Path
    timezone: str = "UTC"
    nightly: str = "0 2 * * *"
    quiet_seconds: float = Field(default=30.0, ge=0)
    fermentation: FermentationSettings = Field(default_factory=FermentationSettings)
    matches: MatchesSettings = Field(default_factory=MatchesSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    occurrences: OccurrencesSettings = Field(default_factory=OccurrencesSettings)
    annotations: AnnotationsSettings = Field(default_factory=AnnotationsSettings)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not a time zone of the IANA database, such as Europe/Oslo")
        return value

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the configuration.

        Raises:
            UsageError: the file or a variable says something that cannot be used.
        """
        home = Path(environ.get("SHEAF_HOME") or ".sheaf").absolute()
        config = Path(environ.get("SHEAF_CONFIG") or home / "sheaf.yaml")
        values = {"home": home, "store_url": str(home / "store"), "inbox": home / "inbox"}
        values |= _read_yaml(config, required="SHEAF_CONFIG" in environ)
        for key in ("store_url", "inbox", "timezone", "nightly", "quiet_seconds"):
            if value := environ.get(f"SHEAF_{key.upper()}"):
                values[key] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":  # its value may be a secret that does not belong here
                raise UsageError(f"{config}: there is no setting {key}.") from error
            shown = "" if "@" in str(first["input"]) else f"={first['input']!r}"
            raise UsageError(f"{config}: {key}{shown} cannot be used: {first['msg']}.") from error


def _read_yaml(path: Path, *, required: bool) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        if required:
            raise UsageError(f"SHEAF_CONFIG names {path}, which does not exist.")
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold key: value pairs.")
    return values
