"""The composition root: one configuration in, everything Dagster runs out.

Tests and the command line call `build_definitions` with a configuration of their own. Nothing
happens when this module is imported.
"""

import dagster as dg

from assets.fermentation import fermentation_assets
from assets.partitions import FERMENTATION_BATCHES
from pipelines.jobs import domain_jobs
from pipelines.schedules import nightly_exports
from resources.inbox import InboxResource
from resources.store import StoreResource
from sensors.inbox import inbox_sensor
from sheaf.domains import DOMAINS
from sheaf.settings import Settings

PARTITIONS = {"fermentation": FERMENTATION_BATCHES}
ASSETS = {"fermentation": fermentation_assets}


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything, from one validated configuration."""
    assets, jobs, sensors, schedules = [], [], [], []
    for domain in DOMAINS.values():
        partitions = PARTITIONS[domain.name]
        assets += ASSETS[domain.name](settings)
        jobs += domain_jobs(domain)
        sensors.append(inbox_sensor(domain.name, partitions, settings.quiet_seconds))
        schedules.append(nightly_exports(domain, partitions, settings))
    return dg.Definitions(
        assets=assets,
        jobs=jobs,
        sensors=sensors,
        schedules=schedules,
        resources={
            "inbox": InboxResource(root=str(settings.inbox)),
            "store": StoreResource(url=settings.store_url),
            "fermentation": settings.fermentation,
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads, configured by the environment and `sheaf.yaml`."""
    return build_definitions(Settings.load())
