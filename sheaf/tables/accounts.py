"""What became of the rows of a delivery: the account of a generation, and its lines for people.

Read wherever an export or a run is spoken of, so nothing heavy is imported here. Not here: how it is
gathered while a step works (`rejects`).
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel

REJECTS_FILE = "rejects"
"""The name of the table of what was not used, in every generation that has any."""
_MOST_CODES = 3
_DOUBTFUL = ("no_line_end",)
"""Faults that people should hear of without asking: whether the row is whole, nobody knows."""


class Kind(StrEnum):
    """What became of a row with which something was wrong."""

    REJECT = "reject"
    CHANGE = "change"
    FAULT = "fault"


class Reason(BaseModel):
    """How many rows of a table share one code; `reason` is the sentence of the first."""

    kind: Kind
    code: str
    reason: str
    rows: int


class Account(BaseModel):
    """What became of the rows that were delivered for one table.

    Attributes:
        seen: rows that came; `seen = used + rejected + left_out`.
        used: rows that were kept.
        rejected: rows that were not used because something is wrong with them.
        left_out: rows with which nothing is wrong but that are not wanted here, by why: another project's,
            repeated, not finished yet.
        reasons: rejects, changes and faults, most rows first.
    """

    table: str
    seen: int
    used: int
    rejected: int = 0
    left_out: dict[str, int] = {}
    reasons: list[Reason] = []

    @property
    def adds_up(self) -> bool:
        """Whether every row that came is accounted for."""
        return self.seen == self.used + self.rejected + sum(self.left_out.values())

    def rows(self, kind: Kind) -> int:
        """Rows of one kind."""
        return sum(reason.rows for reason in self.reasons if reason.kind is kind)


def rejected_lines(domain: str, partition: str, accounts: Sequence[Account]) -> list[str]:
    """One line on what was not used, such as `4 of 8 samples rejected: naive time (3), …`; none where all was.

    Another one on each table that may have been cut off.
    """
    parts = []
    for account in accounts:
        if not account.rejected:
            continue
        found = [reason for reason in account.reasons if reason.kind is Kind.REJECT]
        named = [f"{reason.code.replace('_', ' ')} ({reason.rows})" for reason in found[:_MOST_CODES]]
        more = ", …" if len(found) > _MOST_CODES else ""
        of = f" of {account.seen}" if account.seen else ""
        parts.append(f"{account.rejected}{of} {account.table} rejected: {', '.join(named)}{more}")
    lines = [f"{'; '.join(parts)}: sheaf rejects {domain} {partition}"] if parts else []
    for account in accounts:
        lines += [
            f"{account.table}: {reason.reason}: sheaf rejects {domain} {partition} --all"
            for reason in account.reasons
            if reason.kind is Kind.FAULT and reason.code in _DOUBTFUL
        ]
    return lines
