"""Publish light-trap projects and hand every archive to tools that know nothing of Sheaf.

Usage: python .ci/occurrences_checks.py SHARED_DIR

SHARED_DIR holds `tools/check_dwca.py` with its `schemas/` and `data/occurrences/antenna/occurrences.json`.
Checked are the sample season and real detections of a trap in Vermont: every archive of both profiles, with and
without filters, passes the checker, the XML schemas and python-dwca-reader; GBIF has registered every term for
its row type; two homes give the same bytes; and the number of records is the same in file, manifest and format.
Exits with 1 and what is wrong.
"""

import csv
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, product
from pathlib import Path
from typing import Any

from command import Home
from lxml import etree

from sheaf.occurrences.sample import season

ENVIRONMENT = {"SOURCE_DATE_EPOCH": "1767225600"}
PARTITIONS = ("p1", "p2", "p3")
FILTERED = ("p1", "p3")
FILTERS = ("verified=true", "min_score=0.8", "date_to=1990-01-01")
SERIES = (("occurrences_simple_csv", ""), ("occurrences_api_json", ""), ("dwca", ""), ("dwca", "profile=gbif"))
REGISTERED = {
    "event.txt": "dwc_event_2025-07-10.xml",
    "occurrence.txt": "dwc_occurrence_2025-07-10.xml",
    "humboldt.txt": "humboldt_2025-07-10.xml",
    "multimedia.txt": "multimedia.xml",
}
# Keys of the core and of the occurrences, which GBIF allows in every extension.
KEYS = {"http://rs.tdwg.org/dwc/terms/eventID", "http://rs.tdwg.org/dwc/terms/occurrenceID"}


@dataclass(frozen=True)
class Made:
    """One export that was published."""

    partition: str
    series: str
    option: str
    filter: str
    path: Path
    record_count: int
    rows: int | None
    sha256: str
    left_out: int  # what its warnings say is not in an archive: people, names that are no taxa, no session

    def __str__(self) -> str:
        return " ".join(filter(None, (self.partition, self.series, self.option, self.filter)))


