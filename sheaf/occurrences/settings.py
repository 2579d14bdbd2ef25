"""What an installation decides about its occurrences, each with a default that works.

Here: choices for all projects, and for single ones. Not here: the options and filters of one export (`request`).
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sheaf.clock import zone_named
from sheaf.outside.addresses import Url, Variable
from sheaf.publication import Publication


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
    projects: tuple[Annotated[str, Field(pattern="^p(0|[1-9][0-9]*)$")], ...] = Field(min_length=1)
    token_env: Variable = "SHEAF_OCCURRENCES_TOKEN"  # noqa: S105 (the name of a variable)
    refresh_hours: float = Field(default=24.0, ge=0.1)


class Contact(BaseModel):
    """Somebody to ask about the data; nobody's address is published but those that are named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    email: str = ""
    organisation: str = ""
    orcid: str = Field(default="", pattern="^([0-9]{4}-){3}[0-9]{3}[0-9X]$|^$")


class ProjectSettings(Publication):
    """What is said about the data of one project, or of all.

    Attributes:
        title: title of the dataset; by default the project's name.
        protocol: how animals are recorded, such as `automated light trap with camera`; by default what the source
            says, else `automated camera`.
        protocol_description: the same in a sentence or two.
        sampling_design: how stations were chosen, in the words of Camtrap DP.
        capture_method: what makes the cameras take images, in the words of Camtrap DP.
        taxonomic_scope: the taxon that is looked for, such as `Mammalia`; by default what the project's default
            filters include.
        licence: licence of projects that name none: `CC0-1.0`, `CC-BY-4.0`, `CC-BY-NC-4.0`, or any text.
        rights_holder: holder of the rights in projects that name none.
        publisher: organisation that publishes the data; by default the project's name.
        contacts: whom to ask about the data, the first of them first.
        contact_name: the same for a single contact; by default the owner of the project.
        contact_email: the publisher's own address. Addresses of users are never read.
        country_code: ISO 3166-1 alpha-2 code of stations that name none, for GBIF.
        country_codes: the same of single stations, by their name or id, where a project crosses a border.
        coordinate_uncertainty_m: how well station coordinates are known, in metres, for GBIF.
        time_zone: IANA zone of stations that name none, such as `Europe/Oslo`; by default the one that
            their coordinates lie in.
        sensitive_taxa: scientific names, synonyms or GBIF keys of taxa (species or higher) whose stations are
            shown within a cell of `sensitive_cell_degrees` only, without name, images and remarks. One that is
            no taxon of the project is an error.
        sensitive_cell_degrees: width of that cell, in degrees.
        not_taxa: further names that are used as determinations but are no taxa, such as `Wind`.
        people: further names of people among the determinations, such as `Ranger`: images of them are withheld.
    """

    title: str = ""
    protocol: str = ""
    protocol_description: str = ""
    sampling_design: Literal[
        "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic"
    ] = "opportunistic"
    capture_method: tuple[Literal["activityDetection", "timeLapse"], ...] = Field(
        default=("activityDetection",), min_length=1
    )
    taxonomic_scope: str = ""
    licence: str = ""
    rights_holder: str = ""
    publisher: str = ""
    contacts: tuple[Contact, ...] = ()
    contact_name: str = ""
    contact_email: str = ""
    country_code: str = Field(default="", pattern="^([A-Z]{2})?$")
    country_codes: dict[str, Annotated[str, Field(pattern="^[A-Z]{2}$")]] = Field(default_factory=dict)
    coordinate_uncertainty_m: float | None = Field(default=None, gt=0)
    time_zone: str = ""
    sensitive_taxa: tuple[str | int, ...] = ()
    sensitive_cell_degrees: float = Field(default=0.1, gt=0, le=1)
    not_taxa: tuple[str, ...] = ()
    people: tuple[str, ...] = ()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        found = zone_named(value) if value else value
        if found is None:
            raise ValueError("not a time zone of the IANA database, such as Europe/Oslo")
        return found


class OccurrencesSettings(ProjectSettings):
    """Choices for all projects of an installation, and for single ones.

    Attributes:
        sources: live systems, beside the inbox.
        projects: what is said about single projects, by partition; it wins over what is said for all.
        source_time_zone: zone in which the database of a source writes its station-local wall times.
        api_url: prefix of the `details` links in the JSON export.
        media_url: prefix of crop paths that are not whole URLs.
        schemas: folder with the XML schemas of Darwin Core text and EML; where it is given, every
            archive is validated against them before it is published.
        operators: who may export whatever a project's members table says.
    """

    sources: tuple[Annotated[DatabaseSettings | ApiSettings, Field(discriminator="kind")], ...] = ()
    projects: dict[str, ProjectSettings] = Field(default_factory=dict)
    source_time_zone: str = "America/New_York"
    api_url: str = "/api/v2"
    media_url: str = ""
    schemas: Path | None = None
    operators: tuple[str, ...] = ("sheaf",)

    @field_validator("projects")
    @classmethod
    def _are_partitions(cls, value: dict[str, ProjectSettings]) -> dict[str, ProjectSettings]:
        for name in value:
            if not re.fullmatch("p(0|[1-9][0-9]*)", name):
                raise ValueError(f"{name!r} is no project: write p and its id without zeros before it, such as p16")
        return value
