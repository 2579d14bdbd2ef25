"""`match.yaml`: what a person says about a match. Everything in it is optional, unknown keys are errors."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sheaf.errors import InputError
from sheaf.matches.settings import Correlation, MatchesSettings

FILE_NAME = "match.yaml"


class Device(BaseModel):
    """A timer or sensor of the match.

    Attributes:
        id: MAC address, with or without colons.
        label: what logs may call it instead of its address.
        kind: timer or sensor.
        target, stage, bay: where it is; sensors belong to the timer of their bay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id: str = Field(min_length=1)
    label: str | None = None
    kind: Literal["timer", "sensor"] = "sensor"
    target: str | None = None
    stage: str | None = None
    bay: str | None = None


class Manifest(BaseModel):
    """The content of `match.yaml`.

    Attributes:
        id: must be the name of the match when given.
        name: for people.
        timezone: IANA name; naive times are read in it.
        start: events before it are not in the match; naive means local.
        end: events at or after it are not in the match.
        logs: globs below the match folder (or beside it: `../shared/*.ndjson`).
        database: a database besides those that `logs` finds.
        devices: timers and sensors.
        correlation: instead of the settings' one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id: str | None = None
    name: str | None = None
    timezone: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    logs: tuple[str, ...] = ("**/*",)
    database: str | None = None
    devices: tuple[Device, ...] = ()
    correlation: Correlation | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            zone_of(value)
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The match's zone; UTC when none is known."""
        return zone_of(self.timezone or "UTC")

    def bounds(self) -> tuple[int | None, int | None]:
        """Start and end in microseconds since 1970 UTC."""
        first, last = (
            None if when is None else int((when if when.tzinfo else when.replace(tzinfo=self.zone)).timestamp() * 1e6)
            for when in (self.start, self.end)
        )
        return first, last


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone such as America/Chicago") from error


def load(folder: Path, match: str, settings: MatchesSettings) -> Manifest:
    """Read the match's manifest; a folder without one gets the defaults.

    Returns:
        The manifest with the settings' timezone and correlation filled in where it has none.

    Raises:
        InputError: the file is no YAML, has an unknown key or an impossible value.
    """
    path = folder / FILE_NAME
    content: Any = {}
    if path.is_file():
        import yaml

        try:
            content = yaml.safe_load(path.read_bytes()) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(
                f"{FILE_NAME} of match {match!r} is not valid YAML: {' '.join(str(error).split())}."
            ) from error
    try:
        manifest = Manifest.model_validate(content)
        filled = manifest.model_copy(
            update={
                "timezone": manifest.timezone or settings.timezone,
                "correlation": manifest.correlation or settings.correlation,
            }
        )
        _ = filled.zone
    except ValidationError as error:
        raise InputError(f"{FILE_NAME} of match {match!r}: {explain(error)}") from error
    except ValueError as error:
        raise InputError(f"The matches setting timezone: {error}.") from error
    if manifest.id not in (None, match):
        raise InputError(f"{FILE_NAME} says id {manifest.id!r}, but the match is {match!r}: make them the same.")
    return filled


def explain(error: ValidationError) -> str:
    """The first problem of a document as one sentence that names the key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}."
    return f"{key or 'the document'}={first['input']!r} cannot be used: {first['msg'].removeprefix('Value error, ')}."


def utc(us: int | None) -> datetime | None:
    """Microseconds since 1970 as a time in UTC."""
    return None if us is None else datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
