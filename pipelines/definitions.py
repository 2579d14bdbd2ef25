"""The composition root: one configuration in, everything Dagster runs out.

Tests and the command line call `build_definitions` with a configuration of their own. Nothing
happens when this module is imported.
"""

import dagster as dg

from assets.annotations import annotations_assets
from assets.fermentation import fermentation_assets
from assets.matches import matches_assets
from assets.media import media_assets
from assets.occurrences import occurrences_assets
from assets.partitions import ANNOTATION_PROJECTS, FERMENTATION_BATCHES, MATCHES, MEDIA_BATCHES, OCCURRENCE_PROJECTS
from pipelines.jobs import domain_jobs
from pipelines.offload import offload_job, offload_schedule
from pipelines.schedules import nightly_exports
from resources.sources import configured_sources
from resources.store import StoreResource
from sensors.requests import requests_sensor
from sensors.sources import source_sensor
from sensors.webhook import webhook_sensors
from sheaf.domains import configured_domains
from sheaf.settings import Settings

PARTITIONS = {
    "fermentation": FERMENTATION_BATCHES,
    "matches": MATCHES,
    "media": MEDIA_BATCHES,
    "occurrences": OCCURRENCE_PROJECTS,
    "annotations": ANNOTATION_PROJECTS,
}
ASSETS = {
    "fermentation": fermentation_assets,
    "matches": matches_assets,
    "media": media_assets,
    "occurrences": occurrences_assets,
    "annotations": annotations_assets,
}


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything, from one validated configuration."""
    assets, jobs, sensors, schedules = [], [], [], []
    sources = configured_sources(settings)
    domains = configured_domains(settings)
    for domain in domains:
        partitions = PARTITIONS[domain.name]
        assets += ASSETS[domain.name](domain, settings)
        jobs += domain_jobs(domain)
        sensors += [
            source_sensor(domain.name, source, partitions, settings.quiet_seconds) for source in sources.of(domain.name)
        ]
        schedules.append(nightly_exports(domain, partitions, settings))
    return dg.Definitions(
        assets=assets,
        jobs=[*jobs, offload_job],
        sensors=[*sensors, requests_sensor(settings.inbox, domains), *webhook_sensors()],
        schedules=[*schedules, offload_schedule(settings)],
        resources={
            "sources": sources,
            "store": StoreResource(url=settings.store_url),
            "fermentation": settings.fermentation,
            "matches": settings.matches,
            "media": settings.media,
            "occurrences": settings.occurrences,
            "annotations": settings.annotations,
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads, configured by the environment and `sheaf.yaml`."""
    return build_definitions(Settings.load())
