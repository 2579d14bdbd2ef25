"""The rules of retention: what can be set, and which versions stay by it.

Not here: deleting the others (`sheaf/exports/retention.py`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sheaf.cron import check_cron


class Rules(BaseModel):
    """What stays of a series; each rule keeps for itself, and without any every version stays.

    Attributes:
        last: the newest versions, so many.
        weekly: the newest version of each of the last weeks that have one, so many.
        monthly: the newest version of each of the last months that have one, so many.
        days: versions younger than this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    last: int | None = Field(default=None, ge=1)
    weekly: int | None = Field(default=None, ge=1)
    monthly: int | None = Field(default=None, ge=1)
    days: float | None = Field(default=None, gt=0, le=36_500)

    @property
    def let_go(self) -> bool:
        """Whether there is a rule, so that what none keeps goes."""
        return any(rule is not None for rule in (self.last, self.weekly, self.monthly, self.days))


class RetentionSettings(Rules):
    """What stays when `sheaf prune` or its weekly run removes what is old; by default every export does.

    A version stays if any rule keeps it; canonical ones and those made on request are counted apart. What `latest`
    names, what is pinned, and the tables that a kept export was made from always stay.

    Attributes:
        last, weekly, monthly, days: the rules of all series that have none of their own.
        series: rules of single series in all partitions, by names such as `matches/match_archive`; `{}` keeps all.
        grace_days: exports and tables that were replaced no longer ago than this: somebody may be reading them.
        runs_days: Dagster's runs and ticks younger than this, and what they have printed; all, where nothing is set.
        schedule: cron expression of the weekly run, which does nothing until one of the rules is set.
    """

    series: dict[str, Rules] = {}
    grace_days: float = Field(default=1.0, ge=1, le=36_500)
    runs_days: float | None = Field(default=None, ge=1, le=36_500)
    schedule: str = "0 5 * * sun"

    def of(self, domain: str, series: str) -> Rules:
        """The rules of a series, of whatever partition."""
        return self.series.get(f"{domain}/{series}", self)

    @property
    def is_set(self) -> bool:
        """Whether any rule says that something goes."""
        return self.runs_days is not None or any(rules.let_go for rules in (self, *self.series.values()))

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        return check_cron(value)


def keep(versions: Sequence[tuple[int, datetime]], rules: Rules, grace_days: float, now: datetime) -> set[int]:
    """The versions that the rules keep.

    Args:
        versions: numbers with the time from which they could be read, newest first.
        rules: each of them keeps for itself; a week begins on Monday, UTC.
        grace_days: what was replaced no longer ago stays, too.
        now: the time it is.
    """
    grace = timedelta(days=grace_days)
    kept = {number for number, made in versions if now - made < max(grace, timedelta(days=rules.days or 0))}
    kept |= {older for (_, replaced), (older, _) in pairwise(versions) if now - replaced < grace}
    kept |= {number for number, _ in versions[: rules.last or 0]}
    for most, period in ((rules.weekly, "%G-%V"), (rules.monthly, "%Y-%m")):
        newest: dict[str, int] = {}
        for number, made in versions:
            newest.setdefault(f"{made:{period}}", number)
        kept |= set(list(newest.values())[: most or 0])
    return kept
