"""Reproduce the acceptance checks of the matches domain from their logs and expected results.

Usage: python .ci/matches_checks.py SHARED_DIR

`SHARED_DIR/data/matches/checks/Cxx*` each hold `logs/` and `expected.json`. Only `produce` knows how
outputs are made; the comparisons read the published files.
"""

import csv
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sheaf.exports.publish import Request, publish
from sheaf.matches.analysis import build_runs
from sheaf.matches.ingest import ingest
from sheaf.matches.series import MATCHES
from sheaf.matches.settings import MatchesSettings
from sheaf.store import Store


@dataclass
class Outputs:
    """What was published for one check."""

    runs: list[dict[str, str]]
    events: list[dict[str, Any]]
    counts: dict[str, int]
    rejects: dict[str, int]


def produce(logs: Path, match: str, timezone: str | None, event_filter: str | None, work: Path) -> Outputs:
    """Publish the run table and the events of one folder of logs."""
    folder = work / "inbox" / "matches" / match
    shutil.copytree(logs, folder / "logs")
    store = Store.open(str(work / "store"))
    report = ingest(folder, store, match, MatchesSettings(timezone=timezone))
    build_runs(store, match)
    files = {}
    for series in MATCHES.series[:2]:
        wanted = {"events": event_filter} if event_filter and series.name == "events_ndjson" else {}
        published = publish(store, series, MATCHES.rejects, Request(match, filter=wanted))
        (file,) = published.manifest.files
        files[series.name] = store.get(f"{published.export.path}/{file.path}").decode()
        counts = dict(published.manifest.counts)
    return Outputs(
        runs=list(csv.DictReader(files["runs_csv"].splitlines())),
        events=[json.loads(line) for line in files["events_ndjson"].splitlines()],
        counts=counts | {"blank": int(report.counts["blank"])},
        rejects=dict(report.rejects),
    )


def faults(expected: dict[str, Any], found: Outputs) -> list[str]:
    """Where the outputs differ from what is expected."""
    runs, counts = found.runs, found.counts
    checks: list[tuple[str, object, object]] = []
    if "rows" in expected:
        for row, run in zip(expected["rows"], runs, strict=False):
            checks += [(name, str(value), run[name]) for name, value in row.items()]
        checks.append(("number of rows", len(expected["rows"]), len(runs)))
    columns = {
        "start_times": [run["start_time"] for run in runs],
        "shots": [int(run["shots_detected"]) for run in runs],
        "impacts": [int(run["impacts_detected"]) for run in runs],
        "rates": [float(run["correlation_success_rate"]) for run in runs],
        "correlated": [int(run["impacts_correlated"]) for run in runs],
        "uncorrelated_impacts": [int(run["uncorrelated_impacts"]) for run in runs],
    }
    columns["rate"] = columns["rates"]
    for name, values in columns.items():
        if name in expected:
            wanted = expected[name]
            checks.append((name, wanted if isinstance(wanted, list) else [wanted], values))
    events = found.events[1:]
    simple = {
        "runs": len(runs),
        "events_ok": counts["events"],
        "lines_rejected": found.rejects,
        "truncated_tail": counts["pending"],
        "blank_lines": counts["blank"],
        "lines": len(found.events),
        "first_line_type": found.events[0]["_type"],
        "status_event_utc": next((_short(e) for e in events if e["raw_data"].get("Type") == "Status"), None),
    }
    checks += [(name, expected[name], value) for name, value in simple.items() if name in expected]
    if "event_types" in expected:
        wanted = [name.split("(")[0] for name in expected["event_types"]]
        checks.append(("event_types", wanted, [event["event_type"] for event in events]))
        checks.append(("times", True, all(event["timestamp_iso"].endswith("Z") for event in events)))
    return [f"{name}: expected {wanted!r}, found {value!r}" for name, wanted, value in checks if wanted != value]


def _short(event: dict[str, Any]) -> str:
    """The time with milliseconds, as the checks write it."""
    return event["timestamp_iso"][:23] + "Z"


def main() -> int:
    """Run all checks; 1 when one fails."""
    cases = sorted((Path(sys.argv[1]) / "data" / "matches" / "checks").glob("C*"))
    failed = 0
    for case in cases:
        expected = json.loads((case / "expected.json").read_text())
        timezone = expected.get("config", {}).get("timezone")
        with tempfile.TemporaryDirectory() as work:
            found = faults(expected, produce(case / "logs", case.name, timezone, expected.get("filter"), Path(work)))
        failed += bool(found)
        print("ok    " if not found else "FAILED", case.name, *found, sep="\n       " if found else " ")
    print(f"{len(cases) - failed} of {len(cases)} checks reproduced")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
