"""Known vulnerabilities of the locked packages, from a copy of the OSV database; says so where there is none.

Works offline: the database is one file, the archive of PyPI that osv.dev offers, whose place `SHEAF_OSV`
names. `python .ci/audit.py [LOCK]`
"""

import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

DATABASE = "PyPI/all.zip of osv.dev"


def locked(lock: Path) -> dict[str, Version]:
    """Names and versions in a lock."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def advisories(database: Path) -> Iterator[dict[str, Any]]:
    """All entries of the database that were not withdrawn."""
    with zipfile.ZipFile(database) as archive:
        for name in archive.namelist():
            entry = json.loads(archive.read(name))
            if "withdrawn" not in entry:
                yield entry


def affects(affected: dict[str, Any], version: Version) -> bool:
    """Whether a version is one of those that an entry is about."""
    spans = [span["events"] for span in affected.get("ranges", ()) if span.get("type") == "ECOSYSTEM"]
    return str(version) in affected.get("versions", ()) or any(_inside(events, version) for events in spans)


def _inside(events: list[dict[str, str]], version: Version) -> bool:
    """Whether a version lies in one of the spans that the events, in order, begin and end."""
    inside = False
    for event in events:
        for kind, said in event.items():
            with suppress(InvalidVersion):
                if kind == "introduced" and (said == "0" or version >= Version(said)):
                    inside = True
                elif (kind == "fixed" and version >= Version(said)) or (
                    kind == "last_affected" and version > Version(said)
                ):
                    inside = False
    return inside


def main(lock: Path, database: Path | None) -> int:
    """Print what is known; returns how many advisories there are."""
    versions = locked(lock)
    if database is None or not database.is_file():
        print(f"NOT AUDITED: no database of vulnerabilities. Fetch {DATABASE} and name its place in SHEAF_OSV.")
        return 0
    found = 0
    for entry in advisories(database):
        for affected in entry.get("affected", ()):
            name = canonicalize_name(affected.get("package", {}).get("name", ""))
            if (
                affected["package"].get("ecosystem") == "PyPI"
                and name in versions
                and affects(affected, versions[name])
            ):
                found += 1
                print(f"{name} {versions[name]}: {entry['id']} {entry.get('summary', '')}".rstrip())
    print(f"{len(versions)} packages looked at, {found} advisories.")
    return found


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "requirements-dev.lock"
    place = os.environ.get("SHEAF_OSV")
    sys.exit(main(given, Path(place) if place else None) > 0)
