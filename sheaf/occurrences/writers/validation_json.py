"""The series `validation_json`: what GBIF will say of the archive of the same version of the tables.

One JSON object: what was looked at, and the issues by GBIF's names, each with how many records have it and up to five
of them. Not here: the rules (`gbif_issues`), the archive (`dwca`), which counts the same issues in its manifest.
"""

from pathlib import Path

import orjson

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.occurrences import schema
from sheaf.occurrences.writers.dwca import leave_out
from sheaf.occurrences.writers.gbif_issues import count_issues, examples
from sheaf.occurrences.writers.selection import remarks, select

_ABOUT = (
    "Issues as far as they are known without a network. Matching names with GBIF's backbone, and countries with their "
    "borders, is GBIF's."
)


def write_validation(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.json`."""
    with select(draft, [schema.EVENTS, schema.DEPLOYMENTS]) as chosen:
        warnings = leave_out(chosen)
        counts = count_issues(chosen, draft.now.date())
        some = examples(chosen, draft.now.date(), counts)
        ((occurrences, events),) = chosen.rows("SELECT (SELECT count(*) FROM shown), (SELECT count(*) FROM sampled)")
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.json"
    report = {
        "about": _ABOUT,
        "occurrences": occurrences,
        "events": events,
        "issues": [{"issue": name, "count": count, "examples": some[name]} for name, count in counts.items()],
        "left_out": warnings,
    }
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    return Written(occurrences, {}, {"issues": counts}, (*warnings, *remarks(draft)))


def verify_validation(folder: Path, written: Written) -> None:
    """Parse the file: counts as they were reported, each with an example.

    Raises:
        VerificationError: saying what is wrong.
    """
    (path,) = folder.glob("*.json")
    try:
        report = orjson.loads(path.read_bytes())
        found = {one["issue"]: one["count"] for one in report["issues"] if one["examples"]}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise VerificationError(f"{path.name} is no report: {error}.") from error
    if found != written.counts["issues"] or report["occurrences"] != written.record_count:
        raise VerificationError(f"{path.name} does not hold the issues that were counted.")
