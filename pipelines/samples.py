"""The sample inbox of `sheaf demo`: one small, realistic data set for every domain."""

from pathlib import Path

from sheaf.annotations import sample_project
from sheaf.fermentation import sample_campaign
from sheaf.matches import sample_match
from sheaf.media import sample_pairs
from sheaf.occurrences import sample_season


def write_samples(inbox: Path) -> dict[str, list[str] | None]:
    """Write the samples below an inbox.

    Returns:
        The partitions by domain; None for all there are, since media batches get their names on arrival.
    """
    sample_pairs.write(inbox)
    return {
        "fermentation": sample_campaign.write(inbox),
        "matches": sample_match.write(inbox),
        "media": None,
        "occurrences": sample_season.write(inbox),
        "annotations": sample_project.write(inbox),
    }
