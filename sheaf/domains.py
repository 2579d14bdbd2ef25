"""The five domains, in the order in which people meet them."""

from sheaf.errors import UsageError
from sheaf.exports.series import Domain, Series
from sheaf.fermentation.series import FERMENTATION

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (FERMENTATION,)}


def domain_named(name: str) -> Domain:
    """Find a domain.

    Raises:
        UsageError: naming those there are.
    """
    if name not in DOMAINS:
        raise UsageError(f"There is no domain {name!r}: there are {', '.join(DOMAINS)}.")
    return DOMAINS[name]


def series_named(domain: Domain, name: str) -> Series:
    """Find a series of a domain.

    Raises:
        UsageError: naming those there are.
    """
    for series in domain.series:
        if series.name == name:
            return series
    raise UsageError(
        f"{domain.name} has no series {name!r}: there are {', '.join(series.name for series in domain.series)}."
    )
