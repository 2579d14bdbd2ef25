"""The jobs: which assets run together. Their schedules and sensors are elsewhere."""

from dataclasses import dataclass

import dagster as dg

from sheaf.exports.series import Domain


@dataclass(frozen=True)
class DomainJobs:
    """The jobs of one domain.

    Attributes:
        partition: everything of one partition, from its records to its exports.
        exports: all exports of all partitions, from the tables as they are.
        campaign: the exports over all partitions; None where a domain has none.
    """

    partition: dg.UnresolvedAssetJobDefinition
    exports: dg.UnresolvedAssetJobDefinition
    campaign: dg.UnresolvedAssetJobDefinition | None


def domain_jobs(domain: Domain) -> DomainJobs:
    """Build the jobs of a domain."""
    group = dg.AssetSelection.groups(domain.name)
    exports = group & dg.AssetSelection.tag("sheaf/step", "export")
    over_all = [dg.AssetKey([domain.name, series.name]) for series in domain.series if series.campaign]
    campaign = dg.AssetSelection.assets(*over_all)
    return DomainJobs(
        partition=dg.define_asset_job(
            domain.name,
            group - campaign,
            description=f"Reads one {domain.kind}, analyses it and publishes its exports.",
        ),
        exports=dg.define_asset_job(
            f"{domain.name}_exports",
            exports,
            description=f"Publishes all {domain.name} exports; what has not changed makes no new version.",
        ),
        campaign=dg.define_asset_job(
            f"{domain.name}_campaign", campaign, description=f"Publishes the exports over every {domain.kind}."
        )
        if over_all
        else None,
    )
