"""The sample inbox of `sheaf demo`: one small, realistic data set for every domain."""

from pathlib import Path

from sheaf.fermentation import sample_campaign


def write_samples(inbox: Path) -> dict[str, list[str]]:
    """Write the samples below an inbox; returns the partitions by domain."""
    return {"fermentation": sample_campaign.write(inbox)}
