"""What a step says about one partition, in the form in which the run page and the CLI show it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a step says of one partition.

    Attributes:
        counts: named numbers people look for, such as `samples` or `sensor_gaps`.
        warnings: sentences an operator should read.
        preview: the first rows of the main table, ready to show.
        plots: draws PNG pictures under 50 kB by title, when somebody looks at them.
    """

    counts: Mapping[str, int | float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    preview: tuple[Mapping[str, Any], ...] = ()
    plots: Callable[[], Mapping[str, bytes]] = dict
