"""A small store with every domain, of which one is kept for each version: later ones have to read it.

    python tests/stores/make.py tests/stores/0.2.0.tar.xz

What the commands publish of the samples, without the largest series; once it is committed it is never made again.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_cli import write_batch

from sheaf.annotations.sample import project
from sheaf.matches.sample import match
from sheaf.media.sample import pairs
from sheaf.occurrences.sample import season

SHEAF = str(Path(sys.executable).with_name("sheaf"))
LARGE = {
    "batch_eln", "batch_report", "events_ndjson", "match_archive", "match_report", "occurrences_api_json",
    "report_html", "season_html", "timeline", "segmentation", "training_parquet",
}  # fmt: skip
LEFT_OUT = (
    "leases", ".scratch", "catalog.html", "catalog.js", "exports/fermentation/_delta_log", "batches", "folders",
    "images", "tables/media/results",
)  # fmt: skip


def main() -> None:
    """Make it."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        inbox = home / "inbox"
        os.environ |= {"SHEAF_HOME": str(home), "SHEAF_QUIET_SECONDS": "0", "SOURCE_DATE_EPOCH": "1780000000"}
        write_batch(inbox, "b1", samples=6)
        for sample in (match, pairs, season, project):
            sample.write(inbox)
        for words in (["fermentation"], ["matches"], ["media"], ["occurrences", "p2"], ["annotations"]):
            subprocess.run([SHEAF, "run", *words], check=False)
        pinned = "occurrences/p2/dwca/latest"
        subprocess.run([SHEAF, "pin", pinned, "--as", "paper"], check=True)

        def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
            parts = Path(member.name).parts
            if member.name.startswith(LEFT_OUT) or (parts[:1] == ("exports",) and set(parts) & LARGE):
                return None
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            return member

        with tarfile.open(target, "w:xz", preset=9) as archive:
            for path in sorted((home / "store").iterdir()):
                archive.add(path, path.name, filter=kept)


if __name__ == "__main__":
    main()
