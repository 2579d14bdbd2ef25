"""The jobs: which assets run together. Their schedules and sensors are elsewhere."""

from typing import Any

import dagster as dg

from sheaf.exports.series import Domain


def exports_job_name(domain: str) -> str:
    """All exports of all partitions of a domain, from the tables as they are."""
    return f"{domain}_exports"


def campaign_job_name(domain: str) -> str:
    """The exports over all partitions of a domain."""
    return f"{domain}_campaign"


def domain_jobs(domain: Domain) -> list[Any]:
    """The jobs of a domain; the one named like it does everything for one partition.

    Dagster has no public name for the type of an asset job before it is resolved.
    """
    group = dg.AssetSelection.groups(domain.name)
    campaign = [dg.AssetKey([domain.name, series.name]) for series in domain.series if series.campaign]
    jobs = [
        dg.define_asset_job(
            domain.name,
            group - dg.AssetSelection.assets(*campaign),
            description=f"Reads one {domain.kind}, analyses it and publishes its exports.",
        ),
        dg.define_asset_job(
            exports_job_name(domain.name),
            group & dg.AssetSelection.tag("sheaf/step", "export"),
            description=f"Publishes all {domain.name} exports; what has not changed makes no new version.",
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
