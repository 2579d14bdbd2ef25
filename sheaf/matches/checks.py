"""What is checked of a match before its tables are committed. Not here: where it is asked for (`domain`)."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from typing import Any

from sheaf.matches import schema
from sheaf.report import Report
from sheaf.running import not_checked
from sheaf.tables.generations import Verdict
from sheaf.tables.pinned import Tables

MOST_UNCORRELATED = 0.5
"""Share of shots without an impact from which somebody should look at the sensors."""

_MOST_NAMED = 5


def is_closed(tables: Tables, _report: Report, _settings: Any) -> Verdict:
    """No log ends in the middle of a line."""
    sources = tables.read(schema.SOURCES, ["file", "pending"]).to_pylist()
    open_ = [source["file"] for source in sources if source["pending"]]
    if not sources:
        return not_checked("no file was read.")
    if open_:
        return Verdict(passed=False, detail=f"{len(open_)} last lines are not finished yet: {_listed(open_)}")
    return Verdict(passed=True, detail=f"{len(sources)} files end as they should")


def summaries_agree(tables: Tables, _report: Report, _settings: Any) -> Verdict:
    """Timers and their summaries agree with the shots that were seen."""
    import pyarrow.compute as pc

    runs = tables.read(schema.RUNS, ["run_id", "status", "flags"])
    alone = pc.match_substring(runs["flags"], "no_summary")
    summed_up = runs.filter(pc.and_not(pc.equal(runs["status"], "completed"), alone))
    wrong = runs.filter(pc.match_substring(runs["flags"], "count_mismatch"))["run_id"]
    if len(wrong):
        detail = (
            f"{len(wrong)} of {runs.num_rows} runs differ from their timer or summary: {_listed(wrong.to_pylist())}"
        )
        return Verdict(passed=False, detail=detail)
    if not summed_up.num_rows:
        return not_checked(f"none of {runs.num_rows} runs has a summary.")
    return Verdict(
        passed=True, detail=f"{summed_up.num_rows} of {runs.num_rows} runs have a summary, and agree with it"
    )


def shots_have_impacts(tables: Tables, _report: Report, _settings: Any) -> Verdict:
    """Most shots have an impact."""
    total = tables.row(schema.TOTALS, ["shots", "impacts", "correlated", "orphan_impacts"])
    shots, missed = total["shots"], total["shots"] - total["correlated"]
    if not shots:
        return not_checked("there are no shots.")
    detail = f"{missed} of {shots} shots without an impact ({missed / shots:.0%})"
    if not total["impacts"] and total["orphan_impacts"]:
        detail += f": none of {total['orphan_impacts']} impacts lies in a run"
    elif not total["impacts"]:
        detail += ": no sensor reported any"
    return Verdict(passed=missed / shots <= MOST_UNCORRELATED, detail=detail)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
