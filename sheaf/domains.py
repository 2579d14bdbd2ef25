"""The five domains, in the order in which people meet them."""

from sheaf.annotations.series import ANNOTATIONS
from sheaf.errors import UsageError
from sheaf.exports.series import Domain, Series
from sheaf.fermentation.series import FERMENTATION
from sheaf.matches.series import MATCHES
from sheaf.media.series import MEDIA
from sheaf.occurrences.series import OCCURRENCES, occurrences_domain
from sheaf.settings import Settings

DOMAINS: dict[str, Domain] = {
    domain.name: domain for domain in (FERMENTATION, MATCHES, MEDIA, OCCURRENCES, ANNOTATIONS)
}


def configured_domains(settings: Settings) -> list[Domain]:
    """The domains as an installation has configured them."""
    own = {"occurrences": occurrences_domain(settings.occurrences)}
    return [own.get(name, domain) for name, domain in DOMAINS.items()]


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
