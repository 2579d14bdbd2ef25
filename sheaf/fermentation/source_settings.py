"""Where a site's live batch records and sensor series are; secrets are named here, never written.

Here: addresses, names, mapping and windows. Not here: how records are read and judged (`settings`).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sheaf.outside.addresses import Url, Variable


class RestSettings(BaseModel):
    """The laboratory's ELN by its REST API.

    Attributes:
        url: up to and with the version, such as `http://eln:8000/api/v1`.
        user_env: environment variable that holds the user name.
        password_env: environment variable that holds the password.
        batches: ids to read where the server fails to list its batches.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["eln_rest"]
    url: Url
    user_env: Variable = "SHEAF_ELN_USER"
    password_env: Variable = "SHEAF_ELN_PASSWORD"  # noqa: S105 (the name of a variable)
    batches: tuple[str, ...] = ()


class PostgresSettings(BaseModel):
    """The laboratory's ELN by its PostgreSQL database.

    Attributes:
        dsn_env: environment variable that holds the connection string of a read-only role.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["eln_postgres"]
    dsn_env: Variable = "SHEAF_ELN_DSN"


ElnSettings = Annotated[RestSettings | PostgresSettings, Field(discriminator="kind")]


class InfluxSettings(BaseModel):
    """The sensor series in InfluxDB.

    Attributes:
        kind: `influx2` asks in Flux, `influx1` and `influx3` in InfluxQL by `/query`.
        url: such as `http://influxdb:8086`.
        bucket: bucket, or database in 1.x and 3.x.
        org: organisation, in 2.x only.
        token_env: environment variable that holds the token, in 2.x and 3.x.
        user_env: environment variable that holds the user, in 1.x; one that is not set means no login.
        password_env: environment variable that holds the password, in 1.x.
        measurement: the one measurement that holds all sensors; None where each has its own.
        sensor_tag: tag of that measurement whose value, or the last part of it after `/`, names the sensor; None where
            each sensor is a field of it.
        fields: fields that hold the value; the first that is there counts.
        vessel_tag: tag that names the vessel, as its whole value or as one part of a topic.
        vessels: vessel of the batch records to vessel of the sensors; a vessel that is missing is an error.
        before_hours: hours of sensor data before inoculation.
        after_hours: hours of sensor data after completion.
        clock_ahead_s: seconds by which the sensors' clock is ahead of the records'.
        late_hours: hours after completion for which points that arrive late are still fetched.
        refresh_minutes: how often the sensors of a running batch are read again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["influx1", "influx2", "influx3"]
    url: Url
    bucket: str = Field(min_length=1)
    org: str = ""
    token_env: Variable = "INFLUXDB_V2_TOKEN"  # noqa: S105 (the name of a variable)
    user_env: Variable = "SHEAF_INFLUX_USER"
    password_env: Variable = "SHEAF_INFLUX_PASSWORD"  # noqa: S105 (the name of a variable)
    measurement: str | None = None
    sensor_tag: str | None = None
    fields: tuple[str, ...] = Field(default=("_value", "value"), min_length=1)
    vessel_tag: str = "vessel"
    vessels: dict[str, str] = Field(min_length=1)
    before_hours: float = Field(default=1.0, ge=0, le=24)
    after_hours: float = Field(default=0.5, ge=0, le=24)
    clock_ahead_s: float = 0.0
    late_hours: float = Field(default=72.0, ge=0)
    refresh_minutes: float = Field(default=30.0, ge=1)
