"""`match.yaml`: what a person says about a match. Everything in it is optional, unknown keys are errors.

The `data_export` block of a bridge may stand in it, or in the `config.json` beside it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sheaf.errors import InputError
from sheaf.matches.readers.bridge_config import BLOCK, DataExport, load_data_export
from sheaf.matches.readers.devices import Device, mac
from sheaf.matches.settings import Correlation
from sheaf.outside.files import key_of, named
from sheaf.outside.models import explain
from sheaf.outside.yaml_files import read_json, read_yaml

FILE_NAME = "match.yaml"
SQUAD = "squad.csv"
CONFIG = "config.json"
_NAMES = (FILE_NAME, "match.yml")


class Squad(BaseModel):
    """Who shot what: a run by its number, or a string by its number at a stage (and bay).

    Attributes:
        run: number of the run in the match, or its id.
        stage, bay, string: the stage and bay as the timers have them, and the string's number there from 1; with `run`,
            the stage that it was shot at.
        shooter: who.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    run: str | None = Field(default=None, pattern=r"^(run_)?[1-9][0-9]{0,8}$")
    stage: str | None = None
    bay: str | None = None
    string: int | None = Field(default=None, ge=1)
    shooter: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.run is None) == (self.string is None):
            raise ValueError("say which run, or which stage and string")
        return self


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
        squad: who shot which run or string; `squad.csv` may say it as well.
        min_split_ms: instead of the settings' one.
        correlation: instead of the settings' one.
        data_export: the block of a bridge's configuration; what is said above goes before it.
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
    squad: tuple[Squad, ...] = ()
    min_split_ms: float | None = Field(default=None, ge=0, le=5_000)
    correlation: Correlation | None = None
    data_export: DataExport | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            zone_of(value)
        return value

    @field_validator("start", "end", mode="before")
    @classmethod
    def _is_a_time(cls, value: object) -> object:
        if isinstance(value, int | float) or (isinstance(value, str) and value.strip().isdigit()):
            raise ValueError("write it as 2025-09-13T08:00")  # else it would be seconds since 1970
        return value

    @field_validator("devices")
    @classmethod
    def _each_once(cls, value: tuple[Device, ...]) -> tuple[Device, ...]:
        known: dict[str, Device] = {}
        for device in value:
            other = known.setdefault(mac(device.id) or device.id, device)
            if other.model_copy(update={"id": device.id}) != device:
                raise ValueError(f"{device.id} is listed twice, as different things: keep one of them")
        return tuple(known.values())

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        first, last = self.bounds()
        if first is not None and last is not None and first >= last:
            raise ValueError("end is not after start (a date alone is the midnight with which it begins)")
        return self

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


def load(folder: Path, match: str, timezone: str | None) -> Manifest:
    """Read the match's manifest, and the configuration of a bridge beside it; a folder without gets the defaults.

    Args:
        timezone: of matches that name none.

    Raises:
        InputError: a file is no YAML or JSON, has an unknown key or an impossible value, or is there twice.
    """
    found = list(named(folder, _NAMES).values())
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1].name} both describe the match: keep one of them.")
    content = (read_yaml(found[0]) if found else None) or {}
    try:
        manifest = _with_bridge(Manifest.model_validate(content), folder)
        filled = manifest.model_copy(update={"timezone": manifest.timezone or timezone})
        _ = filled.zone
    except ValidationError as error:
        raise InputError(f"{FILE_NAME} of match {match!r}: {explain(error)}") from error
    except ValueError as error:
        raise InputError(f"The matches setting timezone: {error}.") from error
    if manifest.id not in (None, match):
        raise InputError(f"{FILE_NAME} says id {manifest.id!r}, but the match is {match!r}: make them the same.")
    return filled


def _with_bridge(manifest: Manifest, folder: Path) -> Manifest:
    """With what the `data_export` block says where the manifest says nothing."""
    path, block = named(folder, (CONFIG,)).get(CONFIG), manifest.data_export
    if path is not None:
        read_json(path)  # which tells what is none
        if has_block(path):
            if block is not None:
                raise InputError(f"{path} and {FILE_NAME} both have {BLOCK}: keep one of them.")
            block = load_data_export(path)
    if block is None:
        return manifest
    if block.timezone is not None:
        try:
            zone_of(block.timezone)
        except ValueError as error:
            raise InputError(f"{folder.name}: {BLOCK}.timezone: {error}.") from error
    correlation = block.correlation if "correlation" in block.model_fields_set else None
    return manifest.model_copy(
        update={
            "data_export": block,
            "timezone": manifest.timezone or block.timezone,
            "correlation": manifest.correlation or correlation,
        }
    )


def configuration(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file is; None where it is none."""
    try:
        content = read_json(path)
    except InputError:
        return None
    return content if isinstance(content, dict) else None


def has_block(path: Path) -> bool:
    """Whether a configuration says anything of exports; another file of its name is a file like all."""
    return BLOCK in (configuration(path) or ())


def is_manifest(name: str) -> bool:
    """Whether a file of a match describes it, and is no log."""
    return key_of(name) in (*_NAMES, SQUAD)


def utc(us: int | None) -> datetime | None:
    """Microseconds since 1970 as a time in UTC."""
    return None if us is None else datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
