"""The five domains, in the order in which people meet them.

A domain is imported when it is asked for, not when it is named: what its steps need takes longer to load than
most commands take.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from sheaf.errors import UsageError
from sheaf.names import did_you_mean

if TYPE_CHECKING:
    from sheaf.steps import Domain

_WHERE = {
    "fermentation": "FERMENTATION",
    "matches": "MATCHES",
    "media": "MEDIA",
    "occurrences": "OCCURRENCES",
    "annotations": "ANNOTATIONS",
}
"""What each is called in its `domain.py`."""


class _Domains(Mapping[str, "Domain"]):
    """Domains by name."""

    def __getitem__(self, name: str) -> "Domain":
        declaration = _WHERE[name]
        return getattr(import_module(f"sheaf.{name}.domain"), declaration)

    def __iter__(self) -> Iterator[str]:
        return iter(_WHERE)

    def __len__(self) -> int:
        return len(_WHERE)


DOMAINS: Mapping[str, "Domain"] = _Domains()


def domain_named(name: str) -> "Domain":
    """Find a domain.

    Raises:
        UsageError: naming those there are.
    """
    if name not in _WHERE:
        raise UsageError(f"There is no domain {name!r}: there are {', '.join(DOMAINS)}.{did_you_mean(name, DOMAINS)}")
    return DOMAINS[name]
