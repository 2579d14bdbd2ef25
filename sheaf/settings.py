"""The configuration: where things are, when exports are made, and what each domain may set.

Everything has a default. `SHEAF_HOME/sheaf.yaml` (or the file `SHEAF_CONFIG` names) overrides
it; the environment overrides that, such as `SHEAF_FERMENTATION__VESSEL_VOLUME_L=0.9`. Secrets come from the
environment only.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from sheaf.annotations.settings import AnnotationsSettings
from sheaf.cron import check_cron
from sheaf.errors import UsageError
from sheaf.fermentation.settings import FermentationSettings
from sheaf.matches.settings import MatchesSettings
from sheaf.media.settings import MediaSettings
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.outside.addresses import MailAddress, Url, check_no_login
from sheaf.outside.mail import MailServer
from sheaf.outside.models import first_problem
from sheaf.outside.yaml_files import read_yaml
from sheaf.retention import RetentionSettings


class ServeSettings(BaseModel):
    """How `sheaf serve` is reached.

    Attributes:
        host: address it listens on; another than loopback needs a name first (`sheaf users add`).
        port: port it listens on.
        hosts: names under which browsers and proxies reach it, besides this machine's own.
        token_hours: how long a login holds.
        upload_mb: the largest request that is accepted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    token_hours: float = Field(default=8.0, gt=0, le=24 * 30)
    upload_mb: float = Field(default=20.0, gt=0)


class Told(StrEnum):
    """What others can be told of."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    OVERDUE = "overdue"


class WebhookSettings(BaseModel):
    """Another system that is told what became of exports and deliveries.

    Attributes:
        url: where it is posted to; `SHEAF_WEBHOOK_SECRET` signs it.
        events: `completed` and `failed` exports, `refused` deliveries, `overdue` ones, which were asked for and not
            done; all by default.
        domains: only these domains; all by default.
        partitions: only these partitions; all by default.
        private: whether its host may have a private or loopback address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url
    events: tuple[Told, ...] = tuple(Told)
    domains: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    private: bool = False


class ReaderSettings(BaseModel):
    """Who reads letters of what became of exports and deliveries.

    Attributes:
        address: the mail address.
        events: as of webhooks; by default all that needs a person, so not `completed`.
        domains: only these domains; all by default.
        partitions: only these partitions; all by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: MailAddress
    events: tuple[Told, ...] = (Told.FAILED, Told.REFUSED, Told.OVERDUE)
    domains: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()


class MailSettings(MailServer):
    """The mail server that sends letters, and who gets them.

    Attributes:
        to: who gets them.
    """

    to: tuple[ReaderSettings, ...]


class Settings(BaseSettings):
    """The whole configuration.

    Attributes:
        home: holds `inbox/`, `store/` and `dagster/` unless they are moved.
        store_url: the object store: a directory, `s3://bucket/prefix`, or what else obstore knows.
        inbox: the folder in which records arrive.
        timezone: zone of the nightly schedule.
        nightly: cron expression of the nightly exports.
        quiet_seconds: how long a partition must not have changed before it is read.
        retention: what stays when what is old is removed.
        serve: how `sheaf serve` is reached.
        webhooks: who is told what became of exports and deliveries.
        mail: who is told by mail.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="SHEAF_", env_nested_delimiter="__", env_ignore_empty=True
    )

    home: Path
    store_url: str
    inbox: Path
    timezone: str = "UTC"
    nightly: str = "0 2 * * *"
    quiet_seconds: float = Field(default=30.0, ge=0)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    webhooks: tuple[WebhookSettings, ...] = ()
    mail: MailSettings | None = None
    fermentation: FermentationSettings = Field(default_factory=FermentationSettings)
    matches: MatchesSettings = Field(default_factory=MatchesSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    occurrences: OccurrencesSettings = Field(default_factory=OccurrencesSettings)
    annotations: AnnotationsSettings = Field(default_factory=AnnotationsSettings)

    def of(self, domain: str) -> BaseModel:
        """What is set for a domain."""
        return getattr(self, domain)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not a time zone of the IANA database, such as Europe/Oslo")
        return value

    @field_validator("store_url")
    @classmethod
    def _no_login(cls, value: str) -> str:
        check_no_login(value)
        return value

    @field_validator("nightly")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        return check_cron(value)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: files and variables are read by `load`, in its order and with its errors."""
        return (init_settings,)

    @classmethod
    def load(cls) -> "Settings":
        """Read the configuration: defaults, then the file, then variables such as `SHEAF_MEDIA__AT_ONCE`.

        Raises:
            UsageError: the file or a variable says something that cannot be used.
        """
        home = Path(os.environ.get("SHEAF_HOME") or ".sheaf").absolute()
        config = Path(os.environ.get("SHEAF_CONFIG") or home / "sheaf.yaml")
        values = {"store_url": str(home / "store"), "inbox": home / "inbox"}
        values |= _read_yaml(config, required="SHEAF_CONFIG" in os.environ)
        try:
            _override(values, EnvSettingsSource(cls)())
            return cls.model_validate(values | {"home": home}, context={"folder": config.parent})
        except SettingsError as error:  # of a variable that has to be JSON
            raise UsageError(f"A variable of the environment cannot be used: {error}.") from None
        except ValidationError as error:
            found = first_problem(error)
            variable = f"SHEAF_{found.key.replace('.', '__')}".upper()
            where = f"the environment: {variable}" if variable in os.environ else f"{config}: {found.key}"
            if found.is_unknown_key:  # its value may be a secret that does not belong here
                raise UsageError(f"{config}: there is no setting {found.key}.") from None
            value = str(found.value)
            unfit = "@" in value or "://" in value or len(value) > _MOST_SHOWN  # a secret, or a whole plan
            shown = "" if unfit else f"={found.value!r}"
            raise UsageError(f"{where}{shown} cannot be used: {found.reason}.") from None


_MOST_SHOWN = 100


def _override(values: dict[str, Any], by: Mapping[str, Any]) -> None:
    """Replace values by others, key by key below those that hold keys."""
    for key, value in by.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _override(values[key], value)
        else:
            values[key] = value


def _read_yaml(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.exists():
        if required:
            raise UsageError(f"SHEAF_CONFIG names {path}, which does not exist.")
        return {}
    values = read_yaml(path, UsageError) or {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold key: value pairs.")
    return values
