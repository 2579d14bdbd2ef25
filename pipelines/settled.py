"""Seeing that nothing is new, without Dagster: what would be made the same needs no run.

Here: what a partition's run would report if every step and export is as it should be. Not here: making
anything (`runs`).
"""

from pipelines.cli.results import Result, completed, nothing_to_publish, with_account
from resources.sources import configured_sources
from sheaf.coherence import pin
from sheaf.errors import SheafError
from sheaf.exports.publish import Request, unchanged
from sheaf.exports.records import Status
from sheaf.exports.series import Series
from sheaf.names import CAMPAIGN
from sheaf.running import unchanged as step_unchanged
from sheaf.settings import Settings
from sheaf.steps import Domain
from sheaf.store.store import Store


def settled(store: Store, domain: Domain, partition: str, settings: Settings) -> list[Result] | None:
    """What a run of one partition would report, if it would make nothing; None where it has to run."""
    own, sources = settings.of(domain.name), configured_sources(settings)
    series = [one for one in domain.series if not one.campaign]
    try:
        for step in domain.steps:
            made = step_unchanged(store, domain, step, partition, own, sources)
            if made is None:
                return None
            if (refused := made.generation.refused) is not None:
                return [_refused(store, domain, partition, one, refused) for one in series]
        wanted = [one for one in series if one.name in _offered(store, domain, partition, settings, series)]
        found = _unchanged(store, domain, partition, settings, wanted)
    except SheafError:
        return None  # the run tells it where it broke
    if found is None:
        return None
    return [with_account(store, domain, result) for result in found or [nothing_to_publish(domain, partition)]]


def settled_campaign(store: Store, domain: Domain, settings: Settings) -> list[Result] | None:
    """The same for the exports over all partitions of a domain."""
    try:
        return _unchanged(store, domain, CAMPAIGN, settings, [one for one in domain.series if one.campaign])
    except SheafError:
        return None


def _offered(store: Store, domain: Domain, partition: str, settings: Settings, series: list[Series]) -> list[str]:
    if domain.offered is None:
        return [one.name for one in series]
    tables = [table for one in series for table in one.tables]
    return list(domain.offered(pin(store, domain, partition, tables, settings.of(domain.name))))


def _unchanged(
    store: Store, domain: Domain, partition: str, settings: Settings, series: list[Series]
) -> list[Result] | None:
    results = []
    for one in series:
        same = unchanged(store, domain, one, Request(partition), settings.of(domain.name))
        if same is None:
            return None
        results.append(completed(store, same.export, unchanged=True))
    return results


def _refused(store: Store, domain: Domain, partition: str, series: Series, why: str) -> Result:
    result = Result(domain=domain.name, partition=partition, series=series.name, status=Status.FAILED, error=why)
    return with_account(store, domain, result)
