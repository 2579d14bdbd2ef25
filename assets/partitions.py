"""The partitions: one dynamic definition per domain.

They live beside the assets, because assets and sensors both need them and imports point one way.
Keys are added by the sensors and by the command line, after `sheaf.names` has checked them.
"""

import dagster as dg

from sheaf.steps import Domain


def partitions_name(domain: Domain) -> str:
    """What the partitions of a domain are called in Dagster."""
    return f"{domain.name}_{domain.kind}"


def partitions_of(domain: Domain) -> dg.DynamicPartitionsDefinition:
    """The partitions of a domain."""
    return dg.DynamicPartitionsDefinition(name=partitions_name(domain))
