"""The composition root: one configuration in, everything Dagster runs out.

Tests and the command line call `build_definitions` with a configuration of their own. Nothing
happens when this module is imported.
"""

from collections.abc import Iterable

import dagster as dg

from assets.exports import export_assets
from assets.steps import step_assets
from pipelines.jobs import domain_jobs
from pipelines.offload import offload_job, offload_schedule
from pipelines.retention import retention_job, retention_schedule
from pipelines.schedules import nightly
from resources.sources import configured_sources
from resources.store import StoreResource
from sensors.requests import requests_sensor
from sensors.sources import source_sensor
from sensors.webhook import telling_sensor, webhook_sensors
from sheaf import memory
from sheaf.domains import DOMAINS
from sheaf.settings import Settings
from sheaf.steps import Domain


def build_definitions(settings: Settings, domains: Iterable[Domain] = tuple(DOMAINS.values())) -> dg.Definitions:
    """Everything, from one validated configuration."""
    memory.share()  # before there are threads
    memory.lean_arrow()
    assets, jobs, sensors, schedules = [], [], [], []
    sources = configured_sources(settings)
    domains = list(domains)
    for domain in domains:
        assets += [*step_assets(domain, settings), *export_assets(domain)]
        jobs += domain_jobs(domain)
        sensors += [source_sensor(domain, source, settings.quiet_seconds) for source in sources.of(domain.name)]
        schedules.append(nightly(domain, settings))
    return dg.Definitions(
        assets=assets,
        jobs=[*jobs, offload_job, retention_job],
        sensors=[
            *sensors,
            requests_sensor(settings.inbox, domains),
            *webhook_sensors(),
            *([telling_sensor()] if settings.webhooks or settings.mail else []),
        ],
        schedules=[*schedules, offload_schedule(settings), retention_schedule(settings)],
        resources={"sources": sources, "store": StoreResource(url=settings.store_url), "settings": settings},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads, configured by the environment and `sheaf.yaml`."""
    return build_definitions(Settings.load())
