"""The small tables of a project while they are read, and what annotations need to find their place.

Not here: reading them (`labels`, `images`), nor boxes and masks (`objects`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sheaf.annotations.findings import REPEATED_KEY, Finding
from sheaf.annotations.readers.fields import KeypointsRow, Row, Source, checked, reject
from sheaf.annotations.readers.geometry import Frame
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.tables.rejects import Rejects


@dataclass(frozen=True, slots=True)
class Place:
    """What a source's image id stands for: an image, in a job or in none, and how coordinates there are given.

    `orientation` is the file's by EXIF; `shown` says that `frame` is the picture as EXIF shows it.
    """

    image_id: str
    job_id: str | None
    frame: Frame
    orientation: int = 1
    shown: bool = False


@dataclass
class Catalogue:
    """The small tables of a project, and what its annotations need to find their place.

    Attributes:
        rows: rows of our tables by table name.
        places: by the image id that annotations use.
        order: rank of an image by its path.
        shared: images that are in several jobs.
        labels: by the label id that annotations use; several may mean one label.
        files: image files by digest.
        ambiguous: image ids that several images claim.
        points: names of the keypoints that objects of a label have, with their places, by the source's label id.
        keypoints: rows of keypoints that become boxes.
    """

    source: Source
    settings: AnnotationsSettings
    rejects: Rejects
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    ambiguous: set[str] = field(default_factory=set)
    points: dict[str, dict[str, int]] = field(default_factory=dict)
    keypoints: list[tuple[KeypointsRow, Row]] = field(default_factory=list)

    def seen(self, table: str) -> int:
        """How many rows were delivered for a table so far."""
        return next((account.seen for account in self.rejects.accounts({}) if account.table == table), 0)

    def used(self, table: str, rows: int) -> None:
        """So many of the rows delivered for a table are used, where that is not the number of rows it gets."""
        if self.seen(table):
            self.rejects.used(table, rows)

    def correct(self, table: str, key: str, correction: Finding, row: Row) -> None:
        """Note that a row was kept after a change."""
        origin: dict[str, Any] = {"file": row.file, "line": row.line, "primary_key": key}
        self.rejects.change(table, correction.code, correction.sentence, **origin)


def unique(catalogue: Catalogue, table: str, model: Any) -> Iterator[tuple[Any, Row]]:
    """The usable rows of a table, each id once."""
    seen: set[str] = set()
    for item, row in checked(catalogue.source, table, model, catalogue.rejects):
        if item.id in seen:
            reject(catalogue.rejects, table, REPEATED_KEY, row)
        else:
            seen.add(item.id)
            yield item, row
