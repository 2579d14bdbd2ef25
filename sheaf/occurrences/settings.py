"""What an installation decides about its occurrences, each with a default that works.

Here: choices that hold for all projects. Not here: the options and filters of one export (`request`).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sheaf.outside import Url, Variable


class DatabaseSettings(BaseModel):
    """The PostgreSQL database of Antenna; `dsn_env` names the variable that holds a read-only role's address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["postgres"]
    dsn_env: Variable = "SHEAF_OCCURRENCES_DSN"


class ApiSettings(BaseModel):
    """The API of Antenna.

    Attributes:
        url: up to and with the version, such as `https://api.example.org/api/v2`.
        projects: what to read, as `p` and the project's id.
        token_env: environment variable that holds a user's token; public projects need none.
        refresh_hours: how often a project is read again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["api"]
    url: Url
    projects: tuple[Annotated[str, Field(pattern="^p[0-9]+$")], ...] = Field(min_length=1)
    token_env: Variable = "SHEAF_OCCURRENCES_TOKEN"  # noqa: S105 (the name of a variable)
    refresh_hours: float = Field(default=24.0, ge=0.1)


class OccurrencesSettings(BaseModel):
    """Choices for all projects of an installation.

    Attributes:
        sources: live systems, beside the inbox.
        source_time_zone: zone in which the source database writes its station-local wall times. A time
            that arrives with an offset is converted back to it; one without is taken as it is.
        licence: licence of projects that name none: `CC0-1.0`, `CC-BY-4.0`, `CC-BY-NC-4.0`, or any text.
        rights_holder: holder of the rights in projects that name none.
        publisher: organisation that publishes the data; by default the project's name.
        contact_name: whom to ask about the data; by default the owner of the project.
        contact_email: the publisher's own address. Addresses of users are never read.
        api_url: prefix of the `details` links in the JSON export.
        media_url: prefix of crop paths that are not whole URLs.
        country_code: ISO 3166-1 alpha-2 code of the stations, for GBIF.
        coordinate_uncertainty_m: how well station coordinates are known, in metres, for GBIF.
        sensitive_taxa: scientific names (of species or higher taxa) whose stations are shown to GBIF only
            within a cell of `sensitive_cell_degrees`.
        sensitive_cell_degrees: width of that cell, in degrees.
        schemas: folder with the XML schemas of Darwin Core text and EML; where it is given, every
            archive is validated against them before it is published.
        operators: who may export whatever a project's members table says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Annotated[DatabaseSettings | ApiSettings, Field(discriminator="kind")], ...] = ()
    source_time_zone: str = "America/New_York"
    licence: str = ""
    rights_holder: str = ""
    publisher: str = ""
    contact_name: str = ""
    contact_email: str = ""
    api_url: str = "/api/v2"
    media_url: str = ""
    country_code: str = Field(default="", pattern="^([A-Z]{2})?$")
    coordinate_uncertainty_m: float | None = Field(default=None, gt=0)
    sensitive_taxa: tuple[str, ...] = ()
    sensitive_cell_degrees: float = Field(default=0.1, gt=0, le=1)
    schemas: Path | None = None
    operators: tuple[str, ...] = ("sheaf",)
