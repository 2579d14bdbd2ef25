"""What an operator may set for annotations; everything has a default."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class AnnotationsSettings(BaseModel):
    """Settings of the domain.

    Attributes:
        images_root: where the image files of projects in PostgreSQL lie; inbox projects have their own `images/`.
        normalised_limit: largest normalised coordinate that still counts as rounding; beyond it the
            row is pixel data in the wrong place and is rejected.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images_root: Path | None = None
    normalised_limit: float = Field(default=1.001, ge=1.0, le=1.1)