def main(shared: Path) -> int:
    """Publish everything, and part of it twice; check it, and print what is wrong."""
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        home, again = (Home(Path(folder) / name, ENVIRONMENT) for name in ("first", "second"))
        for each in (home, again):
            write_inbox(each.inbox, shared)
        whole = whole_exports(home)
        for one, other in zip(whole, whole_exports(again), strict=True):
            if one.sha256 != other.sha256:
                faults.append(f"{one}: two homes differ")
        exports = whole + filtered_exports(home)
        for made in exports:
            faults += check(made, shared)
        faults += check_counts(exports)
    print(f"{len(exports)} exports, {len(faults)} faults")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def write_inbox(inbox: Path, shared: Path) -> None:
    """The sample season, and the real detections as project 3."""
    season.write(inbox)
    vermont = json.loads((shared / "data/occurrences/antenna/occurrences.json").read_bytes())
    folder = inbox / "occurrences" / "p3"
    folder.mkdir()
    for table, rows in as_tables(vermont).items():
        (folder / f"{table}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def as_tables(occurrences: list[dict]) -> dict[str, list[dict]]:
    """Antenna's older export as tables; times are those in the names of the images, which are wall times."""
    names = sorted({found["label"] for found in occurrences})
    taxa = {name: number for number, name in enumerate(names, 1)}
    tables: dict[str, dict] = {
        "main_project": {3: {"id": 3, "name": "Vermont Snapshots", "license": "CC0"}},
        "main_deployment": {1: {"id": 1, "name": occurrences[0]["deployment"], "latitude": 44.3, "longitude": -72.9}},
        "main_taxon": {
            number: {"id": number, "name": name, "rank": "SPECIES" if " " in name else "UNKNOWN", "parents_json": []}
            for name, number in taxa.items()
        },
        "ml_algorithm": {1: {"id": 1, "name": "Classifier", "key": "classifier"}},
        "main_event": {},
        "main_sourceimage": {},
        "main_occurrence": {},
        "main_detection": {},
        "main_classification": {},
    }
    for number, found in enumerate(occurrences, 1):
        event = found["event"]["id"]
        tables["main_occurrence"][number] = {
            "id": number,
            "event_id": event,
            "deployment_id": 1,
            "determination_id": taxa[found["label"]],
            "determination_score": found["best_score"],
            "project_id": 3,
        }
        for seen in found["examples"]:
            stamp = Path(seen["source_image_path"]).name.split("-")[0]
            time = datetime.strptime(stamp, "%Y%m%d%H%M%S").isoformat()
            tables["main_sourceimage"][seen["source_image_id"]] = {
                "id": seen["source_image_id"],
                "path": seen["source_image_path"],
                "timestamp": time,
            }
            row = tables["main_event"].setdefault(
                event, {"id": event, "deployment_id": 1, "project_id": 3, "start": time, "end": time}
            )
            row |= {"start": min(row["start"], time), "end": max(row["end"], time)}
            tables["main_detection"][seen["id"]] = {
                "id": seen["id"],
                "occurrence_id": number,
                "source_image_id": seen["source_image_id"],
                "bbox": seen["bbox"],
                "path": seen["cropped_image_path"],
                "timestamp": time,
            }
            tables["main_classification"][seen["id"]] = {
                "id": seen["id"],
                "detection_id": seen["id"],
                "taxon_id": taxa.get(seen["label"]),
                "algorithm_id": 1,
                "score": seen["score"],
            }
    return {name: [rows[key] for key in sorted(rows)] for name, rows in tables.items()}


def whole_exports(home: Home) -> list[Made]:
    """All projects in every series that is checked, in the order in which they were published."""
    checked = {name for name, _ in SERIES}
    found = [as_made(home, one, "", "") for one in home.sheaf("run", "occurrences") if one["series"] in checked]
    return found + [export(home, partition, "dwca", "profile=gbif", "") for partition in PARTITIONS]


def filtered_exports(home: Home) -> list[Made]:
    """Every series with every filter."""
    return [export(home, key, *series, filter_) for key, series, filter_ in product(FILTERED, SERIES, FILTERS)]


def export(home: Home, partition: str, series: str, option: str, filter_: str) -> Made:
    """One export with an option and a filter, if any."""
    pairs = (*(("--option", option) if option else ()), *(("--filter", filter_) if filter_ else ()))
    (result,) = home.sheaf("export", "occurrences", partition, series, *pairs)
    return as_made(home, result, option, filter_)


def as_made(home: Home, result: dict[str, Any], option: str, filter_: str) -> Made:
    """An export as the command reports it; each is one file."""
    (file,), (path,) = result["files"], home.files(result).values()
    said = (re.match(r"(\d+) occurrences are not in the archive", warning) for warning in result["warnings"])
    left_out = sum(int(found[1]) for found in said if found)
    return Made(
        *(result["partition"], result["series"], option, filter_, path),
        *(result["record_count"], file["rows"], file["sha256"], left_out),
    )


def check(made: Made, shared: Path) -> list[str]:
    """What is wrong with one export."""
    if made.series == "occurrences_simple_csv":
        with made.path.open(encoding="utf-8", newline="") as file:
            found = sum(1 for _ in csv.DictReader(file))
    elif made.series == "occurrences_api_json":
        found = len(json.loads(made.path.read_bytes()))
    else:
        return check_archive(made, shared)
    return [] if found == made.record_count == made.rows else [f"{made}: {found} records, {made.record_count} reported"]


def check_archive(made: Made, shared: Path) -> list[str]:
    """What is wrong with one Darwin Core Archive."""
    tool = shared / "tools" / "check_dwca.py"
    command = [sys.executable, str(tool), str(made.path)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own checker)
    faults = [f"{made}: {line}" for line in verdict.stdout.splitlines() if line.startswith(("FAIL", "WARN"))]
    if verdict.returncode or "PASS  total: 0 failed" not in verdict.stdout:
        faults.append(f"{made}: check_dwca.py ended with {verdict.returncode} {verdict.stderr[-500:]}")
    with zipfile.ZipFile(made.path) as archive:
        found = sum(1 for _ in io.TextIOWrapper(archive.open("occurrence.txt"), encoding="utf-8")) - 1
        if made.option:
            faults += check_registered(made, archive.read("meta.xml"), shared)
    if not found == made.record_count == made.rows:
        faults.append(f"{made}: {found} occurrences, {made.record_count} reported")
    return faults


def check_registered(made: Made, meta: bytes, shared: Path) -> list[str]:
    """Terms that GBIF has not registered for the row type they are used with."""
    faults = []
    text = "{http://rs.tdwg.org/dwc/text/}"
    for described in etree.fromstring(meta):
        name = described.findtext(f"{text}files/{text}location") or ""
        if name not in REGISTERED:
            continue
        definition = etree.parse(shared / "tools/schemas/gbif-rs" / REGISTERED[name]).getroot()
        known = {element.get("qualName") for element in definition}
        if definition.get("rowType") != described.get("rowType"):
            faults.append(f"{made}: {name} is a {described.get('rowType')}, GBIF has {definition.get('rowType')}")
        used = {field.get("term") for field in described.findall(f"{text}field")}
        faults += [f"{made}: {name} uses {term}" for term in sorted(map(str, used - known - KEYS))]
    return faults


def check_counts(exports: list[Made]) -> list[str]:
    """CSV, JSON and the specification's archive hold the same occurrences, but for those that it says it leaves out."""
    faults = []
    plain = sorted((made for made in exports if not made.option), key=_selection)
    for _, same in groupby(plain, key=_selection):
        counts = {str(made): made.record_count + made.left_out for made in same}
        if len(counts) != 3 or len(set(counts.values())) != 1:
            faults.append(f"counts differ: {counts}")
    return faults


def _selection(made: Made) -> tuple[str, str]:
    return made.partition, made.filter


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
