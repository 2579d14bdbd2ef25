"""The sample inbox of `sheaf demo`: one small, realistic data set for every domain."""

from pathlib import Path

from sheaf.annotations.sample import project
from sheaf.fermentation.sample import campaign
from sheaf.matches.sample import match
from sheaf.media.sample import pairs
from sheaf.occurrences.sample import season


def write_samples(inbox: Path) -> dict[str, list[str] | None]:
    """Write the samples below an inbox.

    Returns:
        The partitions by domain; None for all there are, since media batches get their names on arrival.
    """
    pairs.write(inbox)
    return {
        "fermentation": campaign.write(inbox),
        "matches": match.write(inbox),
        "media": None,
        "occurrences": season.write(inbox),
        "annotations": project.write(inbox),
    }
