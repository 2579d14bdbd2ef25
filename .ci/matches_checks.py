"""Reproduce the acceptance checks of the matches domain from their logs and expected results.

Usage: python .ci/matches_checks.py SHARED_DIR

`SHARED_DIR/data/matches/checks/Cxx*` each hold `logs/` and `expected.json`; every check is a match, and one
`sheaf run` publishes them all. Only `place` and `outputs` know how that is done; the comparisons read the
published files.
"""

import csv
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from command import Home


@dataclass
class Outputs:
    """What was published for one check, and the account of its events."""

    runs: list[dict[str, str]]
    events: list[dict[str, Any]]
    account: dict[str, Any]


def place(home: Home, case: Path, expected: dict[str, Any]) -> None:
    """Put the logs of a check into the inbox, with its configuration as `match.yaml`."""
    folder = home.inbox / "matches" / case.name
    shutil.copytree(case / "logs", folder / "logs")
    if config := expected.get("config"):
        (folder / "match.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def outputs(home: Home, match: str, results: list[dict[str, Any]], event_filter: str | None) -> Outputs:
    """The run table, the events (filtered if the check says so) and their account of one match."""
    series = {result["series"]: result for result in results if result["partition"] == match}
    if event_filter:
        (series["events_ndjson"],) = home.sheaf(
            *("export", "matches", match, "events_ndjson", "--filter", f"events={event_filter}")
        )
    (runs,) = home.files(series["runs_csv"]).values()
    (events,) = home.files(series["events_ndjson"]).values()
    accounts = home.sheaf("why", "matches", match)["steps"]["events"]["account"]
    return Outputs(
        runs=list(csv.DictReader(runs.read_text("utf-8").splitlines())),
        events=[json.loads(line) for line in events.read_text("utf-8").splitlines()],
        account=next(account for account in accounts if account["table"] == "events"),
    )


def faults(expected: dict[str, Any], found: Outputs) -> list[str]:
    """Where the outputs differ from what is expected."""
    runs, account = found.runs, found.account
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
        "events_ok": account["used"],
        "lines_rejected": {one["code"]: one["rows"] for one in account["reasons"] if one["kind"] == "reject"},
        "truncated_tail": account["left_out"].get("pending", 0),
        "blank_lines": account["left_out"].get("blank", 0),
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
    expected = {case.name: json.loads((case / "expected.json").read_text("utf-8")) for case in cases}
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        home = Home(Path(temporary))
        for case in cases:
            place(home, case, expected[case.name])
        results = home.sheaf("run", "matches")
        for name, wanted in expected.items():
            found = faults(wanted, outputs(home, name, results, wanted.get("filter")))
            failed += bool(found)
            print("ok    " if not found else "FAILED", name, *found, sep="\n       " if found else " ")
    print(f"{len(cases) - failed} of {len(cases)} checks reproduced")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
