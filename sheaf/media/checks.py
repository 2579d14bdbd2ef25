"""What is checked of the results of a batch before they are committed."""

from typing import Any

from sheaf.media import schema
from sheaf.media.result import Status
from sheaf.report import Report
from sheaf.tables.generations import Verdict
from sheaf.tables.pinned import Tables

MOST_FAILED = 0.1
MOST_UNMATCHED = 0.5
LEAST_CONFIDENCE = 0.8


def few_failed(tables: Tables, report: Report, settings: Any) -> Verdict:
    """At most one pair in ten failed."""
    return _at_most(MOST_FAILED, _statuses(tables), Status.FAILED, "failed")


def few_unmatched(tables: Tables, report: Report, settings: Any) -> Verdict:
    """At most half of the pairs are without a match."""
    return _at_most(MOST_UNMATCHED, _statuses(tables), Status.NO_MATCH, "have no match")


def sure(tables: Tables, report: Report, settings: Any) -> Verdict:
    """The offsets that were found are sure on average."""
    rows = tables.read(schema.RESULTS, ["status", "confidence"]).to_pylist()
    found = [row["confidence"] for row in rows if row["status"] == Status.COMPLETED]
    if not found:
        return Verdict(passed=False, detail=f"Not checked: none of {len(rows)} pairs has an offset.")
    mean = sum(found) / len(found)
    return Verdict(
        passed=mean >= LEAST_CONFIDENCE,
        detail=f"average confidence {mean:.3f} of {len(found)} offsets, lowest {min(found):.3f}",
    )


def _statuses(tables: Tables) -> list[str]:
    return tables.read(schema.RESULTS, ["status"])["status"].to_pylist()


def _at_most(limit: float, statuses: list[str], status: Status, what: str) -> Verdict:
    if not statuses:
        return Verdict(passed=False, detail="Not checked: there is no pair.")
    found = statuses.count(status)
    share = found / len(statuses)
    return Verdict(passed=share <= limit, detail=f"{found} of {len(statuses)} pairs {what} ({share:.0%})")
