"""What a step did with one partition, in the form in which the run page and the CLI show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sheaf.tables import TableVersion


@dataclass(frozen=True)
class Report:
    """The outcome of one step for one partition.

    Attributes:
        tables: what was written.
        counts: named numbers people look for, such as `samples` or `sensor_gaps`.
        rejects: how many rows were not used, by reason.
        warnings: sentences an operator should read.
        preview: the first rows of the main table, ready to show.
        plots: PNG pictures under 50 kB by title.
    """

    tables: tuple[TableVersion, ...] = ()
    counts: Mapping[str, int | float] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    preview: tuple[Mapping[str, Any], ...] = ()
    plots: Mapping[str, bytes] = field(default_factory=dict)
