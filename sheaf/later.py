"""Functions that are imported when they are first called.

A domain's declaration names what does the work; what the work needs takes longer to load than most commands take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class _Later:
    where: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return resolve_name(self.where)(*args, **kwargs)


def later(where: str) -> Callable[..., Any]:
    """A function by its place, such as `sheaf.media.writers.results_csv:write_results_csv`, found when it is called."""
    return _Later(where)
