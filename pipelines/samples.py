"""The sample inbox of `sheaf demo`: one small, realistic data set for every domain."""

from pathlib import Path

from sheaf.annotations import sample_project
from sheaf.fermentation import sample_campaign
from sheaf.matches import sample_match
from sheaf.occurrences import sample_season


def write_samples(inbox: Path) -> dict[str, list[str]]:
    """Write the samples below an inbox; returns the partitions by domain."""
    return {
        "fermentation": sample_campaign.write(inbox),
        "matches": sample_match.write(inbox),
        "occurrences": sample_season.write(inbox),
        "annotations": sample_project.write(inbox),
    }
