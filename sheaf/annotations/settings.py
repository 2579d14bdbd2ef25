"""What an operator may set for annotations; everything has a default."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sheaf.outside import Variable


class DatabaseSettings(BaseModel):
    """An annotation server's database; `dsn_env` names the variable that holds a read-only role's address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["postgres"]
    dsn_env: Variable = "SHEAF_ANNOTATIONS_DSN"


class AnnotationsSettings(BaseModel):
    """Settings of the domain.

    Attributes:
        sources: the database of an annotation server, beside the inbox.
        images_root: where the image files of projects in PostgreSQL lie; inbox projects have their own `images/`.
        normalised_limit: largest normalised coordinate that still counts as rounding; beyond it the
            row is pixel data in the wrong place and is rejected.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[DatabaseSettings, ...] = Field(default=(), max_length=1)
    images_root: Path | None = None
    normalised_limit: float = Field(default=1.001, ge=1.0, le=1.1)
