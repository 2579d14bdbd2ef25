"""What an operator may set for annotations; everything has a default."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sheaf.outside.addresses import Variable
from sheaf.publication import Publication


class DatabaseSettings(BaseModel):
    """An annotation server's database; `dsn_env` names the variable that holds a read-only role's address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["postgres"]
    dsn_env: Variable = "SHEAF_ANNOTATIONS_DSN"


class ProjectSettings(Publication):
    """What can be set for one project, or for all.

    Attributes:
        normalised_limit: largest normalised coordinate that still counts as rounding; beyond it the
            row is pixel data in the wrong place and is rejected.
        drawn_on: the picture on which annotations were drawn, as stored or as EXIF shows it, where EXIF turns
            or mirrors an image and its declared size does not tell.
    """

    normalised_limit: float = Field(default=1.001, ge=1.0, le=1.1)
    drawn_on: Literal["stored", "shown"] = "stored"


class AnnotationsSettings(ProjectSettings):
    """Settings of the domain.

    Attributes:
        sources: the database of an annotation server, beside the inbox.
        images_root: where the image files of projects in PostgreSQL lie; inbox projects have their own `images/`.
        projects: what is set for single projects, by name.
    """

    sources: tuple[DatabaseSettings, ...] = Field(default=(), max_length=1)
    images_root: Path | None = None
    projects: dict[str, ProjectSettings] = Field(default_factory=dict)
