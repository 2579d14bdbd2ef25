"""The small tables of a project while they are read, and what annotations need to find their place.

Not here: reading them (`label_rows`, `image_rows`), nor boxes and masks (`objects`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sheaf.annotations.geometry import Frame
from sheaf.annotations.rows import (
    Row,
    Source,
    checked,
    reject,
)
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.tables import Rejects


@dataclass(frozen=True, slots=True)
class Place:
    """What a source's image id stands for: an image, in a job or in none, and how coordinates there are given."""

    image_id: str
    job_id: str | None
    frame: Frame


@dataclass
class Catalogue:
    """The small tables of a project, and what its annotations need to find their place.

    Attributes:
        rows: rows of our tables by table name.
        places: by the image id that annotations use.
        order: rank of an image by its path.
        files: image files by digest.
        corrections: rows of the corrections table, also those of boxes and masks.
    """

    source: Source
    settings: AnnotationsSettings
    rejects: Rejects
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    files: dict[str, Path] = field(default_factory=dict)
    corrections: list[dict[str, str]] = field(default_factory=list)

    def correct(self, table: str, key: str, correction: str) -> None:
        """Note that a row was kept after a change."""
        self.corrections.append({"table": table, "primary_key": key, "correction": correction})


def unique(catalogue: Catalogue, table: str, model: Any) -> Iterator[tuple[Any, Row]]:
    """The usable rows of a table, each id once."""
    seen: set[str] = set()
    for item, row in checked(catalogue.source, table, model, catalogue.rejects):
        if item.id in seen:
            reject(catalogue.rejects, table, "the id is there already", row)
        else:
            seen.add(item.id)
            yield item, row
