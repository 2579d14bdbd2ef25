"""What an export may be asked for: the filter of all series, the options of the archive.

Here: the models, the check against the data, and the filter as a SQL condition on occurrences.
Not here: who may ask (`roles`).
"""

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from sheaf.errors import UsageError
from sheaf.exports.options import Options
from sheaf.licences import GBIF_LICENCES
from sheaf.occurrences import schema
from sheaf.tables.pinned import Tables


class OccurrenceFilter(Options):
    """Which occurrences are wanted; all conditions must hold.

    Attributes:
        collection_id: seen on an image of this capture set.
        apply_default_filters: as the project shows them: its score threshold and its taxa.
        taxon_id: held to be this taxon or a descendant of it.
        date_from: first seen on this day or later, by the station's clock; where no detection has a
            time, the start of the session counts.
        date_to: first seen on this day or earlier.
        verified: whether somebody identified it.
        min_score: lowest score of the determination, 0 to 1.
        deployment_id: seen at this station.
    """

    collection_id: int | None = None
    apply_default_filters: bool = False
    taxon_id: int | None = None
    date_from: date | None = None
    date_to: date | None = None
    verified: bool | None = None
    min_score: float | None = Field(default=None, ge=0, le=1)
    deployment_id: int | None = None

    @model_validator(mode="after")
    def _check_dates(self) -> Self:
        if self.date_from and self.date_to and self.date_from > self.date_to:
            raise ValueError(f"date_from {self.date_from} lies after date_to {self.date_to}")
        return self


class Profile(StrEnum):
    """The two shapes of the archive."""

    SPEC = "spec"
    GBIF = "gbif"


class ArchiveOptions(Options):
    """Options of the Darwin Core Archive.

    Attributes:
        profile: `spec`: events and occurrences. `gbif`: as GBIF wants it, with effort, media and
            measurements, without names that are no taxa.
    """

    profile: Profile = Profile.SPEC


def check_filter(tables: Tables, filter_: OccurrenceFilter, options: Options) -> None:
    """Refuse what only the data can tell, before a version is allocated.

    Raises:
        UsageError: the collection, station or taxon is not one of this project, or GBIF's profile is
            asked for data without one of its licences.
    """
    for key, table in (
        ("collection_id", schema.COLLECTIONS),
        ("deployment_id", schema.DEPLOYMENTS),
        ("taxon_id", schema.TAXA),
    ):
        wanted = getattr(filter_, key)
        if wanted is not None and wanted not in tables.read(table, ["id"])["id"].to_pylist():
            raise UsageError(
                f"Filter {key}={wanted} cannot be used: {tables.partition} has no such {table.name.rstrip('s')}; "
                "it does not exist or does not belong to this project."
            )
    if isinstance(options, ArchiveOptions) and options.profile is Profile.GBIF:
        licence = tables.read(schema.DATASET, ["licence"])["licence"][0].as_py()
        if licence not in GBIF_LICENCES:
            raise UsageError(
                f"GBIF takes data only under {', '.join(GBIF_LICENCES)}, and {tables.partition} has "
                f"{licence or 'none'!r}: set the project's licence, or `licence` in the settings, with its version."
            )


def condition(filter_: OccurrenceFilter) -> str:
    """The filter as SQL on the table `occurrences`; values are numbers and dates that the model has checked."""
    wanted = ["true"]
    if filter_.collection_id is not None:
        wanted.append(
            f"position IN (SELECT position FROM collection_occurrences WHERE collection_id = {filter_.collection_id})"
        )
    if filter_.apply_default_filters:
        wanted.append("shown_by_default AND determination_score >= (SELECT score_threshold FROM dataset)")
    if filter_.taxon_id is not None:
        wanted.append(
            "determination_id IN (SELECT id FROM taxa "
            f"WHERE id = {filter_.taxon_id} OR list_contains(ancestors, {filter_.taxon_id}))"
        )
    seen_on = "coalesce(first_appearance, event_start)::DATE"
    if filter_.date_from is not None:
        wanted.append(f"{seen_on} >= '{filter_.date_from}'::DATE")
    if filter_.date_to is not None:
        wanted.append(f"{seen_on} <= '{filter_.date_to}'::DATE")
    if filter_.verified is not None:
        wanted.append("verified" if filter_.verified else "NOT verified")
    if filter_.min_score is not None:
        wanted.append(f"determination_score >= {filter_.min_score}")
    if filter_.deployment_id is not None:
        wanted.append(f"deployment_id = {filter_.deployment_id}")
    return " AND ".join(wanted)


def sampled(filter_: OccurrenceFilter) -> str:
    """Which events `e` were sampled, whether or not anything was found, as SQL.

    A filter by what was found says nothing about the sessions without it; one by station or time does.
    """
    found = ("collection_id", "taxon_id", "verified", "min_score")
    if filter_.apply_default_filters or any(getattr(filter_, name) is not None for name in found):
        return "false"
    wanted = ["true"]
    if filter_.date_from is not None:
        wanted.append(f"e.start::DATE >= '{filter_.date_from}'::DATE")
    if filter_.date_to is not None:
        wanted.append(f"e.start::DATE <= '{filter_.date_to}'::DATE")
    if filter_.deployment_id is not None:
        wanted.append(f"e.deployment_id = {filter_.deployment_id}")
    return "(" + " AND ".join(wanted) + ")"
