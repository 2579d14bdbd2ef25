"""The jobs: which assets run together. Their schedules and sensors are elsewhere."""

from typing import Any

import dagster as dg

from assets.exports import export_key
from sheaf.steps import Domain

TRIED_AGAIN_WHOLE = {"dagster/retry_strategy": "ALL_STEPS"}
"""A run that is tried again looks at its delivery again, which may have changed; what would be the same is left."""


def nightly_job_name(domain: str) -> str:
    """All steps and exports of a domain."""
    return f"{domain}_nightly"


def campaign_job_name(domain: str) -> str:
    """The exports over all partitions of a domain."""
    return f"{domain}_campaign"


def domain_jobs(domain: Domain) -> list[Any]:
    """The jobs of a domain; the one named like it does everything for one partition.

    Dagster has no public name for the type of an asset job before it is resolved.
    """
    group = dg.AssetSelection.groups(domain.name)
    campaign = [export_key(domain, series) for series in domain.series if series.campaign]
    jobs = [
        dg.define_asset_job(
            domain.name,
            group - dg.AssetSelection.assets(*campaign),
            description=f"Reads one {domain.kind}, analyses it and publishes its exports.",
            tags=TRIED_AGAIN_WHOLE,
        ),
        dg.define_asset_job(
            nightly_job_name(domain.name),
            group,
            description=f"Reads, analyses and publishes every {domain.kind}; what would be made the same is left.",
            tags=TRIED_AGAIN_WHOLE,
        ),
    ]
    if campaign:
        jobs.append(
            dg.define_asset_job(
                campaign_job_name(domain.name),
                dg.AssetSelection.assets(*campaign),
                description=f"Publishes the exports over every {domain.kind}.",
            )
        )
    return jobs
